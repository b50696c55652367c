//! Faults of a transfer driver, and the checks that each fault must make fail.

use crate::conformance::bench::FakeBench;
use crate::fake::{Fake, FakeFile};
use async_trait::async_trait;
use ostler_driver::{CallControl, DiskSource, FileKind, FileLook, FileRef, JobStatus, NOT_ABLE, Site, Transfer, TransferJob};
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
}

struct FaultyTransfer {
    inner: Fake,
    fault: TransferFault,
}

impl FaultyTransfer {
    fn there(&self, file: &FileRef) -> bool {
        self.inner.file(file.host, &file.datastore, &file.path).is_some()
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

#[async_trait]
impl Transfer for FaultyTransfer {
    async fn begin(&self, site: &Site, call: &CallControl, job: &TransferJob) -> Result<JobStatus, DriverError> {
        let done = Ok(JobStatus::Done(Outcome::default()));
        match (self.fault, job) {
            (TransferFault::KeepsPartial, TransferJob::Prepare { target, .. }) if self.there(target) => return done,
            (TransferFault::FailsIfThere, TransferJob::Prepare { target, .. }) if self.there(target) => {
                return Err(DriverError::refused("exists", "it is there already"));
            }
            (TransferFault::LosesSource, TransferJob::Copy { from, .. }) => {
                let result = self.inner.begin(site, call, job).await;
                self.inner.begin(site, call, &TransferJob::Delete { target: from.clone() }).await?;
                return result;
            }
            (TransferFault::NeedsSource, TransferJob::Copy { from, .. }) if !self.there(from) => {
                return Err(DriverError::new(ErrorKind::Gone, "no-source", "the source is gone"));
            }
            (TransferFault::SaysDoneOfNothing, TransferJob::Copy { from, .. }) if !self.there(from) => return done,
            (TransferFault::DeleteFailsIfGone, TransferJob::Delete { target })
                if !self.there(target) && target.path.as_str().ends_with("disk") =>
            {
                return Err(DriverError::new(ErrorKind::Gone, "gone", "it is gone"));
            }
            (TransferFault::ImageFailsIfThere, TransferJob::SaveBack { image, .. }) if self.there(image) => {
                return Err(DriverError::refused("exists", "it is there already"));
            }
            (TransferFault::ImageKeepsPartial, TransferJob::SaveBack { image, .. }) if self.there(image) => return done,
            (TransferFault::ImageNeedsDisk, TransferJob::SaveBack { disk, .. }) if !self.there(disk) => {
                return Err(DriverError::new(ErrorKind::Gone, "no-disk", "the disk is gone"));
            }
            (TransferFault::ImageOfNothing, TransferJob::SaveBack { disk, .. }) if !self.there(disk) => return done,
            (TransferFault::ImageStandsOnDisk, TransferJob::Delete { target }) => self.fell(target),
            (TransferFault::MakesNoImages, TransferJob::SaveBack { .. }) => {
                return Err(DriverError::refused("not-able", "this driver makes no images"));
            }
            (TransferFault::BelievesDisks, TransferJob::SaveBack { disk, .. }) => {
                // Acts as if the disk named no other file.
                if let Some(found) = self.inner.file(disk.host, &disk.datastore, &disk.path) {
                    let content = found.content.replace("names ", "");
                    self.inner.put_file(disk.host, disk.datastore.clone(), disk.path.clone(), FakeFile { content, ..found });
                }
            }
            (TransferFault::BelievesImages, TransferJob::Prepare { source: DiskSource::Image { base, .. }, .. }) => {
                // Acts as if the image named no other file.
                if let Some(found) = self.inner.file(base.host, &base.datastore, &base.path) {
                    let content = found.content.replace("names ", "");
                    self.inner.put_file(base.host, base.datastore.clone(), base.path.clone(), FakeFile { content, ..found });
                }
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
    async fn inspect_file(&self, site: &Site, file: &FileRef, patience: Duration) -> Result<FileLook, DriverError> {
        let told = self.inner.inspect_file(site, file, patience).await;
        match self.fault {
            TransferFault::CannotLook => Err(DriverError::refused(NOT_ABLE, "this driver cannot look")),
            TransferFault::SeesNoNames => told.map(|found| FileLook { names: Vec::new(), ..found }),
            TransferFault::SeesDamage => told.map(|found| FileLook { damage: Some("always".to_owned()), ..found }),
            TransferFault::SeesWhatIsNot => told.or_else(|_| {
                let (kind, format, names) = (FileKind::File, "raw".to_owned(), Vec::new());
                Ok(FileLook { kind, size: 0, format, virtual_size: 0, names, encrypted: false, damage: None })
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
        assert!(report.passed() && report.skipped().is_empty(), "{report}");
    }
}

#[tokio::test]
async fn each_transfer_fault_turns_its_checks_red_and_no_others() {
    let faults: &[(TransferFault, &[&str])] = &[
        (TransferFault::KeepsPartial, &["prepare-replaces-partial"]),
        (
            TransferFault::FailsIfThere,
            &["prepare-twice", "prepare-replaces-partial", "prepare-lost-answer", "copy-overlay", "abort-stops"],
        ),
        (TransferFault::LosesSource, &["copy-keeps-source"]),
        (TransferFault::NeedsSource, &["copy-source-gone"]),
        (TransferFault::SaysDoneOfNothing, &["copy-nothing"]),
        (TransferFault::DeleteFailsIfGone, &["delete-twice"]),
        (TransferFault::AbortFails, &["abort-stops"]),
        (TransferFault::ImageFailsIfThere, &["save-back-twice", "save-back-disk-gone", "save-back-replaces-partial"]),
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
    ];
    for (fault, expected) in faults {
        let bench = FakeBench::new();
        let driver = FaultyTransfer { inner: bench.0.clone(), fault: *fault };
        let report = crate::conformance::transfer(Arc::new(driver), Arc::new(bench)).await;
        assert_eq!(report.broken(), *expected, "{fault:?}\n{report}");
        let skipped = match fault {
            TransferFault::MakesNoImages => 6,
            TransferFault::CannotLook => 3,
            _ => 0,
        };
        assert_eq!(report.skipped().len(), skipped, "{fault:?}\n{report}");
    }
}
