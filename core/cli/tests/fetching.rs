//! `ostler driver add https://...`, with a real web server and a real daemon; and the pin of a
//! digest.

#[allow(dead_code)]
mod support;
#[allow(dead_code)]
#[path = "support/web.rs"]
mod web;

use std::path::Path;
use support::{Daemon, Ran, plugins, run};
use web::{Page, Web};

const DRIVER: &str = "snapshots-kvm";

struct World {
    daemon: Daemon,
    web: Web,
    component: Vec<u8>,
}

impl World {
    /// None if the daemon or the components are not built.
    fn new(settings: &str) -> Option<Self> {
        let component = std::fs::read(plugins()?.join("snapshots-kvm.wasm")).expect("built");
        let daemon = Daemon::with_settings(settings)?;
        let web = Web::start(daemon.folder.path());
        Some(Self { daemon, web, component })
    }

    /// Adds a driver. The authority of the web server is trusted.
    fn add(&self, source: &str, more: &[&str]) -> Ran {
        let mut command = self.daemon.command();
        command
            .args(["driver", "add", source])
            .args(more)
            .env("SSL_CERT_FILE", &self.web.authority);
        Ran::of(&command.output().expect("it starts"))
    }

    /// Adds nothing: the exit code is this one, and the daemon has received nothing.
    #[track_caller]
    fn refused(&self, source: &str, more: &[&str], code: i32, says: &str) {
        self.add(source, more).expect(code).says(says);
        assert_eq!(self.daemon.run(&["driver", "show", DRIVER]).code, 3, "it was added");
        assert_eq!(self.received(), 0, "it was sent");
    }

    /// How many components the daemon has received.
    fn received(&self) -> usize {
        let folder = std::fs::read_dir(self.daemon.folder.path().join("data/uploads"));
        let names = folder.into_iter().flatten().map(|entry| entry.expect("a file").path());
        names.filter(|path| path.extension().is_some_and(|it| it == "wasm")).count()
    }
}

fn digest(file: &Path) -> String {
    let file = file.to_str().expect("text");
    let inspected = run(&["plugin", "inspect", file, "-o", "json"]).expect(0).json();
    inspected["digest"].as_str().expect("a digest").to_owned()
}

#[test]
fn a_driver_is_added_from_a_url() {
    let Some(world) = World::new("") else { return };
    let digest = digest(&plugins().expect("built").join("snapshots-kvm.wasm"));
    let there = world.web.page("/kvm.wasm", Page::Bytes(world.component.clone()));
    let moved = world.web.page("/latest.wasm", Page::Away("/kvm.wasm".to_owned()));
    let pin = ["--digest", &format!("sha256:{digest}"), "-o", "json"];
    let added = world.add(&format!("{there}?token=secret"), &pin).expect(0).json();
    assert_eq!(
        (&added["name"], &added["origin"]["digest"]),
        (&DRIVER.into(), &digest.as_str().into())
    );
    // The same from elsewhere is the same.
    world.add(&moved, &[]).expect(0);
    // It is loaded at every start, though what was received is gone then.
    let mut world = world;
    world.daemon.kill();
    world.daemon.start_again();
    assert_eq!(world.received(), 0);
    let shown = world.daemon.run(&["driver", "show", DRIVER, "-o", "json"]).expect(0).json();
    assert!(shown["not_loaded"].is_null(), "{shown}");
}

