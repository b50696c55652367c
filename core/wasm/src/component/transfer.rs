//! A component as a transfer driver.

use super::hypervisor::over_ssh;
use super::jobs::at_work;
use super::{Component, ask, job, send};
use crate::convert;
use crate::own_files::About;
use async_trait::async_trait;
use ostler_driver::{
    CallControl, FileLook, FileRef, JobStatus, SaveBackJob, Site, Transfer, TransferImages,
    TransferInspect, TransferJob,
};
use ostler_model::{DriverError, VmUuid};
use std::time::Duration;

#[async_trait]
impl Transfer for Component {
    async fn begin(
        &self,
        site: &Site,
        call: &CallControl,
        job: &TransferJob,
    ) -> Result<JobStatus, DriverError> {
        // A transfer that was dropped must be over first. It may have had another effect key, or
        // this one if its answer was lost. For those of an earlier process the engine asks `idle`.
        self.at_rest(call.context.key.vm, false)?;
        if let Some(larger) = convert::larger(job) {
            if !self.larger() {
                return Err(DriverError::refused(
                    "no-larger-disks",
                    "this transfer driver makes no disk that is larger than its image: it does \
                     not export transfer-larger",
                ));
            }
            return job!(
                self,
                site,
                call,
                [About::Job(job)],
                transfer_larger,
                call_begin_larger,
                "begin-larger",
                &larger
            );
        }
        let told = convert::job(job, site, &*self.0.side.services.sites)?;
        if let Some(from) = convert::comes_from(&told) {
            self.0.side.others.add(&call.context.key, from);
        }
        job!(self, site, call, [About::Job(job)], transfer, call_begin, "begin", &told)
    }

    async fn poll(&self, site: &Site, call: &CallControl) -> Result<JobStatus, DriverError> {
        job!(self, site, call, [], transfer, call_poll, "poll")
    }

    async fn abort(&self, site: &Site, call: &CallControl) -> Result<(), DriverError> {
        send!(self, site, call, [], Ok, transfer, call_abort, "abort")
    }

    async fn idle(&self, vm: VmUuid, sites: &[Site]) -> Result<(), DriverError> {
        self.at_rest(vm, sites.iter().any(over_ssh))?;
        for site in sites {
            if self.jobs_at_work(site).await?.contains(&vm) {
                return Err(at_work(vm, site));
            }
        }
        Ok(())
    }

    fn larger(&self) -> bool {
        self.0.exports.transfer_larger.is_some()
    }

    fn images(&self) -> Option<&dyn TransferImages> {
        self.0.exports.transfer_images.is_some().then_some(self as _)
    }

    fn inspect(&self) -> Option<&dyn TransferInspect> {
        self.0.exports.transfer_inspect.is_some().then_some(self as _)
    }
}

#[async_trait]
impl TransferImages for Component {
    async fn begin_save_back(
        &self,
        site: &Site,
        call: &CallControl,
        job: &SaveBackJob,
    ) -> Result<JobStatus, DriverError> {
        // As for any transfer.
        self.at_rest(call.context.key.vm, false)?;
        let (told, about) = (convert::save_back(job), About::SaveBack(job));
        job!(
            self,
            site,
            call,
            [about],
            transfer_images,
            call_begin_save_back,
            "begin-save-back",
            &told
        )
    }
}

#[async_trait]
impl TransferInspect for Component {
    async fn inspect(
        &self,
        site: &Site,
        file: &FileRef,
        patience: Duration,
    ) -> Result<FileLook, DriverError> {
        let asked = convert::file(file);
        let look = convert::file_look;
        let read = About::Read(file);
        ask!(self, site, patience, [read], look, transfer_inspect, call_inspect, "inspect", &asked)
    }
}
