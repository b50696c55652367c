//! ostler-testkit.
