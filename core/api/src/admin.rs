//! Looking after the daemon itself.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The body of `POST /v1/admin/backup`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupBody {
    /// Absolute path on the front end; must not exist yet.
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
