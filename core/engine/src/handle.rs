//! The types of the engine's public interface: requests, answers and errors. Everything else is
//! private.

use crate::unusable::Unusable;
use ostler_lifecycle::{Found, Waits, Why};
use ostler_model::{
    Answer, Args, Book, ClaimRefused, Destroyed, EventSeq, HostId, HostName, Millis, OperationId,
    OperationRecord, Progress, Refusal, Request, ResourceRefused, ScheduleId, Timestamp, Verb,
    Version, VmId, VmName, VmSpec,
};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// A new VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateRequest {
    /// The specification of the VM. The engine checks it again.
    pub spec: VmSpec,
    /// Whether the VM is on hold at first, so that the scheduler leaves it alone.
    pub hold: bool,
    /// Who asks. Becomes the owner.
    pub by: String,
}

/// A request for an action on an existing VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionRequest {
    /// The verb that is asked for.
    pub verb: Verb,
    /// Who asks.
    pub by: String,
    /// The arguments of the verb.
    pub args: Args,
    /// For deploy and migrate: the host to go to.
    pub host: Option<HostId>,
    /// Refuse if the host's capacity is exceeded.
    pub enforce: bool,
    /// For recover and forget: skip the check that the statement agrees with a look.
    pub force: bool,
    /// Refuse, unless the record still has this version.
    pub if_version: Option<Version>,
}

/// A domain that is to become a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdoptRequest {
    /// The host of the domain.
    pub host: HostId,
    /// Its name or UUID at the hypervisor.
    pub domain: String,
    /// The name of the VM. If none is given, its name at the hypervisor.
    pub name: Option<VmName>,
    /// Whether the VM may differ from its next start on, where a specification cannot express what
    /// the domain is now.
    pub accept_changes: bool,
    /// Who asks. Becomes the owner.
    pub by: String,
}

impl ActionRequest {
    /// `verb` without arguments.
    #[must_use]
    pub fn of(verb: Verb, by: impl Into<String>) -> Self {
        Self {
            verb,
            by: by.into(),
            args: Args::None,
            host: None,
            enforce: false,
            force: false,
            if_version: None,
        }
    }

    /// Whether Ostler itself chose what another VM has already, so that the next decision chooses
    /// something else.
    pub(crate) fn chose(&self, refused: &ClaimRefused) -> bool {
        match refused.claim.holding.book {
            Book::Mac => matches!(&self.args, Args::NewNic(nic) if nic.mac.is_none()),
            Book::Host | Book::Image => false,
        }
    }

    /// The request for the lifecycle.
    pub(crate) fn to_request(
        &self,
        operation: OperationId,
        schedule: Option<ScheduleId>,
    ) -> Request {
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

/// Identifies a request, so that a repeated POST is recognised as the same request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// Who sent it.
    pub who: String,
    /// The route, with its ids.
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
    /// Whether this answer was given to the same request before, and nothing was done now.
    pub replayed: bool,
}

/// The result of a dry run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Preview {
    /// The refusal, if the request would be refused.
    pub refused: Option<Refusal>,
    /// The states that the VM would pass through, in order. The last one is the state in which it
    /// would rest.
    pub states: Vec<String>,
    /// The steps that the operation would take.
    pub steps: Vec<String>,
    /// The operation that would be overtaken.
    pub overtakes: Option<OperationId>,
    /// Snapshots that would be removed, by name.
    pub loses: Vec<String>,
    /// Snapshots that would no longer be offered, by name.
    pub hides: Vec<String>,
    /// Everything that would be removed for good.
    pub destroys: Vec<Destroyed>,
    /// For a VM that would be created: what the scheduler would do with it now, one reason per
    /// host.
    pub scheduler: Vec<Waits>,
}

/// The answer of the snapshot rules bound to a VM, as of now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotAdvice {
    /// The rules that were asked.
    pub rules: String,
    /// None: a snapshot may be made now. Some: the reason why not.
    pub refused: Option<String>,
}

