//! The data that the parts of the engine share. Each field has one owner that writes it.

use crate::EngineConfig;
use crate::clock;
use crate::directory::Directory;
use crate::executor::Executor;
use crate::figures::{AllFigures, Called};
use crate::handle::{DriverHealth, EngineError, HostHealth};
use crate::hooks::{Point, Sabotage, WANTED_PANIC};
use crate::locked::locked;
use crate::mailbox::{Mailboxes, StartRunner};
use crate::message::Sweeps;
use crate::probes::Probes;
use crate::scheduler::SchedulerState;
use crate::seen::Seen;
use crate::timers::Timers;
use crate::trials::Trials;
use futures::FutureExt as _;
use ostler_driver::Registry;
use ostler_lifecycle::{Decision, Facts, Input, decide};
use ostler_model::{
    DriverError, DriverName, EventKind, HostId, OperationId, Refusal, Timestamp, VmId, VmRecord,
    VmUuid,
};
use ostler_store::{Commit, EventDraft, Store};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long to wait before a part that panicked is started again. A bug that repeats at once must
/// not use all of the CPU.
const PANIC_WAIT: Duration = Duration::from_secs(1);

pub(crate) struct Shared {
    pub(crate) config: EngineConfig,
    pub(crate) store: Store,
    pub(crate) drivers: Registry,
    directory: RwLock<Arc<Directory>>,
    /// Held while the directory is read and replaced. A directory that was read earlier must not
    /// replace one that was read later.
    reloading: Mutex<()>,
    /// Held during a change of a resource that is followed by an action, so that these actions come
    /// in the order of the commits.
    pub(crate) changes: tokio::sync::Mutex<()>,
    pub(crate) mailboxes: Mailboxes,
    pub(crate) executor: Executor,
    pub(crate) timers: Timers,
    pub(crate) scheduler: SchedulerState,
    pub(crate) seen: Seen,
    /// VMs that are not reconciled since the store was restored.
    pub(crate) unreconciled: Mutex<BTreeSet<VmId>>,
    pub(crate) probes: Probes,
    /// Wakes the reconciliation: the last VM is reconciled.
    pub(crate) reconcile: Notify,
    pub(crate) host_health: Mutex<BTreeMap<HostId, HostHealth>>,
    pub(crate) driver_health: Mutex<BTreeMap<DriverName, DriverHealth>>,
    pub(crate) figures: AllFigures,
    pub(crate) trials: Trials,
    /// The host that told that another daemon is in charge of the store, and its words.
    pub(crate) superseded_at: OnceLock<(HostId, String)>,
    /// Sweeps that were asked for and have not ended.
    pub(crate) sweeps: Arc<Sweeps>,
    waiters: Mutex<HashMap<OperationId, Vec<oneshot::Sender<()>>>>,
    /// Wakes the monitor's supervisor: hosts were added, changed or removed.
    pub(crate) hosts_changed: Notify,
    /// The daemon ends. Each runner finishes the message that it handles, driver calls are dropped,
    /// and nothing new is begun.
    pub(crate) stop: CancellationToken,
    /// The engine was killed: everything stops where it is, as with `kill -9`.
    kill: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl Shared {
    pub(crate) fn new(
        config: EngineConfig,
        store: Store,
        drivers: Registry,
        runner: StartRunner,
    ) -> Result<Self, EngineError> {
        let directory = Directory::load(&store.read()?)?;
        Ok(Self {
            executor: Executor::new(&config),
            config,
            store,
            drivers,
            directory: RwLock::new(Arc::new(directory)),
            reloading: Mutex::default(),
            changes: tokio::sync::Mutex::default(),
            mailboxes: Mailboxes::new(runner),
            timers: Timers::default(),
            scheduler: SchedulerState::default(),
            seen: Seen::default(),
            unreconciled: Mutex::default(),
            probes: Probes::default(),
            reconcile: Notify::new(),
            host_health: Mutex::default(),
            driver_health: Mutex::default(),
            figures: AllFigures::default(),
            trials: Trials::default(),
            superseded_at: OnceLock::new(),
            sweeps: Arc::default(),
            waiters: Mutex::default(),
            hosts_changed: Notify::new(),
            stop: CancellationToken::new(),
            kill: CancellationToken::new(),
            tasks: TaskTracker::new(),
        })
    }

    /// Runs a task until it is done or the engine is killed.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        let kill = self.kill.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = kill.cancelled() => {}
                () = task => {}
            }
        })
    }

    /// Runs `task` to its end, even if the caller goes away. For tasks that commit and then have
    /// more to do: the client that asked may be gone by then.
    pub(crate) async fn outlive<T: Send + 'static>(
        &self,
        task: impl Future<Output = Result<T, EngineError>> + Send + 'static,
    ) -> Result<T, EngineError> {
        let (reply, answer) = oneshot::channel();
        // The caller may be gone.
        self.spawn(async move { drop(reply.send(task.await)) });
        self.answered(answer).await
    }

    /// Waits for an answer. If none comes, the engine has ended, or the task that should have
    /// answered has panicked.
    pub(crate) async fn answered<T>(
        &self,
        answer: oneshot::Receiver<Result<T, EngineError>>,
    ) -> Result<T, EngineError> {
        match answer.await {
            Ok(answer) => answer,
            Err(_) if self.stop.is_cancelled() || self.kill.is_cancelled() => {
                Err(EngineError::ShuttingDown)
            }
            Err(_) => Err(EngineError::Crashed),
        }
    }

    /// Runs a task that lasts as long as the engine. If the task panics, it is started again. So a
    /// bug costs a moment, and does not end the task for good.
    pub(crate) fn supervise<F: Future<Output = ()> + Send + 'static>(
        self: &Arc<Self>,
        what: &'static str,
        task: impl Fn(Arc<Self>) -> F + Send + 'static,
    ) {
        let shared = Arc::clone(self);
        self.spawn(async move {
            while AssertUnwindSafe(task(Arc::clone(&shared))).catch_unwind().await.is_err() {
                tracing::error!(what, "a part of the engine panicked; it is begun again");
                tokio::time::sleep(PANIC_WAIT).await;
            }
        });
    }

    /// Everything stops where it is.
    pub(crate) fn kill(&self) {
        self.kill.cancel();
        self.stop.cancel();
    }

    /// A point where a test may end the engine, or make the task panic.
    pub(crate) async fn reach(&self, point: Point) {
        if self.config.hooks.crash.as_ref().is_some_and(|crash| crash(point)) {
            self.kill();
            std::future::pending::<()>().await;
        }
        if self.config.hooks.panics.as_ref().is_some_and(|panics| panics(point)) {
            panic!("{WANTED_PANIC}");
        }
    }

    /// The time of day.
    pub(crate) fn now(&self) -> Timestamp {
        self.config.hooks.now.as_ref().map_or_else(clock::system, |now| now())
    }

    /// The UUID for a new VM.
    pub(crate) fn new_uuid(&self) -> VmUuid {
        self.config.hooks.uuid.as_ref().map_or_else(|| VmUuid(uuid::Uuid::new_v4()), |uuid| uuid())
    }

    /// Has `input` decided, now.
    pub(crate) fn decide(
        &self,
        record: &VmRecord,
        facts: &Facts,
        input: &Input,
    ) -> Result<Decision, Refusal> {
        match &self.config.hooks.decides {
            Some(decides) => decides(record, facts, input, self.now()),
            None => decide(record, facts, input, self.now()),
        }
    }

    pub(crate) fn directory(&self) -> Arc<Directory> {
        Arc::clone(&self.directory.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads hosts and datastores again. If a caller has committed a change of them, the directory
    /// has it when this returns.
    pub(crate) fn reload_directory(self: &Arc<Self>) -> Result<(), EngineError> {
        let _turn = locked(&self.reloading);
        let fresh = Arc::new(Directory::load(&self.store.read()?)?);
        if self.config.hooks.sabotage == Sabotage::LateReload {
            self.put_late(fresh);
        } else {
            self.put_directory(fresh);
        }
        Ok(())
    }

    /// Under [`Sabotage::LateReload`]: puts the directory in place as a thread would that is held
    /// up after it has read the store.
    fn put_late(self: &Arc<Self>, fresh: Arc<Directory>) {
        let held_up =
            self.config.hooks.held_up.as_ref().map_or(Duration::ZERO, |held_up| held_up());
        let shared = Arc::clone(self);
        drop(self.spawn(async move {
            tokio::time::sleep(held_up).await;
            shared.put_directory(fresh);
        }));
    }

    /// Puts a directory that was read into the place of the old one.
    fn put_directory(&self, fresh: Arc<Directory>) {
        self.executor.prune(&fresh);
        self.probes.prune(&fresh);
        self.trials.prune(&fresh);
        self.figures.prune(|host| fresh.site(host).is_some());
        *self.directory.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        self.hosts_changed.notify_one();
        self.scheduler.changed();
    }

    /// Puts an event into the feed that is not about a VM's record.
    pub(crate) async fn tell(&self, kind: EventKind) {
        let event = EventDraft { at: self.now(), vm: None, version: None, kind };
        // If the store cannot be written, it reports this by itself.
        let _ = self.store.commit(Commit { events: vec![event], ..Commit::default() }).await;
    }

    /// Waits for the end of an operation: told once, when the operation has ended and its end is
    /// durable.
    pub(crate) fn on_end(self: &Arc<Self>, operation: OperationId) -> EndWait {
        let (tell, told) = oneshot::channel();
        locked(&self.waiters).entry(operation).or_default().push(tell);
        EndWait { shared: Arc::clone(self), operation, told }
    }

    pub(crate) fn ended(&self, operation: OperationId) {
        for waiter in locked(&self.waiters).remove(&operation).unwrap_or_default() {
            // The waiter may be gone.
            let _ = waiter.send(());
        }
    }

    /// Waits for the answer of a call that changes nothing, and counts the call.
    pub(crate) async fn counted<T>(
        &self,
        called: Called<'_>,
        call: impl Future<Output = Result<T, DriverError>>,
    ) -> Result<T, DriverError> {
        let began = clock::instant();
        let mut at_work = AtWork { shared: self, called, began, answered: false };
        let answer = call.await;
        at_work.answered = true;
        self.count_call(called, began, answer.as_ref().err());
        answer
    }

    /// Counts a call of a driver that began then and ends now.
    pub(crate) fn count_call(
        &self,
        called: Called<'_>,
        began: Instant,
        error: Option<&DriverError>,
    ) {
        let took = clock::instant().saturating_duration_since(began);
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.figures.add(called, took_us, error.map(|error| error.kind));
        let mut health = locked(&self.driver_health);
        let of = health.entry(called.driver.clone()).or_default();
        of.calls += 1;
        of.busy_us = of.busy_us.saturating_add(took_us);
        if let Some(error) = error {
            of.errors += 1;
            of.last_error = Some(error.to_string());
        }
    }
}

/// A call of a driver that is at work. If it is given up, because nobody waits for it any more, it
/// is counted as one that gave no answer.
struct AtWork<'a> {
    shared: &'a Shared,
    called: Called<'a>,
    began: Instant,
    answered: bool,
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        if !self.answered && !self.shared.stop.is_cancelled() {
            let error = DriverError::retry("timeout", "nobody waits for the answer any more");
            self.shared.count_call(self.called, self.began, Some(&error));
        }
    }
}

/// A wait for the end of an operation. If the waiter gives up, its entry is removed.
pub(crate) struct EndWait {
    shared: Arc<Shared>,
    operation: OperationId,
    told: oneshot::Receiver<()>,
}

impl EndWait {
    /// Waits at most this long.
    pub(crate) async fn at_most(&mut self, patience: Duration) {
        // The caller reads from the store whether the operation has ended or the time was up.
        let _ = tokio::time::timeout(patience, &mut self.told).await;
    }
}

impl Drop for EndWait {
    fn drop(&mut self) {
        self.told.close();
        if let Entry::Occupied(mut entry) = locked(&self.shared.waiters).entry(self.operation) {
            entry.get_mut().retain(|waiter| !waiter.is_closed());
            if entry.get().is_empty() {
                entry.remove();
            }
        }
    }
}
