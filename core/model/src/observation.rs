//! Observations and errors of drivers.

use crate::{EffectKey, Generation, StoreId, VmUuid};
use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumString, IntoStaticStr};

/// The identity that Ostler stamps into a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The store that it belongs to.
    pub store: StoreId,
    /// The VM that it is.
    pub vm: VmUuid,
    /// The generation of its placement.
    pub generation: Generation,
}

/// Whether a domain runs.
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
pub enum Power {
    /// It runs.
    Running,
    /// It is there, but its virtual CPUs are stopped.
    Paused,
    /// It is defined, and off.
    Off,
    /// It crashed, and the hypervisor keeps it for examination.
    Crashed,
}

/// Why a domain has its [`Power`], as far as the hypervisor tells.
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
pub enum PowerReason {
    /// The hypervisor gives no reason.
    None,
    /// Somebody at the hypervisor did it.
    Person,
    /// The guest switched itself off.
    Guest,
    /// It was destroyed.
    Destroyed,
    /// Its process died.
    Crashed,
    /// It was saved.
    Saved,
    /// Somebody else saved it. The hypervisor keeps the memory for its next start.
    Kept,
    /// It moved away.
    Migrated,
    /// A disk failed.
    IoError,
    /// The guest's watchdog fired.
    Watchdog,
    /// It is being created, restored or migrated in. Ostler must not judge it yet.
    Starting,
}

/// A domain as a driver sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainSeen {
    /// Its UUID at the hypervisor.
    pub uuid: VmUuid,
    /// Its name at the hypervisor.
    pub name: String,
    /// The identity that is stamped into it; none if no Ostler made it.
    pub identity: Option<Identity>,
    /// Whether it runs.
    pub power: Power,
    /// Why it has this power state.
    pub reason: PowerReason,
    /// The key of the last edge effect. The driver stamps the key into the domain before it sends
    /// the effect.
    pub last_edge: Option<EffectKey>,
}

/// The result of a look: a fact. If the host could not be asked, the driver answers a
/// [`DriverError`], and nothing is concluded from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Observation {
    /// It is there.
    Present(DomainSeen),
    /// There is no such domain on that host.
    Absent,
}

/// The kind of an error: it says what to do next.
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
pub enum ErrorKind {
    /// Not now: ask again.
    Retry,
    /// It will never succeed with these inputs.
    Refused,
    /// It cannot be done on this host; on another host it may.
    NotHere,
    /// There is no such thing.
    Gone,
    /// The host has a higher generation.
    Stale,
    /// The call was asked to stop, and did.
    Cancelled,
    /// It may or may not have happened: observe first.
    Unknown,
}

/// A driver's error. Decisions use `kind` only; the texts are for people. Its `Display` is for
/// authors of drivers and names the kind. Operators are shown [`DriverError::told`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{kind} ({code}): {detail}")]
pub struct DriverError {
    /// The kind, which says what to do next.
    pub kind: ErrorKind,
    /// A stable code (`no-memory`, `driver-trap`).
    pub code: String,
    /// The message of the driver or of the hypervisor.
    pub detail: String,
}

impl DriverError {
    /// The code of a `stale` error that a host answers whose highest epoch is above that of the
    /// call: another daemon is in charge of the store.
    pub const EPOCH: &str = "epoch";

    /// Whether a host says that another daemon is in charge of the store.
    #[must_use]
    pub fn is_superseded(&self) -> bool {
        self.kind == ErrorKind::Stale && self.code == Self::EPOCH
    }

    /// The error for operators: the message, and the code unless it is only `failed`.
    #[must_use]
    pub fn told(&self) -> String {
        match (self.detail.as_str(), self.code.as_str()) {
            ("", code) => format!("[{code}]"),
            (detail, "failed") => detail.to_owned(),
            (detail, code) => format!("{detail} [{code}]"),
        }
    }

    /// An error of any kind.
    #[must_use]
    pub fn new(kind: ErrorKind, code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { kind, code: code.into(), detail: detail.into() }
    }

    /// An error of kind `refused`: it will never succeed with these inputs.
    #[must_use]
    pub fn refused(code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Refused, code, detail)
    }

    /// An error of kind `retry`: not now.
    #[must_use]
    pub fn retry(code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Retry, code, detail)
    }

    /// An error of kind `unknown`: it may or may not have happened.
    #[must_use]
    pub fn unknown(code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unknown, code, detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_by_what_it_says_and_a_code_that_says_more() {
        for (code, detail, told) in [
            ("no-memory", "not enough memory", "not enough memory [no-memory]"),
            ("failed", "the disk is full", "the disk is full"),
            ("deadline", "", "[deadline]"),
        ] {
            assert_eq!(DriverError::refused(code, detail).told(), told);
        }
    }
}
