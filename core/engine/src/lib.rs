//! ostler-engine.
