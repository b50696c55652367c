//! System snapshots in the record, and the hardware that each of them has.

use crate::{DiskName, MacAddress, Size, SnapshotName, Timestamp};
use serde::{Deserialize, Serialize};

/// A system snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its name, derived from the operation that made it.
    pub name: SnapshotName,
    /// The label that its maker gave it.
    #[serde(default)]
    pub label: String,
    /// When it was made.
    pub made: Timestamp,
    /// Whether Ostler no longer offers it.
    pub hidden: bool,
    /// Whether the current operation removes it, because the snapshot rules say that it does not
    /// survive that operation.
    #[serde(default)]
    pub losing: bool,
    /// The hardware that the VM had when it was made. A revert brings it back. None if an
    /// older version of Ostler made the snapshot: it did not write this down.
    #[serde(default)]
    pub hardware: Option<Hardware>,
}

impl Snapshot {
    /// Whether the snapshot has the disk `name`. False of a snapshot whose hardware is not known.
    #[must_use]
    pub fn has_disk(&self, name: &DiskName) -> bool {
        self.hardware.as_ref().is_some_and(|hardware| hardware.disks.contains(name))
    }
}

/// The hardware of a VM, as far as it can change while the VM has snapshots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hardware {
    /// Its disks.
    pub disks: Vec<DiskName>,
    /// The addresses of its network cards.
    pub nics: Vec<MacAddress>,
    /// Its CPUs and memory.
    pub size: Size,
}

impl Hardware {
    /// All changes that have led from this hardware to `now`: disks first, then network cards, then
    /// the size.
    #[must_use]
    pub fn changes(&self, now: &Self) -> Vec<HardwareChange> {
        let mut changes = Vec::new();
        changes.extend(only_in(&now.disks, &self.disks).map(HardwareChange::DiskAttached));
        changes.extend(only_in(&self.disks, &now.disks).map(HardwareChange::DiskDetached));
        changes.extend(only_in(&now.nics, &self.nics).map(HardwareChange::NicAttached));
        changes.extend(only_in(&self.nics, &now.nics).map(HardwareChange::NicDetached));
        if self.size != now.size {
            changes.push(HardwareChange::Resized { from: self.size, to: now.size });
        }
        changes
    }
}

fn only_in<'a, T: PartialEq + Clone>(these: &'a [T], those: &'a [T]) -> impl Iterator<Item = T> {
    these.iter().filter(|this| !those.contains(this)).cloned()
}

/// One change of a VM's hardware.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HardwareChange {
    /// A disk was attached.
    DiskAttached(DiskName),
    /// A disk was detached.
    DiskDetached(DiskName),
    /// A network card was attached.
    NicAttached(MacAddress),
    /// A network card was detached.
    NicDetached(MacAddress),
    /// Its CPUs or memory were changed.
    Resized {
        /// The size before.
        from: Size,
        /// The size now.
        to: Size,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hardware(disks: &[&str], nics: &[&str], memory_mib: u64) -> Hardware {
        Hardware {
            disks: disks.iter().map(|name| name.parse().expect("a disk's name")).collect(),
            nics: nics.iter().map(|mac| mac.parse().expect("an address")).collect(),
            size: Size { cpu_milli: 1000, vcpus: 1, memory_mib },
        }
    }

    #[test]
    fn each_change_is_told_and_nothing_else() {
        let (one, other) = ("52:54:00:00:00:01", "52:54:00:00:00:02");
        let then = hardware(&["vda", "vdb"], &[one], 512);
        assert_eq!(then.changes(&then), []);
        let now = hardware(&["vdc", "vda"], &[other], 1024);
        assert_eq!(
            then.changes(&now),
            [
                HardwareChange::DiskAttached("vdc".parse().expect("a disk's name")),
                HardwareChange::DiskDetached("vdb".parse().expect("a disk's name")),
                HardwareChange::NicAttached(other.parse().expect("an address")),
                HardwareChange::NicDetached(one.parse().expect("an address")),
                HardwareChange::Resized { from: then.size, to: now.size },
            ]
        );
    }
}
