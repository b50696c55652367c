//! One script of verbs over three drivers in one daemon: KVM through libvirt, plain QEMU as a
//! component, and `sim`. First undisturbed, then while `kill -9` hits the daemon again and again. At
//! the end nothing of any VM is left, and no VM has ever run twice.
//!
//! The three VMs walk through the script beside each other. `OSTLER_KILLS` sets the number of kills,
//! and `OSTLER_SEED` repeats the choices of a run.

mod scene;
mod script;
mod watch;

use ostler_api::{Client, ClientError};
use ostler_tests::daemon::poll;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use scene::Scene;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use watch::Watch;

/// How often the daemon is killed, unless told otherwise.
const KILLS: u64 = 20;
/// How many operations may begin before a kill, and how long it waits within the last one. An
/// operation that ends earlier is hit at its end.
const BEGINNINGS: std::ops::Range<u32> = 1..3;
const WITHIN_MS: std::ops::Range<u64> = 0..900;
/// The most walks that are begun to have so many operations. One is enough for about fifteen kills.
const WALKS: u64 = 20;
/// How long an operation may take after a restart until it is known again.
const SOON: Duration = Duration::from_secs(60);

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn three_drivers_walk_through_one_script_and_kills_change_nothing() {
    let Some(mut scene) = Scene::up() else { return };
    let watch = Watch::begin(scene.places());
    let (walking, begun) = walk(&scene, "calm");
    ended(&scene, walking, begun);
    let (kills, seed) =
        (setting("OSTLER_KILLS", KILLS), setting("OSTLER_SEED", u64::from(std::process::id())));
    println!("{kills} kills, OSTLER_SEED={seed}");
    let mut rng = SmallRng::seed_from_u64(seed);
    let (mut killed, mut cut) = (0, 0);
    for round in 0..WALKS {
        if killed == kills {
            break;
        }
        let (walking, mut begun) = walk(&scene, &format!("killed-{round}"));
        while killed < kills {
            let Some(open) = moment(&scene, &mut begun, &mut rng) else { break };
            scene.kvm.daemon.kill();
            scene.kvm.daemon.up();
            (killed, cut) = (killed + 1, cut + u64::from(open));
        }
        ended(&scene, walking, begun);
    }
    assert_eq!(killed, kills, "{WALKS} walks were not enough (OSTLER_SEED={seed})");
    let seen = watch.end();
    assert_eq!(seen.twice, Vec::<String>::new(), "OSTLER_SEED={seed}");
    // A watch that sees nothing would find nothing.
    let unseen: Vec<_> = scene.vms().into_iter().filter(|vm| !seen.ran.contains(vm)).collect();
    assert_eq!(unseen, Vec::<String>::new(), "these VMs were never seen to run");
    // With other settings it may be that no kill comes early enough.
    assert!(kills < KILLS || cut > 0, "no kill has cut an operation (OSTLER_SEED={seed})");
    println!("{killed} kills survived, {cut} of them within the operation that was waited for");
    println!("{} VMs were watched {} times", seen.ran.len(), seen.looks);
}

/// Begins a walk with a VM for each driver. The ids of the operations that begin are told; the
/// channel ends when all walks have ended.
fn walk(scene: &Scene, called: &str) -> (Vec<JoinHandle<()>>, UnboundedReceiver<u64>) {
    let (tell, told) = unbounded_channel();
    let walking = scene.actors(called, &tell).into_iter().map(|actor| {
        let runtime = scene.runtime().clone();
        std::thread::spawn(move || runtime.block_on(script::walk(actor)))
    });
    (walking.collect(), told)
}

/// Waits for all walks; one that failed fails the test with its own words. Then nothing is left.
fn ended(scene: &Scene, walking: Vec<JoinHandle<()>>, mut begun: UnboundedReceiver<u64>) {
    scene.run(async { while begun.recv().await.is_some() {} });
    for walked in walking {
        if let Err(panic) = walked.join() {
            std::panic::resume_unwind(panic);
        }
    }
    scene.is_empty();
}

/// Waits for the moment of the next kill, and tells whether the operation that was waited for is
/// still open then. None if all walks have ended.
fn moment(scene: &Scene, begun: &mut UnboundedReceiver<u64>, rng: &mut SmallRng) -> Option<bool> {
    let (count, within) = (rng.random_range(BEGINNINGS), rng.random_range(WITHIN_MS));
    scene.run(async {
        let mut operation = begun.recv().await?;
        for _ in 1..count {
            operation = begun.recv().await?;
        }
        Some(into(scene.client(), operation, Duration::from_millis(within)).await)
    })
}

/// Waits so long within an operation, and no longer than until its end. Tells whether it is open.
async fn into(client: &Client, id: u64, at_most: Duration) -> bool {
    poll("the operation to be known", SOON, async || {
        match client.operation(id, Some(at_most)).await {
            Ok(operation) => Ok(operation.ended.is_none()),
            Err(ClientError::Problem(problem)) => panic!("operation {id} was answered: {problem}"),
            Err(error) => Err(error.to_string()),
        }
    })
    .await
}

/// The watch finds a guest that runs twice: here two QEMUs that somebody started for one VM. Without
/// this, nobody would know whether it can find anything.
#[test]
fn the_watch_finds_a_vm_that_runs_twice() {
    let Some(twins) = watch::Twins::start() else { return };
    let watch = Watch::begin(watch::Places::only(&[twins.vm()]));
    ostler_tests::wait::wait_until("the watch to find them", SOON, || watch.found());
    assert_eq!(watch.end().twice.len(), 1);
}
