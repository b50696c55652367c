//! A value of a request that cannot be used.

/// A value of a request that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {detail}")]
pub(crate) struct Unfit {
    /// The field.
    pub(crate) field: String,
    /// The problem, and what is allowed.
    pub(crate) detail: String,
    /// A hint: what the client can do.
    pub(crate) hint: Option<String>,
}

impl Unfit {
    pub(crate) fn new(field: impl Into<String>, detail: impl std::fmt::Display) -> Self {
        Self { field: field.into(), detail: detail.to_string(), hint: None }
    }
}
