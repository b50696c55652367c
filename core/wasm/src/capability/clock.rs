//! `clock`: the time, and waits that end with the call. Needs no grant.

use super::{HasView, State, View, view};
use crate::bindings::ostler::driver::clock::{Cancelled, Host, add_to_linker as link};
use serde_json::Value;
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
        let now =
            async { millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()) };
        self.env.taped("clock.now-ms", || Value::Null, now).await
    }

    async fn monotonic_ms(&mut self) -> wasmtime::Result<u64> {
        let now = async { millis(START.elapsed()) };
        self.env.taped("clock.monotonic-ms", || Value::Null, now).await
    }

    async fn remaining_ms(&mut self) -> wasmtime::Result<u64> {
        let left = async { millis(self.env.until.saturating_duration_since(Instant::now())) };
        self.env.taped("clock.remaining-ms", || Value::Null, left).await
    }

    async fn told_to_stop(&mut self) -> wasmtime::Result<bool> {
        let told = async { self.env.stop.is_cancelled() };
        self.env.taped("clock.told-to-stop", || Value::Null, told).await
    }

    async fn sleep_ms(&mut self, ms: u64) -> wasmtime::Result<Result<(), Cancelled>> {
        let env = self.env;
        let wait =
            Duration::from_millis(ms).min(env.until.saturating_duration_since(Instant::now()));
        // Played back, nobody waits.
        let slept = async {
            tokio::select! {
                biased;
                () = env.stop.cancelled() => false,
                () = tokio::time::sleep(wait) => true,
            }
        };
        Ok(match env.taped("clock.sleep-ms", || Value::from(ms), slept).await? {
            true => Ok(()),
            false => Err(Cancelled { reason: "the call was told to stop".to_owned() }),
        })
    }
}

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    LazyLock::force(&START);
    link::<State, HasView>(linker, view)
}
