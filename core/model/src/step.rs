//! The steps of operations. A step makes at most one driver call per item.

use crate::{Call, EffectClass, JobCall, NowCall, State};
use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumString, IntoStaticStr};

/// One step of an operation. This type fixes the state that the step shows, its driver call and its
/// goal. `ostler-lifecycle` decides which step comes next.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    IntoStaticStr,
    EnumIter,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum StepKind {
    /// Make the disks on the host: overlays of images, blank and swap disks.
    PrepareDisks,
    /// Copy disks and the memory file from the front end to the host, and verify.
    CopyIn,
    /// Remove the VM's files at the front end.
    DropHome,
    /// Have the domain defined and running.
    Boot,
    /// Have the domain restored from the memory file, paused.
    Restore,
    /// Let it run. The memory file counts as consumed from the moment this step begins.
    Unpause,
    /// Remove the memory file: it is consumed, or `resume-cold` drops it.
    DropRecovery,
    /// Press the power button once, and wait until the guest is off.
    PressPower,
    /// Switch off without asking the guest.
    PowerOff,
    /// Write the memory to the memory file, and switch off.
    Save,
    /// Have no domain: switch it off and undefine it.
    Remove,
    /// Copy disks and the memory file from the host to the front end, and verify.
    CopyOut,
    /// Remove the VM's files from the host.
    DropHost,
    /// Ask the guest to reboot, once.
    Reboot,
    /// Press reset, once.
    Reset,
    /// Copy disks and the memory file to the other host, and verify.
    CopyAcross,
    /// Make the disks on the other host; the hypervisor fills them.
    PrepareOther,
    /// Move the running domain to the other host.
    Migrate,
    /// Swap the two hosts of a migration in the record: the other host becomes the VM's placement.
    /// Makes no driver call.
    Switch,
    /// Have no domain on the other host.
    RemoveOther,
    /// Remove the VM's files from the other host.
    DropOther,
    /// Have a disk plugged in.
    AttachDisk,
    /// Have a disk unplugged.
    DetachDisk,
    /// Remove a disk's file.
    DropDisk,
    /// Have a network card plugged in.
    AttachNic,
    /// Have a network card unplugged.
    DetachNic,
    /// Copy a disk in use into an image.
    CopyDisk,
    /// Make images of disks that are not in use.
    SaveBack,
    /// Give the running domain this many CPUs and this much memory.
    Resize,
    /// Have a system snapshot.
    CreateSnapshot,
    /// Go back to a system snapshot.
    RevertSnapshot,
    /// Have no such system snapshots.
    DeleteSnapshot,
    /// Stamp our identity into a domain that somebody else made.
    Stamp,
}

/// One of the two hosts of a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Display, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum Side {
    /// The host of the VM's placement.
    Here,
    /// The other host: the destination before the switch, the origin after it.
    Other,
}

/// The state that a fresh observation must show before a step counts as ended.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Display, IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Goal {
    /// The step has no goal at the hypervisor.
    Nothing,
    /// It runs.
    Running,
    /// It is there and paused.
    Paused,
    /// It is off, or there is no such domain.
    Off,
    /// There is no such domain.
    Absent,
}

/// One of the places where a VM's files may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Folder {
    /// At the front end.
    Home,
    /// On the VM's host.
    Host,
    /// On the other host of a migration.
    Other,
}

/// The part of a VM that a step acts on. The step makes one call for each item of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Nothing: the step makes no call.
    Nothing,
    /// The domain.
    Domain,
    /// The disks that the operation is about, adopted ones included.
    Disks,
    /// The disks that the operation is about and that Ostler made. An adopted disk is already
    /// there, and stays there.
    OwnDisks,
    /// The disks that become images.
    NewImages,
    /// The disks that Ostler made, and the memory file if it can be restored from.
    DisksAndMemory,
    /// The memory file.
    Memory,
    /// All files at one place.
    Folder(Folder),
    /// The network card that the operation is about.
    Nic,
    /// System snapshots.
    Snapshots,
}

impl StepKind {
    /// The part of the VM that the step acts on.
    #[must_use]
    pub const fn scope(self) -> Scope {
        match self {
            Self::Switch => Scope::Nothing,
            Self::PrepareDisks | Self::PrepareOther | Self::DropDisk => Scope::OwnDisks,
            Self::AttachDisk | Self::DetachDisk | Self::CopyDisk => Scope::Disks,
            Self::SaveBack => Scope::NewImages,
            Self::CopyIn | Self::CopyOut | Self::CopyAcross => Scope::DisksAndMemory,
            Self::DropRecovery => Scope::Memory,
            Self::DropHome => Scope::Folder(Folder::Home),
            Self::DropHost => Scope::Folder(Folder::Host),
            Self::DropOther => Scope::Folder(Folder::Other),
            Self::AttachNic | Self::DetachNic => Scope::Nic,
            Self::CreateSnapshot | Self::RevertSnapshot | Self::DeleteSnapshot => Scope::Snapshots,
            Self::Boot | Self::Restore | Self::Unpause | Self::Stamp => Scope::Domain,
            Self::PressPower | Self::PowerOff | Self::Save | Self::Remove | Self::RemoveOther => {
                Scope::Domain
            }
            Self::Reboot | Self::Reset | Self::Migrate | Self::Resize => Scope::Domain,
        }
    }

