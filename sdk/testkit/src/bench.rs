//! The bench of the suite: this machine as a host, with temporary datastores.

use crate::cuts::Sandbox;
use crate::{TestOptions, TestkitError};
use async_trait::async_trait;
use ostler_driver::{DomainDisk, DomainNic, DomainSpec, FileRef, Site};
use ostler_driver_testkit::conformance::{Bench, Cuts, TransferBench};
use ostler_model::{
    DatastoreName, DiskFormat, ExecTransport, Firmware, Graphics, HostId, HostName, Identity,
    RelPath, VmUuid,
};
use ostler_wasm::{Manifest, SiteDirectory};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

const HERE: HostId = HostId(1);
const SECOND: HostId = HostId(2);
const SYSTEM: &str = "system";
const IMAGES: &str = "images";
const IMAGE: &str = "base.raw";
const KERNEL: &str = "kernel";
const INITRD: &str = "initrd";
/// How often the guest's console is read while it boots.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const LEADING_OUT: &str = "leading-out.qcow2";
/// A file that every machine has, and that is in no datastore.
const OUTSIDE: &[u8] = b"/etc/passwd";
/// The size of the image. It is small, but larger than one cluster of qcow2.
const IMAGE_SIZE: u64 = 2 * 1024 * 1024;
/// The size of the parts of the image that are filled alike.
const BLOCK: usize = 64 * 1024;
/// The most files that are listed. The suite makes a few hundred.
const FILES_MAX: usize = 100_000;
/// The content of a file that was begun and not finished. It has no header of any format.
const PARTIAL: &[u8] = b"half a disk";
/// The bench fills in a setting of this name.
const DATASTORE: &str = "datastore";
/// A setting of this name separates two hosts that use one datastore.
const FOLDER: &str = "folder";
/// The MAC address of the network card that is plugged in.
const SPARE_NIC: &str = "52:54:00:00:00:01";

/// This machine as a host, and as a second host, with the datastores `system` and `images` in a
/// temporary folder.
pub struct LocalBench {
    folder: PathBuf,
    /// Removes the folder. None: a run is played back. Then the folder is not there, and nothing
    /// makes a file.
    made: Option<TempDir>,
    site: Site,
    blind: Option<Site>,
    second: Option<Site>,
    options: TestOptions,
    sandbox: Option<Sandbox>,
    /// Whether everything that the driver can do is held to the epoch of its calls.
    held: bool,
}

/// Finds the bench's own hosts by their names.
struct OwnSites(Vec<Site>);

impl SiteDirectory for OwnSites {
    fn site(&self, name: &HostName) -> Option<Site> {
        self.0.iter().find(|site| site.name == *name).cloned()
    }

    fn host_name(&self, id: HostId) -> Option<HostName> {
        self.0.iter().find(|site| site.id == id).map(|site| site.name.clone())
    }
}

fn parse<T: std::str::FromStr>(text: &str) -> std::io::Result<T>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| std::io::Error::other(format!("{text}: {error}")))
}

/// The same host with other settings: the given ones, or else the known one. None if there are no
/// other settings.
fn variant(
    site: &Site,
    given: &BTreeMap<String, String>,
    known: Option<(&str, &str)>,
) -> Option<Site> {
    let known =
        known.filter(|_| given.is_empty()).map(|(key, value)| (key.to_owned(), value.to_owned()));
    let differs: BTreeMap<_, _> = given.clone().into_iter().chain(known).collect();
    (!differs.is_empty()).then(|| {
        let mut other = site.clone();
        other.config.extend(differs);
        other
    })
}

impl LocalBench {
    /// Makes the bench with its folders.
    ///
    /// # Errors
    /// The folders cannot be made.
    pub fn new(manifest: &Manifest, options: &TestOptions) -> std::io::Result<Self> {
        Self::at(manifest, options, None)
    }

