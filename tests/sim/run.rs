//! One run: a world, a daemon and an operator from one seed, until everything was deleted and
//! nothing is left.
//!
//! First there is a storm: hosts, guests, drivers, the daemon and a person at the hypervisor do
//! what the seed says. Then everything answers and obeys, and within a time limit every VM must
//! rest as its record says. Then all VMs are deleted, and within a time limit nothing may be left.

use crate::coverage::Coverage;
use crate::executor::Executor;
use crate::invariants::{self, Violation};
use crate::monitor::Health;
use crate::mutation::Mutation;
use crate::queue::{Duty, Event, Happening, Queue};
use crate::restore::List;
use crate::rng::Rng;
use crate::shell::Desk;
use crate::store::{Rows, Store};
use crate::weather::Weather;
use crate::work::{Work, WorkId};
use crate::world::{Machine, World};
use ostler_lifecycle::{Decision, Input};
use ostler_model::{
    Capacity, DatastoreId, DiskFormat, HostId, Image, ImageId, ImageState, Millis, OperationId,
    State, Timestamp, VmId, VmRecord,
};
use std::collections::BTreeMap;

/// The time limit for everything to come to rest, once the storm is over.
const REST_WITHIN: Millis = Millis::secs(3 * 3600);
/// The time between two checks of everything.
const CHECK_EVERY: Millis = Millis(20_000);
/// A trace keeps at least its last so many lines.
const LINES_KEPT: usize = 20_000;
/// If more events than this happen at one moment, the run is in a loop.
const AT_ONCE: u64 = 200_000;

/// Counts of what a run has done.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stats {
    pub(crate) events: u64,
    pub(crate) decisions: u64,
    pub(crate) commits: u64,
    pub(crate) calls: u64,
    pub(crate) requests: u64,
    pub(crate) crashes: u64,
    pub(crate) restores: u64,
    pub(crate) operations: u64,
}

impl Stats {
    pub(crate) fn add(&mut self, other: Self) {
        self.events += other.events;
        self.decisions += other.decisions;
        self.commits += other.commits;
        self.calls += other.calls;
        self.requests += other.requests;
        self.crashes += other.crashes;
        self.restores += other.restores;
        self.operations += other.operations;
    }
}

/// How a run ended.
pub(crate) struct Ended {
    pub(crate) violation: Option<Violation>,
    pub(crate) stats: Stats,
    pub(crate) coverage: Coverage,
    pub(crate) lines: Vec<String>,
}

/// The stage of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Storm,
    Settling,
    Deleting,
}

/// A world, a daemon and an operator.
pub(crate) struct Sim {
    pub(crate) now: Timestamp,
    pub(crate) queue: Queue,
    pub(crate) rng: Rng,
    pub(crate) weather: Weather,
    pub(crate) mutation: Mutation,
    // The world.
    pub(crate) world: World,
    pub(crate) works: BTreeMap<WorkId, Work>,
    pub(crate) next_work: WorkId,
    pub(crate) calm: bool,
    // The parts that survive the daemon.
    pub(crate) store: Store,
    pub(crate) backup: Option<Rows>,
    // The daemon.
    pub(crate) up: bool,
    pub(crate) life: u32,
    pub(crate) started: Timestamp,
    pub(crate) desks: BTreeMap<VmId, Desk>,
    pub(crate) executor: Executor,
    pub(crate) timers: BTreeMap<VmId, Timestamp>,
    pub(crate) health: BTreeMap<HostId, Health>,
    pub(crate) listed: BTreeMap<HostId, List>,
    pub(crate) proposed: BTreeMap<VmId, (HostId, Capacity)>,
    pub(crate) scheduler_woken: bool,
    pub(crate) next_cycle: Timestamp,
    pub(crate) next_sending: u64,
    // Counters of the store, which crashes do not set back.
    pub(crate) next_operation: u64,
    pub(crate) next_image: u32,
    pub(crate) created: u64,
    // The operator.
    pub(crate) population: usize,
    pub(crate) haste: u64,
    pub(crate) strict: bool,
    pub(crate) acked: BTreeMap<OperationId, VmId>,
    // Statistics and the trace.
    pub(crate) stats: Stats,
    pub(crate) coverage: Coverage,
    pub(crate) tracing: bool,
    lines: Vec<String>,
    stage: Stage,
    bound: Timestamp,
    storm: u64,
    quiet_checks: u32,
}

