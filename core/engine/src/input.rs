//! One input of a VM: collects the facts, has the input decided, commits the decision, and does what
//! was decided only after that. Called by the VM's runner.

use crate::answers::{keep_answer, no_answer, replay};
use crate::commit::{as_commit, forget_open, not_applied};
use crate::create;
use crate::facts::{after_seeing, facts};
use crate::faults;
use crate::handle::{ActionRequest, EngineError, Idempotency, Replied};
use crate::hooks::{Point, Sabotage};
use crate::restored;
use crate::shared::Shared;
use ostler_lifecycle::{Decision, Input};
use ostler_model::{
    Answer, Effect, EffectKey, OperationId, OperationRecord, ScheduleId, State, Verb, VmRecord,
};
use ostler_store::Committed;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// The data that a runner keeps between inputs: only a copy of what the store holds.
pub(crate) struct Loaded {
    pub(crate) record: Arc<VmRecord>,
    pub(crate) operations: BTreeMap<OperationId, OperationRecord>,
}

/// Has a request decided and carried out, even if the caller goes away.
pub(crate) async fn answer(
    shared: &Arc<Shared>,
    state: &mut Loaded,
    asked: &ActionRequest,
    idempotency: Option<&Idempotency>,
    reply: &mut oneshot::Sender<Result<Replied, EngineError>>,
) -> Result<Replied, EngineError> {
    let decided = request(shared, state, asked, idempotency);
    if shared.config.hooks.sabotage != Sabotage::CallerCarries {
        return decided.await;
    }
    tokio::select! {
        biased;
        answer = decided => answer,
        () = reply.closed() => Err(EngineError::Crashed),
    }
}

async fn request(
    shared: &Arc<Shared>,
    state: &mut Loaded,
    asked: &ActionRequest,
    idempotency: Option<&Idempotency>,
) -> Result<Replied, EngineError> {
    if let Some(key) = idempotency
        && let Some(replied) = replay(shared, key)?
    {
        return Ok(replied);
    }
    ask(shared, state, asked, None, idempotency).await?.ok_or_else(no_answer)
}

/// Has a request decided. If Ostler chose something that another VM has, such as a network address,
/// this asks again. Each time it is a new operation, and so something else is chosen. At most
/// [`create::DRAWS_MAX`] decisions are made: with every other claim that is refused, the first
/// decision is the last.
pub(crate) async fn ask(
    shared: &Arc<Shared>,
    state: &mut Loaded,
    asked: &ActionRequest,
    schedule: Option<ScheduleId>,
    idempotency: Option<&Idempotency>,
) -> Result<Option<Replied>, EngineError> {
    let mut draws = create::DRAWS_MAX;
    loop {
        let input = Input::Request(asked.to_request(shared.store.next_operation_id(), schedule));
        draws -= 1;
        match settle(shared, state, &input, idempotency).await {
            Err(EngineError::Taken(refused)) if draws > 0 && asked.chose(&refused) => {}
            answer => return answer,
        }
    }
}

/// Decides `input`, commits the decision, and does what was decided. For requests it gives an
/// answer.
pub(crate) async fn settle(
    shared: &Arc<Shared>,
    state: &mut Loaded,
    input: &Input,
    idempotency: Option<&Idempotency>,
) -> Result<Option<Replied>, EngineError> {
    let facts = facts(shared, &state.record, input).await;
    let found = if matches!(input, Input::Request(_)) {
        faults::as_found(shared.config.hooks.sabotage, &state.record)
    } else {
        Cow::Borrowed(&*state.record)
    };
    let mut decision = shared.decide(&found, &facts, input)?;
    let seen =
        matches!(input, Input::Observed { .. }) && decision.record.state != state.record.state;
    if seen && !state.record.snapshots.is_empty() {
        let facts = after_seeing(shared, &state.record, decision.record.state).await;
        decision = shared.decide(&state.record, &facts, input)?;
    }
    let answer = decision.answer.clone();
    if !decision.changed && idempotency.is_none() {
        return Ok(answer.map(|answer| Replied { answer, replayed: false }));
    }
    let verb = if let Input::Request(asked) = input { Some(asked.verb) } else { None };
    if let Some(replayed) =
        commit(shared, state, decision, answer.as_ref(), verb, idempotency).await?
    {
        return Ok(Some(replayed));
    }
    Ok(answer.map(|answer| Replied { answer, replayed: false }))
}

