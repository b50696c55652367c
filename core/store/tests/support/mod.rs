//! What the tests of the store share: small things to commit, and a disk whose power can be cut.

#![allow(dead_code, reason = "each test file uses a part")]

pub(crate) mod disk;
pub(crate) mod random;
pub(crate) mod script;

use ostler_model::*;
use ostler_store::{
    Commit, Committed, EventDraft, IdempotencyRow, Options, ResourceChange, Store, VmChange,
};
use std::collections::BTreeMap;
use uuid::Uuid;

/// A store that always has the same id.
pub(crate) fn options() -> Options {
    Options {
        store_id: Some(StoreId(Uuid::from_u128(0x0511e4))),
        cache_bytes: 4 << 20,
        ..Options::default()
    }
}

/// A store on a disk in memory.
pub(crate) fn store() -> Store {
    Store::open_with(disk::Disk::default(), options()).expect("opens")
}

pub(crate) fn host(id: u32, cpu_milli: u64, memory_mib: u64) -> Host {
    Host {
        id: HostId(id),
        name: format!("host-{id}").parse().expect("a name"),
        hypervisor: Some(DriverRef {
            driver: "sim".parse().expect("a name"),
            config: BTreeMap::new(),
        }),
        transport: ExecTransport::Local,
        labels: BTreeMap::new(),
        state: HostState::On,
        total: Capacity { cpu_milli, memory_mib },
        total_is_fixed: false,
        rules: None,
        identity: None,
        added: Timestamp(1),
    }
}

pub(crate) fn datastore(id: u32, kind: DatastoreKind) -> Datastore {
    Datastore {
        id: DatastoreId(id),
        name: format!("datastore-{id}").parse().expect("a name"),
        kind,
        driver: "transfer-qcow2".parse().expect("a name"),
        root: format!("/datastores/{id}"),
        shared: false,
        added: Timestamp(1),
    }
}

pub(crate) fn image(id: u32) -> Image {
    Image {
        id: ImageId(id),
        name: format!("image-{id}").parse().expect("a name"),
        datastore: DatastoreId(1),
        path: format!("image-{id}.qcow2").parse().expect("a path"),
        format: DiskFormat::Qcow2,
        state: ImageState::Ready,
        virtual_size: None,
        stands_alone: true,
        added: Timestamp(1),
    }
}

/// Hosts 1 and 2 (4 CPUs, 4 GiB each), datastores 1 (images) and 2 (system), images 1 and 2.
pub(crate) fn ground() -> Commit {
    Commit {
        resources: vec![
            ResourceChange::HostPut(host(1, 4000, 4096)),
            ResourceChange::HostPut(host(2, 4000, 4096)),
            ResourceChange::DatastorePut(datastore(1, DatastoreKind::Image)),
            ResourceChange::DatastorePut(datastore(2, DatastoreKind::System)),
            ResourceChange::ImagePut(image(1)),
            ResourceChange::ImagePut(image(2)),
        ],
        ..Commit::default()
    }
}

pub(crate) fn spec(name: &str) -> VmSpec {
    VmSpec {
        name: name.parse().expect("a name"),
        cpu_milli: 1000,
        vcpus: 1,
        memory_mib: 512,
        boot: BootSpec::default(),
        disks: Vec::new(),
        nics: Vec::new(),
        graphics: Graphics::None,
        host: None,
        labels: BTreeMap::new(),
        user_data: String::new(),
        patience: Patience::default(),
        headroom: Headroom::default(),
    }
}

/// A pending VM, version 1. Made of what the first rows had, so that a field that came later must
/// have a default.
pub(crate) fn vm(id: u64) -> VmRecord {
    let first = serde_json::json!({
        "id": id,
        "uuid": Uuid::from_u128(0xabc0_0000 + u128::from(id)),
        "owner": if id.is_multiple_of(2) { "eve" } else { "odd" },
        "created": 10,
        "spec": spec(&format!("vm-{id}")),
        "version": 1,
        "state": "pending",
        "since": 10,
        "reason": "asked",
        "step": 0,
        "issued": 0,
        "placed": 0,
        "files": {"host": false, "home": false},
        "disks": [],
        "open": [],
    });
    serde_json::from_value(first).expect("is a record")
}

/// With a disk on an image.
pub(crate) fn with_disk(mut record: VmRecord, image: u32) -> VmRecord {
    record.disks.push(DiskState {
        name: format!("vd{}", char::from(b'a' + u8::try_from(record.disks.len()).expect("few")))
            .parse()
            .expect("a name"),
        file: "disk.qcow2".parse().expect("a path"),
        format: DiskFormat::Qcow2,
        image: Some(ImageId(image)),
        save_as: None,
        adopted: None,
    });
    record
}

fn place(record: &mut VmRecord, host: u32) -> Placement {
    record.issued = record.issued.next();
    Placement {
        host: HostId(host),
        driver: "sim".parse().expect("a name"),
        generation: record.issued,
        since: Timestamp(20),
    }
}

/// With its place on a host.
pub(crate) fn placed(mut record: VmRecord, host: u32) -> VmRecord {
    record.placement = Some(place(&mut record, host));
    record.storage = Some(Storage {
        datastore: DatastoreId(2),
        driver: "transfer-qcow2".parse().expect("a name"),
        shared: false,
    });
    record
}

