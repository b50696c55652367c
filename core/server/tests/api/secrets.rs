//! Secrets of drivers: set by admins, read by the driver's next call, and told nowhere.

use crate::daemon::{Daemon, mode};
use ostler_api::{ChangeHost, EventFilter, Host, NewDriver, NewHost, NewSecret, NewToken};
use reqwest::Method;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

/// Longer than anything here takes; a test that waits so long has failed.
const SOON: Duration = Duration::from_secs(60);
/// Two values. Each of these words is in no other text.
const FIRST: &str = "hunter2 \"is\" one";
const SECOND: &str = "correct-horse-battery";
/// Texts that must be nowhere: parts of them, as they are and in base64.
const PIECES: [&str; 5] = ["hunter2", "aHVudGVyMi", "correct-horse", "Y29ycmVjdC", "Zm91cnRo"];

/// The driver of the tests of `ostler-wasm`. It lists the secrets `password`, `pin` and `token`, and
/// tells what it has read wherever it can.
fn guest() -> String {
    static GUEST: OnceLock<PathBuf> = OnceLock::new();
    let path = GUEST.get_or_init(|| {
        let manifest = wasm_tests("guest/Cargo.toml");
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guest");
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--locked", "--release", "--target", "wasm32-wasip2"])
            .arg("--manifest-path")
            .arg(manifest)
            .arg("--target-dir")
            .arg(&target)
            .env_remove("RUSTFLAGS")
            .status()
            .expect("cargo runs");
        assert!(built.success(), "is the target wasm32-wasip2 installed?");
        target.join("wasm32-wasip2/release/ostler_test_guest.wasm")
    });
    path.display().to_string()
}

fn wasm_tests(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../wasm/tests").join(path)
}

/// An earlier build of it, whose manifest lists no secrets.
fn older() -> String {
    wasm_tests("kept/guest-1.wasm").display().to_string()
}

async fn add(daemon: &Daemon, path: String) {
    let grants = Some(vec!["all".to_owned()]);
    let new = NewDriver { path, grants, ..NewDriver::default() };
    daemon.local.add_driver(&new).await.expect("it is loaded");
}

fn host(name: &str, state: &str, deed: &str) -> NewHost {
    NewHost {
        name: name.to_owned(),
        driver: "test-guest".to_owned(),
        config: [("deed".to_owned(), deed.to_owned())].into(),
        state: Some(state.to_owned()),
        ..NewHost::default()
    }
}

fn secret(value: &str) -> NewSecret {
    NewSecret { value: value.to_owned() }
}

fn is_clean(what: &str, text: &str) {
    for piece in PIECES {
        assert!(!text.contains(piece), "{what} tells {piece}: {text}");
    }
}

