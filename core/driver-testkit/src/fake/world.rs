//! The domains and files of the fake's hosts, and the effects of calls on them. No time and no
//! faults.

use super::FakeMachine;
use super::writes::Writes;
use ostler_driver::{DomainSpec, FileRef};
use ostler_model::{
    CallContext, DatastoreName, DomainSeen, DriverError, EffectKey, Epoch, ErrorKind, Generation,
    HostId, Identity, Observation, OperationId, Outcome, Power, PowerReason, RelPath, StoreId,
    VmUuid,
};
use std::collections::{BTreeMap, BTreeSet};

/// A domain of the fake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FakeDomain {
    /// The domain as a look shows it.
    pub seen: DomainSeen,
    /// The number of the guest's run. Each start gets a new number, and the number is saved with
    /// the memory. Two equal numbers mean the same run of the guest.
    pub run: u64,
    /// The edge effects that reached the guest.
    pub edges: EdgeCount,
    /// Its hardware and snapshots. Each change reaches the guest at once.
    pub machine: FakeMachine,
}

/// How many edge effects of each kind reached a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct EdgeCount {
    pub presses: u32,
    pub reboots: u32,
    pub resets: u32,
    pub reverts: u32,
}

/// A file of the fake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FakeFile {
    /// Its content, in words. Equal words mean equal content.
    pub content: String,
    /// Whether it was written to its end.
    pub complete: bool,
}

/// The kinds of edge calls, except a revert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edge {
    Press,
    Reboot,
    Reset,
}

/// A host, a datastore, and a path below its root.
pub(super) type Place = (HostId, DatastoreName, RelPath);

/// All hosts.
#[derive(Default)]
pub(super) struct World {
    pub(super) domains: BTreeMap<(HostId, VmUuid), FakeDomain>,
    pub(super) files: BTreeMap<Place, FakeFile>,
    /// The network interfaces of hosts. For a host that is not named here, the driver cannot tell.
    pub(super) interfaces: BTreeMap<HostId, BTreeSet<String>>,
    /// Datastores whose files all hosts see.
    pub(super) shared: BTreeSet<DatastoreName>,
    pub(super) writes: Writes,
    /// The highest epoch of each store that a host has seen.
    pub(super) epochs: BTreeMap<(HostId, StoreId), Epoch>,
    /// The edge effect that has reached a guest, for each operation.
    reached: BTreeMap<(VmUuid, OperationId), EffectKey>,
    /// Operations of which more than one edge effect has reached the guest.
    pub(super) doubled: Vec<String>,
    runs: u64,
    changes: Vec<VmUuid>,
    /// How often something may have changed about each VM.
    pub(super) changes_of: BTreeMap<VmUuid, u64>,
}

pub(super) fn seen(domain: &FakeDomain) -> Outcome {
    Outcome { seen: Some(Observation::Present(domain.seen.clone())), state: None }
}

pub(super) fn absent() -> Outcome {
    Outcome { seen: Some(Observation::Absent), state: None }
}

pub(super) fn gone(code: &str, detail: &str) -> DriverError {
    DriverError::new(ErrorKind::Gone, code, detail)
}

impl World {
    /// The place of a file. The files of a shared datastore are at the front end.
    pub(super) fn place(&self, file: &FileRef) -> Place {
        self.at(file.host, &file.datastore, &file.path)
    }

    pub(super) fn at(&self, host: HostId, datastore: &DatastoreName, path: &RelPath) -> Place {
        let host = if self.shared.contains(datastore) { HostId::FRONT_END } else { host };
        (host, datastore.clone(), path.clone())
    }

    /// The files of the disks that the guest may write to.
    fn written(&self, host: HostId, vm: VmUuid) -> Vec<Place> {
        let disks = self.domains.get(&(host, vm)).map(|domain| domain.machine.disks.as_slice());
        let disks = disks.unwrap_or_default().iter().filter(|disk| !disk.read_only);
        disks.map(|disk| self.place(&disk.file)).collect()
    }

