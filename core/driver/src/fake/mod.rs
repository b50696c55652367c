//! An in-memory hypervisor and transfer manager with knobs, for tests of whatever stands above a driver. It passes the conformance
//! suite; every fault it shows was ordered.
//!
//! ```text
//!   a call -> recorded -> hold? -> delay? -> fail? -> the deed -> hold the answer? -> late? -> lost? -> the answer
//! ```
//!
//! | order | does |
//! |---|---|
//! | `fake.on(Op::Deploy).fail(error)` | answers the error and does nothing |
//! | `.delay(time)` | waits before the deed |
//! | `.late(time)` | does it at once, answers late |
//! | `.lose()` | does it, answers `unknown` |
//! | `.trap()` | answers what a driver crash answers, and does nothing |
//! | `.hold()`, `.hold_answer()` | stops before or after the deed until the [`Gate`] lets it pass, one by one or all |
//!
//! Before the order: `.vm(uuid)`, `.host(id)` and `.times(n)` narrow it. [`Fake::cut_off`] makes a host unreachable; [`Fake::crash`],
//! [`Fake::guest_off`], [`Fake::pause`] and [`Fake::put`] are what happens outside of Ostler. [`Fake::violations`] tells of callers that
//! broke the rule of one mutating call a VM.
//!
//! A domain is what its last deploy or restore said, and what was plugged in, resized and reverted since ([`FakeMachine`]). A
//! migration moves it between hosts of the same fake, which see each other unless one of them is cut off. Jobs of both traits are
//! polled as often as [`Fake::long_jobs`] says; until then a migrating domain runs where it ran, and the other host has nothing of it.
//!
//! As with a real hypervisor, a call whose future is dropped goes on: until it has ended, `observe` answers `retry` (`busy`).

mod hypervisor;
mod jobs;
mod knobs;
mod machine;
mod transfer;
mod world;

#[cfg(test)]
mod tests;

pub use knobs::{Gate, Order, Whim};
pub use machine::{FakeMachine, FakeSnapshot};
pub use world::{EdgeCount, FakeDomain, FakeFile};

use crate::Site;
use knobs::Knobs;
use ostler_model::{Ability, DatastoreName, DriverError, EffectKey, HostId, PowerReason, RelPath, VmUuid};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use world::World;

/// What was called.
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
    /// How far a migration or a disk's copy is.
    PollJob,
    /// The end of a migration or a disk's copy.
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

/// A call as the fake saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// What.
    pub op: Op,
    /// Where.
    pub host: HostId,
    /// Its identity; none for questions.
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
    ignore_acpi: bool,
    violations: Vec<String>,
    jobs: BTreeMap<EffectKey, transfer::Job>,
    hyper_jobs: BTreeMap<EffectKey, jobs::Begun>,
    /// How many transfers of a VM are at work.
    transferring: BTreeMap<VmUuid, usize>,
    polls: u32,
    jobs_go_on: Option<Duration>,
}

/// The fake. Clones are the same fake: keep one as the handle, give another to whoever is tested.
#[derive(Clone)]
pub struct Fake {
    abilities: Arc<[Ability]>,
    state: Arc<Mutex<State>>,
    /// Counts changes of the world: wakes `changes`.
    changed: watch::Sender<u64>,
}

impl Default for Fake {
    fn default() -> Self {
        Self::new()
    }
}

impl Fake {
    /// With all abilities that the fake has, and nothing running.
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

    /// With other abilities.
    #[must_use]
    pub fn with_abilities(abilities: &[Ability]) -> Self {
        Self { abilities: abilities.into(), state: Arc::default(), changed: watch::Sender::new(0) }
    }

    /// Begins an order: what shall happen to calls of this kind.
    pub fn on(&self, op: Op) -> Order {
        Order::new(self.clone(), op)
    }

    /// Takes all orders back. Calls that are held stay held until their gate opens.
    pub fn obey(&self) {
        self.lock().knobs.clear();
    }

