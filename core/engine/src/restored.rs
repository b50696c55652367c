//! Reconciles the VMs of a store that came back with a backup. When every host that is not off has
//! been listed, each VM's runner is told which domains of it were found
//! (`ostler_lifecycle::Input::Reconcile`). When all VMs are reconciled, the mark of the restore is
//! removed from the store.

use crate::handle::{EngineError, Reconciliation, Unreconciled};
use crate::locked::locked;
use crate::message::Message;
use crate::seen::unlisted;
use crate::shared::Shared;
use ostler_lifecycle::Input;
use ostler_model::{DatastoreKind, Storage, VmId, VmRecord};
use ostler_store::{Commit, ReadError, ResourceChange};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// How often it is checked whether the missing hosts have been listed. To list a host takes from
/// some milliseconds to seconds.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often a VM that only a person can decide about is tried again. Somebody may have removed the
/// domain that contradicts the store.
const TRY_AGAIN: Duration = Duration::from_secs(30);
/// How many VMs are read before other tasks have their turn.
const PAGE: usize = 500;
/// How many VMs are listed one by one, at most.
const TOLD_MAX: usize = 1000;

/// Runs until all VMs are reconciled. Ends at once if the store was not restored.
pub(crate) async fn run(shared: Arc<Shared>) {
    while !shared.stop.is_cancelled() {
        let wait = match round(&shared).await {
            Ok(Stands::Over) => return,
            Ok(Stands::HostsMissing) => LOOK_EVERY,
            Ok(Stands::Told) => TRY_AGAIN,
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the VMs of the restored store cannot be reconciled"
                );
                TRY_AGAIN
            }
        };
        tokio::select! {
            biased;
            () = tokio::time::sleep(wait) => {}
            () = shared.reconcile.notified() => {}
            () = shared.stop.cancelled() => return,
        }
    }
}

/// The progress of the reconciliation.
enum Stands {
    /// Nothing is left to do.
    Over,
    /// A host that is not off was not listed.
    HostsMissing,
    /// Each VM was told which domains of it were found.
    Told,
}

async fn round(shared: &Arc<Shared>) -> Result<Stands, EngineError> {
    if shared.store.read()?.restored()?.is_none() {
        locked(&shared.unreconciled).clear();
        return Ok(Stands::Over);
    }
    let hosts_are_missing = !unlisted(shared).is_empty();
    if hosts_are_missing && !locked(&shared.unreconciled).is_empty() {
        // Nothing can be told before these hosts are listed, so it is of no use to read every VM
        // again.
        return Ok(Stands::HostsMissing);
    }
    let waiting = unreconciled(shared).await?;
    locked(&shared.unreconciled).clone_from(&waiting);
    if waiting.is_empty() {
        shared
            .store
            .commit(Commit { resources: vec![ResourceChange::RestoreOver], ..Commit::default() })
            .await?;
        tracing::info!("all VMs of the restored store are reconciled");
        return Ok(Stands::Over);
    }
    if hosts_are_missing {
        return Ok(Stands::HostsMissing);
    }
    for vm in &waiting {
        let Some(record) = shared.store.read()?.vm(*vm)? else { continue };
        if shared.seen.is_unreadable(record.uuid) {
            continue;
        }
        shared
            .mailboxes
            .deliver(shared, *vm, Message::Input(facts_of(shared, &record, None)))
            .await;
    }
    shared.scheduler.wake();
    Ok(Stands::Told)
}

async fn unreconciled(shared: &Arc<Shared>) -> Result<BTreeSet<VmId>, ReadError> {
    let live = shared.store.read()?.vms_live()?;
    let mut waiting = BTreeSet::new();
    for page in live.chunks(PAGE) {
        let reader = shared.store.read()?;
        for vm in page {
            if reader.vm(*vm)?.is_some_and(|record| record.is_unreconciled()) {
                waiting.insert(*vm);
            }
        }
        drop(reader);
        tokio::task::yield_now().await;
    }
    Ok(waiting)
}

/// Notes that a VM is reconciled. After the last one, the mark of the restore is removed from the
/// store.
pub(crate) fn done(shared: &Shared, vm: VmId) {
    let mut waiting = locked(&shared.unreconciled);
    waiting.remove(&vm);
    if waiting.is_empty() {
        shared.reconcile.notify_one();
    }
}

/// The input that reconciles `record`: by the domains that were found, or by the statement of a
/// person (`by`).
pub(crate) fn facts_of(shared: &Shared, record: &VmRecord, by: Option<String>) -> Input {
    Input::Reconcile { found: shared.seen.found(record.uuid), storage: only_storage(shared), by }
}

/// The system datastore, if there is only one. Then a VM that was placed in the lost time is in it.
fn only_storage(shared: &Shared) -> Option<Storage> {
    let directory = shared.directory();
    let mut systems =
        directory.datastores.values().filter(|store| store.kind == DatastoreKind::System);
    let only = systems.next().filter(|_| systems.next().is_none())?;
    Some(Storage { datastore: only.id, driver: only.driver.clone(), shared: only.shared })
}

/// The VMs that are not reconciled, and the hosts that are waited for. None if the store was not
/// restored or all is reconciled.
pub(crate) fn view(shared: &Shared) -> Result<Option<Reconciliation>, EngineError> {
    let reader = shared.store.read()?;
    let Some(mark) = reader.restored()? else { return Ok(None) };
    let waiting = locked(&shared.unreconciled).clone();
    let mut vms = Vec::new();
    for vm in waiting.iter().take(TOLD_MAX) {
        let Some(record) = reader.vm(*vm)?.filter(VmRecord::is_unreconciled) else { continue };
        let found = shared.seen.found(record.uuid);
        let in_doubt = record.restored.as_ref().is_some_and(|restored| restored.in_doubt);
        vms.push(Unreconciled { vm: *vm, name: record.spec.name.clone(), found, in_doubt });
    }
    Ok(Some(Reconciliation {
        as_of: mark.as_of,
        seq: mark.seq,
        hosts: unlisted(shared),
        vms,
        total: waiting.len(),
    }))
}
