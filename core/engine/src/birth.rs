//! How VMs come to be: made from a specification, or of a domain that somebody else made.

use crate::answers::{keep_answer, no_answer, replay, replied};
use crate::calls;
use crate::directory::Directory;
use crate::handle::{AdoptRequest, CreateRequest, EngineError, Idempotency, Replied};
use crate::journal;
use crate::mailbox::Message;
use crate::monitor::{driver_of, within};
use crate::shared::Shared;
use ostler_driver::{Site, WildDomain};
use ostler_lifecycle::{Adopted, Decision, Facts, NewVm, adopt, create};
use ostler_model::{
    BootSpec, DatastoreKind, DiskSource, DiskSpec, DiskState, DomainSeen, DriverError, DriverName, EventKind, FilePath, Generation,
    Headroom, ImageState, MacAddress, NicSpec, OperationId, Patience, Placement, Power, RelPath, State, Storage, VmId, VmSpec,
    VmUuid,
};
use ostler_store::{Commit, Committed, EventDraft, Reader, ResourceChange, ResourceRefused, VmChange};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long a host that has a domain to be adopted may take to list its domains, and to tell of that one.
const ASK_TIMEOUT: Duration = Duration::from_secs(20);

/// How often addresses are chosen anew when another VM has one of them. Among a million cards one choice in a
/// million is taken already: several in a row mean that something else is wrong.
pub(crate) const DRAWS_MAX: u32 = 8;

/// A VM that is to be.
pub(crate) struct Birth {
    decision: Decision,
    idempotency: Option<Idempotency>,
    /// The VM of that UUID that was before and is done: forgotten with the same commit.
    former: Option<VmId>,
}

/// A new VM.
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
    let given: Vec<MacAddress> = request.spec.nics.iter().filter_map(|nic| nic.mac.clone()).collect();
    let mut draws = DRAWS_MAX;
    loop {
        // With another UUID each time, and so with other addresses.
        let decision = decided(shared, request.clone(), || shared.store.next_vm_id())?;
        draws -= 1;
        match bear(shared, Birth { decision, idempotency: idempotency.clone(), former: None }).await {
            Err(EngineError::Resource(ResourceRefused::MacTaken { mac, .. })) if draws > 0 && !given.contains(&mac) => {}
            answer => return answer,
        }
    }
}

/// What comes of a creation, and why not: for the creation itself and for its dry run. A refusal uses up no id.
pub(crate) fn decided(shared: &Shared, request: CreateRequest, id: impl FnOnce() -> VmId) -> Result<Decision, EngineError> {
    request.spec.check()?;
    request.spec.check_labels()?;
    Ok(create(new_vm(shared, request, id)?, shared.now()))
}

/// Hands the first decision to the VM's runner: from then on it is carried out, whatever becomes of the one who asked.
async fn bear(shared: &Arc<Shared>, birth: Birth) -> Result<Replied, EngineError> {
    let (reply, answer) = oneshot::channel();
    let vm = birth.decision.record.id;
    shared.mailboxes.ask(shared, vm, Message::Born(Box::new(birth), reply))?;
    shared.answered(answer).await
}

/// Commits the first decision about a VM, and does what it says. For its runner.
pub(crate) async fn commit(shared: &Arc<Shared>, birth: Birth) -> Result<Replied, EngineError> {
    let Birth { decision, idempotency, former } = birth;
    let answer = decision.answer.clone().ok_or_else(no_answer)?;
    let mut commit = as_commit(shared, &decision);
    commit.idempotency = idempotency.as_ref().and_then(|key| keep_answer(key, &answer, shared.now()));
    commit.resources = former.map(ResourceChange::VmForget).into_iter().collect();
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
        shared.wishes.wake();
    }
    Ok(Replied { answer, replayed: false })
}

/// The first decision about a VM, as it is committed.
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

/// Why a VM does not come to be, if that is what the store answers.
pub(crate) fn refused(committed: Committed, vm: VmId) -> Option<EngineError> {
    match committed {
        Committed::ClaimRefused(refused) => {
            Some(EngineError::Unusable { what: "what the VM stands on".to_owned(), why: refused.detail })
        }
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
            let unusable = |why: &str| EngineError::Unusable { what: format!("image {image}"), why: why.to_owned() };
            let found = reader
                .image_by_name(image)?
                .ok_or_else(|| unusable("there is no image of that name; `ostler image list` shows them"))?;
            if found.state != ImageState::Ready {
                return Err(unusable("it is not ready"));
            }
            Some(found.id)
        }
        DiskSource::Blank { .. } | DiskSource::Swap { .. } => None,
        DiskSource::File { path } => {
            let why = "a file that is somebody else's is only adopted with its domain; register it as an image".to_owned();
            return Err(EngineError::Unusable { what: format!("file {path}"), why });
        }
    };
    let file = format!("{}.{}", disk.name, disk.format);
    let file = file.parse().map_err(|error: ostler_model::InvalidName| EngineError::Unusable {
        what: format!("disk {}", disk.name),
        why: error.to_string(),
    })?;
    Ok(DiskState { name: disk.name.clone(), file, format: disk.format, image, save_as: None, adopted: None })
}

