//! Lists the things that an operation removes for good. The list is told when the operation is
//! accepted: in the answer, in the event of its begin, and by a dry run. All three use this module,
//! so that they say the same.

use crate::draft::Draft;
use crate::recipe::Plan;
use ostler_model::{Destroyed, DiskName, Snapshot, State, StepKind, Subject, Verb, VmRecord};

/// The things that `verb` removes for good if it succeeds. Call this after the fates of the
/// snapshots were written into the record.
pub(crate) fn told(draft: &Draft<'_>, verb: Verb, subject: &Subject) -> Vec<Destroyed> {
    let record = &draft.record;
    match verb {
        // Disks that become images are kept as images.
        Verb::Shutdown | Verb::ShutdownHard => {
            let disks = disks(record, |name| {
                record.disks.iter().any(|disk| disk.name == *name && disk.save_as.is_none())
            });
            [disks, memory(record), all_snapshots(draft)].concat()
        }
        Verb::Delete | Verb::DeleteRecreate | Verb::Forget => {
            [disks(record, |_| true), memory(record), all_snapshots(draft)].concat()
        }
        Verb::DiskDetach => [about(record, subject), lost_snapshots(draft)].concat(),
        Verb::SnapshotDelete => about(record, subject),
        Verb::SnapshotRevert => {
            let back = |snapshot: &Snapshot| Destroyed::Changes {
                since: snapshot.name.clone(),
                label: snapshot.label.clone(),
            };
            subject_snapshot(record, subject).map(back).into_iter().collect()
        }
        Verb::ResumeCold => [memory_or_paused(record), lost_snapshots(draft)].concat(),
        // Saved memory, if there is any, stays with the VM or is restored.
        Verb::Suspend
        | Verb::Stop
        | Verb::Resume
        | Verb::Deploy
        | Verb::Boot
        | Verb::Hold
        | Verb::Release => lost_snapshots(draft),
        // A VM that cannot be seen may have been suspended before, and then it has saved memory.
        Verb::Poweroff | Verb::PoweroffHard | Verb::Undeploy | Verb::UndeployHard => {
            [memory(record), lost_snapshots(draft)].concat()
        }
        Verb::Reboot | Verb::RebootHard => lost_snapshots(draft),
        Verb::Migrate | Verb::MigrateLive | Verb::MigratePoweroff | Verb::MigratePoweroffHard => {
            lost_snapshots(draft)
        }
        Verb::DiskAttach
        | Verb::NicAttach
        | Verb::NicDetach
        | Verb::Resize
        | Verb::DiskSnapshotLive => lost_snapshots(draft),
        // These remove nothing, or only change the record.
        Verb::SnapshotCreate | Verb::Adopt => vec![],
        Verb::Resched | Verb::Unresched | Verb::DiskSnapshot | Verb::DiskSnapshotCancel => vec![],
        Verb::Update | Verb::Rename | Verb::Schedule | Verb::Unschedule | Verb::Reschedule => {
            vec![]
        }
        // The operation that they carry on tells it, or `taken_back` does.
        Verb::RecoverSuccess | Verb::RecoverFailure | Verb::RecoverRetry | Verb::RecoverUndo => {
            vec![]
        }
    }
}

/// The things that a rollback removes for good: disks that the operation has made.
pub(crate) fn taken_back(record: &VmRecord, back: &Plan, subject: &Subject) -> Vec<Destroyed> {
    let made = back.contains(&StepKind::DropDisk);
    // Disks that came from the front end are still there, or are copied back first.
    let made_anew = back.contains(&StepKind::DropHost)
        && !back.contains(&StepKind::CopyOut)
        && !record.files.home;
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
        Subject::Snapshot { .. } => subject_snapshot(record, subject)
            .map(|snapshot| gone(snapshot, false))
            .into_iter()
            .collect(),
        Subject::Vm | Subject::Nic { .. } | Subject::DiskImage { .. } | Subject::Size { .. } => {
            vec![]
        }
    }
}

/// The VM's own disks, if their files may exist anywhere. Adopted disks stay where they are.
fn disks(record: &VmRecord, meant: impl Fn(&DiskName) -> bool) -> Vec<Destroyed> {
    let files = record.files;
    let left = record.leftovers.iter().any(|left| left.files);
    if !(files.host || files.home || record.files_at_other() || left) {
        return vec![];
    }
    let own = record.disks.iter().filter(|disk| disk.adopted.is_none() && meant(&disk.name));
    own.map(|disk| Destroyed::Disk { name: disk.name.clone() }).collect()
}

fn memory(record: &VmRecord) -> Vec<Destroyed> {
    record.usable_recovery().map(|_| Destroyed::Memory).into_iter().collect()
}

/// The saved memory, or the memory of a guest that is paused at the hypervisor.
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

/// All snapshots that somebody could still go back to.
fn all_snapshots(draft: &Draft<'_>) -> Vec<Destroyed> {
    draft
        .before
        .snapshots
        .iter()
        .filter(|snapshot| !snapshot.hidden)
        .map(|snapshot| gone(snapshot, false))
        .collect()
}

/// The snapshots that do not survive, as the rules say. A snapshot that was not offered before is
/// not listed, because nobody loses it.
fn lost_snapshots(draft: &Draft<'_>) -> Vec<Destroyed> {
    let offered = |snapshot: &&Snapshot| {
        draft.before.snapshots.iter().any(|was| was.name == snapshot.name && !was.hidden)
    };
    let lost = draft
        .record
        .snapshots
        .iter()
        .filter(|snapshot| snapshot.losing || snapshot.hidden)
        .filter(offered);
    lost.map(|snapshot| gone(snapshot, !snapshot.losing)).collect()
}
