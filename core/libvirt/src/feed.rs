//! The feed of domains that may have changed: a bounded ring that libvirt's events fill and
//! `changes` reads.

use ostler_driver::ChangeBatch;
use ostler_model::VmUuid;
use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;

/// The number of events that are kept. A start makes three events, and so does an end: the ring
/// holds the starts of a thousand guests at once.
const KEPT: usize = 4096;

/// The changes of one host.
pub(crate) struct Feed {
    ring: Mutex<Ring>,
    news: Notify,
}

struct Ring {
    /// The number the next entry gets.
    next: u64,
    /// A reader whose cursor is below this number has missed events.
    whole_from: u64,
    entries: VecDeque<(u64, VmUuid)>,
}

impl Feed {
    /// An empty feed. Its numbers begin with the time of day, so a cursor that an earlier process
    /// gave out is recognised as old.
    pub(crate) fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self::starting_at(u64::try_from(now.as_nanos()).unwrap_or(1).max(1))
    }

    fn starting_at(first: u64) -> Self {
        Self {
            ring: Mutex::new(Ring { next: first, whole_from: first, entries: VecDeque::new() }),
            news: Notify::new(),
        }
    }

    /// Notes that a domain may have changed. Called from libvirt's event thread: must not block and
    /// must not panic.
    pub(crate) fn changed(&self, vm: VmUuid) {
        let mut ring = self.lock();
        let number = ring.next;
        ring.next = number.saturating_add(1);
        ring.entries.push_back((number, vm));
        if ring.entries.len() > KEPT
            && let Some((dropped, _)) = ring.entries.pop_front()
        {
            ring.whole_from = dropped.saturating_add(1);
        }
        drop(ring);
        self.news.notify_waiters();
    }

    /// Notes that events may have been missed: the connection was lost, or is new.
    pub(crate) fn lost(&self) {
        let mut ring = self.lock();
        ring.next = ring.next.saturating_add(1);
        ring.whole_from = ring.next;
        ring.entries.clear();
        drop(ring);
        self.news.notify_waiters();
    }

    /// The changes after `cursor`. If there are none, waits for one up to `wait`.
    pub(crate) async fn after(&self, cursor: u64, wait: Duration) -> ChangeBatch {
        let end = tokio::time::Instant::now() + wait;
        loop {
            let news = self.news.notified();
            tokio::pin!(news);
            // Registered before the read, so that no event is missed between the read and the wait.
            news.as_mut().enable();
            let batch = self.read(cursor);
            if batch.lost
                || !batch.vms.is_empty()
                || tokio::time::timeout_at(end, news).await.is_err()
            {
                return batch;
            }
        }
    }

    fn read(&self, cursor: u64) -> ChangeBatch {
        let ring = self.lock();
        if cursor < ring.whole_from || cursor > ring.next {
            return ChangeBatch { cursor: ring.next, vms: Vec::new(), lost: true };
        }
        let mut seen = HashSet::new();
        let fresh = ring.entries.iter().filter(|(number, _)| *number >= cursor).map(|(_, vm)| *vm);
        let vms = fresh.filter(|vm| seen.insert(*vm)).collect();
        ChangeBatch { cursor: ring.next, vms, lost: false }
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use uuid::Uuid;

    const NOW: Duration = Duration::ZERO;

    fn vm(number: u128) -> VmUuid {
        VmUuid(Uuid::from_u128(number))
    }

    #[tokio::test]
    async fn a_reader_hears_each_change_once_and_knows_when_it_missed_some() {
        let feed = Feed::starting_at(100);
        let first = feed.after(0, NOW).await;
        assert!(first.lost && first.vms.is_empty(), "a new reader looks at all");
        assert!(!feed.after(first.cursor, NOW).await.lost);

        feed.changed(vm(1));
        feed.changed(vm(2));
        feed.changed(vm(1));
        let second = feed.after(first.cursor, NOW).await;
        assert_eq!((second.vms.as_slice(), second.lost), (&[vm(1), vm(2)][..], false));
        assert_eq!(
            feed.after(first.cursor, NOW).await,
            second,
            "the same cursor has the same answer"
        );
        assert!(feed.after(second.cursor, NOW).await.vms.is_empty());

        feed.lost();
        let third = feed.after(second.cursor, NOW).await;
        assert!(third.lost);
        assert!(!feed.after(third.cursor, NOW).await.lost);
        assert!(feed.after(u64::MAX, NOW).await.lost, "a cursor from nowhere");
    }

    #[tokio::test]
    async fn a_slow_reader_is_told_that_it_lost_some() {
        let feed = Feed::starting_at(100);
        let start = feed.after(0, NOW).await.cursor;
        for number in 0..=KEPT as u128 {
            feed.changed(vm(number));
        }
        let batch = feed.after(start, NOW).await;
        assert!(batch.lost);
        feed.changed(vm(5));
        assert_eq!(feed.after(batch.cursor, NOW).await.vms, [vm(5)]);
    }

    #[tokio::test]
    async fn a_waiting_reader_is_woken() {
        let feed = Arc::new(Feed::starting_at(100));
        let cursor = feed.after(0, NOW).await.cursor;
        let writer = Arc::clone(&feed);
        let waiting = feed.after(cursor, Duration::from_secs(60));
        let (batch, ()) = tokio::join!(waiting, async move { writer.changed(vm(3)) });
        assert_eq!(batch.vms, [vm(3)]);
    }
}
