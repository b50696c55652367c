//! The bench of the conformance suite: the lab's guest with a disk of its own.

use async_trait::async_trait;
use ostler_driver::{DomainDisk, DomainNic, DomainSpec, DriverKind, FileRef, Hypervisor, Site};
use ostler_driver_testkit::conformance::Bench;
use ostler_model::{DiskFormat, ExecTransport, Firmware, Graphics, HostId, Identity, VmUuid};
use ostler_tests::lab::{Lab, SerialLog};
use ostler_wasm::{Grants, Host, HostOptions};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// How long a guest may take to boot under emulation on a busy machine.
const BOOT: Duration = Duration::from_secs(90);

/// Loads the component with all grants that it asks for.
pub(crate) async fn load(file: &Path) -> Arc<dyn Hypervisor> {
    let manifest = ostler_wasm::inspect_file(file).await.expect("a component").manifest;
    let host = Host::new(HostOptions::default()).expect("a host");
    let loaded = host.load(file, Grants::all(&manifest)).await.expect("it loads");
    let kinds = loaded.kinds().into_iter();
    let mut drivers = kinds.filter_map(|kind| match kind {
        DriverKind::Hypervisor(driver) => Some(driver),
        _ => None,
    });
    drivers.next().expect("a hypervisor driver")
}

/// This machine as a host, with one datastore in a temporary folder.
pub(crate) struct QemuBench {
    dir: TempDir,
    site: Site,
}

impl QemuBench {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let setting = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let config = [setting("datastore", "system"), setting("accel", "tcg")].into();
        let root = dir.path().to_str().expect("text").to_owned();
        let site = Site {
            id: HostId(1),
            name: "bench".parse().expect("valid"),
            config,
            transport: ExecTransport::Local,
            roots: BTreeMap::from([("system".parse().expect("valid"), root)]),
        };
        Self { dir, site }
    }

    /// The root of its datastore.
    pub(crate) fn folder(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    fn file(&self, path: &str) -> FileRef {
        FileRef {
            host: self.site.id,
            datastore: "system".parse().expect("valid"),
            path: path.parse().expect("valid"),
            absolute: self.dir.path().join(path).to_string_lossy().into_owned(),
        }
    }

    /// The file, made as a copy of `from` if it is not there. Commands reach nothing outside of the
    /// datastore.
    fn copied(&self, path: &str, from: &Path) -> FileRef {
        let file = self.file(path);
        let path = Path::new(&file.absolute);
        if !path.exists() {
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::copy(from, path).expect("a copy");
        }
        file
    }

    fn disk(&self, name: &str, path: &str) -> DomainDisk {
        DomainDisk {
            name: name.parse().expect("valid"),
            file: self.copied(path, &Lab::guest().base_disk),
            format: DiskFormat::Qcow2,
            read_only: false,
            below: None,
        }
    }
}

/// Nothing runs on after a check that failed.
impl Drop for QemuBench {
    fn drop(&mut self) {
        let folder = self.dir.path().display().to_string();
        crate::processes(&folder).into_iter().for_each(|pid| crate::send(pid, Signal::KILL));
    }
}

#[async_trait]
impl Bench for QemuBench {
    fn site(&self) -> Site {
        self.site.clone()
    }

    fn blind_site(&self) -> Option<Site> {
        let mut blind = self.site.clone();
        blind.config.insert("datastore".to_owned(), "nowhere".to_owned());
        Some(blind)
    }

    async fn domain(&self, identity: Identity) -> DomainSpec {
        let (guest, vm) = (Lab::guest(), identity.vm);
        DomainSpec {
            identity,
            name: format!("c-{vm}"),
            title: "conformance".to_owned(),
            vcpus: 1,
            cpu_milli: 100,
            vcpus_most: 2,
            memory_mib: 96,
            memory_most_mib: 128,
            firmware: Firmware::Bios,
            kernel: Some(self.copied("kernel", &guest.kernel)),
            initrd: Some(self.copied("initrd", &guest.initrd)),
            cmdline: guest.command_line(&[]),
            disks: vec![self.disk("vda", &format!("vms/{vm}/vda.qcow2"))],
            nics: Vec::new(),
            graphics: Graphics::None,
            console_log: self.file(&format!("vms/{vm}/console.log")),
        }
    }

    fn boots_from(&self) -> Vec<FileRef> {
        vec![self.file("kernel"), self.file("initrd")]
    }

    async fn spare_disk(&self, vm: VmUuid) -> Option<DomainDisk> {
        Some(self.disk("vdb", &format!("vms/{vm}/vdb.qcow2")))
    }

    /// A bridge that `qemu-bridge-helper` may use is not on every machine.
    fn spare_nic(&self) -> Option<DomainNic> {
        let bridge = std::env::var("OSTLER_BRIDGE").ok()?;
        Some(DomainNic { mac: "52:54:00:00:00:77".parse().expect("valid"), bridge })
    }

    fn copy_place(&self, vm: VmUuid) -> Option<FileRef> {
        Some(self.file(&format!("copies/{vm}")))
    }

    async fn is_there(&self, file: &FileRef) -> Option<bool> {
        Some(Path::new(&file.absolute).exists())
    }

    fn recovery(&self, vm: VmUuid) -> FileRef {
        self.file(&format!("memory/{vm}"))
    }

    /// Edges cannot be counted from outside while the guest still boots.
    async fn edges(&self, _: VmUuid) -> Option<u32> {
        None
    }

    async fn guest_ready(&self, vm: VmUuid) {
        let mut console = SerialLog::new(self.dir.path().join(format!("vms/{vm}/console.log")));
        let waited = tokio::task::spawn_blocking(move || console.wait_for("GUEST-READY", BOOT));
        waited.await.expect("it boots");
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(60)
    }
}
