//! Those who ask go away while they are served. What was begun for them is carried out. Over the
//! fake.

use crate::support::{ALPHA, PATIENCE, World, config, host, spec, until};
use crate::wild::{adopt, wild};
use ostler_engine::{AdoptRequest, CreateRequest, EngineConfig};
use ostler_model::*;
use ostler_store::ResourceChange;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// More than anything here is polled before it is ready.
const POLLS_MAX: usize = 100;

/// Polls that often, then drops it as a server drops what it does for a client that is gone. Some
/// if it was ready before.
async fn dropped_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => {
            left -= 1;
            if left == 0 { Poll::Ready(None) } else { Poll::Pending }
        }
    })
    .await
}

/// Commits that were queued before this are durable.
async fn all_is_written(world: &World) {
    let put = ResourceChange::HostPut(host(HostId(999), "the-last"));
    world.engine.change(put, "test").await.expect("changes");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adoption_goes_on_when_the_one_who_asked_is_gone() {
    let world = World::with(EngineConfig { runner_idle: Duration::from_secs(1), ..config() }).await;
    for polls in 1..POLLS_MAX {
        let uuid = VmUuid(uuid::Uuid::from_u128(polls as u128));
        world.fake.put(ALPHA, wild(&world, uuid));
        let request = AdoptRequest { domain: uuid.to_string(), ..adopt() };
        let answer = dropped_after(polls, world.engine.adopt(request, None)).await;
        all_is_written(&world).await;
        let known = || world.vms().into_iter().find(|vm| vm.uuid == uuid);
        // Nobody asks anything of it: the monitor leaves alone what has a call open.
        until("every VM there is to run", || known().is_none_or(|vm| vm.state == State::Running))
            .await;
        if let Some(answer) = answer {
            answer.expect("adopted");
            return assert!(known().is_some());
        }
    }
    panic!("it never came to an end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_taken_note_of_when_the_one_who_asked_is_gone() {
    let world = World::new().await;
    for polls in 1..POLLS_MAX {
        let id = HostId(u32::try_from(100 + polls).expect("is small"));
        let name = format!("host-{polls}");
        let (entered, seen) = tokio::sync::oneshot::channel();
        let put = ResourceChange::HostPut(Host { state: HostState::Off, ..host(id, &name) });
        let answer = dropped_after(
            polls,
            world.engine.change_then(put, "test", || entered.send(()).expect("somebody waits")),
        )
        .await;
        until("the host to be known", || world.engine.site(id).is_some()).await;
        tokio::time::timeout(PATIENCE, seen)
            .await
            .expect("in time")
            .expect("what follows was done");
        if let Some(answer) = answer {
            return answer.expect("changed");
        }
    }
    panic!("it never came to an end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_that_is_made_is_placed_when_the_one_who_asked_is_gone() {
    let world = World::new().await;
    for polls in 1..POLLS_MAX {
        let name = format!("vm-{polls}");
        let request = CreateRequest { spec: spec(&name), hold: false, by: "test".to_owned() };
        let answer = dropped_after(polls, world.engine.create(request, None)).await;
        until("it to run", || {
            world.vms().iter().any(|vm| vm.spec.name.as_str() == name && vm.state == State::Running)
        })
        .await;
        if let Some(answer) = answer {
            answer.expect("made");
            return world.healthy();
        }
    }
    panic!("it never came to an end");
}

/// Each reads hosts and datastores anew. One that read before the last commit must not put that in
/// the place of what was read after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_changes_at_once_none_is_forgotten() {
    const AT_ONCE: u32 = 8;
    let world = World::new().await;
    for round in 1..=60 {
        let ids: Vec<HostId> = (0..AT_ONCE).map(|at| HostId(round * 100 + at)).collect();
        let put = |id: &HostId| {
            ResourceChange::HostPut(Host {
                state: HostState::Off,
                ..host(*id, &format!("host-{id}"))
            })
        };
        let changes = ids.iter().map(|id| {
            let (engine, change) = (world.engine.clone(), put(id));
            tokio::spawn(async move { engine.change(change, "test").await })
        });
        for change in changes.collect::<Vec<_>>() {
            change.await.expect("no panic").expect("changed");
        }
        let missing: Vec<&HostId> =
            ids.iter().filter(|id| world.engine.site(**id).is_none()).collect();
        assert!(missing.is_empty(), "round {round}: {missing:?}");
    }
}
