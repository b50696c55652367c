//! Hosts, datastores and images.

use crate::{
    DatastoreId, DatastoreName, DriverName, HostId, HostName, ImageId, ImageName, Millis, RelPath,
    Timestamp,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
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
    /// The number of CPUs, written for people: `0.5`.
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
        match (
            self.cpu_milli.checked_sub(other.cpu_milli),
            self.memory_mib.checked_sub(other.memory_mib),
        ) {
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

/// The capacity that VMs hold on a host. The store updates it in the same transaction as the VMs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Usage {
    /// How many VMs hold capacity there.
    pub vms: u64,
    /// The sum of what they hold.
    pub held: Capacity,
}

/// How far an operator lets Ostler use a host.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    IntoStaticStr,
    EnumIter,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum HostState {
    /// Takes new VMs.
    On,
    /// Keeps the VMs that it has, takes no new ones.
    Draining,
    /// Neither monitored nor used.
    Off,
}

/// How Ostler reaches commands and files on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ExecTransport {
    /// The machine `ostlerd` runs on.
    Local,
    /// Over ssh, with one shared connection. Drivers never see these settings.
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

/// The driver of one host, with the settings by which the driver finds the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriverRef {
    /// The driver's name.
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
    /// How commands and files are reached on it.
    pub transport: ExecTransport,
    /// Free labels, for people: placement does not look at them.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// How far the operator lets Ostler use it.
    pub state: HostState,
    /// Its capacity, as last probed or as stated by the operator.
    pub total: Capacity,
    /// Whether the operator stated `total`. If so, probing does not change it.
    #[serde(default)]
    pub total_is_fixed: bool,
    /// The driver whose snapshot rules hold on this host. It takes precedence over rules that are
    /// bound to the hypervisor driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<DriverName>,
    /// Its hypervisor identity; none until the hypervisor driver has told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identified>,
    /// When it was added.
    pub added: Timestamp,
}

impl Host {
    /// The settings that a driver gets for this host: those of the host's own driver, and none for
    /// any other. They say where servers are, so another driver would send its login there.
    #[must_use]
    pub fn settings_for(&self, driver: &DriverName) -> Option<&BTreeMap<String, String>> {
        let own = self.hypervisor.as_ref().filter(|own| own.driver == *driver)?;
        Some(&own.config)
    }
}

/// A host's hypervisor identity, and since when it is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identified {
    /// The hypervisor identity.
    pub id: HypervisorId,
    /// Since when it is known of this host. If two hosts turn out to be the same hypervisor, the
    /// host with the later time gives way.
    pub since: Timestamp,
}

/// Longest hypervisor identity. There is room for a UUID, a host name and a URI.
const HYPERVISOR_ID_MAX: usize = 1536;

/// A hypervisor identity: distinguishes a hypervisor from every other. The driver makes it. Nothing
/// else interprets its content.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HypervisorId(String);

/// The text is not a hypervisor identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an identity of a hypervisor has 1 to {HYPERVISOR_ID_MAX} bytes and no control characters")]
pub struct InvalidHypervisorId;

