//! Network addresses: chosen ones are nobody else's, given ones are refused if they are. Over the
//! fake.

use crate::support::{ALPHA, World, ask, spec};
use crate::wild::{adopt, wild};
use ostler_engine::{ActionRequest, EngineError};
use ostler_model::*;
use std::fmt::Debug;

fn card(mac: Option<&MacAddress>) -> NicSpec {
    NicSpec { bridge: "br0".to_owned(), mac: mac.cloned() }
}

fn with_cards(name: &str, nics: Vec<NicSpec>) -> VmSpec {
    VmSpec { nics, ..spec(name) }
}

fn attach(mac: Option<&MacAddress>) -> ActionRequest {
    ActionRequest { args: Args::NewNic(card(mac)), ..ask(Verb::NicAttach) }
}

fn taken<T: Debug>(answer: Result<T, EngineError>) -> Lack {
    match answer {
        Err(EngineError::Taken(refused)) if refused.claim.holding.book == Book::Mac => refused.lack,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_given_must_be_nobody_elses() {
    let world = World::new().await;
    let mac: MacAddress = "52:54:00:00:00:77".parse().expect("an address");
    let owner =
        world.create(with_cards("owner", vec![card(Some(&mac))]), true).await.expect("creates");
    let said = taken(world.create(with_cards("other", vec![card(Some(&mac))]), true).await);
    assert_eq!(said, Lack::Taken { by: owner, name: "owner".parse().expect("a name") });
    let other = world.running("other").await;
    taken(world.engine.act(other, attach(Some(&mac)), None).await);
    let mut domain = wild(&world, VmUuid(uuid::Uuid::from_u128(9)));
    domain.machine.nics =
        vec![ostler_driver::DomainNic { mac: mac.clone(), bridge: "br0".to_owned() }];
    world.fake.put(ALPHA, domain);
    taken(world.engine.adopt(adopt(), None).await);
    world.succeeds(owner, Verb::Delete).await;
    world.done(other, attach(Some(&mac))).await;
    taken(world.engine.adopt(adopt(), None).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_chosen_is_chosen_again_if_another_vm_has_it() {
    let world = World::new().await;
    let vm = world.running("web").await;
    // The next operation's first choice.
    let next = world.engine.store().next_operation_id().next();
    let first = MacAddress::chosen(world.record(vm).uuid, next.0 * 256 + 1);
    world.create(with_cards("owner", vec![card(Some(&first))]), true).await.expect("creates");
    world.done(vm, attach(None)).await;
    let has = world.record(vm).mac_of(0);
    assert!(has != first && has.as_str().starts_with("b2:"), "{has}");
    world.healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_vms_have_many_addresses() {
    let world = World::new().await;
    let mut all = std::collections::BTreeSet::new();
    for number in 0..50 {
        let vm = world
            .create(with_cards(&format!("vm-{number}"), vec![card(None), card(None)]), true)
            .await
            .expect("creates");
        all.extend([world.record(vm).mac_of(0), world.record(vm).mac_of(1)]);
    }
    assert_eq!(all.len(), 100);
}
