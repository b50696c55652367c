//! The rig of these tests: a host of the lab, the driver, and the arguments of its calls.

use async_trait::async_trait;
use ostler_driver::{
    CallControl, DomainDisk, DomainNic, DomainSpec, FileRef, Hypervisor, Site, Suspend,
};
use ostler_driver_testkit::conformance::{self, Bench, Report};
use ostler_libvirt::{Kvm, KvmOptions};
use ostler_model::{
    CallContext, CallResult, DiskFormat, DomainSeen, DriverError, EffectKey, Epoch, ExecTransport,
    Firmware, Generation, Graphics, HostId, Identity, Item, Observation, OperationId, Power,
    PowerReason, StepNo, StoreId, Timestamp, VmUuid,
};
use ostler_tests::lab::{Lab, LibvirtHost, SerialLog};
use ostler_tests::wait::wait_until;
use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use uuid::Uuid;

/// How long a guest may take to boot under emulation on a busy machine.
pub(crate) const BOOT: Duration = Duration::from_secs(90);
/// How long anything else may take.
pub(crate) const SOON: Duration = Duration::from_secs(30);

pub(crate) struct Rig {
    pub(crate) host: LibvirtHost,
    pub(crate) kvm: Arc<Kvm>,
    pub(crate) site: Site,
    pub(crate) store: StoreId,
    runtime: Runtime,
}

/// The host that a guest of a rig can move to.
pub(crate) struct Other {
    pub(crate) host: LibvirtHost,
    pub(crate) site: Site,
}

fn new_driver() -> Arc<Kvm> {
    Arc::new(Kvm::new(KvmOptions::default()))
}

fn site(host: &LibvirtHost) -> Site {
    let mut config = BTreeMap::from([("uri".to_owned(), host.uri().to_owned())]);
    if let Some(address) = host.address() {
        config.insert("migrate-uri".to_owned(), format!("qemu+tcp://{address}/system"));
        config.insert("migrate-address".to_owned(), address);
    }
    Site {
        id: HostId(1),
        name: "lab".parse().expect("valid"),
        config,
        transport: ExecTransport::Local,
        roots: BTreeMap::new(),
    }
}

/// One VM of a rig.
pub(crate) struct Vm {
    pub(crate) uuid: VmUuid,
    pub(crate) name: String,
    pub(crate) console: SerialLog,
    pub(crate) disk: PathBuf,
    flags: Vec<&'static str>,
}

impl Rig {
    pub(crate) fn up(name: &str) -> Self {
        Self::of(LibvirtHost::up(name))
    }

    /// Makes a rig whose guests can move to the other host.
    pub(crate) fn pair(name: &str) -> (Self, Other) {
        let rig = Self::of(LibvirtHost::up_on_network(name));
        let host = LibvirtHost::up_on_network(name);
        let site = Site { id: HostId(2), name: "other".parse().expect("valid"), ..site(&host) };
        (rig, Other { host, site })
    }

    fn of(host: LibvirtHost) -> Self {
        let store = StoreId(Uuid::new_v4());
        let site = site(&host);
        let runtime = Runtime::new().expect("a runtime");
        let kvm = new_driver();
        Self { host, kvm, site, store, runtime }
    }

    /// Replaces the driver by a new one, as after a restart of the daemon. The new driver knows
    /// nothing that the old one has begun, and the old one's tasks have ended.
    pub(crate) fn forget(&mut self) {
        std::mem::replace(&mut self.runtime, Runtime::new().expect("a runtime"))
            .shutdown_background();
        self.kvm = new_driver();
    }

