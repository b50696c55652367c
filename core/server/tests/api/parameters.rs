//! Query parameters: a parameter that a route does not take is refused, and a dry run changes
//! nothing.

use crate::daemon::{Daemon, held};
use ostler_api::PlanPreview;
use reqwest::Method;
use serde_json::Value;

/// Every route with its methods, as the daemon's own document lists them; names and ids are made
/// up.
async fn routes(daemon: &Daemon) -> Vec<(Method, String)> {
    let document = daemon.get("/v1/openapi.json").await.body;
    let paths = document["paths"].as_object().expect("paths").clone();
    let mut routes = vec![(Method::GET, "/v1/openapi.json".to_owned())];
    for (path, methods) in paths {
        let parts = path.split('/').map(|part| if part.starts_with('{') { "nobody" } else { part });
        let path = parts.collect::<Vec<_>>().join("/");
        for method in methods.as_object().expect("methods").keys() {
            routes.push((method.to_uppercase().parse().expect("a method"), path.clone()));
        }
    }
    routes
}

#[tokio::test]
async fn no_route_takes_a_parameter_that_nobody_knows() {
    let daemon = Daemon::start();
    let routes = routes(&daemon).await;
    assert!(routes.len() > 40, "{routes:?}");
    for (method, path) in routes {
        let problem =
            daemon.refused(method.clone(), &format!("{path}?bogus=1"), "{}", 400, "invalid").await;
        assert_eq!(problem.field.as_deref(), Some("bogus"), "{method} {path}: {problem:?}");
    }
}

#[tokio::test]
async fn a_creation_that_is_only_tried_changes_nothing() {
    let daemon = Daemon::start();
    let body = serde_json::to_string(&held("tried")).expect("JSON");
    let before = daemon.seq().await;
    let reply = daemon.post("/v1/vms?dry_run=true", &body).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    let plan: PlanPreview = serde_json::from_value(reply.body).expect("a preview");
    assert_eq!((plan.allowed, plan.states.as_slice()), (true, &["hold".to_owned()][..]));
    let mut body = serde_json::to_value(held("tried")).expect("JSON");
    body["hold"] = Value::Bool(false);
    let plan = daemon.post("/v1/vms?dry_run=true", &body.to_string()).await.body;
    assert_eq!(plan["states"][0], "pending");
    assert_eq!(plan["scheduler"][0], "it would wait: there is no system datastore; add one");
    assert_eq!(daemon.seq().await, before, "a dry run changed something");
    assert_eq!(daemon.get("/v1/vms/tried").await.status, 404);
    assert_eq!(daemon.vm("first").await, 1, "a dry run used up an id");
}

#[tokio::test]
async fn a_creation_that_is_only_tried_is_refused_as_the_creation_is() {
    let daemon = Daemon::start();
    for part in [
        r#""disks":[{"name":"vda","image":"nowhere"}]"#,
        r#""host":"nowhere""#,
        r#""boot":{"kernel":"nowhere:vmlinux"}"#,
        r#""cpu":0"#,
        r#""memroy":1"#,
    ] {
        let body = format!("{{\"spec\":{{\"name\":\"a\",\"memory\":\"64MiB\",{part}}}}}");
        let before = daemon.seq().await;
        let (tried, done) =
            (daemon.post("/v1/vms?dry_run=true", &body).await, daemon.post("/v1/vms", &body).await);
        assert_eq!((tried.status, tried.problem()), (done.status, done.problem()), "{part}");
        assert!(tried.status.is_client_error(), "{part}: {}", tried.body);
        assert_eq!(daemon.seq().await, before);
    }
    let body = serde_json::to_string(&held("a")).expect("JSON");
    let problem = daemon.refused(Method::POST, "/v1/vms?dry_rum=true", &body, 400, "invalid").await;
    assert_eq!(problem.hint.as_deref(), Some("did you mean dry_run?"));
    daemon.refused(Method::POST, "/v1/vms?wait=30s", &body, 400, "invalid").await;
    daemon.refused(Method::POST, "/v1/vms?dry_run=perhaps", &body, 400, "invalid").await;
}
