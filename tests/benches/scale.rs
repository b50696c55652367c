//! Measures the cost of 10,000 VMs: reading them, the daemon's memory, and a restart in the middle
//! of 1,000 operations.
//!
//! `cargo bench -p ostler-tests --bench scale [-- reads] [memory] [restart]`. The VMs run on `sim`.
//! They are made first, which takes most of the time; `OSTLER_VMS` changes their number. The floor
//! of the reads is an empty axum route. Another process serves it with the same libraries over the
//! same kind of socket, and the same client reads it.

mod rig;

use ostler_tests::daemon::{self, Daemon, poll};
use rig::client::Pool;
use rig::feed::Feed;
use rig::figures::{Times, line, median, ms};
use rig::{HOST, asked, process, setting};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

const VMS: usize = 10_000;
/// How many operations are running when the daemon is killed.
const IN_FLIGHT: usize = 1000;
/// How many connections make the VMs, and how many read them.
const CONNECTIONS: usize = 64;
const READERS: usize = 16;
/// How many requests one run has, and how many runs there are of each kind. Floor and daemon
/// alternate.
const READS: usize = 20_000;
const PAGES: usize = 4000;
const RUNS: usize = 5;
/// Calls are held this long, so that all those operations are running at once.
const HELD: &str = r#"{"rules":[{"call":"destroy","delay-ms":60000}]}"#;
/// How long everything may take to come to rest.
const CONVERGE: Duration = Duration::from_secs(120);
/// If the daemon gives no memory back for this long, the runners have ended, and the allocator has
/// returned the memory that it does not need.
const REST: Duration = Duration::from_secs(15);
/// The argument with which this program serves the empty route.
const SERVE: &str = "--serve-floor";

