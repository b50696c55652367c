//! The component alone, on real guests: single calls, and what they leave.

use crate::bench::{self, QemuBench};
use crate::{component, processes, send};
use ostler_driver::{CallControl, DomainMetrics, DomainSpec, Hypervisor, Site};
use ostler_driver_testkit::conformance::Bench;
use ostler_model::{
    CallContext, DriverError, EffectKey, Epoch, ErrorKind, Generation, Identity, Item, Observation,
    OperationId, Power, StepNo, StoreId, Timestamp, VmUuid,
};
use ostler_tests::daemon::poll;
use ostler_tests::lab::Lab;
use rustix::process::Signal;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a call may take on a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// A call of a step, with a minute.
fn call(vm: VmUuid, step: u64) -> CallControl {
    call_for(vm, step, SOON)
}

fn call_for(vm: VmUuid, step: u64, patience: Duration) -> CallControl {
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
    CallControl::detached(context, Instant::now() + patience)
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

/// A driver, and a domain that it has started.
struct Rig {
    bench: QemuBench,
    driver: Arc<dyn Hypervisor>,
    site: Site,
}

impl Rig {
    async fn up(file: &Path) -> Self {
        let bench = QemuBench::new();
        let (driver, site) = (bench::load(file).await, bench.site());
        Self { bench, driver, site }
    }

    async fn starts(&self, change: impl FnOnce(&mut DomainSpec)) -> VmUuid {
        let vm = VmUuid(uuid::Uuid::new_v4());
        let store = StoreId(uuid::Uuid::nil());
        let identity = Identity { store, vm, generation: Generation(1) };
        let mut spec = self.bench.domain(identity).await;
        change(&mut spec);
        self.driver.deploy(&self.site, &call(vm, 1), &spec).await.expect("it starts");
        vm
    }

    fn process(&self, vm: VmUuid) -> u32 {
        let found = processes(&vm.to_string());
        assert_eq!(found.len(), 1, "{vm} has the processes {found:?}");
        found[0]
    }

    async fn counters(&self) -> Vec<DomainMetrics> {
        let counts = self.driver.metrics().expect("it counts");
        counts.sample(&self.site).await.expect("it can be asked")
    }

    async fn resize(&self, call: &CallControl, size: (u32, u64)) -> Result<(), DriverError> {
        let resizes = self.driver.live_resize().expect("it resizes");
        resizes.resize(&self.site, call, size.0, size.1).await.map(drop)
    }
}

/// What one guest does is counted for it and for no other. One that hangs is left out, because its
/// counters would seem to fall; so is one that is off.
#[test]
fn counters_are_those_of_the_guest_that_works() {
    let Some(file) = component() else { return };
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    runtime.block_on(async {
        let rig = Rig::up(&file).await;
        let flags = ["vt.mark=counted", "vt.tick=0.2"];
        let works = rig.starts(|spec| spec.cmdline = Lab::guest().command_line(&flags)).await;
        let idle = rig.starts(|spec| (spec.kernel, spec.initrd) = (None, None)).await;
        rig.bench.guest_ready(works).await;
        let of = |all: &[DomainMetrics], vm| all.iter().find(|one| one.vm == Some(vm)).cloned();
        let first = poll("the disk to be written", SOON, async || {
            let all = rig.counters().await;
            let found = of(&all, works).filter(|seen| seen.disk_written >= 512);
            found.ok_or_else(|| format!("{all:?}"))
        })
        .await;
        // The guest has booted: that takes more than a tenth of a second.
        assert!(first.cpu_ns > 100_000_000, "{first:?}");
        // Its kernel has touched some memory, and QEMU has no gigabytes for itself.
        assert!((16 * 1024..2048 * 1024).contains(&first.memory_kib), "{first:?}");
        let other = of(&rig.counters().await, idle).expect("it runs, too");
        assert_eq!(other.disk_written, 0, "{other:?}");
        poll("the guest to work on", SOON, async || {
            let now = of(&rig.counters().await, works).ok_or("not counted")?;
            if now.cpu_ns > first.cpu_ns { Ok(()) } else { Err(format!("{now:?}")) }
        })
        .await;
        send(rig.process(idle), Signal::STOP);
        let counted: Vec<_> = rig.counters().await.iter().map(|one| one.vm).collect();
        assert_eq!(counted, [Some(works)], "one hangs");
        send(rig.process(idle), Signal::CONT);
        rig.driver.destroy(&rig.site, &call(works, 2)).await.expect("it ends");
        let counted: Vec<_> = rig.counters().await.iter().map(|one| one.vm).collect();
        assert_eq!(counted, [Some(idle)], "one is off");
    });
}

/// A guest without a driver for the balloon cannot follow. It keeps what it had, and no CPU has been
/// plugged in.
#[test]
fn a_guest_that_does_not_follow_keeps_its_size() {
    let Some(file) = component() else { return };
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    runtime.block_on(async {
        let rig = Rig::up(&file).await;
        let vm = rig.starts(|spec| (spec.kernel, spec.initrd) = (None, None)).await;
        let code =
            |result: Result<(), DriverError>| result.map_err(|error| (error.kind, error.code));
        let refused = |code: &str| Err((ErrorKind::Refused, code.to_owned()));
        let soon = call_for(vm, 2, Duration::from_secs(3));
        assert_eq!(code(rig.resize(&soon, (2, 112)).await), refused("guest-ignored"));
        let record = rig.bench.folder().join(format!("qemu/{vm}/domain.json"));
        let record: serde_json::Value =
            serde_json::from_slice(&std::fs::read(record).expect("a record")).expect("JSON");
        let kept = ["vcpus", "memory-mib"].map(|key| record["hardware"][key].as_u64());
        assert_eq!(kept, [Some(1), Some(96)], "{record}");
        // If a CPU had been plugged in, this would take it away.
        assert_eq!(code(rig.resize(&call(vm, 3), (1, 96)).await), Ok(()));
        assert_eq!(code(rig.resize(&call(vm, 4), (3, 96)).await), refused("beyond-most"));
        assert_eq!(code(rig.resize(&call(vm, 5), (1, 129)).await), refused("beyond-most"));
        rig.driver.destroy(&rig.site, &call(vm, 6)).await.expect("it ends");
        let off = code(rig.resize(&call(vm, 7), (1, 96)).await);
        assert_eq!(off, Err((ErrorKind::Gone, "not-running".to_owned())));
    });
}
