//! What may be done to hosts, datastores, images, drivers and tokens, and what refuses it.

mod support;

use ostler_model::*;
use ostler_store::*;
use support::*;

async fn refused(store: &Store, change: ResourceChange) -> ResourceRefused {
    match store
        .commit(Commit { resources: vec![change], ..Commit::default() })
        .await
        .expect("decided")
    {
        Committed::Refused(why) => why,
        other => panic!("not refused: {other:?}"),
    }
}

async fn made(store: &Store, change: ResourceChange) {
    applied(store, Commit { resources: vec![change], ..Commit::default() }).await;
}

#[tokio::test]
async fn names_are_unique_and_free_again_after_a_rename() {
    use ResourceChange::{HostPut, ImagePut, TokenPut, TokenRemove};
    let store = store();
    applied(&store, ground()).await;
    let taken = Host { name: host(1, 1, 1).name, ..host(3, 1, 1) };
    assert!(matches!(
        refused(&store, HostPut(taken.clone())).await,
        ResourceRefused::NameTaken { .. }
    ));
    made(&store, HostPut(Host { name: "moved".parse().expect("a name"), ..host(1, 1, 1) })).await;
    made(&store, HostPut(taken.clone())).await;
    let twins = vec![
        HostPut(Host { name: "twin".parse().expect("a name"), ..host(4, 1, 1) }),
        HostPut(Host { name: "twin".parse().expect("a name"), ..host(5, 1, 1) }),
    ];
    let answer =
        store.commit(Commit { resources: twins, ..Commit::default() }).await.expect("decided");
    assert!(matches!(answer, Committed::Refused(ResourceRefused::NameTaken { .. })), "{answer:?}");
    let lost = Image { datastore: DatastoreId(9), ..image(3) };
    assert!(matches!(refused(&store, ImagePut(lost)).await, ResourceRefused::NotFound { .. }));
    let token = |name: &str, hash: &str| TokenRow {
        name: name.to_owned(),
        hash_hex: hash.to_owned(),
        scopes: vec![],
        created: Timestamp(1),
        expires: None,
    };
    made(&store, TokenPut(token("a", "00"))).await;
    assert!(matches!(
        refused(&store, TokenPut(token("b", "00"))).await,
        ResourceRefused::NameTaken { .. }
    ));
    assert!(matches!(
        refused(&store, TokenPut(token("a", "01"))).await,
        ResourceRefused::NameTaken { .. }
    ));
    made(&store, TokenRemove("a".to_owned())).await;
    made(&store, TokenPut(token("a", "01"))).await;
    let reader = store.read().expect("reads");
    assert_eq!(reader.host_by_name(&taken.name).expect("reads"), Some(taken));
    assert_eq!(reader.token_by_hash("00").expect("reads"), None);
    assert_eq!(reader.token_by_hash("01").expect("reads"), Some(token("a", "01")));
    sound(&store);
}

#[tokio::test]
async fn one_hypervisor_is_one_host() {
    use ResourceChange::{HostIdentified, HostPut};
    let store = store();
    applied(&store, ground()).await;
    let known = |since| {
        Some(Identified {
            id: HypervisorId::new("the one").expect("valid"),
            since: Timestamp(since),
        })
    };
    made(&store, HostPut(Host { identity: known(1), ..host(3, 1, 1) })).await;
    let again = Host { identity: known(2), ..host(4, 1, 1) };
    let other = host(3, 1, 1).name;
    assert_eq!(
        refused(&store, HostPut(again.clone())).await,
        ResourceRefused::SameHypervisor { other }
    );
    // A name that is taken is told first: a repeated addition finds what it made.
    let twice = Host { id: HostId(5), ..Host { identity: known(3), ..host(3, 1, 1) } };
    assert!(matches!(refused(&store, HostPut(twice)).await, ResourceRefused::NameTaken { .. }));
    // Learned later it is kept, and the host can still be changed.
    made(&store, HostPut(host(4, 1, 1))).await;
    made(&store, HostIdentified { id: HostId(4), identity: known(2) }).await;
    made(&store, HostPut(Host { state: HostState::Draining, ..again })).await;
    sound(&store);
}

