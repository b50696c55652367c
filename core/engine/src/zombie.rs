//! Ends domains of ours that must not be there: leftovers of VMs that have no place, or have it on another host.
//!
//! Done by the VM's own runner, so that no operation of the VM can begin meanwhile; and under the leftover's own generation, so that
//! the host refuses (`stale`) if a later placement has arrived there after all.

use crate::calls;
use crate::clock;
use crate::monitor;
use crate::shared::Shared;
use ostler_driver::CallControl;
use ostler_model::{
    CallContext, DriverError, EffectKey, EventKind, Generation, HostId, Item, Millis, Observation, OperationId, StepNo, StoreId,
    VmRecord,
};
use std::sync::Arc;
use std::time::Instant;

/// How long looking and removing may take together. The VM's other messages wait meanwhile.
const PATIENCE: Millis = Millis::secs(20);

/// The generation of what may be destroyed on `host`: none if it is not a zombie that is safe to destroy.
pub(crate) fn doomed(record: &VmRecord, store: StoreId, host: HostId, seen: &Observation) -> Option<Generation> {
    let Observation::Present(domain) = seen else { return None };
    let identity = domain.identity.filter(|identity| identity.store == store && identity.vm == record.uuid)?;
    if record.operation.is_some() || !record.open.is_empty() {
        return None;
    }
    let below = match &record.placement {
        // What is where the VM has its place is for the VM's own operations.
        Some(place) if place.host == host => false,
        // Only once the later one was seen running.
        Some(place) => identity.generation < place.generation && record.placed == place.generation,
        // It came to rest without a place only after its domain was seen absent: this is a late start.
        None => identity.generation <= record.issued,
    };
    below.then_some(identity.generation)
}

/// Looks again, and destroys what is there if that is still safe.
pub(crate) async fn end(shared: &Arc<Shared>, record: &VmRecord, host: HostId) {
    let ended = tokio::time::timeout(PATIENCE.duration(), remove(shared, record, host)).await;
    match ended {
        Ok(Ok(Some(domain))) => monitor::tell(shared, EventKind::Stray { host, domain, what: "zombie-destroyed".to_owned() }).await,
        Ok(Ok(None)) => {}
        Ok(Err(error)) => tracing::warn!(vm = %record.id, %host, %error, "a zombie could not be destroyed; it stays on the list"),
        Err(_) => tracing::warn!(vm = %record.id, %host, "a zombie could not be destroyed in time; it stays on the list"),
    }
}

async fn remove(shared: &Arc<Shared>, record: &VmRecord, host: HostId) -> Result<Option<String>, DriverError> {
    let (driver, site) = monitor::driver_of(shared, host)?;
    let seen = calls::caught(driver.observe(&site, record.uuid)).await?;
    let (Some(generation), Observation::Present(domain)) = (doomed(record, shared.store.id(), host, &seen), seen) else {
        return Ok(None);
    };
    let now = clock::now();
    // Belongs to no operation. The time makes it another effect each time it is found.
    let key = EffectKey { vm: record.uuid, operation: OperationId(0), step: StepNo(now.0), item: Item::Domain };
    let context = CallContext { key, attempt: 1, generation, deadline: now.plus(PATIENCE) };
    let control = CallControl::detached(context, Instant::now() + PATIENCE.duration());
    calls::caught(driver.remove(&site, &control)).await?;
    Ok(Some(domain.name))
}
