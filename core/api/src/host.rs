//! Hosts.

use crate::{CpuMilli, Size, Time};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// The body of `POST /v1/hosts`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewHost {
    /// The host's name. It must be unique.
    pub name: String,
    /// The hypervisor driver: `kvm`, `sim`, ...
    pub driver: String,
    /// The driver's settings for this host (for `kvm`: `uri`).
    #[serde(default)]
    pub config: BTreeMap<String, String>,
    /// How commands run and files are reached there. If not given, the host is the daemon's
    /// machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh: Option<SshAddress>,
    /// Labels, for people and programs. Placement does not look at them.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// CPUs that the host offers. If not given, as many as the driver finds. Needs `memory` too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuMilli>,
    /// Memory that the host offers. If not given, as much as the driver finds. Needs `cpu` too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
    /// `on`, `draining` or `off`; `on` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

/// The address of a host over ssh.
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

/// The body of `PATCH /v1/hosts/{host}`. Fields that are not given stay as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeHost {
    /// `on`, `draining` or `off`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Labels, for people and programs. They replace all labels of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// The driver's settings for this host. They replace all settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<BTreeMap<String, String>>,
}

/// A host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Host {
    /// The host's id. 0 is the machine that `ostlerd` runs on.
    pub id: u32,
    /// The host's name.
    pub name: String,
    /// The host's hypervisor driver. The front end may have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<HostDriver>,
    /// `local` or the ssh destination.
    pub transport: String,
    /// Labels, for people and programs. Placement does not look at them.
    pub labels: BTreeMap<String, String>,
    /// The driver whose snapshot rules are bound to this host. They come before those bound to its
    /// hypervisor driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<String>,
    /// `on`, `draining` or `off`.
    pub state: String,
    /// CPUs that the host offers.
    pub cpu: CpuMilli,
    /// CPUs that VMs hold there.
    pub cpu_held: CpuMilli,
    /// Memory that the host offers.
    pub memory: Size,
    /// `memory` in bytes.
    #[serde(default)]
    pub memory_bytes: u64,
    /// Memory that VMs hold there.
    pub memory_held: Size,
    /// `memory_held` in bytes.
    #[serde(default)]
    pub memory_held_bytes: u64,
    /// How many VMs hold capacity there.
    pub vms: u64,
    /// When it was added.
    pub added: Time,
    /// The result of monitoring. None until the host was asked once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HostHealth>,
}

/// A host's hypervisor driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostDriver {
    /// The driver's name.
    pub name: String,
    /// The driver's settings for this host.
    pub config: BTreeMap<String, String>,
    /// The names of the secrets that are set for this host. Never their values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
}

/// The health of a host, as the monitor sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostHealth {
    /// Whether it answered when it was asked last.
    pub reachable: bool,
    /// Since when the host has answered, or has not answered.
    pub since: Time,
    /// The last answer, if it was an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The hypervisor's name and version.
    pub hypervisor: String,
    /// Remarks that an operator should read.
    pub notes: Vec<String>,
    /// The abilities that its driver has there.
    pub abilities: Vec<String>,
    /// Domains that Ostler did not make.
    pub wild: Vec<String>,
    /// Domains of Ostler's that should not be there.
    pub zombies: Vec<String>,
}
