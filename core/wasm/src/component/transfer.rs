//! A component as a transfer driver.

use super::{Component, Request, answer, body, lend};
use crate::convert;
use async_trait::async_trait;
use ostler_driver::{CallControl, JobStatus, Site, Transfer, TransferJob};
use ostler_model::DriverError;

#[async_trait]
impl Transfer for Component {
    async fn begin(&self, site: &Site, call: &CallControl, job: &TransferJob) -> Result<JobStatus, DriverError> {
        if self.0.exports.transfer.is_none() {
            return Err(self.no_kind("transfer"));
        }
        let job = convert::job(job, site, &*self.0.side.services.sites)?;
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
}
