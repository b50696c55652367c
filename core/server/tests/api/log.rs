//! Trouble with standard error does no harm: requests are served and operations end.

use crate::daemon::{Daemon, held, ostlerd_into};
use ostler_api::{ActionBody, Sent};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

/// Longer than anything here takes; a test that waits so long has failed.
const SOON: Duration = Duration::from_secs(30);

fn full() -> File {
    OpenOptions::new().write(true).open("/dev/full").expect("/dev/full is there")
}

/// A full pipe that nobody reads.
fn stuck() -> (std::io::PipeReader, Stdio) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut more = writer.try_clone().expect("another end");
    // This thread fills the pipe, and blocks until the reader is closed.
    std::thread::spawn(move || while more.write_all(&[b'.'; 4096]).is_ok() {});
    (reader, writer.into())
}

/// VMs are made and deleted, and the daemon ends as it should, while its log goes to `err` with the
/// most verbose filter.
async fn works(err: Stdio) {
    let files = tempfile::Builder::new().prefix("oapi-").tempdir().expect("a temporary folder");
    let daemon = Daemon::logging(files.path().join("data"), Some(files), "trace", err);
    for number in 0..20 {
        let work = async {
            let vm = daemon
                .local
                .create_vm(&held(&format!("vm-{number}")), None)
                .await
                .expect("a VM is created")
                .vm;
            let sent = Sent { wait: Some(SOON), ..Sent::default() };
            let gone = daemon
                .local
                .act(&vm.to_string(), "delete", &ActionBody::default(), &sent)
                .await
                .expect("it is answered");
            assert_eq!((gone.state.as_str(), gone.timed_out), ("done", false));
            // Refusals and faults are logged, too.
            assert_eq!(daemon.get("/v1/vms/nobody").await.status, 404);
        };
        tokio::time::timeout(SOON, work).await.expect("the log holds it up");
    }
    assert_eq!(daemon.get("/readyz").await.status, 200);
    let ended = tokio::task::spawn_blocking(|| daemon.stop().0);
    assert_eq!(
        tokio::time::timeout(SOON, ended).await.expect("it ends").expect("it ends"),
        Some(0)
    );
}

#[tokio::test]
async fn on_a_full_disk() {
    works(full().into()).await;
}

#[tokio::test]
async fn into_a_pipe_whose_reader_has_gone() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    works(writer.into()).await;
}

#[tokio::test]
async fn into_a_pipe_that_nobody_reads() {
    let (_reader, writer) = stuck();
    works(writer).await;
}

#[test]
fn an_error_that_cannot_be_told_still_has_its_exit_code() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data").display().to_string();
    let wrong = ["--data-dir", &data, "--listen", "nonsense"];
    assert_eq!(ostlerd_into(&wrong, full().into()).code(), Some(2));
    let (_reader, writer) = stuck();
    assert_eq!(ostlerd_into(&wrong, writer).code(), Some(2));
}

#[tokio::test]
async fn what_is_logged_is_there_when_the_daemon_has_ended() {
    let files = tempfile::Builder::new().prefix("oapi-").tempdir().expect("a temporary folder");
    let path = files.path().join("log");
    let daemon = Daemon::logging(
        files.path().join("data"),
        Some(files),
        "info",
        File::create(&path).expect("a file").into(),
    );
    assert_eq!(daemon.get("/readyz").await.status, 200);
    let (code, _files) = daemon.stop();
    let log = std::fs::read_to_string(&path).expect("the log");
    assert_eq!(code, Some(0));
    assert!(
        log.contains("the first admin token is in this file")
            && log.trim_end().ends_with("told to end"),
        "{log}"
    );
}
