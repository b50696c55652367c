//! Streams to local sockets of the target host, by their name in the manifest. Capability `socket`.

use crate::Error;
use crate::host::clock;
use crate::sys::socket as host;

/// How many bytes are written at once: the peer takes them as it reads.
const PIECE: usize = 64 * 1024;

/// An open connection. It is closed when it is dropped.
pub struct Connection {
    stream: host::Connection,
    /// What was read and not yet handed out.
    ahead: Vec<u8>,
}

/// Connects to the socket `name`. At most 8 connections of a call are open at once.
///
/// # Errors
/// `gone` with code `no-socket` if there is no such file. `retry` with code `refused` if nobody
/// listens there. `not-here` with code `not-local` if the target host is reached over ssh. `refused`
/// if it is not granted.
pub fn connect(name: &str, holes: &[(&str, &str)]) -> Result<Connection, Error> {
    let stream = host::connect(name, super::exec::arguments(holes))?;
    Ok(Connection { stream, ahead: Vec::new() })
}

impl Connection {
    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// `gone` with code `closed` if the peer has closed the connection. `unknown` with code
    /// `timeout` if it did not take them before the call's deadline.
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<(), Error> {
        bytes.chunks(PIECE).try_for_each(|piece| self.stream.write(piece))
    }

    /// Reads what is there, at most `max` bytes. Waits at most `wait_ms` for it; an empty answer
    /// means that nothing came.
    ///
    /// # Errors
    /// `gone` with code `closed` if the peer has closed the connection.
    pub fn read(&mut self, max: u32, wait_ms: u64) -> Result<Vec<u8>, Error> {
        if self.ahead.is_empty() {
            return self.stream.read(max, wait_ms);
        }
        let count = self.ahead.len().min(max as usize);
        Ok(self.ahead.drain(..count).collect())
    }

    /// Reads up to and without the next byte `end`. Waits at most `wait_ms` in all.
    ///
    /// # Errors
    /// As [`Self::read`]. `unknown` with code `no-answer` if the end did not come in time: what was
    /// read so far is kept for the next call. `unknown` with code `too-long` if `most` bytes came
    /// without the end.
    pub fn read_until(&mut self, end: u8, most: usize, wait_ms: u64) -> Result<Vec<u8>, Error> {
        let until = clock::monotonic_ms().saturating_add(wait_ms);
        let mut looked = 0;
        loop {
            if let Some(at) = self.ahead[looked..].iter().position(|byte| *byte == end) {
                let mut found: Vec<u8> = self.ahead.drain(..=looked + at).collect();
                found.pop();
                return Ok(found);
            }
            looked = self.ahead.len();
            if looked > most {
                let told = format!("the peer sent more than {most} bytes without an end");
                return Err(Error::unknown("too-long", told));
            }
            let wait = until.saturating_sub(clock::monotonic_ms());
            let more = self.stream.read(u32::MAX, wait)?;
            if more.is_empty() {
                let told = format!("the peer did not answer within {wait_ms} ms");
                return Err(Error::unknown("no-answer", told));
            }
            self.ahead.extend(more);
        }
    }

    /// Reads a line, without its end. Bytes that are not UTF-8 are replaced.
    ///
    /// # Errors
    /// As [`Self::read_until`].
    pub fn read_line(&mut self, most: usize, wait_ms: u64) -> Result<String, Error> {
        let line = self.read_until(b'\n', most, wait_ms)?;
        Ok(String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned())
    }
}
