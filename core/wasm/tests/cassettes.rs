//! Cassettes: the calls to the host of a real component are recorded, and played back without the
//! host.

mod support;
#[path = "support/web.rs"]
mod web;

use ostler_driver::{Hypervisor, Site};
use ostler_model::DriverError;
use ostler_wasm::{Cassette, CassetteProblem, HostOptions, Secret};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use support::{all, guest, host, hypervisor, load, options, site, told};

const PASSWORD: &str = "hunter2 of the operator";

async fn driver(cassette: &Cassette, password: &str) -> Arc<dyn Hypervisor> {
    let mut grants = all();
    grants.secrets.insert("password".to_owned(), Secret::new(password));
    let host = host(HostOptions { cassette: Some(cassette.clone()), ..options() });
    hypervisor(&load(&host, grants).await)
}

/// The answers of the guest that does these deeds one after the other.
async fn answers(
    cassette: &Cassette,
    password: &str,
    here: impl Fn(&str) -> Site,
    deeds: &[&str],
) -> Vec<Result<String, DriverError>> {
    let driver = driver(cassette, password).await;
    let mut answers = Vec::new();
    for deed in deeds {
        answers.push(told(&driver, &here(deed)).await);
    }
    answers
}

fn recording() -> Cassette {
    let inspection = ostler_wasm::inspect("guest", guest()).expect("a component");
    Cassette::record(&inspection, json!({ "any": "thing" }))
}

/// A recording of these deeds, in a folder that is gone by now.
async fn recorded(deeds: &[&str]) -> Vec<u8> {
    let (dir, cassette) = (tempfile::tempdir().expect("dir"), recording());
    answers(&cassette, PASSWORD, |deed| site(dir.path(), deed), deeds).await;
    cassette.file().expect("recorded")
}

/// What is different when these deeds are done instead.
async fn differs(file: &[u8], deeds: &[&str]) -> String {
    let cassette = Cassette::replay(file).expect("a cassette");
    answers(&cassette, PASSWORD, |deed| site(Path::new("/no/such/root"), deed), deeds).await;
    cassette.problem().expect("it is different")
}