/// The host, once its driver has found so many thousandths of a CPU: the guest tells the length of
/// the secret as that.
async fn probed(daemon: &Daemon, name: &str, length: usize) -> Host {
    let probed = async {
        loop {
            let host = daemon.local.host(name).await.expect("a host");
            let note = host.health.as_ref().and_then(|health| health.notes.first());
            if host.cpu.0 == length as u64 && note.is_some() {
                return host;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, probed).await.expect("the driver has read the secret")
}

/// Every event until now, as JSON.
async fn events(daemon: &Daemon) -> String {
    let (last, mut all) = (daemon.seq().await, String::new());
    let filter = EventFilter { after: Some(0), ..EventFilter::default() };
    let mut stream = daemon.local.events(&filter).await.expect("a stream");
    loop {
        let next = tokio::time::timeout(SOON, stream.next()).await.expect("in time");
        let event = next.expect("readable").expect("the stream goes on");
        all += &(serde_json::to_string(&event).expect("JSON") + "\n");
        if event.seq >= last {
            return all;
        }
    }
}

#[tokio::test]
async fn a_value_is_read_by_the_next_call_and_told_nowhere() {
    let files = tempfile::Builder::new().prefix("oapi-").tempdir().expect("a temporary folder");
    let (data, path) = (files.path().join("data"), files.path().join("log"));
    let err = File::create(&path).expect("a file").into();
    let daemon = Daemon::logging(data, Some(files), "trace", err);
    add(&daemon, guest()).await;
    let local = &daemon.local;
    local.set_driver_secret("test-guest", "password", &secret(FIRST)).await.expect("it is set");
    local.add_host(&host("h1", "on", "note password")).await.expect("added");
    let mut told = vec![format!("{:?}", probed(&daemon, "h1", FIRST.len()).await)];
    assert!(told[0].contains("password <[secret password]>"), "{told:?}");
    // The host's own comes first, and the next probe reads it.
    local.set_host_secret("h1", "password", &secret(SECOND)).await.expect("it is set");
    let config = Some(
        [("deed".to_owned(), "note password".to_owned()), ("answer".to_owned(), "1".to_owned())]
            .into(),
    );
    local.change_host("h1", &ChangeHost { config, ..ChangeHost::default() }).await.expect("asked");
    told.push(format!("{:?}", probed(&daemon, "h1", SECOND.len()).await));
    // A refusal does not tell the value either.
    let put = "/v1/drivers/test-guest/secrets/password";
    for (path, body, status) in [
        (put, r#""hunter2""#.to_owned(), 400),
        (put, r#"{"value":["hunter2"]}"#.to_owned(), 400),
        (put, r#"{"valeu":"hunter2"}"#.to_owned(), 400),
        (put, r#"{"value":"hunter2"#.to_owned(), 400),
        (put, format!(r#"{{"value":"{}"}}"#, "hunter2".repeat(2400)), 422),
        ("/v1/drivers/test-guest/secrets/Password", r#"{"value":"hunter2"}"#.to_owned(), 422),
        ("/v1/drivers/nobody/secrets/password", r#"{"value":"hunter2"}"#.to_owned(), 404),
    ] {
        let reply = daemon.send(Method::PUT, path, &body).await;
        assert_eq!(reply.status.as_u16(), status, "{path}: {}", reply.body);
        told.push(reply.body.to_string());
    }
    for path in [
        "/v1/openapi.json",
        "/v1/drivers",
        "/v1/drivers/test-guest",
        "/v1/hosts",
        "/v1/hosts/h1",
        "/v1/drivers/test-guest/secrets",
        "/v1/hosts/h1/secrets",
        "/v1/admin/check",
        "/metrics",
        "/v1/tokens",
        "/v1/version",
    ] {
        let reply = daemon.get(path).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.body);
        told.push(reply.body.to_string());
    }
    let fed = events(&daemon).await;
    for event in ["password of driver test-guest", "password of driver test-guest for host 1"] {
        assert!(fed.contains(&format!("\"name\":\"{event}\"")), "no {event} in {fed}");
    }
    assert!(fed.contains("\"detail\":\"by local\""), "{fed}");
    told.push(fed);
    let (_, _files) = daemon.stop();
    let log = std::fs::read_to_string(&path).expect("the log");
    assert!(log.contains("<[secret password]>") && log.contains("secrets.get"), "{log}");
    told.push(log);
    told.iter().for_each(|text| is_clean("the daemon", text));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_a_sentence() {
    let daemon = Daemon::start();
    add(&daemon, guest()).await;
    daemon.local.add_host(&host("h1", "off", "")).await.expect("added");
    let body = r#"{"value":"x"}"#;
    let whose = ["/v1/drivers/test-guest", "/v1/hosts/h1", "/v1/hosts/1"];
    for of in whose {
        for (name, body, status, code) in [
            ("Pass", body, 422, "invalid"),
            ("pass.word", body, 422, "invalid"),
            ("a%20b", body, 422, "invalid"),
            (&*"a".repeat(64), body, 422, "invalid"),
            ("password", r#"{"value":""}"#, 422, "invalid"),
            ("password", "{}", 400, "invalid"),
            ("password", "", 400, "invalid"),
        ] {
            daemon.refused(Method::PUT, &format!("{of}/secrets/{name}"), body, status, code).await;
        }
        let near = format!("{of}/secrets/passwrod");
        let problem = daemon.refused(Method::PUT, &near, body, 422, "invalid").await;
        assert_eq!(problem.hint.as_deref(), Some("did you mean password?"), "{problem:?}");
        assert!(problem.detail.contains("it reads: password, pin, token"), "{problem:?}");
        for name in ["password", "A b"] {
            let gone = format!("{of}/secrets/{name}");
            daemon.refused(Method::DELETE, &gone, "", 404, "not-found").await;
        }
    }
    let large = |length: usize| format!(r#"{{"value":"{}"}}"#, "x".repeat(length));
    let path = "/v1/hosts/h1/secrets/pin";
    let problem = daemon.refused(Method::PUT, path, &large(16 * 1024 + 1), 422, "invalid").await;
    assert_eq!(problem.field.as_deref(), Some("value"), "{problem:?}");
    assert_eq!(daemon.send(Method::PUT, path, &large(16 * 1024)).await.status, 204);
    for of in ["/v1/drivers/test-gues", "/v1/hosts/h2", "/v1/hosts/9"] {
        for (method, path) in [(Method::PUT, "/pin"), (Method::DELETE, "/pin"), (Method::GET, "")] {
            let path = format!("{of}/secrets{path}");
            let body = if method == Method::PUT { body } else { "" };
            daemon.refused(method, &path, body, 404, "not-found").await;
        }
    }
    daemon.refused(Method::PUT, "/v1/drivers/kvm/secrets/pin", body, 422, "unusable").await;
    assert_eq!(mode(&daemon.dir.join("store.redb")), 0o600);
}

#[tokio::test]
async fn secrets_are_listed_kept_and_go_with_what_they_are_of() {
    let mut daemon = Daemon::start();
    add(&daemon, guest()).await;
    for name in ["h1", "h2"] {
        daemon.local.add_host(&host(name, "off", "")).await.expect("added");
        daemon.local.set_host_secret(name, "token", &secret("of a host")).await.expect("set");
    }
    daemon.local.set_driver_secret("test-guest", "pin", &secret("123")).await.expect("set");
    // The daemon is killed: what it has answered is kept.
    let (dir, files) = (daemon.dir.clone(), daemon.take_files());
    drop(daemon);
    let daemon = Daemon::on(dir, files);
    let local = &daemon.local;
    let driver = local.driver("test-guest").await.expect("a driver");
    let told: Vec<(&str, bool)> =
        driver.secrets.iter().map(|secret| (secret.name.as_str(), secret.set)).collect();
    assert_eq!(told, [("password", false), ("pin", true), ("token", false)]);
    assert_eq!(driver.secrets[0].about.as_deref(), Some("to log in"));
    let shown = local.host("h1").await.expect("a host").driver.expect("its driver");
    assert_eq!(shown.secrets, ["token"]);
    let listed = local.host_secrets("h1").await.expect("a list");
    assert_eq!(listed.iter().map(|secret| secret.name.as_str()).collect::<Vec<_>>(), ["token"]);
    // A later value has a later time.
    local.set_host_secret("h1", "token", &secret("another")).await.expect("set");
    let again = local.host_secrets("h1").await.expect("a list");
    assert!(again.len() == 1 && again[0].set >= listed[0].set, "{again:?}");
    local.remove_host("h1").await.expect("removed");
    assert_eq!(daemon.get("/v1/hosts/h1/secrets").await.status, 404);
    local.add_host(&host("h1", "off", "")).await.expect("added");
    assert_eq!(local.host_secrets("h1").await.expect("a list"), []);
    assert_eq!(local.host_secrets("h2").await.expect("a list").len(), 1);
    local.remove_host_secret("h2", "token").await.expect("removed");
    assert_eq!(local.host_secrets("h2").await.expect("a list"), []);
    for name in ["h1", "h2"] {
        local.remove_host(name).await.expect("removed");
    }
    assert_eq!(local.driver_secrets("test-guest").await.expect("a list").len(), 1);
    local.remove_driver("test-guest").await.expect("removed");
    assert_eq!(local.driver_secrets("test-guest").await.expect("a list"), []);
    assert!(local.check().await.expect("a check").ok);
}

#[tokio::test]
async fn only_admins_set_and_list_secrets() {
    let daemon = Daemon::start();
    add(&daemon, older()).await;
    daemon.local.add_host(&host("h1", "off", "")).await.expect("added");
    daemon.local.set_host_secret("h1", "token", &secret("fourth")).await.expect("set");
    let new = NewToken { name: "r".to_owned(), scope: "read".to_owned(), lifetime: None };
    let reader = format!("Bearer {}", daemon.local.add_token(&new).await.expect("made").secret);
    for of in ["/v1/drivers/test-guest", "/v1/hosts/h1"] {
        for (method, path) in
            [(Method::GET, ""), (Method::PUT, "/token"), (Method::DELETE, "/token")]
        {
            let path = format!("{of}/secrets{path}");
            for (header, status, code) in
                [(reader.as_str(), 403, "forbidden"), ("", 401, "unauthenticated")]
            {
                let headers = [("authorization", header)];
                let body = r#"{"value":"x"}"#;
                daemon.refused_with(method.clone(), &path, body, &headers, status, code).await;
            }
        }
    }
    // Names are no secret.
    let headers = [("authorization", reader.as_str())];
    let shown = daemon.send_with(Method::GET, "/v1/hosts/h1", "", &headers).await;
    assert_eq!(shown.body["driver"]["secrets"], serde_json::json!(["token"]));
}

#[tokio::test]
async fn a_driver_has_a_bounded_number_of_secrets() {
    let daemon = Daemon::start();
    add(&daemon, older()).await;
    for number in 0..64 {
        let name = format!("secret-{number}");
        daemon.local.set_driver_secret("test-guest", &name, &secret("x")).await.expect("set");
    }
    let more = "/v1/drivers/test-guest/secrets/one-more";
    let problem = daemon.refused(Method::PUT, more, r#"{"value":"x"}"#, 422, "invalid").await;
    assert!(problem.detail.contains("64 secrets"), "{problem:?}");
    daemon.local.set_driver_secret("test-guest", "secret-7", &secret("y")).await.expect("set");
    daemon.local.remove_driver_secret("test-guest", "secret-7").await.expect("removed");
    assert_eq!(daemon.send(Method::PUT, more, r#"{"value":"x"}"#).await.status, 204);
}
