//! `ostler plugin push` and `pull`, and `ostler driver add oci://...`, against a real registry.

#[path = "support/registry.rs"]
mod registry;
#[allow(dead_code)]
mod support;
#[allow(dead_code)]
#[path = "support/web.rs"]
mod web;

use registry::{PASSWORD, Registry, USER};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::{Daemon, Ran, command, plugins};
use web::{Page, Web};

fn text(path: &Path) -> &str {
    path.to_str().expect("a path that is text")
}

/// A registry, and a folder with a component and a pair of keys.
struct Bench {
    registry: Registry,
    dir: tempfile::TempDir,
}

impl Bench {
    /// None if the registry or the components are not there.
    fn new(login: bool) -> Option<Self> {
        let component = plugins()?.join("snapshots-kvm.wasm");
        let registry = Registry::start(login)?;
        let bench = Self { registry, dir: tempfile::tempdir().expect("a folder") };
        std::fs::copy(component, bench.path("driver.wasm")).expect("copied");
        std::fs::write(bench.path("password"), format!("{PASSWORD}\n")).expect("written");
        Some(bench)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The command in this folder, without logins that somebody keeps on this machine.
    fn command(&self) -> Command {
        let mut command = command();
        command.current_dir(self.dir.path()).env("HOME", self.dir.path()).stdin(Stdio::null());
        for name in ["REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "DOCKER_CONFIG"] {
            command.env_remove(name);
        }
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        Ran::of(&self.command().args(args).output().expect("it starts"))
    }

    fn push(&self, tag: &str, more: &[&str]) -> Ran {
        let reference = self.registry.reference(tag);
        let args = [&["plugin", "push", "driver.wasm", &reference, "-o", "json"], more].concat();
        self.run(&args)
    }

    fn pull(&self, reference: &str, to: &str) -> Ran {
        self.run(&["plugin", "pull", reference, "--to", to, "-o", "json"])
    }

    fn keys(&self) {
        self.run(&["plugin", "keygen", "acme", "--password-file", "password"]).expect(0);
    }

    fn sign(&self, more: &[&str]) {
        let args = ["plugin", "sign", "driver.wasm", "--key", "acme.key"];
        self.run(&[&args[..], &["--password-file", "password"], more].concat()).expect(0);
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).expect(name)
    }
}

/// The text of a field.
fn field(ran: &Ran, name: &str) -> String {
    ran.json()[name].as_str().unwrap_or_else(|| panic!("no {name} in {ran:?}")).to_owned()
}

#[test]
fn what_is_pushed_is_pulled_by_tag_and_by_digest() {
    let Some(bench) = Bench::new(false) else { return };
    let pushed = bench.push("acme/kvm:1", &[]).expect(0);
    let (digest, good) = (field(&pushed, "digest"), field(&pushed, "reference"));
    let inspected = bench.run(&["plugin", "inspect", "driver.wasm", "-o", "json"]).expect(0);
    assert_eq!(field(&inspected, "digest"), digest);
    let tag = bench.registry.reference("acme/kvm:1");
    for (reference, to) in [(tag.clone(), "a.wasm"), (good.clone(), "b.wasm")] {
        let pulled = bench.pull(&reference, to).expect(0);
        assert_eq!(
            (field(&pulled, "digest"), field(&pulled, "reference")),
            (digest.clone(), good.clone())
        );
        assert!(bench.bytes(to) == bench.bytes("driver.wasm"), "{to} has other bytes");
        assert!(!bench.path(&format!("{to}.minisig")).exists());
    }
    // The same bytes have the same reference whenever they are pushed.
    assert_eq!(field(&bench.push("acme/kvm:2", &[]).expect(0), "reference"), good);

    // Without --to nothing is written over.
    let pull = || bench.run(&["plugin", "pull", &tag]);
    assert!(pull().expect(0).out.contains(&digest));
    assert!(bench.bytes("snapshots-kvm.wasm") == bench.bytes("driver.wasm"));
    pull().expect(4).says("snapshots-kvm.wasm is there already");
    // Logins that cannot be read stop nobody who needs none.
    std::fs::write(bench.path(".docker"), "no folder").expect("written");
    bench.pull(&tag, "a.wasm").expect(0);

    let missing = |rest: &str| bench.pull(&bench.registry.reference(rest), "no.wasm").expect(3);
    missing("acme/kvm:3").says("has no tag 3 in acme/kvm");
    missing("acme/other:1").says("acme/other");
    missing(&format!("acme/kvm@sha256:{}", "0".repeat(64))).says("has no sha256:0000");
    bench.push(&format!("acme/kvm@sha256:{}", "0".repeat(64)), &[]).expect(2).says("to a tag");
    assert!(!bench.path("no.wasm").exists());
}

