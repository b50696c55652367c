//! What a listed domain is, and what is put away on a host.

use crate::rig::{Fault, Rig, STORE};
use ostler_lifecycle::{Listing, PutAway, listed, put_away};
use ostler_model::{
    DomainSeen, FilesAt, Generation, HostId, Identity, Leftover, Move, Observation, Placement,
    Power, PowerReason, State, StoreId, Timestamp, VmRecord,
};

const A: HostId = HostId(1);
const B: HostId = HostId(2);

fn at(host: HostId, generation: u64) -> Placement {
    Placement {
        host,
        driver: "hyper".parse().unwrap(),
        generation: Generation(generation),
        since: Timestamp(0),
    }
}

/// It runs on A under generation 2, and has left something on B under generation 1.
fn moved(shared: bool, files: bool) -> VmRecord {
    let mut rig = Rig::new(1, shared, Fault::None);
    let storage = rig.storage();
    let record = &mut rig.record;
    (record.state, record.storage, record.placement) =
        (State::Running, Some(storage), Some(at(A, 2)));
    (record.issued, record.placed) = (Generation(2), Generation(2));
    record.files = FilesAt { host: true, home: false };
    record.leftovers = vec![Leftover { place: at(B, 1), files }];
    record.clone()
}

fn domain(record: &VmRecord, store: StoreId, generation: u64) -> DomainSeen {
    let identity = Some(Identity { store, vm: record.uuid, generation: Generation(generation) });
    DomainSeen {
        uuid: record.uuid,
        name: "vm".to_owned(),
        identity,
        power: Power::Off,
        reason: PowerReason::None,
        last_edge: None,
    }
}

#[test]
fn first_the_domain_goes_then_the_files_and_then_nothing_is_left() {
    let vm = moved(false, true);
    let seen = Observation::Present(domain(&vm, STORE, 1));
    let both = put_away(&vm, STORE, B, &seen, (false, false));
    assert_eq!(
        (both.domain, both.files.is_some(), both.empty),
        (Some(Generation(1)), true, Some(Generation(1)))
    );
    let files = put_away(&vm, STORE, B, &Observation::Absent, (false, false));
    assert_eq!(
        (files.domain, files.files.is_some(), files.empty),
        (None, true, Some(Generation(1)))
    );
    assert_eq!(
        put_away(&vm, STORE, A, &Observation::Present(domain(&vm, STORE, 2)), (false, false)),
        PutAway::default()
    );
}

#[test]
fn files_that_somebody_may_use_stay_and_the_leftover_with_them() {
    let own = moved(false, true);
    let absent = &Observation::Absent;
    assert_eq!(
        put_away(&own, STORE, B, absent, (true, false)),
        PutAway::default(),
        "a newer domain may use them"
    );
    assert_eq!(
        put_away(&own, STORE, B, absent, (false, true)),
        PutAway { in_use: true, ..PutAway::default() }
    );
    // The files of a VM that lives on are its files, where all hosts see the same: only the
    // leftover is forgotten.
    let shared = moved(true, true);
    assert_eq!(
        put_away(&shared, STORE, B, absent, (false, false)),
        PutAway { empty: Some(Generation(1)), ..PutAway::default() }
    );
    let done = VmRecord { state: State::Done, placement: None, ..shared };
    assert!(put_away(&done, STORE, B, absent, (false, false)).files.is_some());
}

#[test]
fn a_domain_that_is_not_what_was_left_is_not_touched() {
    let other = StoreId(uuid::Uuid::from_u128(99));
    let (bare, with_files) = (moved(false, false), moved(false, true));
    let theirs = |vm| Observation::Present(domain(vm, other, 1));
    assert_eq!(
        put_away(&bare, STORE, B, &theirs(&bare), (false, false)),
        PutAway { empty: Some(Generation(1)), ..PutAway::default() }
    );
    assert_eq!(
        put_away(&with_files, STORE, B, &theirs(&with_files), (false, false)),
        PutAway::default()
    );
    let newer = Observation::Present(domain(&bare, STORE, 9));
    assert_eq!(put_away(&bare, STORE, B, &newer, (false, false)), PutAway::default());
}

#[test]
fn a_listed_domain_is_the_vm_a_zombie_or_newer_than_the_store() {
    let vm = moved(true, false);
    let is = |record: Option<&VmRecord>, host, generation| {
        listed(record, STORE, host, &domain(&vm, STORE, generation))
    };
    assert_eq!(is(Some(&vm), A, 2), Listing::default());
    assert_eq!(is(Some(&vm), B, 1), Listing { zombie: true, doomed: true, newer: false });
    assert_eq!(is(Some(&vm), B, 9), Listing { zombie: true, doomed: false, newer: true });
    assert_eq!(
        is(None, B, 1),
        Listing { zombie: true, ..Listing::default() },
        "nobody knows whose it is"
    );
    let mut restored = vm.clone();
    restored.mark_restored(Timestamp(0));
    assert_eq!(is(Some(&restored), B, 1), Listing { newer: true, ..Listing::default() });
    let moving = VmRecord { moving: Some(Move::to(at(B, 3))), ..vm.clone() };
    assert_eq!(is(Some(&moving), B, 3), Listing { newer: false, ..Listing::default() });
}
