//! The store is lost, and comes back from an older backup while the hypervisors went on.

use crate::support::{ALPHA, BETA, World, ask, comes, config, refusal, spec, until};
use ostler_driver_testkit::fake::Op;
use ostler_engine::ActionRequest;
use ostler_model::*;
use std::time::Duration;

/// Every operation that changes something at a host.
const TOUCHES: [Op; 7] =
    [Op::Deploy, Op::Restore, Op::Remove, Op::Destroy, Op::Prepare, Op::Delete, Op::Copy];

fn touches(world: &World) -> usize {
    TOUCHES.iter().map(|op| world.fake.count(*op)).sum()
}

fn now() -> Timestamp {
    let since =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    Timestamp(u64::try_from(since.as_millis()).expect("fits"))
}

fn migrate(verb: Verb) -> ActionRequest {
    let args = if verb == Verb::Migrate {
        Args::Migrate { fenced: false, storage_moved: false }
    } else {
        Args::None
    };
    ActionRequest { args, host: Some(BETA), ..ask(verb) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_that_moved_after_the_backup_is_followed_and_not_started_again() {
    let world = World::new().await;
    let (moved, stays, gone) =
        (world.running("moved").await, world.running("stays").await, world.running("gone").await);
    let backup = world.backup("early");
    world.done(moved, migrate(Verb::MigrateLive)).await;
    world.succeeds(gone, Verb::Delete).await;
    let world = world.restored(&backup, config()).await;
    until("all VMs to be reconciled", || world.engine.restored().expect("reads").is_none()).await;
    world.reaches(moved, State::Running).await;
    world.reaches(gone, State::Poweroff).await;
    assert_eq!(world.state(stays), State::Running);
    assert_eq!(world.record(moved).placement.map(|place| place.host), Some(BETA));
    assert_eq!(world.fake.running().len(), 2, "{:?}", world.fake.running());
    world.succeeds(moved, Verb::Suspend).await;
    world.succeeds(moved, Verb::Resume).await;
    world.succeeds(gone, Verb::Delete).await;
    assert_eq!(world.engine.store().check().expect("reads"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_begins_while_a_host_that_is_on_was_not_listed() {
    let world = World::new().await;
    let vm = world.running("moved").await;
    let waits = world.create(spec("waits"), false).await.expect("creates");
    world.reaches(waits, State::Running).await;
    world.succeeds(waits, Verb::Undeploy).await;
    world.succeeds(vm, Verb::PoweroffHard).await;
    let planned = ActionRequest {
        args: Args::NewSchedule(Box::new(Planned {
            schedule: Schedule::new(
                ScheduleId(0),
                Verb::Resume,
                When::Once { at: Moment::At(Timestamp(now().0 + 1_000)) },
                "test",
            ),
            args: Args::None,
            host: None,
            retry_at: None,
        })),
        ..ask(Verb::Schedule)
    };
    world.engine.act(vm, planned, None).await.expect("accepted");
    let backup = world.backup("early");
    world.done(vm, migrate(Verb::Migrate)).await;
    world.succeeds(vm, Verb::Resume).await;
    world.fake.cut_off(BETA, true);
    let before = touches(&world);
    let world = world.restored(&backup, config()).await;
    until("alpha to be listed", || {
        world.engine.host_health(ALPHA).is_some_and(|health| health.reachable)
    })
    .await;
    let restored = || world.engine.restored().expect("reads").expect("waits");
    until("beta alone to be waited for", || restored().hosts == [BETA] && restored().total == 2)
        .await;
    for (vm, verb) in
        [(vm, Verb::Resume), (vm, Verb::Delete), (waits, Verb::ShutdownHard), (vm, Verb::Undeploy)]
    {
        assert_eq!(refusal(world.act(vm, verb).await), RefusalKind::Contradicted, "{verb}");
    }
    assert!(
        !comes(Duration::from_millis(1500), || touches(&world) != before).await,
        "something was sent: {:?}",
        world.fake.calls()
    );
    world.fake.cut_off(BETA, false);
    until("all VMs to be reconciled", || world.engine.restored().expect("reads").is_none()).await;
    world.reaches(vm, State::Running).await;
    assert_eq!(world.record(vm).placement.map(|place| place.host), Some(BETA));
    assert_eq!(world.fake.running().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_set_to_off_is_not_waited_for_and_pending_vms_go_on() {
    let world = World::new().await;
    world.fake.cut_off(ALPHA, true);
    world.fake.cut_off(BETA, true);
    let vm = world.create(spec("waits"), false).await.expect("creates");
    let backup = world.backup("early");
    let world = world.restored(&backup, config()).await;
    assert_eq!(world.state(vm), State::Hold);
    world.fake.cut_off(ALPHA, false);
    let off = ostler_store::ResourceChange::HostEdit {
        id: BETA,
        edit: ostler_store::HostEdit { state: Some(HostState::Off), ..Default::default() },
    };
    world.engine.change(off, "test").await.expect("changes");
    world.reaches(vm, State::Running).await;
    assert!(
        vm.0 < 10 && world.held("next").await.0 > 1_000_000,
        "ids of the lost time are not used again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_states_that_the_record_is_right() {
    let world = World::new().await;
    let vm = world.running("twice").await;
    let backup = world.backup("early");
    world.done(vm, migrate(Verb::MigrateLive)).await;
    let uuid = world.record(vm).uuid;
    // Its older domain stands still where it was: which of the two is the VM?
    let mut twin = crate::monitor::stray(&world, uuid, Some(1));
    twin.seen.power = Power::Paused;
    world.fake.put(ALPHA, twin);
    let world = world.restored(&backup, config()).await;
    world.reaches(vm, State::Unknown).await;
    let told = world.engine.restored().expect("reads").expect("waits");
    assert_eq!((told.vms.len(), told.vms[0].vm, told.vms[0].found.len()), (1, vm, 2));
    world.fake.drop_domain(BETA, uuid);
    world.engine.accept_record(vm, "anna".to_owned()).await.expect("accepts");
    until("all VMs to be reconciled", || world.engine.restored().expect("reads").is_none()).await;
    world.succeeds(vm, Verb::Delete).await;
}
