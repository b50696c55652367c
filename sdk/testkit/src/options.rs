//! How a component is tried.

use ostler_model::VmUuid;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Tells how many edges reached a guest, from what lies below the bench's `system` datastore.
pub type EdgeProbe = Arc<dyn Fn(&Path, VmUuid) -> Option<u32> + Send + Sync>;

/// Has a domain be there that nobody stamped, by what lies below the bench's `system` datastore.
pub type WildMaker = Arc<dyn Fn(&Path, VmUuid) -> std::io::Result<()> + Send + Sync>;

/// How a component is tried. [`TestOptions::default`] suits drivers that need nothing but datastores.
#[derive(Clone)]
pub struct TestOptions {
    /// Capabilities to grant; none grants what the manifest asks for.
    pub only: Option<BTreeSet<String>>,
    /// Settings: where the hypervisor is that the driver shall be tried on. A setting called `datastore` that is not given names the
    /// bench's own.
    pub config: BTreeMap<String, String>,
    /// Settings that differ on a host that cannot be asked. Without any, a setting called `datastore` names one that is not there.
    pub blind: BTreeMap<String, String>,
    /// Settings that differ on a second host, which domains are migrated to. Without any, a setting called `folder` names another one.
    pub second: BTreeMap<String, String>,
    /// The bridge that network cards are plugged into.
    pub bridge: Option<String>,
    /// The longest a call may take.
    pub patience: Duration,
    /// How edges are counted, where that can be seen from outside.
    pub edges: Option<EdgeProbe>,
    /// How a wild domain is made, where that can be done from outside.
    pub wild: Option<WildMaker>,
}

impl Default for TestOptions {
    fn default() -> Self {
        Self {
            only: None,
            config: BTreeMap::new(),
            blind: BTreeMap::new(),
            second: BTreeMap::new(),
            bridge: None,
            patience: Duration::from_secs(10),
            edges: None,
            wild: None,
        }
    }
}