#[tokio::test]
async fn a_recorded_run_is_played_back_without_files_commands_servers_and_secrets() {
    let deeds = [
        "write ds a/b hello",
        "read ds a/b",
        "stat ds a/b",
        "list ds nothing",
        "absolute ds a/b",
        "exec show word=x n=7 file=ds:a/b",
        "all 3 cat",
        "http GET open /vms?a=b",
        "http POST api /login authorization={login} body:hello",
        "secret password",
        "clock",
        "random",
    ];
    let (dir, recording) = (tempfile::tempdir().expect("dir"), recording());
    let (port, seen) = web::plain().await;
    let here = |root: &Path, deed: &str| {
        let mut site = site(root, deed);
        site.config.insert("url".to_owned(), format!("http://127.0.0.1:{port}/"));
        site.config.insert("user".to_owned(), "me".to_owned());
        site
    };
    recording.begins("one");
    let first = answers(&recording, PASSWORD, |deed| here(dir.path(), deed), &deeds).await;
    assert!(first[..9].iter().enumerate().all(|(at, it)| it.is_ok() || at == 3), "{first:#?}");
    let (requests, file) = (seen.lock().expect("seen").len(), recording.file().expect("recorded"));
    assert_eq!(requests, 2);
    drop(dir);

    let text = String::from_utf8(file.clone()).expect("text");
    assert!(!text.contains("hunter2"), "a secret is in {text}");
    assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    assert!(
        text.contains(r#""does":"files.read","with":{"file":"ds:a/b"},"answer":{"ok":"hello"}"#)
    );
    assert!(text.contains("/usr/bin/printf %s| x n=7 ds:a/b"), "{text}");

    // Twice, because a play takes nothing from the file.
    for _ in 0..2 {
        let cassette = Cassette::replay(&file).expect("a cassette");
        assert_eq!(cassette.recorded().setup, json!({ "any": "thing" }));
        cassette.begins("one");
        let nowhere = |deed: &str| here(Path::new("/no/such/root"), deed);
        let again = answers(&cassette, "[secret password]", nowhere, &deeds).await;
        assert_eq!(cassette.problem(), None);
        for ((deed, before), now) in deeds.iter().zip(&first).zip(again) {
            match *deed {
                "secret password" => assert_eq!(now, Ok("Some(\"[secret password]\")".to_owned())),
                // The server has repeated the login, which is recorded with a mark in its place.
                "http POST api /login authorization={login} body:hello" => {
                    let now = now.expect("an answer");
                    assert!(now.contains("Basic bWU6[secret password] 5 2cf24dba"), "{now}");
                }
                _ => assert_eq!(&now, before, "{deed}"),
            }
        }
    }
    assert_eq!(seen.lock().expect("seen").len(), requests, "no server was asked again");
}

#[tokio::test]
async fn the_first_difference_is_told_exactly() {
    let file = recorded(&["write ds a/b hello", "read ds a/b"]).await;
    let told = differs(&file, &["write ds a/b jello"]).await;
    assert!(told.contains("call remove of ") && told.contains(" on host here"), "{told}");
    assert!(
        told.contains(r#"call 1 to the host is files.write {"data":"jello","file":"ds:a/b"}"#)
            && told.ends_with(r#"recorded was the same with data "hello""#),
        "{told}"
    );
    // Only the first one is told.
    let told = differs(&file, &["write ds a/b hello", "stat ds a/b", "read ds a/b"]).await;
    assert!(told.contains("is files.stat ") && told.contains("recorded was files.read "), "{told}");
    let told = differs(&file, &["write ds a/b hello", "read ds a/b", "read ds a/b"]).await;
    assert!(
        told.contains("the cassette has 2 calls of remove there, and this is call 3"),
        "{told}"
    );
    let file = recorded(&["all 2 cat"]).await;
    let told = differs(&file, &["all 3 cat"]).await;
    assert!(told.ends_with("recorded were only 2 calls to the host"), "{told}");
    let told = differs(&file, &["all 1 cat"]).await;
    assert!(told.contains("it has ended after 1 calls to the host; recorded was then"), "{told}");
}

#[tokio::test]
async fn identities_and_randomness_are_those_of_the_recording() {
    let file = recorded(&["random"]).await;
    let identities = || {
        let cassette = Cassette::replay(&file).expect("a cassette");
        [cassette.identity(), cassette.identity()]
    };
    assert_eq!(identities(), identities());
    assert_ne!(identities()[0], identities()[1]);
    let (one, other) = (recording(), recording());
    assert_ne!(one.identity(), other.identity(), "each recording has a seed of its own");
}

#[test]
fn a_file_that_is_no_cassette_says_in_which_line() {
    let bad = |text: &str| Cassette::replay(text.as_bytes()).err().expect("no cassette");
    let head = String::from_utf8(recording().file().expect("recorded")).expect("text");
    let call = r#"{"call":1,"check":"one","function":"deploy","ended":true}"#;
    Cassette::replay(format!("{head}{call}\n").as_bytes()).expect("a cassette");
    assert!(matches!(bad(""), CassetteProblem::Line { line: 1, .. }));
    assert!(matches!(bad("{}"), CassetteProblem::Line { line: 1, .. }));
    let newer = head.replace(r#""ostler_cassette":1"#, r#""ostler_cassette":2"#);
    assert!(bad(&newer).to_string().contains("version 2"), "{}", bad(&newer));
    for broken in [
        format!("{head}{call}\n{{\"in\":2,\"does\":\"files.read\"}}\n"),
        format!("{head}{call}\n{call}\n"),
        format!("{head}{call}\nnonsense\n"),
    ] {
        assert!(matches!(bad(&broken), CassetteProblem::Line { line: 3, .. }), "{}", bad(&broken));
    }
}
