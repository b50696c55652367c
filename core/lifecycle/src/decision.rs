//! What goes into a decision beside the record and the facts, and what comes out.

use crate::facts::Found;
use ostler_model::{
    Answer, CallResult, Claim, Effect, EffectKey, EventKind, Generation, HostId, ImageChange,
    Journal, Observation, Refusal, RelPath, Request, ScheduleId, StepNo, Storage, Timestamp,
    VmRecord,
};

/// Everything that can happen to a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Somebody requests a verb.
    Request(Request),
    /// A driver call returned, or was proven dead.
    Answered {
        /// The effect key of the call.
        key: EffectKey,
        /// When the call was really sent; none if it never was. A call that waits for its lane is
        /// not sent yet, and its deadline does not run.
        sent: Option<Timestamp>,
        /// The result of the call.
        result: CallResult,
    },
    /// The monitor looked.
    Observed {
        /// The VM's step counter, read before the look. The look counts only if the counter is
        /// unchanged and no call is open.
        step: StepNo,
        /// The observation at the VM's own placement.
        seen: Observation,
        /// The observation at the other host of a migration, if the VM has one. Then both hosts
        /// must be looked at, or neither look counts.
        there: Option<Observation>,
    },
    /// A placement that the VM had left was seen empty, or was emptied.
    Swept {
        /// The host.
        host: HostId,
        /// Leftovers up to this generation are gone there.
        generation: Generation,
    },
    /// The operator states that a host is fenced and does not come back. Ostler no longer waits to
    /// sweep what was left there.
    HostGone {
        /// The host.
        host: HostId,
    },
    /// An unused memory file was removed at the VM's own placement.
    MemoryRemoved {
        /// Its name within the VM's folder.
        name: RelPath,
    },
    /// A scheduled action was due and could not be begun.
    ScheduleRefused {
        /// The scheduled action.
        schedule: ScheduleId,
        /// Why it could not be begun.
        refusal: Refusal,
    },
    /// The monitor could not ask the VM's host.
    CouldNotAsk {
        /// Since when the host could not be asked.
        since: Timestamp,
    },
    /// Every host that is on has been listed since the store was restored, or a person says that
    /// the record is right.
    Reconcile {
        /// All domains that carry the VM's identity.
        found: Vec<Found>,
        /// The system datastore for a VM that has none yet, if there is exactly one to choose.
        storage: Option<Storage>,
        /// The person who says so; none if the hosts were listed.
        by: Option<String>,
    },
    /// Time has passed.
    Tick,
    /// The daemon was started. The process that sent the open calls is dead, so their outcome is
    /// unknown.
    Restarted,
}

/// The changes to commit, and the actions that follow them. No action may happen before the commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The next record.
    pub record: VmRecord,
    /// Whether anything changed: if not, there is nothing to commit.
    pub changed: bool,
    /// For requests: the answer.
    pub answer: Option<Answer>,
    /// Calls to send, and their rows to put into the outbox.
    pub effects: Vec<Effect>,
    /// Rows to take out of the outbox.
    pub settled: Vec<EffectKey>,
    /// Calls in flight that are to be told to stop.
    pub cancels: Vec<EffectKey>,
    /// Conditions that must hold inside the transaction.
    pub claims: Vec<Claim>,
    /// Entries for the records of operations.
    pub journal: Vec<Journal>,
    /// Events for the feed.
    pub events: Vec<EventKind>,
    /// Changes to images, in the same transaction.
    pub images: Vec<ImageChange>,
}
