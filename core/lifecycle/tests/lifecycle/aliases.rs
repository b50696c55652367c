//! Two hosts that are one hypervisor both show the domain that lives at one of them.

use crate::rig::STORE;
use crate::samples::new_vm;
use ostler_lifecycle::{DomainStatus, create, doomed, status_at};
use ostler_model::{
    DomainSeen, Generation, HostId, Identity, Leftover, Move, Observation, Placement, Power,
    PowerReason, Side, Timestamp, VmRecord,
};

fn place(host: u32, generation: u64) -> Placement {
    Placement {
        host: HostId(host),
        driver: "hyper".parse().unwrap(),
        generation: Generation(generation),
        since: Timestamp(0),
    }
}

/// A VM that lives at host 1 under generation 1.
fn record() -> VmRecord {
    let record = create(new_vm(1, false), Timestamp(0)).record;
    VmRecord {
        placement: Some(place(1, 1)),
        placed: Generation(1),
        issued: Generation(2),
        ..record
    }
}

fn seen(record: &VmRecord, generation: u64, power: Power) -> Observation {
    Observation::Present(DomainSeen {
        uuid: record.uuid,
        name: "domain".to_owned(),
        identity: Some(Identity {
            store: STORE,
            vm: record.uuid,
            generation: Generation(generation),
        }),
        power,
        reason: PowerReason::None,
        last_edge: None,
    })
}

#[test]
fn it_is_not_what_a_move_has_brought_to_the_other() {
    let record = VmRecord { moving: Some(Move::to(place(2, 2))), ..record() };
    let status = |side, generation| {
        status_at(&record, side, STORE, &seen(&record, generation, Power::Running))
    };
    assert_eq!(status(Side::Here, 1), DomainStatus::Running);
    assert_eq!(status(Side::Other, 1), DomainStatus::Absent);
    assert_eq!(status(Side::Other, 2), DomainStatus::Running);
}

#[test]
fn it_is_not_what_was_left_at_the_other() {
    let left = Leftover { place: place(2, 2), files: false };
    let record = VmRecord { leftovers: vec![left], ..record() };
    let swept =
        |generation, power| doomed(&record, STORE, HostId(2), &seen(&record, generation, power));
    assert_eq!(swept(1, Power::Running), None);
    assert_eq!(swept(2, Power::Off), Some(Generation(2)));
}
