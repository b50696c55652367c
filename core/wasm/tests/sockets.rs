//! The capability `socket`, against real Unix sockets.

mod support;

use ostler_driver::{Hypervisor, Site};
use ostler_model::{ErrorKind, ExecTransport};
use ostler_wasm::HostOptions;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{all, call, host, hypervisor, load, options, site, told};

/// Longer than any call of these tests may take.
const LONG: Duration = Duration::from_secs(20);

async fn driver() -> Arc<dyn Hypervisor> {
    hypervisor(&load(&host(options()), all()).await)
}

/// Listens at `path` and does `each` with every connection, for as long as the test runs.
fn listen(path: &Path, each: impl Fn(UnixStream) + Send + 'static) {
    let listener = UnixListener::bind(path).expect("a socket");
    std::thread::spawn(move || listener.incoming().flatten().for_each(each));
}

async fn code(driver: &Arc<dyn Hypervisor>, here: &Site) -> (ErrorKind, String) {
    let error = told(driver, here).await.expect_err("an error");
    (error.kind, error.code)
}

#[tokio::test]
async fn what_is_sent_is_answered() {
    let dir = tempfile::tempdir().expect("dir");
    std::fs::create_dir(dir.path().join("deep")).expect("a folder");
    listen(&dir.path().join("deep/echo"), |mut peer| {
        let mut buffer = [0; 64];
        while let Ok(count @ 1..) = peer.read(&mut buffer) {
            peer.write_all(&buffer[..count]).expect("written");
        }
    });
    let driver = driver().await;
    let here = site(dir.path(), "talk peer file=ds:deep/echo hello,world");
    assert_eq!(told(&driver, &here).await, Ok("\"hello,world\\n\"".to_owned()));
}

#[tokio::test]
async fn who_is_not_there_is_told_apart() {
    let dir = tempfile::tempdir().expect("dir");
    let file = |name: &str| dir.path().join(name);
    listen(&file("closes"), drop);
    drop(UnixListener::bind(file("dead")).expect("a socket"));
    std::fs::write(file("plain"), "").expect("a file");
    // One that never accepts, with all places taken.
    let full = UnixListener::bind(file("full")).expect("a socket");
    rustix::net::listen(&full, 0).expect("told again");
    let _waits = UnixStream::connect(file("full")).expect("the one place");
    let outside = tempfile::tempdir().expect("dir");
    listen(&outside.path().join("sock"), |mut peer| drop(peer.write_all(b"secret")));
    symlink(outside.path(), file("out")).expect("a link");
    symlink(outside.path().join("sock"), file("link")).expect("a link");
    let driver = driver().await;
    for (deed, kind, wanted) in [
        ("hear peer file=ds:closes 1 60000", ErrorKind::Gone, "closed"),
        ("hear peer file=ds:nothing 1 60000", ErrorKind::Gone, "no-socket"),
        ("hear peer file=ds:dead 1 60000", ErrorKind::Retry, "refused"),
        ("hear peer file=ds:plain 1 60000", ErrorKind::Refused, "wrong-kind"),
        ("hear peer file=ds:full 1 60000", ErrorKind::Retry, "busy"),
        ("hear peer file=ds:closes 0 0", ErrorKind::Refused, "bad-argument"),
        ("hear fixed name=x 1 0", ErrorKind::Gone, "no-socket"),
        ("hear fixed name=../x 1 0", ErrorKind::Refused, "bad-argument"),
        ("hear peer file=ds:out/sock 1 60000", ErrorKind::Refused, "outside-datastore"),
        ("hear peer file=ds:link 1 60000", ErrorKind::Refused, "outside-datastore"),
        ("hear peer file=other:x 1 0", ErrorKind::Refused, "no-such-datastore"),
    ] {
        let found = code(&driver, &site(dir.path(), deed)).await;
        assert_eq!(found, (kind, wanted.to_owned()), "{deed}");
    }
    let mut far = site(dir.path(), "hear peer file=ds:closes 1 0");
    far.transport = ExecTransport::Ssh {
        destination: "nobody@127.0.0.1".to_owned(),
        port: 1,
        identity_file: None,
        known_hosts: None,
    };
    let driver = hypervisor(&load(&host(options()), support::without_commands()).await);
    assert_eq!(code(&driver, &far).await, (ErrorKind::NotHere, "not-local".to_owned()));
}

#[tokio::test]
async fn a_peer_that_never_answers_holds_nobody() {
    let dir = tempfile::tempdir().expect("dir");
    let (keep, kept) = std::sync::mpsc::channel();
    listen(&dir.path().join("mute"), move |peer| drop(keep.send(peer)));
    let driver = driver().await;
    // The wait that the driver asks for.
    let here = site(dir.path(), "hear peer file=ds:mute 9 50");
    assert_eq!(told(&driver, &here).await, Ok("0".to_owned()));
    // The call's deadline.
    for deed in ["hear peer file=ds:mute 9 18446744073709551615", "pour peer file=ds:mute"] {
        let (here, control) = (site(dir.path(), deed), call(1, Duration::from_millis(300)));
        let begun = Instant::now();
        let error = driver.remove(&here, &control).await.expect_err("the deadline");
        assert!(["told", "timeout", "driver-deadline"].contains(&error.code.as_str()), "{error}");
        assert!(begun.elapsed() < LONG / 2, "{:?}", begun.elapsed());
    }
    // The call's cancel.
    let here = site(dir.path(), "hear peer file=ds:mute 9 18446744073709551615");
    let control = call(1, LONG);
    // The peers are kept: one that is dropped has closed its connection. A call that met its
    // deadline early may have had none.
    let mut peers: Vec<_> = kept.try_iter().collect();
    let before = peers.len();
    let cancel = async {
        while peers.len() == before && Instant::now() + LONG / 2 < control.until {
            peers.extend(kept.try_recv().ok());
            tokio::task::yield_now().await;
        }
        control.cancel.cancel();
        peers
    };
    let begun = Instant::now();
    let (answer, _peers) = tokio::join!(driver.remove(&here, &control), cancel);
    assert_eq!(answer.expect_err("cancelled").code, "cancelled");
    assert!(begun.elapsed() < LONG / 2, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_call_has_few_connections_and_bytes() {
    let dir = tempfile::tempdir().expect("dir");
    let (keep, kept) = std::sync::mpsc::channel();
    listen(&dir.path().join("mute"), move |peer| drop(keep.send(peer)));
    listen(&dir.path().join("eats"), |mut peer| {
        let mut buffer = vec![0; 1 << 20];
        while let Ok(1..) = peer.read(&mut buffer) {}
    });
    // What is sent is copied, which takes the driver's CPU time.
    let patient = HostOptions { cpu_budget: LONG, ..options() };
    let driver = hypervisor(&load(&host(patient), all()).await);
    let here = site(dir.path(), "many peer file=ds:mute");
    let found = told(&driver, &here).await;
    assert_eq!(found.as_deref(), Ok("(8, \"too-many-connections\", true)"));
    assert_eq!(kept.iter().take(9).count(), 9);
    let here = site(dir.path(), "pour peer file=ds:eats");
    assert_eq!(code(&driver, &here).await, (ErrorKind::Refused, "too-large".to_owned()));
}
