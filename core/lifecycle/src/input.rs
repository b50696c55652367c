//! The entry points: [`decide`] for a VM that exists, [`create`] and [`adopt`] for a VM that does
//! not exist yet.

use crate::decision::{Decision, Input};
use crate::draft::Draft;
use crate::facts::Facts;
use crate::{gone, monitor, request, restored, schedules, step_result, wake};
use ostler_model::{
    Answer, Args, Ask, DiskState, EventKind, FilesAt, Generation, MacAddress, OperationId,
    Placement, Reason, Refusal, Request, ScheduleId, State, StepKind, StepNo, Storage, Subject,
    Timestamp, Verb, Version, VmId, VmRecord, VmSpec, VmUuid,
};

/// The data from which a VM is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewVm {
    /// Its id.
    pub id: VmId,
    /// Its UUID, by which hypervisors will know it.
    pub uuid: VmUuid,
    /// The operation that creates it.
    pub operation: OperationId,
    /// The user who asks, and who becomes the owner.
    pub by: String,
    /// Its specification, already checked.
    pub spec: VmSpec,
    /// Its disks, with images looked up.
    pub disks: Vec<DiskState>,
    /// Whether it begins in `hold`, so that the scheduler does not place it at first.
    pub hold: bool,
}

/// Creates a VM in `pending` or `hold`. It claims its images.
#[must_use]
pub fn create(new: NewVm, now: Timestamp) -> Decision {
    let state = if new.hold { State::Hold } else { State::Pending };
    let asks = ask_images(&new.disks);
    let name = new.spec.name.to_string();
    let mut record = VmRecord {
        id: new.id,
        uuid: new.uuid,
        owner: new.by,
        created: now,
        spec: new.spec,
        version: Version(1),
        state,
        since: now,
        reason: Reason::Asked,
        step: StepNo(0),
        issued: Generation(0),
        placed: Generation(0),
        placement: None,
        storage: None,
        files: FilesAt::default(),
        disks: new.disks,
        recovery: None,
        unused: Vec::new(),
        operation: None,
        open: Vec::new(),
        failure: None,
        running_since: None,
        seen: None,
        was_off: false,
        blind_since: None,
        snapshots: Vec::new(),
        driver_state: Default::default(),
        history: Vec::new(),
        moving: None,
        leftovers: Vec::new(),
        resched: false,
        schedules: Vec::new(),
        next_schedule: ScheduleId::default(),
        adopted_name: None,
        wild: false,
        last_driver: None,
        restored: None,
    };
    name_macs(&mut record);
    let claims = record.claims(&asks);
    let answer = Answer {
        vm: record.id,
        operation: None,
        state,
        version: record.version,
        already: false,
        overtook: None,
        destroys: Vec::new(),
    };
    Decision {
        record,
        changed: true,
        answer: Some(answer),
        effects: Vec::new(),
        settled: Vec::new(),
        cancels: Vec::new(),
        claims,
        journal: Vec::new(),
        events: vec![EventKind::Created { name }],
        images: Vec::new(),
    }
}

/// Asks for the images that disks stand on.
fn ask_images(disks: &[DiskState]) -> Vec<Ask> {
    let mut asks: Vec<Ask> = disks.iter().filter_map(|disk| disk.image).map(Ask::image).collect();
    asks.dedup();
    asks
}

/// A domain that somebody else made, and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopted {
    /// The VM that it becomes. Its UUID is the domain's.
    pub vm: NewVm,
    /// Its placement, with the first generation.
    pub place: Placement,
    /// The system datastore that its files are in.
    pub storage: Storage,
    /// Its name at the hypervisor, which it keeps.
    pub name: String,
    /// Whether it runs now.
    pub running: bool,
}

/// Makes a VM of a domain that somebody else made. Nothing is restarted: the only step stamps the
/// domain. If the stamp is refused, the domain stays wild, and the VM is done.
#[must_use]
pub fn adopt(adopted: Adopted, facts: &Facts, now: Timestamp) -> Decision {
    let Adopted { vm, place, storage, name, running } = adopted;
    let (operation, by, host) = (vm.operation, vm.by.clone(), place.host);
    let asks = ask_images(&vm.disks);
    let Decision { mut record, events, .. } = create(vm, now);
    record.state = if running { State::Running } else { State::Poweroff };
    record.issued = place.generation;
    record.placed = place.generation;
    let generation = place.generation;
    record.placement = Some(place);
    record.storage = Some(storage);
    record.adopted_name = Some(name);
    record.wild = true;
    record.running_since = running.then_some(now);
    record.version = Version(0);
    let before = record.clone();
    let mut draft = Draft::new(&before, facts, now);
    draft.asks = asks;
    draft.asks.push(Ask::room(host, false));
    draft.events = events;
    draft.history_begin(host, Verb::Adopt, generation);
    let asked = Request {
        operation,
        verb: Verb::Adopt,
        by,
        args: Args::None,
        host: Some(host),
        enforce: false,
        force: false,
        if_version: None,
        schedule: None,
    };
    draft.record.operation =
        request::start(&mut draft, &asked, vec![StepKind::Stamp], Subject::Vm, None);
    draft.finish()
}

/// Chooses an address for each network card of a new VM that was given none.
fn name_macs(record: &mut VmRecord) {
    for (salt, nic) in (0..).zip(&mut record.spec.nics) {
        nic.mac.get_or_insert_with(|| MacAddress::chosen(record.uuid, salt));
    }
}

/// Decides the consequences of `input` for `record`.
///
/// # Errors
/// Only a person's demand can be refused: a request, or a statement about a record. A refusal
/// changes nothing.
pub fn decide(
    record: &VmRecord,
    facts: &Facts,
    input: &Input,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    let mut draft = Draft::new(record, facts, now);
    match input {
        Input::Request(asked) => request::request(&mut draft, asked)?,
        input if record.is_unreconciled() => restored::unreconciled(&mut draft, input),
        Input::Reconcile { found, by, .. } => restored::stated(&mut draft, found, by.as_deref())?,
        Input::Answered { key, sent, result } => {
            step_result::answered(&mut draft, key, *sent, result)
        }
        Input::Observed { step, seen, there } => {
            monitor::observed(&mut draft, *step, seen, there.as_ref())
        }
        Input::Swept { host, generation } => gone::swept(&mut draft, *host, *generation),
        Input::HostGone { host } => gone::host_gone(&mut draft, *host),
        Input::MemoryRemoved { name } => gone::memory_removed(&mut draft, name),
        Input::ScheduleRefused { schedule, refusal } => {
            schedules::refused(&mut draft, *schedule, refusal)
        }
        Input::CouldNotAsk { since } => monitor::could_not_ask(&mut draft, *since),
        Input::Tick => draft.work(wake::tick),
        Input::Restarted => wake::restarted(&mut draft),
    }
    Ok(draft.finish())
}
