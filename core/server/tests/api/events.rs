//! The feed: no event is missed, and a client can go on where its stream broke off.

use crate::daemon::{Daemon, held};
use ostler_api::{ActionBody, EventFilter, ListFilter, Sent};
use std::collections::BTreeSet;
use std::time::Duration;

/// Longer than any event takes; a test that waits so long has failed.
const SOON: Duration = Duration::from_secs(20);

async fn next(events: &mut ostler_api::EventStream) -> ostler_api::Event {
    let event =
        tokio::time::timeout(SOON, events.next()).await.expect("in time").expect("readable");
    event.expect("the stream goes on")
}

#[tokio::test]
async fn list_then_watch_misses_nothing() {
    let daemon = Daemon::start();
    for number in 0..3 {
        daemon.vm(&format!("before-{number}")).await;
    }
    let page = daemon.local.vms(&ListFilter::default()).await.expect("a page");
    let mut known: BTreeSet<u64> = page.vms.iter().map(|vm| vm.id).collect();
    for number in 0..3 {
        daemon.vm(&format!("after-{number}")).await;
    }
    let filter = EventFilter {
        after: Some(page.seq),
        kind: Some("created".to_owned()),
        ..EventFilter::default()
    };
    let mut events = daemon.local.events(&filter).await.expect("a stream");
    while known.len() < 6 {
        let event = next(&mut events).await;
        assert!(known.insert(event.vm.expect("of a VM")), "told twice: {event:?}");
    }
}

#[tokio::test]
async fn a_stream_is_taken_up_where_it_ended() {
    let daemon = Daemon::start();
    let mut numbers = Vec::new();
    for number in 0..4 {
        daemon.vm(&format!("vm-{number}")).await;
    }
    let last = daemon.seq().await;
    let mut after = 0;
    while after < last {
        // A new stream for each event: as if the connection broke each time.
        let mut events = daemon
            .local
            .events(&EventFilter { after: Some(after), ..EventFilter::default() })
            .await
            .expect("a stream");
        after = next(&mut events).await.seq;
        numbers.push(after);
    }
    assert_eq!(numbers, (1..=last).collect::<Vec<_>>());
    let header = [("last-event-id", "1"), ("accept", "text/event-stream")];
    let request =
        daemon.http.get(format!("{}/v1/events?after=3", daemon.url)).bearer_auth(&daemon.token);
    let request =
        header.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let mut response = request.send().await.expect("an answer");
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut text = String::new();
    let read = async {
        while !text.contains("id: 2\n") {
            let chunk = response.chunk().await.expect("readable").expect("more");
            text.push_str(&String::from_utf8_lossy(&chunk));
        }
    };
    // One time limit for the whole loop: heartbeats must not make the test wait for ever.
    tokio::time::timeout(SOON, read).await.expect("in time");
    assert!(!text.contains("id: 1\n"), "Last-Event-ID comes before `after`: {text}");
}

#[tokio::test]
async fn only_what_was_asked_for_is_told() {
    let daemon = Daemon::start();
    let (one, two) = (daemon.vm("one").await, daemon.vm("two").await);
    let filter = EventFilter {
        after: Some(0),
        vm: Some("two".to_owned()),
        kind: Some("state,created".to_owned()),
    };
    let mut events = daemon.local.events(&filter).await.expect("a stream");
    for id in [one, two] {
        let sent = Sent::default();
        daemon
            .local
            .act(&id.to_string(), "release", &ActionBody::default(), &sent)
            .await
            .expect("released");
    }
    let (created, state) = (next(&mut events).await, next(&mut events).await);
    assert_eq!((created.vm, created.kind.as_str()), (Some(two), "created"));
    assert_eq!(
        (state.vm, state.kind.as_str(), &state.data["to"]),
        (Some(two), "state", &"pending".into()),
        "{state:?}"
    );
}

#[tokio::test]
async fn a_kind_that_there_is_not_is_not_waited_for() {
    let daemon = Daemon::start();
    let problem = daemon
        .refused(reqwest::Method::GET, "/v1/events?kind=state,crated", "", 400, "invalid")
        .await;
    assert_eq!(problem.hint.as_deref(), Some("did you mean created?"), "{problem:?}");
}

#[tokio::test]
async fn streams_have_a_bound_and_end_with_the_daemon() {
    let daemon = Daemon::start();
    let mut events = daemon.local.events(&EventFilter::default()).await.expect("a stream");
    daemon.local.create_vm(&held("a"), None).await.expect("created");
    next(&mut events).await;
    let mut more = Vec::new();
    let refused = loop {
        match daemon.local.events(&EventFilter::default()).await {
            Ok(stream) => more.push(stream),
            Err(err) => break err,
        }
        assert!(more.len() < 1000, "streams have no bound");
    };
    assert!(refused.to_string().contains("streams"), "{refused}");
    drop(more);
    let (code, _files) = daemon.stop();
    assert_eq!(code, Some(0));
    let end = loop {
        match tokio::time::timeout(SOON, events.next()).await.expect("in time").expect("readable") {
            Some(_) => {}
            None => break events.end().cloned(),
        }
    };
    assert_eq!(end.expect("a reason").code, "shutting-down");
}

#[tokio::test]
async fn a_place_beyond_the_end_is_told() {
    let daemon = Daemon::start();
    daemon.vm("a").await;
    let last = daemon.seq().await;
    for (path, header) in [("/v1/events?after=999999", ""), ("/v1/events", "18446744073709551615")]
    {
        let mut request =
            daemon.http.get(format!("{}{path}", daemon.url)).bearer_auth(&daemon.token);
        if !header.is_empty() {
            request = request.header("last-event-id", header);
        }
        // It ends by itself.
        let text = tokio::time::timeout(SOON, async {
            request.send().await.expect("an answer").text().await.expect("text")
        });
        let text = text.await.expect("the stream ends");
        assert!(text.contains("event: end\n") && text.contains("events-trimmed"), "{text}");
        assert!(text.contains(&format!("watch after {last}")), "{text}");
    }
}
