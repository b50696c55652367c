//! VMs that need no host: created on hold, looked at, asked for things.

use crate::daemon::{Daemon, held};
use ostler_api::{ActionBody, ClientError, ListFilter, Sent};
use reqwest::Method;

#[tokio::test]
async fn a_vm_is_created_shown_and_listed() {
    let daemon = Daemon::start();
    let body = r#"{"hold":true,"spec":{"name":"web-1","cpu":0.5,"memory":"96MiB","labels":{"tier":"web"},"user_data":"x"}}"#;
    let created = daemon.post("/v1/vms", body).await;
    assert_eq!(created.status, 201, "{}", created.body);
    let location = created.headers["location"].to_str().expect("text").to_owned();
    let shown = daemon.get(&location).await;
    assert_eq!(shown.headers["etag"], created.headers["etag"]);
    assert_eq!(
        (&shown.body["state"], &shown.body["spec"]["memory"]),
        (&"hold".into(), &"96MiB".into())
    );
    assert_eq!(
        (&shown.body["spec"]["cpu"], &shown.body["spec"]["vcpus"]),
        (&0.5.into(), &1.into())
    );
    let by_name = daemon.get("/v1/vms/web-1").await;
    assert_eq!(by_name.body, shown.body);
    let tag = shown.headers["etag"].to_str().expect("text").to_owned();
    let same = daemon.send_with(Method::GET, &location, "", &[("if-none-match", &tag)]).await;
    assert_eq!(same.status, 304);
    let page = daemon.local.vms(&ListFilter::default()).await.expect("a page");
    assert_eq!((page.vms.len(), page.vms[0].name.as_str()), (1, "web-1"));
    assert_eq!(page.seq, daemon.seq().await);
    assert!(!daemon.local.why("web-1").await.expect("an explanation").summary.is_empty());
}

#[tokio::test]
async fn pages_join_without_gap_or_repeat() {
    let daemon = Daemon::start();
    for number in 0..7 {
        daemon.vm(&format!("vm-{}", number % 2)).await;
    }
    let mut filter = ListFilter { limit: Some(3), ..ListFilter::default() };
    let mut seen = Vec::new();
    loop {
        let page = daemon.local.vms(&filter).await.expect("a page");
        assert!(page.vms.len() <= 3);
        seen.extend(page.vms.iter().map(|vm| vm.id));
        filter.after = page.next;
        if page.next.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 7);
    assert!(seen.is_sorted());
    let of = async |filter: ListFilter| daemon.local.vms(&filter).await.expect("a page").vms.len();
    assert_eq!(of(ListFilter { name: Some("vm-1".to_owned()), ..ListFilter::default() }).await, 3);
    assert_eq!(
        of(ListFilter { name: Some("vm-1".to_owned()), limit: Some(2), ..ListFilter::default() })
            .await,
        2
    );
    assert_eq!(
        of(ListFilter { state: Some("hold,pending".to_owned()), ..ListFilter::default() }).await,
        7
    );
    assert_eq!(
        of(ListFilter { state: Some("running".to_owned()), ..ListFilter::default() }).await,
        0
    );
    assert_eq!(
        of(ListFilter { owner: Some("local".to_owned()), ..ListFilter::default() }).await,
        7
    );
    assert_eq!(
        of(ListFilter { owner: Some("nobody".to_owned()), ..ListFilter::default() }).await,
        0
    );
}

#[tokio::test]
async fn an_ambiguous_name_lists_the_candidates() {
    let daemon = Daemon::start();
    let (one, two) = (daemon.vm("twin").await, daemon.vm("twin").await);
    let paths = [
        (Method::GET, "/v1/vms/twin"),
        (Method::POST, "/v1/vms/twin/actions/delete"),
        (Method::GET, "/v1/vms/twin/why"),
    ];
    for (method, path) in paths {
        let problem = daemon.refused(method, path, "", 409, "ambiguous-name").await;
        assert_eq!(
            problem.candidates.iter().map(|candidate| candidate.id).collect::<Vec<_>>(),
            [one, two]
        );
        assert!(problem.candidates[0].about.contains("hold"));
    }
    assert_eq!(daemon.local.vm(&two.to_string()).await.expect("by id").id, two);
}

