//! An in-memory hypervisor and transfer driver whose faults can be ordered, for tests of the code
//! that calls drivers. It passes the conformance suite. It shows no fault that was not ordered.
//!
//! ```text
//!   a call -> recorded -> hold? -> delay? -> fail? -> the deed
//!          -> hold the answer? -> late? -> lost? -> the answer
//! ```
//!
//! | order | does |
//! |---|---|
//! | `fake.on(Op::Deploy).fail(error)` | answers the error and does nothing |
//! | `.delay(time)` | waits before the deed |
//! | `.late(time)` | does it at once, answers late |
//! | `.lose()` | does it, answers `unknown` |
//! | `.trap()` | answers what a driver crash answers, and does nothing |
//! | `.hold()`, `.hold_answer()` | stops before or after the deed until the [`Gate`] opens |
//!
//! Before the order, `.vm(uuid)`, `.host(id)` and `.times(n)` narrow it. [`Fake::cut_off`] makes a
//! host unreachable. [`Fake::crash`], [`Fake::guest_off`], [`Fake::pause`] and [`Fake::put`]
//! simulate events outside of Ostler. [`Fake::violations`] lists callers that broke the rule of one
//! mutating call per VM.
//!
//! A domain has the hardware of its last deploy or restore, with all later hotplugs, resizes and
//! reverts ([`FakeMachine`]). A migration moves it between hosts of the same fake. These hosts see
//! each other unless one of them is cut off. Jobs of both traits end after as many polls as
//! [`Fake::long_jobs`] says. Until then a migrating domain runs on its old host, and the other host
//! has nothing of it.
//!
//! As with a real hypervisor, a call whose future is dropped goes on. Until it has ended, `observe`
//! answers `retry` (`busy`).

mod abilities;
mod calls;
mod files;
mod hypervisor;
mod jobs;
mod knobs;
mod machine;
mod transfer;
mod world;
mod writes;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod writes_tests;

pub use knobs::{Gate, Order, Whim};
pub use machine::{FakeMachine, FakeSnapshot};
pub use world::{EdgeCount, FakeDomain, FakeFile};

use knobs::Knobs;
use ostler_driver::Site;
use ostler_model::{
    Ability, DatastoreName, DriverError, EffectKey, HostId, Identity, PowerReason, RelPath, VmUuid,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use world::World;

/// The kind of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, strum::Display)]
#[strum(serialize_all = "kebab-case")]
#[allow(missing_docs)]
pub enum Op {
    Probe,
    Deploy,
    PressPower,
    Destroy,
    Remove,
    Reboot,
    Reset,
    Save,
    Restore,
    Unpause,
    Observe,
    List,
    Changes,
    Metrics,
    Migrate,
    CopyDisk,
    /// A poll of a migration or of a disk's copy.
    PollJob,
    /// An abort of a migration or of a disk's copy.
    AbortJob,
    AttachDisk,
    DetachDisk,
    AttachNic,
    DetachNic,
    Resize,
    CreateSnapshot,
    RevertSnapshot,
    DeleteSnapshot,
    ListSnapshots,
    Inspect,
    InspectFile,
    Stamp,
    Prepare,
    Copy,
    Delete,
    SaveBack,
    Poll,
    Abort,
}

/// A call that the fake has received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The kind of call.
    pub op: Op,
    /// The host that it was sent to.
    pub host: HostId,
    /// Its effect key; none for questions.
    pub key: Option<EffectKey>,
    /// The VM, if it is about one.
    pub vm: Option<VmUuid>,
}

/// A mutating call that is at work.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Working {
    host: HostId,
    vm: VmUuid,
    op: Op,
    abandoned: bool,
}

#[derive(Default)]
struct State {
    world: World,
    knobs: Knobs,
    calls: Vec<Recorded>,
    working: BTreeMap<u64, Working>,
    next: u64,
    cut_off: BTreeSet<HostId>,
    /// Hosts that have lost their power for good.
    dead: BTreeSet<HostId>,
    /// Hosts without power.
    dark: BTreeSet<HostId>,
    ignore_acpi: bool,
    violations: Vec<String>,
    jobs: BTreeMap<EffectKey, transfer::FakeJob>,
    hyper_jobs: BTreeMap<EffectKey, jobs::Begun>,
    /// The transfers that are at work, per VM.
    transferring: BTreeMap<VmUuid, Vec<EffectKey>>,
    polls: u32,
    jobs_go_on: Option<Duration>,
}

