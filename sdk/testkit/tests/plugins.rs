//! The drivers that ship pass the suite as built components. So do the drivers that
//! `ostler plugin new` makes.

mod support;

use ostler_model::VmUuid;
use ostler_testkit::{PluginKind, TestOptions, new_plugin_with};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use support::{build, sdk_at, skip, target, tried, workspace};

fn component(name: &str) -> Option<PathBuf> {
    let file = target().join("plugins").join(format!("{name}.wasm"));
    if file.is_file() {
        return Some(file);
    }
    skip(&format!("{} is not built: run scripts/build-plugins", file.display()));
    None
}

/// The number of edge effects, as sim counts them in its file.
fn sim_edges(system: &Path, vm: VmUuid) -> Option<u32> {
    let text = std::fs::read(system.join(format!("sim/{vm}.json"))).ok()?;
    let domain: serde_json::Value = serde_json::from_slice(&text).ok()?;
    let count = |key: &str| domain.get(key).and_then(serde_json::Value::as_u64);
    u32::try_from(count("presses")? + count("reboots")? + count("resets")? + count("reverts")?).ok()
}

/// Makes a domain without a stamp, as somebody outside of Ostler would.
fn sim_wild(system: &Path, vm: VmUuid) -> std::io::Result<()> {
    let folder = system.join("sim");
    std::fs::create_dir_all(&folder)?;
    let domain = serde_json::json!({
        "uuid": vm, "name": "wild", "power": "running", "vcpus": 2, "memory-mib": 64,
        "disks": [{"name": "vda", "file": "/srv/wild.raw", "format": "raw"}],
        "nics": [{"mac": "52:54:00:00:00:02", "bridge": "br0"}],
    });
    std::fs::write(folder.join(format!("{vm}.json")), domain.to_string())
}

fn sim_options(knobs: &str) -> TestOptions {
    TestOptions {
        config: [("knobs".to_owned(), knobs.to_owned())].into(),
        edges: Some(Arc::new(sim_edges)),
        wild: Some(Arc::new(sim_wild)),
        bridge: Some("br0".to_owned()),
        ..TestOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sim_is_conformant() {
    let Some(file) = component("sim") else { return };
    // A guest that obeys would be off after the first press. The check could not press it a second
    // time.
    for knobs in [r#"{"ignore-acpi":true}"#, r#"{"ignore-acpi":true,"migrate-ms":100}"#] {
        let report = tried(&file, &sim_options(knobs)).await;
        assert!(report.passed(), "{report}");
        assert_eq!(report.skipped(), ["changes-wake"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sim_that_is_slow_or_fails_first_is_conformant_too() {
    let Some(file) = component("sim") else { return };
    let knobs =
        r#"{"rules":[{"call":"*","delay-ms":10},{"call":"*","error":"retry","percent":20}]}"#;
    let report = tried(&file, &sim_options(knobs)).await;
    // Some checks ask each question only once. Then a fault of the knobs fails the check, and this
    // is right.
    let asked_once =
        ["probe-answers", "list-has-ours", "metrics-tell-of-running", "restore-needs-memory"];
    let broken: Vec<_> =
        report.broken().into_iter().filter(|check| !asked_once.contains(check)).collect();
    assert!(broken.is_empty(), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sim_that_lies_is_found_out() {
    let Some(file) = component("sim") else { return };
    let report =
        tried(&file, &sim_options(r#"{"rules":[{"call":"remove","error":"gone"}]}"#)).await;
    for check in ["remove-twice", "remove-lost-answer", "remove-fences", "answer-is-a-look"] {
        assert!(report.broken().contains(&check), "{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_is_granted_nothing_fails_and_harms_nothing() {
    let Some(file) = component("sim") else { return };
    let options = TestOptions { only: Some(["config".to_owned()].into()), ..sim_options("{}") };
    let report = tried(&file, &options).await;
    assert!(report.broken().contains(&"deploy-runs"), "{report}");
    assert!(!report.broken().contains(&"blind-never-absent"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn transfer_qcow2_is_conformant() {
    let Some(file) = component("transfer-qcow2") else { return };
    if !Path::new("/usr/bin/qemu-img").is_file() {
        return skip("there is no qemu-img: run scripts/setup");
    }
    let report = tried(&file, &TestOptions::default()).await;
    assert!(report.passed() && report.skipped().is_empty(), "{report}");
}

/// Nothing runs in these domains, so what needs a guest is left to the test `qemu`. There the suite
/// runs on real guests, which boot for too long to be stopped at each call.
#[tokio::test(flavor = "multi_thread")]
async fn qemu_ends_well_wherever_it_is_stopped() {
    let Some(file) = component("qemu") else { return };
    if !["/usr/bin/qemu-system-x86_64", "/usr/bin/qemu-img", "/usr/bin/pkill"]
        .iter()
        .all(|tool| Path::new(tool).is_file())
    {
        return skip("QEMU or pkill is not installed: run scripts/setup");
    }
    let effects = ["deploy", "press", "destroy", "remove", "save", "restore", "snapshot", "revert"];
    let options = TestOptions {
        config: [("accel".to_owned(), "tcg".to_owned())].into(),
        checks: effects.map(|effect| format!("{effect}-cut")).into(),
        patience: Duration::from_secs(60),
        cuts_within: Duration::from_secs(90),
        ..TestOptions::default()
    };
    let report = tried(&file, &options).await;
    assert!(report.passed() && report.skipped().is_empty(), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshot_rules_are_conformant() {
    for name in ["snapshots-kvm", "snapshots-xen", "snapshots-vmware"] {
        let Some(file) = component(name) else { continue };
        let report = tried(&file, &TestOptions::default()).await;
        assert!(report.passed() && report.skipped().is_empty(), "{name}: {report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn new_drivers_build_and_pass() {
    let folder = tempfile::tempdir().expect("a folder");
    let sdk = sdk_at(&workspace().join("sdk/rust"));
    for (kind, name) in [
        (PluginKind::Hypervisor, "new-hypervisor"),
        (PluginKind::Transfer, "new-transfer"),
        (PluginKind::SnapshotRules, "new-rules"),
    ] {
        let made = new_plugin_with(folder.path(), name, kind, &sdk).expect("laid down");
        let file = build(&made);
        if kind == PluginKind::Transfer && !Path::new("/usr/bin/qemu-img").is_file() {
            skip("there is no qemu-img: run scripts/setup");
            continue;
        }
        let report = tried(&file, &TestOptions::default()).await;
        assert!(report.passed(), "{report}");
    }
}
