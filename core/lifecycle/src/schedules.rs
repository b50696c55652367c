//! Scheduled actions. The record keeps them, and the VM's runner requests them when they are due.
//! Whether an action has begun, is done, has failed or was missed is written down in the same
//! transaction as its effect on the VM.

use crate::draft::Draft;
use crate::refusals::bad;
use ostler_model::{
    Came, Cause, Due, Ended, EventKind, Hint, Millis, NotDone, OperationId, Planned, Refusal,
    RefusalKind, Request, SCHEDULES_MAX, ScheduleId, ScheduleState, Timestamp, Verb, VmRecord,
};

/// If the VM is busy when an action is due, the action is requested again after this time, as long
/// as it is not too late.
const ASK_AGAIN: Millis = Millis::secs(20);

/// A scheduled action that is due now. Either it is requested, or it counts as missed.
#[must_use]
pub fn due(record: &VmRecord, now: Timestamp) -> Option<&Planned> {
    if record.is_unreconciled() {
        // The action becomes due once it is known where the VM is. Its misfire policy then says
        // whether it is too late.
        return None;
    }
    let mut due =
        record.schedules.iter().filter(|planned| planned.try_at().is_some_and(|at| at <= now));
    due.find(|planned| planned.schedule.due(now).is_some())
}

/// Whether `verb` can be scheduled. A verb cannot be scheduled if it makes no sense later, or if a
/// person must answer for it when it runs.
const fn may_be_planned(verb: Verb) -> bool {
    !(verb.is_recovery()
        || matches!(
            verb,
            Verb::Schedule
                | Verb::Unschedule
                | Verb::Reschedule
                | Verb::Adopt
                | Verb::Forget
                | Verb::Rename
                | Verb::Update
        ))
}

fn checked(draft: &Draft<'_>, asked: &Request, planned: &Planned) -> Result<Planned, Refusal> {
    let mut planned = planned.clone();
    let verb = planned.schedule.verb;
    if !may_be_planned(verb) {
        return Err(bad(draft, asked, Cause::NotLater { verb }, Hint::OtherVerb));
    }
    if planned.args.fenced() || planned.args.storage_moved() {
        return Err(bad(draft, asked, Cause::StatedAhead, Hint::AskThen));
    }
    let first = planned.schedule.first(draft.now);
    let first =
        first.map_err(|error| bad(draft, asked, Cause::BadSchedule { error }, Hint::ChangeWhen))?;
    planned.schedule.next = Some(first);
    planned.schedule.state = ScheduleState::Waiting;
    planned.schedule.by.clone_from(&asked.by);
    planned.retry_at = None;
    Ok(planned)
}

pub(crate) fn add(
    draft: &mut Draft<'_>,
    asked: &Request,
    planned: &Planned,
) -> Result<(), Refusal> {
    if draft.record.schedules.len() >= SCHEDULES_MAX {
        return Err(bad(
            draft,
            asked,
            Cause::SchedulesFull { most: SCHEDULES_MAX },
            Hint::Unschedule,
        ));
    }
    let mut planned = checked(draft, asked, planned)?;
    planned.schedule.id = draft.record.next_schedule;
    draft.record.next_schedule = draft.record.next_schedule.next();
    draft.record.schedules.push(planned);
    Ok(())
}

pub(crate) fn remove(
    draft: &mut Draft<'_>,
    asked: &Request,
    id: ScheduleId,
) -> Result<(), Refusal> {
    let before = draft.record.schedules.len();
    draft.record.schedules.retain(|planned| planned.id() != id);
    if draft.record.schedules.len() == before {
        return Err(unknown(draft, asked, id));
    }
    Ok(())
}

pub(crate) fn replace(
    draft: &mut Draft<'_>,
    asked: &Request,
    id: ScheduleId,
    planned: &Planned,
) -> Result<(), Refusal> {
    let mut planned = checked(draft, asked, planned)?;
    planned.schedule.id = id;
    planned.schedule.fired = 0;
    match draft.record.schedules.iter_mut().find(|known| known.id() == id) {
        Some(known) => {
            *known = planned;
            Ok(())
        }
        None => Err(unknown(draft, asked, id)),
    }
}

fn unknown(draft: &Draft<'_>, asked: &Request, id: ScheduleId) -> Refusal {
    bad(draft, asked, Cause::NoSchedule { id }, Hint::ListSchedules)
}

