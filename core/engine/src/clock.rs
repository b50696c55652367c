//! The only place in this crate that asks a clock: for the time of day, and for the time that
//! timers use.

use ostler_model::Timestamp;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The time of day, from the system's clock. A clock before 1970 counts as 1970, because only the
/// order of times matters here.
#[must_use]
pub(crate) fn system() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The time by the clock that timers use. Nobody can set this clock back. A simulation stops it and
/// makes it jump.
#[must_use]
pub(crate) fn instant() -> Instant {
    tokio::time::Instant::now().into_std()
}
