//! Whether a request is accepted, already so, or refused; and the operation it begins.

use crate::draft::Draft;
use crate::recipe::{self, Plan};
use crate::sight::{Sight, sight};
use crate::{recover, step};
use ostler_model::{
    Ability, Active, Claim, Ended, Phase, PowerReason, Reason, Refusal, RefusalKind, Request, State, StateKind, StepKind, Strength,
    Verb,
};

/// What a state makes of a verb, before any fact is looked at. Printed into `docs/lifecycle.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// An operation begins.
    Begin,
    /// It is so already.
    Already,
    /// Not from here.
    Refuse,
    /// Begins only after a look that says it is off or absent (or paused on an error).
    BeginIfOff,
}

/// The table of rest states and verbs. Transient states always have an operation: see [`request`].
pub(crate) const fn admission(state: State, verb: Verb) -> Admission {
    use Admission::{Already, Begin, BeginIfOff, Refuse};
    match state {
        State::Pending => match verb {
            // A pending VM may have been stopped: then it has files and memory that recreate drops.
            Verb::Hold | Verb::Deploy | Verb::Delete | Verb::DeleteRecreate => Begin,
            Verb::Release | Verb::Resume => Already,
            Verb::Suspend | Verb::Stop | Verb::Poweroff | Verb::PoweroffHard | Verb::Undeploy | Verb::UndeployHard => Refuse,
            Verb::Shutdown | Verb::ShutdownHard | Verb::Reboot | Verb::RebootHard | Verb::Boot => Refuse,
            Verb::RecoverSuccess | Verb::RecoverFailure | Verb::RecoverRetry | Verb::RecoverUndo => Refuse,
        },
        State::Hold => match verb {
            Verb::Release | Verb::Deploy | Verb::Delete | Verb::DeleteRecreate => Begin,
            Verb::Hold => Already,
            Verb::Resume | Verb::Suspend | Verb::Stop | Verb::Poweroff | Verb::PoweroffHard | Verb::Undeploy => Refuse,
            Verb::UndeployHard | Verb::Shutdown | Verb::ShutdownHard | Verb::Reboot | Verb::RebootHard | Verb::Boot => Refuse,
            Verb::RecoverSuccess | Verb::RecoverFailure | Verb::RecoverRetry | Verb::RecoverUndo => Refuse,
        },
        State::Running => match verb {
            Verb::Suspend | Verb::Stop | Verb::Poweroff | Verb::PoweroffHard | Verb::Undeploy | Verb::UndeployHard => Begin,
            Verb::Shutdown | Verb::ShutdownHard | Verb::Reboot | Verb::RebootHard | Verb::Delete | Verb::DeleteRecreate => Begin,
            Verb::Deploy | Verb::Resume | Verb::Boot => Already,
            Verb::Hold | Verb::Release => Refuse,
            Verb::RecoverSuccess | Verb::RecoverFailure | Verb::RecoverRetry | Verb::RecoverUndo => Refuse,
        },
        State::Stopped => match verb {
            Verb::Resume | Verb::Shutdown | Verb::ShutdownHard | Verb::Delete | Verb::DeleteRecreate => Begin,
            Verb::Stop => Already,
            Verb::Hold | Verb::Release | Verb::Deploy | Verb::Suspend | Verb::Poweroff | Verb::PoweroffHard => Refuse,
            Verb::Undeploy | Verb::UndeployHard | Verb::Reboot | Verb::RebootHard | Verb::Boot => Refuse,
            Verb::RecoverSuccess | Verb::RecoverFailure | Verb::RecoverRetry | Verb::RecoverUndo => Refuse,
        },
        State::Suspended => match verb {
            Verb::Stop | Verb::Resume | Verb::Shutdown | Verb::ShutdownHard | Verb::Delete | Verb::DeleteRecreate => Begin,
            Verb::Suspend => Already,
            Verb::Hold | Verb::Release | Verb::Deploy | Verb::Poweroff | Verb::PoweroffHard | Verb::Undeploy => Refuse,
            Verb::UndeployHard | Verb::Reboot | Verb::RebootHard | Verb::Boot => Refuse,
            Verb::RecoverSuccess | Verb::RecoverFailure | Verb::RecoverRetry | Verb::RecoverUndo => Refuse,
        },
        State::Poweroff => match verb {
            Verb::Resume | Verb::Undeploy | Verb::UndeployHard | Verb::Shutdown | Verb::ShutdownHard => Begin,
            Verb::Delete | Verb::DeleteRecreate => Begin,
            Verb::Poweroff | Verb::PoweroffHard => Already,
            Verb::Hold | Verb::Release | Verb::Deploy | Verb::Suspend | Verb::Stop | Verb::Reboot | Verb::RebootHard => Refuse,
            Verb::Boot | Verb::RecoverSuccess | Verb::RecoverFailure | Verb::RecoverRetry | Verb::RecoverUndo => Refuse,
        },
        State::Undeployed => match verb {
            Verb::Resume | Verb::Shutdown | Verb::ShutdownHard | Verb::Delete | Verb::DeleteRecreate => Begin,
            Verb::Undeploy | Verb::UndeployHard => Already,
            Verb::Hold | Verb::Release | Verb::Deploy | Verb::Suspend | Verb::Stop | Verb::Poweroff => Refuse,
            Verb::PoweroffHard | Verb::Reboot | Verb::RebootHard | Verb::Boot => Refuse,
            Verb::RecoverSuccess | Verb::RecoverFailure | Verb::RecoverRetry | Verb::RecoverUndo => Refuse,
        },
        State::Failed => match verb {
            Verb::Delete | Verb::DeleteRecreate => Begin,
            Verb::RecoverSuccess | Verb::RecoverRetry | Verb::RecoverUndo => Begin,
            Verb::RecoverFailure => Already,
            Verb::Hold | Verb::Release | Verb::Deploy | Verb::Suspend | Verb::Stop | Verb::Resume | Verb::Poweroff => Refuse,
            Verb::PoweroffHard | Verb::Undeploy | Verb::UndeployHard | Verb::Shutdown | Verb::ShutdownHard => Refuse,
            Verb::Reboot | Verb::RebootHard | Verb::Boot => Refuse,
        },
        State::Unknown => match verb {
            Verb::Poweroff | Verb::PoweroffHard | Verb::Undeploy | Verb::UndeployHard | Verb::Shutdown | Verb::ShutdownHard => {
                Begin
            }
            Verb::Delete | Verb::DeleteRecreate => Begin,
            Verb::Resume | Verb::Boot => BeginIfOff,
            Verb::Hold | Verb::Release | Verb::Deploy | Verb::Suspend | Verb::Stop | Verb::Reboot | Verb::RebootHard => Refuse,
            Verb::RecoverSuccess | Verb::RecoverFailure | Verb::RecoverRetry | Verb::RecoverUndo => Refuse,
        },
        State::Done => match verb {
            Verb::Delete | Verb::Shutdown | Verb::ShutdownHard => Already,
            Verb::Hold | Verb::Release | Verb::Deploy | Verb::Suspend | Verb::Stop | Verb::Resume | Verb::Poweroff => Refuse,
            Verb::PoweroffHard | Verb::Undeploy | Verb::UndeployHard | Verb::Reboot | Verb::RebootHard => Refuse,
            Verb::DeleteRecreate | Verb::Boot => Refuse,
            Verb::RecoverSuccess | Verb::RecoverFailure | Verb::RecoverRetry | Verb::RecoverUndo => Refuse,
        },
        // These always have an operation, and `while_busy` decides.
        State::Prolog
        | State::Boot
        | State::Migrate
        | State::Hotplug
        | State::Snapshot
        | State::Save
        | State::Epilog
        | State::Shutdown => Refuse,
    }
}

