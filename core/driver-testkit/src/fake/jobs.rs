//! Migrations and copies of disks: jobs that are begun, polled and aborted by effect key.

use super::calls::done;
use super::world::{FakeDomain, FakeFile, World, gone, seen};
use super::{Fake, FakeMachine, Op, State};
use async_trait::async_trait;
use ostler_driver::{
    CallControl, DiskCopy, DomainDisk, DomainSpec, FileRef, JobStatus, Migrate, Site,
};
use ostler_model::{
    CallContext, DiskFormat, DiskName, DriverError, EffectKey, ErrorKind, HostId, Outcome, Power,
    PowerReason, Progress, VmUuid,
};
use std::collections::BTreeSet;

/// The kinds of job.
#[derive(Clone, Copy, PartialEq, Eq)]
enum JobKind {
    Migrate,
    CopyDisk,
}

/// The destination of a migration, and the domain's specification there.
#[derive(Clone)]
struct Journey {
    domain: DomainSpec,
    to: Site,
    move_disks: Vec<DiskName>,
}

/// A job to do.
#[derive(Clone)]
enum HyperJob {
    Migrate(Box<Journey>),
    CopyDisk { disk: DiskName, target: FileRef, format: DiskFormat },
}

/// A job that was begun and has not ended.
pub(super) struct Begun {
    job: HyperJob,
    host: HostId,
    polls_left: u32,
    polls: u32,
}

impl HyperJob {
    const fn kind(&self) -> JobKind {
        match self {
            Self::Migrate(_) => JobKind::Migrate,
            Self::CopyDisk { .. } => JobKind::CopyDisk,
        }
    }
}

impl Begun {
    pub(super) const fn op(&self) -> Op {
        match self.job {
            HyperJob::Migrate(_) => Op::Migrate,
            HyperJob::CopyDisk { .. } => Op::CopyDisk,
        }
    }

    /// Whether the job changes something on that host.
    pub(super) fn holds(&self, host: HostId) -> bool {
        self.host == host
            || matches!(&self.job, HyperJob::Migrate(journey) if journey.to.id == host)
    }

    fn pending(&self) -> JobStatus {
        let (total, done) = (u64::from(self.polls), u64::from(self.polls - self.polls_left));
        JobStatus::Pending(Progress { done, total, phase: self.op().to_string() })
    }
}

impl State {
    /// Checks that the destination of a migration can be reached.
    fn far_end(&self, job: &HyperJob) -> Result<(), DriverError> {
        match job {
            HyperJob::Migrate(journey) if self.cut_off.contains(&journey.to.id) => {
                Err(DriverError::retry(
                    "unreachable",
                    format!("host {} does not answer the host it leaves", journey.to.name),
                ))
            }
            HyperJob::Migrate(_) | HyperJob::CopyDisk { .. } => Ok(()),
        }
    }

    fn begin_job(
        &mut self,
        host: HostId,
        context: &CallContext,
        job: HyperJob,
    ) -> Result<JobStatus, DriverError> {
        let vm = context.key.vm;
        Fake::lives(self, host)?;
        self.world.hold(host, context)?;
        if let Some(begun) = self.hyper_jobs.get(&context.key) {
            return Ok(begun.pending());
        }
        if let Some((other, _)) =
            self.hyper_jobs.iter().find(|(key, begun)| key.vm == vm && begun.holds(host))
        {
            return Err(DriverError::retry(
                "busy",
                format!("the job of step {} is at work", other.step),
            ));
        }
        self.world.fence(host, vm, (context.store, context.generation))?;
        self.far_end(&job)?;
        if self.polls == 0 || self.world.has_moved(host, &job) {
            return self.finish(host, vm, job);
        }
        match &job {
            HyperJob::Migrate(journey) => self.world.may_move(host, journey)?,
            HyperJob::CopyDisk { disk, .. } => drop(self.world.disk_at_work(host, vm, disk)?),
        }
        let begun = Begun { job, host, polls_left: self.polls, polls: self.polls };
        let status = begun.pending();
        self.hyper_jobs.insert(context.key.clone(), begun);
        Ok(status)
    }

