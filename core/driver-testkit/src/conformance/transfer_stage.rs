//! The stage for checks of a transfer driver: a new folder per file, and jobs that are polled to
//! their end.

use super::cuts::Cutting;
use super::stage::{answered, broken, control, skip, was_cut};
use super::{TransferBench, Trouble, Verdict};
use ostler_driver::{
    CallControl, DiskSource, FileRef, JobStatus, SaveBackJob, Site, Transfer, TransferJob,
};
use ostler_model::{
    DiskFormat, DriverError, EffectKey, ErrorKind, Item, OperationId, Outcome, StepNo, StoreId,
    VmUuid,
};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often a job is polled.
const POLL_EVERY: Duration = Duration::from_millis(20);

/// A job of the driver's mandatory part, or of the part that makes images.
#[derive(Clone, Copy)]
pub(super) enum Work<'a> {
    Transfer(&'a TransferJob),
    SaveBack(&'a SaveBackJob),
}

impl<'a> From<&'a TransferJob> for Work<'a> {
    fn from(job: &'a TransferJob) -> Self {
        Self::Transfer(job)
    }
}

impl<'a> From<&'a SaveBackJob> for Work<'a> {
    fn from(job: &'a SaveBackJob) -> Self {
        Self::SaveBack(job)
    }
}

/// A driver, its bench, and the files that a check has made.
pub(super) struct Stage {
    pub(super) driver: Arc<dyn Transfer>,
    pub(super) bench: Arc<dyn TransferBench>,
    pub(super) site: Site,
    store: StoreId,
    /// The VM whose files all files of the stage are, as the engine's jobs have it.
    vm: VmUuid,
    steps: AtomicU64,
    made: Mutex<Vec<FileRef>>,
    pub(super) cutting: Cutting,
}

impl Stage {
    /// `cuts`: how many checks stop the driver at its calls to the host.
    pub(super) fn new(
        driver: Arc<dyn Transfer>,
        bench: Arc<dyn TransferBench>,
        cuts: usize,
    ) -> Self {
        let cutting = Cutting::new(bench.cuts(), bench.cuts_within(), cuts);
        let site = bench.site();
        let store = StoreId(bench.fresh().0);
        let (vm, steps) = (bench.fresh(), AtomicU64::new(1));
        Self { driver, bench, site, store, vm, steps, made: Mutex::new(Vec::new()), cutting }
    }

    /// A place for a file in a new folder below that of the VM.
    pub(super) fn place(&self, name: &str) -> FileRef {
        let file = self.bench.place(&format!("{}/{}", self.vm, self.bench.fresh()), name);
        self.made.lock().unwrap_or_else(PoisonError::into_inner).push(file.clone());
        file
    }

    pub(super) fn call(&self) -> CallControl {
        let step = StepNo(self.steps.fetch_add(1, Ordering::Relaxed));
        let key = EffectKey { vm: self.vm, operation: OperationId(1), step, item: Item::Files };
        control(self.store, key, 1, self.bench.patience())
    }

    pub(super) fn again(&self, call: &CallControl) -> CallControl {
        let mut again = control(self.store, call.context.key.clone(), 1, self.bench.patience());
        again.context.attempt = call.context.attempt + 1;
        again
    }

    /// Begins a job. The check is skipped if the driver does not have the part that the job needs.
    async fn begin(
        &self,
        call: &CallControl,
        work: Work<'_>,
    ) -> Result<Result<JobStatus, DriverError>, Trouble> {
        let patience = self.bench.patience();
        match work {
            Work::Transfer(job) => {
                answered("begin", patience, self.driver.begin(&self.site, call, job)).await
            }
            Work::SaveBack(job) => {
                let Some(images) = self.driver.images() else {
                    return skip("the driver makes no images");
                };
                answered("begin-save-back", patience, images.begin_save_back(&self.site, call, job))
                    .await
            }
        }
    }

    /// Begins a job and polls it to its end.
    pub(super) async fn job(
        &self,
        call: &CallControl,
        job: impl Into<Work<'_>>,
    ) -> Result<Result<Outcome, DriverError>, Trouble> {
        let work = job.into();
        let (patience, end) = (self.bench.patience(), Instant::now() + self.bench.patience());
        let mut status = self.begin(call, work).await?;
        let mut last = None;
        loop {
            match status {
                Ok(JobStatus::Done(outcome)) => return Ok(Ok(outcome)),
                Ok(JobStatus::Pending(progress)) if Instant::now() >= end => {
                    return broken(format!(
                        "the job is still pending at its deadline: {progress:?}"
                    ));
                }
                Ok(JobStatus::Pending(_)) => {
                    tokio::time::sleep(POLL_EVERY).await;
                    status = answered("poll", patience, self.driver.poll(&self.site, call)).await?;
                }
                Err(error) if error.kind == ErrorKind::Retry && Instant::now() < end => {
                    last = Some(error);
                    tokio::time::sleep(POLL_EVERY).await;
                    status = self.begin(call, work).await?;
                }
                // The deadline has cut the last attempt. The driver's own words tell more.
                Err(error) if was_cut(&error) => return Ok(Err(last.unwrap_or(error))),
                Err(error) => return Ok(Err(error)),
            }
        }
    }

    pub(super) async fn done(
        &self,
        what: &str,
        call: &CallControl,
        job: impl Into<Work<'_>>,
    ) -> Verdict {
        match self.job(call, job).await? {
            Ok(_) => Ok(()),
            Err(error) => broken(format!("{what} answered: {error}")),
        }
    }

    pub(super) async fn there(&self, what: &str, file: &FileRef, wanted: bool) -> Verdict {
        match (self.bench.exists(file).await, wanted) {
            (true, false) => broken(format!("{what}, {} is there", file.path)),
            (false, true) => broken(format!("{what}, {} is not there", file.path)),
            (true, true) | (false, false) => Ok(()),
        }
    }

    /// Checks that the file's folder holds exactly the names in `wanted`.
    pub(super) async fn only(&self, what: &str, file: &FileRef, wanted: &[&str]) -> Verdict {
        let mut found = self.bench.beside(file).await;
        found.sort_unstable();
        if found == wanted {
            Ok(())
        } else {
            broken(format!("{what}, the folder holds {found:?}, not {wanted:?}"))
        }
    }

    pub(super) fn blank(&self, target: &FileRef) -> TransferJob {
        let source = DiskSource::Blank { size_mib: 4 };
        TransferJob::Prepare { target: target.clone(), format: DiskFormat::Qcow2, source }
    }

    pub(super) async fn tidy(&self) {
        let made = std::mem::take(&mut *self.made.lock().unwrap_or_else(PoisonError::into_inner));
        for file in made {
            let Some((folder, _)) = file.path.as_str().rsplit_once('/') else { continue };
            let Ok(path) = folder.parse() else { continue };
            let absolute = file
                .absolute
                .rsplit_once('/')
                .map(|(folder, _)| folder.to_owned())
                .unwrap_or_default();
            let target = FileRef { path, absolute, ..file };
            let removed = self.done("delete", &self.call(), &TransferJob::Delete { target }).await;
            if let Err(trouble) = removed {
                tracing::debug!(?trouble, "a folder of the conformance suite could not be removed");
            }
        }
    }
}
