//! The feed: every committed change, numbered.

use crate::{
    Destroyed, DriverError, EventSeq, HostId, OperationId, Reason, State, StepKind, StepNo, Timestamp, Verb, Version, VmId,
};
use serde::{Deserialize, Serialize};

/// What happened.
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
        /// From.
        from: State,
        /// To.
        to: State,
        /// Why.
        reason: Reason,
    },
    /// The store came back with a backup: what was told after this event is lost.
    StoreRestored {
        /// The last event of the backup.
        after: EventSeq,
    },
    /// The VM came back with a backup, and it is known now where it is: what the record says holds again.
    Reconciled {
        /// How that is known.
        why: String,
    },
    /// An operation began.
    OperationBegan {
        /// Which.
        operation: OperationId,
        /// What was asked.
        verb: Verb,
        /// Who asked.
        by: String,
        /// What it removes for good, if it goes through.
        #[serde(default)]
        destroys: Vec<Destroyed>,
    },
    /// A step began.
    StepBegan {
        /// Of which operation.
        operation: OperationId,
        /// Its number.
        step: StepNo,
        /// What it is.
        step_kind: StepKind,
    },
    /// A step's call went wrong; the engine goes on by itself.
    StepTrouble {
        /// Of which operation.
        operation: OperationId,
        /// What it is.
        step_kind: StepKind,
        /// What was said.
        error: DriverError,
    },
    /// An operation ended.
    OperationEnded {
        /// Which.
        operation: OperationId,
        /// How: `succeeded`, `failed`, `superseded`.
        outcome: String,
        /// What went wrong, if anything.
        error: Option<DriverError>,
    },
    /// What an operation, or something that was seen, makes of the VM's snapshots.
    Snapshots {
        /// Removed, by name.
        lost: Vec<String>,
        /// No longer offered, by name.
        hidden: Vec<String>,
        /// The verb, or `observed`.
        by: String,
    },
    /// A scheduled action was due.
    Scheduled {
        /// Which.
        schedule: u32,
        /// `done`, `failed` or `missed`.
        outcome: String,
        /// More, in words.
        detail: String,
    },
    /// A resource that is no VM was added, changed or removed.
    Resource {
        /// `host`, `datastore`, `image`, `driver`.
        resource: String,
        /// Its name.
        name: String,
        /// `added`, `changed`, `removed`, `error`.
        change: String,
        /// More, in words.
        detail: String,
    },
    /// A domain that this store did not make, or that should not be there, was seen on a host.
    Stray {
        /// Where.
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
        /// What was asked, and the grant that is missing.
        detail: String,
    },
}

/// A row of the feed. A consumer sees it only after its commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its place; given by the store.
    pub seq: EventSeq,
    /// When it was decided.
    pub at: Timestamp,
    /// The VM it is about.
    pub vm: Option<VmId>,
    /// The VM's version that it came with.
    pub version: Option<Version>,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}
