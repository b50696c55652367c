//! A driver that loops, eats, traps, lies, floods or hangs: a clear error for its own call, and
//! nothing else.

mod support;

use ostler_driver::{Hypervisor, RulesQuestion};
use ostler_model::{ErrorKind, Observation, State};
use ostler_wasm::HostOptions;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{
    all, call, host, hypervisor, load, nowhere, options, other_guest, processes, rules, told, vm,
};

const SECOND: Duration = Duration::from_secs(1);
/// How long a driver that computes for ever may do so.
const LOOPS_FOR: Duration = Duration::from_secs(3);

async fn driver() -> Arc<dyn Hypervisor> {
    hypervisor(&load(&host(options()), all()).await)
}

/// For drivers that compute for ever. Their neighbours on the same host have enough, even on a slow
/// machine.
fn impatient() -> HostOptions {
    HostOptions { cpu_budget: LOOPS_FOR, ..options() }
}

/// The deed ends with `unknown` and this code, and the next call is fine.
async fn fails(deed: &str, code: &str, says: &str) {
    fails_with(options(), deed, code, says).await;
}

async fn fails_with(options: HostOptions, deed: &str, code: &str, says: &str) {
    let driver = hypervisor(&load(&host(options), all()).await);
    let error = driver.observe(&nowhere(deed), vm(1)).await.expect_err(deed);
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Unknown, code), "{deed}: {error}");
    assert!(error.detail.contains(says), "{deed}: {error}");
    assert!(error.detail.len() <= 4096, "{deed}");
    assert_eq!(driver.observe(&nowhere(""), vm(1)).await, Ok(Observation::Absent));
}

#[tokio::test]
async fn one_that_computes_for_ever_is_stopped() {
    let begun = Instant::now();
    fails_with(impatient(), "loop", "driver-deadline", "computed").await;
    assert!(begun.elapsed() < 30 * SECOND);
}

#[tokio::test]
async fn one_that_eats_memory_is_stopped() {
    fails("eat", "driver-memory", "bytes of memory").await;
}

#[tokio::test]
async fn a_trap_is_told_with_what_the_guest_said() {
    fails("panic", "driver-trap", "the guest says why").await;
    fails("unreachable", "driver-trap", "unreachable").await;
    fails("recurse", "driver-trap", "").await;
    fails("exit", "driver-trap", "").await;
}

#[tokio::test]
async fn lies_are_told() {
    for lie in ["power", "uuid", "other", "name", "escape"] {
        fails(&format!("lie {lie}"), "driver-lied", "").await;
    }
    let error = driver().await.list(&nowhere("flood")).await.expect_err("too many");
    assert_eq!(error.code, "driver-lied");
    assert!(error.detail.contains("30000"), "{error}");
    let error = driver().await.observe(&nowhere("code"), vm(1)).await.expect_err("an error");
    assert_eq!(
        (error.kind, error.code.as_str(), error.detail.len()),
        (ErrorKind::Gone, "driver-code-invalid", 4096)
    );
}

#[tokio::test]
async fn too_much_for_a_host_call_is_refused() {
    fails("pour", "driver-trap", "").await;
}

#[tokio::test]
async fn printing_and_logging_have_bounds() {
    let driver = driver().await;
    assert_eq!(told(&driver, &nowhere("print")).await, Ok(String::new()));
    assert_eq!(told(&driver, &nowhere("log")).await, Ok(String::new()));
}

#[tokio::test]
async fn nothing_ambient_is_there() {
    let seen = told(&driver().await, &nowhere("ambient")).await.expect("told");
    assert_eq!(seen, "(true, true, true, true, 0, 0)");
}

#[tokio::test]
async fn one_that_waits_for_ever_ends_at_its_deadline() {
    let driver = driver().await;
    for deed in ["sleep", "wasi-sleep"] {
        let begun = Instant::now();
        let error = driver.remove(&nowhere(deed), &call(1, SECOND / 5)).await.expect_err(deed);
        assert_eq!(
            (error.kind, error.code.as_str()),
            (ErrorKind::Unknown, "driver-deadline"),
            "{error}"
        );
        assert!(begun.elapsed() < 5 * SECOND);
    }
}

