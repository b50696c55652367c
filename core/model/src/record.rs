//! The record of a VM: everything a decision needs, and nothing that can be had by asking.

use crate::{
    Active, Call, Capacity, DatastoreId, DiskFormat, DiskName, DriverError, DriverName, EffectKey, Generation, HostId, ImageId,
    MacAddress, OpaqueState, OperationId, Planned, RelPath, Restored, ScheduleId, SnapshotName, State, StepKind, StepNo, Subject,
    Timestamp, Verb, Version, VmId, VmSpec, VmUuid,
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
    /// On the other host of a migration, where the two do not see the same files.
    #[serde(default)]
    pub other: bool,
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
    /// The image it becomes when the VM is shut down.
    #[serde(default)]
    pub save_as: Option<NewImage>,
    /// Where it lies below its datastore's root, if that is not in the VM's folder: a disk that was adopted. It is never removed.
    #[serde(default)]
    pub adopted: Option<RelPath>,
}

/// An image that a disk is to become; its row exists already, locked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewImage {
    /// Which.
    pub image: ImageId,
    /// The transfer driver of its datastore.
    pub driver: DriverName,
}

/// A place that a VM has left without its being seen empty: something of the VM may still be there. It is swept when the host is seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leftover {
    /// Where, and under which generation.
    pub place: Placement,
    /// Whether files of the VM's own may be there.
    pub files: bool,
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
    /// Somebody had the hypervisor save its memory and end it.
    SavedOutside,
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

impl Reason {
    /// In words, for people.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Asked => "it was asked for",
            Self::Guest => "the guest switched itself off",
            Self::Crashed => "the hypervisor's process died",
            Self::DestroyedOutside => "it was switched off outside of Ostler",
            Self::SavedOutside => "somebody had its hypervisor save its memory (virsh managedsave); resume goes on from there",
            Self::StartedOutside => "it was started outside of Ostler",
            Self::External => "somebody paused it at the hypervisor; its memory is not saved",
            Self::IoError => "the guest stands still because a disk failed",
            Self::Watchdog => "the guest's watchdog fired",
            Self::GuestCrashed => "the guest crashed and is kept to be looked at",
            Self::CannotAsk => "its host cannot be reached",
            Self::StoreIsStale => "a generation at the host does not fit this store (an old backup?); nothing is touched",
            Self::Foreign => "a domain of its UUID is there that this store did not make; nothing is touched",
            Self::StepFailed => "a step failed",
            Self::SeenAgain => "it is seen again",
        }
    }
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
    /// What it was about.
    #[serde(default)]
    pub subject: Subject,
    /// Whether `plan` rolls back what went before: then carrying it on leads to `origin`, not to what the verb asked.
    #[serde(default)]
    pub undoing: bool,
    /// Whether a restore of the store has cut it, or what it went on with.
    #[serde(default)]
    pub cut: bool,
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

/// A system snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its name, derived from the operation that made it.
    pub name: SnapshotName,
    /// What whoever made it calls it.
    #[serde(default)]
    pub label: String,
    /// When it was made.
    pub made: Timestamp,
    /// Whether it is no longer offered.
    pub hidden: bool,
    /// Whether the operation in hand removes it, because the rules say that it does not survive that operation.
    #[serde(default)]
    pub losing: bool,
}

