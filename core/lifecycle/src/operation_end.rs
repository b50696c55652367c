//! Ends an operation: with success, by its rollback, or where a fresh look finds the VM.

use crate::domain_status::DomainStatus;
use crate::draft::{Draft, Next};
use crate::recipe::{self, OnFailure, OnSuccess};
use crate::slot;
use crate::step_result::FOREIGN;
use crate::{rest, schedules, step, step_result, subject};
use ostler_model::{
    Active, DriverError, Ended, ErrorKind, FilesAt, ImageChange, ImageState, Monitored, Phase,
    PowerReason, Reason, State, StepKind, Strength, Subject, Verb,
};

/// All steps of the plan are done.
pub(crate) fn succeeded(draft: &mut Draft<'_>, active: Active) -> Next {
    if active.undoing {
        return undone(draft, active);
    }
    let (verb, origin) = (active.verb, active.origin);
    match recipe::on_success(verb, origin) {
        OnSuccess::Over => {
            draft.leave_host(Some(verb));
            forget_made(draft);
            schedules::over(draft);
        }
        OnSuccess::Anew => {
            draft.leave_host(Some(verb));
            forget_made(draft);
            // Forget the datastore, so that the next placement chooses again. Keep it while a disk
            // is adopted, because that disk was there before the VM was. Keep it also while
            // leftovers hold files: only the datastore tells where they are.
            let left = draft.record.leftovers.iter().any(|left| left.files);
            if !left && draft.record.disks.iter().all(|disk| disk.adopted.is_none()) {
                draft.record.storage = None;
            }
        }
        OnSuccess::LeavesWithMemory => {
            draft.leave_host(Some(verb));
            files_change_hands(draft);
        }
        OnSuccess::Leaves => {
            draft.leave_host(Some(verb));
            files_change_hands(draft);
            draft.forget_recovery();
        }
        OnSuccess::DropsMemory => draft.forget_recovery(),
        OnSuccess::Unplugs => unplugged(draft, &active.subject),
        OnSuccess::Nothing => {}
    }
    draft.part_from_other();
    slot::end(draft, active, Ended::Succeeded);
    match draft.status.filter(|_| recipe::ends(verb).is_none()) {
        // Nothing was asked of the guest, and this is its present state.
        Some(seen) if seen != DomainStatus::Paused(PowerReason::Starting) => {
            draft.note_status(seen);
            if seen.lives() {
                draft.consume_recovery();
            }
            let (rest, reason) = rest::seen_as(draft, seen, Reason::Asked);
            rest::at(draft, rest, reason);
        }
        Some(_) | None => {
            let rests = recipe::ends_in(verb, origin);
            if rests == State::Poweroff {
                // A VM that is off has no memory. A save that was begun and never ended may have
                // left a file that is incomplete.
                draft.forget_recovery();
            }
            // The VM is still paused at the hypervisor, and only there is its memory. No verb
            // pauses a guest without saving its memory, so somebody outside of Ostler has paused
            // it.
            let outside = rests == State::Suspended && draft.record.usable_recovery().is_none();
            draft.set_state(rests, if outside { Reason::External } else { Reason::Asked });
        }
    }
    None
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
        Subject::Vm
        | Subject::Snapshot { .. }
        | Subject::DiskImage { .. }
        | Subject::Size { .. } => {}
    }
}

/// The VM's files are gone: forgets what was known about them. If a disk should have become an
/// image and did not, the image is in error, and a person has to look at it.
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

/// On shared storage nothing is copied: the record notes that the files are the front end's now,
/// and no longer the host's.
fn files_change_hands(draft: &mut Draft<'_>) {
    let record = &mut draft.record;
    if record.files.host && record.storage.as_ref().is_some_and(|storage| storage.shared) {
        record.files = FilesAt { host: false, home: true };
    }
}

