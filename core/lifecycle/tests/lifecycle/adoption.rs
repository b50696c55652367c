//! Which domains of others become VMs, and which VMs.

use ostler_lifecycle::{Becomes, NotAdopted, accepts_changes, becomes, is_adoptable};
use ostler_model::{
    Datastore, DatastoreId, DatastoreKind, DiskFormat, DiskSource, DomainSeen, Generation,
    Identity, Power, PowerReason, StoreId, Timestamp, VmUuid, WildDomain,
};
use uuid::Uuid;

const OURS: StoreId = StoreId(Uuid::from_u128(1));

fn seen(store: Option<u128>, power: Power) -> DomainSeen {
    let uuid = VmUuid(Uuid::from_u128(7));
    let identity = store.map(|store| Identity {
        store: StoreId(Uuid::from_u128(store)),
        vm: uuid,
        generation: Generation(1),
    });
    DomainSeen {
        uuid,
        name: "old".to_owned(),
        identity,
        power,
        reason: PowerReason::None,
        last_edge: None,
    }
}

#[test]
fn only_a_domain_of_nobody_that_runs_or_is_off_is_adopted() {
    let adoptable = |store, power| is_adoptable(&seen(store, power), OURS);
    assert_eq!((adoptable(None, Power::Running), adoptable(None, Power::Off)), (Ok(()), Ok(())));
    assert_eq!(adoptable(Some(1), Power::Running), Err(NotAdopted::Ours));
    assert_eq!(adoptable(Some(2), Power::Off), Err(NotAdopted::Others));
    assert_eq!(adoptable(None, Power::Paused), Err(NotAdopted::Power(Power::Paused)));
}

fn datastore(id: u32, kind: DatastoreKind, root: &str) -> Datastore {
    Datastore {
        id: DatastoreId(id),
        name: format!("store-{id}").parse().unwrap(),
        kind,
        driver: "files".parse().unwrap(),
        root: root.to_owned(),
        shared: false,
        added: Timestamp(0),
    }
}

fn domain(disks: &[&str]) -> WildDomain {
    let disk = |(at, file): (usize, &&str)| {
        (
            format!("vd{}", ['a', 'b'][at]).parse().unwrap(),
            (*file).to_owned(),
            DiskFormat::Qcow2,
            false,
        )
    };
    WildDomain {
        name: "old".to_owned(),
        vcpus: 2,
        memory_mib: 512,
        disks: disks.iter().enumerate().map(disk).collect(),
        ..WildDomain::default()
    }
}

fn made(wild: &WildDomain, name: Option<&str>) -> Result<Becomes, NotAdopted> {
    let stores = [
        datastore(1, DatastoreKind::Image, "/images"),
        datastore(2, DatastoreKind::System, "/srv/vms/"),
    ];
    becomes(
        wild,
        name.map(|name| name.parse().unwrap()),
        &"alpha".parse().unwrap(),
        stores.iter(),
        &["vms", "home"],
    )
}

#[test]
fn a_domain_keeps_its_files_where_they_are() {
    let made = made(&domain(&["/srv/vms/a.qcow2", "/srv/vms/deep/b.qcow2"]), None).unwrap();
    assert_eq!(
        (made.spec.name.as_str(), made.spec.cpu_milli, made.storage.datastore),
        ("old", 2000, DatastoreId(2))
    );
    let own: Vec<_> = made
        .disks
        .iter()
        .map(|disk| (disk.file.as_str(), disk.adopted.as_ref().unwrap().as_str()))
        .collect();
    assert_eq!(own, [("vda.qcow2", "a.qcow2"), ("vdb.qcow2", "deep/b.qcow2")]);
    let sources: Vec<_> = made.spec.disks.iter().map(|disk| disk.source.clone()).collect();
    assert_eq!(sources[1], DiskSource::File { path: "deep/b.qcow2".parse().unwrap() });
}

#[test]
fn what_could_not_be_named_moved_or_kept_is_refused() {
    let refused = |wild: &WildDomain| made(wild, None).unwrap_err();
    let elsewhere = || NotAdopted::DisksElsewhere {
        host: "alpha".parse().unwrap(),
        roots: vec!["/srv/vms/".to_owned()],
    };
    assert_eq!(refused(&domain(&["/srv/vms/a.qcow2", "/elsewhere/b.qcow2"])), elsewhere());
    // A name that only begins like the root is not below it.
    assert_eq!(refused(&domain(&["/srv/vmsother/a.qcow2"])), elsewhere());
    let in_folder = NotAdopted::DiskInFolder {
        disk: "vda".parse().unwrap(),
        file: "/srv/vms/vms/x/a.qcow2".to_owned(),
    };
    assert_eq!(refused(&domain(&["/srv/vms/vms/x/a.qcow2"])), in_folder);
    let kernel = WildDomain { kernel: Some("/boot/vmlinuz".to_owned()), ..domain(&[]) };
    assert_eq!(
        refused(&kernel),
        NotAdopted::BootElsewhere { what: "kernel", file: "/boot/vmlinuz".to_owned() }
    );
    let nameless = WildDomain { name: "a name with spaces".to_owned(), ..domain(&[]) };
    assert!(matches!(refused(&nameless), NotAdopted::Name(_)));
    assert_eq!(made(&nameless, Some("new")).unwrap().spec.name.as_str(), "new");
    assert!(matches!(
        made(&WildDomain { memory_mib: 0, ..domain(&[]) }, None),
        Err(NotAdopted::Spec(_))
    ));
}

#[test]
fn a_domain_that_would_be_another_machine_needs_a_word() {
    let changes = WildDomain { changes: vec!["another clock".to_owned()], ..domain(&[]) };
    assert_eq!(
        (accepts_changes(&domain(&[]), false), accepts_changes(&changes, true)),
        (Ok(()), Ok(()))
    );
    assert_eq!(
        accepts_changes(&changes, false),
        Err(NotAdopted::Changes(vec!["another clock".to_owned()]))
    );
}