/// Refuses names that lead nowhere before anything is kept.
fn check_names(spec: &VmSpec, directory: &Directory) -> Result<(), EngineError> {
    for file in [&spec.boot.kernel, &spec.boot.initrd].into_iter().flatten() {
        let known = directory.datastores.values().any(|store| store.name == file.datastore && store.kind == DatastoreKind::Image);
        if !known {
            let why = "there is no image datastore of that name; `ostler datastore list` shows them".to_owned();
            return Err(EngineError::Unusable { what: format!("datastore {}", file.datastore), why });
        }
    }
    if let Some(host) = &spec.host
        && !directory.hosts.values().any(|known| known.name == *host)
    {
        let why = "there is no host of that name; `ostler host list` shows them".to_owned();
        return Err(EngineError::Unusable { what: format!("host {host}"), why });
    }
    Ok(())
}

/// A VM made of a domain that this store did not make.
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
    let Surveyed { seen, wild, driver, storage, spec, disks } = survey(shared, &request).await?;
    if let (false, Some(why)) = (request.accept_changes, would_change(&wild.changes)) {
        return Err(EngineError::Unusable { what: format!("domain {}", request.domain), why });
    }
    let vm = NewVm {
        id: shared.store.next_vm_id(),
        uuid: seen.uuid,
        operation: shared.store.next_operation_id(),
        by: request.by.clone(),
        spec,
        disks,
        hold: true,
    };
    let now = shared.now();
    // Above all that this store has ever issued for it.
    let former = former(shared, seen.uuid)?;
    let generation = former.map_or(Generation(0), |(_, issued)| issued).next();
    let place = Placement { host: request.host, driver, generation, since: now };
    let adopted = Adopted { vm, place, storage, name: seen.name.clone(), running: seen.power == Power::Running };
    let decision = adopt(adopted, &Facts::bare(shared.store.id()), now);
    bear(shared, Birth { decision, idempotency, former: former.map(|(id, _)| id) }).await
}

/// In what a domain would be another machine from its next start on, if it were adopted.
pub(crate) async fn changes_of(shared: &Arc<Shared>, request: &AdoptRequest) -> Result<Vec<String>, EngineError> {
    survey(shared, request).await.map(|surveyed| surveyed.wild.changes)
}

/// Why a domain is not adopted without somebody's word.
fn would_change(changes: &[String]) -> Option<String> {
    (!changes.is_empty()).then(|| {
        format!(
            "from its next start on it would be another machine: {}. Change it at the hypervisor first, or accept that with \
             --accept-changes (`accept_changes` in the body)",
            changes.join("; ")
        )
    })
}

/// A domain that can be adopted, and the VM that it becomes.
struct Surveyed {
    seen: DomainSeen,
    wild: WildDomain,
    driver: DriverName,
    storage: Storage,
    spec: VmSpec,
    disks: Vec<DiskState>,
}

async fn survey(shared: &Arc<Shared>, request: &AdoptRequest) -> Result<Surveyed, EngineError> {
    let refused = |why: String| EngineError::Unusable { what: format!("domain {}", request.domain), why };
    let asked = |error: DriverError| refused(error.told());
    let (driver, site) = driver_of(shared, request.host).map_err(asked)?;
    let listed = within(ASK_TIMEOUT, driver.list(&site)).await.map_err(asked)?;
    let is_it = |domain: &&DomainSeen| domain.name == request.domain || domain.uuid.to_string() == request.domain;
    let Some(seen) = listed.domains.iter().find(is_it).cloned() else {
        return Err(refused("there is no domain of that name or UUID; `ostler host show` lists wild domains".to_owned()));
    };
    if let Some(identity) = seen.identity {
        let whose = if identity.store == shared.store.id() { "this store's already" } else { "another Ostler's" };
        return Err(refused(format!("it is {whose}")));
    }
    if !matches!(seen.power, Power::Running | Power::Off) {
        return Err(refused(format!("it is {}: let it run, or switch it off first", seen.power)));
    }
    let wild = within(ASK_TIMEOUT, driver.inspect(&site, seen.uuid)).await.map_err(asked)?;
    let directory = shared.directory();
    let name = directory.hosts.get(&request.host).and_then(|host| host.hypervisor.as_ref()).map(|driver| driver.driver.clone());
    let Some(name) = name else { return Err(refused("its host has no hypervisor".to_owned())) };
    let (storage, disks) = adopted_disks(&directory, &site, &wild).map_err(&refused)?;
    let boot = adopted_boot(&directory, &wild).map_err(&refused)?;
    let spec = VmSpec { boot, ..adopted_spec(request, &wild, &disks).map_err(&refused)? };
    spec.check()?;
    Ok(Surveyed { seen, wild, driver: name, storage, spec, disks })
}

