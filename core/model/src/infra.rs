//! Hosts, datastores and images: what VMs stand on.

use crate::{DatastoreId, DatastoreName, DriverName, HostId, HostName, ImageId, ImageName, Millis, RelPath, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use strum::{Display, EnumIter, EnumString, IntoStaticStr};

/// CPU and memory, as offered by a host or held by a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Capacity {
    /// Thousandths of a physical CPU.
    pub cpu_milli: u64,
    /// Mebibytes.
    pub memory_mib: u64,
}

impl Capacity {
    /// The CPUs as people write them: `0.5`.
    #[must_use]
    pub fn cpus(self) -> String {
        let (whole, rest) = (self.cpu_milli / 1000, self.cpu_milli % 1000);
        format!("{whole}.{rest:03}").trim_end_matches('0').trim_end_matches('.').to_owned()
    }

    /// Sum, saturating.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            cpu_milli: self.cpu_milli.saturating_add(other.cpu_milli),
            memory_mib: self.memory_mib.saturating_add(other.memory_mib),
        }
    }

    /// Difference, or none if `other` is larger in any part.
    #[must_use]
    pub const fn minus(self, other: Self) -> Option<Self> {
        match (self.cpu_milli.checked_sub(other.cpu_milli), self.memory_mib.checked_sub(other.memory_mib)) {
            (Some(cpu_milli), Some(memory_mib)) => Some(Self { cpu_milli, memory_mib }),
            (Some(_) | None, _) => None,
        }
    }

    /// Whether `self` fits into `total`.
    #[must_use]
    pub const fn fits(self, total: Self) -> bool {
        self.cpu_milli <= total.cpu_milli && self.memory_mib <= total.memory_mib
    }
}

/// What VMs hold on a host, kept in the same transaction as the VMs themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Usage {
    /// How many VMs hold capacity there.
    pub vms: u64,
    /// How much they hold together.
    pub held: Capacity,
}

/// What an operator said about a host, and what its failure made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, IntoStaticStr, EnumIter)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum HostState {
    /// Takes new VMs.
    On,
    /// Keeps what it has, takes no more.
    Draining,
    /// Neither monitored nor used.
    Off,
}

/// How commands and files are reached on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ExecTransport {
    /// The machine `ostlerd` runs on.
    Local,
    /// Over ssh, with one shared connection. Drivers never see any of this.
    Ssh {
        /// `user@address`.
        destination: String,
        /// TCP port.
        port: u16,
        /// Path of the private key on the front end.
        #[serde(default)]
        identity_file: Option<String>,
        /// Path of the known-hosts file that must hold the host's key.
        #[serde(default)]
        known_hosts: Option<String>,
    },
}

/// A driver of one host, with what it needs to find it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriverRef {
    /// Which driver.
    pub driver: DriverName,
    /// Driver-specific settings of this host (for `kvm`: `uri`). Not secret.
    #[serde(default)]
    pub config: BTreeMap<String, String>,
}

/// A host that VMs run on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its id; 0 is the front end.
    pub id: HostId,
    /// Its name.
    pub name: HostName,
    /// Its hypervisor driver; the front end may have none.
    pub hypervisor: Option<DriverRef>,
    /// Commands and files.
    pub transport: ExecTransport,
    /// Free words for placement.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// What the operator said.
    pub state: HostState,
    /// What it offers, as last probed (or stated by the operator).
    pub total: Capacity,
    /// Whether `total` was stated by the operator and probing leaves it alone.
    #[serde(default)]
    pub total_is_fixed: bool,
    /// The driver whose snapshot rules count here, before those bound to its hypervisor driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<DriverName>,
    /// Which hypervisor it is, once that was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identified>,
    /// When it was added.
    pub added: Timestamp,
}

/// Which hypervisor a host is, and since when that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identified {
    /// Which.
    pub id: HypervisorId,
    /// Since when it is known of this host. Of two hosts that are one hypervisor, the one that was known later gives way.
    pub since: Timestamp,
}

/// Longest identity of a hypervisor: a UUID, a host name and a URI have room.
const HYPERVISOR_ID_MAX: usize = 1536;