/// Runs a seed.
pub(crate) fn run(seed: u64, mutation: Mutation, tracing: bool) -> Ended {
    let mut sim = Sim::new(seed, mutation, tracing);
    let violation = sim.go();
    if let Some(violation) = &violation {
        sim.say(|| format!("VIOLATION {violation}"));
    }
    sim.stats.commits = sim.store.commits;
    sim.stats.operations = sim.store.rows.operations.len() as u64;
    Ended { violation, stats: sim.stats, coverage: sim.coverage, lines: sim.lines }
}

impl Sim {
    fn new(seed: u64, mutation: Mutation, tracing: bool) -> Self {
        let mut rng = Rng::new(seed);
        let weather = Weather::of(&mut rng);
        let (hosts, population) =
            (rng.within(3, 5), usize::try_from(rng.within(4, 24)).unwrap_or(4));
        let (haste, strict, storm) =
            (*rng.pick(&[50, 400, 3_000]), rng.permille(700), rng.within(100, 500));
        let mut sim = Self {
            now: Timestamp(1_700_000_000_000),
            queue: Queue::default(),
            rng,
            weather,
            mutation,
            world: World::default(),
            works: BTreeMap::new(),
            next_work: 0,
            calm: false,
            store: Store::default(),
            backup: None,
            up: true,
            life: 1,
            started: Timestamp(1_700_000_000_000),
            desks: BTreeMap::new(),
            executor: Executor::default(),
            timers: BTreeMap::new(),
            health: BTreeMap::new(),
            listed: BTreeMap::new(),
            proposed: BTreeMap::new(),
            scheduler_woken: false,
            next_cycle: Timestamp(0),
            next_sending: 0,
            next_operation: 0,
            next_image: 1,
            created: 0,
            population,
            haste,
            strict,
            acked: BTreeMap::new(),
            stats: Stats::default(),
            coverage: Coverage::default(),
            tracing,
            lines: Vec::new(),
            stage: Stage::Storm,
            bound: Timestamp(u64::MAX),
            storm,
            quiet_checks: 0,
        };
        sim.furnish(hosts);
        sim
    }

    /// Makes the hosts and an image, and plans everything that happens by itself.
    fn furnish(&mut self, hosts: u64) {
        for host in 1..=u32::try_from(hosts).unwrap_or(3) {
            self.world.hosts.insert(HostId(host), Machine { on: true, cut: false });
            let room = self.rng.within(3, 12);
            self.store
                .rows
                .total
                .insert(HostId(host), Capacity { cpu_milli: room * 500, memory_mib: room * 64 });
        }
        let image = Image {
            id: ImageId(1),
            name: "image-1".parse().expect("a name"),
            datastore: DatastoreId(9),
            path: "image".parse().expect("a path"),
            format: DiskFormat::Qcow2,
            state: ImageState::Ready,
            virtual_size: None,
            stands_alone: true,
            added: self.now,
        };
        self.store.rows.images.insert(image.id, image);
        self.world.images.insert(ImageId(1));
        self.begin_weather();
        self.begin_backups();
        self.start();
        self.happens(Millis(1), Happening::Operator);
        self.happens(CHECK_EVERY, Happening::Check);
    }

    fn happens(&mut self, wait: Millis, happening: Happening) {
        let at = self.now.plus(wait);
        self.queue.push(at, Event::World(happening));
    }

    fn go(&mut self) -> Option<Violation> {
        let mut at_once = 0;
        while let Some((at, event)) = self.queue.pop() {
            at_once = if at > self.now { 0 } else { at_once + 1 };
            if at_once > AT_ONCE {
                return Some("stuck: time stands still".to_owned());
            }
            self.now = self.now.max(at);
            self.stats.events += 1;
            let over = match event {
                Event::Daemon(life, duty) => {
                    if life == self.life && self.up {
                        self.duty(duty);
                    }
                    false
                }
                Event::World(Happening::Check) => match self.check() {
                    Ok(over) => over,
                    Err(violation) => return Some(violation),
                },
                Event::World(happening) => {
                    self.happening(happening);
                    false
                }
            };
            if let Some(wrong) = self.world.wrong.take() {
                return Some(wrong);
            }
            if over {
                return None;
            }
        }
        Some("stuck: nothing is to come".to_owned())
    }