#[tokio::test]
async fn what_the_state_forbids_is_refused() {
    let daemon = Daemon::start();
    let id = daemon.vm("a").await;
    let version = daemon.local.vm("a").await.expect("a VM").version;
    for verb in ["resume", "suspend", "reboot", "stop", "poweroff"] {
        let problem = daemon
            .refused(
                Method::POST,
                &format!("/v1/vms/{id}/actions/{verb}"),
                "{}",
                409,
                "wrong-state",
            )
            .await;
        assert!(problem.hint.is_some(), "{problem:?}");
    }
    let path = format!("/v1/vms/{id}/actions/release");
    let stale = format!("\"{}\"", version + 7);
    daemon
        .refused_with(Method::POST, &path, "{}", &[("if-match", &stale)], 412, "version-mismatch")
        .await;
    daemon.refused(Method::GET, &format!("/v1/vms/{id}/console-log"), "", 409, "unusable").await;
    assert_eq!(daemon.local.vm("a").await.expect("a VM").version, version);
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let daemon = Daemon::start();
    let id = daemon.vm("a").await.to_string();
    let before = daemon.seq().await;
    let refused =
        daemon.local.preview(&id, "resume", &ActionBody::default()).await.expect("a preview");
    assert!(!refused.allowed && refused.code.as_deref() == Some("wrong-state"), "{refused:?}");
    let allowed =
        daemon.local.preview(&id, "release", &ActionBody::default()).await.expect("a preview");
    assert!(allowed.allowed, "{allowed:?}");
    assert_eq!(daemon.seq().await, before);
    assert_eq!(daemon.local.vm(&id).await.expect("a VM").state, "hold");
}

#[tokio::test]
async fn hold_release_and_delete_work_without_any_host() {
    let daemon = Daemon::start();
    let id = daemon.vm("a").await.to_string();
    let act = async |verb: &str, sent: Sent| {
        daemon.local.act(&id, verb, &ActionBody::default(), &sent).await
    };
    let again = act("hold", Sent::default()).await.expect("it is so already");
    assert!(again.already, "{again:?}");
    let version = daemon.local.vm(&id).await.expect("a VM").version;
    let released = act("release", Sent { if_version: Some(version), ..Sent::default() })
        .await
        .expect("released");
    assert_eq!(released.state, "pending");
    assert!(released.version > version);
    let wait = Some(std::time::Duration::from_secs(30));
    let deleted = act("delete", Sent { wait, ..Sent::default() }).await.expect("deleted");
    assert_eq!((deleted.state.as_str(), deleted.timed_out), ("done", false), "{deleted:?}");
    let hidden = daemon.local.vms(&ListFilter::default()).await.expect("a page");
    assert!(hidden.vms.is_empty());
    let all =
        daemon.local.vms(&ListFilter { all: true, ..ListFilter::default() }).await.expect("a page");
    assert_eq!(all.vms[0].state, "done");
    assert!(
        matches!(act("release", Sent::default()).await, Err(ClientError::Problem(problem)) if problem.code == "wrong-state")
    );
}

#[tokio::test]
async fn the_same_key_gives_the_same_answer() {
    let daemon = Daemon::start();
    let first = daemon.local.create_vm(&held("a"), Some("k1")).await.expect("created");
    let before = daemon.seq().await;
    let again = daemon.local.create_vm(&held("a"), Some("k1")).await.expect("the same answer");
    assert_eq!((again.vm, again.replayed), (first.vm, true));
    assert_eq!(daemon.seq().await, before);
    let other = r#"{"hold":true,"spec":{"name":"b","memory":64}}"#;
    let headers =
        [("idempotency-key", "k1"), ("authorization", &format!("Bearer {}", daemon.token)[..])];
    // An idempotency key belongs to its caller. This is another caller, so it is another request.
    assert_eq!(daemon.send_with(Method::POST, "/v1/vms", other, &headers).await.status, 201);
    let third = r#"{"hold":true,"spec":{"name":"c","memory":64}}"#;
    daemon
        .refused_with(Method::POST, "/v1/vms", third, &headers, 409, "idempotency-conflict")
        .await;
    let sent = Sent { idempotency_key: Some("k2".to_owned()), ..Sent::default() };
    let id = first.vm.to_string();
    let released =
        daemon.local.act(&id, "release", &ActionBody::default(), &sent).await.expect("released");
    let again = daemon
        .local
        .act(&id, "release", &ActionBody::default(), &sent)
        .await
        .expect("the same answer");
    assert_eq!((again.version, again.replayed), (released.version, true));
}
