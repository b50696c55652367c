//! `plugins/qemu`: plain QEMU as a component, with real guests under emulation. It needs no root,
//! no libvirt and no KVM.

mod bench;
mod daemon;

use ostler_driver::CallControl;
use ostler_driver_testkit::conformance::{self, Bench};
use ostler_model::{
    CallContext, EffectKey, Epoch, Generation, Identity, Item, Observation, OperationId, Power,
    StepNo, StoreId, Timestamp, VmUuid,
};
use ostler_tests::daemon::{components, is_built, poll};
use ostler_tests::lab::skipped;
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a call may take on a busy machine.
const SOON: Duration = Duration::from_secs(60);

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

/// A call of a step, with a minute.
fn call(vm: VmUuid, step: u64) -> CallControl {
    let key = EffectKey { vm, operation: OperationId(1), step: StepNo(step), item: Item::Domain };
    let context = CallContext {
        store: StoreId(uuid::Uuid::nil()),
        key,
        attempt: 1,
        generation: Generation(1),
        epoch: Epoch(0),
        spares: None,
        deadline: Timestamp(0),
    };
    CallControl::detached(context, Instant::now() + SOON)
}

/// A destroy that comes while a start is at work ends it, wherever it is.
#[test]
fn a_destroy_beside_a_start_wins() {
    let Some(file) = component() else { return };
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let bench = bench::QemuBench::new();
    runtime.block_on(async {
        let (driver, site) = (bench::load(&file).await, bench.site());
        for mark in ["domain.json", "pid", "act"] {
            let vm = VmUuid(uuid::Uuid::new_v4());
            let store = StoreId(uuid::Uuid::nil());
            let spec = bench.domain(Identity { store, vm, generation: Generation(1) }).await;
            let (start, destroy, remove) = (call(vm, 1), call(vm, 2), call(vm, 3));
            let there = bench.folder().join(format!("qemu/{vm}/{mark}"));
            let beside = async {
                let there = async || there.exists().then_some(()).ok_or_else(String::new);
                poll(mark, SOON, there).await;
                driver.destroy(&site, &destroy).await
            };
            let (_, destroyed) = tokio::join!(driver.deploy(&site, &start, &spec), beside);
            destroyed.unwrap_or_else(|error| panic!("destroy at {mark}: {error}"));
            let seen = driver.observe(&site, vm).await.expect("it can be asked");
            let Observation::Present(seen) = seen else { panic!("{vm} has no record") };
            assert_eq!(seen.power, Power::Off, "destroyed at {mark}");
            driver.remove(&site, &remove).await.expect("removed");
            assert_eq!(processes(&vm.to_string()), Vec::<u32>::new(), "destroyed at {mark}");
        }
    });
}
