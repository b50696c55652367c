//! Options for trying a component.

use ostler_driver_testkit::conformance::CUTS_WITHIN;
use ostler_model::VmUuid;
use ostler_wasm::{Secret, Usage};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Counts the edge effects that reached a guest, from the files below the bench's `system`
/// datastore.
pub type EdgeProbe = Arc<dyn Fn(&Path, VmUuid) -> Option<u32> + Send + Sync>;

/// Makes a domain without a stamp, by files below the bench's `system` datastore.
pub type WildMaker = Arc<dyn Fn(&Path, VmUuid) -> std::io::Result<()> + Send + Sync>;

/// A guest that is booted from a kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Guest {
    /// The file of the kernel.
    pub kernel: PathBuf,
    /// The file of the initial RAM disk.
    pub initrd: Option<PathBuf>,
    /// The kernel's command line.
    pub cmdline: String,
    /// A text that the guest writes to its console when it reacts to the power button and to disks
    /// that come and go. Without it, nothing waits for the guest.
    pub says: Option<String>,
}

/// Whether a run is recorded or played back, and in which file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Tape {
    /// Neither.
    #[default]
    Off,
    /// The calls to the host are written into this file.
    Record(PathBuf),
    /// The calls to the host are answered by this file, and the settings come from it.
    Replay(PathBuf),
}

/// Options for trying a component. [`TestOptions::default`] is enough for drivers that need only
/// datastores.
#[derive(Clone)]
pub struct TestOptions {
    /// Capabilities to grant. None: all that the manifest asks for.
    pub only: Option<BTreeSet<String>>,
    /// Settings of the driver, for example which hypervisor to use. If a setting called `datastore`
    /// is known and not given, it names the bench's own datastore.
    pub config: BTreeMap<String, String>,
    /// Secrets of the driver, by name.
    pub secrets: BTreeMap<String, Secret>,
    /// Settings that differ on a host that cannot be asked. If none are given, a setting called
    /// `datastore` names one that does not exist.
    pub blind: BTreeMap<String, String>,
    /// Settings that differ on a second host, which domains are migrated to. If none are given, a
    /// setting called `folder` names another folder.
    pub second: BTreeMap<String, String>,
    /// The bridge that network cards are plugged into.
    pub bridge: Option<String>,
    /// The names of the checks to run. Empty: all.
    pub checks: BTreeSet<String>,
    /// The guest of the domains. None: they have no disk and no kernel, and nothing runs in them.
    pub guest: Option<Guest>,
    /// How long a call may take.
    pub patience: Duration,
    /// How long all checks that stop the driver at its calls to the host may take together. Zero:
    /// they are skipped.
    pub cuts_within: Duration,
    /// Whether the run is recorded or played back. Then no check stops the driver at its calls to
    /// the host.
    pub tape: Tape,
    /// Watches what the driver uses.
    pub usage: Option<Usage>,
    /// Counts edge effects, if they can be seen from outside.
    pub edges: Option<EdgeProbe>,
    /// Makes a wild domain, if that can be done from outside.
    pub wild: Option<WildMaker>,
}

impl Default for TestOptions {
    fn default() -> Self {
        Self {
            only: None,
            config: BTreeMap::new(),
            secrets: BTreeMap::new(),
            blind: BTreeMap::new(),
            second: BTreeMap::new(),
            bridge: None,
            checks: BTreeSet::new(),
            guest: None,
            patience: Duration::from_secs(10),
            cuts_within: CUTS_WITHIN,
            tape: Tape::Off,
            usage: None,
            edges: None,
            wild: None,
        }
    }
}
