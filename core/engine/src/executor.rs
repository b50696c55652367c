//! Sends the decided calls to drivers, each in the lane of its driver and host, and hands the
//! answers to the runners. Every call that was sent is answered in bounded time: by the driver, or
//! with an error when it is dropped after its deadline, or when it panics.

use crate::EngineConfig;
use crate::calls;
use crate::charge;
use crate::clock;
use crate::directory::Directory;
use crate::faults;
use crate::figures::Called;
use crate::hooks::{Point, Sabotage};
use crate::hosts;
use crate::in_flight::InFlight;
use crate::locked::locked;
use crate::maybe_running::{MaybeRunning, alone, beside, touched};
use crate::message::Message;
use crate::shared::Shared;
use crate::trials::Answer;
use ostler_driver::CallControl;
use ostler_model::{
    Call, CallContext, CallResult, DriverError, DriverName, Effect, ErrorKind, HostId, JobCall,
    Lane, Millis, NowCall, Progress, Timestamp, VmRecord,
};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

/// How many looks and destroys run at once for each driver and host, at least. They have a lane of
/// their own. So calls that are stuck cannot keep an operator from seeing and ending them.
const CONTROL_WIDTH: usize = 8;

#[derive(Clone)]
struct Lanes {
    work: Arc<Semaphore>,
    control: Arc<Semaphore>,
}

impl Lanes {
    fn in_use(&self) -> bool {
        Arc::strong_count(&self.work) > 1 || Arc::strong_count(&self.control) > 1
    }
}

/// The calls in flight, and their lanes.
pub(crate) struct Executor {
    pub(crate) in_flight: Arc<InFlight>,
    pub(crate) maybe_running: MaybeRunning,
    lanes: Mutex<HashMap<(DriverName, HostId), Lanes>>,
    width: usize,
    widths: BTreeMap<DriverName, usize>,
}

impl Executor {
    pub(crate) fn new(config: &EngineConfig) -> Self {
        Self {
            in_flight: Arc::default(),
            maybe_running: MaybeRunning::default(),
            lanes: Mutex::default(),
            width: config.lane_width.max(1),
            widths: config.lanes.clone(),
        }
    }

    /// Removes the lanes of hosts that are gone.
    pub(crate) fn prune(&self, directory: &Directory) {
        locked(&self.lanes)
            .retain(|(_, host), lanes| directory.site(*host).is_some() || lanes.in_use());
    }

    /// Sends a call whose effect is committed. There must be at most one call per effect key at a
    /// time: a second call would be the same effect.
    pub(crate) fn send(&self, shared: &Arc<Shared>, effect: Effect, record: Arc<VmRecord>) {
        let cancel = CancellationToken::new();
        let (report, progress) = watch::channel(None);
        let entry = self
            .in_flight
            .enter(&effect.key, shared.now(), cancel.clone(), progress)
            .staying(shared.config.hooks.sabotage == Sabotage::AnswersLost);
        let lanes = self.lanes_for(&effect, &record);
        let task = Arc::clone(shared);
        shared.spawn(async move {
            let (sent, result) = attempt(&task, &effect, &record, lanes, &cancel, report).await;
            if task.stop.is_cancelled() {
                // The daemon ends. The record keeps the call open, and the next start looks what
                // came of it.
                return;
            }
            let returned = Message::Returned(entry.returned(sent, result));
            task.mailboxes.deliver(&task, effect.vm, returned).await;
        });
    }

    /// The lanes in which a call takes a place, in the order of their hosts. A call that moves
    /// something between two hosts is work for both of them. The fixed order prevents a deadlock
    /// between two such calls in opposite directions.
    fn lanes_for(&self, effect: &Effect, record: &VmRecord) -> Vec<Arc<Semaphore>> {
        let mut at = BTreeMap::from([(effect.host, &effect.driver)]);
        if matches!(effect.call, Call::Job(JobCall::Migrate | JobCall::CopyAcross)) {
            for place in record.places() {
                let transfer = effect.call.lane() == Lane::Transfer;
                at.entry(place.host).or_insert(if transfer {
                    &effect.driver
                } else {
                    &place.driver
                });
            }
        }
        at.into_iter()
            .map(|(host, driver)| lane(effect.call, self.lanes_of(driver, host)))
            .collect()
    }

