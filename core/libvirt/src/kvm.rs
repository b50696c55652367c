//! The driver, as the engine calls it.

use crate::adopt;
use crate::bridge;
use crate::calls;
use crate::copy;
use crate::deeds::{self, Edge, Order};
use crate::folder::Folder;
use crate::host;
use crate::hotplug::{self, Device, Wanted};
use crate::jobs::{self, Job};
use crate::link::Link;
use crate::links::Links;
use crate::live::Live;
use crate::look;
use crate::memory;
use crate::migrate;
use crate::options::{HostConfig, KvmOptions};
use crate::raw;
use crate::resize::{self, Size};
use crate::road::OpenTimes;
use crate::snapshots;
use crate::stats;
use async_trait::async_trait;
use ostler_driver::{
    CallControl, ChangeBatch, DomainDisk, DomainMetrics, DomainNic, DomainSpec, FileRef, Hypervisor, HypervisorJob, JobStatus,
    Listed, Site,
};
use ostler_model::{
    Ability, CallResult, DiskFormat, DiskName, DriverError, ErrorKind, HostFacts, Identity, MacAddress, Observation, Progress,
    SnapshotName, VmUuid, WildDomain,
};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The KVM driver, for many hosts. A host's settings are `uri` (libvirt's, required), `accel` (`auto`, `kvm`, `tcg`),
/// `cache` (`none`, `writeback`, `writethrough`) and `cpu-shares` (`on`, `off`). Two more are for live migration to the
/// host: `migrate-uri` (how other hosts' libvirt daemons reach this one; the `uri` itself if that goes over a network) and
/// `migrate-address` (where they send memory).
pub struct Kvm {
    options: KvmOptions,
    links: Links,
}

impl Kvm {
    /// A driver without connections. Each is opened when it is first needed.
    #[must_use]
    pub fn new(options: KvmOptions) -> Self {
        let times = OpenTimes { wait: options.open_timeout, give_up: options.open_give_up };
        Self { options, links: Links::new(times) }
    }

    fn link(&self, site: &Site) -> Result<(Arc<Link>, HostConfig), DriverError> {
        let config = HostConfig::of(site)?;
        let (link, unused) = self.links.get(&config.uri);
        if !unused.is_empty() {
            // Closing a connection needs a thread, or blocks this one.
            drop(tokio::task::spawn_blocking(move || drop(unused)));
        }
        Ok((link, config))
    }

    fn order(&self, call: &CallControl) -> Order {
        let context = &call.context;
        Order { store: self.options.store, key: context.key.clone(), generation: context.generation, spares: context.spares }
    }

    /// As [`Self::order`], and the specification must have the call's identity.
    fn order_for(&self, call: &CallControl, domain: &DomainSpec) -> Result<Order, DriverError> {
        self.order_of(call, &domain.identity)
    }

    /// As [`Self::order`], and the identity must be the call's.
    fn order_of(&self, call: &CallControl, identity: &Identity) -> Result<Order, DriverError> {
        let order = self.order(call);
        let same = identity.vm == order.key.vm && identity.generation == order.generation;
        if !same || order.store.is_some_and(|store| store != identity.store) {
            return Err(DriverError::refused("bad-identity", "the specification's identity is not the call's"));
        }
        Ok(Order { store: Some(identity.store), ..order })
    }

    async fn attach(&self, site: &Site, call: &CallControl, wanted: Wanted) -> CallResult {
        let (link, _) = self.link(site)?;
        let order = self.order(call);
        calls::change(&link, call, move |live| hotplug::attach(live, &order, &wanted)).await
    }

    async fn detach(&self, site: &Site, call: &CallControl, device: Device) -> CallResult {
        let (link, _) = self.link(site)?;
        hotplug::detach(&link, call, &self.order(call), &device, self.options.ask_timeout).await
    }

    async fn snapshot(
        &self,
        site: &Site,
        call: &CallControl,
        name: &SnapshotName,
        deed: fn(&Live, &Order, &SnapshotName) -> CallResult,
    ) -> CallResult {
        let (link, _) = self.link(site)?;
        let (order, name) = (self.order(call), name.clone());
        calls::change(&link, call, move |live| deed(live, &order, &name)).await
    }

