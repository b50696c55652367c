//! Advances the engine's epoch while calls are in progress, so that a guest that computes for long
//! hands its thread back.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;
use wasmtime::Engine;

/// How long a guest may compute before it hands its thread to others.
pub(crate) const TICK: Duration = Duration::from_millis(5);

#[derive(Default)]
struct Shared {
    state: Mutex<Count>,
    wake: Condvar,
}

#[derive(Default)]
struct Count {
    active: usize,
    ended: bool,
}

/// Ends its thread when dropped.
pub(crate) struct Ticker(Arc<Shared>);

/// A call in progress.
pub(crate) struct Ticking(Arc<Shared>);

impl Ticker {
    /// Starts the thread. It sleeps while no call is in progress.
    pub(crate) fn start(engine: &Engine) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (ticking, engine) = (Arc::clone(&shared), engine.weak());
        std::thread::Builder::new().name("ostler-epoch".to_owned()).spawn(move || {
            while ticking.wait_for_work() {
                std::thread::sleep(TICK);
                let Some(engine) = engine.upgrade() else { return };
                engine.increment_epoch();
            }
        })?;
        Ok(Self(shared))
    }

    /// Keeps the epoch moving until the answer is dropped.
    pub(crate) fn enter(&self) -> Ticking {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.active += 1;
        if state.active == 1 {
            self.0.wake.notify_one();
        }
        Ticking(Arc::clone(&self.0))
    }
}

impl Shared {
    fn wait_for_work(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.active == 0 && !state.ended {
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        !state.ended
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.active = state.active.saturating_sub(1);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
        self.0.wake.notify_one();
    }
}
