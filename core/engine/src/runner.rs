//! The runner of one VM, which alone changes its record. For each input it collects facts, has the
//! input decided, and commits. It does what was decided only after that.

use crate::answers::{keep_answer, no_answer, replay};
use crate::birth;
use crate::commit::{as_commit, forget_open, not_applied};
use crate::create;
use crate::facts::{after_seeing, facts};
use crate::faults;
use crate::handle::{ActionRequest, EngineError, Idempotency, Replied};
use crate::hooks::{Point, Sabotage};
use crate::mailbox::{MAILBOX_MAX, Message};
use crate::preview::preview;
use crate::restored;
use crate::shared::Shared;
use crate::sweep;
use futures::FutureExt as _;
use ostler_lifecycle::{Decision, Input, due, must_rest};
use ostler_model::{
    Answer, Cause, Due, Effect, EffectKey, Hint, HostId, OperationId, OperationRecord, Refusal,
    RefusalKind, SCHEDULES_MAX, ScheduleId, State, Strength, Verb, VmId, VmRecord,
};
use ostler_store::Committed;
use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// The data that a runner keeps between inputs: only a copy of what the store holds.
struct Loaded {
    record: Arc<VmRecord>,
    operations: BTreeMap<OperationId, OperationRecord>,
}

/// Runs until the VM has had nothing to do for a while.
pub(crate) async fn run(shared: Arc<Shared>, vm: VmId, mut inbox: mpsc::Receiver<Box<Message>>) {
    let mut loaded: Option<Loaded> = None;
    let mut waiting: VecDeque<Box<Message>> = VecDeque::new();
    loop {
        if waiting.is_empty() {
            let message = tokio::select! {
                biased;
                () = shared.stop.cancelled() => return,
                message = tokio::time::timeout(shared.config.runner_idle, inbox.recv()) => message,
            };
            match message {
                Ok(Some(message)) => waiting.push_back(message),
                Ok(None) => return,
                Err(_idle) if shared.mailboxes.close_if_empty(vm, &inbox) => return,
                Err(_idle) => continue,
            }
        }
        while waiting.len() < MAILBOX_MAX
            && let Ok(message) = inbox.try_recv()
        {
            waiting.push_back(message);
        }
        if shared.stop.is_cancelled() {
            return;
        }
        if let Some(message) = next(&mut waiting) {
            // Boxed, because this future is large and most runners wait. So its memory is used only
            // while a message is handled.
            let handled = Box::pin(handle(&shared, vm, &mut loaded, *message));
            if AssertUnwindSafe(handled).catch_unwind().await.is_err() {
                // The messages that wait are not lost. If a call was left open, the watchdog finds
                // it, unless something else does earlier.
                tracing::error!(%vm, "the runner of a VM panicked; the VM is read again");
                loaded = None;
            }
        }
    }
}

/// Takes the next message. This is the first one, unless a delete waits: the delete ends everything
/// that came before it, and requests may take long because of the looks and answers that they need.
fn next(waiting: &mut VecDeque<Box<Message>>) -> Option<Box<Message>> {
    let strength = |message: &Message| match message {
        Message::Request(asked, ..) => asked.verb.strength(),
        Message::Input(_)
        | Message::Returned(_)
        | Message::Preview(..)
        | Message::Born(..)
        | Message::HostGone(..)
        | Message::Accept(..)
        | Message::Wake(_)
        | Message::Sweep(_) => Strength::Plain,
    };
    // The first one of the strongest.
    let strongest = waiting
        .iter()
        .enumerate()
        .max_by_key(|(at, message)| (strength(message), std::cmp::Reverse(*at)));
    match strongest {
        Some((at, message)) if strength(message) >= Strength::Delete => waiting.remove(at),
        Some(_) | None => waiting.pop_front(),
    }
}

