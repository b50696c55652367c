//! A small world: hosts, domains, files. What drivers would do to real ones, calls do to these.
//!
//! Every write of a guest makes the disks *newer* by one; saved memory remembers how new the disks were. So the world itself
//! sees the two wrongs that no record shows: old disks booted, and old memory restored over newer disks.

use ostler_model::{
    Call, CallResult, DomainSeen, DriverError, Effect, EffectKey, ErrorKind, Generation, HostId, Identity, Item, Observation,
    Outcome, Power, PowerReason, StoreId, VmRecord, VmUuid,
};
use std::collections::BTreeMap;

/// A domain at a hypervisor.
#[derive(Debug, Clone)]
pub(crate) struct Domain {
    /// What it does.
    pub(crate) power: Power,
    /// Why.
    pub(crate) reason: PowerReason,
    /// What is stamped into it.
    pub(crate) identity: Option<Identity>,
    /// Edge effects that were stamped into it.
    pub(crate) edges: Vec<EffectKey>,
    /// Whether the guest has a press of the power button to obey.
    pub(crate) pressed: bool,
}

/// The files of the VM at one place, each with how new it is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Place {
    pub(crate) disks: BTreeMap<String, u64>,
    pub(crate) memory: BTreeMap<String, u64>,
}

impl Place {
    pub(crate) fn is_empty(&self) -> bool {
        self.disks.is_empty() && self.memory.is_empty()
    }
}

/// All that is outside of the daemon.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) store: StoreId,
    pub(crate) uuid: VmUuid,
    pub(crate) domains: BTreeMap<HostId, Domain>,
    pub(crate) places: BTreeMap<HostId, Place>,
    /// Whether all places are one.
    pub(crate) shared: bool,
    /// How new the newest disks are.
    pub(crate) newest: u64,
    /// Whether hypervisors answer.
    pub(crate) reachable: bool,
    /// Whether answers carry a look.
    pub(crate) looks: bool,
    /// Whether the guest obeys the power button.
    pub(crate) obeys: bool,
    /// Counts changes of domains.
    pub(crate) stamp: u64,
    /// Presses, reboots and resets that reached a guest.
    pub(crate) edges: Vec<EffectKey>,
    /// What must never happen, and did.
    pub(crate) wrongs: Vec<String>,
}

/// What came of one thing that a driver does.
type Did = Result<(), DriverError>;

fn gone() -> Did {
    Err(DriverError::new(ErrorKind::Gone, "no-domain", "there is no such domain, or it is off"))
}

impl World {
    pub(crate) fn new(store: StoreId, uuid: VmUuid, shared: bool) -> Self {
        Self {
            store,
            uuid,
            domains: BTreeMap::new(),
            places: BTreeMap::new(),
            shared,
            newest: 1,
            reachable: true,
            looks: true,
            obeys: true,
            stamp: 0,
            edges: Vec::new(),
            wrongs: Vec::new(),
        }
    }

    pub(crate) fn place(&mut self, host: HostId) -> &mut Place {
        let at = if self.shared { HostId::FRONT_END } else { host };
        self.places.entry(at).or_default()
    }

    pub(crate) fn see(&self, host: HostId) -> Observation {
        match self.domains.get(&host) {
            None => Observation::Absent,
            Some(domain) => Observation::Present(DomainSeen {
                uuid: self.uuid,
                name: "ostler-1".to_owned(),
                identity: domain.identity,
                power: domain.power,
                reason: domain.reason,
                last_edge: domain.edges.last().cloned(),
            }),
        }
    }

    pub(crate) fn look(&self, host: HostId) -> Result<Observation, DriverError> {
        if self.reachable { Ok(self.see(host)) } else { Err(DriverError::unknown("unreachable", "no answer")) }
    }

