//! The abilities of a component: the optional parts of a hypervisor driver.

use super::hypervisor::{ASK_HOST, OBSERVE};
use super::{Component, Request, act, ask, body, job, send};
use crate::convert;
use crate::own_files::About;
use async_trait::async_trait;
use ostler_driver::{
    Adopt, CallControl, ChangeBatch, Changes, Console, ConsoleEndpoint, DiskCopy, DomainDisk,
    DomainMetrics, DomainNic, DomainSpec, Fence, FileRef, Hotplug, JobStatus, LiveResize, Metrics,
    Migrate, Reboot, Site, Snapshots, Suspend,
};
use ostler_model::{
    CallResult, DiskFormat, DiskName, DriverError, Identity, MacAddress, SnapshotName, VmUuid,
    WildDomain,
};
use std::time::Duration;

/// How much longer than its wait `changes` may take.
const CHANGES_MORE: Duration = Duration::from_secs(10);
/// The longest wait for changes: a driver can be replaced within this time.
const CHANGES_MAX: Duration = Duration::from_secs(60);

#[async_trait]
impl Reboot for Component {
    async fn reboot(&self, site: &Site, call: &CallControl) -> CallResult {
        act!(self, site, call, [], reboot, call_reboot, "reboot")
    }

    async fn reset(&self, site: &Site, call: &CallControl) -> CallResult {
        act!(self, site, call, [], reboot, call_reset, "reset")
    }
}

#[async_trait]
impl Suspend for Component {
    async fn save(&self, site: &Site, call: &CallControl, file: &FileRef) -> CallResult {
        let told = convert::file(file);
        act!(self, site, call, [About::Made(file)], suspend, call_save, "save", &told)
    }

    async fn restore(
        &self,
        site: &Site,
        call: &CallControl,
        domain: &DomainSpec,
        file: &FileRef,
    ) -> CallResult {
        let told = (convert::domain(domain), convert::file(file));
        let about = [About::Domain(domain), About::Read(file)];
        act!(
            self,
            site,
            call,
            [about[0], about[1]],
            suspend,
            call_restore,
            "restore",
            &told.0,
            &told.1
        )
    }

    async fn unpause(&self, site: &Site, call: &CallControl) -> CallResult {
        act!(self, site, call, [], suspend, call_unpause, "unpause")
    }
}

#[async_trait]
impl Changes for Component {
    async fn changes(
        &self,
        site: &Site,
        cursor: u64,
        wait: Duration,
    ) -> Result<ChangeBatch, DriverError> {
        let wait = wait.min(CHANGES_MAX);
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let body = body!(self.0.exports, changes, |guest, store| {
            guest.call_changes(store, cursor, wait_ms).await
        });
        let request = Request::ask("changes", Some(site), wait + CHANGES_MORE).that_waits();
        self.call(request, body).await?.told(convert::changes)
    }
}

#[async_trait]
impl Metrics for Component {
    async fn sample(&self, site: &Site) -> Result<Vec<DomainMetrics>, DriverError> {
        ask!(self, site, ASK_HOST, [], convert::metrics, metrics, call_sample, "metrics")
    }
}

#[async_trait]
impl Migrate for Component {
    async fn begin(
        &self,
        site: &Site,
        call: &CallControl,
        domain: &DomainSpec,
        to: &Site,
        move_disks: &[DiskName],
    ) -> Result<JobStatus, DriverError> {
        self.0.side.others.add(&call.context.key, to.name.clone());
        let told = convert::domain(domain);
        let there = convert::destination(to, move_disks, self.0.side.settings_of(to));
        let about = [About::Domain(domain), About::Other(to)];
        job!(self, site, call, [about[0], about[1]], migrate, call_begin, "migrate", &told, &there)
    }

    async fn poll(&self, site: &Site, call: &CallControl) -> Result<JobStatus, DriverError> {
        job!(self, site, call, [], migrate, call_poll, "migrate-poll")
    }

    async fn abort(&self, site: &Site, call: &CallControl) -> Result<(), DriverError> {
        send!(self, site, call, [], Ok, migrate, call_abort, "migrate-abort")
    }
}

#[async_trait]
impl DiskCopy for Component {
    async fn begin(
        &self,
        site: &Site,
        call: &CallControl,
        disk: &DiskName,
        target: &FileRef,
        format: DiskFormat,
    ) -> Result<JobStatus, DriverError> {
        let (disk, told, format) = (disk.to_string(), convert::file(target), format.to_string());
        let made = About::Made(target);
        job!(self, site, call, [made], disk_copy, call_begin, "copy-disk", &disk, &told, &format)
    }

