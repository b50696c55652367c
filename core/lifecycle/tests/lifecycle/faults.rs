//! Deliberate faults: mistakes that `decide` could make, made in its decisions. With each of them
//! the invariants must fail.

use crate::rig::{Fault, Rig};
use ostler_lifecycle::{Decision, Facts, Input};
use ostler_model::{
    CallResult, EffectClass, ErrorKind, ImageChange, ImageState, Outcome, Phase, Refusal, State,
    StepKind, VmRecord,
};

/// Decides, with the rig's fault.
pub(crate) fn decide(
    rig: &Rig,
    input: &Input,
    facts: &Facts,
    rightly: impl Fn() -> Result<Decision, Refusal>,
) -> Result<Decision, Refusal> {
    if rig.fault == Fault::RestWithoutLook
        && let Some(other) = as_if_it_went_well(input, &rig.record)
    {
        return ostler_lifecycle::decide(&rig.record, facts, &other, rig.now);
    }
    if let (Fault::DecideByOneHost, Input::Observed { step, seen, there: Some(_) }) =
        (rig.fault, input)
    {
        // Whoever looked at one host takes the other for empty.
        let other = Input::Observed {
            step: *step,
            seen: seen.clone(),
            there: Some(ostler_model::Observation::Absent),
        };
        return ostler_lifecycle::decide(&rig.record, facts, &other, rig.now);
    }
    let mut made = rightly()?;
    perturb(rig, input, &mut made);
    Ok(made)
}

fn perturb(rig: &Rig, input: &Input, made: &mut Decision) {
    match rig.fault {
        Fault::None | Fault::RestWithoutLook | Fault::DecideByOneHost => {}
        Fault::SameGeneration
        | Fault::GoBackToOldDisks
        | Fault::UndoWithoutRemoveOther
        | Fault::SwitchWithoutRemove
        | Fault::ForgetLeftover
        | Fault::KeepLostSnapshot
        | Fault::KeepImageLocked
        | Fault::KeepAttached
        | Fault::StayDue => perturb_the_rest(rig, input, made),
        Fault::DropEffect => {
            if made.effects.iter().any(|effect| effect.attempt > 1) {
                made.effects.clear();
            }
        }
        Fault::ForgetSettled => {
            if made.settled.len() > 1 || made.record.operation.is_none() {
                made.settled.clear();
            }
        }
        Fault::NewEdgeIdentity => new_edge_identity(rig, made),
        Fault::ConsumeLate => {
            let begins = made.effects.iter().any(|effect| {
                effect.call == ostler_model::Call::Now(ostler_model::NowCall::Unpause)
            });
            if let (true, Some(file)) = (begins, &mut made.record.recovery) {
                file.consumed = false;
            }
        }
        Fault::Stuck => {
            if let Some(active) = &mut made.record.operation
                && matches!(active.phase, Phase::Backoff { .. })
            {
                active.phase = Phase::Calling;
            }
        }
        Fault::EarlyDone => early_done(made),
        Fault::KeepCapacity => {
            if made.record.placement.is_none() && made.record.state == State::Stopped {
                made.record.placement.clone_from(&rig.record.placement);
            }
        }
        Fault::RestWithOpenCalls => {
            let answered = matches!(input, Input::Answered { .. });
            if answered && !made.record.open.is_empty() && made.effects.is_empty() {
                made.record.operation = None;
                made.record.state = State::Poweroff;
                made.changed = true;
                made.record.version = rig.record.version.next();
            }
        }
        Fault::ForgetUndoing => {
            if let Some(failure) = &mut made.record.failure {
                failure.undoing = false;
            }
        }
        Fault::SameVersion => {
            if made.record.operation == rig.record.operation {
                made.record.version = rig.record.version;
            } else if made.effects.is_empty() {
                made.record.version = made.record.version.next();
            }
        }
    }
}

fn early_done(made: &mut Decision) {
    let cleans = made.record.operation.as_ref().is_some_and(|active| {
        active.kind() == Some(StepKind::DropHost)
            && active.verb == ostler_model::Verb::Delete
            && made.effects.len() == 1
    });
    if cleans {
        made.effects.clear();
        made.record.open.clear();
        made.record.operation = None;
        made.record.placement = None;
        made.record.state = State::Done;
    }
}