/// The fake. All clones are the same fake: keep one as the handle, and give another to the code
/// under test.
#[derive(Clone)]
pub struct Fake {
    abilities: Arc<[Ability]>,
    state: Arc<Mutex<State>>,
    /// The number of changes of the world; a new number wakes `changes`.
    changed: watch::Sender<u64>,
}

impl Default for Fake {
    fn default() -> Self {
        Self::new()
    }
}

impl Fake {
    /// A fake with all abilities that it supports, and without domains.
    #[must_use]
    pub fn new() -> Self {
        Self::with_abilities(&[
            Ability::Suspend,
            Ability::Migrate,
            Ability::Hotplug,
            Ability::Snapshots,
            Ability::LiveResize,
            Ability::Metrics,
            Ability::Changes,
            Ability::DiskCopy,
            Ability::Adopt,
            Ability::Reboot,
        ])
    }

    /// A fake with these abilities, and without domains.
    #[must_use]
    pub fn with_abilities(abilities: &[Ability]) -> Self {
        Self { abilities: abilities.into(), state: Arc::default(), changed: watch::Sender::new(0) }
    }

    /// The same fake, as another driver that has only these abilities.
    #[must_use]
    pub fn as_driver_with(&self, abilities: &[Ability]) -> Self {
        Self { abilities: abilities.into(), ..self.clone() }
    }

    /// Begins an order for calls of this kind.
    pub fn on(&self, op: Op) -> Order {
        Order::new(self.clone(), op)
    }

    /// Takes all orders back. Calls that are held stay held until their gate opens.
    pub fn obey(&self) {
        self.lock().knobs.clear();
    }

