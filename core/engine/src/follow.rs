//! The actions that follow a commit.

use crate::restored;
use crate::shared::Shared;
use ostler_model::{Effect, EffectKey, State, VmRecord};
use std::sync::Arc;

/// Sends the calls of a decision.
pub(crate) fn send_all(shared: &Arc<Shared>, effects: &[Effect], record: &Arc<VmRecord>) {
    for effect in effects {
        shared.executor.send(shared, effect.clone(), Arc::clone(record));
    }
}

/// Does what follows a commit, in the order in which it may be seen. `before` is none if the commit
/// has made the VM.
pub(crate) fn follow(
    shared: &Arc<Shared>,
    before: Option<&VmRecord>,
    next: &VmRecord,
    cancels: &[EffectKey],
) {
    shared.timers.set(next.id, next.next_due());
    for key in cancels {
        shared.executor.in_flight.cancel(key);
    }
    let left = |vm: &VmRecord| (vm.held(), vm.held_too());
    let freed = before.is_some_and(|before| left(before) != left(next));
    let asks = next.resched && before.is_none_or(|before| !before.resched);
    if next.state == State::Pending || freed || asks {
        shared.scheduler.wake();
    }
    if before.is_some_and(VmRecord::is_unreconciled) && !next.is_unreconciled() {
        // The lost time may have left a call at work on a host that the record did not know when
        // this process was started.
        let places = next.places();
        shared.executor.maybe_running.mark(next.id, places.map(|place| place.host));
        restored::done(shared, next.id);
    }
}