/// Refuses the request of a scheduled action if this version of Ostler cannot tell when the action
/// is due. Another version of Ostler wrote such an action.
pub(crate) fn understood(draft: &Draft<'_>, asked: &Request) -> Result<(), Refusal> {
    let planned = asked
        .schedule
        .and_then(|id| draft.record.schedules.iter().find(|planned| planned.id() == id));
    match planned.map_or(Ok(()), |planned| planned.schedule.check()) {
        Ok(()) => Ok(()),
        Err(error) => Err(bad(draft, asked, Cause::UnreadSchedule { error }, Hint::Reschedule)),
    }
}

/// The request was accepted, or the VM is already so. If a scheduled action made the request, this
/// is one firing of that action.
pub(crate) fn begun(draft: &mut Draft<'_>, asked: &Request) {
    // A request of a person is no firing of a scheduled action.
    let (Some(id), Some(answer)) = (asked.schedule, draft.answer.clone()) else { return };
    let now = draft.now;
    let under_way = draft
        .record
        .operation
        .as_ref()
        .map(|active| active.id)
        .filter(|id| answer.operation == Some(*id));
    let operation = answer.operation.unwrap_or(asked.operation);
    // An action that was taken back meanwhile has nothing to write down.
    let Some(planned) = find(draft, id) else { return };
    planned.retry_at = None;
    planned.schedule.began(now, operation);
    if under_way.is_none() {
        planned.schedule.ended(now, operation, Ok(()));
    }
    let came = Came::Began { verb: asked.verb, operation: answer.operation };
    tell(draft, id, if under_way.is_some() { "begun" } else { "done" }, came);
}

/// An operation has ended. If a scheduled action began it, the outcome is written into that action.
pub(crate) fn ended(draft: &mut Draft<'_>, operation: OperationId, outcome: &Ended) {
    let now = draft.now;
    let result = match outcome {
        Ended::Succeeded => Ok(()),
        Ended::Failed { error } => Err(NotDone::Failed(error.clone())),
        Ended::Superseded { by } => Err(NotDone::Overtaken(*by)),
    };
    let why = result.clone().err();
    let found = draft.record.schedules.iter_mut().find_map(|planned| {
        planned.schedule.ended(now, operation, result.clone()).then(|| planned.id())
    });
    if let Some(id) = found {
        let outcome = if why.is_none() { "done" } else { "failed" };
        tell(draft, id, outcome, why.map_or(Came::Done(operation), Came::NotDone));
    }
}

/// A scheduled action was due, and its request was refused or came too late.
pub(crate) fn refused(draft: &mut Draft<'_>, id: ScheduleId, refusal: &Refusal) {
    let now = draft.now;
    // An action that was taken back meanwhile has nothing to write down.
    let Some(planned) = find(draft, id) else { return };
    match planned.schedule.due(now) {
        Some(Due::Fire { latest, .. }) if refusal.kind == RefusalKind::Busy => {
            let again = now.plus(ASK_AGAIN);
            // If the new time is after the last moment at which the action may begin, ask one
            // millisecond after that moment: the action then counts as missed.
            planned.retry_at =
                Some(latest.map_or(again, |latest| again.min(latest.plus(Millis(1)))));
        }
        Some(Due::Fire { .. }) => {
            planned.retry_at = None;
            let why = NotDone::Refused(refusal.clone());
            planned.schedule.refused(now, why.clone());
            tell(draft, id, "failed", why.into());
        }
        Some(Due::Missed { .. }) => {
            planned.retry_at = None;
            planned.schedule.missed(now);
            tell(draft, id, "missed", NotDone::Missed { planned: None, grace: None }.into());
        }
        None => {}
    }
}

/// The VM is done, so no action becomes due any more. The scheduled actions stay in the record, to
/// be read.
pub(crate) fn over(draft: &mut Draft<'_>) {
    for planned in &mut draft.record.schedules {
        planned.schedule.next = None;
        planned.retry_at = None;
    }
}

fn find<'a>(draft: &'a mut Draft<'_>, id: ScheduleId) -> Option<&'a mut Planned> {
    draft.record.schedules.iter_mut().find(|planned| planned.id() == id)
}

fn tell(draft: &mut Draft<'_>, id: ScheduleId, outcome: &str, detail: Came) {
    draft.events.push(EventKind::Scheduled { schedule: id.0, outcome: outcome.to_owned(), detail });
}
