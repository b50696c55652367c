//! The one place that asks what time it is: of day, and since the start.

use ostler_model::Timestamp;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Now, by the system's clock. A clock before 1970 counts as 1970: nothing here depends on more than its order.
#[must_use]
pub(crate) fn system() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Now, by the clock that timers go by, which nobody sets. A simulation stops it and lets it jump.
#[must_use]
pub(crate) fn instant() -> Instant {
    tokio::time::Instant::now().into_std()
}
