//! Whole lives of VMs on `sim`, 1,000 at once, each step durable: create > running > poweroff-hard > resume > shutdown-hard > done.
//!
//! `cargo bench -p ostler-tests --bench cycle`. `OSTLER_CYCLES`, `OSTLER_AT_ONCE` and `OSTLER_CONNECTIONS` change the load.
//! The requests do not wait: their answers are timed by themselves, and the event stream tells when an operation has ended. The
//! floor is the database alone, writing as many rows of the same sizes in transactions of the same size.

#[path = "floor.rs"]
mod floor;
mod rig;

use ostler_tests::daemon;
use rig::client::Pool;
use rig::feed::Feed;
use rig::figures::{Times, line, median};
use rig::{process, setting};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

const CYCLES: usize = 3000;
const AT_ONCE: usize = 1000;
const CONNECTIONS: usize = 32;
/// Cycles before anything is counted.
const WARM: usize = 300;
/// Runs of the floor; the median counts.
const FLOORS: usize = 3;
/// The verbs after the creation, and where each leads.
const VERBS: [(&str, &str); 3] = [("poweroff-hard", "poweroff"), ("resume", "running"), ("shutdown-hard", "done")];

/// What one VM's life took.
#[derive(Default)]
struct Life {
    answers: Vec<Duration>,
    operations: Vec<Duration>,
    commits: u64,
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
            let (answer, took) = self.pool.send("POST", &format!("/v1/vms/{vm}/actions/{verb}"), Some("{}")).await;
            assert!(answer.status < 300, "{verb}: {}", String::from_utf8_lossy(&answer.body));
            life.answers.push(took);
            self.feed.reach(vm, state).await;
            life.operations.push(began.elapsed());
        }
        self.feed.forget(vm);
        life
    }

    async fn lives(self: &Arc<Self>, from: usize, count: usize) -> Vec<Life> {
        let tasks: Vec<_> = (from..from + count).map(|at| tokio::spawn(Arc::clone(self).life(at))).collect();
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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("starts");
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
    let counted = counters(&load).await;
    let (daemon_cpu, client_cpu, machine) = (process::cpu(pid), process::cpu(std::process::id()), process::machine_cpu());
    let began = Instant::now();
    let lives = load.lives(WARM, cycles).await;
    let took = began.elapsed();
    let daemon_cpu = process::cpu(pid).saturating_sub(daemon_cpu);
    let client_cpu = process::cpu(std::process::id()).saturating_sub(client_cpu);
    let machine = process::machine_cpu().saturating_sub(machine);
    let each = |time: Duration| time.as_secs_f64() * 1e6 / cycles as f64;
    let others = machine.saturating_sub(daemon_cpu).saturating_sub(client_cpu).as_secs_f64() / took.as_secs_f64();
    println!("{cycles} cycles, {at_once} at once, in {:.2} s", took.as_secs_f64());
    println!(
        "CPU a cycle: daemon {:.0} us, client {:.0} us; others on this machine took {others:.2} CPUs meanwhile",
        each(daemon_cpu),
        each(client_cpu)
    );
    let answers = Times::new(lives.iter().flat_map(|life| life.answers.iter().copied()).collect());
    for (at, what) in ["create > running", "poweroff-hard", "resume", "shutdown-hard"].into_iter().enumerate() {
        println!("  {what:17} done {}", Times::new(lives.iter().map(|life| life.operations[at]).collect()).words());
    }
    let work = counters(&load).await.since(&counted);
    println!(
        "{:.1} commits a cycle, {:.1} commits a transaction, {:.1} rows a commit, {:.0} bytes a row",
        work.commits / cycles as f64,
        work.commits / work.transactions,
        work.rows / work.commits,
        work.bytes / work.rows
    );
    let rate = cycles as f64 / took.as_secs_f64();
    let floor = median((0..FLOORS).map(|at| floor::cycles(dir, at, &work, cycles)).collect());
    line(
        "cycle, 1,000 VMs at once",
        &format!("{rate:.0}/s"),
        &format!("{floor:.0}/s"),
        &format!("{:.2}", rate / floor),
        "> 1,000/s",
    );
    line("  answers of its requests", &answers.words(), "-", "-", "p99 < 20 ms");
}

/// What the store says it has written.
async fn counters(load: &Load) -> floor::Work {
    let (answer, _) = load.pool.send("GET", "/metrics", None).await;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let counter = |name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("ostler_store_{name}_total ")));
        line.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("no {name} in:\n{text}"))
    };
    floor::Work {
        transactions: counter("transactions"),
        commits: counter("commits"),
        rows: counter("rows"),
        bytes: counter("row_bytes"),
    }
}
