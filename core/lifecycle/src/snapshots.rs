//! System snapshots of a VM: a new one, one that is named, and the hardware that a revert brings
//! back.

use crate::draft::Draft;
use crate::refusals::{bad, wrong_state};
use ostler_model::{
    Args, Cause, Hardware, Hint, Refusal, Request, Snapshot, SnapshotName, Subject, Verb,
};

/// Adds a snapshot to the record.
pub(crate) fn create(
    draft: &mut Draft<'_>,
    asked: &Request,
    label: &str,
) -> Result<Subject, Refusal> {
    let taken =
        |snapshot: &Snapshot| !label.is_empty() && !snapshot.hidden && snapshot.label == label;
    if draft.record.snapshots.iter().any(taken) {
        return Err(bad(
            draft,
            asked,
            Cause::SnapshotThere { label: label.to_owned() },
            Hint::OtherName,
        ));
    }
    if is_a_name(label) {
        return Err(bad(
            draft,
            asked,
            Cause::LabelIsAName { label: label.to_owned() },
            Hint::OtherName,
        ));
    }
    if draft.record.snapshots.len() >= SNAPSHOTS_MAX {
        return Err(bad(
            draft,
            asked,
            Cause::SnapshotsFull { most: SNAPSHOTS_MAX },
            Hint::DeleteSnapshots,
        ));
    }
    if label.len() > LABEL_MAX || label.chars().any(char::is_control) {
        return Err(bad(draft, asked, Cause::BadLabel { most: LABEL_MAX }, Hint::OtherName));
    }
    // The prefix `snap-` and a number always make a valid name.
    let Ok(name) = format!("snap-{}", asked.operation).parse::<SnapshotName>() else {
        return Err(wrong_state(draft, asked.verb));
    };
    let (made, hardware) = (draft.now, draft.record.hardware());
    draft.record.snapshots.push(Snapshot {
        name: name.clone(),
        label: label.to_owned(),
        made,
        hidden: false,
        losing: false,
        hardware: Some(hardware),
    });
    Ok(Subject::Snapshot { name })
}

/// Whether a label that a person gives looks like a name that Ostler gives to snapshots. It could
/// be mistaken for another snapshot.
fn is_a_name(label: &str) -> bool {
    let number = label.to_ascii_lowercase().strip_prefix("snap-").map(str::to_owned);
    number.is_some_and(|number| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// The snapshot that the request names.
pub(crate) fn find(draft: &Draft<'_>, asked: &Request, name: &str) -> Result<Subject, Refusal> {
    match draft.record.snapshot(name) {
        Some(snapshot) => Ok(Subject::Snapshot { name: snapshot.name.clone() }),
        None => Err(no_such_snapshot(draft, asked, name)),
    }
}

/// Refuses a snapshot that the VM does not have, and a revert to one that was made with other
/// hardware. This comes before the snapshot rules are heard: otherwise the refusal would be about
/// the rules.
pub(crate) fn usable(draft: &Draft<'_>, asked: &Request) -> Result<(), Refusal> {
    let Args::Snapshot { name } = &asked.args else { return Ok(()) };
    if !asked.verb.is_snapshot() {
        return Ok(());
    }
    let Some(snapshot) = draft.record.snapshot(name) else {
        return Err(no_such_snapshot(draft, asked, name));
    };
    match &snapshot.hardware {
        Some(hardware) if asked.verb == Verb::SnapshotRevert => {
            same_hardware(draft, asked, snapshot, hardware)
        }
        Some(_) | None => Ok(()),
    }
}

/// Refuses a revert that would give the VM other hardware than its record has. The domain would
/// then have a disk whose file is gone, an address that may be another VM's by now, or memory that
/// is not booked on its host.
fn same_hardware(
    draft: &Draft<'_>,
    asked: &Request,
    snapshot: &Snapshot,
    hardware: &Hardware,
) -> Result<(), Refusal> {
    let changes = hardware.changes(&draft.record.hardware());
    if changes.is_empty() {
        return Ok(());
    }
    let (name, label) = (snapshot.name.clone(), snapshot.label.clone());
    let cause = Cause::SnapshotOfOtherHardware { name, label, changes };
    Err(bad(draft, asked, cause, Hint::SetHardwareBack))
}

fn no_such_snapshot(draft: &Draft<'_>, asked: &Request, name: &str) -> Refusal {
    let snapshots: Vec<SnapshotName> =
        draft.record.snapshots_called(name).map(|snapshot| snapshot.name.clone()).collect();
    let name = name.to_owned();
    if snapshots.is_empty() {
        let offered = draft.record.snapshots.iter().filter(|snapshot| !snapshot.hidden);
        let known = offered.flat_map(|found| [found.name.to_string(), found.label.clone()]);
        let known = known.filter(|known| !known.is_empty()).collect();
        return bad(draft, asked, Cause::NoSnapshot { name, known }, Hint::ShowVm);
    }
    bad(draft, asked, Cause::SnapshotsCalled { name, snapshots }, Hint::SnapshotByName)
}

/// Most snapshots of one VM, hidden ones included. The record contains them and is written as a
/// whole with each commit. Each snapshot is also an overlay that every read of the guest goes
/// through.
const SNAPSHOTS_MAX: usize = 64;
/// Longest label that people can give to a snapshot, in bytes.
const LABEL_MAX: usize = 128;
