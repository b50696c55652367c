//! `kill -9` at every point of a scripted mix: after a new start everything converges by itself,
//! and nothing is lost or doubled.
//!
//! A point is before and after every commit, and before and after every driver call. The script
//! drives three VMs at once; when the engine dies each of its clients knows what it had asked and
//! whether it was answered. What was answered must come true; what was not, may or may not have
//! happened, but nothing in between.

use crate::support::{ALPHA, World, ask, comes, config, spec, until};
use futures::FutureExt as _;
use ostler_driver_testkit::fake::Op;
use ostler_engine::{CreateRequest, Engine, EngineConfig, Hooks, Point, Sabotage};
use ostler_model::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Worlds at once: each mostly waits for its disk.
const AT_ONCE: usize = 6;

const STORIES: [&[Verb]; 3] = [
    &[
        Verb::Deploy,
        Verb::Suspend,
        Verb::Resume,
        Verb::Reboot,
        Verb::PoweroffHard,
        Verb::Resume,
        Verb::Delete,
    ],
    &[Verb::Deploy, Verb::Stop, Verb::Resume],
    &[Verb::Deploy, Verb::Poweroff, Verb::UndeployHard, Verb::Shutdown],
];

/// What a client knows when the engine is gone.
#[derive(Debug, Clone, Copy)]
struct Known {
    vm: Option<VmId>,
    /// Where the last answered request leads.
    ends: State,
    /// Where one leads that was asked and not answered.
    perhaps: Option<State>,
}

fn ends(verb: Verb, before: State) -> State {
    match (verb, before) {
        // By way of the scheduler.
        (Verb::Resume, State::Stopped | State::Undeployed) => State::Running,
        (_, _) => ostler_lifecycle::recipe::ends_in(verb, before),
    }
}

async fn client(engine: Engine, name: String, story: &'static [Verb]) -> Known {
    let mut known = Known { vm: None, ends: State::Hold, perhaps: None };
    let request = CreateRequest { spec: spec(&name), hold: true, by: "test".to_owned() };
    let Ok(replied) = engine.create(request, None).await else { return known };
    let vm = replied.answer.vm;
    known.vm = Some(vm);
    for verb in story {
        let next = ends(*verb, known.ends);
        let Ok(replied) = engine.act(vm, ask(*verb), None).await else {
            return Known { perhaps: Some(next), ..known };
        };
        known.ends = next;
        if !settles(&engine, vm, next, replied.answer.operation).await {
            return known;
        }
    }
    known
}

