//! Operations: things asked for, and how far they are.

use crate::{
    DiskName, DriverError, Item, MacAddress, NewImage, OperationId, SnapshotName, State, StepKind, StepNo, Timestamp, Verb, VmId,
};
use serde::{Deserialize, Serialize};

/// Where the step in hand stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Phase {
    /// Cannot begin until earlier calls have returned.
    Draining,
    /// A graceful press waits for a guest that booted only just now.
    Delaying {
        /// Until when.
        until: Timestamp,
    },
    /// The driver call of the first pending item is open.
    Calling,
    /// The driver said *not now*.
    Backoff {
        /// Sent again then.
        until: Timestamp,
    },
    /// The answer was lost or said nothing of what is there: a look is open, and the goal decides.
    Confirming,
    /// The button was pressed; looks until the goal is seen or the deadline passes.
    Waiting {
        /// Looks again then.
        until: Timestamp,
    },
    /// The step failed; a look decides which state that leaves.
    Settling,
    /// A look could not be had; asked again then.
    Blind {
        /// Looks again then.
        until: Timestamp,
        /// Whether the look is to settle, not to confirm.
        settling: bool,
    },
}

/// The operation that holds a VM's one slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Active {
    /// Its id.
    pub id: OperationId,
    /// What was asked. For recovery: the verb of the operation that is carried on.
    pub verb: Verb,
    /// The state it began in.
    pub origin: State,
    /// What it is about, where that is not the whole VM.
    #[serde(default)]
    pub subject: Subject,
    /// The steps, fixed when it began.
    pub plan: Vec<StepKind>,
    /// The step in hand: an index into `plan`.
    pub at: usize,
    /// The step in hand's number, unique within the VM.
    pub step: StepNo,
    /// Items of the step in hand that are not done, first first.
    pub pending: Vec<Item>,
    /// Where the step in hand stands.
    pub phase: Phase,
    /// How often the item in hand was sent.
    pub attempt: u32,
    /// How often looking failed in a row.
    pub blind: u32,
    /// How often the item in hand ended in a driver crash.
    pub crashes: u32,
    /// When the step in hand was first sent; none while it waits.
    pub sent: Option<Timestamp>,
    /// When the step in hand counts as failed; from its first sending.
    pub deadline: Option<Timestamp>,
    /// Whether the plan rolls back what went before.
    pub undoing: bool,
    /// What the operator stated about the step in hand; done once its open calls have returned.
    #[serde(default)]
    pub stated: Option<Stated>,
    /// Whether a call of it may have changed something: one was answered with anything else than *not now*, or its answer was lost.
    #[serde(default = "not_known")]
    pub acted: bool,
    /// Whether it goes on with something that a restore of the store has cut: the lost time may have ended it, so nobody knows which of two
    /// copies of a disk is the only one.
    #[serde(default)]
    pub cut: bool,
    /// What the call in hand last ended with; none if the driver said that it is done. While the plan rolls back: why it does.
    pub error: Option<DriverError>,
}

/// What is presumed of operations of a store that did not keep this.
const fn not_known() -> bool {
    true
}

/// What an operation is about, where that is not the whole VM; with what is needed to take it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Subject {
    /// The whole VM.
    #[default]
    Vm,
    /// One disk.
    Disk {
        /// Which.
        name: DiskName,
    },
    /// One network card.
    Nic {
        /// Its address.
        mac: MacAddress,
    },
    /// One system snapshot.
    Snapshot {
        /// Which.
        name: SnapshotName,
    },
    /// One disk that becomes an image now.
    DiskImage {
        /// Which.
        name: DiskName,
        /// What it becomes.
        becomes: NewImage,
    },
    /// Its size.
    Size {
        /// What it was before; while the change is rolled back, what it was to be.
        before: Size,
    },
}

/// CPUs and memory of a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Thousandths of a physical CPU that placement reserves.
    pub cpu_milli: u32,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
}

/// What an operator states about a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stated {
    /// It succeeded; one more look must agree, once its open calls have returned.
    Success,
    /// It succeeded, whatever a look says.
    SuccessForced,
    /// It failed.
    Failure,
    /// Send it again.
    Retry,
    /// Roll the operation back.
    Undo,
}

