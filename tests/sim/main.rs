//! Deterministic simulation: the engine and the store that ship, in a simulated world.
//!
//! `ostler-engine` and `ostler-store` run as they are, on one thread, and on a clock that stands
//! still while a task works and jumps when all tasks wait. The seed gives everything else: how long
//! calls and syncs take, what fails, what guests and hosts do, what is asked, when the daemon dies,
//! and which unsynced writes of the disk survive that.
//!
//! | part | does |
//! |---|---|
//! | `life` | one life of the daemon: the store on its simulated disk, the engine, how both end |
//! | `weather` | what goes wrong: calls, hosts, guests, the daemon |
//! | `person` | the operator, who gives up waiting, and repeats what was not answered |
//! | `requests` | what the operator asks for |
//! | `truths` | what the operator must see at the hosts before stating it |
//! | `site` | hosts that are lost, slow, or switched off and on; locked images; a clock set back |
//! | `rules` | snapshot rules that give every possible answer |
//! | `watch` | compares the world and the store with the promises |
//! | `records` | the promises about one record, checked each time it has changed |
//! | `worked` | the promise that every operation makes progress |
//! | `decisions` | the promises that one decision keeps by itself, and what was reached |
//! | `coverage` | counts what the runs have reached |
//! | `fault` | the deliberate faults, which must be found |
//! | `spoil` | carries out the faults of decisions and of sending |
//!
//! The fake of `ostler-driver-testkit` is the world. It knows how new each copy of a disk is. So
//! the runs see wrongs that no record shows: a guest that starts from old disks, old memory that
//! is restored, two transfers of one VM, files that no record names.
//!
//! A run begins with a storm: faults and requests at random. Then everything answers and obeys, and
//! within a time limit every VM rests as its record says. Then all VMs are deleted, and nothing is
//! left: no domain, no file, no capacity that is held, no image that is locked.
//!
//! After a restored backup the store cannot keep all promises about the lost time: it may know only
//! old disks, and not know files that were made then. From then on a run is checked only for the
//! promises that a restore keeps: no guest runs twice, no file of a living guest is removed, no edge
//! effect reaches a guest twice, and everything comes to rest.
//!
//! `tests` says how to run seeds.

mod coverage;
mod decisions;
mod fault;
mod life;
mod person;
mod records;
mod requests;
mod rng;
mod rules;
mod site;
mod spoil;
mod tests;
mod truths;
mod watch;
mod weather;
mod worked;

use coverage::Coverage;
pub(crate) use fault::Fault;
use life::Life;
use ostler_engine::{ActionRequest, EngineError};
use ostler_model::{EventSeq, HostId, OperationId, State, StateKind, Verb, VmId};
use person::Asked;
use rng::Rng;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use watch::Violation;
use weather::Weather;

/// The last lines of a trace that are printed for a seed that failed.
pub(crate) const LINES: usize = 80;

/// A setting of the runs, from the environment.
pub(crate) fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Counts of what a run has done.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stats {
    /// Operations of VMs that have ended.
    pub(crate) operations: u64,
    pub(crate) requests: u64,
    pub(crate) crashes: u64,
    pub(crate) restores: u64,
    pub(crate) calls: u64,
    pub(crate) commits: u64,
    pub(crate) decisions: u64,
}

impl Stats {
    pub(crate) fn add(&mut self, other: Self) {
        self.operations += other.operations;
        self.requests += other.requests;
        self.crashes += other.crashes;
        self.restores += other.restores;
        self.calls += other.calls;
        self.commits += other.commits;
        self.decisions += other.decisions;
    }
}

/// How a run ended.
pub(crate) struct Ended {
    pub(crate) violation: Option<Violation>,
    pub(crate) stats: Stats,
    pub(crate) coverage: Coverage,
    /// All that happened, in order. The same seed gives the same lines.
    pub(crate) lines: Vec<String>,
}

/// Chance that many tasks draw from. All tasks run on one thread, so the order of the draws follows
/// from the seed.
pub(crate) type Dice = Arc<Mutex<Rng>>;

/// The lock is held for one draw at a time.
pub(crate) fn dice(of: &Dice) -> MutexGuard<'_, Rng> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The time limit for everything to come to rest after the storm, on the simulated clock.
const REST_WITHIN: Duration = Duration::from_secs(3 * 3600);
/// Rest counts only after so long without any work.
const QUIET_FOR: Duration = Duration::from_secs(120);

pub(crate) struct Run {
    pub(crate) dice: Dice,
    pub(crate) weather: Weather,
    pub(crate) life: Life,
    /// Operations that were answered. The store must know them from then on.
    pub(crate) acked: Arc<Mutex<BTreeMap<OperationId, VmId>>>,
    /// Requests that were sent and not answered.
    pub(crate) unanswered: Arc<Mutex<Vec<Asked>>>,
    /// The newest event that was read.
    pub(crate) read: EventSeq,
    pub(crate) aged: bool,
    /// True if the store was restored, and the reader of the feed has not been told yet.
    pub(crate) untold: bool,
    /// The host that was lost for good.
    pub(crate) lost: Option<HostId>,
    /// Operations that have begun, and in which life of the daemon. Each begins once.
    pub(crate) began: BTreeMap<OperationId, u64>,
    /// VMs with an operation, and since when their record has not changed.
    pub(crate) worked: worked::Worked,
    /// The records, as of the last commit at which they were read.
    pub(crate) known: RefCell<watch::Known>,
    /// The commit at which the books were checked last.
    pub(crate) checked: Option<watch::AsOf>,
    pub(crate) stats: Stats,
    pub(crate) lines: Arc<Mutex<Vec<String>>>,
}

