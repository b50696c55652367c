//! The three answers to a request, and what makes two requests one.

use crate::support::{ALPHA, BETA, World, ask, refusal, spec, until};
use ostler_driver_testkit::fake::Op;
use ostler_engine::{ActionRequest, CreateRequest, EngineError, Idempotency};
use ostler_model::{
    Args, Ended, EventSeq, HostId, OperationId, RefusalKind, State, Verb, Version, VmId,
};
use std::time::Duration;

fn key(key: &str, body: &str) -> Option<Idempotency> {
    Some(Idempotency {
        who: "test".to_owned(),
        route: "POST /x".to_owned(),
        key: key.to_owned(),
        body_hash: body.to_owned(),
    })
}

fn seq(world: &World) -> EventSeq {
    world.engine.store().read().expect("reads").seq().expect("reads")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_changes_nothing() {
    let world = World::new().await;
    let vm = world.held("still").await;
    let (before, at) = (world.record(vm), seq(&world));
    for verb in [Verb::Suspend, Verb::Poweroff, Verb::Reboot, Verb::Resume, Verb::Boot] {
        assert_eq!(refusal(world.act(vm, verb).await), RefusalKind::WrongState, "{verb}");
    }
    assert_eq!(refusal(world.act(vm, Verb::RecoverRetry).await), RefusalKind::NothingToRecover);
    let stale = ActionRequest { if_version: Some(Version(99)), ..ask(Verb::Release) };
    assert_eq!(refusal(world.engine.act(vm, stale, None).await), RefusalKind::VersionMismatch);
    let nowhere = ActionRequest { host: Some(HostId(77)), ..ask(Verb::Deploy) };
    assert_eq!(refusal(world.engine.act(vm, nowhere, None).await), RefusalKind::NoHost);
    let no_host = ActionRequest { host: None, ..ask(Verb::Deploy) };
    assert_eq!(refusal(world.engine.act(vm, no_host, None).await), RefusalKind::NoHost);
    assert!(matches!(
        world.act(VmId(999), Verb::Delete).await,
        Err(EngineError::NoSuchVm(VmId(999)))
    ));
    assert_eq!((world.record(vm), seq(&world)), (before, at));
    let fits = ActionRequest { if_version: Some(world.record(vm).version), ..ask(Verb::Deploy) };
    world.engine.act(vm, fits, None).await.expect("accepted");
    world.reaches(vm, State::Running).await;
}

/// The command line sends a key with each request.
#[tokio::test(flavor = "multi_thread")]
async fn a_size_that_a_vm_has_already_is_answered_with_a_key_too() {
    let world = World::new().await;
    let vm = world.running("sized").await;
    world.succeeds(vm, Verb::PoweroffHard).await;
    let memory = world.record(vm).spec.memory_mib;
    let args = Args::Size { cpu_milli: None, vcpus: None, memory_mib: Some(memory) };
    let resize = || ActionRequest { args: args.clone(), ..ask(Verb::Resize) };
    for again in 0..2 {
        let answered = world
            .engine
            .act(vm, resize(), key("k", "same"))
            .await
            .unwrap_or_else(|error| panic!("{again}: {error}"));
        assert_eq!((answered.answer.operation, answered.replayed), (None, again == 1));
    }
    assert_eq!(world.record(vm).spec.memory_mib, memory);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_so_already_is_told_and_changes_nothing() {
    let world = World::new().await;
    let vm = world.running("so").await;
    let version = world.record(vm).version;
    let answer = world.act(vm, Verb::Resume).await.expect("accepted").answer;
    assert!(answer.already);
    assert_eq!((answer.version, answer.operation), (version, None));
    let gate = world.fake.on(Op::Save).hold();
    let first = world.act(vm, Verb::Suspend).await.expect("accepted").answer;
    gate.reached(1).await;
    let again = world.act(vm, Verb::Suspend).await.expect("accepted").answer;
    assert!(again.already);
    assert_eq!(again.operation, first.operation);
    assert_eq!(refusal(world.act(vm, Verb::Stop).await), RefusalKind::Busy);
    gate.open();
    world.reaches(vm, State::Suspended).await;
    assert_eq!(world.fake.count(Op::Save), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_is_done_once_and_another_under_its_key_is_refused() {
    let world = World::new().await;
    let create = |name: &str| CreateRequest { spec: spec(name), hold: true, by: "test".to_owned() };
    let first = world.engine.create(create("one"), key("a", "1")).await.expect("creates");
    let again = world.engine.create(create("one"), key("a", "1")).await.expect("replays");
    assert_eq!((again.answer.clone(), again.replayed), (first.answer.clone(), true));
    assert!(matches!(
        world.engine.create(create("two"), key("a", "2")).await,
        Err(EngineError::IdempotencyConflict { .. })
    ));
    let vm = first.answer.vm;
    let done = world.engine.act(vm, ask(Verb::Deploy), key("b", "1")).await.expect("accepted");
    world.reaches(vm, State::Running).await;
    let again = world.engine.act(vm, ask(Verb::Deploy), key("b", "1")).await.expect("replays");
    assert_eq!((again.answer, again.replayed), (done.answer, true));
    // What is so already is kept too: a repeat after a change is still the same request.
    let already = world.engine.act(vm, ask(Verb::Resume), key("c", "1")).await.expect("accepted");
    world.succeeds(vm, Verb::PoweroffHard).await;
    let again = world.engine.act(vm, ask(Verb::Resume), key("c", "1")).await.expect("replays");
    assert_eq!((again.answer, again.replayed), (already.answer, true));
    assert_eq!(world.state(vm), State::Poweroff);
    assert_eq!(world.vms().len(), 1);
    // Nor does it matter that it could not be asked for any more.
    world.succeeds(vm, Verb::Delete).await;
    world
        .engine
        .change(ostler_store::ResourceChange::HostRemove(ALPHA), "test")
        .await
        .expect("changes");
    let again = world.engine.act(vm, ask(Verb::Deploy), key("b", "1")).await.expect("replays");
    assert!(again.replayed);
    world.healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_duplicates_are_one_request() {
    let world = World::new().await;
    let create = || CreateRequest { spec: spec("twin"), hold: true, by: "test".to_owned() };
    let answers =
        futures::future::join_all((0..16).map(|_| world.engine.create(create(), key("k", "1"))))
            .await;
    let vms: Vec<VmId> =
        answers.into_iter().map(|answer| answer.expect("answers").answer.vm).collect();
    assert!(vms.iter().all(|vm| *vm == vms[0]), "{vms:?}");
    let acts = futures::future::join_all(
        (0..16).map(|_| world.engine.act(vms[0], ask(Verb::Deploy), key("d", "1"))),
    )
    .await;
    let operations: Vec<_> =
        acts.into_iter().map(|answer| answer.expect("answers").answer.operation).collect();
    assert!(operations.iter().all(|operation| *operation == operations[0]), "{operations:?}");
    world.reaches(vms[0], State::Running).await;
    assert_eq!(world.vms().len(), 1);
    assert_eq!(world.fake.count(Op::Deploy), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_ends_with_the_operation_or_with_its_time() {
    let world = World::new().await;
    let vm = world.held("waited").await;
    let gate = world.fake.on(Op::Deploy).hold();
    let operation = world
        .act(vm, Verb::Deploy)
        .await
        .expect("accepted")
        .answer
        .operation
        .expect("an operation");
    gate.reached(1).await;
    let early = world.engine.wait(operation, Duration::from_millis(20)).await.expect("waits");
    assert!(early.timed_out);
    assert_eq!(early.state, State::Boot);
    let given_up = world.engine.wait(operation, Duration::ZERO).await.expect("waits");
    assert!(given_up.timed_out);
    gate.open();
    let done = world.engine.wait(operation, crate::support::PATIENCE).await.expect("waits");
    assert_eq!(
        (done.timed_out, done.state, done.operation.outcome),
        (false, State::Running, Some(Ended::Succeeded))
    );
    let later = world.engine.wait(operation, Duration::ZERO).await.expect("waits");
    assert!(!later.timed_out);
    let unknown = world.engine.wait(OperationId(4711), Duration::ZERO).await;
    assert!(matches!(unknown, Err(EngineError::NoSuchOperation(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_tells_the_way_and_does_nothing() {
    let world = World::new().await;
    let vm = world.held("seen").await;
    let (before, at) = (world.record(vm), seq(&world));
    let way = world.engine.preview(vm, ask(Verb::Deploy)).await.expect("answers");
    assert_eq!(way.states, ["prolog", "boot", "running"]);
    assert_eq!(way.steps, ["prepare-disks", "boot"]);
    let no = world.engine.preview(vm, ask(Verb::Suspend)).await.expect("answers");
    assert_eq!(no.refused.map(|refusal| refusal.kind), Some(RefusalKind::WrongState));
    assert_eq!((world.record(vm), seq(&world)), (before, at));
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_requests_for_one_vm_are_refused_and_its_answers_still_come_in() {
    let world = World::new().await;
    let vm = world.running("popular").await;
    // The runner looks before it decides, and the look is held: everything else waits in the
    // mailbox.
    let gate = world.fake.on(Op::Observe).vm(world.record(vm).uuid).hold();
    let looks = ActionRequest { force: true, ..ask(Verb::RecoverSuccess) };
    let engine = world.engine.clone();
    let first = tokio::spawn(async move { engine.act(vm, looks, None).await });
    gate.reached(1).await;
    let asked: Vec<_> = (0..60)
        .map(|_| {
            let engine = world.engine.clone();
            tokio::spawn(async move { engine.act(vm, ask(Verb::Resume), None).await })
        })
        .collect();
    until("some to be refused", || asked.iter().filter(|task| task.is_finished()).count() >= 12)
        .await;
    gate.open();
    let mut overloaded = 0;
    for task in asked {
        match task.await.expect("joins") {
            Ok(replied) => assert!(replied.answer.already),
            Err(EngineError::Overloaded { .. }) => overloaded += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(overloaded >= 12, "{overloaded}");
    assert_eq!(refusal(first.await.expect("joins")), RefusalKind::NothingToRecover);
    world.succeeds(vm, Verb::Delete).await;
    world.healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_draining_or_off_takes_no_vm() {
    let world = World::new().await;
    let vm = world.held("nowhere").await;
    for state in [ostler_model::HostState::Draining, ostler_model::HostState::Off] {
        let edit =
            ostler_store::HostEdit { state: Some(state), ..ostler_store::HostEdit::default() };
        let change = ostler_store::ResourceChange::HostEdit { id: ALPHA, edit };
        world.engine.change(change, "test").await.expect("changes");
        assert_eq!(refusal(world.act(vm, Verb::Deploy).await), RefusalKind::NoCapacity);
    }
    assert_eq!(world.state(vm), State::Hold);
    world.succeeds(vm, Verb::Release).await;
    world.reaches(vm, State::Running).await;
    assert_eq!(world.record(vm).placement.map(|place| place.host), Some(BETA));
    world.healthy();
}

/// Each of the others may take as long as a host does not answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_delete_does_not_wait_for_the_requests_before_it() {
    let world = World::new().await;
    let vm = world.running("web").await;
    world.succeeds(vm, Verb::PoweroffHard).await;
    let gate = world.fake.on(Op::Observe).vm(world.record(vm).uuid).hold();
    let behind = async {
        gate.reached(1).await;
        let asked = [Verb::Undeploy, Verb::Undeploy, Verb::Delete].map(|verb| world.act(vm, verb));
        tokio::join!(futures::future::join_all(asked), async { gate.open() }).0
    };
    let (first, behind) = tokio::join!(world.act(vm, Verb::Undeploy), behind);
    let [second, third, delete] = <[_; 3]>::try_from(behind).expect("three");
    assert!(first.is_ok() && delete.is_ok(), "{first:?} {delete:?}");
    assert_eq!([refusal(second), refusal(third)], [RefusalKind::Busy; 2], "they came after it");
    world.reaches(vm, State::Done).await;
}
