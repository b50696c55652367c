//! What the calls of all drivers may hold together: places in the pool, and memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// One driver never holds the last of so many parts of the places, so that others find one.
const RESERVE: u32 = 8;

/// The places for calls. A call that only waits for changes at a host holds its place all the time,
/// so such calls have places of their own: with a thousand hosts they would leave none for others.
pub(crate) struct Places {
    waiting: Arc<Semaphore>,
    each: u32,
}

/// The places of one driver.
pub(crate) struct DriverPlaces {
    waiting: Arc<Semaphore>,
    acting: Arc<Semaphore>,
}

/// A place that is taken.
pub(crate) struct TakenPlace(#[expect(dead_code, reason = "it is held")] OwnedSemaphorePermit);

impl Places {
    /// Divides the places: half of them for calls that wait.
    pub(crate) fn of(instances: u32) -> Self {
        let waiting = instances / 2;
        let acting = instances - waiting;
        // With fewer places than parts there is nothing to reserve.
        let each = acting - acting / RESERVE;
        Self { waiting: semaphore(waiting), each }
    }

    /// The places for one more driver.
    pub(crate) fn for_driver(&self) -> DriverPlaces {
        DriverPlaces { waiting: Arc::clone(&self.waiting), acting: semaphore(self.each) }
    }
}

impl DriverPlaces {
    /// Takes a place, if there is one. `waits` says that the call waits for changes.
    pub(crate) fn take(&self, waits: bool) -> Option<TakenPlace> {
        let places = if waits { &self.waiting } else { &self.acting };
        Arc::clone(places).try_acquire_owned().ok().map(TakenPlace)
    }
}

fn semaphore(places: u32) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(usize::try_from(places).unwrap_or(Semaphore::MAX_PERMITS)))
}

/// The memory that all guests may have together.
pub(crate) struct Memory {
    most: usize,
    held: AtomicUsize,
}

/// The memory of one call. It is given back when this is dropped.
pub(crate) struct Held {
    of: Arc<Memory>,
    bytes: usize,
}

impl Memory {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, held: AtomicUsize::new(0) })
    }

    /// Nothing yet, for a call that begins.
    pub(crate) fn begin(self: &Arc<Self>) -> Held {
        Held { of: Arc::clone(self), bytes: 0 }
    }
}

impl Held {
    /// Takes so many bytes more, if there are as many.
    pub(crate) fn take(&mut self, more: usize) -> bool {
        let within = |held: usize| held.checked_add(more).filter(|sum| *sum <= self.of.most);
        let taken = self.of.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_ok();
        if taken {
            self.bytes += more;
        }
        taken
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.of.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_driver_leaves_places_for_others() {
        let places = Places::of(32);
        let (greedy, other) = (places.for_driver(), places.for_driver());
        let taken: Vec<TakenPlace> = std::iter::from_fn(|| greedy.take(false)).collect();
        assert_eq!(taken.len(), 14, "of 16 that do not wait");
        let waiting: Vec<TakenPlace> = std::iter::from_fn(|| greedy.take(true)).collect();
        assert_eq!(waiting.len(), 16);
        assert!(other.take(true).is_none());
        assert!(other.take(false).is_some());
        drop(taken);
        assert!(greedy.take(false).is_some());
    }

    #[test]
    fn memory_is_bounded_over_all_calls_and_given_back() {
        let memory = Memory::new(100);
        let (mut one, mut two) = (memory.begin(), memory.begin());
        assert!(one.take(60) && two.take(40));
        assert!(!two.take(1) && !one.take(usize::MAX));
        drop(one);
        assert!(two.take(60));
        drop(two);
        assert!(memory.begin().take(100));
    }
}
