//! The record of a VM: everything a decision needs, and nothing that can be had by asking.

use crate::{
    Active, Call, Capacity, DatastoreId, DiskFormat, DiskName, DriverError, DriverName, EffectKey, Generation, HostId, ImageId,
    OpaqueState, OperationId, RelPath, State, StepKind, StepNo, Timestamp, Verb, Version, VmId, VmSpec, VmUuid,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use strum::{Display, EnumString, IntoStaticStr};

/// Where a VM has its place. While there is one, its capacity is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// The host.
    pub host: HostId,
    /// The host's hypervisor driver.
    pub driver: DriverName,
    /// The generation issued for this placement.
    pub generation: Generation,
    /// Since when.
    pub since: Timestamp,
}

/// Where a VM's files may exist. Set before a step may make them, cleared after they are seen gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct FilesAt {
    /// On the host of the placement.
    pub host: bool,
    /// At the front end.
    pub home: bool,
}

/// The system datastore of a VM, chosen at its first placement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storage {
    /// Which.
    pub datastore: DatastoreId,
    /// Its transfer driver.
    pub driver: DriverName,
    /// Whether all hosts and the front end see the same files: then nothing is copied at stop and deploy.
    pub shared: bool,
}

/// Saved memory. Used once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryFile {
    /// The file's name within the VM's folder; derived from the operation that saved it.
    pub name: RelPath,
    /// Whether the driver said that it is written. An incomplete file is never restored from.
    pub complete: bool,
    /// Committed before the restored domain's virtual CPUs ran. A consumed file is never restored from.
    pub consumed: bool,
}

/// A disk of the VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskState {
    /// Its name.
    pub name: DiskName,
    /// Its file within the VM's folder.
    pub file: RelPath,
    /// Its format.
    pub format: DiskFormat,
    /// The image below it, held until the disk is gone.
    pub image: Option<ImageId>,
}

/// Why a VM is in the state it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, IntoStaticStr)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Reason {
    /// It was asked for.
    Asked,
    /// The guest switched itself off.
    Guest,
    /// The hypervisor's process died.
    Crashed,
    /// Somebody destroyed it at the hypervisor.
    DestroyedOutside,
    /// Somebody started it at the hypervisor.
    StartedOutside,
    /// Somebody paused it at the hypervisor.
    External,
    /// A disk failed and the guest stands still.
    IoError,
    /// The watchdog bit.
    Watchdog,
    /// The guest crashed and was preserved.
    GuestCrashed,
    /// Neither the domain nor its absence could be seen.
    CannotAsk,
    /// A generation above what this store ever issued is at the host: this store is stale.
    StoreIsStale,
    /// A domain of that UUID is there that is not this store's.
    Foreign,
    /// A step failed.
    StepFailed,
    /// Seen again after it could not be seen.
    SeenAgain,
}

/// What failed, and what would carry it on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The operation that failed.
    pub operation: OperationId,
    /// What was asked.
    pub verb: Verb,
    /// The state it began in; where `recover --undo` leads.
    pub origin: State,
    /// Its steps.
    pub plan: Vec<StepKind>,
    /// The one that failed: an index into `plan`.
    pub at: usize,
    /// What the driver said.
    pub error: DriverError,
    /// When.
    pub when: Timestamp,
    /// Whether `plan` rolls back what went before: then carrying it on leads to `origin`, not to what the verb asked.
    #[serde(default)]
    pub undoing: bool,
}

/// A driver call that was committed as begun and has not been seen to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenCall {
    /// Its identity.
    pub key: EffectKey,
    /// What it is.
    pub call: Call,
    /// Information only.
    pub attempt: u32,
    /// Whether it was told to stop.
    pub cancelled: bool,
}

/// The last fact seen of the domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// When it changed to this.
    pub at: Timestamp,
    /// In a word or two, for people.
    pub what: String,
}

/// A system snapshot (made and used from the next version on; its place in the row is fixed now).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its name, derived from the operation that made it.
    pub name: String,
    /// When it was made.
    pub made: Timestamp,
    /// Whether it is no longer offered.
    pub hidden: bool,
}

