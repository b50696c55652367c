//! The fake as a hypervisor.

use super::jobs::{HyperJob, Journey};
use super::world::{Edge, World};
use super::{Fake, Op, Recorded, Working};
use async_trait::async_trait;
use ostler_driver::{
    CallControl, ChangeBatch, DomainDisk, DomainMetrics, DomainNic, DomainSpec, FileRef, Hypervisor, HypervisorJob, JobStatus,
    Listed, Site,
};
use ostler_model::{
    Ability, CallContext, CallResult, Capacity, DiskFormat, DiskName, DriverError, HostFacts, HostId, Identity, MacAddress, Millis,
    Observation, Outcome, Power, SnapshotName, VmUuid, WildDomain,
};
use std::time::Duration;

/// The capacity of every host of the fake.
const OFFERED: Capacity = Capacity { cpu_milli: 64_000, memory_mib: 262_144 };

/// Marks a call as abandoned if its future is dropped while the call is still at work. Has no effect after the call has ended.
pub(super) struct Abandon {
    fake: Fake,
    id: u64,
}

impl Drop for Abandon {
    fn drop(&mut self) {
        if let Some(working) = self.fake.lock().working.get_mut(&self.id) {
            working.abandoned = true;
        }
    }
}

impl Fake {
    pub(super) fn record(&self, op: Op, site: &Site, context: Option<&CallContext>, vm: Option<VmUuid>) -> Recorded {
        let call = Recorded { op, host: site.id, key: context.map(|context| context.key.clone()), vm };
        self.lock().calls.push(call.clone());
        call
    }

    /// Adds a call to the calls that are at work. Notes a violation if another mutating call of this VM is at work on the host.
    pub(super) fn begin_work(&self, call: &Recorded, vm: VmUuid) -> (u64, Abandon) {
        let mut state = self.lock();
        let beside = state.working.values().find(|other| other.host == call.host && other.vm == vm);
        let beside = beside.map(|other| other.op).filter(|op| *op != Op::Destroy);
        let job =
            state.hyper_jobs.iter().find(|(key, job)| key.vm == vm && call.key.as_ref() != Some(*key) && job.holds(call.host));
        let beside = beside.or(job.map(|(_, job)| job.op()));
        if let Some(other) = beside
            && call.op != Op::Destroy
        {
            state.violations.push(format!("{} of {vm} began while {other} was at work", call.op));
        }
        state.next += 1;
        let id = state.next;
        state.working.insert(id, Working { host: call.host, vm, op: call.op, abandoned: false });
        (id, Abandon { fake: self.clone(), id })
    }

    /// Runs one mutating call. The call goes on when its future is dropped.
    async fn act(
        &self,
        op: Op,
        site: &Site,
        call: &CallControl,
        deed: impl FnOnce(&mut World, HostId, bool) -> CallResult + Send + 'static,
    ) -> CallResult {
        let context = call.context.clone();
        let vm = context.key.vm;
        let recorded = self.record(op, site, Some(&context), Some(vm));
        self.reach(site)?;
        let plan = self.lock().knobs.plan(&recorded);
        let (id, abandon) = self.begin_work(&recorded, vm);
        let (fake, host) = (self.clone(), site.id);
        let work = tokio::spawn(async move {
            let result = match plan.before().await {
                Ok(()) => match fake.change(host, &context, deed) {
                    Ok(outcome) => plan.after().await.map(|()| outcome),
                    failed => failed,
                },
                Err(error) => Err(error),
            };
            fake.lock().working.remove(&id);
            result
        });
        let result = work.await.unwrap_or_else(|error| Err(DriverError::unknown("driver-trap", error.to_string())));
        drop(abandon);
        result
    }

    fn change(&self, host: HostId, context: &CallContext, deed: impl FnOnce(&mut World, HostId, bool) -> CallResult) -> CallResult {
        let mut state = self.lock();
        state.world.fence(host, context.key.vm, context.generation)?;
        let ignored = state.ignore_acpi;
        let result = deed(&mut state.world, host, ignored);
        let count = state.world.note(context.key.vm);
        drop(state);
        self.changed.send_replace(count);
        result
    }

    /// The VMs for which a job is at work on a host, if jobs go on by themselves ([`Fake::jobs_go_on`]).
    fn has_job(&self, host: HostId) -> impl Iterator<Item = VmUuid> + use<> {
        let state = self.lock();
        let jobs = state.hyper_jobs.iter().filter(|(_, job)| state.jobs_go_on.is_some() && job.holds(host));
        jobs.map(|(key, _)| key.vm).collect::<Vec<_>>().into_iter()
    }

