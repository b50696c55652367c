//! The table of verbs and abilities: what a driver must be able to do.

use ostler_model::{Ability, State, Verb, VmRecord};

/// The ability that the driver needs for `verb`, as the VM is now.
pub(crate) fn needed(record: &VmRecord, verb: Verb) -> Option<Ability> {
    let runs = record.state == State::Running;
    match verb {
        Verb::Suspend => Some(Ability::Suspend),
        // Saved memory is only moved; a running or paused guest must be saved first.
        Verb::Stop => record.usable_recovery().is_none().then_some(Ability::Suspend),
        Verb::Migrate => runs.then_some(Ability::Suspend),
        Verb::MigrateLive => Some(Ability::Migrate),
        Verb::Reboot | Verb::RebootHard => Some(Ability::Reboot),
        Verb::DiskAttach | Verb::DiskDetach | Verb::NicAttach | Verb::NicDetach => {
            runs.then_some(Ability::Hotplug)
        }
        Verb::Resize => runs.then_some(Ability::LiveResize),
        Verb::DiskSnapshotLive => runs.then_some(Ability::DiskCopy),
        Verb::SnapshotRevert | Verb::SnapshotDelete => Some(Ability::Snapshots),
        // No ability is checked here: the snapshot rules refuse it, because they can say why.
        Verb::SnapshotCreate => None,
        // Every driver can do these.
        Verb::Hold
        | Verb::Release
        | Verb::Deploy
        | Verb::Resume
        | Verb::ResumeCold
        | Verb::Boot
        | Verb::Adopt => None,
        Verb::Poweroff | Verb::PoweroffHard | Verb::Undeploy | Verb::UndeployHard => None,
        Verb::Shutdown
        | Verb::ShutdownHard
        | Verb::Delete
        | Verb::DeleteRecreate
        | Verb::Forget => None,
        Verb::MigratePoweroff | Verb::MigratePoweroffHard => None,
        Verb::Resched | Verb::Unresched | Verb::DiskSnapshot | Verb::DiskSnapshotCancel => None,
        Verb::Update | Verb::Rename | Verb::Schedule | Verb::Unschedule | Verb::Reschedule => None,
        Verb::RecoverSuccess | Verb::RecoverFailure | Verb::RecoverRetry | Verb::RecoverUndo => {
            None
        }
    }
}