/// The rollback is done. The VM goes back to the state in which the operation began, as far as that
/// is still true.
fn undone(draft: &mut Draft<'_>, active: Active) -> Next {
    let origin = active.origin;
    if rest::has_place(origin) {
        return settle_by_look(draft, active);
    }
    files_change_hands(draft);
    draft.leave_host(Some(active.verb));
    if draft.record.usable_recovery().is_none() {
        draft.forget_recovery();
    }
    let outcome = outcome(&active, &DriverError::refused("undone", "it was rolled back"));
    draft.part_from_other();
    slot::end(draft, active, outcome);
    draft.set_state(
        rest::without_place(origin, draft.record.recovery.is_some()),
        Reason::StepFailed,
    );
    None
}

/// How the operation ended. A rollback without an error was asked for by an operator, for an
/// operation that had failed before: it has succeeded.
fn outcome(active: &Active, error: &DriverError) -> Ended {
    match (&active.error, active.undoing) {
        (None, true) => Ended::Succeeded,
        (Some(cause), true) => Ended::Failed { error: cause.clone() },
        (_, false) => Ended::Failed { error: error.clone() },
    }
}

/// The current step has failed for good.
pub(crate) fn fail(draft: &mut Draft<'_>, mut active: Active, error: &DriverError) -> Next {
    let policy = step_result::policy(&active);
    let may_have_written = recipe::may_have_written(&draft.record, &active);
    let (undoing, kind, verb) = (active.undoing, active.kind(), active.verb);
    let only_makes_sure = recipe::only_makes_sure(&active);
    let never_begun = recipe::at_first_step(&active) && !active.acted;
    if !undoing {
        active.error = Some(error.clone());
    }
    // An error of the first attempt proves that nothing was stamped. After later attempts, only a
    // look can prove it.
    if verb == Verb::Adopt
        && active.attempt <= 1
        && !matches!(error.kind, ErrorKind::Unknown | ErrorKind::Retry)
    {
        return still_wild(draft, active, error);
    }
    // A delete has overtaken the adoption, and the stamp never reached the domain. Drivers refuse
    // to touch such a domain, so the delete would try for ever.
    if draft.record.wild && error.kind == ErrorKind::Refused && error.code == FOREIGN {
        return still_wild(draft, active, error);
    }
    if policy != OnFailure::Insist {
        draft.step_failed(&active, error);
    }
    match policy {
        OnFailure::Insist => step_result::send_later(draft, active, error),
        // The guest may run at the other host. Until that is known, nothing is started or resumed
        // at this one.
        OnFailure::Skip if undoing && kind == Some(StepKind::RemoveOther) => {
            unknown(draft, active, Reason::CannotAsk, error)
        }
        OnFailure::Skip => step::pass(draft, active),
        OnFailure::Fail | OnFailure::Settle | OnFailure::Undo
            if undoing && (verb.is_hotplug() || verb.is_snapshot()) =>
        {
            settle_by_look(draft, active)
        }
        // The host does not answer any more. When it answers again, a look settles the VM, and no
        // person has to decide.
        OnFailure::Fail | OnFailure::Settle | OnFailure::Undo
            if undoing && error.kind == ErrorKind::Retry =>
        {
            unknown(draft, active, Reason::CannotAsk, error)
        }
        OnFailure::Fail | OnFailure::Settle | OnFailure::Undo if undoing => {
            rest::failed(draft, active, error)
        }
        OnFailure::Fail if only_makes_sure && error.kind == ErrorKind::Retry => {
            settle_by_look(draft, active)
        }
        OnFailure::Fail => rest::failed(draft, active, error),
        OnFailure::Settle => settle_by_look(draft, active),
        // The rollback begins once the guest is seen where it was.
        OnFailure::Undo if kind == Some(StepKind::Migrate) => settle_by_look(draft, active),
        // The VM has moved, and it is off or runs at the destination.
        OnFailure::Undo if verb.is_migration() && may_have_written => settle_by_look(draft, active),
        // No call had an effect, so there is nothing to take back.
        OnFailure::Undo
            if never_begun && matches!(kind, Some(StepKind::Boot | StepKind::Restore)) =>
        {
            settle_by_look(draft, active)
        }
        OnFailure::Undo => roll_back(draft, active, error),
    }
}

