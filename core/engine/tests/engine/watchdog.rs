//! Parts of the engine that panic. What they had in hand goes on, though nobody asks for it. Over
//! the fake.

use crate::support::{World, config, spec, until};
use ostler_driver_testkit::fake::Op;
use ostler_engine::{EngineConfig, EngineError, Hooks, Point};
use ostler_model::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A world that panics once at `point` after `armed` is set.
async fn brittle(point: Point) -> (World, Arc<AtomicBool>) {
    let armed = Arc::new(AtomicBool::new(false));
    let trigger = Arc::clone(&armed);
    let crash = move |at: Point| {
        assert!(at != point || !trigger.swap(false, Ordering::SeqCst), "as the test wants");
        false
    };
    let hooks = Hooks { crash: Some(Arc::new(crash)), ..Hooks::default() };
    let watchdog_every = Duration::from_millis(50);
    (
        World::with(EngineConfig {
            hooks,
            watchdog_every,
            runner_idle: Duration::from_secs(600),
            ..config()
        })
        .await,
        armed,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_sender_panicked_is_looked_after() {
    for point in [Point::Sending, Point::Answered] {
        let (world, armed) = brittle(point).await;
        let vm = world.held("web").await;
        armed.store(true, Ordering::SeqCst);
        world.succeeds(vm, Verb::Deploy).await;
        assert!(!armed.load(Ordering::SeqCst), "{point:?} was reached");
        assert_eq!(world.state(vm), State::Running);
        world.healthy();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_in_the_hands_of_a_runner_that_panicked_is_made_up_for() {
    for point in [Point::Decided, Point::Committed] {
        let (world, armed) = brittle(point).await;
        let vm = world.held("web").await;
        let gate = world.fake.on(Op::Deploy).hold();
        world.act(vm, Verb::Deploy).await.expect("accepted");
        gate.reached(1).await;
        armed.store(true, Ordering::SeqCst);
        gate.open();
        world.reaches(vm, State::Running).await;
        // The state is seen as soon as it is committed, and the runner comes to the point after
        // that.
        until("the point to be reached", || !armed.load(Ordering::SeqCst)).await;
        world.healthy();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asked_a_runner_that_panicked_is_not_told_that_the_daemon_ends() {
    let (world, armed) = brittle(Point::Decided).await;
    let vm = world.held("web").await;
    armed.store(true, Ordering::SeqCst);
    let error = world.act(vm, Verb::Release).await.expect_err("nobody answers");
    assert!(matches!(error, EngineError::Crashed), "{error}");
    world.act(vm, Verb::Release).await.expect("the next is served");
    world.reaches(vm, State::Running).await;
    assert!(world.create(spec("other"), true).await.is_ok());
}
