//! The optional parts of a hypervisor driver: one trait for each ability, as the contract has one
//! interface for each.

use crate::answers::{ChangeBatch, ConsoleEndpoint, DomainMetrics, JobStatus};
use crate::{CallControl, DomainDisk, DomainNic, DomainSpec, FileRef, Site};
use async_trait::async_trait;
use ostler_model::{
    CallResult, DiskFormat, DiskName, DriverError, Identity, MacAddress, SnapshotName, VmUuid,
    WildDomain,
};
use std::time::Duration;

/// The ability [`Reboot`](ostler_model::Ability::Reboot): reboots and resets a domain.
#[async_trait]
pub trait Reboot: Send + Sync {
    /// Asks the guest once to reboot. Edge.
    async fn reboot(&self, site: &Site, call: &CallControl) -> CallResult;

    /// Presses reset once. Edge.
    async fn reset(&self, site: &Site, call: &CallControl) -> CallResult;
}

/// The ability [`Suspend`](ostler_model::Ability::Suspend): saves the memory of a domain, and
/// restores it.
#[async_trait]
pub trait Suspend: Send + Sync {
    /// Has the memory written to `file`, and the domain off. Level: a domain that is off with a
    /// complete file is success.
    async fn save(&self, site: &Site, call: &CallControl, file: &FileRef) -> CallResult;

    /// Has the domain restored from `file` as `domain`, stamped anew, and paused. Level.
    async fn restore(
        &self,
        site: &Site,
        call: &CallControl,
        domain: &DomainSpec,
        file: &FileRef,
    ) -> CallResult;

    /// Lets the domain run on. Level: a running domain is success, a domain that is off is `gone`.
    async fn unpause(&self, site: &Site, call: &CallControl) -> CallResult;
}

/// The ability [`Changes`](ostler_model::Ability::Changes): reports changes, so that the engine
/// need not rely on polling alone.
#[async_trait]
pub trait Changes: Send + Sync {
    /// Waits up to `wait` for domains that may have changed after `cursor`. The result only says
    /// where to look; it is not a fact.
    ///
    /// # Errors
    /// If the host cannot be asked; the caller then polls instead.
    async fn changes(
        &self,
        site: &Site,
        cursor: u64,
        wait: Duration,
    ) -> Result<ChangeBatch, DriverError>;
}

/// The ability [`Metrics`](ostler_model::Ability::Metrics): counts what domains use.
#[async_trait]
pub trait Metrics: Send + Sync {
    /// Counters of the running domains.
    ///
    /// # Errors
    /// If the host cannot be asked.
    async fn sample(&self, site: &Site) -> Result<Vec<DomainMetrics>, DriverError>;
}

/// The ability [`Migrate`](ostler_model::Ability::Migrate): moves a running domain to another host
/// of the same driver. A migration is begun, polled and aborted by its effect key.
#[async_trait]
pub trait Migrate: Send + Sync {
    /// Begins to move the running domain to `to`, or finds that it has moved. `domain` describes it
    /// at `to`: with the call's generation, and its files as `to` sees them. If a job with the same
    /// effect key is at work, the call attaches to it. `move_disks` are the disks that the two
    /// hosts do not share; the driver moves them too. *Done* means: the domain runs there, stamped
    /// with `domain`'s identity, and nothing of it is left here. An error other than `unknown` and
    /// `retry` means: the job does not work any more, and nothing of the domain runs there. Level.
    ///
    /// # Errors
    /// As [`ostler_model::ErrorKind`] says.
    async fn begin(
        &self,
        site: &Site,
        call: &CallControl,
        domain: &DomainSpec,
        to: &Site,
        move_disks: &[DiskName],
    ) -> Result<JobStatus, DriverError>;

    /// The progress of the migration that was begun with this effect key.
    ///
    /// # Errors
    /// `gone` if no such job is known; the caller then begins it again.
    async fn poll(&self, site: &Site, call: &CallControl) -> Result<JobStatus, DriverError>;

    /// Stops the migration that was begun with this effect key. Success means that the job does not
    /// work any more, and that the domain runs where it ran before.
    ///
    /// # Errors
    /// `unknown` if the driver cannot tell whether that is so.
    async fn abort(&self, site: &Site, call: &CallControl) -> Result<(), DriverError>;
}

/// The ability [`Hotplug`](ostler_model::Ability::Hotplug): plugs disks and network cards in and
/// out.
#[async_trait]
pub trait Hotplug: Send + Sync {
    /// Has the disk plugged in, now and at the next start. Level.
    async fn attach_disk(&self, site: &Site, call: &CallControl, disk: &DomainDisk) -> CallResult;

    /// Has the disk unplugged, now and at the next start. Success means that the guest has released
    /// it. Level.
    async fn detach_disk(&self, site: &Site, call: &CallControl, disk: &DiskName) -> CallResult;

