//! The SDK as authors get it from the package registry: the package carries the contract, and a new
//! driver builds with it and passes the suite. Without network.

mod support;

use ostler_testkit::{PluginKind, TestOptions, new_plugin_with};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{build, sdk_at, target, tried, workspace};

/// Packages the SDK, and unpacks it into a folder that stays the same, so that only what has changed
/// is built anew. Answers the folder of the crate.
fn unpacked() -> PathBuf {
    let folder = target().join("tmp/packaged");
    let packaged = Command::new(env!("CARGO"))
        .args(["package", "--quiet", "--package", "ostler-sdk"])
        // The test below builds it. A registry is not asked, and a work in progress may be packaged.
        .args(["--no-verify", "--offline", "--allow-dirty", "--target-dir"])
        .arg(&folder)
        .current_dir(workspace())
        .status()
        .expect("cargo runs");
    assert!(packaged.success(), "the SDK cannot be packaged");
    let name = format!("ostler-sdk-{}", env!("CARGO_PKG_VERSION"));
    let crates = folder.join("package");
    let _ = std::fs::remove_dir_all(folder.join(&name));
    let ended = Command::new("tar")
        // The files of a package all have one old time, by which cargo would not see a change.
        .args(["--touch", "-xzf"])
        .arg(crates.join(format!("{name}.crate")))
        .arg("-C")
        .arg(&folder)
        .status()
        .expect("tar runs");
    assert!(ended.success(), "the package cannot be unpacked");
    folder.join(name)
}

/// The files of a folder.
fn files(folder: &Path) -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("read"));
    let content = |path: PathBuf| std::fs::read_to_string(path).expect("text");
    entries
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), content(entry.path())))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_driver_builds_with_the_packaged_sdk_and_passes() {
    let sdk = unpacked();
    let contract = files(&workspace().join("sdk/wit/0.1"));
    assert!(contract.contains_key("hypervisor.wit"));
    assert_eq!(files(&sdk.join("wit")), contract, "the package carries another contract");
    let manifest = std::fs::read_to_string(sdk.join("Cargo.toml")).expect("the manifest");
    assert!(!manifest.contains("path = \".."), "the package needs another folder: {manifest}");
    for key in ["description", "documentation", "license", "readme", "repository", "rust-version"] {
        assert!(manifest.contains(&format!("\n{key} = ")), "the package has no {key}: {manifest}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let made = new_plugin_with(
        folder.path(),
        "packaged-hypervisor",
        PluginKind::Hypervisor,
        &sdk_at(&sdk),
    );
    let report = tried(&build(&made.expect("laid down")), &TestOptions::default()).await;
    assert!(report.passed(), "{report}");
}
