//! One input of a VM: collects the facts, has the input decided, and commits the decision. Called by
//! the VM's runner.

use crate::answers::{no_answer, replay};
use crate::commit::{Before, Came, Origin, commit};
use crate::create;
use crate::facts::{after_seeing, facts};
use crate::faults;
use crate::handle::{ActionRequest, EngineError, Idempotency, Replied};
use crate::journal::Operations;
use crate::message::Birth;
use crate::shared::Shared;
use ostler_lifecycle::Input;
use ostler_model::{ScheduleId, VmRecord};
use std::borrow::Cow;
use std::sync::Arc;

/// The data that a runner keeps between inputs: only a copy of what the store holds.
pub(crate) struct Loaded {
    pub(crate) record: Arc<VmRecord>,
    pub(crate) operations: Operations,
}

/// Commits the first decision about a VM. From then on the VM is loaded.
pub(crate) async fn born(
    shared: &Arc<Shared>,
    loaded: &mut Option<Loaded>,
    birth: Birth,
) -> Result<Replied, EngineError> {
    let Birth { decision, idempotency, former } = birth;
    let answer = decision.answer.clone().ok_or_else(no_answer)?;
    let origin =
        Origin { before: Before::Unborn { former }, verb: None, idempotency: idempotency.as_ref() };
    let mut operations = Operations::new();
    match commit(shared, origin, &mut operations, decision).await? {
        Came::Replayed(replied) => Ok(replied),
        Came::Applied(record) => {
            *loaded = Some(Loaded { record, operations });
            Ok(Replied { answer, replayed: false })
        }
    }
}

/// Has a request decided and carried out.
pub(crate) async fn request(
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
        match decide_and_commit(shared, state, &input, idempotency).await {
            Err(EngineError::Taken(refused)) if draws > 0 && asked.chose(&refused) => {}
            answer => return answer,
        }
    }
}

/// Decides `input`, commits the decision, and does what was decided. For requests it gives an
/// answer.
pub(crate) async fn decide_and_commit(
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
    let before = Arc::clone(&state.record);
    let origin = Origin { before: Before::Known(&before), verb, idempotency };
    match commit(shared, origin, &mut state.operations, decision).await? {
        Came::Replayed(replied) => Ok(Some(replied)),
        Came::Applied(record) => {
            state.record = record;
            Ok(answer.map(|answer| Replied { answer, replayed: false }))
        }
    }
}