#[tokio::test]
async fn cancel_ends_a_host_call_at_once_and_a_stubborn_guest_soon() {
    let driver = driver().await;
    let polite = call(1, 600 * SECOND);
    let site = nowhere("");
    let begun = Instant::now();
    let (error, ()) =
        tokio::join!(driver.press_power(&site, &polite), async { polite.cancel.cancel() });
    assert_eq!(error.expect_err("cancelled").kind, ErrorKind::Cancelled);
    assert!(begun.elapsed() < SECOND);
    let stubborn = call(1, 600 * SECOND);
    let cancel = async {
        tokio::task::yield_now().await;
        stubborn.cancel.cancel();
    };
    let (error, ()) = tokio::join!(driver.destroy(&site, &stubborn), cancel);
    let error = error.expect_err("dropped");
    assert!(
        matches!(
            (error.kind, error.code.as_str()),
            (ErrorKind::Unknown, "driver-dropped") | (ErrorKind::Cancelled, "cancelled")
        ),
        "{error}"
    );
    assert!(begun.elapsed() < 20 * SECOND);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neighbours_are_undisturbed() {
    let driver = hypervisor(&load(&host(impatient()), all()).await);
    let hostile = ["loop", "loop", "eat", "panic", "recurse", "print"].map(|deed| {
        let (driver, begun) = (Arc::clone(&driver), Instant::now());
        tokio::spawn(async move {
            driver.observe(&nowhere(deed), vm(2)).await.map(drop).ok();
            begun.elapsed()
        })
    });
    let mut slowest = Duration::ZERO;
    let mut calls = 0;
    while hostile.iter().any(|task| !task.is_finished()) {
        let begun = Instant::now();
        assert_eq!(driver.observe(&nowhere(""), vm(1)).await, Ok(Observation::Absent));
        slowest = slowest.max(begun.elapsed());
        calls += 1;
    }
    // Both threads have a driver that computes. No call waits until one of these is stopped.
    let [first, second, ..] = hostile;
    let stopped = first.await.expect("stopped").min(second.await.expect("stopped"));
    assert!(stopped >= LOOPS_FOR, "they computed for {stopped:?} only");
    assert!(calls > 10 && slowest < stopped, "{slowest:?} of {calls} calls in {stopped:?}");
    println!("{calls} calls beside hostile ones, the slowest took {slowest:?}");
}

#[tokio::test]
async fn a_full_pool_says_come_back() {
    // Two of them are for calls that wait for changes.
    let host = host(HostOptions { instances: 4, ..options() });
    if !host.pooled() {
        println!("no pool on this machine");
        return;
    }
    let driver = hypervisor(&load(&host, all()).await);
    let (a, b) = (call(1, 600 * SECOND), call(2, 600 * SECOND));
    let site = nowhere("");
    let mut first = driver.press_power(&site, &a);
    let mut second = driver.press_power(&site, &b);
    assert!(futures::poll!(&mut first).is_pending());
    assert!(futures::poll!(&mut second).is_pending());
    let error = driver.observe(&site, vm(1)).await.expect_err("full");
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Retry, "driver-busy"), "{error}");
    drop(first);
    // Its guest is dropped on another thread.
    while let Err(error) = driver.observe(&site, vm(3)).await {
        assert_eq!(error.code, "driver-busy");
        tokio::task::yield_now().await;
    }
    drop(second);
}

#[tokio::test]
async fn one_driver_leaves_places_for_others() {
    let host = host(HostOptions { instances: 32, ..options() });
    let (greedy, other) = (hypervisor(&load(&host, all()).await), {
        let loaded = host.load_bytes("other.wasm", other_guest(), all()).await.expect("loads");
        hypervisor(&loaded)
    });
    let site = nowhere("");
    let controls: Vec<_> = (10..42).map(|number| call(number, 600 * SECOND)).collect();
    let mut calls: Vec<_> =
        controls.iter().map(|control| greedy.press_power(&site, control)).collect();
    let mut refused = 0;
    for call in &mut calls {
        if let std::task::Poll::Ready(answer) = futures::poll!(call) {
            assert_eq!(answer.expect_err("full").code, "driver-busy");
            refused += 1;
        }
    }
    assert_eq!(refused, 32 - 14, "half of the places are for calls that wait, two for others");
    assert_eq!(greedy.observe(&site, vm(1)).await.expect_err("full").code, "driver-busy");
    assert_eq!(other.observe(&site, vm(1)).await, Ok(Observation::Absent));
}