#[tokio::test]
async fn nothing_is_removed_from_under_a_vm() {
    use ResourceChange::{DatastoreRemove, HostPut, HostRemove, ImageRemove, VmForget};
    let store = store();
    applied(&store, ground()).await;
    let created = create(placed(with_disk(vm(1), 1), 1));
    applied(&store, created.clone()).await;
    for change in [
        HostRemove(HostId(1)),
        DatastoreRemove(DatastoreId(1)),
        DatastoreRemove(DatastoreId(2)),
        ImageRemove(ImageId(1)),
    ] {
        assert!(
            matches!(refused(&store, change.clone()).await, ResourceRefused::InUse { .. }),
            "{change:?}"
        );
    }
    assert!(matches!(refused(&store, VmForget(VmId(1))).await, ResourceRefused::InUse { .. }));
    // Other settings are another hypervisor, which does not have the VM; the rest may change.
    let labelled =
        Host { labels: [("rack".to_owned(), "3".to_owned())].into(), ..host(1, 4000, 4096) };
    made(&store, HostPut(labelled.clone())).await;
    let uri = [("uri".to_owned(), "qemu:///elsewhere".to_owned())].into();
    let elsewhere = Host {
        hypervisor: Some(DriverRef { driver: "sim".parse().expect("a name"), config: uri }),
        ..labelled
    };
    assert!(matches!(
        refused(&store, HostPut(elsewhere.clone())).await,
        ResourceRefused::InUse { .. }
    ));
    made(
        &store,
        HostPut(Host { id: HostId(2), name: "host-2".parse().expect("a name"), ..elsewhere }),
    )
    .await;
    assert!(matches!(
        refused(&store, HostRemove(HostId(8))).await,
        ResourceRefused::NotFound { .. }
    ));
    let mut over = idle(of(&created), State::Done);
    over.placement = None;
    applied(&store, change(over)).await;
    for change in [
        ImageRemove(ImageId(1)),
        ImageRemove(ImageId(2)),
        DatastoreRemove(DatastoreId(1)),
        HostRemove(HostId(1)),
    ] {
        made(&store, change).await;
    }
    made(&store, DatastoreRemove(DatastoreId(2))).await;
    sound(&store);
}

#[tokio::test]
async fn an_operator_and_a_probe_do_not_undo_each_other() {
    let store = store();
    applied(&store, ground()).await;
    made(
        &store,
        ResourceChange::HostEdit {
            id: HostId(1),
            edit: HostEdit { state: Some(HostState::Off), ..HostEdit::default() },
        },
    )
    .await;
    let total = Capacity { cpu_milli: 1, memory_mib: 2 };
    made(&store, ResourceChange::HostProbed { id: HostId(1), total }).await;
    let host = store.read().expect("reads").host(HostId(1)).expect("reads").expect("is there");
    assert_eq!((host.state, host.total), (HostState::Off, total));
    made(&store, ResourceChange::HostPut(Host { total_is_fixed: true, ..host.clone() })).await;
    made(&store, ResourceChange::HostProbed { id: HostId(1), total: Capacity::default() }).await;
    assert_eq!(
        store.read().expect("reads").host(HostId(1)).expect("reads").map(|host| host.total),
        Some(total)
    );
}

