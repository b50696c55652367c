//! Placement: never more than there is, never where it must not be, and always a word why not.

use crate::support::{ALPHA, BETA, World, comes, spec, until};
use ostler_driver_testkit::fake::Op;
use ostler_engine::{Declined, Waits, WhyNot};
use ostler_model::*;
use ostler_store::{HostEdit, ResourceChange};
use std::time::Duration;

async fn limit(world: &World, id: HostId, name: &str, vms: u64) {
    let total = Capacity { cpu_milli: 1000 * vms, memory_mib: 1024 * vms };
    let host = Host { total, total_is_fixed: true, ..crate::support::host(id, name) };
    world.engine.change(ResourceChange::HostPut(host), "test").await.expect("changes");
}

fn used(world: &World, host: HostId) -> (u64, u64) {
    let usage = world.engine.store().read().expect("reads").usage(host).expect("reads");
    (usage.vms, usage.held.memory_mib)
}

fn count(world: &World, state: State) -> u64 {
    world
        .engine
        .store()
        .read()
        .expect("reads")
        .state_counts()
        .expect("reads")
        .get(&state)
        .copied()
        .unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_vms_onto_hosts_that_fit_fifty() {
    let world = World::new().await;
    limit(&world, ALPHA, "alpha", 30).await;
    limit(&world, BETA, "beta", 20).await;
    let creates = (0..200).map(|n| world.create(spec(&format!("vm-{n}")), false));
    let vms: Vec<VmId> = futures::future::join_all(creates)
        .await
        .into_iter()
        .map(|vm| vm.expect("creates"))
        .collect();
    until("fifty to run", || count(&world, State::Running) == 50).await;
    assert_eq!((used(&world, ALPHA), used(&world, BETA)), ((30, 30 * 1024), (20, 20 * 1024)));
    assert_eq!(count(&world, State::Pending), 150);
    let pending = *vms.iter().find(|vm| world.state(**vm) == State::Pending).expect("one");
    until("a word for each host", || {
        let lines = world.engine.why(pending).expect("answers").scheduler;
        lines.len() == 2
            && lines.iter().all(|line| matches!(line, Waits::Host(_, WhyNot::TooFull { .. })))
    })
    .await;
    world.healthy();
    let gone: Vec<VmId> =
        vms.iter().copied().filter(|vm| world.state(*vm) == State::Running).take(7).collect();
    for vm in &gone {
        world.act(*vm, Verb::ShutdownHard).await.expect("accepted");
    }
    until("their places to be taken", || {
        count(&world, State::Pending) == 143 && count(&world, State::Running) == 50
    })
    .await;
    assert_eq!((used(&world, ALPHA), used(&world, BETA)), ((30, 30 * 1024), (20, 20 * 1024)));
    world.healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_it_asks_for_or_none() {
    let world = World::new().await;
    let vm =
        |name: &str, host: &str| VmSpec { host: Some(host.parse().expect("a name")), ..spec(name) };
    let beta = world.create(vm("b", "beta"), false).await.expect("creates");
    world.reaches(beta, State::Running).await;
    assert_eq!(world.record(beta).placement.map(|place| place.host), Some(BETA));
    assert!(world.create(vm("c", "nowhere"), false).await.is_err());
    limit(&world, BETA, "beta", 1).await;
    let waits = world.create(vm("d", "beta"), false).await.expect("creates");
    until("a word", || {
        world
            .engine
            .why(waits)
            .expect("answers")
            .scheduler
            .iter()
            .any(|line| matches!(line, Waits::Host(host, WhyNot::TooFull { .. }) if host.as_str() == "beta"))
    })
    .await;
    assert_eq!(
        world.engine.why(waits).expect("answers").scheduler.len(),
        1,
        "the other host is none of its business"
    );
    assert_eq!(world.state(waits), State::Pending);
    world.healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_are_draining_off_or_away_take_nothing() {
    let world = World::new().await;
    let edit = |state| HostEdit { state: Some(state), ..HostEdit::default() };
    let set = async |id, state| {
        world
            .engine
            .change(ResourceChange::HostEdit { id, edit: edit(state) }, "test")
            .await
            .expect("changes")
    };
    set(ALPHA, HostState::Draining).await;
    set(BETA, HostState::Off).await;
    let vm = world.create(spec("waits"), false).await.expect("creates");
    until("a word", || !world.engine.why(vm).expect("answers").scheduler.is_empty()).await;
    assert!(!comes(Duration::from_millis(100), || world.state(vm) != State::Pending).await);
    world.fake.cut_off(BETA, true);
    set(BETA, HostState::On).await;
    until("a word", || {
        world.engine.why(vm).expect("answers").scheduler.iter().any(
            |line| matches!(line, Waits::Host(host, WhyNot::Silent(_)) if host.as_str() == "beta"),
        )
    })
    .await;
    world.fake.cut_off(BETA, false);
    world.reaches(vm, State::Running).await;
    assert_eq!(world.record(vm).placement.map(|place| place.host), Some(BETA));
    assert_eq!(world.fake.count(Op::Deploy), 1);
    world.healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn those_that_fit_nowhere_do_not_hide_those_that_do() {
    let world = World::new().await;
    limit(&world, ALPHA, "alpha", 1).await;
    limit(&world, BETA, "beta", 1).await;
    // More than one page of them.
    let huge = (0..600)
        .map(|n| world.create(VmSpec { memory_mib: 1 << 20, ..spec(&format!("huge-{n}")) }, false));
    for vm in futures::future::join_all(huge).await {
        vm.expect("creates");
    }
    let small = world.create(spec("small"), false).await.expect("creates");
    world.reaches(small, State::Running).await;
    world.healthy();
}

/// Whether the image of a VM that was to be deployed is broken.
fn is_image_error(line: &Waits) -> bool {
    let why = match line {
        Waits::Refused(why) | Waits::Host(_, WhyNot::Refused(why)) => why,
        _ => return false,
    };
    let lack = Lack::Closed { called: "base".to_owned(), state: "error".to_owned() };
    let broken = |refused: &ClaimRefused| {
        let held = &refused.claim.holding;
        (held.book, &held.key, &refused.lack) == (Book::Image, &ImageId(1).into(), &lack)
    };
    matches!(why, Declined::Refused(refused) if matches!(&refused.cause, Cause::Claim(claim) if broken(claim)))
}

/// Why it is refused, the scheduler does not know: it only sees that there is room.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_refused_does_not_keep_the_room_from_one_that_is_not() {
    let world = World::new().await;
    limit(&world, ALPHA, "alpha", 1).await;
    limit(&world, BETA, "beta", 0).await;
    let refused = world.held("refused").await;
    let broken = ResourceChange::ImageSetState { id: ImageId(1), state: ImageState::Error };
    world.engine.change(broken, "test").await.expect("changes");
    let blank = |name: &str| VmSpec { disks: vec![spec(name).disks.remove(1)], ..spec(name) };
    let other = world.create(blank("other"), true).await.expect("creates");
    world.act(refused, Verb::Release).await.expect("accepted");
    until("it to have been refused", || {
        world.engine.why(refused).expect("answers").scheduler.iter().any(is_image_error)
    })
    .await;
    world.act(other, Verb::Release).await.expect("accepted");
    world.reaches(other, State::Running).await;
    assert_eq!(world.state(refused), State::Pending);
    // Once there is room, and a reason to try again.
    world.succeeds(other, Verb::Delete).await;
    let mended = ResourceChange::ImageSetState { id: ImageId(1), state: ImageState::Ready };
    world.engine.change(mended, "test").await.expect("changes");
    world.reaches(refused, State::Running).await;
    world.healthy();
}
