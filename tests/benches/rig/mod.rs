//! The shared parts of the benchmarks of the whole system: a cheap client, the event stream, and
//! figures as a table.

#![allow(dead_code, reason = "each benchmark takes what it needs")]

pub(crate) mod client;
pub(crate) mod feed;
pub(crate) mod figures;
pub(crate) mod floor;
pub(crate) mod process;

use ostler_tests::daemon::{self, Daemon};
use std::path::Path;

/// The width of the lane of the `sim` host. Its calls take microseconds of CPU and wait for
/// nothing.
const LANE: usize = 64;
/// The capacity of the host. It is more than any benchmark needs.
const CAPACITY: [(&str, &str); 2] = [("cpu-milli", "4000000"), ("memory-mib", "4000000")];

/// The host that the benchmarks use.
pub(crate) const HOST: &str = "a";
/// A folder that is in memory.
const SHM: &str = "/dev/shm";

/// The folders of a benchmark. The daemon's folder is on the disk. The folder of the `sim` hosts is
/// in memory, as hypervisors keep their domains in memory. With `OSTLER_SIM_ON_DISK` set both are
/// on the disk.
pub(crate) struct Folders {
    dir: tempfile::TempDir,
    _hosts: Option<tempfile::TempDir>,
}

impl Folders {
    /// Makes the folders. They are removed when this is dropped.
    ///
    /// # Panics
    /// When they cannot be made.
    #[must_use]
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let on_disk = std::env::var_os("OSTLER_SIM_ON_DISK").is_some() || !Path::new(SHM).is_dir();
        let hosts = (!on_disk).then(|| {
            tempfile::Builder::new().prefix("ostler-bench-").tempdir_in(SHM).expect("a folder")
        });
        if let Some(hosts) = &hosts {
            std::os::unix::fs::symlink(hosts.path(), dir.path().join("simhosts")).expect("a link");
        }
        Self { dir, _hosts: hosts }
    }

    /// The folder of the daemon.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Default for Folders {
    fn default() -> Self {
        Self::new()
    }
}

/// A daemon on `dir` with one large `sim` host.
pub(crate) async fn daemon(dir: &Path, log: &str) -> Daemon {
    let config = dir.join("ostlerd.toml");
    std::fs::write(&config, format!("lane_width = {LANE}\n")).expect("a file");
    let config = config.display().to_string();
    let arguments = ["--log", log, "--config", config.as_str()];
    let daemon = Daemon::start(dir, &arguments);
    daemon::datastores(daemon.client(), dir).await;
    std::fs::create_dir_all(dir.join("simhosts").join(HOST)).expect("a folder");
    daemon::sim_host(daemon.client(), HOST, &CAPACITY).await;
    daemon
}

/// A number from the environment, or `otherwise`.
#[must_use]
pub(crate) fn setting(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Whether this benchmark was named on the command line. All are run if none was named.
#[must_use]
pub(crate) fn asked(name: &str) -> bool {
    let mut names =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).peekable();
    names.peek().is_none() || names.any(|given| given == name)
}
