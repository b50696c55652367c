//! Runs of the suite on a cassette: which one is recorded or played back, and the bench of such a
//! run, whose looks from outside of the driver are on the cassette as well.

use crate::TestkitError;
use crate::bench::LocalBench;
use crate::options::{Guest, Tape, TestOptions};
use async_trait::async_trait;
use ostler_driver::{DomainDisk, DomainNic, DomainSpec, FileRef, Site};
use ostler_driver_testkit::conformance::{Bench, Cuts, TransferBench};
use ostler_model::{DiskFormat, Identity, VmUuid};
use ostler_wasm::{Cassette, Inspection, Secret};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A shorter secret is found in texts that have nothing to do with it, so it is not taken out of a
/// recording.
const SECRET_LEAST: usize = 8;

/// How the suite was run: what a run that is played back needs.
#[derive(Serialize, Deserialize)]
pub(crate) struct Setup {
    /// The folder of the bench. A run that is played back does not use it; its files are only named.
    pub(crate) root: PathBuf,
    only: Option<BTreeSet<String>>,
    config: BTreeMap<String, String>,
    secrets: BTreeSet<String>,
    blind: BTreeMap<String, String>,
    second: BTreeMap<String, String>,
    bridge: Option<String>,
    checks: BTreeSet<String>,
    guest: Option<(bool, String)>,
    patience_ms: u64,
}

