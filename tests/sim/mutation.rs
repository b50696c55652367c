//! Deliberate faults: mistakes that the engine or the decider could make, made in the simulated
//! shell. The fixed seeds must find each of them. Otherwise a run without a finding would prove
//! nothing.

use ostler_lifecycle::{Decision, Facts, Input, Look, decide as rightly_decide};
use ostler_model::{
    Call, Effect, ErrorKind, Observation, Outcome, Phase, Refusal, State, Timestamp, VmRecord,
};
use strum::{Display, EnumIter};

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Display, EnumIter)]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum Mutation {
    /// No fault: the engine as it is.
    None,
    /// A request is answered before its commit is durable.
    AnswerFirst,
    /// A call is sent before its commit is durable.
    SendFirst,
    /// The outbox keeps calls that have ended.
    KeepOutbox,
    /// One call in many is written down and never sent.
    LoseCall,
    /// The step counter of an observation is not compared.
    AnyStep,
    /// An observation counts while an operation is in hand.
    ObserveWhileBusy,
    /// Nothing is claimed, so the VMs on a host may hold more than it has.
    NoClaims,
    /// After a crash nobody goes on with open calls.
    NoRestarted,
    /// After a crash no timer is set.
    TimersLost,
    /// A call that may have been sent is sent again under another identity.
    NewEdgeIdentity,
    /// A leftover is not written down.
    ForgetLeftovers,
    /// Any domain of ours is taken for a leftover, whatever its generation.
    AnyZombie,
    /// A host that could not be asked counts as a host that has nothing.
    SilenceIsAbsence,
    /// A domain at a new place is stamped with the old generation.
    NoNewGeneration,
    /// Memory that was restored does not count as used.
    ReuseMemory,
    /// A request is accepted beside an operation.
    SecondSlot,
    /// An answer counts for any open call.
    AnyOperation,
    /// Files are removed before the domain is absent.
    NoRemove,
    /// A call is sent while a dropped one may be at work.
    ForgetHaunted,
    /// A wait has no end.
    NoDeadline,
    /// A VM that has left its host keeps its capacity.
    KeepPlace,
    /// An answer that was lost counts as *done*.
    LostIsDone,
    /// A migration forgets that its guest may be at the other host.
    ForgetOther,
    /// A backup is restored as if nothing had happened since it was made.
    NoRestoreMark,
}

/// Carries out the fault that takes silence for absence.
pub(crate) fn absent(look: Look) -> Look {
    look.or(Ok(Observation::Absent))
}

/// Decides with the fault. `rightly` decides without it.
pub(crate) fn decide(
    mutation: Mutation,
    record: &VmRecord,
    facts: &Facts,
    input: &Input,
    now: Timestamp,
    rightly: impl Fn() -> Result<Decision, Refusal>,
) -> Result<Decision, Refusal> {
    match (mutation, input) {
        (Mutation::AnyStep, Input::Observed { seen, there, .. }) => {
            let other =
                Input::Observed { step: record.step, seen: seen.clone(), there: there.clone() };
            rightly_decide(record, facts, &other, now)
        }
        (Mutation::ObserveWhileBusy, Input::Observed { .. }) if record.operation.is_some() => {
            let mut idle = record.clone();
            (idle.operation, idle.state) = (None, State::Running);
            idle.open.clear();
            let mut made = rightly_decide(&idle, facts, input, now)?;
            made.record.operation.clone_from(&record.operation);
            made.record.open.clone_from(&record.open);
            Ok(made)
        }
        (Mutation::SecondSlot, Input::Request(asked))
            if !asked.verb.is_recovery() && !asked.verb.is_record_only() =>
        {
            let mut idle = record.clone();
            if let Some(active) = idle.operation.take() {
                idle.state = active.origin;
            }
            rightly_decide(&idle, facts, input, now)
        }
        (Mutation::AnyOperation, Input::Answered { key, sent, result })
            if !record.open.iter().any(|open| open.key == *key) =>
        {
            let Some(open) = record.open.first() else { return rightly() };
            let other =
                Input::Answered { key: open.key.clone(), sent: *sent, result: result.clone() };
            rightly_decide(record, facts, &other, now)
        }
        (Mutation::LostIsDone, Input::Answered { key, sent, result: Err(error) })
            if error.kind == ErrorKind::Unknown =>
        {
            let other =
                Input::Answered { key: key.clone(), sent: *sent, result: Ok(Outcome::default()) };
            rightly_decide(record, facts, &other, now)
        }
        (_, _) => {
            let made = rightly()?;
            Ok(perturbed(mutation, record, facts, now, made))
        }
    }
}

fn perturbed(
    mutation: Mutation,
    before: &VmRecord,
    facts: &Facts,
    now: Timestamp,
    mut made: Decision,
) -> Decision {
    match mutation {
        Mutation::NoClaims => made.claims.clear(),
        Mutation::ForgetLeftovers => made.record.leftovers.clear(),
        Mutation::NoNewGeneration => old_generation(&mut made),
        Mutation::ReuseMemory => {
            let begins = made.effects.iter().any(|effect| effect.call == Call::Unpause);
            if let (true, Some(file)) = (begins, &mut made.record.recovery) {
                file.consumed = false;
            }
        }
        Mutation::NoDeadline => {
            if let Some(active) = &mut made.record.operation
                && matches!(active.phase, Phase::Backoff { .. })
            {
                active.phase = Phase::Calling;
            }
        }
        Mutation::KeepPlace if made.record.state == State::Stopped => {
            made.record.placement.clone_from(&before.placement)
        }
        Mutation::ForgetOther => made.record.other_domain = false,
        Mutation::NoRemove => return without_remove(facts, now, made),
        _ => {}
    }
    made
}

/// The domain gets the generation before the one that was issued for it.
fn old_generation(made: &mut Decision) {
    let starts = |effect: &&mut Effect| {
        matches!(effect.call, Call::Deploy | Call::Restore) && effect.generation.0 > 1
    };
    for effect in made.effects.iter_mut().filter(starts) {
        effect.generation.0 -= 1;
    }
}

/// Changes the decision as if the domain had been seen absent before its removal was asked for.
fn without_remove(facts: &Facts, now: Timestamp, made: Decision) -> Decision {
    let Some(effect) = made.effects.iter().find(|effect| effect.call == Call::Remove) else {
        return made;
    };
    let (key, version) = (effect.key.clone(), made.record.version);
    let result = Ok(Outcome { seen: Some(Observation::Absent), state: None });
    let input = Input::Answered { key: key.clone(), sent: Some(now), result };
    let Ok(mut next) = rightly_decide(&made.record, facts, &input, now) else { return made };
    next.record.version = version;
    next.answer = made.answer.map(|mut answer| {
        answer.state = next.record.state;
        answer
    });
    next.settled.retain(|settled| *settled != key);
    next.settled.extend(made.settled);
    next.cancels.extend(made.cancels);
    next.claims.extend(made.claims);
    next.journal.splice(0..0, made.journal);
    next
}

/// The part of a decision that the store gets.
pub(crate) fn written(mutation: Mutation, mut made: Decision) -> Decision {
    if mutation == Mutation::KeepOutbox {
        made.settled.clear();
    }
    made
}