    async fn press(&self, site: &Site, call: &CallControl, edge: Edge) -> CallResult {
        let (link, _) = self.link(site)?;
        let order = self.order(call);
        calls::change(&link, call, move |live| deeds::edge(live, &order, edge)).await
    }

    /// Saves, or waits for an earlier sending of the same save that is still at work. A call that was told to stop saves
    /// nothing and only finds out the result of an earlier sending. It checks for that in the lane, because it may have
    /// waited long for the lane.
    async fn save_to(
        &self,
        link: &Link,
        call: &CallControl,
        file: &FileRef,
        folder: Folder,
        stopping: &Arc<AtomicBool>,
    ) -> CallResult {
        let mut at_work = false;
        loop {
            let (order, file, folder, stopping) = (self.order(call), file.clone(), folder.clone(), Arc::clone(stopping));
            let found_out = at_work || stopping.load(Ordering::Acquire);
            let cancel = call.cancel.clone();
            let deed = move |live: &Live| {
                if stopping.load(Ordering::Acquire) || cancel.is_cancelled() {
                    return memory::save_stopped(live, &order, &file);
                }
                folder.make().and_then(|()| memory::save(live, &order, &file))
            };
            // `change` would answer a stopped call with "nothing was sent". That would be wrong about a save that is at
            // work already.
            let saved =
                if found_out { calls::change_anyway(link, call, deed).await } else { calls::change(link, call, deed).await };
            match saved {
                Err(error) if error.code == memory::AT_WORK => tokio::time::sleep(SAVE_PAUSE).await,
                done => return done,
            }
            at_work = true;
        }
    }

    /// Stops a save, again and again: a stop that comes before libvirt has begun the save has no effect.
    async fn stop_save(&self, link: &Link, call: &CallControl) -> Infallible {
        loop {
            let order = self.order(call);
            if let Err(error) = self.ask(link, move |live| memory::abort_save(live, &order)).await {
                tracing::warn!(key = %call.context.key, %error, "a save that was told to stop could not be stopped");
            }
            tokio::time::sleep(STOP_PAUSE).await;
        }
    }

    /// Asks a question, on the express road.
    async fn ask<T: Send + 'static>(
        &self,
        link: &Link,
        question: impl FnOnce(&Live) -> Result<T, DriverError> + Send + 'static,
    ) -> Result<T, DriverError> {
        link.ask(self.options.ask_timeout, question).await
    }

    /// The progress of a job that is at work, if libvirt tells it now.
    async fn progress(&self, link: &Link, call: &CallControl, job: HypervisorJob) -> Option<Progress> {
        let vm = call.context.key.vm;
        let (phase, asked) = match job {
            HypervisorJob::Migrate => ("copying memory", self.ask(link, move |live| migrate::progress(live, vm)).await),
            HypervisorJob::CopyDisk => {
                let order = self.order(call);
                ("copying the disk", self.ask(link, move |live| copy::progress(live, &order)).await)
            }
        };
        let (done, total) = asked.ok()??;
        Some(Progress { done, total, phase: phase.to_owned() })
    }

    /// Ends the job's work at libvirt, if there is any. True once nothing is at work.
    async fn stop_job(&self, link: &Link, call: &CallControl, job: HypervisorJob) -> Result<bool, DriverError> {
        let order = self.order(call);
        match job {
            HypervisorJob::Migrate => self.ask(link, move |live| migrate::abort(live, &order)).await,
            HypervisorJob::CopyDisk => self.ask(link, move |live| copy::abort(live, &order, None)).await,
        }
    }

    /// Stops a job of ours, again and again: a stop that comes before the job has begun at libvirt has no effect. True if
    /// the job's end says that nothing is at work any more; false if libvirt must be asked.
    async fn stop_known(&self, link: &Link, call: &CallControl, job: &Job, until: Instant) -> Result<bool, DriverError> {
        job.stop();
        loop {
            let pause = until.min(Instant::now() + STOP_PAUSE);
            match job.ended(pause).await {
                // A copy that is complete has changed nothing for the guest. A domain that has moved does not run where it
                // ran.
                Some(Ok(_)) if job.kind == HypervisorJob::CopyDisk => return Ok(true),
                Some(Ok(_)) => return Err(DriverError::unknown("too-late", "it was done before it could be stopped")),
                Some(Err(error)) => return Ok(!matches!(error.kind, ErrorKind::Unknown | ErrorKind::Retry)),
                None if Instant::now() >= until => return Err(DriverError::unknown("timeout", "it is still being stopped")),
                None => {}
            }
            if let Err(error) = self.stop_job(link, call, job.kind).await {
                tracing::debug!(key = %job.key, %error, "stopping a job");
            }
        }
    }
}

