//! The steps that operations are made of. Each is at most one driver call an item.

use crate::{Call, EffectClass, State};
use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumString, IntoStaticStr};

/// One step of an operation. What it shows, calls and must reach is fixed here; what follows it is `ostler-lifecycle`'s.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Display, EnumString, IntoStaticStr, EnumIter,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum StepKind {
    /// Make the disks on the host: overlays of images, blank and swap disks.
    PrepareDisks,
    /// Copy disks and the recovery file from the front end to the host, and verify.
    CopyIn,
    /// Remove what rests at the front end.
    DropHome,
    /// Have the domain defined and running.
    Boot,
    /// Have the domain restored from the recovery file, paused.
    Restore,
    /// Let it run. The recovery file counts as consumed from the moment this step begins.
    Unpause,
    /// Remove the consumed recovery file.
    DropRecovery,
    /// Press the power button once, and wait for off.
    PressPower,
    /// Switch off without asking the guest.
    PowerOff,
    /// Write memory to the recovery file and be off.
    Save,
    /// Have no domain: switched off and undefined.
    Remove,
    /// Copy disks and the recovery file from the host to the front end, and verify.
    CopyOut,
    /// Remove the VM's files from the host.
    DropHost,
    /// Ask the guest to reboot, once.
    Reboot,
    /// Press reset, once.
    Reset,
}

/// What a fresh observation must show for a step to have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Display, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum Goal {
    /// Nothing at the hypervisor.
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

impl StepKind {
    /// The state a VM shows while the step runs.
    #[must_use]
    pub const fn state(self) -> State {
        match self {
            Self::PrepareDisks | Self::CopyIn | Self::DropHome => State::Prolog,
            Self::Boot | Self::Restore | Self::Unpause | Self::DropRecovery => State::Boot,
            Self::PressPower | Self::PowerOff => State::Shutdown,
            Self::Save => State::Save,
            Self::Remove | Self::CopyOut | Self::DropHost => State::Epilog,
            Self::Reboot | Self::Reset => State::Running,
        }
    }

    /// The driver call each item of the step makes.
    #[must_use]
    pub const fn call(self) -> Call {
        match self {
            Self::PrepareDisks => Call::Prepare,
            Self::CopyIn => Call::CopyIn,
            Self::DropHome => Call::DropHome,
            Self::Boot => Call::Deploy,
            Self::Restore => Call::Restore,
            Self::Unpause => Call::Unpause,
            Self::DropRecovery => Call::DropRecovery,
            Self::PressPower => Call::PressPower,
            Self::PowerOff => Call::Destroy,
            Self::Save => Call::Save,
            Self::Remove => Call::Remove,
            Self::CopyOut => Call::CopyOut,
            Self::DropHost => Call::DropHost,
            Self::Reboot => Call::Reboot,
            Self::Reset => Call::Reset,
        }
    }

    /// What must be seen at the end.
    #[must_use]
    pub const fn goal(self) -> Goal {
        match self {
            Self::PrepareDisks | Self::CopyIn | Self::DropHome | Self::DropRecovery | Self::CopyOut | Self::DropHost => {
                Goal::Nothing
            }
            Self::Boot | Self::Unpause | Self::Reboot | Self::Reset => Goal::Running,
            Self::Restore => Goal::Paused,
            Self::PressPower | Self::PowerOff | Self::Save => Goal::Off,
            Self::Remove => Goal::Absent,
        }
    }

    /// Whether a repeat is harmless by itself.
    #[must_use]
    pub const fn class(self) -> EffectClass {
        self.call().class()
    }

    /// Whether a look that shows the goal proves the step, when its answer was lost. *Off* does not prove that memory was
    /// written, *paused* not that it came from the file, *running* not that the guest was rebooted: those are sent again under
    /// the same identity, and the driver converges.
    #[must_use]
    pub const fn proven_by_look(self) -> bool {
        match self {
            Self::Boot | Self::Unpause | Self::PressPower | Self::PowerOff | Self::Remove => true,
            Self::PrepareDisks
            | Self::CopyIn
            | Self::DropHome
            | Self::Restore
            | Self::DropRecovery
            | Self::Save
            | Self::CopyOut
            | Self::DropHost
            | Self::Reboot
            | Self::Reset => false,
        }
    }
}
