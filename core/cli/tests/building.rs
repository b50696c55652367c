//! `ostler plugin build`, with the real cargo.

#[allow(dead_code)]
mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Ran, command, run};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("there")
}

/// Runs `ostler plugin build`. The built files are kept for the next run of the tests.
fn build(dir: &Path, more: &[(&str, &str)]) -> Ran {
    let mut command: Command = command();
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugin-build");
    command.args(["plugin", "build"]).arg(dir).args(["-o", "json"]);
    command.env("CARGO_TARGET_DIR", out).env("CARGO_NET_OFFLINE", "true").env_remove("RUSTFLAGS");
    command.envs(more.iter().copied());
    Ran::of(&command.output().expect("it starts"))
}

#[test]
fn a_new_driver_is_built_and_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let (dir, sdk) = (folder.path().to_str().expect("text"), workspace().join("sdk/rust"));
    let sdk = sdk.to_str().expect("text");
    let new = ["plugin", "new", "built-one", "--kind", "rules", "--dir", dir, "--sdk", sdk];
    let made = PathBuf::from(run(&new).expect(0).out.trim());
    // Tests do not use the network, so the lock file is that of the workspace.
    std::fs::copy(workspace().join("Cargo.lock"), made.join("Cargo.lock")).expect("copied");
    let built = build(&made, &[]).expect(0).json();
    let file = built["file"].as_str().expect("a path");
    assert!(file.ends_with("wasm32-wasip2/release/built_one.wasm"), "{file}");
    assert_eq!(
        (&built["driver"]["name"], &built["driver"]["kinds"][0]),
        (&"built-one".into(), &"snapshot-rules".into())
    );
    let inspected = run(&["plugin", "inspect", file, "-o", "json"]).expect(0).json();
    assert_eq!(inspected["digest"], built["driver"]["digest"]);

    // Cargo says what is wrong, and its exit code is ours.
    std::fs::write(made.join("src/lib.rs"), "fn main() { nonsense }").expect("written");
    build(&made, &[])
        .expect(101)
        .says("cannot find value `nonsense`")
        .says("cargo could not build");
}

#[test]
fn what_cannot_be_built_says_what_helps() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path();
    build(&dir.join("none"), &[]).expect(2).says("is not a folder");
    build(dir, &[]).expect(2).says("Cargo.toml").says("ostler plugin new");
    // A script is told of, and not run.
    let ran = dir.join("ran");
    let script = format!("#!/bin/sh\ntouch {}\n", ran.display());
    std::fs::write(dir.join("build.sh"), script).expect("written");
    build(dir, &[]).expect(2).says("./build.sh");
    assert!(!ran.exists());

    let cargo = "[package]\nname = \"x\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n";
    std::fs::write(dir.join("Cargo.toml"), cargo).expect("written");
    std::fs::create_dir(dir.join("src")).expect("made");
    std::fs::write(dir.join("src/lib.rs"), "//! Nothing.\n").expect("written");
    // A program is no driver either.
    std::fs::write(dir.join("src/main.rs"), "fn main() {}\n").expect("written");
    build(dir, &[]).expect(2).says("builds no component").says("cdylib");
    let cargo = format!("{cargo}[lib]\ncrate-type = [\"cdylib\"]\n");
    std::fs::write(dir.join("Cargo.toml"), cargo).expect("written");
    build(dir, &[]).expect(2).says("manifest");
    // Nothing of Rust is installed there.
    let empty = dir.join("src");
    build(dir, &[("PATH", empty.to_str().expect("text"))]).expect(1).says("rustup.rs");
    // A compiler without the target.
    let tools = dir.join("tools");
    std::fs::create_dir(&tools).expect("made");
    let rustc = tools.join("rustc");
    std::fs::write(&rustc, "#!/bin/sh\necho 'no toolchain 1.2' >&2\nexit 1\n").expect("written");
    std::fs::set_permissions(&rustc, std::fs::Permissions::from_mode(0o755)).expect("set");
    let path = tools.to_str().expect("text");
    let ran = build(dir, &[("PATH", path)]).expect(1).says("rustup target add wasm32-wasip2");
    ran.says("no toolchain 1.2");
}
