//! Carries out the deliberate faults of decisions and of sending. The engine that ships asks here
//! for each decision ([`ostler_engine::Decides`]) and for each call that it is about to send
//! ([`ostler_engine::Sends`]).

use super::{Dice, Fault, dice};
use ostler_engine::Sends;
use ostler_lifecycle::{Decision, Facts, Input, decide as rightly_decide};
use ostler_model::{
    Call, Effect, ErrorKind, NowCall, Observation, Outcome, Phase, Refusal, State, Timestamp,
    VmRecord,
};
use std::sync::Arc;

/// The decision under a fault.
pub(crate) fn decide(
    fault: Fault,
    record: &VmRecord,
    facts: &Facts,
    input: &Input,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    match (fault, input) {
        (Fault::AnyStep, Input::Observed { seen, there, .. }) => {
            let other =
                Input::Observed { step: record.step, seen: seen.clone(), there: there.clone() };
            rightly_decide(record, facts, &other, now)
        }
        (Fault::ObserveWhileBusy, Input::Observed { .. }) if record.operation.is_some() => {
            let mut idle = record.clone();
            (idle.operation, idle.state) = (None, State::Running);
            idle.open.clear();
            let mut made = rightly_decide(&idle, facts, input, now)?;
            made.record.operation.clone_from(&record.operation);
            made.record.open.clone_from(&record.open);
            Ok(made)
        }
        (Fault::SecondSlot, Input::Request(asked))
            if !asked.verb.is_recovery() && !asked.verb.is_record_only() =>
        {
            let mut idle = record.clone();
            if let Some(active) = idle.operation.take() {
                idle.state = active.origin;
            }
            rightly_decide(&idle, facts, input, now)
        }
        (Fault::LostIsDone, Input::Answered { key, sent, result: Err(error) })
            if error.kind == ErrorKind::Unknown =>
        {
            let other =
                Input::Answered { key: key.clone(), sent: *sent, result: Ok(Outcome::default()) };
            rightly_decide(record, facts, &other, now)
        }
        (_, _) => {
            let made = rightly_decide(record, facts, input, now)?;
            Ok(spoiled(fault, record, facts, now, made))
        }
    }
}

fn spoiled(
    fault: Fault,
    before: &VmRecord,
    facts: &Facts,
    now: Timestamp,
    mut made: Decision,
) -> Decision {
    match fault {
        Fault::NoClaims => made.claims.clear(),
        Fault::KeepOutbox => made.settled.clear(),
        Fault::ForgetLeftovers => made.record.leftovers.clear(),
        Fault::NoNewGeneration => old_generation(&mut made),
        Fault::ReuseMemory => {
            let begins =
                made.effects.iter().any(|effect| effect.call == Call::Now(NowCall::Unpause));
            if let (true, Some(file)) = (begins, &mut made.record.recovery) {
                file.consumed = false;
            }
        }
        Fault::NoDeadline => {
            if let Some(active) = &mut made.record.operation
                && matches!(active.phase, Phase::Backoff { .. })
            {
                active.phase = Phase::Calling;
            }
        }
        Fault::KeepPlace if made.record.state == State::Stopped => {
            made.record.placement.clone_from(&before.placement);
        }
        Fault::ForgetOther => {
            if let Some(moving) = &mut made.record.moving {
                moving.domain = false;
            }
        }
        Fault::NoRemove => return without_remove(facts, now, made),
        _ => {}
    }
    made
}

/// The domain gets the generation before the one that was issued for it.
fn old_generation(made: &mut Decision) {
    let starts = |effect: &&mut Effect| {
        matches!(effect.call, Call::Now(NowCall::Deploy) | Call::Now(NowCall::Restore))
            && effect.generation.0 > 1
    };
    for effect in made.effects.iter_mut().filter(starts) {
        effect.generation.0 -= 1;
    }
}

/// Changes the decision as if the domain had been seen absent before its removal was asked for.
fn without_remove(facts: &Facts, now: Timestamp, made: Decision) -> Decision {
    let Some(effect) = made.effects.iter().find(|effect| effect.call == Call::Now(NowCall::Remove))
    else {
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

/// Spoils calls that are about to be sent. None under a fault that leaves them alone.
pub(crate) fn sends(fault: Fault, chance: &Dice) -> Option<Sends> {
    let chance = Arc::clone(chance);
    match fault {
        Fault::LoseCall => Some(Arc::new(move |effect: &Effect| {
            let is_lost = dice(&chance).permille(20);
            (!is_lost).then(|| effect.clone())
        })),
        Fault::NewEdgeIdentity => Some(Arc::new(|effect: &Effect| {
            let mut other = effect.clone();
            if other.attempt > 1 {
                other.key.step.0 += 1_000_000 * u64::from(other.attempt);
            }
            Some(other)
        })),
        _ => None,
    }
}
