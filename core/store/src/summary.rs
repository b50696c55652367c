//! The short form of a VM: the data that lists show, and that indexes and books are derived from.
//!
//! A commit reads the summary of the record that it replaces, not the record: from one small row it
//! knows which index rows to remove.

use crate::row::Row;
use ostler_model::{
    Book, DatastoreId, Holding, HostId, ImageId, OperationId, Reason, State, StepKind, Timestamp,
    Verb, Version, VmId, VmName, VmRecord, VmUuid, holding_of,
};
use serde::{Deserialize, Serialize};

/// One VM in a list of VMs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmSummary {
    /// Its id.
    pub id: VmId,
    /// The UUID by which hypervisors know it.
    pub uuid: VmUuid,
    /// Its name.
    pub name: VmName,
    /// The owner.
    pub owner: String,
    /// When it was created.
    pub created: Timestamp,
    /// Its version.
    pub version: Version,
    /// Its state.
    pub state: State,
    /// Since when it is in this state.
    pub since: Timestamp,
    /// The reason for this state.
    pub reason: Reason,
    /// The host of its placement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostId>,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Thousandths of a physical CPU.
    pub cpu_milli: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// The operation that holds its slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<OperationBrief>,
    /// Whether an operation holds its slot or a driver call may still be under way.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub active: bool,
    /// When a decision is due even if nothing happens before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// All hosts except `host` where something of it is or may be, each once: the other host of a
    /// migration, and hosts that it left without being seen gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also_on: Vec<HostId>,
    /// Whether it has unused memory files, which are to be removed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unused_memory: bool,
    /// Whether the scheduler is asked to move it to another host.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resched: bool,
    /// Everything that it holds in any book.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holdings: Vec<Holding>,
    /// Its system datastore, until it is done and nothing of it is left anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datastore: Option<DatastoreId>,
}

/// The operation that holds a VM's slot, in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationBrief {
    /// Its id.
    pub id: OperationId,
    /// The verb that was asked for.
    pub verb: Verb,
    /// The current step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepKind>,
}

impl Row for VmSummary {
    const TABLE: &'static str = "vm_summary";
}

impl From<&VmRecord> for VmSummary {
    fn from(record: &VmRecord) -> Self {
        let ends = record.state == State::Done && record.leftovers.is_empty();
        Self {
            id: record.id,
            uuid: record.uuid,
            name: record.spec.name.clone(),
            owner: record.owner.clone(),
            created: record.created,
            version: record.version,
            state: record.state,
            since: record.since,
            reason: record.reason,
            host: record.placement.as_ref().map(|place| place.host),
            vcpus: record.spec.vcpus,
            cpu_milli: record.spec.cpu_milli,
            memory_mib: record.spec.memory_mib,
            operation: record.operation.as_ref().map(|active| OperationBrief {
                id: active.id,
                verb: active.verb,
                step: active.kind(),
            }),
            active: record.operation.is_some() || !record.open.is_empty(),
            due: record.next_due(),
            also_on: record.also_on(),
            unused_memory: !record.unused.is_empty(),
            resched: record.resched,
            holdings: record.holdings(),
            datastore: record.storage.as_ref().filter(|_| !ends).map(|storage| storage.datastore),
        }
    }
}

impl VmSummary {
    /// The name of its state, as used in keys.
    pub(crate) fn state_key(&self) -> &'static str {
        self.state.into()
    }

    /// Whether lists show it without `include_done`.
    pub(crate) fn live(&self) -> bool {
        self.state != State::Done
    }

    /// All hosts where something of it is or may be, each once.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = HostId> + '_ {
        self.host.into_iter().chain(self.also_on.iter().copied())
    }

    /// Whether it holds capacity on a host.
    #[must_use]
    pub fn holds_on(&self, host: HostId) -> bool {
        holding_of(&self.holdings, Book::Host, &host.into()).is_some()
    }

    /// How many of its disks stand on an image.
    pub(crate) fn disks_on(&self, image: ImageId) -> u64 {
        holding_of(&self.holdings, Book::Image, &image.into())
            .and_then(|held| held.amount)
            .map_or(0, |amount| amount.0[0])
    }

    /// Whether it is done, nothing of it is left on a host, it holds nothing of a shared thing, and
    /// no driver call is under way.
    pub(crate) fn over(&self) -> bool {
        let stands =
            self.hosts().next().is_some() || self.holdings.iter().any(|held| held.amount.is_some());
        self.state == State::Done && !self.active && !stands
    }
}