/// As [`perturb`], of all that is not the plain way from pending to done.
fn perturb_the_rest(rig: &Rig, input: &Input, made: &mut Decision) {
    match rig.fault {
        Fault::GoBackToOldDisks => {
            // It has moved, and where it came from is taken for where it is.
            let back = matches!(input, Input::Observed { .. })
                && made.record.placement != rig.record.placement;
            if let (true, Some(before)) = (back, &rig.record.placement) {
                made.record.placement = Some(before.clone());
                made.record.files = rig.record.files;
                made.record.leftovers.clear();
            }
        }
        Fault::SameGeneration => {
            if let (Some(place), Some(moving)) = (&made.record.placement, &mut made.record.moving) {
                moving.place.generation = place.generation;
            }
        }
        Fault::UndoWithoutRemoveOther => {
            let begins = rig.record.operation.as_ref().is_some_and(|active| !active.undoing);
            if let (true, Some(active)) = (begins, &mut made.record.operation)
                && active.undoing
                && active.kind() == Some(StepKind::RemoveOther)
            {
                // As if it had been seen empty there.
                active.plan.remove(0);
                take_the_calls_back(made);
                if let Some(moving) = &mut made.record.moving {
                    moving.domain = false;
                }
                redo(rig, made);
            }
        }
        Fault::SwitchWithoutRemove => {
            if let Some(active) = &mut made.record.operation
                && active.verb.is_migration()
                && active.plan.get(1) == Some(&StepKind::Remove)
                && rig.record.operation.is_none()
            {
                active.plan.remove(1);
            }
        }
        Fault::ForgetLeftover => made.record.leftovers.clear(),
        Fault::KeepLostSnapshot => {
            for snapshot in &mut made.record.snapshots {
                snapshot.losing = false;
            }
        }
        Fault::KeepImageLocked => made
            .images
            .retain(|change| !matches!(change, ImageChange::Set { state: ImageState::Error, .. })),
        Fault::KeepAttached => {
            let ended = made.record.operation.is_none();
            if ended
                && made.record.disks.len() < rig.record.disks.len()
                && made.record.state == State::Running
            {
                made.record.disks.clone_from(&rig.record.disks);
            }
        }
        Fault::StayDue => {
            if matches!(input, Input::ScheduleRefused { .. }) {
                made.record.schedules.clone_from(&rig.record.schedules);
            }
        }
        _ => {}
    }
}

/// What was sent by a decision is not sent after all.
fn take_the_calls_back(made: &mut Decision) {
    let sent: Vec<_> = made.effects.drain(..).map(|effect| effect.key).collect();
    made.record.open.retain(|open| !sent.contains(&open.key));
}

/// Goes on with the plan as it is now.
fn redo(rig: &Rig, made: &mut Decision) {
    let (settled, journal, images) =
        (made.settled.clone(), made.journal.clone(), made.images.clone());
    let facts = Facts::bare(crate::rig::STORE);
    if let Ok(next) = ostler_lifecycle::decide(&made.record, &facts, &Input::Restarted, rig.now) {
        *made = Decision { settled, journal, images, ..next };
        made.record.version = rig.record.version.next();
        made.changed = true;
    }
}

fn as_if_it_went_well(input: &Input, record: &VmRecord) -> Option<Input> {
    let Input::Answered { key, sent, result: Err(error) } = input else { return None };
    if error.kind != ErrorKind::Unknown
        || record.operation.as_ref()?.kind()?.call().class() != EffectClass::Level
    {
        return None;
    }
    let result: CallResult = Ok(Outcome { seen: Some(wished(record)?), state: None });
    Some(Input::Answered { key: key.clone(), sent: *sent, result })
}

fn wished(record: &VmRecord) -> Option<ostler_model::Observation> {
    use ostler_model::{DomainSeen, Goal, Identity, Observation, Power, PowerReason};
    let power = match record.operation.as_ref()?.kind()?.goal() {
        Goal::Nothing | Goal::Absent => return Some(Observation::Absent),
        Goal::Running => Power::Running,
        Goal::Paused => Power::Paused,
        Goal::Off => Power::Off,
    };
    let generation = record.placement.as_ref()?.generation;
    let identity = Some(Identity { store: crate::rig::STORE, vm: record.uuid, generation });
    let name = "wish".to_owned();
    Some(Observation::Present(DomainSeen {
        uuid: record.uuid,
        name,
        identity,
        power,
        reason: PowerReason::None,
        last_edge: None,
    }))
}

fn new_edge_identity(rig: &Rig, made: &mut Decision) {
    for effect in &mut made.effects {
        if effect.call.class() == EffectClass::Edge && effect.attempt > 1 {
            let old = effect.key.clone();
            if rig.outbox.contains_key(&old) {
                made.settled.push(old.clone());
            }
            effect.key.step = effect.key.step.next();
            made.record.step = made.record.step.next();
            if let Some(active) = &mut made.record.operation {
                active.step = effect.key.step;
            }
            for open in &mut made.record.open {
                if open.key == old {
                    open.key = effect.key.clone();
                }
            }
        }
    }
}
