//! The capability `http`, against real servers, through the SDK in a real component.

mod support;
#[path = "support/web.rs"]
mod web;

use ostler_driver::{Hypervisor, Site};
use ostler_model::ExecTransport;
use ostler_wasm::{Grants, HostOptions, Secret};
use std::sync::Arc;
use support::{Audit, all, granting, host, hypervisor, load, nowhere, options, told};

const PASSWORD: &str = "s3cret of the operator";

/// Everything the guest asks for, with its secrets.
fn logged_in() -> Grants {
    let mut grants = all();
    grants.secrets.insert("password".to_owned(), Secret::new(PASSWORD));
    grants.secrets.insert("token".to_owned(), Secret::new("a-token"));
    grants
}

async fn driver(grants: Grants) -> (Arc<dyn Hypervisor>, Arc<Audit>) {
    let audit = Arc::new(Audit::default());
    let host = host(HostOptions { audit: Arc::clone(&audit) as _, ..options() });
    (hypervisor(&load(&host, grants).await), audit)
}

/// A host with settings, where the guest does `deed`.
fn here(deed: &str, settings: &[(&str, &str)]) -> Site {
    let mut site = nowhere(deed);
    let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    site.config.extend(settings);
    site
}

async fn ask(driver: &Arc<dyn Hypervisor>, deed: &str, settings: &[(&str, &str)]) -> String {
    told(driver, &here(deed, settings)).await.expect("told")
}

fn lines(seen: &web::Seen) -> Vec<String> {
    seen.lock().expect("not poisoned").clone()
}

#[tokio::test]
async fn a_request_goes_where_the_operator_says() {
    let (port, seen) = web::plain().await;
    let (driver, _) = driver(all()).await;
    let url = format!("http://127.0.0.1:{port}/rest/");
    let settings = [("url", url.as_str())];
    let told = ask(&driver, "http POST open /vms?a=b body:hello x-one=1", &settings).await;
    assert!(told.starts_with("(200, ") && told.contains(" 5 2cf24dba"), "{told}");
    let told = ask(&driver, "http PUT open /large zeros:3000000", &settings).await;
    assert!(told.contains(" 3000000 "), "{told}");
    let told = ask(&driver, "http GET open /", &settings).await;
    assert!(told.contains("GET /rest/ "), "{told}");
    let host = format!("127.0.0.1:{port}");
    assert_eq!(
        lines(&seen),
        [
            format!("POST /rest/vms?a=b {host} -"),
            format!("PUT /rest/large {host} -"),
            format!("GET /rest/ {host} -"),
        ]
    );
}

#[tokio::test]
async fn a_server_at_a_socket_is_asked_on_the_hosts_own_machine_only() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("api.sock");
    let seen = web::socket(&path);
    let (driver, _) = driver(all()).await;
    let url = format!("unix:{}", path.display());
    let deed = "http GET open /machine-config";
    let told = ask(&driver, deed, &[("url", &url)]).await;
    assert!(told.starts_with("(200, "), "{told}");
    assert_eq!(lines(&seen), ["GET /machine-config localhost -"]);
    let absent = format!("unix:{}/none.sock", dir.path().display());
    let told = ask(&driver, deed, &[("url", &absent)]).await;
    assert!(told.contains("\"Retry\", \"no-socket\""), "{told}");
    let mut far = here(deed, &[("url", &url)]);
    far.transport = ExecTransport::Ssh {
        destination: "nobody@192.0.2.1".to_owned(),
        port: 22,
        identity_file: None,
        known_hosts: None,
    };
    let (driver, _) = self::driver(support::without_commands()).await;
    let told = support::told(&driver, &far).await.expect("told");
    assert!(told.contains("\"NotHere\", \"not-local\""), "{told}");
}

#[tokio::test]
async fn a_server_proves_who_it_is() {
    let (one, other) = (web::secure("localhost").await, web::secure("localhost").await);
    let (driver, _) = driver(all()).await;
    let at = |host: &str| format!("https://{host}:{}", one.port);
    let (name, address) = (at("localhost"), at("127.0.0.1"));
    let both = format!("{}, {}", other.fingerprint, one.fingerprint);
    for (url, proof, proven) in [
        (&name, ("ca", one.ca.as_str()), true),
        (&name, ("ca", other.ca.as_str()), false),
        // The certificate is for another name.
        (&address, ("ca", one.ca.as_str()), false),
        (&address, ("fingerprint", one.fingerprint.as_str()), true),
        (&address, ("fingerprint", both.as_str()), true),
        (&address, ("fingerprint", other.fingerprint.as_str()), false),
        // No authority of this machine has signed it.
        (&name, ("answer", "no proof is set"), false),
    ] {
        let told = ask(&driver, "http GET api /x", &[("url", url), proof]).await;
        let seen = std::mem::take(&mut *one.seen.lock().expect("not poisoned"));
        if proven {
            assert!(told.starts_with("(200, ") && seen.len() == 1, "{proof:?}: {told}");
        } else {
            assert!(told.contains("\"Retry\", \"certificate\""), "{proof:?}: {told}");
            assert!(seen.is_empty(), "nothing was sent: {seen:?}");
        }
    }
}