/// The properties that `wkg` asks of an artifact.
#[test]
fn an_artifact_has_the_layout_of_wkg() {
    let Some(bench) = Bench::new(false) else { return };
    let good = field(&bench.push("acme/kvm:1", &[]).expect(0), "reference");
    let (_, digest) = good.split_once('@').expect("a digest");
    let read = |digest: &str| -> serde_json::Value {
        let text = std::fs::read(bench.registry.blob(digest)).expect("it is kept");
        serde_json::from_slice(&text).expect("JSON")
    };
    let manifest = read(digest);
    assert_eq!(manifest["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.wasm.config.v0+json");
    let layers = manifest["layers"].as_array().expect("layers");
    assert_eq!((layers.len(), &layers[0]["mediaType"]), (1, &"application/wasm".into()));
    assert_eq!(manifest["annotations"]["org.opencontainers.image.title"], "snapshots-kvm");
    let config = read(manifest["config"]["digest"].as_str().expect("a digest"));
    assert_eq!((&config["architecture"], &config["os"]), (&"wasm".into(), &"wasip2".into()));
    assert_eq!(config["layerDigests"][0], layers[0]["digest"]);
    let exports = config["component"]["exports"].to_string();
    assert!(exports.contains("ostler:driver/snapshot-rules@0.1.0"), "{exports}");
}

#[test]
fn a_signature_goes_with_the_component_and_counts() {
    let Some(bench) = Bench::new(false) else { return };
    bench.keys();
    bench.push("acme/kvm:unsigned", &[]).expect(0);
    bench.sign(&[]);
    let pushed = bench.push("acme/kvm:beside", &[]).expect(0).json();
    let key = pushed["signatures"][0].as_str().expect("a key").to_owned();
    let tag = |tag: &str| bench.registry.reference(&format!("acme/kvm:{tag}"));
    let verify = |file: &str| bench.run(&["plugin", "verify", file, "--key", "acme.pub"]);
    let told = bench.run(&["plugin", "pull", &tag("beside"), "--to", "a.wasm"]).expect(0).out;
    assert!(told.contains(&format!("of key {key}, not verified")), "{told}");
    assert!(bench.bytes("a.wasm.minisig") == bench.bytes("driver.wasm.minisig"));
    verify("a.wasm").expect(0);
    // The signature of another build does not stay beside one that has none.
    bench.pull(&tag("unsigned"), "a.wasm").expect(0);
    assert!(!bench.path("a.wasm.minisig").exists());
    verify("a.wasm").expect(1).says("is not signed");

    std::fs::remove_file(bench.path("driver.wasm.minisig")).expect("removed");
    bench.sign(&["--embed"]);
    bench.push("acme/kvm:inside", &[]).expect(0);
    bench.pull(&tag("inside"), "b.wasm").expect(0);
    verify("b.wasm").expect(0);

    // One that does not fit is not pushed.
    std::fs::write(bench.path("driver.wasm.minisig"), bench.bytes("acme.pub")).expect("written");
    bench.push("acme/kvm:broken", &[]).expect(2).says("does not fit");
    bench.pull(&tag("broken"), "c.wasm").expect(3);

    let settings = format!(
        "[trust]\npolicy = \"signed\"\n[trust.keys]\nacme = \"{}\"\n",
        text(&bench.path("acme.pub"))
    );
    let Some(daemon) = Daemon::with_settings(&settings) else { return };
    let add = |name: &str| {
        let reference = format!("oci://{}", tag(name));
        daemon.run(&["driver", "add", &reference, "--replace", "-o", "json"])
    };
    add("unsigned").expect(1).says("is not signed").says("acme/kvm:unsigned");
    assert_eq!(daemon.run(&["driver", "show", "snapshots-kvm"]).code, 3);
    for name in ["beside", "inside"] {
        let added = add(name).expect(0).json();
        assert_eq!(added["origin"]["signed"][0]["name"], "acme", "{added}");
    }
}

#[test]
fn what_was_altered_in_the_registry_is_refused() {
    let Some(bench) = Bench::new(false) else { return };
    let pushed = bench.push("acme/kvm:1", &[]).expect(0);
    let good = field(&pushed, "reference");
    let (_, manifest) = good.split_once('@').expect("a digest");
    let alter = |digest: &str, from: &[u8], to: &[u8]| {
        let file = bench.registry.blob(digest);
        let mut bytes = std::fs::read(&file).expect("it is kept");
        let at = bytes.windows(from.len()).position(|part| part == from).expect("there");
        bytes[at..at + to.len()].copy_from_slice(to);
        std::fs::write(file, bytes).expect("written");
    };
    // An unsigned component: its digest is that of the file.
    alter(&field(&pushed, "digest"), b"The Ostler authors", b"The Ostler AUTHORS");
    let tag = bench.registry.reference("acme/kvm:1");
    for reference in [&tag, &good] {
        bench.pull(reference, "a.wasm").expect(1).says("was damaged or altered");
    }
    // A registry that answers a digest with another artifact.
    std::fs::copy(plugins().expect("built").join("snapshots-xen.wasm"), bench.path("driver.wasm"))
        .expect("copied");
    let other = field(&bench.push("acme/kvm:2", &[]).expect(0), "reference");
    let (_, instead) = other.split_once('@').expect("a digest");
    bench.pull(&other, "b.wasm").expect(0);
    std::fs::write(bench.registry.link("acme/kvm", manifest), instead).expect("written");
    bench.pull(&good, "a.wasm").expect(1).says("was asked for, and the answer is");
    std::fs::write(bench.registry.link("acme/kvm", manifest), manifest).expect("written");

    let Some(daemon) = Daemon::start(None) else { return };
    daemon.run(&["driver", "add", &format!("oci://{tag}")]).expect(1).says("damaged or altered");
    assert!(!daemon.folder.path().join("data/uploads").exists(), "nothing was sent");
    // The manifest: this registry notices it by itself, or we do.
    alter(manifest, b"snapshots-kvm", b"snapshots-KVM");
    bench.pull(&good, "a.wasm").expect(1).says("was asked for, and the answer is");
    assert!(!bench.path("a.wasm").exists());
}

#[test]
fn a_registry_with_a_login() {
    let Some(bench) = Bench::new(true) else { return };
    let login =
        |file: &str| bench.push("acme/kvm:1", &["--username", USER, "--password-file", file]);
    bench.push("acme/kvm:1", &[]).expect(5).says("wants a login").says("--username");
    std::fs::write(bench.path("wrong"), "battery staple").expect("written");
    login("wrong").expect(5).says("refuses the login of ann");
    login("none").expect(2).says("none: No such file");
    bench.push("acme/kvm:1", &["--username", USER]).expect(2).says("password is empty");
    bench.push("acme/kvm:1", &["--username", USER, "--password", PASSWORD]).expect(2);
    login("password").expect(0);

    let tag = bench.registry.reference("acme/kvm:1");
    let pull = ["plugin", "pull", &tag, "--to", "a.wasm"];
    bench.run(&pull).expect(5).says("wants a login");
    // The password on standard input.
    let mut typed = bench.command();
    typed.args(pull).args(["--username", USER]);
    typed.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = typed.spawn().expect("it starts");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(format!("{PASSWORD}\n").as_bytes()).expect("written");
    drop(input);
    Ran::of(&child.wait_with_output().expect("it ends")).expect(0);
    std::fs::write(bench.path(".docker"), "no folder").expect("written");
    bench.run(&pull).expect(5).says(".docker/config.json cannot be read");
    std::fs::remove_file(bench.path(".docker")).expect("removed");
    // A login that docker has kept.
    std::fs::create_dir(bench.path(".docker")).expect("made");
    let kept = |json: String| std::fs::write(bench.path(".docker/config.json"), json);
    kept("{\"credsStore\": \"desktop\"}".to_owned()).expect("written");
    bench.run(&pull).expect(5).says("another program");
    // printf 'ann:correct horse' | base64
    let auth = "YW5uOmNvcnJlY3QgaG9yc2U=";
    kept(format!("{{\"auths\": {{\"{}\": {{\"auth\": \"{auth}\"}}}}}}", bench.registry.host))
        .expect("written");
    bench.run(&pull).expect(0);
    let ran = bench.run(&["plugin", "pull", &bench.registry.reference("acme/kvm:9")]).expect(3);
    assert!(!format!("{ran:?}").contains(PASSWORD), "{ran:?}");
}

#[test]
fn a_registry_that_is_away() {
    let Some(bench) = Bench::new(false) else { return };
    bench.pull("127.0.0.1:1/acme/kvm:1", "a.wasm").expect(6).says("127.0.0.1:1 cannot be reached");
    bench.run(&["plugin", "pull", "acme/kvm:1"]).expect(2).says("does not say which registry");
    bench.run(&["plugin", "push", "driver.wasm", "localhost:5000/a"]).expect(2).says("has no tag");
    // Somebody listens and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let host = silent.local_addr().expect("bound");
    let args = ["plugin", "pull", &format!("{host}/acme/kvm:1"), "--timeout", "1s"];
    bench.run(&args).expect(6).says("took longer than 1s");
}

#[test]
fn a_login_goes_only_where_nobody_listens() {
    let Some(bench) = Bench::new(false) else { return };
    let web = Web::start(bench.dir.path());
    let demand = |realm: &str| {
        let header = format!("www-authenticate: Bearer realm=\"{realm}\",service=\"test\"\r\n");
        web.page("/v2/", Page::Answer("401 Unauthorized", header, ""));
    };
    let token = |status, text| web.page("/token", Page::Answer(status, String::new(), text));
    let reference = format!("{}/acme/kvm:1", web.host);
    let login = ["--username", USER, "--password-file", "password"];
    let push = || bench.run(&[&["plugin", "push", "driver.wasm", &reference], &login[..]].concat());
    let pull = || bench.run(&[&["plugin", "pull", &reference], &login[..]].concat());
    demand("http://ostler.example/token");
    for ran in [push(), pull()] {
        ran.expect(1)
            .says("leaves logins to http://ostler.example/token")
            .says("no login was sent");
    }
    demand(&format!("http://{}/token", web.host));
    token("503 Service Unavailable", "come back at noon");
    pull().expect(1).says("answers 503").says("come back at noon");
    token("401 Unauthorized", "");
    pull().expect(5).says("refuses the login of ann");
    for bad in ["{\"token\": \"a\\nb\"}", "{\"token\": \"\"}", "<html>"] {
        token("200 OK", bad);
        push().expect(1).says("without a token");
    }
    token("200 OK", "{\"access_token\": \"good\"}");
    pull().expect(3).says("has no tag 1");
    // The library panics at this one.
    let begun = Page::Answer("202 Accepted", "location: nonsense\r\n".to_owned(), "");
    let turns = vec![Page::Answer("200 OK", String::new(), ""), begun];
    web.page("/v2/acme/kvm/blobs/uploads/", Page::Turns(turns));
    push().expect(1).says("an answer that is none of a registry");
}

#[test]
fn a_component_comes_only_from_its_registry() {
    let Some(bench) = Bench::new(false) else { return };
    let web = Web::start(bench.dir.path());
    let good = field(&bench.push("acme/kvm:1", &[]).expect(0), "reference");
    let (_, digest) = good.split_once('@').expect("a digest");
    let text = std::fs::read(bench.registry.blob(digest)).expect("it is kept");
    let mut manifest: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    manifest["layers"][0]["urls"] = vec![format!("http://{}/elsewhere", web.host)].into();
    web.page("/v2/acme/kvm/manifests/1", Page::Bytes(manifest.to_string().into_bytes()));
    web.page("/elsewhere", Page::Bytes(bench.bytes("driver.wasm")));
    let blob = manifest["layers"][0]["digest"].as_str().expect("a digest");
    let pull = |page: Page| {
        web.page(&format!("/v2/acme/kvm/blobs/{blob}"), page);
        bench.pull(&format!("{}/acme/kvm:1", web.host), "a.wasm")
    };
    let none = Page::Answer("404 Not Found", String::new(), "gone away");
    pull(none).expect(1).says("answers 404").says("gone away");
    pull(Page::Away("http://ostler.example/kvm.wasm".to_owned())).expect(6).says("over TLS");
    pull(Page::Endless).expect(1).says("is larger than");
    pull(Page::Bytes(b"other bytes".to_vec())).expect(1).says("was damaged or altered");
    assert!(!bench.path("a.wasm").exists());
    pull(Page::Away("/elsewhere".to_owned())).expect(0);
    assert!(bench.bytes("a.wasm") == bench.bytes("driver.wasm"));
}