    /// From now on chance decides what happens to each call: a simulation's, from its seed. None: no call is touched any more.
    pub fn whims<F: FnMut(&Recorded) -> Whim + Send + 'static>(&self, whims: Option<F>) {
        self.lock().knobs.follow(whims.map(|whims| Box::new(whims) as _));
    }

    /// Whether guests hear the power button and do nothing.
    pub fn ignore_acpi(&self, ignore: bool) {
        self.lock().ignore_acpi = ignore;
    }

    /// Whether a host answers nothing but `retry` (`unreachable`).
    pub fn cut_off(&self, host: HostId, away: bool) {
        let mut state = self.lock();
        if away {
            state.cut_off.insert(host);
        } else {
            state.cut_off.remove(&host);
        }
    }

    /// Whether jobs (of transfer, migrations, copies of disks) answer `pending` first, and to how many polls.
    pub fn long_jobs(&self, polls: u32) {
        self.lock().polls = polls;
    }

    /// From now on a migration or a copy of a disk that is begun comes to its end after this time at the latest, also when nobody polls it
    /// any more; until then whoever looks at the domain is told that it is busy.
    pub fn jobs_go_on(&self, time: Duration) {
        self.lock().jobs_go_on = Some(time);
    }

    /// The domain's process dies.
    pub fn crash(&self, host: HostId, vm: VmUuid) {
        self.outside(|world| world.stop(host, vm, PowerReason::Crashed), vm);
    }

    /// The guest switches itself off.
    pub fn guest_off(&self, host: HostId, vm: VmUuid) {
        self.outside(|world| world.stop(host, vm, PowerReason::Guest), vm);
    }

    /// The domain stands still.
    pub fn pause(&self, host: HostId, vm: VmUuid, reason: PowerReason) {
        self.outside(|world| world.pause(host, vm, reason), vm);
    }

    /// A domain is there, whoever made it.
    pub fn put(&self, host: HostId, domain: FakeDomain) {
        let vm = domain.seen.uuid;
        self.outside(|world| world.put(host, domain), vm);
    }

    /// A domain is gone.
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

    /// Migrations and copies of disks that were begun, and have not ended.
    #[must_use]
    pub fn jobs_at_work(&self) -> Vec<EffectKey> {
        self.lock().hyper_jobs.keys().cloned().collect()
    }

    /// Domains that run, on all hosts.
    #[must_use]
    pub fn running(&self) -> Vec<(HostId, VmUuid)> {
        self.lock().world.running()
    }

    /// What reached a guest.
    #[must_use]
    pub fn edges(&self, host: HostId, vm: VmUuid) -> EdgeCount {
        self.lock().world.edges(host, vm)
    }

    /// A file is there, complete or not.
    pub fn put_file(&self, host: HostId, datastore: DatastoreName, path: RelPath, file: FakeFile) {
        self.lock().world.put_file(host, datastore, path, file);
    }

    /// A file, if it is there.
    #[must_use]
    pub fn file(&self, host: HostId, datastore: &DatastoreName, path: &RelPath) -> Option<FakeFile> {
        self.lock().world.file(host, datastore, path)
    }

    /// All files of a host.
    #[must_use]
    pub fn files(&self, host: HostId) -> Vec<(DatastoreName, RelPath)> {
        self.lock().world.files(host)
    }

    /// All calls so far, in the order they came.
    #[must_use]
    pub fn calls(&self) -> Vec<Recorded> {
        self.lock().calls.clone()
    }

    /// How often something was called.
    #[must_use]
    pub fn count(&self, op: Op) -> usize {
        self.lock().calls.iter().filter(|call| call.op == op).count()
    }

    /// Rules that callers broke: two mutating calls of one VM at once, of which none is destroy.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
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
            return Err(DriverError::retry("unreachable", format!("host {} does not answer", site.name)));
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A test that panicked while it held the lock has failed anyway; others may still look.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
