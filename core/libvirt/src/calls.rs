//! How calls reach a lane: one change of a domain at a time, and what whoever begins a job is told.

use crate::jobs::Job;
use crate::link::Link;
use crate::live::Live;
use crate::locks::Held;
use ostler_driver::{CallControl, JobStatus};
use ostler_model::{DriverError, ErrorKind, VmUuid};
use std::time::{Duration, Instant};

/// How long whoever begins a job waits for the looks before it. They take milliseconds; a connection over ssh a second.
const BEGIN_WAIT: Duration = Duration::from_secs(5);

/// A call that changes a domain: one at a time, on the work road. Told to stop, it sends nothing.
pub(crate) async fn change<T: Send + 'static>(
    link: &Link,
    call: &CallControl,
    deed: impl FnOnce(&Live) -> Result<T, DriverError> + Send + 'static,
) -> Result<T, DriverError> {
    let vm = call.context.key.vm;
    let held = tokio::select! {
        biased;
        () = call.cancel.cancelled() => return Err(cancelled()),
        held = lock(link, vm, call.until) => held?,
    };
    let cancel = call.cancel.clone();
    let deed = move |live: &Live| if cancel.is_cancelled() { Err(cancelled()) } else { deed(live) };
    link.work.run(call.until, Some(link.locks.begin(vm, Some(held))), ErrorKind::Unknown, deed).await
}

/// As [`change`], and done even if the call was told to stop: for what takes something back.
pub(crate) async fn change_anyway<T: Send + 'static>(
    link: &Link,
    call: &CallControl,
    deed: impl FnOnce(&Live) -> Result<T, DriverError> + Send + 'static,
) -> Result<T, DriverError> {
    let vm = call.context.key.vm;
    let held = lock(link, vm, call.until).await?;
    link.work.run(call.until, Some(link.locks.begin(vm, Some(held))), ErrorKind::Unknown, deed).await
}

/// The domain's lock.
pub(crate) async fn lock(link: &Link, vm: VmUuid, until: Instant) -> Result<Held, DriverError> {
    let waiting = tokio::time::timeout_at(until.into(), link.locks.of(vm).lock_owned());
    waiting.await.map_err(|_| DriverError::retry("busy", "another call is still at work on this domain"))
}

/// Told to stop before anything was sent.
pub(crate) fn cancelled() -> DriverError {
    DriverError::new(ErrorKind::Cancelled, "cancelled", "told to stop before anything was sent")
}

/// What whoever begins a job is told: soon, whether it may begin; if that takes longer, that it is under way.
pub(crate) async fn begun(call: &CallControl, job: &Job) -> Result<JobStatus, DriverError> {
    let until = call.until.min(Instant::now() + BEGIN_WAIT);
    tokio::select! {
        biased;
        () = job.decided(until) => {}
        () = call.cancel.cancelled() => {
            job.stop();
            job.decided(until).await;
        }
    }
    job.status("looking")
}
