//! Runs the command against a real daemon: each failure has its exit code, and each command does
//! what it says.

#[allow(dead_code)]
mod support;

use support::Daemon;

const SPEC: &str = "name = \"web\"\nmemory = \"96MiB\"\n";

/// Makes a VM on hold. Answers its id.
#[track_caller]
fn held(daemon: &Daemon, name: &str) -> String {
    let file = daemon.file("vm.toml", SPEC);
    let ran = daemon
        .run(&["vm", "create", "-f", &file, "--name", name, "--hold", "-o", "name"])
        .expect(0);
    ran.out.trim().to_owned()
}

#[test]
fn every_way_to_fail_has_its_code() {
    let Some(daemon) = Daemon::start(None) else { return };
    let id = held(&daemon, "web");
    daemon.run(&["vm", "show", "nobody"]).expect(3).says("there is no vm nobody").says("hint: ");
    daemon.run(&["vm", "resume", "99"]).expect(3);
    daemon.run(&["vm", "why", "99"]).expect(3);
    daemon.run(&["operation", "show", "99"]).expect(3);
    daemon.run(&["host", "show", "nowhere"]).expect(3);
    daemon.run(&["vm", "resume", &id]).expect(1).says("hold").says("hint: ");
    daemon.run(&["vm", "resume", &id, "--dry-run"]).expect(1);
    daemon.run(&["vm", "release", &id, "--if-version", "999"]).expect(4);
    daemon.run(&["vm", "list", "--state", "flying"]).expect(2);
    daemon.run(&["vm", "console-log", &id]).expect(1);
    let file = daemon.file("bad.toml", "name = \"a\"\nmemory = 96\n[[disks]]\nname = \"vda\"\n");
    daemon.run(&["vm", "create", "-f", &file]).expect(2).says("spec.disks[0]");
    daemon
        .run(&["datastore", "add", "d", "--kind", "image", "--driver", "none", "--root", "/x"])
        .expect(1);
    daemon.run(&["token", "add", "bob", "--scope", "read"]).expect(0).says("keep this secret");
    daemon.run(&["token", "add", "bob", "--scope", "read"]).expect(4);
    daemon.run(&["token", "remove", "nobody"]).expect(3);
    let file = daemon.file("backup", "");
    daemon.run(&["admin", "backup", &file]).expect(4);
    assert_eq!(daemon.run(&["admin", "check"]).expect(0).out, "the books add up\n");
}

#[test]
fn tokens_open_the_door_over_tcp() {
    let Some(daemon) = Daemon::start(None) else { return };
    let http = format!("--server={}", daemon.http);
    daemon.run(&[&http, "vm", "list"]).expect(5).says("--token-file");
    let wrong = daemon.file("wrong.token", "ostler_wrong\n");
    daemon.run(&[&http, "--token-file", &wrong, "vm", "list"]).expect(5);
    let admin = daemon.admin_token().display().to_string();
    daemon.run(&[&http, "--token-file", &admin, "vm", "list"]).expect(0);
    let secret = daemon.run(&["token", "add", "reader", "--scope", "read"]).expect(0).out;
    let reader = |args: &[&str]| {
        let output = daemon
            .command()
            .env("OSTLER_TOKEN", &secret)
            .arg(&http)
            .args(args)
            .output()
            .expect("starts");
        support::Ran::of(&output)
    };
    reader(&["vm", "list"]).expect(0);
    reader(&["token", "list"]).expect(5).says("scope");
    reader(&["vm", "delete", "1"]).expect(5);
    assert!(!daemon.run(&["token", "list"]).expect(0).out.contains(secret.trim()));
    daemon.run(&["token", "remove", "reader"]).expect(0);
    reader(&["vm", "list"]).expect(5);
}

