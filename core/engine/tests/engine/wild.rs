//! A domain that somebody else made.

use crate::support::{ALPHA, World};
use ostler_driver::{DomainDisk, FileRef};
use ostler_driver_testkit::fake::{FakeDomain, FakeFile};
use ostler_engine::AdoptRequest;
use ostler_model::*;

pub(crate) fn adopt() -> AdoptRequest {
    AdoptRequest {
        host: ALPHA,
        domain: "old-timer".to_owned(),
        name: None,
        accept_changes: false,
        by: "test".to_owned(),
    }
}

pub(crate) fn system() -> DatastoreName {
    "system".parse().expect("a name")
}

pub(crate) fn wild(world: &World, uuid: VmUuid) -> FakeDomain {
    wild_at(world, uuid, "legacy/old.qcow2")
}

pub(crate) fn wild_at(world: &World, uuid: VmUuid, path: &str) -> FakeDomain {
    let seen = DomainSeen {
        uuid,
        name: "old-timer".to_owned(),
        identity: None,
        power: Power::Running,
        reason: PowerReason::None,
        last_edge: None,
    };
    let absolute = format!("/system/{path}");
    let path: RelPath = path.parse().expect("a path");
    world.fake.put_file(
        ALPHA,
        system(),
        path.clone(),
        FakeFile { content: "old".to_owned(), complete: true },
    );
    let file = FileRef { host: ALPHA, datastore: system(), path, absolute };
    let disk = DomainDisk {
        name: "vda".parse().expect("a name"),
        file,
        format: DiskFormat::Qcow2,
        read_only: false,
        below: None,
    };
    let machine = ostler_driver_testkit::fake::FakeMachine {
        vcpus: 2,
        memory_mib: 512,
        disks: vec![disk],
        ..Default::default()
    };
    FakeDomain { seen, run: 77, edges: Default::default(), machine }
}
