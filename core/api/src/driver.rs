//! Drivers: their kinds, what they may do, and statistics of their calls.

use crate::{DriverFigures, DriverSecret, Time};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// The body of `POST /v1/drivers`: loads a component.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDriver {
    /// Absolute path of the component on the daemon's machine.
    pub path: String,
    /// The SHA-256 that the component must have, in hexadecimal, with or without `sha256:` before
    /// it. If it has another one, nothing is added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The capabilities to grant, out of those that the manifest asks for. If this is left out, a
    /// driver that takes the place of another keeps the grants of that one, and a new driver gets
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grants: Option<Vec<String>>,
    /// The driver's settings for all hosts. If it is a hypervisor driver, the settings of a host
    /// override these. If this is left out, a driver that takes the place of another keeps the
    /// settings of that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<BTreeMap<String, String>>,
    /// Whether it may replace a driver of the same name that has another file, other grants or
    /// other settings.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replace: bool,
    /// Whether operations that are in hand go on with the new file, too. Otherwise they stay on the
    /// file that they began with.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_once: bool,
    /// Whether it takes the place of another file without being tried on the driver's hosts before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untested: bool,
}

/// A file that was the driver before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EarlierDriver {
    /// Its own version.
    pub version: String,
    /// SHA-256 of the component.
    pub digest: String,
    /// When it was added.
    pub added: Time,
    /// The reason why it was taken back. None if another file took its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_back: Option<String>,
}

/// A host where a driver is not called for a while, because it crashed there again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DriverPause {
    /// The host's name.
    pub host: String,
    /// The time until it is called again, in seconds.
    pub seconds: u64,
}

/// The content type of a component.
pub const COMPONENT_TYPE: &str = "application/wasm";
/// The header with the text of the signature that lies beside a component, in base64.
pub const SIGNATURE_HEADER: &str = "ostler-signature";

/// The file of a component that a client has sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DriverFile {
    /// Its path on the daemon's machine, for `POST /v1/drivers`.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
}

/// A loaded driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Driver {
    /// The driver's name.
    pub name: String,
    /// Its kinds: `hypervisor`, `transfer`, `snapshot-rules`.
    pub kinds: Vec<String>,
    /// The driver's own version.
    pub version: String,
    /// A description in one sentence.
    pub description: String,
    /// The origin of the driver.
    pub origin: DriverOrigin,
    /// Abilities that it can have on a host. Only hypervisor drivers have any.
    pub abilities: Vec<String>,
    /// The snapshot rules that apply to it. Only hypervisor drivers have any. None: no snapshots
    /// are made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<RulesOf>,
    /// Settings that it reads, for all its hosts (`POST /v1/drivers`) or for one (`POST /v1/hosts`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<DriverSetting>,
    /// Secrets that it reads by its manifest, and those that are set. Never their values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<DriverSecret>,
    /// Calls that have ended since the daemon started. A wait for changes of a host is none.
    pub calls: u64,
    /// Calls that ended in an error.
    pub errors: u64,
    /// Mean time of a call, in microseconds.
    pub mean_us: u64,
    /// The reason why the driver is not loaded: it was found when the daemon started, and could not
    /// be loaded, or may not be by the trust policy. Then it has no kinds and no abilities. None if
    /// it is loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_loaded: Option<String>,
    /// The error that a call ended with last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// The end of the trial of its file. Until then the file before is put back if this one crashes,
    /// or if many more of its calls fail. None if it is not on trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial_until: Option<Time>,
    /// The hosts where it is not called for a while.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paused: Vec<DriverPause>,
    /// The files that were the driver before, newest first. `POST /v1/drivers/{driver}/rollback`
    /// puts the first one back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<EarlierDriver>,
    /// In the answer of `POST /v1/drivers`, if the driver took the place of another file: the
    /// difference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<Upgrade>,
    /// How fast and how healthy it is, by function and by host. Only `GET /v1/drivers/{driver}` has
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub figures: Option<DriverFigures>,
}

/// A setting that a driver reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DriverSetting {
    /// Its name.
    pub name: String,
    /// Its meaning.
    pub about: String,
    /// The value if nobody has set it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// Whether the driver cannot work without it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
}

/// The difference between a driver and the one whose place it took.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Upgrade {
    /// SHA-256 of the file before.
    pub from: String,
    /// What was granted before and is granted now. Commands are `exec:NAME`.
    pub kept: Vec<String>,
    /// What is granted now and was not granted before.
    pub granted: Vec<String>,
    /// What was granted before and is not granted now. Most often the new file does not ask for it
    /// any more.
    pub revoked: Vec<String>,
}

/// The snapshot rules that apply to a hypervisor driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RulesOf {
    /// The driver that holds the rules.
    pub driver: String,
    /// Whether they were bound with `PUT /v1/drivers/{driver}/rules`. Otherwise they come from the
    /// daemon's settings.
    pub bound: bool,
    /// The reason why the rules cannot be asked. Then no snapshot is made. None if they can be
    /// asked.
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

/// The origin of a driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum DriverOrigin {
    /// Compiled into the daemon.
    BuiltIn,
    /// Loaded from a component file.
    Component {
        /// SHA-256 of the component: of its file without a signature that is inside of it.
        digest: String,
        /// The contract version that it was built for.
        contract: String,
        /// Capabilities asked for and granted.
        granted: Vec<String>,
        /// Capabilities asked for and not granted.
        missing: Vec<String>,
        /// Who has signed it.
        #[serde(default)]
        signed: Vec<SignedBy>,
    },
}

/// A signature of a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SignedBy {
    /// The id of the key that the signature names, as minisign prints it.
    pub key: String,
    /// Whether the key is trusted. Only the signatures of trusted keys are verified.
    pub trusted: bool,
    /// The name that the daemon's settings give the key. None if it is not trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}
