//! A network address is that of one VM.

mod support;

use ostler_model::*;
use ostler_store::{Commit, Committed, ResourceChange, ResourceRefused, Store};
use support::*;

const MAC: &str = "b2:00:00:00:00:01";

fn card(mac: &str) -> NicSpec {
    NicSpec { bridge: "br0".to_owned(), mac: Some(mac.parse().expect("an address")) }
}

fn with_card(mut record: VmRecord, mac: &str) -> VmRecord {
    record.spec.nics.push(card(mac));
    record
}

async fn taken(store: &Store, commit: Commit) -> Option<Lack> {
    match store.commit(commit).await.expect("is decided") {
        Committed::Applied { .. } => None,
        Committed::ClaimRefused(refused) if refused.claim.holding.book == Book::Mac => {
            Some(refused.lack)
        }
        other => panic!("neither: {other:?}"),
    }
}

#[tokio::test]
async fn no_two_vms_have_one_address() {
    let store = store();
    applied(&store, ground()).await;
    applied(&store, create(with_card(vm(1), MAC))).await;
    let said = taken(&store, create(with_card(vm(2), MAC))).await.expect("refused");
    assert!(matches!(said, Lack::Taken { by: VmId(1), .. }), "{said:?}");
    // Two in one transaction, of which the second sees the first.
    let hold = store.hold().await.expect("holds");
    let (one, other) = (
        create(with_card(vm(3), "b2:00:00:00:00:03")),
        create(with_card(vm(4), "b2:00:00:00:00:03")),
    );
    let both = tokio::join!(store.commit(one), store.commit(other), async { drop(hold) });
    assert!(matches!(both.0, Ok(Committed::Applied { .. })), "{both:?}");
    let Ok(Committed::ClaimRefused(refused)) = &both.1 else { panic!("{both:?}") };
    assert!(matches!(refused.lack, Lack::Taken { by: VmId(3), .. }), "{refused:?}");
    // Plugged in later.
    applied(&store, create(vm(5))).await;
    assert!(taken(&store, change(with_card(vm(5), MAC))).await.is_some());
    sound(&store);
}

#[tokio::test]
async fn an_address_is_free_once_nothing_of_its_vm_is_left() {
    let store = store();
    applied(&store, ground()).await;
    let before = with_card(placed(vm(1), 1), MAC);
    applied(&store, create(before.clone())).await;
    let mut lost = left(idle(before, State::Done), 1);
    lost.placement = None;
    let gone = change(lost);
    let mut over = of(&gone);
    applied(&store, gone).await;
    assert!(
        taken(&store, create(with_card(vm(2), MAC))).await.is_some(),
        "it may run where it was left"
    );
    sound(&store);
    over.leftovers.clear();
    applied(&store, change(over)).await;
    assert_eq!(taken(&store, create(with_card(vm(2), MAC))).await, None);
    applied(
        &store,
        Commit { resources: vec![ResourceChange::VmForget(VmId(1))], ..Commit::default() },
    )
    .await;
    sound(&store);
}

#[tokio::test]
async fn a_vm_that_comes_to_be_takes_the_uuid_of_one_that_is_done_with_the_same_commit() {
    let store = store();
    applied(&store, ground()).await;
    applied(&store, create(with_card(idle(vm(1), State::Done), MAC))).await;
    let again = || {
        let mut record = with_card(vm(2), MAC);
        record.uuid = vm(1).uuid;
        create(record)
    };
    let refused = store.commit(again()).await.expect("is decided");
    assert_eq!(
        refused,
        Committed::Refused(ResourceRefused::UuidTaken { vm: VmId(2), other: VmId(1) })
    );
    applied(&store, Commit { resources: vec![ResourceChange::VmForget(VmId(1))], ..again() }).await;
    let reader = store.read().expect("reads");
    assert_eq!(reader.vm_by_uuid(vm(1).uuid).expect("reads"), Some(VmId(2)));
    assert!(reader.vm(VmId(1)).expect("reads").is_none());
    sound(&store);
    // Refused as a whole, it forgets nothing.
    let mut other = with_card(vm(3), MAC);
    other.uuid = VmUuid(uuid::Uuid::from_u128(3));
    applied(&store, create(idle(vm(4), State::Done))).await;
    let both = Commit { resources: vec![ResourceChange::VmForget(VmId(4))], ..create(other) };
    assert!(taken(&store, both).await.is_some());
    assert!(store.read().expect("reads").vm(VmId(4)).expect("reads").is_some());
}