    /// Does what a driver would do, and answers as it would.
    pub(crate) fn execute(&mut self, effect: &Effect, record: &VmRecord) -> CallResult {
        if !self.reachable && effect.host != HostId::FRONT_END {
            return Err(DriverError::unknown("unreachable", "no answer"));
        }
        let host = effect.host;
        let there = self.domains.get(&host).map(|domain| domain.identity.filter(|identity| identity.store == self.store));
        match (there, effect.call) {
            (Some(Some(identity)), call) if identity.generation > effect.generation && call != Call::Observe => {
                return Err(DriverError::new(ErrorKind::Stale, "stale", "a higher generation is there"));
            }
            (Some(None), call) if call != Call::Observe => {
                return Err(DriverError::refused("not-ours", "a domain of that UUID is there that is not ours"));
            }
            (_, _) => {}
        }
        match effect.call {
            Call::Prepare | Call::CopyIn | Call::CopyOut | Call::DropHost | Call::DropHome | Call::DropRecovery => {
                self.transfer(effect, record)?;
                return Ok(Outcome::default());
            }
            Call::Deploy => self.deploy(effect, record)?,
            Call::Restore => self.restore(effect, record)?,
            Call::Unpause => self.unpause(effect, record)?,
            Call::PressPower | Call::Reboot | Call::Reset => self.edge(effect)?,
            Call::Destroy => self.power(host, Power::Off, PowerReason::Destroyed),
            Call::Save => self.save(effect, record)?,
            Call::Remove => {
                self.stamp += 1;
                self.domains.remove(&host);
            }
            Call::Observe => return Ok(Outcome { seen: Some(self.see(host)), state: None }),
            call => {
                self.wrongs.push(format!("{call} is not of this world yet"));
                return Ok(Outcome::default());
            }
        }
        Ok(Outcome { seen: self.looks.then(|| self.see(host)), state: None })
    }

    fn deploy(&mut self, effect: &Effect, record: &VmRecord) -> Did {
        self.may_use_disks(effect.host, record)?;
        if self.domains.get(&effect.host).is_none_or(|domain| domain.power == Power::Off) {
            self.define(effect.host, effect.generation, Power::Running);
            self.runs(effect.host);
        }
        Ok(())
    }

    fn restore(&mut self, effect: &Effect, record: &VmRecord) -> Did {
        if self.domains.get(&effect.host).is_some_and(|domain| domain.power != Power::Off) {
            return Ok(());
        }
        let Some(file) = record.usable_recovery() else {
            self.wrongs.push("memory is restored that the record does not offer".to_owned());
            return gone();
        };
        let name = file.name.to_string();
        let newest = self.newest;
        let Some(saved) = self.place(effect.host).memory.get(&name).copied() else {
            return Err(DriverError::refused("no-file", "there is no such recovery file"));
        };
        if saved != newest {
            self.wrongs.push(format!("memory as of {saved} is restored over disks as of {newest}"));
        }
        self.may_use_disks(effect.host, record)?;
        self.define(effect.host, effect.generation, Power::Paused);
        Ok(())
    }

    fn unpause(&mut self, effect: &Effect, record: &VmRecord) -> Did {
        if record.recovery.as_ref().is_some_and(|file| !file.consumed) {
            self.wrongs.push("restored memory runs before it counts as used".to_owned());
        }
        match self.domains.get(&effect.host).map(|domain| domain.power) {
            Some(Power::Paused) => {
                self.power(effect.host, Power::Running, PowerReason::None);
                self.runs(effect.host);
                Ok(())
            }
            Some(Power::Running) => Ok(()),
            Some(Power::Off | Power::Crashed) | None => gone(),
        }
    }

    fn edge(&mut self, effect: &Effect) -> Did {
        let Some(domain) = self.domains.get_mut(&effect.host) else { return gone() };
        if domain.power == Power::Off {
            return if effect.call == Call::PressPower { Ok(()) } else { gone() };
        }
        if !domain.edges.contains(&effect.key) {
            domain.edges.push(effect.key.clone());
            domain.pressed |= effect.call == Call::PressPower;
            self.edges.push(effect.key.clone());
        }
        Ok(())
    }

