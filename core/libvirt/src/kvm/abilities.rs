//! The abilities of the driver that end with their calls.

use super::Kvm;
use crate::adopt;
use crate::bridge;
use crate::calls;
use crate::domain_ops::{Edge, Order};
use crate::failure::During;
use crate::hotplug::{self, Device, Wanted};
use crate::live::Live;
use crate::raw;
use crate::resize::{self, Size};
use crate::snapshots;
use crate::stats;
use async_trait::async_trait;
use ostler_driver::{
    Adopt, CallControl, ChangeBatch, Changes, DomainDisk, DomainMetrics, DomainNic, Hotplug,
    LiveResize, Metrics, Reboot, Site, Snapshots,
};
use ostler_model::{
    CallResult, DiskName, DriverError, Identity, MacAddress, SnapshotName, VmUuid, WildDomain,
};
use std::time::Duration;

impl Kvm {
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
}

#[async_trait]
impl Reboot for Kvm {
    async fn reboot(&self, site: &Site, call: &CallControl) -> CallResult {
        self.press(site, call, Edge::Reboot).await
    }

    async fn reset(&self, site: &Site, call: &CallControl) -> CallResult {
        self.press(site, call, Edge::Reset).await
    }
}

#[async_trait]
impl Changes for Kvm {
    async fn changes(
        &self,
        site: &Site,
        cursor: u64,
        wait: Duration,
    ) -> Result<ChangeBatch, DriverError> {
        let (link, _) = self.link(site)?;
        // Events come only over an open connection: open it.
        link.listen(self.options.ask_timeout).await?;
        Ok(link.feed.after(cursor, wait).await)
    }
}

#[async_trait]
impl Metrics for Kvm {
    async fn sample(&self, site: &Site) -> Result<Vec<DomainMetrics>, DriverError> {
        let (link, _) = self.link(site)?;
        let read = |live: &Live| {
            raw::stats(live.connect()).map_err(|error| live.error(&error, During::Asking))
        };
        let all = self.ask(&link, read).await?;
        Ok(all.iter().filter_map(stats::metrics).collect())
    }
}

#[async_trait]
impl Hotplug for Kvm {
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
}

#[async_trait]
impl LiveResize for Kvm {
    async fn resize(
        &self,
        site: &Site,
        call: &CallControl,
        vcpus: u32,
        memory_mib: u64,
    ) -> CallResult {
        let (link, _) = self.link(site)?;
        let size = Size { vcpus, kib: memory_mib.saturating_mul(1024) };
        resize::resize(&link, call, &self.order(call), size, self.options.ask_timeout).await
    }
}

#[async_trait]
impl Snapshots for Kvm {
    async fn create(&self, site: &Site, call: &CallControl, name: &SnapshotName) -> CallResult {
        self.snapshot(site, call, name, snapshots::create).await
    }

    async fn revert(&self, site: &Site, call: &CallControl, name: &SnapshotName) -> CallResult {
        self.snapshot(site, call, name, snapshots::revert).await
    }

    async fn delete(&self, site: &Site, call: &CallControl, name: &SnapshotName) -> CallResult {
        self.snapshot(site, call, name, snapshots::delete).await
    }

    async fn list(&self, site: &Site, vm: VmUuid) -> Result<Vec<String>, DriverError> {
        let (link, _) = self.link(site)?;
        self.ask(&link, move |live| snapshots::list(live, vm)).await
    }
}

#[async_trait]
impl Adopt for Kvm {
    async fn inspect(&self, site: &Site, vm: VmUuid) -> Result<WildDomain, DriverError> {
        let (link, config) = self.link(site)?;
        self.ask(&link, move |live| adopt::inspect(live, &config, vm)).await
    }

    async fn stamp(&self, site: &Site, call: &CallControl, identity: &Identity) -> CallResult {
        let (link, _) = self.link(site)?;
        let (order, identity) = (self.order_of(call, identity)?, *identity);
        calls::change(&link, call, move |live| adopt::stamp(live, &order, &identity)).await
    }
}
