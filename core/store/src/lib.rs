//! ostler-store.
