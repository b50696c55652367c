//! What each part of a commit does, and what readers see of it.

mod support;

use ostler_model::*;
use ostler_store::*;
use support::*;

#[tokio::test]
async fn a_record_is_written_only_on_the_version_it_was_decided_on() {
    let store = store();
    let created = create(vm(1));
    assert_eq!(applied(&store, created.clone()).await, EventSeq(1));
    assert_eq!(
        store.commit(created.clone()).await.expect("decided"),
        Committed::Stale { found: Some(Version(1)) }
    );
    let next = change(of(&created));
    applied(&store, next.clone()).await;
    assert_eq!(
        store.commit(next.clone()).await.expect("decided"),
        Committed::Stale { found: Some(Version(2)) }
    );
    assert_eq!(
        store.commit(change(vm(9))).await.expect("decided"),
        Committed::Stale { found: None }
    );
    assert_eq!(store.read().expect("reads").vm(VmId(1)).expect("reads"), Some(of(&next)));
    let mut backwards = change(of(&next));
    std::sync::Arc::make_mut(&mut backwards.vm.as_mut().expect("has one").record).version =
        Version(2);
    assert!(matches!(store.commit(backwards).await, Err(CommitError::Malformed { .. })));
    sound(&store);
}

#[tokio::test]
async fn of_a_batch_that_wants_the_last_place_one_gets_it_and_the_others_are_told_why() {
    let store = store();
    applied(&store, ground()).await;
    let step = (1..=6).map(|id| with_room(create(placed(vm(id), 1)), 1, true));
    let answers = script::run(&store, step.collect()).await;
    let (got, refused): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| matches!(answer, Committed::Applied { .. }));
    assert_eq!((got.len(), refused.len()), (4, 2));
    for answer in refused {
        let Committed::ClaimRefused(refused) = answer else { panic!("{answer:?}") };
        assert!(matches!(refused.lack, Lack::Full { .. }), "{refused}");
    }
    let usage = store.read().expect("reads").usage(HostId(1)).expect("reads");
    assert_eq!(usage, Usage { vms: 4, held: Capacity { cpu_milli: 4000, memory_mib: 2048 } });
    sound(&store);
}

#[tokio::test]
async fn a_vm_does_not_compete_with_itself_and_without_enforcement_with_nobody() {
    let store = store();
    applied(&store, ground()).await;
    let mut big = vm(1);
    big.spec.cpu_milli = 4000;
    let first = with_room(create(placed(big, 1)), 1, true);
    applied(&store, first.clone()).await;
    let mut again = change(of(&first));
    again.claims = first.claims.clone();
    applied(&store, again).await;
    applied(&store, with_room(create(placed(vm(2), 1)), 1, false)).await;
    sound(&store);
}

#[tokio::test]
async fn claims_look_at_hosts_and_images_as_they_are() {
    let store = store();
    applied(&store, ground()).await;
    let drain = ResourceChange::HostEdit {
        id: HostId(1),
        edit: HostEdit { state: Some(HostState::Draining), ..HostEdit::default() },
    };
    let lock = ResourceChange::ImagePut(Image { state: ImageState::Locked, ..image(1) });
    applied(&store, Commit { resources: vec![drain, lock], ..Commit::default() }).await;
    let refused = [
        (
            Ask::room(HostId(1), false),
            Lack::Closed { called: "host-1".to_owned(), state: "draining".to_owned() },
        ),
        (Ask::room(HostId(9), false), Lack::Missing),
        (
            Ask::image(ImageId(1)),
            Lack::Closed { called: "image-1".to_owned(), state: "locked".to_owned() },
        ),
        (Ask::image(ImageId(9)), Lack::Missing),
    ];
    for (ask, lack) in refused {
        let claims = vm(1).claims(&[Ask::image(ImageId(2)), ask]);
        let (commit, claim) =
            (Commit { claims: claims.clone(), ..create(vm(1)) }, claims[1].clone());
        let answer = store.commit(commit).await.expect("decided");
        assert_eq!(answer, Committed::ClaimRefused(ClaimRefused { claim, lack }));
    }
    assert_eq!(store.read().expect("reads").vm_count().expect("reads"), 0);
}

