//! Puts a VM to rest when its operation ends: as asked, or where a fresh look finds it.

use crate::draft::Draft;
use crate::recipe::{self, OnFailure, OnSuccess};
use crate::sight::Sight;
use crate::{agenda, judge, restored, step};
use ostler_model::{
    Active, DriverError, Ended, ErrorKind, Failure, FilesAt, ImageChange, ImageState, Monitored, Phase, PowerReason, Reason, State,
    StepKind, Subject, Verb,
};

/// All steps of the plan are done.
pub(crate) fn succeeded(draft: &mut Draft<'_>) {
    let Some(active) = draft.record.operation.clone() else { return };
    if active.undoing {
        return undone(draft, &active);
    }
    match recipe::on_success(active.verb, active.origin) {
        OnSuccess::Over => {
            draft.leave_host(Some(active.verb));
            forget_made(draft);
            agenda::over(draft);
        }
        OnSuccess::Anew => {
            draft.leave_host(Some(active.verb));
            forget_made(draft);
            // Forget the datastore, so that the next placement chooses again. Keep it while a disk is adopted, because that disk
            // was there before the VM was. Keep it also while leftovers hold files: only the datastore tells where they are.
            let left = draft.record.leftovers.iter().any(|left| left.files);
            if !left && draft.record.disks.iter().all(|disk| disk.adopted.is_none()) {
                draft.record.storage = None;
            }
        }
        OnSuccess::LeavesWithMemory => {
            draft.leave_host(Some(active.verb));
            files_change_hands(draft);
        }
        OnSuccess::Leaves => {
            draft.leave_host(Some(active.verb));
            files_change_hands(draft);
            draft.forget_recovery();
        }
        OnSuccess::DropsMemory => draft.forget_recovery(),
        OnSuccess::Unplugs => unplugged(draft, &active.subject),
        OnSuccess::Nothing => {}
    }
    draft.part_from_other();
    draft.end_operation(active.id, Ended::Succeeded);
    match draft.sighted.filter(|_| recipe::ends(active.verb).is_none()) {
        // Nothing was asked of the guest, and this is its present state.
        Some(seen) if seen != Sight::Paused(PowerReason::Starting) => {
            draft.note_sight(seen);
            if seen.lives() {
                draft.consume_recovery();
            }
            let (rest, reason) = at_rest(draft, seen, Reason::Asked);
            rest_at(draft, rest, reason);
        }
        Some(_) | None => {
            let rests = recipe::ends_in(active.verb, active.origin);
            // The VM is still paused at the hypervisor, and only there is its memory.
            let outside = rests == State::Suspended && draft.record.usable_recovery().is_none();
            draft.set_state(rests, if outside { Reason::External } else { Reason::Asked });
        }
    }
}

/// The disk or card is unplugged: removes it from the record.
fn unplugged(draft: &mut Draft<'_>, subject: &Subject) {
    let record = &mut draft.record;
    match subject {
        Subject::Disk { name } => {
            record.disks.retain(|disk| disk.name != *name);
            record.spec.disks.retain(|disk| disk.name != *name);
        }
        Subject::Nic { mac } => record.spec.nics.retain(|nic| nic.mac.as_ref() != Some(mac)),
        Subject::Vm | Subject::Snapshot { .. } | Subject::DiskImage { .. } | Subject::Size { .. } => {}
    }
}

/// The VM's files are gone: forgets what was known about them. If a disk should have become an image and did not, the image is in
/// error, and a person has to look at it.
fn forget_made(draft: &mut Draft<'_>) {
    for disk in &mut draft.record.disks {
        if let Some(lost) = disk.save_as.take() {
            draft.images.push(ImageChange::Set { image: lost.image, state: ImageState::Error });
        }
    }
    draft.record.recovery = None;
    draft.record.unused.clear();
    draft.record.snapshots.clear();
    draft.record.driver_state.clear();
}

/// On shared storage nothing is copied: the record notes that the files are the front end's now, and no longer the host's.
fn files_change_hands(draft: &mut Draft<'_>) {
    let record = &mut draft.record;
    if record.files.host && record.storage.as_ref().is_some_and(|storage| storage.shared) {
        record.files = FilesAt { host: false, home: true, other: false };
    }
}

