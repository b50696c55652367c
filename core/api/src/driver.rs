//! Drivers: what is loaded, what it may do, and how it fares.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// The body of `POST /v1/drivers`: loads a component.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDriver {
    /// Absolute path of the component on the daemon's machine.
    pub path: String,
    /// Capabilities granted, of those its manifest asks for.
    #[serde(default)]
    pub grants: Vec<String>,
    /// Its settings, for all hosts; those of a host whose hypervisor driver it is come before these.
    #[serde(default)]
    pub config: BTreeMap<String, String>,
    /// Whether it may take the place of another file, or other grants and settings, of the same name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replace: bool,
}

/// A loaded driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Driver {
    /// Its name.
    pub name: String,
    /// What it is: `hypervisor`, `transfer`, `snapshot-rules`.
    pub kinds: Vec<String>,
    /// Its own version.
    pub version: String,
    /// In a sentence.
    pub description: String,
    /// Where it comes from.
    pub origin: DriverOrigin,
    /// What it can do on some host; hypervisors only.
    pub abilities: Vec<String>,
    /// Whose snapshot rules count for it; hypervisors only. None: no snapshots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<RulesOf>,
    /// Calls sent since the daemon started.
    pub calls: u64,
    /// Calls that ended in an error.
    pub errors: u64,
    /// Mean time of a call, in microseconds.
    pub mean_us: u64,
    /// The last error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// Whose snapshot rules count for a hypervisor driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RulesOf {
    /// The driver that holds the rules.
    pub driver: String,
    /// Whether that was bound with `PUT /v1/drivers/{driver}/rules`; else it stands in the daemon's settings.
    pub bound: bool,
    /// Why they cannot be asked: then no snapshot is made. None if they can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

/// The body of `PUT /v1/drivers/{driver}/rules` and `PUT /v1/hosts/{host}/rules`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BindRules {
    /// The driver that holds the rules.
    pub rules: String,
}

/// Where a driver comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum DriverOrigin {
    /// Compiled into the daemon.
    BuiltIn,
    /// A component.
    Component {
        /// SHA-256 of the file.
        digest: String,
        /// The contract version it was built for.
        contract: String,
        /// Capabilities asked for and granted.
        granted: Vec<String>,
        /// Capabilities asked for and not granted.
        missing: Vec<String>,
    },
}
