//! Looks now and then (`watchdog_every`) for VMs that should go on and that nobody works on: a part
//! of the engine that panicked may have lost what would have carried them on. Without the watchdog
//! they would stand until a request comes for them or the daemon is started again.

use crate::message::Message;
use crate::shared::Shared;
use ostler_model::{Millis, Timestamp, VmId};
use ostler_store::{ReadError, Reader};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// How many VMs are read at once. Between two pages, other tasks have their turn.
const PAGE: usize = 500;
/// How many VMs are woken at once, as after a start.
const WAKES_AT_ONCE: usize = 256;
/// A timer counts as late only after this time. Before, its tick may be on the way, or the runner
/// may be at a step that takes so long.
const LATE_AFTER: Millis = Millis::secs(30);

/// Runs until the daemon ends.
pub(crate) async fn run(shared: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(WAKES_AT_ONCE));
    loop {
        tokio::select! {
            biased;
            () = tokio::time::sleep(shared.config.watchdog_every) => {}
            () = shared.stop.cancelled() => return,
        }
        if let Err(error) = round(&shared, &places).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "cannot read which VMs should go on"
            );
        }
    }
}

async fn round(shared: &Arc<Shared>, places: &Arc<Semaphore>) -> Result<(), ReadError> {
    let late = Timestamp(shared.now().0.saturating_sub(LATE_AFTER.0));
    for (due, vm) in shared.store.read()?.timers_until(late)? {
        shared.timers.restore(vm, due);
    }
    let active = shared.store.read()?.active_vms()?;
    for page in active.chunks(PAGE) {
        let reader = shared.store.read()?;
        let left: Vec<VmId> =
            page.iter().copied().filter(|vm| is_left(shared, &reader, *vm)).collect();
        drop(reader);
        for vm in left {
            // The semaphore is never closed.
            let Ok(place) = Arc::clone(places).acquire_owned().await else { return Ok(()) };
            // If the mailbox has no place, this fails. Then the runner is alive, and needs no
            // wake-up.
            shared.mailboxes.offer(shared, vm, Message::Wake(place));
        }
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Whether a call is open that no task in this process works on. The runner checks again, because
/// the call may be about to be sent.
fn is_left(shared: &Shared, reader: &Reader, vm: VmId) -> bool {
    // If the record cannot be read, those who need it report the error.
    let Ok(Some(record)) = reader.vm(vm) else { return false };
    record.open.iter().any(|open| !shared.executor.in_flight.is_at(&open.key))
}