    /// The guest writes to its disks.
    pub(super) fn guest_writes(&mut self, host: HostId, vm: VmUuid) {
        let written = self.written(host, vm);
        self.writes.writes(vm, written.into_iter());
    }

    /// The guest starts on its disks.
    pub(super) fn guest_starts(&mut self, host: HostId, vm: VmUuid) {
        let written = self.written(host, vm);
        self.writes.starts(vm, host, written.iter());
    }

    /// Notes that an edge effect has reached the guest. One operation may do that once.
    pub(super) fn edge_reaches(&mut self, key: &EffectKey) {
        let before = self.reached.insert((key.vm, key.operation), key.clone());
        if let Some(before) = before.filter(|before| before != key) {
            self.doubled.push(format!("one operation reached its guest as {before} and as {key}"));
        }
    }

    pub(super) fn note(&mut self, vm: VmUuid) -> u64 {
        self.changes.push(vm);
        *self.changes_of.entry(vm).or_default() += 1;
        self.changes.len() as u64
    }

    pub(super) fn changes_after(&self, cursor: u64) -> (u64, Vec<VmUuid>) {
        let from = usize::try_from(cursor).unwrap_or(usize::MAX).min(self.changes.len());
        (self.changes.len() as u64, self.changes[from..].to_vec())
    }

    pub(super) fn domains(&self, host: HostId) -> Vec<FakeDomain> {
        self.domains
            .iter()
            .filter(|((at, _), _)| *at == host)
            .map(|(_, domain)| domain.clone())
            .collect()
    }

    pub(super) fn running(&self) -> Vec<(HostId, VmUuid)> {
        self.domains
            .iter()
            .filter(|(_, domain)| domain.seen.power == Power::Running)
            .map(|(key, _)| *key)
            .collect()
    }

    pub(super) fn edges(&self, host: HostId, vm: VmUuid) -> EdgeCount {
        self.domains.get(&(host, vm)).map(|domain| domain.edges).unwrap_or_default()
    }

    pub(super) fn put(&mut self, host: HostId, domain: FakeDomain) {
        self.domains.insert((host, domain.seen.uuid), domain);
    }

    pub(super) fn remove(&mut self, host: HostId, vm: VmUuid) {
        self.domains.remove(&(host, vm));
    }

    pub(super) fn stop(&mut self, host: HostId, vm: VmUuid, reason: PowerReason) {
        self.set(host, vm, Power::Off, reason);
    }

    /// The domain's host has lost its power.
    pub(super) fn lose_power(&mut self, host: HostId, vm: VmUuid) {
        let domain = self.domains.get(&(host, vm));
        if domain.is_some_and(|domain| domain.seen.power != Power::Off) {
            self.stop(host, vm, PowerReason::Crashed);
        }
    }

    pub(super) fn pause(&mut self, host: HostId, vm: VmUuid, reason: PowerReason) {
        self.set(host, vm, Power::Paused, reason);
    }

    fn set(&mut self, host: HostId, vm: VmUuid, power: Power, reason: PowerReason) {
        if let Some(domain) = self.domains.get_mut(&(host, vm)) {
            (domain.seen.power, domain.seen.reason) = (power, reason);
        }
    }

    pub(super) fn observe(&self, host: HostId, vm: VmUuid) -> Observation {
        self.domains
            .get(&(host, vm))
            .map_or(Observation::Absent, |domain| Observation::Present(domain.seen.clone()))
    }

    /// Whether somebody has stamped the domain that is there.
    pub(super) fn is_stamped(&self, host: HostId, vm: VmUuid) -> bool {
        self.domains.get(&(host, vm)).is_some_and(|domain| domain.seen.identity.is_some())
    }

    /// Holds a call to the highest epoch that its host has seen of its store, and keeps a higher
    /// one. Every mutating call does this before everything else.
    pub(super) fn hold(&mut self, host: HostId, context: &CallContext) -> Result<(), DriverError> {
        let seen = self.epochs.entry((host, context.store)).or_default();
        *seen = context.epoch.max(*seen);
        if context.epoch.0 == 0 || *seen == context.epoch {
            return Ok(());
        }
        let detail = format!("the host has seen epoch {seen}, the call has {}", context.epoch);
        Err(DriverError::new(ErrorKind::Stale, DriverError::EPOCH, detail))
    }

