//! `ostler plugin keygen`, `sign` and `verify`, on a component that ships, and together with
//! minisign itself.

#[allow(dead_code)]
mod support;

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::{Ran, command, plugins, run};

const PASSWORD: &str = "correct horse";

fn text(path: &Path) -> &str {
    path.to_str().expect("a path that is text")
}

/// Runs a command with this standard input.
fn with_input(mut command: Command, input: &str) -> Ran {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    // A command that needs no password may have ended already.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    Ran::of(&child.wait_with_output().expect("it ends"))
}

/// Runs `ostler` with the password on standard input.
fn ostler(args: &[&str], password: &str) -> Ran {
    let mut ostler = command();
    ostler.args(args);
    with_input(ostler, &format!("{password}\n"))
}

struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    /// A folder with the keys `acme` and a component. None if no components are built.
    fn new() -> Option<Self> {
        let file = plugins()?.join("snapshots-kvm.wasm");
        let bench = Self { dir: tempfile::tempdir().expect("a folder") };
        std::fs::copy(file, bench.path("driver.wasm")).expect("copied");
        bench.keygen("acme").expect(0);
        Some(bench)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn keygen(&self, name: &str) -> Ran {
        ostler(&["plugin", "keygen", text(&self.path(name))], PASSWORD)
    }

    fn sign(&self, key: &str, more: &[&str]) -> Ran {
        let (file, key) = (self.path("driver.wasm"), self.path(key));
        let args = [&["plugin", "sign", text(&file), "--key", text(&key)], more].concat();
        ostler(&args, PASSWORD)
    }

    fn verify(&self, key: &str) -> Ran {
        let (file, key) = (self.path("driver.wasm"), self.path(key));
        run(&["plugin", "verify", text(&file), "--key", text(&key)])
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("there").permissions().mode() & 0o777
}

#[test]
fn a_key_is_made_once_and_only_its_owner_can_read_it() {
    let Some(bench) = Bench::new() else { return };
    let secret = std::fs::read_to_string(bench.path("acme.key")).expect("read");
    assert_eq!((mode(&bench.path("acme.key")), mode(&bench.path("acme.pub"))), (0o600, 0o644));
    assert!(secret.contains("RWRTY0Iy"), "it is encrypted: Ed, Sc, B2: {secret}");
    bench.keygen("acme").expect(4).says("is there already");
    assert_eq!(std::fs::read_to_string(bench.path("acme.key")).expect("read"), secret);
    std::fs::remove_file(bench.path("acme.pub")).expect("removed");
    bench.keygen("acme").expect(4).says("acme.key");
    assert!(!bench.path("acme.pub").exists());

    let other = bench.path("other");
    ostler(&["plugin", "keygen", text(&other)], "").expect(2).says("the password is empty");
    run(&["plugin", "keygen", text(&other), "--password-file", "/nonexistent"]).expect(2);
    run(&["plugin", "keygen", text(&other), "--password", "x"]).expect(2).says("unexpected");
    assert!(!bench.path("other.key").exists() && !bench.path("other.pub").exists());
}

#[test]
fn a_signed_component_gets_no_manifest() {
    let Some(bench) = Bench::new() else { return };
    bench.sign("acme.key", &["--embed"]).expect(0);
    let (file, manifest, made) =
        (bench.path("driver.wasm"), bench.path("manifest.toml"), bench.path("made.wasm"));
    std::fs::write(&manifest, "name = \"mine\"").expect("written");
    let args = ["plugin", "embed", text(&file), "--manifest", text(&manifest), "--to", text(&made)];
    run(&args).expect(2).says("is signed already");
    assert!(!made.exists());
}

#[test]
fn what_was_signed_is_verified_and_what_was_altered_is_refused() {
    let Some(bench) = Bench::new() else { return };
    let file = bench.path("driver.wasm");
    let plain = std::fs::read(&file).expect("read");
    bench.keygen("other").expect(0);
    bench.verify("acme.pub").expect(1).says("is not signed");
    let inspected = || run(&["plugin", "inspect", text(&file), "-o", "json"]).expect(0).json();
    let digest = inspected()["digest"].as_str().expect("a digest").to_owned();

    ostler(&["plugin", "sign", text(&file), "--key", text(&bench.path("acme.key"))], "wrong")
        .expect(2)
        .says("Wrong password");
    assert!(!bench.path("driver.wasm.minisig").exists());
    bench.sign("acme.key", &[]).expect(0);
    let signature = std::fs::read_to_string(bench.path("driver.wasm.minisig")).expect("read");
    for part in ["\tdriver:snapshots-kvm\t", "\tversion:0.1.0\t", &format!("\tsha256:{digest}\n")] {
        assert!(signature.contains(part), "no {part:?} in {signature}");
    }
    assert!(bench.verify("acme.pub").expect(0).out.contains(&digest));
    bench.verify("other.pub").expect(1).says("not trusted");
    bench.verify("acme.key").expect(2).says("it is a secret key");
    bench.sign("acme.key", &["--embed"]).expect(2).says("would not fit any more");

    std::fs::remove_file(bench.path("driver.wasm.minisig")).expect("removed");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).expect("mode");
    bench.sign("acme.key", &["--embed"]).expect(0);
    assert_eq!(mode(&file), 0o640);
    bench.verify("acme.pub").expect(0);
    let signed = std::fs::read(&file).expect("read");
    assert!(signed.starts_with(&plain), "the component is as it was");
    let told = inspected();
    assert_eq!(told["digest"], digest.as_str());
    assert!(told["signatures"][0].as_str().expect("one").contains("plugin verify"), "{told}");
    // The keys are changed: the new signature takes the place of the old one.
    bench.sign("other.key", &["--embed"]).expect(0);
    bench.verify("other.pub").expect(0);
    bench.verify("acme.pub").expect(1);
    assert_eq!(std::fs::read(&file).expect("read").len(), signed.len());

    let mut bent = std::fs::read(&file).expect("read");
    bent[plain.len() / 2] ^= 1;
    std::fs::write(&file, bent).expect("written");
    let ran = bench.verify("other.pub");
    assert!(ran.code == 1 || ran.code == 2, "{ran:?}");
}