/// The least time that stopping a job gets: a job is also stopped because its time is over. If a migration's network is
/// cut, libvirt gives the other side up after 30 s.
const STOP_LEAST: Duration = Duration::from_secs(45);
/// The part of a save's time that is kept for stopping it.
const STOP_SAVE: Duration = Duration::from_secs(5);
/// The pause between two looks at a save that an earlier sending began.
const SAVE_PAUSE: Duration = Duration::from_millis(200);
/// The pause between two attempts to stop a job or a save.
const STOP_PAUSE: Duration = Duration::from_millis(200);

fn orphaned(vm: VmUuid) -> DriverError {
    DriverError::retry("busy", format!("an earlier call may still be at work on {vm}"))
}

fn bridges_of(domain: &DomainSpec) -> Vec<String> {
    domain.nics.iter().map(|nic| nic.bridge.clone()).collect()
}

#[async_trait]
impl Hypervisor for Kvm {
    fn abilities(&self) -> &[Ability] {
        &host::ABILITIES
    }

    async fn probe(&self, site: &Site) -> Result<HostFacts, DriverError> {
        let (link, config) = self.link(site)?;
        self.ask(&link, move |live| host::probe(live, &config)).await
    }

    async fn deploy(&self, site: &Site, call: &CallControl, domain: &DomainSpec) -> CallResult {
        let (link, config) = self.link(site)?;
        let bridges = bridges_of(domain);
        let (order, domain) = (self.order_for(call, domain)?, domain.clone());
        let folder = Folder::of(site, &domain.console_log.absolute);
        let deed = move |live: &Live| folder.make().and_then(|()| deeds::deploy(live, &order, &config, &domain));
        let deployed = calls::change(&link, call, deed).await;
        deployed.map_err(|error| bridge::told(error, site, bridges.iter().map(String::as_str)))
    }

    async fn press_power(&self, site: &Site, call: &CallControl) -> CallResult {
        self.press(site, call, Edge::Press).await
    }

    async fn destroy(&self, site: &Site, call: &CallControl) -> CallResult {
        let (link, _) = self.link(site)?;
        let order = self.order(call);
        // Runs beside any other call: it needs neither the domain's lock nor a lane of the work road.
        let claim = link.locks.begin(call.context.key.vm, None);
        link.express.run(call.until, Some(claim), ErrorKind::Unknown, move |live| deeds::destroy(live, &order)).await
    }

    async fn remove(&self, site: &Site, call: &CallControl) -> CallResult {
        let (link, _) = self.link(site)?;
        let order = self.order(call);
        calls::change(&link, call, move |live| deeds::remove(live, &order)).await
    }

    async fn reboot(&self, site: &Site, call: &CallControl) -> CallResult {
        self.press(site, call, Edge::Reboot).await
    }

    async fn reset(&self, site: &Site, call: &CallControl) -> CallResult {
        self.press(site, call, Edge::Reset).await
    }

    async fn save(&self, site: &Site, call: &CallControl, file: &FileRef) -> CallResult {
        let (link, _) = self.link(site)?;
        // An adopted domain has no folder of its own yet.
        let folder = Folder::of(site, &file.absolute);
        let stopping = Arc::new(AtomicBool::new(false));
        let saving = self.save_to(&link, call, file, folder, &stopping);
        tokio::pin!(saving);
        let left = call.until.saturating_duration_since(Instant::now());
        tokio::select! {
            done = &mut saving => return done,
            () = call.cancel.cancelled() => {}
            // The time is nearly over. A save that nobody waits for would switch the guest off, and nobody would be told.
            () = tokio::time::sleep(left.saturating_sub(STOP_SAVE.min(left / 4))) => {}
        }
        stopping.store(true, Ordering::Release);
        // Writing takes minutes and can be stopped. libvirt then lets the guest run on, and the save answers "aborted".
        tokio::select! {
            done = &mut saving => done,
            never = self.stop_save(&link, call) => match never {},
        }
    }

