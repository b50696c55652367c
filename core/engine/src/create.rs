//! Creates VMs from specifications.

use crate::answers::replay;
use crate::birth::bear;
use crate::bridges::{interfaces, interfaces_seen};
use crate::handle::{CreateRequest, EngineError, Idempotency, Replied};
use crate::message::Birth;
use crate::shared::Shared;
use crate::unusable::Unusable;
use futures::future::join_all;
use ostler_lifecycle::{
    Decision, Named, NewVm, NotCreated, Reachable, bridges_are_somewhere, create, disks_of,
};
use ostler_model::{
    Book, ClaimRefused, DiskSource, Holding, Host, HostId, HostState, MacAddress, OperationId,
    VmId, VmSpec,
};
use std::sync::Arc;

/// How many hosts are probed at once for the bridges of a new VM. If there are more, the VM is
/// made, and the scheduler says which host lacks a bridge.
const LOOKS_MAX: usize = 64;

/// How often network addresses are chosen at most, if another VM has one of them already. Among a
/// million cards, one choice in a million is taken already. If several in a row are taken,
/// something else is wrong.
pub(crate) const DRAWS_MAX: u32 = 8;

/// Creates a VM from a specification.
pub(crate) async fn create_vm(
    shared: &Arc<Shared>,
    request: CreateRequest,
    idempotency: Option<Idempotency>,
) -> Result<Replied, EngineError> {
    if let Some(key) = &idempotency
        && let Some(replied) = replay(shared, key)?
    {
        return Ok(replied);
    }
    look_at_bridges(shared, &request.spec).await?;
    let given: Vec<MacAddress> =
        request.spec.nics.iter().filter_map(|nic| nic.mac.clone()).collect();
    let mut draws = DRAWS_MAX;
    loop {
        // Each decision has a new UUID, and so it has new network addresses.
        let decision = decided(shared, request.clone(), || shared.store.next_vm_id())?;
        draws -= 1;
        match bear(shared, Birth::of(decision, idempotency.clone())).await {
            Err(EngineError::Taken(refused)) if draws > 0 && chose(&given, &refused) => {}
            answer => return answer,
        }
    }
}

/// Refuses a specification whose network cards no host could plug in: each host that the VM may go
/// to lacks one of their bridges.
pub(crate) async fn look_at_bridges(
    shared: &Arc<Shared>,
    spec: &VmSpec,
) -> Result<(), EngineError> {
    if spec.nics.is_empty() {
        return Ok(());
    }
    let directory = shared.directory();
    let may_go = |host: &&Host| {
        host.hypervisor.is_some() && spec.host.as_ref().is_none_or(|only| *only == host.name)
    };
    let hosts: Vec<&Host> = directory.hosts.values().filter(may_go).collect();
    // A host that takes no VMs now may take this one later, and then it may have the bridge.
    let seen = |host: &&Host| {
        (host.state == HostState::On).then(|| interfaces_seen(shared, host.id)).flatten()
    };
    let known: Vec<Reachable> = hosts.iter().map(|host| (host.name.clone(), seen(host))).collect();
    if bridges_are_somewhere(&spec.nics, &known).is_ok() || hosts.len() > LOOKS_MAX {
        return Ok(());
    }
    let asked: Vec<HostId> = hosts.iter().map(|host| host.id).collect();
    let fresh = join_all(asked.into_iter().map(|host| interfaces(shared, host, &spec.nics))).await;
    let known: Vec<Reachable> = known.into_iter().map(|(host, _)| host).zip(fresh).collect();
    bridges_are_somewhere(&spec.nics, &known).map_err(not_created)
}

/// Whether Ostler itself chose what another VM has already. `given` are the addresses that the
/// specification names.
pub(crate) fn chose(given: &[MacAddress], refused: &ClaimRefused) -> bool {
    let Holding { book, key, .. } = &refused.claim.holding;
    *book == Book::Mac && !given.iter().any(|mac| mac.as_str() == key.as_str())
}

/// Decides a creation. The creation itself and its dry run both use this. A refusal uses up no VM
/// id.
pub(crate) fn decided(
    shared: &Shared,
    request: CreateRequest,
    id: impl FnOnce() -> VmId,
) -> Result<Decision, EngineError> {
    request.spec.check()?;
    request.spec.check_labels()?;
    Ok(create(new_vm(shared, request, id)?, shared.now()))
}

fn new_vm(
    shared: &Shared,
    request: CreateRequest,
    id: impl FnOnce() -> VmId,
) -> Result<NewVm, EngineError> {
    let reader = shared.store.read()?;
    let directory = shared.directory();
    let mut named = Named {
        image_datastores: directory.image_datastores().collect(),
        hosts: directory.hosts.values().map(|host| &host.name).collect(),
        ..Named::default()
    };
    for disk in &request.spec.disks {
        if let DiskSource::Image { image, .. } = &disk.source
            && let Some(found) = reader.image_by_name(image)?
        {
            named.images.insert(image.clone(), found);
        }
    }
    let disks = disks_of(&request.spec, &named).map_err(not_created)?;
    Ok(NewVm {
        id: id(),
        uuid: shared.new_uuid(),
        operation: OperationId(0),
        by: request.by,
        spec: request.spec,
        disks,
        hold: request.hold,
    })
}

fn not_created(why: NotCreated) -> EngineError {
    Unusable::NotCreated(why).into()
}
