//! The feed of committed changes.

use crate::Time;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A committed change. In the stream, `id:` is its sequence number and `event:` its kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// The event's number in the feed.
    pub seq: u64,
    /// When it was decided.
    pub at: Time,
    /// The VM it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm: Option<u64>,
    /// The version of the VM's record that this change made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// The kind of change: `created`, `state`, `operation-began`, `step-began`, `step-trouble`,
    /// `operation-ended`, `snapshots`, `scheduled`, `resource`, `stray`, `denied`.
    pub kind: String,
    /// The change in one sentence.
    pub summary: String,
    /// The details. Their shape depends on the kind.
    pub data: Value,
}

/// The last message of a stream that the daemon ends (`event: end`). It gives the reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StreamEnd {
    /// The code. `events-trimmed`: the requested events are no longer kept; list again and watch
    /// from there. `shutting-down`: connect again with the last sequence number. `store-failed`:
    /// see `/readyz`.
    pub code: String,
    /// The reason in words.
    pub detail: String,
    /// The oldest event that is still kept, if some were trimmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<u64>,
}
