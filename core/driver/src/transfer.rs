//! A transfer driver: the mandatory part, and a trait for each optional part.

use crate::answers::JobStatus;
use crate::{CallControl, FileLook, FileRef, SaveBackJob, Site, TransferJob};
use async_trait::async_trait;
use ostler_model::{DriverError, VmUuid};
use std::time::Duration;

/// A transfer driver: brings disks to hosts and takes them away.
///
/// A long job is begun, polled and aborted by its effect key, so that the job can outlive an
/// instance of the driver and the daemon. If a job with the same effect key is at work, `begin`
/// attaches to it.
#[async_trait]
pub trait Transfer: Send + Sync {
    /// Begins `job`, or finds that it is done.
    ///
    /// # Errors
    /// As [`ostler_model::ErrorKind`] says.
    async fn begin(
        &self,
        site: &Site,
        call: &CallControl,
        job: &TransferJob,
    ) -> Result<JobStatus, DriverError>;

    /// The progress of the job. The job is one of [`Transfer::begin`] or of
    /// [`TransferImages::begin_save_back`].
    ///
    /// # Errors
    /// `gone` if no such job is known; the caller then begins it again.
    async fn poll(&self, site: &Site, call: &CallControl) -> Result<JobStatus, DriverError>;

    /// Stops the job. Success means that the job does not work any more.
    ///
    /// # Errors
    /// `unknown` if the driver cannot tell whether that is so.
    async fn abort(&self, site: &Site, call: &CallControl) -> Result<(), DriverError>;

    /// Checks that no dropped call for this VM is still at work. A dropped call may go on at the
    /// host, and files that it still removes must not be made anew until it has ended. `sites` are
    /// the hosts where files of the VM are or may be. A driver whose work always ends with its
    /// calls answers success.
    ///
    /// # Errors
    /// `retry` while a dropped call is at work.
    async fn idle(&self, _vm: VmUuid, _sites: &[Site]) -> Result<(), DriverError> {
        Ok(())
    }

    /// Whether the driver makes disks that are larger than their image. If not, it refuses such a
    /// job.
    fn larger(&self) -> bool {
        false
    }

    /// The part that makes images of disks, if the driver has it.
    fn images(&self) -> Option<&dyn TransferImages> {
        None
    }

    /// The part that inspects files, if the driver has it.
    fn inspect(&self) -> Option<&dyn TransferInspect> {
        None
    }
}

/// The part of a transfer driver that makes images of disks.
#[async_trait]
pub trait TransferImages: Send + Sync {
    /// Begins to make an image of a disk that nobody writes to, or finds that it is done. The job
    /// is polled and aborted as all jobs of [`Transfer`] are.
    ///
    /// # Errors
    /// As [`ostler_model::ErrorKind`] says.
    async fn begin_save_back(
        &self,
        site: &Site,
        call: &CallControl,
        job: &SaveBackJob,
    ) -> Result<JobStatus, DriverError>;
}

/// The part of a transfer driver that inspects files.
#[async_trait]
pub trait TransferInspect: Send + Sync {
    /// Inspects a file. Changes nothing, and opens no other file that it names.
    ///
    /// # Errors
    /// `gone` if there is no such file; else the error that kept the driver from reading the file.
    async fn inspect(
        &self,
        site: &Site,
        file: &FileRef,
        patience: Duration,
    ) -> Result<FileLook, DriverError>;
}