    fn lanes_of(&self, driver: &DriverName, host: HostId) -> Lanes {
        let mut lanes = locked(&self.lanes);
        let width = self.widths.get(driver).copied().unwrap_or(self.width).max(1);
        let fresh = || Lanes {
            work: Arc::new(Semaphore::new(width)),
            control: Arc::new(Semaphore::new(CONTROL_WIDTH.max(width))),
        };
        lanes.entry((driver.clone(), host)).or_insert_with(fresh).clone()
    }
}

fn lane(call: Call, lanes: Lanes) -> Arc<Semaphore> {
    match call {
        Call::Now(NowCall::Destroy | NowCall::Observe) => lanes.control,
        _ => lanes.work,
    }
}

/// Waits for a place in the lane, then calls the driver. A waiting call keeps its turn. Each call
/// before it ends in bounded time, so the wait is bounded too. Operators are told how long it has
/// waited. Answers when the call was sent, if it was.
async fn attempt(
    shared: &Arc<Shared>,
    effect: &Effect,
    record: &Arc<VmRecord>,
    lanes: Vec<Arc<Semaphore>>,
    cancel: &CancellationToken,
    report: watch::Sender<Option<Progress>>,
) -> (Option<Timestamp>, CallResult) {
    let in_all = async {
        let mut places = Vec::with_capacity(lanes.len());
        for lane in lanes {
            places.push(lane.acquire_owned().await);
        }
        places
    };
    let places = tokio::select! {
        biased;
        () = shared.stop.cancelled() => return (None, Err(stopping())),
        () = cancel.cancelled() => {
            return (None, Err(DriverError::new(ErrorKind::Cancelled, "cancelled", "it was told to stop before it was sent")));
        }
        places = in_all => places,
        () = faults::waited_too_long(shared.config.hooks.sabotage) => {
            return (Some(shared.now()), Err(DriverError::retry("lane-full", "earlier calls of this driver and host have not ended")));
        }
    };
    shared.executor.in_flight.has_place(&effect.key);
    let alone = tokio::select! {
        biased;
        alone = alone(shared, effect, record) => alone,
        () = cancel.cancelled() => Err(DriverError::new(ErrorKind::Cancelled, "cancelled", "it was told to stop before it was sent")),
    };
    if let Err(error) = alone {
        // The call's time runs from here too: a host that does not answer the look would not have
        // answered the call.
        return (Some(shared.now()), Err(error));
    }
    shared.reach(Point::Sending).await;
    if !charge::is_held(shared) {
        drop(places);
        return not_in_charge(shared).await;
    }
    if shared.stop.is_cancelled() {
        return (None, Err(stopping()));
    }
    let sent = Some(shared.now());
    let Some(effect) = faults::as_sent(&shared.config.hooks, effect) else {
        drop(places);
        shared.stop.cancelled().await;
        return (None, Err(stopping()));
    };
    let result = beside(shared, &effect, bounded(shared, &effect, record, cancel, report).await);
    drop(places);
    if charge::is_lost(shared, effect.host, &result).await {
        return not_in_charge(shared).await;
    }
    shared.reach(Point::Answered).await;
    (sent, result)
}

/// Another daemon is in charge. Nothing is decided about the call here: it stays open until this
/// daemon ends.
async fn not_in_charge(shared: &Shared) -> (Option<Timestamp>, CallResult) {
    shared.stop.cancelled().await;
    (None, Err(stopping()))
}

/// The daemon ends before the call is sent. Nobody sees this answer: the record keeps the call
/// open.
fn stopping() -> DriverError {
    DriverError::retry("stopping", "the daemon ends")
}