    /// The same. With the folder of a run that was recorded, nothing is made.
    pub(crate) fn at(
        manifest: &Manifest,
        options: &TestOptions,
        recorded: Option<&Path>,
    ) -> std::io::Result<Self> {
        let make = || tempfile::Builder::new().prefix("ostler-bench-").tempdir();
        let made = if recorded.is_none() { Some(make()?) } else { None };
        // A driver names the file below an overlay by its real path, so the root must not be a
        // symbolic link.
        let root = match (&made, recorded) {
            (Some(made), _) => made.path().canonicalize()?,
            (None, recorded) => recorded.unwrap_or(Path::new("/")).to_owned(),
        };
        let mut roots = BTreeMap::new();
        for name in [SYSTEM, IMAGES] {
            let path = root.join(name);
            if made.is_some() {
                std::fs::create_dir(&path)?;
            }
            roots.insert(parse::<DatastoreName>(name)?, path.to_string_lossy().into_owned());
        }
        let mut config = options.config.clone();
        let keeps_files =
            manifest.config.contains_key(DATASTORE) && !config.contains_key(DATASTORE);
        if keeps_files {
            config.insert(DATASTORE.to_owned(), SYSTEM.to_owned());
        }
        let name = parse("bench")?;
        let site = Site { id: HERE, name, config, transport: ExecTransport::Local, roots };
        let blind = variant(&site, &options.blind, keeps_files.then_some((DATASTORE, "nowhere")));
        let apart = keeps_files && manifest.config.contains_key(FOLDER);
        if let Some(guest) = options.guest.as_ref().filter(|_| made.is_some()) {
            for (from, name) in [(Some(&guest.kernel), KERNEL), (guest.initrd.as_ref(), INITRD)] {
                let Some(from) = from else { continue };
                let copied = std::fs::copy(from, root.join(IMAGES).join(name));
                copied.map_err(|error| {
                    std::io::Error::new(error.kind(), format!("{}: {error}", from.display()))
                })?;
            }
        }
        let name = parse("second")?;
        let second = variant(&site, &options.second, apart.then_some((FOLDER, "second")))
            .map(|site| Site { id: SECOND, name, ..site });
        let sandbox = (!options.cuts_within.is_zero()).then(Sandbox::default);
        // What goes over HTTP is not held to an epoch.
        let held = !manifest.asks("http");
        let (folder, options) = (root, options.clone());
        Ok(Self { folder, made, site, blind, second, options, sandbox, held })
    }

    /// The folder of all its files.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The hosts of the bench, for the calls of `files.fetch`.
    #[must_use]
    pub fn directory(&self) -> Arc<dyn SiteDirectory> {
        Arc::new(OwnSites(self.second.iter().chain([&self.site]).cloned().collect()))
    }

    /// Where the host keeps the highest epoch of each store.
    #[must_use]
    pub fn epochs(&self) -> PathBuf {
        self.folder.join("epochs")
    }

    /// The folder of command jobs, for the host that runs the driver.
    #[must_use]
    pub fn jobs_folder(&self) -> String {
        self.folder.join("jobs").display().to_string()
    }

    /// The sandbox that stops the driver, for the host that runs it.
    #[must_use]
    pub fn sandbox(&self) -> Option<ostler_wasm::Cuts> {
        self.sandbox.as_ref().map(|sandbox| sandbox.0.clone())
    }

    fn cuts(&self) -> Option<Arc<dyn Cuts>> {
        self.sandbox.clone().map(|sandbox| Arc::new(sandbox) as _)
    }

    /// Makes the image that disks are made from. It is raw, because that needs no tool.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn make_image(&self) -> Result<(), TestkitError> {
        if self.made.is_none() {
            return Ok(());
        }
        // Half of it is empty, as in most images. The other half shows whether a disk has all of it.
        let mut bytes = Vec::new();
        while bytes.len() < IMAGE_SIZE as usize {
            let block = bytes.len() / BLOCK;
            let filled = if block.is_multiple_of(2) { 0 } else { (block % 251) as u8 + 1 };
            bytes.resize(bytes.len() + BLOCK, filled);
        }
        Ok(tokio::fs::write(self.root(IMAGES).join(IMAGE), bytes).await?)
    }

    fn root(&self, datastore: &str) -> PathBuf {
        let found = self.site.roots.iter().find(|(name, _)| name.as_str() == datastore);
        found.map_or_else(|| self.folder.join(datastore), |(_, root)| PathBuf::from(root))
    }

    /// A file of the bench. Its names are constants, so they are valid; an invalid one would fail
    /// every test at once.
    fn file(&self, datastore: &str, path: &str) -> FileRef {
        let absolute = self.root(datastore).join(path).to_string_lossy().into_owned();
        let name: DatastoreName =
            datastore.parse().expect("the bench's datastores have valid names");
        let path: RelPath = path.parse().expect("the bench's paths are valid");
        FileRef { host: HERE, datastore: name, path, absolute }
    }
}

#[async_trait]
impl Bench for LocalBench {
    fn site(&self) -> Site {
        self.site.clone()
    }

    fn blind_site(&self) -> Option<Site> {
        self.blind.clone()
    }

