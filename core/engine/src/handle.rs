//! What the outside may ask of the engine. Everything else is private.

use ostler_lifecycle::{Found, Why};
use ostler_model::{
    Answer, Args, Destroyed, EventSeq, HostId, OperationId, OperationRecord, Refusal, Request, ScheduleId, Timestamp, Verb,
    Version, VmId, VmName, VmSpec,
};
use std::time::Duration;

/// A new VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateRequest {
    /// What it is to be. Checked again here.
    pub spec: VmSpec,
    /// Whether the scheduler leaves it alone at first.
    pub hold: bool,
    /// Who asks; becomes the owner.
    pub by: String,
}

/// Something asked of an existing VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionRequest {
    /// What.
    pub verb: Verb,
    /// Who asks.
    pub by: String,
    /// With what.
    pub args: Args,
    /// For deploy and migrate: where.
    pub host: Option<HostId>,
    /// Refuse if the host's capacity is exceeded.
    pub enforce: bool,
    /// For recover and forget: override the check that what is stated is what is seen.
    pub force: bool,
    /// Only if the record still has this version.
    pub if_version: Option<Version>,
}

/// A domain that is to become a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdoptRequest {
    /// Where it is.
    pub host: HostId,
    /// Its name or UUID at the hypervisor.
    pub domain: String,
    /// What it is to be called; its name at the hypervisor if none is given.
    pub name: Option<VmName>,
    /// Whether it may be another machine from its next start on, where a specification cannot say what it is now.
    pub accept_changes: bool,
    /// Who asks; becomes the owner.
    pub by: String,
}

impl ActionRequest {
    /// `verb` without arguments.
    #[must_use]
    pub fn of(verb: Verb, by: impl Into<String>) -> Self {
        Self { verb, by: by.into(), args: Args::None, host: None, enforce: false, force: false, if_version: None }
    }

    /// Whether the network address of a new card is chosen for it.
    pub(crate) fn chooses_mac(&self) -> bool {
        matches!(&self.args, Args::NewNic(nic) if nic.mac.is_none())
    }

    /// As the lifecycle is asked.
    pub(crate) fn to_request(&self, operation: OperationId, schedule: Option<ScheduleId>) -> Request {
        Request {
            operation,
            verb: self.verb,
            by: self.by.clone(),
            args: self.args.clone(),
            host: self.host,
            enforce: self.enforce,
            force: self.force,
            if_version: self.if_version,
            schedule,
        }
    }
}

/// What makes a repeated POST the same request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// Who sent it.
    pub who: String,
    /// The route with its ids.
    pub route: String,
    /// The client's key.
    pub key: String,
    /// SHA-256 of the body, in hexadecimal.
    pub body_hash: String,
}

/// An answer, and whether it is a repeat of an earlier one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replied {
    /// The answer.
    pub answer: Answer,
    /// Whether the same request was answered before, and nothing was done now.
    pub replayed: bool,
}

/// What would happen, and why not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Preview {
    /// The refusal, if it would be refused.
    pub refused: Option<Refusal>,
    /// The states it would pass through, in order, ending with the one it would rest in.
    pub states: Vec<String>,
    /// The steps it would take.
    pub steps: Vec<String>,
    /// What would be overtaken.
    pub overtakes: Option<OperationId>,
    /// Snapshots that would be removed, by name.
    pub loses: Vec<String>,
    /// Snapshots that would no longer be offered, by name.
    pub hides: Vec<String>,
    /// All that would be removed for good.
    pub destroys: Vec<Destroyed>,
    /// For a VM that would be created: what the scheduler would do with it now, a line a host.
    pub scheduler: Vec<String>,
}

/// What the snapshot rules bound to a VM say now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotAdvice {
    /// The rules that were asked.
    pub rules: String,
    /// None: a snapshot may be made now. Some: why not.
    pub refused: Option<String>,
}