#[tokio::test]
async fn the_login_is_put_in_by_the_host_and_only_where_nobody_listens() {
    let (port, seen) = web::plain().await;
    let (driver, _) = driver(logged_in()).await;
    let url = format!("http://127.0.0.1:{port}");
    let settings = [("url", url.as_str()), ("other-url", url.as_str()), ("user", "root")];
    for endpoint in ["api", "other", "open"] {
        for login in ["", " authorization={login}", " authorization=Bearer-of-the-driver"] {
            ask(&driver, &format!("http GET {endpoint} /{endpoint}{login}"), &settings).await;
        }
    }
    let host = format!("127.0.0.1:{port}");
    assert_eq!(
        lines(&seen),
        [
            format!("GET /api {host} -"),
            format!("GET /api {host} Basic cm9vdDpzM2NyZXQgb2YgdGhlIG9wZXJhdG9y"),
            format!("GET /api {host} Bearer-of-the-driver"),
            format!("GET /other {host} -"),
            format!("GET /other {host} Bearer a-token"),
            format!("GET /other {host} Bearer-of-the-driver"),
            format!("GET /open {host} -"),
            // An endpoint without a login takes none.
            format!("GET /open {host} Bearer-of-the-driver"),
        ]
    );
    let login = "http GET api / authorization={login}";
    for (settings, says) in [
        (&[("url", "http://192.0.2.1"), ("user", "root")][..], "\"bad-endpoint\""),
        (&[("url", url.as_str())], "\"not-configured\""),
        (&[("user", "root")], "\"not-configured\""),
    ] {
        let told = ask(&driver, login, settings).await;
        assert!(told.contains("\"Refused\"") && told.contains(says), "{settings:?}: {told}");
    }
    // The token of a session is worth as much as the password.
    let session = "http GET api / authorization=Bearer-of-a-session";
    let told = ask(&driver, session, &[("url", "http://192.0.2.1"), ("user", "root")]).await;
    assert!(told.contains("\"Refused\", \"bad-endpoint\""), "{told}");
    let (without, _) = self::driver(all()).await;
    let told = ask(&without, login, &settings).await;
    assert!(told.contains("\"no-secret\"") && told.contains("password"), "{told}");
}

#[tokio::test]
async fn a_driver_reaches_no_other_server() {
    let (port, seen) = web::plain().await;
    let (driver, audit) = driver(all()).await;
    let url = format!("http://127.0.0.1:{port}/rest");
    let settings = [("url", url.as_str())];
    let address = format!("127.0.0.1:{port}");
    for (deed, says) in [
        (format!("http GET {address} /"), "denied"),
        ("http GET API /".to_owned(), "denied"),
        ("http GET open@api /".to_owned(), "denied"),
        ("http GET open:80 /".to_owned(), "denied"),
        ("http GET open /../admin".to_owned(), "bad-argument"),
        ("http GET open /a/%2e%2E/%2e./admin".to_owned(), "bad-argument"),
        (format!("http CONNECT open /{address}"), "bad-argument"),
        ("http TRACE api / authorization={login}".to_owned(), "bad-argument"),
        (format!("http {} open /", "M".repeat(65)), "bad-argument"),
        (format!("http GET {} /", "o".repeat(65)), "bad-argument"),
        ("http GET open / host=other.example".to_owned(), "bad-argument"),
        ("http GET open / transfer-encoding=chunked".to_owned(), "bad-argument"),
        ("http GET open / proxy-authorization=x".to_owned(), "bad-argument"),
    ] {
        let told = ask(&driver, &deed, &settings).await;
        assert!(told.contains("\"Refused\"") && told.contains(says), "{deed}: {told}");
    }
    assert_eq!(lines(&seen), Vec::<String>::new(), "nothing was sent");
    let denied = audit.0.lock().expect("not poisoned").clone();
    assert_eq!(denied.len(), 4, "{denied:?}");
    assert!(denied[0].contains(&address), "{denied:?}");
    // A redirect is an answer. Nobody follows it, and the driver cannot.
    let told = ask(&driver, "http GET open /away", &[("url", &url.replace("/rest", ""))]).await;
    assert!(told.starts_with("(302, \"http://127.0.0.1:1/secret\""), "{told}");
    // A name that leads to this machine. Both are addresses for the system's resolver only.
    for host in ["127.1", "2130706433"] {
        let url = format!("http://{host}:{port}");
        let told = ask(&driver, "http GET open /", &[("url", &url)]).await;
        assert!(told.contains("\"Refused\", \"forbidden-address\""), "{host}: {told}");
    }
    for url in ["", "ftp://x", "https://root:pw@x", "unix:x"] {
        let told = ask(&driver, "http GET open /", &[("url", url)]).await;
        assert!(told.contains("\"Refused\"") && !told.contains("pw@"), "{url}: {told}");
    }
}

