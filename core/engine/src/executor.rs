//! Sends decided calls to drivers, each in the lane of its driver and host, and brings the answers back. Every call that was sent
//! is answered in bounded time: by the driver, by its deadline, by having been dropped, or by its panic.

use crate::EngineConfig;
use crate::calls;
use crate::clock;
use crate::directory::Directory;
use crate::hooks::{Point, Sabotage};
use crate::mailbox::Message;
use crate::shared::{Shared, locked};
use ostler_driver::CallControl;
use ostler_lifecycle::Input;
use ostler_model::{
    Call, CallContext, CallResult, DriverError, DriverName, Effect, EffectKey, ErrorKind, HostId, Lane, Millis, Outcome, Progress,
    Timestamp, VmId, VmRecord,
};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

/// Looks and destroys at once for each driver and host. They have a lane of their own, so that stuck calls cannot keep an
/// operator from seeing and ending them.
const CONTROL_WIDTH: usize = 8;

/// How long a look before a call may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(15);

struct InFlight {
    sending: u64,
    /// Since when it waits for a place in its lane; none once it has one.
    queued: Option<Timestamp>,
    cancel: CancellationToken,
    progress: watch::Receiver<Option<Progress>>,
}

/// A call that has returned.
pub(crate) struct Returned {
    entry: Entry,
    /// None if it never was.
    sent: Option<Timestamp>,
    result: CallResult,
}

impl Returned {
    /// The runner has the answer in hand. Only now is the call off the books.
    pub(crate) fn received(&self) {
        self.entry.strike();
    }

    pub(crate) fn into_input(self) -> Input {
        Input::Answered { key: self.entry.key.clone(), sent: self.sent, result: self.result }
    }
}

/// A call on the books of those in flight. It goes with whoever is at the call: if that one panics, or the answer is lost with a
/// mailbox, the call is one that nobody is at, and is looked after like those of a process that is dead.
struct Entry {
    shared: Arc<Shared>,
    key: EffectKey,
    /// Which sending: the same call may have been sent again.
    sending: u64,
}

impl Entry {
    /// Off the books, unless it was sent again meanwhile.
    fn strike(&self) {
        let mut in_flight = locked(&self.shared.executor.in_flight);
        if in_flight.get(&self.key).is_some_and(|call| call.sending == self.sending) {
            in_flight.remove(&self.key);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if self.shared.config.hooks.sabotage != Sabotage::AnswersLost {
            self.strike();
        }
    }
}

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
    /// From before a call is sent until its VM's runner has its answer in hand: a call that is open in a record and not here was
    /// sent by a process that is dead.
    in_flight: Mutex<HashMap<EffectKey, InFlight>>,
    sendings: AtomicU64,
    /// Hosts at which a call of a VM may still be at work though nobody waits for it: it was dropped, or sent by a process that is dead. A
    /// look at that host that the driver answers proves that it is not.
    haunted: Mutex<HashSet<(VmId, HostId)>>,
    /// Transfer drivers of which a call of a VM may still be at work in the same way. Only they know: a hypervisor does not see who copies
    /// or removes files beside it.
    transferring: Mutex<HashSet<(VmId, DriverName)>>,
    lanes: Mutex<HashMap<(DriverName, HostId), Lanes>>,
    width: usize,
    widths: BTreeMap<DriverName, usize>,
}

impl Executor {
    pub(crate) fn new(config: &EngineConfig) -> Self {
        Self {
            in_flight: Mutex::default(),
            sendings: AtomicU64::default(),
            haunted: Mutex::default(),
            transferring: Mutex::default(),
            lanes: Mutex::default(),
            width: config.lane_width.max(1),
            widths: config.lanes.clone(),
        }
    }

    /// Whether somebody in this process is at that call, or its answer is on its way.
    pub(crate) fn is_at(&self, key: &EffectKey) -> bool {
        locked(&self.in_flight).contains_key(key)
    }

    /// How far a call is, if its driver said so.
    pub(crate) fn progress(&self, key: &EffectKey) -> Option<Progress> {
        locked(&self.in_flight).get(key).and_then(|call| call.progress.borrow().clone())
    }

    /// Since when a call waits for a place among the others of its driver and host, if it does.
    pub(crate) fn queued(&self, key: &EffectKey) -> Option<Timestamp> {
        locked(&self.in_flight).get(key)?.queued
    }

    /// It has its place.
    fn has_place(&self, key: &EffectKey) {
        if let Some(call) = locked(&self.in_flight).get_mut(key) {
            call.queued = None;
        }
    }

    /// Tells a call to stop. It is answered as soon as it has.
    pub(crate) fn cancel(&self, key: &EffectKey) {
        if let Some(call) = locked(&self.in_flight).get(key) {
            call.cancel.cancel();
        }
    }

    /// Calls of this VM may be at work at these hosts though nobody waits for them.
    pub(crate) fn haunt(&self, vm: VmId, hosts: impl IntoIterator<Item = HostId>) {
        locked(&self.haunted).extend(hosts.into_iter().map(|host| (vm, host)));
    }

