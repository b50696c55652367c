//! The faulty driver's abilities.

use super::{Fault, Faulty};
use async_trait::async_trait;
use ostler_driver::{
    Adopt, CallControl, ChangeBatch, Changes, DiskCopy, DomainDisk, DomainMetrics, DomainNic,
    DomainSpec, FileRef, Hotplug, Hypervisor, JobStatus, LiveResize, Metrics, Migrate, Reboot,
    Site, Snapshots, Suspend,
};
use ostler_model::{
    CallResult, DiskFormat, DiskName, DriverError, ErrorKind, Identity, MacAddress, Observation,
    Outcome, Power, SnapshotName, VmUuid, WildDomain,
};
use std::time::Duration;

#[async_trait]
impl Reboot for Faulty {
    async fn reboot(&self, site: &Site, call: &CallControl) -> CallResult {
        Reboot::reboot(&self.inner, site, &self.twist(call, true)).await
    }
    async fn reset(&self, site: &Site, call: &CallControl) -> CallResult {
        self.inner.reset(site, &self.twist(call, true)).await
    }
}

#[async_trait]
impl Suspend for Faulty {
    async fn save(&self, site: &Site, call: &CallControl, file: &FileRef) -> CallResult {
        let there = self.inner.observe(site, call.context.key.vm).await;
        if self.is(Fault::SaveFailsIfOff)
            && matches!(&there, Ok(Observation::Present(domain)) if domain.power == Power::Off)
        {
            return Err(DriverError::new(ErrorKind::Gone, "off", "it is off"));
        }
        self.inner.save(site, &self.twist(call, false), file).await
    }
    async fn restore(
        &self,
        site: &Site,
        call: &CallControl,
        domain: &DomainSpec,
        file: &FileRef,
    ) -> CallResult {
        let call = self.twist(call, false);
        let result = self.inner.restore(site, &call, &self.meant(&call, domain), file).await;
        match result {
            Ok(_) if self.is(Fault::RestoresRunning) => self.inner.unpause(site, &call).await,
            Err(error) if self.is(Fault::RestoreStartsAnew) && error.kind == ErrorKind::Gone => {
                self.inner.deploy(site, &call, domain).await
            }
            other => other,
        }
    }
    async fn unpause(&self, site: &Site, call: &CallControl) -> CallResult {
        let result = self.inner.unpause(site, &self.twist(call, false)).await;
        match result {
            Err(error) if self.is(Fault::UnpauseSucceedsIfOff) && error.kind == ErrorKind::Gone => {
                Ok(Outcome::default())
            }
            other => other,
        }
    }
}

#[async_trait]
impl Changes for Faulty {
    async fn changes(
        &self,
        site: &Site,
        cursor: u64,
        wait: Duration,
    ) -> Result<ChangeBatch, DriverError> {
        let mut batch = Changes::changes(&self.inner, site, cursor, wait).await?;
        if self.is(Fault::TellsOfNoChange) {
            batch.vms.clear();
        }
        Ok(batch)
    }
}

#[async_trait]
impl Metrics for Faulty {
    async fn sample(&self, site: &Site) -> Result<Vec<DomainMetrics>, DriverError> {
        let samples = self.inner.sample(site).await?;
        Ok(if self.is(Fault::ForgetsMetrics) { Vec::new() } else { samples })
    }
}

#[async_trait]
impl Migrate for Faulty {
    async fn begin(
        &self,
        site: &Site,
        call: &CallControl,
        domain: &DomainSpec,
        to: &Site,
        move_disks: &[DiskName],
    ) -> Result<JobStatus, DriverError> {
        assert!(move_disks.is_empty(), "the suite moves no disks");
        self.faulty_migrate(site, call, domain, to).await
    }
    async fn poll(&self, site: &Site, call: &CallControl) -> Result<JobStatus, DriverError> {
        Migrate::poll(&self.inner, site, call).await
    }
    async fn abort(&self, site: &Site, call: &CallControl) -> Result<(), DriverError> {
        if self.is(Fault::AbortGoesOn) {
            // The job ends as if it had not been aborted.
            let _ = Migrate::poll(&self.inner, site, call).await;
            return Ok(());
        }
        Migrate::abort(&self.inner, site, call).await
    }
}