/// One stay on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// Where.
    pub host: HostId,
    /// From when.
    pub from: Timestamp,
    /// What brought it there.
    #[serde(default)]
    pub begun_by: Option<Verb>,
    /// The generation it was there under.
    #[serde(default)]
    pub generation: Generation,
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
    /// The other place of a migration: where it goes to, and after the switch where it came from. While there is one, its capacity is
    /// held too.
    #[serde(default)]
    pub other: Option<Placement>,
    /// Whether a domain of it may be at the other place.
    #[serde(default)]
    pub other_domain: bool,
    /// Places that were left without being seen empty.
    #[serde(default)]
    pub leftovers: Vec<Leftover>,
    /// Its system datastore, from the first placement until it is done.
    pub storage: Option<Storage>,
    /// Where files may exist.
    pub files: FilesAt,
    /// Its disks.
    pub disks: Vec<DiskState>,
    /// Saved memory.
    pub recovery: Option<RecoveryFile>,
    /// Memory files in the VM's folder that nobody will restore from, until they are removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unused: Vec<RelPath>,
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
    /// While it is unknown: whether it was off or suspended when it was last known, and nothing that was asked since was to start it.
    #[serde(default)]
    pub was_off: bool,
    /// Since when its host could not be asked.
    pub blind_since: Option<Timestamp>,
    /// Its system snapshots, oldest first.
    #[serde(default)]
    pub snapshots: Vec<Snapshot>,
    /// Whether the scheduler is asked to move it to another host.
    #[serde(default)]
    pub resched: bool,
    /// What is to be done later.
    #[serde(default)]
    pub schedules: Vec<Planned>,
    /// The id of the next of them; ids are never used again.
    #[serde(default)]
    pub next_schedule: ScheduleId,
    /// Its name at the hypervisor, if that is not the one that Ostler gives: of a domain that was adopted.
    #[serde(default)]
    pub adopted_name: Option<String>,
    /// The hypervisor driver of its last place, once it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_driver: Option<DriverName>,
    /// Set once it came back with a backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<Restored>,
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
    /// Most memory files that wait to be removed. An older one goes with the VM's folder.
    pub const UNUSED_MAX: usize = 32;

    /// What it holds on a host. The books are the sum of this over all records.
    #[must_use]
    pub fn held(&self) -> Option<(HostId, Capacity)> {
        self.placement.as_ref().map(|place| (place.host, self.holds()))
    }

    /// What it holds where it holds anything. While its size is being changed that is the larger of both, so that the change can be
    /// taken back.
    fn holds(&self) -> Capacity {
        let now = self.spec.capacity();
        // A change that failed half-way, too: the guest may have either.
        let in_hand = self.operation.as_ref().map(|active| &active.subject);
        match in_hand.or(self.failure.as_ref().map(|failure| &failure.subject)) {
            Some(Subject::Size { before }) => Capacity {
                cpu_milli: now.cpu_milli.max(u64::from(before.cpu_milli)),
                memory_mib: now.memory_mib.max(before.memory_mib),
            },
            _ => now,
        }
    }

    /// What it holds on the other host of a migration. Nothing, if that is the same host.
    #[must_use]
    pub fn held_too(&self) -> Option<(HostId, Capacity)> {
        let here = self.placement.as_ref().map(|place| place.host);
        self.other.as_ref().filter(|place| Some(place.host) != here).map(|place| (place.host, self.holds()))
    }

    /// Hosts beside that of its placement where something of it is or may be; each once.
    #[must_use]
    pub fn also_on(&self) -> Vec<HostId> {
        let here = self.placement.as_ref().map(|place| place.host);
        let places = self.other.iter().chain(self.leftovers.iter().map(|left| &left.place));
        let mut hosts: Vec<HostId> = places.map(|place| place.host).filter(|host| Some(*host) != here).collect();
        hosts.sort_unstable();
        hosts.dedup();
        hosts
    }

    /// The images it holds: one entry a disk. A VM that was forgotten holds them until its host is seen, because its overlays may be
    /// there.
    pub fn images_held(&self) -> impl Iterator<Item = ImageId> + '_ {
        let alive = self.state != State::Done || !self.leftovers.is_empty();
        self.disks.iter().filter(move |_| alive).filter_map(|disk| disk.image)
    }

    /// One of the two hosts of a migration.
    #[must_use]
    pub const fn place(&self, side: crate::Side) -> Option<&Placement> {
        match side {
            crate::Side::Here => self.placement.as_ref(),
            crate::Side::Other => self.other.as_ref(),
        }
    }

    /// Whether all hosts and the front end see its files.
    #[must_use]
    pub fn storage_is_shared(&self) -> bool {
        self.storage.as_ref().is_some_and(|storage| storage.shared)
    }

    /// The addresses of its network cards, which no other VM may have. One that was forgotten holds them until its host is seen: it may
    /// run there.
    pub fn macs_held(&self) -> impl Iterator<Item = MacAddress> + '_ {
        let alive = self.state != State::Done || !self.leftovers.is_empty();
        (0..self.spec.nics.len()).filter(move |_| alive).map(|at| self.mac_of(at))
    }

    /// A network card's address: the one it was given, or one made from the VM's UUID and its place.
    #[must_use]
    pub fn mac_of(&self, at: usize) -> MacAddress {
        let given = self.spec.nics.get(at).and_then(|nic| nic.mac.clone());
        given.unwrap_or_else(|| MacAddress::of_place(self.uuid, u8::try_from(at).unwrap_or(u8::MAX)))
    }

    /// The folder of its files below a datastore's root.
    #[must_use]
    pub fn folder(&self) -> String {
        self.uuid.to_string()
    }

    /// The name its domain has at the hypervisor. Holds part of the UUID, so that two stores can share a host.
    #[must_use]
    pub fn domain_name(&self) -> String {
        if let Some(name) = &self.adopted_name {
            return name.clone();
        }
        let uuid = self.uuid.0.simple().to_string();
        format!("ostler-{}-{}", self.id, &uuid[..8])
    }

    /// When a decision is due even if nothing happens. An open call needs none: whoever sent it answers in bounded time. This is
    /// the VM's durable timer; whoever fires it hands in the time, and the record says what it was for.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        if self.is_unreconciled() {
            // Nothing is sent again and no scheduled action begins before it is known where the VM is.
            return None;
        }
        let scheduled = self.schedules.iter().filter_map(Planned::try_at).min();
        [self.step_due(), scheduled].into_iter().flatten().min()
    }

    /// When the step in hand goes on by itself.
    #[must_use]
    pub fn step_due(&self) -> Option<Timestamp> {
        use crate::Phase;
        match self.operation.as_ref()?.phase {
            Phase::Delaying { until } | Phase::Backoff { until } | Phase::Waiting { until } | Phase::Blind { until, .. } => {
                Some(until)
            }
            Phase::Draining | Phase::Calling | Phase::Confirming | Phase::Settling => None,
        }
    }

    /// The snapshot that `asked` names: by its name, or by what its maker calls it. None if that can mean several.
    #[must_use]
    pub fn snapshot(&self, asked: &str) -> Option<&Snapshot> {
        let mut called = self.snapshots_called(asked);
        called.next().filter(|_| called.next().is_none())
    }

    /// All snapshots that `asked` can mean. Hidden ones are not offered.
    pub fn snapshots_called<'a>(&'a self, asked: &str) -> impl Iterator<Item = &'a Snapshot> {
        let offered = self.snapshots.iter().filter(|snapshot| !snapshot.hidden && !asked.is_empty());
        offered.filter(move |snapshot| snapshot.name.as_str() == asked || snapshot.label == asked)
    }

    /// The recovery file, if it may be restored from.
    #[must_use]
    pub fn usable_recovery(&self) -> Option<&RecoveryFile> {
        self.recovery.as_ref().filter(|file| file.complete && !file.consumed)
    }
}
