//! The slot of a VM: begins an operation and ends it, in the record, in the journal and in the
//! feed.
//!
//! While a decision works on an operation, the operation is not in the record ([`Draft::work`]).
//! The functions that need it get it as an argument, and return it if it goes on. [`end`] does not
//! return it, so nothing can be done with an operation that ended.

use crate::draft::Draft;
use crate::recipe::Plan;
use crate::{schedules, subject};
use ostler_model::{
    Active, Destroyed, Ended, EventKind, Journal, OperationId, Phase, Request, State, StepNo,
    Subject, Verb,
};

/// An operation whose first step has not begun.
pub(crate) fn fresh(
    asked: &Request,
    origin: State,
    plan: Plan,
    subject: Subject,
    step: StepNo,
) -> Active {
    Active {
        id: asked.operation,
        verb: asked.verb,
        origin,
        subject,
        plan,
        at: 0,
        step,
        pending: Vec::new(),
        phase: Phase::Draining,
        attempt: 0,
        blind: 0,
        crashes: 0,
        sent: None,
        deadline: None,
        undoing: false,
        stated: None,
        acted: false,
        cut: false,
        error: None,
    }
}

/// Writes down that an operation begins. The caller begins its plan, and puts it into the record.
pub(crate) fn begin(
    draft: &mut Draft<'_>,
    active: &Active,
    by: &str,
    verb: Verb,
    destroys: Vec<Destroyed>,
) {
    draft.journal.push(Journal::Began {
        operation: active.id,
        verb,
        by: by.to_owned(),
        at: draft.now,
    });
    draft.events.push(EventKind::OperationBegan {
        operation: active.id,
        verb,
        by: by.to_owned(),
        destroys,
    });
    draft.record.failure = None;
}

/// Writes down an operation that begins and ends in this decision. It needs no slot: another
/// operation may hold the slot meanwhile.
pub(crate) fn instant(draft: &mut Draft<'_>, asked: &Request) {
    let (operation, verb, by) = (asked.operation, asked.verb, asked.by.clone());
    draft.journal.push(Journal::Began { operation, verb, by: by.clone(), at: draft.now });
    draft.events.push(EventKind::OperationBegan { operation, verb, by, destroys: Vec::new() });
    told(draft, operation, Ended::Succeeded);
}

/// Ends an operation.
pub(crate) fn end(draft: &mut Draft<'_>, active: Active, outcome: Ended) {
    let succeeded = outcome == Ended::Succeeded;
    told(draft, active.id, outcome);
    // A recovery that has rolled an attach back counts as succeeded. But the disk or card is gone,
    // so it must leave the record too.
    let unplugged = active.undoing && matches!(active.verb, Verb::DiskAttach | Verb::NicAttach);
    if !succeeded || unplugged {
        subject::take_back(draft, active);
    }
    // A look that began before the operation ended says nothing about the time after it. The new
    // step number makes it void.
    draft.record.step = draft.record.step.next();
}

/// Writes down the outcome of an operation.
fn told(draft: &mut Draft<'_>, operation: OperationId, outcome: Ended) {
    let (word, error) = match &outcome {
        Ended::Succeeded => ("succeeded", None),
        Ended::Failed { error } => ("failed", Some(error.clone())),
        Ended::Superseded { .. } => ("superseded", None),
    };
    schedules::ended(draft, operation, &outcome);
    draft.events.push(EventKind::OperationEnded { operation, outcome: word.to_owned(), error });
    draft.journal.push(Journal::Ended { operation, outcome, at: draft.now });
}