#[test]
fn what_cannot_be_fetched_is_told_and_nothing_is_sent() {
    let Some(world) = World::new("") else { return };
    let page = |path: &str, page: Page| world.web.page(path, page);
    let there = page("/kvm.wasm", Page::Bytes(world.component.clone()));
    let other = "0".repeat(64);
    let larger = 64 * 1024 * 1024 + 1;
    world.refused(&there, &["--digest", &other], 1, "nothing was added");
    world.refused(&page("/claims", Page::Claims(larger)), &[], 1, "is larger than");
    world.refused(&page("/endless", Page::Endless), &[], 1, "is larger than");
    world.refused(&page("/silent", Page::Silent), &["--timeout", "1s"], 6, "took longer than 1s");
    world.refused(
        &page("/stalls", Page::Claims(9)),
        &["--timeout", "1s"],
        6,
        "took longer than 1s",
    );
    let html = Page::Bytes(b"<html>please log in</html>".to_vec());
    world.refused(&page("/page", html), &[], 2, "is not a WebAssembly component");
    world.refused(&format!("{}/none.wasm", world.web.url), &[], 3, "404");
    let circle = page("/circle", Page::Away("/circle".to_owned()));
    world.refused(&circle, &[], 6, "elsewhere more than");
    let clear = page("/clear", Page::Away("http://ostler.example/kvm.wasm".to_owned()));
    world.refused(&clear, &[], 6, "not spoken to over TLS");
    world.refused(&clear, &["--plain-http"], 6, "not spoken to over TLS");
    // This machine is no exception, though it answers in the clear.
    let down = Page::Away(format!("http://{}/kvm.wasm", world.web.host));
    world.refused(&page("/down", down), &[], 6, "not spoken to over TLS");
    world.refused(&there, &["--username", "ann"], 2, "--username does not fit");
    world.refused("https://127.0.0.1:1/kvm.wasm", &["--digest", "12ab"], 2, "64 hexadecimal");
    world.refused("http://ostler.example/kvm.wasm", &[], 2, "is not https://");
    world.refused("ftp://ostler.example/kvm.wasm", &[], 2, "cannot be fetched by ftp");
    world.refused("https://ann:secret@ostler.example/kvm.wasm", &[], 2, "has a login in it");
    world.refused("https://127.0.0.1:1/kvm.wasm", &[], 6, "cannot be fetched");
    // Another authority than those that are trusted: the certificates of this machine.
    let ran = world.daemon.run(&["driver", "add", &there]);
    assert!(ran.code == 6 && ran.err.contains("certificate"), "{ran:?}");
    let mut command = world.daemon.command();
    command.args(["driver", "add", &there]).env("SSL_CERT_FILE", "/none/ca.pem");
    let ran = Ran::of(&command.output().expect("it starts")).expect(1);
    ran.says("/none/ca.pem").says("No such file").says("SSL_CERT_FILE");
    // A name that the certificate is not for.
    let name = there.replace("localhost", "127.0.0.1");
    world.refused(&name, &[], 6, "certificate");
}

#[test]
fn a_signature_beside_the_url_counts() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    let Some(components) = plugins() else { return };
    std::fs::copy(components.join("snapshots-kvm.wasm"), path("kvm.wasm")).expect("copied");
    std::fs::write(path("password"), "correct horse").expect("written");
    let password = ["--password-file", &path("password")];
    run(&[&["plugin", "keygen", &path("acme")], &password[..]].concat()).expect(0);
    let sign = ["plugin", "sign", &path("kvm.wasm"), "--key", &path("acme.key")];
    run(&[&sign[..], &password].concat()).expect(0);
    let settings =
        format!("[trust]\npolicy = \"signed\"\n[trust.keys]\nacme = \"{}\"\n", path("acme.pub"));
    let Some(world) = World::new(&settings) else { return };
    let url = world.web.page("/kvm.wasm", Page::Bytes(world.component.clone()));
    world.add(&url, &[]).expect(1).says("is not signed").says("/kvm.wasm");
    // A server that answers everything with a page has no signature.
    world.web.page("/kvm.wasm.minisig", Page::Bytes(b"<html></html>".to_vec()));
    world.add(&url, &[]).expect(1).says("is not signed");
    for none in [Page::Endless, Page::Answer("403 Forbidden", String::new(), "")] {
        world.web.page("/kvm.wasm.minisig", none);
        world.add(&url, &[]).expect(1).says("is not signed");
    }
    // The signature may be there, so the operator must know.
    let busy = Page::Answer("429 Too Many Requests", String::new(), "");
    world.web.page("/kvm.wasm.minisig", busy);
    world.add(&url, &[]).expect(1).says("kvm.wasm.minisig: the server answers 429");
    let signature = std::fs::read(path("kvm.wasm.minisig")).expect("signed");
    world.web.page("/kvm.wasm.minisig", Page::Bytes(signature.clone()));
    let added = world.add(&url, &["-o", "json"]).expect(0).json();
    assert_eq!(added["origin"]["signed"][0]["name"], "acme", "{added}");
    // One that does not fit is refused before anything is sent.
    let before = world.received();
    let bent = String::from_utf8(signature).expect("text").replace("driver:", "DRIVER:");
    world.web.page("/kvm.wasm.minisig", Page::Bytes(bent.into_bytes()));
    world.web.page("/kvm.wasm", Page::Bytes([&world.component[..], b"\0\x02\x01a"].concat()));
    world.add(&url, &[]).expect(2).says("does not fit");
    assert_eq!(world.received(), before);
}

#[test]
fn a_file_is_pinned_by_the_daemon() {
    let Some(world) = World::new("") else { return };
    let file = plugins().expect("built").join("snapshots-kvm.wasm");
    let (good, path) = (digest(&file), file.to_str().expect("text"));
    world.refused(path, &["--digest", &"0".repeat(64)], 1, "was asked for: nothing was added");
    world.refused(path, &["--digest", "nonsense"], 2, "64 hexadecimal digits");
    world.refused(path, &["--plain-http"], 2, "--plain-http does not fit");
    let login = ["--username", "ann", "--password-file", path];
    world.refused(path, &login, 2, "--username does not fit");
    world.add(path, &["--digest", &good.to_uppercase()]).expect(0);
}
