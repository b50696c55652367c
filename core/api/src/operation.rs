//! Operations: accepted verbs, and how far each of them is.

use crate::Time;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An error that a driver or hypervisor reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DriverComplaint {
    /// How Ostler goes on: `retry`, `refused`, `not-here`, `gone`, `stale`, `cancelled` or
    /// `unknown`.
    pub kind: String,
    /// A stable code.
    pub code: String,
    /// The error in words.
    pub detail: String,
}

/// A verb that was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Operation {
    /// The operation's id.
    pub id: u64,
    /// The id of its VM.
    pub vm: u64,
    /// The verb. `create` for the creation itself.
    pub verb: String,
    /// The name of the token that asked; `local` over the unix socket; `scheduler` for the
    /// scheduler.
    pub by: String,
    /// When it began.
    pub began: Time,
    /// When it ended. None while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Time>,
    /// How it ended: `succeeded`, `failed` or `superseded`. None while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// The error, if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<DriverComplaint>,
    /// The operation that overtook it, if it was superseded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub superseded_by: Option<u64>,
    /// The step at which it failed. Later steps rolled it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_at: Option<String>,
    /// The steps so far. The last one is the current one while the operation runs.
    pub steps: Vec<Step>,
}

/// One step of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Step {
    /// The step's number within the VM.
    pub number: u64,
    /// The kind of step.
    pub kind: String,
    /// When it was decided.
    pub began: Time,
    /// When it ended. None while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Time>,
    /// How often the calls of this step were sent.
    pub attempts: u32,
    /// The last error. A step that succeeded in the end has one if it was sent again after an
    /// error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<DriverComplaint>,
    /// Whether the step did not succeed: the operation then failed, rolled back, or went on without
    /// it.
    #[serde(default)]
    pub failed: bool,
    /// Whether the step rolled back earlier steps.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub undoing: bool,
}

/// A VM's operations, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OperationPage {
    /// The operations.
    pub operations: Vec<Operation>,
}

/// One call of a driver that is a component, or one that it made to the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DriverCall {
    /// When it began.
    pub began: Time,
    /// The driver.
    pub driver: String,
    /// The host that it was for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The function of the driver: `deploy`.
    pub call: String,
    /// The function of the host that the driver called within it: `exec.run`. None for the call of
    /// the driver itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// The arguments without secrets: a command line, a file, a request.
    pub what: String,
    /// How long it took, in microseconds.
    pub took_us: u64,
    /// `ok`, the code of the error, how a command ended (`exit-1`, `signal-9`), or a status of HTTP.
    pub answer: String,
    /// The error in words, or the end of a command's standard error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Whether the answer is an error, or a command or request that failed.
    pub failed: bool,
}

/// The calls of the drivers of an operation, in the order in which they ended: a driver's own call
/// comes after those that it made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DriverCalls {
    /// The operation.
    pub operation: u64,
    /// The calls. Empty if its drivers are built in, if it ran before the daemon started, or if
    /// those of newer operations took their place.
    pub calls: Vec<DriverCall>,
    /// How many calls in the middle were left out.
    pub left_out: u64,
}
