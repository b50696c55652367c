//! The engine that ships, simulated. `ostler-engine` and `ostler-store` run as they are, on one
//! thread, and on a clock that stands still while a task works and jumps when all tasks wait. The
//! seed gives everything else: how long calls and syncs take, what fails, what guests and hosts do,
//! what is asked, when the daemon dies, and which unsynced writes of the disk survive that.
//!
//! | part | does |
//! |---|---|
//! | `life` | one life of the daemon: the store on its simulated disk, the engine, how both end |
//! | `weather` | what goes wrong: calls, hosts, guests, the daemon |
//! | `person` | the operator, who gives up waiting, and repeats what was not answered |
//! | `site` | what happens to the site: hosts that are lost, slow, or switched off and on, locked images, clocks that step back |
//! | `watch` | compares the world and the store with the promises |
//! | `worked` | the same for the promises about operations: each goes on, and none fails for a call that was never sent |
//! | `fault` | the deliberate faults, which must be found |
//!
//! A run begins with a storm. Then everything answers and obeys, and within a time limit every VM
//! rests as its record says. Then all VMs are deleted, and nothing is left.

mod fault;
mod life;
mod person;
mod site;
mod tests;
mod watch;
mod weather;
mod worked;

use crate::rng::Rng;
pub(crate) use fault::Fault;
use life::Life;
use ostler_engine::{ActionRequest, EngineError};
use ostler_model::{EventSeq, HostId, OperationId, State, StateKind, Verb, VmId};
use person::Asked;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use watch::Violation;
use weather::Weather;

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
}

impl Stats {
    pub(crate) fn add(&mut self, other: Self) {
        self.operations += other.operations;
        self.requests += other.requests;
        self.crashes += other.crashes;
        self.restores += other.restores;
        self.calls += other.calls;
        self.commits += other.commits;
    }
}

/// How a run ended.
pub(crate) struct Ended {
    pub(crate) violation: Option<Violation>,
    pub(crate) stats: Stats,
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
        Ended { violation, stats: run.stats, lines }
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
            lines: Arc::default(),
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