    /// From now on, `whims` decides what happens to each call. A simulation uses it with its seed.
    /// None ends this.
    pub fn whims<F: FnMut(&Recorded) -> Whim + Send + 'static>(&self, whims: Option<F>) {
        self.lock().knobs.follow(whims.map(|whims| Box::new(whims) as _));
    }

    /// Sets whether guests ignore the power button.
    pub fn ignore_acpi(&self, ignore: bool) {
        self.lock().ignore_acpi = ignore;
    }

    /// Sets whether a host is unreachable: every call to it answers `retry` (`unreachable`).
    pub fn cut_off(&self, host: HostId, away: bool) {
        let mut state = self.lock();
        if away {
            state.cut_off.insert(host);
        } else if !state.dead.contains(&host) {
            state.cut_off.remove(&host);
            state.dark.remove(&host);
        }
    }

    /// Whether a host is unreachable.
    #[must_use]
    pub fn is_cut_off(&self, host: HostId) -> bool {
        self.lock().cut_off.contains(&host)
    }

    /// Takes the power from a host, and makes it unreachable: its domains are off, its jobs end,
    /// and nothing is done there. [`Fake::cut_off`] gives the power back.
    pub fn lose_power(&self, host: HostId) {
        let mut state = self.lock();
        state.cut_off.insert(host);
        state.dark.insert(host);
        state.hyper_jobs.retain(|_, job| !job.holds(host));
        let there: Vec<VmUuid> =
            state.world.domains(host).into_iter().map(|domain| domain.seen.uuid).collect();
        for vm in there {
            state.world.lose_power(host, vm);
            state.world.note(vm);
        }
    }

    /// Takes the power from a host for good: its domains and its jobs end, nothing is done there
    /// any more, and it is unreachable.
    pub fn lose_for_good(&self, host: HostId) {
        let mut state = self.lock();
        state.dead.insert(host);
        state.cut_off.insert(host);
        for domain in state.world.domains(host) {
            state.world.note(domain.seen.uuid);
        }
        state.world.domains.retain(|(at, _), _| *at != host);
        state.world.writes.lose_host(host);
        state.hyper_jobs.retain(|_, job| !job.holds(host));
    }

    /// Sets after how many polls a job ends (a transfer, a migration or a copy of a disk); before,
    /// it answers `pending`. With 0, a job ends at once when it is begun.
    pub fn long_jobs(&self, polls: u32) {
        self.lock().polls = polls;
    }

    /// From now on, a migration or a copy of a disk ends at the latest this long after it was
    /// begun, even if nobody polls it any more. Until then a look at the domain answers that it is
    /// busy.
    pub fn jobs_go_on(&self, time: Duration) {
        self.lock().jobs_go_on = Some(time);
    }

    /// Makes the domain's process die.
    pub fn crash(&self, host: HostId, vm: VmUuid) {
        self.outside(|world| world.stop(host, vm, PowerReason::Crashed), vm);
    }

    /// Makes the guest switch itself off.
    pub fn guest_off(&self, host: HostId, vm: VmUuid) {
        self.outside(|world| world.stop(host, vm, PowerReason::Guest), vm);
    }

    /// Pauses the domain.
    pub fn pause(&self, host: HostId, vm: VmUuid, reason: PowerReason) {
        self.outside(|world| world.pause(host, vm, reason), vm);
    }

    /// Ends the domain, as a person does at the hypervisor.
    pub fn destroy_by_hand(&self, host: HostId, vm: VmUuid) {
        self.outside(|world| world.stop(host, vm, PowerReason::Destroyed), vm);
    }

    /// Whether a call or a transfer of this VM is at work, even if nobody waits for it.
    #[must_use]
    pub fn is_at_work(&self, vm: VmUuid) -> bool {
        let state = self.lock();
        state.working.values().any(|call| call.vm == vm)
            || state.transferring.contains_key(&vm)
            || state.jobs.keys().chain(state.hyper_jobs.keys()).any(|key| key.vm == vm)
    }

    /// How often something may have changed about this VM: its calls, and events at its host.
    #[must_use]
    pub fn changes_of(&self, vm: VmUuid) -> u64 {
        self.lock().world.changes_of.get(&vm).copied().unwrap_or(0)
    }

    /// Puts a domain on a host, as if somebody else had made it.
    pub fn put(&self, host: HostId, domain: FakeDomain) {
        let vm = domain.seen.uuid;
        self.outside(|world| world.put(host, domain), vm);
    }

    /// Removes a domain from a host.
    pub fn drop_domain(&self, host: HostId, vm: VmUuid) {
        self.outside(|world| world.remove(host, vm), vm);
    }

    /// The domains of a host.
    #[must_use]
    pub fn domains(&self, host: HostId) -> Vec<FakeDomain> {
        self.lock().world.domains(host)
    }

    /// A domain, if it is there.
    #[must_use]
    pub fn domain(&self, host: HostId, vm: VmUuid) -> Option<FakeDomain> {
        self.lock().world.domains.get(&(host, vm)).cloned()
    }

    /// The stamp of the VM's domain at the first host that has one.
    #[must_use]
    pub fn stamped(&self, vm: VmUuid) -> Option<Identity> {
        let state = self.lock();
        let mut domains = state.world.domains.iter().filter(|((_, of), _)| *of == vm);
        domains.find_map(|(_, domain)| domain.seen.identity)
    }

    /// The effect keys of migrations and copies of disks that were begun and have not ended.
    #[must_use]
    pub fn jobs_at_work(&self) -> Vec<EffectKey> {
        self.lock().hyper_jobs.keys().cloned().collect()
    }

    /// The running domains of all hosts.
    #[must_use]
    pub fn running(&self) -> Vec<(HostId, VmUuid)> {
        self.lock().world.running()
    }

    /// The edge effects that reached a guest.
    #[must_use]
    pub fn edges(&self, host: HostId, vm: VmUuid) -> EdgeCount {
        self.lock().world.edges(host, vm)
    }

    /// The network interfaces that a host has from now on. Before, the driver cannot tell.
    pub fn set_interfaces(&self, host: HostId, names: &[&str]) {
        self.lock()
            .world
            .interfaces
            .insert(host, names.iter().map(|name| (*name).to_owned()).collect());
    }

    /// Puts a file on a host, complete or not.
    pub fn put_file(&self, host: HostId, datastore: DatastoreName, path: RelPath, file: FakeFile) {
        self.lock().world.put_file(host, datastore, path, file);
    }

    /// A file, if it is there.
    #[must_use]
    pub fn file(
        &self,
        host: HostId,
        datastore: &DatastoreName,
        path: &RelPath,
    ) -> Option<FakeFile> {
        self.lock().world.file(host, datastore, path)
    }

    /// All files of a host.
    #[must_use]
    pub fn files(&self, host: HostId) -> Vec<(DatastoreName, RelPath)> {
        self.lock().world.files(host)
    }

    /// All calls so far, in the order in which they came.
    #[must_use]
    pub fn calls(&self) -> Vec<Recorded> {
        self.lock().calls.clone()
    }

    /// Whether such a call came.
    #[must_use]
    pub fn has_call(&self, is_it: impl Fn(&Recorded) -> bool) -> bool {
        self.lock().calls.iter().any(is_it)
    }

    /// How many calls of this kind came.
    #[must_use]
    pub fn count(&self, op: Op) -> usize {
        self.lock().calls.iter().filter(|call| call.op == op).count()
    }

    /// The violations by callers: two mutating calls for one VM at the same time, of which neither
    /// is `destroy`; two different transfers for one VM at the same time; a removal of a disk's
    /// file while a domain that is not off has the disk; two edge effects of one operation that
    /// reached the guest.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        let state = self.lock();
        state.violations.iter().chain(&state.world.doubled).cloned().collect()
    }

    /// The starts that lost something that a guest had written: a start on a copy of a disk that is
    /// not the newest, or old memory over newer disks. Also images of disks to which a guest wrote
    /// meanwhile.
    #[must_use]
    pub fn lost_writes(&self) -> Vec<String> {
        self.lock().world.writes.lost().to_vec()
    }

    /// Whether this copy of the VM's disk is there, complete, and as new as it can be.
    #[must_use]
    pub fn has_newest(
        &self,
        vm: VmUuid,
        (host, datastore, path): (HostId, &DatastoreName, &RelPath),
    ) -> bool {
        let state = self.lock();
        let at = state.world.at(host, datastore, path);
        let complete = state.world.files.get(&at).is_some_and(|file| file.complete);
        complete && state.world.writes.is_newest(vm, &at)
    }

    /// The first file below this folder of a datastore on a host, for which `is_it`.
    pub fn file_below(
        &self,
        (host, datastore, folder): (HostId, &DatastoreName, &RelPath),
        is_it: impl Fn(&RelPath) -> bool,
    ) -> Option<RelPath> {
        let state = self.lock();
        let from = state.world.at(host, datastore, folder);
        let (host, below) = (from.0, format!("{folder}/"));
        let files = state.world.files.range(from..).map(|(place, _)| place);
        let mut files = files
            .take_while(|(at, store, path)| {
                *at == host && store == datastore && path.as_str().starts_with(&below)
            })
            .map(|(_, _, path)| path);
        files.find(|path| is_it(path)).cloned()
    }

    /// The content of the VM's disks does not count any more: its maker begins anew.
    pub fn forget_writes(&self, vm: VmUuid) {
        self.lock().world.writes.forget(vm);
    }

    /// From now on all hosts see the same files of this datastore.
    pub fn share(&self, datastore: DatastoreName) {
        self.lock().world.shared.insert(datastore);
    }

    fn outside(&self, happen: impl FnOnce(&mut World), vm: VmUuid) {
        let mut state = self.lock();
        happen(&mut state.world);
        let count = state.world.note(vm);
        drop(state);
        self.changed.send_replace(count);
    }

    fn reach(&self, site: &Site) -> Result<(), DriverError> {
        if self.lock().cut_off.contains(&site.id) {
            return Err(DriverError::retry(
                "unreachable",
                format!("host {} does not answer", site.name),
            ));
        }
        Ok(())
    }

    /// Nothing is done on a host without power.
    fn lives(state: &State, host: HostId) -> Result<(), DriverError> {
        if state.dead.contains(&host) || state.dark.contains(&host) {
            return Err(DriverError::retry("unreachable", "the host has lost its power"));
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A test that panicked while it held the lock has failed anyway. Other tests may still use
        // the state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
