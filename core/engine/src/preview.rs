//! Makes dry runs of actions and of creations.

use crate::birth::{NO_OPERATION, NO_VM};
use crate::commit::{Before, Origin, rehearse};
use crate::facts::facts;
use crate::handle::{ActionRequest, CreateRequest, EngineError, Preview};
use crate::journal::Operations;
use crate::shared::Shared;
use crate::{create, scheduler};
use ostler_lifecycle::{Decision, Input, recipe};
use ostler_model::{EventKind, MacAddress, Refusal, State, Verb, VmRecord};
use std::sync::Arc;

/// The result of a dry run of `asked`. It is decided like the action itself, and the store judges
/// it in its turn among the commits. Changes nothing.
pub(crate) async fn preview(
    shared: &Arc<Shared>,
    record: &Arc<VmRecord>,
    mut operations: Operations,
    asked: &ActionRequest,
) -> Result<Preview, EngineError> {
    let input = Input::Request(asked.to_request(NO_OPERATION, None));
    let facts = facts(shared, record, &input).await;
    let refused = |refusal: Refusal| Ok(Preview { refused: Some(refusal), ..Preview::default() });
    let decision = match shared.decide(record, &facts, &input) {
        Err(refusal) => return refused(refusal),
        Ok(decision) => decision,
    };
    if decision.changed {
        let (before, verb) = (Before::Known(record), Some(asked.verb));
        let origin = Origin { before, verb, idempotency: None };
        match rehearse(shared, origin, &mut operations, &decision).await {
            Ok(()) => {}
            // The action itself would choose another address.
            Err(EngineError::Taken(claim)) if asked.chose(&claim) => {}
            Err(EngineError::Refused(refusal)) => return refused(refusal),
            Err(error) => return Err(error),
        }
    }
    Ok(describe(&decision, asked.verb))
}

/// The result of a dry run of a creation, and where the scheduler would place the VM now. Changes
/// nothing.
///
/// # Errors
/// As for the creation itself.
pub(crate) async fn creation(
    shared: &Arc<Shared>,
    request: CreateRequest,
) -> Result<Preview, EngineError> {
    create::look_at_bridges(shared, &request.spec).await?;
    let given: Vec<MacAddress> =
        request.spec.nics.iter().filter_map(|nic| nic.mac.clone()).collect();
    let decision = create::decided(shared, request, || NO_VM)?;
    let origin = Origin { before: Before::Unborn { former: None }, verb: None, idempotency: None };
    match rehearse(shared, origin, &mut Operations::new(), &decision).await {
        Ok(()) => {}
        // The creation itself would choose another address.
        Err(EngineError::Taken(refused)) if create::chose(&given, &refused) => {}
        Err(error) => return Err(error),
    }
    let record = decision.record;
    let scheduler = if record.state == State::Pending {
        scheduler::foresee(shared, &record)?
    } else {
        Vec::new()
    };
    Ok(Preview { states: vec![record.state.to_string()], scheduler, ..Preview::default() })
}

fn describe(decision: &Decision, verb: Verb) -> Preview {
    let overtakes = decision.answer.as_ref().and_then(|answer| answer.overtook);
    let destroys =
        decision.answer.as_ref().map(|answer| answer.destroys.clone()).unwrap_or_default();
    let (mut loses, mut hides) = (Vec::new(), Vec::new());
    for event in &decision.events {
        if let EventKind::Snapshots { lost, hidden, .. } = event {
            loses.extend(lost.iter().cloned());
            hides.extend(hidden.iter().cloned());
        }
    }
    // An operation that runs beside another one leaves the other one in the slot. That other one
    // was not asked for here.
    let begun = decision.record.operation.as_ref().filter(|active| active.id == NO_OPERATION);
    let Some(active) = begun else {
        let states = vec![decision.record.state.to_string()];
        return Preview { states, overtakes, loses, hides, destroys, ..Preview::default() };
    };
    let mut states: Vec<String> =
        active.plan.iter().map(|kind| recipe::shown(verb, *kind).to_string()).collect();
    states.push(recipe::ends_in(verb, active.origin).to_string());
    states.dedup();
    let steps = active.plan.iter().map(ToString::to_string).collect();
    Preview {
        refused: None,
        states,
        steps,
        overtakes,
        loses,
        hides,
        destroys,
        ..Preview::default()
    }
}
