//! The record of a VM. It holds everything that a decision needs, except facts that can be obtained
//! by asking a driver.

use crate::{
    Active, Call, Capacity, DatastoreId, DiskFormat, DiskName, DriverError, DriverName, EffectKey,
    Generation, Hardware, HostId, ImageId, MacAddress, OpaqueState, OperationId, Planned, Reason,
    RelPath, Restored, ScheduleId, Snapshot, State, StepKind, StepNo, Subject, Timestamp, Verb,
    Version, VmId, VmSpec, VmUuid,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The place of a VM: a host, a driver and a generation. While a VM has a placement, it holds its
/// capacity on that host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// The host.
    pub host: HostId,
    /// The host's hypervisor driver.
    pub driver: DriverName,
    /// The generation issued for this placement.
    pub generation: Generation,
    /// When the placement began.
    pub since: Timestamp,
}

/// Where a VM's files may exist. A flag is set before a step can make files there, and cleared
/// after the files are known to be gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct FilesAt {
    /// On the host of the placement.
    pub host: bool,
    /// At the front end.
    pub home: bool,
}

/// The other host of a migration: the destination, and after the switch the origin. While a VM has
/// one, it holds its capacity there too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// The placement there.
    pub place: Placement,
    /// Whether a domain of the VM may be there. Set before a step can bring one there, and cleared
    /// after none is known to be there.
    pub domain: bool,
    /// Whether the VM's files may be there, if the two hosts do not share their files. Set and
    /// cleared like `domain`.
    pub files: bool,
}

impl Move {
    /// The VM is to go to `place`. Nothing of it is there yet.
    #[must_use]
    pub const fn to(place: Placement) -> Self {
        Self { place, domain: false, files: false }
    }
}

/// The system datastore of a VM, chosen at its first placement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storage {
    /// The datastore.
    pub datastore: DatastoreId,
    /// Its transfer driver.
    pub driver: DriverName,
    /// Whether all hosts and the front end see the same files. If so, stop and deploy copy nothing.
    pub shared: bool,
}

/// A memory file: a guest's saved memory. It is used once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryFile {
    /// The file's name within the VM's folder; derived from the operation that saved it.
    pub name: RelPath,
    /// Whether the driver said that the file is completely written. A VM is never restored from an
    /// incomplete file.
    pub complete: bool,
    /// Whether the memory counts as used. Committed before the restored domain's virtual CPUs run.
    /// A VM is never restored from a consumed file.
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
    /// The image below it. The VM holds this image until the disk is gone.
    pub image: Option<ImageId>,
    /// The image that is made of the disk when the VM is shut down.
    #[serde(default)]
    pub save_as: Option<NewImage>,
    /// For a disk that was adopted: its path below the datastore's root, since it is not in the
    /// VM's folder. Such a file is never removed.
    #[serde(default)]
    pub adopted: Option<RelPath>,
}

/// An image that is to be made of a disk. The image's row exists already and is locked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewImage {
    /// The image.
    pub image: ImageId,
    /// The transfer driver of its datastore.
    pub driver: DriverName,
}

/// A placement that a VM has left, and that was not seen empty: something of the VM may still be
/// there. Ostler sweeps it when the host is seen again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leftover {
    /// The placement that the VM left.
    pub place: Placement,
    /// Whether the VM's own files may be there.
    pub files: bool,
}

/// A failed operation, with the data to carry it on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The operation that failed.
    pub operation: OperationId,
    /// The verb of the operation.
    pub verb: Verb,
    /// The state that it began in. `recover --undo` leads back to this state.
    pub origin: State,
    /// Its steps.
    pub plan: Vec<StepKind>,
    /// The step that failed: an index into `plan`.
    pub at: usize,
    /// The driver's error.
    pub error: DriverError,
    /// When it failed.
    pub when: Timestamp,
    /// The subject of the operation.
    #[serde(default)]
    pub subject: Subject,
    /// Whether `plan` is a rollback. If so, carrying it on leads to `origin`, not to the goal of
    /// the verb.
    #[serde(default)]
    pub undoing: bool,
    /// Whether a restore of the store has cut this operation, or the operation that it went on
    /// with.
    #[serde(default)]
    pub cut: bool,
}

