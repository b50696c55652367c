//! Removes what must not be on a host: domains of ours on hosts where they have no placement, what
//! a VM left on a host that could not be asked when it went away, and unused memory files.
//!
//! The VM's own runner does this, so that no operation of the VM can begin meanwhile. The calls
//! have the leftover's own generation, so that the host refuses them (`stale`) if a later placement
//! has arrived there after all.

use crate::arguments;
use crate::calls;
use crate::charge;
use crate::clock;
use crate::faults;
use crate::hosts::driver_of;
use crate::maybe_running::transfers_are_over;
use crate::message::{Message, Sweeping};
use crate::seen;
use crate::shared::Shared;
use ostler_driver::{CallControl, JobStatus, TransferJob};
use ostler_lifecycle::{PutAway, put_away, unused_memory};
use ostler_model::{
    CallContext, DriverError, EffectKey, ErrorKind, EventKind, Generation, HostId, Item, Millis,
    Observation, OperationId, RelPath, StepNo, VmId, VmRecord,
};
use std::sync::Arc;
use std::time::Duration;

/// How long one sweep may take: the look and the removals together. The VM's other messages wait
/// meanwhile.
const PATIENCE: Millis = Millis::secs(20);
/// How often the driver is asked for the progress of a job that removes files.
const POLL: Duration = Duration::from_millis(50);

/// Asks the VM's runner to sweep `host`, unless it was asked already. If its mailbox has no place,
/// the next list of the host asks again.
pub(crate) fn ask(shared: &Arc<Shared>, vm: VmId, host: HostId) {
    if let Some(sweeping) = Sweeping::begin(&shared.sweeps, vm, host) {
        shared.mailboxes.offer(shared, vm, Message::Sweep(sweeping));
    }
}

/// Looks again, and removes what is there if that is still safe. Answers the generation up to which
/// `host` was seen empty.
pub(crate) async fn sweep(
    shared: &Arc<Shared>,
    record: &VmRecord,
    host: HostId,
) -> Option<Generation> {
    if !charge::is_held(shared) {
        return None;
    }
    let swept = tokio::time::timeout(PATIENCE.duration(), clear(shared, record, host)).await;
    if let Ok(answer) = &swept {
        charge::is_lost(shared, host, answer).await;
    }
    let lost = swept.as_ref().map_or(true, |answer| {
        answer.as_ref().is_err_and(|error| error.kind == ErrorKind::Unknown)
    });
    if lost {
        // The call was dropped or lost. Its work on the host may go on.
        shared.executor.maybe_running.mark(record.id, [host]);
        if let Some(storage) = &record.storage {
            shared.executor.maybe_running.transfers_on(record.id, &storage.driver);
        }
    }
    match swept {
        Ok(Ok(Swept { destroyed, empty })) => {
            if let Some(domain) = destroyed {
                shared
                    .tell(EventKind::Stray { host, domain, what: "zombie-destroyed".to_owned() })
                    .await;
            }
            return empty;
        }
        Ok(Err(error)) => {
            tracing::warn!(vm = %record.id, %host, %error, "a leftover could not be put away; it stays on the list")
        }
        Err(_) => {
            tracing::warn!(vm = %record.id, %host, "a leftover could not be put away in time; it stays on the list")
        }
    }
    None
}

#[derive(Default)]
struct Swept {
    /// The name of the domain that was destroyed.
    destroyed: Option<String>,
    /// The generation up to which nothing of the VM is left on the host.
    empty: Option<Generation>,
}

async fn clear(
    shared: &Arc<Shared>,
    record: &VmRecord,
    host: HostId,
) -> Result<Swept, DriverError> {
    let (driver, site) = driver_of(shared, host)?;
    let seen = calls::caught(driver.observe(&site, record.uuid)).await?;
    let mut swept = Swept::default();
    let mut decided = decide(shared, record, host, &seen);
    if let (Some(generation), Observation::Present(domain)) = (decided.domain, &seen) {
        calls::caught(driver.remove(&site, &control(shared, record, generation, Item::Domain)))
            .await?;
        swept.destroyed = Some(domain.name.clone());
        // The removal took some time, and another host may have listed a newer domain meanwhile.
        decided = decide(shared, record, host, &Observation::Absent);
    }
    if decided.in_use {
        return Err(DriverError::refused(
            "in-use",
            "its files there are those that the VM uses: both hosts are reached in the same way",
        ));
    }
    if let Some(left) = decided.files {
        let folder = format!("{}/{}", arguments::ON_HOST, record.folder());
        delete(shared, record, host, left.place.generation, Item::Files, &folder).await?;
    }
    swept.empty = decided.empty;
    Ok(swept)
}

