//! Effects: the driver calls that decisions ask for, and the keys that identify them.

use crate::{
    DiskName, DriverError, DriverName, Epoch, Generation, HostId, MacAddress, Millis, Observation,
    OperationId, SnapshotName, StepNo, StoreId, Timestamp, VmId, VmUuid,
};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use strum::{Display, EnumIter, EnumString, IntoStaticStr};

/// The thing that an effect acts on. A step may have several items.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Item {
    /// The domain itself.
    Domain,
    /// One disk.
    Disk(DiskName),
    /// One network card, by its address.
    Nic(MacAddress),
    /// One system snapshot, by its name at the hypervisor.
    Snapshot(SnapshotName),
    /// The memory file.
    Recovery,
    /// All files of the VM at one place.
    Files,
    /// A look: it asks whether the domain is there and what it does, and changes nothing.
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

/// An effect key: the identity of an effect. The number of the attempt is not part of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EffectKey {
    /// The VM, as hypervisors know it.
    pub vm: VmUuid,
    /// The operation.
    pub operation: OperationId,
    /// The VM's step counter at that step.
    pub step: StepNo,
    /// The item that it acts on.
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
    /// The driver compares the goal with what is there, so a repeat converges.
    Level,
    /// The effect leaves no trace that a driver can check. Therefore the driver first writes the
    /// effect key at the host, and sends the effect at most once per key.
    Edge,
    /// Changes nothing.
    Question,
}

/// A driver call. Its arguments are built from the record when it is sent. This keeps the outbox
/// small, and a repeat uses the current record. It is written as its name alone, so a row does not
/// say whether the call is a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum Call {
    /// A job: the driver begins it, is polled for its progress, and can be asked to stop it.
    Job(JobCall),
    /// It is done in one short call.
    Now(NowCall),
}

/// A driver call that is done in one short call, by the host's hypervisor driver.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Display,
    EnumString,
    IntoStaticStr,
    EnumIter,
)]
#[strum(serialize_all = "kebab-case")]
pub enum NowCall {
    /// Have the domain defined and running.
    Deploy,
    /// Have the domain restored from the memory file, paused.
    Restore,
    /// Let the paused domain run on.
    Unpause,
    /// Press the power button.
    PressPower,
    /// Have the domain off.
    Destroy,
    /// Have the memory written to the file, and the domain off.
    Save,
    /// Have no such domain.
    Remove,
    /// Ask the guest to reboot.
    Reboot,
    /// Reset the domain.
    Reset,
    /// Have the disk.
    AttachDisk,
    /// Have no such disk.
    DetachDisk,
    /// Have the network card.
    AttachNic,
    /// Have no such network card.
    DetachNic,
    /// Give the running domain this many CPUs and this much memory.
    Resize,
    /// Have the snapshot.
    CreateSnapshot,
    /// Revert the domain to the snapshot, and let it run.
    RevertSnapshot,
    /// Have no such snapshot.
    DeleteSnapshot,
    /// Stamp our identity into the domain, and change nothing else.
    Stamp,
    /// Look at the domain.
    Observe,
}

/// A driver call that is a job.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Display,
    EnumString,
    IntoStaticStr,
    EnumIter,
)]
#[strum(serialize_all = "kebab-case")]
pub enum JobCall {
    /// Transfer: make one disk on the host.
    Prepare,
    /// Transfer: copy one file from the front end to the host.
    CopyIn,
    /// Transfer: remove the VM's files at the front end.
    DropHome,
    /// Transfer: remove the memory file on the host.
    DropRecovery,
    /// Transfer: copy one file from the host to the front end.
    CopyOut,
    /// Transfer: remove the VM's files on the host.
    DropHost,
    /// Transfer: copy one file from the host to the other host of a migration.
    CopyAcross,
    /// Transfer: remove one disk on the host.
    DropDisk,
    /// Transfer: make an image of one disk.
    SaveBack,
    /// Hypervisor: move the running domain to another host.
    Migrate,
    /// Hypervisor: copy a disk that is in use into an image.
    CopyDisk,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad((*self).into())
    }
}

impl From<Call> for &'static str {
    fn from(call: Call) -> Self {
        match call {
            Call::Job(job) => job.into(),
            Call::Now(now) => now.into(),
        }
    }
}

impl FromStr for Call {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let job = || text.parse().map(Self::Job);
        text.parse()
            .map(Self::Now)
            .or_else(|_| job())
            .map_err(|_| format!("{text:?} names no driver call"))
    }
}

impl TryFrom<String> for Call {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// The kind of driver that serves a call. Each kind has its own lanes.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Display,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Lane {
    /// The host's hypervisor driver.
    Hypervisor,
    /// The datastore's transfer driver.
    Transfer,
}

impl Call {
    /// How the call behaves when it is sent twice.
    #[must_use]
    pub const fn class(self) -> EffectClass {
        match self {
            // A job that was lost is begun again, so each of them converges.
            Self::Job(_) => EffectClass::Level,
            Self::Now(now) => now.class(),
        }
    }

    /// The kind of driver that serves it.
    #[must_use]
    pub const fn lane(self) -> Lane {
        match self {
            Self::Job(job) => job.lane(),
            Self::Now(_) => Lane::Hypervisor,
        }
    }
}