#[test]
fn lists_come_in_every_form() {
    let Some(daemon) = Daemon::start(None) else { return };
    for name in ["a", "b", "c"] {
        held(&daemon, name);
    }
    daemon.run(&["vm", "delete", "b"]).expect(0);
    assert_eq!(daemon.run(&["vm", "list", "-o", "name"]).expect(0).out, "1\n3\n");
    assert_eq!(daemon.run(&["vm", "list", "-a", "-o", "name"]).expect(0).out, "1\n2\n3\n");
    assert_eq!(
        daemon.run(&["vm", "list", "--state", "done,hold", "-o", "name"]).expect(0).out,
        "1\n2\n3\n"
    );
    assert_eq!(
        daemon.run(&["vm", "list", "--name", "c", "-o", "json"]).expect(0).json()[0]["id"],
        3
    );
    let limited = daemon
        .run(&["vm", "list", "--limit", "1", "-o", "name"])
        .expect(0)
        .says("showing the first 1, there are more");
    assert_eq!(limited.out, "1\n");
    let table = daemon.run(&["vm", "list"]).expect(0).out;
    assert!(table.starts_with("ID  NAME  STATE  OWNER") && !table.contains('\u{1b}'), "{table}");
    let yaml = daemon.run(&["vm", "show", "a", "-o", "yaml"]).expect(0).out;
    let vm: serde_json::Value = serde_yaml_ng::from_str(&yaml).expect("YAML");
    assert_eq!((&vm["id"], &vm["state"]), (&1.into(), &"hold".into()));
    assert!(daemon.run(&["vm", "show", "a"]).expect(0).out.contains("PLACEMENT\n  on no host\n"));
    assert!(daemon.run(&["vm", "top", "--once"]).expect(0).out.contains("VMS (2)"));
    for kind in ["host", "datastore", "image", "driver", "token"] {
        assert!(daemon.run(&[kind, "list", "-o", "json"]).expect(0).json().is_array(), "{kind}");
    }
}

#[test]
fn several_vms_end_with_the_worst_code() {
    let Some(daemon) = Daemon::start(None) else { return };
    for name in ["a", "b", "c"] {
        held(&daemon, name);
    }
    let ran = daemon.run(&["vm", "release", "1..3", "7"]).expect(3).says("there is no vm 7");
    for id in 1..=3 {
        assert!(ran.out.contains(&format!("vm {id}: pending")), "{ran:#?}");
    }
    let entries = daemon.run(&["vm", "hold", "1-3", "c", "9", "-o", "json"]).expect(3).json();
    let codes: Vec<(&str, u64)> = entries
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| (one["vm"].as_str().expect("text"), one["exit"].as_u64().expect("a number")))
        .collect();
    // The entries come in the given order, not in the order of the answers.
    assert_eq!(codes.iter().map(|(vm, _)| *vm).collect::<Vec<_>>(), ["1", "2", "3", "c", "9"]);
    assert_eq!(codes[4].1, 3);
    daemon.run(&["vm", "delete", "1..3"]).expect(0);
    assert_eq!(daemon.run(&["vm", "list", "-o", "name"]).expect(0).out, "");
}

#[test]
fn an_ambiguous_name_lists_its_candidates() {
    let Some(daemon) = Daemon::start(None) else { return };
    let (one, two) = (held(&daemon, "twin"), held(&daemon, "twin"));
    let ran = daemon.run(&["vm", "show", "twin"]).expect(2);
    for id in [one, two] {
        assert!(ran.err.contains(&format!("  {id} twin (hold")), "{ran:#?}");
    }
    daemon.run(&["vm", "delete", "twin"]).expect(2);
}

#[test]
fn waiting_has_an_end_and_says_why() {
    let Some(daemon) = Daemon::start(None) else { return };
    let file = daemon.file("vm.toml", SPEC);
    let ran = daemon
        .run(&["vm", "create", "-f", &file, "--wait", "--timeout", "300ms"])
        .expect(7)
        .says("ostler vm why 1");
    assert!(ran.out.contains("vm 1 web: created"), "{ran:#?}");
}

