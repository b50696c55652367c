//! Recovery: the operator states what happened to the step in hand, sends it again, or rolls the operation back.

use crate::draft::Draft;
use crate::recipe;
use crate::sight::{Sight, sight};
use crate::step;
use ostler_model::{Active, Failure, Goal, Phase, Refusal, RefusalKind, Request, State, Stated, Verb};

pub(crate) const fn is_recovery(verb: Verb) -> bool {
    matches!(verb, Verb::RecoverSuccess | Verb::RecoverFailure | Verb::RecoverRetry | Verb::RecoverUndo)
}

const fn statement(verb: Verb) -> Stated {
    match verb {
        Verb::RecoverSuccess => Stated::Success,
        Verb::RecoverFailure => Stated::Failure,
        Verb::RecoverUndo => Stated::Undo,
        Verb::RecoverRetry
        | Verb::Hold
        | Verb::Release
        | Verb::Deploy
        | Verb::Suspend
        | Verb::Stop
        | Verb::Resume
        | Verb::Poweroff
        | Verb::PoweroffHard
        | Verb::Undeploy
        | Verb::UndeployHard
        | Verb::Shutdown
        | Verb::ShutdownHard
        | Verb::Reboot
        | Verb::RebootHard
        | Verb::Delete
        | Verb::DeleteRecreate
        | Verb::Boot => Stated::Retry,
    }
}

pub(crate) fn request(draft: &mut Draft<'_>, asked: &Request) -> Result<(), Refusal> {
    let stated = statement(asked.verb);
    if let Some(active) = draft.record.operation.clone() {
        return in_flight(draft, asked, stated, &active);
    }
    match (draft.record.state, draft.record.failure.clone()) {
        (State::Failed, Some(failure)) => after_failure(draft, asked, stated, &failure),
        (_, _) => {
            let detail = format!("VM {} is {}: no step is in hand and none has failed", draft.record.id, draft.record.state);
            Err(draft.refuse(asked.verb, RefusalKind::NothingToRecover, detail, "`ostler vm why` says what can be done"))
        }
    }
}

fn in_flight(draft: &mut Draft<'_>, asked: &Request, stated: Stated, active: &Active) -> Result<(), Refusal> {
    let deletes = active.verb.strength() == ostler_model::Strength::Delete;
    if deletes && matches!(stated, Stated::Failure | Stated::Undo) {
        let detail = format!("VM {} is being deleted; a delete is not taken back", draft.record.id);
        return Err(draft.refuse(asked.verb, RefusalKind::Busy, detail, "recover --retry sends its step again"));
    }
    if stated == Stated::Success {
        contradicted(draft, asked, active.kind().map_or(Goal::Nothing, |kind| kind.goal()))?;
    }
    step::state(draft, stated);
    draft.accept(Some(active.id), None);
    Ok(())
}

fn after_failure(draft: &mut Draft<'_>, asked: &Request, stated: Stated, failure: &Failure) -> Result<(), Refusal> {
    let step = failure.plan.get(failure.at).copied();
    let (plan, at) = match stated {
        Stated::Failure => {
            draft.already(None);
            return Ok(());
        }
        Stated::Retry => (failure.plan.clone(), failure.at),
        Stated::Success => {
            contradicted(draft, asked, step.map_or(Goal::Nothing, |kind| kind.goal()))?;
            (failure.plan.clone(), failure.at)
        }
        Stated::Undo => (recipe::rollback(failure.plan.get(..=failure.at).unwrap_or(&failure.plan)), 0),
    };
    let active = Active {
        id: asked.operation,
        verb: failure.verb,
        origin: failure.origin,
        plan,
        at,
        step: draft.record.step,
        pending: Vec::new(),
        phase: Phase::Draining,
        attempt: 0,
        blind: 0,
        crashes: 0,
        sent: None,
        deadline: None,
        undoing: stated == Stated::Undo,
        stated: None,
        error: (stated == Stated::Undo).then(|| failure.error.clone()),
    };
    draft.occupy(active, &asked.by, asked.verb);
    match stated {
        Stated::Success => step::stated_done(draft),
        Stated::Retry | Stated::Undo | Stated::Failure => step::begin(draft),
    }
    draft.accept(Some(asked.operation), None);
    Ok(())
}

/// A statement that is contradicted by what is seen is refused, unless it is forced.
fn contradicted(draft: &Draft<'_>, asked: &Request, goal: Goal) -> Result<(), Refusal> {
    if asked.force || goal == Goal::Nothing {
        return Ok(());
    }
    let id = draft.record.id;
    let seen = match &draft.facts.look {
        Some(Ok(seen)) => sight(&draft.record, draft.facts.store, seen),
        Some(Err(error)) => {
            let detail = format!("VM {id}: its host could not be asked ({error}), so that the step succeeded cannot be checked");
            return Err(draft.refuse(asked.verb, RefusalKind::CannotAsk, detail, "--force takes your word for it"));
        }
        None => return Ok(()),
    };
    if seen.meets(goal) || matches!((goal, seen), (Goal::Paused, Sight::Running)) {
        return Ok(());
    }
    let detail = format!("VM {id}: the step must leave it {goal}, and it is {}", seen.words());
    Err(draft.refuse(asked.verb, RefusalKind::Contradicted, detail, "--force takes your word for it"))
}