/// Calls the driver, and makes sure that the call ends: it is told to stop at its deadline, and
/// dropped a grace period later.
async fn bounded(
    shared: &Arc<Shared>,
    effect: &Effect,
    record: &Arc<VmRecord>,
    cancel: &CancellationToken,
    report: watch::Sender<Option<Progress>>,
) -> CallResult {
    if let Some(error) =
        shared.trials.refusal(&effect.driver, effect.host, effect.call, shared.now())
    {
        return Err(error);
    }
    let until = clock::instant() + effect.patience.duration();
    let control = CallControl {
        context: CallContext {
            store: shared.store.id(),
            key: effect.key.clone(),
            attempt: effect.attempt,
            generation: effect.generation,
            epoch: shared.store.epoch(),
            spares: effect.spares,
            deadline: shared.now().plus(effect.patience),
        },
        until,
        cancel: cancel.clone(),
        progress: report,
        state: record.driver_state.get(&effect.driver).cloned(),
        related: calls::related(shared, effect, record),
    };
    let began = clock::instant();
    let call = calls::caught(calls::call(shared, effect, record, &control));
    tokio::pin!(call);
    let stop = async {
        tokio::select! {
            biased;
            () = cancel.cancelled() => {}
            () = tokio::time::sleep_until(until.into()) => cancel.cancel(),
            () = shared.stop.cancelled() => return,
        }
        tokio::time::sleep(shared.config.cancel_grace).await;
    };
    let result = tokio::select! {
        biased;
        result = &mut call => told_in_time(result, until, effect.patience),
        () = stop => Err(DriverError::unknown("deadline", "the driver did not answer in time and was dropped")),
    };
    if let Err(error) = &result {
        remember(shared, effect, record, error.kind);
    }
    let called =
        Called { driver: &effect.driver, host: Some(effect.host), function: effect.call.into() };
    shared.count_call(called, began, result.as_ref().err());
    let error = result.as_ref().err();
    // Looks are answered so often that failures of calls would not show among them.
    if error.is_some() || effect.call != Call::Now(NowCall::Observe) {
        let (driver, silent) = (&effect.driver, hosts::is_silent(shared, effect.host));
        let (operation, vm) = (effect.key.operation, effect.key.vm);
        shared.trials.answered(Answer { driver, operation, vm, error, silent }, shared.now());
    }
    shared.trials.went(&effect.driver, effect.host, effect.call, error, shared.now());
    tracing::debug!(key = %effect.key, call = %effect.call, ok = result.is_ok(), "driver call");
    result
}

/// Remembers that the work of a call which has ended with this error may go on at its host.
fn remember(shared: &Shared, effect: &Effect, record: &VmRecord, kind: ErrorKind) {
    let (marks, hosts) = (&shared.executor.maybe_running, touched(effect, record));
    match (kind, effect.call.lane()) {
        // The call was dropped, crashed or lost.
        (ErrorKind::Unknown, Lane::Hypervisor) => marks.mark(effect.vm, hosts),
        (ErrorKind::Unknown, Lane::Transfer) => marks.transfers_on(effect.vm, &effect.driver),
        // A job was begun, and how far it is could not be told. A delete that overtakes it must not
        // be sent while the hypervisor is still moving the domain.
        (ErrorKind::Retry, Lane::Hypervisor) if matches!(effect.call, Call::Job(_)) => {
            marks.job_on(effect.vm, &effect.key, hosts)
        }
        (ErrorKind::Retry, Lane::Hypervisor | Lane::Transfer)
        | (
            ErrorKind::Refused
            | ErrorKind::NotHere
            | ErrorKind::Gone
            | ErrorKind::Stale
            | ErrorKind::Cancelled,
            Lane::Hypervisor | Lane::Transfer,
        ) => {}
    }
}

/// If a call stopped because its time was up, the error says so: nobody has asked it to stop.
fn told_in_time(result: CallResult, until: Instant, patience: Millis) -> CallResult {
    match result {
        Err(error) if error.kind == ErrorKind::Cancelled && clock::instant() >= until => {
            let detail = format!(
                "it was not done within {} s and was stopped: {}",
                patience.0 / 1000,
                error.detail
            );
            Err(DriverError::new(ErrorKind::Cancelled, "deadline", detail))
        }
        Ok(_) | Err(_) => result,
    }
}