    async fn domain(&self, identity: Identity) -> DomainSpec {
        let guest = self.options.guest.as_ref();
        // A kernel with a RAM disk needs more than a domain in which nothing runs.
        let memory = if guest.is_some() { 256 } else { 64 };
        DomainSpec {
            identity,
            name: format!("ostler-bench-{}", identity.vm),
            title: "conformance".to_owned(),
            vcpus: 1,
            cpu_milli: 100,
            vcpus_most: 2,
            memory_mib: memory,
            memory_most_mib: 2 * memory,
            firmware: Firmware::Bios,
            kernel: guest.map(|_| self.file(IMAGES, KERNEL)),
            initrd: guest
                .and_then(|guest| guest.initrd.as_ref())
                .map(|_| self.file(IMAGES, INITRD)),
            cmdline: guest.map(|guest| guest.cmdline.clone()).unwrap_or_default(),
            disks: Vec::new(),
            nics: Vec::new(),
            graphics: Graphics::None,
            console_log: self.file(SYSTEM, &format!("{}/console.log", identity.vm)),
        }
    }

    fn recovery(&self, vm: VmUuid) -> FileRef {
        self.file(SYSTEM, &format!("{vm}/memory"))
    }

    fn second_site(&self) -> Option<Site> {
        self.second.clone()
    }

    /// The disk is raw, because that needs no tool.
    async fn spare_disk(&self, vm: VmUuid) -> Option<DomainDisk> {
        let file = self.file(SYSTEM, &format!("{vm}/spare.raw"));
        if self.made.is_some() {
            let path = Path::new(&file.absolute);
            tokio::fs::create_dir_all(path.parent()?).await.ok()?;
            tokio::fs::File::create(path).await.ok()?.set_len(IMAGE_SIZE).await.ok()?;
        }
        Some(DomainDisk {
            name: "vdy".parse().ok()?,
            file,
            format: DiskFormat::Raw,
            read_only: false,
            below: None,
        })
    }

    fn spare_nic(&self) -> Option<DomainNic> {
        let bridge = self.options.bridge.clone()?;
        Some(DomainNic { mac: SPARE_NIC.parse().ok()?, bridge })
    }

    fn copy_place(&self, vm: VmUuid) -> Option<FileRef> {
        Some(self.file(IMAGES, &format!("{vm}/copy")))
    }

    async fn is_there(&self, file: &FileRef) -> Option<bool> {
        tokio::fs::try_exists(&file.absolute).await.ok()
    }

    async fn make_wild(&self, vm: VmUuid) -> bool {
        self.options.wild.as_ref().is_some_and(|make| make(&self.root(SYSTEM), vm).is_ok())
    }

