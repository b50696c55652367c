//! A pool of threads for calls that block: threads start when there is work and end when there is
//! none, and their number is bounded.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A thread that has nothing to do for this long ends, so that a thousand quiet hosts hold no
/// threads.
const IDLE: Duration = Duration::from_secs(10);
/// The stack of a lane. libvirt's client and our own code need a tenth of it.
const STACK: usize = 512 * 1024;

/// A piece of work for a lane.
pub(crate) type Task = Box<dyn FnOnce() + Send>;

/// The error when there is no room for another job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many calls wait for this host")]
pub(crate) struct Full;

/// A bounded pool.
pub(crate) struct Lanes {
    inner: Arc<Inner>,
}

struct Inner {
    name: &'static str,
    most_threads: usize,
    most_waiting: usize,
    work: Mutex<Work>,
    arrived: Condvar,
}

#[derive(Default)]
struct Work {
    waiting: VecDeque<Task>,
    threads: usize,
    idle: usize,
}

impl Lanes {
    /// At most `most_threads` at work and `most_waiting` waiting.
    pub(crate) fn new(name: &'static str, most_threads: usize, most_waiting: usize) -> Self {
        let inner = Inner {
            name,
            most_threads,
            most_waiting,
            work: Mutex::default(),
            arrived: Condvar::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Hands over a job.
    pub(crate) fn submit(&self, job: Task) -> Result<(), Full> {
        let mut work = self.inner.lock();
        if work.waiting.len() >= self.inner.most_waiting {
            return Err(Full);
        }
        work.waiting.push_back(job);
        // Each idle thread takes one job. An idle thread for which a job already waits does not
        // count as free.
        if work.idle < work.waiting.len() && work.threads < self.inner.most_threads {
            let inner = Arc::clone(&self.inner);
            let made = std::thread::Builder::new()
                .name(inner.name.to_owned())
                .stack_size(STACK)
                .spawn(move || inner.serve());
            match made {
                Ok(_) => work.threads += 1,
                Err(error) if work.threads == 0 => {
                    tracing::error!(%error, "no thread for libvirt calls");
                    work.waiting.pop_back();
                    return Err(Full);
                }
                Err(error) => tracing::warn!(%error, "no further thread for libvirt calls"),
            }
        }
        drop(work);
        self.inner.arrived.notify_one();
        Ok(())
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Work> {
        // Nothing that can panic runs while the lock is held.
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self) {
        while let Some(job) = self.next() {
            // Jobs catch their own panics. Catching here again costs nothing and keeps the count of
            // threads right.
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
                tracing::error!("a libvirt call panicked");
            }
        }
    }

    fn next(&self) -> Option<Task> {
        let mut work = self.lock();
        loop {
            if let Some(job) = work.waiting.pop_front() {
                return Some(job);
            }
            work.idle += 1;
            let (woken, wait) =
                self.arrived.wait_timeout(work, IDLE).unwrap_or_else(PoisonError::into_inner);
            work = woken;
            work.idle -= 1;
            if wait.timed_out() && work.waiting.is_empty() {
                work.threads -= 1;
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn no_more_than_so_many_at_once_and_no_more_than_so_many_wait() {
        let lanes = Lanes::new("test", 2, 3);
        let (begun_tx, begun) = mpsc::channel();
        let gate = Arc::new(Mutex::new(()));
        let closed = gate.lock().expect("fresh");
        for _ in 0..2 {
            let (begun, gate) = (begun_tx.clone(), Arc::clone(&gate));
            lanes
                .submit(Box::new(move || {
                    begun.send(()).expect("heard");
                    drop(gate.lock().expect("opens"));
                }))
                .expect("room");
        }
        begun.recv().expect("first began");
        begun.recv().expect("second began");
        for _ in 0..3 {
            let begun = begun_tx.clone();
            lanes.submit(Box::new(move || begun.send(()).expect("heard"))).expect("room to wait");
        }
        assert_eq!(lanes.submit(Box::new(|| ())), Err(Full));
        assert!(begun.try_recv().is_err(), "both lanes are taken");
        drop(closed);
        for _ in 0..3 {
            begun.recv_timeout(Duration::from_secs(10)).expect("waited its turn");
        }
    }

    #[test]
    fn a_panic_costs_one_job() {
        let lanes = Lanes::new("test", 1, 9);
        let (tx, done) = mpsc::channel();
        lanes.submit(Box::new(|| panic!("on purpose"))).expect("room");
        lanes.submit(Box::new(move || tx.send(()).expect("heard"))).expect("room");
        done.recv_timeout(Duration::from_secs(10)).expect("the lane lives");
    }
}
