//! Where an operation leaves a VM: as asked, or where a fresh look finds it.

use crate::draft::Draft;
use crate::recipe::{self, OnFailure};
use crate::sight::Sight;
use crate::{judge, step};
use ostler_model::{Active, DriverError, Ended, Failure, FilesAt, Phase, PowerReason, Reason, State, StepKind, Verb};

/// The plan is through.
pub(crate) fn succeeded(draft: &mut Draft<'_>) {
    let Some(active) = draft.record.operation.clone() else { return };
    if active.undoing {
        return undone(draft, &active);
    }
    match active.verb {
        Verb::Shutdown | Verb::ShutdownHard | Verb::Delete => {
            draft.leave_host(Some(active.verb));
            forget_made(draft);
        }
        Verb::DeleteRecreate => {
            draft.leave_host(Some(active.verb));
            forget_made(draft);
            // As new: the next placement chooses again.
            draft.record.storage = None;
        }
        Verb::Stop => {
            draft.leave_host(Some(active.verb));
            files_change_hands(draft);
        }
        Verb::Undeploy | Verb::UndeployHard => {
            draft.leave_host(Some(active.verb));
            files_change_hands(draft);
            draft.record.recovery = None;
        }
        Verb::Poweroff | Verb::PoweroffHard => draft.record.recovery = None,
        // It runs: whatever memory was saved is older than what the disks hold now.
        Verb::Deploy | Verb::Resume | Verb::Boot | Verb::Reboot | Verb::RebootHard => draft.record.recovery = None,
        Verb::Hold
        | Verb::Release
        | Verb::Suspend
        | Verb::RecoverSuccess
        | Verb::RecoverFailure
        | Verb::RecoverRetry
        | Verb::RecoverUndo => {}
    }
    draft.end_operation(active.id, Ended::Succeeded);
    draft.set_state(recipe::ends(active.verb), Reason::Asked);
}

/// Its files are gone, and with them what was known about them.
fn forget_made(draft: &mut Draft<'_>) {
    draft.record.recovery = None;
    draft.record.snapshots.clear();
    draft.record.driver_state.clear();
}

/// On shared storage nothing is copied: what was the host's is the front end's now.
fn files_change_hands(draft: &mut Draft<'_>) {
    let record = &mut draft.record;
    if record.files.host && record.storage.as_ref().is_some_and(|storage| storage.shared) {
        record.files = FilesAt { host: false, home: true };
    }
}

