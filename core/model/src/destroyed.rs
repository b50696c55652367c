//! What an operation removes for good: told in its answer, in its event and by a dry run, before it happens.

use crate::{DiskName, SnapshotName};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Something that cannot be had again once the operation is through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Destroyed {
    /// A disk, with everything the guest wrote to it.
    Disk {
        /// Which.
        name: DiskName,
    },
    /// The saved memory. The guest starts from its disks next time, as after a loss of power.
    Memory,
    /// A system snapshot. Nobody can go back to it any more.
    Snapshot {
        /// Which.
        name: SnapshotName,
        /// What its maker calls it; may be empty.
        #[serde(default)]
        label: String,
        /// Whether it stays at the hypervisor, and is only no longer offered.
        #[serde(default)]
        hidden: bool,
    },
    /// Everything the guest did since a snapshot was made: memory and disks go back to it.
    Changes {
        /// The snapshot.
        since: SnapshotName,
        /// What its maker calls it; may be empty.
        #[serde(default)]
        label: String,
    },
}

impl fmt::Display for Destroyed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let called = |label: &str| if label.is_empty() { String::new() } else { format!(" ({label})") };
        match self {
            Self::Disk { name } => write!(f, "disk {name}"),
            Self::Memory => f.write_str("saved memory"),
            Self::Snapshot { name, label, .. } => write!(f, "snapshot {name}{}", called(label)),
            Self::Changes { since, label } => write!(f, "all changes since snapshot {since}{}", called(label)),
        }
    }
}
