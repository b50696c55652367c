//! The suite's benches for the fake driver.

use super::{Bench, TransferBench};
use crate::fake::{EdgeCount, Fake, FakeDomain, FakeFile, FakeMachine};
use async_trait::async_trait;
use ostler_driver::{DomainDisk, DomainNic, DomainSpec, FileRef, Site};
use ostler_model::{
    DatastoreName, DiskFormat, DomainSeen, ExecTransport, Firmware, Graphics, HostId, Identity,
    Power, PowerReason, VmUuid,
};
use std::collections::BTreeMap;
use std::time::Duration;

const HERE: HostId = HostId(1);
const AWAY: HostId = HostId(2);
const THERE: HostId = HostId(3);

pub(super) struct FakeBench(pub(super) Fake);

pub(super) fn site(id: HostId) -> Site {
    Site {
        id,
        name: format!("host-{id}").parse().expect("a name"),
        config: BTreeMap::new(),
        transport: ExecTransport::Local,
        roots: BTreeMap::new(),
    }
}

pub(super) fn file(path: &str) -> FileRef {
    FileRef {
        host: HERE,
        datastore: datastore(),
        path: path.parse().expect("a path"),
        absolute: format!("/store/{path}"),
    }
}

fn datastore() -> DatastoreName {
    "store".parse().expect("a name")
}

fn spec(identity: Identity, host: HostId) -> DomainSpec {
    DomainSpec {
        identity,
        name: "it".to_owned(),
        title: "it".to_owned(),
        vcpus: 1,
        cpu_milli: 1000,
        vcpus_most: 2,
        memory_mib: 64,
        memory_most_mib: 128,
        firmware: Firmware::Bios,
        kernel: None,
        initrd: None,
        cmdline: String::new(),
        disks: Vec::new(),
        nics: Vec::new(),
        graphics: Graphics::None,
        console_log: FileRef { host, ..file("console.log") },
    }
}

impl FakeBench {
    pub(super) fn new() -> Self {
        Self::with(Fake::new())
    }

    pub(super) fn with(fake: Fake) -> Self {
        fake.cut_off(AWAY, true);
        // A guest that obeys would be off before the second press, so that a second press could not
        // be seen.
        fake.ignore_acpi(true);
        let image = file("images/base.qcow2");
        fake.put_file(
            HERE,
            image.datastore,
            image.path,
            FakeFile { content: "image of 3".to_owned(), complete: true },
        );
        Self(fake)
    }
}

#[async_trait]
impl Bench for FakeBench {
    fn site(&self) -> Site {
        site(HERE)
    }
    fn blind_site(&self) -> Option<Site> {
        Some(site(AWAY))
    }
    async fn domain(&self, identity: Identity) -> DomainSpec {
        spec(identity, HERE)
    }
    fn second_site(&self) -> Option<Site> {
        Some(site(THERE))
    }
    async fn domain_there(&self, identity: Identity) -> DomainSpec {
        spec(identity, THERE)
    }
    fn holds_epochs(&self) -> bool {
        true
    }
    async fn spare_disk(&self, vm: VmUuid) -> Option<DomainDisk> {
        let file = file(&format!("{vm}/vdb"));
        let content = FakeFile { content: "data".to_owned(), complete: true };
        self.0.put_file(HERE, file.datastore.clone(), file.path.clone(), content);
        Some(DomainDisk {
            name: "vdb".parse().expect("a name"),
            file,
            format: DiskFormat::Qcow2,
            read_only: false,
            below: None,
        })
    }
    fn spare_nic(&self) -> Option<DomainNic> {
        Some(DomainNic {
            mac: "52:54:00:00:00:01".parse().expect("an address"),
            bridge: "br0".to_owned(),
        })
    }
    fn copy_place(&self, vm: VmUuid) -> Option<FileRef> {
        Some(file(&format!("{vm}/copy")))
    }
    async fn is_there(&self, file: &FileRef) -> Option<bool> {
        Some(self.0.file(HERE, &file.datastore, &file.path).is_some())
    }
    async fn make_wild(&self, vm: VmUuid) -> bool {
        let seen = DomainSeen {
            uuid: vm,
            name: "wild".to_owned(),
            identity: None,
            power: Power::Running,
            reason: PowerReason::None,
            last_edge: None,
        };
        self.0.put(
            HERE,
            FakeDomain {
                seen,
                run: 1,
                edges: EdgeCount::default(),
                machine: FakeMachine::default(),
            },
        );
        true
    }
    fn recovery(&self, vm: VmUuid) -> FileRef {
        file(&format!("{vm}/memory"))
    }
    async fn edges(&self, vm: VmUuid) -> Option<u32> {
        let edges = self.0.edges(HERE, vm);
        Some(edges.presses + edges.reboots + edges.resets + edges.reverts)
    }
    fn patience(&self) -> Duration {
        Duration::from_millis(500)
    }
}

#[async_trait]
impl TransferBench for FakeBench {
    fn site(&self) -> Site {
        site(HERE)
    }
    fn image(&self) -> (FileRef, DiskFormat) {
        (file("images/base.qcow2"), DiskFormat::Qcow2)
    }
    async fn leading_out(&self) -> Option<(FileRef, DiskFormat)> {
        let image = file("images/out.qcow2");
        let content = FakeFile { content: "names /etc/shadow".to_owned(), complete: true };
        self.0.put_file(HERE, image.datastore.clone(), image.path.clone(), content);
        Some((image, DiskFormat::Qcow2))
    }
    fn place(&self, folder: &str, name: &str) -> FileRef {
        file(&format!("{folder}/{name}"))
    }
    async fn leave_partial(&self, file: &FileRef) {
        let partial = FakeFile { content: "partial".to_owned(), complete: false };
        self.0.put_file(HERE, file.datastore.clone(), file.path.clone(), partial);
    }
    async fn is_partial(&self, file: &FileRef) -> bool {
        self.0.file(HERE, &file.datastore, &file.path).is_some_and(|file| !file.complete)
    }
    async fn exists(&self, file: &FileRef) -> bool {
        self.0.file(HERE, &file.datastore, &file.path).is_some()
    }
    async fn guest_size(&self, file: &FileRef) -> Option<u64> {
        let file = self.0.file(HERE, &file.datastore, &file.path)?;
        Some(file.virtual_size())
    }
    async fn beside(&self, file: &FileRef) -> Vec<String> {
        let Some((folder, _)) = file.path.as_str().rsplit_once('/') else { return Vec::new() };
        let below = format!("{folder}/");
        let files = self.0.files(HERE);
        files
            .iter()
            .filter_map(|(_, path)| path.as_str().strip_prefix(&below))
            .map(str::to_owned)
            .collect()
    }
    fn patience(&self) -> Duration {
        Duration::from_millis(500)
    }
}
