//! Measures whole lives of VMs on `sim`, 1,000 at once, each step durable: create > running >
//! poweroff-hard > resume > shutdown-hard > done.
//!
//! `cargo bench -p ostler-tests --bench cycle`. `OSTLER_CYCLES`, `OSTLER_AT_ONCE` and
//! `OSTLER_CONNECTIONS` change the load. The requests do not wait for their operations. So their
//! answers are timed alone, and the event stream tells when an operation has ended. The floor is
//! the database alone: it writes as many rows of the same sizes in transactions of the same size.

mod rig;

use ostler_tests::daemon;
use rig::client::Pool;
use rig::feed::Feed;
use rig::figures::{Times, line, median, ms};
use rig::{floor, process, setting};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

const CYCLES: usize = 5000;
const AT_ONCE: usize = 1000;
/// How many requests are on the way at once. All connections are always in use, so the mean time of
/// an answer is `CONNECTIONS / answers per second`. More connections make the queue before the
/// daemon longer and change little else.
const CONNECTIONS: usize = 32;
/// How many runs. The median counts.
const RUNS: usize = 3;
/// How many cycles run before anything is counted.
const WARM: usize = 300;
/// The verbs after the creation, each with the state that it leads to.
const VERBS: [(&str, &str); 3] =
    [("poweroff-hard", "poweroff"), ("resume", "running"), ("shutdown-hard", "done")];

/// The times of one VM's life.
#[derive(Default)]
struct Life {
    answers: Vec<Duration>,
    operations: Vec<Duration>,
}

struct Load {
    pool: Pool,
    feed: Feed,
    places: Arc<Semaphore>,
}

impl Load {
    async fn life(self: Arc<Self>, at: usize) -> Life {
        let _place = self.places.acquire().await.expect("never closed");
        let mut life = Life::default();
        let spec = format!("{{\"spec\":{{\"name\":\"c{at}\",\"memory\":\"64MiB\",\"cpu\":0.1}}}}");
        let began = Instant::now();
        let (answer, took) = self.pool.send("POST", "/v1/vms", Some(&spec)).await;
        let vm = answer.number("vm");
        life.answers.push(took);
        self.feed.reach(vm, "running").await;
        life.operations.push(began.elapsed());
        for (verb, state) in VERBS {
            let began = Instant::now();
            let (answer, took) =
                self.pool.send("POST", &format!("/v1/vms/{vm}/actions/{verb}"), Some("{}")).await;
            assert!(answer.status < 300, "{verb}: {}", String::from_utf8_lossy(&answer.body));
            life.answers.push(took);
            self.feed.reach(vm, state).await;
            life.operations.push(began.elapsed());
        }
        self.feed.forget(vm);
        life
    }

    async fn lives(self: &Arc<Self>, from: usize, count: usize) -> Vec<Life> {
        let tasks: Vec<_> =
            (from..from + count).map(|at| tokio::spawn(Arc::clone(self).life(at))).collect();
        let mut lives = Vec::with_capacity(count);
        for task in tasks {
            lives.push(task.await.expect("a life is lived"));
        }
        lives
    }
}

fn main() {
    if !daemon::is_built() {
        return;
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("starts");
    let dir = rig::Folders::new();
    runtime.block_on(run(dir.path()));
}

async fn run(dir: &Path) {
    let daemon = rig::daemon(dir, "error").await;
    let pid = daemon.pid().expect("it runs");
    let (cycles, at_once) = (setting("OSTLER_CYCLES", CYCLES), setting("OSTLER_AT_ONCE", AT_ONCE));
    let load = Arc::new(Load {
        pool: Pool::open(&daemon.socket(), setting("OSTLER_CONNECTIONS", CONNECTIONS)).await,
        feed: Feed::watch(&daemon.socket()).await,
        places: Arc::new(Semaphore::new(at_once)),
    });
    load.lives(0, WARM).await;
    let (mut rates, mut floors, mut halves, mut tails) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for run in 0..RUNS {
        let counted = counters(&load).await;
        let (rate, answers) = measured(&load, pid, WARM + run * cycles, cycles).await;
        let work = counters(&load).await.since(&counted);
        println!(
            "  {:.1} commits a cycle, {:.1} commits a transaction, {:.1} rows a commit, {:.0} \
             bytes a row",
            work.commits / cycles as f64,
            work.commits / work.transactions,
            work.rows / work.commits,
            work.bytes / work.rows
        );
        rates.push(rate);
        halves.push(ms(answers.median()));
        tails.push(ms(answers.at(990)));
        floors.push(floor::cycles(dir, run, &work, cycles));
    }
    let (rate, floor) = (median(rates), median(floors));
    let name = format!("cycle on sim, {at_once} VMs at once");
    line(
        &name,
        &format!("{rate:.0}/s"),
        &format!("{floor:.0}/s"),
        &format!("{:.2}", rate / floor),
        "> 1,000/s",
    );
    line(
        "  answers of its requests",
        &format!("p50 {:.1} ms, p99 {:.1} ms", median(halves), median(tails)),
        "-",
        "-",
        "p99 < 20 ms",
    );
}

/// One run. Answers the cycles per second, and how long the answers took.
async fn measured(load: &Arc<Load>, pid: u32, from: usize, cycles: usize) -> (f64, Times) {
    let cpu = || (process::cpu(pid), process::cpu(std::process::id()), process::machine_cpu());
    let (daemon, client, machine) = cpu();
    let began = Instant::now();
    let lives = load.lives(from, cycles).await;
    let took = began.elapsed();
    let now = cpu();
    let (daemon, client) = (now.0.saturating_sub(daemon), now.1.saturating_sub(client));
    let others = now.2.saturating_sub(machine).saturating_sub(daemon).saturating_sub(client);
    let each = |time: Duration| time.as_secs_f64() * 1e6 / cycles as f64;
    println!(
        "{cycles} cycles in {:.2} s; CPU a cycle: daemon {:.0} us, client {:.0} us; others took \
         {:.2} CPUs meanwhile",
        took.as_secs_f64(),
        each(daemon),
        each(client),
        others.as_secs_f64() / took.as_secs_f64()
    );
    for (at, what) in
        ["create > running", "poweroff-hard", "resume", "shutdown-hard"].into_iter().enumerate()
    {
        println!(
            "  {what:17} done {}",
            Times::new(lives.iter().map(|life| life.operations[at]).collect()).words()
        );
    }
    let answers = Times::new(lives.iter().flat_map(|life| life.answers.iter().copied()).collect());
    (cycles as f64 / took.as_secs_f64(), answers)
}

/// The amount that the store has written, from its metrics.
async fn counters(load: &Load) -> floor::Work {
    let (answer, _) = load.pool.send("GET", "/metrics", None).await;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let counter = |name: &str| -> f64 {
        let line =
            text.lines().find_map(|line| line.strip_prefix(&format!("ostler_store_{name}_total ")));
        line.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("no {name} in:\n{text}"))
    };
    floor::Work {
        transactions: counter("transactions"),
        commits: counter("commits"),
        rows: counter("rows"),
        bytes: counter("row_bytes"),
    }
}
