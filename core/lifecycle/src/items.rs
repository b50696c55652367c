//! The items of a step: the things that it acts on, in order. The step makes one call for each of
//! them.

use crate::draft::Draft;
use crate::{marks, recipe};
use ostler_model::{Active, Folder, Item, Scope, StepKind, Subject, Verb, VmRecord};

/// The items on which the step acts, in order. Empty if there is no place to act on.
pub(crate) fn items(draft: &Draft<'_>, active: &Active, kind: StepKind) -> Vec<Item> {
    let record = &draft.record;
    let subject = &active.subject;
    let of_subject = || record.disks.iter().filter(|disk| recipe::concerns(subject, &disk.name));
    let disks = || of_subject().map(|disk| Item::Disk(disk.name.clone()));
    let own_disks = || {
        of_subject().filter(|disk| disk.adopted.is_none()).map(|disk| Item::Disk(disk.name.clone()))
    };
    let found = match kind.scope() {
        Scope::Nothing => vec![],
        Scope::Domain => vec![Item::Domain],
        Scope::OwnDisks => own_disks().collect(),
        Scope::Disks => disks().collect(),
        Scope::NewImages => {
            disks().filter(|item| draft.new_image(subject, item).is_some()).collect()
        }
        Scope::DisksAndMemory => {
            own_disks().chain(record.usable_recovery().map(|_| Item::Recovery)).collect()
        }
        Scope::Memory => record.recovery.iter().map(|_| Item::Recovery).collect(),
        // Files are not removed under a domain that could not be removed. Then both are swept
        // later.
        Scope::Folder(Folder::Other) if record.domain_at_other() => vec![],
        Scope::Folder(folder) if marks::has_files(record, folder) => vec![Item::Files],
        Scope::Folder(_) => vec![],
        Scope::Nic => nic(subject).into_iter().collect(),
        Scope::Snapshots => snapshots(record, active, kind),
    };
    let reachable =
        |item: &Item| draft.address(subject, kind.call(), kind.sent_to(), item).is_some();
    if found.first().is_some_and(reachable) { found } else { vec![] }
}

fn nic(subject: &Subject) -> Option<Item> {
    if let Subject::Nic { mac } = subject { Some(Item::Nic(mac.clone())) } else { None }
}

fn snapshots(record: &VmRecord, active: &Active, kind: StepKind) -> Vec<Item> {
    let losing = record.snapshots.iter().filter(|snapshot| snapshot.losing);
    let losing = losing.map(|snapshot| Item::Snapshot(snapshot.name.clone()));
    let Subject::Snapshot { name } = &active.subject else { return losing.collect() };
    let subject = Item::Snapshot(name.clone());
    if kind == StepKind::DeleteSnapshot && active.verb != Verb::SnapshotDelete && !active.undoing {
        // This step removes the snapshots that do not survive, never the subject itself.
        return losing.filter(|item| *item != subject).collect();
    }
    vec![subject]
}