#[tokio::test]
async fn an_endpoint_is_granted_by_its_name() {
    let (port, seen) = web::plain().await;
    let url = format!("http://127.0.0.1:{port}");
    let deed = "http GET open /";
    for (grants, missing) in [
        (granting(&[("config", &[])]), "has not granted http"),
        (granting(&[("config", &[]), ("http", &["api"])]), "has not granted http:open"),
    ] {
        let (driver, audit) = driver(grants).await;
        let told = ask(&driver, deed, &[("url", &url)]).await;
        assert!(told.contains("denied") && told.contains(missing), "{told}");
        let audited = audit.0.lock().expect("not poisoned").clone();
        assert!(audited.len() == 1 && audited[0].contains(missing), "{audited:?}");
    }
    assert_eq!(lines(&seen), Vec::<String>::new());
    let (driver, _) = driver(granting(&[("config", &[]), ("http", &["open"])])).await;
    assert!(ask(&driver, deed, &[("url", &url)]).await.starts_with("(200, "));
}

#[tokio::test]
async fn an_answer_that_does_not_come_has_the_safe_kind() {
    let (port, _) = web::plain().await;
    let nobody = format!("http://127.0.0.1:{}", web::nobody().await);
    let (driver, _) = driver(all()).await;
    let url = format!("http://127.0.0.1:{port}");
    for (deed, url, says) in [
        ("http POST open / body:x", &nobody, "\"Retry\", \"unreachable\""),
        ("http GET open /hang-up", &url, "\"Retry\", \"lost\""),
        ("http POST open /hang-up body:x", &url, "\"Unknown\", \"lost\""),
        ("http GET open /silent within:200", &url, "\"Retry\", \"timeout\""),
        ("http DELETE open /silent within:200", &url, "\"Unknown\", \"timeout\""),
        ("http GET open /drip/1000 within:200", &url, "\"Retry\", \"timeout\""),
        // More than a call may carry, to here and from here; the guest would not run out of memory.
        ("http GET open /zeros/1000000 times:80", &url, "\"Refused\", \"too-large\""),
        ("http POST open / zeros:1000000 times:80", &url, "\"Unknown\", \"too-large\""),
    ] {
        let told = ask(&driver, deed, &[("url", url)]).await;
        assert!(told.contains(says), "{deed}: {told}");
    }
}

#[tokio::test]
async fn a_call_that_is_told_to_stop_waits_for_no_server() {
    let (port, seen) = web::plain().await;
    let (driver, _) = driver(all()).await;
    let url = format!("http://127.0.0.1:{port}");
    for (deed, says) in [
        ("http GET open /silent", "\"Cancelled\", \"cancelled\""),
        ("http GET open /drip/1000", "\"Cancelled\", \"cancelled\""),
        // The server may still do it.
        ("http POST open /silent", "\"Unknown\", \"interrupted\""),
        ("http POST open /drip/1000", "\"Unknown\", \"interrupted\""),
    ] {
        let control = support::call(1, std::time::Duration::from_secs(600));
        let (site, cancel) = (here(deed, &[("url", &url)]), control.cancel.clone());
        let before = lines(&seen).len();
        let call = driver.remove(&site, &control);
        let stop = async {
            while lines(&seen).len() == before {
                tokio::task::yield_now().await;
            }
            cancel.cancel();
        };
        let (answer, ()) = tokio::join!(call, stop);
        let error = answer.expect_err("told");
        assert!(error.detail.contains(says), "{deed}: {error:?}");
    }
}
