//! Stops an instance at one of its calls to the host, as a daemon that dies in the middle of a
//! driver's call does. The conformance suite uses it. No daemon makes a [`Cuts`], and a host without
//! one pays nothing for it.
//!
//! Calls to commands, files, sockets and HTTP servers count. Settings, secrets, sessions, time,
//! randomness and the log do not, because nothing outside of the instance changes in them.

use ostler_model::{DriverError, EffectKey};
use std::future::{Future, pending};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// The most calls to the host whose names are kept. Later ones are only counted.
const NAMES_MAX: usize = 4096;
/// The code of the error of a call that was stopped.
const STOPPED: &str = "driver-stopped";

/// The point at which an instance is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// At which of the calls to the host that are made for the effect; the first one is 1.
    pub at: usize,
    /// After the host has done that call, and before the driver has its answer. False: before the
    /// host does it.
    pub after: bool,
}

/// The calls to the host that were made for an effect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watched {
    /// The words for each of them, in the order in which they began.
    pub calls: Vec<String>,
    /// Whether the instance was stopped.
    pub stopped: bool,
}

struct Watch {
    key: EffectKey,
    cut: Option<Cut>,
    count: usize,
    watched: Watched,
}

/// Watches the calls to the host of one effect at a time, and may stop them. Clones share
/// everything.
#[derive(Clone, Default)]
pub struct Cuts(Arc<Mutex<Option<Watch>>>);

impl Cuts {
    fn lock(&self) -> MutexGuard<'_, Option<Watch>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on, notes the calls to the host of all driver calls for the effect `key`, and stops
    /// the instance at `cut`. A second watch takes the place of the first.
    pub fn watch(&self, key: EffectKey, cut: Option<Cut>) {
        *self.lock() = Some(Watch { key, cut, count: 0, watched: Watched::default() });
    }

    /// Ends the watch. Tells what it has seen.
    #[must_use]
    pub fn end(&self) -> Watched {
        self.lock().take().map(|watch| watch.watched).unwrap_or_default()
    }

    /// Notes that a call to the host begins. Answers its number, if its effect is watched.
    fn begins(&self, key: &EffectKey, what: impl FnOnce() -> String) -> Option<usize> {
        let mut watch = self.lock();
        let watch = watch.as_mut().filter(|watch| watch.key == *key)?;
        watch.count += 1;
        if watch.watched.calls.len() < NAMES_MAX {
            watch.watched.calls.push(what());
        }
        Some(watch.count)
    }

    /// Whether the instance is stopped there. It is stopped once.
    fn is_stopped(&self, key: &EffectKey, at: usize, after: bool) -> bool {
        let mut watch = self.lock();
        let Some(watch) = watch.as_mut() else { return false };
        let stopped =
            watch.key == *key && !watch.watched.stopped && watch.cut == Some(Cut { at, after });
        watch.watched.stopped |= stopped;
        stopped
    }
}

/// The part of [`Cuts`] that belongs to one call of a driver.
pub(crate) struct CutCall {
    cuts: Cuts,
    key: EffectKey,
    stopped: Notify,
}

impl CutCall {
    pub(crate) fn new(cuts: Cuts, key: EffectKey) -> Self {
        Self { cuts, key, stopped: Notify::new() }
    }

    /// Does one call to the host. If the instance is stopped at it, `forget` is run and this never
    /// returns: the guest is dropped at [`CutCall::stopped`].
    pub(crate) async fn pass<T>(
        &self,
        what: impl FnOnce() -> String,
        work: impl Future<Output = T>,
        forget: impl Fn(),
    ) -> T {
        let Some(number) = self.cuts.begins(&self.key, what) else { return work.await };
        let stop = async |after: bool| {
            if self.cuts.is_stopped(&self.key, number, after) {
                forget();
                self.stopped.notify_one();
                pending::<()>().await;
            }
        };
        stop(false).await;
        let answer = work.await;
        stop(true).await;
        answer
    }

    /// Waits until the instance is to be stopped.
    pub(crate) async fn stopped(&self) -> DriverError {
        self.stopped.notified().await;
        DriverError::unknown(STOPPED, "the suite has stopped the driver at a call to the host")
    }
}