#[test]
fn a_vm_lives_from_create_to_done() {
    let Some(plugins) = support::plugins() else { return };
    let Some(daemon) = Daemon::start(Some(plugins)) else { return };
    let system = daemon.folder.path().join("system");
    std::fs::create_dir(&system).expect("made");
    let root = system.display().to_string();
    daemon
        .run(&[
            "datastore",
            "add",
            "system",
            "--kind",
            "system",
            "--driver",
            "transfer-qcow2",
            "--root",
            &root,
        ])
        .expect(0);
    daemon
        .run(&[
            "host",
            "add",
            "h1",
            "--driver",
            "sim",
            "--set",
            "datastore=system",
            "--label",
            "zone=a",
        ])
        .expect(0);
    let file = daemon.file("vm.yaml", "name: web\nmemory: 96MiB\n");
    assert_eq!(
        daemon.run(&["vm", "create", "-f", &file, "--wait"]).expect(0).out,
        "vm 1 web: created, running\n"
    );
    daemon.run(&["vm", "resume", "web"]).expect(0);
    let plan = daemon.run(&["vm", "poweroff", "web", "--hard", "--dry-run"]).expect(0);
    assert!(plan.out.contains("would be accepted"), "{plan:#?}");
    for (verb, state) in [
        (&["suspend"][..], "suspended"),
        (&["resume"], "running"),
        (&["reboot"], "running"),
        (&["poweroff", "--hard"], "poweroff"),
    ] {
        let ran = daemon.run(&[&["vm"], verb, &["web"]].concat()).expect(0);
        assert!(ran.out.starts_with(&format!("vm web: {state} (")), "{ran:#?}");
    }
    daemon.run(&["vm", "resume", "web", "--no-wait"]).expect(0);
    let operations = daemon.run(&["operation", "list", "web", "-o", "name"]).expect(0).out;
    let newest = operations.lines().next().expect("operations");
    daemon.run(&["operation", "show", newest, "--wait"]).expect(0);
    daemon.run(&["host", "draining", "h1"]).expect(0);
    daemon.run(&["host", "remove", "h1"]).expect(4);
    daemon.run(&["vm", "shutdown", "web", "--hard"]).expect(0);
    daemon.run(&["host", "remove", "h1"]).expect(0);
    assert_eq!(daemon.run(&["admin", "check", "-o", "json"]).expect(0).json()["ok"], true);
}

#[test]
fn ranges_are_taken_wherever_vms_are_named() {
    let Some(daemon) = Daemon::start(None) else { return };
    for name in ["a", "b", "c"] {
        held(&daemon, name);
    }
    daemon.run(&["vm", "schedule", "1..2", "delete", "--at", "daily 02:00"]).expect(0);
    let shown = daemon.run(&["vm", "show", "1..3", "-o", "json"]).expect(0).json();
    let names: Vec<&str> = shown
        .as_array()
        .expect("a list")
        .iter()
        .map(|vm| vm["name"].as_str().expect("text"))
        .collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(
        daemon.run(&["vm", "show", "b", "-o", "json"]).expect(0).json()["id"],
        2,
        "one alone is no list"
    );
    assert_eq!(daemon.run(&["vm", "show", "1..3"]).expect(0).out.matches("INFORMATION").count(), 3);
    // A VM that does not exist is reported, and the others are shown.
    let ran =
        daemon.run(&["vm", "show", "1..2", "9", "-o", "name"]).expect(3).says("there is no vm 9");
    assert_eq!(ran.out, "1\n2\n");
    let table = daemon.run(&["vm", "schedules", "1..3"]).expect(0).out;
    assert!(table.starts_with("VM  ID  VERB") && table.lines().count() == 3, "{table}");
    let entries = daemon.run(&["vm", "schedules", "1..3", "-o", "json"]).expect(0).json();
    assert_eq!(
        (&entries[1]["vm"], &entries[1]["id"], &entries[1]["verb"]),
        (&2.into(), &0.into(), &"delete".into())
    );
    assert!(daemon.run(&["vm", "schedules", "1"]).expect(0).out.starts_with("ID  VERB"));
    assert_eq!(
        daemon.run(&["vm", "snapshots", "1..3"]).expect(0).out,
        "VM  NAME  LABEL  MADE  OFFERED\n"
    );
    daemon.run(&["vm", "release", "1..3"]).expect(0);
    let operations = daemon.run(&["operation", "list", "1..3", "--no-header"]).expect(0).out;
    assert_eq!(operations.matches(" release ").count(), 3, "{operations}");
    daemon
        .run(&["vm", "unschedule", "1", "7"])
        .expect(1)
        .says("`ostler vm schedules 1` lists them");
}