async fn handle(shared: &Arc<Shared>, vm: VmId, loaded: &mut Option<Loaded>, message: Message) {
    let message = match message {
        // There is no record to load yet.
        Message::Born(birth, reply) => {
            return drop(reply.send(birth::commit(shared, *birth).await));
        }
        message => message,
    };
    let ready = ready(shared, vm, loaded).await;
    if let Message::Returned(returned) = &message {
        // After the record was loaded: else the call would look like one that nobody works on. And
        // before it is settled: else a failure in between would leave the call open for ever.
        returned.received();
    }
    let state = match (ready, loaded.as_mut()) {
        (Ok(()), Some(state)) => state,
        (Ok(()), None) => return fail(message, EngineError::NoSuchVm(vm)),
        (Err(error), _) => {
            *loaded = None;
            return fail(message, error);
        }
    };
    let outcome = match message {
        Message::Input(input) => take_in(shared, state, &input).await,
        Message::Returned(returned) => take_in(shared, state, &returned.into_input()).await,
        Message::Request(asked, idempotency, mut reply) => {
            let answer = answer(shared, state, &asked, idempotency.as_ref(), &mut reply).await;
            let broken = matches!(
                answer,
                Err(EngineError::Store(_)
                    | EngineError::Read(_)
                    | EngineError::NoSuchVm(_)
                    | EngineError::Crashed)
            );
            // The caller may be gone. The decision stands.
            let _ = reply.send(answer);
            if broken {
                *loaded = None;
            }
            return;
        }
        Message::Preview(asked, reply) => {
            let _ =
                reply.send(preview(shared, &state.record, state.operations.clone(), &asked).await);
            return;
        }
        Message::Accept(by, reply) => {
            let outcome =
                take_in(shared, state, &restored::facts_of(shared, &state.record, Some(by))).await;
            let broken = outcome.is_err();
            let _ = reply.send(outcome);
            if broken {
                *loaded = None;
            }
            return;
        }
        Message::HostGone(host, reply) => {
            let gone = take_in(shared, state, &Input::HostGone { host }).await;
            let failed = gone.is_err();
            let _ = reply.send(gone);
            if failed {
                *loaded = None;
            }
            return;
        }
        Message::Sweep(sweeping) => put_away(shared, state, sweeping.host).await,
        // The record may have been loaded before, and a task that worked on one of its calls may
        // have failed since.
        Message::Wake(_place) => resume_orphans(shared, state).await,
        Message::Born(..) => return,
    };
    if let Err(error) = outcome {
        tracing::error!(%vm, error = &error as &dyn std::error::Error, "a decision could not be committed; the VM is read again");
        *loaded = None;
    }
}

/// Removes what the VM has left on `host` and will not use again.
async fn put_away(
    shared: &Arc<Shared>,
    state: &mut Loaded,
    host: HostId,
) -> Result<(), EngineError> {
    if let Some(name) = sweep::drop_memory(shared, &state.record, host).await {
        take_in(shared, state, &Input::MemoryRemoved { name }).await?;
    }
    match sweep::sweep(shared, &state.record, host).await {
        Some(generation) => take_in(shared, state, &Input::Swept { host, generation }).await,
        None => Ok(()),
    }
}

/// Loads the record if it is not loaded, and goes on with the open calls that nobody works on.
async fn ready(
    shared: &Arc<Shared>,
    vm: VmId,
    loaded: &mut Option<Loaded>,
) -> Result<(), EngineError> {
    if loaded.is_none() {
        *loaded = load(shared, vm)?;
        if let Some(state) = loaded {
            resume_orphans(shared, state).await?;
        }
    }
    Ok(())
}

async fn take_in(
    shared: &Arc<Shared>,
    state: &mut Loaded,
    input: &Input,
) -> Result<(), EngineError> {
    settle(shared, state, input, None).await?;
    if *input == Input::Tick {
        fire(shared, state).await?;
    }
    if *input == Input::Tick
        && let Some(due) = state.record.next_due()
    {
        // If the clock was set back, the tick came too early and has used up the timer. The timer
        // is set again.
        shared.timers.set(state.record.id, Some(due));
    }
    Ok(())
}

