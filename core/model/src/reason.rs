//! Why a VM is in its state.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr};

/// Why a VM is in the state it is in.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    IntoStaticStr,
)]
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
    /// Somebody made the hypervisor save its memory and end the domain.
    SavedOutside,
    /// Somebody started it at the hypervisor.
    StartedOutside,
    /// Somebody paused it at the hypervisor.
    External,
    /// A disk failed, and the guest is paused.
    IoError,
    /// The guest's watchdog fired.
    Watchdog,
    /// The guest crashed, and the hypervisor keeps it for examination.
    GuestCrashed,
    /// The host could not be asked, so neither the domain nor its absence was seen.
    CannotAsk,
    /// The host has a domain with a higher generation than this store ever issued: this store is
    /// stale.
    StoreIsStale,
    /// A domain with the VM's UUID is there, but this store did not make it.
    Foreign,
    /// A step failed.
    StepFailed,
    /// It is seen again, after Ostler could not observe it.
    SeenAgain,
}

/// A fault that a person must look at. Some reasons of [`crate::State::Unknown`] name one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The guest has crashed, and the hypervisor keeps it.
    Crashed,
    /// The guest is paused because of an error. It can be let run on.
    StandsStill,
    /// The domain does not fit this store, so it is not touched.
    NotOurs,
}

impl Reason {
    /// The fault that it names, if it names one.
    #[must_use]
    pub const fn fault(self) -> Option<Fault> {
        match self {
            Self::GuestCrashed => Some(Fault::Crashed),
            Self::IoError | Self::Watchdog => Some(Fault::StandsStill),
            Self::StoreIsStale | Self::Foreign => Some(Fault::NotOurs),
            Self::Asked
            | Self::Guest
            | Self::Crashed
            | Self::DestroyedOutside
            | Self::SavedOutside => None,
            Self::StartedOutside
            | Self::External
            | Self::CannotAsk
            | Self::StepFailed
            | Self::SeenAgain => None,
        }
    }

    /// In words, for people.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Asked => "it was asked for",
            Self::Guest => "the guest switched itself off",
            Self::Crashed => "the hypervisor's process died",
            Self::DestroyedOutside => "it was switched off outside of Ostler",
            Self::SavedOutside => {
                "somebody had its hypervisor save its memory (virsh managedsave); resume goes on from there"
            }
            Self::StartedOutside => "it was started outside of Ostler",
            Self::External => "somebody paused it at the hypervisor; its memory is not saved",
            Self::IoError => "the guest stands still because a disk failed",
            Self::Watchdog => "the guest's watchdog fired",
            Self::GuestCrashed => "the guest crashed and is kept to be looked at",
            Self::CannotAsk => "its host cannot be reached",
            Self::StoreIsStale => {
                "a generation at the host does not fit this store (an old backup?); nothing is touched"
            }
            Self::Foreign => {
                "a domain of its UUID is there that this store did not make; nothing is touched"
            }
            Self::StepFailed => "a step failed",
            Self::SeenAgain => "it is seen again",
        }
    }
}
