//! Another file becomes a driver under load, and comes back: with a real daemon and the `sim`
//! driver, whose knobs make faults.

use ostler_api::{ActionBody, Client, ClientError, Driver, NewDriver, Problem, Sent};
use ostler_tests::daemon::{self, Daemon, components, create, in_state, poll};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);
/// How often the driver is replaced under load.
const SWAPS: u64 = 100;
/// How many VMs are rebooted meanwhile, again and again.
const BUSY: usize = 12;

/// A daemon whose `sim` driver was added from a file.
struct World {
    dir: tempfile::TempDir,
    daemon: Daemon,
}

impl World {
    async fn new(knobs: &str) -> Option<Self> {
        if !daemon::is_built() {
            return None;
        }
        let dir = tempfile::tempdir().expect("a folder");
        let plugins = dir.path().join("plugins");
        std::fs::create_dir(&plugins).expect("made");
        let transfer = "transfer-qcow2.wasm";
        std::fs::copy(components().join(transfer), plugins.join(transfer)).expect("copied");
        let daemon = Daemon::with_plugins(dir.path(), &plugins, &["--log", "info"]);
        let world = Self { dir, daemon };
        world.put("a", knobs, |new| NewDriver { replace: false, ..new }).await.expect("added");
        daemon::datastores(world.client(), world.dir.path()).await;
        for host in ["h1", "h2"] {
            daemon::sim_host(world.client(), host, &[]).await;
        }
        Some(world)
    }

    fn client(&self) -> &Client {
        self.daemon.client()
    }

    /// A build of `sim` with a digest of its own.
    fn build(&self, mark: &str) -> PathBuf {
        let mut bytes = std::fs::read(components().join("sim.wasm")).expect("built");
        let authors = b"The Ostler authors";
        let at = bytes.windows(authors.len()).position(|part| part == authors).expect("there");
        bytes[at..at + mark.len()].copy_from_slice(mark.as_bytes());
        let file = self.dir.path().join(format!("sim-{mark}.wasm"));
        std::fs::write(&file, bytes).expect("written");
        file
    }

    /// Makes a build the driver, with these knobs.
    async fn put(
        &self,
        mark: &str,
        knobs: &str,
        more: impl Fn(NewDriver) -> NewDriver,
    ) -> Result<Driver, Problem> {
        put(self.client(), &self.build(mark), knobs, more).await
    }

    async fn sim(&self) -> Driver {
        self.client().driver("sim").await.expect("is there")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.daemon.log()).expect("a log")
    }
}

async fn put(
    client: &Client,
    file: &Path,
    knobs: &str,
    more: impl Fn(NewDriver) -> NewDriver,
) -> Result<Driver, Problem> {
    let knobs = Some(("knobs".to_owned(), knobs.to_owned())).filter(|_| !knobs.is_empty());
    let new = NewDriver {
        path: file.to_str().expect("text").to_owned(),
        grants: Some(vec!["all".to_owned()]),
        config: Some(knobs.into_iter().collect::<BTreeMap<_, _>>()),
        replace: true,
        ..NewDriver::default()
    };
    match client.add_driver(&more(new)).await {
        Ok(driver) => Ok(driver),
        Err(ClientError::Problem(problem)) => Err(*problem),
        Err(error) => panic!("{error}"),
    }
}

fn as_it_is(new: NewDriver) -> NewDriver {
    new
}

fn digest(driver: &Driver) -> &str {
    let ostler_api::DriverOrigin::Component { digest, .. } = &driver.origin else {
        panic!("{driver:?}")
    };
    digest
}

async fn vm(client: &Client, name: &str, host: &str) -> String {
    let spec = format!(
        "name = {name:?}\nmemory = \"64MiB\"\nhost = {host:?}\n[patience]\nboot_grace = \"0s\"\n\
         [[disks]]\nname = \"vda\"\nsize = \"1MiB\"\nformat = \"qcow2\"\n"
    );
    create(client, &spec, false).await
}

/// Waits until the current step of a VM's operation was sent so often.
async fn attempts(client: &Client, vm: &str, at_least: u32) -> u32 {
    poll("more attempts", PATIENCE, async || {
        let operations = client.operations_of(vm).await.expect("known").operations;
        let newest = operations.iter().max_by_key(|operation| operation.id).ok_or("none")?;
        let step = newest.steps.last().ok_or("no step")?;
        if step.attempts >= at_least { Ok(step.attempts) } else { Err(format!("{newest:?}")) }
    })
    .await
}