#[tokio::test]
async fn a_record_cannot_stand_on_what_is_not_there() {
    let store = store();
    applied(&store, ground()).await;
    for record in [placed(vm(1), 7), with_disk(vm(1), 7)] {
        let answer = store.commit(create(record)).await.expect("decided");
        assert!(
            matches!(answer, Committed::Refused(ResourceRefused::NotFound { .. })),
            "{answer:?}"
        );
    }
    applied(&store, create(vm(1))).await;
    let twin = VmRecord { uuid: vm(1).uuid, ..vm(2) };
    let answer = store.commit(create(twin)).await.expect("decided");
    assert_eq!(
        answer,
        Committed::Refused(ResourceRefused::UuidTaken { vm: VmId(2), other: VmId(1) })
    );
}

#[tokio::test]
async fn the_same_request_is_answered_once_for_a_day() {
    let store = store();
    let day = IDEMPOTENCY_KEPT.0;
    let with =
        |id, row: &IdempotencyRow| Commit { idempotency: Some(row.clone()), ..create(vm(id)) };
    let row = answer("k", "body", 1000);
    applied(&store, with(1, &row)).await;
    assert_eq!(
        store.commit(with(2, &row)).await.expect("decided"),
        Committed::Replayed(row.clone())
    );
    let other = answer("k", "other body", 1001);
    assert_eq!(
        store.commit(with(2, &other)).await.expect("decided"),
        Committed::IdempotencyConflict
    );
    let reader = store.read().expect("reads");
    let seen = |at| reader.idempotency("admin", "POST /v1/vms", "k", Timestamp(at)).expect("reads");
    assert_eq!(seen(1000 + day - 1), Some(row));
    assert_eq!(seen(1000 + day), None);
    applied(&store, with(2, &answer("k", "other body", 1000 + day))).await;
    for (id, key) in [(3, "a"), (4, "b"), (5, "c")] {
        applied(&store, with(id, &answer(key, "x", 2000))).await;
    }
    applied(&store, with(6, &answer("z", "x", 2001 + day))).await;
    let kept = store.read().expect("reads").dump().expect("dumps");
    assert_eq!(
        kept.iter().filter(|line| line.starts_with("idempotency\t")).count(),
        2,
        "{kept:#?}"
    );
    sound(&store);
}

#[tokio::test]
async fn events_are_dense_and_the_feed_tells_what_is_no_longer_kept() {
    let disk = support::disk::Disk::default();
    let store = Store::open_with(disk, Options { events_kept: 10, ..options() }).expect("opens");
    let mut feed = store.feed();
    let mut commit = create(vm(1));
    for round in 1..=30_u64 {
        assert_eq!(applied(&store, commit.clone()).await, EventSeq(round));
        assert_eq!(*feed.borrow_and_update(), EventSeq(round));
        commit = change(of(&commit));
    }
    let reader = store.read().expect("reads");
    assert_eq!(reader.oldest_event().expect("reads"), Some(EventSeq(21)));
    assert_eq!(
        reader.events_after(EventSeq(19), 5).expect("reads"),
        EventsAfter::Trimmed { oldest: EventSeq(21), last: EventSeq(30) }
    );
    let EventsAfter::Page { events, last } = reader.events_after(EventSeq(20), 5).expect("reads")
    else {
        panic!("trimmed")
    };
    assert_eq!(events.iter().map(|event| event.seq.0).collect::<Vec<_>>(), [21, 22, 23, 24, 25]);
    assert_eq!((events[0].version, last), (Some(Version(21)), EventSeq(30)));
    assert_eq!(
        reader.events_after(EventSeq(30), 5).expect("reads"),
        EventsAfter::Page { events: vec![], last: EventSeq(30) }
    );
    // Somebody counts on what this store never said: it was restored from a backup.
    let beyond = EventsAfter::Trimmed { oldest: EventSeq(21), last: EventSeq(30) };
    assert_eq!(reader.events_after(EventSeq(31), 5).expect("reads"), beyond);
    assert_eq!(reader.events_after(EventSeq(u64::MAX), 5).expect("reads"), beyond);
    sound(&store);
}

#[tokio::test]
async fn a_refused_commit_leaves_no_event_and_no_gap() {
    let store = store();
    applied(&store, ground()).await;
    let mut bad = create(vm(2));
    bad.claims = of(&bad).claims(&[Ask::image(ImageId(9))]);
    let answers = script::run(&store, vec![create(vm(1)), bad, create(vm(3))]).await;
    assert_eq!(answers[0], Committed::Applied { seq: EventSeq(1) });
    assert_eq!(answers[2], Committed::Applied { seq: EventSeq(2) });
    sound(&store);
}

