//! The events to come: a heap by time. Events of one time come in the order in which they were
//! pushed.

use crate::work::WorkId;
use ostler_lifecycle::{Input, Look};
use ostler_model::{
    Answer, CallResult, Claim, EffectKey, HostId, Refusal, Request, StepNo, Timestamp, VmId,
};
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// A message to a VM's runner. Mirrors `ostler_engine::mailbox::Message`.
#[derive(Debug, Clone)]
pub(crate) enum Message {
    Input(Input),
    /// A call has returned: the number of its sending, and the answer.
    Returned {
        sending: u64,
        key: EffectKey,
        sent: Option<Timestamp>,
        result: CallResult,
    },
    Request(Request, Asker),
    /// Sweep a host: remove what must not be there.
    Sweep(HostId),
    Wake,
}

/// The sender of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asker {
    Operator,
    Scheduler,
    /// A scheduled action that is due.
    Clock,
}

/// The reply to a request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Accepted(Answer),
    Refused(Refusal),
    NoRoom(Claim),
    Lost,
}

/// The purpose of a look.
#[derive(Debug, Clone)]
pub(crate) enum Purpose {
    /// The facts for a request.
    Facts,
    /// To find out that no earlier call is still at work, for a sending.
    Alone(u64),
    /// The monitor's own look. It has read this step counter before.
    Monitor(StepNo),
    /// To sweep a host.
    PutAway,
}

/// A duty of the daemon. It is void once the daemon has crashed.
#[derive(Debug, Clone)]
pub(crate) enum Duty {
    /// A batch is durable.
    Written,
    Alarm(VmId, Timestamp),
    Deliver(VmId, Box<Message>),
    /// An answer that comes once more, when its call is settled.
    Again(VmId, Box<Message>),
    /// A look reaches the host. The host is seen now, and the result arrives later.
    Look(VmId, HostId, Option<HostId>, Purpose),
    /// The result of a look arrives.
    Saw(VmId, HostId, Purpose, Box<Look>, Option<Box<Look>>),
    /// A call's time is up.
    Deadline(u64),
    /// The grace period of a call that was told to stop is over.
    Drop(u64),
    /// The next poll of a host.
    Poll(HostId),
    /// A call of a sweep has not ended in time.
    GiveUp(VmId, WorkId),
    /// A change was reported: look at one VM.
    Changed(VmId, HostId),
    /// VMs that were restored from a backup get what was found of them.
    Reconcile,
    Scheduler,
}

/// An event outside of the daemon.
#[derive(Debug, Clone)]
pub(crate) enum Happening {
    /// A call takes effect at its host.
    Deed(WorkId),
    /// A call's answer arrives.
    Answer(WorkId, Box<CallResult>),
    Guests,
    Person,
    Host,
    Mend(HostId, bool),
    Crash,
    /// A backup is made.
    Backup,
    /// The store is lost, and the last backup is restored.
    Restore,
    Start,
    Operator,
    Check,
}

#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// A duty in the daemon's life of this number.
    Daemon(u32, Duty),
    World(Happening),
}

struct Entry {
    at: Timestamp,
    seq: u64,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.seq) == (other.at, other.seq)
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    /// The heap returns the greatest entry first, so the earliest entry must be the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.seq).cmp(&(self.at, self.seq))
    }
}

/// Events to come.
#[derive(Default)]
pub(crate) struct Queue {
    heap: BinaryHeap<Entry>,
    seq: u64,
}

impl Queue {
    pub(crate) fn push(&mut self, at: Timestamp, event: Event) {
        self.seq += 1;
        self.heap.push(Entry { at, seq: self.seq, event });
    }

    pub(crate) fn pop(&mut self) -> Option<(Timestamp, Event)> {
        self.heap.pop().map(|entry| (entry.at, entry.event))
    }
}