/// The domain was not stamped: it is not ours, and nothing of it is touched.
fn still_wild(draft: &mut Draft<'_>, active: Active, error: &DriverError) -> Next {
    draft.leave_host(Some(active.verb));
    draft.record.disks.clear();
    draft.record.wild = false;
    slot::end(draft, active, Ended::Failed { error: error.clone() });
    draft.set_state(State::Done, Reason::StepFailed);
    None
}

/// Replaces the plan by its rollback. If there is no way back, a person has to decide.
pub(crate) fn roll_back(draft: &mut Draft<'_>, mut active: Active, error: &DriverError) -> Next {
    let Some(back) = recipe::rollback(&draft.record, &active) else {
        return rest::failed(draft, active, error);
    };
    if let Subject::Size { before } = &mut active.subject {
        // The guest may have the size that was asked for. It stays booked until the guest is seen
        // to have given it back.
        let now = draft.record.spec.size();
        draft.record.spec.set_size(*before);
        *before = now;
    }
    active.plan = back;
    active.at = 0;
    active.undoing = true;
    step::begin(draft, active)
}

/// Looks at the host, to find out in which state the failed step has left the VM.
pub(crate) fn settle_by_look(draft: &mut Draft<'_>, mut active: Active) -> Next {
    active.blind = 0;
    if draft.record.state == State::Failed {
        // The operation was carried on from `failed`, and nothing is left to take back. The end of
        // an epilog follows.
        draft.set_state(State::Epilog, Reason::Asked);
    }
    if draft.record.placement.is_none() {
        let error =
            DriverError::refused("no-place", "the step failed, and there is no host to look at");
        return rest::failed(draft, active, &error);
    }
    step::look(draft, active, Phase::Settling)
}

/// The operation has failed, and `seen` is what is there now.
pub(crate) fn failed_with_status(
    draft: &mut Draft<'_>,
    mut active: Active,
    error: &DriverError,
    seen: DomainStatus,
) -> Next {
    draft.note_status(seen);
    if active.kind() == Some(StepKind::Migrate) && !active.undoing {
        draft.step_failed(&active, error);
        return migration_failed(draft, active, error, seen);
    }
    if active.kind() == Some(StepKind::Save) && error.kind == ErrorKind::Gone {
        // The driver has looked: the domain is off, and this call did not save it. If the
        // hypervisor tells of a save, somebody else made it.
        draft.memory_is_not_written();
    }
    if may_be_saved(draft, &active, error, seen) {
        return step_result::send_later(draft, active, error);
    }
    if active.verb.strength() == Strength::Delete {
        // A delete never settles: if something is still there, that is only a reason to go on.
        return step::begin(draft, active);
    }
    draft.step_failed(&active, error);
    if seen.lives() {
        draft.consume_recovery();
    }
    draft.saved_after_all(seen);
    let (rest, reason) = rest::seen_as(draft, seen, Reason::StepFailed);
    if active.verb == Verb::Adopt && matches!(seen, DomainStatus::Foreign | DomainStatus::Absent) {
        return still_wild(draft, active, error);
    }
    if seen.lives() {
        subject::keep_what_may_be_plugged(&mut draft.record, &mut active);
    }
    draft.part_from_other();
    let outcome = outcome(&active, error);
    slot::end(draft, active, outcome);
    rest::at(draft, rest, reason);
    None
}

/// Whether a save that was refused may have been done all the same. If the save was sent more than
/// once, a refusal may mean that the first sending has just ended, and the guest with it. *Off*
/// does not tell whether the memory is complete. The driver can tell, by the file, when it is asked
/// again. It says *gone* if the call did not save the guest, and then there is no file to ask
/// about.
fn may_be_saved(
    draft: &Draft<'_>,
    active: &Active,
    error: &DriverError,
    seen: DomainStatus,
) -> bool {
    let begun = draft.record.recovery.as_ref().is_some_and(|file| !file.complete);
    let off = matches!(seen, DomainStatus::Off(_) | DomainStatus::Absent | DomainStatus::OlderOff);
    active.kind() == Some(StepKind::Save)
        && begun
        && off
        && recipe::is_definite(error.kind)
        && step_result::has_time(active, draft.now)
}

