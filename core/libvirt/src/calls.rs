//! How calls reach a lane: one change of a domain at a time. Also the first answer to the caller
//! that begins a job.

use crate::jobs::Job;
use crate::link::Link;
use crate::live::Live;
use crate::locks::Held;
use ostler_driver::{CallControl, JobStatus};
use ostler_model::{DriverError, ErrorKind, VmUuid};
use std::time::{Duration, Instant};

/// How long the caller that begins a job waits for the looks that come before the job. They take
/// milliseconds; a new connection over ssh takes a second.
const BEGIN_WAIT: Duration = Duration::from_secs(5);

/// Runs a call that changes a domain: one at a time per domain, on the work road. A call that was
/// told to stop before it began sends nothing.
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
    link.work
        .run(call.until, Some(link.locks.begin(vm, Some(held))), ErrorKind::Unknown, deed)
        .await
}

/// As [`change`], but runs even if the call was told to stop: for calls that take something back.
pub(crate) async fn change_anyway<T: Send + 'static>(
    link: &Link,
    call: &CallControl,
    deed: impl FnOnce(&Live) -> Result<T, DriverError> + Send + 'static,
) -> Result<T, DriverError> {
    let vm = call.context.key.vm;
    let held = lock(link, vm, call.until).await?;
    link.work
        .run(call.until, Some(link.locks.begin(vm, Some(held))), ErrorKind::Unknown, deed)
        .await
}

/// Waits for the domain's lock, until the deadline at most.
pub(crate) async fn lock(link: &Link, vm: VmUuid, until: Instant) -> Result<Held, DriverError> {
    let waiting = tokio::time::timeout_at(until.into(), link.locks.of(vm).lock_owned());
    waiting
        .await
        .map_err(|_| DriverError::retry("busy", "another call is still at work on this domain"))
}

/// The error of a call that was told to stop before anything was sent.
pub(crate) fn cancelled() -> DriverError {
    DriverError::new(ErrorKind::Cancelled, "cancelled", "told to stop before anything was sent")
}

/// The first answer to the caller that begins a job. It says whether the job may begin; if that
/// takes longer than `BEGIN_WAIT`, it says that the job is under way.
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