const BUSY_HOST: &str = r#"{"rules": [{"call": "deploy", "error": "retry", "code": "busy"}]}"#;
const CRASH: &str = r#"{"rules": [{"call": "deploy", "trap": "before"}]}"#;
const FAILS: &str = r#"{"rules": [{"call": "reboot", "error": "retry", "code": "busy"}]}"#;
const BLIND: &str = r#"{"rules": [{"call": "list", "trap": "before"}]}"#;

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_stays_on_the_file_that_it_began_with_also_after_a_restart() {
    let Some(mut world) = World::new(BUSY_HOST).await else { return };
    let client = world.client().clone();
    let waits = vm(&client, "waits", "h1").await;
    attempts(&client, &waits, 2).await;
    world.put("b", "", as_it_is).await.expect("in place");
    let fresh = vm(&client, "fresh", "h1").await;
    in_state(&client, &fresh, "running", PATIENCE).await;
    let sent = attempts(&client, &waits, 3).await;
    world.daemon.kill();
    world.daemon.up();
    let fresh = vm(&client, "fresher", "h1").await;
    in_state(&client, &fresh, "running", PATIENCE).await;
    attempts(&client, &waits, sent + 2).await;
    assert_ne!(client.vm(&waits).await.expect("known").state, "running");
    // The same file again, without a word, leaves the operation where it is.
    let same = world.put("b", "", as_it_is).await.expect("in place");
    assert!(same.trial_until.is_some(), "the trial goes on: {same:?}");
    attempts(&client, &waits, sent + 3).await;
    // The third file mends what the operation waits for.
    let third = world.put("c", "", |new| NewDriver { at_once: true, ..new }).await;
    // The second was on trial, so the first, which was proven, is kept, too.
    assert_eq!(third.expect("in place").earlier.len(), 2);
    in_state(&client, &waits, "running", PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_crashes_is_taken_back_and_no_operation_fails() {
    let Some(world) = World::new("").await else { return };
    let client = world.client();
    let first = digest(&world.sim().await).to_owned();
    let bad = world.put("b", CRASH, as_it_is).await.expect("in place");
    assert!(bad.trial_until.is_some(), "{bad:?}");
    // One operation is enough, and it goes on with the file that comes back.
    let only = vm(client, "only", "h1").await;
    in_state(client, &only, "running", PATIENCE).await;
    let driver = world.sim().await;
    assert_eq!((digest(&driver), driver.trial_until), (first.as_str(), None));
    let taken = &driver.earlier[0];
    assert_eq!(taken.digest, digest(&bad));
    let why = taken.taken_back.as_deref().unwrap_or_default();
    assert!(why.contains("calls of the new file crashed"), "{why}");
    assert!(world.log().contains(why), "the log says why");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_fails_much_more_often_is_taken_back() {
    let Some(world) = World::new("").await else { return };
    let client = world.client();
    let mut vms = Vec::new();
    for n in 0..3 {
        vms.push(vm(client, &format!("vm{n}"), "h1").await);
    }
    for vm in &vms {
        in_state(client, vm, "running", PATIENCE).await;
        for _ in 0..5 {
            daemon::done(client, vm, "reboot").await;
        }
    }
    let first = digest(&world.sim().await).to_owned();
    world.put("b", FAILS, as_it_is).await.expect("in place");
    let all = vms.iter().map(|vm| daemon::done(client, vm, "reboot"));
    futures::future::join_all(all).await;
    let driver = world.sim().await;
    assert_eq!(digest(&driver), first);
    let why = driver.earlier[0].taken_back.clone().unwrap_or_default();
    assert!(why.contains("calls of the new file failed; of the file before,"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_a_host_does_not_answer_changes_nothing() {
    let Some(world) = World::new("").await else { return };
    let first = digest(&world.sim().await).to_owned();
    let problem = world.put("b", BLIND, as_it_is).await.expect_err("it crashes");
    assert_eq!((problem.status, problem.code.as_str()), (422, "unusable"), "{problem:?}");
    for word in ["driver sim", "host h", "nothing was changed"] {
        assert!(problem.detail.contains(word), "no {word:?} in {}", problem.detail);
    }
    assert_eq!((digest(&world.sim().await), world.sim().await.earlier.len()), (first.as_str(), 0));
    // Without the try, the monitor's looks show it.
    world.put("b", BLIND, |new| NewDriver { untested: true, ..new }).await.expect("in place");
    poll("the file before to come back", PATIENCE, async || {
        let driver = world.sim().await;
        if digest(&driver) == first { Ok(()) } else { Err(format!("{driver:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_puts_the_file_before_back_and_the_other_one_again() {
    let Some(mut world) = World::new("").await else { return };
    let client = world.client().clone();
    let nothing = client.roll_driver_back("sim").await.expect_err("there is no earlier file");
    let ClientError::Problem(problem) = nothing else { panic!("{nothing}") };
    assert_eq!((problem.status, problem.code.as_str()), (409, "no-earlier-file"));
    let first = digest(&world.sim().await).to_owned();
    // An operation in hand goes on with the file that comes back.
    let second = world.put("b", BUSY_HOST, as_it_is).await.expect("in place");
    let waits = vm(&client, "waits", "h1").await;
    attempts(&client, &waits, 1).await;
    let back = client.roll_driver_back("sim").await.expect("put back");
    assert_eq!((digest(&back), back.earlier[0].digest.as_str()), (&*first, digest(&second)));
    in_state(&client, &waits, "running", PATIENCE).await;
    world.daemon.kill();
    world.daemon.up();
    assert_eq!(digest(&world.sim().await), first, "the store has it, and its file is there");
    let again = client.roll_driver_back("sim").await.expect("put back");
    assert_eq!(digest(&again), digest(&second));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_crashes_on_one_host_is_called_on_the_other() {
    let Some(world) = World::new(CRASH).await else { return };
    let client = world.client();
    let knobs = |host: &str| {
        let folder = world.dir.path().join("simhosts").join(host);
        std::fs::create_dir_all(&folder).expect("made");
        std::fs::write(folder.join("knobs"), "{}").expect("written");
    };
    knobs("h2");
    let mut crashed = Vec::new();
    for n in 0..3 {
        crashed.push(vm(client, &format!("vm{n}"), "h1").await);
    }
    poll("the driver not to be called on h1", PATIENCE, async || {
        let paused = world.sim().await.paused;
        if paused.iter().any(|pause| pause.host == "h1") {
            Ok(())
        } else {
            Err("called".to_owned())
        }
    })
    .await;
    assert!(world.log().contains("crashes on this host again and again"));
    let waits = vm(client, "waits", "h1").await;
    poll("a call that is not sent", PATIENCE, async || {
        let operations = client.operations_of(&waits).await.expect("known").operations;
        let newest = operations.iter().max_by_key(|operation| operation.id).ok_or("none")?;
        let error = newest.steps.iter().find_map(|step| step.error.as_ref()).ok_or("no error")?;
        if error.code == "driver-crashes" { Ok(()) } else { Err(format!("{error:?}")) }
    })
    .await;
    let other = vm(client, "other", "h2").await;
    in_state(client, &other, "running", PATIENCE).await;
    assert!(world.sim().await.paused.iter().all(|pause| pause.host == "h1"));
    // It is called again when the pause is over.
    knobs("h1");
    in_state(client, &waits, "running", PATIENCE).await;
    assert!(world.sim().await.paused.is_empty());
}

/// Reboots a VM again and again, until it is told to stop.
async fn reboots(client: Client, vm: String, stop: Arc<AtomicBool>, done: Arc<AtomicU64>) {
    let sent = Sent { wait: Some(PATIENCE), ..Sent::default() };
    while !stop.load(Ordering::Relaxed) {
        let reply = client.act(&vm, "reboot", &ActionBody::default(), &sent).await;
        let reply = reply.unwrap_or_else(|error| panic!("{error}"));
        let outcome = reply.operation.and_then(|operation| operation.outcome);
        assert_eq!(outcome.as_deref(), Some("succeeded"));
        done.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_swaps_under_load_fail_no_operation() {
    let Some(world) = World::new("").await else { return };
    let client = world.client();
    let mut vms = Vec::new();
    for n in 0..BUSY {
        vms.push(vm(client, &format!("vm{n}"), ["h1", "h2"][n % 2]).await);
    }
    for vm in &vms {
        in_state(client, vm, "running", PATIENCE).await;
    }
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let busy: Vec<_> = vms
        .into_iter()
        .map(|vm| tokio::spawn(reboots(client.clone(), vm, Arc::clone(&stop), Arc::clone(&done))))
        .collect();
    let builds = [world.build("a"), world.build("b")];
    let began = Instant::now();
    for n in 1..=SWAPS {
        let file = &builds[usize::try_from(n % 2).expect("small")];
        let before = done.load(Ordering::Relaxed);
        let driver = put(client, file, "", as_it_is).await.expect("in place");
        assert!(driver.earlier.iter().all(|file| file.taken_back.is_none()), "{driver:?}");
        poll("operations between the swaps", PATIENCE, async || {
            let now = done.load(Ordering::Relaxed);
            if now > before { Ok(()) } else { Err(format!("{now}")) }
        })
        .await;
    }
    let took = began.elapsed();
    stop.store(true, Ordering::Relaxed);
    for task in busy {
        task.await.expect("no operation failed");
    }
    let all = done.load(Ordering::Relaxed);
    println!("{SWAPS} swaps, {all} operations in {:.1} s, none failed", took.as_secs_f64());
}
