//! Components that clients send before they add a driver.

use crate::daemon::{Daemon, Reply};
use futures::StreamExt as _;
use ostler_api::{ClientError, NewToken};
use reqwest::Method;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const PATH: &str = "/v1/driver-files";
const WASM: (&str, &str) = ("content-type", "application/wasm");

/// The files that the daemon keeps.
fn kept(daemon: &Daemon) -> Vec<PathBuf> {
    let folder = std::fs::read_dir(daemon.dir.join("uploads"));
    folder.into_iter().flatten().map(|entry| entry.expect("a file").path()).collect()
}

async fn send(daemon: &Daemon, body: &str, headers: &[(&str, &str)]) -> Reply {
    daemon.send_with(Method::POST, PATH, body, headers).await
}

#[tokio::test]
async fn a_component_is_kept_as_it_is_and_the_newest_stay() {
    let daemon = Daemon::start();
    let before = daemon.seq().await;
    let sent =
        send(&daemon, "a component", &[WASM, ("ostler-signature", "YSBzaWduYXR1cmU=")]).await;
    assert_eq!((sent.status.as_u16(), &sent.body["size"]), (201, &11.into()), "{}", sent.body);
    let path = PathBuf::from(sent.body["path"].as_str().expect("a path"));
    assert!(path.starts_with(daemon.dir.join("uploads")), "{}", path.display());
    assert_eq!(std::fs::read(&path).expect("kept"), b"a component");
    let signature = path.with_extension("wasm.minisig");
    assert_eq!(std::fs::read(&signature).expect("kept"), b"a signature");
    assert_eq!(kept(&daemon).len(), 2);
    // It is judged when a driver is made of it, and this is none.
    let new = format!("{{\"path\": {:?}}}", path.display().to_string());
    daemon.refused(Method::POST, "/v1/drivers", &new, 422, "unusable").await;
    let same = daemon.local.send_driver_file(b"another".to_vec(), None).await.expect("sent");
    assert_eq!((std::fs::read(&same.path).expect("kept"), same.size), (b"another".to_vec(), 7));
    for _ in 0..7 {
        send(&daemon, "more", &[WASM]).await;
    }
    assert!(!path.exists() && !signature.exists() && !Path::new(&same.path).exists());
    assert_eq!(kept(&daemon).len(), 4);
    // The clock steps back: those that are there seem to be newer than the next one.
    let ahead = SystemTime::now() + Duration::from_secs(3600);
    for file in kept(&daemon) {
        let file = std::fs::File::options().append(true).open(file).expect("a file");
        file.set_modified(ahead).expect("set");
    }
    for _ in 0..4 {
        let sent = send(&daemon, "after", &[WASM]).await;
        assert!(Path::new(sent.body["path"].as_str().expect("a path")).exists(), "{}", sent.body);
    }
    assert_eq!(kept(&daemon).len(), 4);
    assert_eq!(daemon.seq().await, before, "nothing of the store was changed");
    let (dir, (_, files)) = (daemon.dir.clone(), daemon.stop());
    let daemon = Daemon::on(dir, files);
    assert!(kept(&daemon).is_empty());
}

#[tokio::test]
async fn what_is_no_component_to_keep_is_refused_and_leaves_nothing() {
    let daemon = Daemon::start();
    daemon.refused(Method::POST, PATH, "x", 415, "malformed").await;
    let bad = |text: String| {
        let daemon = &daemon;
        async move {
            let headers = [WASM, ("ostler-signature", &text)];
            daemon.refused_with(Method::POST, PATH, "x", &headers, 400, "invalid").await
        }
    };
    bad("not base64".to_owned()).await;
    bad("YWFh".repeat(6000)).await;
    // One that is too large. It is sent piece by piece, so that only the daemon counts.
    let piece = vec![0_u8; 1024 * 1024];
    let pieces = (0..64).map(move |_| Ok::<_, std::io::Error>(piece.clone()));
    // The daemon answers at the first byte too many. Nothing comes behind it, and so the answer is
    // not lost with bytes that nobody reads.
    let pieces = futures::stream::iter(pieces.chain([Ok(vec![0])]));
    let body = reqwest::Body::wrap_stream(pieces.chain(futures::stream::pending()));
    let request = daemon.http.post(format!("{}{PATH}", daemon.url)).bearer_auth(&daemon.token);
    let answer = request.header(WASM.0, WASM.1).body(body).send().await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 413);
    assert!(kept(&daemon).is_empty(), "{:?}", kept(&daemon));
}

#[tokio::test]
async fn only_who_may_add_drivers_may_send_components() {
    let daemon = Daemon::start();
    let read = NewToken { name: "r".to_owned(), scope: "read".to_owned(), ..NewToken::default() };
    let read = daemon.local.add_token(&read).await.map_err(|err: ClientError| err).expect("made");
    let reader = format!("Bearer {}", read.secret);
    for (token, status) in [(reader.as_str(), 403), ("Bearer ostler_none", 401)] {
        let sent = send(&daemon, "a component", &[WASM, ("authorization", token)]).await;
        assert_eq!(sent.status.as_u16(), status, "{}", sent.body);
    }
    assert!(kept(&daemon).is_empty());
}
