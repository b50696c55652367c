//! Fires due timers. The due times are in the store, with the records. This module only wakes the
//! runners.

use crate::locked::locked;
use crate::message::Message;
use crate::shared::Shared;
use ostler_lifecycle::Input;
use ostler_model::{Millis, Timestamp, VmId};
use ostler_store::Health;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;

/// If nothing is due, the clock is read again after this time, in case it was set.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(5);
/// If a VM's mailbox is full, its timer fires again after this time.
const FULL_WAIT: Millis = Millis(100);

#[derive(Default)]
struct Alarms {
    queue: BTreeSet<(Timestamp, VmId)>,
    of: HashMap<VmId, Timestamp>,
}

/// The timers of all VMs, at most one per VM.
#[derive(Default)]
pub(crate) struct Timers {
    alarms: Mutex<Alarms>,
    sooner: Notify,
}

impl Timers {
    /// Sets, moves or clears the timer of a VM.
    pub(crate) fn set(&self, vm: VmId, due: Option<Timestamp>) {
        let mut alarms = locked(&self.alarms);
        if let Some(old) = alarms.of.remove(&vm) {
            alarms.queue.remove(&(old, vm));
        }
        if let Some(due) = due {
            let first = alarms.queue.first().is_none_or(|(earliest, _)| due < *earliest);
            alarms.queue.insert((due, vm));
            alarms.of.insert(vm, due);
            if first {
                self.sooner.notify_one();
            }
        }
    }

    /// Sets the timer of a VM that has none. Its last timer has fired, and the task that should
    /// have set the next one has failed.
    pub(crate) fn restore(&self, vm: VmId, due: Timestamp) {
        if !locked(&self.alarms).of.contains_key(&vm) {
            self.set(vm, Some(due));
        }
    }

    fn take_due(&self, now: Timestamp) -> (Vec<VmId>, Duration) {
        let mut alarms = locked(&self.alarms);
        let mut due = Vec::new();
        while let Some((when, vm)) = alarms.queue.first().copied().filter(|(when, _)| *when <= now)
        {
            alarms.queue.remove(&(when, vm));
            alarms.of.remove(&vm);
            due.push(vm);
        }
        let wait = alarms
            .queue
            .first()
            .map_or(LOOK_AT_CLOCK, |(when, _)| when.since(now).duration().min(LOOK_AT_CLOCK));
        (due, wait)
    }
}

/// Runs until the daemon ends.
pub(crate) async fn run(shared: Arc<Shared>) {
    while !shared.stop.is_cancelled() {
        let (due, wait) = if shared.store.health() != Health::Writable {
            // Nothing can be committed until the daemon is started again. A due timer would stay
            // due, and would fire again without a pause.
            (Vec::new(), LOOK_AT_CLOCK)
        } else {
            shared.timers.take_due(shared.now())
        };
        for vm in due {
            if !shared.mailboxes.offer(&shared, vm, Message::Input(Input::Tick)) {
                // One VM with a full mailbox must not delay the timers of all others.
                shared.timers.set(vm, Some(shared.now().plus(FULL_WAIT)));
            }
        }
        tokio::select! {
            biased;
            () = tokio::time::sleep(wait) => {}
            () = shared.timers.sooner.notified() => {}
            () = shared.stop.cancelled() => {}
        }
    }
}
