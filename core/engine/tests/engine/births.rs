//! The first commit of a VM is like every other one: the engine is killed right before and right
//! after it. Over the fake.

use crate::support::{ALPHA, World, comes, config, spec};
use crate::wild::{adopt, wild};
use ostler_engine::{CreateRequest, EngineConfig, EngineError, Hooks, Point, Sabotage};
use ostler_model::*;
use std::sync::Arc;
use std::time::Duration;

const OLD: VmUuid = VmUuid(uuid::Uuid::from_u128(9));

/// A world whose engine ends as soon as it comes to `point`. There is a domain to adopt.
async fn ends_at(point: Point, sabotage: Sabotage) -> World {
    let crash: Arc<dyn Fn(Point) -> bool + Send + Sync> = Arc::new(move |at| at == point);
    let hooks = Hooks { sabotage, crash: Some(crash), ..Hooks::default() };
    let world = World::with(EngineConfig { hooks, ..config() }).await;
    world.fake.put(ALPHA, wild(&world, OLD));
    world
}

/// Makes a VM, or adopts the domain.
async fn born(world: &World, adopts: bool) -> Result<VmId, EngineError> {
    let request = CreateRequest { spec: spec("web"), hold: false, by: "test".to_owned() };
    let answer = if adopts {
        world.engine.adopt(adopt(), None).await
    } else {
        world.engine.create(request, None).await
    };
    answer.map(|replied| replied.answer.vm)
}

/// Whether somebody has stamped the domain.
fn is_stamped(world: &World) -> bool {
    world.fake.domain(ALPHA, OLD).is_some_and(|domain| domain.seen.identity.is_some())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_whose_first_commit_is_cut_off_is_not_there_and_nothing_of_it_is_done() {
    for adopts in [false, true] {
        let world = ends_at(Point::Decided, Sabotage::None).await;
        born(&world, adopts).await.expect_err("the engine is killed");
        let world = world.restart(config()).await;
        assert!(world.vms().is_empty());
        assert!(!is_stamped(&world), "done before it was committed");
        let vm = born(&world, adopts).await.expect("nothing is in the way");
        world.reaches(vm, State::Running).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_whose_first_commit_is_durable_is_gone_on_with_after_a_kill() {
    for adopts in [false, true] {
        let world = ends_at(Point::Committed, Sabotage::None).await;
        born(&world, adopts).await.expect_err("the engine is killed");
        assert!(!is_stamped(&world), "a call is sent after the point only");
        let world = world.restart(config()).await;
        let vms: Vec<VmId> = world.vms().iter().map(|vm| vm.id).collect();
        let [vm] = vms[..] else { panic!("not one VM: {vms:?}") };
        world.reaches(vm, State::Running).await;
        let found = world.engine.store().check().expect("reads");
        assert_eq!(found, Vec::<String>::new());
    }
}

/// Negative control of the first test.
#[tokio::test(flavor = "multi_thread")]
async fn an_adoption_that_is_carried_out_before_its_commit_is_found() {
    let world = ends_at(Point::Decided, Sabotage::ActFirst).await;
    born(&world, true).await.expect_err("the engine is killed");
    let seen = comes(Duration::from_secs(2), || is_stamped(&world)).await;
    assert!(seen && world.vms().is_empty(), "the fault does not reach the first commit of a VM");
}
