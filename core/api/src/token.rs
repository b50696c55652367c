//! Tokens: who may use the API over TCP.

use crate::{Span, Time};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The body of `POST /v1/tokens`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// Its name; unique. Whoever uses it is known by this name.
    pub name: String,
    /// `admin` (everything) or `read` (every GET but tokens and `/v1/admin/check`).
    pub scope: String,
    /// How long it is good; for ever if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<Span>,
}

/// A token without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// Its name.
    pub name: String,
    /// `admin` or `read`.
    pub scope: String,
    /// When it was made.
    pub created: Time,
    /// When it ends to be good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Time>,
    /// Whether it is over already.
    #[serde(default)]
    pub expired: bool,
}

/// A token that was just made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenMade {
    /// The token.
    pub token: Token,
    /// What goes behind `Authorization: Bearer`. Told once; only its hash is kept.
    pub secret: String,
}