impl NowCall {
    const fn class(self) -> EffectClass {
        match self {
            Self::PressPower | Self::Reboot | Self::Reset => EffectClass::Edge,
            Self::Observe => EffectClass::Question,
            // A second revert is not harmless: it would undo what the guest has done since the
            // first one.
            Self::RevertSnapshot => EffectClass::Edge,
            Self::Deploy
            | Self::Restore
            | Self::Unpause
            | Self::Destroy
            | Self::Save
            | Self::Remove => EffectClass::Level,
            Self::AttachDisk | Self::DetachDisk | Self::AttachNic | Self::DetachNic => {
                EffectClass::Level
            }
            Self::Resize | Self::CreateSnapshot | Self::DeleteSnapshot | Self::Stamp => {
                EffectClass::Level
            }
        }
    }
}

impl JobCall {
    const fn lane(self) -> Lane {
        match self {
            Self::Prepare
            | Self::CopyIn
            | Self::DropHome
            | Self::DropRecovery
            | Self::CopyOut
            | Self::DropHost => Lane::Transfer,
            Self::CopyAcross | Self::DropDisk | Self::SaveBack => Lane::Transfer,
            Self::Migrate | Self::CopyDisk => Lane::Hypervisor,
        }
    }
}

/// A driver call that was decided and committed: a row of the outbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// The VM.
    pub vm: VmId,
    /// The effect key.
    pub key: EffectKey,
    /// The number of the attempt; the first is 1. Information only.
    pub attempt: u32,
    /// The driver call.
    pub call: Call,
    /// The host that the call is sent to.
    pub host: HostId,
    /// The driver that was chosen when the step began.
    pub driver: DriverName,
    /// The generation that it acts for.
    pub generation: Generation,
    /// For a removal at one host of a migration: the generation that lives at the other host. A
    /// domain of this generation is not touched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spares: Option<Generation>,
    /// How long the call may take after it is really sent. The time that it waits in a lane has its
    /// own bound.
    pub patience: Millis,
}

/// The data that every driver call gets, beside its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallContext {
    /// The store whose daemon calls. A driver that finds a domain of another store, or of nobody, at
    /// the host answers `refused` with code `foreign`.
    pub store: StoreId,
    /// The effect key.
    pub key: EffectKey,
    /// The number of the attempt. Information only.
    pub attempt: u32,
    /// The generation that the call acts for. A driver that finds a higher one at the host answers
    /// `stale`.
    pub generation: Generation,
    /// The epoch of the daemon that calls. A host that has seen a higher one of this store starts
    /// nothing for the call. 0: nobody took charge of the store, and no host compares it.
    pub epoch: Epoch,
    /// A removal does not touch a domain of this generation. Such a domain belongs to another
    /// placement, and is seen here because both placements are on the same hypervisor.
    pub spares: Option<Generation>,
    /// When the call must have answered; a later answer is too late.
    pub deadline: Timestamp,
}

/// A driver's own, versioned state about a VM. It is taken from the driver's answers only, kept in
/// the record, and handed back to the driver. The driver must be able to rebuild it, because an
/// answer may be lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpaqueState {
    /// The driver's own version of the content.
    pub version: u32,
    /// The content; at most 64 KiB.
    pub data: Vec<u8>,
}

/// The answer of a driver call that succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// The observation of a look after the effect and within the call. None if the driver did not
    /// look.
    pub seen: Option<Observation>,
    /// The driver's own state, if it changed.
    pub state: Option<OpaqueState>,
}

/// The progress of a long call. Information only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Done so far, in units that the driver chooses (usually bytes).
    pub done: u64,
    /// The total amount, in the same units; 0 if it is not known.
    pub total: u64,
    /// The current activity, for people.
    pub phase: String,
}

/// The result of a driver call.
pub type CallResult = Result<Outcome, DriverError>;

#[cfg(test)]
mod tests {
    use super::*;
    use strum::IntoEnumIterator as _;

    /// The calls as rows have them since the first version.
    const NAMES: [&str; 30] = [
        "prepare",
        "copy-in",
        "drop-home",
        "drop-recovery",
        "copy-out",
        "drop-host",
        "copy-across",
        "drop-disk",
        "save-back",
        "deploy",
        "restore",
        "unpause",
        "press-power",
        "destroy",
        "save",
        "remove",
        "reboot",
        "reset",
        "migrate",
        "attach-disk",
        "detach-disk",
        "attach-nic",
        "detach-nic",
        "copy-disk",
        "resize",
        "create-snapshot",
        "revert-snapshot",
        "delete-snapshot",
        "stamp",
        "observe",
    ];

    #[test]
    fn every_call_of_an_older_row_is_read_and_written_as_it_was() {
        for name in NAMES {
            let row = serde_json::Value::from(name);
            let call: Call = serde_json::from_value(row.clone()).expect(name);
            assert_eq!(serde_json::to_value(call).expect(name), row);
            assert_eq!((call.to_string().as_str(), name.parse()), (name, Ok(call)));
        }
        let all = JobCall::iter().map(Call::Job).chain(NowCall::iter().map(Call::Now));
        assert_eq!(all.count(), NAMES.len(), "a new call is added to the names");
        assert!(serde_json::from_value::<Call>("job".into()).is_err());
    }
}
