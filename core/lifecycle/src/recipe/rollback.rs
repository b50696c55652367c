//! The steps that take back what an operation has done so far.

use super::{Plan, is_definite, start};
use ostler_model::{Active, State, StepKind, VmRecord};

/// The step that takes back what `step` did, if that can be taken back. The rollback of a migration
/// is made in another way.
#[must_use]
pub const fn undo(step: StepKind) -> Option<StepKind> {
    match step {
        StepKind::PrepareDisks | StepKind::CopyIn => Some(StepKind::DropHost),
        StepKind::DropHome => Some(StepKind::CopyOut),
        StepKind::Boot | StepKind::Restore | StepKind::Unpause => Some(StepKind::Remove),
        StepKind::CopyOut => Some(StepKind::DropHome),
        StepKind::DropHost => Some(StepKind::CopyIn),
        StepKind::AttachDisk => Some(StepKind::DetachDisk),
        StepKind::AttachNic => Some(StepKind::DetachNic),
        StepKind::Resize => Some(StepKind::Resize),
        StepKind::CreateSnapshot => Some(StepKind::DeleteSnapshot),
        StepKind::CopyAcross | StepKind::PrepareOther => Some(StepKind::DropOther),
        StepKind::Migrate => Some(StepKind::RemoveOther),
        StepKind::Switch => Some(StepKind::Switch),
        StepKind::DropRecovery
        | StepKind::PressPower
        | StepKind::PowerOff
        | StepKind::Save
        | StepKind::Remove => None,
        StepKind::Reboot
        | StepKind::Reset
        | StepKind::RemoveOther
        | StepKind::DropOther
        | StepKind::Stamp => None,
        StepKind::DetachDisk
        | StepKind::DropDisk
        | StepKind::DetachNic
        | StepKind::CopyDisk
        | StepKind::SaveBack => None,
        StepKind::RevertSnapshot | StepKind::DeleteSnapshot => None,
    }
}

/// The steps that take back `active`'s steps up to the current one, in reverse order, and none
/// twice in a row. None if one of its steps removed the only copy of something, or if the rollback
/// would need memory that is already used.
#[must_use]
pub fn rollback(record: &VmRecord, active: &Active) -> Option<Plan> {
    let removes = |step: &StepKind| {
        matches!(step, StepKind::DropHome | StepKind::DropHost | StepKind::DropOther)
    };
    // A restore of the store has cut the operation, so it may have ended in the lost time. Then the
    // copy that the rollback removes is the only one.
    way_back(record, active).filter(|back| !active.cut || !back.iter().any(removes))
}

fn way_back(record: &VmRecord, active: &Active) -> Option<Plan> {
    let begun = begun(active);
    if active.verb.is_migration() {
        return migrate_back(record, active, begun);
    }
    if active.verb.is_hotplug() || active.verb.is_snapshot() {
        // There is no way back once the file of an unplugged disk is being removed.
        return (!begun.contains(&StepKind::DropDisk)).then(|| plug_back(begun));
    }
    if begun.contains(&StepKind::Unpause) {
        return None;
    }
    let copied = |to_leave: StepKind, copy: StepKind| {
        begun
            .iter()
            .position(|step| *step == to_leave)
            .is_none_or(|dropped| begun[..dropped].contains(&copy))
    };
    if !copied(StepKind::DropHost, StepKind::CopyOut)
        || !copied(StepKind::DropHome, StepKind::CopyIn)
    {
        return None;
    }
    let mut back: Plan = begun.iter().rev().filter_map(|step| undo(*step)).collect();
    back.dedup();
    // Files are touched only where no domain is left, whatever went wrong. The same rule holds for
    // every epilog.
    if back.first().is_some_and(|first| *first != StepKind::Remove) {
        back.insert(0, StepKind::Remove);
    }
    Some(back)
}

/// The steps up to the current one. A recovery may put a second `remove` before the step that
/// failed. While that `remove` is the current step, the failed step counts as begun too.
#[must_use]
pub fn begun(active: &Active) -> &[StepKind] {
    let before = active.plan.get(..active.at).unwrap_or_default();
    let again = active.kind() == Some(StepKind::Remove) && before.contains(&StepKind::Remove);
    active.plan.get(..=active.at + usize::from(again)).unwrap_or(&active.plan)
}

/// Takes back only the steps about the one disk, card or snapshot. The guest runs on.
fn plug_back(begun: &[StepKind]) -> Plan {
    let back = |step: &StepKind| {
        if *step == StepKind::PrepareDisks { Some(StepKind::DropDisk) } else { undo(*step) }
    };
    begun.iter().rev().filter_map(back).collect()
}

/// The way back to the host that the VM left. The VM runs there again if it ran before.
fn migrate_back(record: &VmRecord, active: &Active, begun: &[StepKind]) -> Option<Plan> {
    let through = &begun[..begun.len().saturating_sub(1)];
    let (switched, moved) =
        (through.contains(&StepKind::Switch), begun.contains(&StepKind::Migrate));
    if moved {
        // If the guest was seen running at the other host, it stays there: no way back.
        return (!switched)
            .then(|| vec![StepKind::RemoveOther, StepKind::Unpause, StepKind::DropOther]);
    }
    // If the guest runs at the destination, or its files are being removed from the origin, it
    // stays at the destination: no way back.
    let there = begun.iter().any(|step| matches!(step, StepKind::Unpause | StepKind::DropOther))
        || through.contains(&StepKind::Boot);
    if there || may_have_written(record, active) {
        return None;
    }
    let mut back = if switched { vec![StepKind::Remove, StepKind::Switch] } else { vec![] };
    let was_off = begun
        .iter()
        .any(|step| matches!(step, StepKind::Save | StepKind::PressPower | StepKind::PowerOff));
    if active.origin == State::Running && was_off {
        back.extend(start(record));
    }
    // This step is the last one: the guest must not wait for a host where it is not.
    if begun.iter().any(|step| matches!(step, StepKind::CopyAcross | StepKind::PrepareOther)) {
        back.push(StepKind::DropOther);
    }
    Some(back)
}

/// Whether a guest that was moved while it was off may have run at the destination, with separate
/// disks there. Then the disks at the origin are old. The guest has not run if its first and only
/// start was refused.
#[must_use]
pub fn may_have_written(record: &VmRecord, active: &Active) -> bool {
    let refused =
        active.attempt <= 1 && active.error.as_ref().is_some_and(|error| is_definite(error.kind));
    active.kind() == Some(StepKind::Boot) && !active.undoing && record.files_at_other() && !refused
}
