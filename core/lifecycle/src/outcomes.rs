//! The end of every operation, for each step and each event that may happen to that step. It is
//! computed from the plans and policies by which operations run, and from the effect of each step
//! on the guest. A test walks each cell through [`crate::decide`] and compares.

use crate::admission::{Admission, admission};
use crate::allowed::any as name;
use crate::input::{NewVm, create};
use crate::recipe::{self, OnFailure, Plan};
use crate::{marks, plan, recover, rest};
use ostler_model::{
    Active, BootSpec, DatastoreId, DiskFormat, DiskState, DriverError, Generation, Goal, Graphics,
    Headroom, HostId, ImageId, Move, NewImage, OperationId, Patience, Phase, Placement,
    RecoveryFile, RefusalKind, Scope, Side, State, StateKind, StepKind, StepNo, Storage, Strength,
    Subject, Timestamp, Verb, VmId, VmRecord, VmSpec, VmUuid,
};
use std::collections::BTreeMap;
use strum::{Display, EnumIter, IntoEnumIterator};

/// An event that may happen to the current step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, EnumIter, Display)]
#[strum(serialize_all = "kebab-case")]
pub enum Happens {
    /// The driver does it.
    Done,
    /// An answer comes after the call was told to stop.
    Late,
    /// No answer: the daemon is restarted.
    NoAnswer,
    /// The driver refuses.
    Refused,
    /// The driver answers *not now*, until the deadline.
    Retry,
    /// The driver answers that there is no such thing.
    Gone,
    /// The driver answers that it may or may not have happened, until the deadline.
    Unknown,
    /// `recover --success`, and the statement is true.
    RecoverSuccess,
    /// `recover --failure`.
    RecoverFailure,
    /// `recover --retry`.
    RecoverRetry,
    /// `recover --undo`.
    RecoverUndo,
    /// `boot`.
    Boot,
}

/// The result of an event, if everything else goes well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leads {
    /// The operation goes on, succeeds, and leaves the VM in this state.
    Succeeds(State),
    /// The operation fails, and leaves the VM in this state.
    Fails(State),
    /// The request is refused, and the operation goes on.
    Refused(RefusalKind),
}

/// One cell of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    /// The verb that was requested.
    pub verb: Verb,
    /// The state in which the operation began.
    pub origin: State,
    /// For a VM that waits for a host and has files: the verb that brought them to the front end.
    pub after: Option<Verb>,
    /// Whether all hosts and the front end see the VM's files.
    pub shared: bool,
    /// The current step: an index into the plan.
    pub at: usize,
    /// The kind of that step.
    pub step: StepKind,
    /// The event that happens to the step.
    pub happens: Happens,
    /// The result.
    pub leads: Leads,
}

/// All cells of the table.
#[must_use]
pub fn outcomes() -> Vec<Cell> {
    let mut cells = Vec::new();
    for shared in [false, true] {
        for verb in Verb::iter() {
            for origin in State::iter().filter(|state| state.kind() == StateKind::Rest) {
                cells.extend(walk(verb, origin, None, shared));
                if verb == Verb::Deploy && matches!(origin, State::Pending | State::Hold) {
                    cells.extend(walk(verb, origin, Some(Verb::Stop), shared));
                    cells.extend(walk(verb, origin, Some(Verb::Undeploy), shared));
                }
            }
        }
    }
    cells
}

/// The cells of one operation.
fn walk(verb: Verb, origin: State, after: Option<Verb>, shared: bool) -> Vec<Cell> {
    let mut stage = Stage::new(verb, origin, after, shared);
    let Some(plan) = stage.plan(verb) else { return Vec::new() };
    let mut cells = Vec::new();
    for (at, step) in plan.iter().copied().enumerate() {
        if !stage.acts(step) {
            stage.through(step);
            continue;
        }
        stage.begin(step);
        let cell = |happens| {
            let leads = stage.leads(verb, origin, &plan, at, happens);
            Cell { verb, origin, after, shared, at, step, happens, leads }
        };
        cells.extend(Happens::iter().map(cell));
        stage.through(step);
    }
    cells
}

/// The state of the guest.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Guest {
    Runs,
    Paused,
    Off,
    /// Its host cannot be asked.
    Unseen,
}

/// A VM at one point of its plan: the guest, and the record as far as plans and rollbacks depend on
/// it. The operation whose outcomes are printed. Its number is printed nowhere.
const OPERATION: OperationId = OperationId(2);

#[derive(Clone)]
struct Stage {
    record: VmRecord,
    guest: Guest,
}