    async fn restore(&self, site: &Site, call: &CallControl, domain: &DomainSpec, file: &FileRef) -> CallResult {
        let (link, _) = self.link(site)?;
        let bridges = bridges_of(domain);
        let (order, domain, file) = (self.order_for(call, domain)?, domain.clone(), file.clone());
        let restored = calls::change(&link, call, move |live| memory::restore(live, &order, &domain, &file)).await;
        restored.map_err(|error| bridge::told(error, site, bridges.iter().map(String::as_str)))
    }

    async fn unpause(&self, site: &Site, call: &CallControl) -> CallResult {
        let (link, _) = self.link(site)?;
        let order = self.order(call);
        calls::change(&link, call, move |live| deeds::unpause(live, &order)).await
    }

    async fn observe(&self, site: &Site, vm: VmUuid) -> Result<Observation, DriverError> {
        let (link, _) = self.link(site)?;
        if link.locks.is_orphaned(vm) {
            return Err(orphaned(vm));
        }
        let seen = self.ask(&link, move |live| look::observe(live, vm)).await;
        // A call may have become an orphan during the look.
        if link.locks.is_orphaned(vm) { Err(orphaned(vm)) } else { seen }
    }

    async fn list(&self, site: &Site) -> Result<Listed, DriverError> {
        let (link, _) = self.link(site)?;
        let locks = Arc::clone(&link.locks);
        self.ask(&link, move |live| look::list(live, |vm| locks.is_orphaned(vm))).await
    }

    async fn begin_migrate(
        &self,
        site: &Site,
        call: &CallControl,
        domain: &DomainSpec,
        to: &Site,
        move_disks: &[DiskName],
    ) -> Result<JobStatus, DriverError> {
        let ((here, config), (there, to_config)) = (self.link(site)?, self.link(to)?);
        let folder = Folder::of(to, &domain.console_log.absolute);
        let plan = migrate::Plan::new(self.order_for(call, domain)?, domain, folder, &config, &to_config, move_disks)?;
        let ends = migrate::Ends { here: Arc::clone(&here), there, patience: self.options.ask_timeout, until: call.until };
        let (to, bridges) = (to.clone(), bridges_of(domain));
        let work = |job| async move {
            let moved = migrate::run(job, ends, Arc::new(plan)).await;
            moved.map_err(|error| bridge::told(error, &to, bridges.iter().map(String::as_str)))
        };
        let job = here.jobs.begin(&call.context.key, HypervisorJob::Migrate, work)?;
        calls::begun(call, &job).await
    }

    async fn begin_copy_disk(
        &self,
        site: &Site,
        call: &CallControl,
        disk: &DiskName,
        target: &FileRef,
        format: DiskFormat,
    ) -> Result<JobStatus, DriverError> {
        let (link, _) = self.link(site)?;
        let plan = copy::Plan::new(self.order(call), disk, target, Folder::of(site, &target.absolute), format)?;
        let (whose, patience, until) = (Arc::clone(&link), self.options.ask_timeout, call.until);
        let work = |job| copy::run(job, whose, plan, patience, until);
        let job = link.jobs.begin(&call.context.key, HypervisorJob::CopyDisk, work)?;
        calls::begun(call, &job).await
    }

    async fn poll_job(&self, site: &Site, call: &CallControl, job: HypervisorJob) -> Result<JobStatus, DriverError> {
        let (link, _) = self.link(site)?;
        let known = link.jobs.find(&call.context.key, job).ok_or_else(jobs::not_known)?;
        if let Some(result) = known.result() {
            return result.map(JobStatus::Done);
        }
        match self.progress(&link, call, job).await {
            Some(progress) if known.result().is_none() => Ok(JobStatus::Pending(progress)),
            _ => known.status("waiting"),
        }
    }

