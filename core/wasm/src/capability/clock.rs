//! `clock`: the time, and waits that end with the call. Needs no grant.

use super::{HasView, State, View, view};
use crate::bindings::ostler::driver::clock::{Cancelled, Host, add_to_linker as link};
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use wasmtime::component::Linker;

/// The moment from which `monotonic-ms` counts.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Host for View<'_> {
    async fn now_ms(&mut self) -> wasmtime::Result<u64> {
        Ok(millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()))
    }

    async fn monotonic_ms(&mut self) -> wasmtime::Result<u64> {
        Ok(millis(START.elapsed()))
    }

    async fn remaining_ms(&mut self) -> wasmtime::Result<u64> {
        Ok(millis(self.env.until.saturating_duration_since(Instant::now())))
    }

    async fn told_to_stop(&mut self) -> wasmtime::Result<bool> {
        Ok(self.env.stop.is_cancelled())
    }

    async fn sleep_ms(&mut self, ms: u64) -> wasmtime::Result<Result<(), Cancelled>> {
        let env = self.env;
        let wait =
            Duration::from_millis(ms).min(env.until.saturating_duration_since(Instant::now()));
        tokio::select! {
            biased;
            () = env.stop.cancelled() => {
                Ok(Err(Cancelled { reason: "the call was told to stop".to_owned() }))
            }
            () = tokio::time::sleep(wait) => Ok(Ok(())),
        }
    }
}

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    LazyLock::force(&START);
    link::<State, HasView>(linker, view)
}
