//! A VM's specification, as it is written in files and requests.

use crate::{CpuMilli, Size, Span};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// The specification of a VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VmSpec {
    /// The VM's name. It need not be unique.
    pub name: String,
    /// CPUs that are reserved on the host, as a decimal number. If not given: as many as `vcpus`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuMilli>,
    /// Virtual CPUs that the guest sees. If not given: `cpu` rounded up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vcpus: Option<u32>,
    /// Memory of the guest.
    pub memory: Size,
    /// How far the VM may grow while it runs.
    #[serde(default, skip_serializing_if = "Headroom::is_default")]
    pub headroom: Headroom,
    /// What the guest boots from. If not given: the first disk.
    #[serde(default, skip_serializing_if = "Boot::is_default")]
    pub boot: Boot,
    /// Disks, in boot order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<Disk>,
    /// Network cards.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nics: Vec<Nic>,
    /// The screen: `none` or `vnc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graphics: Option<String>,
    /// The one host that it may be placed on, by name. If not given: any host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Labels, for people and programs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// User data. It is kept and shown as given, but no guest receives it yet.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user_data: String,
    /// How long steps may take.
    #[serde(default, skip_serializing_if = "Patience::is_default")]
    pub patience: Patience,
}

/// How far a VM may grow while it runs. The hypervisor prepares for it when it starts the guest.
/// Nothing is reserved for it on the host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Headroom {
    /// The most virtual CPUs. If not given: as many as the VM has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vcpus: Option<u32>,
    /// The most memory. If not given: as much as the VM has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
}

impl Headroom {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What the guest boots from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Boot {
    /// `bios` or `uefi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<String>,
    /// A kernel to boot directly: `DATASTORE:PATH`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// The initial RAM disk of that kernel: `DATASTORE:PATH`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initrd: Option<String>,
    /// The command line of that kernel.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cmdline: String,
}

impl Boot {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A disk. `image`, `size` or `swap` says where its content comes from. Only `image` and `size` can
/// be given together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// The disk's name and target device: `vda`.
    pub name: String,
    /// A copy on write of this image, by name or id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// An empty disk of this size. With `image`: the size of the disk, at least the image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// A disk of this size, formatted as swap space.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap: Option<Size>,
    /// A file below the datastore's root that is older than the VM. Only VMs that were adopted have
    /// such disks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// `qcow2` or `raw`; `qcow2` if not given (`raw` for swap).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Whether the guest may only read from it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
}

/// A network card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Nic {
    /// The host's bridge that the card is plugged into.
    pub bridge: String,
    /// The card's MAC address. If not given, one is chosen, and it stays the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
}

/// How long steps may take before they count as failed. Times that are not given are the daemon's
/// defaults.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Patience {
    /// For the guest to power off after its power button was pressed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shutdown: Option<Span>,
    /// For the hypervisor to answer any other call, except those that `transfer` is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hypervisor: Option<Span>,
    /// For a call of the transfer driver, such as the copy of one disk to the host or away from it;
    /// also for a live migration, and for the copy of a disk that is in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer: Option<Span>,
    /// How long the guest must have been running before its power button is pressed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_grace: Option<Span>,
}

impl Patience {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