/// The three answers to a request: accepted, already so, refused with a reason.
pub(crate) fn request(draft: &mut Draft<'_>, asked: &Request) -> Result<(), Refusal> {
    let record = &draft.record;
    if let Some(wanted) = asked.if_version
        && wanted != record.version
    {
        let detail = format!("VM {} has version {}, not {wanted}", record.id, record.version);
        return Err(draft.refuse(asked.verb, RefusalKind::VersionMismatch, detail, "read it again and decide anew"));
    }
    if recover::is_recovery(asked.verb) {
        return recover::request(draft, asked);
    }
    if record.operation.is_some() {
        return while_busy(draft, asked);
    }
    match admission(record.state, asked.verb) {
        Admission::Already => {
            draft.already(None);
            Ok(())
        }
        Admission::Refuse => Err(wrong_state(draft, asked.verb)),
        Admission::BeginIfOff => {
            let plan = plan_if_off(draft, asked.verb)?;
            start(draft, asked, plan, None);
            Ok(())
        }
        Admission::Begin => begin(draft, asked),
    }
}

/// Pre-emption: graceful < hard < delete. One slot; the stronger verb takes it, whatever is in flight is told to stop.
fn while_busy(draft: &mut Draft<'_>, asked: &Request) -> Result<(), Refusal> {
    let Some(active) = draft.record.operation.clone() else { return Ok(()) };
    let verb = asked.verb;
    if active.verb == verb {
        draft.already(Some(active.id));
        return Ok(());
    }
    // A boot that hangs is sent again, under the operation that hangs.
    let starts = matches!(active.kind(), Some(StepKind::Boot | StepKind::Restore | StepKind::Unpause));
    if verb == Verb::Boot && starts && !active.undoing {
        draft.accept(Some(active.id), None);
        step::state(draft, ostler_model::Stated::Retry);
        return Ok(());
    }
    let overtakes = match verb.strength() {
        Strength::Delete => active.verb.strength() != Strength::Delete || verb == Verb::Delete,
        Strength::Hard => active.verb.strength() == Strength::Graceful && asks_guest(&active),
        Strength::Graceful | Strength::Plain => false,
    };
    if overtakes {
        return overtake(draft, asked, &active);
    }
    if let (Some(graceful), true) = (graceful_of(verb), active.verb.strength() == Strength::Graceful)
        && graceful == active.verb
    {
        // The guest is off already; what is left to do is the same.
        draft.already(Some(active.id));
        return Ok(());
    }
    let detail = format!("VM {} is busy: operation {} ({}) holds its one slot", draft.record.id, active.id, active.verb);
    let hint = match active.verb.strength() {
        Strength::Graceful if asks_guest(&active) => "wait for it, or overtake it with a --hard verb or delete",
        Strength::Graceful | Strength::Plain | Strength::Hard => "wait for it, or overtake it with delete",
        Strength::Delete => "wait for it: a delete is never overtaken",
    };
    Err(draft.refuse(verb, RefusalKind::Busy, detail, hint))
}

