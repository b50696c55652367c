//! Puts away what must not be there: domains of ours on hosts where they have no place, and what a VM left behind on a host that could
//! not be asked when it went.
//!
//! Done by the VM's own runner, so that no operation of the VM can begin meanwhile; and under the leftover's own generation, so that
//! the host refuses (`stale`) if a later placement has arrived there after all.

use crate::calls;
use crate::clock;
use crate::monitor;
use crate::shared::Shared;
use ostler_driver::{CallControl, JobStatus, TransferJob};
use ostler_lifecycle::{doomed, to_sweep};
use ostler_model::{
    CallContext, DriverError, EffectKey, ErrorKind, EventKind, Generation, HostId, Item, Leftover, Millis, Observation,
    OperationId, State, StepNo, VmRecord,
};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long looking and removing may take together. The VM's other messages wait meanwhile.
const PATIENCE: Millis = Millis::secs(20);
/// How often a job of removing files is asked how far it is.
const POLL: Duration = Duration::from_millis(50);

/// Looks again, and puts away what is there if that is still safe. Answers the generation up to which `host` was seen empty.
pub(crate) async fn sweep(shared: &Arc<Shared>, record: &VmRecord, host: HostId) -> Option<Generation> {
    let swept = tokio::time::timeout(PATIENCE.duration(), put_away(shared, record, host)).await;
    if matches!(&swept, Err(_)) || matches!(&swept, Ok(Err(error)) if error.kind == ErrorKind::Unknown) {
        // Dropped or lost: what it began may go on.
        shared.executor.haunt(record.id, [host]);
    }
    match swept {
        Ok(Ok(Swept { destroyed, empty })) => {
            if let Some(domain) = destroyed {
                monitor::tell(shared, EventKind::Stray { host, domain, what: "zombie-destroyed".to_owned() }).await;
            }
            return empty;
        }
        Ok(Err(error)) => tracing::warn!(vm = %record.id, %host, %error, "a leftover could not be put away; it stays on the list"),
        Err(_) => tracing::warn!(vm = %record.id, %host, "a leftover could not be put away in time; it stays on the list"),
    }
    None
}

#[derive(Default)]
struct Swept {
    /// The name of the domain that was destroyed.
    destroyed: Option<String>,
    /// The leftover that is no more.
    empty: Option<Generation>,
}

async fn put_away(shared: &Arc<Shared>, record: &VmRecord, host: HostId) -> Result<Swept, DriverError> {
    let (driver, site) = monitor::driver_of(shared, host)?;
    let seen = calls::caught(driver.observe(&site, record.uuid)).await?;
    let mut swept = Swept::default();
    match (doomed(record, shared.store.id(), host, &seen), &seen) {
        (Some(generation), Observation::Present(domain)) => {
            calls::caught(driver.remove(&site, &control(record, generation, Item::Domain))).await?;
            swept.destroyed = Some(domain.name.clone());
        }
        // Something is there that is not to be touched, or not ours: the leftover stays on the list.
        (None, Observation::Present(_)) => return Ok(swept),
        (_, Observation::Absent) => {}
    }
    if let Some(left) = to_sweep(record, host) {
        if left.files && !(record.storage_is_shared() && record.state != State::Done) {
            drop_files(shared, record, left).await?;
        }
        swept.empty = Some(left.place.generation);
    }
    Ok(swept)
}

/// Removes the VM's folder on a host where it has nothing to do any more.
async fn drop_files(shared: &Arc<Shared>, record: &VmRecord, left: &Leftover) -> Result<(), DriverError> {
    let directory = shared.directory();
    let gone = |what: &str| DriverError::retry("missing", format!("{what} is not known any more"));
    let storage = record.storage.as_ref().ok_or_else(|| gone("the VM's datastore"))?;
    let store = directory.datastores.get(&storage.datastore).ok_or_else(|| gone("the VM's datastore"))?;
    let site = directory.site(left.place.host).ok_or_else(|| gone("the host"))?;
    let driver = shared.drivers.transfer(&storage.driver).map_err(|error| DriverError::retry("not-loaded", error.to_string()))?;
    let target = directory.file(left.place.host, store, &format!("vms/{}", record.folder())).ok_or_else(|| gone("the folder"))?;
    let control = control(record, left.place.generation, Item::Files);
    let mut status = calls::caught(driver.begin(&site, &control, &TransferJob::Delete { target })).await?;
    // Bounded by whoever waits for the whole of it.
    while let JobStatus::Pending(_) = status {
        tokio::time::sleep(POLL).await;
        status = match calls::caught(driver.poll(&site, &control)).await {
            Err(error) if error.kind == ErrorKind::Gone => return Err(DriverError::retry("job-lost", error.detail)),
            answer => answer?,
        };
    }
    Ok(())
}

/// Belongs to no operation. The time makes it another effect each time it is found.
fn control(record: &VmRecord, generation: Generation, item: Item) -> CallControl {
    let now = clock::now();
    let key = EffectKey { vm: record.uuid, operation: OperationId(0), step: StepNo(now.0), item };
    let context = CallContext { key, attempt: 1, generation, deadline: now.plus(PATIENCE) };
    CallControl::detached(context, Instant::now() + PATIENCE.duration())
}