/// Whether a VM that rests in `state` has a place on a host.
pub(crate) const fn has_place(state: State) -> bool {
    match state {
        State::Pending | State::Hold | State::Stopped | State::Undeployed | State::Done => false,
        State::Prolog
        | State::Boot
        | State::Running
        | State::Migrate
        | State::Hotplug
        | State::Snapshot
        | State::Save
        | State::Epilog
        | State::Shutdown
        | State::Suspended
        | State::Poweroff
        | State::Failed
        | State::Unknown => true,
    }
}

/// The state of rest of a VM without a placement, whose operation began in `origin`. A VM in `stopped` has saved memory; without
/// memory it is `undeployed`.
pub(crate) const fn without_place(origin: State, memory: bool) -> State {
    match (origin, memory) {
        (State::Stopped, false) => State::Undeployed,
        (origin, _) => origin,
    }
}

/// The rollback is done. The VM goes back to the state in which the operation began, as far as that is still true.
fn undone(draft: &mut Draft<'_>, active: &Active) {
    if has_place(active.origin) {
        return settle_by_look(draft);
    }
    files_change_hands(draft);
    draft.leave_host(Some(active.verb));
    if draft.record.usable_recovery().is_none() {
        draft.forget_recovery();
    }
    let error = DriverError::refused("undone", "it was rolled back");
    draft.part_from_other();
    draft.end_operation(active.id, outcome(active, &error));
    draft.set_state(without_place(active.origin, draft.record.recovery.is_some()), Reason::StepFailed);
}

/// How the operation ended. A rollback without an error was asked for by an operator, for an operation that had failed before: it
/// has succeeded.
fn outcome(active: &Active, error: &DriverError) -> Ended {
    match (&active.error, active.undoing) {
        (None, true) => Ended::Succeeded,
        (Some(cause), true) => Ended::Failed { error: cause.clone() },
        (_, false) => Ended::Failed { error: error.clone() },
    }
}

/// The current step has failed for good.
pub(crate) fn fail(draft: &mut Draft<'_>, error: &DriverError) {
    let policy = judge::policy(draft);
    let may_have_written = draft.record.operation.as_ref().is_some_and(|active| recipe::may_have_written(&draft.record, active));
    let Some(active) = &mut draft.record.operation else { return };
    let (undoing, kind, verb) = (active.undoing, active.kind(), active.verb);
    let first = active.attempt <= 1;
    let only_makes_sure = recipe::only_makes_sure(active);
    let never_begun = recipe::at_first_step(active) && !active.acted;
    if !undoing {
        active.error = Some(error.clone());
    }
    // An error of the first attempt proves that nothing was stamped. After later attempts, only a look can prove it.
    if verb == Verb::Adopt && first && !matches!(error.kind, ErrorKind::Unknown | ErrorKind::Retry) {
        return still_wild(draft, error);
    }
    if policy != OnFailure::Insist {
        draft.step_failed(error);
    }
    match policy {
        OnFailure::Insist => judge::send_later(draft, error),
        // The guest may run at the other host. Until that is known, nothing is started or resumed at this one.
        OnFailure::Skip if undoing && kind == Some(StepKind::RemoveOther) => unknown(draft, Reason::CannotAsk, error),
        OnFailure::Skip => step::pass(draft),
        OnFailure::Fail | OnFailure::Settle | OnFailure::Undo if undoing && (verb.is_hotplug() || verb.is_snapshot()) => {
            settle_by_look(draft);
        }
        // The host does not answer any more. When it answers again, a look settles the VM, and no person has to decide.
        OnFailure::Fail | OnFailure::Settle | OnFailure::Undo if undoing && error.kind == ErrorKind::Retry => {
            unknown(draft, Reason::CannotAsk, error);
        }
        OnFailure::Fail | OnFailure::Settle | OnFailure::Undo if undoing => rest_failed(draft, error),
        OnFailure::Fail if only_makes_sure && error.kind == ErrorKind::Retry => settle_by_look(draft),
        OnFailure::Fail => rest_failed(draft, error),
        OnFailure::Settle => settle_by_look(draft),
        // The rollback begins once the guest is seen where it was.
        OnFailure::Undo if kind == Some(StepKind::Migrate) => settle_by_look(draft),
        // The VM has moved, and it is off or runs at the destination.
        OnFailure::Undo if verb.is_migration() && may_have_written => settle_by_look(draft),
        // No call had an effect, so there is nothing to take back.
        OnFailure::Undo if never_begun && matches!(kind, Some(StepKind::Boot | StepKind::Restore)) => settle_by_look(draft),
        OnFailure::Undo => roll_back(draft, error),
    }
}

