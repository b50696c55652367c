//! The event feed: a numbered list of all committed changes.

use crate::{
    Came, Destroyed, DriverError, EventSeq, HostId, OperationId, Reason, State, StepKind, StepNo,
    Timestamp, Verb, Version, VmId,
};
use serde::{Deserialize, Serialize};

/// The kind of an event, with its details.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum EventKind {
    /// A VM was created.
    Created {
        /// Its name.
        name: String,
    },
    /// A VM changed its state.
    State {
        /// The old state.
        from: State,
        /// The new state.
        to: State,
        /// Why.
        reason: Reason,
    },
    /// The store was restored from a backup: events after the backup's last one are lost.
    StoreRestored {
        /// The last event of the backup.
        after: EventSeq,
    },
    /// The VM came back with a restored backup, and Ostler now knows where it is: its record is
    /// valid again.
    Reconciled {
        /// How Ostler knows it.
        why: String,
    },
    /// An operation began.
    OperationBegan {
        /// The operation.
        operation: OperationId,
        /// The verb.
        verb: Verb,
        /// Who asked.
        by: String,
        /// The things that it removes for good if it succeeds.
        #[serde(default)]
        destroys: Vec<Destroyed>,
    },
    /// A step began.
    StepBegan {
        /// The operation of the step.
        operation: OperationId,
        /// The step's number.
        step: StepNo,
        /// The kind of step.
        step_kind: StepKind,
    },
    /// A call of a step failed; the engine goes on by itself.
    StepTrouble {
        /// The operation of the step.
        operation: OperationId,
        /// The kind of step.
        step_kind: StepKind,
        /// The error.
        error: DriverError,
    },
    /// An operation ended.
    OperationEnded {
        /// The operation.
        operation: OperationId,
        /// How: `succeeded`, `failed`, `superseded`.
        outcome: String,
        /// The error, if it failed.
        error: Option<DriverError>,
    },
    /// An operation, or a change that was observed, removes or hides snapshots of the VM.
    Snapshots {
        /// The names of the snapshots that are removed.
        lost: Vec<String>,
        /// The names of the snapshots that are no longer offered.
        hidden: Vec<String>,
        /// The verb, or `observed`.
        by: String,
    },
    /// A scheduled action was due.
    Scheduled {
        /// The id of the scheduled action.
        schedule: u32,
        /// `begun`, `done`, `failed` or `missed`.
        outcome: String,
        /// What happened.
        detail: Came,
    },
    /// A resource other than a VM was added, changed or removed.
    Resource {
        /// `host`, `datastore`, `image`, `driver`.
        resource: String,
        /// Its name.
        name: String,
        /// `added`, `changed`, `removed`, `error`.
        change: String,
        /// Details, in words.
        detail: String,
    },
    /// A stray was seen on a host: a domain that this store did not make (wild), or that should not
    /// be there (zombie).
    Stray {
        /// The host.
        host: HostId,
        /// Its name at the hypervisor.
        domain: String,
        /// `wild` or `zombie`.
        what: String,
    },
    /// A driver was denied a capability.
    Denied {
        /// The driver.
        driver: String,
        /// The capability.
        capability: String,
        /// The access that the driver asked for, and the grant that is missing.
        detail: String,
    },
}

/// One event of the feed. A consumer sees it only after its commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its position in the feed; the store assigns it.
    pub seq: EventSeq,
    /// When the change was decided.
    pub at: Timestamp,
    /// The VM it is about.
    pub vm: Option<VmId>,
    /// The version of the VM's record that was committed together with the event.
    pub version: Option<Version>,
    /// The kind of event, with its details.
    #[serde(flatten)]
    pub kind: EventKind,
}
