//! QMP: one command, one answer, each a line of JSON; events come between.

use ostler_sdk::host::clock;
use ostler_sdk::host::socket::{self, Connection};
use ostler_sdk::{Call, Error, FilePath};
use serde_json::{Value, json};

/// The longest line: a list of all block devices.
const LINE_MAX: usize = 4 * 1024 * 1024;
/// The pause between two looks at work that takes its time.
const PAUSE_MS: u64 = 20;
/// What is left to a call when it stops to wait.
const SPARE_MS: u64 = 300;

/// A monitor of a QEMU.
pub(crate) struct Monitor {
    stream: Connection,
    wait_ms: u64,
}

impl Monitor {
    /// Connects, and waits at most `wait_ms` for each answer. QEMU serves one client at a time, so
    /// the first answer waits until those before have gone.
    pub(crate) fn open(file: &FilePath, wait_ms: u64) -> Result<Self, Error> {
        let stream = socket::connect("monitor", &[("file", &file.hole())])?;
        let mut monitor = Self { stream, wait_ms };
        monitor.line()?;
        monitor.ask("qmp_capabilities", json!({}))?;
        Ok(monitor)
    }

    /// Sends a command, and answers what it returned.
    pub(crate) fn ask(&mut self, command: &str, arguments: Value) -> Result<Value, Error> {
        let line = json!({"execute": command, "arguments": arguments}).to_string();
        self.stream.write_all(format!("{line}\n").as_bytes())?;
        loop {
            let mut answer = self.line()?;
            if let Some(error) = answer.get("error") {
                let told = error.get("desc").and_then(Value::as_str).unwrap_or_default();
                return Err(refusal(command, told));
            }
            if let Some(returned) = answer.get_mut("return") {
                return Ok(returned.take());
            }
            // An event. What it tells is asked for where it matters.
        }
    }

    /// Sends commands, and waits for no answer: so a call that was told to stop takes back what it
    /// began.
    pub(crate) fn tell(&mut self, commands: &[Value]) -> Result<(), Error> {
        let lines = commands.iter().map(|command| format!("{command}\n"));
        self.stream.write_all(lines.collect::<String>().as_bytes())
    }

    /// QEMU's word for its state.
    pub(crate) fn status(&mut self) -> Result<String, Error> {
        let answer = self.ask("query-status", json!({}))?;
        Ok(answer.get("status").and_then(Value::as_str).unwrap_or_default().to_owned())
    }

    fn line(&mut self) -> Result<Value, Error> {
        let line = self.stream.read_line(LINE_MAX, self.wait_ms).map_err(|error| {
            let hangs = error.code == "no-answer";
            if hangs { Error::retry("monitor-hangs", error.detail) } else { error }
        })?;
        serde_json::from_str(&line)
            .map_err(|error| Error::unknown("no-qmp", format!("this is no QMP: {error}")))
    }
}

/// A command that QEMU refused would be refused again, except where another process holds a disk.
fn refusal(command: &str, told: &str) -> Error {
    let told_by = format!("{command}: {told}");
    if told.contains("\" lock") {
        Error::retry("disk-in-use", told_by)
    } else {
        Error::refused("qemu-refused", told_by)
    }
}

/// Looks again and again until `look` finds something, within the call.
pub(crate) fn until<T>(
    call: &Call,
    what: &str,
    mut look: impl FnMut() -> Result<Option<T>, Error>,
) -> Result<T, Error> {
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        call.go_on()?;
        if call.remaining_ms() < SPARE_MS {
            return Err(Error::retry("not-yet", format!("waited for {what}")));
        }
        clock::sleep_ms(PAUSE_MS)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_another_process_holds_is_asked_for_again() {
        let held = "Failed to get \"write\" lock";
        assert_eq!(
            refusal("blockdev-add", held),
            Error::retry("disk-in-use", format!("blockdev-add: {held}"))
        );
        assert_eq!(refusal("blockdev-del", "Block device file-vda is in use").code, "qemu-refused");
    }
}