/// Whether the operation still waits for the guest to do something.
fn asks_guest(active: &Active) -> bool {
    matches!(active.kind(), Some(StepKind::PressPower | StepKind::Reboot))
}

const fn graceful_of(verb: Verb) -> Option<Verb> {
    match verb {
        Verb::PoweroffHard => Some(Verb::Poweroff),
        Verb::UndeployHard => Some(Verb::Undeploy),
        Verb::ShutdownHard => Some(Verb::Shutdown),
        Verb::RebootHard => Some(Verb::Reboot),
        Verb::Hold
        | Verb::Release
        | Verb::Deploy
        | Verb::Suspend
        | Verb::Stop
        | Verb::Resume
        | Verb::Poweroff
        | Verb::Undeploy
        | Verb::Shutdown
        | Verb::Reboot
        | Verb::Delete
        | Verb::DeleteRecreate
        | Verb::Boot
        | Verb::RecoverSuccess
        | Verb::RecoverFailure
        | Verb::RecoverRetry
        | Verb::RecoverUndo => None,
    }
}

fn overtake(draft: &mut Draft<'_>, asked: &Request, weaker: &Active) -> Result<(), Refusal> {
    draft.cancel_open();
    let mut plan = plan(draft, asked.verb)?;
    if !draft.record.open.is_empty() && draft.record.placement.is_some() {
        // A destroy may run beside what is in flight; once that has returned, a second one, or the removal of the domain,
        // makes sure that a late start did not revive it.
        match (plan.first(), plan.get(1)) {
            (Some(StepKind::PowerOff), Some(StepKind::Remove)) => {}
            (Some(StepKind::PowerOff | StepKind::Remove), _) => plan.insert(0, StepKind::PowerOff),
            (Some(_) | None, _) => {}
        }
    }
    draft.end_operation(weaker.id, Ended::Superseded { by: asked.operation });
    start(draft, asked, plan, Some(weaker.id));
    Ok(())
}

fn begin(draft: &mut Draft<'_>, asked: &Request) -> Result<(), Refusal> {
    check_abilities(draft, asked.verb)?;
    if asked.verb == Verb::Deploy {
        return deploy(draft, asked);
    }
    let plan = plan(draft, asked.verb)?;
    start(draft, asked, plan, None);
    Ok(())
}

