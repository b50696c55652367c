//! The bench of the tests of command jobs: a datastore with scripts, and a folder for jobs.

use super::support::{all, host, hypervisor, load, options, site, told, vm};
use ostler_driver::{CallControl, DomainSpec, FileRef, Hypervisor, Site};
use ostler_model::{DriverError, Firmware, Generation, Graphics, HostId, Identity, StoreId};
use ostler_wasm::HostOptions;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub(crate) const LONG: Duration = Duration::from_secs(600);

/// A datastore with scripts, and a folder for jobs.
pub(crate) struct Lab {
    pub(crate) dir: tempfile::TempDir,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let lab = Self { dir: tempfile::tempdir().expect("dir") };
        std::fs::create_dir(lab.root()).expect("made");
        lab
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("ds")
    }

    pub(crate) fn jobs(&self) -> PathBuf {
        self.dir.path().join("jobs")
    }

    pub(crate) fn options(&self) -> HostOptions {
        HostOptions { jobs_folder: self.jobs().display().to_string(), ..options() }
    }

    pub(crate) async fn driver(&self) -> Arc<dyn Hypervisor> {
        hypervisor(&load(&host(self.options()), all()).await)
    }

    pub(crate) fn site(&self, deed: &str) -> Site {
        site(&self.root(), deed)
    }

    /// Writes a script. In it `$D` is the datastore.
    pub(crate) fn script(&self, name: &str, text: &str) {
        let text = format!("D={}\n{text}\n", self.root().display());
        std::fs::write(self.root().join(name), text).expect("written");
    }

    pub(crate) fn make(&self, name: &str) {
        std::fs::write(self.root().join(name), "").expect("written");
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.root().join(name).exists()
    }

    /// The folder of the only job.
    pub(crate) fn job(&self) -> PathBuf {
        let only = |folder: &Path| {
            let all = folder.read_dir().expect("a folder").map(|entry| entry.expect("read").path());
            let mut all: Vec<PathBuf> = all.filter(|path| path.is_dir()).collect();
            assert_eq!(all.len(), 1, "{all:?}");
            all.remove(0)
        };
        only(&only(&self.jobs()))
    }
}

/// Waits for something that comes soon.
pub(crate) async fn until(what: &str, mut is: impl FnMut() -> bool) {
    for _ in 0..12_000 {
        if is() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{what} did not come");
}

pub(crate) async fn says(
    driver: &Arc<dyn Hypervisor>,
    lab: &Lab,
    deed: &str,
) -> Result<String, DriverError> {
    told(driver, &lab.site(deed)).await
}

/// Asks for a job until it is no longer at work.
pub(crate) async fn end(driver: &Arc<dyn Hypervisor>, lab: &Lab, name: &str) -> String {
    for _ in 0..3_000 {
        let state = says(driver, lab, &format!("job poll {name}")).await.expect("told");
        if !state.starts_with("running") {
            return state;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("job {name} does not end");
}

/// Makes the call `control` with a deed, and answers what is told of the job.
pub(crate) async fn asked(
    driver: &Arc<dyn Hypervisor>,
    control: &CallControl,
    site: &Site,
) -> String {
    driver.remove(site, control).await.expect_err("told").detail
}

pub(crate) fn named(lab: &Lab, name: &str, deed: &str) -> Site {
    let root = lab.dir.path().join(name);
    std::fs::create_dir_all(&root).expect("made");
    Site { id: HostId(2), name: name.parse().expect("a name"), ..site(&root, deed) }
}

pub(crate) fn domain() -> DomainSpec {
    let file = FileRef {
        host: HostId(1),
        datastore: "ds".parse().expect("a name"),
        path: "console".parse().expect("a path"),
        absolute: "/x/console".to_owned(),
    };
    let store = StoreId(uuid::Uuid::nil());
    DomainSpec {
        identity: Identity { store, vm: vm(1), generation: Generation(9) },
        name: "ostler-1".to_owned(),
        title: String::new(),
        vcpus: 1,
        cpu_milli: 1000,
        vcpus_most: 1,
        memory_mib: 64,
        memory_most_mib: 64,
        firmware: Firmware::Bios,
        kernel: None,
        initrd: None,
        cmdline: String::new(),
        disks: Vec::new(),
        nics: Vec::new(),
        graphics: Graphics::None,
        console_log: file,
    }
}