async fn commit(
    shared: &Arc<Shared>,
    state: &mut Loaded,
    decision: Decision,
    answer: Option<&Answer>,
    verb: Option<Verb>,
    idempotency: Option<&Idempotency>,
) -> Result<Option<Replied>, EngineError> {
    let (mut commit, touched) = as_commit(shared, &state.record, &mut state.operations, &decision)?;
    let Decision { record, effects, cancels, .. } = decision;
    let (vm, next) = (
        record.id,
        commit.vm.as_ref().map_or_else(|| Arc::new(record), |change| Arc::clone(&change.record)),
    );
    commit.idempotency =
        idempotency.zip(answer).and_then(|(key, answer)| keep_answer(key, answer, shared.now()));
    let sabotage = shared.config.hooks.sabotage;
    if sabotage == Sabotage::ActFirst {
        send_all(shared, &effects, &next);
        // This is as if the commit took some time, so that the test does not depend on luck in
        // scheduling.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    shared.reach(Point::Decided).await;
    if sabotage == Sabotage::NoOutbox {
        forget_open(&mut commit);
    }
    let committed = shared.store.commit(commit).await;
    shared.reach(Point::Committed).await;
    if !matches!(committed, Ok(Committed::Applied { .. })) {
        forget(shared, state, &touched);
        return not_applied(committed, vm, verb, idempotency).map(Some);
    }
    let before = std::mem::replace(&mut state.record, next);
    if sabotage != Sabotage::ActFirst {
        send_all(shared, &effects, &state.record);
    }
    publish(shared, state, &before, &touched, &cancels);
    Ok(None)
}

fn send_all(shared: &Arc<Shared>, effects: &[Effect], record: &Arc<VmRecord>) {
    for effect in effects {
        shared.executor.send(shared, effect.clone(), Arc::clone(record));
    }
}

/// Does what follows a commit, in the order in which it may be seen.
fn publish(
    shared: &Arc<Shared>,
    state: &mut Loaded,
    before: &VmRecord,
    touched: &[OperationId],
    cancels: &[EffectKey],
) {
    let next = &state.record;
    shared.timers.set(next.id, next.next_due());
    for key in cancels {
        shared.executor.cancel(key);
    }
    let left = |vm: &VmRecord| (vm.held(), vm.held_too());
    let freed = left(before) != left(next);
    if next.state == State::Pending || freed || (next.resched && !before.resched) {
        shared.scheduler.wake();
    }
    if before.is_unreconciled() && !next.is_unreconciled() {
        // The lost time may have left a call at work on a host that the record did not know when
        // this process was started.
        let places = next.placement.iter().chain(&next.other);
        shared.executor.maybe_running.mark(next.id, places.map(|place| place.host));
        restored::done(shared, next.id);
    }
    for id in touched {
        if state.operations.get(id).is_some_and(|operation| operation.ended.is_some()) {
            state.operations.remove(id);
            shared.ended(*id);
        }
    }
}

/// Nothing was committed, so the notes about these operations are not true. The operations are read
/// again.
fn forget(shared: &Shared, state: &mut Loaded, touched: &[OperationId]) {
    for id in touched {
        match shared.store.read().and_then(|reader| reader.operation(*id)) {
            Ok(Some(operation)) => drop(state.operations.insert(*id, operation)),
            // The operation never began, or the store cannot be read. In the second case nothing
            // can be committed either.
            Ok(None) | Err(_) => drop(state.operations.remove(id)),
        }
    }
}
