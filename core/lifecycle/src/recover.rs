//! Recovery: the operator states what happened to the current step, sends it again, or rolls the
//! operation back.

use crate::domain_status::{DomainStatus, status};
use crate::draft::{Draft, Next};
use crate::recipe::{self, Plan};
use crate::slot::fresh;
use crate::{destroys, slot, step};
use ostler_model::{
    Active, Cause, Destroyed, Failure, Goal, Hint, Refusal, RefusalKind, Request, Side, State,
    Stated, StepKind, Strength, Verb,
};

/// What the operator states with each recovery verb.
const STATEMENTS: [(Verb, Stated); 4] = [
    (Verb::RecoverSuccess, Stated::Success),
    (Verb::RecoverFailure, Stated::Failure),
    (Verb::RecoverRetry, Stated::Retry),
    (Verb::RecoverUndo, Stated::Undo),
];

/// The statement that `verb` makes. None if it is no recovery.
pub(crate) fn statement(verb: Verb) -> Option<Stated> {
    STATEMENTS.iter().find(|(recovery, _)| *recovery == verb).map(|(_, stated)| *stated)
}

pub(crate) fn request(
    draft: &mut Draft<'_>,
    asked: &Request,
    stated: Stated,
) -> Result<(), Refusal> {
    if let Some(active) = draft.record.operation.take() {
        draft.record.operation = in_flight(draft, asked, stated, active)?;
        return Ok(());
    }
    match (draft.record.state, draft.record.failure.clone()) {
        (State::Failed, Some(failure)) => after_failure(draft, asked, stated, &failure),
        (State::Unknown, _) if draft.record.moving.is_some() => apart(draft, asked, stated),
        (_, _) => {
            let cause = Cause::NothingFailed { state: draft.record.state };
            Err(draft.refuse(asked.verb, RefusalKind::NothingToRecover, cause, Hint::SeeWhy))
        }
    }
}

/// A live migration ended with an unknown outcome, and one of its hosts may never be seen again.
/// The operator states whether the guest has arrived. The placement without the guest is swept, and
/// the monitor goes by the other one.
fn apart(draft: &mut Draft<'_>, asked: &Request, stated: Stated) -> Result<(), Refusal> {
    let arrived = match stated {
        Stated::Success | Stated::SuccessForced => true,
        Stated::Failure => false,
        Stated::Retry | Stated::Undo => {
            let kind = RefusalKind::NothingToRecover;
            return Err(draft.refuse(
                asked.verb,
                kind,
                Cause::NoStepOfMigration,
                Hint::StateArrival,
            ));
        }
    };
    let seen = match &draft.facts.look {
        Some(Ok(seen)) => Some(status(&draft.record, draft.facts.store, seen)),
        Some(Err(_)) | None => None,
    };
    let plain = match seen {
        Some(seen) if arrived => matches!(seen, DomainStatus::Absent | DomainStatus::Off(_)),
        Some(seen) => seen.lives(),
        None => false,
    };
    if !plain && !asked.force {
        let cause = Cause::ArrivalUnseen { seen: seen.map(DomainStatus::shown) };
        return Err(draft.refuse(asked.verb, RefusalKind::Contradicted, cause, Hint::ForceArrival));
    }
    if arrived {
        draft.switch(Verb::MigrateLive, true, false);
    }
    if let Some(there) = &mut draft.record.moving {
        there.domain = true;
    }
    draft.part_from_other();
    // A look that began before says nothing about the new placement.
    draft.record.step = draft.record.step.next();
    slot::instant(draft, asked);
    draft.accept(Some(asked.operation), None);
    Ok(())
}