/// The domain was not stamped: it is not ours, and nothing of it is touched.
fn still_wild(draft: &mut Draft<'_>, error: &DriverError) {
    let Some(active) = draft.record.operation.clone() else { return };
    draft.leave_host(Some(active.verb));
    draft.record.disks.clear();
    draft.end_operation(active.id, Ended::Failed { error: error.clone() });
    draft.set_state(State::Done, Reason::StepFailed);
}

/// Replaces the plan by its rollback.
pub(crate) fn roll_back(draft: &mut Draft<'_>, error: &DriverError) {
    let record = &mut draft.record;
    let Some(active) = &record.operation else { return };
    let Some(back) = recipe::rollback(record, active) else {
        return rest_failed(draft, error);
    };
    let now = record.spec.size();
    if let Subject::Size { before } = active.subject {
        record.spec.set_size(before);
    }
    if let Some(active) = &mut record.operation {
        if let Subject::Size { before } = &mut active.subject {
            // The guest may have this size. It stays booked until the guest is seen to have given it back.
            *before = now;
        }
        active.plan = back;
        active.at = 0;
        active.undoing = true;
    }
    step::begin(draft);
}

/// Looks at the host, to find out in which state the failed step has left the VM.
pub(crate) fn settle_by_look(draft: &mut Draft<'_>) {
    let Some(active) = &mut draft.record.operation else { return };
    active.blind = 0;
    if draft.record.state == State::Failed {
        // The operation was carried on from `failed`, and nothing is left to take back. The end of an epilog follows.
        draft.set_state(State::Epilog, Reason::Asked);
    }
    if draft.record.placement.is_none() {
        let error = DriverError::refused("no-place", "the step failed, and there is no host to look at");
        return rest_failed(draft, &error);
    }
    step::look(draft, Phase::Settling);
}

/// The operation has failed, and `seen` is what is there now.
pub(crate) fn failed_at_sight(draft: &mut Draft<'_>, error: &DriverError, seen: Sight) {
    draft.note_sight(seen);
    let Some(active) = draft.record.operation.clone() else { return };
    if active.kind() == Some(StepKind::Migrate) && !active.undoing {
        draft.step_failed(error);
        return migration_failed(draft, error, seen);
    }
    if active.kind() == Some(StepKind::Save) && error.kind == ErrorKind::Gone {
        // The driver has looked: the domain is off, and this call did not save it. If the hypervisor tells of a save, somebody
        // else made it.
        draft.memory_is_not_written();
    }
    if may_be_saved(draft, &active, error, seen) {
        return judge::send_later(draft, error);
    }
    if active.verb.strength() == ostler_model::Strength::Delete {
        // A delete never settles: if something is still there, that is only a reason to go on.
        return step::begin(draft);
    }
    draft.step_failed(error);
    if seen.lives() {
        draft.consume_recovery();
    }
    draft.saved_after_all(seen);
    let (rest, reason) = at_rest(draft, seen, Reason::StepFailed);
    if active.verb == Verb::Adopt && matches!(seen, Sight::Foreign | Sight::Absent) {
        return still_wild(draft, error);
    }
    if seen.lives() {
        keep_what_may_be_plugged(draft);
    }
    draft.part_from_other();
    draft.end_operation(active.id, outcome(&active, error));
    rest_at(draft, rest, reason);
}

/// Whether a save that was refused may have been done all the same. If the save was sent more than once, a refusal may mean that
/// the first sending has just ended, and the guest with it. *Off* does not tell whether the memory is complete. The driver can
/// tell, by the file, when it is asked again. It says *gone* if the call did not save the guest, and then there is no file to ask
/// about.
fn may_be_saved(draft: &Draft<'_>, active: &Active, error: &DriverError, seen: Sight) -> bool {
    let begun = draft.record.recovery.as_ref().is_some_and(|file| !file.complete);
    let off = matches!(seen, Sight::Off(_) | Sight::Absent | Sight::OlderOff);
    active.kind() == Some(StepKind::Save) && begun && off && recipe::is_definite(error.kind) && judge::has_time(active, draft.now)
}

/// The verbs that give the guest something, each with the step that does it.
const PLUGS: [(Verb, StepKind); 3] =
    [(Verb::DiskAttach, StepKind::AttachDisk), (Verb::NicAttach, StepKind::AttachNic), (Verb::Resize, StepKind::Resize)];

