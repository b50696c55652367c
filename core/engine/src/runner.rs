//! The runner of one VM, which alone changes its record. For each input it collects facts, has the
//! input decided, and commits. It does what was decided only after that.

use crate::agenda::fire;
use crate::faults::while_asked;
use crate::handle::EngineError;
use crate::hooks::Sabotage;
use crate::input::{Loaded, born, decide_and_commit, request};
use crate::mailbox::{MAILBOX_MAX, Outlet};
use crate::message::Message;
use crate::preview::preview;
use crate::restored;
use crate::shared::Shared;
use crate::sweep;
use futures::FutureExt as _;
use ostler_lifecycle::{Input, must_rest};
use ostler_model::{HostId, Strength, VmId};
use std::collections::{BTreeMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Runs until the VM has had nothing to do for a while.
pub(crate) async fn run(shared: Arc<Shared>, vm: VmId, mut inbox: Outlet) {
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
        Message::Born(birth, mut reply) => {
            // Boxed, because this future and the one that holds it are large.
            let done = Box::pin(born(shared, loaded, *birth));
            let answer = while_asked(shared.config.hooks.sabotage, &mut reply, done).await;
            return tell(reply, answer, loaded);
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
            let done = Box::pin(request(shared, state, &asked, idempotency.as_ref()));
            let answer = while_asked(shared.config.hooks.sabotage, &mut reply, done).await;
            return tell(reply, answer, loaded);
        }
        Message::Preview(asked, reply) => {
            let _ =
                reply.send(preview(shared, &state.record, state.operations.clone(), &asked).await);
            return;
        }
        Message::Accept(by, reply) => {
            let found = restored::facts_of(shared, &state.record, Some(by));
            let accepted = take_in(shared, state, &found).await;
            return tell(reply, accepted, loaded);
        }
        Message::HostGone(host, reply) => {
            let gone = take_in(shared, state, &Input::HostGone { host }).await;
            return tell(reply, gone, loaded);
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

/// Answers a request. If the store could not be used, the record is read again before the next
/// message.
fn tell<T>(
    reply: oneshot::Sender<Result<T, EngineError>>,
    answer: Result<T, EngineError>,
    loaded: &mut Option<Loaded>,
) {
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
    decide_and_commit(shared, state, input, None).await?;
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
        state.record.open.iter().partition(|open| shared.executor.in_flight.is_at(&open.key));
    let orphaned = must_rest(&state.record) || !nobody_at.is_empty();
    if !must_rest(&state.record) && !nobody_at.is_empty() && !at.is_empty() {
        // The other call is still at work, and would be given up together with this one. The
        // watchdog comes again.
        return Ok(());
    }
    if orphaned && shared.config.hooks.sabotage != Sabotage::NoResume {
        tracing::info!(vm = %state.record.id, "a driver call is open that nobody is at; the VM is looked at, and goes on");
        let places = state.record.places();
        shared.executor.maybe_running.mark(state.record.id, places.map(|place| place.host));
        decide_and_commit(shared, state, &Input::Restarted, None).await?;
    }
    if shared.config.hooks.sabotage != Sabotage::TimersLost {
        shared.timers.set(state.record.id, state.record.next_due());
    }
    Ok(())
}
