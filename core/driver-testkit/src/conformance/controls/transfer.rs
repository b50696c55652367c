//! Faults of a transfer driver, and the checks that each fault must make fail.

use crate::conformance::bench::FakeBench;
use crate::fake::{Fake, FakeFile};
use async_trait::async_trait;
use ostler_driver::{
    CallControl, DiskSource, FileKind, FileLook, FileRef, JobStatus, SaveBackJob, Site, Transfer,
    TransferImages, TransferInspect, TransferJob,
};
use ostler_model::{DriverError, ErrorKind, Outcome};
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TransferFault {
    KeepsPartial,
    FailsIfThere,
    LosesSource,
    NeedsSource,
    SaysDoneOfNothing,
    DeleteFailsIfGone,
    AbortFails,
    ImageFailsIfThere,
    ImageKeepsPartial,
    ImageNeedsDisk,
    ImageOfNothing,
    ImageStandsOnDisk,
    MakesNoImages,
    BelievesDisks,
    BelievesImages,
    CannotLook,
    SeesNoNames,
    SeesDamage,
    SeesWhatIsNot,
    IgnoresSize,
    LargerKeepsPartial,
    CutsImages,
    MakesNoneLarger,
}

struct FaultyTransfer {
    inner: Fake,
    fault: TransferFault,
}

impl FaultyTransfer {
    fn there(&self, file: &FileRef) -> bool {
        self.inner.file(file.host, &file.datastore, &file.path).is_some()
    }

    /// Acts as if the file named no other file.
    fn believe(&self, file: &FileRef) {
        if let Some(found) = self.inner.file(file.host, &file.datastore, &file.path) {
            let content = found.content.replace("names ", "");
            self.inner.put_file(
                file.host,
                file.datastore.clone(),
                file.path.clone(),
                FakeFile { content, ..found },
            );
        }
    }

    /// Breaks every image, as if it needed the disk that is removed.
    fn fell(&self, disk: &FileRef) {
        for (datastore, path) in self.inner.files(disk.host) {
            if path.as_str().ends_with("/image") {
                let broken = FakeFile { content: "stands on nothing".to_owned(), complete: false };
                self.inner.put_file(disk.host, datastore, path, broken);
            }
        }
    }
}

/// The job with another size, if it is for a disk that is larger than its image.
fn with_size(job: &TransferJob, other: impl FnOnce(u64) -> Option<u64>) -> TransferJob {
    let mut job = job.clone();
    if let TransferJob::Prepare { source: DiskSource::Image { size_mib, .. }, .. } = &mut job
        && let Some(asked) = *size_mib
    {
        *size_mib = other(asked);
    }
    job
}

#[async_trait]
impl Transfer for FaultyTransfer {
    async fn begin(
        &self,
        site: &Site,
        call: &CallControl,
        job: &TransferJob,
    ) -> Result<JobStatus, DriverError> {
        let done = Ok(JobStatus::Done(Outcome::default()));
        match (self.fault, job) {
            (TransferFault::KeepsPartial, TransferJob::Prepare { target, .. })
                if self.there(target) =>
            {
                return done;
            }
            (TransferFault::FailsIfThere, TransferJob::Prepare { target, .. })
                if self.there(target) =>
            {
                return Err(DriverError::refused("exists", "it is there already"));
            }
            // The image is left: later checks need it.
            (TransferFault::LosesSource, TransferJob::Copy { from, .. })
                if !from.path.as_str().starts_with("images/") =>
            {
                let result = self.inner.begin(site, call, job).await;
                self.inner.begin(site, call, &TransferJob::Delete { target: from.clone() }).await?;
                return result;
            }
            (TransferFault::NeedsSource, TransferJob::Copy { from, .. }) if !self.there(from) => {
                return Err(DriverError::new(ErrorKind::Gone, "no-source", "the source is gone"));
            }
            (TransferFault::SaysDoneOfNothing, TransferJob::Copy { from, .. })
                if !self.there(from) =>
            {
                return done;
            }
            (TransferFault::DeleteFailsIfGone, TransferJob::Delete { target })
                if !self.there(target) && target.path.as_str().ends_with("disk") =>
            {
                return Err(DriverError::new(ErrorKind::Gone, "gone", "it is gone"));
            }
            (TransferFault::ImageStandsOnDisk, TransferJob::Delete { target }) => self.fell(target),
            (
                TransferFault::BelievesImages,
                TransferJob::Prepare { source: DiskSource::Image { base, .. }, .. },
            ) => {
                self.believe(base);
            }
            (
                TransferFault::LargerKeepsPartial,
                TransferJob::Prepare {
                    target,
                    source: DiskSource::Image { size_mib: Some(_), .. },
                    ..
                },
            ) if self.there(target) => return done,
            (TransferFault::IgnoresSize, job) => {
                return self.inner.begin(site, call, &with_size(job, |_| None)).await;
            }
            (TransferFault::CutsImages, job) => {
                return self.inner.begin(site, call, &with_size(job, |mib| Some(mib.max(3)))).await;
            }
            _ => {}
        }
        self.inner.begin(site, call, job).await
    }
    async fn poll(&self, site: &Site, call: &CallControl) -> Result<JobStatus, DriverError> {
        self.inner.poll(site, call).await
    }
    async fn abort(&self, site: &Site, call: &CallControl) -> Result<(), DriverError> {
        if self.fault == TransferFault::AbortFails {
            return Err(DriverError::unknown("who-knows", "it may be at work"));
        }
        self.inner.abort(site, call).await
    }
    fn larger(&self) -> bool {
        self.fault != TransferFault::MakesNoneLarger
    }
    fn images(&self) -> Option<&dyn TransferImages> {
        (self.fault != TransferFault::MakesNoImages).then_some(self as _)
    }
    fn inspect(&self) -> Option<&dyn TransferInspect> {
        (self.fault != TransferFault::CannotLook).then_some(self as _)
    }
}

