//! The lease of a command over ssh: the far end runs it only while it hears of this daemon.

use std::convert::Infallible;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::ChildStdin;

/// The sign of life that renews a lease.
const DOT: &[u8] = b".";
/// After so many pauses of silence ssh gives its connection up.
pub(super) const SILENT: u32 = 3;
/// After so many the far end ends the command. It hears of a cut later than this end.
const LAPSE: u32 = 4;
/// After so many nothing of the command is at work: the far end had the time of two pauses to kill
/// it, also if it is so busy that it starts a process in seconds only.
const OVER: u32 = 6;

/// How long a far end runs a command without a sign of life from this daemon.
///
/// When a network is cut, or this machine loses its power, the far end learns nothing of it: sshd
/// waits for its peer for hours. Without a lease a command that was begun before the cut would end
/// after its VM was deleted, or placed on another host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    pause: Duration,
}

impl Lease {
    /// A lease that is renewed every `seconds` (at least one). A command ends after four times as
    /// long without a sign of life, and is over after six times.
    #[must_use]
    pub fn renewed_every(seconds: u8) -> Self {
        Self { pause: Duration::from_secs(u64::from(seconds.max(1))) }
    }

    /// The pause between two signs of life, in whole seconds.
    pub(super) const fn pause(self) -> Duration {
        self.pause
    }

    /// How long the far end waits for a sign of life, in whole seconds.
    pub(super) fn lapse(self) -> Duration {
        self.pause * LAPSE
    }

    /// How long after the end of a connection a command of it may still be at work.
    pub(crate) fn over(self) -> Duration {
        self.pause * OVER
    }
}

impl Default for Lease {
    fn default() -> Self {
        Self::renewed_every(5)
    }
}

/// Renews the lease of a command at its helper, without an end.
pub(super) async fn renew(stdin: &mut Option<ChildStdin>, lease: Option<Lease>) -> Infallible {
    if let (Some(stdin), Some(lease)) = (stdin, lease) {
        loop {
            tokio::time::sleep(lease.pause()).await;
            if stdin.write_all(DOT).await.is_err() {
                break;
            }
        }
    }
    std::future::pending().await
}