    fn poll_job(&mut self, key: &EffectKey, kind: JobKind) -> Result<JobStatus, DriverError> {
        let begun = self.hyper_jobs.get(key).filter(|begun| begun.job.kind() == kind);
        let begun =
            begun.ok_or_else(|| gone("no-such-job", "no job of this identity was begun"))?;
        // If the hosts cannot reach each other, the job makes no progress until they can.
        self.far_end(&begun.job)?;
        if let Some(begun) = self.hyper_jobs.get_mut(key) {
            begun.polls_left = begun.polls_left.saturating_sub(1);
            if begun.polls_left > 0 {
                return Ok(begun.pending());
            }
        }
        match self.hyper_jobs.remove(key) {
            Some(begun) => self.finish(begun.host, key.vm, begun.job),
            None => Ok(done()),
        }
    }

    fn finish(
        &mut self,
        host: HostId,
        vm: VmUuid,
        job: HyperJob,
    ) -> Result<JobStatus, DriverError> {
        let outcome = match job {
            HyperJob::Migrate(journey) => self.world.migrate(host, &journey)?,
            HyperJob::CopyDisk { disk, target, format } => {
                self.world.copy_disk(host, vm, &disk, &target, format)?
            }
        };
        Ok(JobStatus::Done(outcome))
    }

    fn abort_job(
        &mut self,
        host: HostId,
        context: &CallContext,
        kind: JobKind,
    ) -> Result<(), DriverError> {
        let vm = context.key.vm;
        self.world.hold(host, context)?;
        self.world.fence(host, vm, (context.store, context.generation))?;
        self.hyper_jobs.remove(&context.key);
        match kind {
            JobKind::CopyDisk => Ok(()),
            JobKind::Migrate if self.world.domains.contains_key(&(host, vm)) => Ok(()),
            JobKind::Migrate => {
                Err(DriverError::unknown("moved", "the domain is not here any more"))
            }
        }
    }
}

/// Whether the job is over when its begin or a poll answers this error. Only *not now* and a lost answer leave it
/// at work.
pub(super) fn ends_job(error: &DriverError) -> bool {
    !matches!(error.kind, ErrorKind::Retry | ErrorKind::Unknown)
}

/// A component is not called for a call that was told to stop already.
pub(super) fn told_to_stop(call: &CallControl) -> Result<(), DriverError> {
    if call.cancel.is_cancelled() {
        let detail = "the call was told to stop before it began";
        return Err(DriverError::new(ErrorKind::Cancelled, "cancelled", detail));
    }
    Ok(())
}

impl Fake {
    /// The VMs for which something is at work on a host that nobody waits for: a call that was
    /// dropped, or a job, if jobs go on by themselves ([`Fake::jobs_go_on`]). Nothing is told of
    /// them, neither by a look nor by a list: what they are may change at any moment.
    pub(super) fn busy(&self, host: HostId) -> BTreeSet<VmUuid> {
        let state = self.lock();
        let jobs = state
            .hyper_jobs
            .iter()
            .filter(|(_, job)| state.jobs_go_on.is_some() && job.holds(host))
            .map(|(key, _)| key.vm);
        let dropped = state
            .working
            .values()
            .filter(|call| call.abandoned && call.host == host)
            .map(|call| call.vm);
        jobs.chain(dropped).collect()
    }

    async fn begin_job(
        &self,
        op: Op,
        site: &Site,
        call: &CallControl,
        job: HyperJob,
    ) -> Result<JobStatus, DriverError> {
        let context = call.context.clone();
        let recorded = self.record(op, site, Some(&context), Some(context.key.vm));
        self.reach(site)?;
        let plan = self.lock().knobs.plan(&recorded);
        let (id, abandon) = self.begin_work(&recorded, context.key.vm);
        let (fake, host) = (self.clone(), site.id);
        let work = tokio::spawn(async move {
            let result = match plan.before().await {
                Ok(()) => match fake
                    .with_state(context.key.vm, |state| state.begin_job(host, &context, job))
                {
                    Ok(status) => {
                        fake.goes_on(context.key.clone());
                        plan.after().await.map(|()| status)
                    }
                    failed => failed,
                },
                Err(error) => {
                    // An earlier sending may have begun the job. If this one ends it with a
                    // definite error, nothing works on it any more.
                    if ends_job(&error) {
                        fake.lock().hyper_jobs.remove(&context.key);
                    }
                    Err(error)
                }
            };
            fake.lock().working.remove(&id);
            result
        });
        let result = work
            .await
            .unwrap_or_else(|error| Err(DriverError::unknown("driver-trap", error.to_string())));
        drop(abandon);
        result
    }

