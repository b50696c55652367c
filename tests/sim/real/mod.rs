//! The engine that ships, simulated. `ostler-engine` and `ostler-store` run as they are, on one thread and on a clock that stands still
//! while anybody works and jumps when all wait. The seed gives everything else: how long calls and syncs take, what fails, what guests
//! and hosts do, what is asked, when the daemon dies, and what of the disk's unsynced writes survives that.
//!
//! | part | does |
//! |---|---|
//! | `life` | one life of the daemon: the store on its simulated disk, the engine, how both end |
//! | `weather` | what goes wrong: calls, hosts, guests, the daemon |
//! | `person` | the operator, who gives up waiting, and repeats what was not answered |
//! | `watch` | the promises, held against the world and the store |
//!
//! A run storms for a while. Then everything answers and obeys, and within a bound every VM rests as its record says; then all is
//! deleted, and nothing is left.

mod life;
mod person;
mod watch;
mod weather;

use crate::rng::Rng;
use life::Life;
use ostler_engine::{ActionRequest, EngineError};
use ostler_model::{EventSeq, OperationId, State, StateKind, Verb, VmId};
use ostler_store::Sabotage as StoreFault;
use person::Asked;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use strum::{Display, EnumIter};
use watch::Violation;
use weather::Weather;

/// A deliberate fault of the engine or the store, which the runs must find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Display, EnumIter)]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum Fault {
    /// None.
    None,
    /// Calls are sent before they are written down.
    ActFirst,
    /// Calls are sent and never written down.
    NoOutbox,
    /// After a crash nobody goes on with open calls.
    NoResume,
    /// A record and what goes with it are two transactions.
    SplitCommit,
    /// Commits are answered before they are on the disk.
    NoSync,
    /// A backup is restored as if nothing had happened since it was made.
    NoRestoreMark,
    /// What follows a commit is done by the one who asked, and that one may go away.
    CallerCarries,
    /// The answer to a call is lost with the runner that panicked, and the call counts as one that somebody is at.
    AnswersLost,
    /// Two VMs may have one network address.
    AnyAddress,
}

impl Fault {
    const fn of_store(self) -> StoreFault {
        match self {
            Self::SplitCommit => StoreFault::SplitCommit,
            Self::NoSync => StoreFault::NoSync,
            Self::AnyAddress => StoreFault::AnyAddress,
            Self::None
            | Self::ActFirst
            | Self::NoOutbox
            | Self::NoResume
            | Self::NoRestoreMark
            | Self::CallerCarries
            | Self::AnswersLost => StoreFault::None,
        }
    }
}

/// How much was done.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stats {
    pub(crate) requests: u64,
    pub(crate) crashes: u64,
    pub(crate) restores: u64,
    pub(crate) calls: u64,
    pub(crate) commits: u64,
}

impl Stats {
    pub(crate) fn add(&mut self, other: Self) {
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
    /// All that happened, in order: the same for the same seed.
    pub(crate) lines: Vec<String>,
}

/// Chance that many draw from. All run on one thread, so the order of the draws follows from the seed.
pub(crate) type Dice = Arc<Mutex<Rng>>;

/// The lock is held for one draw at a time.
pub(crate) fn dice(of: &Dice) -> MutexGuard<'_, Rng> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long everything may take to come to rest once it has calmed down, on the simulated clock.
const REST_WITHIN: Duration = Duration::from_secs(3 * 3600);
/// It must have been quiet for so long before that counts.
const QUIET_FOR: Duration = Duration::from_secs(120);

pub(crate) struct Run {
    pub(crate) dice: Dice,
    pub(crate) weather: Weather,
    pub(crate) life: Life,
    /// Operations that were answered, and must be known ever after.
    pub(crate) acked: Arc<Mutex<BTreeMap<OperationId, VmId>>>,
    /// Requests that were sent and not answered.
    pub(crate) unanswered: Arc<Mutex<Vec<Asked>>>,
    /// The newest event that was read.
    pub(crate) read: EventSeq,
    pub(crate) aged: bool,
    pub(crate) stats: Stats,
    pub(crate) lines: Arc<Mutex<Vec<String>>>,
}

/// Runs a seed.
pub(crate) fn run(seed: u64, fault: Fault) -> Ended {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    wants_panics();
    runtime.expect("one thread and a clock").block_on(async {
        let mut run = Run::new(seed, fault).await;
        let violation = run.go().await.err();
        run.life.die().await;
        (run.stats.calls, run.stats.commits) = (run.life.fake.calls().len() as u64, run.life.commits);
        let lines = std::mem::take(&mut *run.lines.lock().unwrap_or_else(PoisonError::into_inner));
        Ended { violation, stats: run.stats, lines }
    })
}

/// Panics that the weather wants are not printed: thousands of them would hide the one that is a defect.
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
            stats: Stats::default(),
            lines: Arc::default(),
        }
    }

    pub(crate) fn say(&self, line: impl Into<String>) {
        let at = self.life.now().0 - life::BEGAN;
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
        self.calm().await;
        self.settle("rest").await?;
        self.rested()?;
        self.say("everything is deleted from now on");
        self.delete_all().await?;
        self.gone()?;
        Ok(())
    }

    /// Waits until nothing is under way any more, and has not been for a while.
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
            let left: Vec<_> = records.iter().filter(|record| record.state != State::Done).map(|record| record.id).collect();
            let swept = records.iter().all(|record| record.leftovers.is_empty());
            if left.is_empty() && swept {
                return Ok(());
            }
            for vm in left {
                match self.life.engine().act(vm, ActionRequest::of(Verb::Delete, "operator"), None).await {
                    Ok(_) => {}
                    Err(EngineError::Refused(refusal)) => self.say(format!("VM {vm}: delete refused: {}", refusal.detail)),
                    Err(error) => return Err(format!("VM {vm} cannot be deleted: {error}")),
                }
            }
            self.settle("an end").await?;
        }
        Ok(())
    }

    fn what_is_stuck(&self) -> String {
        let records = self.records().unwrap_or_default();
        let stuck = records.iter().find(|record| record.state.kind() == StateKind::Transient || record.is_unreconciled());
        stuck.map_or_else(String::new, |record| {
            let why = self.life.engine().why(record.id).map(|explained| explained.why.summary).unwrap_or_default();
            format!("VM {} is {}: {why}; {:?}", record.id, record.state, record.operation)
        })
    }
}
