//! Adopts domains: makes VMs of domains that somebody else made.

use crate::answers::replay;
use crate::arguments;
use crate::birth::{NO_OPERATION, NO_VM, bear};
use crate::commit::{Before, Origin, rehearse};
use crate::handle::{AdoptRequest, EngineError, Idempotency, Replied};
use crate::hosts::{ask, driver_of};
use crate::journal::Operations;
use crate::message::Birth;
use crate::shared::Shared;
use crate::unusable::Unusable;
use ostler_driver::require;
use ostler_lifecycle::{
    Adopted, Becomes, Decision, Facts, NewVm, NotAdopted, accepts_changes, adopt, becomes,
    is_adoptable,
};
use ostler_model::{
    DomainSeen, DriverError, DriverName, Generation, OperationId, Placement, Power, State, VmId,
    VmUuid, WildDomain,
};
use std::sync::Arc;
use std::time::Duration;

/// How long each call may take that asks the host of a domain to be adopted: to list its domains,
/// and to inspect that domain.
const ASK_TIMEOUT: Duration = Duration::from_secs(20);

/// Adopts a domain: makes a VM of a domain that this store did not make.
pub(crate) async fn adopt_domain(
    shared: &Arc<Shared>,
    request: AdoptRequest,
    idempotency: Option<Idempotency>,
) -> Result<Replied, EngineError> {
    if let Some(key) = &idempotency
        && let Some(replied) = replay(shared, key)?
    {
        return Ok(replied);
    }
    let surveyed = survey(shared, &request).await?;
    accepts_changes(&surveyed.wild, request.accept_changes)
        .map_err(|why| not_adopted(&request, why))?;
    let ids = (shared.store.next_vm_id(), shared.store.next_operation_id());
    let (decision, former) = adopted(shared, &request, surveyed, ids)?;
    bear(shared, Birth { former, ..Birth::of(decision, idempotency) }).await
}

/// Decides an adoption. Answers the first decision about the new VM, and the earlier VM with the
/// same UUID that is forgotten with it.
fn adopted(
    shared: &Shared,
    request: &AdoptRequest,
    surveyed: Surveyed,
    (id, operation): (VmId, OperationId),
) -> Result<(Decision, Option<VmId>), EngineError> {
    let Surveyed { seen, wild: _, driver, becomes: Becomes { spec, disks, storage } } = surveyed;
    let vm =
        NewVm { id, uuid: seen.uuid, operation, by: request.by.clone(), spec, disks, hold: true };
    let now = shared.now();
    // The generation must be above all that this store has ever issued for this UUID.
    let former = former(shared, seen.uuid)?;
    let generation = former.map_or(Generation(0), |(_, issued)| issued).next();
    let place = Placement { host: request.host, driver, generation, since: now };
    let adopted = Adopted {
        vm,
        place,
        storage,
        name: seen.name.clone(),
        running: seen.power == Power::Running,
    };
    Ok((adopt(adopted, &Facts::bare(shared.store.id()), now), former.map(|(id, _)| id)))
}

/// Lists how the domain would differ from its next start on, if it were adopted. If there are no
/// differences, or the request accepts them, the store judges the adoption as well. Nothing is
/// changed.
pub(crate) async fn changes_of(
    shared: &Arc<Shared>,
    request: &AdoptRequest,
) -> Result<Vec<String>, EngineError> {
    let surveyed = survey(shared, request).await?;
    let changes = surveyed.wild.changes.clone();
    if accepts_changes(&surveyed.wild, request.accept_changes).is_ok() {
        let (decision, former) = adopted(shared, request, surveyed, (NO_VM, NO_OPERATION))?;
        let origin = Origin { before: Before::Unborn { former }, verb: None, idempotency: None };
        rehearse(shared, origin, &mut Operations::new(), &decision).await?;
    }
    Ok(changes)
}

fn not_adopted(request: &AdoptRequest, why: NotAdopted) -> EngineError {
    match why {
        NotAdopted::Spec(invalid) => invalid.into(),
        why => Unusable::NotAdopted { domain: request.domain.clone(), why }.into(),
    }
}

/// A domain that can be adopted, and the VM that it becomes.
struct Surveyed {
    seen: DomainSeen,
    wild: WildDomain,
    driver: DriverName,
    becomes: Becomes,
}

async fn survey(shared: &Arc<Shared>, request: &AdoptRequest) -> Result<Surveyed, EngineError> {
    let (host, domain) = (request.host, || request.domain.clone());
    let asked = |error: DriverError| Unusable::DomainUnseen { domain: domain(), host, error };
    let (driver, site) = driver_of(shared, request.host).map_err(asked)?;
    let listed =
        ask(shared, request.host, "list", ASK_TIMEOUT, driver.list(&site)).await.map_err(asked)?;
    let is_it = |domain: &&DomainSeen| {
        domain.name == request.domain || domain.uuid.to_string() == request.domain
    };
    let Some(seen) = listed.domains.iter().find(is_it).cloned() else {
        return Err(Unusable::NoDomain { domain: domain(), host }.into());
    };
    is_adoptable(&seen, shared.store.id()).map_err(|why| not_adopted(request, why))?;
    let directory = shared.directory();
    let name = directory
        .hosts
        .get(&request.host)
        .and_then(|host| host.hypervisor.as_ref())
        .map(|driver| driver.driver.clone());
    let Some(name) = name else {
        return Err(Unusable::NoHypervisor { domain: domain(), host }.into());
    };
    let adopts = require(driver.adopt(), &name).map_err(asked)?;
    let inspected = adopts.inspect(&site, seen.uuid);
    let wild = ask(shared, request.host, "inspect", ASK_TIMEOUT, inspected).await.map_err(asked)?;
    let becomes = becomes(
        &wild,
        request.name.clone(),
        &site.name,
        directory.datastores.values(),
        &arguments::TOPS,
    );
    let becomes = becomes.map_err(|why| not_adopted(request, why))?;
    Ok(Surveyed { seen, wild, driver: name, becomes })
}

/// Finds a VM with that UUID that is done, and the highest generation that was issued for it. Its
/// domain may be adopted again.
fn former(shared: &Shared, uuid: VmUuid) -> Result<Option<(VmId, Generation)>, EngineError> {
    let reader = shared.store.read()?;
    let Some(id) = reader.vm_by_uuid(uuid)? else { return Ok(None) };
    Ok(reader
        .vm(id)?
        .filter(|record| record.state == State::Done)
        .map(|record| (id, record.issued)))
}
