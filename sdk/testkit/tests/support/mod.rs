//! Shared by the tests: builds drivers as components, and tries them.

#![allow(dead_code, reason = "each test binary uses a part")]

use ostler_testkit::{TestOptions, TestReport, test_plugin};
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("the workspace is two folders above")
        .to_owned()
}

pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// Says that a test was skipped. On CI it panics instead, because nothing may be skipped there.
pub(crate) fn skip(why: &str) {
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "cannot be skipped under CI: {why}"
    );
    eprintln!("SKIPPED: {why}");
}

pub(crate) async fn tried(file: &Path, options: &TestOptions) -> TestReport {
    let report = test_plugin(file, options).await.expect("it loads");
    println!("{report}");
    report
}

/// The dependency of a new driver on the SDK in a folder.
pub(crate) fn sdk_at(folder: &Path) -> String {
    format!("path = {:?}", folder.display().to_string())
}

/// Builds a driver. It uses the lock file of the workspace, because tests do not use the network,
/// and one target folder, so that the crates that all drivers use are built once.
pub(crate) fn build(folder: &Path) -> PathBuf {
    cargo(folder, &["build", "--target", "wasm32-wasip2"]);
    let name = folder.file_name().expect("a name").to_string_lossy().replace('-', "_");
    built_in().join("wasm32-wasip2/debug").join(format!("{name}.wasm"))
}

/// Runs cargo in the folder of a driver, offline.
pub(crate) fn cargo(folder: &Path, arguments: &[&str]) {
    std::fs::copy(workspace().join("Cargo.lock"), folder.join("Cargo.lock"))
        .expect("the lock file");
    let ended = Command::new(env!("CARGO"))
        .args(arguments)
        .args(["--quiet", "--offline"])
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", built_in())
        .status()
        .expect("cargo runs");
    assert!(ended.success(), "cargo {arguments:?} failed in {}", folder.display());
}

fn built_in() -> PathBuf {
    target().join("tmp/new-plugins")
}
