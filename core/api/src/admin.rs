//! Looking after the daemon itself.

use crate::Time;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The body of `POST /v1/admin/backup`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupBody {
    /// Absolute path on the daemon's machine; must not exist yet.
    pub path: String,
}

/// A backup that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackupReply {
    /// Where it is.
    pub path: String,
    /// How many rows it holds.
    pub rows: u64,
    /// Its size in bytes.
    pub bytes: u64,
}

/// Whether the books add up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CheckReply {
    /// Whether nothing was found.
    pub ok: bool,
    /// What does not add up, a line each.
    pub findings: Vec<String>,
}

/// The answer of `/healthz` and `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// Whether requests can be served.
    pub ok: bool,
    /// Why not, or `ready`.
    pub detail: String,
}

/// The answer of `GET /v1/version`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Version {
    /// The daemon's version.
    pub version: String,
    /// The store's id: domains stamped with it are this daemon's.
    pub store: String,
    /// The newest event.
    pub seq: u64,
}

/// The answer of `GET /v1/admin/restored`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RestoredReply {
    /// Whether the store came back with a backup and some VMs are not reconciled yet. Nothing is done for those.
    pub waits: bool,
    /// The time of the newest event of the backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Time>,
    /// Hosts that are on and have not been listed since the daemon was started; nothing is reconciled before that. A host that is lost is
    /// not waited for once it is set to off.
    pub hosts: Vec<String>,
    /// How many VMs are not reconciled.
    pub total: u64,
    /// They, or the first thousand of them.
    pub vms: Vec<UnreconciledVm>,
}

/// A VM that is not reconciled since the store was restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UnreconciledVm {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Why, and what a person can do.
    pub why: String,
    /// Its domains that hosts have listed.
    pub domains: Vec<String>,
    /// Whether only a person can tell which of them is the VM.
    pub in_doubt: bool,
}
