//! Whether a request is accepted, is already fulfilled, or is refused; and the operation that it
//! begins.

use crate::admission::{Admission, admission, needs_off};
use crate::domain_status::{DomainStatus, status};
use crate::draft::{Draft, Next};
use crate::recipe::{self, Plan};
use crate::refusals::wrong_state;
use crate::{
    abilities, advice, destroys, edit, hardware, migrate, placement, plan, recover, restored,
    schedules, slot, snapshots, step,
};
use ostler_model::{
    Active, Args, Ask, Cause, Ended, Fault, Hint, OperationId, PowerReason, Reason, Refusal,
    RefusalKind, Request, State, StateKind, Stated, StepKind, Strength, Subject, Verb,
};

/// The three answers to a request: accepted, already so, refused with a reason.
pub(crate) fn request(draft: &mut Draft<'_>, asked: &Request) -> Result<(), Refusal> {
    schedules::understood(draft, asked)?;
    answer(draft, asked)?;
    schedules::begun(draft, asked);
    Ok(())
}

fn answer(draft: &mut Draft<'_>, asked: &Request) -> Result<(), Refusal> {
    let record = &draft.record;
    if let Some(wanted) = asked.if_version
        && wanted != record.version
    {
        let cause = Cause::Version { has: record.version, wanted };
        return Err(draft.refuse(asked.verb, RefusalKind::VersionMismatch, cause, Hint::ReadAgain));
    }
    restored::gate(draft, asked)?;
    if let Some(stated) = recover::statement(asked.verb) {
        return recover::request(draft, asked, stated);
    }
    if asked.verb == Verb::ResumeCold && record.state == State::Failed {
        return recover::without_memory(draft, asked);
    }
    if !edit::goes_beside(asked.verb)
        && let Some(active) = draft.record.operation.take()
    {
        draft.record.operation = while_busy(draft, asked, active)?;
        return Ok(());
    }
    apart(draft, asked)?;
    let record = &draft.record;
    if asked.verb == Verb::Hold
        && (record.state, record.reason) == (State::Hold, Reason::StoreIsStale)
    {
        // A restore of the store has put the VM on hold for a time. This request makes the hold
        // last.
        draft.set_state(State::Hold, Reason::Asked);
        slot::instant(draft, asked);
        draft.accept(Some(asked.operation), None);
        return Ok(());
    }
    match admission(resting(draft), asked.verb) {
        Admission::Already => {
            draft.already(None);
            Ok(())
        }
        Admission::Refuse => Err(wrong_state(draft, asked.verb)),
        Admission::BeginIfOff => {
            let plan = plan_if_off(draft, asked.verb)?;
            draft.record.operation = start(draft, asked, plan, Subject::Vm, None);
            Ok(())
        }
        Admission::Begin => begin(draft, asked),
    }
}

/// The state of rest by which a request is judged. For a request that runs beside an operation, it
/// is the state in which that operation began.
fn resting(draft: &Draft<'_>) -> State {
    match &draft.record.operation {
        Some(active) if draft.record.state.kind() == StateKind::Transient => active.origin,
        Some(_) | None => draft.record.state,
    }
}

/// While it is not known at which host of a migration the guest is, only verbs that delete the VM,
/// forget it or change its record are accepted.
fn apart(draft: &Draft<'_>, asked: &Request) -> Result<(), Refusal> {
    let ends = matches!(asked.verb.strength(), Strength::Delete | Strength::Forget);
    if draft.record.operation.is_some()
        || draft.record.moving.is_none()
        || ends
        || edit::goes_beside(asked.verb)
    {
        return Ok(());
    }
    Err(draft.refuse(
        asked.verb,
        RefusalKind::CannotAsk,
        Cause::AtOneOfTwoHosts,
        Hint::WaitOrDeleteBoth,
    ))
}