    async fn abort_job(&self, site: &Site, call: &CallControl, job: HypervisorJob) -> Result<(), DriverError> {
        let (link, _) = self.link(site)?;
        let until = call.until.max(Instant::now() + STOP_LEAST);
        if let Some(known) = link.jobs.find(&call.context.key, job)
            && self.stop_known(&link, call, &known, until).await?
        {
            return Ok(());
        }
        // An earlier ostlerd, which is gone, may have begun the job.
        let in_doubt = |error: DriverError| match error.kind {
            ErrorKind::Retry => DriverError::unknown(error.code, error.detail),
            _ => error,
        };
        while !self.stop_job(&link, call, job).await.map_err(in_doubt)? {
            if Instant::now() >= until {
                return Err(DriverError::unknown("timeout", "it is still being stopped"));
            }
            tokio::time::sleep(STOP_PAUSE).await;
        }
        Ok(())
    }

    async fn attach_disk(&self, site: &Site, call: &CallControl, disk: &DomainDisk) -> CallResult {
        let (_, config) = self.link(site)?;
        self.attach(site, call, Wanted::disk(disk, config.cache)?).await
    }

    async fn detach_disk(&self, site: &Site, call: &CallControl, disk: &DiskName) -> CallResult {
        self.detach(site, call, Device::Disk(disk.clone())).await
    }

    async fn attach_nic(&self, site: &Site, call: &CallControl, nic: &DomainNic) -> CallResult {
        let attached = self.attach(site, call, Wanted::nic(nic)?).await;
        attached.map_err(|error| bridge::told(error, site, [nic.bridge.as_str()]))
    }

    async fn detach_nic(&self, site: &Site, call: &CallControl, mac: &MacAddress) -> CallResult {
        self.detach(site, call, Device::Nic(mac.clone())).await
    }

    async fn resize(&self, site: &Site, call: &CallControl, vcpus: u32, memory_mib: u64) -> CallResult {
        let (link, _) = self.link(site)?;
        let size = Size { vcpus, kib: memory_mib.saturating_mul(1024) };
        resize::resize(&link, call, &self.order(call), size, self.options.ask_timeout).await
    }

    async fn create_snapshot(&self, site: &Site, call: &CallControl, name: &SnapshotName) -> CallResult {
        self.snapshot(site, call, name, snapshots::create).await
    }

    async fn revert_snapshot(&self, site: &Site, call: &CallControl, name: &SnapshotName) -> CallResult {
        self.snapshot(site, call, name, snapshots::revert).await
    }

    async fn delete_snapshot(&self, site: &Site, call: &CallControl, name: &SnapshotName) -> CallResult {
        self.snapshot(site, call, name, snapshots::delete).await
    }

    async fn list_snapshots(&self, site: &Site, vm: VmUuid) -> Result<Vec<String>, DriverError> {
        let (link, _) = self.link(site)?;
        self.ask(&link, move |live| snapshots::list(live, vm)).await
    }

    async fn inspect(&self, site: &Site, vm: VmUuid) -> Result<WildDomain, DriverError> {
        let (link, config) = self.link(site)?;
        self.ask(&link, move |live| adopt::inspect(live, &config, vm)).await
    }

    async fn stamp(&self, site: &Site, call: &CallControl, identity: &Identity) -> CallResult {
        let (link, _) = self.link(site)?;
        let (order, identity) = (self.order_of(call, identity)?, *identity);
        calls::change(&link, call, move |live| adopt::stamp(live, &order, &identity)).await
    }

    async fn changes(&self, site: &Site, cursor: u64, wait: Duration) -> Result<ChangeBatch, DriverError> {
        let (link, _) = self.link(site)?;
        // Events come only over an open connection: open it.
        link.listen(self.options.ask_timeout).await?;
        Ok(link.feed.after(cursor, wait).await)
    }

    async fn metrics(&self, site: &Site) -> Result<Vec<DomainMetrics>, DriverError> {
        let (link, _) = self.link(site)?;
        let read = |live: &Live| raw::stats(live.connect()).map_err(|error| live.error(&error, crate::failure::During::Asking));
        let all = self.ask(&link, read).await?;
        Ok(all.iter().filter_map(stats::metrics).collect())
    }
}

#[cfg(test)]
#[path = "kvm_tests.rs"]
mod tests;