    /// Has the network card plugged in, now and at the next start. Level.
    async fn attach_nic(&self, site: &Site, call: &CallControl, nic: &DomainNic) -> CallResult;

    /// Has the network card unplugged, now and at the next start. Level.
    async fn detach_nic(&self, site: &Site, call: &CallControl, mac: &MacAddress) -> CallResult;
}

/// The ability [`Snapshots`](ostler_model::Ability::Snapshots): makes, reverts and removes
/// snapshots of memory and disks.
#[async_trait]
pub trait Snapshots: Send + Sync {
    /// Has a snapshot of memory and disks of that name; the domain runs on. Level.
    async fn create(&self, site: &Site, call: &CallControl, name: &SnapshotName) -> CallResult;

    /// Reverts the domain to the snapshot, stamps it anew before a virtual CPU runs, and lets it
    /// run. Edge: if the call's effect key is already stamped into the domain, the revert is done.
    async fn revert(&self, site: &Site, call: &CallControl, name: &SnapshotName) -> CallResult;

    /// Has no snapshot of that name. The domain may run or be off; an absent domain has no
    /// snapshots, which is success. Level.
    async fn delete(&self, site: &Site, call: &CallControl, name: &SnapshotName) -> CallResult;

    /// The names of the domain's snapshots, oldest first.
    ///
    /// # Errors
    /// If the host cannot be asked.
    async fn list(&self, site: &Site, vm: VmUuid) -> Result<Vec<String>, DriverError>;
}

/// The ability [`LiveResize`](ostler_model::Ability::LiveResize): changes the CPUs and the memory
/// of a running domain.
#[async_trait]
pub trait LiveResize: Send + Sync {
    /// Gives the domain this many virtual CPUs and this much memory, now and at the next start.
    /// Level.
    async fn resize(
        &self,
        site: &Site,
        call: &CallControl,
        vcpus: u32,
        memory_mib: u64,
    ) -> CallResult;
}

/// The ability [`DiskCopy`](ostler_model::Ability::DiskCopy): copies a disk that a running domain
/// uses. A copy is begun, polled and aborted by its effect key.
#[async_trait]
pub trait DiskCopy: Send + Sync {
    /// Begins to copy a disk of the running domain into `target`: a complete file of `format` with
    /// no file below it. The copy shows the disk at one moment before the answer. The domain is not
    /// changed. Level.
    ///
    /// # Errors
    /// As [`ostler_model::ErrorKind`] says.
    async fn begin(
        &self,
        site: &Site,
        call: &CallControl,
        disk: &DiskName,
        target: &FileRef,
        format: DiskFormat,
    ) -> Result<JobStatus, DriverError>;

    /// The progress of the copy that was begun with this effect key.
    ///
    /// # Errors
    /// `gone` if no such job is known; the caller then begins it again.
    async fn poll(&self, site: &Site, call: &CallControl) -> Result<JobStatus, DriverError>;

    /// Stops the copy that was begun with this effect key. Success means that the job does not work
    /// any more.
    ///
    /// # Errors
    /// `unknown` if the driver cannot tell whether that is so.
    async fn abort(&self, site: &Site, call: &CallControl) -> Result<(), DriverError>;
}

/// The ability [`Adopt`](ostler_model::Ability::Adopt): describes domains that this store did not
/// make, and stamps them.
#[async_trait]
pub trait Adopt: Send + Sync {
    /// Describes a domain that this store did not make.
    ///
    /// # Errors
    /// `gone` if there is no such domain; `refused` if a specification cannot describe a part of it
    /// (a disk that is not a file).
    async fn inspect(&self, site: &Site, vm: VmUuid) -> Result<WildDomain, DriverError>;

    /// Stamps `identity` into the domain, and changes nothing else. Refused (`foreign`) if another
    /// store has stamped it. Level.
    async fn stamp(&self, site: &Site, call: &CallControl, identity: &Identity) -> CallResult;
}

/// The ability [`Console`](ostler_model::Ability::Console): says where a console of a domain is.
/// The engine does not ask for it yet.
#[async_trait]
pub trait Console: Send + Sync {
    /// Where the console of that kind (`vnc` or `serial`) is.
    ///
    /// # Errors
    /// `gone` if there is no such domain or no such console.
    async fn open(
        &self,
        site: &Site,
        vm: VmUuid,
        kind: &str,
    ) -> Result<ConsoleEndpoint, DriverError>;
}

/// The ability [`Fence`](ostler_model::Ability::Fence): proves that a host is off. The engine does
/// not ask for it yet.
#[async_trait]
pub trait Fence: Send + Sync {
    /// Has the host off. Success means that nothing of that host runs any more.
    ///
    /// # Errors
    /// `unknown` if the driver cannot tell whether that is so.
    async fn fence(&self, site: &Site, call: &CallControl) -> Result<(), DriverError>;
}
