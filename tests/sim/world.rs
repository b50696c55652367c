//! What is outside of the daemon: hosts, domains, files. No chance and no time here; what drivers do to it is in `deeds` and `files`.
//!
//! Every write of a guest makes its disks *newer* by one; saved memory remembers how new each disk was. So the world itself sees the
//! wrongs that no record shows: old disks booted, old memory restored over newer disks, a guest that runs twice.

use ostler_model::{
    DomainSeen, EffectKey, Generation, HostId, Identity, ImageId, Observation, Power, PowerReason, StoreId, VmId, VmRecord, VmUuid,
};
use std::collections::{BTreeMap, BTreeSet};

/// The store of the simulated daemon.
pub(crate) const STORE: StoreId = StoreId(uuid::Uuid::from_u128(0x5705e));

/// How hypervisors know a VM.
pub(crate) const fn uuid_of(vm: VmId) -> VmUuid {
    VmUuid(uuid::Uuid::from_u128(0xbeef_0000_0000 + vm.0 as u128))
}

/// A machine.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    /// Whether it has power.
    pub(crate) on: bool,
    /// Whether the daemon is cut off from it. What runs there runs on.
    pub(crate) cut: bool,
}

/// Where files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Site {
    /// On storage that all see.
    Shared,
    /// At the front end.
    Home,
    /// On a host.
    Host(HostId),
}

/// A disk file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct File {
    /// How new its content is.
    pub(crate) version: u64,
    /// Whether it was written to its end.
    pub(crate) complete: bool,
}

/// Saved memory: how new each disk was then.
pub(crate) type Memory = BTreeMap<String, u64>;

/// Whether a disk lies where somebody else put it, and is not ours to remove.
pub(crate) fn is_adopted(name: &str) -> bool {
    name.starts_with("adopted")
}

/// The files of a VM at one place.
#[derive(Debug, Clone, Default)]
pub(crate) struct Folder {
    pub(crate) disks: BTreeMap<String, File>,
    pub(crate) memory: BTreeMap<String, Memory>,
    /// What a start leaves beside the disks.
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
    /// What is stamped into it.
    pub(crate) identity: Option<Identity>,
    /// Edge effects that were stamped into it.
    pub(crate) edges: Vec<EffectKey>,
    /// Whether the guest has a press of the power button to obey.
    pub(crate) pressed: bool,
    /// Its disks' files.
    pub(crate) disks: BTreeSet<String>,
    /// Its network cards.
    pub(crate) nics: BTreeSet<String>,
    /// Its virtual CPUs and memory.
    pub(crate) size: (u32, u64),
    /// Its snapshots.
    pub(crate) snapshots: BTreeSet<String>,
    /// Whether its disks are on shared storage.
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
    /// How new the newest content of each disk is.
    pub(crate) newest: BTreeMap<String, u64>,
    /// Rises with each write.
    pub(crate) clock: u64,
    /// Whether the guest obeys its power button.
    pub(crate) obeys: bool,
    /// Where the operator brought its files to, for a migration that may come to nothing.
    pub(crate) brought: Option<HostId>,
    /// Whether a person has started it and nobody has looked since: nothing could tell that its memory is old.
    pub(crate) secret: bool,
    /// Rises with whatever changes a domain of it.
    pub(crate) stamp: u64,
    /// What `stamp` was when its last operation ended.
    pub(crate) settled: u64,
    /// Edges that reached the guest, by operation.
    pub(crate) edges: BTreeMap<u64, BTreeSet<EffectKey>>,
}

impl Being {
    /// A version that there never was.
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
    /// Whether a backup was restored: from then on only what harms is wrong.
    pub(crate) aged: bool,
    /// The first thing that must never happen, and did.
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

    /// Whether the daemon reaches a host.
    pub(crate) fn reaches(&self, host: HostId) -> bool {
        host == HostId::FRONT_END || self.hosts.get(&host).is_some_and(|machine| machine.on && !machine.cut)
    }

    pub(crate) fn has_power(&self, host: HostId) -> bool {
        host == HostId::FRONT_END || self.hosts.get(&host).is_some_and(|machine| machine.on)
    }

    /// What a driver sees on a host.
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

    /// Changes what a domain does.
    pub(crate) fn power(&mut self, vm: VmId, host: HostId, power: Power, reason: PowerReason) {
        let being = self.being(vm);
        if let Some(domain) = being.domains.get_mut(&host) {
            being.stamp += 1;
            domain.power = power;
            domain.reason = reason;
            domain.pressed = false;
        }
    }

    /// A guest is about to live on `host`: it must not live elsewhere.
    pub(crate) fn must_be_alone(&mut self, vm: VmId, host: HostId) {
        let other = self.beings.get(&vm).and_then(|being| being.domains.iter().find(|(at, domain)| **at != host && domain.alive()));
        if let Some((at, domain)) = other {
            let what = format!("twice: VM {vm} lives on host {host}, and is {} on host {at}", domain.power);
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

    /// A VM begins anew, without files: what was known of their content counts no more.
    pub(crate) fn forget_content(&mut self, vm: VmId) {
        self.being(vm).newest.retain(|name, _| is_adopted(name));
    }

    /// A machine loses power: what ran on it does not.
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

    /// Where a record's files are that are with `host`.
    pub(crate) fn site(record: &VmRecord, host: HostId) -> Site {
        match (record.storage_is_shared(), host == HostId::FRONT_END) {
            (true, _) => Site::Shared,
            (false, true) => Site::Home,
            (false, false) => Site::Host(host),
        }
    }
}
