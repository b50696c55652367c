//! A daemon that learns that another one has taken charge of its store.

use crate::support::{ALPHA, World, config, until};
use ostler_driver_testkit::fake::Op;
use ostler_engine::EngineError;
use ostler_model::*;
use ostler_store::{Charge, CommitError, EventsAfter, Health};

fn at_least(epoch: u64) -> Charge {
    Charge { at_least: Some(Epoch(epoch)), ..Charge::default() }
}

fn is_given_up(world: &World) -> bool {
    matches!(world.engine.store().health(), Health::NotInCharge { .. })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_no_longer_in_charge_decides_and_sends_nothing() {
    let world = World::new().await;
    let store = world.engine.store();
    let taken = store.take_charge(at_least(5)).await.expect("taken");
    let (busy, other) = (world.running("busy").await, world.running("other").await);
    let held = world.record(other);
    assert_eq!((taken, world.fake.epoch_seen(ALPHA, store.id())), (Epoch(5), Epoch(5)));
    world.fake.sees_epoch(ALPHA, store.id(), Epoch(9));
    world.act(busy, Verb::Reboot).await.expect("accepted");
    until("the store to be given up", || is_given_up(&world)).await;
    // It is told.
    let health = world.engine.host_health(ALPHA).expect("known");
    assert!(health.error.is_some_and(|error| error.contains("epoch 9")));
    let events = world.engine.store().read().expect("reads").events_after(EventSeq(0), 500);
    let EventsAfter::Page { events, .. } = events.expect("reads") else { panic!("all are there") };
    let is_told = |event: &Event| {
        matches!(&event.kind, EventKind::Resource { name, change, detail, .. }
            if name == "alpha" && change == "error" && detail.contains("epoch 9"))
    };
    assert_eq!(events.iter().filter(|event| is_told(event)).count(), 1);
    // Nothing is decided, so nothing is sent.
    let refused = world.act(other, Verb::PoweroffHard).await.expect_err("nothing is decided");
    let is_told = |why: &str| why.contains("epoch 9");
    assert!(
        matches!(&refused, EngineError::Store(CommitError::NotInCharge { why }) if is_told(why)),
        "{refused}"
    );
    assert_eq!((world.fake.count(Op::Destroy), world.fake.count(Op::Reboot)), (0, 1));
    assert_eq!(world.record(other), held);
    let now = world.record(busy);
    assert_eq!((now.state, now.open.len()), (State::Running, 1), "the call stays open");
    // A daemon that takes charge goes on where it was.
    let world = world.restart(config()).await;
    world.engine.store().take_charge(at_least(10)).await.expect("taken");
    until("the operation to end", || world.at_rest()).await;
    assert_eq!(world.fake.edges(ALPHA, now.uuid).reboots, 1);
    world.healthy();
}
