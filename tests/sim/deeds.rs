//! Carries out hypervisor calls in the world, each in one moment. They keep what drivers promise:
//! level effects converge, an edge effect reaches the guest once for each identity, a higher
//! generation is answered with `stale`, and a domain that is not ours is not touched.

use crate::world::{Domain, STORE, Site, World, uuid_of};
use ostler_model::{
    Call, DriverError, Effect, ErrorKind, Generation, HostId, Identity, Item, Observation, Outcome,
    Power, PowerReason, VmId, VmRecord,
};
use std::collections::BTreeSet;

/// The result of a call.
pub(crate) type Did = Result<(), DriverError>;

pub(crate) fn gone(code: &str) -> Did {
    Err(DriverError::new(ErrorKind::Gone, code, "there is no such thing"))
}

impl World {
    /// Carries out a call. The arguments come from the record as it was committed with the call.
    pub(crate) fn execute(
        &mut self,
        effect: &Effect,
        record: &VmRecord,
    ) -> Result<Outcome, DriverError> {
        let (vm, host) = (effect.vm, effect.host);
        if effect.call == Call::Observe {
            return Ok(Outcome { seen: Some(self.see(vm, host)), state: None });
        }
        if effect.call.lane() == ostler_model::Lane::Transfer {
            self.transfer(effect, record)?;
            return Ok(Outcome::default());
        }
        self.fence(vm, host, effect.generation, effect.call)?;
        match effect.call {
            Call::Deploy => self.deploy(effect, record)?,
            Call::Restore => self.restore(effect, record)?,
            Call::Unpause => self.unpause(effect, record)?,
            Call::PressPower | Call::Reboot | Call::Reset => self.edge(effect)?,
            Call::RevertSnapshot => self.revert(effect)?,
            Call::Destroy => self.destroy(vm, host),
            Call::Save => self.save(effect, record)?,
            Call::Remove => {
                self.being(vm).stamp += 1;
                self.being(vm).domains.remove(&host);
            }
            Call::Migrate => return self.migrate(effect, record),
            Call::CopyDisk => self.copy_disk(effect, record)?,
            Call::Stamp => self.stamp(effect)?,
            _ => self.change_hardware(effect, record)?,
        }
        Ok(Outcome { seen: Some(self.see(vm, host)), state: None })
    }

    /// True if the aim of a call is reached already.
    pub(crate) fn is_so(&self, effect: &Effect, record: &VmRecord) -> bool {
        let Some(being) = self.beings.get(&effect.vm) else { return false };
        let domain = being.domains.get(&effect.host);
        let file = self.file_of(effect, record);
        let power = domain.map(|domain| domain.power);
        let ours = domain.and_then(Domain::generation) == Some(effect.generation);
        match effect.call {
            Call::Deploy | Call::Unpause => power == Some(Power::Running) && ours,
            Call::Restore => power == Some(Power::Paused) && ours,
            Call::Destroy => power.is_none_or(|power| power == Power::Off),
            Call::Remove => domain.is_none(),
            Call::Save => !domain.is_some_and(Domain::alive),
            Call::PressPower | Call::Reboot | Call::Reset | Call::RevertSnapshot => {
                domain.is_some_and(|domain| domain.edges.contains(&effect.key))
            }
            Call::Migrate => domain.is_none(),
            Call::AttachDisk => {
                file.is_some_and(|file| domain.is_some_and(|domain| domain.disks.contains(&file)))
            }
            Call::DetachDisk => {
                file.is_some_and(|file| domain.is_some_and(|domain| !domain.disks.contains(&file)))
            }
            Call::Stamp => ours,
            _ => false,
        }
    }

    /// Compares the generations. Every mutating call does this first.
    fn fence(&mut self, vm: VmId, host: HostId, generation: Generation, call: Call) -> Did {
        let Some(domain) = self.being(vm).domains.get(&host) else { return Ok(()) };
        match domain.identity {
            Some(found) if found.store == STORE && found.generation > generation => {
                Err(DriverError::new(ErrorKind::Stale, "stale", "a higher generation is there"))
            }
            Some(found) if found.store == STORE => Ok(()),
            Some(_) | None if call == Call::Stamp => Ok(()),
            Some(_) | None => {
                Err(DriverError::refused("foreign", "a domain that is not this store's is there"))
            }
        }
    }

