//! One mutating call per domain at a time, and the memory of calls whose caller has gone.
//!
//! A call that is under way at libvirt cannot be taken back. If its future is dropped, or its
//! deadline passes, the call is an *orphan*: its thread keeps the domain's lock until libvirt
//! answers. Until then no look at the domain proves anything.

use ostler_model::VmUuid;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::OwnedMutexGuard;

/// The locks of one host's domains.
#[derive(Default)]
pub(crate) struct Locks {
    table: Mutex<HashMap<VmUuid, Entry>>,
}

#[derive(Default)]
struct Entry {
    lock: Arc<tokio::sync::Mutex<()>>,
    /// The number of calls that were begun and are not over.
    users: usize,
    /// The number of calls at work that nobody waits for.
    orphans: usize,
}

/// The phase of a call, shared by its caller and its thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The call waits for a lane, and its caller waits for it.
    Queued,
    /// The caller left before the call began: it will never begin.
    Dropped,
    /// At work, and its caller waits.
    Running,
    /// At work, and nobody waits.
    Orphan,
    /// Over.
    Done,
}

/// A domain's lock, while it is held.
pub(crate) type Held = OwnedMutexGuard<()>;

/// The caller's handle on one call on one domain. Dropping it makes the call an orphan, if the call
/// is at work.
pub(crate) struct Ticket {
    locks: Arc<Locks>,
    vm: VmUuid,
    phase: Arc<Mutex<Phase>>,
}

/// The thread's handle on the same call. Dropping it says that the call is over.
pub(crate) struct Worker {
    locks: Arc<Locks>,
    vm: VmUuid,
    phase: Arc<Mutex<Phase>>,
    _held: Option<Held>,
}

impl Locks {
    /// The lock of a domain; wait for it with `lock_owned`.
    pub(crate) fn of(self: &Arc<Self>, vm: VmUuid) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(&self.table().entry(vm).or_default().lock)
    }

    /// Whether a call that nobody waits for may still be at work on the domain.
    pub(crate) fn is_orphaned(&self, vm: VmUuid) -> bool {
        self.table().get(&vm).is_some_and(|entry| entry.orphans > 0)
    }

    /// Whether no call is at work or queued for a lane.
    pub(crate) fn is_quiet(&self) -> bool {
        self.table().values().all(|entry| entry.users == 0 && entry.orphans == 0)
    }

    /// Begins a new call. `held`: the domain's lock, which goes to the call's thread.
    pub(crate) fn begin(self: &Arc<Self>, vm: VmUuid, held: Option<Held>) -> (Ticket, Worker) {
        self.table().entry(vm).or_default().users += 1;
        let phase = Arc::new(Mutex::new(Phase::Queued));
        let ticket = Ticket { locks: Arc::clone(self), vm, phase: Arc::clone(&phase) };
        (ticket, Worker { locks: Arc::clone(self), vm, phase, _held: held })
    }

    fn table(&self) -> MutexGuard<'_, HashMap<VmUuid, Entry>> {
        // Only counts and lookups happen under the lock.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change_orphans(&self, vm: VmUuid, change: impl FnOnce(&mut Entry)) {
        let mut table = self.table();
        change(table.entry(vm).or_default());
    }

    /// Counts a call as over, and forgets the entry if no call is left and only the table owns its
    /// lock: a caller that waits for the lock owns it too.
    fn tidy(&self, vm: VmUuid) {
        let mut table = self.table();
        if let Some(entry) = table.get_mut(&vm) {
            entry.users = entry.users.saturating_sub(1);
            if entry.users == 0 && entry.orphans == 0 && Arc::strong_count(&entry.lock) == 1 {
                table.remove(&vm);
            }
        }
    }
}

fn lock(phase: &Mutex<Phase>) -> MutexGuard<'_, Phase> {
    phase.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ticket {
    /// Notes that the caller waits no longer. True if the call will never begin, false if it is (or
    /// was) at work.
    pub(crate) fn abandon(&self) -> bool {
        let mut phase = lock(&self.phase);
        match *phase {
            Phase::Queued | Phase::Dropped => {
                *phase = Phase::Dropped;
                true
            }
            Phase::Running => {
                *phase = Phase::Orphan;
                // The phase is still locked, so the worker cannot end in between.
                self.locks.change_orphans(self.vm, |entry| entry.orphans += 1);
                false
            }
            Phase::Orphan | Phase::Done => false,
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.abandon();
    }
}

impl Worker {
    /// Whether the call may begin; false if its caller has left.
    pub(crate) fn start(&self) -> bool {
        let mut phase = lock(&self.phase);
        if *phase == Phase::Queued {
            *phase = Phase::Running;
        }
        *phase == Phase::Running
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self._held = None; // first: when a caller sees that the call is over, the lock must be free
        let mut phase = lock(&self.phase);
        if *phase == Phase::Orphan {
            self.locks
                .change_orphans(self.vm, |entry| entry.orphans = entry.orphans.saturating_sub(1));
        }
        *phase = Phase::Done;
        drop(phase);
        self.locks.tidy(self.vm);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const VM: VmUuid = VmUuid(Uuid::from_u128(1));

    #[test]
    fn a_call_that_never_began_is_no_orphan() {
        let locks = Arc::new(Locks::default());
        let (ticket, worker) = locks.begin(VM, None);
        drop(ticket);
        assert!(!locks.is_orphaned(VM));
        assert!(!worker.start(), "its caller has left");
        drop(worker);
        assert!(locks.table().is_empty());
    }

    #[test]
    fn a_call_at_work_is_an_orphan_until_it_is_over() {
        let locks = Arc::new(Locks::default());
        let held = locks.of(VM).try_lock_owned().expect("free");
        let (ticket, worker) = locks.begin(VM, Some(held));
        assert!(worker.start());
        assert!(!ticket.abandon());
        drop(ticket);
        assert!(locks.is_orphaned(VM));
        assert!(locks.of(VM).try_lock_owned().is_err(), "its thread keeps the lock");
        drop(worker);
        assert!(!locks.is_orphaned(VM));
        assert!(locks.of(VM).try_lock_owned().is_ok());
    }

    #[test]
    fn a_call_that_ended_leaves_nothing() {
        let locks = Arc::new(Locks::default());
        let (ticket, worker) = locks.begin(VM, None);
        assert!(worker.start());
        drop(worker);
        drop(ticket);
        assert!(!locks.is_orphaned(VM));
        assert!(locks.table().is_empty());
    }
}
