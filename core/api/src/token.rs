//! Tokens: they allow clients to use the API over TCP.

use crate::{Span, Time};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The body of `POST /v1/tokens`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// The token's name. It must be unique. Requests with this token are recorded under this name.
    pub name: String,
    /// `admin` (everything) or `read` (every GET except tokens and `/v1/admin/check`).
    pub scope: String,
    /// How long the token is valid. If not given: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<Span>,
}

/// A token without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// The token's name.
    pub name: String,
    /// `admin` or `read`.
    pub scope: String,
    /// When it was made.
    pub created: Time,
    /// When the token stops being valid. None: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Time>,
    /// Whether the token is no longer valid.
    #[serde(default)]
    pub expired: bool,
}

/// A token that was just made, with its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenMade {
    /// The token.
    pub token: Token,
    /// The secret, which stands after `Authorization: Bearer`. It is told only once; the daemon
    /// keeps only a hash of it.
    pub secret: String,
}
