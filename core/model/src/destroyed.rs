//! The things that an operation removes for good. The answer, the event and a dry run list them
//! before they are removed.

use crate::{DiskName, SnapshotName};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Something that cannot be recovered after the operation has succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Destroyed {
    /// A disk, with everything the guest wrote to it.
    Disk {
        /// The disk's name.
        name: DiskName,
    },
    /// The saved memory. The guest then starts from its disks next time, as after a loss of power.
    Memory,
    /// A system snapshot. The VM can no longer be reverted to it.
    Snapshot {
        /// The snapshot's name.
        name: SnapshotName,
        /// The label that its maker gave it; may be empty.
        #[serde(default)]
        label: String,
        /// Whether it stays at the hypervisor, and Ostler only no longer offers it.
        #[serde(default)]
        hidden: bool,
    },
    /// Everything the guest did since a snapshot was made: memory and disks go back to it.
    Changes {
        /// The snapshot.
        since: SnapshotName,
        /// The label that its maker gave it; may be empty.
        #[serde(default)]
        label: String,
    },
}

impl fmt::Display for Destroyed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let called =
            |label: &str| if label.is_empty() { String::new() } else { format!(" ({label})") };
        match self {
            Self::Disk { name } => write!(f, "disk {name}"),
            Self::Memory => f.write_str("saved memory"),
            Self::Snapshot { name, label, .. } => write!(f, "snapshot {name}{}", called(label)),
            Self::Changes { since, label } => {
                write!(f, "all changes since snapshot {since}{}", called(label))
            }
        }
    }
}
