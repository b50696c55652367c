//! Runs of the conformance suite on a cassette: recorded with the shipped drivers and the real
//! tools, and played back with neither.

mod support;

use ostler_testkit::{Tape, TestOptions, TestReport};
use std::path::{Path, PathBuf};
use std::time::Duration;
use support::{skip, target, tried};

/// A component of the plugins that ship. None if it is not built.
fn component(name: &str) -> Option<PathBuf> {
    let file = target().join(format!("plugins/{name}.wasm"));
    if file.is_file() {
        return Some(file);
    }
    skip(&format!("{name}.wasm is not built: run scripts/build-plugins"));
    None
}

fn ended(report: &TestReport) -> Vec<String> {
    let all = report.reports.iter().flat_map(|(_, report)| &report.findings);
    all.map(|finding| format!("{} {:?}", finding.check, finding.ended)).collect()
}

async fn played(file: &Path, cassette: &Path) -> TestReport {
    let tape = Tape::Replay(cassette.to_owned());
    tried(file, &TestOptions { tape, ..TestOptions::default() }).await
}

/// Records a run, plays it back, and compares the two.
async fn there_and_back(file: &Path, cassette: &Path, options: TestOptions) -> TestReport {
    let tape = Tape::Record(cassette.to_owned());
    let recorded = tried(file, &TestOptions { tape, ..options }).await;
    let again = played(file, cassette).await;
    assert_eq!(again.differs, None);
    assert_eq!(ended(&again), ended(&recorded));
    recorded
}

fn sim_options() -> TestOptions {
    let knobs = r#"{"ignore-acpi":true,"migrate-ms":100}"#;
    TestOptions {
        config: [("knobs".to_owned(), knobs.to_owned())].into(),
        bridge: Some("br0".to_owned()),
        ..TestOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_sim_is_played_back_and_another_build_of_it_is_found_out() {
    let Some(file) = component("sim") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let cassette = folder.path().join("sim.jsonl");
    let report = there_and_back(&file, &cassette, sim_options()).await;
    assert!(report.passed(), "{report}");
    let text = std::fs::read_to_string(&cassette).expect("a cassette");
    let head: serde_json::Value =
        serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
    let root = head["setup"]["root"].as_str().expect("a folder");
    assert!(!Path::new(root).exists(), "the bench that was recorded is gone");

    // A build that keeps its domains in files with another field.
    let mut other = std::fs::read(&file).expect("a component");
    let (from, to) = (b"presses", b"pressed");
    let places: Vec<usize> =
        (0..other.len() - from.len()).filter(|at| other[*at..].starts_with(from)).collect();
    assert!(!places.is_empty(), "sim counts presses");
    for at in places {
        other[at..at + to.len()].copy_from_slice(to);
    }
    let changed = folder.path().join("other.wasm");
    std::fs::write(&changed, other).expect("written");
    let report = played(&changed, &cassette).await;
    let differs = report.differs.clone().expect("it does something else");
    assert!(!report.passed());
    assert!(
        differs.contains("call deploy of ")
            && differs.contains("to the host is files.write ")
            && differs.contains("recorded was the same with data "),
        "{differs}"
    );
    // Nothing ran after the check that the difference was in.
    let (last, found) = (ended(&report).pop().expect("a check"), differs.split([' ', ',']).nth(1));
    assert_eq!(last.split(' ').next(), found, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_transfer_qcow2_is_played_back_without_its_tools() {
    let Some(file) = component("transfer-qcow2") else { return };
    if !Path::new("/usr/bin/qemu-img").is_file() {
        return skip("there is no qemu-img: run scripts/setup");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let cassette = folder.path().join("transfer.jsonl");
    let report = there_and_back(&file, &cassette, TestOptions::default()).await;
    assert!(report.passed(), "{report}");
}

/// Nothing runs in these domains: this is about QEMU's processes, its monitor's socket and its
/// files.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_qemu_is_played_back_without_qemu() {
    let Some(file) = component("qemu") else { return };
    let tools = ["/usr/bin/qemu-system-x86_64", "/usr/bin/qemu-img", "/usr/bin/pkill"];
    if !tools.iter().all(|tool| Path::new(tool).is_file()) {
        return skip("QEMU or pkill is not installed: run scripts/setup");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let cassette = folder.path().join("qemu.jsonl");
    let checks = [
        "deploy-runs",
        "deploy-lost-answer",
        "list-has-ours",
        "destroy-twice",
        "remove-lost-answer",
        "cancelled-ends",
        "save-twice",
        "restore-paused",
        "attach-disk-twice",
        "snapshot-twice",
        "revert-brings-back",
    ];
    let options = TestOptions {
        config: [("accel".to_owned(), "tcg".to_owned())].into(),
        checks: checks.map(str::to_owned).into(),
        patience: Duration::from_secs(60),
        ..TestOptions::default()
    };
    let report = there_and_back(&file, &cassette, options).await;
    assert!(report.passed() && report.skipped().is_empty(), "{report}");
}