/// Asks for the scheduled actions that are due. The result of each one is committed with it.
async fn fire(shared: &Arc<Shared>, state: &mut Loaded) -> Result<(), EngineError> {
    for _ in 0..SCHEDULES_MAX {
        let Some(planned) =
            due(&faults::as_found(shared.config.hooks.sabotage, &state.record), shared.now())
                .cloned()
        else {
            return Ok(());
        };
        let id = planned.id();
        let late = matches!(planned.schedule.due(shared.now()), Some(Due::Missed { .. }));
        let asked = ActionRequest {
            args: planned.args,
            host: planned.host,
            enforce: planned.host.is_some(),
            ..ActionRequest::of(
                planned.schedule.verb,
                format!("schedule {id} of {}", planned.schedule.by),
            )
        };
        let outcome = if late {
            Err(EngineError::Refused(too_late(state.record.id, asked.verb)))
        } else {
            ask(shared, state, &asked, Some(id), None).await
        };
        let refusal = match outcome {
            Ok(_) => continue,
            Err(EngineError::Refused(refusal)) => refusal,
            // For example, there is already an image with that name. This answer is final too:
            // otherwise the action would be asked for for ever.
            Err(EngineError::Resource(refused)) => {
                not_to_be_had(state.record.id, asked.verb, Cause::Resource(refused))
            }
            Err(EngineError::Taken(refused)) => {
                not_to_be_had(state.record.id, asked.verb, Cause::Claim(refused))
            }
            Err(error) => return Err(error),
        };
        settle(shared, state, &Input::ScheduleRefused { schedule: id, refusal }, None).await?;
    }
    Ok(())
}

const fn not_to_be_had(vm: VmId, verb: Verb, cause: Cause) -> Refusal {
    Refusal { kind: RefusalKind::BadRequest, verb, vm, cause, hint: Hint::ChangePlan }
}

const fn too_late(vm: VmId, verb: Verb) -> Refusal {
    Refusal {
        kind: RefusalKind::WrongState,
        verb,
        vm,
        cause: Cause::TooLate,
        hint: Hint::SeeMisfire,
    }
}

fn fail(message: Message, error: EngineError) {
    match message {
        Message::Request(_, _, reply) => drop(reply.send(Err(error))),
        Message::Preview(_, reply) => drop(reply.send(Err(error))),
        Message::Accept(_, reply) => drop(reply.send(Err(error))),
        Message::Born(_, reply) => drop(reply.send(Err(error))),
        Message::HostGone(_, reply) => drop(reply.send(Err(error))),
        Message::Input(_) | Message::Returned(_) | Message::Wake(_) | Message::Sweep(_) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "an input found no VM");
        }
    }
}

fn load(shared: &Shared, vm: VmId) -> Result<Option<Loaded>, EngineError> {
    let reader = shared.store.read()?;
    let Some(record) = reader.vm(vm)? else { return Ok(None) };
    let mut operations = BTreeMap::new();
    if let Some(active) = &record.operation
        && let Some(operation) = reader.operation(active.id)?
    {
        operations.insert(active.id, operation);
    }
    Ok(Some(Loaded { record: Arc::new(record), operations }))
}

/// An open call that no task in this process works on was sent by a previous process, or its task
/// has failed. Its outcome is unknown.
async fn resume_orphans(shared: &Arc<Shared>, state: &mut Loaded) -> Result<(), EngineError> {
    let (at, nobody_at): (Vec<_>, Vec<_>) =
        state.record.open.iter().partition(|open| shared.executor.is_at(&open.key));
    let orphaned = must_rest(&state.record) || !nobody_at.is_empty();
    if !must_rest(&state.record) && !nobody_at.is_empty() && !at.is_empty() {
        // The other call is still at work, and would be given up together with this one. The
        // watchdog comes again.
        return Ok(());
    }
    if orphaned && shared.config.hooks.sabotage != Sabotage::NoResume {
        tracing::info!(vm = %state.record.id, "a driver call is open that nobody is at; the VM is looked at, and goes on");
        let places = state.record.placement.iter().chain(&state.record.other);
        shared.executor.mark_maybe_running(state.record.id, places.map(|place| place.host));
        settle(shared, state, &Input::Restarted, None).await?;
    }
    if shared.config.hooks.sabotage != Sabotage::TimersLost {
        shared.timers.set(state.record.id, state.record.next_due());
    }
    Ok(())
}

/// Has a request decided and carried out, even if the caller goes away.
async fn answer(
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
async fn ask(
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
async fn settle(
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
        shared.executor.mark_maybe_running(next.id, places.map(|place| place.host));
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
