//! Stops a call at every point where it touches the host.

use super::{Call, Cut, MockHost, Stopped};
use crate::Error;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// The most calls to the host that one call of a driver may make here.
const CALLS_MAX: u64 = 10_000;

/// Runs a call of a driver once to its end. Then it runs the call once for each call that it made
/// to the host, and stops it right before that call, and once more right after it, as a daemon that
/// dies does. After each stop, the call is sent again under the same identity, and must succeed.
/// `check` is given each host at the end: it must not matter where the call was stopped.
///
/// `begin` makes a new host with all that the call finds, and the call. `send` sends it. Returns
/// how often the call was stopped.
///
/// # Panics
/// If a call that was sent again fails, if the call itself panics, or if it makes more than 10,000
/// calls to the host.
pub fn each_cut<T>(
    begin: impl Fn() -> (MockHost, Call),
    send: impl Fn(&Call) -> Result<T, Error>,
    check: impl Fn(&MockHost),
) -> u64 {
    let (whole, call) = begin();
    let before = whole.calls();
    succeeds(&send, &call, "in one piece");
    let calls = whole.calls() - before;
    check(&whole);
    drop(whole);
    assert!(calls <= CALLS_MAX, "the call makes {calls} calls to the host, more than {CALLS_MAX}");
    let cuts = (1..=calls).flat_map(|at| [Cut::Before(before + at), Cut::After(before + at)]);
    let mut stopped = 0;
    for cut in cuts {
        let (host, call) = begin();
        host.0.borrow_mut().cut = Some(cut);
        let ended = catch_unwind(AssertUnwindSafe(|| send(&call)));
        host.0.borrow_mut().cut = None;
        match ended {
            Err(panic) if panic.is::<Stopped>() => stopped += 1,
            Err(panic) => resume_unwind(panic),
            // It took another way this time, and ended before that call.
            Ok(_) => {}
        }
        succeeds(&send, &call.again(), &format!("sent again after it was stopped {cut:?}"));
        check(&host);
    }
    stopped
}

fn succeeds<T>(send: &impl Fn(&Call) -> Result<T, Error>, call: &Call, when: &str) {
    if let Err(error) = send(call) {
        panic!("the call failed, {when}: {:?} ({}): {}", error.kind, error.code, error.detail);
    }
}
