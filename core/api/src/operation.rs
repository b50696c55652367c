//! Operations: things asked for, and how far they are.

use crate::Time;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a driver or hypervisor said when something went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DriverComplaint {
    /// What is done next: `retry`, `refused`, `not-here`, `gone`, `stale`, `cancelled` or `unknown`.
    pub kind: String,
    /// A stable code.
    pub code: String,
    /// In words.
    pub detail: String,
}

/// One thing asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Operation {
    /// Its id.
    pub id: u64,
    /// Whose.
    pub vm: u64,
    /// What was asked; `create` for the creation itself.
    pub verb: String,
    /// Who asked.
    pub by: String,
    /// When.
    pub began: Time,
    /// When it ended; none while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Time>,
    /// How: `succeeded`, `failed` or `superseded`; none while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// What went wrong, if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<DriverComplaint>,
    /// The operation that overtook it, if it was superseded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub superseded_by: Option<u64>,
    /// The step that it failed at. Steps that came after it rolled it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_at: Option<String>,
    /// The steps so far; the last is the one in hand.
    pub steps: Vec<Step>,
}

/// One step of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Step {
    /// Its number within the VM.
    pub number: u64,
    /// What it is.
    pub kind: String,
    /// When it was decided.
    pub began: Time,
    /// When it ended; none while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Time>,
    /// How often its calls were sent.
    pub attempts: u32,
    /// What went wrong last. A step that went well in the end may have been sent more than once for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<DriverComplaint>,
    /// Whether it came to nothing: the operation failed, rolled back, or went on without it.
    #[serde(default)]
    pub failed: bool,
    /// Whether it took back what went before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub undoing: bool,
}

/// A VM's operations, the newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OperationPage {
    /// The operations.
    pub operations: Vec<Operation>,
}