impl HypervisorId {
    /// Checks the text.
    ///
    /// # Errors
    /// If the text is empty, is too long or has control characters.
    pub fn new(text: &str) -> Result<Self, InvalidHypervisorId> {
        let fits =
            (1..=HYPERVISOR_ID_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
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

/// The purpose of a datastore.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    IntoStaticStr,
    EnumIter,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum DatastoreKind {
    /// It holds images.
    Image,
    /// A system datastore: it holds the disks of VMs that have a host.
    System,
}

/// A folder for disks, managed by a transfer driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Datastore {
    /// Its id.
    pub id: DatastoreId,
    /// Its name.
    pub name: DatastoreName,
    /// Whether it holds images or the disks of VMs.
    pub kind: DatastoreKind,
    /// The transfer driver that manages it.
    pub driver: DriverName,
    /// Absolute path of the datastore's folder. It is the same on every host that sees the
    /// datastore.
    pub root: String,
    /// Whether all hosts see the same files below `root`.
    pub shared: bool,
    /// When it was added.
    pub added: Timestamp,
}

/// Whether an image can be used.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum ImageState {
    /// Can be deployed.
    Ready,
    /// Being written.
    Locked,
    /// Broken; a person must examine it.
    Error,
}

/// A disk in an image datastore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Its id.
    pub id: ImageId,
    /// Its name.
    pub name: ImageName,
    /// The datastore that holds it.
    pub datastore: DatastoreId,
    /// Its file, below the datastore's root.
    pub path: RelPath,
    /// Its format.
    pub format: crate::DiskFormat,
    /// Whether it can be used.
    pub state: ImageState,
    /// The size that a guest sees, in bytes; none if the file was not inspected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_size: Option<u64>,
    /// Whether the image is known to need no other file below it. False for images that were
    /// registered before Ostler inspected files: they may need one.
    #[serde(default)]
    pub stands_alone: bool,
    /// When it was registered.
    pub added: Timestamp,
}

impl Image {
    /// The least size of a disk that is made from the image, in MiB: the image's own, rounded up. 0
    /// if the file was not inspected.
    #[must_use]
    pub fn least_mib(&self) -> u64 {
        self.virtual_size.map_or(0, |bytes| bytes.div_ceil(1024 * 1024))
    }
}

/// An optional part of the driver contract. The abilities that a driver exports are the upper
/// bound; each host may offer fewer.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    IntoStaticStr,
    EnumIter,
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
    /// Report changes, so that Ostler need not rely on polling alone.
    Changes,
    /// Prove that a host is off.
    Fence,
    /// Copy a disk in use into an image.
    DiskCopy,
    /// Describe a domain that somebody else made, and stamp it.
    Adopt,
    /// Run the ACPI or agent reboot, and the hard reset.
    Reboot,
}

/// The result of probing a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// The hypervisor identity, if the driver can tell it.
    #[serde(default)]
    pub identity: Option<HypervisorId>,
    /// The capacity that the host offers.
    pub total: Capacity,
    /// The driver's abilities on this host.
    pub abilities: Vec<Ability>,
    /// The hypervisor and its version, for people.
    pub hypervisor: String,
    /// The names of the host's network interfaces, its bridges among them. None: the driver cannot
    /// tell.
    #[serde(default)]
    pub interfaces: Option<BTreeSet<String>>,
    /// Things an operator should know (`/dev/kvm cannot run a guest: emulation is used`).
    pub notes: Vec<String>,
    /// How long the probe took.
    pub took: Millis,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_of_a_host_are_for_its_own_driver() {
        let driver = |name: &str| -> DriverName { name.parse().expect("a name") };
        let config = BTreeMap::from([("url".to_owned(), "https://pool".to_owned())]);
        let host = Host {
            id: HostId(7),
            name: "h7".parse().expect("a name"),
            hypervisor: Some(DriverRef { driver: driver("xcp"), config: config.clone() }),
            transport: ExecTransport::Local,
            labels: BTreeMap::new(),
            state: HostState::On,
            total: Capacity::default(),
            total_is_fixed: false,
            rules: None,
            identity: None,
            added: Timestamp(0),
        };
        assert_eq!(host.settings_for(&driver("xcp")), Some(&config));
        assert_eq!(host.settings_for(&driver("s3")), None);
        let front_end = Host { hypervisor: None, ..host };
        assert_eq!(front_end.settings_for(&driver("xcp")), None);
    }

    #[test]
    fn cpus_are_told_as_people_write_them() {
        for (cpu_milli, told) in
            [(0, "0"), (1, "0.001"), (500, "0.5"), (2000, "2"), (10_250, "10.25"), (100_000, "100")]
        {
            assert_eq!(Capacity { cpu_milli, memory_mib: 0 }.cpus(), told);
        }
    }
}