impl Setup {
    pub(crate) fn of(options: &TestOptions, root: &Path) -> Result<Self, TestkitError> {
        let short = |secret: &Secret| secret.is_shorter_than(SECRET_LEAST);
        if let Some((name, _)) = options.secrets.iter().find(|(_, secret)| short(secret)) {
            return Err(TestkitError::ShortSecret { name: name.clone(), least: SECRET_LEAST });
        }
        let guest = options.guest.as_ref();
        Ok(Self {
            root: root.to_owned(),
            only: options.only.clone(),
            config: options.config.clone(),
            secrets: options.secrets.keys().cloned().collect(),
            blind: options.blind.clone(),
            second: options.second.clone(),
            bridge: options.bridge.clone(),
            checks: options.checks.clone(),
            guest: guest.map(|guest| (guest.initrd.is_some(), guest.cmdline.clone())),
            patience_ms: u64::try_from(options.patience.as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// The options of the run that is played back. Secrets have their marks as values.
    pub(crate) fn options(&self) -> TestOptions {
        let marked = |name: &String| (name.clone(), Secret::new(format!("[secret {name}]")));
        let guest = |(initrd, cmdline): &(bool, String)| Guest {
            kernel: PathBuf::new(),
            initrd: initrd.then(PathBuf::new),
            cmdline: cmdline.clone(),
            says: Some(String::new()),
        };
        TestOptions {
            only: self.only.clone(),
            config: self.config.clone(),
            secrets: self.secrets.iter().map(marked).collect(),
            blind: self.blind.clone(),
            second: self.second.clone(),
            bridge: self.bridge.clone(),
            checks: self.checks.clone(),
            guest: self.guest.as_ref().map(guest),
            patience: Duration::from_millis(self.patience_ms),
            cuts_within: Duration::ZERO,
            ..TestOptions::default()
        }
    }
}

/// Reads the cassette of a run that is played back. None if the run is not.
pub(crate) fn played(tape: &Tape) -> Result<Option<(Cassette, Setup)>, TestkitError> {
    let Tape::Replay(path) = tape else { return Ok(None) };
    let file = std::fs::read(path).map_err(|error| bad(path, &error))?;
    let cassette = Cassette::replay(&file).map_err(|error| bad(path, &error))?;
    let setup = serde_json::from_value(cassette.recorded().setup.clone());
    let setup = setup.map_err(|error| bad(path, &format!("line 1: {error}")))?;
    Ok(Some((cassette, setup)))
}

/// Begins a recording.
pub(crate) fn recording(driver: &Inspection, setup: &Setup) -> Result<Cassette, TestkitError> {
    let setup = serde_json::to_value(setup).map_err(std::io::Error::from)?;
    Ok(Cassette::record(driver, setup))
}

fn bad(path: &Path, problem: &dyn std::fmt::Display) -> TestkitError {
    TestkitError::Cassette { path: path.to_owned(), problem: problem.to_string() }
}

/// Makes the file of a recording before the suite runs, so that no run is lost because of it.
pub(crate) fn writable(path: &Path) -> Result<(), TestkitError> {
    std::fs::File::create(path).map(drop).map_err(|error| bad(path, &error))
}

/// Writes a recording into its file.
pub(crate) fn write(path: &Path, cassette: &Cassette) -> Result<(), TestkitError> {
    let file = cassette.file().map_err(|error| bad(path, &error))?;
    std::fs::write(path, file).map_err(|error| bad(path, &error))
}

/// A bench whose looks from outside of the driver are on a cassette. Nothing else is there when a
/// run is played back: no folder and no file.
pub(crate) struct TapedBench {
    pub(crate) bench: Arc<LocalBench>,
    pub(crate) cassette: Cassette,
}

impl TapedBench {
    fn begins(&self, check: &str) {
        self.cassette.begins(check);
    }

    fn fresh(&self) -> VmUuid {
        VmUuid(self.cassette.identity())
    }

    /// The first difference ends the run.
    fn goes_on(&self, check: &str) -> bool {
        self.cassette.problem().is_none() && Bench::wants(&*self.bench, check)
    }
}

#[async_trait]
impl Bench for TapedBench {
    fn site(&self) -> Site {
        Bench::site(&*self.bench)
    }
    fn blind_site(&self) -> Option<Site> {
        self.bench.blind_site()
    }
    async fn domain(&self, identity: Identity) -> DomainSpec {
        self.bench.domain(identity).await
    }
    fn recovery(&self, vm: VmUuid) -> FileRef {
        self.bench.recovery(vm)
    }
    fn second_site(&self) -> Option<Site> {
        self.bench.second_site()
    }
    async fn spare_disk(&self, vm: VmUuid) -> Option<DomainDisk> {
        self.bench.spare_disk(vm).await
    }
    fn spare_nic(&self) -> Option<DomainNic> {
        self.bench.spare_nic()
    }
    fn copy_place(&self, vm: VmUuid) -> Option<FileRef> {
        self.bench.copy_place(vm)
    }
    async fn is_there(&self, file: &FileRef) -> Option<bool> {
        let look = self.bench.is_there(file);
        self.cassette.look("bench.is-there", &file.absolute, look).await?
    }
    async fn make_wild(&self, vm: VmUuid) -> bool {
        let made = self.bench.make_wild(vm);
        self.cassette.look("bench.make-wild", &vm.to_string(), made).await.unwrap_or_default()
    }
    async fn edges(&self, vm: VmUuid) -> Option<u32> {
        let count = self.bench.edges(vm);
        self.cassette.look("bench.edges", &vm.to_string(), count).await?
    }
    async fn guest_ready(&self, vm: VmUuid) {
        // The guest of a run that is played back is ready at once.
        if !self.cassette.is_replay() {
            self.bench.guest_ready(vm).await;
        }
    }
    async fn files(&self) -> Vec<String> {
        self.cassette.look("bench.files", "", self.bench.files()).await.unwrap_or_default()
    }
    fn patience(&self) -> Duration {
        Bench::patience(&*self.bench)
    }
    fn cuts(&self) -> Option<Arc<dyn Cuts>> {
        None
    }
    fn boots_from(&self) -> Vec<FileRef> {
        self.bench.boots_from()
    }
    /// The host decides whether a call is held to its epoch, and on a cassette there is no host.
    fn holds_epochs(&self) -> bool {
        false
    }
    fn wants(&self, check: &str) -> bool {
        self.goes_on(check)
    }
    fn begins(&self, check: &str) {
        Self::begins(self, check);
    }
    fn fresh(&self) -> VmUuid {
        Self::fresh(self)
    }
}

#[async_trait]
impl TransferBench for TapedBench {
    fn site(&self) -> Site {
        Bench::site(&*self.bench)
    }
    fn image(&self) -> (FileRef, DiskFormat) {
        self.bench.image()
    }
    async fn leading_out(&self) -> Option<(FileRef, DiskFormat)> {
        self.bench.leading_out().await
    }
    fn place(&self, folder: &str, name: &str) -> FileRef {
        self.bench.place(folder, name)
    }
    async fn leave_partial(&self, file: &FileRef) {
        self.bench.leave_partial(file).await;
    }
    async fn is_partial(&self, file: &FileRef) -> bool {
        let look = self.bench.is_partial(file);
        self.cassette.look("bench.is-partial", &file.absolute, look).await.unwrap_or_default()
    }
    async fn exists(&self, file: &FileRef) -> bool {
        let look = self.bench.exists(file);
        self.cassette.look("bench.exists", &file.absolute, look).await.unwrap_or_default()
    }
    async fn guest_size(&self, file: &FileRef) -> Option<u64> {
        let look = self.bench.guest_size(file);
        self.cassette.look("bench.guest-size", &file.absolute, look).await?
    }
    async fn beside(&self, file: &FileRef) -> Vec<String> {
        let look = self.bench.beside(file);
        self.cassette.look("bench.beside", &file.absolute, look).await.unwrap_or_default()
    }
    fn patience(&self) -> Duration {
        Bench::patience(&*self.bench)
    }
    fn wants(&self, check: &str) -> bool {
        self.goes_on(check)
    }
    fn begins(&self, check: &str) {
        Self::begins(self, check);
    }
    fn fresh(&self) -> VmUuid {
        Self::fresh(self)
    }
}
