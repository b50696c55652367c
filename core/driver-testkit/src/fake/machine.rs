//! A domain's hardware and snapshots, and the calls that change them while the domain runs.

use super::world::{FakeDomain, World, absent, gone, seen};
use ostler_driver::{DomainDisk, DomainNic, DomainSpec};
use ostler_model::{
    CallContext, DiskName, DriverError, HostId, Identity, MacAddress, Outcome, Power, PowerReason,
    SnapshotName, VmUuid, WildDomain,
};

/// The hardware that a domain's guest has, and the domain's snapshots.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FakeMachine {
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Most virtual CPUs; 0 if no limit was given.
    pub vcpus_most: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Most memory in MiB; 0 if no limit was given.
    pub memory_most_mib: u64,
    /// Disks, in order.
    pub disks: Vec<DomainDisk>,
    /// Network cards, in order.
    pub nics: Vec<DomainNic>,
    /// Snapshots, oldest first.
    pub snapshots: Vec<FakeSnapshot>,
    /// The last snapshot that it was reverted to since its start.
    pub reverted_to: Option<SnapshotName>,
}

/// A snapshot of a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FakeSnapshot {
    /// Its name.
    pub name: SnapshotName,
    /// The number of the guest's run that it holds.
    pub run: u64,
    /// The virtual CPUs at that time.
    pub vcpus: u32,
    /// The memory at that time, in MiB.
    pub memory_mib: u64,
    /// The disks at that time.
    pub disks: Vec<DomainDisk>,
    /// The network cards at that time.
    pub nics: Vec<DomainNic>,
}

impl FakeMachine {
    /// The hardware that `spec` asks for, without snapshots.
    #[must_use]
    pub fn of(spec: &DomainSpec) -> Self {
        Self {
            vcpus: spec.vcpus,
            vcpus_most: spec.vcpus_most,
            memory_mib: spec.memory_mib,
            memory_most_mib: spec.memory_most_mib,
            disks: spec.disks.clone(),
            nics: spec.nics.clone(),
            snapshots: Vec::new(),
            reverted_to: None,
        }
    }

    /// The names of its disks, in order.
    #[must_use]
    pub fn disk_names(&self) -> Vec<DiskName> {
        self.disks.iter().map(|disk| disk.name.clone()).collect()
    }
}

impl World {
    /// The domain. Fails unless it runs.
    pub(super) fn at_work(
        &mut self,
        host: HostId,
        vm: VmUuid,
    ) -> Result<&mut FakeDomain, DriverError> {
        match self.domains.get_mut(&(host, vm)) {
            Some(domain) if domain.seen.power == Power::Running => Ok(domain),
            Some(domain) => {
                Err(gone("not-running", &format!("the domain is {}", domain.seen.power)))
            }
            None => Err(gone("no-domain", "there is no such domain")),
        }
    }

    pub(super) fn attach_disk(
        &mut self,
        host: HostId,
        vm: VmUuid,
        disk: DomainDisk,
    ) -> Result<Outcome, DriverError> {
        let domain = self.at_work(host, vm)?;
        match domain.machine.disks.iter().find(|found| found.name == disk.name) {
            Some(found) if *found == disk => {}
            Some(found) => {
                let told =
                    format!("{} is there already, and is {}", disk.name, found.file.absolute);
                return Err(DriverError::refused("disk-differs", told));
            }
            None => {
                domain.machine.disks.push(disk);
                self.guest_writes(host, vm);
            }
        }
        self.at_work(host, vm).map(|domain| seen(domain))
    }

    pub(super) fn detach_disk(
        &mut self,
        host: HostId,
        vm: VmUuid,
        disk: &DiskName,
    ) -> Result<Outcome, DriverError> {
        let domain = self.at_work(host, vm)?;
        domain.machine.disks.retain(|found| found.name != *disk);
        Ok(seen(domain))
    }

    pub(super) fn attach_nic(
        &mut self,
        host: HostId,
        vm: VmUuid,
        nic: DomainNic,
    ) -> Result<Outcome, DriverError> {
        let domain = self.at_work(host, vm)?;
        match domain.machine.nics.iter().find(|found| found.mac == nic.mac) {
            Some(found) if *found == nic => {}
            Some(found) => {
                let told = format!("{} is there already, on the bridge {}", nic.mac, found.bridge);
                return Err(DriverError::refused("nic-differs", told));
            }
            None => domain.machine.nics.push(nic),
        }
        Ok(seen(domain))
    }

    pub(super) fn detach_nic(
        &mut self,
        host: HostId,
        vm: VmUuid,
        mac: &MacAddress,
    ) -> Result<Outcome, DriverError> {
        let domain = self.at_work(host, vm)?;
        domain.machine.nics.retain(|found| found.mac != *mac);
        Ok(seen(domain))
    }