/// A live migration has failed, and `seen` is what is at its origin. A guest that is still there
/// stays there. Otherwise the guest may be at the other host, or nowhere: the monitor looks at both
/// hosts, and until then nothing is started.
fn migration_failed(
    draft: &mut Draft<'_>,
    active: Active,
    error: &DriverError,
    seen: DomainStatus,
) -> Next {
    // The guest is paused here, and the driver said that the migration failed. The guest runs on
    // here once nothing of it is left at the other host.
    let paused_for_good =
        matches!(seen, DomainStatus::Paused(_)) && recipe::is_definite(error.kind);
    if seen == DomainStatus::Running || paused_for_good {
        return roll_back(draft, active, error);
    }
    unknown(draft, active, Reason::CannotAsk, error)
}

/// The host could not be asked, and no call ever reached it. A VM that was off goes back to its
/// state before the operation.
fn as_it_was(draft: &mut Draft<'_>, mut active: Active, error: &DriverError) -> Next {
    let origin = active.origin;
    // `consumed` was written before a step that never reached the driver.
    if let (State::Suspended, Some(file)) = (origin, &mut draft.record.recovery) {
        file.consumed = false;
    }
    let outcome = outcome(&active, error);
    // There is also nothing that a rollback could have left.
    active.undoing = false;
    draft.part_from_other();
    slot::end(draft, active, outcome);
    let outside = origin == State::Suspended && draft.record.usable_recovery().is_none();
    let rest = if origin == State::Suspended { Monitored::Suspended } else { Monitored::Poweroff };
    rest::at(draft, rest, if outside { Reason::External } else { Reason::StepFailed });
    None
}

/// It is not known what is at the host, or it must not be touched: the VM rests in `unknown`. A
/// delete goes on.
pub(crate) fn unknown(
    draft: &mut Draft<'_>,
    mut active: Active,
    reason: Reason,
    error: &DriverError,
) -> Next {
    let (verb, origin) = (active.verb, active.origin);
    let was_off_before = draft.record.was_off;
    draft.step_failed(&active, error);
    if verb.strength() == Strength::Delete && reason == Reason::CannotAsk {
        return step::begin(draft, active);
    }
    if reason == Reason::CannotAsk && !active.acted && recipe::rests_off(origin) {
        return as_it_was(draft, active, error);
    }
    let left = active.plan.get(active.at..).unwrap_or_default();
    let harmless = |step: &StepKind| {
        matches!(
            step,
            StepKind::Remove | StepKind::RemoveOther | StepKind::Unpause | StepKind::DropOther
        )
    };
    let half_way = !rest::has_place(origin) || !left.iter().all(harmless);
    let goes_home = recipe::begun(&active)
        .iter()
        .any(|step| matches!(step, StepKind::CopyOut | StepKind::DropHost));
    if active.undoing && half_way || goes_home && reason == Reason::CannotAsk {
        // A VM in `unknown` counts as being on its host once that host is seen. But this VM has
        // only a part of its files there.
        return rest::failed(draft, active, error);
    }
    // After the switch it is decided which of the two hosts has the VM.
    let switched =
        active.plan.get(..active.at).is_some_and(|begun| begun.contains(&StepKind::Switch));
    if switched || !draft.record.domain_at_other() {
        draft.part_from_other();
    }
    subject::keep_what_may_be_plugged(&mut draft.record, &mut active);
    slot::end(draft, active, Ended::Failed { error: error.clone() });
    rest::at(draft, Monitored::Unknown, reason);
    let was_off = recipe::rests_off(origin) || origin == State::Unknown && was_off_before;
    draft.record.was_off = was_off && recipe::ends_in(verb, origin) != State::Running;
    None
}
