//! What would happen, and why not.

use crate::clock;
use crate::facts::facts;
use crate::handle::{ActionRequest, EngineError, Preview};
use crate::shared::Shared;
use ostler_lifecycle::{Decision, Input, decide, recipe};
use ostler_model::{OperationId, Verb, VmRecord};
use std::sync::Arc;

/// The operation that does not come to be.
const NO_OPERATION: OperationId = OperationId(u64::MAX);

/// What `asked` would do. Changes nothing.
pub(crate) async fn preview(shared: &Arc<Shared>, record: &Arc<VmRecord>, asked: &ActionRequest) -> Result<Preview, EngineError> {
    let input = Input::Request(asked.to_request(NO_OPERATION));
    let facts = facts(shared, record, &input).await;
    Ok(match decide(record, &facts, &input, clock::now()) {
        Err(refused) => Preview { refused: Some(refused), states: Vec::new(), steps: Vec::new(), overtakes: None },
        Ok(decision) => describe(&decision, asked.verb),
    })
}

fn describe(decision: &Decision, verb: Verb) -> Preview {
    let overtakes = decision.answer.as_ref().and_then(|answer| answer.overtook);
    let Some(active) = &decision.record.operation else {
        return Preview { refused: None, states: vec![decision.record.state.to_string()], steps: Vec::new(), overtakes };
    };
    let mut states: Vec<String> = active.plan.iter().map(|kind| kind.state().to_string()).collect();
    states.push(recipe::ends(verb).to_string());
    states.dedup();
    Preview { refused: None, states, steps: active.plan.iter().map(ToString::to_string).collect(), overtakes }
}
