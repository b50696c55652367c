//! Which errors say that a driver has crashed, and how often a driver may be called that crashes.
//!
//! A driver that crashes on one host again and again is not called there for a while: each crash
//! costs a call, fills the log, and leaves an effect of which nobody knows whether it happened.
//! Other hosts and other drivers are not touched.

use ostler_model::{Call, DriverError, Millis, NowCall, Timestamp};
use std::collections::VecDeque;

/// So many crashes within [`BURST_WITHIN`] stop the calls.
const BURST: usize = 5;
/// The time within which they count.
const BURST_WITHIN: Millis = Millis(30_000);
/// For how long no call is sent after the first burst. Twice as long after each crash that follows
/// at once.
const PAUSE_FIRST: Millis = Millis(5_000);
/// The longest pause. It is shorter than a step may take, so that an operation outlives it.
const PAUSE_MOST: Millis = Millis(30_000);

/// Whether a call waits while its driver is not called on a host. A look tells what became of the
/// calls that crashed, and a destroy may be what keeps a VM from running twice.
#[must_use]
pub const fn waits(call: Call) -> bool {
    !matches!(call, Call::Now(NowCall::Observe | NowCall::Destroy))
}

/// Whether the driver itself has failed: it trapped, panicked, or took more memory than it may have.
#[must_use]
pub fn is_crash(error: &DriverError) -> bool {
    matches!(error.code.as_str(), "driver-trap" | "driver-memory")
}

/// The crashes of one driver on one host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Breaker {
    /// The times of the last crashes since the last answer; at most [`BURST`].
    crashes: VecDeque<Timestamp>,
    pause: Option<Pause>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pause {
    until: Timestamp,
    long: Millis,
}

impl Breaker {
    /// Notes that a call crashed at `now`. Calls that were sent before the pause may crash in it:
    /// they do not make it longer.
    pub fn crashed(&mut self, now: Timestamp) {
        match self.pause {
            Some(pause) if now < pause.until => return,
            Some(Pause { long, .. }) => {
                let long = Millis(long.0.saturating_mul(2)).min(PAUSE_MOST);
                self.pause = Some(Pause { until: now.plus(long), long });
            }
            None => {}
        }
        self.crashes.push_back(now);
        while self.crashes.len() > BURST {
            self.crashes.pop_front();
        }
        let burst = self.crashes.len() == BURST
            && self.crashes.front().is_some_and(|first| now.since(*first) <= BURST_WITHIN);
        if self.pause.is_none() && burst {
            self.pause = Some(Pause { until: now.plus(PAUSE_FIRST), long: PAUSE_FIRST });
        }
    }

    /// Notes that a call was answered at `now`; an error is an answer, too. In a pause, only calls
    /// that were sent before it are answered, and they say nothing.
    pub fn answered(&mut self, now: Timestamp) {
        if self.pause(now).is_none() {
            *self = Self::default();
        }
    }

    /// How long no call is to be sent at `now`. None if calls may be sent.
    #[must_use]
    pub fn pause(&self, now: Timestamp) -> Option<Millis> {
        let left = self.pause?.until.since(now);
        Some(left).filter(|left| left.0 > 0)
    }

    /// Whether it has nothing to say.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.crashes.is_empty() && self.pause.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(crashes: &[u64]) -> Breaker {
        let mut breaker = Breaker::default();
        for at in crashes {
            breaker.crashed(Timestamp(*at));
        }
        breaker
    }

    #[test]
    fn five_crashes_within_half_a_minute_stop_the_calls() {
        let four = after(&[1_000, 2_000, 3_000, 4_000]);
        assert_eq!(four.pause(Timestamp(4_000)), None);
        let mut five = four.clone();
        five.crashed(Timestamp(31_000));
        assert_eq!(five.pause(Timestamp(31_000)), Some(PAUSE_FIRST));
        assert_eq!(five.pause(Timestamp(35_999)), Some(Millis(1)));
        assert_eq!(five.pause(Timestamp(36_000)), None);
        // The first is too long ago.
        let mut slow = four;
        slow.crashed(Timestamp(31_001));
        assert_eq!(slow.pause(Timestamp(31_001)), None);
    }

    #[test]
    fn a_crash_after_the_pause_begins_a_longer_one_up_to_a_bound() {
        let mut breaker = after(&[1, 2, 3, 4, 5]);
        // Two calls that were sent before the pause.
        breaker.crashed(Timestamp(6));
        breaker.crashed(Timestamp(7));
        assert_eq!(breaker.pause(Timestamp(5)), Some(PAUSE_FIRST));
        let (mut now, mut pauses) = (Timestamp(5), Vec::new());
        for _ in 0..7 {
            now = now.plus(breaker.pause(now).expect("a pause"));
            breaker.crashed(now);
            pauses.push(breaker.pause(now).expect("a longer one").0 / 1000);
        }
        assert_eq!(pauses, [10, 20, 30, 30, 30, 30, 30]);
    }

    #[test]
    fn an_answer_ends_it_all() {
        let mut breaker = after(&[1, 2, 3, 4, 5]);
        breaker.answered(Timestamp(6));
        assert!(breaker.pause(Timestamp(6)).is_some());
        let later = Timestamp(5).plus(PAUSE_FIRST);
        breaker.answered(later);
        assert!(breaker.is_quiet());
        assert!(!after(&[1]).is_quiet());
    }

    #[test]
    fn a_driver_that_could_not_be_asked_has_not_crashed() {
        for (code, crash) in [
            ("driver-trap", true),
            ("driver-memory", true),
            ("driver-deadline", false),
            ("x", false),
        ] {
            assert_eq!(is_crash(&DriverError::unknown(code, "")), crash, "{code}");
        }
    }
}