impl Stage {
    fn new(verb: Verb, origin: State, after: Option<Verb>, shared: bool) -> Self {
        let mut record = sample();
        record.state = origin;
        let placed = rest::has_place(origin);
        let begun = after.is_some() || !matches!(origin, State::Pending | State::Hold);
        record.storage =
            begun.then(|| Storage { datastore: DatastoreId(1), driver: name(), shared });
        record.files.host = placed;
        record.files.home = begun && !placed;
        let place =
            |host, generation| Placement { host, driver: name(), generation, since: Timestamp(0) };
        record.placement = placed.then(|| place(HostId(1), Generation(1)));
        record.moving = verb.is_migration().then(|| Move::to(place(HostId(2), Generation(2))));
        if matches!(origin, State::Suspended | State::Stopped) || after == Some(Verb::Stop) {
            record.recovery = Some(RecoveryFile { name: file(), complete: true, consumed: false });
        }
        if matches!(verb, Verb::Shutdown | Verb::ShutdownHard) {
            record.disks[0].save_as = Some(NewImage { image: ImageId(1), driver: name() });
        }
        let guest = match (origin, verb) {
            (State::Running, _) => Guest::Runs,
            // `resume` and `boot` begin after a look shows the guest off, and `migrate` begins when
            // its host is fenced. All other verbs from `unknown` are for a guest that runs unseen.
            (State::Unknown, Verb::Resume | Verb::Boot) => Guest::Off,
            (State::Unknown, Verb::Migrate) => Guest::Off,
            (State::Unknown, _) => Guest::Runs,
            (_, _) => Guest::Off,
        };
        Self { record, guest }
    }

    fn plan(&self, verb: Verb) -> Option<Plan> {
        let adopts =
            verb == Verb::Adopt && matches!(self.record.state, State::Running | State::Poweroff);
        match (admission(self.record.state, verb), verb) {
            _ if adopts => plan::plan(&self.record, verb),
            _ if verb.is_recovery() => None,
            // Files that all hosts see are not copied.
            (Admission::Begin, Verb::Deploy)
                if self.record.files.home && self.record.storage_is_shared() =>
            {
                Some(recipe::start(&self.record))
            }
            (Admission::Begin, Verb::Deploy) => {
                Some(recipe::deploy(&self.record, self.record.storage_is_shared()))
            }
            (Admission::Begin, _) => plan::plan(&self.record, verb),
            (Admission::BeginIfOff, _) => Some(recipe::start(&self.record)),
            (Admission::Already | Admission::Refuse, _) => None,
        }
    }

    /// Whether the step has an item to act on.
    fn acts(&self, step: StepKind) -> bool {
        match step.scope() {
            Scope::Nothing => false,
            Scope::Folder(folder) => marks::has_files(&self.record, folder),
            Scope::Domain
            | Scope::Disks
            | Scope::OwnDisks
            | Scope::NewImages
            | Scope::DisksAndMemory => true,
            Scope::Memory | Scope::Nic | Scope::Snapshots => true,
        }
    }

    /// Makes the changes that are written before the step's first call.
    fn begin(&mut self, step: StepKind) {
        marks::before(&mut self.record, step, OPERATION);
    }

    /// Makes the changes that the finished step leaves.
    fn through(&mut self, step: StepKind) {
        self.guest = match step.goal() {
            Goal::Running => Guest::Runs,
            Goal::Paused => Guest::Paused,
            Goal::Off | Goal::Absent if step.looked_at() == Side::Here => Guest::Off,
            Goal::Off | Goal::Absent | Goal::Nothing => self.guest,
        };
        marks::after(&mut self.record, step, Timestamp(0));
        if step == StepKind::Switch
            && !self.record.storage_is_shared()
            && let Some(moving) = &mut self.record.moving
        {
            std::mem::swap(&mut self.record.files.host, &mut moving.files);
        }
    }

    /// The state of rest in which a look finds the VM.
    fn rests(&self) -> State {
        match self.guest {
            Guest::Runs => State::Running,
            Guest::Paused => State::Suspended,
            Guest::Off if self.record.usable_recovery().is_some() => State::Suspended,
            Guest::Off => State::Poweroff,
            Guest::Unseen => State::Unknown,
        }
    }

    fn leads(&self, verb: Verb, origin: State, plan: &Plan, at: usize, happens: Happens) -> Leads {
        let step = plan[at];
        let succeeds = Leads::Succeeds(recipe::ends_in(verb, origin));
        let for_good = verb.strength() >= Strength::Delete;
        match happens {
            Happens::Done | Happens::Late | Happens::NoAnswer | Happens::RecoverRetry => succeeds,
            Happens::Gone if converges(step) => succeeds,
            Happens::Refused | Happens::Retry | Happens::Gone | Happens::Unknown => {
                self.failed(verb, origin, plan, at, happens)
            }
            Happens::RecoverSuccess if recover::cannot_be_checked(step) => {
                Leads::Refused(RefusalKind::Contradicted)
            }
            Happens::RecoverSuccess
                if step.goal() != Goal::Nothing && step.looked_at() == Side::Other =>
            {
                Leads::Refused(RefusalKind::CannotAsk)
            }
            Happens::RecoverSuccess => succeeds,
            Happens::RecoverFailure | Happens::RecoverUndo if for_good => {
                Leads::Refused(RefusalKind::Busy)
            }
            Happens::RecoverFailure => self.failed(verb, origin, plan, at, happens),
            Happens::RecoverUndo => match self.back(verb, origin, plan, at, happens) {
                None => Leads::Refused(RefusalKind::Contradicted),
                Some(rests) => Leads::Fails(rests),
            },
            Happens::Boot if verb == Verb::Boot => succeeds,
            Happens::Boot
                if matches!(step, StepKind::Boot | StepKind::Restore | StepKind::Unpause) =>
            {
                succeeds
            }
            Happens::Boot => Leads::Refused(RefusalKind::Busy),
        }
    }

