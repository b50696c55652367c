//! The runs.
//!
//! - `scripts/test --sim SEED` runs one seed and prints its trace. `scripts/test --sim long
//!   [MINUTES]` runs new seeds for so long.
//! - `OSTLER_SIM_SEED` runs one seed, and prints the last lines of its trace if it fails
//!   (`OSTLER_SIM_TRACE=1`: all of them, and every decision).
//! - `OSTLER_SIM_SEEDS` runs so many seeds instead of the fixed ones, `OSTLER_SIM_SECONDS` as many
//!   as there is time for. `OSTLER_SIM_FROM` is the first of them.
//! - `OSTLER_SIM_FAULT` looks for one deliberate fault only, by its name.

use super::{Fault, Stats, run};
use crate::coverage::Coverage;
use crate::{LINES, setting};
use std::time::{Duration, Instant};
use strum::IntoEnumIterator;

/// The fixed seeds are 1 to this one. Without a fault they hold, so a violation is the fault's.
const SEEDS: u64 = 160;
/// A deliberate fault must be found up to this seed. Most are found within the first ten seeds. A
/// few need a rare coincidence, and every change of a decision moves the seed that has it.
const FAULT_SEEDS: u64 = 480;
/// After so many seeds that failed, the test ends. More would only say the same.
const TOLD: usize = 10;

/// True if the settings ask for certain seeds.
fn one_run() -> bool {
    ["OSTLER_SIM_SEED", "OSTLER_SIM_SEEDS", "OSTLER_SIM_SECONDS"]
        .iter()
        .any(|name| setting(name).is_some())
}

fn seeds() -> Box<dyn Iterator<Item = u64>> {
    let from = setting("OSTLER_SIM_FROM").unwrap_or(1);
    if let Some(seed) = setting("OSTLER_SIM_SEED") {
        return Box::new(seed..=seed);
    }
    if let Some(seconds) = setting("OSTLER_SIM_SECONDS") {
        let until = Instant::now() + Duration::from_secs(seconds);
        return Box::new((from..).take_while(move |_| Instant::now() < until));
    }
    Box::new(from..from + setting("OSTLER_SIM_SEEDS").unwrap_or(SEEDS))
}

#[allow(clippy::cast_precision_loss)]
fn told(stats: Stats, seeds: u64, took: Duration) -> String {
    let Stats { operations, requests, crashes, restores, calls, commits, decisions } = stats;
    let a_second = operations as f64 / took.as_secs_f64();
    format!(
        "{seeds} seeds in {:.1} s: {operations} operations of VMs ({a_second:.0} a second), {crashes} crashes, \
         {restores} restores, {requests} requests, {decisions} decisions, {calls} driver calls, {commits} commits",
        took.as_secs_f64()
    )
}

/// Runs the engine and the store that ship, under the seeds.
#[test]
fn nothing_is_lost_doubled_or_stuck() {
    let (mut stats, mut ran, began, mut failed) = (Stats::default(), 0, Instant::now(), Vec::new());
    let mut coverage = Coverage::default();
    for seed in seeds() {
        let ended = run(seed, Fault::None);
        ran += 1;
        stats.add(ended.stats);
        coverage.add(&ended.coverage);
        let Some(violation) = ended.violation else { continue };
        // A long run ends much later.
        println!("seed {seed}: {violation}");
        if failed.is_empty() {
            let from = if setting("OSTLER_SIM_TRACE").is_some() {
                0
            } else {
                ended.lines.len().saturating_sub(LINES)
            };
            for line in &ended.lines[from..] {
                println!("{line}");
            }
        }
        failed.push(format!("seed {seed}: {violation}\nreplay: scripts/test --sim {seed}"));
        if failed.len() >= TOLD {
            break;
        }
    }
    println!("{}\n{}", told(stats, ran, began.elapsed()), coverage.table());
    if !one_run() {
        let missing = coverage.missing();
        assert!(missing.is_empty(), "the fixed seeds do not reach: {}", missing.join(", "));
    }
    assert!(failed.is_empty(), "{} of {ran} seeds failed\n{}", failed.len(), failed.join("\n"));
}

/// The negative controls. Runs that find no fault prove something only if they find a fault that is
/// there.
#[test]
fn every_deliberate_fault_is_found() {
    let only = std::env::var("OSTLER_SIM_FAULT").ok();
    let known = |name: &String| Fault::iter().any(|fault| fault.to_string() == *name);
    assert!(only.as_ref().is_none_or(known), "there is no fault {only:?}");
    let mut missed = Vec::new();
    if one_run() && only.is_none() {
        return;
    }
    let asked_for = |fault: &Fault| only.as_ref().is_none_or(|only| *only == fault.to_string());
    for fault in Fault::iter().filter(|fault| *fault != Fault::None).filter(asked_for) {
        if let Some(seed) = setting("OSTLER_SIM_SEED") {
            // One seed with the fault, for those who look for what it does.
            run(seed, fault).lines.iter().for_each(|line| println!("{line}"));
            continue;
        }
        match (1..=FAULT_SEEDS).find_map(|seed| found(seed, fault)) {
            Some(found) => println!("{fault}: {found}"),
            None => missed.push(fault.to_string()),
        }
    }
    assert!(missed.is_empty(), "not found within {FAULT_SEEDS} seeds: {}", missed.join(", "));
}

/// The violation of a seed with a fault. None if it holds, or if it fails without the fault, too.
fn found(seed: u64, fault: Fault) -> Option<String> {
    let violation = run(seed, fault).violation?;
    let is_of_the_fault = seed <= SEEDS || run(seed, Fault::None).violation.is_none();
    is_of_the_fault.then(|| format!("seed {seed}: {violation}"))
}

/// The same seed is the same run , to the last line.
#[test]
fn a_seed_is_one_run() {
    if one_run() {
        return;
    }
    for seed in [2, 7, 18] {
        let (first, second) = (run(seed, Fault::None), run(seed, Fault::None));
        let differs = first.lines.iter().zip(&second.lines).find(|(one, other)| one != other);
        assert!(
            first.lines.len() == second.lines.len() && differs.is_none(),
            "seed {seed} went two ways: {differs:?}"
        );
    }
}
