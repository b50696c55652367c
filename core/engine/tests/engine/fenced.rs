//! Hosts that do not come back. Over the fake.

use crate::support::{ALPHA, World, ask, until};
use ostler_engine::{ActionRequest, EngineError, Unusable};
use ostler_model::*;
use ostler_store::{ResourceChange, VmFilter};

async fn cut_off(world: &World, host: HostId) {
    world.fake.cut_off(host, true);
    until("the host to be missed", || {
        world.engine.host_health(host).is_some_and(|health| !health.reachable)
    })
    .await;
}

fn why(answer: Result<(), EngineError>) -> Unusable {
    match answer {
        Err(EngineError::Unusable(why)) => why,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_does_not_come_back_is_removed_with_what_was_left_there() {
    let world = World::new().await;
    let (lost, stays) = (world.running("lost").await, world.running("stays").await);
    let refused = why(world.engine.remove_fenced(ALPHA, "test").await);
    assert_eq!(refused, Unusable::HostAnswers(ALPHA));
    cut_off(&world, ALPHA).await;
    let forget = ActionRequest { force: true, ..ask(Verb::Forget) };
    world.done(lost, forget.clone()).await;
    assert_eq!((world.state(lost), world.record(lost).leftovers.len()), (State::Done, 1));
    let refused = why(world.engine.remove_fenced(ALPHA, "test").await);
    assert_eq!(refused, Unusable::HostHasVms { host: ALPHA, vms: vec![stays], more: 0 });
    assert_eq!(world.record(lost).leftovers.len(), 1, "a refusal changes nothing");
    world.done(stays, forget).await;
    let remove = || world.engine.change(ResourceChange::HostRemove(ALPHA), "test");
    assert!(
        matches!(remove().await, Err(EngineError::Resource(_))),
        "without a word about it, it is waited for"
    );
    let image = || world.engine.change(ResourceChange::ImageRemove(ImageId(1)), "test");
    image().await.expect_err("held for what may be there");
    world.engine.remove_fenced(ALPHA, "test").await.expect("removed");
    let reader = world.engine.store().read().expect("reads");
    assert!(reader.host(ALPHA).expect("reads").is_none() && world.engine.site(ALPHA).is_none());
    assert_eq!(
        reader.done_before(Timestamp(u64::MAX), 9).expect("reads"),
        [lost, stays],
        "nothing of them is anywhere"
    );
    image().await.expect("nobody needs it");
    assert_eq!(world.engine.store().check().expect("reads"), Vec::<String>::new());
    assert!(
        reader
            .vm_page(
                &VmFilter { host: Some(ALPHA), include_done: true, ..VmFilter::default() },
                None,
                9
            )
            .expect("reads")
            .items
            .is_empty()
    );
}