/// An open call: an effect that was committed and has not been seen to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenCall {
    /// Its effect key.
    pub key: EffectKey,
    /// The driver call.
    pub call: Call,
    /// How often the call was sent. Information only.
    pub attempt: u32,
    /// Whether it was asked to stop.
    pub cancelled: bool,
}

/// The last fact that was seen of the domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// When the fact changed to this one.
    pub at: Timestamp,
    /// The fact in a word or two, for people.
    pub what: String,
}

/// One stay of a VM on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// The host.
    pub host: HostId,
    /// When the stay began.
    pub from: Timestamp,
    /// The verb that brought it there.
    #[serde(default)]
    pub begun_by: Option<Verb>,
    /// The generation of that placement.
    #[serde(default)]
    pub generation: Generation,
    /// When the stay ended; none while the VM is there.
    pub to: Option<Timestamp>,
    /// The verb that ended the stay.
    pub ended_by: Option<Verb>,
    /// The capacity that it held.
    pub capacity: Capacity,
}

/// Everything that is durable about a VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmRecord {
    /// Its id.
    pub id: VmId,
    /// Its UUID, by which hypervisors know it.
    pub uuid: VmUuid,
    /// Its owner.
    pub owner: String,
    /// When it was created.
    pub created: Timestamp,
    /// Its specification.
    pub spec: VmSpec,
    /// Rises with each commit.
    pub version: Version,
    /// Its state.
    pub state: State,
    /// Since when the VM has its state.
    pub since: Timestamp,
    /// Why it is in its state.
    pub reason: Reason,
    /// The step counter: rises with each step that begins.
    pub step: StepNo,
    /// The highest generation ever issued for it; never used again.
    pub issued: Generation,
    /// The generation of the placement that may run.
    pub placed: Generation,
    /// Its placement, while it has one.
    pub placement: Option<Placement>,
    /// The other host, while the VM moves, or while a migration that failed is not settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moving: Option<Move>,
    /// Placements that the VM left and that were not seen empty.
    #[serde(default)]
    pub leftovers: Vec<Leftover>,
    /// Its system datastore, from the first placement until it is done.
    pub storage: Option<Storage>,
    /// Where its files may exist.
    pub files: FilesAt,
    /// Its disks.
    pub disks: Vec<DiskState>,
    /// The memory file to restore from.
    pub recovery: Option<RecoveryFile>,
    /// Memory files in the VM's folder that are no longer needed and not yet removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unused: Vec<RelPath>,
    /// The operation that holds the VM's only slot.
    pub operation: Option<Active>,
    /// Calls that have not been seen to end, of this operation and of the operations that it
    /// overtook.
    pub open: Vec<OpenCall>,
    /// The operation that failed, while the state is `failed`.
    pub failure: Option<Failure>,
    /// When the guest was last seen to have started.
    pub running_since: Option<Timestamp>,
    /// The last fact that was seen of its domain.
    pub seen: Option<Sighting>,
    /// While the state is `unknown`: whether the VM was off or suspended when its state was last
    /// known, and no operation since then was meant to start it.
    #[serde(default)]
    pub was_off: bool,
    /// Since when its host could not be asked.
    pub blind_since: Option<Timestamp>,
    /// Its system snapshots, oldest first.
    #[serde(default)]
    pub snapshots: Vec<Snapshot>,
    /// Whether the scheduler has been asked to move it to another host.
    #[serde(default)]
    pub resched: bool,
    /// Its scheduled actions.
    #[serde(default)]
    pub schedules: Vec<Planned>,
    /// The id of the next scheduled action; ids are never used again.
    #[serde(default)]
    pub next_schedule: ScheduleId,
    /// For an adopted domain: its name at the hypervisor, which Ostler did not choose.
    #[serde(default)]
    pub adopted_name: Option<String>,
    /// Whether it is being adopted, and its domain may not carry our stamp yet. Until it does, the
    /// domain is somebody else's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub wild: bool,
    /// The hypervisor driver of its last placement, when it has no placement any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_driver: Option<DriverName>,
    /// Set after the VM came back with a restored backup of the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<Restored>,
    /// The state that each of its drivers keeps about it.
    #[serde(default)]
    pub driver_state: BTreeMap<DriverName, OpaqueState>,
    /// Where it has been; the oldest entries are dropped beyond [`VmRecord::HISTORY_MAX`].
    #[serde(default)]
    pub history: Vec<HistoryEntry>,
}

