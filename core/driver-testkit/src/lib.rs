//! Tests for drivers, and a driver for tests. No crate that the daemon is built of depends on this
//! one.
//!
//! - [`conformance`] checks that a driver keeps its duties. It runs against the built-in driver,
//!   against components (`ostler plugin test`), and against the fake.
//! - [`fake`] is an in-memory driver whose faults can be ordered, for tests of the code that calls
//!   drivers.

pub mod conformance;
pub mod fake;
