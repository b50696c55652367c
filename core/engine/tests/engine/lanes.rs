//! Calls that wait for a place among the others of their driver and host. Over the fake.

use crate::support::{BETA, World, ask, config, until};
use ostler_driver_testkit::fake::Op;
use ostler_engine::{ActionRequest, EngineConfig};
use ostler_model::*;

async fn narrow() -> World {
    World::with(EngineConfig { lane_width: 1, ..config() }).await
}

fn operation(world: &World, vm: VmId) -> Active {
    world.record(vm).operation.expect("one is in hand")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_in_a_lane_keeps_its_turn_and_its_time() {
    let world = narrow().await;
    let gate = world.fake.on(Op::Deploy).hold();
    let mut waiting = Vec::new();
    for number in 1..=4 {
        let vm = world.held(&format!("vm-{number}")).await;
        world.act(vm, Verb::Deploy).await.expect("accepted");
        if number == 1 {
            gate.reached(1).await;
        } else {
            let said = || world.engine.why(vm).expect("is there").queued;
            until("it to be told that it waits", || said().is_some()).await;
            waiting.push(vm);
        }
    }
    for vm in &waiting {
        assert_eq!(
            (operation(&world, *vm).sent, operation(&world, *vm).deadline),
            (None, None),
            "nothing was sent"
        );
    }
    gate.open();
    for vm in &waiting {
        world.reaches(*vm, State::Running).await;
    }
    let mut served: Vec<VmUuid> = Vec::new();
    for vm in world
        .fake
        .calls()
        .into_iter()
        .filter(|call| call.op == Op::Prepare)
        .filter_map(|call| call.vm)
    {
        if !served.contains(&vm) {
            served.push(vm);
        }
    }
    let uuids: Vec<VmUuid> = waiting.iter().map(|vm| world.record(*vm).uuid).collect();
    assert_eq!(served[1..], uuids, "first come, first served");
    world.healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_was_told_to_stop_before_it_was_sent_was_not_sent() {
    let world = narrow().await;
    let gate = world.fake.on(Op::Deploy).hold();
    let (first, second) = (world.held("first").await, world.held("second").await);
    world.act(first, Verb::Deploy).await.expect("accepted");
    gate.reached(1).await;
    world.act(second, Verb::Deploy).await.expect("accepted");
    let said = || world.engine.why(second).expect("is there").queued;
    until("it to be told that it waits", || said().is_some()).await;
    world.act(second, Verb::Delete).await.expect("accepted");
    // The first waits no more for a place, and neither does what the delete sends.
    gate.open();
    world.reaches(second, State::Done).await;
    world.reaches(first, State::Running).await;
    let of_second = |vm: Option<VmUuid>| vm == Some(world.record(second).uuid);
    assert!(!world.fake.calls().iter().any(|call| call.op == Op::Prepare && of_second(call.vm)));
    world.healthy();
}

fn to_beta(verb: Verb) -> ActionRequest {
    ActionRequest { host: Some(BETA), ..ask(verb) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_is_work_for_both_hosts() {
    let world = narrow().await;
    let (moves, other) = (world.running("moves").await, world.held("other").await);
    let gate = world.fake.on(Op::Migrate).hold();
    world.engine.act(moves, to_beta(Verb::MigrateLive), None).await.expect("accepted");
    gate.reached(1).await;
    world.engine.act(other, to_beta(Verb::Deploy), None).await.expect("accepted");
    let said = || world.engine.why(other).expect("is there").queued;
    until("it to be told that it waits", || said().is_some()).await;
    gate.open();
    for vm in [moves, other] {
        world.reaches(vm, State::Running).await;
        assert_eq!(world.record(vm).placement.map(|place| place.host), Some(BETA));
    }
    world.healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_that_go_opposite_ways_do_not_wait_for_each_other() {
    let world = narrow().await;
    let (there, back) = (world.running("there").await, world.held("back").await);
    world.done(back, to_beta(Verb::Deploy)).await;
    let away = ask(Verb::MigrateLive);
    let away = ActionRequest { host: Some(crate::support::ALPHA), ..away };
    tokio::join!(world.done(there, to_beta(Verb::MigrateLive)), world.done(back, away));
    world.healthy();
}