/// Whether a VM that rests in `state` has a place on a host.
const fn has_place(state: State) -> bool {
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

/// The rollback is through: back to where the operation began, as far as that is true.
fn undone(draft: &mut Draft<'_>, active: &Active) {
    if has_place(active.origin) {
        return settle_by_look(draft);
    }
    files_change_hands(draft);
    draft.leave_host(Some(active.verb));
    if draft.record.usable_recovery().is_none() {
        draft.record.recovery = None;
    }
    let error = DriverError::refused("undone", "it was rolled back");
    draft.end_operation(active.id, outcome(active, &error));
    draft.set_state(active.origin, Reason::StepFailed);
}

/// A rollback that an operator asked for, of an operation that had failed before, has done what it was for.
fn outcome(active: &Active, error: &DriverError) -> Ended {
    match (&active.error, active.undoing) {
        (None, true) => Ended::Succeeded,
        (Some(cause), true) => Ended::Failed { error: cause.clone() },
        (_, false) => Ended::Failed { error: error.clone() },
    }
}

/// The step in hand has failed for good.
pub(crate) fn fail(draft: &mut Draft<'_>, error: &DriverError) {
    let policy = judge::policy(draft);
    let Some(active) = &mut draft.record.operation else { return };
    if !active.undoing {
        active.error = Some(error.clone());
    }
    match policy {
        OnFailure::Insist => judge::send_later(draft, error),
        OnFailure::Fail | OnFailure::Settle | OnFailure::Undo if active.undoing => rest_failed(draft, error),
        OnFailure::Fail => rest_failed(draft, error),
        OnFailure::Settle => settle_by_look(draft),
        OnFailure::Undo => roll_back(draft, error),
    }
}

/// Replaces the plan by what takes its steps back.
pub(crate) fn roll_back(draft: &mut Draft<'_>, error: &DriverError) {
    let Some(active) = &mut draft.record.operation else { return };
    let Some(back) = recipe::rollback(active.plan.get(..=active.at).unwrap_or(&active.plan)) else {
        return rest_failed(draft, error);
    };
    active.plan = back;
    active.at = 0;
    active.undoing = true;
    step::begin(draft);
}

/// Looks, to know which state a failed step leaves.
pub(crate) fn settle_by_look(draft: &mut Draft<'_>) {
    let Some(active) = &mut draft.record.operation else { return };
    active.blind = 0;
    if draft.record.state == State::Failed {
        // Carried on from failed, with nothing left to take back: what follows is the end of an epilog.
        draft.set_state(State::Epilog, Reason::Asked);
    }
    if draft.record.placement.is_none() {
        let error = DriverError::refused("no-place", "the step failed, and there is no host to look at");
        return rest_failed(draft, &error);
    }
    step::look(draft, Phase::Settling);
}

/// The operation has failed, and this is what is there now.
pub(crate) fn failed_at_sight(draft: &mut Draft<'_>, error: &DriverError, seen: Sight) {
    draft.note_sight(seen);
    let Some(active) = draft.record.operation.clone() else { return };
    if active.verb.strength() == ostler_model::Strength::Delete {
        // A delete settles nowhere: what is there is only a reason to go on.
        return step::begin(draft);
    }
    if seen.lives() {
        draft.consume_recovery();
    }
    let (rest, reason) = at_rest(draft, seen, Reason::StepFailed);
    draft.end_operation(active.id, outcome(&active, error));
    rest_at(draft, rest, reason);
}

/// The state that a sight means for a VM that has a place and no operation, and why. `otherwise` is the reason where the
/// sight itself gives none.
pub(crate) fn at_rest(draft: &Draft<'_>, seen: Sight, otherwise: Reason) -> (State, Reason) {
    let off = if draft.record.usable_recovery().is_some() { State::Suspended } else { State::Poweroff };
    match seen {
        Sight::Running => (State::Running, otherwise),
        Sight::Paused(PowerReason::IoError) => (State::Unknown, Reason::IoError),
        Sight::Paused(PowerReason::Watchdog) => (State::Unknown, Reason::Watchdog),
        Sight::Paused(
            PowerReason::None
            | PowerReason::Person
            | PowerReason::Guest
            | PowerReason::Destroyed
            | PowerReason::Crashed
            | PowerReason::Saved
            | PowerReason::Migrated
            | PowerReason::Starting,
        ) => (State::Suspended, Reason::External),
        Sight::Off(PowerReason::Guest) => (off, Reason::Guest),
        Sight::Off(PowerReason::Crashed) => (off, Reason::Crashed),
        // Destroyed by us or by somebody else: the hypervisor does not tell.
        Sight::Off(
            PowerReason::None
            | PowerReason::Person
            | PowerReason::Destroyed
            | PowerReason::Saved
            | PowerReason::Migrated
            | PowerReason::IoError
            | PowerReason::Watchdog
            | PowerReason::Starting,
        )
        | Sight::Absent
        | Sight::OlderOff => (off, otherwise),
        Sight::Crashed => (State::Unknown, Reason::GuestCrashed),
        Sight::Foreign => (State::Unknown, Reason::Foreign),
        Sight::AboveIssued | Sight::OlderAlive => (State::Unknown, Reason::StoreIsStale),
    }
}

/// Puts a VM to rest, with what follows for its recovery file and its generation.
pub(crate) fn rest_at(draft: &mut Draft<'_>, rest: State, reason: Reason) {
    let now = draft.now;
    let record = &mut draft.record;
    match rest {
        State::Running => {
            // It runs: whatever memory was saved is older than what the disks hold now.
            record.recovery = None;
            record.running_since.get_or_insert(now);
            if let Some(place) = &record.placement {
                record.placed = place.generation;
            }
        }
        State::Poweroff => {
            record.recovery = None;
            record.running_since = None;
        }
        State::Suspended | State::Unknown => {
            if record.usable_recovery().is_none() {
                record.recovery = None;
            }
        }
        State::Pending
        | State::Hold
        | State::Prolog
        | State::Boot
        | State::Migrate
        | State::Hotplug
        | State::Snapshot
        | State::Save
        | State::Epilog
        | State::Shutdown
        | State::Stopped
        | State::Undeployed
        | State::Failed
        | State::Done => {}
    }
    draft.set_state(rest, reason);
}

/// The step failed and is not undone: the VM rests in failed, and keeps what would carry it on.
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
        plan: active.plan,
        at: active.at,
        error: error.clone(),
        when: draft.now,
        undoing: active.undoing,
    });
    draft.end_operation(active.id, Ended::Failed { error });
    draft.set_state(State::Failed, Reason::StepFailed);
}

/// What is there cannot be said, or must not be touched: the VM rests in unknown. A delete goes on.
pub(crate) fn unknown(draft: &mut Draft<'_>, reason: Reason, error: &DriverError) {
    let Some(active) = draft.record.operation.clone() else { return };
    if matches!(active.verb, Verb::Delete | Verb::DeleteRecreate) && reason == Reason::CannotAsk {
        return step::begin(draft);
    }
    let left = active.plan.get(active.at..).unwrap_or_default();
    let half_way = !has_place(active.origin) || left.iter().any(|step| *step != StepKind::Remove);
    if active.undoing && half_way {
        // Once its host is seen, an unknown VM counts as being there; this one has files that are only half there.
        return rest_failed(draft, error);
    }
    draft.end_operation(active.id, Ended::Failed { error: error.clone() });
    rest_at(draft, State::Unknown, reason);
}