fn decide<'a>(
    shared: &Shared,
    record: &'a VmRecord,
    host: HostId,
    seen: &Observation,
) -> PutAway<'a> {
    let elsewhere = seen::elsewhere(shared, record).is_some();
    let directory = shared.directory();
    let in_use =
        record.placement.as_ref().is_some_and(|place| directory.same_files(place.host, host));
    let left = put_away(record, shared.store.id(), host, seen, (elsewhere, in_use));
    faults::as_left(shared.config.hooks.sabotage, seen, left)
}

/// Removes an unused memory file on the host of the VM's placement. Answers its name when it is
/// gone. The next sweeps remove the other files.
pub(crate) async fn drop_memory(
    shared: &Arc<Shared>,
    record: &VmRecord,
    host: HostId,
) -> Option<RelPath> {
    let name = unused_memory(record, host).first()?;
    if !charge::is_held(shared) || seen::elsewhere(shared, record).is_some() {
        // The domain on the other host may use the file.
        return None;
    }
    let path = format!("{}/{}/{name}", arguments::ON_HOST, record.folder());
    let deleted = delete(shared, record, host, record.placed, Item::Recovery, &path);
    let deleted = tokio::time::timeout(PATIENCE.duration(), deleted).await;
    if let Ok(answer) = &deleted {
        charge::is_lost(shared, host, answer).await;
    }
    let lost = deleted.as_ref().map_or(true, |answer| {
        answer.as_ref().is_err_and(|error| error.kind == ErrorKind::Unknown)
    });
    if let Some(storage) = record.storage.as_ref().filter(|_| lost) {
        // The call was dropped or lost. Its work on the host may go on.
        shared.executor.maybe_running.transfers_on(record.id, &storage.driver);
    }
    match deleted {
        Ok(Ok(())) => return Some(name.clone()),
        Ok(Err(error)) => {
            tracing::warn!(vm = %record.id, %host, %error, "a memory file of no use could not be removed; it stays on the list")
        }
        Err(_) => {
            tracing::warn!(vm = %record.id, %host, "a memory file of no use could not be removed in time; it stays on the list")
        }
    }
    None
}

/// Removes a file or a folder of the VM on a host.
async fn delete(
    shared: &Arc<Shared>,
    record: &VmRecord,
    host: HostId,
    generation: Generation,
    item: Item,
    path: &str,
) -> Result<(), DriverError> {
    let directory = shared.directory();
    let gone = |what: &str| DriverError::retry("missing", format!("{what} is not known any more"));
    let storage = record.storage.as_ref().ok_or_else(|| gone("the VM's datastore"))?;
    let store =
        directory.datastores.get(&storage.datastore).ok_or_else(|| gone("the VM's datastore"))?;
    let site = directory.site(host).ok_or_else(|| gone("the host"))?;
    let driver = shared
        .drivers
        .transfer(&storage.driver)
        .map_err(|error| DriverError::retry("not-loaded", error.to_string()))?;
    let target = directory.file(host, store, path).ok_or_else(|| gone("the path"))?;
    let control = control(shared, record, generation, item);
    transfers_are_over(shared, record).await?;
    let mut status =
        calls::caught(driver.begin(&site, &control, &TransferJob::Delete { target })).await?;
    // The callers bound the time of the whole removal.
    while let JobStatus::Pending(_) = status {
        tokio::time::sleep(POLL).await;
        status = match calls::caught(driver.poll(&site, &control)).await {
            Err(error) if error.kind == ErrorKind::Gone => {
                return Err(DriverError::retry("job-lost", error.detail));
            }
            answer => answer?,
        };
    }
    Ok(())
}

/// The data for a call that belongs to no operation. The current time makes it a new effect each
/// time.
fn control(shared: &Shared, record: &VmRecord, generation: Generation, item: Item) -> CallControl {
    let now = shared.now();
    let key = EffectKey { vm: record.uuid, operation: OperationId(0), step: StepNo(now.0), item };
    // A swept domain is of another generation than the placement. The host checks this in the same
    // step as the removal.
    let spares = record.placement.as_ref().map(|place| place.generation);
    let (store, epoch) = (shared.store.id(), shared.store.epoch());
    let deadline = now.plus(PATIENCE);
    let context = CallContext { store, key, attempt: 1, generation, epoch, spares, deadline };
    CallControl::detached(context, clock::instant() + PATIENCE.duration())
}