#[tokio::test]
async fn ended_operations_are_bounded_and_those_in_hand_are_kept() {
    let store = Store::open_with(
        support::disk::Disk::default(),
        Options { operations_kept: 3, ..options() },
    )
    .expect("opens");
    applied(&store, create(vm(1))).await;
    applied(&store, Commit { operations: vec![operation(1, 1, false)], ..Commit::default() }).await;
    for id in 2..=9 {
        applied(&store, Commit { operations: vec![operation(id, 1, false)], ..Commit::default() })
            .await;
        applied(&store, Commit { operations: vec![operation(id, 1, true)], ..Commit::default() })
            .await;
    }
    let reader = store.read().expect("reads");
    let ids = |limit| {
        reader
            .operations_of(VmId(1), limit)
            .expect("reads")
            .iter()
            .map(|row| row.id.0)
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(10), [9, 8, 7, 1]);
    assert_eq!(ids(2), [9, 8]);
    assert_eq!(reader.operation(OperationId(2)).expect("reads"), None);
    assert!(
        reader.operation(OperationId(1)).expect("reads").is_some_and(|row| row.ended.is_none())
    );
    sound(&store);
}

#[tokio::test]
async fn what_is_under_way_is_found_after_a_restart() {
    let disk = support::disk::Disk::default();
    let store = Store::open_with(disk.clone(), options()).expect("opens");
    applied(&store, ground()).await;
    let created = create(placed(vm(1), 1));
    applied(&store, created.clone()).await;
    let (record, effect) = busy(of(&created), 5, 777);
    let begun = Commit { outbox_put: vec![effect.clone()], ..change(record) };
    applied(&store, begun.clone()).await;
    applied(&store, create(vm(2))).await;
    let id = store.id();
    drop(store);
    let bytes = disk.bytes();
    let store =
        Store::open_with(support::disk::Disk::holding(bytes), Options::default()).expect("opens");
    assert_eq!(store.id(), id);
    let reader = store.read().expect("reads");
    assert_eq!(reader.outbox_all().expect("reads"), std::slice::from_ref(&effect));
    assert_eq!(reader.outbox_of(VmId(1)).expect("reads"), std::slice::from_ref(&effect));
    assert_eq!(reader.outbox_of(VmId(2)).expect("reads"), []);
    assert_eq!(reader.active_vms().expect("reads"), [VmId(1)]);
    assert_eq!(reader.timers_all().expect("reads"), [(Timestamp(777), VmId(1))]);
    let over = Commit { outbox_del: vec![effect.key], ..change(idle(of(&begun), State::Running)) };
    applied(&store, over).await;
    let reader = store.read().expect("reads");
    assert!(
        reader.outbox_all().expect("reads").is_empty()
            && reader.active_vms().expect("reads").is_empty()
    );
    assert!(reader.timers_all().expect("reads").is_empty());
    sound(&store);
}

#[tokio::test]
async fn an_effect_must_be_open_in_the_record_that_comes_with_it() {
    let store = store();
    applied(&store, ground()).await;
    let (_, effect) = busy(placed(vm(1), 1), 5, 777);
    let commit = Commit { outbox_put: vec![effect], ..create(vm(1)) };
    assert!(matches!(store.commit(commit).await, Err(CommitError::Malformed { .. })));
}

#[tokio::test]
async fn ids_are_never_used_again_not_even_of_what_was_forgotten() {
    let disk = support::disk::Disk::default();
    let store = Store::open_with(disk.clone(), options()).expect("opens");
    assert_eq!(
        (store.next_vm_id(), store.next_vm_id(), store.next_host_id()),
        (VmId(1), VmId(2), HostId(1))
    );
    applied(&store, ground()).await;
    applied(
        &store,
        Commit { operations: vec![operation(44, 7, true)], ..create(idle(vm(7), State::Done)) },
    )
    .await;
    applied(
        &store,
        Commit { resources: vec![ResourceChange::VmForget(VmId(7))], ..Commit::default() },
    )
    .await;
    applied(
        &store,
        Commit { resources: vec![ResourceChange::ImageRemove(ImageId(2))], ..Commit::default() },
    )
    .await;
    let reader = store.read().expect("reads");
    assert_eq!(reader.vm(VmId(7)).expect("reads"), None);
    assert!(reader.operations_of(VmId(7), 9).expect("reads").is_empty());
    sound(&store);
    drop((reader, store));
    let store =
        Store::open_with(support::disk::Disk::holding(disk.bytes()), options()).expect("opens");
    assert_eq!(store.next_vm_id(), VmId(8));
    assert_eq!(store.next_operation_id(), OperationId(45));
    assert_eq!(
        (store.next_host_id(), store.next_datastore_id(), store.next_image_id()),
        (HostId(3), DatastoreId(3), ImageId(3))
    );
    let last = Commit { ..create(vm(u64::MAX)) };
    assert!(matches!(store.commit(last).await, Err(CommitError::Malformed { .. })));
}

