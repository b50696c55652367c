//! Makes VMs: from a specification, or from a domain that somebody else made.

use crate::answers::{keep_answer, no_answer, replay, replied};
use crate::arguments;
use crate::directory::Directory;
use crate::facts::{interfaces, interfaces_seen};
use crate::handle::{AdoptRequest, CreateRequest, EngineError, Idempotency, Replied};
use crate::journal;
use crate::mailbox::Message;
use crate::monitor::{driver_of, within};
use crate::shared::Shared;
use crate::unusable::Unusable;
use futures::future::join_all;
use ostler_driver::require;
use ostler_lifecycle::{
    Adopted, Becomes, Decision, Facts, NewVm, NotAdopted, accepts_changes, adopt, becomes, bridge_of_no_host, create, is_adoptable,
};
use ostler_model::{
    Book, ClaimRefused, DatastoreKind, DiskSource, DiskSpec, DiskState, DomainSeen, DriverError, DriverName, EventKind, Generation,
    Holding, Host, HostId, ImageState, Lack, MacAddress, OperationId, Placement, Power, State, VmId, VmSpec, VmUuid, WildDomain,
};
use ostler_store::{Commit, Committed, EventDraft, Reader, ResourceChange, VmChange};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long each call may take that asks the host of a domain to be adopted: to list its domains, and to inspect that domain.
const ASK_TIMEOUT: Duration = Duration::from_secs(20);

/// How many hosts are probed at once for the bridges of a new VM. What is known of further hosts is a few minutes old.
const LOOKS_MAX: usize = 64;

/// How often network addresses are chosen at most, if another VM has one of them already. Among a million cards, one choice in a
/// million is taken already. If several in a row are taken, something else is wrong.
pub(crate) const DRAWS_MAX: u32 = 8;

/// The VM id in the dry run of a creation or an adoption. No VM has it.
pub(crate) const NO_VM: VmId = VmId(u64::MAX);
/// The operation id in a dry run. No operation has it.
pub(crate) const NO_OPERATION: OperationId = OperationId(u64::MAX);

/// A VM that is about to be made.
pub(crate) struct Birth {
    decision: Decision,
    idempotency: Option<Idempotency>,
    /// An earlier VM with the same UUID, which is done. The same commit forgets it.
    former: Option<VmId>,
}

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
    let given: Vec<MacAddress> = request.spec.nics.iter().filter_map(|nic| nic.mac.clone()).collect();
    let mut draws = DRAWS_MAX;
    loop {
        // Each decision has a new UUID, and so it has new network addresses.
        let decision = decided(shared, request.clone(), || shared.store.next_vm_id())?;
        draws -= 1;
        match bear(shared, Birth { decision, idempotency: idempotency.clone(), former: None }).await {
            Err(EngineError::Taken(refused)) if draws > 0 && chose(&given, &refused) => {}
            answer => return answer,
        }
    }
}

/// Refuses a specification whose network cards no host could plug in: each host that the VM may go to lacks one of their bridges.
pub(crate) async fn look_at_bridges(shared: &Arc<Shared>, spec: &VmSpec) -> Result<(), EngineError> {
    if spec.nics.is_empty() {
        return Ok(());
    }
    let directory = shared.directory();
    let may_go = |host: &&Host| spec.host.as_ref().is_none_or(|only| *only == host.name);
    let hosts: Vec<&Host> = directory.hosts_on().filter(may_go).collect();
    let mut seen: Vec<_> = hosts.iter().map(|host| interfaces_seen(shared, host.id)).collect();
    if bridge_of_no_host(&spec.nics, &seen).is_none() {
        return Ok(());
    }
    let asked: Vec<HostId> = hosts.iter().take(LOOKS_MAX).map(|host| host.id).collect();
    let fresh = join_all(asked.into_iter().map(|host| interfaces(shared, host, &spec.nics))).await;
    for (seen, fresh) in seen.iter_mut().zip(fresh) {
        *seen = fresh;
    }
    let Some(bridge) = bridge_of_no_host(&spec.nics, &seen) else { return Ok(()) };
    let bridge = bridge.to_owned();
    Err(match hosts.as_slice() {
        [host] => Unusable::NoBridge { bridge, host: host.name.clone() }.into(),
        hosts => Unusable::NoBridgeAnywhere { bridge, hosts: hosts.len() }.into(),
    })
}

/// Whether Ostler itself chose what another VM has already. `given` are the addresses that the specification names.
pub(crate) fn chose(given: &[MacAddress], refused: &ClaimRefused) -> bool {
    let Holding { book, key, .. } = &refused.claim.holding;
    *book == Book::Mac && !given.iter().any(|mac| mac.as_str() == key.as_str())
}

