//! The verbs: everything that can be asked of a VM.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumString, IntoStaticStr};

/// One verb of the command line and the API. The kebab-case name is the same everywhere.
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
pub enum Verb {
    /// Keep the scheduler from placing it.
    Hold,
    /// Let the scheduler place it.
    Release,
    /// Place it on a host and start it.
    Deploy,
    /// Save memory, keep files on the host.
    Suspend,
    /// Save memory and bring all files back to the front end.
    Stop,
    /// Start it again, or restore it from its saved memory.
    Resume,
    /// Start it from its disks. Saved memory is dropped.
    ResumeCold,
    /// Switch off gracefully, keep files on the host.
    Poweroff,
    /// Switch off at once, keep files on the host.
    PoweroffHard,
    /// Switch off gracefully and bring the disks back to the front end.
    Undeploy,
    /// Switch off at once and bring the disks back to the front end.
    UndeployHard,
    /// Switch off gracefully and end the VM.
    Shutdown,
    /// Switch off at once and end the VM.
    ShutdownHard,
    /// Ask the guest to reboot.
    Reboot,
    /// Press reset.
    RebootHard,
    /// End the VM, in any state and during any operation.
    Delete,
    /// As delete, but the VM ends in `pending` with the same id and specification.
    DeleteRecreate,
    /// Send the boot again.
    Boot,
    /// Move it to another host: memory is saved, everything is moved, and it is restored there.
    Migrate,
    /// Move it to another host while it runs.
    MigrateLive,
    /// Move it to another host: switched off gracefully instead of saved.
    MigratePoweroff,
    /// Move it to another host: switched off at once instead of saved.
    MigratePoweroffHard,
    /// Have the scheduler move it to another host.
    Resched,
    /// Take a `resched` back.
    Unresched,
    /// Plug a disk in.
    DiskAttach,
    /// Unplug a disk and remove it.
    DiskDetach,
    /// Plug a network card in.
    NicAttach,
    /// Unplug a network card.
    NicDetach,
    /// Make a system snapshot.
    SnapshotCreate,
    /// Go back to a system snapshot.
    SnapshotRevert,
    /// Remove a system snapshot.
    SnapshotDelete,
    /// Make a new image of a disk when the VM is shut down.
    DiskSnapshot,
    /// Copy a disk into a new image now.
    DiskSnapshotLive,
    /// Take a pending disk snapshot back.
    DiskSnapshotCancel,
    /// Change CPUs or memory.
    Resize,
    /// Change the user data.
    Update,
    /// Change the name.
    Rename,
    /// Add a scheduled action.
    Schedule,
    /// Take a scheduled action back.
    Unschedule,
    /// Change a scheduled action.
    Reschedule,
    /// Make a VM of a domain that somebody else made.
    Adopt,
    /// End the VM without asking its host. The operator states that the host is lost.
    Forget,
    /// The operator states that the current step succeeded.
    RecoverSuccess,
    /// The operator states that the current step failed.
    RecoverFailure,
    /// Send the current step again.
    RecoverRetry,
    /// Roll the operation back.
    RecoverUndo,
}

/// How strong a verb is. A stronger verb can overtake the operation of a weaker one: graceful <
/// hard < delete < forget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Strength {
    /// Cannot overtake. Only delete and forget overtake it; a hard verb does not.
    Plain,
    /// Asks the guest. Cannot overtake.
    Graceful,
    /// Does not ask the guest. Overtakes a graceful verb, while that verb still waits for the
    /// guest.
    Hard,
    /// Overtakes plain, graceful and hard verbs. `delete` also overtakes `delete-recreate`.
    Delete,
    /// Overtakes even a delete, because a delete waits forever for a host that is lost.
    Forget,
}

/// The kind of a verb. Some rules hold for all verbs of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// Whether, where and how the VM runs.
    Power,
    /// It moves the VM to another host.
    Migration,
    /// It changes the hardware, or copies a disk, and leaves the VM in its state.
    Hotplug,
    /// It is about a system snapshot.
    Snapshot,
    /// It only changes the record.
    Record,
    /// It carries another operation on.
    Recovery,
}

