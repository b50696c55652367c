//! Chooses the state in which a VM stays when no operation is left: the state that a look shows, or
//! `failed` if a person has to decide.

use crate::domain_status::DomainStatus;
use crate::draft::{Draft, Next};
use crate::slot;
use crate::subject;
use ostler_model::{
    Active, DriverError, Ended, Failure, Monitored, PowerReason, Reason, State, Verb,
};

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

/// The state of rest of a VM without a placement, whose operation began in `origin`. A VM in
/// `stopped` has saved memory; without memory it is `undeployed`.
pub(crate) const fn without_place(origin: State, memory: bool) -> State {
    match (origin, memory) {
        (State::Stopped, false) => State::Undeployed,
        (origin, _) => origin,
    }
}

/// The state of rest, and its reason, that follow from a status of a VM with a placement and no
/// operation. `otherwise` is the reason if the status gives none.
pub(crate) fn seen_as(
    draft: &Draft<'_>,
    seen: DomainStatus,
    otherwise: Reason,
) -> (Monitored, Reason) {
    let off = if draft.record.usable_recovery().is_some() {
        Monitored::Suspended
    } else {
        Monitored::Poweroff
    };
    match seen {
        DomainStatus::Running => (Monitored::Running, otherwise),
        DomainStatus::Paused(PowerReason::IoError) => (Monitored::Unknown, Reason::IoError),
        DomainStatus::Paused(PowerReason::Watchdog) => (Monitored::Unknown, Reason::Watchdog),
        DomainStatus::Paused(
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
        DomainStatus::Off(PowerReason::Guest) => (off, Reason::Guest),
        DomainStatus::Off(PowerReason::Crashed) => (off, Reason::Crashed),
        // Ostler did not save it: then there would be a memory file.
        DomainStatus::Off(PowerReason::Saved | PowerReason::Kept) if off == Monitored::Poweroff => {
            (off, Reason::SavedOutside)
        }
        // Ostler or somebody else destroyed it: the hypervisor does not tell which.
        DomainStatus::Off(
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
        | DomainStatus::Absent
        | DomainStatus::OlderOff => (off, otherwise),
        DomainStatus::Crashed => (Monitored::Unknown, Reason::GuestCrashed),
        DomainStatus::Foreign => (Monitored::Unknown, Reason::Foreign),
        DomainStatus::AboveIssued | DomainStatus::OlderAlive => {
            (Monitored::Unknown, Reason::StoreIsStale)
        }
    }
}

/// Puts a VM to rest, with the consequences for its memory file and its generation.
pub(crate) fn at(draft: &mut Draft<'_>, rest: Monitored, reason: Reason) {
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
            // The present status counts, not whether the VM was off before.
            draft.record.was_off = false;
            if draft.record.usable_recovery().is_none() {
                draft.forget_recovery();
            }
        }
        // A save whose answer was lost may still end. Then the guest goes on from its file, so the
        // file stays in the record.
        Monitored::Unknown => {
            draft.record.was_off = false;
            if draft.record.recovery.as_ref().is_some_and(|file| file.consumed) {
                draft.forget_recovery();
            }
        }
    }
    draft.set_state(rest.into(), reason);
}

/// The step failed and is not rolled back. The VM rests in `failed`, and the record keeps what is
/// needed to carry the operation on.
pub(crate) fn failed(draft: &mut Draft<'_>, mut active: Active, error: &DriverError) -> Next {
    let mut error = error.clone();
    if let (true, Some(cause)) = (active.undoing, &active.error) {
        error.detail = format!("{}; this was while rolling back because of: {cause}", error.detail);
    }
    draft.record.failure = Some(Failure {
        operation: active.id,
        verb: active.verb,
        origin: active.origin,
        subject: active.subject.clone(),
        plan: active.plan.clone(),
        at: active.at,
        error: error.clone(),
        when: draft.now,
        undoing: active.undoing,
        cut: active.cut,
    });
    if matches!(active.verb, Verb::DiskAttach | Verb::NicAttach) {
        // The failure keeps the subject for a recovery. Until then the guest may have the disk or
        // card, so it stays in the record.
        subject::keep_what_may_be_plugged(&mut draft.record, &mut active);
    }
    slot::end(draft, active, Ended::Failed { error });
    draft.set_state(State::Failed, Reason::StepFailed);
    None
}