/// The steps of every verb that needs no facts.
fn plan(draft: &Draft<'_>, verb: Verb) -> Result<Plan, Refusal> {
    let record = &draft.record;
    let off = matches!(record.state, State::Suspended | State::Poweroff);
    let away = matches!(record.state, State::Stopped | State::Undeployed);
    let paused_outside = record.state == State::Suspended && record.usable_recovery().is_none();
    Ok(match verb {
        Verb::Hold | Verb::Release => vec![],
        Verb::Resume if away => vec![],
        Verb::Resume if paused_outside => vec![StepKind::Unpause],
        Verb::Resume | Verb::Boot => recipe::start(record),
        Verb::Suspend => vec![StepKind::Save],
        Verb::Stop if off && !paused_outside => recipe::bring_back(record),
        Verb::Stop => prepend(&[StepKind::Save], recipe::bring_back(record)),
        Verb::Poweroff => vec![StepKind::PressPower],
        Verb::PoweroffHard => vec![StepKind::PowerOff],
        Verb::Undeploy | Verb::UndeployHard if off => recipe::bring_back(record),
        Verb::Undeploy => prepend(&[StepKind::PressPower], recipe::bring_back(record)),
        Verb::UndeployHard => prepend(&[StepKind::PowerOff], recipe::bring_back(record)),
        Verb::Shutdown | Verb::ShutdownHard if off || away => recipe::clean(record),
        Verb::Shutdown => prepend(&[StepKind::PressPower], recipe::clean(record)),
        Verb::ShutdownHard => prepend(&[StepKind::PowerOff], recipe::clean(record)),
        Verb::Reboot => vec![StepKind::Reboot],
        Verb::RebootHard => vec![StepKind::Reset],
        Verb::Delete | Verb::DeleteRecreate => recipe::clean(record),
        Verb::Deploy | Verb::RecoverSuccess | Verb::RecoverFailure | Verb::RecoverRetry | Verb::RecoverUndo => {
            return Err(wrong_state(draft, verb));
        }
    })
}

fn prepend(first: &[StepKind], rest: Plan) -> Plan {
    first.iter().copied().chain(rest).collect()
}

/// From unknown, a VM is started again only after a fresh look says that it is off, because the one thing worse than a VM
/// that does not run is one that runs twice.
fn plan_if_off(draft: &mut Draft<'_>, verb: Verb) -> Result<Plan, Refusal> {
    let id = draft.record.id;
    let seen = match &draft.facts.look {
        Some(Ok(seen)) => sight(&draft.record, draft.facts.store, seen),
        Some(Err(error)) => {
            let detail = format!("VM {id}: its host could not be asked ({error}); {verb} needs to see that it is off");
            return Err(draft.refuse(verb, RefusalKind::CannotAsk, detail, "bring the host back, or fence it"));
        }
        None => {
            let detail = format!("VM {id}: nobody looked at its host; {verb} needs to see that it is off");
            return Err(draft.refuse(verb, RefusalKind::CannotAsk, detail, "ask again"));
        }
    };
    match seen {
        Sight::Off(_) | Sight::Absent | Sight::OlderOff => Ok(recipe::start(&draft.record)),
        Sight::Paused(PowerReason::IoError | PowerReason::Watchdog | PowerReason::Person | PowerReason::None) => {
            Ok(vec![StepKind::Unpause])
        }
        Sight::Paused(_) | Sight::Running | Sight::Crashed | Sight::Foreign | Sight::AboveIssued | Sight::OlderAlive => {
            let detail = format!("VM {id} is {} at its host; {verb} needs it off", seen.words());
            Err(draft.refuse(
                verb,
                RefusalKind::NotAbsent,
                detail,
                "switch it off first (poweroff --hard), or wait until it is seen again",
            ))
        }
    }
}

