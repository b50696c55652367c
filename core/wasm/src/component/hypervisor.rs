//! A component as a hypervisor driver.

use super::{Component, Request, answer, body, lend};
use crate::convert;
use async_trait::async_trait;
use ostler_driver::{
    CallControl, ChangeBatch, DomainDisk, DomainMetrics, DomainNic, DomainSpec, FileRef, Hypervisor, HypervisorJob, JobStatus,
    Listed, Site,
};
use ostler_model::{
    Ability, CallResult, DiskFormat, DiskName, DriverError, HostFacts, Identity, MacAddress, Observation, Outcome, SnapshotName,
    VmUuid, WildDomain,
};
use std::time::{Duration, Instant};

/// The time for a question about one domain. A hypervisor that takes longer counts as not answering.
const OBSERVE: Duration = Duration::from_secs(10);
/// The time for a question about a whole host.
const ASK_HOST: Duration = Duration::from_secs(30);
/// How much longer than its wait `changes` may take.
const CHANGES_MORE: Duration = Duration::from_secs(10);
/// The longest wait for changes: a driver can be replaced within this time.
const CHANGES_MAX: Duration = Duration::from_secs(60);

/// One call of an exported function for an effect, and its answer.
macro_rules! send {
    ($self:ident, $site:ident, $call:ident, $interface:ident, $function:ident, $name:literal $(, $argument:expr)*) => {{
        let body = body!($self.0.exports, $interface, |guest, store| {
            let lent = lend(store)?;
            guest.$function(store, lent $(, $argument)*).await
        });
        answer($self.call(Request::act($name, $site, $call), body).await?)
    }};
}

/// A mutating call of one exported function.
macro_rules! act {
    ($self:ident, $site:ident, $call:ident, $interface:ident, $function:ident, $name:literal $(, $argument:expr)*) => {
        convert::outcome(send!($self, $site, $call, $interface, $function, $name $(, $argument)*)?, $call.context.key.vm)
    };
}

/// One call about a job: begin it, or ask for its progress.
macro_rules! job {
    ($self:ident, $site:ident, $call:ident, $interface:ident, $function:ident, $name:literal $(, $argument:expr)*) => {
        convert::job_status(send!($self, $site, $call, $interface, $function, $name $(, $argument)*)?, $call.context.key.vm)
    };
}

/// Ends with `no-such-ability` unless the interface is exported.
macro_rules! needs {
    ($self:ident, $interface:ident, $ability:ident) => {
        if $self.0.exports.$interface.is_none() {
            return Err($self.unable(Ability::$ability));
        }
    };
}

#[async_trait]
impl Hypervisor for Component {
    fn abilities(&self) -> &[Ability] {
        &self.0.abilities
    }

    async fn probe(&self, site: &Site) -> Result<HostFacts, DriverError> {
        let begun = Instant::now();
        let body = body!(self.0.exports, hypervisor, |guest, store| guest.call_probe(store).await);
        let given = answer(self.call(Request::ask("probe", Some(site), ASK_HOST), body).await?)?;
        convert::facts(given, &self.0.abilities, begun.elapsed())
    }

    async fn deploy(&self, site: &Site, call: &CallControl, domain: &DomainSpec) -> CallResult {
        let domain = convert::domain(domain);
        act!(self, site, call, hypervisor, call_deploy, "deploy", &domain)
    }

    async fn press_power(&self, site: &Site, call: &CallControl) -> CallResult {
        act!(self, site, call, hypervisor, call_press_power, "press-power")
    }

    async fn destroy(&self, site: &Site, call: &CallControl) -> CallResult {
        act!(self, site, call, hypervisor, call_destroy, "destroy")
    }

    async fn remove(&self, site: &Site, call: &CallControl) -> CallResult {
        // The contract cannot name the generation to spare, so the host is asked for it first.
        if let Some(spared) = call.context.spares
            && let Observation::Present(seen) = self.observe(site, call.context.key.vm).await?
            && seen.identity.is_some_and(|identity| identity.vm == call.context.key.vm && identity.generation == spared)
        {
            return Ok(Outcome { seen: Some(Observation::Absent), state: None });
        }
        act!(self, site, call, hypervisor, call_remove, "remove")
    }