#[tokio::test]
async fn lists_come_in_pages_from_the_index_that_fits() {
    let store = store();
    applied(&store, ground()).await;
    let states = [State::Pending, State::Running, State::Done, State::Poweroff];
    let commits = (1..=40_u64).map(|id| {
        let record = idle(vm(id), states[usize::try_from(id % 4).expect("small")]);
        create(if record.state == State::Running {
            placed(record, 1 + u32::from(id > 20))
        } else {
            record
        })
    });
    script::run(&store, commits.collect()).await;
    let reader = store.read().expect("reads");
    let all = |filter: &VmFilter, limit| {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = reader.vm_page(filter, after, limit).expect("reads");
            assert_eq!(page.seq, EventSeq(40));
            assert!(page.items.len() <= limit);
            found.extend(page.items.iter().map(|vm| vm.id.0));
            match page.next {
                Some(next) => after = Some(next),
                None => return found,
            }
        }
    };
    let filters = [
        VmFilter::default(),
        VmFilter { include_done: true, ..VmFilter::default() },
        VmFilter { states: vec![State::Done, State::Pending, State::Done], ..VmFilter::default() },
        VmFilter { host: Some(HostId(1)), ..VmFilter::default() },
        VmFilter { owner: Some("odd".to_owned()), ..VmFilter::default() },
        VmFilter {
            owner: Some("odd".to_owned()),
            host: Some(HostId(2)),
            states: vec![State::Running],
            include_done: false,
        },
        VmFilter { states: vec![State::Failed], ..VmFilter::default() },
    ];
    for filter in filters {
        let should: Vec<u64> = (1..=40)
            .filter(|id| {
                let vm = reader.vm_summary(VmId(*id)).expect("reads").expect("is there");
                let state = if filter.states.is_empty() {
                    filter.include_done || vm.state != State::Done
                } else {
                    filter.states.contains(&vm.state)
                };
                state
                    && filter.host.is_none_or(|host| vm.host == Some(host))
                    && filter.owner.as_ref().is_none_or(|o| *o == vm.owner)
            })
            .collect();
        for limit in [1, 3, 10, 100] {
            assert_eq!(all(&filter, limit), should, "{filter:?} in pages of {limit}");
        }
    }
    assert_eq!(
        reader.vms_in_state(State::Pending, Some(VmId(8)), 2).expect("reads"),
        [VmId(12), VmId(16)]
    );
    assert_eq!(
        reader.state_counts().expect("reads").into_values().collect::<Vec<_>>(),
        [10, 10, 10, 10]
    );
    assert_eq!(reader.vms_by_name(&"vm-7".parse().expect("a name")).expect("reads"), [VmId(7)]);
    assert_eq!(reader.vm_by_uuid(vm(7).uuid).expect("reads"), Some(VmId(7)));
}

#[tokio::test]
async fn a_name_used_again_and_again_finds_those_that_have_it_now() {
    let store = store();
    applied(&store, ground()).await;
    let name: VmName = "again".parse().expect("a name");
    let most = u64::try_from(ostler_store::SAME_NAME_MAX).expect("small");
    let last = most + 50;
    let commits = (1..=last).map(|id| {
        let mut record =
            idle(vm(id), if id == 2 || id == last - 1 { State::Pending } else { State::Done });
        record.spec.name = name.clone();
        create(record)
    });
    script::run(&store, commits.collect()).await;
    let found = store.read().expect("reads").vms_by_name(&name).expect("reads");
    assert_eq!(found.len(), ostler_store::SAME_NAME_MAX);
    assert!(found.is_sorted());
    assert_eq!(found.first(), Some(&VmId(2)), "however long ago it was made");
    assert!(found.contains(&VmId(last - 1)) && found.contains(&VmId(last)));
}

#[tokio::test]
async fn a_reader_sees_one_moment() {
    let store = store();
    applied(&store, create(vm(1))).await;
    let reader = store.read().expect("reads");
    applied(&store, create(vm(2))).await;
    assert_eq!((reader.vm_count().expect("reads"), reader.seq().expect("reads")), (1, EventSeq(1)));
}