/// What a decision writes into operations' records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Journal {
    /// An operation began.
    Began {
        /// Which.
        operation: OperationId,
        /// What was asked.
        verb: Verb,
        /// Who asked.
        by: String,
        /// When.
        at: Timestamp,
    },
    /// A step began.
    StepBegan {
        /// Of which operation.
        operation: OperationId,
        /// Its number.
        step: StepNo,
        /// What it is.
        kind: StepKind,
        /// Whether it takes back what went before.
        undoing: bool,
        /// When.
        at: Timestamp,
    },
    /// A step went on: sent again, or in trouble.
    StepWent {
        /// Of which operation.
        operation: OperationId,
        /// How often it was sent.
        attempts: u32,
        /// What went wrong, if anything.
        error: Option<DriverError>,
    },
    /// The step in hand came to nothing: the operation fails, rolls back, or goes on without it.
    StepFailed {
        /// Of which operation.
        operation: OperationId,
        /// What was wrong.
        error: DriverError,
        /// When.
        at: Timestamp,
    },
    /// A step ended.
    StepEnded {
        /// Of which operation.
        operation: OperationId,
        /// When.
        at: Timestamp,
    },
    /// An operation ended.
    Ended {
        /// Which.
        operation: OperationId,
        /// How.
        outcome: Ended,
        /// When.
        at: Timestamp,
    },
}

impl Journal {
    /// Whose record it is for.
    #[must_use]
    pub const fn operation(&self) -> OperationId {
        match self {
            Self::Began { operation, .. }
            | Self::StepBegan { operation, .. }
            | Self::StepWent { operation, .. }
            | Self::StepFailed { operation, .. }
            | Self::StepEnded { operation, .. }
            | Self::Ended { operation, .. } => *operation,
        }
    }
}

impl Active {
    /// The step in hand.
    #[must_use]
    pub fn kind(&self) -> Option<StepKind> {
        self.plan.get(self.at).copied()
    }
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Ended {
    /// As asked.
    Succeeded,
    /// Not as asked; the VM rests where a fresh observation found it.
    Failed {
        /// What the step in hand said.
        error: DriverError,
    },
    /// A stronger verb overtook it.
    Superseded {
        /// Which.
        by: OperationId,
    },
}

/// One step of an operation, as it went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepTrace {
    /// Its number.
    pub step: StepNo,
    /// What it was.
    pub kind: StepKind,
    /// When it was decided.
    pub began: Timestamp,
    /// When it ended; none while it runs.
    pub ended: Option<Timestamp>,
    /// How often its calls were sent.
    pub attempts: u32,
    /// What went wrong last, if anything. One that went well in the end may have been sent more than once for that.
    pub error: Option<DriverError>,
    /// Whether it came to nothing.
    #[serde(default)]
    pub failed: bool,
    /// Whether it took back what went before.
    #[serde(default)]
    pub undoing: bool,
}

/// One thing asked for; lives as long as its VM's record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationRecord {
    /// Its id.
    pub id: OperationId,
    /// Whose.
    pub vm: VmId,
    /// What was asked; none for the creation itself and for what monitoring did.
    pub verb: Option<Verb>,
    /// Who asked.
    pub by: String,
    /// When.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// How.
    pub outcome: Option<Ended>,
    /// The steps so far; the last is the one in hand.
    pub steps: Vec<StepTrace>,
}

impl OperationRecord {
    /// Most steps kept in one operation's record: a delete that insists for days must not grow without bound.
    pub const STEPS_MAX: usize = 64;

    /// The step that the operation failed at, if it did: not the last one of its rollback, and none that it went on without.
    #[must_use]
    pub fn failed_at(&self) -> Option<StepKind> {
        if !matches!(self.outcome, Some(Ended::Failed { .. })) {
            return None;
        }
        let failed = || self.steps.iter().rev().filter(|step| step.failed);
        // Where a store did not keep which one it was, the last one may be.
        let found = failed().find(|step| !step.undoing).or_else(|| failed().next()).or_else(|| self.steps.last());
        found.map(|step| step.kind)
    }

    /// Writes `entry` into the record. An entry about a step goes to the last one.
    pub fn note(&mut self, entry: &Journal) {
        match entry {
            Journal::Began { .. } => {}
            Journal::StepBegan { step, kind, undoing, at, .. } => {
                if self.steps.len() >= Self::STEPS_MAX {
                    self.steps.remove(0);
                }
                let (step, kind, began, undoing) = (*step, *kind, *at, *undoing);
                self.steps.push(StepTrace { step, kind, began, ended: None, attempts: 0, error: None, failed: false, undoing });
            }
            Journal::StepWent { attempts, error, .. } => {
                if let Some(last) = self.steps.last_mut() {
                    last.attempts = *attempts;
                    if error.is_some() {
                        last.error.clone_from(error);
                    }
                }
            }
            Journal::StepFailed { error, at, .. } => {
                if let Some(last) = self.steps.last_mut().filter(|last| last.ended.is_none()) {
                    (last.failed, last.ended) = (true, Some(*at));
                    last.error.get_or_insert_with(|| error.clone());
                }
            }
            Journal::StepEnded { at, .. } => {
                if let Some(last) = self.steps.last_mut() {
                    last.ended.get_or_insert(*at);
                }
            }
            Journal::Ended { outcome, at, .. } => {
                if let Some(last) = self.steps.last_mut() {
                    last.ended.get_or_insert(*at);
                }
                self.ended = Some(*at);
                self.outcome = Some(outcome.clone());
            }
        }
    }
}
