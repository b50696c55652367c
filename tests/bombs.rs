//! Components that are made to be compiled for minutes: the daemon limits what that may take, and
//! serves everybody meanwhile.

use ostler_api::{ClientError, NewDriver};
use ostler_tests::daemon::{self, Daemon, components, poll};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(120);
/// The identifier of a section that holds a core module, by the binary format of components.
const CORE_MODULE: u8 = 1;

/// A core module of some hundred kilobytes: in one function very many variables are alive in very
/// many loops. It took more than a minute of an optimised compiler.
fn heavy() -> Vec<u8> {
    let (locals, loops) = (20_000, 3_000);
    let mut text = "(module (func (param i32)".to_owned();
    for _ in 0..locals {
        text.push_str(" (local i64)");
    }
    for number in 0..loops {
        let local = 1 + number % locals;
        let _ = write!(
            text,
            " (loop (local.set {local} (i64.add (local.get {local}) (i64.const 1))) \
             (br_if 0 (local.get 0)))"
        );
    }
    text.push_str("))");
    wat::parse_str(text).expect("a module")
}

/// A driver that ships, with that module in it.
fn bomb(to: &Path) {
    let mut bytes = std::fs::read(components().join("snapshots-xen.wasm")).expect("built");
    let module = heavy();
    bytes.push(CORE_MODULE);
    let mut left = module.len();
    loop {
        let low = u8::try_from(left & 0x7f).expect("seven bits");
        left >>= 7;
        bytes.push(if left == 0 { low } else { low | 0x80 });
        if left == 0 {
            break;
        }
    }
    bytes.extend(module);
    std::fs::write(to, bytes).expect("written");
}

/// The process that compiles for the daemon with this id.
fn compiler_of(daemon: u32) -> Option<PathBuf> {
    let all = std::fs::read_dir("/proc").expect("proc").filter_map(Result::ok);
    all.map(|process| process.path()).find(|process| {
        let stat = std::fs::read_to_string(process.join("stat")).unwrap_or_default();
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1));
        parent == Some(&daemon.to_string()) && is_compiler(process)
    })
}

fn is_compiler(process: &Path) -> bool {
    std::fs::read_to_string(process.join("cmdline"))
        .is_ok_and(|command| command.contains("--compile-a-component"))
}

async fn compiles(daemon: u32) {
    poll("the compiler to be at work", PATIENCE, async || {
        compiler_of(daemon).map(drop).ok_or_else(|| "there is none yet".to_owned())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compile_bomb_is_refused_and_nobody_waits_for_it() {
    if !daemon::is_built() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let (config, plugins) = (dir.path().join("ostlerd.toml"), dir.path().join("plugins"));
    std::fs::create_dir(&plugins).expect("made");
    std::fs::write(&config, "[compile]\ncpu_seconds = 3\n").expect("written");
    let config = ["--config", config.to_str().expect("text")];
    let mut daemon = Daemon::with_plugins(dir.path(), &plugins, &config);
    let (client, pid) = (daemon.client().clone(), daemon.pid().expect("it runs"));
    let file = dir.path().join("bomb.wasm");
    bomb(&file);
    let new = NewDriver { path: file.to_str().expect("text").to_owned(), ..NewDriver::default() };
    let adding = tokio::spawn({
        let client = client.clone();
        async move { client.add_driver(&new).await }
    });
    compiles(pid).await;
    client.hosts().await.expect("the daemon answers meanwhile");
    let error = adding.await.expect("it ended").expect_err("it is refused");
    let ClientError::Problem(problem) = error else { panic!("{error}") };
    assert_eq!(problem.status, 422, "{problem:?}");
    for part in ["snapshots-xen", "3s of CPU time"] {
        assert!(problem.detail.contains(part), "no {part:?} in {}", problem.detail);
    }
    // A sound one is compiled by the same daemon, and another start loads it.
    let sound = components().join("snapshots-xen.wasm");
    assert_eq!(daemon::driver(&client, &sound).await, "snapshots-xen");
    daemon.kill();
    daemon.up();
    assert_eq!(client.driver("snapshots-xen").await.expect("known").not_loaded, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compiler_ends_with_its_daemon() {
    if !daemon::is_built() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let plugins = dir.path().join("plugins");
    std::fs::create_dir(&plugins).expect("made");
    let mut daemon = Daemon::with_plugins(dir.path(), &plugins, &[]);
    let (client, pid) = (daemon.client().clone(), daemon.pid().expect("it runs"));
    let file = dir.path().join("bomb.wasm");
    bomb(&file);
    let new = NewDriver { path: file.to_str().expect("text").to_owned(), ..NewDriver::default() };
    let adding = tokio::spawn(async move { client.add_driver(&new).await });
    compiles(pid).await;
    let compiler = compiler_of(pid).expect("it is at work");
    daemon.kill();
    adding.await.expect("it ended").expect_err("the daemon has gone");
    poll("the compiler to end", PATIENCE, async || {
        if is_compiler(&compiler) { Err("it is there".to_owned()) } else { Ok(()) }
    })
    .await;
}
