//! The world outside of the daemon: hosts, domains, files. It knows no chance and no time. Drivers
//! change it in `deeds` and `files`.
//!
//! Every write of a guest makes its disks *newer* by one, and saved memory remembers how new each
//! disk was. So the world sees wrongs that no record shows: a guest that boots from old disks, old
//! memory that is restored over newer disks, a guest that runs twice.

use ostler_model::{
    DomainSeen, EffectKey, Generation, HostId, Identity, ImageId, Observation, Power, PowerReason,
    StoreId, VmId, VmRecord, VmUuid,
};
use std::collections::{BTreeMap, BTreeSet};

/// The store of the simulated daemon.
pub(crate) const STORE: StoreId = StoreId(uuid::Uuid::from_u128(0x5705e));

/// The UUID of a VM at hypervisors.
pub(crate) const fn uuid_of(vm: VmId) -> VmUuid {
    VmUuid(uuid::Uuid::from_u128(0xbeef_0000_0000 + vm.0 as u128))
}

/// A machine.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    /// True if it has power.
    pub(crate) on: bool,
    /// True if the daemon cannot reach it. Domains on it go on running.
    pub(crate) cut: bool,
}

/// A place of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Site {
    /// Storage that all hosts see.
    Shared,
    /// The front end.
    Home,
    /// A host.
    Host(HostId),
}

/// A disk file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct File {
    /// How new its content is.
    pub(crate) version: u64,
    /// True if it was written to its end.
    pub(crate) complete: bool,
}

/// Saved memory: how new each disk was then.
pub(crate) type Memory = BTreeMap<String, u64>;

/// True if somebody else has put the disk there, so that it is not ours to remove.
pub(crate) fn is_adopted(name: &str) -> bool {
    name.starts_with("adopted")
}

/// The files of a VM at one place.
#[derive(Debug, Clone, Default)]
pub(crate) struct Folder {
    pub(crate) disks: BTreeMap<String, File>,
    pub(crate) memory: BTreeMap<String, Memory>,
    /// True if a start has left a console log beside the disks.
    pub(crate) console: bool,
}

impl Folder {
    pub(crate) fn is_empty(&self) -> bool {
        self.disks.keys().all(|name| is_adopted(name)) && self.memory.is_empty() && !self.console
    }
}

/// A domain at a hypervisor.
#[derive(Debug, Clone)]
pub(crate) struct Domain {
    pub(crate) power: Power,
    pub(crate) reason: PowerReason,
    /// The identity that is stamped into it.
    pub(crate) identity: Option<Identity>,
    /// Edge effects that were stamped into it.
    pub(crate) edges: Vec<EffectKey>,
    /// True if the power button was pressed and the guest has not obeyed yet.
    pub(crate) pressed: bool,
    /// The files of its disks.
    pub(crate) disks: BTreeSet<String>,
    /// Its network cards.
    pub(crate) nics: BTreeSet<String>,
    /// Its virtual CPUs and memory.
    pub(crate) size: (u32, u64),
    /// Its snapshots.
    pub(crate) snapshots: BTreeSet<String>,
    /// True if its disks are on shared storage.
    pub(crate) shared: bool,
}

impl Domain {
    pub(crate) fn generation(&self) -> Option<Generation> {
        self.identity.filter(|identity| identity.store == STORE).map(|identity| identity.generation)
    }

    pub(crate) const fn alive(&self) -> bool {
        !matches!(self.power, Power::Off)
    }
}

/// All that there is of one VM.
#[derive(Debug, Clone, Default)]
pub(crate) struct Being {
    pub(crate) domains: BTreeMap<HostId, Domain>,
    pub(crate) folders: BTreeMap<Site, Folder>,
    /// The version of the newest content of each disk.
    pub(crate) newest: BTreeMap<String, u64>,
    /// Rises with each write.
    pub(crate) clock: u64,
    /// True if the guest obeys its power button.
    pub(crate) obeys: bool,
    /// The host to which the operator has moved its files, for a migration that may come to
    /// nothing.
    pub(crate) brought: Option<HostId>,
    /// True if a person has started it and nobody has looked since. Then nobody could tell that its
    /// memory is old.
    pub(crate) secret: bool,
    /// Rises with each change of one of its domains.
    pub(crate) stamp: u64,
    /// The value of `stamp` when its last operation ended.
    pub(crate) settled: u64,
    /// Edge effects that reached the guest, by operation.
    pub(crate) edges: BTreeMap<u64, BTreeSet<EffectKey>>,
}

