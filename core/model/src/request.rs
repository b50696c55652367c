//! Requests, their answers, and what a commit must find true.

use crate::{
    DatastoreName, Destroyed, DiskFormat, DiskName, DiskSource, HostId, Image, ImageId, ImageName, ImageState, MacAddress, NicSpec,
    OperationId, Planned, ScheduleId, State, Verb, Version, VmId, VmName,
};
use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumString, IntoStaticStr};

/// Something asked of an existing VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The operation it becomes if it is accepted.
    pub operation: OperationId,
    /// What is asked.
    pub verb: Verb,
    /// Who asks.
    pub by: String,
    /// With what.
    pub args: Args,
    /// For deploy and migrate: where.
    pub host: Option<HostId>,
    /// Refuse if the host's capacity is exceeded. The scheduler always enforces.
    pub enforce: bool,
    /// For recover: override the check that what is stated is what is seen.
    pub force: bool,
    /// Only if the record still has this version.
    pub if_version: Option<Version>,
    /// The scheduled action that asks.
    pub schedule: Option<ScheduleId>,
}

/// What a verb is asked with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Args {
    /// Nothing.
    #[default]
    None,
    /// For migrate, of a VM whose host is not seen.
    Migrate {
        /// The operator states that nothing of the old host runs any more.
        #[serde(default)]
        fenced: bool,
        /// The operator states that the VM's files are where the new host sees them, though the storage is not shared.
        #[serde(default)]
        storage_moved: bool,
    },
    /// For disk-attach.
    NewDisk {
        /// The disk; the first free name if none is given.
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
        /// Which.
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
        /// What whoever makes it calls it; may be empty.
        #[serde(default)]
        label: String,
    },
    /// For snapshot-revert and snapshot-delete.
    Snapshot {
        /// Its name, or what its maker calls it.
        name: String,
    },
    /// For disk-snapshot and disk-snapshot-live.
    NewImage {
        /// The disk.
        disk: DiskName,
        /// The image's name.
        image: ImageName,
        /// Its datastore; where the disk's image is, or the only one, if none is given.
        datastore: Option<DatastoreName>,
    },
    /// For resize; what is not given stays.
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
    /// For schedule. Its id is given by the decision.
    NewSchedule(Box<Planned>),
    /// For reschedule.
    Reschedule {
        /// Which.
        id: ScheduleId,
        /// What it is to be.
        planned: Box<Planned>,
    },
    /// For unschedule.
    Schedule {
        /// Which.
        id: ScheduleId,
    },
}

/// A request that was not refused. The answer is the truth: it was committed with what it tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Whose.
    pub vm: VmId,
    /// The operation that does it: a new one, or the one already at it. None where nothing is left to do.
    pub operation: Option<OperationId>,
    /// The state it is in now.
    pub state: State,
    /// The record's version now.
    pub version: Version,
    /// Whether this was so already: nothing was changed.
    pub already: bool,
    /// The operation that was overtaken.
    pub overtook: Option<OperationId>,
    /// What the operation removes for good, if it goes through.
    #[serde(default)]
    pub destroys: Vec<Destroyed>,
}

/// Why a request is refused. Stable codes of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, IntoStaticStr, EnumIter)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum RefusalKind {
    /// Not from this state.
    WrongState,
    /// Another operation holds the slot.
    Busy,
    /// The record has another version than the one asked for.
    VersionMismatch,
    /// No host given, or the host cannot take it.
    NoHost,
    /// The host is full.
    NoCapacity,
    /// The image is not there or not ready.
    ImageNotReady,
    /// Needs a fresh look that says absent.
    NotAbsent,
    /// What the operator states is contradicted by what is seen.
    Contradicted,
    /// The host could not be asked, and the answer is needed.
    CannotAsk,
    /// The driver cannot do it.
    NotAble,
    /// Nothing failed that could be recovered.
    NothingToRecover,
    /// The snapshot rules say no.
    Rules,
    /// What the request is about is not there, is there already, or makes no sense.
    BadRequest,
    /// The old host may still run it, or nobody says where its files are.
    NotFenced,
}

/// A refusal: nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{detail}")]
pub struct Refusal {
    /// Stable code.
    pub kind: RefusalKind,
    /// The verb.
    pub verb: Verb,
    /// What is wrong, in words.
    pub detail: String,
    /// What to do instead.
    pub hint: String,
}

/// What must hold, checked in order against the rows as they are inside the transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Claim {
    /// The host exists and is on; with `enforce`, what the VM will hold fits.
    Capacity {
        /// Where.
        host: HostId,
        /// Whether it must fit.
        enforce: bool,
    },
    /// The image exists and is ready.
    Image {
        /// Which.
        image: ImageId,
    },
}

/// The first claim that did not hold; nothing of that VM was committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{detail}")]
pub struct ClaimRefused {
    /// Which.
    pub claim: Claim,
    /// Why, in words.
    pub detail: String,
}

/// What a decision does to images, in the same transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageChange {
    /// There is a new one, locked until it is written.
    Add(Image),
    /// It is written, or must be looked at.
    Set {
        /// Which.
        image: ImageId,
        /// What it is now.
        state: ImageState,
    },
    /// It was never written, and will not be.
    Discard {
        /// Which.
        image: ImageId,
    },
}
