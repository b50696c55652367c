//! A whole life, each verb once at least.

use crate::support::{ALPHA, World, ask, spec};
use ostler_driver_testkit::fake::Op;
use ostler_model::{HostId, State, Verb};

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_goes_through_every_verb_and_leaves_nothing() {
    let world = World::new().await;
    let vm = world.create(spec("life"), false).await.expect("creates");
    world.reaches(vm, State::Running).await;
    let path = [
        (Verb::Suspend, State::Suspended),
        (Verb::Resume, State::Running),
        (Verb::Reboot, State::Running),
        (Verb::RebootHard, State::Running),
        (Verb::Poweroff, State::Poweroff),
        (Verb::Resume, State::Running),
        (Verb::PoweroffHard, State::Poweroff),
        (Verb::Resume, State::Running),
    ];
    for (verb, ends) in path {
        world.succeeds(vm, verb).await;
        assert_eq!(world.state(vm), ends, "after {verb}");
        world.healthy();
    }
    // Those give the host back, and the scheduler finds one again.
    for (verb, ends) in [
        (Verb::Stop, State::Stopped),
        (Verb::Undeploy, State::Undeployed),
        (Verb::UndeployHard, State::Undeployed),
    ] {
        world.succeeds(vm, verb).await;
        assert_eq!(world.state(vm), ends, "after {verb}");
        assert!(world.record(vm).placement.is_none());
        world.healthy();
        world.act(vm, Verb::Resume).await.expect("accepted");
        world.reaches(vm, State::Running).await;
    }
    let edges = world.fake.edges(ALPHA, world.record(vm).uuid);
    assert_eq!((edges.presses, edges.reboots), (0, 0), "it was made anew");
    world.succeeds(vm, Verb::DeleteRecreate).await;
    world.reaches(vm, State::Running).await;
    world.succeeds(vm, Verb::Shutdown).await;
    assert_eq!(world.state(vm), State::Done);
    world.healthy();
    assert!(world.fake.domains(ALPHA).is_empty());
    assert_eq!(world.engine.store().read().expect("reads").usage_all().expect("reads").len(), 0);
    assert!(world.fake.files(HostId::FRONT_END).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_restored_after_suspend_and_after_stop_and_not_after_poweroff() {
    let world = World::new().await;
    let vm = world.running("memory").await;
    let run = |world: &World| world.fake.domains(ALPHA).first().map(|domain| domain.run);
    let first = run(&world);
    world.succeeds(vm, Verb::Suspend).await;
    world.succeeds(vm, Verb::Resume).await;
    assert_eq!(run(&world), first, "the same run of the guest goes on");
    world.succeeds(vm, Verb::Stop).await;
    world.act(vm, Verb::Resume).await.expect("accepted");
    world.reaches(vm, State::Running).await;
    assert_eq!(run(&world), first, "the same run of the guest goes on");
    world.succeeds(vm, Verb::PoweroffHard).await;
    world.succeeds(vm, Verb::Resume).await;
    assert_ne!(run(&world), first);
    world.healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn hold_release_and_the_delete_of_a_vm_that_never_ran() {
    let world = World::new().await;
    let vm = world.held("held").await;
    assert_eq!(world.state(vm), State::Hold);
    world.succeeds(vm, Verb::Release).await;
    world.reaches(vm, State::Running).await;
    let never = world.held("never").await;
    world.succeeds(never, Verb::Delete).await;
    assert_eq!(world.state(never), State::Done);
    world.succeeds(vm, Verb::Delete).await;
    world.healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn long_transfers_are_polled_and_told_of() {
    let world = World::new().await;
    world.fake.long_jobs(3);
    let vm = world.running("long").await;
    assert!(world.fake.count(Op::Poll) >= 6, "two disks, three polls each");
    world.succeeds(vm, Verb::Delete).await;
    world.healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_lives_at_once() {
    let world = World::new().await;
    let mut lives = Vec::new();
    for n in 0..100 {
        lives.push(world.create(spec(&format!("vm-{n}")), false).await.expect("creates"));
    }
    for vm in &lives {
        world.reaches(*vm, State::Running).await;
    }
    world.healthy();
    for verb in [Verb::PoweroffHard, Verb::Resume, Verb::ShutdownHard] {
        let asked = lives.iter().map(|vm| world.engine.act(*vm, ask(verb), None));
        for replied in futures::future::join_all(asked).await {
            let operation = replied.expect("accepted").answer.operation.expect("an operation");
            let waited =
                world.engine.wait(operation, crate::support::PATIENCE).await.expect("waits");
            assert!(!waited.timed_out);
        }
    }
    world.healthy();
    assert!(world.vms().iter().all(|vm| vm.state == State::Done));
}
