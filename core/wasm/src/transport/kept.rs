//! What is kept of the output of a command, and the helper's last line.

use tokio::io::{AsyncRead, AsyncReadExt};

/// The longest last line of standard error: tag, blank, and `stale` with an epoch.
pub(super) const TRAILER_MAX: usize = 64;

/// The beginning of the bytes that were read, and their last part.
pub(super) struct Kept {
    pub(super) bytes: Vec<u8>,
    most: usize,
    pub(super) total: usize,
    tail: Vec<u8>,
}

impl Kept {
    pub(super) fn new(most: usize) -> Self {
        Self { bytes: Vec::new(), most, total: 0, tail: Vec::new() }
    }

    pub(super) async fn read(&mut self, from: &mut (impl AsyncRead + Unpin)) {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            self.take(&buffer[..count]);
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.total += bytes.len();
        let room = self.most - self.bytes.len();
        self.bytes.extend_from_slice(&bytes[..room.min(bytes.len())]);
        self.tail.extend_from_slice(&bytes[bytes.len().saturating_sub(TRAILER_MAX)..]);
        let excess = self.tail.len().saturating_sub(TRAILER_MAX);
        self.tail.drain(..excess);
    }
}

/// The helper's last line.
pub(super) enum Trailer {
    /// The command has ended with this code. Whether the host could keep the epoch.
    Code { code: i32, kept: bool },
    /// Nothing was run: the host has seen this epoch, or could not compare.
    NotHeld(Option<u64>),
    /// The program is not there.
    NoProgram,
    /// The helper cannot watch over a lease.
    NoTimeout,
}

/// Removes the helper's last line and returns what it says.
pub(super) fn take_trailer(tag: &str, err: &mut Kept, most: usize) -> Option<Trailer> {
    let tail = String::from_utf8_lossy(&err.tail);
    let at = tail.rfind(tag)?;
    let code = tail[at + tag.len()..].strip_prefix(' ')?.strip_suffix('\n')?;
    // The line break before the tag is the helper's as well.
    let trailer = 1 + tag.len() + 1 + code.len() + 1;
    err.total = err.total.saturating_sub(trailer);
    err.bytes.truncate(err.total.min(most));
    match code {
        "no-program" => Some(Trailer::NoProgram),
        "no-timeout" => Some(Trailer::NoTimeout),
        "busy" => Some(Trailer::NotHeld(None)),
        told => match told.strip_prefix("stale ") {
            Some(seen) => seen.parse().ok().map(|seen| Trailer::NotHeld(Some(seen))),
            None => {
                let (code, kept) =
                    told.strip_suffix(" unkept").map_or((told, true), |code| (code, false));
                code.parse().ok().map(|code| Trailer::Code { code, kept })
            }
        },
    }
}
