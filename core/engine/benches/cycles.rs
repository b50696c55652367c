//! Full cycles a second through the engine alone: create, running, poweroff --hard, resume,
//! shutdown --hard, done; every step durable, the fake as driver.
//! `cargo bench -p ostler-engine --bench cycles -- [VMS]`
//!
//! What it takes more than the same rows cost in `ostler-store`'s bench is what deciding and
//! sending cost.

#[path = "../tests/engine/support.rs"]
#[allow(dead_code, unreachable_pub, reason = "the tests use the rest")]
mod support;

use ostler_model::{State, Verb, VmId};
use std::time::{Duration, Instant};
use support::{World, ask, config, spec};

/// One life, from outside. The times are those of the answers.
async fn life(world: &World, n: usize, answers: &mut Vec<Duration>) {
    let began = Instant::now();
    let vm = world
        .create(
            ostler_model::VmSpec { cpu_milli: 1, memory_mib: 1, ..spec(&format!("vm-{n}")) },
            true,
        )
        .await
        .expect("creates");
    answers.push(began.elapsed());
    for verb in [Verb::Deploy, Verb::PoweroffHard, Verb::Resume, Verb::ShutdownHard] {
        asked(world, vm, verb, answers).await;
    }
    assert_eq!(world.state(vm), State::Done);
}

async fn asked(world: &World, vm: VmId, verb: Verb, answers: &mut Vec<Duration>) {
    let began = Instant::now();
    let replied = world.engine.act(vm, ask(verb), None).await.expect("accepted");
    answers.push(began.elapsed());
    let operation = replied.answer.operation.expect("an operation");
    let waited = world.engine.wait(operation, Duration::from_secs(60)).await.expect("waits");
    assert!(!waited.timed_out);
}

fn main() {
    let vms: usize = std::env::args().filter_map(|arg| arg.parse().ok()).next().unwrap_or(1000);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("builds");
    runtime.block_on(async {
        let config = ostler_engine::EngineConfig { lane_width: 1000, runner_idle: Duration::from_secs(2), ..config() };
        let world = World::with(ostler_engine::EngineConfig { poll_every: Duration::from_secs(10), ..config }).await;
        let seq = || world.engine.store().read().expect("reads").seq().expect("reads").0;
        let (events, began) = (seq(), Instant::now());
        let lives = (0..vms).map(|n| {
            let world = &world;
            async move {
                let mut answers = Vec::new();
                life(world, n, &mut answers).await;
                answers
            }
        });
        let mut answers: Vec<Duration> = futures::future::join_all(lives).await.into_iter().flatten().collect();
        let took = began.elapsed();
        answers.sort();
        let at = |share: usize| answers[answers.len() * share / 1000 - 1];
        println!(
            "{vms} cycles in {took:?}: {:.0} a second, {} events; answers: median {:?}, p99 {:?}, last {:?}",
            vms as f64 / took.as_secs_f64(),
            seq() - events,
            at(500),
            at(990),
            at(1000)
        );
    });
}