    /// Compares identities: `foreign` if another store or nobody has stamped the domain, `stale` if
    /// a higher generation is there. Every mutating call does this first, except a stamp.
    pub(super) fn fence(
        &self,
        host: HostId,
        vm: VmUuid,
        (store, generation): (StoreId, Generation),
    ) -> Result<(), DriverError> {
        let Some(domain) = self.domains.get(&(host, vm)) else { return Ok(()) };
        match domain.seen.identity {
            None => Err(DriverError::refused("foreign", "the domain does not carry a stamp")),
            Some(identity) if identity.store != store => {
                Err(DriverError::refused("foreign", "the domain is another store's"))
            }
            Some(identity) if identity.generation > generation => Err(DriverError::new(
                ErrorKind::Stale,
                "higher-generation",
                format!(
                    "generation {} is there, the call acts for {generation}",
                    identity.generation
                ),
            )),
            Some(_) => Ok(()),
        }
    }

    pub(super) fn ours(&self, host: HostId, identity: &Identity) -> Result<(), DriverError> {
        match self.domains.get(&(host, identity.vm)) {
            Some(domain)
                if domain.seen.identity.is_none_or(|found| found.store != identity.store) =>
            {
                Err(DriverError::refused("foreign", "a domain that is not this store's is there"))
            }
            Some(_) | None => Ok(()),
        }
    }

    pub(super) fn deploy(
        &mut self,
        host: HostId,
        spec: &DomainSpec,
    ) -> Result<Outcome, DriverError> {
        self.ours(host, &spec.identity)?;
        let old = self
            .domains
            .get(&(host, spec.identity.vm))
            .filter(|domain| domain.seen.power == Power::Running);
        if let Some(run) = old.map(|domain| domain.run) {
            return Ok(self.define(host, spec, Power::Running, run));
        }
        let run = self.next_run();
        let outcome = self.define(host, spec, Power::Running, run);
        self.guest_starts(host, spec.identity.vm);
        self.guest_writes(host, spec.identity.vm);
        Ok(outcome)
    }

    fn next_run(&mut self) -> u64 {
        self.runs += 1;
        self.runs
    }

    fn define(&mut self, host: HostId, spec: &DomainSpec, power: Power, run: u64) -> Outcome {
        let old = self.domains.remove(&(host, spec.identity.vm));
        let (last_edge, edges, snapshots) = old
            .map(|old| (old.seen.last_edge, old.edges, old.machine.snapshots))
            .unwrap_or_default();
        let domain_seen = DomainSeen {
            uuid: spec.identity.vm,
            name: spec.name.clone(),
            identity: Some(spec.identity),
            power,
            reason: PowerReason::None,
            last_edge,
        };
        let machine = FakeMachine { snapshots, ..FakeMachine::of(spec) };
        let domain = FakeDomain { seen: domain_seen, run, edges, machine };
        let outcome = seen(&domain);
        self.put(host, domain);
        outcome
    }

    pub(super) fn edge(
        &mut self,
        host: HostId,
        context: &CallContext,
        edge: Edge,
        ignored: bool,
    ) -> Result<Outcome, DriverError> {
        let key = (host, context.key.vm);
        let domain = self
            .domains
            .get_mut(&key)
            .ok_or_else(|| gone("no-domain", "there is no such domain"))?;
        if domain.seen.last_edge.as_ref() == Some(&context.key) {
            return Ok(seen(domain));
        }
        if domain.seen.power != Power::Running {
            return Err(gone("not-running", "the domain does not run"));
        }
        domain.seen.last_edge = Some(context.key.clone());
        match edge {
            Edge::Press => {
                domain.edges.presses += 1;
                if !ignored {
                    (domain.seen.power, domain.seen.reason) = (Power::Off, PowerReason::Guest);
                }
            }
            Edge::Reboot => domain.edges.reboots += 1,
            Edge::Reset => domain.edges.resets += 1,
        }
        let outcome = seen(domain);
        self.edge_reaches(&context.key);
        if edge != Edge::Press {
            self.guest_writes(host, context.key.vm);
        }
        Ok(outcome)
    }

