//! The runner of one VM: the only one that changes its record. Takes an input, fetches facts, has it decided, commits, and only
//! then does what was decided.

use crate::calls;
use crate::clock;
use crate::handle::{ActionRequest, EngineError, Idempotency, Preview, Replied};
use crate::mailbox::Message;
use crate::shared::{Shared, locked};
use ostler_lifecycle::{Decision, Facts, Input, Target, decide, wants_look};
use ostler_model::{
    Answer, Claim, ClaimRefused, DriverError, Journal, OperationId, OperationRecord, Refusal, RefusalKind, Request, State, Verb,
    VmId, VmRecord,
};
use ostler_store::{Commit, Committed, EventDraft, IdempotencyRow, VmChange};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// How long a look that a request needs may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(15);

/// What a runner keeps between inputs: what the store holds, no more.
struct Loaded {
    record: Arc<VmRecord>,
    operations: BTreeMap<OperationId, OperationRecord>,
}

/// Runs until the VM has had nothing to do for a while.
pub(crate) async fn run(shared: Arc<Shared>, vm: VmId, mut inbox: mpsc::Receiver<Message>) {
    let mut loaded: Option<Loaded> = None;
    loop {
        let message = tokio::select! {
            message = tokio::time::timeout(shared.config.runner_idle, inbox.recv()) => message,
            () = shared.stop.cancelled() => return,
        };
        match message {
            Ok(Some(message)) => handle(&shared, vm, &mut loaded, message).await,
            Ok(None) => return,
            Err(_idle) => {
                if shared.mailboxes.close_if_empty(vm, &mut inbox) {
                    return;
                }
            }
        }
    }
}

async fn handle(shared: &Arc<Shared>, vm: VmId, loaded: &mut Option<Loaded>, message: Message) {
    if loaded.is_none() {
        match load(shared, vm) {
            Ok(found) => *loaded = found,
            Err(error) => return fail(message, error),
        }
        if let Err(error) = resume_orphans(shared, loaded).await {
            *loaded = None;
            return fail(message, error);
        }
    }
    let Some(state) = loaded.as_mut() else { return fail(message, EngineError::NoSuchVm(vm)) };
    let outcome = match message {
        Message::Input(input) => settle(shared, state, &input, None).await.map(|_| ()),
        Message::Request(asked, idempotency, reply) => {
            let answer = request(shared, state, &asked, idempotency.as_ref()).await;
            let broken = matches!(answer, Err(EngineError::Store(_) | EngineError::Read(_)));
            // Whoever asked may be gone; what was decided stands.
            let _ = reply.send(answer);
            if broken {
                *loaded = None;
            }
            return;
        }
        Message::Preview(asked, reply) => {
            let _ = reply.send(preview(shared, &state.record, &asked).await);
            return;
        }
        Message::Wake => Ok(()),
    };
    if let Err(error) = outcome {
        tracing::error!(%vm, error = &error as &dyn std::error::Error, "a decision could not be committed; the VM is read again");
        *loaded = None;
    }
}

