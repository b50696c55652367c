//! Requests that make no sense are refused with a sentence, and change nothing.

use crate::daemon::Daemon;
use reqwest::Method;

#[tokio::test]
async fn bodies_that_make_no_sense() {
    let daemon = Daemon::start();
    let posts = [
        "/v1/vms",
        "/v1/hosts",
        "/v1/datastores",
        "/v1/images",
        "/v1/drivers",
        "/v1/tokens",
        "/v1/admin/backup",
    ];
    let large = format!("{{\"x\":\"{}\"}}", "y".repeat(ostler_api::BODY_MAX));
    for path in posts {
        for body in ["{", "nonsense", "\u{0}", "{\"a\":1,}"] {
            daemon.refused(Method::POST, path, body, 400, "malformed").await;
        }
        for body in ["[]", "7", "\"x\"", "null", "{}", "{\"no-such-field\":1}"] {
            daemon.refused(Method::POST, path, body, 400, "invalid").await;
        }
        daemon.refused(Method::POST, path, &large, 413, "too-large").await;
        daemon
            .refused_with(
                Method::POST,
                path,
                "{}",
                &[("content-type", "text/plain")],
                415,
                "malformed",
            )
            .await;
    }
}

#[tokio::test]
async fn unknown_fields_get_the_nearest_name() {
    let daemon = Daemon::start();
    let cases = [
        ("/v1/vms", r#"{"spce":{}}"#, "spec"),
        ("/v1/vms", r#"{"spec":{"name":"a","memroy":1}}"#, "memory"),
        (
            "/v1/vms",
            r#"{"spec":{"name":"a","memory":1,"disks":[{"name":"vda","imgae":"x"}]}}"#,
            "image",
        ),
        ("/v1/vms", r#"{"spec":{"name":"a","memory":1,"patience":{"shutdwon":1}}}"#, "shutdown"),
        ("/v1/hosts", r#"{"name":"a","drivr":"kvm"}"#, "driver"),
        ("/v1/datastores", r#"{"nmae":"a"}"#, "name"),
        ("/v1/images", r#"{"name":"a","pth":"b"}"#, "path"),
        ("/v1/tokens", r#"{"name":"a","scop":"read"}"#, "scope"),
    ];
    for (path, body, near) in cases {
        let problem = daemon.refused(Method::POST, path, body, 400, "invalid").await;
        assert_eq!(problem.hint, Some(format!("did you mean {near}?")), "{body}: {problem:?}");
    }
    let problem = daemon.refused(Method::GET, "/v1/vms?stat=running", "", 400, "invalid").await;
    assert_eq!(problem.hint.as_deref(), Some("did you mean state?"));
}

#[tokio::test]
async fn values_out_of_bounds_name_their_field() {
    let daemon = Daemon::start();
    let cases = [
        (r#""name":"a b","memory":1"#, "spec.name"),
        (r#""name":"17","memory":1"#, "spec.name"),
        (r#""name":"a","memory":1,"cpu":0"#, "spec.cpu"),
        (r#""name":"a","memory":1,"cpu":2000"#, "spec.cpu"),
        (r#""name":"a","memory":0"#, "spec.memory"),
        (r#""name":"a","memory":1,"disks":[{"name":"vda"}]"#, "spec.disks[0]"),
        (r#""name":"a","memory":1,"graphics":"gl""#, "spec.graphics"),
        (r#""name":"a","memory":1,"boot":{"kernel":"vmlinux"}"#, "spec.boot.kernel"),
        (r#""name":"a","memory":1,"nics":[{"bridge":"br0","mac":"x"}]"#, "spec.nics[0].mac"),
    ];
    for (spec, field) in cases {
        let body = format!("{{\"hold\":true,\"spec\":{{{spec}}}}}");
        let problem = daemon.refused(Method::POST, "/v1/vms", &body, 422, "invalid").await;
        assert_eq!(problem.field.as_deref(), Some(field), "{problem:?}");
    }
    let large = r#"{"spec":{"name":"a","memory":"1GB"}}"#;
    let problem = daemon.refused(Method::POST, "/v1/vms", large, 400, "invalid").await;
    assert!(problem.detail.contains("1024"), "{problem:?}");
}

#[tokio::test]
async fn parameters_and_headers_that_make_no_sense() {
    let daemon = Daemon::start();
    let id = daemon.vm("a").await;
    for path in [
        "/v1/vms?limit=0",
        "/v1/vms?limit=1001",
        "/v1/vms?limit=x",
        "/v1/vms?all=maybe",
        "/v1/vms?after=-1",
    ] {
        daemon.refused(Method::GET, path, "", 400, "invalid").await;
    }
    let problem = daemon.refused(Method::GET, "/v1/vms?state=runing", "", 422, "invalid").await;
    assert_eq!(problem.hint.as_deref(), Some("did you mean running?"));
    let action = format!("/v1/vms/{id}/actions/release");
    for query in ["wait=soon", "wait=1h", "dry_run=perhaps", "wiat=1s"] {
        daemon.refused(Method::POST, &format!("{action}?{query}"), "{}", 400, "invalid").await;
    }
    daemon
        .refused_with(Method::POST, &action, "{}", &[("if-match", "\"x\"")], 400, "invalid")
        .await;
    daemon
        .refused_with(Method::POST, &action, "{}", &[("idempotency-key", "")], 400, "invalid")
        .await;
    let long = "k".repeat(201);
    daemon
        .refused_with(Method::POST, "/v1/vms", "{}", &[("idempotency-key", &long)], 400, "invalid")
        .await;
    daemon
        .refused_with(Method::GET, "/v1/events", "", &[("last-event-id", "x")], 400, "invalid")
        .await;
    daemon.refused(Method::GET, "/v1/events?kindd=state", "", 400, "invalid").await;
}

#[tokio::test]
async fn things_that_are_not_there() {
    let daemon = Daemon::start();
    let gets = [
        "/v1/vms/7",
        "/v1/vms/nobody",
        "/v1/vms/99999999999999999999999",
        "/v1/vms/a%20b",
        "/v1/vms/7/why",
        "/v1/vms/7/operations",
        "/v1/vms/7/snapshots",
        "/v1/vms/7/console-log",
        "/v1/operations/7",
        "/v1/operations/x",
        "/v1/operations/7/calls",
        "/v1/operations/x/calls",
        "/v1/hosts/x",
        "/v1/hosts/9",
        "/v1/datastores/x",
        "/v1/images/x",
        "/v1/drivers/x",
        "/v1/nothing",
        "/",
        "/v1/vms/1/2/3",
        "/v1/events?vm=nobody",
        "/v1/vms?host=nobody",
    ];
    for path in gets {
        daemon.refused(Method::GET, path, "", 404, "not-found").await;
    }
    for path in ["/v1/hosts/x", "/v1/datastores/x", "/v1/images/x", "/v1/drivers/x", "/v1/tokens/x"]
    {
        daemon.refused(Method::DELETE, path, "", 404, "not-found").await;
    }
    daemon.refused(Method::POST, "/v1/vms/7/actions/deploy", "{}", 404, "not-found").await;
    daemon.refused(Method::PATCH, "/v1/hosts/x", r#"{"state":"off"}"#, 404, "not-found").await;
    let id = daemon.vm("a").await;
    let problem = daemon
        .refused(Method::POST, &format!("/v1/vms/{id}/actions/deplyo"), "{}", 404, "not-found")
        .await;
    assert_eq!(problem.hint.as_deref(), Some("did you mean deploy?"));
    let nowhere = r#"{"host":"nobody"}"#;
    daemon
        .refused(Method::POST, &format!("/v1/vms/{id}/actions/deploy"), nowhere, 404, "not-found")
        .await;
    daemon.refused(Method::PUT, "/v1/vms", "{}", 405, "method-not-allowed").await;
    daemon.refused(Method::DELETE, &format!("/v1/vms/{id}"), "", 405, "method-not-allowed").await;
}
