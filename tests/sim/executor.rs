//! The executor of the simulated daemon. A function with the name of one in
//! `ostler_engine::executor` mirrors that one. Other than there, a hypervisor call does not wait
//! here for dropped transfers of its VM.

use crate::mutation::Mutation;
use crate::queue::{Duty, Event, Message, Purpose};
use crate::run::Sim;
use crate::work::{Origin, WorkId};
use ostler_model::{
    Call, CallResult, DriverError, Effect, EffectKey, ErrorKind, HostId, Lane, Millis, Outcome,
    Timestamp, VmId, VmRecord,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

/// Mirrors `EngineConfig::lane_width`. It is narrower, so that lanes are full at times.
const WIDTH: usize = 6;
/// Mirrors `ostler_engine::executor::CONTROL_WIDTH`.
const CONTROL_WIDTH: usize = 8;
/// Mirrors `EngineConfig::cancel_grace`.
const CANCEL_GRACE: Millis = Millis::secs(5);

/// How far the sending of a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Queued,
    /// A look checks that no earlier call is still at work.
    Looking,
    Calling(WorkId),
}

/// A call that the executor has got and has not answered.
pub(crate) struct Flight {
    effect: Rc<Effect>,
    record: Rc<VmRecord>,
    stage: Stage,
    cancelled: bool,
    sent: Option<Timestamp>,
}

#[derive(Default)]
struct Lanes {
    at_work: usize,
    waiting: VecDeque<u64>,
}

/// The state of the executor. It is lost when the daemon dies.
#[derive(Default)]
pub(crate) struct Executor {
    flights: BTreeMap<u64, Flight>,
    /// The number of the sending of each call: from before it is sent until the VM's runner has its
    /// answer.
    in_flight: BTreeMap<EffectKey, u64>,
    /// The VMs and hosts that are haunted: a call may still be at work there though nobody waits
    /// for it.
    haunted: BTreeSet<(VmId, HostId)>,
    lanes: BTreeMap<(HostId, Lane, bool), Lanes>,
}

impl Executor {
    pub(crate) fn is_at(&self, key: &EffectKey) -> bool {
        self.in_flight.contains_key(key)
    }

    pub(crate) fn haunt(&mut self, vm: VmId, host: HostId) {
        self.haunted.insert((vm, host));
    }

    /// Marks every host as haunted where a VM has something or may have something.
    pub(crate) fn haunt_all(&mut self, record: &VmRecord) {
        let places = record
            .placement
            .iter()
            .chain(&record.other)
            .chain(record.leftovers.iter().map(|left| &left.place));
        self.haunted.extend(places.map(|place| (record.id, place.host)));
    }

    /// The runner has received an answer. Returns true if the answer may count: it is of the newest
    /// sending, or no sending of this call is in flight. Returns false if the call was sent again
    /// since.
    pub(crate) fn received(&mut self, key: &EffectKey, sending: u64) -> bool {
        match self.in_flight.get(key) {
            Some(current) if *current == sending => {
                self.in_flight.remove(key);
                true
            }
            Some(_) => false,
            None => true,
        }
    }
}

/// Looks and destroys have a lane of their own.
const fn control(call: Call) -> bool {
    matches!(call, Call::Destroy | Call::Observe)
}

fn lane_of(effect: &Effect) -> (HostId, Lane, bool) {
    (effect.host, effect.call.lane(), control(effect.call))
}

fn cancelled_before() -> CallResult {
    Err(DriverError::new(
        ErrorKind::Cancelled,
        "cancelled",
        "it was told to stop before it was sent",
    ))
}

impl Sim {
    pub(crate) fn send(&mut self, effect: &Effect, record: &Rc<VmRecord>) {
        self.next_sending += 1;
        let sending = self.next_sending;
        if self.mutation == Mutation::LoseCall && sending.is_multiple_of(50) {
            self.executor.in_flight.insert(effect.key.clone(), sending);
            return;
        }
        let effect = Rc::new(effect.clone());
        self.executor.in_flight.insert(effect.key.clone(), sending);
        let lane = lane_of(&effect);
        let flight = Flight {
            effect,
            record: Rc::clone(record),
            stage: Stage::Queued,
            cancelled: false,
            sent: None,
        };
        self.executor.flights.insert(sending, flight);
        let width = if lane.2 { CONTROL_WIDTH } else { WIDTH };
        let lanes = self.executor.lanes.entry(lane).or_default();
        if lanes.at_work < width {
            lanes.at_work += 1;
            self.attempt(sending);
        } else {
            lanes.waiting.push_back(sending);
        }
    }

