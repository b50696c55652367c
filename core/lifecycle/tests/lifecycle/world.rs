//! A small world: hosts, domains, files, images. What drivers would do to real ones, calls do to
//! these.
//!
//! Every write of a guest makes the disks *newer* by one; saved memory remembers how new the disks
//! were. So the world itself sees the wrongs that no record shows: a guest that runs twice, old
//! disks booted, old memory restored over newer disks, a disk touched under a live domain.

use ostler_model::{
    Call, CallResult, DomainSeen, DriverError, Effect, EffectKey, ErrorKind, Generation, HostId,
    Identity, ImageId, Item, JobCall, NowCall, Observation, Outcome, Power, PowerReason, StoreId,
    VmRecord, VmUuid,
};
use std::collections::{BTreeMap, BTreeSet};

mod files;
mod guest;

/// Hosts that a VM can be at; the front end is none of them.
pub(crate) const HOSTS: [HostId; 3] = [HostId(1), HostId(2), HostId(3)];

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
    /// Files of the disks that are plugged in.
    pub(crate) disks: BTreeSet<String>,
    /// Addresses of the network cards that are plugged in.
    pub(crate) nics: BTreeSet<String>,
    /// Its virtual CPUs.
    pub(crate) vcpus: u32,
}

/// The files of the VM at one place, each with how new it is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Place {
    pub(crate) disks: BTreeMap<String, u64>,
    pub(crate) memory: BTreeMap<String, u64>,
    /// System snapshots live in the disks.
    pub(crate) snapshots: BTreeSet<String>,
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
    /// Snapshots that were removed as asked, though the answer may have been lost.
    pub(crate) removed: BTreeSet<String>,
    /// Images that were written.
    pub(crate) images: BTreeMap<ImageId, u64>,
    /// Whether all places are one.
    pub(crate) shared: bool,
    /// How new the newest disks are.
    pub(crate) newest: u64,
    /// Hosts that the operator brought the VM's files to.
    pub(crate) brought: BTreeSet<HostId>,
    /// Hosts that do not answer.
    pub(crate) silent: BTreeSet<HostId>,
    /// Whether answers carry a look.
    pub(crate) looks: bool,
    /// Whether the guest obeys the power button.
    pub(crate) obeys: bool,
    /// Whether a migration leaves the domain defined where it came from.
    pub(crate) leaves_source: bool,
    /// Counts changes of domains.
    pub(crate) stamp: u64,
    /// Presses, reboots and resets that reached a guest.
    pub(crate) edges: Vec<EffectKey>,
    /// What must never happen, and did.
    pub(crate) wrongs: Vec<String>,
}