    pub(crate) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.runtime.spawn(future)
    }

    /// Makes a VM with its own disk. Nothing is defined yet.
    pub(crate) fn vm(&self, flags: &[&'static str]) -> Vm {
        let uuid = VmUuid(Uuid::new_v4());
        let name = format!("t-{}", &uuid.to_string()[..8]);
        let disk = self.host.dir().join(format!("{name}.qcow2"));
        std::fs::copy(&Lab::guest().base_disk, &disk).expect("a copy of the base disk");
        let console = SerialLog::new(self.host.dir().join(format!("{name}.console")));
        Vm { uuid, name, console, disk, flags: flags.to_vec() }
    }

    pub(crate) fn file(&self, path: &str) -> FileRef {
        self.shared().file(path)
    }

    pub(crate) fn spec(&self, vm: &Vm, generation: u64) -> DomainSpec {
        let identity =
            Identity { store: self.store, vm: vm.uuid, generation: Generation(generation) };
        self.shared().spec(identity, &vm.name, &vm.disk, &vm.flags)
    }

    fn shared(&self) -> Shared {
        Shared { site: self.site.clone(), dir: self.host.dir().to_owned() }
    }

    /// Runs the suite that every driver must pass. It uses its own stores.
    pub(crate) fn conformance(&self, other: &Other) -> Report {
        let kvm = new_driver();
        self.run(conformance::hypervisor(
            kvm,
            Arc::new(LabBench { rig: self.shared(), second: other.site.clone() }),
        ))
    }

    /// A call of a step for a generation. It has a minute.
    pub(crate) fn call(&self, vm: &Vm, step: u64, generation: u64) -> CallControl {
        call((self.store, vm.uuid), step, generation, Duration::from_secs(60))
    }

    pub(crate) fn deploy(&self, vm: &Vm, step: u64, generation: u64) -> CallResult {
        self.run(self.kvm.deploy(
            &self.site,
            &self.call(vm, step, generation),
            &self.spec(vm, generation),
        ))
    }

    pub(crate) fn press(&self, vm: &Vm, step: u64) -> CallResult {
        self.run(self.kvm.press_power(&self.site, &self.call(vm, step, 1)))
    }

    pub(crate) fn destroy(&self, vm: &Vm, step: u64) -> CallResult {
        self.run(self.kvm.destroy(&self.site, &self.call(vm, step, 1)))
    }

    pub(crate) fn remove(&self, vm: &Vm, step: u64) -> CallResult {
        self.run(self.kvm.remove(&self.site, &self.call(vm, step, 9)))
    }

    pub(crate) fn save(&self, vm: &Vm, step: u64, file: &FileRef) -> CallResult {
        self.run(self.kvm.save(&self.site, &self.call(vm, step, 1), file))
    }

    pub(crate) fn restore(
        &self,
        vm: &Vm,
        step: u64,
        generation: u64,
        file: &FileRef,
    ) -> CallResult {
        self.run(self.kvm.restore(
            &self.site,
            &self.call(vm, step, generation),
            &self.spec(vm, generation),
            file,
        ))
    }

    pub(crate) fn unpause(&self, vm: &Vm, step: u64, generation: u64) -> CallResult {
        self.run(self.kvm.unpause(&self.site, &self.call(vm, step, generation)))
    }

    pub(crate) fn observe(&self, vm: &Vm) -> Result<Observation, DriverError> {
        self.run(self.kvm.observe(&self.site, vm.uuid))
    }

    #[track_caller]
    pub(crate) fn wait_for(&self, vm: &Vm, power: Power, reason: PowerReason) -> DomainSeen {
        wait_until(&format!("{} to be {power} ({reason})", vm.name), SOON, || {
            match self.observe(vm) {
                Ok(Observation::Present(seen)) if (seen.power, seen.reason) == (power, reason) => {
                    Ok(seen)
                }
                other => Err(format!("{other:?}")),
            }
        })
    }
}

/// The parts that domains of a rig are made of.
struct Shared {
    site: Site,
    dir: PathBuf,
}

impl Shared {
    fn file(&self, path: &str) -> FileRef {
        let absolute = self.dir.join(path).to_string_lossy().into_owned();
        let datastore = "system".parse().expect("valid");
        FileRef { host: self.site.id, datastore, path: path.parse().expect("valid"), absolute }
    }

    fn spec(&self, identity: Identity, name: &str, disk: &Path, flags: &[&str]) -> DomainSpec {
        let guest = Lab::guest();
        let at = |path: &Path| FileRef {
            absolute: path.to_string_lossy().into_owned(),
            ..self.file("boot")
        };
        DomainSpec {
            identity,
            name: name.to_owned(),
            title: "a <test> & more".to_owned(),
            vcpus: 1,
            cpu_milli: 100,
            vcpus_most: 1,
            memory_mib: 96,
            memory_most_mib: 96,
            firmware: Firmware::Bios,
            kernel: Some(at(&guest.kernel)),
            initrd: Some(at(&guest.initrd)),
            cmdline: guest.command_line(flags),
            disks: vec![DomainDisk {
                name: "vda".parse().expect("valid"),
                file: at(disk),
                format: DiskFormat::Qcow2,
                read_only: false,
                below: Some(Vec::new()),
            }],
            nics: vec![],
            graphics: Graphics::None,
            console_log: self.file(&format!("{name}.console")),
        }
    }
}

