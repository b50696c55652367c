//! Negative controls of the checks that stop a driver at its calls to the host: a real component
//! with one fault at a time. Every other check passes each of these faults, because each call of
//! them ends well as long as nothing stops it.

use ostler_model::VmUuid;
use ostler_testkit::{Ended, TestOptions, TestReport, test_plugin};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// The component, built from `tests/faulty`.
fn faulty() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faulty");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("faulty");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "--release", "--target", "wasm32-wasip2"])
        .arg("--manifest-path")
        .arg(folder.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .env_remove("RUSTFLAGS")
        .status()
        .expect("cargo runs");
    assert!(built.success(), "the driver with faults does not build");
    target.join("wasm32-wasip2/release/ostler_faulty_driver.wasm")
}

/// How many edge effects the guest has felt.
fn felt(system: &Path, vm: VmUuid) -> Option<u32> {
    let felt = std::fs::metadata(system.join(format!("faulty/{vm}.felt"))).ok()?.len();
    u32::try_from(felt).ok()
}

async fn tried(file: &Path, fault: &str, cuts_within: Duration) -> TestReport {
    let options = TestOptions {
        config: [("fault".to_owned(), fault.to_owned())].into(),
        edges: Some(Arc::new(felt)),
        // A lock that is never freed is waited for as long as this.
        patience: Duration::from_secs(2),
        cuts_within,
        ..TestOptions::default()
    };
    test_plugin(file, &options).await.expect("it loads")
}

/// The failed checks with their details. A check that drops a call after two milliseconds may, on
/// some runs, drop it where a cut would be.
fn failed(report: &TestReport) -> Vec<(&'static str, String)> {
    let findings = report.reports.iter().flat_map(|(_, report)| &report.findings);
    let failed = findings.filter(|finding| matches!(finding.ended, Ended::Failed(_)));
    failed
        .filter_map(|finding| Some((finding.check, finding.ended.detail()?)))
        .filter(|(check, _)| !check.ends_with("-lost-answer"))
        .map(|(check, detail)| (check, detail.to_owned()))
        .collect()
}

/// A fault, the checks that find it, and what each of them says.
type Fault = (&'static str, &'static [&'static str], &'static str);

const FAULTS: &[Fault] = &[
    ("none", &[], ""),
    ("stamp-after-the-start", &["deploy-cut"], "does not carry the identity"),
    (
        "edge-before-its-stamp",
        &["press-cut", "reboot-cut", "reset-cut", "revert-cut"],
        "its identity is not stamped yet",
    ),
    ("slot-in-memory", &["deploy-cut"], "files are left over: [\"system/faulty/slot-"),
    ("lock-is-never-freed", &["deploy-cut"], "sent again, it answered: retry (locked)"),
    ("list-is-appended", &["deploy-cut"], "what the list has of it is 2 domains"),
    ("record-removed-first", &["remove-cut"], "left over: [\"system/faulty/ID.felt\"]"),
    ("memory-kept-in-memory", &["save-cut"], "it is off, and was not saved"),
    ("memory-used-up-first", &["restore-cut"], "there is no memory of it"),
    ("snapshot-listed-too-early", &["snapshot-cut"], "revert-snapshot to it answered: gone"),
    ("snapshot-forgotten-first", &["delete-snapshot-cut"], "left over: [\"system/faulty/ID.one"),
    (
        "draft-of-the-attempt",
        &[
            "prepare-overlay-cut",
            "prepare-whole-cut",
            "prepare-blank-cut",
            "prepare-swap-cut",
            "copy-cut",
            "save-back-cut",
        ],
        "the folder of the file is [\"disk\", \"disk.new-#-#-first\"]",
    ),
    (
        "draft-must-be-new",
        &[
            "prepare-overlay-cut",
            "prepare-blank-cut",
            "prepare-swap-cut",
            "copy-cut",
            "save-back-cut",
        ],
        "it answered: refused (exists)",
    ),
    (
        "draft-is-appended",
        &[
            "prepare-overlay-cut",
            "prepare-blank-cut",
            "prepare-swap-cut",
            "copy-cut",
            "save-back-cut",
        ],
        "bytes long; after a run in one piece it is",
    ),
    (
        "name-before-content",
        &["prepare-overlay-cut", "prepare-blank-cut", "prepare-swap-cut"],
        "bytes long; after a run in one piece it is",
    ),
    (
        "lock-of-the-disk",
        &["prepare-overlay-cut", "prepare-whole-cut", "prepare-blank-cut", "prepare-swap-cut"],
        "sent again, it answered: retry (locked)",
    ),
    ("source-moved-away", &["copy-cut"], "the folder of the source is [\"disk.away\"]"),
    ("rubbish-is-left", &["delete-cut"], "the folder of the file is [\"disk.rubbish\"]"),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_is_found_by_its_cuts_for_its_reason_and_by_no_other_check() {
    let file = faulty();
    for (fault, expected, reason) in FAULTS {
        let report = tried(&file, fault, Duration::from_secs(120)).await;
        let failed = failed(&report);
        let checks: Vec<_> = failed.iter().map(|(check, _)| *check).collect();
        assert_eq!(checks, *expected, "{fault}\n{report}");
        for (check, detail) in &failed {
            let told = detail.contains(reason) && detail.contains("call to the host (");
            assert!(told, "{fault}: {check} says: {detail}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_means_to_stop_it_no_fault_is_seen_and_the_checks_are_skipped() {
    let file = faulty();
    let report = tried(&file, "list-is-appended", Duration::ZERO).await;
    assert_eq!(failed(&report), []);
    let findings = report.reports.iter().flat_map(|(_, report)| &report.findings);
    let cuts: Vec<_> = findings.filter(|finding| finding.check.ends_with("-cut")).collect();
    assert_eq!(cuts.len(), 27);
    for finding in cuts {
        assert_eq!(
            finding.ended.detail(),
            Some("nothing here can stop the driver at its calls to the host"),
            "{}",
            finding.check
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_for_all_cuts_is_kept_and_told() {
    let report = tried(&faulty(), "none", Duration::from_nanos(1)).await;
    assert_eq!(failed(&report), []);
    let findings = report.reports.iter().flat_map(|(_, report)| &report.findings);
    let deploy = findings.into_iter().find(|finding| finding.check == "deploy-cut");
    let note = deploy.and_then(|finding| finding.note.as_deref()).expect("a note");
    assert!(note.starts_with("stopped 4 times at "), "{note}");
    assert!(note.contains("; no time was left for "), "{note}");
}
