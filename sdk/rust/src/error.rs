//! The errors of the contract.
//!
//! `?` turns any other error into an [`Error`] of the kind `unknown`: the effect may or may not
//! have happened, so the host observes before it does anything else. A driver that knows better
//! names the kind.
//!
//! ```
//! use ostler_sdk::{Error, ErrorKind};
//!
//! fn cpus(text: &str) -> Result<u32, Error> {
//!     Ok(text.trim().parse()?)
//! }
//! fn setting(text: &str) -> Result<u32, Error> {
//!     text.parse().map_err(|error| Error::refused("bad-config", format!("cpus: {error}")))
//! }
//!
//! assert_eq!(cpus("many").unwrap_err().kind, ErrorKind::Unknown);
//! assert_eq!(setting("many").unwrap_err().kind, ErrorKind::Refused);
//! ```

use std::fmt;

/// How the host goes on after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The call cannot be done now. The host asks again later.
    Retry,
    /// The call can never be done with these inputs.
    Refused,
    /// The call cannot be done on this host, but another host may be able to.
    NotHere,
    /// There is no such thing.
    Gone,
    /// A higher generation is there.
    Stale,
    /// The host told the call to stop, and it has stopped.
    Cancelled,
    /// The effect may or may not have happened. The host must observe first.
    Unknown,
}

/// An error of a driver. It does not implement [`std::error::Error`], so that every type that does
/// can become one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// How the host goes on.
    pub kind: ErrorKind,
    /// Stable, and for programs.
    pub code: String,
    /// For people.
    pub detail: String,
}

/// The code of an error that `?` has made of another error.
const CODE: &str = "driver-error";
/// How many causes of an error its text holds.
const CAUSES: usize = 8;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

/// The safe kind: `unknown`. The text has the causes of the error, too.
impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        let mut detail = error.to_string();
        let mut cause = error.source();
        for _ in 0..CAUSES {
            let Some(error) = cause else { break };
            detail.push_str(": ");
            detail.push_str(&error.to_string());
            cause = error.source();
        }
        Self::unknown(CODE, detail)
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(std::num::ParseIntError);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the answer of the API")
        }
    }

    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn any_other_error_is_of_the_safe_kind_and_tells_its_causes() {
        let read = || -> Result<u32, Error> {
            "x".parse::<u32>().map_err(Outer)?;
            Ok(0)
        };
        let error = read().expect_err("no number");
        assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Unknown, "driver-error"));
        assert_eq!(error.detail, "the answer of the API: invalid digit found in string");
    }

    #[test]
    fn an_error_of_the_driver_keeps_its_kind() {
        let inner = || -> Result<(), Error> { Err(Error::gone("no-domain", "none")) };
        let outer = || -> Result<(), Error> {
            inner()?;
            Ok(())
        };
        assert_eq!(outer().expect_err("none").kind, ErrorKind::Gone);
    }
}
