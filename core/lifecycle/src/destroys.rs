//! What an operation removes for good, told when it is accepted: in the answer, in the event that it began, and by a dry run. All
//! three come from here, so that they say the same.

use crate::draft::Draft;
use crate::recipe::Plan;
use ostler_model::{Destroyed, DiskName, Snapshot, State, StepKind, Subject, Verb, VmRecord};

/// What `verb` removes for good if it goes through. Asked once it is written into the record what becomes of snapshots.
pub(crate) fn told(draft: &Draft<'_>, verb: Verb, subject: &Subject) -> Vec<Destroyed> {
    let record = &draft.record;
    match verb {
        // Disks that become images are kept as those.
        Verb::Shutdown | Verb::ShutdownHard => {
            let disks = disks(record, |name| record.disks.iter().any(|disk| disk.name == *name && disk.save_as.is_none()));
            [disks, memory(record), all_snapshots(draft)].concat()
        }
        Verb::Delete | Verb::DeleteRecreate | Verb::Forget => {
            [disks(record, |_| true), memory(record), all_snapshots(draft)].concat()
        }
        Verb::DiskDetach => [about(record, subject), lost_snapshots(draft)].concat(),
        Verb::SnapshotDelete => about(record, subject),
        Verb::SnapshotRevert => {
            let back = |snapshot: &Snapshot| Destroyed::Changes { since: snapshot.name.clone(), label: snapshot.label.clone() };
            subject_snapshot(record, subject).map(back).into_iter().collect()
        }
        Verb::ResumeCold => [memory_or_paused(record), lost_snapshots(draft)].concat(),
        // What saved memory there is goes along, or is restored.
        Verb::Suspend | Verb::Stop | Verb::Resume | Verb::Deploy | Verb::Boot | Verb::Hold | Verb::Release => lost_snapshots(draft),
        // One that cannot be seen may have been suspended before.
        Verb::Poweroff | Verb::PoweroffHard | Verb::Undeploy | Verb::UndeployHard => {
            [memory(record), lost_snapshots(draft)].concat()
        }
        Verb::Reboot | Verb::RebootHard => lost_snapshots(draft),
        Verb::Migrate | Verb::MigrateLive | Verb::MigratePoweroff | Verb::MigratePoweroffHard => lost_snapshots(draft),
        Verb::DiskAttach | Verb::NicAttach | Verb::NicDetach | Verb::Resize | Verb::DiskSnapshotLive => lost_snapshots(draft),
        // These remove nothing, or only change the record.
        Verb::SnapshotCreate | Verb::Adopt => vec![],
        Verb::Resched | Verb::Unresched | Verb::DiskSnapshot | Verb::DiskSnapshotCancel => vec![],
        Verb::Update | Verb::Rename | Verb::Schedule | Verb::Unschedule | Verb::Reschedule => vec![],
        // Told by the operation that they carry on, or by `taken_back`.
        Verb::RecoverSuccess | Verb::RecoverFailure | Verb::RecoverRetry | Verb::RecoverUndo => vec![],
    }
}

/// What a rollback removes for good: disks that the operation had made.
pub(crate) fn taken_back(record: &VmRecord, back: &Plan, subject: &Subject) -> Vec<Destroyed> {
    let made = back.contains(&StepKind::DropDisk);
    // Where they came from the front end, they are still there, or are copied back first.
    let made_anew = back.contains(&StepKind::DropHost) && !back.contains(&StepKind::CopyOut) && !record.files.home;
    match (made, made_anew) {
        (true, _) => about(record, subject),
        (false, true) => disks(record, |_| true),
        (false, false) => vec![],
    }
}

/// The disk or the snapshot that the operation is about.
fn about(record: &VmRecord, subject: &Subject) -> Vec<Destroyed> {
    match subject {
        Subject::Disk { name: meant } => disks(record, |name| name == meant),
        Subject::Snapshot { .. } => subject_snapshot(record, subject).map(|snapshot| gone(snapshot, false)).into_iter().collect(),
        Subject::Vm | Subject::Nic { .. } | Subject::DiskImage { .. } | Subject::Size { .. } => vec![],
    }
}

/// Disks of the VM's own that are anywhere. Those that were adopted stay where they are.
fn disks(record: &VmRecord, meant: impl Fn(&DiskName) -> bool) -> Vec<Destroyed> {
    let files = record.files;
    let left = record.leftovers.iter().any(|left| left.files);
    if !(files.host || files.home || files.other || left) {
        return vec![];
    }
    let own = record.disks.iter().filter(|disk| disk.adopted.is_none() && meant(&disk.name));
    own.map(|disk| Destroyed::Disk { name: disk.name.clone() }).collect()
}

fn memory(record: &VmRecord) -> Vec<Destroyed> {
    record.usable_recovery().map(|_| Destroyed::Memory).into_iter().collect()
}

/// Also that of a guest that stands still at the hypervisor.
fn memory_or_paused(record: &VmRecord) -> Vec<Destroyed> {
    if record.state == State::Suspended { vec![Destroyed::Memory] } else { memory(record) }
}

fn subject_snapshot<'a>(record: &'a VmRecord, subject: &Subject) -> Option<&'a Snapshot> {
    let Subject::Snapshot { name } = subject else { return None };
    record.snapshots.iter().find(|snapshot| snapshot.name == *name)
}

fn gone(snapshot: &Snapshot, hidden: bool) -> Destroyed {
    Destroyed::Snapshot { name: snapshot.name.clone(), label: snapshot.label.clone(), hidden }
}

/// All that somebody could still go back to.
fn all_snapshots(draft: &Draft<'_>) -> Vec<Destroyed> {
    draft.before.snapshots.iter().filter(|snapshot| !snapshot.hidden).map(|snapshot| gone(snapshot, false)).collect()
}

/// Those that do not survive, as the rules say. One that was not offered before is lost to nobody.
fn lost_snapshots(draft: &Draft<'_>) -> Vec<Destroyed> {
    let offered = |snapshot: &&Snapshot| draft.before.snapshots.iter().any(|was| was.name == snapshot.name && !was.hidden);
    let lost = draft.record.snapshots.iter().filter(|snapshot| snapshot.losing || snapshot.hidden).filter(offered);
    lost.map(|snapshot| gone(snapshot, !snapshot.losing)).collect()
}