impl VmRecord {
    /// Most history entries in a record. Accounting keeps its own history.
    pub const HISTORY_MAX: usize = 64;
    /// Most memory files that wait to be removed one by one. Older ones are removed with the VM's
    /// folder.
    pub const UNUSED_MAX: usize = 32;

    /// The capacity that it holds on the host of its placement. The books are the sum over all
    /// records.
    #[must_use]
    pub fn held(&self) -> Option<(HostId, Capacity)> {
        self.placement.as_ref().map(|place| (place.host, self.holds()))
    }

    /// The capacity that it holds on each of its hosts. During a resize this is the larger of the
    /// old and the new size, so that the resize can be rolled back.
    fn holds(&self) -> Capacity {
        let now = self.spec.capacity();
        // Also after a resize that failed half-way: the guest may have the old or the new size.
        let in_hand = self.operation.as_ref().map(|active| &active.subject);
        match in_hand.or(self.failure.as_ref().map(|failure| &failure.subject)) {
            Some(Subject::Size { before }) => Capacity {
                cpu_milli: now.cpu_milli.max(u64::from(before.cpu_milli)),
                memory_mib: now.memory_mib.max(before.memory_mib),
            },
            Some(
                Subject::Vm
                | Subject::Disk { .. }
                | Subject::Nic { .. }
                | Subject::Snapshot { .. }
                | Subject::DiskImage { .. },
            ) => now,
            None => now,
        }
    }

    /// The capacity that it holds on the other host of a migration. None if that is the same host.
    #[must_use]
    pub fn held_too(&self) -> Option<(HostId, Capacity)> {
        let here = self.placement.as_ref().map(|place| place.host);
        self.other()
            .filter(|place| Some(place.host) != here)
            .map(|place| (place.host, self.holds()))
    }

    /// All hosts, except the host of its placement, where something of the VM is or may be. Each
    /// host is listed once.
    #[must_use]
    pub fn also_on(&self) -> Vec<HostId> {
        let here = self.placement.as_ref().map(|place| place.host);
        let left = self.leftovers.iter().map(|left| &left.place);
        let places = self.other().into_iter().chain(left);
        let mut hosts: Vec<HostId> =
            places.map(|place| place.host).filter(|host| Some(*host) != here).collect();
        hosts.sort_unstable();
        hosts.dedup();
        hosts
    }