#[tokio::test]
async fn a_driver_stays_while_something_names_it() {
    use ResourceChange::{DriverPut, DriverRemove, HostPut, RulesBind, RulesUnbind};
    let store = store();
    let row = |name: &str| DriverRow {
        name: name.parse().expect("a name"),
        file: format!("{name}.wasm"),
        digest: "00".to_owned(),
        grants: [("files".to_owned(), vec!["host".to_owned()])].into(),
        config: Default::default(),
        enabled: true,
        added: Timestamp(1),
        on_trial: false,
        earlier: Vec::new(),
    };
    let (sim, rules) = (row("sim"), row("rules"));
    made(&store, DriverPut(sim.clone())).await;
    made(&store, DriverPut(rules.clone())).await;
    made(&store, HostPut(host(1, 1, 1))).await;
    made(
        &store,
        RulesBind(RulesBinding { hypervisor: sim.name.clone(), rules: rules.name.clone() }),
    )
    .await;
    let by = async |name: &DriverName| match refused(&store, DriverRemove(name.clone())).await {
        ResourceRefused::InUse { by, .. } => by,
        other => panic!("{other:?}"),
    };
    assert_eq!(by(&sim.name).await, UsedBy::HypervisorOf(HostId(1)));
    assert_eq!(by(&rules.name).await, UsedBy::RulesOf(sim.name.clone()));
    assert_eq!(
        store.read().expect("reads").rules_of(&sim.name).expect("reads"),
        Some(rules.name.clone())
    );
    made(&store, RulesUnbind(sim.name.clone())).await;
    assert!(matches!(
        refused(&store, RulesUnbind(sim.name)).await,
        ResourceRefused::NotFound { .. }
    ));
    made(&store, DriverRemove(rules.name)).await;
    assert_eq!(store.read().expect("reads").drivers().expect("reads"), [row("sim")]);
}

#[tokio::test]
async fn operators_do_not_undo_each_other() {
    let store = store();
    applied(&store, ground()).await;
    let edit = |edit| ResourceChange::HostEdit { id: HostId(1), edit };
    let (labels, uri) = (
        [("rack".to_owned(), "3".to_owned())],
        [("uri".to_owned(), "qemu:///elsewhere".to_owned())],
    );
    // Each was made up by somebody who had seen the host as it was at first.
    made(&store, edit(HostEdit { state: Some(HostState::Draining), ..HostEdit::default() })).await;
    made(&store, edit(HostEdit { labels: Some(labels.clone().into()), ..HostEdit::default() }))
        .await;
    made(
        &store,
        edit(HostEdit {
            rules: Some(Some("snapshots".parse().expect("a name"))),
            ..HostEdit::default()
        }),
    )
    .await;
    made(&store, edit(HostEdit { config: Some(uri.clone().into()), ..HostEdit::default() })).await;
    let host = store.read().expect("reads").host(HostId(1)).expect("reads").expect("is there");
    assert_eq!((host.state, host.labels), (HostState::Draining, labels.into()));
    assert_eq!(
        (host.rules.as_ref().map(DriverName::as_str), host.hypervisor.map(|driver| driver.config)),
        (Some("snapshots"), Some(uri.into()))
    );
    made(&store, edit(HostEdit { rules: Some(None), ..HostEdit::default() })).await;
    assert_eq!(
        store.read().expect("reads").host(HostId(1)).expect("reads").and_then(|host| host.rules),
        None
    );

    // A host that VMs are on keeps its settings.
    applied(&store, create(placed(vm(1), 1))).await;
    let elsewhere = HostEdit {
        config: Some([("uri".to_owned(), "x".to_owned())].into()),
        ..HostEdit::default()
    };
    assert!(matches!(
        refused(&store, edit(elsewhere.clone())).await,
        ResourceRefused::InUse { .. }
    ));
    let missing = ResourceChange::HostEdit { id: HostId(9), edit: elsewhere };
    assert!(matches!(refused(&store, missing).await, ResourceRefused::NotFound { .. }));
    sound(&store);
}

fn secret(driver: &str, host: Option<u32>, name: &str, value: &str) -> SecretRow {
    let key = SecretKey {
        driver: driver.parse().expect("a name"),
        host: host.map(HostId),
        name: name.parse().expect("a name"),
    };
    SecretRow { key, value: SecretValue::new(value), set: Timestamp(1) }
}

/// The values of the secrets of a driver, those of one host or those for all.
fn values(store: &Store, driver: &str, host: Option<u32>) -> Vec<String> {
    let driver = driver.parse().expect("a name");
    let found = store.read().expect("reads").secrets_of(&driver, host.map(HostId));
    found.expect("reads").iter().map(|secret| secret.value.expose().to_owned()).collect()
}

