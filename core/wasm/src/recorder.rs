//! The flight recorder: for each operation, which calls its drivers got and which calls they made to
//! the host, with times and answers. It is kept in memory and bounded. Operations in which something
//! failed have room of their own, so that those that went well do not push them out.

use ostler_model::{DriverName, HostName, OperationId};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// The most bytes of all records of operations in which nothing failed, and as many for the others.
const BYTES_MAX: usize = 16 * 1024 * 1024;
/// The first records of an operation that are kept in any case, and the last ones.
const FIRST_MAX: usize = 64;
const LAST_MAX: usize = 192;
/// The bytes that a record takes beside its texts: itself, and its share of the tables.
const RECORD_BYTES: usize = 256;
/// The longest detail that is kept: an error with a backtrace.
const DETAIL_MAX: usize = 2048;

/// The answer of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// `ok`, the code of the error, how a command ended (`exit-1`, `signal-9`), or a status of HTTP
    /// (`404`).
    pub code: String,
    /// The error in words, or the end of a command's standard error.
    pub detail: Option<String>,
    /// Whether it counts as a failure.
    pub failed: bool,
}

impl Answered {
    /// It did what was asked.
    pub(crate) fn ok() -> Self {
        Self { code: "ok".to_owned(), detail: None, failed: false }
    }

    /// It did not.
    pub(crate) fn failed(code: impl Into<String>, detail: &str) -> Self {
        let detail = crate::text::cut(detail, DETAIL_MAX);
        Self { code: code.into(), detail: Some(detail), failed: true }
    }
}

/// One call: of a driver, or by a driver to the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When it began.
    pub at: SystemTime,
    /// The driver.
    pub driver: DriverName,
    /// The host that it was for.
    pub host: Option<HostName>,
    /// The function of the driver (`deploy`).
    pub call: &'static str,
    /// The function of the host that the driver has called within it (`exec.run`). None for the
    /// call of the driver itself.
    pub function: Option<&'static str>,
    /// The arguments, as far as they are no secret: a command line, a file, a request.
    pub what: String,
    /// How long it took.
    pub took: Duration,
    /// How it ended.
    pub answered: Answered,
}

impl Record {
    fn bytes(&self) -> usize {
        let detail = self.answered.detail.as_ref().map_or(0, String::len);
        RECORD_BYTES + self.what.len() + self.answered.code.len() + detail
    }
}

/// The records of one operation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recording {
    /// The calls, in the order in which they ended. A driver's call comes after the calls that it
    /// made.
    pub records: Vec<Record>,
    /// How many were left out in the middle, because there were too many.
    pub left_out: u64,
}

#[derive(Default)]
struct Kept {
    first: Vec<Record>,
    last: VecDeque<Record>,
    left_out: u64,
    bytes: usize,
    failed: bool,
    /// Its place among the operations of its shelf.
    turn: u64,
}

impl Kept {
    fn add(&mut self, record: Record) {
        self.failed |= record.answered.failed;
        self.bytes += record.bytes();
        if self.first.len() < FIRST_MAX {
            self.first.push(record);
            return;
        }
        if self.last.len() == LAST_MAX
            && let Some(gone) = self.last.pop_front()
        {
            self.bytes -= gone.bytes();
            self.left_out += 1;
        }
        self.last.push_back(record);
    }
}

/// Operations by the time of their last record, within their bytes.
#[derive(Default)]
struct Shelf {
    order: BTreeMap<u64, OperationId>,
    bytes: usize,
}

#[derive(Default)]
struct Inner {
    kept: HashMap<OperationId, Kept>,
    well: Shelf,
    failed: Shelf,
    turns: u64,
}

impl Inner {
    fn shelf(&mut self, failed: bool) -> &mut Shelf {
        if failed { &mut self.failed } else { &mut self.well }
    }

