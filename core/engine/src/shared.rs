//! What the parts of the engine share. Each field has one owner that writes it.

use crate::EngineConfig;
use crate::directory::Directory;
use crate::executor::Executor;
use crate::handle::{DriverHealth, EngineError, HostHealth};
use crate::mailbox::Mailboxes;
use crate::scheduler::Wishes;
use crate::timers::Timers;
use ostler_driver::Registry;
use ostler_model::{DriverName, HostId, OperationId};
use ostler_store::Store;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) struct Shared {
    pub(crate) config: EngineConfig,
    pub(crate) store: Store,
    pub(crate) drivers: Registry,
    directory: RwLock<Arc<Directory>>,
    pub(crate) mailboxes: Mailboxes,
    pub(crate) executor: Executor,
    pub(crate) timers: Timers,
    pub(crate) wishes: Wishes,
    pub(crate) host_health: Mutex<BTreeMap<HostId, HostHealth>>,
    pub(crate) driver_health: Mutex<BTreeMap<DriverName, DriverHealth>>,
    waiters: Mutex<HashMap<OperationId, Vec<oneshot::Sender<()>>>>,
    /// Wakes the monitor's supervisor: hosts were added, changed or removed.
    pub(crate) hosts_changed: Notify,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

/// A lock whose content is whole after every statement that holds it: a panic in between cannot leave it half written.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(config: EngineConfig, store: Store, drivers: Registry) -> Result<Self, EngineError> {
        let directory = Directory::load(&store.read()?)?;
        Ok(Self {
            executor: Executor::new(&config),
            config,
            store,
            drivers,
            directory: RwLock::new(Arc::new(directory)),
            mailboxes: Mailboxes::default(),
            timers: Timers::default(),
            wishes: Wishes::default(),
            host_health: Mutex::default(),
            driver_health: Mutex::default(),
            waiters: Mutex::default(),
            hosts_changed: Notify::new(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        })
    }

    pub(crate) fn directory(&self) -> Arc<Directory> {
        Arc::clone(&self.directory.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn reload_directory(&self) -> Result<(), EngineError> {
        let fresh = Arc::new(Directory::load(&self.store.read()?)?);
        *self.directory.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        self.hosts_changed.notify_one();
        self.wishes.wake();
        Ok(())
    }

    /// Told once, when the operation has ended and its end is durable.
    pub(crate) fn on_end(&self, operation: OperationId) -> oneshot::Receiver<()> {
        let (tell, told) = oneshot::channel();
        let mut waiters = locked(&self.waiters);
        let of = waiters.entry(operation).or_default();
        of.retain(|waiter| !waiter.is_closed());
        of.push(tell);
        told
    }

    pub(crate) fn ended(&self, operation: OperationId) {
        for waiter in locked(&self.waiters).remove(&operation).unwrap_or_default() {
            // Whoever waited may be gone.
            let _ = waiter.send(());
        }
    }

    /// Forgets waiters that gave up, so that the map stays as small as the waits are.
    pub(crate) fn prune_waiters(&self) {
        locked(&self.waiters).retain(|_, of| {
            of.retain(|waiter| !waiter.is_closed());
            !of.is_empty()
        });
    }

    pub(crate) fn count_call(&self, driver: &DriverName, took_us: u64, error: Option<String>) {
        let mut health = locked(&self.driver_health);
        let of = health.entry(driver.clone()).or_default();
        of.calls += 1;
        of.busy_us = of.busy_us.saturating_add(took_us);
        if error.is_some() {
            of.errors += 1;
            of.last_error = error;
        }
    }
}
