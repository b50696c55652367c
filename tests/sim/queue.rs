//! What happens when: a heap by time and, among equals, in the order in which it was decided.

use crate::work::WorkId;
use ostler_lifecycle::{Input, Look};
use ostler_model::{Answer, CallResult, Claim, EffectKey, HostId, Refusal, Request, StepNo, Timestamp, VmId};
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// A message to a VM's runner. Mirrors `ostler_engine::mailbox::Message`.
#[derive(Debug, Clone)]
pub(crate) enum Message {
    Input(Input),
    /// A call has returned: which sending, and the answer.
    Returned {
        sending: u64,
        key: EffectKey,
        sent: Option<Timestamp>,
        result: CallResult,
    },
    Request(Request, Asker),
    /// Put away what must not be on a host.
    Sweep(HostId),
    Wake,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asker {
    Operator,
    Scheduler,
    /// A scheduled action that is due.
    Clock,
}

/// What an asker is told.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Accepted(Answer),
    Refused(Refusal),
    NoRoom(Claim),
    Lost,
}

/// Why somebody looks.
#[derive(Debug, Clone)]
pub(crate) enum Purpose {
    /// A request's facts.
    Facts,
    /// Whether an earlier call is still at work.
    Alone(u64),
    /// The monitor, having read the step counter before.
    Monitor(StepNo),
    /// Somebody wants to put something away.
    PutAway,
}

/// What the daemon does. Void once it has crashed.
#[derive(Debug, Clone)]
pub(crate) enum Duty {
    /// A batch is durable.
    Written,
    Alarm(VmId, Timestamp),
    Deliver(VmId, Box<Message>),
    /// An answer comes once more, when its call is settled.
    Again(VmId, Box<Message>),
    /// A look reaches the host: it is seen now, and told later.
    Look(VmId, HostId, Option<HostId>, Purpose),
    /// What was seen is told.
    Saw(VmId, HostId, Purpose, Box<Look>, Option<Box<Look>>),
    /// A call's time is up.
    Deadline(u64),
    /// A call was told to stop, and has had its time for that.
    Drop(u64),
    /// The next look at all of a host.
    Poll(HostId),
    /// What puts something away has not ended in time.
    GiveUp(VmId, WorkId),
    /// A change was told: look at one VM.
    Changed(VmId, HostId),
    /// VMs that came back with a backup are told what was found of them.
    Reconcile,
    Scheduler,
}

/// What happens outside of the daemon.
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
    /// The store is lost, and the last backup restored.
    Restore,
    Start,
    Operator,
    Check,
}

#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// Of the daemon's life of that number.
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
    /// The heap gives the greatest: the earliest is greatest.
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