    /// The state that a VM shows while the step runs, unless the verb shows another state for it.
    #[must_use]
    pub const fn state(self) -> State {
        match self {
            Self::PrepareDisks | Self::CopyIn | Self::DropHome => State::Prolog,
            Self::Boot | Self::Restore | Self::Unpause | Self::DropRecovery | Self::Stamp => {
                State::Boot
            }
            Self::PressPower | Self::PowerOff => State::Shutdown,
            Self::Save => State::Save,
            Self::Remove | Self::CopyOut | Self::DropHost | Self::SaveBack => State::Epilog,
            Self::Reboot | Self::Reset => State::Running,
            Self::CopyAcross
            | Self::PrepareOther
            | Self::Migrate
            | Self::Switch
            | Self::RemoveOther
            | Self::DropOther => State::Migrate,
            Self::AttachDisk
            | Self::DetachDisk
            | Self::DropDisk
            | Self::AttachNic
            | Self::DetachNic => State::Hotplug,
            Self::CopyDisk | Self::Resize => State::Hotplug,
            Self::CreateSnapshot | Self::RevertSnapshot | Self::DeleteSnapshot => State::Snapshot,
        }
    }

    /// The step in words, for people, as something that is being done.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::PrepareDisks => "making its disks",
            Self::CopyIn => "copying its files to the host",
            Self::DropHome => "removing its files on the daemon's machine",
            Self::Boot => "starting it",
            Self::Restore => "restoring its saved memory",
            Self::Unpause => "letting it run on",
            Self::DropRecovery => "removing the file of its saved memory, which is used up",
            Self::PressPower => "pressing its power button",
            Self::PowerOff => "powering it off",
            Self::Save => "saving its memory",
            Self::Remove => "removing its domain",
            Self::CopyOut => "copying its files to the daemon's machine",
            Self::DropHost => "removing its files on the host",
            Self::Reboot => "asking the guest to reboot",
            Self::Reset => "pressing reset",
            Self::CopyAcross => "copying its files to the other host",
            Self::PrepareOther => "making its disks on the other host",
            Self::Migrate => "moving it, running, to the other host",
            Self::Switch => "changing hosts",
            Self::RemoveOther => "removing its domain from the other host",
            Self::DropOther => "removing its files from the other host",
            Self::AttachDisk => "plugging the disk in",
            Self::DetachDisk => "unplugging the disk; the guest must let go of it",
            Self::DropDisk => "removing the disk's file",
            Self::AttachNic => "plugging the network card in",
            Self::DetachNic => "unplugging the network card; the guest must let go of it",
            Self::CopyDisk => "copying the disk into an image while it is in use",
            Self::SaveBack => "saving disks as images",
            Self::Resize => "changing its CPUs and memory while it runs",
            Self::CreateSnapshot => "making the snapshot",
            Self::RevertSnapshot => "going back to the snapshot",
            Self::DeleteSnapshot => "removing snapshots",
            Self::Stamp => "marking its domain as Ostler's",
        }
    }

    /// The driver call that the step makes for each item.
    #[must_use]
    pub const fn call(self) -> Call {
        match self {
            Self::PrepareDisks | Self::PrepareOther => Call::Job(JobCall::Prepare),
            Self::CopyIn => Call::Job(JobCall::CopyIn),
            Self::DropHome => Call::Job(JobCall::DropHome),
            Self::Boot => Call::Now(NowCall::Deploy),
            Self::Restore => Call::Now(NowCall::Restore),
            Self::Unpause => Call::Now(NowCall::Unpause),
            Self::DropRecovery => Call::Job(JobCall::DropRecovery),
            Self::PressPower => Call::Now(NowCall::PressPower),
            Self::PowerOff => Call::Now(NowCall::Destroy),
            Self::Save => Call::Now(NowCall::Save),
            Self::Remove | Self::RemoveOther => Call::Now(NowCall::Remove),
            Self::CopyOut => Call::Job(JobCall::CopyOut),
            Self::DropHost | Self::DropOther => Call::Job(JobCall::DropHost),
            Self::Reboot => Call::Now(NowCall::Reboot),
            Self::Reset => Call::Now(NowCall::Reset),
            Self::CopyAcross => Call::Job(JobCall::CopyAcross),
            Self::Migrate => Call::Job(JobCall::Migrate),
            // Never sent: the step has no items.
            Self::Switch => Call::Now(NowCall::Observe),
            Self::AttachDisk => Call::Now(NowCall::AttachDisk),
            Self::DetachDisk => Call::Now(NowCall::DetachDisk),
            Self::DropDisk => Call::Job(JobCall::DropDisk),
            Self::AttachNic => Call::Now(NowCall::AttachNic),
            Self::DetachNic => Call::Now(NowCall::DetachNic),
            Self::CopyDisk => Call::Job(JobCall::CopyDisk),
            Self::SaveBack => Call::Job(JobCall::SaveBack),
            Self::Resize => Call::Now(NowCall::Resize),
            Self::CreateSnapshot => Call::Now(NowCall::CreateSnapshot),
            Self::RevertSnapshot => Call::Now(NowCall::RevertSnapshot),
            Self::DeleteSnapshot => Call::Now(NowCall::DeleteSnapshot),
            Self::Stamp => Call::Now(NowCall::Stamp),
        }
    }

    /// The host that its call is sent to. The host that the domain leaves begins a migration. The
    /// host that files go to fetches them.
    #[must_use]
    pub const fn sent_to(self) -> Side {
        match self {
            Self::CopyAcross | Self::PrepareOther | Self::RemoveOther | Self::DropOther => {
                Side::Other
            }
            Self::PrepareDisks
            | Self::CopyIn
            | Self::DropHome
            | Self::DropRecovery
            | Self::CopyOut
            | Self::DropHost => Side::Here,
            Self::Boot
            | Self::Restore
            | Self::Unpause
            | Self::PressPower
            | Self::PowerOff
            | Self::Save => Side::Here,
            Self::Remove
            | Self::Reboot
            | Self::Reset
            | Self::Switch
            | Self::Stamp
            | Self::Resize
            | Self::SaveBack => Side::Here,
            Self::AttachDisk
            | Self::DetachDisk
            | Self::DropDisk
            | Self::AttachNic
            | Self::DetachNic
            | Self::CopyDisk => Side::Here,
            Self::CreateSnapshot | Self::RevertSnapshot | Self::DeleteSnapshot | Self::Migrate => {
                Side::Here
            }
        }
    }

    /// The host that is looked at to learn the result of the step.
    #[must_use]
    pub const fn looked_at(self) -> Side {
        match self {
            Self::Migrate | Self::RemoveOther => Side::Other,
            Self::PrepareDisks
            | Self::CopyIn
            | Self::DropHome
            | Self::DropRecovery
            | Self::CopyOut
            | Self::DropHost => Side::Here,
            Self::Boot
            | Self::Restore
            | Self::Unpause
            | Self::PressPower
            | Self::PowerOff
            | Self::Save => Side::Here,
            Self::Remove
            | Self::Reboot
            | Self::Reset
            | Self::Switch
            | Self::Stamp
            | Self::Resize
            | Self::SaveBack => Side::Here,
            Self::AttachDisk
            | Self::DetachDisk
            | Self::DropDisk
            | Self::AttachNic
            | Self::DetachNic
            | Self::CopyDisk => Side::Here,
            Self::CreateSnapshot
            | Self::RevertSnapshot
            | Self::DeleteSnapshot
            | Self::CopyAcross
            | Self::PrepareOther
            | Self::DropOther => Side::Here,
        }
    }

    /// The goal that must be seen at the end.
    #[must_use]
    pub const fn goal(self) -> Goal {
        match self {
            Self::PrepareDisks
            | Self::CopyIn
            | Self::DropHome
            | Self::DropRecovery
            | Self::CopyOut
            | Self::DropHost => Goal::Nothing,
            Self::CopyAcross
            | Self::PrepareOther
            | Self::Switch
            | Self::DropOther
            | Self::DropDisk
            | Self::SaveBack => Goal::Nothing,
            Self::Boot | Self::Unpause | Self::Reboot | Self::Reset | Self::Migrate => {
                Goal::Running
            }
            Self::AttachDisk
            | Self::DetachDisk
            | Self::AttachNic
            | Self::DetachNic
            | Self::CopyDisk
            | Self::Resize => Goal::Running,
            Self::RevertSnapshot => Goal::Running,
            // These steps act on running domains and on domains that are off, so no single power
            // state is their goal.
            Self::CreateSnapshot | Self::DeleteSnapshot | Self::Stamp => Goal::Nothing,
            Self::Restore => Goal::Paused,
            Self::PressPower | Self::PowerOff | Self::Save => Goal::Off,
            Self::Remove | Self::RemoveOther => Goal::Absent,
        }
    }

    /// How the step's call behaves when it is sent twice.
    #[must_use]
    pub const fn class(self) -> EffectClass {
        self.call().class()
    }

    /// Whether a look that shows the goal proves that the step succeeded, when the answer was lost. *Off*
    /// does not prove that the memory was written. *Paused* does not prove that the memory came
    /// from the file. *Running* does not prove that the guest was rebooted or got its disk. Such
    /// steps are sent again under the same effect key, and the driver converges.
    #[must_use]
    pub const fn proven_by_look(self) -> bool {
        matches!(
            self,
            Self::Boot
                | Self::Unpause
                | Self::PressPower
                | Self::PowerOff
                | Self::Remove
                | Self::RemoveOther
                | Self::Migrate
        )
    }
}
