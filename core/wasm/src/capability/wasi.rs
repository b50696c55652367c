//! The clocks of WASI on a cassette. A driver that is written with a standard library asks them.

use super::Env;
use crate::cassette::Turn;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmtime_wasi::clocks::WallClock;
use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

/// The clocks of one call.
pub(crate) struct TapedClock {
    env: Arc<Env>,
    start: Instant,
}

impl TapedClock {
    pub(crate) fn new(env: Arc<Env>) -> Self {
        Self { env, start: Instant::now() }
    }

    /// The time of a clock in nanoseconds. If another call was recorded there, the run ends at the
    /// driver's next call to the host.
    fn time(&self, clock: &str, now: impl FnOnce() -> u64) -> u64 {
        let Some(tape) = &self.env.tape else { return now() };
        match tape.turn(clock, Value::Null) {
            Ok(Turn::Real(at)) => {
                let now = now();
                tape.answered(at, json!({ "is": now }));
                now
            }
            Ok(Turn::Kept(kept)) => {
                kept.and_then(|kept| kept.get("is")?.as_u64()).unwrap_or_else(now)
            }
            Err(_) => now(),
        }
    }
}

impl HostWallClock for TapedClock {
    fn resolution(&self) -> Duration {
        WallClock.resolution()
    }

    fn now(&self) -> Duration {
        let nanos = |now: Duration| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.time("wasi.wall-clock", || nanos(WallClock.now())))
    }
}

impl HostMonotonicClock for TapedClock {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        self.time("wasi.monotonic-clock", || {
            u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
        })
    }
}
