//! Errors, made in one word.

use crate::{Error, ErrorKind};

impl Error {
    /// Any kind. `code` is stable and for programs, `detail` is for people.
    #[must_use]
    pub fn new(kind: ErrorKind, code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { kind, code: code.into(), detail: detail.into() }
    }

    /// Not now: ask again.
    #[must_use]
    pub fn retry(code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Retry, code, detail)
    }

    /// Never, with these inputs.
    #[must_use]
    pub fn refused(code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Refused, code, detail)
    }

    /// Another host may.
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

    /// It was told to stop, and did.
    #[must_use]
    pub fn cancelled(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Cancelled, "cancelled", detail)
    }

    /// It may or may not have happened: observe first.
    #[must_use]
    pub fn unknown(code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unknown, code, detail)
    }
}
