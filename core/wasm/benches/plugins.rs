//! Many plugins, and many calls at once: the start of twenty plugins whose code was compiled before,
//! the memory of a plugin that nobody calls, and a thousand calls in flight.
//!
//! The floor of the start is wasmtime's own load of the same compiled code, in the same run.

#[path = "../../../tests/benches/rig/figures.rs"]
#[allow(dead_code, reason = "other benchmarks use the rest")]
mod figures;
#[path = "../tests/support/mod.rs"]
mod support;

use figures::{Times, line};
use ostler_wasm::{Host, HostOptions, LoadedDriver};
use std::time::{Duration, Instant};
use support::{all, call, hypervisor, nowhere, patched, vm};

/// How many plugins a daemon starts with here.
const PLUGINS: usize = 20;
/// How often the start is measured.
const STARTS: usize = 9;
/// Calls in flight at once. No driver may have more than seven eighths of all places.
const CALLS: usize = 1000;
/// The drivers that share these calls.
const DRIVERS: usize = 2;
/// Calls of a neighbour whose times are told.
const ROUNDS: usize = 2000;

/// Another component each: another text in the manifest, and so another digest.
fn plugin(number: usize) -> Vec<u8> {
    patched("Does what a test tells it", &format!("Does what a test tells {number:02}"))
}

fn host(cache: &std::path::Path) -> Host {
    support::host(HostOptions { cache_dir: Some(cache.to_owned()), ..HostOptions::default() })
}

async fn load_all(host: &Host, plugins: &[Vec<u8>]) -> Vec<LoadedDriver> {
    let mut loaded = Vec::new();
    for (number, bytes) in plugins.iter().enumerate() {
        let name = format!("plugin-{number}.wasm");
        loaded.push(host.load_bytes(&name, bytes.clone(), all()).await.expect("loads"));
    }
    loaded
}

/// Resident memory of this process in KiB: all of it, and the part that is no file.
fn resident() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").expect("this is Linux");
    let of = |key: &str| {
        let line = status.lines().find(|line| line.starts_with(key)).expect("it is there");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
    };
    (of("VmRSS:"), of("RssAnon:"))
}

/// The time that wasmtime alone needs for the same compiled code.
fn floor(plugins: &[Vec<u8>], folder: &std::path::Path) -> Duration {
    let engine = wasmtime::Engine::default();
    let files: Vec<_> = (0..plugins.len()).map(|at| folder.join(format!("{at}.cwasm"))).collect();
    for (bytes, file) in plugins.iter().zip(&files) {
        std::fs::write(file, engine.precompile_component(bytes).expect("compiles"))
            .expect("written");
    }
    let once = || {
        let begun = Instant::now();
        let loaded: Vec<_> = files
            .iter()
            // SAFETY: the files were written by this process, from this engine, just before.
            .map(|file| unsafe { wasmtime::component::Component::deserialize_file(&engine, file) })
            .collect();
        assert!(loaded.iter().all(Result::is_ok));
        begun.elapsed()
    };
    Times::new((0..STARTS).map(|_| once()).collect()).median()
}

async fn start(plugins: &[Vec<u8>], folder: &std::path::Path) {
    let cache = folder.join("compiled");
    let compiled = Instant::now();
    drop(load_all(&host(&cache), plugins).await);
    let compiled = compiled.elapsed();
    let mut times = Vec::new();
    let mut memory = (0, 0);
    for _ in 0..STARTS {
        let host = host(&cache);
        let before = resident();
        let begun = Instant::now();
        let loaded = load_all(&host, plugins).await;
        times.push(begun.elapsed());
        let after = resident();
        memory = (after.0.saturating_sub(before.0), after.1.saturating_sub(before.1));
        drop(loaded);
    }
    let (ours, floor) = (Times::new(times).median(), floor(plugins, folder));
    line(
        "start with 20 plugins from the cache",
        &format!("{:.1} ms (compiling them: {:.1} s)", ms(ours), compiled.as_secs_f64()),
        &format!("wasmtime loads the code: {:.1} ms", ms(floor)),
        &format!("{:.1}", ours.as_secs_f64() / floor.as_secs_f64()),
        "< 100 ms",
    );
    let each = |kib: u64| kib / PLUGINS as u64;
    line(
        "memory of a plugin that nobody calls",
        &format!("{} KiB resident, {} KiB of it no file", each(memory.0), each(memory.1)),
        "-",
        "-",
        "< 2 MiB",
    );
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

async fn neighbour(driver: &LoadedDriver) -> Times {
    let (driver, site) = (hypervisor(driver), nowhere(""));
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        driver.observe(&site, vm(1)).await.expect("answers");
        times.push(begun.elapsed());
    }
    Times::new(times)
}

async fn in_flight(plugins: &[Vec<u8>], folder: &std::path::Path) {
    let host = host(&folder.join("compiled"));
    let loaded = load_all(&host, &plugins[..=DRIVERS]).await;
    let alone = neighbour(&loaded[DRIVERS]).await;
    let before = resident();
    let calls: Vec<_> = (0..CALLS)
        .map(|at| {
            let (driver, control) =
                (hypervisor(&loaded[at % DRIVERS]), call(at as u128, Duration::from_secs(300)));
            let cancel = control.cancel.clone();
            // The guest waits until it is told to stop.
            let work =
                tokio::spawn(async move { driver.press_power(&nowhere(""), &control).await });
            (cancel, work)
        })
        .collect();
    let beside = neighbour(&loaded[DRIVERS]).await;
    let during = resident();
    let at_work = calls.iter().filter(|(_, work)| !work.is_finished()).count();
    assert_eq!(at_work, CALLS, "calls ended before they were told to");
    let begun = Instant::now();
    for (cancel, _) in &calls {
        cancel.cancel();
    }
    for (_, work) in calls {
        let answer = work.await.expect("does not panic").expect_err("it was told to stop");
        assert_eq!(answer.code, "cancelled", "{answer}");
    }
    line(
        "1,000 calls in flight",
        &format!(
            "{} KiB each; all answer {:.0} ms after they are told to stop",
            during.0.saturating_sub(before.0) / CALLS as u64,
            ms(begun.elapsed())
        ),
        "-",
        "-",
        "-",
    );
    line(
        "a neighbour's call beside them",
        &beside.words(),
        &format!("alone: {}", alone.words()),
        &format!("{:.2}", beside.at(990).as_secs_f64() / alone.at(990).as_secs_f64()),
        "p99 < 1.1x",
    );
}

fn main() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let plugins: Vec<Vec<u8>> = (0..PLUGINS).map(plugin).collect();
    runtime.block_on(async {
        start(&plugins, folder.path()).await;
        in_flight(&plugins, folder.path()).await;
    });
}