/// A VM has one slot, and a stronger verb takes it over: graceful < hard < delete < forget. Calls
/// in flight are told to stop.
fn while_busy(draft: &mut Draft<'_>, asked: &Request, active: Active) -> Result<Next, Refusal> {
    let verb = asked.verb;
    if active.verb == verb && !active.undoing && is_the_same(draft, asked, &active) {
        draft.already(Some(active.id));
        return Ok(Some(active));
    }
    // `boot` sends a start that hangs again, within the same operation.
    let starts =
        matches!(active.kind(), Some(StepKind::Boot | StepKind::Restore | StepKind::Unpause));
    if verb == Verb::Boot && starts && !active.undoing {
        draft.accept(Some(active.id), None);
        return Ok(step::state(draft, active, Stated::Retry));
    }
    let overtakes = match verb.strength() {
        Strength::Forget => true,
        Strength::Delete => {
            active.verb.strength() < Strength::Delete
                || verb == Verb::Delete && active.verb != Verb::Forget
        }
        Strength::Hard => active.verb.strength() == Strength::Graceful && asks_guest(&active),
        Strength::Graceful | Strength::Plain => false,
    };
    if overtakes {
        return overtake(draft, asked, active);
    }
    if verb.graceful() == Some(active.verb) {
        // The guest is already off. The rest of the operation is the same for both verbs.
        draft.already(Some(active.id));
        return Ok(Some(active));
    }
    let hint = match active.verb.strength() {
        Strength::Graceful if asks_guest(&active) => Hint::WaitOrHard,
        Strength::Graceful | Strength::Plain | Strength::Hard => Hint::WaitOrDelete,
        Strength::Delete => Hint::WaitOrForget,
        Strength::Forget => Hint::Wait,
    };
    let cause = Cause::Busy { operation: active.id, doing: active.verb };
    Err(draft.refuse(verb, RefusalKind::Busy, cause, hint))
}

/// Whether an operation of the same verb already does what is asked: with the same disk, card or
/// snapshot, to the same host.
fn is_the_same(draft: &Draft<'_>, asked: &Request, active: &Active) -> bool {
    let record = &draft.record;
    let place = if asked.verb.is_migration() { record.other() } else { record.placement.as_ref() };
    let to_host = || asked.host.is_none() || place.map(|place| place.host) == asked.host;
    match (&asked.args, &active.subject) {
        (Args::None | Args::Migrate { .. }, Subject::Vm) => {
            !(asked.verb.is_migration() || asked.verb == Verb::Deploy) || to_host()
        }
        (Args::Disk { name }, Subject::Disk { name: at_it }) => name == at_it,
        (Args::Nic { mac }, Subject::Nic { mac: at_it }) => mac == at_it,
        (Args::Snapshot { name }, Subject::Snapshot { name: at_it }) => {
            record.snapshot(name).is_some_and(|snapshot| snapshot.name == *at_it)
        }
        // A verb that makes something makes another one each time.
        (_, _) => false,
    }
}

/// Whether the operation still waits for the guest to do something.
fn asks_guest(active: &Active) -> bool {
    matches!(active.kind(), Some(StepKind::PressPower | StepKind::Reboot))
}

fn overtake(draft: &mut Draft<'_>, asked: &Request, weaker: Active) -> Result<Next, Refusal> {
    if asked.verb == Verb::Forget {
        edit::may_forget(draft, asked)?;
    }
    if asked.verb.strength() == Strength::Hard {
        // A migration that is still asking the guest has put nothing on the other host yet.
        draft.part_from_other();
    }
    if asked.verb.is_migration() {
        migrate::prepare(draft, asked)?;
    }
    adopted_stays(draft, asked.verb)?;
    draft.cancel_open();
    let mut plan = plan_of(draft, asked.verb)?;
    if !draft.record.open.is_empty() && draft.record.placement.is_some() {
        // A destroy may run beside the calls in flight. After they have returned, a second destroy,
        // or the removal of the domain, makes sure that a late start did not revive the domain.
        match (plan.first(), plan.get(1)) {
            (Some(StepKind::PowerOff), Some(StepKind::Remove)) => {}
            (Some(StepKind::PowerOff | StepKind::Remove), _) => plan.insert(0, StepKind::PowerOff),
            (Some(_) | None, _) => {}
        }
    }
    let overtook = weaker.id;
    slot::end(draft, weaker, Ended::Superseded { by: asked.operation });
    Ok(start(draft, asked, plan, Subject::Vm, Some(overtook)))
}

fn begin(draft: &mut Draft<'_>, asked: &Request) -> Result<(), Refusal> {
    check_abilities(draft, asked.verb)?;
    can_answer(draft, asked.verb)?;
    snapshots::usable(draft, asked)?;
    advice::allowed(draft, asked)?;
    still_off(draft, asked.verb)?;
    adopted_stays(draft, asked.verb)?;
    let verb = asked.verb;
    if verb == Verb::Deploy {
        return deploy(draft, asked);
    }
    if edit::goes_beside(verb) || verb == Verb::Resize && draft.record.state != State::Running {
        return edit::apply(draft, asked);
    }
    if verb == Verb::Forget {
        edit::may_forget(draft, asked)?;
    }
    let lost = verb.is_migration() && migrate::prepare(draft, asked)?;
    let subject = if verb.is_hotplug() || verb.is_snapshot() {
        hardware::prepare(draft, asked)?
    } else {
        Subject::Vm
    };
    let plan = if lost { migrate::from_lost(&draft.record) } else { plan_of(draft, asked.verb)? };
    draft.record.operation = start(draft, asked, plan, subject, None);
    Ok(())
}