    /// The call has its place in the lane.
    fn attempt(&mut self, sending: u64) {
        let Some(flight) = self.executor.flights.get_mut(&sending) else { return };
        let effect = Rc::clone(&flight.effect);
        let beside = effect.call.lane() == Lane::Transfer || control(effect.call);
        let there = flight
            .record
            .other
            .as_ref()
            .map(|place| place.host)
            .filter(|_| effect.call == Call::Migrate);
        let both = [Some(effect.host), there];
        let haunted = both
            .into_iter()
            .flatten()
            .any(|host| self.executor.haunted.contains(&(effect.vm, host)));
        if beside || !haunted || self.mutation == Mutation::ForgetHaunted {
            return self.bounded(sending);
        }
        flight.stage = Stage::Looking;
        let wait = Millis(self.rng.within(1, 30));
        self.later(wait, Duty::Look(effect.vm, effect.host, there, Purpose::Alone(sending)));
    }

    /// The result of the look that a call waited for.
    pub(crate) fn alone(&mut self, sending: u64, look: &Result<(), DriverError>) {
        let Some(flight) =
            self.executor.flights.get(&sending).filter(|flight| flight.stage == Stage::Looking)
        else {
            return;
        };
        let (vm, host) = (flight.effect.vm, flight.effect.host);
        let there = flight
            .record
            .other
            .as_ref()
            .map(|place| place.host)
            .filter(|_| flight.effect.call == Call::Migrate);
        match look {
            Ok(_) => {
                for host in [Some(host), there].into_iter().flatten() {
                    self.executor.haunted.remove(&(vm, host));
                }
                self.bounded(sending);
            }
            Err(error) => {
                let error = DriverError::retry(
                    "earlier-call",
                    format!("an earlier call may still be at work: {error}"),
                );
                self.returned(sending, Err(error));
            }
        }
    }

    /// Calls the driver, and makes sure that the call ends: it is told to stop at its deadline, and
    /// dropped a grace period later.
    fn bounded(&mut self, sending: u64) {
        let now = self.now;
        let Some(flight) = self.executor.flights.get_mut(&sending) else { return };
        flight.sent = Some(now);
        let (effect, record) = (Rc::clone(&flight.effect), Rc::clone(&flight.record));
        if let Err(why) = crate::invariants::may_be_sent(self, effect.vm, &effect.key) {
            self.world.wrong(|| why);
        }
        if self.mutation == Mutation::NewEdgeIdentity && effect.attempt > 1 {
            return self.under_another_identity(sending, &effect, &record);
        }
        self.call(sending, &effect, &record);
    }

    fn call(&mut self, sending: u64, effect: &Rc<Effect>, record: &Rc<VmRecord>) {
        let Some(work) = self.begin_work(effect, record, Origin::Sending(sending)) else { return };
        if let Some(flight) = self.executor.flights.get_mut(&sending) {
            flight.stage = Stage::Calling(work);
            self.later(effect.patience, Duty::Deadline(sending));
        }
    }

    /// Carries out the fault that promise 1 forbids: a call that may have been sent is sent again
    /// under another identity.
    fn under_another_identity(&mut self, sending: u64, effect: &Effect, record: &Rc<VmRecord>) {
        let mut other = effect.clone();
        other.key.step.0 += 1_000_000 * u64::from(effect.attempt);
        self.call(sending, &Rc::new(other), record);
    }

