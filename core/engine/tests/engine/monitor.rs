//! What happens outside of Ostler is seen; what cannot be asked is not concluded.

use crate::support::{ALPHA, BETA, World, ask, comes, config, refusal, until};
use ostler_driver_testkit::fake::{Fake, FakeDomain, Op};
use ostler_engine::{ActionRequest, EngineConfig, Hooks};
use ostler_lifecycle::UNREACHABLE_GRACE;
use ostler_model::*;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_goes_off_crashes_or_is_paused_is_seen() {
    let world = World::new().await;
    let vm = world.running("outside").await;
    let uuid = world.record(vm).uuid;
    world.fake.guest_off(ALPHA, uuid);
    world.reaches(vm, State::Poweroff).await;
    assert_eq!(world.record(vm).reason, Reason::Guest);
    world.succeeds(vm, Verb::Resume).await;
    world.fake.crash(ALPHA, uuid);
    world.reaches(vm, State::Poweroff).await;
    assert_eq!(world.record(vm).reason, Reason::Crashed);
    world.succeeds(vm, Verb::Resume).await;
    world.fake.pause(ALPHA, uuid, PowerReason::Person);
    world.reaches(vm, State::Suspended).await;
    assert_eq!(world.record(vm).reason, Reason::External);
    world.succeeds(vm, Verb::Resume).await;
    world.fake.pause(ALPHA, uuid, PowerReason::IoError);
    world.reaches(vm, State::Unknown).await;
    assert_eq!(world.record(vm).reason, Reason::IoError);
    world.succeeds(vm, Verb::Resume).await;
    world.fake.drop_domain(ALPHA, uuid);
    world.reaches(vm, State::Poweroff).await;
    assert!(world.record(vm).placement.is_some(), "capacity is kept");
    world.succeeds(vm, Verb::Resume).await;
    world.healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_paused_outside_and_gone_then_is_off() {
    let world = World::new().await;
    let vm = world.running("outside").await;
    let uuid = world.record(vm).uuid;
    world.fake.pause(ALPHA, uuid, PowerReason::Person);
    world.reaches(vm, State::Suspended).await;
    world.fake.drop_domain(ALPHA, uuid);
    world.reaches(vm, State::Poweroff).await;
    world.healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_events_the_lists_see_the_same() {
    let fake = Fake::with_abilities(&[Ability::Suspend, Ability::Reboot]);
    let world = World::on(fake, config()).await;
    let vm = world.running("silent").await;
    let uuid = world.record(vm).uuid;
    world.fake.crash(ALPHA, uuid);
    world.reaches(vm, State::Poweroff).await;
    world.succeeds(vm, Verb::Resume).await;
    // Nobody tells that it is off; the wait looks by itself.
    world.succeeds(vm, Verb::Poweroff).await;
    let mut domain = world.fake.domains(ALPHA).remove(0);
    domain.seen.power = Power::Running;
    world.fake.put(ALPHA, domain);
    world.reaches(vm, State::Running).await;
    assert_eq!(world.record(vm).reason, Reason::StartedOutside);
    assert_eq!(world.fake.count(Op::Changes), 0);
    world.healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_cut_off_makes_its_vms_unknown_after_the_grace_and_not_before() {
    let world = World::new().await;
    let vm = world.running("away").await;
    world.fake.cut_off(ALPHA, true);
    let unreachable =
        |world: &World| world.engine.host_health(ALPHA).is_some_and(|health| !health.reachable);
    until("the host to be away", || unreachable(&world)).await;
    assert!(
        !comes(Duration::from_millis(200), || world.state(vm) != State::Running).await,
        "concluded before the grace"
    );
    let late = Hooks { head_start: UNREACHABLE_GRACE, ..Hooks::default() };
    let world = world.restart(EngineConfig { hooks: late, ..config() }).await;
    world.reaches(vm, State::Unknown).await;
    assert_eq!(world.record(vm).reason, Reason::CannotAsk);
    assert!(world.engine.host_health(ALPHA).is_some_and(|health| health.error.is_some()));
    world.fake.cut_off(ALPHA, false);
    world.reaches(vm, State::Running).await;
    assert_eq!(world.record(vm).reason, Reason::SeenAgain);
    world.healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_on_a_host_that_is_cut_off_is_not_started_elsewhere() {
    let late = Hooks { head_start: UNREACHABLE_GRACE, ..Hooks::default() };
    let world = World::with(EngineConfig { hooks: late, ..config() }).await;
    let vm = world.running("once").await;
    world.fake.cut_off(ALPHA, true);
    world.reaches(vm, State::Unknown).await;
    for verb in [Verb::Resume, Verb::Boot] {
        assert_eq!(
            crate::support::refusal(world.act(vm, verb).await),
            RefusalKind::CannotAsk,
            "{verb}"
        );
    }
    world.fake.cut_off(ALPHA, false);
    world.reaches(vm, State::Running).await;
    world.healthy();
}

pub(crate) fn stray(world: &World, uuid: VmUuid, generation: Option<u64>) -> FakeDomain {
    let store = world.engine.store().id();
    let seen = DomainSeen {
        uuid,
        name: format!("stray-{uuid}"),
        identity: generation.map(|generation| Identity {
            store,
            vm: uuid,
            generation: Generation(generation),
        }),
        power: Power::Running,
        reason: PowerReason::None,
        last_edge: None,
    };
    FakeDomain { seen, run: 1, edges: Default::default(), machine: Default::default() }
}

fn listed(world: &World, host: HostId) -> (Vec<String>, Vec<String>) {
    let health = world.engine.host_health(host).expect("was asked");
    (health.wild, health.zombies)
}

#[tokio::test(flavor = "multi_thread")]
async fn wild_domains_and_those_of_nobody_are_told_and_never_touched() {
    let world = World::new().await;
    let (wild, nobody) = (VmUuid(uuid::Uuid::from_u128(1)), VmUuid(uuid::Uuid::from_u128(2)));
    world.fake.put(ALPHA, stray(&world, wild, None));
    world.fake.put(ALPHA, stray(&world, nobody, Some(1)));
    until("both to be told", || {
        listed(&world, ALPHA) == (vec![format!("stray-{wild}")], vec![format!("stray-{nobody}")])
    })
    .await;
    assert!(
        !comes(Duration::from_millis(200), || world.fake.domains(ALPHA).len() != 2).await,
        "touched"
    );
    world.fake.drop_domain(ALPHA, wild);
    world.fake.drop_domain(ALPHA, nobody);
    until("both to be forgotten", || listed(&world, ALPHA) == (vec![], vec![])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leftover_of_a_vm_that_is_elsewhere_or_done_is_destroyed() {
    let world = World::new().await;
    let done = world.running("done").await;
    let gone = world.record(done).uuid;
    world.succeeds(done, Verb::Delete).await;
    world.fake.put(BETA, stray(&world, gone, Some(1)));
    until("the leftover of a done VM to be destroyed", || world.fake.domains(BETA).is_empty())
        .await;
    let vm = world.running("moved").await;
    world.succeeds(vm, Verb::Undeploy).await;
    world.act(vm, Verb::Resume).await.expect("accepted");
    world.reaches(vm, State::Running).await;
    let record = world.record(vm);
    assert_eq!(record.placed, Generation(2));
    world.fake.put(BETA, stray(&world, record.uuid, Some(1)));
    until("the older placement to be destroyed", || world.fake.domains(BETA).is_empty()).await;
    world.healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stray_that_may_be_the_right_one_is_only_told() {
    let world = World::new().await;
    let vm = world.running("here").await;
    let uuid = world.record(vm).uuid;
    // As new as the one that may run, and above all that was issued: an old backup knows less than
    // the hosts.
    for generation in [1, 9] {
        world.fake.put(BETA, stray(&world, uuid, Some(generation)));
        until("it to be told", || listed(&world, BETA).1.len() == 1).await;
        assert!(
            !comes(Duration::from_millis(200), || world.fake.domains(BETA).is_empty()).await,
            "touched"
        );
        world.fake.drop_domain(BETA, uuid);
        until("it to be forgotten", || listed(&world, BETA).1.is_empty()).await;
    }
    assert_eq!(world.state(vm), State::Running);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_probed_once_and_its_total_committed_once() {
    let world = World::new().await;
    let seq = world.engine.store().read().expect("reads").seq().expect("reads");
    let lists = world.fake.count(Op::List);
    until("some lists", || world.fake.count(Op::List) > lists + 10).await;
    assert_eq!(
        world.engine.store().read().expect("reads").seq().expect("reads"),
        seq,
        "an idle engine commits nothing"
    );
    assert!(world.fake.count(Op::Probe) <= 4, "each of two engines probed each host once");
}

/// The store is older than what is on the hosts: the VM has moved since it was backed up.
#[tokio::test(flavor = "multi_thread")]
async fn a_vm_that_an_old_backup_has_elsewhere_is_not_started_again_nor_are_its_disks_removed() {
    let world = World::new().await;
    let (placed, away) = (world.running("placed").await, world.running("away").await);
    world.succeeds(placed, Verb::PoweroffHard).await;
    world.succeeds(away, Verb::Undeploy).await;
    let ran = world.running("ran").await;
    world.fake.drop_domain(ALPHA, world.record(ran).uuid);
    for vm in [placed, away, ran] {
        world.fake.put(BETA, stray(&world, world.record(vm).uuid, Some(5)));
    }
    world.reaches(placed, State::Unknown).await;
    world.reaches(ran, State::Unknown).await;
    assert_eq!(refusal(world.act(ran, Verb::Delete).await), RefusalKind::Contradicted);
    assert_eq!(world.record(placed).reason, Reason::StoreIsStale);
    assert!(
        !comes(Duration::from_millis(200), || world.state(placed) != State::Unknown).await,
        "it is absent where it was"
    );
    for verb in [Verb::Resume, Verb::Boot, Verb::Undeploy, Verb::Delete] {
        assert_eq!(refusal(world.act(placed, verb).await), RefusalKind::Contradicted, "{verb}");
    }
    for verb in [Verb::Resume, Verb::Delete, Verb::ShutdownHard] {
        assert_eq!(refusal(world.act(away, verb).await), RefusalKind::Contradicted, "{verb}");
        assert!(world.engine.preview(away, ask(verb)).await.expect("answers").refused.is_some());
    }
    world
        .done(
            away,
            ActionRequest {
                args: Args::Name { name: "b".parse().expect("a name") },
                ..ask(Verb::Rename)
            },
        )
        .await;
    // Somebody has seen to it. `placed` goes last: a list without it is a list without all of them.
    for vm in [away, ran, placed] {
        world.fake.drop_domain(BETA, world.record(vm).uuid);
    }
    world.reaches(placed, State::Poweroff).await;
    world.succeeds(placed, Verb::Resume).await;
    world.succeeds(away, Verb::Delete).await;
    world.healthy();
}
