//! Makes a driver call from an effect.

use crate::arguments::{Arguments, JobArguments, Work, no_host};
use crate::clock;
use crate::faults;
use crate::figures::Called;
use crate::shared::Shared;
use ostler_driver::{CallControl, JobStatus, Related, Site, require};
use ostler_model::{
    Call, CallResult, DriverError, DriverName, Effect, ErrorKind, HostId, NowCall, Observation,
    Outcome, VmRecord,
};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The driver is asked for the progress of a long job: after this time at first, and then less and
/// less often. Each wait is a fixed share of the time that the job has taken so far. So a late
/// question makes the job at most that share longer.
const POLL_FIRST: Duration = Duration::from_millis(20);
/// Each wait is the time so far divided by this number.
const POLL_SHARE: u32 = 32;
/// The longest wait.
const POLL_MOST: Duration = Duration::from_secs(2);

/// How long a driver may take to end a job: less than the time after which a call that was told to
/// stop is given up.
const ABORT_MOST: Duration = Duration::from_secs(4);

/// Runs a driver's future, and turns its panic into an answer. Drivers are code of others. If a
/// panic took the answer away, the caller would wait for ever.
pub(crate) async fn caught<T>(
    call: impl Future<Output = Result<T, DriverError>>,
) -> Result<T, DriverError> {
    use futures::FutureExt as _;
    // Only the driver's own data can be left half changed by the panic. No data of ours is borrowed
    // mutably.
    std::panic::AssertUnwindSafe(call).catch_unwind().await.unwrap_or_else(|panic| {
        let words = panic
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let detail = format!("the driver panicked: {}", words.unwrap_or("without a word"));
        tracing::error!(detail, "a driver panicked");
        // The lifecycle recognises a crash by this code, and gives up after several of them.
        Err(DriverError::unknown("driver-trap", detail))
    })
}

/// Looks at a VM on the host of its placement.
pub(crate) async fn observe(
    shared: &Shared,
    record: &VmRecord,
) -> Result<Observation, DriverError> {
    match &record.placement {
        Some(place) => observe_at(shared, place.host, &place.driver, record).await,
        None => Ok(Observation::Absent),
    }
}

/// Looks at a VM on a host.
pub(crate) async fn observe_at(
    shared: &Shared,
    host: HostId,
    name: &DriverName,
    record: &VmRecord,
) -> Result<Observation, DriverError> {
    let driver = shared
        .drivers
        .hypervisor(name)
        .map_err(|error| DriverError::retry("not-loaded", error.to_string()))?;
    let site = shared.directory().site(host).ok_or_else(|| no_host(host))?;
    let called = Called { driver: name, host: Some(host), function: "observe" };
    let look = shared.counted(called, caught(driver.observe(&site, record.uuid))).await;
    faults::as_looked(shared.config.hooks.sabotage, look)
}

/// The subjects of the call beside its arguments.
pub(crate) fn related(shared: &Shared, effect: &Effect, record: &VmRecord) -> Related {
    let directory = shared.directory();
    Arguments { shared, directory: &directory, record, effect }.related()
}

/// Calls the driver with the arguments of the effect.
pub(crate) async fn call(
    shared: &Arc<Shared>,
    effect: &Effect,
    record: &VmRecord,
    control: &CallControl,
) -> CallResult {
    let directory = shared.directory();
    let site =
        directory.site_for(effect.host, &effect.driver).ok_or_else(|| no_host(effect.host))?;
    let args = Arguments { shared, directory: &directory, record, effect };
    match effect.call {
        Call::Job(job) => run_job(&args.job(job)?, &site, control).await,
        Call::Now(now) => short_call(now, &args, &site, control).await,
    }
}

