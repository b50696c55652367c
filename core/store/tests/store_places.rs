//! VMs on more than one host: what is found, held and refused while they move, and what is
//! forgotten once they are over.

mod support;

use ostler_model::*;
use ostler_store::*;
use support::*;

fn capacity(cpu_milli: u64, memory_mib: u64) -> Capacity {
    Capacity { cpu_milli, memory_mib }
}

fn usage(store: &Store, host: u32) -> (u64, u64) {
    let usage = store.read().expect("reads").usage(HostId(host)).expect("reads");
    (usage.vms, usage.held.cpu_milli)
}

fn found(store: &Store, host: u32) -> Vec<VmId> {
    store.read().expect("reads").vms_on_host(HostId(host)).expect("reads")
}

async fn next(store: &Store, record: VmRecord) -> VmRecord {
    let commit = change(record);
    applied(store, commit.clone()).await;
    sound(store);
    of(&commit)
}

async fn refused(store: &Store, change: ResourceChange) -> UsedBy {
    match store
        .commit(Commit { resources: vec![change], ..Commit::default() })
        .await
        .expect("decided")
    {
        Committed::Refused(ResourceRefused::InUse { by, .. }) => by,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_vm_that_moves_is_found_on_both_hosts_and_holds_both_until_it_is_seen_gone() {
    let store = store();
    applied(&store, ground()).await;
    let created = create(idle(placed(vm(1), 2), State::Running));
    applied(&store, created.clone()).await;
    let begun = next(&store, moving(of(&created), 1)).await;
    assert_eq!((found(&store, 1), found(&store, 2)), (vec![VmId(1)], vec![VmId(1)]));
    assert_eq!((usage(&store, 1), usage(&store, 2)), ((1, 1000), (1, 1000)));
    assert_eq!(
        refused(&store, ResourceChange::HostRemove(HostId(1))).await,
        UsedBy::Moving(VmId(1))
    );
    assert_eq!(
        refused(&store, ResourceChange::HostRemove(HostId(2))).await,
        UsedBy::Placed(VmId(1))
    );
    let there = next(&store, switched(begun)).await;
    assert_eq!((usage(&store, 1), usage(&store, 2)), ((1, 1000), (1, 1000)));
    let filter = |host| VmFilter { host: Some(HostId(host)), ..VmFilter::default() };
    let listed = |host| {
        store.read().expect("reads").vm_page(&filter(host), None, 9).expect("reads").items.len()
    };
    assert_eq!((listed(1), listed(2)), (1, 0), "a list shows it where it has its place");
    let unseen = next(&store, VmRecord { moving: None, ..left(there, 2) }).await;
    assert_eq!(
        (usage(&store, 1), usage(&store, 2)),
        ((1, 1000), (0, 0)),
        "what may be left holds nothing"
    );
    assert_eq!(found(&store, 2), [VmId(1)]);
    assert_eq!(
        refused(&store, ResourceChange::HostRemove(HostId(2))).await,
        UsedBy::LeftBy(VmId(1))
    );
    let elsewhere = Host { hypervisor: None, ..host(2, 4000, 4096) };
    assert_eq!(refused(&store, ResourceChange::HostPut(elsewhere)).await, UsedBy::FoundBy(VmId(1)));
    next(&store, VmRecord { leftovers: vec![], ..unseen }).await;
    assert_eq!(found(&store, 2), []);
    applied(
        &store,
        Commit { resources: vec![ResourceChange::HostRemove(HostId(2))], ..Commit::default() },
    )
    .await;
    sound(&store);
}

#[tokio::test]
async fn a_migration_within_one_host_holds_once_and_several_leftovers_count_once() {
    let store = store();
    applied(&store, ground()).await;
    let record = left(left(moving(placed(vm(1), 1), 1), 2), 2);
    applied(&store, create(record.clone())).await;
    assert_eq!((usage(&store, 1), usage(&store, 2)), ((1, 1000), (0, 0)));
    assert_eq!((found(&store, 1), found(&store, 2)), (vec![VmId(1)], vec![VmId(1)]));
    sound(&store);
    for lost in [moving(record.clone(), 7), left(record, 7)] {
        let answer = store.commit(change(lost)).await.expect("decided");
        assert!(
            matches!(
                answer,
                Committed::Refused(ResourceRefused::NotFound { what: Resource::Host(_) })
            ),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn a_claim_judges_what_the_vm_holds_of_that_host_and_counts_its_own_once() {
    let store = store();
    applied(&store, ground()).await;
    let mut big = vm(1);
    big.spec.cpu_milli = 2500;
    let created = create(idle(placed(big, 2), State::Running));
    applied(&store, created.clone()).await;
    let mut other = vm(2);
    other.spec.cpu_milli = 1501;
    applied(&store, create(placed(other.clone(), 1))).await;
    let begun = with_room(change(moving(of(&created), 1)), 1, true);
    let answer = store.commit(begun.clone()).await.expect("decided");
    let Committed::ClaimRefused(full) = answer else { panic!("{answer:?}") };
    let taken = |taken: &Amount, limit: &Amount| {
        (taken.capacity().cpu_milli, limit.capacity().cpu_milli) == (1501, 4000)
    };
    assert!(
        matches!(&full.lack, Lack::Full { taken: held, limit, .. } if taken(held, limit)),
        "{full}"
    );
    assert_eq!(found(&store, 1), [VmId(2)], "nothing was changed");
    other.spec.cpu_milli = 1500;
    let smaller = with_room(change(placed(other, 1)), 1, true);
    applied(&store, smaller).await;
    applied(&store, begun.clone()).await;
    // On the way, and once it is there, it is there already: it does not stand in its own way.
    let again = with_room(change(of(&begun)), 1, true);
    applied(&store, again.clone()).await;
    let there = with_room(change(switched(of(&again))), 1, true);
    applied(&store, there.clone()).await;
    let mut grown = of(&there);
    grown.spec.cpu_milli = 2501;
    let grown = with_room(change(grown), 1, true);
    assert!(matches!(store.commit(grown).await.expect("decided"), Committed::ClaimRefused(_)));
    sound(&store);
}

#[tokio::test]
async fn on_a_host_that_is_too_full_a_vm_may_shrink_and_stay_but_not_grow() {
    let store = store();
    applied(&store, ground()).await;
    let created = create(idle(placed(vm(1), 1), State::Running));
    applied(&store, created.clone()).await;
    let total = capacity(500, 4096);
    applied(
        &store,
        Commit {
            resources: vec![ResourceChange::HostProbed { id: HostId(1), total }],
            ..Commit::default()
        },
    )
    .await;
    let mut at = of(&created);
    for (cpu_milli, memory_mib, goes) in [
        (900, 512, true),
        (900, 1024, true),
        (901, 512, false),
        (800, 4097, false),
        (100, 4096, true),
    ] {
        let mut sized = at.clone();
        (sized.spec.cpu_milli, sized.spec.memory_mib) = (cpu_milli, memory_mib);
        let resize = with_room(change(sized), 1, true);
        let answer = store.commit(resize.clone()).await.expect("decided");
        assert_eq!(
            matches!(answer, Committed::Applied { .. }),
            goes,
            "{cpu_milli} {memory_mib}: {answer:?}"
        );
        if goes {
            at = of(&resize);
        }
    }
    sound(&store);
}

#[tokio::test]
async fn vms_to_move_are_listed_while_the_flag_is_up() {
    let store = store();
    let listed = || store.read().expect("reads").vms_to_resched().expect("reads");
    let mut created: Vec<Commit> =
        [1, 2, 3].map(|id| create(VmRecord { resched: id != 2, ..vm(id) })).into();
    for commit in &created {
        applied(&store, commit.clone()).await;
    }
    assert_eq!(listed(), [VmId(1), VmId(3)]);
    assert!(
        store.read().expect("reads").vm_summary(VmId(3)).expect("reads").expect("is there").resched
    );
    next(&store, VmRecord { resched: false, ..of(&created.remove(0)) }).await;
    assert_eq!(listed(), [VmId(3)]);
}

#[tokio::test]
async fn a_vm_is_forgotten_only_when_nothing_of_it_is_left() {
    let store = store();
    applied(&store, ground()).await;
    let created = create(idle(placed(with_disk(vm(1), 1), 1), State::Running));
    applied(&store, created.clone()).await;
    let mut gone = left(idle(of(&created), State::Done), 1);
    gone.placement = None;
    let gone = next(&store, gone).await;
    let over = || store.read().expect("reads").done_before(Timestamp(u64::MAX), 9).expect("reads");
    assert_eq!(over(), []);
    assert_eq!(refused(&store, ResourceChange::VmForget(VmId(1))).await, UsedBy::LeftOn(HostId(1)));
    // What it may have left needs what it stood on.
    for change in
        [ResourceChange::ImageRemove(ImageId(1)), ResourceChange::DatastoreRemove(DatastoreId(2))]
    {
        refused(&store, change).await;
    }
    next(&store, VmRecord { leftovers: vec![], ..gone }).await;
    assert_eq!(over(), [VmId(1)]);
    for change in [
        ResourceChange::VmForget(VmId(1)),
        ResourceChange::ImageRemove(ImageId(1)),
        ResourceChange::DatastoreRemove(DatastoreId(2)),
    ] {
        applied(&store, Commit { resources: vec![change], ..Commit::default() }).await;
    }
    assert_eq!(over(), []);
    sound(&store);
}

#[tokio::test]
async fn what_is_done_for_long_is_found_oldest_first_in_bounded_pages() {
    let store = store();
    applied(&store, ground()).await;
    // Ids and ages do not go together; the odd ones are not over yet.
    for id in 1..=20_u64 {
        let state = if id % 2 == 0 { State::Done } else { State::Stopped };
        applied(&store, create(VmRecord { since: Timestamp(1000 - id), ..idle(vm(id), state) }))
            .await;
    }
    let page = |before, limit| {
        store.read().expect("reads").done_before(Timestamp(before), limit).expect("reads")
    };
    assert_eq!(page(985, 3), [20, 18, 16].map(VmId), "986 and later are not old enough");
    assert_eq!(page(984, 9), [20, 18].map(VmId), "at the very moment it is not yet old enough");
    assert_eq!(page(u64::MAX, 0), []);
    let mut all = Vec::new();
    loop {
        let some = page(u64::MAX, 4);
        if some.is_empty() {
            break;
        }
        for id in some {
            applied(
                &store,
                Commit { resources: vec![ResourceChange::VmForget(id)], ..Commit::default() },
            )
            .await;
            all.push(id.0);
        }
    }
    assert_eq!(all, [20, 18, 16, 14, 12, 10, 8, 6, 4, 2]);
    assert_eq!(store.read().expect("reads").vm_count().expect("reads"), 10);
    sound(&store);
}
