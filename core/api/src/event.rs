//! The feed of committed changes.

use crate::Time;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A committed change. In the stream, `id:` is its sequence number and `event:` its kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Its place in the feed.
    pub seq: u64,
    /// When it was decided.
    pub at: Time,
    /// The VM it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm: Option<u64>,
    /// The VM's version that it came with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// What happened, in a word: `created`, `state`, `operation-began`, `step-began`, `step-trouble`, `operation-ended`,
    /// `snapshots`, `scheduled`, `resource`, `stray`, `denied`.
    pub kind: String,
    /// In a sentence.
    pub summary: String,
    /// The particulars; their shape depends on the kind.
    pub data: Value,
}

/// The last message of a stream that the daemon ends (`event: end`), with a reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StreamEnd {
    /// `events-trimmed`: the events asked for are not kept any more, list again and watch from there. `shutting-down`: connect
    /// again with the last sequence number. `store-failed`: see `/readyz`.
    pub code: String,
    /// In words.
    pub detail: String,
    /// The oldest event that is still kept, if some were trimmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<u64>,
}