#[async_trait]
impl DiskCopy for Faulty {
    async fn begin(
        &self,
        site: &Site,
        call: &CallControl,
        disk: &DiskName,
        target: &FileRef,
        format: DiskFormat,
    ) -> Result<JobStatus, DriverError> {
        self.faulty_copy(site, call, disk, target, format).await
    }
    async fn poll(&self, site: &Site, call: &CallControl) -> Result<JobStatus, DriverError> {
        DiskCopy::poll(&self.inner, site, call).await
    }
    async fn abort(&self, site: &Site, call: &CallControl) -> Result<(), DriverError> {
        if self.is(Fault::CopyAbortFails) {
            return Err(DriverError::unknown("who-knows", "it may be at work"));
        }
        DiskCopy::abort(&self.inner, site, call).await
    }
}

#[async_trait]
impl Hotplug for Faulty {
    async fn attach_disk(&self, site: &Site, call: &CallControl, disk: &DomainDisk) -> CallResult {
        let there = self
            .has(site, call, |wild| wild.disks.iter().any(|(name, ..)| *name == disk.name))
            .await;
        self.faulty_attach(
            site,
            call,
            there,
            self.inner.attach_disk(site, &self.twist(call, false), disk),
        )
        .await
    }
    async fn detach_disk(&self, site: &Site, call: &CallControl, disk: &DiskName) -> CallResult {
        let there =
            self.has(site, call, |wild| wild.disks.iter().any(|(name, ..)| name == disk)).await;
        self.faulty_detach(there, self.inner.detach_disk(site, &self.twist(call, false), disk))
            .await
    }
    async fn attach_nic(&self, site: &Site, call: &CallControl, nic: &DomainNic) -> CallResult {
        let there =
            self.has(site, call, |wild| wild.nics.iter().any(|(mac, _)| *mac == nic.mac)).await;
        self.faulty_attach(
            site,
            call,
            there,
            self.inner.attach_nic(site, &self.twist(call, false), nic),
        )
        .await
    }
    async fn detach_nic(&self, site: &Site, call: &CallControl, mac: &MacAddress) -> CallResult {
        let there =
            self.has(site, call, |wild| wild.nics.iter().any(|(found, _)| found == mac)).await;
        self.faulty_detach(there, self.inner.detach_nic(site, &self.twist(call, false), mac)).await
    }
}

#[async_trait]
impl LiveResize for Faulty {
    async fn resize(
        &self,
        site: &Site,
        call: &CallControl,
        vcpus: u32,
        memory_mib: u64,
    ) -> CallResult {
        if self.is(Fault::ResizeDoesNothing) {
            return self.nothing(site, call).await;
        }
        self.inner.resize(site, &self.twist(call, false), vcpus, memory_mib).await
    }
}

#[async_trait]
impl Snapshots for Faulty {
    async fn create(&self, site: &Site, call: &CallControl, name: &SnapshotName) -> CallResult {
        let there = Snapshots::list(&self.inner, site, call.context.key.vm)
            .await?
            .iter()
            .any(|found| found == name.as_str());
        if self.is(Fault::SnapshotFailsIfThere) && there {
            return Err(DriverError::refused("exists", "it is there already"));
        }
        self.inner.create(site, &self.twist(call, false), name).await
    }
    async fn revert(&self, site: &Site, call: &CallControl, name: &SnapshotName) -> CallResult {
        self.faulty_revert(site, call, name).await
    }
    async fn delete(&self, site: &Site, call: &CallControl, name: &SnapshotName) -> CallResult {
        let there = Snapshots::list(&self.inner, site, call.context.key.vm)
            .await?
            .iter()
            .any(|found| found == name.as_str());
        if self.is(Fault::DeleteSnapshotFailsIfGone) && !there {
            return Err(DriverError::new(
                ErrorKind::Gone,
                "no-snapshot",
                "there is no such snapshot",
            ));
        }
        self.inner.delete(site, &self.twist(call, false), name).await
    }
    async fn list(&self, site: &Site, vm: VmUuid) -> Result<Vec<String>, DriverError> {
        Snapshots::list(&self.inner, site, vm).await
    }
}

#[async_trait]
impl Adopt for Faulty {
    async fn inspect(&self, site: &Site, vm: VmUuid) -> Result<WildDomain, DriverError> {
        let mut wild = Adopt::inspect(&self.inner, site, vm).await?;
        if self.is(Fault::InspectForgetsDisks) {
            wild.disks.clear();
        }
        Ok(wild)
    }
    async fn stamp(&self, site: &Site, call: &CallControl, identity: &Identity) -> CallResult {
        self.faulty_stamp(site, call, identity).await
    }
}