    pub(super) fn destroy(&mut self, host: HostId, vm: VmUuid) -> Outcome {
        match self.domains.get_mut(&(host, vm)) {
            Some(domain) => {
                if domain.seen.power != Power::Off {
                    (domain.seen.power, domain.seen.reason) = (Power::Off, PowerReason::Destroyed);
                }
                seen(domain)
            }
            None => absent(),
        }
    }

    pub(super) fn undefine(
        &mut self,
        host: HostId,
        vm: VmUuid,
        spares: Option<Generation>,
    ) -> Outcome {
        let there = self.domains.get(&(host, vm)).and_then(|domain| domain.seen.identity);
        if spares.is_none() || there.map(|identity| identity.generation) != spares {
            self.remove(host, vm);
        }
        absent()
    }

    pub(super) fn save(
        &mut self,
        host: HostId,
        vm: VmUuid,
        file: &FileRef,
    ) -> Result<Outcome, DriverError> {
        let complete = self
            .files
            .get(&self.place(file))
            .is_some_and(|found| found.complete && run_of(found, vm).is_some());
        match self.domains.get_mut(&(host, vm)) {
            Some(domain) if matches!(domain.seen.power, Power::Running | Power::Paused) => {
                let memory =
                    FakeFile { content: format!("memory {vm} {}", domain.run), complete: true };
                (domain.seen.power, domain.seen.reason) = (Power::Off, PowerReason::Saved);
                let outcome = seen(domain);
                let (at, disks) = (self.place(file), self.written(host, vm));
                self.writes.saved(vm, at.clone(), disks.into_iter());
                self.files.insert(at, memory);
                Ok(outcome)
            }
            Some(domain) if complete => Ok(seen(domain)),
            None if complete => Ok(absent()),
            Some(_) => Err(gone("not-running", "the domain is off, and there is no memory of it")),
            None => Err(gone("no-domain", "there is no such domain, nor memory of it")),
        }
    }

    pub(super) fn restore(
        &mut self,
        host: HostId,
        spec: &DomainSpec,
        file: &FileRef,
    ) -> Result<Outcome, DriverError> {
        self.ours(host, &spec.identity)?;
        if let Some(domain) = self.domains.get(&(host, spec.identity.vm)) {
            if domain.seen.power == Power::Paused && domain.seen.identity == Some(spec.identity) {
                return Ok(seen(domain));
            }
            if domain.seen.power == Power::Running {
                return Err(DriverError::refused(
                    "running",
                    "the domain runs: old memory is not put over it",
                ));
            }
        }
        let at = self.place(file);
        let found = self.files.get(&at).filter(|found| found.complete);
        let run = found.and_then(|found| run_of(found, spec.identity.vm));
        let run = run.ok_or_else(|| gone("no-memory-file", "the recovery file is not there"))?;
        let outcome = self.define(host, spec, Power::Paused, run);
        self.writes.restored(spec.identity.vm, host, &at);
        self.guest_starts(host, spec.identity.vm);
        Ok(outcome)
    }

    pub(super) fn unpause(&mut self, host: HostId, vm: VmUuid) -> Result<Outcome, DriverError> {
        match self.domains.get_mut(&(host, vm)) {
            Some(domain) if matches!(domain.seen.power, Power::Running | Power::Paused) => {
                let was = domain.seen.power;
                (domain.seen.power, domain.seen.reason) = (Power::Running, PowerReason::None);
                let outcome = seen(domain);
                if was == Power::Paused {
                    self.guest_writes(host, vm);
                }
                Ok(outcome)
            }
            Some(_) | None => Err(gone("not-running", "the domain is not there or off")),
        }
    }
}

/// The number of the run whose memory the file holds, if it is memory of this VM.
fn run_of(file: &FakeFile, vm: VmUuid) -> Option<u64> {
    file.content.strip_prefix(&format!("memory {vm} "))?.parse().ok()
}
