//! Constructors for the errors of the contract.

use crate::{Error, ErrorKind};

impl Error {
    /// An error of any kind. `code` is stable and meant for programs. `detail` is meant for people.
    #[must_use]
    pub fn new(kind: ErrorKind, code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { kind, code: code.into(), detail: detail.into() }
    }

    /// The call cannot be done now. The host asks again later.
    #[must_use]
    pub fn retry(code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Retry, code, detail)
    }

    /// The call can never be done with these inputs.
    #[must_use]
    pub fn refused(code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Refused, code, detail)
    }

    /// The call cannot be done on this host, but another host may be able to.
    #[must_use]
    pub fn not_here(code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotHere, code, detail)
    }

    /// There is no such thing.
    #[must_use]
    pub fn gone(code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Gone, code, detail)
    }

    /// A domain with the higher generation `found` is there; the call acts for `wanted`.
    #[must_use]
    pub fn stale(found: u64, wanted: u64) -> Self {
        let detail = format!("the domain carries generation {found}, the call acts for {wanted}");
        Self::new(ErrorKind::Stale, "higher-generation", detail)
    }

    /// The host told the call to stop, and it has stopped.
    #[must_use]
    pub fn cancelled(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Cancelled, "cancelled", detail)
    }

    /// The effect may or may not have happened. The host must observe first.
    #[must_use]
    pub fn unknown(code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unknown, code, detail)
    }
}