/// One stay on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// Where.
    pub host: HostId,
    /// From when.
    pub from: Timestamp,
    /// Until when; none while it is there.
    pub to: Option<Timestamp>,
    /// Why it ended.
    pub ended_by: Option<Verb>,
    /// What it held.
    pub capacity: Capacity,
}

/// Everything that is durable about a VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmRecord {
    /// Its id.
    pub id: VmId,
    /// As hypervisors know it.
    pub uuid: VmUuid,
    /// Who it belongs to.
    pub owner: String,
    /// When it was created.
    pub created: Timestamp,
    /// What was asked for.
    pub spec: VmSpec,
    /// Rises with each commit.
    pub version: Version,
    /// Its state.
    pub state: State,
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub reason: Reason,
    /// The step counter: rises with each step begun.
    pub step: StepNo,
    /// The highest generation ever issued for it; never used again.
    pub issued: Generation,
    /// The generation that may run.
    pub placed: Generation,
    /// Its place, while it has one.
    pub placement: Option<Placement>,
    /// Its system datastore, from the first placement until it is done.
    pub storage: Option<Storage>,
    /// Where files may exist.
    pub files: FilesAt,
    /// Its disks.
    pub disks: Vec<DiskState>,
    /// Saved memory.
    pub recovery: Option<RecoveryFile>,
    /// Its one operation slot.
    pub operation: Option<Active>,
    /// Calls that have not been seen to end, of this operation and of those it overtook.
    pub open: Vec<OpenCall>,
    /// What failed last, while the state is failed.
    pub failure: Option<Failure>,
    /// When the guest was last seen to have started.
    pub running_since: Option<Timestamp>,
    /// The last fact seen.
    pub seen: Option<Sighting>,
    /// Since when its host could not be asked.
    pub blind_since: Option<Timestamp>,
    /// Its system snapshots.
    #[serde(default)]
    pub snapshots: Vec<Snapshot>,
    /// What its drivers keep about it.
    #[serde(default)]
    pub driver_state: BTreeMap<DriverName, OpaqueState>,
    /// Where it has been; the oldest entries are dropped beyond [`VmRecord::HISTORY_MAX`].
    #[serde(default)]
    pub history: Vec<HistoryEntry>,
}

impl VmRecord {
    /// Most history entries kept in the record. Accounting keeps its own.
    pub const HISTORY_MAX: usize = 64;

    /// What it holds on a host. The books are the sum of this over all records.
    #[must_use]
    pub fn held(&self) -> Option<(HostId, Capacity)> {
        self.placement.as_ref().map(|place| (place.host, self.spec.capacity()))
    }

    /// The images it holds: one entry a disk.
    pub fn images_held(&self) -> impl Iterator<Item = ImageId> + '_ {
        let alive = self.state != State::Done;
        self.disks.iter().filter(move |_| alive).filter_map(|disk| disk.image)
    }

    /// The folder of its files below a datastore's root.
    #[must_use]
    pub fn folder(&self) -> String {
        self.uuid.to_string()
    }

    /// The name its domain has at the hypervisor. Holds part of the UUID, so that two stores can share a host.
    #[must_use]
    pub fn domain_name(&self) -> String {
        let uuid = self.uuid.0.simple().to_string();
        format!("ostler-{}-{}", self.id, &uuid[..8])
    }

    /// When a decision is due even if nothing happens. An open call needs none: whoever sent it answers in bounded time. This is
    /// the VM's durable timer; whoever fires it hands in the time, and the record says what it was for.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        use crate::Phase;
        match self.operation.as_ref()?.phase {
            Phase::Delaying { until } | Phase::Backoff { until } | Phase::Waiting { until } | Phase::Blind { until, .. } => {
                Some(until)
            }
            Phase::Draining | Phase::Calling | Phase::Confirming | Phase::Settling => None,
        }
    }

    /// The recovery file, if it may be restored from.
    #[must_use]
    pub fn usable_recovery(&self) -> Option<&RecoveryFile> {
        self.recovery.as_ref().filter(|file| file.complete && !file.consumed)
    }
}