fn in_flight(
    draft: &mut Draft<'_>,
    asked: &Request,
    stated: Stated,
    active: Active,
) -> Result<Next, Refusal> {
    if matches!(stated, Stated::Failure | Stated::Undo) {
        not_a_delete(draft, asked, active.verb, RefusalKind::Busy)?;
    }
    let mut destroys = Vec::new();
    let stated = match stated {
        Stated::Success => {
            contradicted(draft, asked, active.kind())?;
            if asked.force { Stated::SuccessForced } else { Stated::Success }
        }
        // The rollback is already under way: send its current step again.
        Stated::Undo if active.undoing => Stated::Retry,
        Stated::Undo => {
            destroys = destroys::taken_back(
                &draft.record,
                &way_back(draft, asked, &active)?,
                &active.subject,
            );
            Stated::Undo
        }
        Stated::SuccessForced | Stated::Failure | Stated::Retry => stated,
    };
    let operation = active.id;
    let next = step::state(draft, active, stated);
    draft.accept(Some(operation), None);
    draft.destroys(destroys);
    Ok(next)
}

/// A delete can only go on, because its disks may be gone already. (A delete that has failed was
/// cut by a restore of the store.)
fn not_a_delete(
    draft: &Draft<'_>,
    asked: &Request,
    verb: Verb,
    kind: RefusalKind,
) -> Result<(), Refusal> {
    if verb.strength() < Strength::Delete {
        return Ok(());
    }
    Err(draft.refuse(asked.verb, kind, Cause::BeingDeleted, Hint::RecoverRetry))
}

fn after_failure(
    draft: &mut Draft<'_>,
    asked: &Request,
    stated: Stated,
    failure: &Failure,
) -> Result<(), Refusal> {
    let step = failure.plan.get(failure.at).copied();
    let mut active = fresh(
        asked,
        failure.origin,
        failure.plan.clone(),
        failure.subject.clone(),
        draft.record.step,
    );
    active.verb = failure.verb;
    active.at = failure.at;
    active.undoing = failure.undoing;
    active.acted = true;
    active.cut = failure.cut;
    match stated {
        Stated::Failure => {
            draft.already(None);
            return Ok(());
        }
        Stated::Retry => absent_first(&mut active, 0),
        Stated::Success | Stated::SuccessForced => {
            contradicted(draft, asked, step)?;
            absent_first(&mut active, 1);
        }
        // The rollback itself has failed: it goes on.
        Stated::Undo if failure.undoing => {}
        Stated::Undo => {
            not_a_delete(draft, asked, failure.verb, RefusalKind::Contradicted)?;
            active.plan = way_back(draft, asked, &active)?;
            active.at = 0;
            active.undoing = true;
        }
    }
    let destroys = if active.undoing {
        destroys::taken_back(&draft.record, &active.plan, &active.subject)
    } else {
        destroys::told(draft, active.verb, &active.subject)
    };
    slot::begin(draft, &active, &asked.by, asked.verb, destroys.clone());
    draft.record.operation = match stated {
        Stated::Success | Stated::SuccessForced => step::stated_done(draft, active),
        Stated::Retry | Stated::Undo | Stated::Failure => step::begin(draft, active),
    };
    draft.accept(Some(asked.operation), None);
    draft.destroys(destroys);
    Ok(())
}

/// Carries on an operation that failed when it restored the guest's memory, or in a step before
/// that. It goes on without the memory: the guest starts from its disks.
pub(crate) fn without_memory(draft: &mut Draft<'_>, asked: &Request) -> Result<(), Refusal> {
    let restores = |failure: &Failure| {
        failure.plan.iter().skip(failure.at).position(|step| *step == StepKind::Restore)
    };
    let found = draft
        .record
        .failure
        .clone()
        .and_then(|failure| Some((restores(&failure)? + failure.at, failure)));
    let Some((at, failure)) = found.filter(|_| draft.record.recovery.is_some()) else {
        return Err(draft.refuse(
            asked.verb,
            RefusalKind::WrongState,
            Cause::FailedOtherwise,
            Hint::SeeWhy,
        ));
    };
    let mut plan = failure.plan[..at].to_vec();
    // The memory file is not removed here: a file that cannot be removed must not keep the guest
    // from starting. It is swept once the guest runs.
    plan.push(StepKind::Boot);
    let restored = [StepKind::Restore, StepKind::Unpause, StepKind::DropRecovery];
    plan.extend(failure.plan[at..].iter().filter(|step| !restored.contains(step)));
    let mut active = fresh(asked, failure.origin, plan, failure.subject, draft.record.step);
    active.verb = failure.verb;
    active.at = failure.at;
    active.undoing = failure.undoing;
    active.acted = true;
    active.cut = failure.cut;
    absent_first(&mut active, 0);
    // A memory file that counts as used is not copied any more either.
    draft.consume_recovery();
    let destroys = vec![Destroyed::Memory];
    slot::begin(draft, &active, &asked.by, asked.verb, destroys.clone());
    draft.record.operation = step::begin(draft, active);
    draft.accept(Some(asked.operation), None);
    draft.destroys(destroys);
    Ok(())
}

