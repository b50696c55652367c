//! The deliberate faults that need more than a condition at one place: see [`crate::Sabotage`].
//! Nothing here runs in a daemon.

use crate::hooks::Sabotage;
use ostler_model::VmRecord;
use std::borrow::Cow;
use std::time::Duration;

/// How long a call waits for a place in its lane under [`Sabotage::WaitCounts`].
const LANE_WAIT: Duration = Duration::from_secs(60);

/// The record as a request or a schedule finds it: under [`Sabotage::Ungated`] it counts as
/// reconciled.
pub(crate) fn as_found(sabotage: Sabotage, record: &VmRecord) -> Cow<'_, VmRecord> {
    if sabotage != Sabotage::Ungated || !record.is_unreconciled() {
        return Cow::Borrowed(record);
    }
    let mut record = record.clone();
    if let Some(restored) = &mut record.restored {
        restored.reconciled = true;
    }
    Cow::Owned(record)
}

/// Under [`Sabotage::WaitCounts`]: ends when a call has waited too long for a place in its lane.
/// Otherwise never.
pub(crate) async fn waited_too_long(sabotage: Sabotage) {
    if sabotage == Sabotage::WaitCounts {
        tokio::time::sleep(LANE_WAIT).await;
    } else {
        std::future::pending::<()>().await;
    }
}