/// With another host beside that of its place.
pub(crate) fn moving(mut record: VmRecord, host: u32) -> VmRecord {
    record.moving = Some(Move::to(place(&mut record, host)));
    record
}

/// The two hosts of a migration change their parts.
pub(crate) fn switched(mut record: VmRecord) -> VmRecord {
    if let (Some(here), Some(moving)) = (&mut record.placement, &mut record.moving) {
        std::mem::swap(here, &mut moving.place);
    }
    record
}

/// Done or not, it has left a host without being seen gone.
pub(crate) fn left(mut record: VmRecord, host: u32) -> VmRecord {
    let place = place(&mut record, host);
    record.leftovers.push(Leftover { place, files: true });
    record
}

/// With an operation in hand whose first call is open.
pub(crate) fn busy(mut record: VmRecord, operation: u64, deadline: u64) -> (VmRecord, Effect) {
    record.step = record.step.next();
    let key = EffectKey {
        vm: record.uuid,
        operation: OperationId(operation),
        step: record.step,
        item: Item::Domain,
    };
    record.operation = Some(Active {
        id: OperationId(operation),
        verb: Verb::Deploy,
        origin: record.state,
        subject: Subject::Vm,
        plan: vec![StepKind::Boot],
        at: 0,
        step: record.step,
        pending: vec![Item::Domain],
        phase: Phase::Waiting { until: Timestamp(deadline) },
        attempt: 1,
        blind: 0,
        crashes: 0,
        sent: Some(Timestamp(30)),
        deadline: Some(Timestamp(deadline)),
        undoing: false,
        stated: None,
        acted: true,
        cut: false,
        error: None,
    });
    record.open.push(OpenCall {
        key: key.clone(),
        call: Call::Now(NowCall::Deploy),
        attempt: 1,
        cancelled: false,
    });
    record.state = State::Boot;
    let effect = Effect {
        vm: record.id,
        key,
        attempt: 1,
        call: Call::Now(NowCall::Deploy),
        host: record.placement.as_ref().map_or(HostId(1), |place| place.host),
        driver: "sim".parse().expect("a name"),
        generation: record.issued,
        spares: None,
        patience: Millis::secs(90),
    };
    (record, effect)
}

/// With an operation in hand that is about `subject`.
pub(crate) fn about(record: VmRecord, operation: u64, verb: Verb, subject: Subject) -> VmRecord {
    let (mut record, _) = busy(record, operation, 90);
    record.open.clear();
    if let Some(active) = &mut record.operation {
        active.verb = verb;
        active.subject = subject;
    }
    record
}

/// With nothing in hand, in this state.
pub(crate) fn idle(mut record: VmRecord, state: State) -> VmRecord {
    record.operation = None;
    record.open.clear();
    record.state = state;
    record
}

pub(crate) fn operation(id: u64, vm: u64, ended: bool) -> OperationRecord {
    OperationRecord {
        id: OperationId(id),
        vm: VmId(vm),
        verb: Some(Verb::Deploy),
        by: "admin".to_owned(),
        began: Timestamp(30),
        ended: ended.then_some(Timestamp(40)),
        outcome: ended.then_some(Ended::Succeeded),
        steps: Vec::new(),
    }
}

pub(crate) fn event(vm: &VmRecord) -> EventDraft {
    EventDraft {
        at: Timestamp(50),
        vm: Some(vm.id),
        version: Some(vm.version),
        kind: EventKind::State { from: State::Pending, to: vm.state, reason: vm.reason },
    }
}

/// A commit of one record that must not be there yet.
pub(crate) fn create(record: VmRecord) -> Commit {
    let events = vec![event(&record)];
    Commit {
        vm: Some(VmChange { record: record.into(), expect: None }),
        events,
        ..Commit::default()
    }
}

/// A commit of the next version of a record.
pub(crate) fn change(mut record: VmRecord) -> Commit {
    let expect = record.version;
    record.version = record.version.next();
    let events = vec![event(&record)];
    Commit {
        vm: Some(VmChange { record: record.into(), expect: Some(expect) }),
        events,
        ..Commit::default()
    }
}

/// The commit, with a claim to room on a host for the record as it will be.
pub(crate) fn with_room(mut commit: Commit, host: u32, enforce: bool) -> Commit {
    commit.claims = of(&commit).claims(&[Ask::room(HostId(host), enforce)]);
    commit
}

/// The record that a commit writes.
pub(crate) fn of(commit: &Commit) -> VmRecord {
    commit.vm.as_ref().expect("has one").record.as_ref().clone()
}

pub(crate) fn answer(key: &str, body: &str, at: u64) -> IdempotencyRow {
    IdempotencyRow {
        who: "admin".to_owned(),
        route: "POST /v1/vms".to_owned(),
        key: key.to_owned(),
        body_hash: body.as_bytes().to_vec(),
        answer: br#"{"vm":1}"#.to_vec(),
        at: Timestamp(at),
    }
}

/// Commits what must be applied.
pub(crate) async fn applied(store: &Store, commit: Commit) -> EventSeq {
    match store.commit(commit).await.expect("is decided") {
        Committed::Applied { seq } => seq,
        other => panic!("not applied: {other:?}"),
    }
}

/// Nothing is wrong with the books.
pub(crate) fn sound(store: &Store) {
    let findings = store.check().expect("reads");
    assert!(findings.is_empty(), "{findings:#?}");
}
