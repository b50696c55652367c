//! Each caller can do what its scope allows, and nothing else.

use crate::daemon::{Daemon, held, mode};
use ostler_api::{Client, ClientError, Endpoint, NewToken, Span};
use reqwest::Method;

fn scoped(name: &str, scope: &str, lifetime: Option<Span>) -> NewToken {
    NewToken { name: name.to_owned(), scope: scope.to_owned(), lifetime }
}

#[tokio::test]
async fn over_tcp_nothing_goes_without_a_token() {
    let daemon = Daemon::start();
    let all = [
        (Method::GET, "/v1/vms"),
        (Method::POST, "/v1/vms"),
        (Method::GET, "/v1/vms/1"),
        (Method::GET, "/v1/vms/1/why"),
        (Method::POST, "/v1/vms/1/actions/delete"),
        (Method::GET, "/v1/operations/1"),
        (Method::GET, "/v1/operations/1/calls"),
        (Method::GET, "/v1/hosts"),
        (Method::POST, "/v1/hosts"),
        (Method::PATCH, "/v1/hosts/a"),
        (Method::DELETE, "/v1/hosts/a"),
        (Method::POST, "/v1/datastores"),
        (Method::POST, "/v1/images"),
        (Method::POST, "/v1/drivers"),
        (Method::GET, "/v1/events"),
        (Method::GET, "/v1/tokens"),
        (Method::POST, "/v1/tokens"),
        (Method::DELETE, "/v1/tokens/admin"),
        (Method::POST, "/v1/admin/backup"),
        (Method::GET, "/v1/admin/check"),
        (Method::GET, "/v1/admin/check"),
        (Method::GET, "/v1/version"),
        (Method::GET, "/metrics"),
    ];
    for (method, path) in all {
        for header in [
            "",
            "Bearer",
            "Bearer x",
            "Basic YTpi",
            "Bearer ostler_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ] {
            let headers = [("authorization", header)];
            daemon.refused_with(method.clone(), path, "{}", &headers, 401, "unauthenticated").await;
        }
    }
    let open = [("authorization", "")];
    for path in ["/healthz", "/readyz", "/v1/openapi.json"] {
        assert_eq!(daemon.send_with(Method::GET, path, "", &open).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn a_reader_reads_and_nothing_else() {
    let daemon = Daemon::start();
    let made = daemon.local.add_token(&scoped("watcher", "read", None)).await.expect("a token");
    let bearer = format!("Bearer {}", made.secret);
    let headers = [("authorization", bearer.as_str())];
    for path in ["/v1/vms", "/v1/hosts", "/v1/drivers", "/v1/version", "/metrics"] {
        assert_eq!(daemon.send_with(Method::GET, path, "", &headers).await.status, 200, "{path}");
    }
    let forbidden = [
        (Method::POST, "/v1/vms"),
        (Method::POST, "/v1/vms/1/actions/delete"),
        (Method::POST, "/v1/hosts"),
        (Method::DELETE, "/v1/hosts/a"),
        (Method::GET, "/v1/tokens"),
        (Method::POST, "/v1/tokens"),
        (Method::POST, "/v1/admin/backup"),
    ];
    for (method, path) in forbidden {
        daemon.refused_with(method, path, "{}", &headers, 403, "forbidden").await;
    }
    daemon.local.remove_token("watcher").await.expect("it ends");
    daemon.refused_with(Method::GET, "/v1/vms", "", &headers, 401, "unauthenticated").await;
}

#[tokio::test]
async fn of_two_tokens_of_one_name_one_is_made() {
    let daemon = Daemon::start();
    for number in 0..10 {
        let token = scoped(&format!("t{number}"), "read", None);
        let both = futures::future::join_all((0..4).map(|_| daemon.local.add_token(&token))).await;
        let mut made = both.into_iter().filter_map(Result::ok);
        let bearer = format!("Bearer {}", made.next().expect("one is made").secret);
        assert_eq!(made.count(), 0, "a secret was told that is good for nothing");
        let headers = [("authorization", bearer.as_str())];
        assert_eq!(daemon.send_with(Method::GET, "/v1/vms", "", &headers).await.status, 200);
    }
}

#[tokio::test]
async fn tokens_end_and_are_unique() {
    let daemon = Daemon::start();
    let made =
        daemon.local.add_token(&scoped("brief", "admin", Some(Span(1)))).await.expect("a token");
    let bearer = format!("Bearer {}", made.secret);
    // The lifetime of one millisecond is over when the request arrives.
    let headers = [("authorization", bearer.as_str())];
    daemon.refused_with(Method::GET, "/v1/vms", "", &headers, 401, "unauthenticated").await;
    let listed = daemon.local.tokens().await.expect("a list");
    assert!(listed.iter().any(|token| token.name == "brief" && token.expired));
    let again = r#"{"name":"brief","scope":"read"}"#;
    daemon.refused(Method::POST, "/v1/tokens", again, 409, "exists").await;
    daemon
        .refused(Method::POST, "/v1/tokens", r#"{"name":"x","scope":"root"}"#, 422, "invalid")
        .await;
    daemon
        .refused(Method::POST, "/v1/tokens", r#"{"name":"x y","scope":"read"}"#, 422, "invalid")
        .await;
}

#[tokio::test]
async fn secrets_are_for_their_owner_only() {
    let daemon = Daemon::start();
    assert_eq!(mode(&daemon.dir), 0o700);
    for name in ["admin.token", "ostler.sock", "store.redb"] {
        assert_eq!(mode(&daemon.dir.join(name)), 0o600, "{name}");
    }
    let store = std::fs::read(daemon.dir.join("store.redb")).expect("the store");
    assert!(
        !store.windows(daemon.token.len()).any(|part| part == daemon.token.as_bytes()),
        "a secret is in the store"
    );
}

#[tokio::test]
async fn who_asked_is_written_down() {
    let daemon = Daemon::start();
    let endpoint: Endpoint = daemon.url.parse().expect("an endpoint");
    let client = Client::new(&endpoint, Some(daemon.token.clone())).expect("a client");
    let by_token = client.create_vm(&held("a"), None).await.expect("created").vm;
    let by_socket = daemon.vm("b").await;
    assert_eq!(client.vm(&by_token.to_string()).await.expect("a VM").owner, "admin");
    assert_eq!(client.vm(&by_socket.to_string()).await.expect("a VM").owner, "local");
    let nobody = Client::new(&endpoint, None).expect("a client");
    assert!(
        matches!(nobody.hosts().await, Err(ClientError::Problem(problem)) if problem.status == 401)
    );
}
