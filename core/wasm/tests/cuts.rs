//! A component that is stopped at its calls to the host: files, commands, sockets, HTTP servers.

mod support;
#[path = "support/web.rs"]
mod web;

use ostler_driver::{Hypervisor, Site};
use ostler_model::{DriverError, ErrorKind, StepNo};
use ostler_wasm::{Cut, Cuts, HostOptions, Watched};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;
use support::{all, call, host, hypervisor, load, options, site, told};

/// Longer than any call of these tests may take.
const LONG: Duration = Duration::from_secs(60);

/// A driver, and the means to stop it.
async fn driver() -> (Arc<dyn Hypervisor>, Cuts) {
    let cuts = Cuts::default();
    let host = host(HostOptions { cuts: Some(cuts.clone()), ..options() });
    (hypervisor(&load(&host, all()).await), cuts)
}

/// Does the deed of `site` and stops it there.
async fn stopped(
    driver: &Arc<dyn Hypervisor>,
    cuts: &Cuts,
    site: &Site,
    at: usize,
    after: bool,
) -> (Result<String, DriverError>, Watched) {
    cuts.watch(call(1, LONG).context.key, Some(Cut { at, after }));
    let answer = told(driver, site).await;
    (answer, cuts.end())
}

/// Checks that the driver was stopped, at a call to the host of that name.
fn was_stopped((answer, watched): (Result<String, DriverError>, Watched), name: &str) {
    let error = answer.expect_err("it was stopped");
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Unknown, "driver-stopped"));
    assert!(watched.stopped);
    assert_eq!(watched.calls.last().map(String::as_str), Some(name));
}

#[tokio::test]
async fn a_file_is_written_if_the_cut_is_after_and_not_if_it_is_before() {
    let dir = tempfile::tempdir().expect("dir");
    let (driver, cuts) = driver().await;
    for after in [false, true] {
        let path = format!("file-{after}");
        let here = site(dir.path(), &format!("write ds {path} hello"));
        let ended = stopped(&driver, &cuts, &here, 1, after).await;
        was_stopped(ended, &format!("files.write ds:{path}"));
        let there = std::fs::read_to_string(dir.path().join(path)).ok();
        assert_eq!(there.as_deref(), after.then_some("hello"));
    }
}

#[tokio::test]
async fn a_command_is_run_if_the_cut_is_after_and_not_if_it_is_before() {
    let dir = tempfile::tempdir().expect("dir");
    let script = format!("echo run >> {}/ran", dir.path().display());
    std::fs::write(dir.path().join("script"), script).expect("written");
    let (driver, cuts) = driver().await;
    let ran = || std::fs::read_to_string(dir.path().join("ran")).unwrap_or_default();
    let here = site(dir.path(), "exec do script=ds:script");
    was_stopped(stopped(&driver, &cuts, &here, 1, false).await, "exec do");
    assert_eq!(ran(), "");
    was_stopped(stopped(&driver, &cuts, &here, 1, true).await, "exec do");
    assert_eq!(ran(), "run\n");
    // Several commands at once are one call to the host.
    let here = site(dir.path(), "all 3 do script=ds:script");
    was_stopped(stopped(&driver, &cuts, &here, 1, false).await, "exec of 3 commands");
    assert_eq!(ran(), "run\n");
    was_stopped(stopped(&driver, &cuts, &here, 1, true).await, "exec of 3 commands");
    assert_eq!(ran(), "run\n".repeat(4));
}

/// Listens at `path`. Tells all that each connection sends until it ends, and answers each part.
fn listen(path: &Path) -> mpsc::Receiver<String> {
    let listener = std::os::unix::net::UnixListener::bind(path).expect("a socket");
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for mut peer in listener.incoming().flatten() {
            let (mut heard, mut buffer) = (Vec::new(), [0; 64]);
            while let Ok(count @ 1..) = peer.read(&mut buffer) {
                heard.extend_from_slice(&buffer[..count]);
                // The driver may be gone already.
                let _ = peer.write_all(&buffer[..count]);
            }
            if tell.send(String::from_utf8_lossy(&heard).into_owned()).is_err() {
                return;
            }
        }
    });
    told
}

#[tokio::test]
async fn a_peer_hears_what_was_sent_before_the_cut() {
    let dir = tempfile::tempdir().expect("dir");
    let heard = listen(&dir.path().join("peer"));
    let (driver, cuts) = driver().await;
    let here = site(dir.path(), "talk peer file=ds:peer hello");
    for (at, after, name, text) in [
        (1, true, "socket.connect ds:peer", ""),
        (2, false, "socket.write", ""),
        (2, true, "socket.write", "hello\n"),
        (3, false, "socket.read", "hello\n"),
    ] {
        was_stopped(stopped(&driver, &cuts, &here, at, after).await, name);
        // The connection ends with the instance.
        assert_eq!(heard.recv_timeout(LONG).as_deref(), Ok(text), "{at} {after}");
    }
}

#[tokio::test]
async fn a_request_is_sent_if_the_cut_is_after_and_not_if_it_is_before() {
    let (port, seen) = web::plain().await;
    let (driver, cuts) = driver().await;
    let mut here = support::nowhere("http GET open /vms?a=b");
    here.config.insert("url".to_owned(), format!("http://127.0.0.1:{port}"));
    for (after, requests) in [(false, 0), (true, 1)] {
        was_stopped(stopped(&driver, &cuts, &here, 1, after).await, "http.request GET open /vms");
        assert_eq!(seen.lock().expect("not poisoned").len(), requests);
    }
}

#[tokio::test]
async fn sessions_are_forgotten_as_they_are_when_a_daemon_dies() {
    let dir = tempfile::tempdir().expect("dir");
    let (driver, cuts) = driver().await;
    let keep = site(dir.path(), "keep token secret 600000");
    let (kept, write) = (site(dir.path(), "kept token"), site(dir.path(), "write ds file hello"));
    told(&driver, &keep).await.expect("kept");
    assert_eq!(told(&driver, &kept).await.as_deref(), Ok("Some(\"secret\")"));
    was_stopped(stopped(&driver, &cuts, &write, 1, false).await, "files.write ds:file");
    assert_eq!(told(&driver, &kept).await.as_deref(), Ok("None"));
}

#[tokio::test]
async fn only_the_watched_effect_is_stopped_and_only_once() {
    let dir = tempfile::tempdir().expect("dir");
    let (driver, cuts) = driver().await;
    let here = site(dir.path(), "write ds file hello");
    // Nothing is watched.
    assert_eq!(told(&driver, &here).await.as_deref(), Ok("()"));
    assert_eq!(cuts.end(), Watched::default());
    // Another effect is.
    let mut other = call(1, LONG).context.key;
    other.step = StepNo(99);
    cuts.watch(other, Some(Cut { at: 1, after: false }));
    assert_eq!(told(&driver, &here).await.as_deref(), Ok("()"));
    assert_eq!(cuts.end(), Watched::default());
    // It makes fewer calls to the host.
    let (answer, watched) = stopped(&driver, &cuts, &here, 2, false).await;
    assert_eq!(answer.as_deref(), Ok("()"));
    assert_eq!((watched.calls.len(), watched.stopped), (1, false));
    // The effect is watched, and nothing stops it.
    cuts.watch(call(1, LONG).context.key, None);
    assert_eq!(told(&driver, &here).await.as_deref(), Ok("()"));
    let watched = cuts.end();
    assert_eq!((watched.calls, watched.stopped), (vec!["files.write ds:file".to_owned()], false));
}
