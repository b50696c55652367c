//! The calls in flight: each is here from before it is sent until its VM's runner has received the
//! answer.

use crate::locked::locked;
use ostler_lifecycle::Input;
use ostler_model::{CallResult, EffectKey, Progress, Timestamp};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// An open call in a record that is not in flight was sent by a previous process, or its task in
/// this process has failed.
#[derive(Default)]
pub(crate) struct InFlight {
    calls: Mutex<HashMap<EffectKey, Sent>>,
    sendings: AtomicU64,
}

struct Sent {
    sending: u64,
    /// Since when it waits for a place in its lane. None once it has one.
    queued: Option<Timestamp>,
    cancel: CancellationToken,
    progress: watch::Receiver<Option<Progress>>,
}

impl InFlight {
    /// Enters a call that is about to be sent, and waits for a place in its lane since `now`.
    pub(crate) fn enter(
        self: &Arc<Self>,
        key: &EffectKey,
        now: Timestamp,
        cancel: CancellationToken,
        progress: watch::Receiver<Option<Progress>>,
    ) -> Entry {
        let sending = self.sendings.fetch_add(1, Ordering::Relaxed);
        let sent = Sent { sending, queued: Some(now), cancel, progress };
        locked(&self.calls).insert(key.clone(), sent);
        Entry { all: Arc::clone(self), key: key.clone(), sending, stays: false }
    }

    /// Whether a task in this process handles that call, or its answer is on the way to the runner.
    pub(crate) fn is_at(&self, key: &EffectKey) -> bool {
        locked(&self.calls).contains_key(key)
    }

    /// The progress of a call, if its driver has reported it.
    pub(crate) fn progress(&self, key: &EffectKey) -> Option<Progress> {
        locked(&self.calls).get(key).and_then(|call| call.progress.borrow().clone())
    }

    /// Since when a call waits for a place in its lane. None if it does not wait.
    pub(crate) fn queued(&self, key: &EffectKey) -> Option<Timestamp> {
        locked(&self.calls).get(key)?.queued
    }

    /// The call has its place in the lane.
    pub(crate) fn has_place(&self, key: &EffectKey) {
        if let Some(call) = locked(&self.calls).get_mut(key) {
            call.queued = None;
        }
    }

    /// Tells a call to stop. It answers as soon as it has stopped.
    pub(crate) fn cancel(&self, key: &EffectKey) {
        if let Some(call) = locked(&self.calls).get(key) {
            call.cancel.cancel();
        }
    }
}

/// The entry of a call in flight. The task that handles the call owns it. If that task panics, or
/// the answer is lost with a mailbox, the entry is removed too. Then nobody works on the call, and
/// the runner treats it like an open call of a previous process.
pub(crate) struct Entry {
    all: Arc<InFlight>,
    key: EffectKey,
    /// The number of this sending. The same call may have been sent again since.
    sending: u64,
    /// For tests only: the call stays in flight when the entry is dropped.
    stays: bool,
}

impl Entry {
    /// The entry that stays in flight when it is dropped, if `stays`.
    pub(crate) const fn staying(mut self, stays: bool) -> Self {
        self.stays = stays;
        self
    }

    /// The call has returned. `sent` is when its time began to run: when it was sent, or when the
    /// look before it failed. None if it was stopped before it had a place in its lane.
    pub(crate) const fn returned(self, sent: Option<Timestamp>, result: CallResult) -> Returned {
        Returned { entry: self, sent, result }
    }

    /// Removes the entry, unless the call was sent again meanwhile.
    fn strike(&self) {
        let mut calls = locked(&self.all.calls);
        if calls.get(&self.key).is_some_and(|call| call.sending == self.sending) {
            calls.remove(&self.key);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if !self.stays {
            self.strike();
        }
    }
}

/// A call that has returned.
pub(crate) struct Returned {
    entry: Entry,
    sent: Option<Timestamp>,
    result: CallResult,
}

impl Returned {
    /// The runner has received the answer. Only now is the call removed from the calls in flight.
    pub(crate) fn received(&self) {
        self.entry.strike();
    }

    pub(crate) fn into_input(self) -> Input {
        Input::Answered { key: self.entry.key.clone(), sent: self.sent, result: self.result }
    }
}