/// Waits until the operation is over and the VM where it leads; false if the engine was killed
/// first.
async fn settles(engine: &Engine, vm: VmId, state: State, operation: Option<OperationId>) -> bool {
    loop {
        let reader = engine.store().read().expect("reads");
        let record = reader.vm(vm).expect("reads").expect("is there");
        let ended = operation.is_none_or(|id| {
            reader.operation(id).expect("reads").is_some_and(|found| found.ended.is_some())
        });
        if ended && record.state == state && record.operation.is_none() {
            return true;
        }
        if engine.preview(vm, ask(Verb::Delete)).await.is_err() {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Ends an engine at its `at`-th point; tells how many it has reached.
fn end_at(at: usize, sabotage: Sabotage) -> (Hooks, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let crash: Arc<dyn Fn(Point) -> bool + Send + Sync> =
        Arc::new(move |_| counter.fetch_add(1, Ordering::SeqCst) == at);
    (Hooks { sabotage, crash: Some(crash), ..Hooks::default() }, count)
}

/// How the script is played.
#[derive(Clone, Copy)]
struct Play {
    sabotage: Sabotage,
    /// How long what must come may take.
    patience: Duration,
    /// The points at which the new engines are ended, one after the other.
    again: &'static [usize],
    /// Calls are at work at the host for this long, and outlive the engine that sent them.
    slow: Duration,
}

const PLAIN: Play = Play {
    sabotage: Sabotage::None,
    patience: crate::support::PATIENCE,
    again: &[],
    slow: Duration::ZERO,
};

/// Plays the script, ends the engine at the `at`-th point, starts a new one, and says what does not
/// come true. None if the script has no such point.
async fn play(at: usize, how: Play) -> Option<Vec<String>> {
    let Play { sabotage, patience, again, slow } = how;
    let (hooks, count) = end_at(at, sabotage);
    let world = World::with(EngineConfig { hooks, ..config() }).await;
    if !slow.is_zero() {
        for op in [
            Op::Deploy,
            Op::Save,
            Op::Restore,
            Op::Unpause,
            Op::Destroy,
            Op::Remove,
            Op::Reboot,
            Op::PressPower,
        ] {
            world.fake.on(op).delay(slow);
        }
    }
    let clients = STORIES
        .iter()
        .enumerate()
        .map(|(n, story)| tokio::spawn(client(world.engine.clone(), format!("vm-{n}"), story)));
    let mut known = Vec::new();
    for client in clients.collect::<Vec<_>>() {
        known.push(client.await.expect("joins"));
    }
    if count.load(Ordering::SeqCst) <= at {
        assert_eq!(world.findings(), Vec::<String>::new(), "without a crash");
        return None;
    }
    let after = Hooks {
        sabotage: if sabotage == Sabotage::NoResume { sabotage } else { Sabotage::None },
        ..Hooks::default()
    };
    let mut world = world;
    for at in again {
        let (hooks, count) = end_at(*at, Sabotage::None);
        world = world.restart(EngineConfig { hooks, ..config() }).await;
        // What is left to do may have fewer points.
        comes(Duration::from_millis(100), || count.load(Ordering::SeqCst) > *at).await;
    }
    let world = world.restart(EngineConfig { hooks: after, ..config() }).await;
    let mut found = judge(&world, &known, patience).await;
    if found.is_empty() {
        found = clean_up(&world, patience).await;
    }
    world.engine.abort().await;
    Some(found)
}

/// Waits until nothing moves, and compares with what the clients know.
async fn judge(world: &World, known: &[Known], patience: Duration) -> Vec<String> {
    let placed = || world.vms().iter().all(|vm| vm.state != State::Pending);
    if !comes(patience, || world.at_rest() && placed()).await {
        return world
            .vms()
            .iter()
            .map(|vm| format!("VM {} hangs: {:?}", vm.id, world.engine.why(vm.id)))
            .collect();
    }
    // The monitor may still have to see something.
    comes(Duration::from_millis(500), || world.findings().is_empty()).await;
    let mut found = world.findings();
    for known in known {
        let Some(vm) = known.vm else { continue };
        let state = world.state(vm);
        if state != known.ends && Some(state) != known.perhaps {
            found.push(format!("VM {vm} is {state}, and what was told is {known:?}"));
        }
        let (reboots, asked) =
            (world.fake.edges(ALPHA, world.record(vm).uuid).reboots, reboots(world, vm));
        if reboots > asked {
            found.push(format!("VM {vm} was rebooted {reboots} times, and {asked} were asked"));
        }
    }
    found
}

fn reboots(world: &World, vm: VmId) -> u32 {
    let operations =
        world.engine.store().read().expect("reads").operations_of(vm, 100).expect("reads");
    operations.iter().filter(|operation| operation.verb == Some(Verb::Reboot)).map(|_| 1).sum()
}

/// Ends every VM; nothing may be left of any.
async fn clean_up(world: &World, patience: Duration) -> Vec<String> {
    for vm in world.vms() {
        if let Err(error) = world.act(vm.id, Verb::Delete).await {
            return vec![format!("VM {}: {error}", vm.id)];
        }
    }
    let mut found = Vec::new();
    if !comes(patience, || world.vms().iter().all(|vm| vm.state == State::Done)).await {
        found.push("a delete hangs".to_owned());
    }
    found.extend(world.findings());
    if !world.engine.store().read().expect("reads").usage_all().expect("reads").is_empty() {
        found.push("capacity is held by nobody".to_owned());
    }
    found
}

/// Plays the script with an end at every point from `from` on in steps; what goes wrong where.
async fn play_all(
    how: Play,
    step: usize,
    stop_at_first: bool,
) -> (usize, Vec<(usize, Vec<String>)>) {
    let (mut wrong, mut played, mut from) = (Vec::new(), 0, 0);
    loop {
        let worlds = (0..AT_ONCE)
            .map(|n| (from + n) * step)
            .map(|at| async move { (at, tokio::spawn(play(at, how)).await) });
        let mut over = false;
        for (at, result) in futures::future::join_all(worlds).await {
            match result.expect("a world fell over") {
                Some(found) => {
                    played += 1;
                    if !found.is_empty() {
                        wrong.push((at, found));
                    }
                }
                None => over = true,
            }
        }
        from += AT_ONCE;
        if over || stop_at_first && !wrong.is_empty() {
            return (played, wrong);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_every_point_loses_and_doubles_nothing() {
    let (played, wrong) = play_all(PLAIN, 1, false).await;
    assert!(played > 100, "the script has only {played} points");
    assert!(wrong.is_empty(), "{} of {played}: {wrong:#?}", wrong.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_is_killed_and_killed_again_loses_and_doubles_nothing() {
    let (played, wrong) = play_all(Play { again: &[0, 1, 4], ..PLAIN }, 5, false).await;
    assert!(played > 20, "only {played} were played");
    assert!(wrong.is_empty(), "{} of {played}: {wrong:#?}", wrong.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_outlive_the_daemon_do_no_harm() {
    let (played, wrong) =
        play_all(Play { slow: Duration::from_millis(20), ..PLAIN }, 3, false).await;
    assert!(played > 30, "only {played} were played");
    assert!(wrong.is_empty(), "{} of {played}: {wrong:#?}", wrong.len());
}

/// Negative controls: the test above is worth nothing unless these are found.
#[tokio::test(flavor = "multi_thread")]
async fn effects_that_are_sent_before_their_commit_are_found() {
    let (_, wrong) = play_all(
        Play { sabotage: Sabotage::ActFirst, patience: Duration::from_secs(5), ..PLAIN },
        1,
        true,
    )
    .await;
    assert!(!wrong.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn effects_that_nobody_wrote_down_are_found() {
    let (_, wrong) = play_all(
        Play { sabotage: Sabotage::NoOutbox, patience: Duration::from_secs(3), ..PLAIN },
        1,
        true,
    )
    .await;
    assert!(
        wrong.iter().any(|(_, found)| found.iter().any(|line| line.contains("hangs"))),
        "{wrong:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_does_not_look_back_is_found() {
    let (_, wrong) = play_all(
        Play { sabotage: Sabotage::NoResume, patience: Duration::from_secs(3), ..PLAIN },
        1,
        true,
    )
    .await;
    assert!(
        wrong.iter().any(|(_, found)| found.iter().any(|line| line.contains("hangs"))),
        "{wrong:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_outlives_the_daemon_is_waited_for() {
    let world = World::new().await;
    let vm = world.held("outlives").await;
    let gate = world.fake.on(Op::Deploy).times(1).hold();
    world.act(vm, Verb::Deploy).await.expect("accepted");
    gate.reached(1).await;
    let world = world.restart(config()).await;
    assert!(
        !comes(Duration::from_millis(300), || world.at_rest()).await,
        "concluded while the call was at work"
    );
    gate.open();
    world.reaches(vm, State::Running).await;
    assert_eq!(world.fake.count(Op::Deploy), 1);
    world.healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_waits_for_a_start_that_outlives_the_daemon() {
    let world = World::new().await;
    let vm = world.held("revenant").await;
    let gate = world.fake.on(Op::Deploy).times(1).hold();
    world.act(vm, Verb::Deploy).await.expect("accepted");
    gate.reached(1).await;
    // Twice, because the second engine finds no call open that the first has not asked about.
    let world = world.restart(config()).await;
    until("a look that says busy", || {
        world.record(vm).operation.is_some_and(|active| active.blind > 0)
    })
    .await;
    let world = world.restart(config()).await;
    world.act(vm, Verb::Delete).await.expect("accepted");
    assert!(
        !comes(Duration::from_millis(300), || world.state(vm) == State::Done).await,
        "done while it may start"
    );
    assert_eq!(world.fake.count(Op::Remove), 0, "a second call beside the first");
    gate.open();
    world.reaches(vm, State::Done).await;
    assert!(world.fake.domains(ALPHA).is_empty());
    world.healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_in_the_middle_is_gone_on_with() {
    let world = World::new().await;
    world.fake.on(Op::Deploy).times(3).late(Duration::from_millis(100));
    let vms = [world.held("a").await, world.held("b").await, world.held("c").await];
    for vm in vms {
        world.act(vm, Verb::Deploy).await.expect("accepted");
    }
    world.engine.shutdown().await;
    assert!(matches!(
        world.act(vms[0], Verb::Delete).await,
        Err(ostler_engine::EngineError::ShuttingDown)
    ));
    let world = world.restart(config()).await;
    for vm in vms {
        world.reaches(vm, State::Running).await;
    }
    world.healthy();
}

/// Waits until the runtime of this thread ends: then it drops new tasks at once.
fn await_the_end_of_the_runtime() {
    let begun = std::time::Instant::now();
    while begun.elapsed() < crate::support::PATIENCE {
        let task = tokio::spawn(std::future::pending::<()>());
        if task.is_finished() {
            return;
        }
        task.abort();
        std::thread::yield_now();
    }
}

#[test]
fn a_runtime_can_end_while_an_answer_is_on_its_way() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    let (tell, told) = std::sync::mpsc::channel();
    let alive = Arc::new(());
    let weak = Arc::downgrade(&alive);
    let crash: Arc<dyn Fn(Point) -> bool + Send + Sync> = Arc::new(move |point| {
        let _held = &alive;
        if point == Point::Answered && tell.send(()).is_ok() {
            await_the_end_of_the_runtime();
        }
        false
    });
    runtime.block_on(async {
        let world = World::with(EngineConfig {
            hooks: Hooks { crash: Some(crash), ..Hooks::default() },
            ..config()
        })
        .await;
        let vm = world.held("web").await;
        world.act(vm, Verb::Deploy).await.expect("accepted");
        until("a driver to have answered", || told.try_recv().is_ok()).await;
    });
    runtime.shutdown_timeout(crate::support::PATIENCE);
    assert!(weak.upgrade().is_none(), "a task of the engine goes on though its runtime has ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_not_sent_when_the_daemon_ends_is_sent_by_the_next_one_only() {
    let held: Arc<Mutex<Option<Engine>>> = Arc::default();
    let ends = Arc::clone(&held);
    // The daemon is told to end in the moment before a call would be sent.
    let crash: Arc<dyn Fn(Point) -> bool + Send + Sync> = Arc::new(move |point| {
        if point == Point::Sending
            && let Some(engine) = ends.lock().expect("nobody panics with it").take()
        {
            let _ = engine.shutdown().now_or_never();
        }
        false
    });
    let world = World::with(EngineConfig {
        hooks: Hooks { crash: Some(crash), ..Hooks::default() },
        ..config()
    })
    .await;
    let vm = world.held("web").await;
    *held.lock().expect("nobody panics with it") = Some(world.engine.clone());
    world.act(vm, Verb::Deploy).await.expect("accepted");
    until("the call to be about to be sent", || {
        held.lock().expect("nobody panics with it").is_none()
    })
    .await;
    world.engine.shutdown().await;
    let mutating = |world: &World| {
        world.fake.calls().into_iter().filter(|call| call.key.is_some()).collect::<Vec<_>>()
    };
    assert_eq!(mutating(&world), vec![], "the call is not begun by a daemon that ends");
    assert_eq!(world.record(vm).open.len(), 1, "it stays open for the next start");
    let world = world.restart(config()).await;
    world.reaches(vm, State::Running).await;
    world.healthy();
}
