//! Deterministic simulation: the decider on a simulated clock, store, drivers, hosts, guests and
//! operator, from one seed.
//!
//! `ostler-lifecycle` and `ostler-model` are real: every decision of a run is made by
//! [`ostler_lifecycle::decide`]. The thin shell around them (`ostler-engine`, `ostler-store`) is
//! simulated, because it needs threads, files and a clock. Each rule of the shell is one small
//! function that names the function of the engine that it mirrors:
//!
//! | here | mirrors |
//! |---|---|
//! | `shell` | `ostler_engine::{runner, facts, timers}`: mailbox, facts, decision, one commit, effects and answers after it |
//! | `executor` | `ostler_engine::executor`: lanes, deadlines, cancels, dropped calls |
//! | `monitor`, `sweep`, `scheduler` | those of `ostler_engine` |
//! | `store` | `ostler_store`: group commit, claims, books; a crash loses what was not durable |
//! | `restore` | `ostler_store::backup`, `ostler_engine::{restored, seen}`: an older backup takes the store's place |
//!
//! The world (`world`, `deeds`, `files`, `work`) keeps what drivers promise, and no more. It knows
//! how new each file is. So it sees wrongs that no record shows: a guest that boots from old disks,
//! old memory that is restored, a guest that runs twice, files that no record names. `invariants`
//! compares every commit with the promises. `weather` and `operator` make trouble.
//!
//! After a storm everything answers and obeys, and within a time limit every VM must rest as its
//! record says. Then all VMs are deleted, and nothing may be left: no domain, no file, no capacity
//! that is held, no image that is held or locked.
//!
//! This is the first level: it is fast and reaches many cases. The second level is [`real`]: the
//! engine and the store that ship, on a simulated clock, disk and world.
//!
//! - `scripts/test --sim SEED` runs one seed and prints its trace.
//! - `scripts/test --sim model MINUTES` runs new seeds until the time is over;
//!   `scripts/test --sim long` does so on the second level.
//! - The second level has settings of its own: see `real::tests`.
//! - `OSTLER_SIM_SEED`, `OSTLER_SIM_SECONDS` and `OSTLER_SIM_FROM` set the same for the test
//!   binary. Without `OSTLER_SIM_TRACE=1` it prints only the last lines of a trace, and only if the
//!   seed fails.

mod args;
mod coverage;
mod deeds;
mod executor;
mod facts;
mod files;
mod invariants;
mod monitor;
mod mutation;
mod operator;
mod process;
mod queue;
mod real;
mod restore;
mod rng;
mod run;
mod scheduler;
mod shell;
mod store;
mod sweep;
mod weather;
mod work;
mod world;

use coverage::Coverage;
use mutation::Mutation;
use run::{Ended, Stats, run};
use std::time::{Duration, Instant};
use strum::IntoEnumIterator;

/// The fixed set: seeds 1 to this one.
const FIXED: u64 = 1_000;
/// Each deliberate fault must be found within so many seeds.
const FAULT_WITHIN: u64 = 200;
/// The fixed set must restore at least so many backups.
const RESTORES: u64 = 200;
/// The last lines of a trace that are printed for a seed that failed.
pub(crate) const LINES: usize = 80;

pub(crate) fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// If the seed failed, runs it once more, and prints its trace.
fn fails(seed: u64, ended: &Ended) -> Option<String> {
    let violation = ended.violation.as_ref()?;
    let again = run(seed, Mutation::None, true);
    let same = again.violation.as_ref() == Some(violation);
    let lines = if setting("OSTLER_SIM_TRACE").is_some() { again.lines.len() } else { LINES };
    for line in again.lines.iter().skip(again.lines.len().saturating_sub(lines)) {
        println!("{line}");
    }
    let note = if same {
        ""
    } else {
        " (and the run with a trace went another way: the simulation is not deterministic)"
    };
    Some(format!("seed {seed}: {violation}{note}\nreplay: scripts/test --sim {seed}"))
}