    /// A transfer of this VM was dropped, and may be at work.
    pub(crate) fn transfers_on(&self, vm: VmId, driver: &DriverName) {
        locked(&self.transferring).insert((vm, driver.clone()));
    }

    /// The transfer drivers of which something of this VM may be at work.
    fn transferring(&self, vm: VmId) -> Vec<DriverName> {
        locked(&self.transferring).iter().filter(|(of, _)| *of == vm).map(|(_, driver)| driver.clone()).collect()
    }

    fn haunts(&self, vm: VmId, host: HostId) -> bool {
        locked(&self.haunted).contains(&(vm, host))
    }

    /// Forgets the lanes of hosts that are gone.
    pub(crate) fn prune(&self, directory: &Directory) {
        locked(&self.lanes).retain(|(_, host), lanes| directory.site(*host).is_some() || lanes.in_use());
    }

    /// Sends a call whose effect is committed. At most one a key: a second would be the same effect.
    pub(crate) fn send(&self, shared: &Arc<Shared>, effect: Effect, record: Arc<VmRecord>) {
        let cancel = CancellationToken::new();
        let (report, progress) = watch::channel(None);
        let sending = self.sendings.fetch_add(1, Ordering::Relaxed);
        locked(&self.in_flight)
            .insert(effect.key.clone(), InFlight { sending, queued: Some(shared.now()), cancel: cancel.clone(), progress });
        let lanes = self.lanes_for(&effect, &record);
        let task = Arc::clone(shared);
        let entry = Entry { shared: Arc::clone(shared), key: effect.key.clone(), sending };
        shared.spawn(async move {
            let (sent, result) = attempt(&task, &effect, &record, lanes, &cancel, report).await;
            if task.stop.is_cancelled() {
                // The daemon ends: the record keeps the call open, and the next start looks what came of it.
                return;
            }
            let returned = Returned { entry, sent, result };
            task.mailboxes.deliver(&task, effect.vm, Message::Returned(returned)).await;
        });
    }

    /// The lanes that a call takes a place in, in the order of their hosts: what moves something between two hosts is work for both, and two
    /// that go opposite ways must not wait for each other.
    fn lanes_for(&self, effect: &Effect, record: &VmRecord) -> Vec<Arc<Semaphore>> {
        let mut at = BTreeMap::from([(effect.host, &effect.driver)]);
        if matches!(effect.call, Call::Migrate | Call::CopyAcross) {
            for place in record.placement.iter().chain(&record.other) {
                let transfer = effect.call.lane() == Lane::Transfer;
                at.entry(place.host).or_insert(if transfer { &effect.driver } else { &place.driver });
            }
        }
        at.into_iter().map(|(host, driver)| lane(effect.call, self.lanes_of(driver, host))).collect()
    }

    fn lanes_of(&self, driver: &DriverName, host: HostId) -> Lanes {
        let mut lanes = locked(&self.lanes);
        let width = self.widths.get(driver).copied().unwrap_or(self.width).max(1);
        let fresh = || Lanes { work: Arc::new(Semaphore::new(width)), control: Arc::new(Semaphore::new(CONTROL_WIDTH.max(width))) };
        lanes.entry((driver.clone(), host)).or_insert_with(fresh).clone()
    }
}

fn lane(call: Call, lanes: Lanes) -> Arc<Semaphore> {
    match call {
        Call::Destroy | Call::Observe => lanes.control,
        _ => lanes.work,
    }
}

/// Waits for a place in the lane, then calls. Whoever waits keeps its turn: each call before it ends in bounded time, so this does too,
/// and how long it has waited is told to those who ask. Answers when it was sent, if it was.
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
        () = shared.stop.cancelled() => return (None, Err(DriverError::retry("stopping", "the daemon ends"))),
        () = cancel.cancelled() => {
            return (None, Err(DriverError::new(ErrorKind::Cancelled, "cancelled", "it was told to stop before it was sent")));
        }
        places = in_all => places,
    };
    shared.executor.has_place(&effect.key);
    let alone = tokio::select! {
        biased;
        alone = alone(shared, effect, record) => alone,
        () = cancel.cancelled() => Err(DriverError::new(ErrorKind::Cancelled, "cancelled", "it was told to stop before it was sent")),
    };
    if let Err(error) = alone {
        // Its time runs: a host that does not answer the look before it would not have answered the call.
        return (Some(shared.now()), Err(error));
    }
    shared.reach(Point::Sending).await;
    let sent = Some(shared.now());
    let result = beside(shared, effect, bounded(shared, effect, record, cancel, report).await);
    drop(places);
    shared.reach(Point::Answered).await;
    (sent, result)
}

