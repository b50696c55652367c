//! Why a host does not fit a VM.

use crate::HostName;
use serde::{Deserialize, Serialize};

/// Why a host takes no VM, or not this one, even if it has enough capacity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unfit {
    /// It has no hypervisor driver.
    NoHypervisor,
    /// There is no system datastore for a VM that has none yet.
    NoStorage,
    /// Something of an earlier stay of the VM may be there, even a domain that runs.
    Leftover,
    /// It is the same hypervisor as this host. The VM would move onto itself, and the removal at
    /// the origin would remove the domain that has arrived.
    OneHypervisor(HostName),
    /// It sees the same files as this host, though the datastore is not shared. Files that are
    /// copied there would be removed when this host is cleared.
    OneFileSystem(HostName),
    /// It does not have this bridge, into which a network card of the VM is plugged.
    NoBridge(String),
}
