//! The operator. It makes requests that make sense, and often requests that do not. Its *statements*
//! are true: a host that it calls fenced has no power, files that it says were moved are moved, a
//! VM that it forgets was on a host that cannot be asked, and a step that it says has succeeded has
//! done so.

use crate::args::Facets;
use crate::queue::{Asker, Event, Happening, Message, Reply};
use crate::run::Sim;
use crate::world::Site;
use ostler_model::Verb::*;
use ostler_model::{
    Args, Cause, ClaimRefused, Hint, HostId, Lack, Millis, OperationId, Refusal, RefusalKind,
    Request, State, StateKind, Verb, VmId, VmRecord,
};
use strum::IntoEnumIterator;

/// Verbs that make sense for a running VM. A verb that stands here twice is asked for twice as
/// often.
#[rustfmt::skip]
const RUNNING: &[Verb] = &[
    Suspend, Suspend, Stop, Stop, Poweroff, Poweroff, PoweroffHard, Undeploy, UndeployHard, Shutdown, ShutdownHard, Reboot, RebootHard,
    Migrate, Migrate, MigrateLive, MigrateLive, MigrateLive, MigratePoweroff, MigratePoweroffHard, Resched, Unresched, DiskAttach,
    DiskAttach, DiskDetach, NicAttach, NicDetach, SnapshotCreate, SnapshotCreate, SnapshotRevert, SnapshotDelete, DiskSnapshot,
    DiskSnapshotLive, DiskSnapshotCancel, Resize, Update, Rename, Schedule, Unschedule, Reschedule, Delete, DeleteRecreate,
];
/// For a VM that is off on its host.
#[rustfmt::skip]
const OFF: &[Verb] = &[
    Resume, Resume, Resume, Undeploy, Migrate, MigratePoweroff, DiskAttach, DiskDetach, NicAttach, NicDetach, Resize, SnapshotCreate,
    SnapshotDelete, DiskSnapshot, DiskSnapshotLive, DiskSnapshotCancel, Shutdown, ShutdownHard, Delete,
];
/// For a VM that is suspended.
#[rustfmt::skip]
const SUSPENDED: &[Verb] = &[
    Resume, Resume, Resume, Stop, Migrate, SnapshotCreate, DiskSnapshot, Shutdown, Resched, DiskSnapshotLive,
];
/// For a VM whose operation failed.
#[rustfmt::skip]
const FAILED: &[Verb] = &[
    RecoverRetry, RecoverRetry, RecoverUndo, RecoverUndo, RecoverSuccess, RecoverFailure, DeleteRecreate, Delete, Resize,
];
/// For a VM that is `unknown`.
#[rustfmt::skip]
const UNKNOWN: &[Verb] = &[
    Resume, Boot, PoweroffHard, Undeploy, Migrate, Migrate, Migrate, Forget, Delete, ShutdownHard, Poweroff,
];
/// For a VM that is busy.
#[rustfmt::skip]
const BUSY: &[Verb] = &[
    PoweroffHard, ShutdownHard, UndeployHard, RebootHard, MigratePoweroffHard, Delete, DeleteRecreate, Forget, Boot, RecoverRetry,
    RecoverUndo, RecoverFailure, RecoverSuccess, Update, Verb::Schedule, Rename, DiskSnapshot, Resched,
];

/// The verbs that make sense in a state.
pub(crate) const fn sensible(state: State) -> &'static [Verb] {
    match state {
        State::Pending => &[Deploy, Deploy, Hold, Resize, Rename, Delete, Schedule],
        State::Hold => &[Release, Release, Deploy, Update, Forget],
        State::Running => RUNNING,
        State::Stopped | State::Undeployed => {
            &[Resume, Resume, Resume, Resume, Shutdown, Resize, Delete, DeleteRecreate]
        }
        State::Suspended => SUSPENDED,
        State::Poweroff => OFF,
        State::Failed => FAILED,
        State::Unknown => UNKNOWN,
        State::Done => &[Delete, Forget],
        _ => BUSY,
    }
}

impl Sim {
    /// The operator's turn.
    pub(crate) fn operate(&mut self) {
        let wait = Millis(self.rng.within(1, self.haste));
        self.queue.push(self.now.plus(wait), Event::World(Happening::Operator));
        if self.calm {
            return;
        }
        let alive: Vec<VmId> = self
            .store
            .rows
            .records
            .values()
            .filter(|record| record.state != State::Done)
            .map(|record| record.id)
            .collect();
        if self.up && alive.len() < self.population && self.rng.permille(250) {
            return if self.rng.permille(60) && !self.strict {
                self.adopt_one()
            } else {
                self.create_one()
            };
        }
        if alive.is_empty() || !self.up {
            return;
        }
        let vm = *self.rng.pick(&alive);
        let record = self.store.rows.records[&vm].clone();
        let busy = record.state.kind() == StateKind::Transient;
        if busy && self.rng.permille(600) {
            return;
        }
        let all: Vec<Verb> = Verb::iter().collect();
        let any = self.rng.permille(120);
        let verb = if any { *self.rng.pick(&all) } else { *self.rng.pick(sensible(record.state)) };
        if matches!(verb, Verb::Delete | Verb::Shutdown | Verb::ShutdownHard)
            && self.rng.permille(500)
        {
            return;
        }
        if verb == Verb::Forget && !self.may_forget(&record)
            || verb == Verb::RecoverSuccess && !self.has_succeeded(&record)
        {
            // The statement would not be true.
            return;
        }
        self.stats.requests += 1;
        let args = self.args(&record, verb);
        self.ask(&record, verb, args);
    }