/// Keeps a disk, a card or a size in the record if the guest may have it: the call was sent, and nothing proves that it had no
/// effect or was taken back. It then stays in the books too, and an operator can unplug it. A disk that is in use must not lose
/// its image.
fn keep_what_may_be_plugged(draft: &mut Draft<'_>) {
    let Some(active) = &draft.record.operation else { return };
    let Some(kind) = active.kind() else { return };
    let Some((_, plugs)) = PLUGS.into_iter().find(|(verb, _)| *verb == active.verb) else { return };
    let in_doubt = if active.undoing {
        // In doubt until the step that takes it back has ended.
        recipe::undo(plugs).is_some_and(|unplugs| active.plan[active.at..].contains(&unplugs))
    } else {
        kind == plugs && active.attempt > 0
    };
    if in_doubt {
        restored::keep_subject(draft);
    }
}

/// A live migration has failed, and `seen` is what is at its origin. A guest that is still there stays there. Otherwise the guest
/// may be at the other host, or nowhere: the monitor looks at both hosts, and until then nothing is started.
fn migration_failed(draft: &mut Draft<'_>, error: &DriverError, seen: Sight) {
    // The guest is paused here, and the driver said that the migration failed. The guest runs on here once nothing of it is left
    // at the other host.
    let paused_for_good = matches!(seen, Sight::Paused(_)) && recipe::is_definite(error.kind);
    if seen == Sight::Running || paused_for_good {
        roll_back(draft, error);
    } else {
        unknown(draft, Reason::CannotAsk, error);
    }
}

/// The state of rest, and its reason, that follow from a sight of a VM with a placement and no operation. `otherwise` is the
/// reason if the sight gives none.
pub(crate) fn at_rest(draft: &Draft<'_>, seen: Sight, otherwise: Reason) -> (Monitored, Reason) {
    let off = if draft.record.usable_recovery().is_some() { Monitored::Suspended } else { Monitored::Poweroff };
    match seen {
        Sight::Running => (Monitored::Running, otherwise),
        Sight::Paused(PowerReason::IoError) => (Monitored::Unknown, Reason::IoError),
        Sight::Paused(PowerReason::Watchdog) => (Monitored::Unknown, Reason::Watchdog),
        Sight::Paused(
            PowerReason::None
            | PowerReason::Person
            | PowerReason::Guest
            | PowerReason::Destroyed
            | PowerReason::Crashed
            | PowerReason::Saved
            | PowerReason::Kept
            | PowerReason::Migrated
            | PowerReason::Starting,
        ) => (Monitored::Suspended, Reason::External),
        Sight::Off(PowerReason::Guest) => (off, Reason::Guest),
        Sight::Off(PowerReason::Crashed) => (off, Reason::Crashed),
        // Ostler did not save it: then there would be a memory file.
        Sight::Off(PowerReason::Saved | PowerReason::Kept) if off == Monitored::Poweroff => (off, Reason::SavedOutside),
        // Ostler or somebody else destroyed it: the hypervisor does not tell which.
        Sight::Off(
            PowerReason::None
            | PowerReason::Person
            | PowerReason::Destroyed
            | PowerReason::Saved
            | PowerReason::Kept
            | PowerReason::Migrated
            | PowerReason::IoError
            | PowerReason::Watchdog
            | PowerReason::Starting,
        )
        | Sight::Absent
        | Sight::OlderOff => (off, otherwise),
        Sight::Crashed => (Monitored::Unknown, Reason::GuestCrashed),
        Sight::Foreign => (Monitored::Unknown, Reason::Foreign),
        Sight::AboveIssued | Sight::OlderAlive => (Monitored::Unknown, Reason::StoreIsStale),
    }
}

/// Puts a VM to rest, with the consequences for its memory file and its generation.
pub(crate) fn rest_at(draft: &mut Draft<'_>, rest: Monitored, reason: Reason) {
    let now = draft.now;
    match rest {
        Monitored::Running => {
            // The guest runs: memory that was saved before is older than the disks are now.
            draft.forget_recovery();
            let record = &mut draft.record;
            record.running_since.get_or_insert(now);
            if let Some(place) = &record.placement {
                record.placed = place.generation;
            }
        }
        Monitored::Poweroff => {
            draft.forget_recovery();
            draft.record.running_since = None;
        }
        Monitored::Suspended => {
            // The present sight counts, not whether the VM was off before.
            draft.record.was_off = false;
            if draft.record.usable_recovery().is_none() {
                draft.forget_recovery();
            }
        }
        // A save whose answer was lost may still end. Then the guest goes on from its file, so the file stays in the record.
        Monitored::Unknown => {
            draft.record.was_off = false;
            if draft.record.recovery.as_ref().is_some_and(|file| file.consumed) {
                draft.forget_recovery();
            }
        }
    }
    draft.set_state(rest.into(), reason);
}

