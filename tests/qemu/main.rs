//! `plugins/qemu`: plain QEMU as a component, with real guests under emulation. It needs no root,
//! no libvirt and no KVM.

mod bench;
mod daemon;
mod driver;

use ostler_driver_testkit::conformance;
use ostler_tests::daemon::{components, is_built};
use ostler_tests::lab::skipped;
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The built component. None, said aloud, where something is missing.
fn component() -> Option<PathBuf> {
    let file = components().join("qemu.wasm");
    if !file.is_file() {
        skipped("qemu.wasm is not built: run scripts/build-plugins");
        return None;
    }
    if !["/usr/bin/qemu-system-x86_64", "/usr/bin/qemu-img", "/usr/bin/pkill"]
        .iter()
        .all(|tool| Path::new(tool).is_file())
    {
        skipped("QEMU or pkill is not installed: run scripts/setup");
        return None;
    }
    is_built().then_some(file)
}

/// How many QEMU processes have this text in their arguments.
fn processes(text: &str) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").expect("proc").filter_map(Result::ok);
    let qemu = |folder: &Path| {
        std::fs::read(folder.join("cmdline")).is_ok_and(|line| {
            let line = String::from_utf8_lossy(&line);
            line.starts_with("/usr/bin/qemu-system") && line.contains(text)
        })
    };
    all.filter(|process| qemu(&process.path()))
        .filter_map(|process| process.file_name().to_str()?.parse().ok())
        .collect()
}

/// Sends a signal to a process of the test.
fn send(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process");
    kill_process(pid, signal).expect("it is told");
}

#[test]
fn it_keeps_the_contract() {
    let Some(file) = component() else { return };
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let bench = Arc::new(bench::QemuBench::new());
    let folder = bench.folder().display().to_string();
    let report = runtime.block_on(async {
        let driver = bench::load(&file).await;
        conformance::hypervisor(driver, Arc::clone(&bench) as _).await
    });
    println!("{report}");
    assert!(report.passed(), "{report}");
    assert_eq!(processes(&folder), Vec::<u32>::new(), "a process is left");
}
