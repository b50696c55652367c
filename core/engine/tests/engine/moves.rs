//! VMs that move between two hosts that share nothing, over the fake.

use crate::support::{ALPHA, BETA, World, ask, comes, config, refusal, until};
use ostler_driver_testkit::fake::Op;
use ostler_engine::{ActionRequest, EngineConfig, EngineError, Hooks, Waits};
use ostler_model::*;
use std::time::Duration;

fn to(verb: Verb, host: HostId) -> ActionRequest {
    ActionRequest { host: Some(host), ..ask(verb) }
}

fn fenced(host: HostId) -> ActionRequest {
    let args = Args::Migrate { fenced: true, storage_moved: true };
    ActionRequest { args, ..to(Verb::Migrate, host) }
}

fn run_of(world: &World, host: HostId, vm: VmId) -> Option<u64> {
    world.fake.domain(host, world.record(vm).uuid).map(|domain| domain.run)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_vm_moves_and_is_the_same_run_of_its_guest() {
    let world = World::new().await;
    let vm = world.running("a").await;
    let before = run_of(&world, ALPHA, vm);
    world.fake.long_jobs(3);
    world.done(vm, to(Verb::MigrateLive, BETA)).await;
    assert_eq!(world.state(vm), State::Running);
    assert_eq!((run_of(&world, ALPHA, vm), run_of(&world, BETA, vm)), (None, before));
    let record = world.record(vm);
    assert_eq!((record.placed, record.issued, record.moving), (Generation(2), Generation(2), None));
    let stays: Vec<_> =
        record.history.iter().map(|stay| (stay.host, stay.begun_by, stay.ended_by)).collect();
    let live = Some(Verb::MigrateLive);
    assert_eq!(stays, [(ALPHA, Some(Verb::Deploy), live), (BETA, live, None)]);
    world.healthy();
    world.succeeds(vm, Verb::Delete).await;
    world.healthy();
}

/// The migration goes on at the hypervisor, and its driver cannot tell how far it is. A removal that
/// were sent meanwhile would end the guest in the middle of its way.
#[tokio::test(flavor = "multi_thread")]
async fn a_delete_waits_for_a_migration_that_was_begun_and_not_followed() {
    let world = World::new().await;
    let vm = world.running("a").await;
    world.fake.long_jobs(3);
    world.fake.jobs_go_on(Duration::from_secs(1));
    world.fake.on(Op::PollJob).fail(DriverError::retry("not-now", "it cannot be told now"));
    world.engine.act(vm, to(Verb::MigrateLive, BETA), None).await.expect("accepted");
    until("the migration to wait for its next try", || {
        let record = world.record(vm);
        world.fake.count(Op::PollJob) > 0 && record.open.is_empty() && record.operation.is_some()
    })
    .await;
    assert_eq!(world.fake.jobs_at_work().len(), 1);
    world.succeeds(vm, Verb::Delete).await;
    world.healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_moves_cold_with_its_memory_or_without() {
    for verb in [Verb::Migrate, Verb::MigratePoweroff, Verb::MigratePoweroffHard] {
        let world = World::new().await;
        world.fake.obey();
        let vm = world.running("a").await;
        let before = run_of(&world, ALPHA, vm);
        world.done(vm, to(verb, BETA)).await;
        assert_eq!((world.state(vm), run_of(&world, ALPHA, vm)), (State::Running, None), "{verb}");
        assert_eq!(run_of(&world, BETA, vm) == before, verb == Verb::Migrate, "{verb}");
        world.healthy();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_at_rest_moves_and_rests() {
    for (verb, rest) in [(Verb::Suspend, State::Suspended), (Verb::PoweroffHard, State::Poweroff)] {
        let world = World::new().await;
        let vm = world.running("a").await;
        let before = run_of(&world, ALPHA, vm);
        world.succeeds(vm, verb).await;
        world.done(vm, to(Verb::Migrate, BETA)).await;
        assert_eq!(world.state(vm), rest);
        world.healthy();
        world.succeeds(vm, Verb::Resume).await;
        assert_eq!(run_of(&world, BETA, vm) == before, verb == Verb::Suspend);
        world.healthy();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_fails_leaves_the_guest_running_where_it_was() {
    let faults = [
        (Verb::MigrateLive, Op::Migrate, None),
        (Verb::MigrateLive, Op::Prepare, Some(BETA)),
        (Verb::Migrate, Op::Copy, None),
        (Verb::Migrate, Op::Restore, Some(BETA)),
        (Verb::MigratePoweroffHard, Op::Deploy, Some(BETA)),
    ];
    for (verb, op, host) in faults {
        let world = World::new().await;
        let vm = world.running("a").await;
        let before = run_of(&world, ALPHA, vm);
        let order = world.fake.on(op).times(1);
        let order = if let Some(host) = host { order.host(host) } else { order };
        order.fail(DriverError::refused("no", "as the test wants"));
        let waited = world.ends(vm, to(verb, BETA)).await;
        assert!(
            matches!(waited.operation.outcome, Some(Ended::Failed { .. })),
            "{verb} {op}: {:#?}",
            waited.operation
        );
        assert_eq!(world.state(vm), State::Running, "{verb} {op}: {:?}", world.engine.why(vm));
        assert_eq!(world.record(vm).moving, None, "{verb} {op}");
        let same = verb != Verb::MigratePoweroffHard;
        assert_eq!(run_of(&world, ALPHA, vm) == before, same, "{verb} {op}");
        world.healthy();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_of_a_migration_is_neither_a_loss_nor_a_second_guest() {
    for polls in [0, 3] {
        let world = World::new().await;
        let vm = world.running("a").await;
        world.fake.long_jobs(polls);
        world.fake.on(if polls == 0 { Op::Migrate } else { Op::PollJob }).times(1).lose();
        world.done(vm, to(Verb::MigrateLive, BETA)).await;
        assert_eq!(world.state(vm), State::Running);
        assert_eq!(world.record(vm).placement.map(|place| place.host), Some(BETA));
        world.healthy();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_vm_cannot_go_is_said_before_anything_happens() {
    let world = World::new().await;
    let vm = world.running("a").await;
    let before = world.record(vm);
    let ask_for = async |request| refusal(world.engine.act(vm, request, None).await);
    assert_eq!(ask_for(to(Verb::MigrateLive, ALPHA)).await, RefusalKind::BadRequest);
    assert_eq!(
        ask_for(ActionRequest { host: None, ..ask(Verb::Migrate) }).await,
        RefusalKind::NoHost
    );
    let big = ActionRequest {
        args: Args::Size { cpu_milli: None, vcpus: Some(4), memory_mib: None },
        ..ask(Verb::Resize)
    };
    assert_eq!(ask_for(big).await, RefusalKind::BadRequest);
    assert_eq!(world.record(vm), before);
}

fn sees_the_same_files(refused: &EngineError) -> bool {
    let same =
        |cause: &Cause| matches!(cause, Cause::HostUnfit { why: Unfit::OneFileSystem(_), .. });
    matches!(refused, EngineError::Refused(refused) if same(&refused.cause))
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_not_copied_onto_themselves() {
    let world = World::new().await;
    let vm = world.running("a").await;
    let same = Host {
        transport: crate::support::host(ALPHA, "alpha").transport,
        ..crate::support::host(BETA, "beta")
    };
    world
        .engine
        .change(ostler_store::ResourceChange::HostPut(same), "test")
        .await
        .expect("changes");
    let refused = world.engine.act(vm, to(Verb::Migrate, BETA), None).await.expect_err("refused");
    assert!(sees_the_same_files(&refused), "{refused}");
    world.healthy();
}

/// A host falls silent for longer than the grace, at once.
fn impatient() -> EngineConfig {
    EngineConfig { hooks: Hooks { head_start: Millis::secs(3600), ..Hooks::default() }, ..config() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_of_a_lost_host_is_started_elsewhere_only_if_its_operator_says_that_it_cannot_run() {
    let world = World::with(impatient()).await;
    let vm = world.running("a").await;
    world.fake.cut_off(ALPHA, true);
    world.reaches(vm, State::Unknown).await;
    assert_eq!(
        refusal(world.engine.act(vm, to(Verb::Migrate, BETA), None).await),
        RefusalKind::NotFenced
    );
    let half = ActionRequest {
        args: Args::Migrate { fenced: true, storage_moved: false },
        ..to(Verb::Migrate, BETA)
    };
    assert_eq!(refusal(world.engine.act(vm, half, None).await), RefusalKind::NotFenced);
    // The operator has brought the files.
    let folder = format!("vms/{}", world.record(vm).folder());
    for disk in world.record(vm).disks {
        let path: RelPath = format!("{folder}/{}", disk.file).parse().expect("a path");
        let store: DatastoreName = "system".parse().expect("a name");
        let file = world.fake.file(ALPHA, &store, &path).expect("is there");
        world.fake.put_file(BETA, store, path, file);
    }
    world.done(vm, fenced(BETA)).await;
    assert_eq!(world.state(vm), State::Running);
    assert_eq!(world.record(vm).leftovers.len(), 1);
    // The old host is back, and the old domain still runs there: the generations decide.
    world.fake.cut_off(ALPHA, false);
    until("the older one to be put away", || {
        world.fake.domains(ALPHA).is_empty() && world.record(vm).leftovers.is_empty()
    })
    .await;
    assert_eq!(world.fake.running().len(), 1);
    world.succeeds(vm, Verb::Delete).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_whose_host_is_lost_can_be_forgotten_and_is_swept_when_the_host_is_back() {
    let world = World::with(impatient()).await;
    let vm = world.running("a").await;
    assert_eq!(refusal(world.act(vm, Verb::Forget).await), RefusalKind::Contradicted);
    world.fake.cut_off(ALPHA, true);
    world.reaches(vm, State::Unknown).await;
    // A delete waits for its host for ever; forget overtakes it.
    world.act(vm, Verb::Delete).await.expect("accepted");
    world.succeeds(vm, Verb::Forget).await;
    assert_eq!(world.state(vm), State::Done);
    let image = world.record(vm).disks[0].image.expect("an image");
    assert!(
        world.engine.store().read().expect("reads").image_holds(image).expect("reads") > 0,
        "its image is held"
    );
    world.fake.cut_off(ALPHA, false);
    until("all of it to be gone", || world.record(vm).leftovers.is_empty()).await;
    assert!(
        comes(Duration::from_secs(5), || world.findings().is_empty()).await,
        "{:#?}",
        world.findings()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scheduler_moves_what_is_to_be_elsewhere() {
    let world = World::new().await;
    let vm = world.running("a").await;
    world.act(vm, Verb::Resched).await.expect("accepted");
    until("it to be on beta", || {
        let record = world.record(vm);
        record.state == State::Running && record.placement.is_some_and(|place| place.host == BETA)
    })
    .await;
    assert!(!world.record(vm).resched);
    world.healthy();
}

/// A VM that has moved from alpha to beta, and what it left on alpha cannot be removed.
async fn moved_and_not_swept(world: &World) -> VmId {
    let vm = world.running("a").await;
    world.fake.on(Op::Delete).host(ALPHA).fail(DriverError::refused("no", "as the test wants"));
    world.done(vm, to(Verb::MigratePoweroffHard, BETA)).await;
    assert_eq!((world.state(vm), world.record(vm).leftovers.len()), (State::Running, 1));
    vm
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_does_not_come_to_files_that_are_about_to_be_swept() {
    let world = World::new().await;
    let vm = moved_and_not_swept(&world).await;
    // Another name for the machine that it left: what is swept there would be what it uses here.
    const GAMMA: HostId = HostId(3);
    let gamma = Host {
        transport: crate::support::host(ALPHA, "alpha").transport,
        ..crate::support::host(GAMMA, "gamma")
    };
    world
        .engine
        .change(ostler_store::ResourceChange::HostPut(gamma), "test")
        .await
        .expect("changes");
    until("gamma to be seen", || {
        world.engine.host_health(GAMMA).is_some_and(|health| health.reachable)
    })
    .await;
    let refused = world.engine.act(vm, to(Verb::Migrate, GAMMA), None).await.expect_err("refused");
    assert!(sees_the_same_files(&refused), "{refused}");
    world.succeeds(vm, Verb::Undeploy).await;
    world.engine.act(vm, to(Verb::Deploy, GAMMA), None).await.expect_err("refused");
    world.act(vm, Verb::Resume).await.expect("accepted");
    world.reaches(vm, State::Running).await;
    assert_eq!(
        world.record(vm).placement.map(|place| place.host),
        Some(BETA),
        "the one host that it may come to"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_was_asked_of_the_scheduler_and_failed_is_not_tried_for_ever() {
    let world = World::new().await;
    let vm = world.running("a").await;
    world.fake.on(Op::Migrate).fail(DriverError::refused("no", "as the test wants"));
    world.act(vm, Verb::Resched).await.expect("accepted");
    until("it to have failed", || !world.record(vm).resched && world.state(vm) == State::Running)
        .await;
    world.create(crate::support::spec("b"), false).await.expect("creates");
    assert!(
        !comes(Duration::from_millis(500), || world.fake.count(Op::Migrate) > 1).await,
        "moved again and again"
    );
    world.healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scheduler_says_why_it_does_not_move_what_it_cannot_see() {
    let world = World::with(impatient()).await;
    let vm = world.running("a").await;
    world.fake.cut_off(ALPHA, true);
    world.reaches(vm, State::Unknown).await;
    let version = world.record(vm).version;
    world.act(vm, Verb::Resched).await.expect("accepted");
    let said = || world.engine.why(vm).expect("answers").scheduler;
    until("a word", || said() == [Waits::Unseen]).await;
    assert_eq!(world.record(vm).version, version.next(), "nothing but the wish");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leftover_that_takes_long_to_remove_holds_up_neither_its_host_nor_its_vm() {
    let world = World::new().await;
    let vm = world.running("a").await;
    world
        .fake
        .on(Op::Delete)
        .host(ALPHA)
        .times(1)
        .fail(DriverError::refused("no", "as the test wants"));
    // The gate stands before the move begins, and lets the call through that is refused. A sweep
    // that comes before there is a gate would leave nothing to hold.
    let gate = world.fake.on(Op::Delete).host(ALPHA).hold();
    gate.step();
    world.done(vm, to(Verb::MigratePoweroffHard, BETA)).await;
    gate.reached(2).await;
    let lists = || {
        world.fake.calls().iter().filter(|call| call.op == Op::List && call.host == ALPHA).count()
    };
    let before = lists();
    // More than its mailbox holds.
    assert!(
        comes(Duration::from_secs(15), || lists() > before + 80).await,
        "alpha is not looked over any more"
    );
    gate.open();
    until("it to be gone", || world.record(vm).leftovers.is_empty()).await;
    world.healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_host_of_a_move_is_not_asked_while_the_operation_goes_on() {
    let world = World::new().await;
    let vm = world.running("a").await;
    world.fake.ignore_acpi(true);
    world.engine.act(vm, to(Verb::MigratePoweroff, BETA), None).await.expect("accepted");
    world.reaches(vm, State::Shutdown).await;
    let asked = |host| {
        world.fake.calls().iter().filter(|call| call.op == Op::Observe && call.host == host).count()
    };
    let before = asked(BETA);
    until("some looks", || asked(ALPHA) > 5).await;
    assert_eq!(
        asked(BETA),
        before,
        "nothing of it is there yet, and a host that hangs would hold up the other"
    );
}
