//! Forgets VMs that have been done for long, a few at a time: the record of what was is for accounting, not for ever.

use crate::shared::Shared;
use ostler_model::Timestamp;
use ostler_store::{Commit, ResourceChange};
use std::sync::Arc;
use std::time::Duration;

/// How often it is looked for what is old enough.
const EVERY: Duration = Duration::from_secs(60);
/// Most VMs forgotten at once: a store that was kept for years is not emptied in one breath.
const BATCH: usize = 200;

/// Runs until the daemon ends.
pub(crate) async fn run(shared: Arc<Shared>) {
    while !shared.stop.is_cancelled() {
        forget_old(&shared).await;
        tokio::select! {
            biased;
            () = tokio::time::sleep(EVERY) => {}
            () = shared.stop.cancelled() => {}
        }
    }
}

async fn forget_old(shared: &Arc<Shared>) {
    let before = Timestamp(shared.now().0.saturating_sub(shared.config.keep_done.0));
    let old = match shared.store.read().and_then(|reader| reader.done_before(before, BATCH)) {
        Ok(old) => old,
        Err(error) => return tracing::error!(error = &error as &dyn std::error::Error, "cannot read which VMs are long done"),
    };
    for vm in old {
        // One that is refused is found again at the next round; a store that cannot be written is told by its own health.
        let _ = shared.store.commit(Commit { resources: vec![ResourceChange::VmForget(vm)], ..Commit::default() }).await;
    }
}