/// minisign itself, if it is there.
fn minisign(args: &[&str], input: &str) -> Option<Ran> {
    let mut minisign = Command::new("minisign");
    minisign.args(args);
    if Command::new("minisign").arg("-v").output().is_err() {
        support::missing("minisign (scripts/setup installs it)");
        return None;
    }
    Some(with_input(minisign, input))
}

#[test]
fn minisign_verifies_what_we_sign() {
    let Some(bench) = Bench::new() else { return };
    bench.sign("acme.key", &[]).expect(0);
    let (file, key) = (bench.path("driver.wasm"), bench.path("acme.pub"));
    let verify = || minisign(&["-Vm", text(&file), "-p", text(&key)], "");
    let Some(ran) = verify() else { return };
    assert!(ran.expect(0).out.contains("driver:snapshots-kvm"));
    // A detached signature covers the whole file, also if one is inside of it already.
    std::fs::remove_file(bench.path("driver.wasm.minisig")).expect("removed");
    bench.sign("acme.key", &["--embed"]).expect(0);
    bench.sign("acme.key", &[]).expect(0);
    verify().expect("there").expect(0);
    bench.verify("acme.pub").expect(0);
    // Our secret keys are minisign's, too.
    let password = format!("{PASSWORD}\n");
    let (secret, file) = (bench.path("acme.key"), bench.path("driver.wasm"));
    minisign(&["-Sm", text(&file), "-s", text(&secret)], &password).expect("there").expect(0);
    bench.verify("acme.pub").expect(0);
}

#[test]
fn we_verify_what_minisign_signs() {
    let Some(bench) = Bench::new() else { return };
    let (file, secret, public) =
        (bench.path("driver.wasm"), bench.path("theirs.key"), bench.path("theirs.pub"));
    let keys = ["-p", text(&public), "-s", text(&secret)];
    // Without a password: with one, minisign takes a gigabyte of memory and some seconds each time.
    let Some(made) = minisign(&[&["-GW"][..], &keys].concat(), "") else { return };
    made.expect(0);
    let sign = ["-SWm", text(&file), "-s", text(&secret)];
    minisign(&sign, "").expect("there").expect(0);
    bench.verify("theirs.pub").expect(0);
    // The way without a hash, of before 2021.
    minisign(&[&sign[..], &["-l"]].concat(), "").expect("there").expect(0);
    bench.verify("theirs.pub").expect(1).says("old way");
    // And their keys sign with us.
    std::fs::remove_file(bench.path("driver.wasm.minisig")).expect("removed");
    bench.sign("theirs.key", &["--embed"]).expect(0);
    bench.verify("theirs.pub").expect(0);
}
