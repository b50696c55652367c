//! Reads the serial console of a guest.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::Duration;

use crate::wait::wait_until;

/// Reads a guest's serial console from its log file. Each wait continues where the last one ended.
#[derive(Debug)]
pub struct SerialLog {
    path: PathBuf,
    position: u64,
}

impl SerialLog {
    /// A reader that starts at the beginning of the file, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), position: 0 }
    }

    /// Everything in the file.
    pub fn contents(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.path).unwrap_or_default()).into_owned()
    }

    /// Skips everything that is already in the file. The next wait is for something new.
    pub fn skip_to_end(&mut self) {
        self.position = fs::metadata(&self.path).map_or(0, |file| file.len());
    }

    /// Waits for a line that contains `pattern`, and returns it. The next wait starts behind it.
    ///
    /// # Panics
    ///
    /// When `timeout` has passed. The message has the last lines of the console.
    #[track_caller]
    pub fn wait_for(&mut self, pattern: &str, timeout: Duration) -> String {
        let what = format!("{pattern:?} on the console {}", self.path.display());
        let (line, behind) = wait_until(&what, timeout, || self.find(pattern));
        self.position = behind;
        line
    }

    /// The first complete line after the position that contains the pattern, and the position
    /// behind it.
    fn find(&mut self, pattern: &str) -> Result<(String, u64), String> {
        let bytes = self.read_on().map_err(|error| error.to_string())?;
        let mut behind = self.position;
        for line in
            bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"))
        {
            behind += line.len() as u64;
            let text = String::from_utf8_lossy(line);
            if text.contains(pattern) {
                return Ok((text.trim().to_owned(), behind));
            }
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        Err(lines[lines.len().saturating_sub(5)..].join(" | "))
    }

    fn read_on(&mut self) -> io::Result<Vec<u8>> {
        let mut file = fs::File::open(&self.path)?;
        if file.metadata()?.len() < self.position {
            self.position = 0; // a new start of the guest has begun the file again
        }
        file.seek(SeekFrom::Start(self.position))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}
