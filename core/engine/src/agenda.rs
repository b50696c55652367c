//! Asks for the scheduled actions of a VM that are due.

use crate::faults;
use crate::handle::{ActionRequest, EngineError};
use crate::input::{Loaded, ask, decide_and_commit};
use crate::shared::Shared;
use ostler_lifecycle::{Input, due};
use ostler_model::{Cause, Due, Hint, Refusal, RefusalKind, SCHEDULES_MAX, Verb, VmId};
use std::sync::Arc;

/// Asks for the scheduled actions that are due. The result of each one is committed with it.
pub(crate) async fn fire(shared: &Arc<Shared>, state: &mut Loaded) -> Result<(), EngineError> {
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
        decide_and_commit(shared, state, &Input::ScheduleRefused { schedule: id, refusal }, None)
            .await?;
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
