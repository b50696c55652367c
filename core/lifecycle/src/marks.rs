//! The marks of a step in the record: what the record must say before the step's first call may be
//! sent, and what it says after the last call has succeeded. Operations use them, and the tables
//! that are printed for people.

use ostler_model::{Folder, Move, OperationId, RecoveryFile, StepKind, Timestamp, VmRecord};

/// Writes what the record must say before the first call of `step` may be sent. After a crash in
/// between, the record then says that something may be there.
pub(crate) fn before(record: &mut VmRecord, step: StepKind, operation: OperationId) {
    match step {
        // The console's log lies beside the disks. So a VM without disks has files too, once it was
        // started.
        StepKind::PrepareDisks | StepKind::CopyIn | StepKind::Boot => record.files.host = true,
        StepKind::CopyOut => record.files.home = true,
        StepKind::CopyAcross | StepKind::PrepareOther => {
            at_other(record, |there| there.files = true)
        }
        StepKind::Migrate => {
            // The console's log comes with the domain, also to a host where no disk is made.
            let shared = record.storage_is_shared();
            record.files.host |= shared;
            at_other(record, |there| {
                there.domain = true;
                there.files |= !shared;
            });
        }
        // From here on the guest may have run, or the memory file may be gone.
        StepKind::Unpause | StepKind::DropRecovery => consume_recovery(record),
        StepKind::Save => begin_save(record, operation),
        StepKind::DropHome
        | StepKind::DropHost
        | StepKind::DropOther
        | StepKind::DropDisk
        | StepKind::SaveBack => {}
        StepKind::Restore
        | StepKind::PressPower
        | StepKind::PowerOff
        | StepKind::Remove
        | StepKind::RemoveOther => {}
        StepKind::Reboot
        | StepKind::Reset
        | StepKind::Switch
        | StepKind::Resize
        | StepKind::Stamp
        | StepKind::CopyDisk => {}
        StepKind::AttachDisk | StepKind::DetachDisk | StepKind::AttachNic | StepKind::DetachNic => {
        }
        StepKind::CreateSnapshot | StepKind::RevertSnapshot | StepKind::DeleteSnapshot => {}
    }
}

/// Writes what the record says after `step` is done.
pub(crate) fn after(record: &mut VmRecord, step: StepKind, now: Timestamp) {
    match step {
        StepKind::DropHome => record.files.home = false,
        StepKind::DropHost => {
            record.files.host = false;
            record.unused.clear();
        }
        StepKind::DropOther => at_other(record, |there| there.files = false),
        StepKind::RemoveOther => at_other(record, |there| there.domain = false),
        StepKind::Boot => {
            started(record, now);
            forget_recovery(record);
        }
        StepKind::Unpause => started(record, now),
        StepKind::Reboot | StepKind::Reset => record.running_since = Some(now),
        StepKind::DropRecovery => record.recovery = None,
        StepKind::Save => {
            record.running_since = None;
            if let Some(file) = &mut record.recovery {
                file.complete = true;
            }
        }
        StepKind::PressPower | StepKind::PowerOff => record.running_since = None,
        StepKind::Remove => {
            record.running_since = None;
            if let Some(place) = &record.placement {
                record.driver_state.remove(&place.driver);
            }
        }
        StepKind::PrepareDisks
        | StepKind::CopyIn
        | StepKind::CopyOut
        | StepKind::CopyAcross
        | StepKind::PrepareOther => {}
        StepKind::Restore | StepKind::Migrate | StepKind::Switch | StepKind::Resize => {}
        StepKind::Stamp => record.wild = false,
        StepKind::AttachDisk | StepKind::DetachDisk | StepKind::AttachNic | StepKind::DetachNic => {
        }
        // These change the record item by item.
        StepKind::DropDisk | StepKind::CopyDisk | StepKind::SaveBack => {}
        StepKind::CreateSnapshot | StepKind::RevertSnapshot | StepKind::DeleteSnapshot => {}
    }
}

/// Whether files of the VM may be at this place.
pub(crate) const fn has_files(record: &VmRecord, folder: Folder) -> bool {
    match folder {
        Folder::Home => record.files.home,
        Folder::Host => record.files.host,
        Folder::Other => record.files_at_other(),
    }
}

/// Marks the other host of a migration. Only a VM that moves has steps there.
fn at_other(record: &mut VmRecord, mark: impl FnOnce(&mut Move)) {
    if let Some(there) = &mut record.moving {
        mark(there);
    }
}

fn started(record: &mut VmRecord, now: Timestamp) {
    record.running_since = Some(now);
    if let Some(place) = &record.placement {
        record.placed = place.generation;
    }
}

/// Names the memory file that the save is about to write. A save that is begun again after a
/// failure keeps its file.
fn begin_save(record: &mut VmRecord, operation: OperationId) {
    // Memory is written beside the disks, and a VM without disks has no other file.
    record.files.host = true;
    if record.recovery.as_ref().is_some_and(|file| !file.complete) {
        return;
    }
    forget_recovery(record);
    // The prefix `memory-`, a number and `.save` always make a valid path.
    let name = format!("memory-{operation}.save").parse().ok();
    record.recovery = name.map(|name| RecoveryFile { name, complete: false, consumed: false });
}

/// Gives up the memory file: nobody will restore from it. It is removed when a look at the VM's
/// host finds that [`crate::unused_memory`] allows it.
pub(crate) fn forget_recovery(record: &mut VmRecord) {
    if let Some(file) = record.recovery.take() {
        if record.unused.len() >= VmRecord::UNUSED_MAX {
            // Forget the oldest name. Its file is removed with the VM's folder.
            record.unused.remove(0);
        }
        record.unused.push(file.name);
    }
}

/// The guest has run, or may have run, since its memory was saved. The memory file must never be
/// restored from again.
pub(crate) fn consume_recovery(record: &mut VmRecord) {
    if let Some(file) = &mut record.recovery {
        file.consumed = true;
    }
}