impl Verb {
    /// How strong the verb is.
    #[must_use]
    pub const fn strength(self) -> Strength {
        match self {
            Self::Poweroff
            | Self::Undeploy
            | Self::Shutdown
            | Self::Reboot
            | Self::MigratePoweroff => Strength::Graceful,
            Self::PoweroffHard
            | Self::UndeployHard
            | Self::ShutdownHard
            | Self::RebootHard
            | Self::MigratePoweroffHard => Strength::Hard,
            Self::Delete | Self::DeleteRecreate => Strength::Delete,
            Self::Forget => Strength::Forget,
            Self::Hold | Self::Release | Self::Deploy | Self::Suspend | Self::Stop => {
                Strength::Plain
            }
            Self::Resume | Self::ResumeCold | Self::Boot => Strength::Plain,
            Self::Migrate | Self::MigrateLive | Self::Adopt => Strength::Plain,
            Self::DiskAttach
            | Self::DiskDetach
            | Self::NicAttach
            | Self::NicDetach
            | Self::Resize => Strength::Plain,
            Self::SnapshotCreate
            | Self::SnapshotRevert
            | Self::SnapshotDelete
            | Self::DiskSnapshotLive => Strength::Plain,
            Self::Resched | Self::Unresched | Self::DiskSnapshot | Self::DiskSnapshotCancel => {
                Strength::Plain
            }
            Self::Update | Self::Rename | Self::Schedule | Self::Unschedule | Self::Reschedule => {
                Strength::Plain
            }
            Self::RecoverSuccess
            | Self::RecoverFailure
            | Self::RecoverRetry
            | Self::RecoverUndo => Strength::Plain,
        }
    }

    /// What the verb is about.
    #[must_use]
    pub const fn family(self) -> Family {
        match self {
            Self::RecoverSuccess
            | Self::RecoverFailure
            | Self::RecoverRetry
            | Self::RecoverUndo => Family::Recovery,
            Self::Resched | Self::Unresched | Self::DiskSnapshot | Self::DiskSnapshotCancel => {
                Family::Record
            }
            Self::Update | Self::Rename | Self::Schedule | Self::Unschedule | Self::Reschedule => {
                Family::Record
            }
            Self::Migrate
            | Self::MigrateLive
            | Self::MigratePoweroff
            | Self::MigratePoweroffHard => Family::Migration,
            Self::DiskAttach | Self::DiskDetach | Self::NicAttach | Self::NicDetach => {
                Family::Hotplug
            }
            Self::Resize | Self::DiskSnapshotLive => Family::Hotplug,
            Self::SnapshotCreate | Self::SnapshotRevert | Self::SnapshotDelete => Family::Snapshot,
            Self::Hold
            | Self::Release
            | Self::Deploy
            | Self::Suspend
            | Self::Stop
            | Self::Adopt => Family::Power,
            Self::Resume | Self::ResumeCold | Self::Boot | Self::Reboot | Self::RebootHard => {
                Family::Power
            }
            Self::Poweroff | Self::PoweroffHard | Self::Undeploy | Self::UndeployHard => {
                Family::Power
            }
            Self::Shutdown
            | Self::ShutdownHard
            | Self::Delete
            | Self::DeleteRecreate
            | Self::Forget => Family::Power,
        }
    }

    /// Whether it carries another operation on.
    #[must_use]
    pub const fn is_recovery(self) -> bool {
        matches!(self.family(), Family::Recovery)
    }

    /// Whether it only changes the record. Such a verb needs no slot, no driver and no host, and
    /// ends with the commit that accepts it.
    #[must_use]
    pub const fn is_record_only(self) -> bool {
        matches!(self.family(), Family::Record)
    }

    /// Whether it moves a VM to another host.
    #[must_use]
    pub const fn is_migration(self) -> bool {
        matches!(self.family(), Family::Migration)
    }

    /// Whether it changes the hardware of a VM, or copies one of its disks, and leaves the VM in
    /// the state that it was in.
    #[must_use]
    pub const fn is_hotplug(self) -> bool {
        matches!(self.family(), Family::Hotplug)
    }

    /// Whether it is about a system snapshot.
    #[must_use]
    pub const fn is_snapshot(self) -> bool {
        matches!(self.family(), Family::Snapshot)
    }

    /// The graceful verb that asks the guest for the same that this hard verb does without asking.
    /// None if the verb is not hard.
    #[must_use]
    pub fn graceful(self) -> Option<Self> {
        GRACEFUL.iter().find(|(hard, _)| *hard == self).map(|(_, graceful)| *graceful)
    }
}

/// Each hard verb, with the graceful verb that leads to the same state.
const GRACEFUL: [(Verb, Verb); 5] = [
    (Verb::PoweroffHard, Verb::Poweroff),
    (Verb::UndeployHard, Verb::Undeploy),
    (Verb::ShutdownHard, Verb::Shutdown),
    (Verb::RebootHard, Verb::Reboot),
    (Verb::MigratePoweroffHard, Verb::MigratePoweroff),
];

#[cfg(test)]
mod tests {
    use super::{Strength, Verb};
    use strum::IntoEnumIterator;

    #[test]
    fn every_hard_verb_and_no_other_has_a_graceful_one() {
        for verb in Verb::iter() {
            let graceful = verb.graceful();
            assert_eq!(graceful.is_some(), verb.strength() == Strength::Hard, "{verb}");
            assert!(
                graceful.is_none_or(|graceful| graceful.strength() == Strength::Graceful),
                "{verb}"
            );
        }
    }
}