    pub(crate) fn ask(&mut self, record: &VmRecord, verb: Verb, args: Args) {
        let hosts: Vec<HostId> = self.world.hosts.keys().copied().collect();
        let host = if self.rng.permille(950) { *self.rng.pick(&hosts) } else { HostId(99) };
        self.next_operation += 1;
        let enforce = self.strict || self.rng.permille(700);
        let if_version = match verb {
            // The statement is true only for the step that the record has now.
            Verb::RecoverSuccess => Some(record.version),
            _ => (!self.calm && self.rng.permille(20)).then(|| record.version.next()),
        };
        let asked = Request {
            operation: OperationId(self.next_operation),
            verb,
            by: "operator".to_owned(),
            args,
            host: Some(host).filter(|_| verb == Verb::Deploy || verb.is_migration()),
            enforce,
            force: false,
            if_version,
            schedule: None,
        };
        self.say(|| {
            format!("operator asks VM {}: {verb} {:?} {:?}", record.id, asked.host, asked.args)
        });
        self.deliver(record.id, Message::Request(asked, Asker::Operator));
    }

    /// True if no host of the VM can be reached.
    fn may_forget(&self, record: &VmRecord) -> bool {
        record.placement.iter().chain(&record.other).all(|place| !self.world.reaches(place.host))
    }

    /// Gives an asker the answer to a request.
    pub(crate) fn reply(&mut self, vm: VmId, asker: Asker, asked: &Request, reply: &Reply) {
        if asker == Asker::Scheduler {
            self.proposed.remove(&vm);
        }
        match (reply, asker) {
            (Reply::Accepted(answer), _) => {
                if let Some(operation) = answer.operation {
                    self.acked.insert(operation, vm);
                }
            }
            (Reply::Refused(_) | Reply::NoRoom(_) | Reply::Lost, _) => {}
        }
        let Some(schedule) = asked.schedule else { return };
        let refusal = match reply {
            Reply::Accepted(_) | Reply::Lost => None,
            Reply::Refused(refusal) => Some(refusal.clone()),
            Reply::NoRoom(claim) => {
                let cause = Cause::Claim(Box::new(ClaimRefused {
                    claim: claim.clone(),
                    lack: Lack::Missing,
                }));
                Some(Refusal {
                    kind: RefusalKind::NoCapacity,
                    verb: asked.verb,
                    vm,
                    cause,
                    hint: Hint::OtherHostOrRoom,
                })
            }
        };
        self.fired(vm, schedule, refusal);
    }

    /// Makes a statement of the operator true before it counts: the new host gets the files of the
    /// lost host too.
    pub(crate) fn files_are_moved(&mut self, vm: VmId, record: &VmRecord, asked: &Request) {
        let (Args::Migrate { storage_moved: true, .. }, Some(to)) = (&asked.args, asked.host)
        else {
            return;
        };
        let from = record.placement.as_ref().map(|place| place.host);
        let (Some(from), false) = (from, record.storage_is_shared()) else { return };
        let being = self.world.being(vm);
        if let Some(before) = being.brought.take().filter(|before| *before != to) {
            // That migration was never answered, so its files are removed again.
            being.folders.remove(&Site::Host(before));
        }
        if let Some(folder) = being.folders.get(&Site::Host(from)).cloned() {
            being.folders.insert(Site::Host(to), folder);
            being.brought = Some(to);
        }
    }

    /// Deletes all VMs that are not done, at the end of a run.
    pub(crate) fn delete_all(&mut self) {
        let rests = |record: &&std::rc::Rc<VmRecord>| {
            record.state != State::Done && record.operation.is_none()
        };
        let vms: Vec<VmId> =
            self.store.rows.records.values().filter(rests).map(|record| record.id).collect();
        for vm in vms {
            let record = self.store.rows.records[&vm].clone();
            self.ask(&record, Verb::Delete, Args::None);
        }
    }

    /// Removes all scheduled actions, so that the VMs can come to rest.
    pub(crate) fn unschedule_all(&mut self) {
        let mut planned: Vec<(VmId, ostler_model::ScheduleId)> = Vec::new();
        for record in self.store.rows.records.values().filter(|record| record.state != State::Done)
        {
            planned.extend(record.schedules.iter().map(|planned| (record.id, planned.id())));
        }
        for (vm, id) in planned {
            let record = self.store.rows.records[&vm].clone();
            self.ask(&record, Verb::Unschedule, Args::Schedule { id });
        }
    }
}
