//! The time, for tokens and for the dates of resources. Decisions about VMs use the engine's clock.

use ostler_model::Timestamp;
use std::time::{SystemTime, UNIX_EPOCH};

/// Now.
#[must_use]
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
