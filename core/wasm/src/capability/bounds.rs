//! The bounds on the connections of one call: how many are open at once, and how many bytes go
//! through all of them.

use super::refused;
use crate::bindings::ostler::driver::types::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The bounds on the connections of one call.
pub(crate) struct Budget {
    /// The name of one connection, for people.
    one: &'static str,
    open_max: usize,
    bytes_max: usize,
    open: Arc<Semaphore>,
    left: AtomicUsize,
}

impl Budget {
    /// At most `open_max` connections at once, and `bytes_max` bytes in both directions.
    pub(super) fn new(one: &'static str, open_max: usize, bytes_max: usize) -> Self {
        let (open, left) = (Arc::new(Semaphore::new(open_max)), AtomicUsize::new(bytes_max));
        Self { one, open_max, bytes_max, open, left }
    }

    /// The place of a connection, until it is dropped.
    pub(super) fn open(&self) -> Result<OwnedSemaphorePermit, Error> {
        Arc::clone(&self.open).try_acquire_owned().map_err(|_| {
            let (one, most) = (self.one, self.open_max);
            let detail = format!("{most} {one}s of this call are open, which is the most");
            refused(&format!("too-many-{one}s"), detail)
        })
    }

    /// Takes the bytes from those that are left.
    pub(super) fn spend(&self, bytes: usize) -> Result<(), Error> {
        let spent = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        spent.map(drop).map_err(|_| {
            let (one, most) = (self.one, self.bytes_max);
            refused("too-large", format!("the {one}s of a call may carry {most} bytes"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_connection_is_dropped() {
        let budget = Budget::new("request", 2, 10);
        let (_one, two) = (budget.open().expect("free"), budget.open().expect("free"));
        let full = budget.open().expect_err("full");
        assert_eq!(full.code, "too-many-requests");
        drop(two);
        drop(budget.open().expect("free again"));
    }

    #[test]
    fn bytes_are_spent_once() {
        let budget = Budget::new("request", 2, 10);
        budget.spend(4).expect("left");
        budget.spend(7).expect_err("more than is left");
        budget.spend(6).expect("all that is left");
        assert_eq!(budget.spend(1).expect_err("none left").code, "too-large");
    }
}