    async fn reboot(&self, site: &Site, call: &CallControl) -> CallResult {
        needs!(self, reboot, Reboot);
        act!(self, site, call, reboot, call_reboot, "reboot")
    }

    async fn reset(&self, site: &Site, call: &CallControl) -> CallResult {
        needs!(self, reboot, Reboot);
        act!(self, site, call, reboot, call_reset, "reset")
    }

    async fn save(&self, site: &Site, call: &CallControl, file: &FileRef) -> CallResult {
        needs!(self, suspend, Suspend);
        let file = convert::file(file);
        act!(self, site, call, suspend, call_save, "save", &file)
    }

    async fn restore(&self, site: &Site, call: &CallControl, domain: &DomainSpec, file: &FileRef) -> CallResult {
        needs!(self, suspend, Suspend);
        let (domain, file) = (convert::domain(domain), convert::file(file));
        act!(self, site, call, suspend, call_restore, "restore", &domain, &file)
    }

    async fn unpause(&self, site: &Site, call: &CallControl) -> CallResult {
        needs!(self, suspend, Suspend);
        act!(self, site, call, suspend, call_unpause, "unpause")
    }

    async fn observe(&self, site: &Site, vm: VmUuid) -> Result<Observation, DriverError> {
        if self.0.side.orphans.busy(vm) {
            return Err(DriverError::retry("busy", format!("a call for {vm} that was dropped may still be at work on the host")));
        }
        let name = vm.to_string();
        let body = body!(self.0.exports, hypervisor, |guest, store| guest.call_observe(store, &name).await);
        let given = answer(self.call(Request::ask("observe", Some(site), OBSERVE), body).await?)?;
        convert::observation(given, Some(vm))
    }

    async fn list(&self, site: &Site) -> Result<Listed, DriverError> {
        let body = body!(self.0.exports, hypervisor, |guest, store| guest.call_list(store).await);
        let given = answer(self.call(Request::ask("list", Some(site), ASK_HOST), body).await?)?;
        convert::listed(given)
    }

    async fn begin_migrate(
        &self,
        site: &Site,
        call: &CallControl,
        domain: &DomainSpec,
        to: &Site,
        move_disks: &[DiskName],
    ) -> Result<JobStatus, DriverError> {
        needs!(self, migrate, Migrate);
        let (domain, to) = (convert::domain(domain), convert::destination(to, move_disks, self.0.side.settings_of(to)));
        job!(self, site, call, migrate, call_begin, "migrate", &domain, &to)
    }

    async fn begin_copy_disk(
        &self,
        site: &Site,
        call: &CallControl,
        disk: &DiskName,
        target: &FileRef,
        format: DiskFormat,
    ) -> Result<JobStatus, DriverError> {
        needs!(self, disk_copy, DiskCopy);
        let (disk, target, format) = (disk.to_string(), convert::file(target), format.to_string());
        job!(self, site, call, disk_copy, call_begin, "copy-disk", &disk, &target, &format)
    }

    async fn poll_job(&self, site: &Site, call: &CallControl, job: HypervisorJob) -> Result<JobStatus, DriverError> {
        match job {
            HypervisorJob::Migrate => {
                needs!(self, migrate, Migrate);
                job!(self, site, call, migrate, call_poll, "migrate-poll")
            }
            HypervisorJob::CopyDisk => {
                needs!(self, disk_copy, DiskCopy);
                job!(self, site, call, disk_copy, call_poll, "copy-disk-poll")
            }
        }
    }

    async fn abort_job(&self, site: &Site, call: &CallControl, job: HypervisorJob) -> Result<(), DriverError> {
        match job {
            HypervisorJob::Migrate => {
                needs!(self, migrate, Migrate);
                send!(self, site, call, migrate, call_abort, "migrate-abort")
            }
            HypervisorJob::CopyDisk => {
                needs!(self, disk_copy, DiskCopy);
                send!(self, site, call, disk_copy, call_abort, "copy-disk-abort")
            }
        }
    }