#[test]
fn words_of_other_tools_do_what_they_mean() {
    let Some(daemon) = Daemon::start(None) else { return };
    let file = daemon.file("vm.toml", SPEC);
    daemon.run(&["vm", "create", &file, "--hold"]).expect(0);
    let ran = daemon.run(&["vm", "create", &file, "--hold", "--name", "web"]).expect(0);
    assert!(
        ran.says("warning: vm 1 (hold) has this name already").out.starts_with("vm 2 web: created")
    );
    daemon.run(&["vm", "create", &file, "-f", &file]).expect(2);
    assert_eq!(daemon.run(&["vm", "ls", "web", "-o", "name"]).expect(0).out, "1\n2\n");
    assert_eq!(daemon.run(&["vm", "ls", "nobody", "-o", "name"]).expect(0).out, "");
    let bare = daemon.run(&["vm", "list", "--no-header", "--sort", "since"]).expect(0).out;
    assert!(bare.starts_with("1  web") && bare.lines().count() == 2, "{bare}");
    // A VM on hold is released. Then it is pending, and `start` changes nothing more.
    assert!(daemon.run(&["vm", "start", "1"]).expect(0).out.starts_with("vm 1: pending"));
    assert_eq!(
        daemon.run(&["vm", "start", "1", "--no-wait"]).expect(0).out,
        "vm 1: pending already\n"
    );
    assert!(
        daemon
            .run(&["vm", "start", "2", "--dry-run"])
            .expect(0)
            .out
            .contains("release would be accepted")
    );
    daemon.run(&["vm", "start", "9"]).expect(3);
    daemon.run(&["vm", "reset", "1"]).expect(1).says("reboot-hard");
    let events = daemon
        .run(&["events", "--after", "0", "--kind", "created", "--count", "2", "-o", "json"])
        .expect(0)
        .out;
    assert_eq!(events.lines().count(), 2);
}

/// Types `answer` to a command on a terminal. Answers the command's output and exit code. None if
/// `script` is missing.
#[track_caller]
fn on_a_terminal(daemon: &Daemon, command: &str, answer: &str) -> Option<support::Ran> {
    let line = format!("{} {command}", env!("CARGO_BIN_EXE_ostler"));
    let mut child = std::process::Command::new("script")
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .env("OSTLER_SERVER", daemon.socket())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .ok()?;
    std::io::Write::write_all(child.stdin.as_mut().expect("piped"), answer.as_bytes())
        .expect("written");
    Some(support::Ran::of(&child.wait_with_output().expect("ends")))
}

#[test]
fn on_a_terminal_it_is_asked_once_before_something_is_destroyed() {
    let Some(daemon) = Daemon::start(None) else { return };
    for name in ["a", "b", "c", "d"] {
        held(&daemon, name);
    }
    let vms = || daemon.run(&["vm", "list", "-o", "name"]).expect(0).out.replace('\n', " ");
    let Some(no) = on_a_terminal(&daemon, "vm delete a b", "n\n") else {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "script is missing");
        eprintln!("SKIPPED: script (bsdutils) is missing");
        return;
    };
    for words in [
        "delete deletes for good:",
        "vm a (no disks of its own)",
        "vm b (no disks of its own)",
        "Go on? [y/N]",
        "nothing was done",
    ] {
        assert!(no.out.contains(words), "no {words} in {no:#?}");
    }
    assert_eq!((no.code, vms().as_str()), (1, "1 2 3 4 "));
    assert_eq!(on_a_terminal(&daemon, "vm delete a", "y\n").map(|ran| ran.code), Some(0));
    assert_eq!(vms(), "2 3 4 ");
    // Nobody is asked with `--yes`, in a dry run, or in a script.
    let told = on_a_terminal(&daemon, "vm delete b --yes", "").expect("script is there");
    assert!(told.code == 0 && !told.out.contains("Go on?"), "{told:#?}");
    let told = on_a_terminal(&daemon, "vm delete c --dry-run", "").expect("script is there");
    assert!(told.code == 0 && !told.out.contains("Go on?"), "{told:#?}");
    daemon.run(&["vm", "delete", "d"]).expect(0);
    assert_eq!(vms(), "3 ");
}