async fn short_call(
    call: NowCall,
    args: &Arguments<'_>,
    site: &Site,
    control: &CallControl,
) -> CallResult {
    let (driver, name) = (args.hypervisor()?, &args.effect.driver);
    match call {
        NowCall::Deploy => {
            driver
                .deploy(site, control, &args.domain(args.effect.host, args.effect.generation)?)
                .await
        }
        NowCall::Restore => {
            let domain = args.domain(args.effect.host, args.effect.generation)?;
            require(driver.suspend(), name)?
                .restore(site, control, &domain, &args.recovery()?)
                .await
        }
        NowCall::Unpause => require(driver.suspend(), name)?.unpause(site, control).await,
        NowCall::PressPower => driver.press_power(site, control).await,
        NowCall::Destroy => driver.destroy(site, control).await,
        NowCall::Save => {
            require(driver.suspend(), name)?.save(site, control, &args.recovery()?).await
        }
        NowCall::Remove => driver.remove(site, control).await,
        NowCall::Reboot => require(driver.reboot(), name)?.reboot(site, control).await,
        NowCall::Reset => require(driver.reboot(), name)?.reset(site, control).await,
        NowCall::AttachDisk => {
            let disk = args.domain_disk(args.disk()?, args.effect.host)?;
            require(driver.hotplug(), name)?.attach_disk(site, control, &disk).await
        }
        NowCall::DetachDisk => {
            require(driver.hotplug(), name)?.detach_disk(site, control, &args.disk()?.name).await
        }
        NowCall::AttachNic => {
            require(driver.hotplug(), name)?.attach_nic(site, control, &args.nic()?).await
        }
        NowCall::DetachNic => {
            require(driver.hotplug(), name)?.detach_nic(site, control, args.mac()?).await
        }
        NowCall::Resize => {
            let spec = &args.record.spec;
            require(driver.live_resize(), name)?
                .resize(site, control, spec.vcpus, spec.memory_mib)
                .await
        }
        NowCall::CreateSnapshot => {
            require(driver.snapshots(), name)?.create(site, control, args.snapshot()?).await
        }
        NowCall::RevertSnapshot => {
            require(driver.snapshots(), name)?.revert(site, control, args.snapshot()?).await
        }
        NowCall::DeleteSnapshot => {
            require(driver.snapshots(), name)?.delete(site, control, args.snapshot()?).await
        }
        NowCall::Stamp => {
            let identity = args.identity(args.effect.generation);
            require(driver.adopt(), name)?.stamp(site, control, &identity).await
        }
        NowCall::Observe => {
            let seen = driver.observe(site, args.record.uuid).await?;
            Ok(Outcome { seen: Some(seen), state: None })
        }
    }
}

impl JobArguments<'_> {
    async fn begin(&self, site: &Site, control: &CallControl) -> Result<JobStatus, DriverError> {
        match &self.work {
            Work::Transfer(driver, job) => driver.begin(site, control, job).await,
            Work::SaveBack(driver, job) => {
                require(driver.images(), self.name)?.begin_save_back(site, control, job).await
            }
            Work::Migrate { driver, domain, to, move_disks } => {
                require(driver.migrate(), self.name)?
                    .begin(site, control, domain, to, move_disks)
                    .await
            }
            Work::CopyDisk { driver, disk, target, format } => {
                require(driver.disk_copy(), self.name)?
                    .begin(site, control, disk, target, *format)
                    .await
            }
        }
    }

    async fn poll(&self, site: &Site, control: &CallControl) -> Result<JobStatus, DriverError> {
        match &self.work {
            Work::Transfer(driver, _) | Work::SaveBack(driver, _) => {
                driver.poll(site, control).await
            }
            Work::Migrate { driver, .. } => {
                require(driver.migrate(), self.name)?.poll(site, control).await
            }
            Work::CopyDisk { driver, .. } => {
                require(driver.disk_copy(), self.name)?.poll(site, control).await
            }
        }
    }

    async fn abort(&self, site: &Site, control: &CallControl) -> Result<(), DriverError> {
        match &self.work {
            Work::Transfer(driver, _) | Work::SaveBack(driver, _) => {
                driver.abort(site, control).await
            }
            Work::Migrate { driver, .. } => {
                require(driver.migrate(), self.name)?.abort(site, control).await
            }
            Work::CopyDisk { driver, .. } => {
                require(driver.disk_copy(), self.name)?.abort(site, control).await
            }
        }
    }
}

/// The control of the call that ends a job. The call that is ended was told to stop, and its time
/// may be over.
fn to_abort(control: &CallControl) -> CallControl {
    CallControl {
        until: clock::instant() + ABORT_MOST,
        cancel: CancellationToken::new(),
        ..control.clone()
    }
}

/// Begins the job and asks for its progress until it is done. If this future is dropped, the job is
/// begun again when the effect is sent again.
async fn run_job(job: &JobArguments<'_>, site: &Site, control: &CallControl) -> CallResult {
    let begun = clock::instant();
    let mut status = job.begin(site, control).await?;
    loop {
        match status {
            JobStatus::Done(outcome) => return Ok(outcome),
            JobStatus::Pending(progress) => {
                control.progress.send_replace(Some(progress));
                let wait = (clock::instant().duration_since(begun) / POLL_SHARE)
                    .clamp(POLL_FIRST, POLL_MOST);
                tokio::select! {
                    biased;
                    () = tokio::time::sleep(wait) => {}
                    () = control.cancel.cancelled() => {
                        // If the abort failed, whatever the reason, the job may go on.
                        job.abort(site, &to_abort(control)).await.map_err(|error| DriverError::unknown("not-aborted", error.told()))?;
                        return Err(DriverError::new(ErrorKind::Cancelled, "aborted", "the job was told to stop, and did"));
                    }
                }
                status = job.poll(site, control).await.map_err(|error| match error.kind {
                    // The driver does not know the job any more, so it must be begun again.
                    ErrorKind::Gone => DriverError::retry("job-lost", error.detail),
                    _ => error,
                })?;
            }
        }
    }
}