#[tokio::test]
async fn a_guest_computes_while_this_thread_is_blocked() {
    let dir = tempfile::tempdir().expect("dir");
    let driver = driver().await;
    let (site, control) = (support::site(dir.path(), "write ds done x"), call(1, 600 * SECOND));
    let mut writes = driver.remove(&site, &control);
    let polled = futures::poll!(&mut writes);
    // The runtime of this test has one thread, which does nothing for the guest here.
    let done = dir.path().join("done");
    assert!((0..6000).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        done.exists()
    }));
    if polled.is_pending() {
        writes.await.expect_err("told");
    }
}

#[tokio::test]
async fn all_calls_together_have_a_bound_of_memory() {
    let options = HostOptions { total_memory: 16 << 20, ..options() };
    fails_with(options, "eat", "driver-memory", "together").await;
}

#[tokio::test]
async fn a_load_waits_for_a_place_in_a_full_pool() {
    let cache = tempfile::tempdir().expect("dir");
    let dir = cache.path().join("compiled");
    let host = host(HostOptions { instances: 1, cache_dir: Some(dir.clone()), ..options() });
    if !host.pooled() {
        println!("no pool on this machine");
        return;
    }
    let driver = hypervisor(&load(&host, all()).await);
    let entries = || std::fs::read_dir(&dir).expect("cache").count();
    assert_eq!(entries(), 1);
    let (site, sleeps) = (nowhere(""), nowhere("exec sleep seconds=8383"));
    let control = call(1, 600 * SECOND);
    let mut only = driver.remove(&sleeps, &control);
    while processes("/bin/sleep\u{0}8383\u{0}") == 0 {
        assert!(futures::poll!(&mut only).is_pending());
        tokio::task::yield_now().await;
    }
    let mut loading = pin!(host.load_bytes("file.wasm", other_guest(), all()));
    // Its code is kept before an instance of it is made.
    let mut turned_away = 0;
    while turned_away < 100 {
        assert!(futures::poll!(&mut loading).is_pending(), "the only place is taken");
        let error = driver.observe(&site, vm(1)).await.expect_err("full");
        assert_eq!(error.code, "driver-busy");
        turned_away += usize::from(entries() == 2);
        tokio::task::yield_now().await;
    }
    drop(only);
    loading.await.expect("loaded, now that there is a place");
}

#[tokio::test]
async fn rules_that_do_not_answer_are_no_answer() {
    let rules = rules(&load(&host(impatient()), all()).await);
    let question = |verb: &str| RulesQuestion {
        verb: verb.to_owned(),
        state: State::Running,
        disks: Vec::new(),
        snapshots: vec!["a".to_owned(), "b".to_owned()],
        subject: None,
        abilities: Vec::new(),
        now_ms: 0,
    };
    assert_eq!(rules.judge(&question("loop")).await.expect_err("loops").code, "driver-deadline");
    let rules = support::rules(&load(&host(options()), all()).await);
    assert_eq!(rules.judge(&question("few")).await.expect_err("lies").code, "driver-lied");
    assert_eq!(rules.judge(&question("stop")).await.expect("judged").fates.len(), 2);
}

#[tokio::test]
async fn without_a_pool_it_is_the_same() {
    for (options, deed, code) in
        [(options(), "eat", "driver-memory"), (impatient(), "loop", "driver-deadline")]
    {
        let host = host(HostOptions { pooling: false, ..options });
        let driver = hypervisor(&load(&host, all()).await);
        assert_eq!(driver.observe(&nowhere(deed), vm(1)).await.expect_err(deed).code, code);
        assert_eq!(driver.observe(&nowhere(""), vm(1)).await, Ok(Observation::Absent));
    }
}