impl Being {
    /// A new version number.
    pub(crate) const fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }
}

/// All that is outside of the daemon.
#[derive(Debug, Clone, Default)]
pub(crate) struct World {
    pub(crate) hosts: BTreeMap<HostId, Machine>,
    pub(crate) beings: BTreeMap<VmId, Being>,
    /// Image files that are complete.
    pub(crate) images: BTreeSet<ImageId>,
    /// True if a backup was restored. From then on only harm to guests and their files counts as
    /// wrong.
    pub(crate) aged: bool,
    /// The first violation.
    pub(crate) wrong: Option<String>,
}

impl World {
    pub(crate) fn wrong(&mut self, what: impl FnOnce() -> String) {
        if self.wrong.is_none() {
            self.wrong = Some(what()).filter(|what| !self.aged || Self::harms(what));
        }
    }

    pub(crate) fn being(&mut self, vm: VmId) -> &mut Being {
        self.beings.entry(vm).or_default()
    }

    /// True if the daemon reaches the host.
    pub(crate) fn reaches(&self, host: HostId) -> bool {
        host == HostId::FRONT_END
            || self.hosts.get(&host).is_some_and(|machine| machine.on && !machine.cut)
    }

    pub(crate) fn has_power(&self, host: HostId) -> bool {
        host == HostId::FRONT_END || self.hosts.get(&host).is_some_and(|machine| machine.on)
    }

    /// The observation of a VM that a driver makes on a host.
    pub(crate) fn see(&self, vm: VmId, host: HostId) -> Observation {
        let domain = self.beings.get(&vm).and_then(|being| being.domains.get(&host));
        domain.map_or(Observation::Absent, |domain| {
            Observation::Present(DomainSeen {
                uuid: uuid_of(vm),
                name: String::new(),
                identity: domain.identity,
                power: domain.power,
                reason: domain.reason,
                last_edge: domain.edges.last().cloned(),
            })
        })
    }

    /// Changes the power state of a domain.
    pub(crate) fn power(&mut self, vm: VmId, host: HostId, power: Power, reason: PowerReason) {
        let being = self.being(vm);
        if let Some(domain) = being.domains.get_mut(&host) {
            being.stamp += 1;
            domain.power = power;
            domain.reason = reason;
            domain.pressed = false;
        }
    }

    /// A guest is about to live on `host`. It must not live on another host.
    pub(crate) fn must_be_alone(&mut self, vm: VmId, host: HostId) {
        let other = self.beings.get(&vm).and_then(|being| {
            being.domains.iter().find(|(at, domain)| **at != host && domain.alive())
        });
        if let Some((at, domain)) = other {
            let what = format!(
                "twice: VM {vm} lives on host {host}, and is {} on host {at}",
                domain.power
            );
            self.wrong(|| what);
        }
    }

    /// The guest writes: its disks become newer.
    pub(crate) fn writes(&mut self, vm: VmId, host: HostId) {
        let being = self.being(vm);
        let Some(domain) = being.domains.get(&host) else { return };
        let site = if domain.shared { Site::Shared } else { Site::Host(host) };
        let Some(folder) = being.folders.get_mut(&site) else { return };
        for name in &domain.disks {
            if let Some(file) = folder.disks.get_mut(name) {
                being.clock += 1;
                file.version = being.clock;
                being.newest.insert(name.clone(), being.clock);
            }
        }
    }

    /// A VM begins anew without files. The versions of its old files do not count any more.
    pub(crate) fn forget_content(&mut self, vm: VmId) {
        self.being(vm).newest.retain(|name, _| is_adopted(name));
    }

    /// A machine loses power: the domains that ran on it are off.
    pub(crate) fn lose_power(&mut self, host: HostId) {
        if let Some(machine) = self.hosts.get_mut(&host) {
            machine.on = false;
        }
        for being in self.beings.values_mut() {
            if let Some(domain) = being.domains.get_mut(&host) {
                being.stamp += 1;
                domain.pressed = false;
                if domain.alive() {
                    (domain.power, domain.reason) = (Power::Off, PowerReason::Crashed);
                }
            }
        }
    }

    /// The place of the files that a VM has on `host`.
    pub(crate) fn site(record: &VmRecord, host: HostId) -> Site {
        match (record.storage_is_shared(), host == HostId::FRONT_END) {
            (true, _) => Site::Shared,
            (false, true) => Site::Home,
            (false, false) => Site::Host(host),
        }
    }
}