    fn duty(&mut self, duty: Duty) {
        match duty {
            Duty::Written => self.written(),
            Duty::Alarm(vm, due) => self.alarm(vm, due),
            Duty::Deliver(vm, message) => self.deliver(vm, *message),
            Duty::Again(vm, message) => self.again(vm, *message),
            Duty::Look(vm, host, other, purpose) => self.look(vm, host, other, purpose),
            Duty::Saw(vm, host, purpose, look, there) => {
                self.saw(vm, host, &purpose, *look, there.map(|there| *there))
            }
            Duty::Deadline(sending) => self.deadline(sending),
            Duty::Drop(sending) => self.drop_call(sending),
            Duty::Poll(host) => self.poll(host),
            Duty::GiveUp(vm, work) => self.give_up(vm, work),
            Duty::Changed(vm, host) => self.look_at_one(vm, host),
            Duty::Scheduler => self.cycle(),
            Duty::Reconcile => self.reconcile(),
        }
    }

    fn happening(&mut self, happening: Happening) {
        match happening {
            Happening::Deed(work) => self.deed(work),
            Happening::Answer(work, result) => self.answer(work, *result),
            Happening::Guests => self.guests(),
            Happening::Person => self.person(),
            Happening::Host => self.host_trouble(),
            Happening::Mend(host, power) => self.mend(host, power),
            Happening::Crash => self.crash_now(),
            Happening::Backup => self.back_up(),
            Happening::Restore => self.restore_backup(),
            Happening::Start => {
                self.say(|| "the daemon is started".to_owned());
                (self.started, self.next_cycle, self.scheduler_woken) =
                    (self.now, Timestamp(0), false);
                self.start();
            }
            Happening::Operator => self.operate(),
            Happening::Check => {}
        }
    }

    /// Checks everything, and goes on to the next stage if it can. Returns true if the run is over.
    fn check(&mut self) -> Result<bool, Violation> {
        self.happens(CHECK_EVERY, Happening::Check);
        invariants::all(self)?;
        if self.up && self.rng.permille(300) {
            let vms: Vec<VmId> = self.desks.keys().copied().collect();
            for vm in vms {
                self.runner_ends(vm);
            }
        }
        if self.stage != Stage::Storm && self.now < self.bound && self.accept_in_doubt() {
            return Ok(false);
        }
        let quiet = self.stage != Stage::Storm && self.quiet_for_long();
        match self.stage {
            Stage::Storm if self.stats.requests >= self.storm && self.up => {
                self.say(|| "everything answers and obeys from now on".to_owned());
                self.clear_up();
                self.unschedule_all();
                (self.stage, self.bound) = (Stage::Settling, self.now.plus(REST_WITHIN));
            }
            Stage::Settling if quiet => {
                self.rested()?;
                self.say(|| "everything is deleted from now on".to_owned());
                self.delete_all();
                (self.stage, self.bound) = (Stage::Deleting, self.now.plus(REST_WITHIN));
            }
            Stage::Deleting if quiet && self.gone() => {
                invariants::over(self)?;
                return Ok(true);
            }
            Stage::Storm => {}
            Stage::Settling | Stage::Deleting if self.now > self.bound => {
                self.rested()?;
                self.nothing_under_way()?;
                invariants::over(self)?;
                return Err("stuck: it does not come to rest, and nobody says why".to_owned());
            }
            Stage::Deleting => self.delete_all(),
            Stage::Settling => {}
        }
        Ok(false)
    }

    fn rested(&self) -> Result<(), Violation> {
        invariants::at_rest(self)
    }

    /// Returns an error if something is under way that should not be.
    fn nothing_under_way(&self) -> Result<(), Violation> {
        let apart =
            self.store.rows.records.values().find(|record| {
                record.reason == ostler_model::Reason::CannotAsk && !self.world.aged
            });
        if let Some(record) = apart {
            return Err(format!(
                "stuck: VM {} is {} for want of a look, and all hosts answer",
                record.id, record.state
            ));
        }
        if let Some((vm, desk)) = self.desks.iter().find(|(_, desk)| !desk.rests()) {
            return Err(format!(
                "stuck: the runner of VM {vm} waits for {}, which does not come",
                desk.waits()
            ));
        }
        match self.works.values().next() {
            Some(work) => {
                Err(format!("stuck: {} of VM {} has no end", work.effect.call, work.effect.vm))
            }
            None => Ok(()),
        }
    }