    async fn attach_disk(&self, site: &Site, call: &CallControl, disk: &DomainDisk) -> CallResult {
        needs!(self, hotplug, Hotplug);
        let disk = convert::disk(disk);
        act!(self, site, call, hotplug, call_attach_disk, "attach-disk", &disk)
    }

    async fn detach_disk(&self, site: &Site, call: &CallControl, disk: &DiskName) -> CallResult {
        needs!(self, hotplug, Hotplug);
        let disk = disk.to_string();
        act!(self, site, call, hotplug, call_detach_disk, "detach-disk", &disk)
    }

    async fn attach_nic(&self, site: &Site, call: &CallControl, nic: &DomainNic) -> CallResult {
        needs!(self, hotplug, Hotplug);
        let nic = convert::nic(nic);
        act!(self, site, call, hotplug, call_attach_nic, "attach-nic", &nic)
    }

    async fn detach_nic(&self, site: &Site, call: &CallControl, mac: &MacAddress) -> CallResult {
        needs!(self, hotplug, Hotplug);
        let mac = mac.to_string();
        act!(self, site, call, hotplug, call_detach_nic, "detach-nic", &mac)
    }

    async fn resize(&self, site: &Site, call: &CallControl, vcpus: u32, memory_mib: u64) -> CallResult {
        needs!(self, live_resize, LiveResize);
        act!(self, site, call, live_resize, call_resize, "resize", vcpus, memory_mib)
    }

    async fn create_snapshot(&self, site: &Site, call: &CallControl, name: &SnapshotName) -> CallResult {
        needs!(self, snapshots, Snapshots);
        let name = name.to_string();
        act!(self, site, call, snapshots, call_create, "create-snapshot", &name)
    }

    async fn revert_snapshot(&self, site: &Site, call: &CallControl, name: &SnapshotName) -> CallResult {
        needs!(self, snapshots, Snapshots);
        let name = name.to_string();
        act!(self, site, call, snapshots, call_revert, "revert-snapshot", &name)
    }

    async fn delete_snapshot(&self, site: &Site, call: &CallControl, name: &SnapshotName) -> CallResult {
        needs!(self, snapshots, Snapshots);
        let name = name.to_string();
        act!(self, site, call, snapshots, call_delete, "delete-snapshot", &name)
    }

    async fn list_snapshots(&self, site: &Site, vm: VmUuid) -> Result<Vec<String>, DriverError> {
        needs!(self, snapshots, Snapshots);
        let name = vm.to_string();
        let body = body!(self.0.exports, snapshots, |guest, store| guest.call_list(store, &name).await);
        let given = answer(self.call(Request::ask("list-snapshots", Some(site), OBSERVE), body).await?)?;
        convert::snapshot_names(given)
    }

    async fn inspect(&self, site: &Site, vm: VmUuid) -> Result<WildDomain, DriverError> {
        needs!(self, adopt, Adopt);
        let name = vm.to_string();
        let body = body!(self.0.exports, adopt, |guest, store| guest.call_inspect(store, &name).await);
        convert::wild(answer(self.call(Request::ask("inspect", Some(site), OBSERVE), body).await?)?)
    }

    async fn stamp(&self, site: &Site, call: &CallControl, identity: &Identity) -> CallResult {
        needs!(self, adopt, Adopt);
        let identity = convert::identity(identity);
        act!(self, site, call, adopt, call_stamp, "stamp", &identity)
    }

    async fn changes(&self, site: &Site, cursor: u64, wait: Duration) -> Result<ChangeBatch, DriverError> {
        needs!(self, changes, Changes);
        let wait = wait.min(CHANGES_MAX);
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let body = body!(self.0.exports, changes, |guest, store| guest.call_changes(store, cursor, wait_ms).await);
        let given = answer(self.call(Request::ask("changes", Some(site), wait + CHANGES_MORE), body).await?)?;
        convert::changes(given)
    }

    async fn metrics(&self, site: &Site) -> Result<Vec<DomainMetrics>, DriverError> {
        needs!(self, metrics, Metrics);
        let body = body!(self.0.exports, metrics, |guest, store| guest.call_sample(store).await);
        let given = answer(self.call(Request::ask("metrics", Some(site), ASK_HOST), body).await?)?;
        convert::metrics(given)
    }
}
