//! Something to be done to a VM later: when, and what exactly.

use crate::{Args, HostId, Schedule, ScheduleId, Timestamp};
use serde::{Deserialize, Serialize};

/// A scheduled action of a VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// When, what verb, and how it went last.
    pub schedule: Schedule,
    /// With what.
    #[serde(default)]
    pub args: Args,
    /// For deploy and migrate: where.
    #[serde(default)]
    pub host: Option<HostId>,
    /// The VM was busy when it was due: tried again then.
    #[serde(default)]
    pub retry_at: Option<Timestamp>,
}

impl Planned {
    /// Its id.
    #[must_use]
    pub const fn id(&self) -> ScheduleId {
        self.schedule.id
    }

    /// When it is tried next; none if it is over.
    #[must_use]
    pub fn try_at(&self) -> Option<Timestamp> {
        let next = self.schedule.next?;
        Some(self.retry_at.map_or(next, |retry| retry.max(next)))
    }
}
