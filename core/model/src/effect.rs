//! What is asked of drivers, and under which identity.

use crate::{
    DiskName, DriverError, DriverName, Generation, HostId, MacAddress, Millis, Observation, OperationId, SnapshotName, StepNo,
    Timestamp, VmId, VmUuid,
};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use strum::{Display, EnumIter, EnumString, IntoStaticStr};

/// What an effect acts on, where a step has several.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Item {
    /// The domain itself.
    Domain,
    /// One disk.
    Disk(DiskName),
    /// One network card, by its address.
    Nic(MacAddress),
    /// One system snapshot, by the name the hypervisor knows.
    Snapshot(SnapshotName),
    /// The recovery file.
    Recovery,
    /// All files of the VM at one place.
    Files,
    /// A question, not an act: is it there, and what does it do?
    Look,
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Domain => f.write_str("domain"),
            Self::Disk(name) => write!(f, "disk:{name}"),
            Self::Nic(mac) => write!(f, "nic:{mac}"),
            Self::Snapshot(name) => write!(f, "snapshot:{name}"),
            Self::Recovery => f.write_str("recovery"),
            Self::Files => f.write_str("files"),
            Self::Look => f.write_str("look"),
        }
    }
}

impl FromStr for Item {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "domain" => Ok(Self::Domain),
            "recovery" => Ok(Self::Recovery),
            "files" => Ok(Self::Files),
            "look" => Ok(Self::Look),
            other => {
                let (kind, name) = other.split_once(':').unwrap_or((other, ""));
                let item = match kind {
                    "disk" => name.parse().ok().map(Self::Disk),
                    "nic" => name.parse().ok().map(Self::Nic),
                    "snapshot" => name.parse().ok().map(Self::Snapshot),
                    _ => None,
                };
                item.ok_or_else(|| format!("{other:?} names no item of a step"))
            }
        }
    }
}

impl TryFrom<String> for Item {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Item> for String {
    fn from(item: Item) -> Self {
        item.to_string()
    }
}

/// The identity of an effect. The attempt is information only and not part of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EffectKey {
    /// The VM, as hypervisors know it.
    pub vm: VmUuid,
    /// The operation.
    pub operation: OperationId,
    /// The VM's step counter at that step.
    pub step: StepNo,
    /// What it acts on.
    pub item: Item,
}

impl fmt::Display for EffectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.vm, self.operation, self.step, self.item)
    }
}

/// How an effect behaves when it is sent twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Display)]
#[strum(serialize_all = "kebab-case")]
pub enum EffectClass {
    /// Judged by what is: a repeat converges.
    Level,
    /// Leaves no trace of its own: the driver writes the effect's identity at the host first and sends it at most once.
    Edge,
    /// Changes nothing.
    Question,
}

/// A driver call. Arguments are built from the record at the moment of sending, so that the outbox stays small and a
/// resend uses what is true now.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Display, EnumString, IntoStaticStr, EnumIter,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Call {
    /// Transfer: make one disk on the host.
    Prepare,
    /// Transfer: copy one file from the front end to the host.
    CopyIn,
    /// Transfer: remove the VM's files at the front end.
    DropHome,
    /// Transfer: remove the recovery file on the host.
    DropRecovery,
    /// Transfer: copy one file from the host to the front end.
    CopyOut,
    /// Transfer: remove the VM's files on the host.
    DropHost,
    /// Transfer: copy one file from the host to the one it moves to.
    CopyAcross,
    /// Transfer: remove one disk on the host.
    DropDisk,
    /// Transfer: make an image of one disk.
    SaveBack,
    /// Hypervisor: be defined and running.
    Deploy,
    /// Hypervisor: be restored from the recovery file, paused.
    Restore,
    /// Hypervisor: run on.
    Unpause,
    /// Hypervisor: press the power button.
    PressPower,
    /// Hypervisor: be off.
    Destroy,
    /// Hypervisor: memory written, and off.
    Save,
    /// Hypervisor: be absent.
    Remove,
    /// Hypervisor: ask the guest to reboot.
    Reboot,
    /// Hypervisor: reset.
    Reset,
    /// Hypervisor: move the running domain to another host.
    Migrate,
    /// Hypervisor: have the disk.
    AttachDisk,
    /// Hypervisor: have no such disk.
    DetachDisk,
    /// Hypervisor: have the network card.
    AttachNic,
    /// Hypervisor: have no such network card.
    DetachNic,
    /// Hypervisor: copy a disk that is in use into an image.
    CopyDisk,
    /// Hypervisor: have so many CPUs and so much memory while it runs.
    Resize,
    /// Hypervisor: have the snapshot.
    CreateSnapshot,
    /// Hypervisor: be as the snapshot says, and run.
    RevertSnapshot,
    /// Hypervisor: have no such snapshot.
    DeleteSnapshot,
    /// Hypervisor: carry our identity, and change in nothing else.
    Stamp,
    /// Hypervisor: what is there?
    Observe,
}