/// Decides a creation. The creation itself and its dry run both use this. A refusal uses up no VM id.
pub(crate) fn decided(shared: &Shared, request: CreateRequest, id: impl FnOnce() -> VmId) -> Result<Decision, EngineError> {
    request.spec.check()?;
    request.spec.check_labels()?;
    Ok(create(new_vm(shared, request, id)?, shared.now()))
}

/// Hands the first decision to the VM's runner. From then on it is carried out, even if the caller goes away.
async fn bear(shared: &Arc<Shared>, birth: Birth) -> Result<Replied, EngineError> {
    let (reply, answer) = oneshot::channel();
    let vm = birth.decision.record.id;
    shared.mailboxes.ask(shared, vm, Message::Born(Box::new(birth), reply))?;
    shared.answered(answer).await
}

/// Commits the first decision about a VM and carries it out. Called by the VM's runner.
pub(crate) async fn commit(shared: &Arc<Shared>, birth: Birth) -> Result<Replied, EngineError> {
    let Birth { decision, idempotency, former } = birth;
    let answer = decision.answer.clone().ok_or_else(no_answer)?;
    let mut commit = as_commit(shared, &decision);
    commit.idempotency = idempotency.as_ref().and_then(|key| keep_answer(key, &answer, shared.now()));
    commit.resources = forgets(former);
    let record = commit.vm.as_ref().map_or_else(|| Arc::new(decision.record.clone()), |change| Arc::clone(&change.record));
    match shared.store.commit(commit).await? {
        Committed::Replayed(row) => return replied(&row),
        Committed::IdempotencyConflict => {
            return Err(EngineError::IdempotencyConflict { key: idempotency.map(|key| key.key).unwrap_or_default() });
        }
        committed => {
            if let Some(error) = refused(committed, record.id) {
                return Err(error);
            }
        }
    }
    for effect in decision.effects {
        shared.executor.send(shared, effect, Arc::clone(&record));
    }
    if record.state == State::Pending {
        shared.scheduler.wake();
    }
    Ok(Replied { answer, replayed: false })
}

/// Makes a commit of the first decision about a VM.
pub(crate) fn as_commit(shared: &Shared, decision: &Decision) -> Commit {
    let (at, vm, version) = (shared.now(), decision.record.id, decision.record.version);
    let event = |kind: &EventKind| EventDraft { at, vm: Some(vm), version: Some(version), kind: kind.clone() };
    Commit {
        vm: Some(VmChange { record: Arc::new(decision.record.clone()), expect: None }),
        claims: decision.claims.clone(),
        operations: journal::born(decision),
        outbox_put: decision.effects.clone(),
        events: decision.events.iter().map(event).collect(),
        ..Commit::default()
    }
}

/// The error, if the store's answer says that the VM is not made.
pub(crate) fn refused(committed: Committed, vm: VmId) -> Option<EngineError> {
    match committed {
        Committed::ClaimRefused(refused) => Some(match refused.lack {
            Lack::Taken { .. } => EngineError::Taken(Box::new(refused)),
            Lack::Missing | Lack::Closed { .. } | Lack::Full { .. } => Unusable::Claim(Box::new(refused)).into(),
        }),
        Committed::Refused(refused) => Some(EngineError::Resource(refused)),
        Committed::Stale { .. } => Some(EngineError::NoSuchVm(vm)),
        Committed::Applied { .. } | Committed::Replayed(_) | Committed::IdempotencyConflict => None,
    }
}

fn new_vm(shared: &Shared, request: CreateRequest, id: impl FnOnce() -> VmId) -> Result<NewVm, EngineError> {
    let reader = shared.store.read()?;
    let directory = shared.directory();
    check_names(&request.spec, &directory)?;
    let disks = request.spec.disks.iter().map(|disk| disk_state(&reader, disk)).collect::<Result<Vec<_>, _>>()?;
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

fn disk_state(reader: &Reader, disk: &DiskSpec) -> Result<DiskState, EngineError> {
    let image = match &disk.source {
        DiskSource::Image { image } => {
            let found = reader.image_by_name(image)?.ok_or_else(|| Unusable::NoImage(image.clone()))?;
            if found.state != ImageState::Ready {
                return Err(Unusable::ImageNotReady(image.clone()).into());
            }
            Some(found.id)
        }
        DiskSource::Blank { .. } | DiskSource::Swap { .. } => None,
        DiskSource::File { path } => return Err(Unusable::FileOfOthers(path.clone()).into()),
    };
    let file = format!("{}.{}", disk.name, disk.format);
    let file = file.parse().map_err(|error| Unusable::NoFileName(disk.name.clone(), error))?;
    Ok(DiskState { name: disk.name.clone(), file, format: disk.format, image, save_as: None, adopted: None })
}

/// Refuses names of hosts and datastores that do not exist, before anything is committed.
fn check_names(spec: &VmSpec, directory: &Directory) -> Result<(), EngineError> {
    for file in [&spec.boot.kernel, &spec.boot.initrd].into_iter().flatten() {
        let known = directory.datastores.values().any(|store| store.name == file.datastore && store.kind == DatastoreKind::Image);
        if !known {
            return Err(Unusable::NoImageDatastore(file.datastore.clone()).into());
        }
    }
    if let Some(host) = &spec.host
        && !directory.hosts.values().any(|known| known.name == *host)
    {
        return Err(Unusable::NoHost(host.clone()).into());
    }
    Ok(())
}

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
    accepts_changes(&surveyed.wild, request.accept_changes).map_err(|why| not_adopted(&request, why))?;
    let ids = (shared.store.next_vm_id(), shared.store.next_operation_id());
    let (decision, former) = adopted(shared, &request, surveyed, ids)?;
    bear(shared, Birth { decision, idempotency, former }).await
}

