//! ostler-lifecycle.