/// Which kind of driver serves a call; each has lanes of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Display)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Lane {
    /// The host's hypervisor driver.
    Hypervisor,
    /// The datastore's transfer driver.
    Transfer,
}

impl Call {
    /// How it behaves when sent twice.
    #[must_use]
    pub const fn class(self) -> EffectClass {
        match self {
            Self::PressPower | Self::Reboot | Self::Reset => EffectClass::Edge,
            Self::Observe => EffectClass::Question,
            // Going back to a snapshot twice is not as going back once: the guest has run meanwhile.
            Self::RevertSnapshot => EffectClass::Edge,
            Self::Prepare | Self::CopyIn | Self::DropHome | Self::DropRecovery | Self::CopyOut | Self::DropHost => {
                EffectClass::Level
            }
            Self::CopyAcross | Self::DropDisk | Self::SaveBack => EffectClass::Level,
            Self::Deploy | Self::Restore | Self::Unpause | Self::Destroy | Self::Save | Self::Remove => EffectClass::Level,
            Self::Migrate | Self::AttachDisk | Self::DetachDisk | Self::AttachNic | Self::DetachNic => EffectClass::Level,
            Self::CopyDisk | Self::Resize | Self::CreateSnapshot | Self::DeleteSnapshot | Self::Stamp => EffectClass::Level,
        }
    }

    /// Who serves it.
    #[must_use]
    pub const fn lane(self) -> Lane {
        match self {
            Self::Prepare | Self::CopyIn | Self::DropHome | Self::DropRecovery | Self::CopyOut | Self::DropHost => Lane::Transfer,
            Self::CopyAcross | Self::DropDisk | Self::SaveBack => Lane::Transfer,
            Self::Deploy | Self::Restore | Self::Unpause | Self::PressPower | Self::Destroy | Self::Save => Lane::Hypervisor,
            Self::Remove | Self::Reboot | Self::Reset | Self::Migrate | Self::Observe => Lane::Hypervisor,
            Self::AttachDisk | Self::DetachDisk | Self::AttachNic | Self::DetachNic | Self::CopyDisk => Lane::Hypervisor,
            Self::Resize | Self::CreateSnapshot | Self::RevertSnapshot | Self::DeleteSnapshot | Self::Stamp => Lane::Hypervisor,
        }
    }

    /// Whether the driver does it in one short call, or begins it, is asked how far it is, and can be told to stop.
    #[must_use]
    pub const fn is_job(self) -> bool {
        matches!(self.lane(), Lane::Transfer) || matches!(self, Self::Migrate | Self::CopyDisk)
    }
}

/// A driver call that was decided: a row of the outbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// Whose.
    pub vm: VmId,
    /// Its identity.
    pub key: EffectKey,
    /// How often it was decided to be sent; 1 is the first. Information only.
    pub attempt: u32,
    /// What is asked.
    pub call: Call,
    /// Where.
    pub host: HostId,
    /// The driver that was chosen when the step began.
    pub driver: DriverName,
    /// The generation it acts for.
    pub generation: Generation,
    /// For a removal at one side of a move: the generation that lives at the other side. A domain of that generation is left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spares: Option<Generation>,
    /// How long the call may take once it is really sent; waiting in a lane is bounded apart.
    pub patience: Millis,
}

/// What every driver call is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallContext {
    /// Its identity.
    pub key: EffectKey,
    /// Information only.
    pub attempt: u32,
    /// The generation it acts for. A driver that finds a higher one at the host answers `stale`.
    pub generation: Generation,
    /// A domain of this generation is left alone by a removal: it lives at another place, and is seen here because both places are
    /// the same hypervisor.
    pub spares: Option<Generation>,
    /// When the answer comes too late.
    pub deadline: Timestamp,
}

/// A driver's own, versioned state about a VM, kept with the VM and handed back. Only ever taken from its answers; must be
/// rebuildable when an answer was lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpaqueState {
    /// The driver's own version of the content.
    pub version: u32,
    /// The content; at most 64 KiB.
    pub data: Vec<u8>,
}

/// What a driver call that succeeded says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// What is there now, looked at after the effect and within the call. None if the driver did not look.
    pub seen: Option<Observation>,
    /// The driver's own state, if it changed.
    pub state: Option<OpaqueState>,
}

/// How far a long call has come. Information only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Done so far, in `unit`s of the driver's choice (usually bytes).
    pub done: u64,
    /// All there is to do; 0 if not known.
    pub total: u64,
    /// What is being done, for people.
    pub phase: String,
}

/// What came of a call.
pub type CallResult = Result<Outcome, DriverError>;