    fn add(&mut self, operation: OperationId, record: Record) {
        let mut kept = match self.kept.remove(&operation) {
            Some(kept) => {
                let shelf = self.shelf(kept.failed);
                shelf.bytes -= kept.bytes;
                shelf.order.remove(&kept.turn);
                kept
            }
            None => Kept::default(),
        };
        self.turns += 1;
        kept.turn = self.turns;
        // It may go to the other shelf now.
        kept.add(record);
        let (bytes, turn, failed) = (kept.bytes, kept.turn, kept.failed);
        self.kept.insert(operation, kept);
        let shelf = self.shelf(failed);
        shelf.bytes += bytes;
        shelf.order.insert(turn, operation);
        while self.shelf(failed).bytes > BYTES_MAX {
            let Some((_, oldest)) = self.shelf(failed).order.pop_first() else { break };
            let gone = self.kept.remove(&oldest).map_or(0, |gone| gone.bytes);
            self.shelf(failed).bytes -= gone;
        }
    }
}

/// The flight recorder of a host of components.
#[derive(Default)]
pub(crate) struct Recorder(Mutex<Inner>);

impl Recorder {
    pub(crate) fn add(&self, operation: OperationId, record: Record) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).add(operation, record);
    }

    /// The records of an operation. Empty if there are none, or no longer.
    pub(crate) fn of(&self, operation: OperationId) -> Recording {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.kept.get(&operation).map_or_else(Recording::default, |kept| Recording {
            records: kept.first.iter().chain(&kept.last).cloned().collect(),
            left_out: kept.left_out,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(what: &str, failed: bool) -> Record {
        Record {
            at: SystemTime::UNIX_EPOCH,
            driver: "sim".parse().expect("a name"),
            host: None,
            call: "deploy",
            function: Some("exec.run"),
            what: what.to_owned(),
            took: Duration::from_millis(1),
            answered: if failed { Answered::failed("busy", "why") } else { Answered::ok() },
        }
    }

    #[test]
    fn the_middle_of_a_long_operation_is_left_out_and_counted() {
        let recorder = Recorder::default();
        for number in 0..1000 {
            recorder.add(OperationId(1), record(&number.to_string(), false));
        }
        let found = recorder.of(OperationId(1));
        let whats: Vec<&str> = found.records.iter().map(|record| record.what.as_str()).collect();
        assert_eq!((whats.len(), found.left_out), (FIRST_MAX + LAST_MAX, 744));
        assert_eq!((whats[0], whats[63], whats[64], whats[255]), ("0", "63", "808", "999"));
        assert_eq!(recorder.of(OperationId(2)), Recording::default());
    }

    #[test]
    fn what_went_well_never_pushes_out_what_failed_and_memory_is_bounded() {
        let recorder = Recorder::default();
        let long = "x".repeat(100_000);
        recorder.add(OperationId(1), record("first", false));
        recorder.add(OperationId(1), record("then", true));
        recorder.add(OperationId(1), record("again", false));
        for number in 2..1000 {
            recorder.add(OperationId(number), record(&long, false));
        }
        assert_eq!(recorder.of(OperationId(1)).records.len(), 3);
        assert_eq!(recorder.of(OperationId(2)).records.len(), 0, "it made room");
        assert_eq!(recorder.of(OperationId(999)).records.len(), 1);
        let bytes = |recorder: &Recorder| {
            let inner = recorder.0.lock().expect("not poisoned");
            let summed: usize = inner.kept.values().map(|kept| kept.bytes).sum();
            assert_eq!(summed, inner.well.bytes + inner.failed.bytes);
            assert_eq!(inner.kept.len(), inner.well.order.len() + inner.failed.order.len());
            (inner.well.bytes, inner.failed.bytes)
        };
        let (well, failed) = bytes(&recorder);
        assert!(well <= BYTES_MAX && well > BYTES_MAX / 2 && failed < 2000, "{well} {failed}");
        for number in 1000..2000 {
            recorder.add(OperationId(number), record(&long, true));
        }
        assert_eq!(recorder.of(OperationId(1)).records.len(), 0, "newer failures made it go");
        assert!(bytes(&recorder).1 <= BYTES_MAX);
        // An operation that has run for long has its place when it fails.
        recorder.add(OperationId(998), record("at last", true));
        assert_eq!(recorder.of(OperationId(998)).records.len(), 2);
    }
}
