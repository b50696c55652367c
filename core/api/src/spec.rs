//! A VM's specification, as it stands in files and requests.

use crate::{CpuMilli, Size, Span};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// What a VM is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VmSpec {
    /// Its name; need not be unique.
    pub name: String,
    /// CPUs that placement reserves, in decimals; as many as `vcpus` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuMilli>,
    /// Virtual CPUs the guest sees; `cpu` rounded up if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vcpus: Option<u32>,
    /// Memory.
    pub memory: Size,
    /// How far it may grow while it runs.
    #[serde(default, skip_serializing_if = "Headroom::is_default")]
    pub headroom: Headroom,
    /// What starts first; the first disk if nothing is given.
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
    /// The one host it may be placed on, by name; any if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Free words.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Kept and shown as given. No guest is handed it yet.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user_data: String,
    /// How long steps may take.
    #[serde(default, skip_serializing_if = "Patience::is_default")]
    pub patience: Patience,
}

/// How far a VM may grow while it runs. Hypervisors make room for it when they start the guest; it is not reserved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Headroom {
    /// Most virtual CPUs; as many as it has if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vcpus: Option<u32>,
    /// Most memory; as much as it has if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
}

impl Headroom {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What starts first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Boot {
    /// `bios` or `uefi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<String>,
    /// A kernel to boot directly: `DATASTORE:PATH`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// Its initial RAM disk: `DATASTORE:PATH`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initrd: Option<String>,
    /// Its command line.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cmdline: String,
}

impl Boot {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A disk. Exactly one of `image`, `size` and `swap` says where its content comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// Its name and target device: `vda`.
    pub name: String,
    /// A copy on write of this image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Empty, of this size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// Formatted as swap space, of this size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap: Option<Size>,
    /// A file that was there before the VM was, below the datastore's root. Only VMs that were adopted have such disks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// `qcow2` or `raw`; `qcow2` if not given (`raw` for swap).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Whether the guest may only read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
}

/// A network card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Nic {
    /// The host's bridge it is plugged into.
    pub bridge: String,
    /// Its address; chosen, and stable then, if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
}

/// How long steps may take before they count as failed. What is not given is the daemon's default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Patience {
    /// For the guest to obey the power button.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shutdown: Option<Span>,
    /// For the hypervisor to answer any other call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hypervisor: Option<Span>,
    /// For one disk to be brought or taken away.
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
