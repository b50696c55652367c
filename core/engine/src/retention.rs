//! Forgets VMs that have been done for long, a few at a time. The records of such VMs are for
//! accounting, and are not kept for ever.

use crate::shared::Shared;
use ostler_model::Timestamp;
use ostler_store::{Commit, ResourceChange};
use std::sync::Arc;
use std::time::Duration;

/// How often it is checked which VMs are old enough.
const EVERY: Duration = Duration::from_secs(60);
/// How many VMs are forgotten in one round, at most. So a store that was kept for years is emptied
/// slowly.
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
        Err(error) => {
            return tracing::error!(
                error = &error as &dyn std::error::Error,
                "cannot read which VMs are long done"
            );
        }
    };
    for vm in old {
        // If this is refused, the next round finds the VM again. If the store cannot be written,
        // its health says so.
        let _ = shared
            .store
            .commit(Commit { resources: vec![ResourceChange::VmForget(vm)], ..Commit::default() })
            .await;
    }
}