    async fn ask<T>(
        &self,
        op: Op,
        site: &Site,
        vm: Option<VmUuid>,
        answer: impl FnOnce(&World) -> T + Send,
    ) -> Result<T, DriverError> {
        let recorded = self.record(op, site, None, vm);
        self.reach(site)?;
        let plan = self.lock().knobs.plan(&recorded);
        plan.before().await?;
        // Looks before the answer is held or delayed. So a held or late answer is an old observation.
        let answer = answer(&self.lock().world);
        plan.after().await?;
        Ok(answer)
    }
}

#[async_trait]
impl Hypervisor for Fake {
    fn abilities(&self) -> &[Ability] {
        &self.abilities
    }

    async fn probe(&self, site: &Site) -> Result<HostFacts, DriverError> {
        let abilities = self.abilities.to_vec();
        self.ask(Op::Probe, site, None, |_| HostFacts {
            total: OFFERED,
            abilities,
            hypervisor: "fake".to_owned(),
            notes: Vec::new(),
            identity: None,
            took: Millis(0),
        })
        .await
    }

    async fn deploy(&self, site: &Site, call: &CallControl, domain: &DomainSpec) -> CallResult {
        let domain = domain.clone();
        self.act(Op::Deploy, site, call, move |world, host, _| world.deploy(host, &domain)).await
    }

    async fn press_power(&self, site: &Site, call: &CallControl) -> CallResult {
        let context = call.context.clone();
        self.act(Op::PressPower, site, call, move |world, host, ignored| world.edge(host, &context, Edge::Press, ignored)).await
    }

    async fn destroy(&self, site: &Site, call: &CallControl) -> CallResult {
        let vm = call.context.key.vm;
        self.act(Op::Destroy, site, call, move |world, host, _| Ok(world.destroy(host, vm))).await
    }

    async fn remove(&self, site: &Site, call: &CallControl) -> CallResult {
        let (vm, spares) = (call.context.key.vm, call.context.spares);
        self.act(Op::Remove, site, call, move |world, host, _| Ok(world.undefine(host, vm, spares))).await
    }

    async fn reboot(&self, site: &Site, call: &CallControl) -> CallResult {
        let context = call.context.clone();
        self.act(Op::Reboot, site, call, move |world, host, _| world.edge(host, &context, Edge::Reboot, false)).await
    }

    async fn reset(&self, site: &Site, call: &CallControl) -> CallResult {
        let context = call.context.clone();
        self.act(Op::Reset, site, call, move |world, host, _| world.edge(host, &context, Edge::Reset, false)).await
    }

    async fn save(&self, site: &Site, call: &CallControl, file: &FileRef) -> CallResult {
        let (vm, file) = (call.context.key.vm, file.clone());
        self.act(Op::Save, site, call, move |world, host, _| world.save(host, vm, &file)).await
    }

    async fn restore(&self, site: &Site, call: &CallControl, domain: &DomainSpec, file: &FileRef) -> CallResult {
        let (domain, file) = (domain.clone(), file.clone());
        self.act(Op::Restore, site, call, move |world, host, _| world.restore(host, &domain, &file)).await
    }

    async fn unpause(&self, site: &Site, call: &CallControl) -> CallResult {
        let vm = call.context.key.vm;
        self.act(Op::Unpause, site, call, move |world, host, _| world.unpause(host, vm)).await
    }

    async fn observe(&self, site: &Site, vm: VmUuid) -> Result<Observation, DriverError> {
        let host = site.id;
        let dropped = self.lock().working.values().any(|call| call.abandoned && call.host == host && call.vm == vm);
        if dropped || self.has_job(host).any(|other| other == vm) {
            self.record(Op::Observe, site, None, Some(vm));
            return Err(DriverError::retry("busy", "a call that was dropped is still at work"));
        }
        self.ask(Op::Observe, site, Some(vm), |world| world.observe(host, vm)).await
    }

    async fn list(&self, site: &Site) -> Result<Listed, DriverError> {
        let host = site.id;
        let domains = self.ask(Op::List, site, None, |world| world.domains(host)).await?;
        Ok(Listed { domains: domains.into_iter().map(|domain| domain.seen).collect(), unreadable: self.has_job(host).collect() })
    }

    async fn begin_migrate(
        &self,
        site: &Site,
        call: &CallControl,
        domain: &DomainSpec,
        to: &Site,
        move_disks: &[DiskName],
    ) -> Result<JobStatus, DriverError> {
        let job = HyperJob::Migrate(Box::new(Journey { domain: domain.clone(), to: to.clone(), move_disks: move_disks.to_vec() }));
        self.begin_job(Op::Migrate, site, call, job).await
    }