/// Runs a seed.
pub(crate) fn run(seed: u64, fault: Fault) -> Ended {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    wants_panics();
    runtime.expect("one thread and a clock").block_on(async {
        let mut run = Run::new(seed, fault).await;
        let violation = run.go().await.err();
        run.life.die().await;
        (run.stats.calls, run.stats.commits) =
            (run.life.fake.calls().len() as u64, run.life.commits);
        let lines = std::mem::take(&mut *run.lines.lock().unwrap_or_else(PoisonError::into_inner));
        let mut seen = run.life.decisions.seen();
        run.stats.decisions = seen.decisions;
        let coverage = std::mem::take(&mut seen.coverage);
        Ended { violation, stats: run.stats, coverage, lines }
    })
}

/// Panics that the weather causes on purpose are not printed: thousands of them would hide the one
/// that is a defect.
fn wants_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let told = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if panic.payload_as_str() != Some(ostler_engine::WANTED_PANIC) {
                told(panic);
            }
        }));
    });
}

impl Run {
    async fn new(seed: u64, fault: Fault) -> Self {
        let dice = Arc::new(Mutex::new(Rng::new(seed)));
        let weather = Weather::of(&dice);
        let life = Life::first(&dice, &weather, fault).await;
        let lines = Arc::default();
        if setting("OSTLER_SIM_TRACE").is_some() {
            life.decisions.trace(&lines);
        }
        Self {
            dice,
            weather,
            life,
            acked: Arc::default(),
            unanswered: Arc::default(),
            read: EventSeq(0),
            aged: false,
            untold: false,
            lost: None,
            began: BTreeMap::new(),
            worked: worked::Worked::default(),
            known: RefCell::default(),
            checked: None,
            stats: Stats::default(),
            lines,
        }
    }

    pub(crate) fn say(&self, line: impl Into<String>) {
        let at = self.life.elapsed();
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(format!(
            "{:>8}.{:03} {}",
            at / 1000,
            at % 1000,
            line.into()
        ));
    }

    async fn go(&mut self) -> Result<(), Violation> {
        while self.stats.requests < self.weather.requests {
            let pause = dice(&self.dice).within(1, self.weather.haste);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            self.happens().await?;
            self.hold()?;
        }
        self.say("everything answers and obeys from now on");
        self.calm().await?;
        self.settle("rest").await?;
        self.rested()?;
        self.say("everything is deleted from now on");
        self.delete_all().await?;
        self.gone()?;
        Ok(())
    }

    /// Waits until nothing has been under way for [`QUIET_FOR`].
    async fn settle(&mut self, what: &str) -> Result<(), Violation> {
        let until = tokio::time::Instant::now() + REST_WITHIN;
        let mut quiet_since = None;
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            self.accept_in_doubt().await;
            self.hold()?;
            let now = tokio::time::Instant::now();
            match (self.is_quiet()?, quiet_since) {
                (true, Some(since)) if now - since > QUIET_FOR => return Ok(()),
                (true, None) => quiet_since = Some(now),
                (true, Some(_)) => {}
                (false, _) => quiet_since = None,
            }
            if now > until {
                return Err(format!("stuck: it does not come to {what}: {}", self.what_is_stuck()));
            }
        }
    }

    async fn delete_all(&mut self) -> Result<(), Violation> {
        for _ in 0..20 {
            let records = self.records()?;
            let left: Vec<_> = records
                .iter()
                .filter(|record| record.state != State::Done)
                .map(|record| record.id)
                .collect();
            let swept = records.iter().all(|record| record.leftovers.is_empty());
            if left.is_empty() && swept {
                return Ok(());
            }
            for vm in left {
                match self
                    .life
                    .engine()
                    .act(vm, ActionRequest::of(Verb::Delete, "operator"), None)
                    .await
                {
                    Ok(_) => {}
                    Err(EngineError::Refused(refusal)) => {
                        self.say(format!("VM {vm}: delete refused: {:?}", refusal.cause))
                    }
                    Err(error) => return Err(format!("VM {vm} cannot be deleted: {error}")),
                }
            }
            self.settle("an end").await?;
        }
        Ok(())
    }

    pub(crate) fn what_is_stuck(&self) -> String {
        let records = self.records().unwrap_or_default();
        let stuck = records
            .iter()
            .find(|record| record.state.kind() == StateKind::Transient || record.is_unreconciled());
        stuck.map_or_else(String::new, |record| {
            let why = self
                .life
                .engine()
                .why(record.id)
                .map(|explained| format!("{:?}", explained.why.summary))
                .unwrap_or_default();
            format!("VM {} is {}: {why}; {:?}", record.id, record.state, record.operation)
        })
    }
}