    fn may_start(&mut self, vm: VmId, host: HostId, record: &VmRecord) -> Did {
        self.must_be_alone(vm, host);
        let site = Self::site(record, host);
        for disk in &record.disks {
            let name = disk.file.to_string();
            let being = self.being(vm);
            let file = being.folders.get(&site).and_then(|folder| folder.disks.get(&name)).copied();
            let newest = being.newest.get(&name).copied().unwrap_or(0);
            match file {
                Some(file) if file.complete && file.version == newest => {}
                Some(file) if file.complete => {
                    self.wrong(|| {
                        format!(
                            "old disks: VM {vm} starts on {name} as of {}, the newest is {newest}",
                            file.version
                        )
                    });
                }
                Some(_) | None => {
                    return Err(DriverError::refused("no-disk", format!("{name} is not there")));
                }
            }
        }
        Ok(())
    }

    fn define(&mut self, effect: &Effect, record: &VmRecord, power: Power) {
        let (vm, host) = (effect.vm, effect.host);
        let being = self.being(vm);
        being.stamp += 1;
        let old = being.domains.remove(&host);
        let (edges, snapshots) = old.map(|old| (old.edges, old.snapshots)).unwrap_or_default();
        let domain = Domain {
            power,
            reason: PowerReason::None,
            identity: Some(Identity {
                store: STORE,
                vm: uuid_of(vm),
                generation: effect.generation,
            }),
            edges,
            pressed: false,
            disks: record.disks.iter().map(|disk| disk.file.to_string()).collect(),
            nics: nics(record),
            size: (record.spec.vcpus, record.spec.memory_mib),
            snapshots,
            shared: record.storage_is_shared(),
        };
        being.domains.insert(host, domain);
        being.folders.entry(Self::site(record, host)).or_default().console = true;
    }

    fn deploy(&mut self, effect: &Effect, record: &VmRecord) -> Did {
        let (vm, host) = (effect.vm, effect.host);
        if let Some(domain) = self.being(vm).domains.get_mut(&host).filter(|domain| domain.alive())
        {
            domain.identity =
                Some(Identity { store: STORE, vm: uuid_of(vm), generation: effect.generation });
            return Ok(());
        }
        self.may_start(vm, host, record)?;
        self.define(effect, record, Power::Running);
        self.writes(vm, host);
        Ok(())
    }

    fn restore(&mut self, effect: &Effect, record: &VmRecord) -> Did {
        let (vm, host) = (effect.vm, effect.host);
        if let Some(domain) = self.being(vm).domains.get(&host).filter(|domain| domain.alive()) {
            return match domain.power {
                Power::Paused if domain.generation() == Some(effect.generation) => Ok(()),
                _ => Err(DriverError::refused(
                    "running",
                    "the domain lives: old memory is not put over it",
                )),
            };
        }
        let Some(file) = record.usable_recovery() else {
            self.wrong(|| format!("VM {vm}: memory is restored that the record does not offer"));
            return gone("no-memory-file");
        };
        let (site, name) = (Self::site(record, host), file.name.to_string());
        let Some(memory) =
            self.being(vm).folders.get(&site).and_then(|folder| folder.memory.get(&name)).cloned()
        else {
            return gone("no-memory-file");
        };
        let being = self.being(vm);
        let newer = memory
            .iter()
            .find(|(disk, was)| being.newest.get(*disk).is_some_and(|newest| newest > was));
        if let (Some((disk, was)), false) = (newer, being.secret) {
            let what =
                format!("old memory: VM {vm} is restored over {disk}, which is newer than {was}");
            self.wrong(|| what);
        }
        self.may_start(vm, host, record)?;
        self.define(effect, record, Power::Paused);
        Ok(())
    }

    fn unpause(&mut self, effect: &Effect, record: &VmRecord) -> Did {
        let (vm, host) = (effect.vm, effect.host);
        if record.recovery.as_ref().is_some_and(|file| !file.consumed) {
            self.wrong(|| format!("VM {vm}: restored memory runs before it counts as used"));
        }
        match self.being(vm).domains.get(&host).map(|domain| domain.power) {
            Some(Power::Paused) => {
                self.must_be_alone(vm, host);
                self.power(vm, host, Power::Running, PowerReason::None);
                self.writes(vm, host);
                Ok(())
            }
            Some(Power::Running) => Ok(()),
            Some(Power::Off | Power::Crashed) | None => gone("not-running"),
        }
    }

    fn edge(&mut self, effect: &Effect) -> Did {
        let being = self.being(effect.vm);
        let Some(domain) = being.domains.get_mut(&effect.host) else { return gone("no-domain") };
        if domain.edges.contains(&effect.key) {
            return Ok(());
        }
        if domain.power != Power::Running {
            return gone("not-running");
        }
        domain.edges.push(effect.key.clone());
        domain.pressed |= effect.call == Call::PressPower;
        self.reached(effect);
        if effect.call != Call::PressPower {
            self.writes(effect.vm, effect.host);
        }
        Ok(())
    }