/// The reason why the engine did not do what was asked. Knows no HTTP.
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
    /// Something that the request names does not exist or cannot be used: nothing was changed.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// Another VM has something that only one VM may hold: nothing was changed.
    #[error(transparent)]
    Taken(Box<ClaimRefused>),
    /// The change of a resource was refused: nothing was changed.
    #[error(transparent)]
    Resource(#[from] ResourceRefused),
    /// The same key was used before for a request with another body.
    #[error(
        "idempotency key {key:?} was used before with another body; use a new key for a new request"
    )]
    IdempotencyConflict {
        /// The key.
        key: String,
    },
    /// Too many messages wait for this VM.
    #[error("VM {vm} has {waiting} requests waiting already; try again when some are answered")]
    Overloaded {
        /// The VM whose mailbox is full.
        vm: VmId,
        /// How many messages may wait.
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
    /// A part of the engine panicked before it gave an answer.
    #[error(
        "the daemon failed while it served this request; look whether it was done before you ask again, and report what its log says"
    )]
    Crashed,
}

/// A VM, and an explanation of what it waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// The VM.
    pub vm: VmId,
    /// The explanation.
    pub why: Why,
    /// How far the driver call of the current step is.
    pub progress: Option<Progress>,
    /// For how long the driver call of the current step has waited for earlier calls of its driver
    /// and host to end.
    pub queued: Option<Millis>,
    /// For pending VMs: what the scheduler said last, one reason per host.
    pub scheduler: Vec<Waits>,
}

/// The state of the reconciliation after the store came back with a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconciliation {
    /// The time of the newest event of the backup.
    pub as_of: Timestamp,
    /// The number of that event.
    pub seq: EventSeq,
    /// Hosts that are not off and have not been listed since the start: they are waited for.
    pub hosts: Vec<HostId>,
    /// The VMs that are not reconciled. If there are very many, only some of them.
    pub vms: Vec<Unreconciled>,
    /// How many VMs are not reconciled in all.
    pub total: usize,
}

/// A VM that is not reconciled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreconciled {
    /// The VM.
    pub vm: VmId,
    /// Its name.
    pub name: VmName,
    /// The domains of it that hosts have listed.
    pub found: Vec<Found>,
    /// Whether only a person can tell which of these domains is the VM.
    pub in_doubt: bool,
}

/// The monitor's view of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostHealth {
    /// The host.
    pub host: HostId,
    /// Whether it answered the last time that it was asked.
    pub reachable: bool,
    /// Since when that is so.
    pub since: Timestamp,
    /// The error that it answered with last, if it was an error.
    pub error: Option<String>,
    /// The hypervisor and its version.
    pub hypervisor: String,
    /// Notes for the operator.
    pub notes: Vec<String>,
    /// The abilities of its driver there.
    pub abilities: Vec<ostler_model::Ability>,
    /// The names of its network interfaces, its bridges among them. None: not known.
    pub interfaces: Option<Arc<BTreeSet<String>>>,
    /// The names of domains that are not ours.
    pub wild: Vec<String>,
    /// The names of our domains that should not be there.
    pub zombies: Vec<String>,
}

/// Counts of a driver's calls.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DriverHealth {
    /// How many calls were sent.
    pub calls: u64,
    /// How many of them ended in an error.
    pub errors: u64,
    /// The time that calls took, in microseconds.
    pub busy_us: u64,
    /// The last error.
    pub last_error: Option<String>,
    /// Until when its file is on trial.
    pub trial_until: Option<Timestamp>,
    /// The hosts where it is not called now because it crashes there, and for how long.
    pub paused: Vec<(HostName, Millis)>,
}

/// A finished or running operation, as answered to somebody who waits for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waited {
    /// The operation as it is now.
    pub operation: OperationRecord,
    /// Whether the time was up before the operation had ended.
    pub timed_out: bool,
    /// The VM's state now.
    pub state: ostler_model::State,
    /// The VM's version now.
    pub version: Version,
}

/// The longest wait for an operation in one request. To wait longer, a client reads the event feed.
pub const WAIT_MAX: Duration = Duration::from_secs(300);
