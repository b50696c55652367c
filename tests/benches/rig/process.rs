//! Figures of the system: CPU time and memory of a process, and how busy the machine is.

use std::time::Duration;

/// The kernel's unit of CPU times in /proc. It is the same on every Linux that Rust runs on.
const TICKS_A_SECOND: f64 = 100.0;

/// The CPU time of a process until now, in user and kernel together.
#[must_use]
pub(crate) fn cpu(pid: u32) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name is in parentheses and may contain anything. The fields are counted after the last
    // parenthesis.
    let fields: Vec<&str> =
        text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: f64 =
        fields.iter().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    Duration::from_secs_f64(ticks / TICKS_A_SECOND)
}

/// The resident memory of a process in MiB: all of it, and the part that does not belong to files.
#[must_use]
pub(crate) fn resident(pid: u32) -> (f64, f64) {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1))
            .and_then(|kib| kib.parse::<f64>().ok())
            .unwrap_or_default()
            / 1024.0
    };
    (field("VmRSS:"), field("RssAnon:"))
}

/// The load of the machine over the last minute, as text.
#[must_use]
pub(crate) fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("?").to_owned()
}

/// The busy time of all CPUs together since the machine started, without idle time and waiting.
#[must_use]
pub(crate) fn machine_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields: Vec<f64> = text
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .filter_map(|field| field.parse().ok())
        .collect();
    let idle: f64 = fields.iter().skip(3).take(2).sum();
    let all: f64 = fields.iter().take(8).sum();
    Duration::from_secs_f64((all - idle) / TICKS_A_SECOND)
}