/// Refuses to press the power button of a guest that has crashed, or that is paused because of an
/// error: it cannot answer.
fn can_answer(draft: &Draft<'_>, verb: Verb) -> Result<(), Refusal> {
    let record = &draft.record;
    if record.state != State::Unknown || verb.strength() != Strength::Graceful {
        return Ok(());
    }
    let hint = match record.reason.fault() {
        Some(Fault::Crashed) => Hint::HardOff,
        Some(Fault::StandsStill) => Hint::ResumeOrHardOff,
        Some(Fault::NotOurs) | None => return Ok(()),
    };
    Err(draft.refuse(
        verb,
        RefusalKind::WrongState,
        Cause::GuestCannotAnswer { reason: record.reason },
        hint,
    ))
}

/// Refuses `verb` if the record says that the VM is off, but a look shows it alive. Somebody has
/// started it outside Ostler: its disks are in use, and its saved memory is too old for them. A
/// person who asks for anything but its end does not know that.
fn still_off(draft: &Draft<'_>, verb: Verb) -> Result<(), Refusal> {
    let record = &draft.record;
    if verb == Verb::DiskSnapshotLive
        && record.state == State::Suspended
        && record.usable_recovery().is_none()
    {
        return Err(draft.refuse(
            verb,
            RefusalKind::WrongState,
            Cause::PausedWithDisks,
            Hint::ResumeFirst,
        ));
    }
    if !needs_off(record, verb) {
        return Ok(());
    }
    match &draft.facts.look {
        Some(Ok(seen)) => {
            let seen = status(record, draft.facts.store, seen);
            if matches!(seen, DomainStatus::Off(_) | DomainStatus::Absent | DomainStatus::OlderOff)
            {
                return Ok(());
            }
            Err(draft.refuse(
                verb,
                RefusalKind::NotAbsent,
                Cause::NotOff { seen: seen.shown() },
                Hint::WaitUntilSeen,
            ))
        }
        // This verb touches the VM's files without another look.
        Some(Err(error)) if verb.is_hotplug() => {
            let cause = Cause::OffUnseen { error: Some(error.clone()) };
            Err(draft.refuse(verb, RefusalKind::CannotAsk, cause, Hint::BringHostBack))
        }
        Some(Err(_)) | None => Ok(()),
    }
}

/// Refuses a verb that would take the VM away from an adopted disk. The disk stays where it is: it
/// is not in the VM's folder, and other hosts do not see it.
fn adopted_stays(draft: &Draft<'_>, verb: Verb) -> Result<(), Refusal> {
    let record = &draft.record;
    // A VM that is recreated is placed on any host.
    let recreated = verb == Verb::DeleteRecreate;
    let leaves = matches!(verb, Verb::Stop | Verb::Undeploy | Verb::UndeployHard)
        || recreated
        || verb.is_migration();
    match record.disks.iter().find(|disk| disk.adopted.is_some()) {
        Some(disk) if leaves && !record.storage_is_shared() => {
            let cause = Cause::AdoptedDisk { disk: disk.name.clone() };
            let instead = if recreated { Hint::RestartOrDelete } else { Hint::KeepOnHost };
            Err(draft.refuse(verb, RefusalKind::NotAble, cause, instead))
        }
        Some(_) | None => Ok(()),
    }
}

fn plan_of(draft: &Draft<'_>, verb: Verb) -> Result<Plan, Refusal> {
    plan::plan(&draft.record, verb).ok_or_else(|| wrong_state(draft, verb))
}

