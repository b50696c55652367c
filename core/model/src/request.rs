//! Requests and their answers.

use crate::{
    DatastoreName, Destroyed, DiskFormat, DiskName, DiskSource, HostId, Image, ImageId, ImageName,
    ImageState, MacAddress, NicSpec, OperationId, Planned, ScheduleId, State, Verb, Version, VmId,
    VmName,
};
use serde::{Deserialize, Serialize};

/// A request about an existing VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The id of the operation that it becomes if it is accepted.
    pub operation: OperationId,
    /// The verb.
    pub verb: Verb,
    /// Who asks.
    pub by: String,
    /// The arguments of the verb.
    pub args: Args,
    /// For deploy and migrate: the host.
    pub host: Option<HostId>,
    /// Refuse the request if it would exceed the host's capacity. The scheduler always sets this.
    pub enforce: bool,
    /// Do it in spite of a check. For recover: even if an observation contradicts the statement, or
    /// cannot confirm it. For forget: even if the host answers. For resize: even if a running guest
    /// would lose a large part of its memory.
    pub force: bool,
    /// Refuse the request unless the record still has this version.
    pub if_version: Option<Version>,
    /// The scheduled action that makes the request.
    pub schedule: Option<ScheduleId>,
}

/// The arguments of a verb.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Args {
    /// Nothing.
    #[default]
    None,
    /// For migrate, if the VM's host cannot be observed.
    Migrate {
        /// The operator states that the old host is switched off: nothing runs there any more.
        #[serde(default)]
        fenced: bool,
        /// The operator states that the new host sees the VM's files, although the storage is not
        /// shared.
        #[serde(default)]
        storage_moved: bool,
    },
    /// For disk-attach.
    NewDisk {
        /// The disk's name; if none is given, the first free name.
        name: Option<DiskName>,
        /// Where its content comes from.
        source: DiskSource,
        /// Format of the VM's own file.
        format: DiskFormat,
        /// Whether the guest may only read.
        #[serde(default)]
        read_only: bool,
    },
    /// For disk-detach and disk-snapshot-cancel.
    Disk {
        /// The disk's name.
        name: DiskName,
    },
    /// For nic-attach.
    NewNic(NicSpec),
    /// For nic-detach.
    Nic {
        /// Its address.
        mac: MacAddress,
    },
    /// For snapshot-create.
    NewSnapshot {
        /// The label that its maker gives it; may be empty.
        #[serde(default)]
        label: String,
    },
    /// For snapshot-revert and snapshot-delete.
    Snapshot {
        /// Its name or its label.
        name: String,
    },
    /// For disk-snapshot and disk-snapshot-live.
    NewImage {
        /// The disk.
        disk: DiskName,
        /// The image's name.
        image: ImageName,
        /// The image's datastore. If none is given: the datastore of the disk's image, or the only
        /// datastore.
        datastore: Option<DatastoreName>,
    },
    /// For resize. A value that is not given does not change.
    Size {
        /// Thousandths of a physical CPU that placement reserves.
        cpu_milli: Option<u32>,
        /// Virtual CPUs.
        vcpus: Option<u32>,
        /// Memory in MiB.
        memory_mib: Option<u64>,
    },
    /// For update.
    UserData {
        /// The new text.
        text: String,
    },
    /// For rename.
    Name {
        /// The new name.
        name: VmName,
    },
    /// For schedule. The decision assigns its id.
    NewSchedule(Box<Planned>),
    /// For reschedule.
    Reschedule {
        /// The scheduled action.
        id: ScheduleId,
        /// The new content of the scheduled action.
        planned: Box<Planned>,
    },
    /// For unschedule.
    Schedule {
        /// The scheduled action.
        id: ScheduleId,
    },
}

impl Args {
    /// Whether the operator states that the old host is switched off.
    #[must_use]
    pub const fn fenced(&self) -> bool {
        matches!(self, Self::Migrate { fenced: true, .. })
    }

    /// Whether the operator states that the new host sees the VM's files.
    #[must_use]
    pub const fn storage_moved(&self) -> bool {
        matches!(self, Self::Migrate { storage_moved: true, .. })
    }
}

/// The answer to a request that was not refused. It is sent after the commit of everything that it
/// tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The VM.
    pub vm: VmId,
    /// The operation that does it: a new one, or one that is already doing it. None if nothing is
    /// left to do.
    pub operation: Option<OperationId>,
    /// The state it is in now.
    pub state: State,
    /// The record's version now.
    pub version: Version,
    /// Whether the VM was already as requested, and nothing was changed.
    pub already: bool,
    /// The operation that was overtaken.
    pub overtook: Option<OperationId>,
    /// The things that the operation removes for good if it succeeds.
    #[serde(default)]
    pub destroys: Vec<Destroyed>,
}

/// A change that a decision makes to an image, in the same transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageChange {
    /// Add an image. It is locked until it is written.
    Add(Image),
    /// Set the image's state: it is written, or a person must examine it.
    Set {
        /// The image.
        image: ImageId,
        /// The new state.
        state: ImageState,
    },
    /// Remove an image that was never written and will not be.
    Discard {
        /// The image.
        image: ImageId,
    },
}
