//! A component as a transfer driver.

use super::{Component, Request, answer, body, lend};
use crate::bindings::exports::ostler::driver as exported;
use crate::convert::{self, TransferAsked};
use async_trait::async_trait;
use ostler_driver::{CallControl, FileLook, FileRef, JobStatus, NOT_ABLE, Site, Transfer, TransferJob};
use ostler_model::{DriverError, VmUuid};
use std::time::Duration;

impl Component {
    async fn begin_save_back(
        &self,
        site: &Site,
        call: &CallControl,
        job: exported::transfer_images::SaveBackJob,
    ) -> Result<JobStatus, DriverError> {
        if self.0.exports.transfer_images.is_none() {
            let name = &self.0.side.manifest.name;
            return Err(DriverError::refused(NOT_ABLE, format!("driver {name} cannot make images of disks")));
        }
        let body = body!(self.0.exports, transfer_images, |guest, store| {
            let lent = lend(store)?;
            guest.call_begin_save_back(store, lent, &job).await
        });
        let given = answer(self.call(Request::act("begin-save-back", site, call), body).await?)?;
        convert::job_status(given, call.context.key.vm)
    }
}

#[async_trait]
impl Transfer for Component {
    async fn begin(&self, site: &Site, call: &CallControl, job: &TransferJob) -> Result<JobStatus, DriverError> {
        if self.0.exports.transfer.is_none() {
            return Err(self.no_kind("transfer"));
        }
        // A transfer that was dropped must be over first. It may have had another effect key, or this one if its answer was
        // lost.
        self.idle(call.context.key.vm).await?;
        let job = match convert::job(job, site, &*self.0.side.services.sites)? {
            TransferAsked::Job(job) => job,
            TransferAsked::SaveBack(job) => return self.begin_save_back(site, call, job).await,
        };
        let body = body!(self.0.exports, transfer, |guest, store| {
            let lent = lend(store)?;
            guest.call_begin(store, lent, &job).await
        });
        let given = answer(self.call(Request::act("begin", site, call), body).await?)?;
        convert::job_status(given, call.context.key.vm)
    }

    async fn poll(&self, site: &Site, call: &CallControl) -> Result<JobStatus, DriverError> {
        if self.0.exports.transfer.is_none() {
            return Err(self.no_kind("transfer"));
        }
        let body = body!(self.0.exports, transfer, |guest, store| {
            let lent = lend(store)?;
            guest.call_poll(store, lent).await
        });
        let given = answer(self.call(Request::act("poll", site, call), body).await?)?;
        convert::job_status(given, call.context.key.vm)
    }

    async fn abort(&self, site: &Site, call: &CallControl) -> Result<(), DriverError> {
        if self.0.exports.transfer.is_none() {
            return Err(self.no_kind("transfer"));
        }
        let body = body!(self.0.exports, transfer, |guest, store| {
            let lent = lend(store)?;
            guest.call_abort(store, lent).await
        });
        answer(self.call(Request::act("abort", site, call), body).await?)
    }

    async fn idle(&self, vm: VmUuid) -> Result<(), DriverError> {
        if self.0.side.orphans.busy(vm) {
            return Err(DriverError::retry(
                "busy",
                format!("a transfer for {vm} that was dropped may still be at work on the host"),
            ));
        }
        Ok(())
    }

    async fn inspect_file(&self, site: &Site, file: &FileRef, patience: Duration) -> Result<FileLook, DriverError> {
        if self.0.exports.transfer_inspect.is_none() {
            let name = &self.0.side.manifest.name;
            return Err(DriverError::refused(NOT_ABLE, format!("driver {name} cannot look into files")));
        }
        let asked = convert::file(file);
        let body = body!(self.0.exports, transfer_inspect, |guest, store| guest.call_inspect(store, &asked).await);
        convert::file_look(answer(self.call(Request::ask("inspect", Some(site), patience), body).await?)?)
    }
}
