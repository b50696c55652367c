//! Operations: verbs that were accepted, and how far they have come.

use crate::{
    DiskName, DriverError, Item, MacAddress, NewImage, OperationId, SnapshotName, State, StepKind,
    StepNo, Timestamp, Verb, VmId,
};
use serde::{Deserialize, Serialize};

/// The progress of the current step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Phase {
    /// The step waits until earlier calls have returned.
    Draining,
    /// The step presses the power button, and waits because the guest has booted only just now.
    Delaying {
        /// When the step is sent.
        until: Timestamp,
    },
    /// The driver call of the first pending item is open.
    Calling,
    /// The driver answered *not now*.
    Backoff {
        /// When the call is sent again.
        until: Timestamp,
    },
    /// The answer was lost, or did not say what is there. A look is open; whether it shows the goal
    /// decides.
    Confirming,
    /// The power button was pressed, or the hypervisor is still starting the domain. Ostler looks
    /// again and again until it sees the goal or the deadline passes.
    Waiting {
        /// When it looks again.
        until: Timestamp,
    },
    /// The step failed. A look decides the state in which the VM now is.
    Settling,
    /// A look failed: the host could not be asked. Ostler looks again later.
    Blind {
        /// When it looks again.
        until: Timestamp,
        /// Whether the look serves to settle a failed step ([`Phase::Settling`]), not to confirm an
        /// answer.
        settling: bool,
    },
}

impl Phase {
    /// When the operation goes on by itself. None: it waits for an answer.
    #[must_use]
    pub const fn due(&self) -> Option<Timestamp> {
        match self {
            Self::Delaying { until }
            | Self::Backoff { until }
            | Self::Waiting { until }
            | Self::Blind { until, .. } => Some(*until),
            Self::Draining | Self::Calling | Self::Confirming | Self::Settling => None,
        }
    }
}

/// The operation that holds a VM's one slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Active {
    /// Its id.
    pub id: OperationId,
    /// The verb. For a recovery: the verb of the operation that is carried on.
    pub verb: Verb,
    /// The state it began in.
    pub origin: State,
    /// The part of the VM that it acts on, if that is not the whole VM.
    #[serde(default)]
    pub subject: Subject,
    /// The steps. The plan was made when the operation began.
    pub plan: Vec<StepKind>,
    /// The current step: an index into `plan`.
    pub at: usize,
    /// The number of the current step, unique within the VM.
    pub step: StepNo,
    /// The items of the current step that are not done, in the order in which they are done.
    pub pending: Vec<Item>,
    /// The progress of the current step.
    pub phase: Phase,
    /// How often the current item's call was sent.
    pub attempt: u32,
    /// How many looks in a row failed.
    pub blind: u32,
    /// How often the current item's call ended in a driver crash.
    pub crashes: u32,
    /// When the current step was first sent; none while it waits.
    pub sent: Option<Timestamp>,
    /// When the current step counts as failed. Counted from the time it was first sent.
    pub deadline: Option<Timestamp>,
    /// Whether the plan is a rollback of the steps before.
    pub undoing: bool,
    /// The operator's statement about the current step. It takes effect after the step's open calls
    /// have returned.
    #[serde(default)]
    pub stated: Option<Stated>,
    /// Whether one of its calls may have changed something: a call was answered with anything but *not
    /// now*, or its answer was lost.
    #[serde(default = "not_known")]
    pub acted: bool,
    /// Whether it carries on an operation that a restore of the store has cut. That operation may
    /// have ended in the lost time, so Ostler does not know which of two copies of a disk is the
    /// only valid one.
    #[serde(default)]
    pub cut: bool,
    /// The last error of the current call; none if the driver said that the call is done. During a
    /// rollback: the error that caused the rollback.
    pub error: Option<DriverError>,
}

/// The value for operations in rows that were written before this field existed.
const fn not_known() -> bool {
    true
}

/// The part of a VM that an operation acts on, with the data that is needed to roll it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Subject {
    /// The whole VM.
    #[default]
    Vm,
    /// One disk.
    Disk {
        /// The disk's name.
        name: DiskName,
    },
    /// One network card.
    Nic {
        /// Its address.
        mac: MacAddress,
    },
    /// One system snapshot.
    Snapshot {
        /// The snapshot's name.
        name: SnapshotName,
    },
    /// One disk, of which an image is made now.
    DiskImage {
        /// The disk's name.
        name: DiskName,
        /// The image that is made of it.
        becomes: NewImage,
    },
    /// The VM's CPUs and memory.
    Size {
        /// The size before the change. During a rollback: the size that the change was meant to
        /// reach.
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

/// The statement of an operator about a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stated {
    /// The step succeeded. After its open calls have returned, one more look must agree.
    Success,
    /// The step succeeded, even if a look disagrees.
    SuccessForced,
    /// The step failed.
    Failure,
    /// Send the step again.
    Retry,
    /// Roll the operation back.
    Undo,
}

