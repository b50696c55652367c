//! The abilities of the driver that are long jobs: migrations and copies of disks.

use super::{Kvm, STOP_PAUSE, bridges_of};
use crate::bridge;
use crate::calls;
use crate::copy;
use crate::folder::Folder;
use crate::jobs::{self, Job, JobKind};
use crate::link::Link;
use crate::migrate;
use async_trait::async_trait;
use ostler_driver::{CallControl, DiskCopy, DomainSpec, FileRef, JobStatus, Migrate, Site};
use ostler_model::{DiskFormat, DiskName, DriverError, ErrorKind, Progress};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The least time that stopping a job gets: a job is also stopped because its time is over. If a
/// migration's network is cut, libvirt gives the other side up after 30 s.
const STOP_LEAST: Duration = Duration::from_secs(45);

impl Kvm {
    /// The progress of a job that is at work, if libvirt tells it now.
    async fn progress(&self, link: &Link, call: &CallControl, job: JobKind) -> Option<Progress> {
        let vm = call.context.key.vm;
        let (phase, asked) = match job {
            JobKind::Migrate => {
                ("copying memory", self.ask(link, move |live| migrate::progress(live, vm)).await)
            }
            JobKind::CopyDisk => {
                let order = self.order(call);
                ("copying the disk", self.ask(link, move |live| copy::progress(live, &order)).await)
            }
        };
        let (done, total) = asked.ok()??;
        Some(Progress { done, total, phase: phase.to_owned() })
    }

    /// Ends the job's work at libvirt, if there is any. True once nothing is at work.
    async fn stop_job(
        &self,
        link: &Link,
        call: &CallControl,
        job: JobKind,
    ) -> Result<bool, DriverError> {
        let order = self.order(call);
        match job {
            JobKind::Migrate => self.ask(link, move |live| migrate::abort(live, &order)).await,
            JobKind::CopyDisk => self.ask(link, move |live| copy::abort(live, &order, None)).await,
        }
    }

    /// Stops a job of ours, again and again: a stop that comes before the job has begun at libvirt
    /// has no effect. True if the job's end says that nothing is at work any more; false if libvirt
    /// must be asked.
    async fn stop_known(
        &self,
        link: &Link,
        call: &CallControl,
        job: &Job,
        until: Instant,
    ) -> Result<bool, DriverError> {
        job.stop();
        loop {
            let pause = until.min(Instant::now() + STOP_PAUSE);
            match job.ended(pause).await {
                // A copy that is complete has changed nothing for the guest. A domain that has
                // moved does not run where it ran.
                Some(Ok(_)) if job.kind == JobKind::CopyDisk => return Ok(true),
                Some(Ok(_)) => {
                    return Err(DriverError::unknown(
                        "too-late",
                        "it was done before it could be stopped",
                    ));
                }
                Some(Err(error)) => {
                    return Ok(!matches!(error.kind, ErrorKind::Unknown | ErrorKind::Retry));
                }
                None if Instant::now() >= until => {
                    return Err(DriverError::unknown("timeout", "it is still being stopped"));
                }
                None => {}
            }
            if let Err(error) = self.stop_job(link, call, job.kind).await {
                tracing::debug!(key = %job.key, %error, "stopping a job");
            }
        }
    }

    /// The progress of a job of ours, or its end.
    async fn poll_of(
        &self,
        site: &Site,
        call: &CallControl,
        job: JobKind,
    ) -> Result<JobStatus, DriverError> {
        let (link, _) = self.link(site)?;
        let known = link.jobs.find(&call.context.key, job).ok_or_else(jobs::not_known)?;
        if let Some(result) = known.result() {
            return result.map(JobStatus::Done);
        }
        match self.progress(&link, call, job).await {
            Some(progress) if known.result().is_none() => Ok(JobStatus::Pending(progress)),
            _ => known.status("waiting"),
        }
    }

    /// Stops a job, of ours or of an earlier ostlerd.
    async fn abort_of(
        &self,
        site: &Site,
        call: &CallControl,
        job: JobKind,
    ) -> Result<(), DriverError> {
        let (link, _) = self.link(site)?;
        let until = call.until.max(Instant::now() + STOP_LEAST);
        if let Some(known) = link.jobs.find(&call.context.key, job)
            && self.stop_known(&link, call, &known, until).await?
        {
            return Ok(());
        }
        // An earlier ostlerd, which is gone, may have begun the job.
        let in_doubt = |error: DriverError| match error.kind {
            ErrorKind::Retry => DriverError::unknown(error.code, error.detail),
            _ => error,
        };
        while !self.stop_job(&link, call, job).await.map_err(in_doubt)? {
            if Instant::now() >= until {
                return Err(DriverError::unknown("timeout", "it is still being stopped"));
            }
            tokio::time::sleep(STOP_PAUSE).await;
        }
        Ok(())
    }
}

#[async_trait]
impl Migrate for Kvm {
    async fn begin(
        &self,
        site: &Site,
        call: &CallControl,
        domain: &DomainSpec,
        to: &Site,
        move_disks: &[DiskName],
    ) -> Result<JobStatus, DriverError> {
        let ((here, config), (there, to_config)) = (self.link(site)?, self.link(to)?);
        let folder = Folder::of(to, &domain.console_log.absolute);
        let plan = migrate::MigrationPlan::new(
            self.order_for(call, domain)?,
            domain,
            folder,
            &config,
            &to_config,
            move_disks,
        )?;
        let ends = migrate::Ends {
            here: Arc::clone(&here),
            there,
            patience: self.options.ask_timeout,
            until: call.until,
        };
        let (to, bridges) = (to.clone(), bridges_of(domain));
        let work = |job| async move {
            let moved = migrate::run(job, ends, Arc::new(plan)).await;
            moved.map_err(|error| bridge::told(error, &to, bridges.iter().map(String::as_str)))
        };
        let job = here.jobs.begin(&call.context.key, JobKind::Migrate, work)?;
        calls::begun(call, &job).await
    }

    async fn poll(&self, site: &Site, call: &CallControl) -> Result<JobStatus, DriverError> {
        self.poll_of(site, call, JobKind::Migrate).await
    }

    async fn abort(&self, site: &Site, call: &CallControl) -> Result<(), DriverError> {
        self.abort_of(site, call, JobKind::Migrate).await
    }
}

#[async_trait]
impl DiskCopy for Kvm {
    async fn begin(
        &self,
        site: &Site,
        call: &CallControl,
        disk: &DiskName,
        target: &FileRef,
        format: DiskFormat,
    ) -> Result<JobStatus, DriverError> {
        let (link, _) = self.link(site)?;
        let plan = copy::CopyPlan::new(
            self.order(call),
            disk,
            target,
            Folder::of(site, &target.absolute),
            format,
        )?;
        let (whose, patience, until) = (Arc::clone(&link), self.options.ask_timeout, call.until);
        let work = |job| copy::run(job, whose, plan, patience, until);
        let job = link.jobs.begin(&call.context.key, JobKind::CopyDisk, work)?;
        calls::begun(call, &job).await
    }

    async fn poll(&self, site: &Site, call: &CallControl) -> Result<JobStatus, DriverError> {
        self.poll_of(site, call, JobKind::CopyDisk).await
    }

    async fn abort(&self, site: &Site, call: &CallControl) -> Result<(), DriverError> {
        self.abort_of(site, call, JobKind::CopyDisk).await
    }
}