/// Decides an adoption. Answers the first decision about the new VM, and the earlier VM with the same UUID that is forgotten with
/// it.
fn adopted(
    shared: &Shared,
    request: &AdoptRequest,
    surveyed: Surveyed,
    (id, operation): (VmId, OperationId),
) -> Result<(Decision, Option<VmId>), EngineError> {
    let Surveyed { seen, wild: _, driver, becomes: Becomes { spec, disks, storage } } = surveyed;
    let vm = NewVm { id, uuid: seen.uuid, operation, by: request.by.clone(), spec, disks, hold: true };
    let now = shared.now();
    // The generation must be above all that this store has ever issued for this UUID.
    let former = former(shared, seen.uuid)?;
    let generation = former.map_or(Generation(0), |(_, issued)| issued).next();
    let place = Placement { host: request.host, driver, generation, since: now };
    let adopted = Adopted { vm, place, storage, name: seen.name.clone(), running: seen.power == Power::Running };
    Ok((adopt(adopted, &Facts::bare(shared.store.id()), now), former.map(|(id, _)| id)))
}

/// Lists how the domain would differ from its next start on, if it were adopted. If there are no differences, or the request
/// accepts them, the store judges the adoption as well. Nothing is changed.
pub(crate) async fn changes_of(shared: &Arc<Shared>, request: &AdoptRequest) -> Result<Vec<String>, EngineError> {
    let surveyed = survey(shared, request).await?;
    let changes = surveyed.wild.changes.clone();
    if accepts_changes(&surveyed.wild, request.accept_changes).is_ok() {
        let (decision, former) = adopted(shared, request, surveyed, (NO_VM, NO_OPERATION))?;
        let commit = Commit { resources: forgets(former), ..as_commit(shared, &decision) };
        if let Some(error) = refused(shared.store.rehearse(commit).await?, NO_VM) {
            return Err(error);
        }
    }
    Ok(changes)
}

fn forgets(former: Option<VmId>) -> Vec<ResourceChange> {
    former.map(ResourceChange::VmForget).into_iter().collect()
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
    let listed = within(ASK_TIMEOUT, driver.list(&site)).await.map_err(asked)?;
    let is_it = |domain: &&DomainSeen| domain.name == request.domain || domain.uuid.to_string() == request.domain;
    let Some(seen) = listed.domains.iter().find(is_it).cloned() else {
        return Err(Unusable::NoDomain { domain: domain(), host }.into());
    };
    is_adoptable(&seen, shared.store.id()).map_err(|why| not_adopted(request, why))?;
    let directory = shared.directory();
    let name = directory.hosts.get(&request.host).and_then(|host| host.hypervisor.as_ref()).map(|driver| driver.driver.clone());
    let Some(name) = name else { return Err(Unusable::NoHypervisor { domain: domain(), host }.into()) };
    let adopts = require(driver.adopt(), &name).map_err(asked)?;
    let wild = within(ASK_TIMEOUT, adopts.inspect(&site, seen.uuid)).await.map_err(asked)?;
    let becomes = becomes(&wild, request.name.clone(), &site.name, directory.datastores.values(), &arguments::TOPS);
    let becomes = becomes.map_err(|why| not_adopted(request, why))?;
    Ok(Surveyed { seen, wild, driver: name, becomes })
}

/// Finds a VM with that UUID that is done, and the highest generation that was issued for it. Its domain may be adopted again.
fn former(shared: &Shared, uuid: VmUuid) -> Result<Option<(VmId, Generation)>, EngineError> {
    let reader = shared.store.read()?;
    let Some(id) = reader.vm_by_uuid(uuid)? else { return Ok(None) };
    Ok(reader.vm(id)?.filter(|record| record.state == State::Done).map(|record| (id, record.issued)))
}