    /// The images that it holds: one entry per disk. A forgotten VM holds them until its host is
    /// seen again, because its overlays may still be there.
    pub fn images_held(&self) -> impl Iterator<Item = ImageId> + '_ {
        let alive = self.state != State::Done || !self.leftovers.is_empty();
        self.disks.iter().filter(move |_| alive).filter_map(|disk| disk.image)
    }

    /// The placement at one of the two hosts of a migration.
    #[must_use]
    pub const fn place(&self, side: crate::Side) -> Option<&Placement> {
        match side {
            crate::Side::Here => self.placement.as_ref(),
            crate::Side::Other => self.other(),
        }
    }

    /// The placement at the other host of a migration.
    #[must_use]
    pub const fn other(&self) -> Option<&Placement> {
        match &self.moving {
            Some(moving) => Some(&moving.place),
            None => None,
        }
    }

    /// Its placements: none, one, or the two of a migration.
    pub fn places(&self) -> impl Iterator<Item = &Placement> {
        self.placement.iter().chain(self.other())
    }

    /// Whether a domain of the VM may be at the other host of a migration.
    #[must_use]
    pub const fn domain_at_other(&self) -> bool {
        matches!(&self.moving, Some(moving) if moving.domain)
    }

    /// Whether files of the VM may be at the other host of a migration, and only that host sees
    /// them.
    #[must_use]
    pub const fn files_at_other(&self) -> bool {
        matches!(&self.moving, Some(moving) if moving.files)
    }

    /// Whether all hosts and the front end see the same files of the VM.
    #[must_use]
    pub fn storage_is_shared(&self) -> bool {
        self.storage.as_ref().is_some_and(|storage| storage.shared)
    }

    /// The addresses of its network cards, which no other VM may have. A forgotten VM holds them
    /// until its host is seen again, because it may still run there.
    pub fn macs_held(&self) -> impl Iterator<Item = MacAddress> + '_ {
        let alive = self.state != State::Done || !self.leftovers.is_empty();
        (0..self.spec.nics.len()).filter(move |_| alive).map(|at| self.mac_of(at))
    }

    /// The address of the network card at index `at`: the address in the specification, or one that
    /// is made from the VM's UUID and `at`.
    #[must_use]
    pub fn mac_of(&self, at: usize) -> MacAddress {
        let given = self.spec.nics.get(at).and_then(|nic| nic.mac.clone());
        given
            .unwrap_or_else(|| MacAddress::of_place(self.uuid, u8::try_from(at).unwrap_or(u8::MAX)))
    }

    /// The name of its folder below a datastore's root.
    #[must_use]
    pub fn folder(&self) -> String {
        self.uuid.to_string()
    }

    /// The name of its domain at the hypervisor. A name that Ostler gives holds part of the UUID,
    /// so that two stores can share a host.
    #[must_use]
    pub fn domain_name(&self) -> String {
        if let Some(name) = &self.adopted_name {
            return name.clone();
        }
        let uuid = self.uuid.0.simple().to_string();
        format!("ostler-{}-{}", self.id, &uuid[..8])
    }

    /// When a decision is due even if nothing else happens: the VM's durable timer. When the timer
    /// fires, the decision gets the current time, and the record says what the timer was for. An
    /// open call needs no timer, because its sender answers in bounded time.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        if self.is_unreconciled() {
            // Until Ostler knows where the VM is, it sends nothing again and begins no scheduled
            // action.
            return None;
        }
        let scheduled = self.schedules.iter().filter_map(Planned::try_at).min();
        [self.step_due(), scheduled].into_iter().flatten().min()
    }

    /// When the current step goes on by itself.
    #[must_use]
    pub fn step_due(&self) -> Option<Timestamp> {
        self.operation.as_ref().and_then(|active| active.phase.due())
    }

    /// The snapshot that `asked` means: by its name or by its label. None if no snapshot or more
    /// than one matches.
    #[must_use]
    pub fn snapshot(&self, asked: &str) -> Option<&Snapshot> {
        let mut called = self.snapshots_called(asked);
        called.next().filter(|_| called.next().is_none())
    }

    /// All snapshots whose name or label is `asked`. Hidden snapshots are left out.
    pub fn snapshots_called<'a>(&'a self, asked: &str) -> impl Iterator<Item = &'a Snapshot> {
        let offered =
            self.snapshots.iter().filter(|snapshot| !snapshot.hidden && !asked.is_empty());
        offered.filter(move |snapshot| snapshot.name.as_str() == asked || snapshot.label == asked)
    }

    /// Its hardware, as a snapshot that is made now has it.
    #[must_use]
    pub fn hardware(&self) -> Hardware {
        Hardware {
            disks: self.disks.iter().map(|disk| disk.name.clone()).collect(),
            nics: (0..self.spec.nics.len()).map(|at| self.mac_of(at)).collect(),
            size: self.spec.size(),
        }
    }

    /// The memory file, if the VM may be restored from it.
    #[must_use]
    pub fn usable_recovery(&self) -> Option<&RecoveryFile> {
        self.recovery.as_ref().filter(|file| file.complete && !file.consumed)
    }
}
