//! What drivers see, and how they fail.

use crate::{EffectKey, Generation, StoreId, VmUuid};
use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumString, IntoStaticStr};

/// What we stamped into a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Whose it is.
    pub store: StoreId,
    /// Which VM it is.
    pub vm: VmUuid,
    /// Which placement it is.
    pub generation: Generation,
}

/// What a domain does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, IntoStaticStr, EnumIter)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Power {
    /// It runs.
    Running,
    /// It is there, its virtual CPUs stand still.
    Paused,
    /// It is defined, and off.
    Off,
    /// It crashed and was preserved to be looked at.
    Crashed,
}

/// Why a domain does what it does, as far as the hypervisor tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, IntoStaticStr, EnumIter)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum PowerReason {
    /// Not told.
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
    /// It was saved by somebody else, into memory that the hypervisor keeps for its next start.
    Kept,
    /// It moved away.
    Migrated,
    /// A disk failed.
    IoError,
    /// The watchdog bit.
    Watchdog,
    /// Being created, restored or migrated in: not yet ours to judge.
    Starting,
}

/// A domain as a driver sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainSeen {
    /// Its UUID at the hypervisor.
    pub uuid: VmUuid,
    /// Its name at the hypervisor.
    pub name: String,
    /// What is stamped into it; none if it is not an Ostler's.
    pub identity: Option<Identity>,
    /// What it does.
    pub power: Power,
    /// Why.
    pub reason: PowerReason,
    /// The last edge effect that was stamped into it before it was sent.
    pub last_edge: Option<EffectKey>,
}

/// An answer that is a fact. *Could not ask* is a [`DriverError`], and nothing is concluded from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Observation {
    /// It is there.
    Present(DomainSeen),
    /// There is no such domain on that host.
    Absent,
}

/// What to do next about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, IntoStaticStr, EnumIter)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum ErrorKind {
    /// Not now: ask again.
    Retry,
    /// Never, with these inputs.
    Refused,
    /// Another host may.
    NotHere,
    /// There is no such thing.
    Gone,
    /// A higher generation is there.
    Stale,
    /// It was told to stop, and did.
    Cancelled,
    /// It may or may not have happened: observe first.
    Unknown,
}

/// A driver's error. `kind` decides; the texts are for people. Displayed for authors of drivers, who need the kind; operators are shown
/// [`DriverError::told`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{kind} ({code}): {detail}")]
pub struct DriverError {
    /// What to do next.
    pub kind: ErrorKind,
    /// A stable code (`no-memory`, `driver-trap`).
    pub code: String,
    /// What the driver or hypervisor said.
    pub detail: String,
}

impl DriverError {
    /// For operators: what was said, and the code to look for, where it says more than that it failed.
    #[must_use]
    pub fn told(&self) -> String {
        match (self.detail.as_str(), self.code.as_str()) {
            ("", code) => format!("[{code}]"),
            (detail, "failed") => detail.to_owned(),
            (detail, code) => format!("{detail} [{code}]"),
        }
    }

    /// Any kind.
    #[must_use]
    pub fn new(kind: ErrorKind, code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { kind, code: code.into(), detail: detail.into() }
    }

    /// Never, with these inputs.
    #[must_use]
    pub fn refused(code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Refused, code, detail)
    }

    /// Not now.
    #[must_use]
    pub fn retry(code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Retry, code, detail)
    }

    /// It may or may not have happened.
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