/// What came of one thing that a driver does.
pub(crate) type Did = Result<(), DriverError>;

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
            removed: BTreeSet::new(),
            images: BTreeMap::new(),
            shared,
            newest: 1,
            brought: BTreeSet::new(),
            silent: BTreeSet::new(),
            looks: true,
            obeys: true,
            leaves_source: false,
            stamp: 0,
            edges: Vec::new(),
            wrongs: Vec::new(),
        }
    }

    pub(crate) fn answers(&self, host: HostId) -> bool {
        !self.silent.contains(&host)
    }

    /// All hosts go, or come back.
    pub(crate) fn reach(&mut self, there: bool) {
        self.silent = if there { BTreeSet::new() } else { HOSTS.into() };
    }

    pub(crate) fn place(&mut self, host: HostId) -> &mut Place {
        let at = if self.shared { HostId::FRONT_END } else { host };
        self.places.entry(at).or_default()
    }

    pub(crate) fn wrong(&mut self, what: impl Into<String>) {
        self.wrongs.push(what.into());
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
        if self.answers(host) {
            Ok(self.see(host))
        } else {
            Err(DriverError::unknown("unreachable", "no answer"))
        }
    }

    /// Does what a driver would do, and answers as it would.
    pub(crate) fn execute(&mut self, effect: &Effect, record: &VmRecord) -> CallResult {
        if !self.answers(effect.host) {
            return Err(DriverError::unknown("unreachable", "no answer"));
        }
        let host = effect.host;
        let there = self
            .domains
            .get(&host)
            .map(|domain| domain.identity.filter(|identity| identity.store == self.store));
        match (there, effect.call) {
            (_, Call::Now(NowCall::Observe)) => {
                return Ok(Outcome { seen: Some(self.see(host)), state: None });
            }
            (Some(Some(identity)), _) if identity.generation > effect.generation => {
                return Err(DriverError::new(
                    ErrorKind::Stale,
                    "stale",
                    "a higher generation is there",
                ));
            }
            (Some(None), call)
                if call != Call::Now(NowCall::Stamp)
                    && call.lane() == ostler_model::Lane::Hypervisor =>
            {
                return Err(DriverError::refused(
                    "foreign",
                    "a domain of that UUID is there that is not ours",
                ));
            }
            (_, _) => {}
        }
        if effect.call.lane() == ostler_model::Lane::Transfer {
            self.transfer(effect, record)?;
            return Ok(Outcome::default());
        }
        self.act(effect, record)?;
        Ok(Outcome { seen: self.looks.then(|| self.see(host)), state: None })
    }

    fn act(&mut self, effect: &Effect, record: &VmRecord) -> Did {
        let host = effect.host;
        match effect.call {
            Call::Now(NowCall::Deploy) => self.deploy(effect, record),
            Call::Now(NowCall::Restore) => self.restore(effect, record),
            Call::Now(NowCall::Unpause) => self.unpause(effect, record),
            Call::Now(
                NowCall::PressPower | NowCall::Reboot | NowCall::Reset | NowCall::RevertSnapshot,
            ) => self.edge(effect),
            Call::Now(NowCall::Destroy) => {
                self.power(host, Power::Off, PowerReason::Destroyed);
                Ok(())
            }
            Call::Now(NowCall::Save) => self.save(effect, record),
            Call::Now(NowCall::Remove) => {
                self.stamp += 1;
                self.domains.remove(&host);
                Ok(())
            }
            Call::Job(JobCall::Migrate) => self.migrate(effect, record),
            Call::Now(
                NowCall::AttachDisk
                | NowCall::DetachDisk
                | NowCall::AttachNic
                | NowCall::DetachNic
                | NowCall::Resize,
            ) => self.plug(effect, record),
            Call::Job(JobCall::CopyDisk) => self.copy_disk(effect, record),
            Call::Now(NowCall::CreateSnapshot | NowCall::DeleteSnapshot) => self.snapshot(effect),
            Call::Now(NowCall::Stamp) => self.stamp(effect),
            Call::Now(NowCall::Observe)
            | Call::Job(
                JobCall::Prepare
                | JobCall::CopyIn
                | JobCall::DropHome
                | JobCall::DropRecovery
                | JobCall::CopyOut
                | JobCall::DropHost
                | JobCall::CopyAcross
                | JobCall::DropDisk
                | JobCall::SaveBack,
            ) => Ok(()),
        }
    }

    fn deploy(&mut self, effect: &Effect, record: &VmRecord) -> Did {
        self.may_use_disks(effect.host, record)?;
        if self.domains.get(&effect.host).is_none_or(|domain| domain.power == Power::Off) {
            self.define(effect.host, effect.generation, Power::Running, record);
            self.runs(effect.host);
        }
        Ok(())
    }

    fn restore(&mut self, effect: &Effect, record: &VmRecord) -> Did {
        if self.domains.get(&effect.host).is_some_and(|domain| domain.power != Power::Off) {
            return Ok(());
        }
        let Some(file) = record.usable_recovery() else {
            self.wrong("memory is restored that the record does not offer");
            return gone();
        };
        let name = file.name.to_string();
        let newest = self.newest;
        let Some(saved) = self.place(effect.host).memory.get(&name).copied() else {
            return Err(DriverError::refused("no-file", "there is no such recovery file"));
        };
        if saved != newest {
            self.wrong(format!("memory as of {saved} is restored over disks as of {newest}"));
        }
        self.may_use_disks(effect.host, record)?;
        self.define(effect.host, effect.generation, Power::Paused, record);
        Ok(())
    }

    fn unpause(&mut self, effect: &Effect, record: &VmRecord) -> Did {
        if record.recovery.as_ref().is_some_and(|file| !file.consumed) {
            self.wrong("restored memory runs before it counts as used");
        }
        match self.domains.get(&effect.host).map(|domain| domain.power) {
            Some(Power::Paused) => {
                self.may_use_disks(effect.host, record)?;
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
            return if effect.call == Call::Now(NowCall::PressPower) { Ok(()) } else { gone() };
        }
        if domain.edges.contains(&effect.key) {
            return Ok(());
        }
        domain.edges.push(effect.key.clone());
        domain.pressed |= effect.call == Call::Now(NowCall::PressPower);
        self.edges.push(effect.key.clone());
        if let (Call::Now(NowCall::RevertSnapshot), Item::Snapshot(name)) =
            (effect.call, &effect.key.item)
        {
            if !self.place(effect.host).snapshots.contains(name.as_str()) {
                return Err(DriverError::new(
                    ErrorKind::Gone,
                    "no-snapshot",
                    "there is no such snapshot",
                ));
            }
            self.power(effect.host, Power::Running, PowerReason::None);
            self.runs(effect.host);
        }
        Ok(())
    }

    fn save(&mut self, effect: &Effect, record: &VmRecord) -> Did {
        let Some(name) = record.recovery.as_ref().map(|file| file.name.to_string()) else {
            self.wrong("memory is saved that the record does not know");
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

    /// What a driver that moves a running domain does: the source is gone, or off, and the
    /// destination runs.
    fn migrate(&mut self, effect: &Effect, record: &VmRecord) -> Did {
        let Some(to) = record.other().cloned() else {
            self.wrong("a domain is moved to nowhere");
            return gone();
        };
        if !self.answers(to.host) {
            return Err(DriverError::refused("no-way", "the other host does not answer"));
        }
        let arrived = self
            .domains
            .get(&to.host)
            .and_then(|domain| domain.identity)
            .map(|identity| identity.generation);
        if arrived == Some(to.generation) && self.domains[&to.host].power == Power::Running {
            return Ok(());
        }
        if self.domains.get(&to.host).is_some_and(|domain| domain.power != Power::Off) {
            return Err(DriverError::refused(
                "in-the-way",
                "a domain of that UUID is at the other host",
            ));
        }
        if self.domains.get(&effect.host).is_none_or(|domain| domain.power != Power::Running) {
            return gone();
        }
        let mut own = record.disks.iter().filter(|disk| disk.adopted.is_none());
        let missing = own.any(|disk| !self.place(to.host).disks.contains_key(disk.file.as_str()));
        if missing {
            return Err(DriverError::refused("no-disk", "a disk is not there"));
        }
        self.leave(effect.host);
        self.define(to.host, to.generation, Power::Running, record);
        self.runs(to.host);
        Ok(())
    }

    fn may_use_disks(&mut self, host: HostId, record: &VmRecord) -> Did {
        if self.domains.iter().any(|(other, domain)| *other != host && domain.power != Power::Off) {
            self.wrong("it runs twice");
        }
        let newest = self.newest;
        for disk in record.disks.iter().filter(|disk| disk.adopted.is_none()) {
            match self.place(host).disks.get(disk.file.as_str()).copied() {
                None => {
                    return Err(DriverError::refused(
                        "no-disk",
                        format!("{} is not there", disk.name),
                    ));
                }
                Some(new) if new != newest => {
                    self.wrong(format!("disks as of {new} are used, the newest are of {newest}"))
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    pub(crate) fn define(
        &mut self,
        host: HostId,
        generation: Generation,
        power: Power,
        record: &VmRecord,
    ) {
        self.stamp += 1;
        let identity = Some(Identity { store: self.store, vm: self.uuid, generation });
        let domain = Domain {
            power,
            reason: PowerReason::None,
            identity,
            edges: Vec::new(),
            pressed: false,
            disks: record.disks.iter().map(|disk| disk.file.to_string()).collect(),
            nics: record
                .spec
                .nics
                .iter()
                .filter_map(|nic| nic.mac.as_ref())
                .map(ToString::to_string)
                .collect(),
            vcpus: record.spec.vcpus,
        };
        self.domains.insert(host, domain);
    }
}
