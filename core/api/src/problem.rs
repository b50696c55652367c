//! Problems: every answer that is not what was asked for (RFC 9457), with a stable code and what to do about it.

use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

/// The stable codes. A code is never renamed or given another meaning; refusals of the lifecycle add theirs
/// (`wrong-state`, `busy`, `no-capacity`, ...; `docs/api.md` lists all).
pub mod code {
    /// The body is no JSON, or not of the right shape.
    pub const MALFORMED: &str = "malformed";
    /// A field, parameter or value is not known or not allowed.
    pub const INVALID: &str = "invalid";
    /// The body is too large.
    pub const TOO_LARGE: &str = "too-large";
    /// No token, or none that is good.
    pub const UNAUTHENTICATED: &str = "unauthenticated";
    /// The token may not do that.
    pub const FORBIDDEN: &str = "forbidden";
    /// No such thing.
    pub const NOT_FOUND: &str = "not-found";
    /// The path is there, the method is not.
    pub const METHOD_NOT_ALLOWED: &str = "method-not-allowed";
    /// The name means several things; `candidates` lists them.
    pub const AMBIGUOUS: &str = "ambiguous-name";
    /// The name is taken.
    pub const EXISTS: &str = "exists";
    /// It is held by something else.
    pub const IN_USE: &str = "in-use";
    /// The record has another version than `If-Match` asked for.
    pub const VERSION_MISMATCH: &str = "version-mismatch";
    /// The idempotency key was used before with another body.
    pub const IDEMPOTENCY_CONFLICT: &str = "idempotency-conflict";
    /// Something named is not there or cannot serve.
    pub const UNUSABLE: &str = "unusable";
    /// A file that is named is not there.
    pub const NO_SUCH_FILE: &str = "no-such-file";
    /// A directory that is named is not there, on any machine that could be asked.
    pub const NO_SUCH_DIRECTORY: &str = "no-such-directory";
    /// What is named as a file is a folder, a pipe, a socket or a device.
    pub const NOT_A_FILE: &str = "not-a-file";
    /// A file that is named is empty.
    pub const EMPTY_FILE: &str = "empty-file";
    /// A file has another format than was told, or than its name says.
    pub const FORMAT_MISMATCH: &str = "format-mismatch";
    /// A disk names another file, which would be opened with the rights of the host.
    pub const NAMES_OTHER_FILE: &str = "names-other-file";
    /// A disk cannot be read without a key.
    pub const ENCRYPTED: &str = "encrypted";
    /// A disk is cut off or corrupt.
    pub const DAMAGED: &str = "damaged";
    /// The file is an image already, and of another format.
    pub const FILE_TAKEN: &str = "file-taken";
    /// Too much is waiting already.
    pub const OVERLOADED: &str = "overloaded";
    /// The events asked for are not kept any more.
    pub const TRIMMED: &str = "events-trimmed";
    /// The request took too long.
    pub const TIMEOUT: &str = "timeout";
    /// The daemon ends.
    pub const SHUTTING_DOWN: &str = "shutting-down";
    /// The store cannot be written or read; the daemon is read-only or gone.
    pub const STORE: &str = "store-failed";
    /// A defect of the daemon.
    pub const INTERNAL: &str = "internal";
}

/// One of the things an ambiguous name could mean.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Candidate {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Its state, or what else tells it from the others.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
}

/// Why a request was not served. `application/problem+json`.
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
    /// What was wrong, in words.
    pub detail: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Where in the input: `spec.disks[0].size`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What an ambiguous name could mean.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<Candidate>,
}

impl Problem {
    /// A problem of this status and code.
    #[must_use]
    pub fn new(status: u16, title: &str, code: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:ostler:problem:{code}"),
            title: title.to_owned(),
            status,
            code: code.to_owned(),
            detail: detail.into(),
            hint: None,
            field: None,
            candidates: Vec::new(),
        }
    }

    /// The same with what to do about it.
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
