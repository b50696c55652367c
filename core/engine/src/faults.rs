//! The deliberate faults that need more than a condition at one place: see [`crate::Sabotage`].
//! Nothing here runs in a daemon.

use crate::handle::EngineError;
use crate::hooks::{Hooks, Sabotage};
use ostler_lifecycle::PutAway;
use ostler_model::{DriverError, Effect, Generation, Observation, VmRecord};
use std::borrow::Cow;
use std::time::Duration;
use tokio::sync::oneshot;

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

/// The call as it is sent. None if [`crate::Hooks::sends`] loses it.
pub(crate) fn as_sent<'a>(hooks: &Hooks, effect: &'a Effect) -> Option<Cow<'a, Effect>> {
    match &hooks.sends {
        Some(sends) => sends(effect).map(Cow::Owned),
        None => Some(Cow::Borrowed(effect)),
    }
}

/// The result of a look. Under [`Sabotage::SilenceIsAbsence`], a host that cannot be asked has
/// nothing.
pub(crate) fn as_looked(
    sabotage: Sabotage,
    look: Result<Observation, DriverError>,
) -> Result<Observation, DriverError> {
    if sabotage == Sabotage::SilenceIsAbsence { look.or(Ok(Observation::Absent)) } else { look }
}

/// The leftovers to remove, after a look has shown `seen`. Under [`Sabotage::AnyZombie`], any
/// domain that is there is one of them.
pub(crate) fn as_left<'a>(
    sabotage: Sabotage,
    seen: &Observation,
    left: PutAway<'a>,
) -> PutAway<'a> {
    if sabotage == Sabotage::AnyZombie && matches!(seen, Observation::Present(_)) {
        return PutAway { domain: Some(Generation(u64::MAX)), ..left };
    }
    left
}

/// Carries something out to its end, even if the caller goes away. Under
/// [`Sabotage::CallerCarries`] it ends where it is when the caller goes away.
pub(crate) async fn while_asked<T>(
    sabotage: Sabotage,
    reply: &mut oneshot::Sender<Result<T, EngineError>>,
    done: impl Future<Output = Result<T, EngineError>>,
) -> Result<T, EngineError> {
    if sabotage != Sabotage::CallerCarries {
        return done.await;
    }
    tokio::select! {
        biased;
        answer = done => answer,
        () = reply.closed() => Err(EngineError::Crashed),
    }
}
