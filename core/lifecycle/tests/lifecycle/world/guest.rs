//! What guests, people and hypervisors do by themselves, and what is plugged into a domain.

use super::{Did, Domain, World, gone};
use ostler_model::{
    Call, DriverError, Effect, Generation, HostId, Identity, Item, NowCall, Power, PowerReason,
    VmRecord,
};
use std::collections::BTreeSet;

impl World {
    /// Changes what the domain does, if there is one.
    pub(crate) fn power(&mut self, host: HostId, power: Power, reason: PowerReason) {
        if let Some(domain) = self.domains.get_mut(&host) {
            self.stamp += 1;
            domain.power = power;
            domain.reason = reason;
            domain.pressed = false;
        }
    }

    /// The guest runs, and writes.
    pub(crate) fn runs(&mut self, host: HostId) {
        let running =
            self.domains.iter().filter(|(_, domain)| domain.power == Power::Running).count();
        if running > 1 {
            self.wrong("it runs twice");
        }
        self.newest += 1;
        let newest = self.newest;
        for disk in self.place(host).disks.values_mut() {
            *disk = newest;
        }
    }

    /// The domain has moved away.
    pub(super) fn leave(&mut self, host: HostId) {
        if self.leaves_source {
            self.power(host, Power::Off, PowerReason::Migrated);
        } else {
            self.stamp += 1;
            self.domains.remove(&host);
        }
    }

    /// A migration stops half-way: the source stands still, and the destination waits for the rest.
    pub(crate) fn half_moved(&mut self, record: &VmRecord) {
        let (Some(from), Some(to)) = (&record.placement, record.other()) else { return };
        if self.domains.get(&from.host).is_some_and(|domain| domain.power == Power::Running) {
            self.power(from.host, Power::Paused, PowerReason::Migrated);
            self.define(to.host, to.generation, Power::Paused, record);
            self.power(to.host, Power::Paused, PowerReason::Starting);
        }
    }

    /// The hypervisors end a migration that stood half-way, one way or the other.
    pub(crate) fn half_ends(&mut self, moved: bool) {
        let arriving = |domain: &Domain| {
            domain.power == Power::Paused && domain.reason == PowerReason::Starting
        };
        let leaving = |domain: &Domain| {
            domain.power == Power::Paused && domain.reason == PowerReason::Migrated
        };
        let to = self.domains.iter().find(|(_, domain)| arriving(domain)).map(|(host, _)| *host);
        let from = self.domains.iter().find(|(_, domain)| leaving(domain)).map(|(host, _)| *host);
        let Some(to) = to else { return };
        match (moved, from) {
            (true, Some(from)) => {
                self.leave(from);
                self.power(to, Power::Running, PowerReason::None);
                self.runs(to);
            }
            // What was to arrive does not, and is left defined, perhaps.
            (_, _) => self.leave(to),
        }
    }

    /// The host loses power: nothing of it runs any more.
    pub(crate) fn pull_the_plug(&mut self, host: HostId) {
        self.silent.insert(host);
        self.power(host, Power::Off, PowerReason::Crashed);
    }

    /// The guest does what its power button says.
    pub(crate) fn obey(&mut self) -> bool {
        let pressed = self
            .domains
            .iter()
            .find(|(_, domain)| domain.pressed && domain.power == Power::Running);
        match pressed.map(|(host, _)| *host) {
            Some(host) if self.obeys => {
                self.power(host, Power::Off, PowerReason::Guest);
                true
            }
            Some(_) | None => false,
        }
    }

    /// A domain that is none of ours is there.
    pub(crate) fn stranger(&mut self, host: HostId, identity: Option<Identity>) {
        let made = || Domain {
            power: Power::Running,
            reason: PowerReason::None,
            identity: None,
            edges: Vec::new(),
            pressed: false,
            disks: BTreeSet::new(),
            nics: BTreeSet::new(),
            vcpus: 1,
        };
        self.domains.entry(host).or_insert_with(made).identity = identity;
    }

    /// Hosts with a domain that carries our identity.
    pub(crate) fn of_ours(&self) -> impl Iterator<Item = HostId> + '_ {
        let ours =
            |domain: &Domain| domain.identity.is_some_and(|identity| identity.store == self.store);
        self.domains.iter().filter(move |(_, domain)| ours(domain)).map(|(host, _)| *host)
    }

    pub(crate) fn ours(&self, generation: u64) -> Option<Identity> {
        Some(Identity { store: self.store, vm: self.uuid, generation: Generation(generation) })
    }

    pub(super) fn stamp(&mut self, effect: &Effect) -> Did {
        let identity = self.ours(effect.generation.0);
        let Some(domain) = self.domains.get_mut(&effect.host) else { return gone() };
        if domain.identity.is_some_and(|stamped| stamped.store != self.store) {
            return Err(DriverError::refused("foreign", "it is stamped by another store"));
        }
        domain.identity = identity;
        Ok(())
    }

    /// Hardware of a domain that runs.
    pub(super) fn plug(&mut self, effect: &Effect, record: &VmRecord) -> Did {
        let file = match &effect.key.item {
            Item::Disk(name) => record
                .disks
                .iter()
                .find(|disk| disk.name == *name)
                .map(|disk| disk.file.to_string()),
            _ => None,
        };
        if let (Call::Now(NowCall::AttachDisk), Some(file)) = (effect.call, &file)
            && !self.place(effect.host).disks.contains_key(file)
        {
            return Err(DriverError::refused("no-disk", "there is no such file"));
        }
        let Some(domain) =
            self.domains.get_mut(&effect.host).filter(|domain| domain.power == Power::Running)
        else {
            return gone();
        };
        match (effect.call, &effect.key.item, file) {
            (Call::Now(NowCall::AttachDisk), _, Some(file)) => {
                domain.disks.insert(file);
            }
            (Call::Now(NowCall::DetachDisk), _, Some(file)) => {
                domain.disks.remove(&file);
            }
            (Call::Now(NowCall::AttachNic), Item::Nic(mac), _) => {
                domain.nics.insert(mac.to_string());
            }
            (Call::Now(NowCall::DetachNic), Item::Nic(mac), _) => {
                domain.nics.remove(&mac.to_string());
            }
            (Call::Now(NowCall::Resize), Item::Domain, _) => domain.vcpus = record.spec.vcpus,
            (call, item, _) => self.wrong(format!("{call} does not act on {item}")),
        }
        Ok(())
    }

    pub(super) fn snapshot(&mut self, effect: &Effect) -> Did {
        let Item::Snapshot(name) = &effect.key.item else {
            self.wrong(format!("{} does not act on {}", effect.call, effect.key.item));
            return Ok(());
        };
        if !self.domains.contains_key(&effect.host) {
            return gone();
        }
        let name = name.to_string();
        match effect.call {
            Call::Now(NowCall::CreateSnapshot) => self.place(effect.host).snapshots.insert(name),
            _ => self.place(effect.host).snapshots.remove(&name) && self.removed.insert(name),
        };
        Ok(())
    }
}