    /// An edge effect has reached the guest. This may happen at most once in each operation.
    fn reached(&mut self, effect: &Effect) {
        let keys = self.being(effect.vm).edges.entry(effect.key.operation.0).or_default();
        keys.insert(effect.key.clone());
        if keys.len() > 1 {
            self.wrong(|| {
                format!(
                    "doubled: operation {} of VM {} reached its guest twice",
                    effect.key.operation, effect.vm
                )
            });
        }
    }

    fn destroy(&mut self, vm: VmId, host: HostId) {
        if self.being(vm).domains.get(&host).is_some_and(Domain::alive) {
            self.power(vm, host, Power::Off, PowerReason::Destroyed);
        }
    }

    fn save(&mut self, effect: &Effect, record: &VmRecord) -> Did {
        let (vm, host) = (effect.vm, effect.host);
        let Some(name) = record.recovery.as_ref().map(|file| file.name.to_string()) else {
            self.wrong(|| format!("VM {vm}: memory is saved that the record does not know"));
            return gone("no-name");
        };
        let site = Self::site(record, host);
        let being = self.being(vm);
        let complete =
            being.folders.get(&site).is_some_and(|folder| folder.memory.contains_key(&name));
        match being
            .domains
            .get(&host)
            .filter(|domain| matches!(domain.power, Power::Running | Power::Paused))
        {
            Some(domain) => {
                let newest =
                    |disk: &String| (disk.clone(), being.newest.get(disk).copied().unwrap_or(0));
                let memory = domain.disks.iter().map(newest).collect();
                being.folders.entry(site).or_default().memory.insert(name, memory);
                self.power(vm, host, Power::Off, PowerReason::Saved);
                Ok(())
            }
            None if complete => Ok(()),
            None => gone("not-running"),
        }
    }

    /// Moves the guest in one moment: it runs on the source, and then on the target.
    fn migrate(&mut self, effect: &Effect, record: &VmRecord) -> Result<Outcome, DriverError> {
        let (vm, from) = (effect.vm, effect.host);
        let Some(to) = record.other.as_ref() else {
            return Err(DriverError::refused("nowhere", "no host to move to"));
        };
        let identity = Identity { store: STORE, vm: uuid_of(vm), generation: to.generation };
        let being = self.being(vm);
        let there = being.domains.get(&to.host).map(|domain| (domain.power, domain.identity));
        if there == Some((Power::Running, Some(identity))) && !being.domains.contains_key(&from) {
            return Ok(Outcome { seen: Some(Observation::Absent), state: None });
        }
        self.fence(vm, to.host, to.generation, Call::Migrate)?;
        let being = self.being(vm);
        if being.domains.get(&to.host).is_some_and(Domain::alive) {
            return Err(DriverError::refused("in-the-way", "the domain lives there too"));
        }
        let Some(domain) = being.domains.get(&from).filter(|domain| domain.power == Power::Running)
        else {
            return Err(DriverError::new(
                ErrorKind::Gone,
                "not-running",
                "the domain does not run",
            ));
        };
        let mut domain = domain.clone();
        let moves = record.disks.iter().all(|disk| domain.disks.contains(disk.file.as_str()));
        if !moves {
            return Err(DriverError::refused(
                "no-disk",
                "the domain does not have a disk that is to be moved",
            ));
        }
        if !domain.shared {
            let Some(folder) = being.folders.get_mut(&Site::Host(to.host)) else {
                return Err(DriverError::refused(
                    "no-disk",
                    "the disks are not there to be filled",
                ));
            };
            if domain
                .disks
                .iter()
                .any(|name| !folder.disks.get(name).is_some_and(|file| file.complete))
            {
                return Err(DriverError::refused("no-disk", "a disk is not there to be filled"));
            }
            for name in &domain.disks {
                let version = being.newest.get(name).copied().unwrap_or(0);
                folder.disks.insert(name.clone(), crate::world::File { version, complete: true });
            }
        }
        being.domains.remove(&from);
        being.stamp += 1;
        domain.identity = Some(identity);
        being.domains.insert(to.host, domain);
        being.folders.entry(Self::site(record, to.host)).or_default().console = true;
        self.must_be_alone(vm, to.host);
        self.writes(vm, to.host);
        Ok(Outcome { seen: Some(Observation::Absent), state: None })
    }

