//! The abilities of the fake that end with their calls.

use super::world::Edge;
use super::{Fake, Op};
use async_trait::async_trait;
use ostler_driver::{
    Adopt, CallControl, ChangeBatch, Changes, DomainDisk, DomainMetrics, DomainNic, DomainSpec,
    FileRef, Hotplug, LiveResize, Metrics, Reboot, Site, Snapshots, Suspend,
};
use ostler_model::{
    CallResult, DiskName, DriverError, Identity, MacAddress, Power, SnapshotName, VmUuid,
    WildDomain,
};
use std::time::Duration;

#[async_trait]
impl Reboot for Fake {
    async fn reboot(&self, site: &Site, call: &CallControl) -> CallResult {
        let context = call.context.clone();
        self.act(Op::Reboot, site, call, move |world, host, _| {
            world.edge(host, &context, Edge::Reboot, false)
        })
        .await
    }

    async fn reset(&self, site: &Site, call: &CallControl) -> CallResult {
        let context = call.context.clone();
        self.act(Op::Reset, site, call, move |world, host, _| {
            world.edge(host, &context, Edge::Reset, false)
        })
        .await
    }
}

#[async_trait]
impl Suspend for Fake {
    async fn save(&self, site: &Site, call: &CallControl, file: &FileRef) -> CallResult {
        let (vm, file) = (call.context.key.vm, file.clone());
        self.act(Op::Save, site, call, move |world, host, _| world.save(host, vm, &file)).await
    }

    async fn restore(
        &self,
        site: &Site,
        call: &CallControl,
        domain: &DomainSpec,
        file: &FileRef,
    ) -> CallResult {
        let (domain, file) = (domain.clone(), file.clone());
        self.act(Op::Restore, site, call, move |world, host, _| world.restore(host, &domain, &file))
            .await
    }

    async fn unpause(&self, site: &Site, call: &CallControl) -> CallResult {
        let vm = call.context.key.vm;
        self.act(Op::Unpause, site, call, move |world, host, _| world.unpause(host, vm)).await
    }
}

#[async_trait]
impl Changes for Fake {
    async fn changes(
        &self,
        site: &Site,
        cursor: u64,
        wait: Duration,
    ) -> Result<ChangeBatch, DriverError> {
        self.record(Op::Changes, site, None, None);
        self.reach(site)?;
        let mut changed = self.changed.subscribe();
        // A timeout or a closed channel is not an error: the batch is then empty.
        let _ = tokio::time::timeout(wait, changed.wait_for(|count| *count > cursor)).await;
        let (now, vms) = self.lock().world.changes_after(cursor);
        Ok(ChangeBatch { cursor: now, vms, lost: cursor > now })
    }
}

#[async_trait]
impl Metrics for Fake {
    async fn sample(&self, site: &Site) -> Result<Vec<DomainMetrics>, DriverError> {
        let host = site.id;
        let domains = self.ask(Op::Metrics, site, None, |world| world.domains(host)).await?;
        let running = domains.iter().filter(|domain| domain.seen.power == Power::Running);
        Ok(running
            .map(|domain| DomainMetrics {
                vm: Some(domain.seen.uuid),
                cpu_ns: 1,
                ..DomainMetrics::default()
            })
            .collect())
    }
}

#[async_trait]
impl Hotplug for Fake {
    async fn attach_disk(&self, site: &Site, call: &CallControl, disk: &DomainDisk) -> CallResult {
        let (vm, disk) = (call.context.key.vm, disk.clone());
        self.act(Op::AttachDisk, site, call, move |world, host, _| {
            world.attach_disk(host, vm, disk)
        })
        .await
    }

    async fn detach_disk(&self, site: &Site, call: &CallControl, disk: &DiskName) -> CallResult {
        let (vm, disk) = (call.context.key.vm, disk.clone());
        self.act(Op::DetachDisk, site, call, move |world, host, _| {
            world.detach_disk(host, vm, &disk)
        })
        .await
    }

    async fn attach_nic(&self, site: &Site, call: &CallControl, nic: &DomainNic) -> CallResult {
        let (vm, nic) = (call.context.key.vm, nic.clone());
        self.act(Op::AttachNic, site, call, move |world, host, _| world.attach_nic(host, vm, nic))
            .await
    }

    async fn detach_nic(&self, site: &Site, call: &CallControl, mac: &MacAddress) -> CallResult {
        let (vm, mac) = (call.context.key.vm, mac.clone());
        self.act(Op::DetachNic, site, call, move |world, host, _| world.detach_nic(host, vm, &mac))
            .await
    }
}

#[async_trait]
impl LiveResize for Fake {
    async fn resize(
        &self,
        site: &Site,
        call: &CallControl,
        vcpus: u32,
        memory_mib: u64,
    ) -> CallResult {
        let vm = call.context.key.vm;
        self.act(Op::Resize, site, call, move |world, host, _| {
            world.resize(host, vm, vcpus, memory_mib)
        })
        .await
    }
}

#[async_trait]
impl Snapshots for Fake {
    async fn create(&self, site: &Site, call: &CallControl, name: &SnapshotName) -> CallResult {
        let (vm, name) = (call.context.key.vm, name.clone());
        self.act(Op::CreateSnapshot, site, call, move |world, host, _| {
            world.create_snapshot(host, vm, name)
        })
        .await
    }

    async fn revert(&self, site: &Site, call: &CallControl, name: &SnapshotName) -> CallResult {
        let (context, name) = (call.context.clone(), name.clone());
        self.act(Op::RevertSnapshot, site, call, move |world, host, _| {
            world.revert_snapshot(host, &context, &name)
        })
        .await
    }

    async fn delete(&self, site: &Site, call: &CallControl, name: &SnapshotName) -> CallResult {
        let (vm, name) = (call.context.key.vm, name.clone());
        self.act(Op::DeleteSnapshot, site, call, move |world, host, _| {
            Ok(world.delete_snapshot(host, vm, &name))
        })
        .await
    }

    async fn list(&self, site: &Site, vm: VmUuid) -> Result<Vec<String>, DriverError> {
        let host = site.id;
        self.ask(Op::ListSnapshots, site, Some(vm), |world| world.snapshots(host, vm)).await
    }
}

#[async_trait]
impl Adopt for Fake {
    async fn inspect(&self, site: &Site, vm: VmUuid) -> Result<WildDomain, DriverError> {
        let host = site.id;
        self.ask(Op::Inspect, site, Some(vm), |world| world.inspect(host, vm)).await?
    }

    async fn stamp(&self, site: &Site, call: &CallControl, identity: &Identity) -> CallResult {
        let identity = *identity;
        self.act(Op::Stamp, site, call, move |world, host, _| world.stamp(host, identity)).await
    }
}
