//! `secret-set`, `secret-list` and `secret-remove` against a real daemon and a real driver.

#[allow(dead_code)]
mod support;

use std::io::Write as _;
use std::process::Stdio;
use support::{Daemon, Ran};

/// A component whose manifest lists no secrets.
const DRIVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../wasm/tests/kept/guest-1.wasm");

/// Runs a command with this on its standard input.
fn fed(daemon: &Daemon, args: &[&str], input: &str) -> Ran {
    let mut command = daemon.command();
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("starts");
    // A command that is refused before it reads closes its input.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    Ran::of(&child.wait_with_output().expect("ends"))
}

#[test]
fn secrets_of_drivers_and_hosts_are_set_listed_and_removed() {
    let Some(daemon) = Daemon::start(None) else { return };
    let run = |args: &[&str]| daemon.run(args);
    run(&["driver", "add", DRIVER, "--grant", "all"]).expect(0);
    run(&["host", "add", "h1", "--driver", "test-guest", "--state", "off"]).expect(0);
    let set = fed(&daemon, &["driver", "secret-set", "test-guest", "password"], "hunter2\n");
    assert_eq!(set.expect(0).out, "driver test-guest: secret password: set\n");
    let file = daemon.file("token", "hunter2\r\n");
    let set = run(&["host", "secret-set", "h1", "token", "--file", &file]).expect(0);
    assert_eq!(set.out, "host h1: secret token: set\n");
    let set = ["host", "secret-set", "h1", "pin", "--file", "-", "-o", "name"];
    assert_eq!(fed(&daemon, &set, "1234").expect(0).out, "pin\n");

    let list = run(&["host", "secret-list", "h1", "--no-header"]).expect(0).out;
    assert!(list.starts_with("pin  ") && list.contains("\ntoken  "), "{list}");
    let names = run(&["driver", "secret-list", "test-guest", "-o", "name"]).expect(0).out;
    assert_eq!(names, "password\n");
    let host = run(&["host", "show", "h1"]).expect(0).out;
    assert!(host.contains("Secrets set  pin token"), "{host}");
    let driver = run(&["driver", "show", "test-guest"]).expect(0).out;
    assert!(driver.contains("SECRETS\n  NAME      SET  ABOUT\n  password  yes"), "{driver}");
    let events = run(&["events", "--after", "0", "--kind", "resource", "--count", "4"]).expect(0);
    assert!(events.out.contains("secret password of driver test-guest"), "{events:#?}");

    let removed = run(&["host", "secret-remove", "h1", "pin", "nothing"]).expect(3);
    assert_eq!(removed.says("there is no secret nothing of host h1").out, "secret pin: removed\n");
    run(&["driver", "secret-remove", "test-guest", "password"]).expect(0);
    assert_eq!(run(&["driver", "secret-list", "test-guest", "-o", "name"]).expect(0).out, "");

    let backup = daemon.folder.path().join("backup").display().to_string();
    run(&["admin", "backup", &backup]).expect(0).says("the secrets of drivers are in it");
}

#[test]
fn a_value_that_cannot_be_is_refused_and_never_stands_in_the_command_line() {
    let Some(daemon) = Daemon::start(None) else { return };
    daemon.run(&["driver", "add", DRIVER, "--grant", "all"]).expect(0);
    let set = ["driver", "secret-set", "test-guest", "password"];
    for (input, code, says) in [
        ("", 2, "the value is empty"),
        ("\n", 2, "the value is empty"),
        (&*"hunter2".repeat(3000), 2, "at most 16384"),
    ] {
        let ran = fed(&daemon, &set, input).expect(code).says(says);
        assert!(!ran.err.contains("hunter2"), "{ran:#?}");
    }
    daemon.run(&[&set[..], &["hunter2"]].concat()).expect(2).says("unexpected argument");
    fed(&daemon, &["driver", "secret-set", "nobody", "password"], "x").expect(3);
    fed(&daemon, &["host", "secret-set", "nowhere", "password"], "x").expect(3);
    fed(&daemon, &["driver", "secret-set", "test-guest", "Pass"], "x").expect(2).says("lower-case");
    daemon.run(&[&set[..], &["--file", "/no/such/file"]].concat()).expect(2);
    assert_eq!(
        daemon.run(&["driver", "secret-list", "test-guest", "-o", "name"]).expect(0).out,
        ""
    );
}
