//! The fake as a transfer driver.

use super::calls::done;
use super::files::NAMES;
use super::jobs::{ends_job, told_to_stop};
use super::{Fake, Op, State};
use async_trait::async_trait;
use ostler_driver::{
    CallControl, FileKind, FileLook, FileRef, JobStatus, SaveBackJob, Site, Transfer,
    TransferImages, TransferInspect, TransferJob,
};
use ostler_model::{DriverError, EffectKey, ErrorKind, Progress, VmUuid};
use std::time::Duration;

/// A job that was begun and has not ended.
pub(super) struct FakeJob {
    work: Work,
    polls_left: u32,
}

/// A job to do.
enum Work {
    Transfer(TransferJob),
    SaveBack(SaveBackJob),
}

impl Work {
    const fn op(&self) -> Op {
        match self {
            Self::Transfer(TransferJob::Prepare { .. }) => Op::Prepare,
            Self::Transfer(TransferJob::Copy { .. }) => Op::Copy,
            Self::Transfer(TransferJob::Delete { .. }) => Op::Delete,
            Self::SaveBack(_) => Op::SaveBack,
        }
    }
}

fn pending(polls_left: u32) -> JobStatus {
    JobStatus::Pending(Progress {
        done: 0,
        total: u64::from(polls_left),
        phase: "working".to_owned(),
    })
}

#[async_trait]
impl Transfer for Fake {
    async fn begin(
        &self,
        site: &Site,
        call: &CallControl,
        job: &TransferJob,
    ) -> Result<JobStatus, DriverError> {
        self.begin_transfer(site, call, Work::Transfer(job.clone())).await
    }

    async fn poll(&self, site: &Site, call: &CallControl) -> Result<JobStatus, DriverError> {
        let recorded = self.record(Op::Poll, site, Some(&call.context), Some(call.context.key.vm));
        self.reach(site)?;
        let plan = self.lock().knobs.plan(&recorded);
        if let Err(error) = plan.before().await {
            if ends_job(&error) {
                self.lock().jobs.remove(&call.context.key);
            }
            return Err(error);
        }
        let status = self.step(call)?;
        plan.after().await?;
        Ok(status)
    }

    async fn abort(&self, site: &Site, call: &CallControl) -> Result<(), DriverError> {
        let recorded = self.record(Op::Abort, site, Some(&call.context), Some(call.context.key.vm));
        told_to_stop(call)?;
        self.reach(site)?;
        let plan = self.lock().knobs.plan(&recorded);
        plan.before().await?;
        self.lock().jobs.remove(&call.context.key);
        plan.after().await
    }

    async fn idle(&self, vm: VmUuid, _sites: &[Site]) -> Result<(), DriverError> {
        match self.lock().transferring.get(&vm) {
            Some(_) => {
                Err(DriverError::retry("busy", "a transfer that was begun is still at work"))
            }
            None => Ok(()),
        }
    }

    fn larger(&self) -> bool {
        true
    }

    fn images(&self) -> Option<&dyn TransferImages> {
        Some(self)
    }

    fn inspect(&self) -> Option<&dyn TransferInspect> {
        Some(self)
    }
}

#[async_trait]
impl TransferImages for Fake {
    async fn begin_save_back(
        &self,
        site: &Site,
        call: &CallControl,
        job: &SaveBackJob,
    ) -> Result<JobStatus, DriverError> {
        self.begin_transfer(site, call, Work::SaveBack(job.clone())).await
    }
}

#[async_trait]
impl TransferInspect for Fake {
    async fn inspect(
        &self,
        site: &Site,
        file: &FileRef,
        _patience: Duration,
    ) -> Result<FileLook, DriverError> {
        let recorded = self.record(Op::InspectFile, site, None, None);
        self.reach(site)?;
        let plan = self.lock().knobs.plan(&recorded);
        plan.before().await?;
        let found = self.file(site.id, &file.datastore, &file.path);
        let found = found.ok_or_else(|| {
            DriverError::new(ErrorKind::Gone, "no-file", format!("{} is not there", file.absolute))
        })?;
        plan.after().await?;
        let size = found.content.len() as u64;
        Ok(FileLook {
            kind: FileKind::File,
            size,
            format: if file.path.as_str().ends_with(".raw") { "raw" } else { "qcow2" }.to_owned(),
            virtual_size: found.virtual_size(),
            names: found.content.strip_prefix(NAMES).map(str::to_owned).into_iter().collect(),
            encrypted: false,
            damage: (!found.complete).then(|| "it was not written to its end".to_owned()),
        })
    }
}