/// A VM in `unknown` is started again only after a fresh look says that it is off, because to run
/// twice is worse than not to run. A VM that is paused by an error, by a person or without a reason
/// is unpaused instead.
fn plan_if_off(draft: &mut Draft<'_>, verb: Verb) -> Result<Plan, Refusal> {
    let seen = match &draft.facts.look {
        Some(Ok(seen)) => status(&draft.record, draft.facts.store, seen),
        Some(Err(error)) => {
            let cause = Cause::OffUnseen { error: Some(error.clone()) };
            return Err(draft.refuse(verb, RefusalKind::CannotAsk, cause, Hint::BringBackOrFence));
        }
        None => {
            return Err(draft.refuse(
                verb,
                RefusalKind::CannotAsk,
                Cause::OffUnseen { error: None },
                Hint::AskAgain,
            ));
        }
    };
    match seen {
        DomainStatus::Off(_) | DomainStatus::Absent | DomainStatus::OlderOff => {
            draft.saved_after_all(seen);
            Ok(recipe::start(&draft.record))
        }
        DomainStatus::Paused(
            PowerReason::IoError | PowerReason::Watchdog | PowerReason::Person | PowerReason::None,
        ) => Ok(vec![StepKind::Unpause]),
        DomainStatus::Paused(_)
        | DomainStatus::Running
        | DomainStatus::Crashed
        | DomainStatus::Foreign
        | DomainStatus::AboveIssued
        | DomainStatus::OlderAlive => Err(draft.refuse(
            verb,
            RefusalKind::NotAbsent,
            Cause::NotOff { seen: seen.shown() },
            Hint::PowerOffFirst,
        )),
    }
}

fn deploy(draft: &mut Draft<'_>, asked: &Request) -> Result<(), Refusal> {
    let target = placement::target(draft, asked)?;
    let record = &mut draft.record;
    record.issued = record.issued.next();
    let storage = record.storage.get_or_insert(target.storage).clone();
    record.placement = Some(ostler_model::Placement {
        host: target.host,
        driver: target.driver,
        generation: record.issued,
        since: draft.now,
    });
    if storage.shared && record.files.home {
        // Every host sees the same files. They are not copied, and the host has them now.
        record.files = ostler_model::FilesAt { host: true, home: false };
    }
    let images: Vec<Ask> = record.images_held().map(Ask::image).collect();
    let plan = match (record.files.host, record.files.home) {
        (true, false) => recipe::start(record),
        (_, _) => recipe::deploy(record, storage.shared),
    };
    let generation = draft.record.issued;
    draft.history_begin(target.host, asked.verb, generation);
    draft.asks.push(Ask::room(target.host, asked.enforce));
    if plan.contains(&StepKind::PrepareDisks) {
        draft.asks.extend(images);
    }
    draft.record.operation = start(draft, asked, plan, Subject::Vm, None);
    Ok(())
}

fn check_abilities(draft: &Draft<'_>, verb: Verb) -> Result<(), Refusal> {
    match (abilities::needed(&draft.record, verb), &draft.facts.abilities) {
        (Some(needed), Some(able)) if !able.contains(&needed) => Err(draft.refuse(
            verb,
            RefusalKind::NotAble,
            Cause::NotOffered { ability: needed },
            Hint::ShowHost,
        )),
        (Some(_), Some(_) | None) | (None, _) => Ok(()),
    }
}

/// Begins the operation and its first step. An empty plan ends at once. Returns the operation if it
/// goes on.
pub(crate) fn start(
    draft: &mut Draft<'_>,
    asked: &Request,
    plan: Plan,
    subject: Subject,
    overtook: Option<OperationId>,
) -> Next {
    let plan = advice::apply(draft, asked.verb, &subject, plan);
    let destroys = destroys::told(draft, asked.verb, &subject);
    let origin = origin(draft, &plan);
    let active = slot::fresh(asked, origin, plan, subject, draft.record.step);
    slot::begin(draft, &active, &asked.by, asked.verb, destroys.clone());
    if asked.verb == Verb::Forget {
        edit::forget(draft);
    }
    let next = if asked.verb == Verb::Resume
        && matches!(draft.record.state, State::Stopped | State::Undeployed)
    {
        // No host needs to be asked: the scheduler deploys the VM like any pending VM.
        slot::end(draft, active, Ended::Succeeded);
        draft.set_state(State::Pending, Reason::Asked);
        None
    } else {
        step::begin(draft, active)
    };
    draft.accept(Some(asked.operation), overtook);
    draft.destroys(destroys);
    next
}

/// The state in which an operation began. An operation that overtakes another takes over the state
/// in which the other one began.
fn origin(draft: &Draft<'_>, plan: &Plan) -> State {
    match (&draft.before.operation, draft.before.state.kind()) {
        (Some(weaker), _) => weaker.origin,
        // A VM that was off on a host that cannot be seen any more.
        (None, _) if plan.as_slice() == [StepKind::Switch] => {
            migrate::at_rest(draft.record.usable_recovery().is_some())
        }
        (None, StateKind::Rest | StateKind::Transient | StateKind::End) => draft.before.state,
    }
}
