//! What the tests of the whole system share: real peers, and waiting for them.
//!
//! A test never sleeps: it waits for a state with [`wait::wait_until`]. It starts its own peers ([`lab`]), under names and
//! paths of their own, and leaves the machine as it found it, also when it fails.

pub mod daemon;
pub mod kvm;
pub mod lab;
pub mod wait;
