//! When something is to be done later. (Stub until the calendar arrives.)

use crate::{Timestamp, Verb};
use serde::{Deserialize, Serialize};

/// A scheduled action of one VM. Unique within the VM, never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ScheduleId(pub u32);

impl std::fmt::Display for ScheduleId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Stub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Its id.
    pub id: ScheduleId,
    /// What.
    pub verb: Verb,
    /// Next firing.
    pub next: Option<Timestamp>,
}
