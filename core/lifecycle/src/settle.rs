//! Where an operation leaves a VM: as asked, or where a fresh look finds it.

use crate::draft::Draft;
use crate::recipe;
use crate::sight::Sight;
use crate::step;
use ostler_model::{DriverError, Ended, Failure, PowerReason, Reason, RecoveryFile, State, Verb};

/// The plan is through.
pub(crate) fn succeeded(draft: &mut Draft<'_>) {
    let Some(active) = draft.record.operation.clone() else { return };
    if active.undoing {
        return undone(draft);
    }
    let rest = recipe::ends(active.verb);
    match rest {
        State::Done | State::Stopped | State::Undeployed => draft.leave_host(Some(active.verb)),
        State::Pending => {
            draft.leave_host(Some(active.verb));
            draft.record.recovery = None;
        }
        State::Suspended
        | State::Poweroff
        | State::Running
        | State::Hold
        | State::Prolog
        | State::Boot
        | State::Migrate
        | State::Hotplug
        | State::Snapshot
        | State::Save
        | State::Epilog
        | State::Shutdown
        | State::Failed
        | State::Unknown => {}
    }
    if matches!(rest, State::Stopped | State::Undeployed) && draft.record.storage.as_ref().is_some_and(|storage| storage.shared) {
        // On shared storage nothing was copied: what was the host's is the front end's now.
        draft.record.files.home = draft.record.files.host;
        draft.record.files.host = false;
    }
    if matches!(rest, State::Poweroff | State::Undeployed | State::Done) {
        draft.record.recovery = None;
    }
    draft.end_operation(active.id, Ended::Succeeded);
    draft.set_state(rest, Reason::Asked);
}

/// The rollback is through: back to where the operation began, as far as that is true.
fn undone(draft: &mut Draft<'_>) {
    let Some(active) = draft.record.operation.clone() else { return };
    let error = active.error.clone().unwrap_or_else(|| DriverError::refused("undone", "it was rolled back"));
    match active.origin {
        State::Pending | State::Hold | State::Stopped | State::Undeployed if !draft.record.files.host => {
            draft.leave_host(Some(active.verb));
            draft.end_operation(active.id, Ended::Failed { error });
            draft.set_state(active.origin, Reason::StepFailed);
        }
        State::Pending
        | State::Hold
        | State::Prolog
        | State::Boot
        | State::Running
        | State::Migrate
        | State::Hotplug
        | State::Snapshot
        | State::Save
        | State::Epilog
        | State::Shutdown
        | State::Stopped
        | State::Suspended
        | State::Poweroff
        | State::Undeployed
        | State::Failed
        | State::Unknown
        | State::Done => step::settle_by_look(draft),
    }
}

/// The operation has failed, and this is what is there now.
pub(crate) fn failed_at_sight(draft: &mut Draft<'_>, error: &DriverError, seen: Sight) {
    draft.note_sight(seen);
    let Some(active) = draft.record.operation.clone() else { return };
    if active.verb.strength() == ostler_model::Strength::Delete {
        // A delete settles nowhere: what is there is only a reason to go on.
        return step::begin(draft);
    }
    let (rest, reason) = at_rest(draft, seen, Reason::StepFailed);
    draft.end_operation(active.id, Ended::Failed { error: error.clone() });
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
        Sight::Off(PowerReason::Destroyed) => (off, Reason::DestroyedOutside),
        Sight::Off(
            PowerReason::None
            | PowerReason::Person
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
        State::Suspended => {
            if record.recovery.as_ref().is_some_and(|file: &RecoveryFile| !file.complete || file.consumed) {
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
        | State::Unknown
        | State::Done => {}
    }
    draft.set_state(rest, reason);
}

/// The step failed and is not undone: the VM rests in failed, and keeps what would carry it on.
pub(crate) fn rest_failed(draft: &mut Draft<'_>, error: &DriverError) {
    let Some(active) = draft.record.operation.clone() else { return };
    let error = active.error.clone().unwrap_or_else(|| error.clone());
    draft.record.failure = Some(Failure {
        operation: active.id,
        verb: active.verb,
        origin: active.origin,
        plan: active.plan,
        at: active.at,
        error: error.clone(),
        when: draft.now,
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
    draft.end_operation(active.id, Ended::Failed { error: error.clone() });
    draft.set_state(State::Unknown, reason);
}