fn fail(message: Message, error: EngineError) {
    match message {
        Message::Request(_, _, reply) => drop(reply.send(Err(error))),
        Message::Preview(_, reply) => drop(reply.send(Err(error))),
        Message::Input(_) | Message::Wake => tracing::warn!(error = &error as &dyn std::error::Error, "an input found no VM"),
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

/// Calls that are open in the record and that nobody in this process is at were sent by a process that is dead.
async fn resume_orphans(shared: &Arc<Shared>, loaded: &mut Option<Loaded>) -> Result<(), EngineError> {
    let Some(state) = loaded.as_mut() else { return Ok(()) };
    let orphaned = state.record.open.iter().any(|open| !shared.executor.is_at(&open.key));
    if orphaned {
        settle(shared, state, &Input::Restarted, None).await?;
    }
    shared.timers.set(state.record.id, state.record.next_due());
    Ok(())
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
    let input = Input::Request(to_request(shared, asked));
    settle(shared, state, &input, idempotency).await?.ok_or(EngineError::ShuttingDown)
}

fn to_request(shared: &Shared, asked: &ActionRequest) -> Request {
    Request {
        operation: shared.store.next_operation_id(),
        verb: asked.verb,
        by: asked.by.clone(),
        host: asked.host,
        enforce: asked.enforce,
        force: asked.force,
        if_version: asked.if_version,
    }
}

/// The answer that was given to the same request before.
pub(crate) fn replay(shared: &Shared, key: &Idempotency) -> Result<Option<Replied>, EngineError> {
    let found = shared.store.read()?.idempotency(&key.who, &key.route, &key.key, clock::now())?;
    match found {
        Some(row) if row.body_hash != key.body_hash.as_bytes() => Err(EngineError::IdempotencyConflict { key: key.key.clone() }),
        Some(row) => Ok(replied(&row)),
        None => Ok(None),
    }
}

pub(crate) fn replied(row: &IdempotencyRow) -> Option<Replied> {
    serde_json::from_slice::<Answer>(&row.answer).ok().map(|answer| Replied { answer, replayed: true })
}

pub(crate) fn keep_answer(key: &Idempotency, answer: &Answer) -> Option<IdempotencyRow> {
    let answer = serde_json::to_vec(answer).ok()?;
    Some(IdempotencyRow {
        who: key.who.clone(),
        route: key.route.clone(),
        key: key.key.clone(),
        body_hash: key.body_hash.as_bytes().to_vec(),
        answer,
        at: clock::now(),
    })
}

/// Decides `input`, commits, and does what was decided. The answer is some for requests.
async fn settle(
    shared: &Arc<Shared>,
    state: &mut Loaded,
    input: &Input,
    idempotency: Option<&Idempotency>,
) -> Result<Option<Replied>, EngineError> {
    let facts = facts(shared, &state.record, input).await;
    let decision = decide(&state.record, &facts, input, clock::now())?;
    let answer = decision.answer.clone();
    if !decision.changed && idempotency.is_none() {
        return Ok(answer.map(|answer| Replied { answer, replayed: false }));
    }
    let verb = if let Input::Request(asked) = input { Some(asked.verb) } else { None };
    if let Some(replayed) = commit(shared, state, decision, answer.as_ref(), verb, idempotency).await? {
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
    let before = Arc::clone(&state.record);
    let touched = note(state, &decision);
    let operations: Vec<OperationRecord> = touched.iter().filter_map(|id| state.operations.get(id).cloned()).collect();
    let at = clock::now();
    let (vm, version) = (decision.record.id, decision.record.version);
    let events = decision.events.into_iter().map(|kind| EventDraft { at, vm: Some(vm), version: Some(version), kind }).collect();
    let next = Arc::new(decision.record);
    let change = decision.changed.then(|| VmChange { record: VmRecord::clone(&next), expect: Some(before.version) });
    let committed = shared
        .store
        .commit(Commit {
            vm: change,
            claims: decision.claims,
            operations,
            outbox_put: decision.effects.clone(),
            outbox_del: decision.settled,
            events,
            idempotency: idempotency.zip(answer).and_then(|(key, answer)| keep_answer(key, answer)),
            resources: Vec::new(),
        })
        .await;
    match committed {
        Ok(Committed::Applied { .. }) => {}
        Ok(Committed::ClaimRefused(refused)) => {
            forget(shared, state, &touched);
            return Err(EngineError::Refused(claim_refusal(&refused, verb)));
        }
        Ok(Committed::Replayed(row)) => {
            forget(shared, state, &touched);
            return Ok(replied(&row));
        }
        Ok(Committed::IdempotencyConflict) => {
            forget(shared, state, &touched);
            let key = idempotency.map(|key| key.key.clone()).unwrap_or_default();
            return Err(EngineError::IdempotencyConflict { key });
        }
        Ok(Committed::Stale { .. } | Committed::Refused(_)) => {
            // Nobody but this runner writes the record: whatever this is, reading it again is right.
            forget(shared, state, &touched);
            return Err(EngineError::Store(ostler_store::CommitError::Malformed {
                why: format!("VM {vm} was changed by another writer"),
            }));
        }
        Err(error) => {
            forget(shared, state, &touched);
            return Err(error.into());
        }
    }
    state.record = Arc::clone(&next);
    publish(shared, state, &before, &touched, decision.effects, &decision.cancels);
    Ok(None)
}

/// What follows a commit, in the order in which it may be seen.
fn publish(
    shared: &Arc<Shared>,
    state: &mut Loaded,
    before: &VmRecord,
    touched: &[OperationId],
    effects: Vec<ostler_model::Effect>,
    cancels: &[ostler_model::EffectKey],
) {
    let next = &state.record;
    shared.timers.set(next.id, next.next_due());
    for effect in effects {
        shared.executor.send(shared, effect, Arc::clone(next));
    }
    for key in cancels {
        shared.executor.cancel(key);
    }
    if next.state == State::Pending || (before.placement.is_some() && next.placement.is_none()) {
        shared.wishes.wake();
    }
    for id in touched {
        if state.operations.get(id).is_some_and(|operation| operation.ended.is_some()) {
            state.operations.remove(id);
            shared.ended(*id);
        }
    }
}

/// Writes the decision's journal into the operations' records; answers which were touched.
fn note(state: &mut Loaded, decision: &Decision) -> Vec<OperationId> {
    let mut touched = Vec::new();
    for entry in &decision.journal {
        let id = entry.operation();
        if !touched.contains(&id) {
            touched.push(id);
        }
        if let Journal::Began { operation, verb, by, at } = entry {
            let fresh = OperationRecord {
                id: *operation,
                vm: decision.record.id,
                verb: Some(*verb),
                by: by.clone(),
                began: *at,
                ended: None,
                outcome: None,
                steps: Vec::new(),
            };
            state.operations.insert(id, fresh);
        }
        if let Some(operation) = state.operations.get_mut(&id) {
            operation.note(entry);
        }
    }
    touched
}

/// Nothing was committed: what was noted about these operations is not true, and they are read again.
fn forget(shared: &Shared, state: &mut Loaded, touched: &[OperationId]) {
    for id in touched {
        match shared.store.read().and_then(|reader| reader.operation(*id)) {
            Ok(Some(operation)) => drop(state.operations.insert(*id, operation)),
            // An operation that never began, or a store that cannot be read: then nothing can be committed either.
            Ok(None) | Err(_) => drop(state.operations.remove(id)),
        }
    }
}

fn claim_refusal(refused: &ClaimRefused, verb: Option<Verb>) -> Refusal {
    let (kind, hint) = match refused.claim {
        Claim::Capacity { .. } => (RefusalKind::NoCapacity, "choose another host, or free some capacity"),
        Claim::Image { .. } => (RefusalKind::ImageNotReady, "register the image, or wait until it is ready"),
    };
    Refusal { kind, verb: verb.unwrap_or(Verb::Deploy), detail: refused.detail.clone(), hint: hint.to_owned() }
}

/// Fetches what the decision may know beside the record.
async fn facts(shared: &Arc<Shared>, record: &VmRecord, input: &Input) -> Facts {
    let mut facts = Facts::bare(shared.store.id());
    let Input::Request(asked) = input else { return facts };
    facts.abilities = abilities(shared, record);
    if asked.verb == Verb::Deploy {
        facts.target = asked.host.and_then(|host| target(shared, record, host));
    }
    if wants_look(record, asked.verb) {
        let look = tokio::time::timeout(LOOK_TIMEOUT, calls::observe(shared, record)).await;
        facts.look = Some(look.unwrap_or_else(|_| Err(DriverError::retry("timeout", "the host did not answer in time"))));
    }
    facts
}

fn abilities(shared: &Shared, record: &VmRecord) -> Option<Vec<ostler_model::Ability>> {
    let place = record.placement.as_ref()?;
    let probed =
        locked(&shared.host_health).get(&place.host).filter(|health| health.reachable).map(|health| health.abilities.clone());
    probed.or_else(|| shared.drivers.hypervisor(&place.driver).ok().map(|driver| driver.abilities().to_vec()))
}

fn target(shared: &Shared, record: &VmRecord, host: ostler_model::HostId) -> Option<Target> {
    let directory = shared.directory();
    let driver = directory.hosts.get(&host)?.hypervisor.as_ref()?.driver.clone();
    let storage = record.storage.clone().or_else(|| directory.system_storage())?;
    Some(Target { host, driver, storage })
}

async fn preview(shared: &Arc<Shared>, record: &Arc<VmRecord>, asked: &ActionRequest) -> Result<Preview, EngineError> {
    let input = Input::Request(Request { operation: OperationId(u64::MAX), ..to_preview(asked) });
    let facts = facts(shared, record, &input).await;
    Ok(match decide(record, &facts, &input, clock::now()) {
        Err(refused) => Preview { refused: Some(refused), states: Vec::new(), steps: Vec::new(), overtakes: None },
        Ok(decision) => describe(&decision, asked.verb),
    })
}

fn to_preview(asked: &ActionRequest) -> Request {
    Request {
        operation: OperationId(u64::MAX),
        verb: asked.verb,
        by: asked.by.clone(),
        host: asked.host,
        enforce: asked.enforce,
        force: asked.force,
        if_version: asked.if_version,
    }
}

fn describe(decision: &Decision, verb: Verb) -> Preview {
    let overtakes = decision.answer.as_ref().and_then(|answer| answer.overtook);
    let Some(active) = &decision.record.operation else {
        return Preview { refused: None, states: vec![decision.record.state.to_string()], steps: Vec::new(), overtakes };
    };
    let mut states: Vec<String> = active.plan.iter().map(|kind| kind.state().to_string()).collect();
    states.push(ostler_lifecycle::recipe::ends(verb).to_string());
    states.dedup();
    Preview { refused: None, states, steps: active.plan.iter().map(ToString::to_string).collect(), overtakes }
}