    async fn guest_ready(&self, vm: VmUuid) {
        let Some(says) = self.options.guest.as_ref().and_then(|guest| guest.says.as_deref()) else {
            return;
        };
        let console = self.file(SYSTEM, &format!("{vm}/console.log")).absolute;
        let read = async {
            loop {
                let text = tokio::fs::read(&console).await.unwrap_or_default();
                if String::from_utf8_lossy(&text).contains(says) {
                    return;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        // A guest that is not ready in time fails the check that needs it.
        let _ = tokio::time::timeout(self.options.patience, read).await;
    }

    async fn files(&self) -> Vec<String> {
        let root = self.folder.clone();
        let listed = tokio::task::spawn_blocking(move || files_below(&root)).await;
        let mut listed = listed.unwrap_or_default();
        // The host's own, which no driver can see.
        listed.retain(|file| !file.starts_with("epochs/"));
        listed
    }

    async fn edges(&self, vm: VmUuid) -> Option<u32> {
        self.options.edges.as_ref().and_then(|count| count(&self.root(SYSTEM), vm))
    }

    fn patience(&self) -> Duration {
        self.options.patience
    }

    fn cuts(&self) -> Option<Arc<dyn Cuts>> {
        Self::cuts(self)
    }

    fn boots_from(&self) -> Vec<FileRef> {
        let Some(guest) = &self.options.guest else { return Vec::new() };
        let initrd = guest.initrd.as_ref().map(|_| INITRD);
        [Some(KERNEL), initrd].into_iter().flatten().map(|name| self.file(IMAGES, name)).collect()
    }

    fn holds_epochs(&self) -> bool {
        self.held
    }

    fn cuts_within(&self) -> Duration {
        self.options.cuts_within
    }

    fn wants(&self, check: &str) -> bool {
        self.options.checks.is_empty() || self.options.checks.contains(check)
    }
}

/// The paths of all files below a folder, without following symbolic links.
fn files_below(root: &Path) -> Vec<String> {
    let (mut folders, mut files) = (vec![root.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            } else if files.len() < FILES_MAX
                && let Ok(name) = path.strip_prefix(root)
            {
                files.push(name.to_string_lossy().into_owned());
            }
        }
    }
    files
}

/// A complete qcow2 disk of 1 MiB that is based on [`OUTSIDE`]. It is written byte by byte, because
/// that needs no tool.
fn leading_out() -> Vec<u8> {
    let (name_at, table, block, first) = (0x200, 0x1_0000, 0x2_0000, 0x3_0000);
    let mut disk = vec![0; first + 8];
    let mut put = |at: usize, bytes: &[u8]| disk[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"QFI\xfb");
    put(4, &3_u32.to_be_bytes());
    put(8, &(name_at as u64).to_be_bytes());
    put(16, &(OUTSIDE.len() as u32).to_be_bytes());
    put(20, &16_u32.to_be_bytes());
    put(24, &IMAGE_SIZE.to_be_bytes());
    put(36, &1_u32.to_be_bytes());
    put(40, &(first as u64).to_be_bytes());
    put(48, &(table as u64).to_be_bytes());
    put(56, &1_u32.to_be_bytes());
    put(96, &4_u32.to_be_bytes());
    put(100, &104_u32.to_be_bytes());
    // The header extension with the format of the file below.
    put(104, &0xe279_2aca_u32.to_be_bytes());
    put(108, &3_u32.to_be_bytes());
    put(112, b"raw");
    put(name_at, OUTSIDE);
    put(table, &(block as u64).to_be_bytes());
    // Header, table, block and first table have one cluster each, with one reference.
    for cluster in 0..4 {
        put(block + 2 * cluster, &1_u16.to_be_bytes());
    }
    disk
}

#[async_trait]
impl TransferBench for LocalBench {
    fn site(&self) -> Site {
        self.site.clone()
    }

    fn image(&self) -> (FileRef, DiskFormat) {
        (self.file(IMAGES, IMAGE), DiskFormat::Raw)
    }

    async fn leading_out(&self) -> Option<(FileRef, DiskFormat)> {
        let file = self.file(IMAGES, LEADING_OUT);
        if self.made.is_some() {
            tokio::fs::write(&file.absolute, leading_out()).await.ok()?;
        }
        Some((file, DiskFormat::Qcow2))
    }

    fn place(&self, folder: &str, name: &str) -> FileRef {
        self.file(SYSTEM, &format!("{folder}/{name}"))
    }

    async fn leave_partial(&self, file: &FileRef) {
        if self.made.is_none() {
            return;
        }
        let path = Path::new(&file.absolute);
        if let Some(folder) = path.parent() {
            tokio::fs::create_dir_all(folder).await.expect("the bench's folder can be written");
        }
        tokio::fs::write(path, PARTIAL).await.expect("the bench's folder can be written");
    }

    async fn is_partial(&self, file: &FileRef) -> bool {
        tokio::fs::read(&file.absolute).await.is_ok_and(|content| content == PARTIAL)
    }

    async fn exists(&self, file: &FileRef) -> bool {
        tokio::fs::try_exists(&file.absolute).await.unwrap_or(false)
    }

    async fn content(&self, file: &FileRef) -> Option<Vec<u8>> {
        tokio::fs::read(&file.absolute).await.ok()
    }

    async fn guest_size(&self, file: &FileRef) -> Option<u64> {
        let head = self.content(file).await?;
        // The format is told by the content here, because no guest has written to these disks. In a
        // qcow2 header the size is at byte 24 (the QCOW2 specification, in QEMU's documentation).
        let size = head.get(24..32).filter(|_| head.starts_with(b"QFI\xfb"));
        match size.map(<[u8; 8]>::try_from) {
            Some(Ok(bytes)) => Some(u64::from_be_bytes(bytes)),
            Some(Err(_)) => None,
            None => Some(head.len() as u64),
        }
    }

    async fn beside(&self, file: &FileRef) -> Vec<String> {
        let Some(folder) = Path::new(&file.absolute).parent() else { return Vec::new() };
        let Ok(mut entries) = tokio::fs::read_dir(folder).await else { return Vec::new() };
        let mut names = Vec::new();
        while let Ok(Some(entry)) = entries.next_entry().await {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
        names
    }

    fn patience(&self) -> Duration {
        self.options.patience
    }

    fn cuts(&self) -> Option<Arc<dyn Cuts>> {
        Self::cuts(self)
    }

    fn cuts_within(&self) -> Duration {
        self.options.cuts_within
    }

    fn wants(&self, check: &str) -> bool {
        self.options.checks.is_empty() || self.options.checks.contains(check)
    }
}
