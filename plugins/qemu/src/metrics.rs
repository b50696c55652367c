//! Counters of the domains that run. QEMU counts what its disks do, the kernel what QEMU costs.
//! Nobody whom a driver may ask counts for network cards: QEMU does not, and it does not tell which
//! interface of the host belongs to a card.

use crate::driver::Qemu;
use crate::monitor::Monitor;
use crate::place::Place;
use crate::process::GLANCE_MS;
use ostler_sdk::host::{clock, exec, files};
use ostler_sdk::{Error, Metrics, Sample};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;

/// How many domains are asked at once: a call has at most 8 connections.
const AT_ONCE: usize = 8;
/// How long a sample may take in all. Domains that were not asked by then are left out.
const SAMPLE_MS: u64 = 5000;
/// Linux counts time for programs in hundredths of a second.
const TICK_NS: u64 = 10_000_000;
/// The size of a page on x86.
const PAGE_KIB: u64 = 4;

/// What the kernel counts for a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Usage {
    cpu_ns: u64,
    memory_kib: u64,
}

/// What QEMU counts for a disk.
#[derive(Debug, Deserialize)]
struct Disk {
    stats: DiskStats,
}

#[derive(Debug, Deserialize)]
struct DiskStats {
    rd_bytes: u64,
    wr_bytes: u64,
}

/// A domain whose QEMU has answered.
struct Asked {
    vm: String,
    pid: String,
    monitor: Monitor,
}

impl Metrics for Qemu {
    /// A domain whose counters cannot be told is left out: with zeros they would seem to fall.
    fn sample() -> Result<Vec<Sample>, Error> {
        let place = Place::open()?;
        let until_ms = clock::monotonic_ms() + SAMPLE_MS;
        let mut samples = Vec::new();
        for some in place.all()?.chunks(AT_ONCE) {
            let in_time = |_: &&String| clock::monotonic_ms() < until_ms;
            let asked: Vec<Asked> = some
                .iter()
                .take_while(in_time)
                .filter_map(|vm| asked(&place, vm).ok().flatten())
                .collect();
            if asked.is_empty() {
                continue;
            }
            let pids: Vec<(&str, &str)> =
                asked.iter().map(|one| ("pid", one.pid.as_str())).collect();
            // It fails if one of them has ended meanwhile, and tells of the others.
            let told = exec::run("usage", &pids, &[])?.stdout;
            let usages = usages(&String::from_utf8_lossy(&told));
            samples.extend(asked.into_iter().filter_map(|one| sample(one, &usages)));
        }
        Ok(samples)
    }
}

/// Connects to the QEMU of a domain, and reads its number. None if there is no process.
fn asked(place: &Place, vm: &str) -> Result<Option<Asked>, Error> {
    let monitor = Monitor::open(&place.file(vm, "look"), GLANCE_MS)?;
    let Some(pid) = files::read(&place.file(vm, "pid"))? else { return Ok(None) };
    let pid: Option<u32> = String::from_utf8_lossy(&pid).trim().parse().ok();
    Ok(pid.map(|pid| Asked { vm: vm.to_owned(), pid: pid.to_string(), monitor }))
}

/// Asks QEMU last. If it answers, it has lived all the time, so the number in its file was its own
/// when the kernel was asked.
fn sample(mut asked: Asked, usages: &BTreeMap<String, Usage>) -> Option<Sample> {
    let told = asked.monitor.ask("query-blockstats", json!({})).ok()?;
    let disks: Vec<Disk> = serde_json::from_value(told).ok()?;
    let usage = usages.get(&asked.pid)?;
    let sum = |count: fn(&DiskStats) -> u64| {
        disks.iter().map(|disk| count(&disk.stats)).fold(0, u64::saturating_add)
    };
    Some(Sample {
        vm: asked.vm,
        cpu_ns: usage.cpu_ns,
        memory_kib: usage.memory_kib,
        disk_read: sum(|stats| stats.rd_bytes),
        disk_written: sum(|stats| stats.wr_bytes),
        net_rx: 0,
        net_tx: 0,
        extra: Vec::new(),
    })
}

/// The lines of `/proc/PID/stat`, by the number of the process.
fn usages(lines: &str) -> BTreeMap<String, Usage> {
    lines.lines().filter_map(usage).collect()
}

/// `PID (NAME) STATE ...`; a name may have blanks and brackets. See proc(5).
fn usage(line: &str) -> Option<(String, Usage)> {
    let (begin, fields) = line.rsplit_once(") ")?;
    let pid = begin.split_once(' ')?.0.to_owned();
    let fields: Vec<&str> = fields.split(' ').collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let ticks = number(11)?.saturating_add(number(12)?);
    let usage = Usage {
        cpu_ns: ticks.saturating_mul(TICK_NS),
        memory_kib: number(21)?.saturating_mul(PAGE_KIB),
    };
    Some((pid, usage))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_from_its_name() {
        let line =
            "7 (a ) b) S 1 7 7 0 -1 4194624 27612 0 1 0 250 50 0 0 20 0 4 0 1466 99 1000 1 2";
        let expected = Usage { cpu_ns: 3_000_000_000, memory_kib: 4000 };
        let cut = "8 (b) S 1 8";
        assert_eq!(usages(&format!("{line}\n{cut}\n")), [("7".to_owned(), expected)].into());
    }
}
