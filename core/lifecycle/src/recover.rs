//! Recovery: the operator states what happened to the step in hand, sends it again, or rolls the operation back.

use crate::draft::Draft;
use crate::recipe::{self, Plan};
use crate::sight::sight;
use crate::step;
use ostler_model::{Active, Failure, Goal, Phase, Refusal, RefusalKind, Request, State, Stated, StepKind, Verb};

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
    let stated = match stated {
        Stated::Success => {
            contradicted(draft, asked, active.kind())?;
            if asked.force { Stated::SuccessForced } else { Stated::Success }
        }
        // It is being rolled back already.
        Stated::Undo if active.undoing => Stated::Retry,
        Stated::Undo => {
            way_back(draft, asked, &active.plan, active.at)?;
            Stated::Undo
        }
        Stated::SuccessForced | Stated::Failure | Stated::Retry => stated,
    };
    step::state(draft, stated);
    draft.accept(Some(active.id), None);
    Ok(())
}

fn after_failure(draft: &mut Draft<'_>, asked: &Request, stated: Stated, failure: &Failure) -> Result<(), Refusal> {
    let step = failure.plan.get(failure.at).copied();
    let as_it_was = (failure.plan.clone(), failure.at, failure.undoing);
    let (plan, at, undoing) = match stated {
        Stated::Failure => {
            draft.already(None);
            return Ok(());
        }
        Stated::Retry => absent_first(as_it_was, 0),
        Stated::Success | Stated::SuccessForced => {
            contradicted(draft, asked, step)?;
            absent_first(as_it_was, 1)
        }
        // What failed was the rollback: it goes on.
        Stated::Undo if failure.undoing => as_it_was,
        Stated::Undo => (way_back(draft, asked, &failure.plan, failure.at)?, 0, true),
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
        undoing,
        stated: None,
        error: None,
    };
    draft.occupy(active, &asked.by, asked.verb);
    match stated {
        Stated::Success | Stated::SuccessForced => step::stated_done(draft),
        Stated::Retry | Stated::Undo | Stated::Failure => step::begin(draft),
    }
    draft.accept(Some(asked.operation), None);
    Ok(())
}

/// The plan that takes back what was done, if it can be taken back.
fn way_back(draft: &Draft<'_>, asked: &Request, plan: &[StepKind], at: usize) -> Result<Plan, Refusal> {
    recipe::rollback(plan.get(..=at).unwrap_or(plan)).ok_or_else(|| {
        let detail =
            format!("VM {}: its files are being removed and there is no other copy; that cannot be taken back", draft.record.id);
        draft.refuse(asked.verb, RefusalKind::Contradicted, detail, "recover --retry goes on, delete goes on and never gives up")
    })
}

/// Between the failure and its recovery days may pass, and somebody may have started the domain: before files of the host are
/// touched again, a fresh *absent* is made sure of, as at the beginning of every epilog. `ahead` is how many steps on that is.
fn absent_first((mut plan, at, undoing): (Plan, usize, bool), ahead: usize) -> (Plan, usize, bool) {
    if matches!(plan.get(at + ahead), Some(StepKind::CopyOut | StepKind::DropHost)) {
        plan.insert(at + ahead, StepKind::Remove);
    }
    (plan, at, undoing)
}

/// A statement that is contradicted by what is seen is refused, unless it is forced. So is one that nothing can check and that
/// would cost the only copy of a disk if it were wrong: after a copy, the source is removed.
fn contradicted(draft: &Draft<'_>, asked: &Request, step: Option<StepKind>) -> Result<(), Refusal> {
    if asked.force {
        return Ok(());
    }
    let id = draft.record.id;
    if let Some(copy @ (StepKind::CopyIn | StepKind::CopyOut)) = step {
        let detail = format!("VM {id}: that {copy} succeeded cannot be checked, and what it copied from is removed next");
        let hint = "recover --retry copies again and verifies; --force takes your word for it";
        return Err(draft.refuse(asked.verb, RefusalKind::Contradicted, detail, hint));
    }
    let goal = step.map_or(Goal::Nothing, StepKind::goal);
    if goal == Goal::Nothing {
        return Ok(());
    }
    let seen = match &draft.facts.look {
        Some(Ok(seen)) => sight(&draft.record, draft.facts.store, seen),
        Some(Err(error)) => {
            let detail = format!("VM {id}: its host could not be asked ({error}), so that the step succeeded cannot be checked");
            return Err(draft.refuse(asked.verb, RefusalKind::CannotAsk, detail, "--force takes your word for it"));
        }
        None => {
            let detail = format!("VM {id}: nobody looked at its host, so that the step succeeded cannot be checked");
            return Err(draft.refuse(asked.verb, RefusalKind::CannotAsk, detail, "ask again, or --force takes your word for it"));
        }
    };
    if seen.meets(goal) {
        return Ok(());
    }
    let detail = format!("VM {id}: the step must leave it {goal}, and it is {}", seen.words());
    Err(draft.refuse(asked.verb, RefusalKind::Contradicted, detail, "--force takes your word for it"))
}