    fn save(&mut self, effect: &Effect, record: &VmRecord) -> Did {
        let Some(name) = record.recovery.as_ref().map(|file| file.name.to_string()) else {
            self.wrongs.push("memory is saved that the record does not know".to_owned());
            return gone();
        };
        let alive = self.domains.get(&effect.host).is_some_and(|domain| domain.power != Power::Off);
        if alive {
            let newest = self.newest;
            self.place(effect.host).memory.insert(name, newest);
            self.power(effect.host, Power::Off, PowerReason::Saved);
            return Ok(());
        }
        if self.place(effect.host).memory.contains_key(&name) { Ok(()) } else { gone() }
    }

    fn transfer(&mut self, effect: &Effect, record: &VmRecord) -> Did {
        if effect.call != Call::DropRecovery && !self.domains.is_empty() {
            self.wrongs.push(format!("{} touches disks while there is a domain", effect.call));
        }
        let there = record.placement.as_ref().map_or(HostId::FRONT_END, |place| place.host);
        let newest = self.newest;
        let missing = || Err(DriverError::refused("no-source", "there is no such file"));
        match (effect.call, &effect.key.item) {
            (Call::Prepare, Item::Disk(disk)) => {
                if !self.place(HostId::FRONT_END).disks.is_empty() && !self.shared {
                    self.wrongs.push("a disk is made anew though there is one at the front end".to_owned());
                }
                self.place(there).disks.entry(disk.to_string()).or_insert(newest);
            }
            (Call::CopyIn | Call::CopyOut, item) => {
                let (from, to) = match effect.call {
                    Call::CopyIn => (HostId::FRONT_END, there),
                    _ => (there, HostId::FRONT_END),
                };
                match item {
                    Item::Disk(disk) => {
                        let Some(new) = self.place(from).disks.get(disk.as_str()).copied() else { return missing() };
                        self.place(to).disks.insert(disk.to_string(), new);
                    }
                    _ => {
                        let Some(name) = record.recovery.as_ref().map(|file| file.name.to_string()) else { return missing() };
                        let Some(new) = self.place(from).memory.get(&name).copied() else { return missing() };
                        self.place(to).memory.insert(name, new);
                    }
                }
            }
            (Call::DropHost, _) => *self.place(there) = Place::default(),
            (Call::DropHome, _) => *self.place(HostId::FRONT_END) = Place::default(),
            (Call::DropRecovery, _) => {
                if let Some(file) = &record.recovery {
                    self.place(there).memory.remove(&file.name.to_string());
                }
            }
            (call, item) => self.wrongs.push(format!("{call} does not act on {item}")),
        }
        Ok(())
    }

    fn may_use_disks(&mut self, host: HostId, record: &VmRecord) -> Did {
        if self.domains.iter().any(|(other, domain)| *other != host && domain.power != Power::Off) {
            self.wrongs.push("it runs twice".to_owned());
        }
        let newest = self.newest;
        for disk in &record.disks {
            match self.place(host).disks.get(disk.name.as_str()).copied() {
                None => return Err(DriverError::refused("no-disk", format!("{} is not there", disk.name))),
                Some(new) if new != newest => self.wrongs.push(format!("disks as of {new} are used, the newest are of {newest}")),
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn define(&mut self, host: HostId, generation: Generation, power: Power) {
        self.stamp += 1;
        let identity = Some(Identity { store: self.store, vm: self.uuid, generation });
        let domain = Domain { power, reason: PowerReason::None, identity, edges: Vec::new(), pressed: false };
        self.domains.insert(host, domain);
    }

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
        self.newest += 1;
        let newest = self.newest;
        for disk in self.place(host).disks.values_mut() {
            *disk = newest;
        }
    }

    /// The guest does what its power button says.
    pub(crate) fn obey(&mut self) -> bool {
        let pressed = self.domains.iter().find(|(_, domain)| domain.pressed && domain.power == Power::Running);
        match pressed.map(|(host, _)| *host) {
            Some(host) if self.obeys => {
                self.power(host, Power::Off, PowerReason::Guest);
                true
            }
            Some(_) | None => false,
        }
    }
}