fn deploy(draft: &mut Draft<'_>, asked: &Request) -> Result<(), Refusal> {
    let Some(target) = draft.facts.target.clone() else {
        let detail = format!("VM {}: no host to deploy it to", draft.record.id);
        return Err(draft.refuse(asked.verb, RefusalKind::NoHost, detail, "name a host that is on, or leave it to the scheduler"));
    };
    let record = &mut draft.record;
    record.issued = record.issued.next();
    let storage = record.storage.get_or_insert(target.storage).clone();
    record.placement =
        Some(ostler_model::Placement { host: target.host, driver: target.driver, generation: record.issued, since: draft.now });
    if storage.shared && record.files.home {
        // The same files are seen from every host: they only change hands.
        record.files = ostler_model::FilesAt { host: true, home: false };
    }
    let images: Vec<Claim> = record.images_held().map(|image| Claim::Image { image }).collect();
    let plan = match (record.files.host, record.files.home) {
        (true, false) => recipe::start(record),
        (_, _) => recipe::deploy(record, storage.shared),
    };
    draft.history_begin(target.host);
    draft.claims.push(Claim::Capacity { host: target.host, enforce: asked.enforce });
    if plan.contains(&StepKind::PrepareDisks) {
        draft.claims.extend(images);
    }
    start(draft, asked, plan, None);
    Ok(())
}

fn check_abilities(draft: &Draft<'_>, verb: Verb) -> Result<(), Refusal> {
    let needed = match verb {
        Verb::Suspend => Some(Ability::Suspend),
        // Saved memory is only moved; a running or paused guest must be saved first.
        Verb::Stop if draft.record.usable_recovery().is_none() => Some(Ability::Suspend),
        Verb::Reboot | Verb::RebootHard => Some(Ability::Reboot),
        Verb::Hold
        | Verb::Release
        | Verb::Deploy
        | Verb::Stop
        | Verb::Resume
        | Verb::Poweroff
        | Verb::PoweroffHard
        | Verb::Undeploy
        | Verb::UndeployHard
        | Verb::Shutdown
        | Verb::ShutdownHard
        | Verb::Delete
        | Verb::DeleteRecreate
        | Verb::Boot
        | Verb::RecoverSuccess
        | Verb::RecoverFailure
        | Verb::RecoverRetry
        | Verb::RecoverUndo => None,
    };
    match (needed, &draft.facts.abilities) {
        (Some(needed), Some(able)) if !able.contains(&needed) => {
            let detail = format!("VM {}: its driver cannot {needed} on its host", draft.record.id);
            Err(draft.refuse(verb, RefusalKind::NotAble, detail, "see `ostler host show` for what the driver can do there"))
        }
        (Some(_), Some(_) | None) | (None, _) => Ok(()),
    }
}

/// Gives the slot to the operation and begins its first step. An empty plan ends at once.
pub(crate) fn start(draft: &mut Draft<'_>, asked: &Request, plan: Plan, overtook: Option<ostler_model::OperationId>) {
    let active = Active {
        id: asked.operation,
        verb: asked.verb,
        origin: origin(draft),
        plan,
        at: 0,
        step: draft.record.step,
        pending: Vec::new(),
        phase: Phase::Draining,
        attempt: 0,
        blind: 0,
        crashes: 0,
        sent: None,
        deadline: None,
        undoing: false,
        stated: None,
        error: None,
    };
    draft.occupy(active, &asked.by, asked.verb);
    if asked.verb == Verb::Resume && matches!(draft.record.state, State::Stopped | State::Undeployed) {
        // Needs no host to be asked: the scheduler deploys it like any pending VM.
        draft.end_operation(asked.operation, Ended::Succeeded);
        draft.set_state(State::Pending, Reason::Asked);
    } else {
        step::begin(draft);
    }
    draft.accept(Some(asked.operation), overtook);
}

/// The state an operation began in: for one that overtakes another, the one that other began in.
fn origin(draft: &Draft<'_>) -> State {
    match (&draft.before.operation, draft.before.state.kind()) {
        (Some(weaker), _) => weaker.origin,
        (None, StateKind::Rest | StateKind::Transient | StateKind::End) => draft.before.state,
    }
}

fn wrong_state(draft: &Draft<'_>, verb: Verb) -> Refusal {
    let state = draft.record.state;
    let from: Vec<String> = {
        use strum::IntoEnumIterator;
        State::iter()
            .filter(|from| matches!(admission(*from, verb), Admission::Begin | Admission::BeginIfOff))
            .map(|s| s.to_string())
            .collect()
    };
    let hint = if state == State::Done {
        "a VM that is done stays done; create a new one".to_owned()
    } else {
        format!("{verb} works from: {}", from.join(", "))
    };
    draft.refuse(
        verb,
        RefusalKind::WrongState,
        format!("VM {} is {state}; {verb} is not possible from there", draft.record.id),
        hint,
    )
}
