//! Operations.

use super::time;
use ostler_api as wire;
use ostler_model::{DriverError, Ended, OperationId, OperationRecord, StepTrace};
use ostler_wasm::{Record, Recording};
use std::time::SystemTime;

/// An operation, as it is sent.
pub(crate) fn operation(record: &OperationRecord) -> wire::Operation {
    let (outcome, error, superseded_by) = match &record.outcome {
        None => (None, None, None),
        Some(Ended::Succeeded) => (Some("succeeded"), None, None),
        Some(Ended::Failed { error }) => (Some("failed"), Some(complaint(error)), None),
        Some(Ended::Superseded { by }) => (Some("superseded"), None, Some(by.0)),
    };
    wire::Operation {
        id: record.id.0,
        vm: record.vm.0,
        verb: verb_of(record),
        by: record.by.clone(),
        began: time(record.began),
        ended: record.ended.map(time),
        outcome: outcome.map(str::to_owned),
        error,
        superseded_by,
        failed_at: record.failed_at().map(|step| step.to_string()),
        steps: record.steps.iter().map(step).collect(),
    }
}

/// The calls of an operation's drivers, as they are sent.
pub(crate) fn calls(operation: OperationId, recording: Recording) -> wire::DriverCalls {
    let call = |record: Record| wire::DriverCall {
        began: wire::Time(
            record
                .at
                .duration_since(SystemTime::UNIX_EPOCH)
                .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
        ),
        driver: record.driver.to_string(),
        host: record.host.map(|host| host.to_string()),
        call: record.call.to_owned(),
        function: record.function.map(str::to_owned),
        what: record.what,
        took_us: u64::try_from(record.took.as_micros()).unwrap_or(u64::MAX),
        answer: record.answered.code,
        detail: record.answered.detail,
        failed: record.answered.failed,
    };
    wire::DriverCalls {
        operation: operation.0,
        calls: recording.records.into_iter().map(call).collect(),
        left_out: recording.left_out,
    }
}

/// The verb of an operation, or `create`.
pub(super) fn verb_of(record: &OperationRecord) -> String {
    record.verb.map_or_else(|| "create".to_owned(), |verb| verb.to_string())
}

fn step(trace: &StepTrace) -> wire::Step {
    wire::Step {
        number: trace.step.0,
        kind: trace.kind.to_string(),
        began: time(trace.began),
        ended: trace.ended.map(time),
        // The record has 0 here if each call was sent once and none failed.
        attempts: trace.attempts.max(1),
        error: trace.error.as_ref().map(complaint),
        failed: trace.failed,
        undoing: trace.undoing,
    }
}

/// An error of a driver, as it is sent.
pub(crate) fn complaint(error: &DriverError) -> wire::DriverComplaint {
    wire::DriverComplaint {
        kind: error.kind.to_string(),
        code: error.code.clone(),
        detail: error.detail.clone(),
    }
}
