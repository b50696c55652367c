//! Scheduled actions of a VM: the schedule, and the arguments of the request.

use crate::{Args, HostId, Schedule, ScheduleId, Timestamp};
use serde::{Deserialize, Serialize};

/// A scheduled action of a VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// The time, the verb, and the result of the last run.
    pub schedule: Schedule,
    /// The arguments of the verb.
    #[serde(default)]
    pub args: Args,
    /// For deploy and migrate: the host.
    #[serde(default)]
    pub host: Option<HostId>,
    /// When the action is tried again, because the VM was busy when it was due.
    #[serde(default)]
    pub retry_at: Option<Timestamp>,
}

impl Planned {
    /// Its id.
    #[must_use]
    pub const fn id(&self) -> ScheduleId {
        self.schedule.id
    }

    /// When it is tried next; none if it will not be tried any more.
    #[must_use]
    pub fn try_at(&self) -> Option<Timestamp> {
        let next = self.schedule.next?;
        Some(self.retry_at.map_or(next, |retry| retry.max(next)))
    }
}
