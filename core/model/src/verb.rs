//! What can be asked of a VM.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumString, IntoStaticStr};

/// One verb of the command line and the API. The kebab-case name is the same everywhere.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Display, EnumString, IntoStaticStr, EnumIter,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Verb {
    /// Keep the scheduler away.
    Hold,
    /// Let the scheduler have it.
    Release,
    /// Place it on a host and start it.
    Deploy,
    /// Save memory, keep files on the host.
    Suspend,
    /// Save memory and bring everything back.
    Stop,
    /// Start or restore it again.
    Resume,
    /// Switch off gracefully, keep files on the host.
    Poweroff,
    /// Switch off at once, keep files on the host.
    PoweroffHard,
    /// Switch off gracefully and bring the disks back.
    Undeploy,
    /// Switch off at once and bring the disks back.
    UndeployHard,
    /// Switch off gracefully and end the VM.
    Shutdown,
    /// Switch off at once and end the VM.
    ShutdownHard,
    /// Ask the guest to reboot.
    Reboot,
    /// Press reset.
    RebootHard,
    /// End the VM whatever it is doing.
    Delete,
    /// As delete, but ends in pending with the same id and template.
    DeleteRecreate,
    /// Send the boot again.
    Boot,
    /// The operator states that the step in hand succeeded.
    RecoverSuccess,
    /// The operator states that the step in hand failed.
    RecoverFailure,
    /// Send the step in hand again.
    RecoverRetry,
    /// Roll the operation back.
    RecoverUndo,
}

/// Graceful < hard < delete. The stronger verb is always accepted while the weaker runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Strength {
    /// Cannot overtake, and is not overtaken by a hard verb.
    Plain,
    /// Asks the guest.
    Graceful,
    /// Does not ask the guest.
    Hard,
    /// Overtakes everything.
    Delete,
}

impl Verb {
    /// Where the verb stands among those that overtake each other.
    #[must_use]
    pub const fn strength(self) -> Strength {
        match self {
            Self::Poweroff | Self::Undeploy | Self::Shutdown | Self::Reboot => Strength::Graceful,
            Self::PoweroffHard | Self::UndeployHard | Self::ShutdownHard | Self::RebootHard => Strength::Hard,
            Self::Delete | Self::DeleteRecreate => Strength::Delete,
            Self::Hold
            | Self::Release
            | Self::Deploy
            | Self::Suspend
            | Self::Stop
            | Self::Resume
            | Self::Boot
            | Self::RecoverSuccess
            | Self::RecoverFailure
            | Self::RecoverRetry
            | Self::RecoverUndo => Strength::Plain,
        }
    }
}