    async fn begin_copy_disk(
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

    async fn poll_job(&self, site: &Site, call: &CallControl, job: HypervisorJob) -> Result<JobStatus, DriverError> {
        self.poll_hyper_job(site, call, job).await
    }

    async fn abort_job(&self, site: &Site, call: &CallControl, job: HypervisorJob) -> Result<(), DriverError> {
        self.abort_hyper_job(site, call, job).await
    }

    async fn attach_disk(&self, site: &Site, call: &CallControl, disk: &DomainDisk) -> CallResult {
        let (vm, disk) = (call.context.key.vm, disk.clone());
        self.act(Op::AttachDisk, site, call, move |world, host, _| world.attach_disk(host, vm, disk)).await
    }

    async fn detach_disk(&self, site: &Site, call: &CallControl, disk: &DiskName) -> CallResult {
        let (vm, disk) = (call.context.key.vm, disk.clone());
        self.act(Op::DetachDisk, site, call, move |world, host, _| world.detach_disk(host, vm, &disk)).await
    }

    async fn attach_nic(&self, site: &Site, call: &CallControl, nic: &DomainNic) -> CallResult {
        let (vm, nic) = (call.context.key.vm, nic.clone());
        self.act(Op::AttachNic, site, call, move |world, host, _| world.attach_nic(host, vm, nic)).await
    }

    async fn detach_nic(&self, site: &Site, call: &CallControl, mac: &MacAddress) -> CallResult {
        let (vm, mac) = (call.context.key.vm, mac.clone());
        self.act(Op::DetachNic, site, call, move |world, host, _| world.detach_nic(host, vm, &mac)).await
    }

    async fn resize(&self, site: &Site, call: &CallControl, vcpus: u32, memory_mib: u64) -> CallResult {
        let vm = call.context.key.vm;
        self.act(Op::Resize, site, call, move |world, host, _| world.resize(host, vm, vcpus, memory_mib)).await
    }

    async fn create_snapshot(&self, site: &Site, call: &CallControl, name: &SnapshotName) -> CallResult {
        let (vm, name) = (call.context.key.vm, name.clone());
        self.act(Op::CreateSnapshot, site, call, move |world, host, _| world.create_snapshot(host, vm, name)).await
    }

    async fn revert_snapshot(&self, site: &Site, call: &CallControl, name: &SnapshotName) -> CallResult {
        let (context, name) = (call.context.clone(), name.clone());
        self.act(Op::RevertSnapshot, site, call, move |world, host, _| world.revert_snapshot(host, &context, &name)).await
    }

    async fn delete_snapshot(&self, site: &Site, call: &CallControl, name: &SnapshotName) -> CallResult {
        let (vm, name) = (call.context.key.vm, name.clone());
        self.act(Op::DeleteSnapshot, site, call, move |world, host, _| Ok(world.delete_snapshot(host, vm, &name))).await
    }

    async fn list_snapshots(&self, site: &Site, vm: VmUuid) -> Result<Vec<String>, DriverError> {
        let host = site.id;
        self.ask(Op::ListSnapshots, site, Some(vm), |world| world.snapshots(host, vm)).await
    }

    async fn inspect(&self, site: &Site, vm: VmUuid) -> Result<WildDomain, DriverError> {
        let host = site.id;
        self.ask(Op::Inspect, site, Some(vm), |world| world.inspect(host, vm)).await?
    }

    async fn stamp(&self, site: &Site, call: &CallControl, identity: &Identity) -> CallResult {
        let identity = *identity;
        self.act(Op::Stamp, site, call, move |world, host, _| world.stamp(host, identity)).await
    }

    async fn changes(&self, site: &Site, cursor: u64, wait: Duration) -> Result<ChangeBatch, DriverError> {
        self.record(Op::Changes, site, None, None);
        self.reach(site)?;
        let mut changed = self.changed.subscribe();
        // A timeout or a closed channel is not an error: the batch is then empty.
        let _ = tokio::time::timeout(wait, changed.wait_for(|count| *count > cursor)).await;
        let (now, vms) = self.lock().world.changes_after(cursor);
        Ok(ChangeBatch { cursor: now, vms, lost: cursor > now })
    }

    async fn metrics(&self, site: &Site) -> Result<Vec<DomainMetrics>, DriverError> {
        let host = site.id;
        let domains = self.ask(Op::Metrics, site, None, |world| world.domains(host)).await?;
        let running = domains.iter().filter(|domain| domain.seen.power == Power::Running);
        Ok(running.map(|domain| DomainMetrics { vm: Some(domain.seen.uuid), cpu_ns: 1, ..DomainMetrics::default() }).collect())
    }
}

/// Success without an observation: the answer of transfer jobs.
pub(super) fn done() -> Outcome {
    Outcome::default()
}
