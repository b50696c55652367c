//! Hosts, datastores, images, drivers, and looking after the store.

use crate::daemon::Daemon;
use ostler_api::{ChangeHost, ClientError, DriverOrigin, NewHost};
use reqwest::Method;

const HOST: &str = r#"{"name":"h1","driver":"kvm","config":{"uri":"test-nowhere:///x"},"cpu":4,"memory":"8GiB","state":"off"}"#;

#[tokio::test]
async fn hosts_are_added_changed_and_removed() {
    let daemon = Daemon::start();
    let added = daemon.post("/v1/hosts", HOST).await;
    assert_eq!(added.status, 201, "{}", added.body);
    assert_eq!((&added.body["state"], &added.body["memory"]), (&"off".into(), &"8GiB".into()));
    daemon.refused(Method::POST, "/v1/hosts", HOST, 409, "exists").await;
    // With a key, the same addition again is the same request; another under the name is not.
    let key = [("idempotency-key", "k")];
    assert_eq!(daemon.send_with(Method::POST, "/v1/hosts", HOST, &key).await.status, 200);
    let other = HOST.replace("8GiB", "16GiB");
    daemon.refused_with(Method::POST, "/v1/hosts", &other, &key, 409, "exists").await;
    let labels = Some([("zone".to_owned(), "a".to_owned())].into());
    let changed = daemon
        .local
        .change_host("h1", &ChangeHost { labels, ..ChangeHost::default() })
        .await
        .expect("changed");
    assert_eq!((changed.labels["zone"].as_str(), changed.state.as_str()), ("a", "off"));
    daemon.refused(Method::PATCH, "/v1/hosts/h1", r#"{"state":"offf"}"#, 422, "invalid").await;
    daemon.refused(Method::PATCH, "/v1/hosts/h1", r#"{"name":"h2"}"#, 400, "invalid").await;
    // This comes last: from here on the monitor looks at the host, and its findings are events.
    let problem = daemon.get("/v1/hosts/h12").await.problem();
    assert!(
        problem.hint.as_ref().is_some_and(|hint| hint.starts_with("did you mean h1?")),
        "{problem:?}"
    );
    let drained = ChangeHost { state: Some("draining".to_owned()), ..ChangeHost::default() };
    assert_eq!(daemon.local.change_host("h1", &drained).await.expect("changed").state, "draining");
    assert_eq!(daemon.local.hosts().await.expect("a list").len(), 1);
    daemon.local.remove_host("h1").await.expect("removed");
    assert!(
        matches!(daemon.local.host("h1").await, Err(ClientError::Problem(problem)) if problem.status == 404)
    );
}

#[tokio::test]
async fn what_names_something_missing_is_refused() {
    let daemon = Daemon::start();
    let cases = [
        ("/v1/hosts", r#"{"name":"h","driver":"nothing"}"#, 422, "unusable"),
        ("/v1/hosts", r#"{"name":"front-end","driver":"kvm"}"#, 422, "invalid"),
        ("/v1/hosts", r#"{"name":"h h","driver":"kvm"}"#, 422, "invalid"),
        ("/v1/hosts", r#"{"name":"h","driver":"kvm","state":"up"}"#, 422, "invalid"),
        ("/v1/hosts", r#"{"name":"h","driver":"kvm","cpu":4}"#, 422, "invalid"),
        (
            "/v1/datastores",
            r#"{"name":"d","kind":"image","driver":"nothing","root":"/x"}"#,
            422,
            "unusable",
        ),
        (
            "/v1/datastores",
            r#"{"name":"d","kind":"image","driver":"kvm","root":"/x"}"#,
            422,
            "unusable",
        ),
        (
            "/v1/datastores",
            r#"{"name":"d","kind":"tape","driver":"kvm","root":"/x"}"#,
            422,
            "invalid",
        ),
        (
            "/v1/datastores",
            r#"{"name":"d","kind":"image","driver":"kvm","root":"x"}"#,
            422,
            "invalid",
        ),
        (
            "/v1/datastores",
            r#"{"name":"d","kind":"image","driver":"kvm","root":"/a/../b"}"#,
            422,
            "invalid",
        ),
        ("/v1/images", r#"{"name":"i","path":"nowhere:a.qcow2"}"#, 404, "not-found"),
        ("/v1/images", r#"{"name":"i","path":"a.qcow2"}"#, 422, "invalid"),
        ("/v1/images", r#"{"name":"i","path":"d:../a.qcow2"}"#, 422, "invalid"),
        ("/v1/drivers", r#"{"path":"/nowhere/at/all.wasm"}"#, 422, "unusable"),
        ("/v1/drivers", r#"{"path":"/dev/null"}"#, 422, "unusable"),
        (
            "/v1/vms",
            r#"{"spec":{"name":"a","memory":64,"disks":[{"name":"vda","image":"nothing"}]}}"#,
            422,
            "unusable",
        ),
    ];
    for (path, body, status, code) in cases {
        daemon.refused(Method::POST, path, body, status, code).await;
    }
    for (path, body) in [
        ("/v1/hosts", r#"{"name":"5","driver":"kvm"}"#),
        ("/v1/datastores", r#"{"name":"5","kind":"image","driver":"kvm","root":"/x"}"#),
    ] {
        let problem = daemon.refused(Method::POST, path, body, 422, "invalid").await;
        assert!(problem.detail.contains("digits are an id"), "{problem:?}");
    }
    // The built-in driver has no row, so it cannot be removed.
    daemon.refused(Method::DELETE, "/v1/drivers/kvm", "", 404, "not-found").await;
}

#[tokio::test]
async fn drivers_say_what_they_are() {
    let daemon = Daemon::start();
    let drivers = daemon.local.drivers().await.expect("a list");
    let kvm = drivers.iter().find(|driver| driver.name == "kvm").expect("kvm is built in");
    assert_eq!(
        (kvm.origin.clone(), kvm.kinds.as_slice()),
        (DriverOrigin::BuiltIn, &["hypervisor".to_owned()][..])
    );
    assert!(!kvm.abilities.is_empty());
}

#[tokio::test]
async fn figures_are_there_for_prometheus() {
    let daemon = Daemon::start();
    daemon.vm("a").await;
    let host = NewHost {
        name: "h".to_owned(),
        driver: "kvm".to_owned(),
        state: Some("off".to_owned()),
        ..NewHost::default()
    };
    daemon.local.add_host(&host).await.expect("added");
    let text = daemon.local.get_text("/metrics").await.expect("figures");
    for line in [
        "ostler_vms{name=\"hold\"} 1",
        "ostler_store_writable 1",
        "ostler_event_seq ",
        "ostler_http_requests_total{",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert_eq!(text.matches("# EOF").count(), 1);
    assert!(text.ends_with("# EOF\n"));
}

#[tokio::test]
async fn a_backup_is_whole_and_overwrites_nothing() {
    let daemon = Daemon::start();
    let id = daemon.vm("kept").await;
    let waits = daemon.vm("waits").await.to_string();
    daemon
        .local
        .act(&waits, "release", &serde_json::json!({}), &ostler_api::Sent::default())
        .await
        .expect("released");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("backup.redb");
    let made = daemon.local.backup(&file.display().to_string()).await.expect("a backup");
    assert!(made.rows > 0 && made.bytes > 0, "{made:?}");
    let body = format!("{{\"path\":\"{}\"}}", file.display());
    daemon.refused(Method::POST, "/v1/admin/backup", &body, 409, "exists").await;
    daemon
        .refused(Method::POST, "/v1/admin/backup", r#"{"path":"relative"}"#, 422, "invalid")
        .await;
    daemon
        .refused(Method::POST, "/v1/admin/backup", r#"{"path":"/nowhere/at/all"}"#, 422, "unusable")
        .await;
    assert!(daemon.local.check().await.expect("a check").ok);

    let data = folder.path().join("data");
    let (data_text, file_text) = (data.display().to_string(), file.display().to_string());
    let restored = crate::daemon::ostlerd(&["--data-dir", &data_text, "--restore", &file_text]);
    assert!(restored.status.success(), "{restored:?}");
    let said = String::from_utf8_lossy(&restored.stdout).into_owned();
    assert!(said.contains("1 VM was pending and is on hold now"), "{said}");
    assert!(
        !crate::daemon::ostlerd(&["--data-dir", &data_text, "--restore", &file_text])
            .status
            .success(),
        "overwritten"
    );
    let again = ostler_api::Endpoint::Unix(data.join("ostler.sock"));
    std::fs::copy(daemon.dir.join("admin.token"), data.join("admin.token"))
        .expect("the token is kept apart");
    let second = Daemon::on(data, Some(folder));
    assert_eq!(again, ostler_api::Endpoint::Unix(second.dir.join("ostler.sock")));
    assert_eq!(second.local.vm("kept").await.expect("the VM").id, id);
    // The second daemon has no hosts, so no host could run one of the VMs.
    let reconciled = async {
        while second.local.restored().await.expect("is told").waits {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), reconciled)
        .await
        .expect("all VMs are reconciled");
    assert_eq!(second.local.vm("waits").await.expect("the VM").state, "pending");
}

#[tokio::test]
async fn checks_at_the_same_time_share_an_answer() {
    let daemon = Daemon::start();
    for number in 0..20 {
        daemon.vm(&format!("vm-{number}")).await;
    }
    let checks = futures::future::join_all((0..50).map(|_| daemon.local.check())).await;
    assert!(checks.into_iter().all(|check| check.expect("an answer").ok));
}