/// Why the engine did not do it. Knows no HTTP.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No such VM.
    #[error("there is no VM {0}")]
    NoSuchVm(VmId),
    /// No such operation.
    #[error("there is no operation {0}")]
    NoSuchOperation(OperationId),
    /// Refused: nothing was changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The specification is wrong: nothing was changed.
    #[error(transparent)]
    InvalidSpec(#[from] ostler_model::InvalidSpec),
    /// Something the request names is not there or cannot serve: nothing was changed.
    #[error("{what} cannot be used: {why}")]
    Unusable {
        /// What was named.
        what: String,
        /// What is wrong and what to do.
        why: String,
    },
    /// A resource could not be changed: nothing was changed.
    #[error(transparent)]
    Resource(#[from] ostler_store::ResourceRefused),
    /// The key was used for another body.
    #[error("idempotency key {key:?} was used before with another body; use a new key for a new request")]
    IdempotencyConflict {
        /// The key.
        key: String,
    },
    /// Too much is waiting for this VM.
    #[error("VM {vm} has {waiting} requests waiting already; try again when some are answered")]
    Overloaded {
        /// Whose mailbox.
        vm: VmId,
        /// Its bound.
        waiting: usize,
    },
    /// The store cannot be written.
    #[error("the store cannot commit")]
    Store(#[from] ostler_store::CommitError),
    /// The store cannot be read.
    #[error("the store cannot be read")]
    Read(#[from] ostler_store::ReadError),
    /// The daemon ends.
    #[error("the daemon is shutting down; ask again when it is back")]
    ShuttingDown,
    /// A part of the engine panicked before it answered.
    #[error(
        "the daemon failed while it served this request; look whether it was done before you ask again, and report what its log says"
    )]
    Crashed,
}

/// A VM and the words for what it waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// Whose.
    pub vm: VmId,
    /// The words.
    pub why: Why,
    /// For pending VMs: what the scheduler said last, a line a host.
    pub scheduler: Vec<String>,
}

/// A store that came back with a backup, and what is not reconciled yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The time of the newest event of the backup.
    pub as_of: Timestamp,
    /// The number of that event.
    pub seq: EventSeq,
    /// Hosts that are on and have not been listed since the start: they are waited for.
    pub hosts: Vec<HostId>,
    /// VMs that are not reconciled; not all, if there are very many.
    pub vms: Vec<Unreconciled>,
    /// How many there are.
    pub total: usize,
}

/// A VM that is not reconciled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreconciled {
    /// Which.
    pub vm: VmId,
    /// Its name.
    pub name: VmName,
    /// Domains of it that hosts have listed.
    pub found: Vec<Found>,
    /// Whether only a person can tell which of them is the VM.
    pub in_doubt: bool,
}

/// A host as the monitor sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostHealth {
    /// Which.
    pub host: HostId,
    /// Whether it answered when it was asked last.
    pub reachable: bool,
    /// Since when that is so.
    pub since: Timestamp,
    /// What it said last, if it was an error.
    pub error: Option<String>,
    /// The hypervisor and its version.
    pub hypervisor: String,
    /// Things an operator should know.
    pub notes: Vec<String>,
    /// What its driver can do there.
    pub abilities: Vec<ostler_model::Ability>,
    /// Domains that are not ours, by name.
    pub wild: Vec<String>,
    /// Domains that should not be there.
    pub zombies: Vec<String>,
}

/// How a driver fares.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DriverHealth {
    /// Calls sent.
    pub calls: u64,
    /// Calls that ended in an error.
    pub errors: u64,
    /// Time spent in calls, in microseconds.
    pub busy_us: u64,
    /// The last error.
    pub last_error: Option<String>,
}

/// A finished or running operation, as waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waited {
    /// The operation as it is now.
    pub operation: OperationRecord,
    /// Whether the time was up first.
    pub timed_out: bool,
    /// The VM's state now.
    pub state: ostler_model::State,
    /// The VM's version now.
    pub version: Version,
}

/// The longest one may wait for an operation in one request: longer waits are the event feed's business.
pub const WAIT_MAX: Duration = Duration::from_secs(300);