    fn failed(&self, verb: Verb, origin: State, plan: &Plan, at: usize, happens: Happens) -> Leads {
        if verb == Verb::Adopt {
            // The domain is still wild, and the VM that it should have become is done.
            return Leads::Fails(State::Done);
        }
        let active = active(verb, origin, plan, at, happens);
        match recipe::on_failure(verb, plan[at]) {
            OnFailure::Fail if happens == Happens::Retry && recipe::only_makes_sure(&active) => {
                Leads::Fails(self.rests())
            }
            OnFailure::Insist | OnFailure::Skip => Leads::Succeeds(recipe::ends_in(verb, origin)),
            OnFailure::Fail => Leads::Fails(State::Failed),
            OnFailure::Settle => Leads::Fails(self.rests()),
            OnFailure::Undo if recipe::may_have_written(&self.record, &active) => {
                Leads::Fails(self.rests())
            }
            OnFailure::Undo => {
                Leads::Fails(self.back(verb, origin, plan, at, happens).unwrap_or(State::Failed))
            }
        }
    }

    /// The state to which the rollback leads; none if there is no way back.
    fn back(
        &self,
        verb: Verb,
        origin: State,
        plan: &Plan,
        at: usize,
        happens: Happens,
    ) -> Option<State> {
        let back = recipe::rollback(&self.record, &active(verb, origin, plan, at, happens))?;
        if verb == Verb::Adopt {
            return Some(State::Done);
        }
        if !rest::has_place(origin) {
            return Some(rest::without_place(origin, self.record.usable_recovery().is_some()));
        }
        let mut stage = self.clone();
        for step in back {
            stage.begin(step);
            if step == StepKind::Switch && origin == State::Unknown {
                // The VM is back on a host that was lost.
                stage.guest = Guest::Unseen;
            } else {
                stage.through(step);
            }
        }
        Some(stage.rests())
    }
}

/// Steps for which *there is no such thing* is no failure: the step is done, or a look follows and
/// the step is sent again if needed.
const fn converges(step: StepKind) -> bool {
    let looked_after = matches!(step.goal(), Goal::Off | Goal::Absent) && step.proven_by_look();
    looked_after
        || matches!(step, StepKind::DeleteSnapshot | StepKind::DetachDisk | StepKind::DetachNic)
}

fn active(verb: Verb, origin: State, plan: &Plan, at: usize, happens: Happens) -> Active {
    let refused = matches!(happens, Happens::Refused | Happens::Gone);
    Active {
        id: OPERATION,
        verb,
        origin,
        subject: Subject::Vm,
        plan: plan.clone(),
        at,
        step: StepNo(1),
        pending: Vec::new(),
        phase: Phase::Calling,
        attempt: 1,
        blind: 0,
        crashes: 0,
        sent: None,
        deadline: None,
        undoing: false,
        stated: None,
        acted: true,
        cut: false,
        error: refused.then(|| DriverError::refused("refused", "refused")),
    }
}

fn file() -> ostler_model::RelPath {
    name()
}

fn sample() -> VmRecord {
    let spec = VmSpec {
        name: name(),
        cpu_milli: 1000,
        vcpus: 1,
        memory_mib: 1,
        boot: BootSpec::default(),
        disks: Vec::new(),
        nics: Vec::new(),
        graphics: Graphics::None,
        host: None,
        labels: BTreeMap::new(),
        user_data: String::new(),
        patience: Patience::default(),
        headroom: Headroom::default(),
    };
    let disk = DiskState {
        name: name(),
        file: file(),
        format: DiskFormat::Raw,
        image: None,
        save_as: None,
        adopted: None,
    };
    let uuid: VmUuid =
        "00000000-0000-0000-0000-000000000001".parse().expect("digits and dashes are a UUID");
    let new = NewVm {
        id: VmId(1),
        uuid,
        operation: OperationId(1),
        by: String::new(),
        spec,
        disks: vec![disk],
        hold: false,
    };
    create(new, Timestamp(0)).record
}