/// A VM of that UUID that is done, and the highest generation that was issued for it: the domain may be adopted again.
fn former(shared: &Shared, uuid: VmUuid) -> Result<Option<(VmId, Generation)>, EngineError> {
    let reader = shared.store.read()?;
    let Some(id) = reader.vm_by_uuid(uuid)? else { return Ok(None) };
    Ok(reader.vm(id)?.filter(|record| record.state == State::Done).map(|record| (id, record.issued)))
}

/// The system datastore that the domain's files lie in, and its disks. Files that lie elsewhere could neither be named nor moved.
fn adopted_disks(directory: &Directory, site: &Site, wild: &WildDomain) -> Result<(Storage, Vec<DiskState>), String> {
    let systems = || directory.datastores.values().filter(|store| store.kind == DatastoreKind::System);
    let holds_all = |root: &str| wild.disks.iter().all(|(_, file, _, _)| below(root, file).is_some());
    let Some(store) = systems().find(|store| holds_all(&store.root)) else {
        let roots: Vec<String> = systems().map(|store| store.root.clone()).collect();
        return Err(format!(
            "its disks must all lie in one system datastore on host {}; there is: {}",
            site.name,
            if roots.is_empty() { "none".to_owned() } else { roots.join(", ") }
        ));
    };
    // It would go with that folder.
    let in_folder = |path: &RelPath| calls::TOPS.iter().any(|top| path.as_str().starts_with(&format!("{top}/")));
    if let Some((name, file, ..)) =
        wild.disks.iter().find(|(_, file, ..)| below(&store.root, file).is_some_and(|path| in_folder(&path)))
    {
        return Err(format!(
            "its disk {name} is {file}, in the folder of a VM, which is removed with that VM: move it elsewhere in the datastore first"
        ));
    }
    let storage = Storage { datastore: store.id, driver: store.driver.clone(), shared: store.shared };
    let disks = wild.disks.iter().map(|(name, file, format, _)| {
        let adopted = below(&store.root, file);
        let file = format!("{name}.{format}").parse().map_err(|error: ostler_model::InvalidName| error.to_string())?;
        Ok(DiskState { name: name.clone(), file, format: *format, image: None, save_as: None, adopted })
    });
    Ok((storage, disks.collect::<Result<_, String>>()?))
}

/// What it boots. A kernel must lie in an image datastore, or it could not be named when the VM is started again.
fn adopted_boot(directory: &Directory, wild: &WildDomain) -> Result<BootSpec, String> {
    let named = |file: &Option<String>, what: &str| -> Result<Option<FilePath>, String> {
        let Some(file) = file else { return Ok(None) };
        let mut images = directory.datastores.values().filter(|store| store.kind == DatastoreKind::Image);
        let found = images.find_map(|store| Some(FilePath { datastore: store.name.clone(), path: below(&store.root, file)? }));
        found.map(Some).ok_or_else(|| format!("its {what} {file} must lie in an image datastore"))
    };
    Ok(BootSpec {
        kernel: named(&wild.kernel, "kernel")?,
        initrd: named(&wild.initrd, "initial RAM disk")?,
        cmdline: wild.cmdline.clone(),
        ..BootSpec::default()
    })
}

/// The path of `file` below `root`, if it lies there.
fn below(root: &str, file: &str) -> Option<RelPath> {
    file.strip_prefix(root.trim_end_matches('/'))?.strip_prefix('/')?.parse().ok()
}

fn adopted_spec(request: &AdoptRequest, wild: &WildDomain, disks: &[DiskState]) -> Result<VmSpec, String> {
    let name = match &request.name {
        Some(name) => name.clone(),
        None => wild.name.parse().map_err(|error: ostler_model::InvalidName| format!("{error}; give it another with --name"))?,
    };
    let disk =
        |(known, (name, _, format, read_only)): (&DiskState, &(ostler_model::DiskName, String, ostler_model::DiskFormat, bool))| {
            let path = known.adopted.clone().ok_or_else(|| format!("disk {name} has no path"))?;
            Ok(DiskSpec { name: name.clone(), source: DiskSource::File { path }, format: *format, read_only: *read_only })
        };
    Ok(VmSpec {
        name,
        cpu_milli: wild.vcpus.saturating_mul(1000),
        vcpus: wild.vcpus,
        memory_mib: wild.memory_mib,
        boot: BootSpec::default(),
        disks: disks.iter().zip(&wild.disks).map(disk).collect::<Result<_, String>>()?,
        nics: wild.nics.iter().map(|(mac, bridge)| NicSpec { bridge: bridge.clone(), mac: Some(mac.clone()) }).collect(),
        graphics: wild.graphics,
        host: None,
        labels: BTreeMap::new(),
        user_data: String::new(),
        patience: Patience::default(),
        headroom: Headroom::default(),
    })
}
