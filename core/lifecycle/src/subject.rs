//! Takes back what an operation wrote about its disk, network card, size or snapshot if it does not
//! succeed, and keeps what the guest may have.

use crate::draft::Draft;
use crate::recipe;
use ostler_model::{Active, ImageChange, ImageState, Size, StepKind, Subject, Verb, VmRecord};

/// Corrects what the record says about the subject of an operation that did not succeed.
pub(crate) fn take_back(draft: &mut Draft<'_>, active: Active) {
    let record = &mut draft.record;
    for snapshot in &mut record.snapshots {
        snapshot.losing = false;
    }
    match (active.verb, active.subject) {
        (Verb::DiskAttach, Subject::Disk { name }) => {
            record.disks.retain(|disk| disk.name != name);
            record.spec.disks.retain(|disk| disk.name != name);
        }
        (Verb::NicAttach, Subject::Nic { mac }) => {
            record.spec.nics.retain(|nic| nic.mac.as_ref() != Some(&mac))
        }
        // The rollback should have removed the snapshot, but it may still be there. Keep it in the
        // record, hidden.
        (Verb::SnapshotCreate, Subject::Snapshot { name }) if active.undoing => {
            record
                .snapshots
                .iter_mut()
                .filter(|snapshot| snapshot.name == name)
                .for_each(|snapshot| snapshot.hidden = true);
        }
        (Verb::SnapshotCreate, Subject::Snapshot { name }) => {
            record.snapshots.retain(|snapshot| snapshot.name != name)
        }
        // During a rollback the record already has the size from before.
        (Verb::Resize, Subject::Size { before }) if !active.undoing => record.spec.set_size(before),
        (Verb::DiskSnapshotLive, Subject::DiskImage { becomes, .. }) => {
            draft.images.push(ImageChange::Set { image: becomes.image, state: ImageState::Error });
        }
        (_, _) => {}
    }
}

/// Keeps the subject of the operation in the record when the operation ends, because the guest may
/// have it. Of a size that was being changed, the larger one stays booked. A snapshot that may be
/// there stays in the record, hidden.
pub(crate) fn keep(record: &mut VmRecord, active: &mut Active) {
    match &active.subject {
        Subject::Disk { .. } | Subject::Nic { .. } => active.subject = Subject::Vm,
        Subject::Size { before } => {
            let now = record.spec.size();
            record.spec.set_size(larger(*before, now));
            active.subject = Subject::Vm;
        }
        Subject::Snapshot { name } => {
            if active.verb == Verb::SnapshotCreate {
                record
                    .snapshots
                    .iter_mut()
                    .filter(|known| known.name == *name)
                    .for_each(|known| known.hidden = true);
                active.subject = Subject::Vm;
            }
        }
        // The image is not complete. The end of the operation sets it to `error`.
        Subject::DiskImage { .. } | Subject::Vm => {}
    }
}

fn larger(one: Size, other: Size) -> Size {
    Size {
        cpu_milli: one.cpu_milli.max(other.cpu_milli),
        vcpus: one.vcpus.max(other.vcpus),
        memory_mib: one.memory_mib.max(other.memory_mib),
    }
}

/// The verbs that give the guest something, each with the step that does it.
const PLUGS: [(Verb, StepKind); 3] = [
    (Verb::DiskAttach, StepKind::AttachDisk),
    (Verb::NicAttach, StepKind::AttachNic),
    (Verb::Resize, StepKind::Resize),
];

/// Keeps a disk, a card or a size in the record if the guest may have it: the call was sent, and
/// nothing proves that it had no effect or was taken back. It then stays in the books too, and an
/// operator can unplug it. A disk that is in use must not lose its image.
pub(crate) fn keep_what_may_be_plugged(record: &mut VmRecord, active: &mut Active) {
    let plugs = PLUGS.into_iter().find(|(verb, _)| *verb == active.verb).map(|(_, step)| step);
    if plugs.is_some_and(|plugs| may_be_plugged(active, plugs)) {
        keep(record, active);
    }
}

fn may_be_plugged(active: &Active, plugs: StepKind) -> bool {
    if active.undoing {
        // In doubt until the step that takes it back has ended.
        let left = active.plan.get(active.at..).unwrap_or_default();
        return recipe::undo(plugs).is_some_and(|unplugs| left.contains(&unplugs));
    }
    active.kind() == Some(plugs) && active.attempt > 0
}