/// An entry that a decision writes into an operation's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Journal {
    /// An operation began.
    Began {
        /// The operation.
        operation: OperationId,
        /// The verb.
        verb: Verb,
        /// Who asked.
        by: String,
        /// When that happened.
        at: Timestamp,
    },
    /// A step began.
    StepBegan {
        /// The operation of the step.
        operation: OperationId,
        /// The step's number.
        step: StepNo,
        /// The kind of step.
        kind: StepKind,
        /// Whether it is part of a rollback.
        undoing: bool,
        /// When that happened.
        at: Timestamp,
    },
    /// A call of a step was sent again, or failed.
    StepWent {
        /// The operation of the step.
        operation: OperationId,
        /// How often it was sent.
        attempts: u32,
        /// The error, if there was one.
        error: Option<DriverError>,
    },
    /// The current step failed. The operation fails, rolls back, or goes on without the step.
    StepFailed {
        /// The operation of the step.
        operation: OperationId,
        /// The error.
        error: DriverError,
        /// When that happened.
        at: Timestamp,
    },
    /// A step ended.
    StepEnded {
        /// The operation of the step.
        operation: OperationId,
        /// When that happened.
        at: Timestamp,
    },
    /// An operation ended.
    Ended {
        /// The operation.
        operation: OperationId,
        /// How it ended.
        outcome: Ended,
        /// When that happened.
        at: Timestamp,
    },
}

impl Journal {
    /// The operation that the entry belongs to.
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
    /// The current step.
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
    /// Not as asked. The VM rests in the state that a fresh observation showed.
    Failed {
        /// The error of the step that failed.
        error: DriverError,
    },
    /// A stronger verb overtook it.
    Superseded {
        /// The operation that overtook it.
        by: OperationId,
    },
}

/// The history of one step of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepTrace {
    /// The step's number.
    pub step: StepNo,
    /// The kind of step.
    pub kind: StepKind,
    /// When it was decided.
    pub began: Timestamp,
    /// When it ended; none while it runs.
    pub ended: Option<Timestamp>,
    /// How often its calls were sent.
    pub attempts: u32,
    /// Its last error, if there was one. A step that succeeded may have an error, if it was sent
    /// more than once.
    pub error: Option<DriverError>,
    /// Whether it failed.
    #[serde(default)]
    pub failed: bool,
    /// Whether it was part of a rollback.
    #[serde(default)]
    pub undoing: bool,
}

/// The record of one operation. The store keeps those that have not ended, and the newest ended
/// ones of each VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationRecord {
    /// Its id.
    pub id: OperationId,
    /// Its VM.
    pub vm: VmId,
    /// The verb. None for the creation of the VM, and for changes made by monitoring.
    pub verb: Option<Verb>,
    /// Who asked.
    pub by: String,
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// How it ended; none while it runs.
    pub outcome: Option<Ended>,
    /// The steps so far; the last one is the current step.
    pub steps: Vec<StepTrace>,
}

impl OperationRecord {
    /// Most steps in one operation's record. Without this limit, the record of a delete that
    /// retries for days would grow without bound.
    pub const STEPS_MAX: usize = 64;

    /// The step at which the operation failed, if it failed. This is not the last step of the
    /// rollback, and not a step that the operation went on without.
    #[must_use]
    pub fn failed_at(&self) -> Option<StepKind> {
        if !matches!(self.outcome, Some(Ended::Failed { .. })) {
            return None;
        }
        let failed = || self.steps.iter().rev().filter(|step| step.failed);
        // Older rows do not say which step failed: assume the last one.
        let found = failed()
            .find(|step| !step.undoing)
            .or_else(|| failed().next())
            .or_else(|| self.steps.last());
        found.map(|step| step.kind)
    }

    /// Writes `entry` into the record. An entry about a step is written to the last step.
    pub fn note(&mut self, entry: &Journal) {
        match entry {
            Journal::Began { .. } => {}
            Journal::StepBegan { step, kind, undoing, at, .. } => {
                if self.steps.len() >= Self::STEPS_MAX {
                    self.steps.remove(0);
                }
                let (step, kind, began, undoing) = (*step, *kind, *at, *undoing);
                self.steps.push(StepTrace {
                    step,
                    kind,
                    began,
                    ended: None,
                    attempts: 0,
                    error: None,
                    failed: false,
                    undoing,
                });
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