    /// Ends a job after the time of [`Fake::jobs_go_on`], even if nobody polls it any more. Does
    /// nothing if that was not ordered.
    fn goes_on(&self, key: EffectKey) {
        let Some(time) = self.lock().jobs_go_on else { return };
        let fake = self.clone();
        drop(tokio::spawn(async move {
            tokio::time::sleep(time).await;
            let vm = key.vm;
            // A job that fails changes nothing.
            let _ = fake.with_state(vm, |state| match state.hyper_jobs.remove(&key) {
                Some(begun) => state.finish(begun.host, vm, begun.job),
                None => Ok(done()),
            });
        }));
    }

    async fn poll_hyper_job(
        &self,
        site: &Site,
        call: &CallControl,
        kind: JobKind,
    ) -> Result<JobStatus, DriverError> {
        let key = &call.context.key;
        let recorded = self.record(Op::PollJob, site, Some(&call.context), Some(key.vm));
        self.reach(site)?;
        let plan = self.lock().knobs.plan(&recorded);
        if let Err(error) = plan.before().await {
            if ends_job(&error) {
                self.lock().hyper_jobs.remove(key);
            }
            return Err(error);
        }
        let status = self.with_state(key.vm, |state| state.poll_job(key, kind))?;
        plan.after().await?;
        Ok(status)
    }

    async fn abort_hyper_job(
        &self,
        site: &Site,
        call: &CallControl,
        kind: JobKind,
    ) -> Result<(), DriverError> {
        let recorded =
            self.record(Op::AbortJob, site, Some(&call.context), Some(call.context.key.vm));
        told_to_stop(call)?;
        self.reach(site)?;
        let plan = self.lock().knobs.plan(&recorded);
        plan.before().await?;
        self.lock().abort_job(site.id, &call.context, kind)?;
        plan.after().await
    }

    /// Does something that may change the world, and wakes the callers of `changes`.
    fn with_state<T>(
        &self,
        vm: VmUuid,
        deed: impl FnOnce(&mut State) -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        let mut state = self.lock();
        let result = deed(&mut state)?;
        let count = state.world.note(vm);
        drop(state);
        self.changed.send_replace(count);
        Ok(result)
    }
}

#[async_trait]
impl Migrate for Fake {
    async fn begin(
        &self,
        site: &Site,
        call: &CallControl,
        domain: &DomainSpec,
        to: &Site,
        move_disks: &[DiskName],
    ) -> Result<JobStatus, DriverError> {
        let job = HyperJob::Migrate(Box::new(Journey {
            domain: domain.clone(),
            to: to.clone(),
            move_disks: move_disks.to_vec(),
        }));
        self.begin_job(Op::Migrate, site, call, job).await
    }

    async fn poll(&self, site: &Site, call: &CallControl) -> Result<JobStatus, DriverError> {
        self.poll_hyper_job(site, call, JobKind::Migrate).await
    }

    async fn abort(&self, site: &Site, call: &CallControl) -> Result<(), DriverError> {
        self.abort_hyper_job(site, call, JobKind::Migrate).await
    }
}

#[async_trait]
impl DiskCopy for Fake {
    async fn begin(
        &self,
        site: &Site,
        call: &CallControl,
        disk: &DiskName,
        target: &FileRef,
        format: DiskFormat,
    ) -> Result<JobStatus, DriverError> {
        let job = HyperJob::CopyDisk { disk: disk.clone(), target: target.clone(), format };
        self.begin_job(Op::CopyDisk, site, call, job).await
    }

    async fn poll(&self, site: &Site, call: &CallControl) -> Result<JobStatus, DriverError> {
        self.poll_hyper_job(site, call, JobKind::CopyDisk).await
    }

    async fn abort(&self, site: &Site, call: &CallControl) -> Result<(), DriverError> {
        self.abort_hyper_job(site, call, JobKind::CopyDisk).await
    }
}