fn main() {
    let mut arguments = std::env::args().skip(1);
    if let (Some(SERVE), Some(path)) = (arguments.next().as_deref(), arguments.next()) {
        return serve(&PathBuf::from(path));
    }
    if !daemon::is_built() {
        return;
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("starts");
    let dir = rig::Folders::new();
    runtime.block_on(run(dir.path()));
}

async fn run(dir: &Path) {
    let mut daemon = rig::daemon(dir, "error").await;
    let vms = setting("OSTLER_VMS", VMS);
    populate(&daemon, vms).await;
    if asked("memory") {
        memory(&daemon, vms).await;
    }
    if asked("reads") {
        reads(&daemon, dir, vms).await;
    }
    if asked("restart") {
        restart(&mut daemon, dir).await;
    }
}

/// Makes VMs and waits until they run.
async fn populate(daemon: &Daemon, vms: usize) {
    let began = Instant::now();
    let pool = Pool::open(&daemon.socket(), CONNECTIONS).await;
    let feed = Feed::watch(&daemon.socket()).await;
    let make = |at: usize| {
        let (pool, feed) = (pool.clone(), feed.clone());
        async move {
            let spec =
                format!("{{\"spec\":{{\"name\":\"s{at}\",\"memory\":\"64MiB\",\"cpu\":0.1}}}}");
            let (answer, _) = pool.send("POST", "/v1/vms", Some(&spec)).await;
            feed.reach(answer.number("vm"), "running").await;
        }
    };
    let tasks: Vec<_> = (0..vms).map(|at| tokio::spawn(make(at))).collect();
    for task in tasks {
        task.await.expect("a VM runs");
    }
    println!("{vms} VMs created and running in {:.1} s", began.elapsed().as_secs_f64());
}

/// Waits until the daemon has returned no memory for as long as [`REST`].
async fn rested(pid: u32) {
    let mut least = (process::resident(pid).0, Instant::now());
    poll("the daemon's memory to stay as it is", CONVERGE, async || {
        let now = process::resident(pid).0;
        if now < least.0 {
            least = (now, Instant::now());
        }
        if least.1.elapsed() >= REST { Ok(()) } else { Err(format!("{now:.1} MiB")) }
    })
    .await;
}

/// Measures the memory right after the VMs were made, and at rest.
async fn memory(daemon: &Daemon, vms: usize) {
    let pid = daemon.pid().expect("it runs");
    for when in ["just made", "at rest"] {
        if when == "at rest" {
            rested(pid).await;
        }
        let (resident, own) = process::resident(pid);
        println!(
            "{vms} running VMs, {when}: {resident:.0} MiB resident, {own:.0} MiB of it not files"
        );
        line(
            &format!("memory, {vms} VMs, {when}"),
            &format!("{resident:.0} MiB"),
            "-",
            "-",
            "< 200 MiB",
        );
    }
}

/// The result of one run of requests.
struct Run {
    rate: f64,
    times: Times,
}

/// Opens `READERS` connections. Each asks again as soon as it has an answer.
async fn ask(
    socket: &Path,
    count: usize,
    path: impl Fn(usize) -> String + Send + Sync + 'static,
) -> Run {
    let path = Arc::new(path);
    let began = Instant::now();
    let tasks: Vec<_> = (0..READERS)
        .map(|reader| {
            let (socket, path) = (socket.to_owned(), Arc::clone(&path));
            tokio::spawn(async move {
                let mut connection =
                    rig::client::Connection::open(&socket).await.expect("it listens");
                let mut times = Vec::with_capacity(count / READERS);
                for at in 0..count / READERS {
                    let path = path(at * READERS + reader);
                    let began = Instant::now();
                    let answer = connection.send("GET", &path, None).await.expect("it answers");
                    times.push(began.elapsed());
                    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
                }
                times
            })
        })
        .collect();
    let mut times = Vec::with_capacity(count);
    for task in tasks {
        times.extend(task.await.expect("a reader reads"));
    }
    Run { rate: times.len() as f64 / began.elapsed().as_secs_f64(), times: Times::new(times) }
}

/// Spreads `at` over the VMs' ids, which begin at 1.
fn spread(at: usize, vms: usize) -> usize {
    at.wrapping_mul(7919) % vms + 1
}

async fn reads(daemon: &Daemon, dir: &Path, vms: usize) {
    let floor_socket = dir.join("floor");
    let floor = Floor::start(&floor_socket);
    let socket = daemon.socket();
    let (mut bare, mut shows, mut pages) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..=RUNS {
        let one = ask(&floor_socket, READS, |_| "/".to_owned()).await;
        let show = ask(&socket, READS, move |at| format!("/v1/vms/{}", spread(at, vms))).await;
        let page = ask(&socket, PAGES, move |at| {
            format!("/v1/vms?limit=100&after={}", spread(at, vms.max(101) - 100))
        })
        .await;
        // The first run fills caches and is not counted.
        if run > 0 {
            bare.push(one);
            shows.push(show);
            pages.push(page);
        }
    }
    drop(floor);
    let (bare, bare_p99) = summed(&bare);
    println!(
        "reads: empty route {bare:.0}/s, p99 {bare_p99:.2} ms; load of the machine {}",
        process::load()
    );
    for (name, runs) in [("GET one VM", &shows), ("GET a page of 100", &pages)] {
        let (rate, p99) = summed(runs);
        line(
            name,
            &format!("{rate:.0}/s, p99 {p99:.2} ms"),
            &format!("{bare:.0}/s, p99 {bare_p99:.2} ms"),
            &format!("{:.2}", rate / bare),
            "> 10,000/s, p99 < 5 ms",
        );
    }
}

/// The medians of the runs: requests per second, and the 99th percentile in milliseconds.
fn summed(runs: &[Run]) -> (f64, f64) {
    (
        median(runs.iter().map(|run| run.rate).collect()),
        median(runs.iter().map(|run| ms(run.times.at(990))).collect()),
    )
}

/// Kills the daemon while calls are running, and times its start.
async fn restart(daemon: &mut Daemon, dir: &Path) {
    let knobs = dir.join("simhosts").join(HOST).join("knobs");
    std::fs::write(&knobs, HELD).expect("a file");
    let pool = Pool::open(&daemon.socket(), CONNECTIONS).await;
    let ask = |vm: usize| {
        let pool = pool.clone();
        async move {
            let (answer, _) =
                pool.send("POST", &format!("/v1/vms/{vm}/actions/poweroff-hard"), Some("{}")).await;
            assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
        }
    };
    futures::future::join_all((1..=IN_FLIGHT).map(ask)).await;
    daemon.kill();
    std::fs::remove_file(&knobs).expect("the file is there");
    let began = Instant::now();
    daemon.up();
    let ready = began.elapsed();
    // The old connections of the client are dead. It notices this one by one.
    daemon::poll("an answer", CONVERGE, async || {
        daemon.client().vm("1").await.map(drop).map_err(|error| error.to_string())
    })
    .await;
    let answers = began.elapsed();
    daemon::poll("all VMs to come to rest", CONVERGE, async || {
        let text = daemon.client().get_text("/metrics").await.map_err(|error| error.to_string())?;
        let wanted = format!("ostler_vms{{name=\"poweroff\"}} {IN_FLIGHT}");
        if text.lines().any(|line| line == wanted) { Ok(()) } else { Err(text) }
    })
    .await;
    println!(
        "restart with {IN_FLIGHT} operations in hand: ready after {:.0} ms, first answer after \
         {:.0} ms, all at rest after {:.1} s",
        ms(ready),
        ms(answers),
        began.elapsed().as_secs_f64()
    );
    let findings = daemon.client().check().await.expect("a check").findings;
    assert!(findings.is_empty(), "the books are wrong: {findings:#?}");
    line(
        "restart, 10,000 VMs, 1,000 in flight",
        &format!("ready in {:.0} ms", ms(ready)),
        "-",
        "-",
        "< 2,000 ms",
    );
}

/// A child process that runs this program as the server of an empty route.
struct Floor(Child);

impl Floor {
    fn start(socket: &Path) -> Self {
        let program = std::env::current_exe().expect("it knows its own file");
        let child = Command::new(program).arg(SERVE).arg(socket).spawn().expect("it starts");
        ostler_tests::wait::wait_until("the floor to listen", CONVERGE, || {
            std::os::unix::net::UnixStream::connect(socket).is_ok()
        });
        Self(child)
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        // The child may already have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Serves as `ostlerd` does: axum on HTTP/1 of hyper over a unix socket, one task per connection.
fn serve(path: &Path) {
    use hyper_util::rt::{TokioIo, TokioTimer};
    use hyper_util::service::TowerToHyperService;
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    runtime.block_on(async {
        let listener = tokio::net::UnixListener::bind(path).expect("it can be bound");
        let router = axum::Router::new().route("/", axum::routing::get(async || ""));
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(30));
        while let Ok((stream, _)) = listener.accept().await {
            let connection = http
                .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
            tokio::spawn(async move {
                // The client closes the connection when it has its answer, so an error is normal.
                let _ = connection.await;
            });
        }
    });
}
