//! ostler-api.