impl World {
    /// Whether the migration has ended: the domain is at the destination with the new identity, and
    /// not here.
    fn has_moved(&self, from: HostId, job: &HyperJob) -> bool {
        let HyperJob::Migrate(journey) = job else { return false };
        let (identity, to) = (journey.domain.identity, journey.to.id);
        let there = self.domains.get(&(to, identity.vm));
        let arrived = there.is_some_and(|there| {
            there.seen.identity == Some(identity) && there.seen.power != Power::Off
        });
        arrived && !self.domains.contains_key(&(from, identity.vm))
    }

    /// Checks that the domain runs here, and that no domain at the destination is in its way.
    fn may_move(&mut self, from: HostId, journey: &Journey) -> Result<(), DriverError> {
        let (identity, to) = (&journey.domain.identity, journey.to.id);
        self.fence(to, identity.vm, (identity.store, identity.generation))?;
        self.ours(from, identity)?;
        self.ours(to, identity)?;
        let disks = self.at_work(from, identity.vm)?.machine.disk_names();
        if let Some(missing) = journey.move_disks.iter().find(|name| !disks.contains(name)) {
            let told = format!("the domain has no disk {missing} that could be moved");
            return Err(DriverError::refused("no-disk", told));
        }
        match self.domains.get(&(to, identity.vm)) {
            Some(there) if there.seen.power != Power::Off => Err(DriverError::refused(
                "in-the-way",
                format!("the domain is on host {} too, {}", journey.to.name, there.seen.power),
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// Moves the domain in one moment: it runs here before, and there after.
    fn migrate(&mut self, from: HostId, journey: &Journey) -> Result<Outcome, DriverError> {
        let (spec, to) = (&journey.domain, journey.to.id);
        let vm = spec.identity.vm;
        if self.has_moved(from, &HyperJob::Migrate(Box::new(journey.clone()))) {
            return Ok(self.domains.get(&(to, vm)).map(seen).unwrap_or_default());
        }
        self.may_move(from, journey)?;
        let Some(mut domain) = self.domains.remove(&(from, vm)) else {
            return Err(gone("no-domain", "there is no such domain"));
        };
        for name in &journey.move_disks {
            self.move_disk(name, &domain, spec);
        }
        (domain.seen.name, domain.seen.identity) = (spec.name.clone(), Some(spec.identity));
        (domain.seen.power, domain.seen.reason) = (Power::Running, PowerReason::None);
        let FakeMachine { snapshots, reverted_to, .. } = domain.machine;
        domain.machine = FakeMachine { snapshots, reverted_to, ..FakeMachine::of(spec) };
        let outcome = seen(&domain);
        self.put(to, domain);
        self.guest_starts(to, vm);
        self.guest_writes(to, vm);
        Ok(outcome)
    }

    /// Copies a disk's content to the destination. The source file stays, because a hypervisor does
    /// not remove it.
    fn move_disk(&mut self, name: &DiskName, domain: &FakeDomain, spec: &DomainSpec) {
        let from = domain.machine.disks.iter().find(|disk| disk.name == *name);
        let to = spec.disks.iter().find(|disk| disk.name == *name);
        if let (Some(from), Some(to)) = (from, to) {
            let content = self.content_of(&from.file);
            let at = self.place(&to.file);
            self.writes.mirrored(spec.identity.vm, at.clone());
            self.files.insert(at, FakeFile { content, complete: true });
        }
    }

    fn content_of(&self, file: &FileRef) -> String {
        self.files
            .get(&self.place(file))
            .map_or_else(|| file.absolute.clone(), |found| found.content.clone())
    }

    fn copy_disk(
        &mut self,
        host: HostId,
        vm: VmUuid,
        name: &DiskName,
        target: &FileRef,
        format: DiskFormat,
    ) -> Result<Outcome, DriverError> {
        let disk = self.disk_at_work(host, vm, name)?;
        let content = format!("{format} of {}", self.content_of(&disk.file));
        self.files.insert(self.place(target), FakeFile { content, complete: true });
        Ok(self.domains.get(&(host, vm)).map(seen).unwrap_or_default())
    }

    fn disk_at_work(
        &mut self,
        host: HostId,
        vm: VmUuid,
        name: &DiskName,
    ) -> Result<DomainDisk, DriverError> {
        let disks = &self.at_work(host, vm)?.machine.disks;
        let disk = disks.iter().find(|disk| disk.name == *name).cloned();
        disk.ok_or_else(|| gone("no-disk", &format!("the domain has no disk {name}")))
    }
}