    async fn poll(&self, site: &Site, call: &CallControl) -> Result<JobStatus, DriverError> {
        job!(self, site, call, [], disk_copy, call_poll, "copy-disk-poll")
    }

    async fn abort(&self, site: &Site, call: &CallControl) -> Result<(), DriverError> {
        send!(self, site, call, [], Ok, disk_copy, call_abort, "copy-disk-abort")
    }
}

#[async_trait]
impl Hotplug for Component {
    async fn attach_disk(&self, site: &Site, call: &CallControl, disk: &DomainDisk) -> CallResult {
        let told = convert::disk(disk);
        act!(self, site, call, [About::Disk(disk)], hotplug, call_attach_disk, "attach-disk", &told)
    }

    async fn detach_disk(&self, site: &Site, call: &CallControl, disk: &DiskName) -> CallResult {
        let disk = disk.to_string();
        act!(self, site, call, [], hotplug, call_detach_disk, "detach-disk", &disk)
    }

    async fn attach_nic(&self, site: &Site, call: &CallControl, nic: &DomainNic) -> CallResult {
        let nic = convert::nic(nic);
        act!(self, site, call, [], hotplug, call_attach_nic, "attach-nic", &nic)
    }

    async fn detach_nic(&self, site: &Site, call: &CallControl, mac: &MacAddress) -> CallResult {
        let mac = mac.to_string();
        act!(self, site, call, [], hotplug, call_detach_nic, "detach-nic", &mac)
    }
}

#[async_trait]
impl LiveResize for Component {
    async fn resize(
        &self,
        site: &Site,
        call: &CallControl,
        vcpus: u32,
        memory_mib: u64,
    ) -> CallResult {
        act!(self, site, call, [], live_resize, call_resize, "resize", vcpus, memory_mib)
    }
}

#[async_trait]
impl Snapshots for Component {
    async fn create(&self, site: &Site, call: &CallControl, name: &SnapshotName) -> CallResult {
        let name = name.to_string();
        act!(self, site, call, [], snapshots, call_create, "create-snapshot", &name)
    }

    async fn revert(&self, site: &Site, call: &CallControl, name: &SnapshotName) -> CallResult {
        let name = name.to_string();
        act!(self, site, call, [], snapshots, call_revert, "revert-snapshot", &name)
    }

    async fn delete(&self, site: &Site, call: &CallControl, name: &SnapshotName) -> CallResult {
        let name = name.to_string();
        act!(self, site, call, [], snapshots, call_delete, "delete-snapshot", &name)
    }

    async fn list(&self, site: &Site, vm: VmUuid) -> Result<Vec<String>, DriverError> {
        let name = vm.to_string();
        let convert = convert::snapshot_names;
        ask!(
            self,
            site,
            OBSERVE,
            [About::Vm(vm)],
            convert,
            snapshots,
            call_list,
            "list-snapshots",
            &name
        )
    }
}

#[async_trait]
impl Adopt for Component {
    async fn inspect(&self, site: &Site, vm: VmUuid) -> Result<WildDomain, DriverError> {
        let name = vm.to_string();
        ask!(
            self,
            site,
            OBSERVE,
            [About::Vm(vm)],
            convert::wild,
            adopt,
            call_inspect,
            "inspect",
            &name
        )
    }

    async fn stamp(&self, site: &Site, call: &CallControl, identity: &Identity) -> CallResult {
        let identity = convert::identity(identity);
        act!(self, site, call, [], adopt, call_stamp, "stamp", &identity)
    }
}

#[async_trait]
impl Console for Component {
    async fn open(
        &self,
        site: &Site,
        vm: VmUuid,
        kind: &str,
    ) -> Result<ConsoleEndpoint, DriverError> {
        let (name, kind) = (vm.to_string(), kind.to_owned());
        let convert = convert::endpoint;
        ask!(
            self,
            site,
            OBSERVE,
            [About::Vm(vm)],
            convert,
            console,
            call_open,
            "console",
            &name,
            &kind
        )
    }
}

#[async_trait]
impl Fence for Component {
    async fn fence(&self, site: &Site, call: &CallControl) -> Result<(), DriverError> {
        send!(self, site, call, [], Ok, fence, call_fence, "fence")
    }
}
