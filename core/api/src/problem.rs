//! Problems: the answers that say why a request was not served (RFC 9457). Each has a stable code
//! and says what to do.

use crate::Advice;
use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

/// The stable codes. A code is never renamed and never gets another meaning. Refusals of the
/// lifecycle have further codes (`wrong-state`, `busy`, `no-capacity`, ...). `docs/api.md` lists
/// all.
pub mod code {
    /// The body is not JSON, or does not have the right shape.
    pub const MALFORMED: &str = "malformed";
    /// A field, parameter or value is unknown or not allowed.
    pub const INVALID: &str = "invalid";
    /// The body is too large.
    pub const TOO_LARGE: &str = "too-large";
    /// There is no token, or the token is not valid.
    pub const UNAUTHENTICATED: &str = "unauthenticated";
    /// The scope of the token does not allow the request.
    pub const FORBIDDEN: &str = "forbidden";
    /// There is no such thing.
    pub const NOT_FOUND: &str = "not-found";
    /// The path exists, but not with this method.
    pub const METHOD_NOT_ALLOWED: &str = "method-not-allowed";
    /// The name means several things; `candidates` lists them.
    pub const AMBIGUOUS: &str = "ambiguous-name";
    /// The name is already used.
    pub const EXISTS: &str = "exists";
    /// Something else still uses it.
    pub const IN_USE: &str = "in-use";
    /// The record has another version than `If-Match` asked for.
    pub const VERSION_MISMATCH: &str = "version-mismatch";
    /// The idempotency key was used before with another body.
    pub const IDEMPOTENCY_CONFLICT: &str = "idempotency-conflict";
    /// Something that the request names does not exist or cannot be used.
    pub const UNUSABLE: &str = "unusable";
    /// The trust policy of the daemon refuses the driver: it is not signed by a trusted key, its
    /// digest is not listed, or its signature does not fit.
    pub const UNTRUSTED: &str = "untrusted";
    /// A file that the request names does not exist.
    pub const NO_SUCH_FILE: &str = "no-such-file";
    /// A directory that the request names does not exist on any machine that could be asked.
    pub const NO_SUCH_DIRECTORY: &str = "no-such-directory";
    /// The path that the request names is a folder, a pipe, a socket or a device, and not a file.
    pub const NOT_A_FILE: &str = "not-a-file";
    /// A file that the request names is empty.
    pub const EMPTY_FILE: &str = "empty-file";
    /// A file has another format than the request or its name says.
    pub const FORMAT_MISMATCH: &str = "format-mismatch";
    /// A disk refers to another file, which would be opened with the rights of the host.
    pub const NAMES_OTHER_FILE: &str = "names-other-file";
    /// A disk cannot be read without a key.
    pub const ENCRYPTED: &str = "encrypted";
    /// A disk is cut off or corrupt.
    pub const DAMAGED: &str = "damaged";
    /// The file is already an image, with another format.
    pub const FILE_TAKEN: &str = "file-taken";
    /// The driver has no earlier file that could be put back.
    pub const NO_EARLIER_FILE: &str = "no-earlier-file";
    /// Too many requests are already waiting.
    pub const OVERLOADED: &str = "overloaded";
    /// The requested events are no longer kept.
    pub const TRIMMED: &str = "events-trimmed";
    /// The request took too long.
    pub const TIMEOUT: &str = "timeout";
    /// The daemon is shutting down.
    pub const SHUTTING_DOWN: &str = "shutting-down";
    /// The store cannot be written or read; the daemon is read-only or gone.
    pub const STORE: &str = "store-failed";
    /// A defect of the daemon.
    pub const INTERNAL: &str = "internal";
}

/// One of the things an ambiguous name could mean.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Candidate {
    /// The id of the thing.
    pub id: u64,
    /// The name of the thing.
    pub name: String,
    /// Its state, or something else that tells it from the others.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
}

/// The reason why a request was not served. Sent as `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `urn:ostler:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The HTTP status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The stable code.
    pub code: String,
    /// The mistake, in words.
    pub detail: String,
    /// How to solve it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The same as `hint`, for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<Advice>,
    /// The place in the input: `spec.disks[0].size`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The things that an ambiguous name could mean.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<Candidate>,
}

impl Problem {
    /// A problem with this status and code.
    #[must_use]
    pub fn new(status: u16, title: &str, code: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:ostler:problem:{code}"),
            title: title.to_owned(),
            status,
            code: code.to_owned(),
            detail: detail.into(),
            hint: None,
            advice: None,
            field: None,
            candidates: Vec::new(),
        }
    }

    /// The same problem with a hint on how to solve it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Problem {}