/// The bench for the conformance suite.
struct LabBench {
    rig: Shared,
    second: Site,
}

#[async_trait]
impl Bench for LabBench {
    fn site(&self) -> Site {
        self.rig.site.clone()
    }

    fn blind_site(&self) -> Option<Site> {
        let mut blind = self.rig.site.clone();
        blind
            .config
            .insert("uri".to_owned(), "qemu+unix:///system?socket=/nonexistent/socket".to_owned());
        Some(blind)
    }

    async fn domain(&self, identity: Identity) -> DomainSpec {
        let disk = self.rig.dir.join(format!("{}.qcow2", identity.vm));
        if !disk.exists() {
            std::fs::copy(&Lab::guest().base_disk, &disk).expect("a copy of the base disk");
        }
        let spec = self.rig.spec(identity, &format!("c-{}", identity.vm), &disk, &[]);
        DomainSpec { memory_most_mib: 128, ..spec }
    }

    fn second_site(&self) -> Option<Site> {
        Some(self.second.clone())
    }

    async fn domain_there(&self, identity: Identity) -> DomainSpec {
        DomainSpec {
            console_log: self.rig.file(&format!("c-{}.there", identity.vm)),
            ..self.domain(identity).await
        }
    }

    async fn spare_disk(&self, vm: VmUuid) -> Option<DomainDisk> {
        let file = self.rig.file(&format!("{vm}-spare.qcow2"));
        if !Path::new(&file.absolute).exists() {
            std::fs::copy(&Lab::guest().base_disk, &file.absolute)
                .expect("a copy of the base disk");
        }
        Some(DomainDisk {
            name: "vdb".parse().expect("valid"),
            file,
            format: DiskFormat::Qcow2,
            read_only: false,
            below: Some(Vec::new()),
        })
    }

    fn spare_nic(&self) -> Option<DomainNic> {
        Some(DomainNic {
            mac: "52:54:00:00:00:77".parse().expect("valid"),
            bridge: "br0".to_owned(),
        })
    }

    fn copy_place(&self, vm: VmUuid) -> Option<FileRef> {
        Some(self.rig.file(&format!("{vm}.copy")))
    }

    async fn is_there(&self, file: &FileRef) -> Option<bool> {
        Some(Path::new(&file.absolute).exists())
    }

    fn recovery(&self, vm: VmUuid) -> FileRef {
        self.rig.file(&format!("{vm}.memory"))
    }

    /// Edge effects cannot be counted from outside while the guest still boots. Other tests of this
    /// binary count them.
    async fn edges(&self, _: VmUuid) -> Option<u32> {
        None
    }

    async fn guest_ready(&self, vm: VmUuid) {
        let mut console = SerialLog::new(self.rig.dir.join(format!("c-{vm}.console")));
        let waited = tokio::task::spawn_blocking(move || console.wait_for("GUEST-READY", BOOT));
        waited.await.expect("it boots");
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(60)
    }
}

pub(crate) fn call(
    (store, vm): (StoreId, VmUuid),
    step: u64,
    generation: u64,
    time: Duration,
) -> CallControl {
    let key = EffectKey { vm, operation: OperationId(1), step: StepNo(step), item: Item::Domain };
    let context = CallContext {
        store,
        key,
        attempt: 1,
        generation: Generation(generation),
        epoch: Epoch(0),
        spares: None,
        deadline: Timestamp(0),
    };
    CallControl::detached(context, Instant::now() + time)
}

/// The domain that a successful call has seen.
#[track_caller]
pub(crate) fn seen(result: CallResult) -> DomainSeen {
    match result.expect("the call succeeds").seen {
        Some(Observation::Present(seen)) => seen,
        other => panic!("nothing seen: {other:?}"),
    }
}

#[track_caller]
pub(crate) fn power(result: CallResult) -> Power {
    seen(result).power
}

/// The kind and code of a failed call.
#[track_caller]
pub(crate) fn refusal<T: std::fmt::Debug>(
    result: Result<T, DriverError>,
) -> (ostler_model::ErrorKind, String) {
    let error = result.expect_err("the call fails");
    (error.kind, error.code)
}
