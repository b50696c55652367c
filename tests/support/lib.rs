//! Shared parts of the tests of the whole system: real peers, and waiting for them.
//!
//! A test does not sleep to wait for something. It waits for a state with [`wait::wait_until`] or
//! [`daemon::poll`]. It starts its own peers ([`lab`]) under their own names and paths, and leaves
//! the machine as it was, even if it fails.

pub mod daemon;
pub mod kvm;
pub mod lab;
pub mod wait;