#[async_trait]
impl TransferImages for FaultyTransfer {
    async fn begin_save_back(
        &self,
        site: &Site,
        call: &CallControl,
        job: &SaveBackJob,
    ) -> Result<JobStatus, DriverError> {
        let done = Ok(JobStatus::Done(Outcome::default()));
        match self.fault {
            TransferFault::ImageFailsIfThere if self.there(&job.image) => {
                return Err(DriverError::refused("exists", "it is there already"));
            }
            TransferFault::ImageKeepsPartial if self.there(&job.image) => return done,
            TransferFault::ImageNeedsDisk if !self.there(&job.disk) => {
                return Err(DriverError::new(ErrorKind::Gone, "no-disk", "the disk is gone"));
            }
            TransferFault::ImageOfNothing if !self.there(&job.disk) => return done,
            TransferFault::BelievesDisks => self.believe(&job.disk),
            _ => {}
        }
        self.inner.begin_save_back(site, call, job).await
    }
}

#[async_trait]
impl TransferInspect for FaultyTransfer {
    async fn inspect(
        &self,
        site: &Site,
        file: &FileRef,
        patience: Duration,
    ) -> Result<FileLook, DriverError> {
        let told = TransferInspect::inspect(&self.inner, site, file, patience).await;
        match self.fault {
            TransferFault::SeesNoNames => told.map(|found| FileLook { names: Vec::new(), ..found }),
            TransferFault::SeesDamage => {
                told.map(|found| FileLook { damage: Some("always".to_owned()), ..found })
            }
            TransferFault::SeesWhatIsNot => told.or_else(|_| {
                let (kind, format, names) = (FileKind::File, "raw".to_owned(), Vec::new());
                Ok(FileLook {
                    kind,
                    size: 0,
                    format,
                    virtual_size: 0,
                    names,
                    encrypted: false,
                    damage: None,
                })
            }),
            _ => told,
        }
    }
}

#[tokio::test]
async fn the_fakes_transfer_is_conformant_short_and_long() {
    for polls in [0, 3] {
        let bench = FakeBench::new();
        bench.0.long_jobs(polls);
        let report = crate::conformance::transfer(Arc::new(bench.0.clone()), Arc::new(bench)).await;
        assert!(report.passed() && super::skipped(&report).is_empty(), "{report}");
    }
}

#[tokio::test]
async fn each_transfer_fault_turns_its_checks_red_and_no_others() {
    let faults: &[(TransferFault, &[&str])] = &[
        (TransferFault::KeepsPartial, &["prepare-replaces-partial", "larger-replaces-partial"]),
        (
            TransferFault::FailsIfThere,
            &[
                "prepare-twice",
                "prepare-replaces-partial",
                "prepare-lost-answer",
                "copy-overlay",
                "abort-stops",
                "larger-twice",
                "larger-replaces-partial",
            ],
        ),
        (TransferFault::LosesSource, &["copy-keeps-source"]),
        (TransferFault::NeedsSource, &["copy-source-gone"]),
        (TransferFault::SaysDoneOfNothing, &["copy-nothing"]),
        (TransferFault::DeleteFailsIfGone, &["delete-twice"]),
        (TransferFault::AbortFails, &["abort-stops"]),
        (
            TransferFault::ImageFailsIfThere,
            &["save-back-twice", "save-back-disk-gone", "save-back-replaces-partial"],
        ),
        (TransferFault::ImageKeepsPartial, &["save-back-replaces-partial"]),
        (TransferFault::ImageNeedsDisk, &["save-back-disk-gone"]),
        (TransferFault::ImageOfNothing, &["save-back-nothing"]),
        (TransferFault::ImageStandsOnDisk, &["save-back-stands-alone", "save-back-disk-gone"]),
        (TransferFault::MakesNoImages, &[]),
        (TransferFault::BelievesDisks, &["save-back-refuses-names"]),
        (TransferFault::BelievesImages, &["prepare-refuses-names"]),
        (TransferFault::CannotLook, &[]),
        (TransferFault::SeesNoNames, &["look-finds-names"]),
        (TransferFault::SeesDamage, &["look-tells"]),
        (TransferFault::SeesWhatIsNot, &["look-nothing"]),
        (
            TransferFault::IgnoresSize,
            &[
                "larger-makes-disks",
                "larger-twice",
                "larger-replaces-partial",
                "larger-refuses-smaller",
            ],
        ),
        (TransferFault::LargerKeepsPartial, &["larger-replaces-partial"]),
        (TransferFault::CutsImages, &["larger-refuses-smaller"]),
        (TransferFault::MakesNoneLarger, &[]),
    ];
    for (fault, expected) in faults {
        let bench = FakeBench::new();
        let driver = FaultyTransfer { inner: bench.0.clone(), fault: *fault };
        let report = crate::conformance::transfer(Arc::new(driver), Arc::new(bench)).await;
        assert_eq!(report.broken(), *expected, "{fault:?}\n{report}");
        let expected = match fault {
            TransferFault::MakesNoImages => 6,
            TransferFault::CannotLook => 3,
            TransferFault::MakesNoneLarger => 4,
            _ => 0,
        };
        assert_eq!(super::skipped(&report).len(), expected, "{fault:?}\n{report}");
    }
}