/// The rollback of `active`, or the refusal if there is no way back.
fn way_back(draft: &Draft<'_>, asked: &Request, active: &Active) -> Result<Plan, Refusal> {
    recipe::rollback(&draft.record, active).ok_or_else(|| {
        let cause = Cause::NoWayBack { restored: active.cut };
        draft.refuse(asked.verb, RefusalKind::Contradicted, cause, Hint::RetryOrDelete)
    })
}

/// Makes sure that the domain is absent before files of the host are touched again, as at the
/// beginning of every epilog. Days may have passed between the failure and its recovery, and
/// somebody may have started the domain. `ahead`: 0 for the current step, 1 for the next one.
fn absent_first(active: &mut Active, ahead: usize) {
    let at = active.at + ahead;
    if matches!(
        active.plan.get(at),
        Some(StepKind::CopyOut | StepKind::DropHost | StepKind::CopyAcross | StepKind::SaveBack)
    ) {
        active.plan.insert(at, StepKind::Remove);
    }
}

/// Steps whose result no look at the domain shows, and after which data is removed or an address
/// becomes free for another VM.
pub(crate) const fn cannot_be_checked(step: StepKind) -> bool {
    matches!(
        step,
        StepKind::CopyIn
            | StepKind::CopyOut
            | StepKind::CopyAcross
            | StepKind::SaveBack
            | StepKind::CopyDisk
            | StepKind::DetachDisk
            | StepKind::DetachNic
    )
}

/// Refuses a statement that a look contradicts, unless it is forced. Also refuses a statement that
/// nothing can check and that would cost the only copy of a disk if it were wrong: after a copy,
/// the source is removed.
fn contradicted(draft: &Draft<'_>, asked: &Request, step: Option<StepKind>) -> Result<(), Refusal> {
    if asked.force {
        return Ok(());
    }
    if let Some(step) = step.filter(|step| cannot_be_checked(*step)) {
        let cause = Cause::Uncheckable { step };
        return Err(draft.refuse(asked.verb, RefusalKind::Contradicted, cause, Hint::RetryOrForce));
    }
    let goal = step.map_or(Goal::Nothing, StepKind::goal);
    if goal == Goal::Nothing {
        return Ok(());
    }
    if step.is_some_and(|step| step.looked_at() == Side::Other) {
        return Err(draft.refuse(
            asked.verb,
            RefusalKind::CannotAsk,
            Cause::OtherHostUnseen,
            Hint::RetryOrForce,
        ));
    }
    let seen = match &draft.facts.look {
        Some(Ok(seen)) => status(&draft.record, draft.facts.store, seen),
        Some(Err(error)) => {
            let cause = Cause::SuccessUnseen { error: Some(error.clone()) };
            return Err(draft.refuse(
                asked.verb,
                RefusalKind::CannotAsk,
                cause,
                Hint::ForceRecover,
            ));
        }
        None => {
            let cause = Cause::SuccessUnseen { error: None };
            return Err(draft.refuse(
                asked.verb,
                RefusalKind::CannotAsk,
                cause,
                Hint::AskAgainOrForce,
            ));
        }
    };
    if seen.meets(goal) {
        return Ok(());
    }
    let cause = Cause::GoalUnseen { goal, seen: seen.shown() };
    Err(draft.refuse(asked.verb, RefusalKind::Contradicted, cause, Hint::ForceRecover))
}
