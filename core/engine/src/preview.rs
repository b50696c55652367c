//! What would happen, and why not.

use crate::facts::facts;
use crate::handle::{ActionRequest, CreateRequest, EngineError, Preview};
use crate::shared::Shared;
use crate::{birth, scheduler};
use ostler_lifecycle::{Decision, Input, decide, recipe};
use ostler_model::{EventKind, OperationId, State, Verb, VmId, VmRecord};
use std::sync::Arc;

/// The operation that does not come to be.
const NO_OPERATION: OperationId = OperationId(u64::MAX);
/// The VM that does not come to be.
const NO_VM: VmId = VmId(u64::MAX);

/// What `asked` would do. Changes nothing.
pub(crate) async fn preview(shared: &Arc<Shared>, record: &Arc<VmRecord>, asked: &ActionRequest) -> Result<Preview, EngineError> {
    let input = Input::Request(asked.to_request(NO_OPERATION, None));
    let facts = facts(shared, record, &input).await;
    Ok(match decide(record, &facts, &input, shared.now()) {
        Err(refused) => Preview { refused: Some(refused), ..Preview::default() },
        Ok(decision) => describe(&decision, asked.verb),
    })
}

/// What a creation would make, and where the scheduler would place it now. Changes nothing.
pub(crate) fn creation(shared: &Arc<Shared>, request: CreateRequest) -> Result<Preview, EngineError> {
    let record = birth::decided(shared, request, || NO_VM)?.record;
    let scheduler = if record.state == State::Pending { scheduler::foresee(shared, &record)? } else { Vec::new() };
    Ok(Preview { states: vec![record.state.to_string()], scheduler, ..Preview::default() })
}

fn describe(decision: &Decision, verb: Verb) -> Preview {
    let overtakes = decision.answer.as_ref().and_then(|answer| answer.overtook);
    let destroys = decision.answer.as_ref().map(|answer| answer.destroys.clone()).unwrap_or_default();
    let (mut loses, mut hides) = (Vec::new(), Vec::new());
    for event in &decision.events {
        if let EventKind::Snapshots { lost, hidden, .. } = event {
            loses.extend(lost.iter().cloned());
            hides.extend(hidden.iter().cloned());
        }
    }
    // An operation that goes beside one leaves that one in the slot; it is not what was asked for.
    let begun = decision.record.operation.as_ref().filter(|active| active.id == NO_OPERATION);
    let Some(active) = begun else {
        let states = vec![decision.record.state.to_string()];
        return Preview { states, overtakes, loses, hides, destroys, ..Preview::default() };
    };
    let mut states: Vec<String> = active.plan.iter().map(|kind| recipe::shown(verb, *kind).to_string()).collect();
    states.push(recipe::ends_in(verb, active.origin).to_string());
    states.dedup();
    let steps = active.plan.iter().map(ToString::to_string).collect();
    Preview { refused: None, states, steps, overtakes, loses, hides, destroys, ..Preview::default() }
}
