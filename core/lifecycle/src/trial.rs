//! When a new file of a driver is taken back by itself.
//!
//! The last answers of a driver are counted all the time. So when another
//! file takes the driver's place, it is known how the old one fared. The new one is on trial for a
//! while. It is taken back if it crashes, or if many more of its calls fail than of the old one's.

use crate::crash::is_crash;
use ostler_model::{DriverError, ErrorKind, Millis, VmUuid};
use std::collections::{BTreeSet, VecDeque};

/// How long a new file is on trial.
pub const TRIAL: Millis = Millis(600_000);
/// How many answers are remembered.
const WINDOW: usize = 20;
/// So many crashes among them are enough. One operation alone does not fail by so many.
const CRASHES: usize = 2;
/// So many failures are needed at least.
const FAILURES: usize = 5;
/// They must be of so many VMs: one VM alone may have a fault of its own.
const OF_VMS: usize = 3;
/// So many answers of the old file are needed to compare with them.
const KNOWN: usize = 10;

/// An answer, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Good,
    Failed,
    Crashed,
}

/// The last answers of a driver.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answers(VecDeque<(VmUuid, Kind)>);

impl Answers {
    /// Adds an answer to a call for a VM. `None` is a success.
    pub fn add(&mut self, vm: VmUuid, error: Option<&DriverError>) {
        if self.0.len() == WINDOW {
            self.0.pop_front();
        }
        self.0.push_back((vm, error.map_or(Kind::Good, kind)));
    }

    fn count(&self, wanted: Kind) -> usize {
        self.0.iter().filter(|(_, kind)| *kind == wanted).count()
    }

    /// Of how many VMs the calls were that failed or crashed.
    fn vms_in_trouble(&self) -> usize {
        let bad = self.0.iter().filter(|(_, kind)| *kind != Kind::Good);
        bad.map(|(vm, _)| vm).collect::<BTreeSet<_>>().len()
    }
}

/// An error that tells a fact (there is no such domain, a newer one is there, the call was told to
/// stop) is a good answer.
fn kind(error: &DriverError) -> Kind {
    match error.kind {
        _ if is_crash(error) => Kind::Crashed,
        ErrorKind::Gone | ErrorKind::Stale | ErrorKind::Cancelled => Kind::Good,
        ErrorKind::Retry | ErrorKind::Refused | ErrorKind::NotHere | ErrorKind::Unknown => {
            Kind::Failed
        }
    }
}

/// Why a new file is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spike {
    /// So many of its last calls crashed.
    Crashes {
        /// The crashes.
        crashed: usize,
        /// Of so many calls.
        of: usize,
    },
    /// Many more of its last calls failed than of those of the file before.
    Failures {
        /// The failures.
        failed: usize,
        /// Of so many calls.
        of: usize,
        /// The failures of the file before.
        before: usize,
        /// Of so many calls.
        before_of: usize,
    },
}

/// Whether a file on trial is to be taken back. `before` are the last answers of the file before.
///
/// Failures count only if the file before had answered often enough, and well: at most every tenth
/// call failed. Otherwise the fault may be that of a host.
#[must_use]
pub fn spike(before: &Answers, now: &Answers) -> Option<Spike> {
    let (crashed, of) = (now.count(Kind::Crashed), now.0.len());
    if crashed >= CRASHES {
        return Some(Spike::Crashes { crashed, of });
    }
    let failed = crashed + now.count(Kind::Failed);
    let before_of = before.0.len();
    let before = before_of - before.count(Kind::Good);
    let many = failed >= FAILURES && failed * 2 >= of && now.vms_in_trouble() >= OF_VMS;
    let was_well = before_of >= KNOWN && before * 10 <= before_of;
    (many && was_well).then_some(Spike::Failures { failed, of, before, before_of })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm(n: usize) -> VmUuid {
        VmUuid(uuid::Uuid::from_u128(n as u128))
    }

    /// Answers to calls for so many VMs, in turn.
    fn answers_of(vms: usize, good: usize, failed: usize, crashed: usize) -> Answers {
        let mut answers = Answers::default();
        let failure = DriverError::retry("busy", "");
        let crash = DriverError::unknown("driver-trap", "");
        let all = std::iter::repeat_n(None, good)
            .chain(std::iter::repeat_n(Some(&failure), failed))
            .chain(std::iter::repeat_n(Some(&crash), crashed));
        all.enumerate().for_each(|(n, answer)| answers.add(vm(n % vms), answer));
        answers
    }

    fn answers(good: usize, failed: usize, crashed: usize) -> Answers {
        answers_of(3, good, failed, crashed)
    }

    #[test]
    fn two_crashes_are_enough_whatever_was_before_and_one_operation_survives_them() {
        let nothing = Answers::default();
        assert_eq!(spike(&nothing, &answers(4, 0, 1)), None);
        assert_eq!(spike(&nothing, &answers(4, 0, 2)), Some(Spike::Crashes { crashed: 2, of: 6 }));
        assert!(CRASHES < crate::step::CRASHES_MAX as usize);
    }

    #[test]
    fn failures_count_only_against_a_file_that_fared_well() {
        let bad = answers(5, 5, 0);
        let told = Spike::Failures { failed: 5, of: 10, before: 1, before_of: 10 };
        assert_eq!(spike(&answers(9, 1, 0), &bad), Some(told));
        for before in [answers(9, 0, 0), answers(8, 2, 0), answers(0, 20, 0)] {
            assert_eq!(spike(&before, &bad), None, "{before:?}");
        }
        // Less than half of the calls, too few of them, or of too few VMs.
        for now in [answers(6, 5, 0), answers(0, 4, 0), answers_of(2, 0, 20, 0)] {
            assert_eq!(spike(&answers(20, 0, 0), &now), None, "{now:?}");
        }
    }

    #[test]
    fn facts_are_not_failures_and_old_answers_are_forgotten() {
        let mut answers = answers(0, 20, 0);
        for kind in [ErrorKind::Gone, ErrorKind::Stale, ErrorKind::Cancelled] {
            let fact = DriverError::new(kind, "fact", "");
            (0..WINDOW).for_each(|_| answers.add(vm(1), Some(&fact)));
        }
        assert_eq!((answers.0.len(), answers.count(Kind::Good)), (WINDOW, WINDOW));
    }
}