    /// True if nothing has been under way for some time.
    fn quiet_for_long(&mut self) -> bool {
        self.quiet_checks = if self.quiet() { self.quiet_checks + 1 } else { 0 };
        self.quiet_checks > 2
    }

    /// True if nothing is under way, and the monitor has had the time to see that.
    fn quiet(&self) -> bool {
        let since = Timestamp(self.bound.0 - REST_WITHIN.0);
        let idle = self
            .store
            .rows
            .records
            .values()
            .all(|record| record.operation.is_none() && record.open.is_empty());
        let here = self.store.rows.records.values().all(|record| {
            let apart = record.other.is_some() && record.state != State::Failed;
            let blind = record.reason == ostler_model::Reason::CannotAsk;
            let settled = !apart && !blind || self.world.aged && record.other.is_some();
            settled && !record.is_unreconciled()
        });
        let gone = self.works.is_empty()
            && self.store.writing.is_empty()
            && self.desks.values().all(Desk::rests);
        idle && here && gone && self.up && self.now.since(since).0 > 120_000
    }

    /// True if all VMs are done and nothing waits to be swept.
    fn gone(&self) -> bool {
        let swept =
            |record: &VmRecord| record.leftovers.is_empty() || self.elsewhere(record).is_some();
        self.store.rows.records.values().all(|record| record.state == State::Done && swept(record))
    }

    pub(crate) fn say(&mut self, line: impl FnOnce() -> String) {
        if self.tracing {
            self.note(line());
        }
    }

    pub(crate) fn note(&mut self, line: String) {
        let at = self.now.0 - 1_700_000_000_000;
        if self.lines.len() >= LINES_KEPT * 2 {
            self.lines.drain(..LINES_KEPT);
        }
        self.lines.push(format!("{:>7}.{:03} {line}", at / 1000, at % 1000));
    }

    pub(crate) fn note_decision(&mut self, vm: VmId, input: &Input, made: &Decision) {
        let what = match input {
            Input::Request(asked) => format!("{} (operation {})", asked.verb, asked.operation),
            Input::Answered { key, result, .. } => {
                let said = match result {
                    Ok(outcome) => format!("ok, seen {:?}", outcome.seen.as_ref().map(brief)),
                    Err(error) => format!("{}/{}", error.kind, error.code),
                };
                format!("answer {}/{}/{}: {said}", key.operation, key.step, key.item)
            }
            Input::Observed { step, seen, there } => {
                format!("observed at step {step}: {} {:?}", brief(seen), there.as_ref().map(brief))
            }
            other => format!("{other:?}"),
        };
        let record = &made.record;
        let work = record.operation.as_ref().map(|active| {
            let undo = if active.undoing { "undoing " } else { "" };
            format!("{undo}{} {:?} at {} {:?}", active.verb, active.plan, active.at, active.phase)
        });
        let place = |place: &Option<ostler_model::Placement>| {
            place.as_ref().map(|place| (place.host.0, place.generation.0))
        };
        let calls: Vec<String> = made
            .effects
            .iter()
            .map(|effect| format!("{} {}@{}", effect.call, effect.key.item, effect.host))
            .collect();
        if made.changed {
            self.note(format!(
                "VM {vm}: {what} -> v{} {} ({}) at {:?} other {:?} left {} {} > {calls:?}",
                record.version,
                record.state,
                record.reason,
                place(&record.placement),
                place(&record.other),
                record.leftovers.len(),
                work.unwrap_or_default(),
            ));
        }
    }
}

fn brief(seen: &ostler_model::Observation) -> String {
    match seen {
        ostler_model::Observation::Absent => "absent".to_owned(),
        ostler_model::Observation::Present(domain) => {
            format!(
                "{} ({}) gen {:?}",
                domain.power,
                domain.reason,
                domain.identity.map(|identity| identity.generation.0)
            )
        }
    }
}