struct Sum {
    stats: Stats,
    coverage: Coverage,
    seeds: u64,
    began: Instant,
}

impl Sum {
    fn new() -> Self {
        Self {
            stats: Stats::default(),
            coverage: Coverage::default(),
            seeds: 0,
            began: Instant::now(),
        }
    }

    /// Runs a seed, which must hold.
    fn holds(&mut self, seed: u64) {
        let ended = run(seed, Mutation::None, false);
        self.seeds += 1;
        self.stats.add(ended.stats);
        self.coverage.add(&ended.coverage);
        if let Some(failure) = fails(seed, &ended) {
            panic!("{failure}");
        }
    }

    #[allow(clippy::cast_precision_loss)]
    fn told(&self) -> String {
        let took = self.began.elapsed().as_secs_f64();
        let Stats { events, decisions, commits, calls, requests, crashes, restores, operations } =
            self.stats;
        format!(
            "{} seeds in {took:.1} s: {operations} operations of VMs, {decisions} decisions, {commits} commits, {calls} driver calls, \
             {requests} requests, {crashes} crashes, {restores} restores, {events} events\nper second: {:.0} operations of VMs, {:.0} decisions and driver calls, \
             {:.0} events",
            self.seeds,
            operations as f64 / took,
            (decisions + calls) as f64 / took,
            events as f64 / took,
        )
    }
}

#[test]
fn nothing_is_lost_doubled_or_stuck() {
    let mut sum = Sum::new();
    if let Some(seed) = setting("OSTLER_SIM_SEED") {
        if setting("OSTLER_SIM_TRACE").is_some() {
            for line in run(seed, Mutation::None, true).lines {
                println!("{line}");
            }
        }
        sum.holds(seed);
        return println!("{}\nseed {seed} holds", sum.told());
    }
    if let Some(seconds) = setting("OSTLER_SIM_SECONDS") {
        let until = Instant::now() + Duration::from_secs(seconds);
        let from = setting("OSTLER_SIM_FROM").unwrap_or(FIXED + 1);
        println!("seeds from {from}");
        for seed in from.. {
            if Instant::now() >= until {
                break;
            }
            sum.holds(seed);
        }
        return println!("{}\n{}", sum.told(), sum.coverage.table());
    }
    for seed in 1..=FIXED {
        sum.holds(seed);
    }
    println!("{}\n{}", sum.told(), sum.coverage.table());
    assert!(sum.stats.restores >= RESTORES, "only {} backups were restored", sum.stats.restores);
    let missing = sum.coverage.missing();
    assert!(missing.is_empty(), "the fixed seeds do not reach: {}", missing.join(", "));
}

/// The negative controls. A simulation that finds no fault proves something only if it finds a
/// fault that is there.
#[test]
fn every_deliberate_fault_is_found() {
    let one = setting("OSTLER_SIM_SEED").is_some() || setting("OSTLER_SIM_SECONDS").is_some();
    if one {
        return;
    }
    let mut missed = Vec::new();
    for mutation in Mutation::iter().filter(|mutation| *mutation != Mutation::None) {
        let found =
            (1..=FAULT_WITHIN).find_map(|seed| Some((seed, run(seed, mutation, false).violation?)));
        match found {
            Some((seed, violation)) => println!("{mutation}: seed {seed}: {violation}"),
            None => missed.push(mutation.to_string()),
        }
    }
    assert!(missed.is_empty(), "not found within {FAULT_WITHIN} seeds: {}", missed.join(", "));
}

/// The same seed is the same run, to the last line of its trace.
#[test]
fn a_seed_is_one_run() {
    for seed in [3, 14, 159] {
        let (first, second) = (run(seed, Mutation::None, true), run(seed, Mutation::None, true));
        assert!(first.lines == second.lines, "seed {seed} went two ways");
        assert!(!first.lines.is_empty());
    }
}