    pub(super) fn resize(
        &mut self,
        host: HostId,
        vm: VmUuid,
        vcpus: u32,
        memory_mib: u64,
    ) -> Result<Outcome, DriverError> {
        let domain = self.at_work(host, vm)?;
        let machine = &mut domain.machine;
        let too_many = machine.vcpus_most > 0 && vcpus > machine.vcpus_most;
        if too_many || machine.memory_most_mib > 0 && memory_mib > machine.memory_most_mib {
            let told = format!(
                "at most {} CPUs and {} MiB can be given to it",
                machine.vcpus_most, machine.memory_most_mib
            );
            return Err(DriverError::refused("beyond-most", told));
        }
        (machine.vcpus, machine.memory_mib) = (vcpus, memory_mib);
        Ok(seen(domain))
    }

    pub(super) fn create_snapshot(
        &mut self,
        host: HostId,
        vm: VmUuid,
        name: SnapshotName,
    ) -> Result<Outcome, DriverError> {
        let domain = self.at_work(host, vm)?;
        let (machine, run) = (&mut domain.machine, domain.run);
        if machine.snapshots.iter().all(|found| found.name != name) {
            machine.snapshots.push(FakeSnapshot {
                name,
                run,
                vcpus: machine.vcpus,
                memory_mib: machine.memory_mib,
                disks: machine.disks.clone(),
                nics: machine.nics.clone(),
            });
        }
        Ok(seen(domain))
    }

    pub(super) fn revert_snapshot(
        &mut self,
        host: HostId,
        context: &CallContext,
        name: &SnapshotName,
    ) -> Result<Outcome, DriverError> {
        let domain = self.domains.get_mut(&(host, context.key.vm));
        let domain = domain.ok_or_else(|| gone("no-domain", "there is no such domain"))?;
        if domain.seen.last_edge.as_ref() == Some(&context.key) {
            return Ok(seen(domain));
        }
        let found = domain.machine.snapshots.iter().find(|found| found.name == *name).cloned();
        let found =
            found.ok_or_else(|| gone("no-snapshot", &format!("there is no snapshot {name}")))?;
        let machine = &mut domain.machine;
        // The domain may have moved since the snapshot: a disk lies where it lies now.
        let here = |disk: DomainDisk| {
            let now = machine.disks.iter().find(|now| now.name == disk.name);
            now.map_or(disk.clone(), |now| DomainDisk { file: now.file.clone(), ..disk })
        };
        let disks = found.disks.into_iter().map(here).collect();
        (machine.vcpus, machine.memory_mib) = (found.vcpus, found.memory_mib);
        (machine.disks, machine.nics, machine.reverted_to) = (disks, found.nics, Some(found.name));
        domain.run = found.run;
        domain.edges.reverts += 1;
        domain.seen.last_edge = Some(context.key.clone());
        if let Some(identity) = &mut domain.seen.identity {
            identity.generation = context.generation;
        }
        (domain.seen.power, domain.seen.reason) = (Power::Running, PowerReason::None);
        let outcome = seen(domain);
        self.edge_reaches(&context.key);
        self.guest_writes(host, context.key.vm);
        Ok(outcome)
    }

    pub(super) fn delete_snapshot(
        &mut self,
        host: HostId,
        vm: VmUuid,
        name: &SnapshotName,
    ) -> Outcome {
        match self.domains.get_mut(&(host, vm)) {
            Some(domain) => {
                domain.machine.snapshots.retain(|found| found.name != *name);
                seen(domain)
            }
            None => absent(),
        }
    }

    pub(super) fn snapshots(&self, host: HostId, vm: VmUuid) -> Vec<String> {
        let domain = self.domains.get(&(host, vm));
        domain
            .map(|domain| {
                domain.machine.snapshots.iter().map(|found| found.name.to_string()).collect()
            })
            .unwrap_or_default()
    }

    pub(super) fn inspect(&self, host: HostId, vm: VmUuid) -> Result<WildDomain, DriverError> {
        let domain = self
            .domains
            .get(&(host, vm))
            .ok_or_else(|| gone("no-domain", "there is no such domain"))?;
        let machine = &domain.machine;
        let disk = |disk: &DomainDisk| {
            (disk.name.clone(), disk.file.absolute.clone(), disk.format, disk.read_only)
        };
        Ok(WildDomain {
            name: domain.seen.name.clone(),
            vcpus: machine.vcpus,
            memory_mib: machine.memory_mib,
            disks: machine.disks.iter().map(disk).collect(),
            nics: machine.nics.iter().map(|nic| (nic.mac.clone(), nic.bridge.clone())).collect(),
            ..WildDomain::default()
        })
    }

    pub(super) fn stamp(
        &mut self,
        host: HostId,
        identity: Identity,
    ) -> Result<Outcome, DriverError> {
        let domain = self.domains.get_mut(&(host, identity.vm));
        let domain = domain.ok_or_else(|| gone("no-domain", "there is no such domain"))?;
        match domain.seen.identity {
            Some(found) if found.store != identity.store => {
                Err(DriverError::refused("foreign", "a domain that is another store's is there"))
            }
            Some(_) | None => {
                domain.seen.identity = Some(identity);
                Ok(seen(domain))
            }
        }
    }
}
