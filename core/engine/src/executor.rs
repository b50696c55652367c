//! Sends decided calls to drivers, each in the lane of its driver and host, and brings the answers back. Every call that was sent
//! is answered in bounded time: by the driver, by its deadline, or by having been dropped.

use crate::EngineConfig;
use crate::calls;
use crate::clock;
use crate::mailbox::Message;
use crate::shared::{Shared, locked};
use ostler_driver::CallControl;
use ostler_lifecycle::Input;
use ostler_model::{
    Call, CallContext, CallResult, DriverError, DriverName, Effect, EffectKey, ErrorKind, HostId, Progress, Timestamp, VmRecord,
};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

/// Looks and destroys at once for each driver and host. They have a lane of their own, so that stuck calls cannot keep an
/// operator from seeing and ending them.
const CONTROL_WIDTH: usize = 8;

struct InFlight {
    cancel: CancellationToken,
    progress: watch::Receiver<Option<Progress>>,
}

#[derive(Clone)]
struct Lanes {
    work: Arc<Semaphore>,
    control: Arc<Semaphore>,
}

/// The calls in flight, and their lanes.
pub(crate) struct Executor {
    in_flight: Mutex<HashMap<EffectKey, InFlight>>,
    lanes: Mutex<HashMap<(DriverName, HostId), Lanes>>,
    width: usize,
    widths: std::collections::BTreeMap<DriverName, usize>,
}

impl Executor {
    pub(crate) fn new(config: &EngineConfig) -> Self {
        Self { in_flight: Mutex::default(), lanes: Mutex::default(), width: config.lane_width, widths: config.lanes.clone() }
    }

    /// Whether somebody in this process is at that call.
    pub(crate) fn is_at(&self, key: &EffectKey) -> bool {
        locked(&self.in_flight).contains_key(key)
    }

    /// How far a call is, if its driver said so.
    pub(crate) fn progress(&self, key: &EffectKey) -> Option<Progress> {
        locked(&self.in_flight).get(key).and_then(|call| call.progress.borrow().clone())
    }

    /// Tells a call to stop. It is answered as soon as it has.
    pub(crate) fn cancel(&self, key: &EffectKey) {
        if let Some(call) = locked(&self.in_flight).get(key) {
            call.cancel.cancel();
        }
    }

    /// Sends a call whose effect is committed. At most one a key: a second would be the same effect.
    pub(crate) fn send(&self, shared: &Arc<Shared>, effect: Effect, record: Arc<VmRecord>) {
        let cancel = CancellationToken::new();
        let (report, progress) = watch::channel(None);
        locked(&self.in_flight).insert(effect.key.clone(), InFlight { cancel: cancel.clone(), progress });
        let lanes = self.lanes_of(&effect.driver, effect.host);
        let shared = Arc::clone(shared);
        let tracker = shared.tasks.clone();
        tracker.spawn(async move {
            let (sent, result) = attempt(&shared, &effect, &record, lanes, &cancel, report).await;
            if shared.stop.is_cancelled() {
                // The daemon ends: the record keeps the call open, and the next start looks what came of it.
                return;
            }
            let answered = Input::Answered { key: effect.key.clone(), sent, result };
            // Off the books before the runner can decide to send the same key again.
            locked(&shared.executor.in_flight).remove(&effect.key);
            shared.mailboxes.deliver(&shared, effect.vm, Message::Input(answered)).await;
        });
    }

    fn lanes_of(&self, driver: &DriverName, host: HostId) -> Lanes {
        let mut lanes = locked(&self.lanes);
        let width = self.widths.get(driver).copied().unwrap_or(self.width);
        let fresh = || Lanes { work: Arc::new(Semaphore::new(width)), control: Arc::new(Semaphore::new(CONTROL_WIDTH.max(width))) };
        lanes.entry((driver.clone(), host)).or_insert_with(fresh).clone()
    }
}

/// Waits for a place in the lane, then calls.
async fn attempt(
    shared: &Arc<Shared>,
    effect: &Effect,
    record: &Arc<VmRecord>,
    lanes: Lanes,
    cancel: &CancellationToken,
    report: watch::Sender<Option<Progress>>,
) -> (Timestamp, CallResult) {
    let lane = match effect.call {
        Call::Destroy | Call::Observe => lanes.control,
        Call::Prepare
        | Call::CopyIn
        | Call::DropHome
        | Call::DropRecovery
        | Call::CopyOut
        | Call::DropHost
        | Call::Deploy
        | Call::Restore
        | Call::Unpause
        | Call::PressPower
        | Call::Save
        | Call::Remove
        | Call::Reboot
        | Call::Reset => lanes.work,
    };
    let place = tokio::select! {
        place = lane.acquire_owned() => place,
        () = cancel.cancelled() => {
            return (clock::now(), Err(DriverError::new(ErrorKind::Cancelled, "cancelled", "it was told to stop before it was sent")));
        }
        () = tokio::time::sleep(shared.config.lane_wait.duration()) => {
            return (clock::now(), Err(DriverError::retry("lane-full", "earlier calls of this driver and host have not ended")));
        }
        () = shared.stop.cancelled() => return (clock::now(), Err(DriverError::retry("stopping", "the daemon ends"))),
    };
    let sent = clock::now();
    let result = bounded(shared, effect, record, cancel, report).await;
    drop(place);
    (sent, result)
}

/// Calls, and sees to it that the call ends: told to stop at its deadline, dropped a grace later.
async fn bounded(
    shared: &Arc<Shared>,
    effect: &Effect,
    record: &Arc<VmRecord>,
    cancel: &CancellationToken,
    report: watch::Sender<Option<Progress>>,
) -> CallResult {
    let until = Instant::now() + effect.patience.duration();
    let control = CallControl {
        context: CallContext {
            key: effect.key.clone(),
            attempt: effect.attempt,
            generation: effect.generation,
            deadline: clock::now().plus(effect.patience),
        },
        until,
        cancel: cancel.clone(),
        progress: report,
        state: record.driver_state.get(&effect.driver).cloned(),
    };
    let began = Instant::now();
    let call = calls::call(shared, effect, record, &control);
    tokio::pin!(call);
    let stop = async {
        tokio::select! {
            () = cancel.cancelled() => {}
            () = tokio::time::sleep_until(until.into()) => cancel.cancel(),
            () = shared.stop.cancelled() => return,
        }
        tokio::time::sleep(shared.config.cancel_grace).await;
    };
    let result = tokio::select! {
        biased;
        result = &mut call => result,
        () = stop => Err(DriverError::unknown("deadline", "the driver did not answer in time and was dropped")),
    };
    let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    shared.count_call(&effect.driver, took, result.as_ref().err().map(ToString::to_string));
    tracing::debug!(key = %effect.key, call = %effect.call, took_us = took, ok = result.is_ok(), "driver call");
    result
}