/// Tells a hypervisor from every other. Its driver makes it; nobody else reads anything out of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HypervisorId(String);

/// A text is no identity of a hypervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an identity of a hypervisor has 1 to {HYPERVISOR_ID_MAX} bytes and no control characters")]
pub struct InvalidHypervisorId;

impl HypervisorId {
    /// A checked text.
    ///
    /// # Errors
    /// When it is empty, too long or has control characters.
    pub fn new(text: &str) -> Result<Self, InvalidHypervisorId> {
        let fits = (1..=HYPERVISOR_ID_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
        if fits { Ok(Self(text.to_owned())) } else { Err(InvalidHypervisorId) }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for HypervisorId {
    type Error = InvalidHypervisorId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(&text)
    }
}

impl From<HypervisorId> for String {
    fn from(id: HypervisorId) -> Self {
        id.0
    }
}

/// What a datastore is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, IntoStaticStr, EnumIter)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum DatastoreKind {
    /// Images live here.
    Image,
    /// Disks of VMs that have a host live here.
    System,
}

/// A place for disks, in the charge of a transfer driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Datastore {
    /// Its id.
    pub id: DatastoreId,
    /// Its name.
    pub name: DatastoreName,
    /// Images or running VMs.
    pub kind: DatastoreKind,
    /// The transfer driver in charge.
    pub driver: DriverName,
    /// Absolute directory of the datastore on every host that sees it.
    pub root: String,
    /// Whether all hosts see the same files below `root`.
    pub shared: bool,
    /// When it was added.
    pub added: Timestamp,
}

/// Whether an image can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, IntoStaticStr)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum ImageState {
    /// Can be deployed.
    Ready,
    /// Being written.
    Locked,
    /// Must be looked at by a person.
    Error,
}

/// A disk in an image datastore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Its id.
    pub id: ImageId,
    /// Its name.
    pub name: ImageName,
    /// Where it lives.
    pub datastore: DatastoreId,
    /// Its file.
    pub path: RelPath,
    /// Its format.
    pub format: crate::DiskFormat,
    /// Whether it can be used.
    pub state: ImageState,
    /// Bytes that a guest sees, if that was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_size: Option<u64>,
    /// Whether it is known to stand on no other file. Images that were registered before files were looked at may.
    #[serde(default)]
    pub stands_alone: bool,
    /// When it was registered.
    pub added: Timestamp,
}

/// What a driver may be able to do beyond the mandatory interface. What is exported is the upper bound; a host narrows it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Display, EnumString, IntoStaticStr, EnumIter,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Ability {
    /// Save memory to a file, restore it paused, pause and unpause.
    Suspend,
    /// Move a domain, live or saved.
    Migrate,
    /// Attach and detach disks and NICs.
    Hotplug,
    /// System snapshots.
    Snapshots,
    /// Change CPUs or memory of a running domain.
    LiveResize,
    /// Counters of a running domain.
    Metrics,
    /// A console endpoint.
    Console,
    /// Tell of changes instead of being polled only.
    Changes,
    /// Prove a host off.
    Fence,
    /// Copy a disk in use into an image.
    DiskCopy,
    /// Say what a domain that somebody else made is, and stamp it.
    Adopt,
    /// Run the ACPI or agent reboot, and the hard reset.
    Reboot,
}

/// What probing a host found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// Tells the hypervisor from every other, if its driver can say.
    #[serde(default)]
    pub identity: Option<HypervisorId>,
    /// What the host offers.
    pub total: Capacity,
    /// What the driver can do on it.
    pub abilities: Vec<Ability>,
    /// The hypervisor and its version, for people.
    pub hypervisor: String,
    /// Things an operator should know (`/dev/kvm cannot run a guest: emulation is used`).
    pub notes: Vec<String>,
    /// How long the probe took.
    pub took: Millis,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_told_as_people_write_them() {
        for (cpu_milli, told) in [(0, "0"), (1, "0.001"), (500, "0.5"), (2000, "2"), (10_250, "10.25"), (100_000, "100")] {
            assert_eq!(Capacity { cpu_milli, memory_mib: 0 }.cpus(), told);
        }
    }
}
