//! The plans: the steps that a verb takes from a state. Plans that depend on more than the record
//! are chosen in `request`: those of a deploy, of a VM in `unknown` that was seen off or paused,
//! and of a move away from a lost host.

use crate::migrate;
use crate::recipe::{self, Plan};
use ostler_model::{State, StepKind, Verb, VmRecord};

/// The steps of a verb from a state that admits it. None for `deploy`, for verbs that only change
/// the record, and for verbs that carry on another operation.
pub(crate) fn plan(record: &VmRecord, verb: Verb) -> Option<Plan> {
    let runs = record.state == State::Running;
    let off = matches!(record.state, State::Suspended | State::Poweroff);
    let away = matches!(record.state, State::Stopped | State::Undeployed);
    let paused_outside = record.state == State::Suspended && record.usable_recovery().is_none();
    let live = |steps: &[StepKind]| if runs { steps.to_vec() } else { vec![] };
    Some(match verb {
        Verb::Hold | Verb::Release => vec![],
        Verb::Resume if away => vec![],
        Verb::ResumeCold if away => {
            record.recovery.iter().map(|_| StepKind::DropRecovery).collect()
        }
        Verb::ResumeCold if paused_outside => vec![StepKind::PowerOff, StepKind::Boot],
        // From `failed` it carries on the operation that failed, so it has no plan of its own.
        Verb::ResumeCold if record.state == State::Failed => return None,
        Verb::ResumeCold => recipe::start_cold(record),
        Verb::Resume if paused_outside => vec![StepKind::Unpause],
        Verb::Resume | Verb::Boot => recipe::start(record),
        Verb::Suspend => vec![StepKind::Save],
        Verb::Stop if off && !paused_outside => recipe::bring_back(record),
        Verb::Stop => prepend(&[StepKind::Save], recipe::bring_back(record)),
        Verb::Poweroff => vec![StepKind::PressPower],
        Verb::PoweroffHard => vec![StepKind::PowerOff],
        Verb::Undeploy | Verb::UndeployHard if off => recipe::bring_back(record),
        Verb::Undeploy => prepend(&[StepKind::PressPower], recipe::bring_back(record)),
        Verb::UndeployHard => prepend(&[StepKind::PowerOff], recipe::bring_back(record)),
        Verb::Shutdown | Verb::ShutdownHard if off || away => recipe::finish(record),
        Verb::Shutdown => prepend(&[StepKind::PressPower], recipe::finish(record)),
        Verb::ShutdownHard => prepend(&[StepKind::PowerOff], recipe::finish(record)),
        Verb::Reboot => vec![StepKind::Reboot],
        Verb::RebootHard => vec![StepKind::Reset],
        Verb::Delete | Verb::DeleteRecreate => recipe::clean(record),
        Verb::Forget => vec![StepKind::DropHome],
        Verb::Migrate if record.state == State::Unknown => migrate::from_lost(record),
        Verb::Migrate | Verb::MigratePoweroff | Verb::MigratePoweroffHard if off => {
            recipe::move_cold(record, None)
        }
        Verb::Migrate => recipe::move_cold(record, Some(StepKind::Save)),
        Verb::MigratePoweroff => recipe::move_cold(record, Some(StepKind::PressPower)),
        Verb::MigratePoweroffHard => recipe::move_cold(record, Some(StepKind::PowerOff)),
        Verb::MigrateLive => recipe::move_live(record.storage_is_shared()),
        Verb::DiskAttach => prepend(&[StepKind::PrepareDisks], live(&[StepKind::AttachDisk])),
        Verb::DiskDetach => {
            live(&[StepKind::DetachDisk]).into_iter().chain([StepKind::DropDisk]).collect()
        }
        Verb::NicAttach => live(&[StepKind::AttachNic]),
        Verb::NicDetach => live(&[StepKind::DetachNic]),
        Verb::Resize => live(&[StepKind::Resize]),
        Verb::DiskSnapshotLive if runs => vec![StepKind::CopyDisk],
        Verb::DiskSnapshotLive => vec![StepKind::SaveBack],
        Verb::SnapshotCreate => vec![StepKind::CreateSnapshot],
        Verb::SnapshotRevert => vec![StepKind::RevertSnapshot],
        Verb::SnapshotDelete => vec![StepKind::DeleteSnapshot],
        Verb::Adopt => vec![StepKind::Stamp],
        Verb::Deploy
        | Verb::Resched
        | Verb::Unresched
        | Verb::DiskSnapshot
        | Verb::DiskSnapshotCancel => {
            return None;
        }
        Verb::Update | Verb::Rename | Verb::Schedule | Verb::Unschedule | Verb::Reschedule => {
            return None;
        }
        Verb::RecoverSuccess | Verb::RecoverFailure | Verb::RecoverRetry | Verb::RecoverUndo => {
            return None;
        }
    })
}

fn prepend(first: &[StepKind], rest: Plan) -> Plan {
    first.iter().copied().chain(rest).collect()
}