    /// A driver has answered.
    pub(crate) fn called(&mut self, sending: u64, result: CallResult) {
        let Some(flight) = self.executor.flights.get(&sending) else { return };
        let (vm, host) = (flight.effect.vm, flight.effect.host);
        let there = flight
            .record
            .other
            .as_ref()
            .map(|place| place.host)
            .filter(|_| flight.effect.call == Call::Migrate);
        let destroys = flight.effect.call == Call::Destroy;
        let result = match result {
            // A destroy beside a call that may still be at work: its look proves nothing, so it is
            // removed from the answer.
            Ok(outcome) if destroys && self.executor.haunted.contains(&(vm, host)) => {
                Ok(Outcome { seen: None, ..outcome })
            }
            other => other,
        };
        if result.as_ref().is_err_and(|error| error.kind == ErrorKind::Unknown) {
            for host in [Some(host), there].into_iter().flatten() {
                self.executor.haunt(vm, host);
            }
        }
        self.returned(sending, result);
    }

    /// Frees the place in the lane, and sends the answer to the VM's runner.
    fn returned(&mut self, sending: u64, result: CallResult) {
        let Some(flight) = self.executor.flights.remove(&sending) else { return };
        if let Err(error) = &result {
            *self.coverage.errors.entry(format!("{}/{}", error.kind, error.code)).or_default() += 1;
        }
        let lane = lane_of(&flight.effect);
        if flight.stage == Stage::Queued {
            if let Some(lanes) = self.executor.lanes.get_mut(&lane) {
                lanes.waiting.retain(|other| *other != sending);
            }
        } else {
            self.next_in_lane(lane);
        }
        let key = flight.effect.key.clone();
        // The time of a call begins with the look before it.
        let tried = flight.stage != Stage::Queued && !flight.cancelled;
        let sent = flight.sent.or(tried.then_some(self.now));
        let message = Message::Returned { sending, key, sent, result };
        let wait = if self.rng.permille(20) { self.rng.within(100, 5_000) } else { 0 };
        if self.rng.permille(self.weather.late / 4) {
            let wait = Millis(wait + self.rng.within(50, 5_000));
            self.later(wait, Duty::Again(flight.effect.vm, Box::new(message.clone())));
        }
        self.later(Millis(wait), Duty::Deliver(flight.effect.vm, Box::new(message)));
    }

    /// An answer arrives a second time. If its call is being sent again, the answer could be taken
    /// for that of the new sending. No executor passes on such an answer, so it is dropped.
    pub(crate) fn again(&mut self, vm: VmId, message: Message) {
        if let Message::Returned { key, .. } = &message
            && !self.executor.is_at(key)
        {
            self.deliver(vm, message);
        }
    }

    fn next_in_lane(&mut self, lane: (HostId, Lane, bool)) {
        let Some(lanes) = self.executor.lanes.get_mut(&lane) else { return };
        match lanes.waiting.pop_front() {
            Some(next) => self.attempt(next),
            None => lanes.at_work -= 1,
        }
    }

    /// Tells a call to stop. Its answer comes as soon as it has stopped.
    pub(crate) fn cancel(&mut self, key: &EffectKey) {
        let Some(sending) = self.executor.in_flight.get(key).copied() else { return };
        let Some(flight) = self.executor.flights.get_mut(&sending) else { return };
        if std::mem::replace(&mut flight.cancelled, true) {
            return;
        }
        match flight.stage {
            Stage::Queued | Stage::Looking => self.returned(sending, cancelled_before()),
            Stage::Calling(work) => {
                self.stop_work(work);
                self.later(CANCEL_GRACE, Duty::Drop(sending));
            }
        }
    }

    pub(crate) fn deadline(&mut self, sending: u64) {
        let Some(flight) = self.executor.flights.get(&sending) else { return };
        let key = flight.effect.key.clone();
        if self.executor.in_flight.get(&key) == Some(&sending) {
            self.cancel(&key);
        } else {
            self.drop_call(sending);
        }
    }

    pub(crate) fn drop_call(&mut self, sending: u64) {
        let Some(flight) = self.executor.flights.get(&sending) else { return };
        if let Stage::Calling(work) = flight.stage {
            self.abandon_work(work);
        }
        self.called(
            sending,
            Err(DriverError::unknown(
                "deadline",
                "the driver did not answer in time and was dropped",
            )),
        );
    }

    /// Plans a duty of the daemon. It is dropped if the daemon has died by then.
    pub(crate) fn later(&mut self, wait: Millis, duty: Duty) {
        let at = self.now.plus(wait);
        self.queue.push(at, Event::Daemon(self.life, duty));
    }
}