#[tokio::test]
async fn a_secret_of_a_host_comes_before_that_of_its_driver() {
    use ResourceChange::{SecretPut, SecretRemove};
    let store = store();
    applied(&store, ground()).await;
    let read = |driver: &str, host: Option<u32>| {
        let (driver, name) = (driver.parse().expect("a name"), "password".parse().expect("a name"));
        let found = store.read().expect("reads").secret_for(&driver, host.map(HostId), &name);
        found.expect("reads").map(|secret| secret.value.expose().to_owned())
    };
    for (host, value) in [(None, "of all"), (Some(1), "first"), (Some(1), "of one")] {
        made(&store, SecretPut(secret("sim", host, "password", value))).await;
    }
    made(&store, SecretPut(secret("sim", None, "passwords", "another"))).await;
    let told = |text: &str| Some(text.to_owned());
    assert_eq!(read("sim", Some(1)), told("of one"), "the later value");
    assert_eq!([read("sim", Some(2)), read("sim", None)], [told("of all"), told("of all")]);
    assert_eq!(read("kvm", Some(1)), None, "it is of one driver");
    // A host has secrets of its own driver only, and no host that is not there has any.
    for (driver, host) in [("kvm", 1), ("sim", 9)] {
        let put = SecretPut(secret(driver, Some(host), "password", "x"));
        let expected = ResourceRefused::NotFound { what: Resource::Host(HostId(host)) };
        assert_eq!(refused(&store, put).await, expected);
    }
    let key = secret("sim", Some(1), "password", "").key;
    made(&store, SecretRemove(key.clone())).await;
    assert_eq!(read("sim", Some(1)), told("of all"));
    let gone = ResourceRefused::NotFound { what: Resource::Secret(key.clone()) };
    assert_eq!(refused(&store, SecretRemove(key)).await, gone);
    sound(&store);
}

#[tokio::test]
async fn a_secret_goes_with_its_host_and_with_its_driver() {
    use ResourceChange::{DriverPut, DriverRemove, HostRemove, SecretPut};
    let store = store();
    applied(&store, ground()).await;
    for (driver, host) in
        [("sim", None), ("sim", Some(1)), ("sim", Some(2)), ("rules", None), ("rulez", None)]
    {
        made(&store, SecretPut(secret(driver, host, "password", driver))).await;
    }
    made(&store, HostRemove(HostId(1))).await;
    assert_eq!(values(&store, "sim", Some(1)), [] as [&str; 0]);
    assert_eq!([values(&store, "sim", None), values(&store, "sim", Some(2))], [["sim"], ["sim"]]);
    let driver = DriverRow {
        name: "rules".parse().expect("a name"),
        file: "rules.wasm".to_owned(),
        digest: "00".to_owned(),
        grants: std::collections::BTreeMap::new(),
        config: std::collections::BTreeMap::new(),
        enabled: true,
        added: Timestamp(1),
        on_trial: false,
        earlier: Vec::new(),
    };
    // Another build takes its place: the secrets stay.
    made(&store, DriverPut(driver.clone())).await;
    made(&store, DriverPut(driver.clone())).await;
    assert_eq!(values(&store, "rules", None), ["rules"]);
    made(&store, DriverRemove(driver.name)).await;
    assert_eq!(values(&store, "rules", None), [] as [&str; 0]);
    assert_eq!(values(&store, "rulez", None), ["rulez"]);
    sound(&store);
}

/// Neither the row, nor the change, nor what followers are sent prints the value.
#[tokio::test]
async fn the_value_of_a_secret_is_printed_nowhere() {
    let store = store();
    applied(&store, ground()).await;
    let mut batches = store.follow(9);
    let row = secret("sim", None, "password", "hunter2");
    let commit =
        Commit { resources: vec![ResourceChange::SecretPut(row.clone())], ..Commit::default() };
    let printed = format!("{row:?} {commit:?}");
    applied(&store, commit).await;
    let batch = batches.next().await.expect("keeps up").expect("is told");
    let bytes: Vec<String> = "hunter2".bytes().map(|byte| byte.to_string()).collect();
    for text in [printed, format!("{batch:?}")] {
        assert!(!text.contains("hunter2") && !text.contains(&bytes.join(", ")), "{text}");
    }
}