/// One mutating call a VM at a time: after a call that nobody waits for any more, the next is sent once the driver answers a look.
/// A driver whose dropped call is still at work answers none.
async fn alone(shared: &Shared, effect: &Effect, record: &VmRecord) -> Result<(), DriverError> {
    if matches!(effect.call, Call::Destroy | Call::Observe) {
        return Ok(());
    }
    transfers_are_over(shared, record).await?;
    if effect.call.lane() == Lane::Transfer {
        return Ok(());
    }
    for host in touched(effect, record) {
        if !shared.executor.haunts(effect.vm, host) {
            continue;
        }
        match tokio::time::timeout(LOOK_TIMEOUT, calls::observe_at(shared, host, &effect.driver, record)).await {
            Ok(Ok(_)) => drop(locked(&shared.executor.haunted).remove(&(effect.vm, host))),
            Ok(Err(error)) => {
                return Err(DriverError::retry("earlier-call", format!("an earlier call may still be at work: {error}")));
            }
            Err(_) => {
                let detail = "an earlier call may still be at work: the host did not answer in time";
                return Err(DriverError::retry("earlier-call", detail));
            }
        }
    }
    Ok(())
}

/// Nothing of a transfer of this VM that nobody waits for any more is at work.
///
/// # Errors
/// *Retry* while that cannot be said.
pub(crate) async fn transfers_are_over(shared: &Shared, record: &VmRecord) -> Result<(), DriverError> {
    let at_work = |error: String| DriverError::retry("earlier-call", format!("an earlier transfer may still be at work: {error}"));
    for driver in shared.executor.transferring(record.id) {
        let transfer = shared.drivers.transfer(&driver).map_err(|error| at_work(error.to_string()))?;
        match tokio::time::timeout(LOOK_TIMEOUT, calls::caught(transfer.idle(record.uuid))).await {
            Ok(Ok(())) => drop(locked(&shared.executor.transferring).remove(&(record.id, driver))),
            Ok(Err(error)) => return Err(at_work(error.to_string())),
            Err(_) => return Err(at_work("the driver did not answer in time".to_owned())),
        }
    }
    Ok(())
}

/// The hosts that a call is at work at, or that a call at work could reach its own host from: a migration reaches both.
fn touched(effect: &Effect, record: &VmRecord) -> Vec<HostId> {
    let other = record.other.as_ref().map(|place| place.host);
    let here = record.placement.as_ref().map(|place| place.host);
    let mut hosts = vec![effect.host];
    if effect.call == Call::Migrate || Some(effect.host) == other {
        hosts.extend(here);
        hosts.extend(other);
    }
    hosts.sort_unstable();
    hosts.dedup();
    hosts
}

/// A destroy may run beside a call that nobody waits for any more. What it saw then proves nothing: that call may start the domain
/// afterwards. So its answer comes without a look, and whoever looks is answered only once the other call is over.
fn beside(shared: &Shared, effect: &Effect, result: CallResult) -> CallResult {
    match result {
        Ok(outcome) if effect.call == Call::Destroy && shared.executor.haunts(effect.vm, effect.host) => {
            Ok(Outcome { seen: None, ..outcome })
        }
        Ok(_) | Err(_) => result,
    }
}

/// Calls, and sees to it that the call ends: told to stop at its deadline, dropped a grace later.
async fn bounded(
    shared: &Arc<Shared>,
    effect: &Effect,
    record: &Arc<VmRecord>,
    cancel: &CancellationToken,
    report: watch::Sender<Option<Progress>>,
) -> CallResult {
    let until = clock::instant() + effect.patience.duration();
    let control = CallControl {
        context: CallContext {
            key: effect.key.clone(),
            attempt: effect.attempt,
            generation: effect.generation,
            spares: effect.spares,
            deadline: shared.now().plus(effect.patience),
        },
        until,
        cancel: cancel.clone(),
        progress: report,
        state: record.driver_state.get(&effect.driver).cloned(),
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
    if result.as_ref().is_err_and(|error| error.kind == ErrorKind::Unknown) {
        // Dropped, crashed or lost: what it began at the host may go on.
        match effect.call.lane() {
            Lane::Hypervisor => shared.executor.haunt(effect.vm, touched(effect, record)),
            Lane::Transfer => shared.executor.transfers_on(effect.vm, &effect.driver),
        }
    }
    let took = u64::try_from(clock::instant().duration_since(began).as_micros()).unwrap_or(u64::MAX);
    shared.count_call(&effect.driver, took, result.as_ref().err());
    tracing::debug!(key = %effect.key, call = %effect.call, took_us = took, ok = result.is_ok(), "driver call");
    result
}

/// A call that stopped because its time was up says so: nobody asked for it.
fn told_in_time(result: CallResult, until: Instant, patience: Millis) -> CallResult {
    match result {
        Err(error) if error.kind == ErrorKind::Cancelled && clock::instant() >= until => {
            let detail = format!("it was not done within {} s and was stopped: {}", patience.0 / 1000, error.detail);
            Err(DriverError::new(ErrorKind::Cancelled, "deadline", detail))
        }
        Ok(_) | Err(_) => result,
    }
}
