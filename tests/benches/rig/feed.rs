//! The event stream. It tells tasks when a VM has reached a state, so that no task polls.

use super::client::{Connection, number};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::sync::oneshot;

/// How long anything may take at most.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Default)]
struct Seen {
    state: String,
    waits: Option<(String, oneshot::Sender<()>)>,
}

/// The states of all VMs, as the feed has reported them.
#[derive(Clone, Default)]
pub(crate) struct Feed(Arc<Mutex<HashMap<u64, Seen>>>);

impl Feed {
    /// Watches from now on, in its own task. The task ends with the daemon.
    ///
    /// # Panics
    /// When nobody listens.
    pub(crate) async fn watch(socket: &Path) -> Self {
        let feed = Self::default();
        let connection = Connection::open(socket).await.expect("the daemon listens");
        let mut stream =
            connection.stream("/v1/events?kind=state").await.expect("the daemon answers");
        let mut greeting = [0; 4096];
        // The head and ": connected". No event is missed after that.
        let count = stream.read(&mut greeting).await.expect("the daemon answers");
        assert!(count > 0, "the event stream was closed");
        tokio::spawn(follow(stream, feed.clone()));
        feed
    }

    /// Waits until a VM is in a state.
    ///
    /// # Panics
    /// When the VM fails instead, or does not reach the state in time.
    pub(crate) async fn reach(&self, vm: u64, state: &str) {
        let told = {
            let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let of = seen.entry(vm).or_default();
            if of.state == state {
                return;
            }
            let (tell, told) = oneshot::channel();
            of.waits = Some((state.to_owned(), tell));
            told
        };
        let ended = tokio::time::timeout(PATIENCE, told).await;
        assert!(
            matches!(ended, Ok(Ok(()))),
            "VM {vm} did not become {state}: it is {}",
            self.state(vm)
        );
    }

    /// Forgets a VM that is done.
    pub(crate) fn forget(&self, vm: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&vm);
    }

    fn state(&self, vm: u64) -> String {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(&vm).map(|seen| seen.state.clone()).unwrap_or_default()
    }

    fn line(&self, line: &str) {
        let Some((vm, to)) = state_of(line) else { return };
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = seen.entry(vm).or_default();
        to.clone_into(&mut of.state);
        if of.waits.as_ref().is_some_and(|(wanted, _)| wanted == to)
            && let Some((_, tell)) = of.waits.take()
        {
            // The waiting task may have given up.
            let _ = tell.send(());
        }
        if to == "failed" {
            eprintln!("VM {vm} failed: {line}");
            of.waits = None;
        }
    }
}

fn state_of(line: &str) -> Option<(u64, &str)> {
    let data = line.strip_prefix("data: ")?;
    let vm = number(data, "vm")?;
    let at = data.find("\"to\":\"")? + 6;
    let end = data[at..].find('"')?;
    Some((vm, &data[at..at + end]))
}

/// Reads lines until the daemon is gone. Lines of the chunked encoding do not look like events and
/// are ignored.
async fn follow(mut stream: UnixStream, feed: Feed) {
    let mut buffer = Vec::with_capacity(256 * 1024);
    while stream.read_buf(&mut buffer).await.is_ok_and(|count| count > 0) {
        let Some(whole) = buffer.iter().rposition(|byte| *byte == b'\n') else { continue };
        for line in String::from_utf8_lossy(&buffer[..whole]).lines() {
            feed.line(line);
        }
        buffer.drain(..=whole);
    }
}
