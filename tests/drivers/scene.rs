//! A daemon with two hosts of each driver: two of libvirt, two folders of plain QEMU, two of `sim`.

use crate::watch::Places;
use ostler_api::{Client, NewDatastore, NewHost};
use ostler_tests::daemon::{self, components};
use ostler_tests::kvm::{Kvm, Storage};
use ostler_tests::lab::{Lab, skipped};
use std::collections::BTreeMap;
use std::path::PathBuf;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::mpsc::UnboundedSender;

/// A driver of the scene.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Driver {
    Kvm,
    Qemu,
    Sim,
}

impl Driver {
    pub(crate) const ALL: [Self; 3] = [Self::Kvm, Self::Qemu, Self::Sim];

    const fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Qemu => "qemu",
            Self::Sim => "sim",
        }
    }

    /// Its hosts.
    pub(crate) const fn hosts(self) -> [&'static str; 2] {
        match self {
            Self::Kvm => ["kvm1", "kvm2"],
            Self::Qemu => ["qemu1", "qemu2"],
            Self::Sim => ["sim1", "sim2"],
        }
    }
}

/// The VM of a driver, and what is needed to walk with it.
pub(crate) struct Actor {
    pub(crate) driver: Driver,
    pub(crate) client: Client,
    pub(crate) called: String,
    pub(crate) spec: String,
    /// Where the files of VMs are.
    pub(crate) store: PathBuf,
    pub(crate) places: Places,
    /// The ids of operations that have begun.
    pub(crate) begun: UnboundedSender<u64>,
    /// Whether KVM's guests are emulated.
    pub(crate) emulated: bool,
}

pub(crate) struct Scene {
    pub(crate) kvm: Kvm,
    runtime: Runtime,
    places: Places,
}

impl Scene {
    /// None, said aloud, where something is missing.
    pub(crate) fn up() -> Option<Self> {
        if !components().join("qemu.wasm").is_file() {
            skipped("qemu.wasm is not built: run scripts/build-plugins");
            return None;
        }
        let grants = ["--grant", "qemu=all"];
        let rules = ["--rules", "qemu=snapshots-kvm", "--rules", "sim=snapshots-kvm"];
        let kvm = Kvm::up(2, Storage::Shared, &[grants.as_slice(), &rules].concat())?;
        let root = kvm.dir().join("places");
        let folders = Driver::Sim.hosts().map(|host| root.join(host));
        let places = Places::new(folders.into());
        let scene = Self { kvm, runtime: Runtime::new().expect("threads"), places };
        scene.run(async {
            let client = scene.client();
            std::fs::create_dir_all(&root).expect("a folder");
            let new = NewDatastore {
                name: "places".to_owned(),
                kind: "image".to_owned(),
                driver: "transfer-qcow2".to_owned(),
                root: root.display().to_string(),
                shared: false,
            };
            client.add_datastore(&new).await.expect("a datastore is added");
            for driver in [Driver::Qemu, Driver::Sim] {
                for host in driver.hosts() {
                    add(client, driver, host).await;
                }
            }
        });
        Some(scene)
    }

    pub(crate) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub(crate) fn runtime(&self) -> &Handle {
        self.runtime.handle()
    }

    pub(crate) fn client(&self) -> &Client {
        self.kvm.daemon.client()
    }

    pub(crate) fn places(&self) -> Places {
        self.places.clone()
    }

    /// The UUIDs of all VMs that there were.
    pub(crate) fn vms(&self) -> Vec<String> {
        self.places.vms().into_iter().collect()
    }

    /// One VM for each driver.
    pub(crate) fn actors(&self, called: &str, begun: &UnboundedSender<u64>) -> Vec<Actor> {
        let guest = Lab::guest();
        let file = |path: &std::path::Path| {
            path.file_name().expect("a name").to_string_lossy().into_owned()
        };
        let actor = |driver: Driver| {
            let called = format!("{called}-{}", driver.name());
            let spec = format!(
                "name = \"{called}\"\ncpu = 0.2\nmemory = \"96MiB\"\n\
                 headroom = {{ vcpus = 2, memory = \"128MiB\" }}\n\
                 [boot]\nkernel = \"images:{}\"\ninitrd = \"images:{}\"\ncmdline = \"{}\"\n\
                 [patience]\nboot_grace = \"1s\"\nshutdown = \"20s\"\n\
                 [[disks]]\nname = \"vda\"\nimage = \"base\"\n",
                file(&guest.kernel),
                file(&guest.initrd),
                guest.command_line(&["vt.tick=0.5"]),
            );
            Actor {
                driver,
                client: self.client().clone(),
                called,
                spec,
                store: self.kvm.hosts.store().to_owned(),
                places: self.places(),
                begun: begun.clone(),
                emulated: self.kvm.hosts[0].domain_type() != "kvm",
            }
        };
        Driver::ALL.map(actor).into()
    }

    /// Checks that nothing is left of any VM: no process, no domain, no file, no entry in a book.
    pub(crate) fn is_empty(&self) {
        assert_eq!(self.places.left(), Vec::<String>::new());
        assert_eq!(self.kvm.all_domains(), Vec::<String>::new());
        let mut left = Vec::new();
        let hosts = [Driver::Qemu.hosts(), Driver::Sim.hosts()].concat();
        let hosts = hosts.iter().map(|host| self.kvm.dir().join("places").join(host));
        let store = self.kvm.hosts.store();
        for folder in hosts.chain([store.join("vms"), store.join("home")]) {
            let files = std::fs::read_dir(&folder).into_iter().flatten().flatten();
            left.extend(files.map(|file| file.path()));
        }
        assert_eq!(left, Vec::<PathBuf>::new(), "files are left");
        self.kvm.books_are_right();
    }
}

/// Nothing runs on after a test that failed: libvirt's hosts end with the lab, plain QEMU does not.
impl Drop for Scene {
    fn drop(&mut self) {
        self.kvm.daemon.kill();
        self.places.end_all();
    }
}

async fn add(client: &Client, driver: Driver, name: &str) {
    let set = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let mut config: BTreeMap<_, _> = [set("datastore", "places"), set("folder", name)].into();
    if driver == Driver::Qemu {
        config.extend([set("accel", "tcg")]);
    }
    let (name, driver) = (name.to_owned(), driver.name().to_owned());
    let new = NewHost { name: name.clone(), driver, config, ..NewHost::default() };
    client.add_host(&new).await.expect("a host is added");
    daemon::reachable(client, &name).await;
}