    fn copy_disk(&mut self, effect: &Effect, record: &VmRecord) -> Did {
        let Some(name) = self.file_of(effect, record) else { return gone("no-disk") };
        let domain = self
            .being(effect.vm)
            .domains
            .get(&effect.host)
            .filter(|domain| domain.power == Power::Running);
        match domain {
            Some(domain) if domain.disks.contains(&name) => self.image_is_written(effect, record),
            Some(_) => gone("no-disk"),
            None => gone("not-running"),
        }
    }

    fn stamp(&mut self, effect: &Effect) -> Did {
        let identity =
            Identity { store: STORE, vm: uuid_of(effect.vm), generation: effect.generation };
        let Some(domain) = self.being(effect.vm).domains.get_mut(&effect.host) else {
            return gone("no-domain");
        };
        if domain.identity.is_some_and(|found| found.store != STORE) {
            return Err(DriverError::refused("foreign", "another store's identity is in it"));
        }
        domain.identity = Some(identity);
        Ok(())
    }

    fn revert(&mut self, effect: &Effect) -> Did {
        let Item::Snapshot(name) = &effect.key.item else { return gone("no-snapshot") };
        let being = self.being(effect.vm);
        let Some(domain) = being.domains.get_mut(&effect.host) else { return gone("no-domain") };
        if domain.edges.contains(&effect.key) {
            return Ok(());
        }
        if !domain.snapshots.contains(name.as_str()) {
            return gone("no-snapshot");
        }
        domain.edges.push(effect.key.clone());
        domain.power = Power::Running;
        being.stamp += 1;
        self.must_be_alone(effect.vm, effect.host);
        self.reached(effect);
        self.writes(effect.vm, effect.host);
        Ok(())
    }

    /// Plugging, sizes and snapshots.
    fn change_hardware(&mut self, effect: &Effect, record: &VmRecord) -> Did {
        let file = self.file_of(effect, record);
        let site = Self::site(record, effect.host);
        let being = self.being(effect.vm);
        let there = file.as_ref().is_some_and(|file| {
            being
                .folders
                .get(&site)
                .and_then(|folder| folder.disks.get(file))
                .is_some_and(|file| file.complete)
        });
        let domain = being.domains.get_mut(&effect.host);
        if let (Call::DeleteSnapshot, None, Item::Snapshot(_)) =
            (effect.call, &domain, &effect.key.item)
        {
            return Ok(());
        }
        let Some(domain) = domain else { return gone("no-domain") };
        let runs = domain.power == Power::Running;
        match (effect.call, &effect.key.item, file) {
            (Call::CreateSnapshot, Item::Snapshot(name), _) => {
                domain.snapshots.insert(name.to_string());
            }
            (Call::DeleteSnapshot, Item::Snapshot(name), _) => {
                drop(domain.snapshots.remove(name.as_str()))
            }
            (_, _, _) if !runs => return gone("not-running"),
            (Call::AttachDisk, _, Some(_)) if !there => {
                return Err(DriverError::refused("no-disk", "its file is not there"));
            }
            (Call::AttachDisk, _, Some(file)) => drop(domain.disks.insert(file)),
            (Call::DetachDisk, _, Some(file)) => drop(domain.disks.remove(&file)),
            (Call::AttachNic, Item::Nic(mac), _) => drop(domain.nics.insert(mac.to_string())),
            (Call::DetachNic, Item::Nic(mac), _) => drop(domain.nics.remove(&mac.to_string())),
            (Call::Resize, _, _) => domain.size = (record.spec.vcpus, record.spec.memory_mib),
            (call, item, _) => {
                let what = format!("{call} does not act on {item}");
                self.wrong(|| what);
            }
        }
        Ok(())
    }

    /// The file of the disk that a call acts on.
    pub(crate) fn file_of(&self, effect: &Effect, record: &VmRecord) -> Option<String> {
        let Item::Disk(name) = &effect.key.item else { return None };
        record.disks.iter().find(|disk| disk.name == *name).map(|disk| disk.file.to_string())
    }
}

/// The addresses of a record's network cards.
pub(crate) fn nics(record: &VmRecord) -> BTreeSet<String> {
    (0..record.spec.nics.len()).map(|at| record.mac_of(at).to_string()).collect()
}

/// A domain that somebody else made.
pub(crate) fn wild(files: &[&str]) -> Domain {
    Domain {
        power: Power::Running,
        reason: PowerReason::None,
        identity: None,
        edges: Vec::new(),
        pressed: false,
        disks: files.iter().map(|file| (*file).to_owned()).collect(),
        nics: BTreeSet::new(),
        size: (1, 64),
        snapshots: BTreeSet::new(),
        shared: true,
    }
}
