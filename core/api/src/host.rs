//! Hosts.

use crate::{CpuMilli, Size, Time};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// The body of `POST /v1/hosts`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewHost {
    /// Its name; unique.
    pub name: String,
    /// Its hypervisor driver: `kvm`, `sim`, ...
    pub driver: String,
    /// The driver's settings for this host (for `kvm`: `uri`).
    #[serde(default)]
    pub config: BTreeMap<String, String>,
    /// How commands and files are reached; this machine if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh: Option<SshAddress>,
    /// Labels, for people and programs: placement does not look at them.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// CPUs offered; as probed if not given. Needs `memory` too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuMilli>,
    /// Memory offered; as probed if not given. Needs `cpu` too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
    /// `on`, `draining` or `off`; `on` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

/// How a host is reached over ssh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SshAddress {
    /// `user@address`.
    pub destination: String,
    /// TCP port; 22 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Path of the private key on the daemon's machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_file: Option<String>,
    /// Path of the known-hosts file that must hold the host's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_hosts: Option<String>,
}

/// The body of `PATCH /v1/hosts/{host}`: what is not given stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeHost {
    /// `on`, `draining` or `off`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Free words for placement; replaces all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// The driver's settings; replaces all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<BTreeMap<String, String>>,
}

/// A host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Host {
    /// Its id; 0 is the machine `ostlerd` runs on.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Its hypervisor driver; the front end may have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<HostDriver>,
    /// `local` or the ssh destination.
    pub transport: String,
    /// Free words for placement.
    pub labels: BTreeMap<String, String>,
    /// The driver whose snapshot rules count here, before those bound to its hypervisor driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<String>,
    /// `on`, `draining` or `off`.
    pub state: String,
    /// CPUs it offers.
    pub cpu: CpuMilli,
    /// CPUs that VMs hold there.
    pub cpu_held: CpuMilli,
    /// Memory it offers.
    pub memory: Size,
    /// The same in bytes.
    #[serde(default)]
    pub memory_bytes: u64,
    /// Memory that VMs hold there.
    pub memory_held: Size,
    /// The same in bytes.
    #[serde(default)]
    pub memory_held_bytes: u64,
    /// How many VMs hold capacity there.
    pub vms: u64,
    /// When it was added.
    pub added: Time,
    /// What the monitor saw; none until it was asked once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HostHealth>,
}

/// A host's hypervisor driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostDriver {
    /// Which.
    pub name: String,
    /// Its settings for this host.
    pub config: BTreeMap<String, String>,
}

/// A host as the monitor sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostHealth {
    /// Whether it answered when it was asked last.
    pub reachable: bool,
    /// Since when that is so.
    pub since: Time,
    /// What it said last, if it was an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The hypervisor and its version.
    pub hypervisor: String,
    /// Things to know.
    pub notes: Vec<String>,
    /// What its driver can do there.
    pub abilities: Vec<String>,
    /// Domains that are not ours.
    pub wild: Vec<String>,
    /// Domains that should not be there.
    pub zombies: Vec<String>,
}