/// The step failed and is not rolled back. The VM rests in `failed`, and the record keeps what is needed to carry the operation
/// on.
pub(crate) fn rest_failed(draft: &mut Draft<'_>, error: &DriverError) {
    let Some(active) = draft.record.operation.clone() else { return };
    let mut error = error.clone();
    if let (true, Some(cause)) = (active.undoing, &active.error) {
        error.detail = format!("{}; this was while rolling back because of: {cause}", error.detail);
    }
    draft.record.failure = Some(Failure {
        operation: active.id,
        verb: active.verb,
        origin: active.origin,
        subject: active.subject,
        plan: active.plan,
        at: active.at,
        error: error.clone(),
        when: draft.now,
        undoing: active.undoing,
        cut: active.cut,
    });
    if matches!(draft.record.failure.as_ref().map(|failure| failure.verb), Some(Verb::DiskAttach | Verb::NicAttach)) {
        // The failure keeps the subject for a recovery. Until then the guest may have the disk or card, so it stays in the
        // record.
        keep_what_may_be_plugged(draft);
    }
    draft.end_operation(active.id, Ended::Failed { error });
    draft.set_state(State::Failed, Reason::StepFailed);
}

/// The host could not be asked, and no call ever reached it. A VM that was off goes back to its state before the operation.
fn as_it_was(draft: &mut Draft<'_>, active: &Active, error: &DriverError) {
    // `consumed` was written before a step that never reached the driver.
    if let (State::Suspended, Some(file)) = (active.origin, &mut draft.record.recovery) {
        file.consumed = false;
    }
    // There is also nothing that a rollback could have left.
    if let Some(active) = &mut draft.record.operation {
        active.undoing = false;
    }
    draft.part_from_other();
    draft.end_operation(active.id, outcome(active, error));
    let outside = active.origin == State::Suspended && draft.record.usable_recovery().is_none();
    let rest = if active.origin == State::Suspended { Monitored::Suspended } else { Monitored::Poweroff };
    rest_at(draft, rest, if outside { Reason::External } else { Reason::StepFailed });
}

/// It is not known what is at the host, or it must not be touched: the VM rests in `unknown`. A delete goes on.
pub(crate) fn unknown(draft: &mut Draft<'_>, reason: Reason, error: &DriverError) {
    let Some(active) = draft.record.operation.clone() else { return };
    let was_off_before = draft.record.was_off;
    draft.step_failed(error);
    if matches!(active.verb, Verb::Delete | Verb::DeleteRecreate) && reason == Reason::CannotAsk {
        return step::begin(draft);
    }
    if reason == Reason::CannotAsk && !active.acted && recipe::rests_off(active.origin) {
        return as_it_was(draft, &active, error);
    }
    let left = active.plan.get(active.at..).unwrap_or_default();
    let harmless =
        |step: &StepKind| matches!(step, StepKind::Remove | StepKind::RemoveOther | StepKind::Unpause | StepKind::DropOther);
    let half_way = !has_place(active.origin) || !left.iter().all(harmless);
    let goes_home = recipe::begun(&active).iter().any(|step| matches!(step, StepKind::CopyOut | StepKind::DropHost));
    if active.undoing && half_way || goes_home && reason == Reason::CannotAsk {
        // A VM in `unknown` counts as being on its host once that host is seen. But this VM has only a part of its files there.
        return rest_failed(draft, error);
    }
    // After the switch it is decided which of the two hosts has the VM.
    let switched = active.plan.get(..active.at).is_some_and(|begun| begun.contains(&StepKind::Switch));
    if switched || !draft.record.other_domain {
        draft.part_from_other();
    }
    keep_what_may_be_plugged(draft);
    draft.end_operation(active.id, Ended::Failed { error: error.clone() });
    rest_at(draft, Monitored::Unknown, reason);
    let was_off = recipe::rests_off(active.origin) || active.origin == State::Unknown && was_off_before;
    draft.record.was_off = was_off && recipe::ends_in(active.verb, active.origin) != State::Running;
}