impl Fake {
    /// The effect keys of transfers that were begun and have not ended.
    #[must_use]
    pub fn transfers_begun(&self) -> Vec<EffectKey> {
        self.lock().jobs.keys().cloned().collect()
    }
}

/// Counts a transfer as at work for a VM until it is dropped, even if no caller waits for the
/// transfer any more.
struct AtWork {
    fake: Fake,
    key: EffectKey,
}

impl AtWork {
    /// Notes a violation if another transfer of this VM is at work.
    fn begin(fake: &Fake, key: &EffectKey) -> Self {
        let mut state = fake.lock();
        let at_work = state.transferring.entry(key.vm).or_default();
        let other = at_work.iter().find(|other| *other != key).cloned();
        at_work.push(key.clone());
        if let Some(other) = other {
            state
                .violations
                .push(format!("transfer {key} began while transfer {other} was at work"));
        }
        drop(state);
        Self { fake: fake.clone(), key: key.clone() }
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        let mut state = self.fake.lock();
        let Some(at_work) = state.transferring.get_mut(&self.key.vm) else { return };
        if let Some(at) = at_work.iter().position(|key| *key == self.key) {
            at_work.remove(at);
        }
        if at_work.is_empty() {
            state.transferring.remove(&self.key.vm);
        }
    }
}

impl State {
    /// Does a transfer. Notes a violation if it removes the file of a disk that a domain uses.
    fn transfer(&mut self, vm: VmUuid, work: &Work) -> Result<(), DriverError> {
        if let Work::Transfer(TransferJob::Delete { target }) = work
            && let Some(user) = self.world.user_of(target)
        {
            self.violations.push(format!(
                "{} was removed on host {} while domain {user} used it",
                target.absolute, target.host
            ));
        }
        match work {
            Work::Transfer(job) => self.world.transfer(vm, job),
            Work::SaveBack(job) => self.world.save_back(job),
        }
    }
}

impl Fake {
    async fn begin_transfer(
        &self,
        site: &Site,
        call: &CallControl,
        work: Work,
    ) -> Result<JobStatus, DriverError> {
        let recorded = self.record(work.op(), site, Some(&call.context), Some(call.context.key.vm));
        self.reach(site)?;
        let plan = self.lock().knobs.plan(&recorded);
        let (fake, key) = (self.clone(), call.context.key.clone());
        let at_work = AtWork::begin(self, &key);
        // As on a real host, a transfer that was begun goes on when its caller goes away.
        let task = tokio::spawn(async move {
            let _at_work = at_work;
            plan.before().await?;
            let status = {
                let mut state = fake.lock();
                let polls = state.polls;
                if polls == 0 {
                    state.transfer(key.vm, &work)?;
                    done()
                } else {
                    let job = state.jobs.entry(key).or_insert(FakeJob { work, polls_left: polls });
                    pending(job.polls_left)
                }
            };
            plan.after().await?;
            Ok(status)
        });
        task.await
            .unwrap_or_else(|error| Err(DriverError::unknown("driver-trap", error.to_string())))
    }

    fn step(&self, call: &CallControl) -> Result<JobStatus, DriverError> {
        let mut state = self.lock();
        let key = &call.context.key;
        let job = state.jobs.get_mut(key);
        let job = job.ok_or_else(|| {
            DriverError::new(ErrorKind::Gone, "no-such-job", "no job of this identity was begun")
        })?;
        job.polls_left = job.polls_left.saturating_sub(1);
        if job.polls_left > 0 {
            return Ok(pending(job.polls_left));
        }
        let Some(FakeJob { work, .. }) = state.jobs.remove(key) else { return Ok(done()) };
        state.transfer(key.vm, &work)?;
        Ok(done())
    }
}