/// The same component with some bytes of its manifest replaced, and a section that nobody reads: a
/// file of another digest.
fn another(component: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len(), "the sections keep their length");
    let mut other = component.to_vec();
    // The manifest may be there more than once: the tools that link a component copy its sections.
    let places: Vec<usize> = (0..component.len().saturating_sub(from.len()))
        .filter(|at| component[*at..].starts_with(from.as_bytes()))
        .collect();
    assert!(!places.is_empty(), "the manifest has no {from}");
    for at in places {
        other[at..at + to.len()].copy_from_slice(to.as_bytes());
    }
    // A custom section: id 0, its size, the length of its name, the name.
    other.extend([0, 5, 4]);
    other.extend(b"mark");
    other
}

#[test]
fn a_driver_that_is_replaced_keeps_the_grants_of_what_it_still_asks_for() {
    let (Some(plugins), Some(daemon)) = (support::plugins(), Daemon::start(None)) else { return };
    let first = plugins.join("transfer-qcow2.wasm");
    let component = std::fs::read(&first).expect("it is built");
    let write = |name: &str, from: &str, to: &str| {
        let path = daemon.file(name, "");
        std::fs::write(&path, another(&component, from, to)).expect("written");
        path
    };
    let first = first.display().to_string();
    let tells = |args: &[&str], words: &str| {
        let out = daemon.run(&[&["driver", "add"], args].concat()).expect(0).out;
        assert!(out.contains(words), "no {words:?} in {out}");
    };
    tells(
        &[&first, "--grant", "files,exec:head,exec:check"],
        "asked for and not granted (`--grant`): exec:overlay",
    );

    let later = write("later.wasm", "exec", "exec");
    daemon.run(&["driver", "add", &later]).expect(4).says("--replace");
    tells(&[&later, "--replace"], "grants kept: exec:check, exec:head, files");

    // A command of the same name does something else. It was not granted.
    let changed = write("changed.wasm", r#""check", "-q""#, r#""check", "-r""#);
    daemon
        .run(&["driver", "add", &changed, "--replace"])
        .expect(1)
        .says("are something else in the new file: exec:check");
    let shown = daemon.run(&["driver", "show", "transfer-qcow2"]).expect(0).out;
    assert!(shown.contains("files"), "{shown}");

    tells(
        &[&changed, "--replace", "--grant", "files,exec:check"],
        "grants kept: exec:check, files\n  no longer granted: exec:head\n",
    );
    tells(
        &[&first, "--replace", "--grant", "none"],
        "no longer granted: exec:check, files\n  asked for and not granted (`--grant`): files",
    );
}

#[test]
fn a_host_whose_driver_lacks_grants_says_which() {
    let (Some(plugins), Some(daemon)) = (support::plugins(), Daemon::start(None)) else { return };
    let sim = plugins.join("sim.wasm").display().to_string();
    daemon.run(&["driver", "add", &sim, "--grant", "files"]).expect(0);
    daemon.run(&["host", "add", "h", "--driver", "sim", "--set", "datastore=d"]).expect(0).says(
        "hint: driver sim asks for config, exec, exec:head, exec:convert, and that is not granted",
    );
}

/// Its grants stand in the daemon's settings, and no driver was added.
#[test]
fn a_driver_of_the_plugin_directory_that_is_replaced_keeps_its_grants() {
    let Some(plugins) = support::plugins() else { return };
    let file = plugins.join("transfer-qcow2.wasm");
    let Some(daemon) = Daemon::start(Some(plugins)) else { return };
    let add = |file: &str| daemon.run(&["driver", "add", file, "--replace"]);
    // The commands of a file that is not kept cannot be compared.
    let later = daemon.file("later.wasm", "");
    let component = std::fs::read(&file).expect("it is built");
    std::fs::write(&later, another(&component, "exec", "exec")).expect("written");
    add(&later).expect(1).says("are something else in the new file: exec:");
    let out = add(&file.display().to_string()).expect(0).out;
    assert!(!out.contains("not granted"), "the same file keeps all: {out}");
    let out = add(&later).expect(0).out;
    assert!(out.contains("grants kept: exec:blank"), "its file is kept now: {out}");
}
