//! Types for the care of the daemon itself: backup, check, health, version, restore.

use crate::Time;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The body of `POST /v1/admin/backup`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupBody {
    /// Absolute path on the daemon's machine. The file must not exist yet.
    pub path: String,
}

/// A backup that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackupReply {
    /// The path of the file.
    pub path: String,
    /// How many rows it holds.
    pub rows: u64,
    /// The size of the file in bytes.
    pub bytes: u64,
}

/// The result of checking the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CheckReply {
    /// Whether the check has found nothing.
    pub ok: bool,
    /// The findings, one per line.
    pub findings: Vec<String>,
}

/// The answer of `/healthz` and `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// Whether requests can be served.
    pub ok: bool,
    /// The reason if requests cannot be served, else `ready`.
    pub detail: String,
}

/// The answer of `GET /v1/version`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Version {
    /// The daemon's version.
    pub version: String,
    /// The id of the store. Domains that carry this id belong to this daemon.
    pub store: String,
    /// The sequence number of the newest event.
    pub seq: u64,
}

/// The answer of `GET /v1/admin/restored`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RestoredReply {
    /// Whether the store was restored from a backup and some VMs are not reconciled yet. Nothing is
    /// done for these VMs.
    pub waits: bool,
    /// The time of the newest event of the backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Time>,
    /// Hosts that are on and have not been listed since the daemon was started. Nothing is
    /// reconciled before all of them are listed. A lost host is no longer waited for once it is set
    /// to off.
    pub hosts: Vec<String>,
    /// How many VMs are not reconciled.
    pub total: u64,
    /// The VMs that are not reconciled, at most the first thousand.
    pub vms: Vec<UnreconciledVm>,
}

/// A VM that is not reconciled since the store was restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UnreconciledVm {
    /// The VM's id.
    pub id: u64,
    /// The VM's name.
    pub name: String,
    /// The reason why it is not reconciled, and what an operator can do.
    pub why: String,
    /// The domains of this VM that hosts have listed.
    pub domains: Vec<String>,
    /// Whether only an operator can tell which of the domains is the VM.
    pub in_doubt: bool,
}
