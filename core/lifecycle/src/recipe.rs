//! Which steps an operation takes, where it ends, and what failure leads to. Data in the form of total functions.

use ostler_model::{State, StepKind, Verb, VmRecord};

/// The steps of an operation.
pub type Plan = Vec<StepKind>;

/// What the failure of a step leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnFailure {
    /// The VM rests where a fresh look finds it.
    Settle,
    /// What went before is rolled back, then as [`OnFailure::Settle`].
    Undo,
    /// The VM rests in failed; the record says what would carry it on.
    Fail,
    /// It is tried again, for ever.
    Insist,
}

/// Where an operation that succeeded leaves the VM.
#[must_use]
pub const fn ends(verb: Verb) -> State {
    match verb {
        Verb::Hold => State::Hold,
        Verb::Release | Verb::DeleteRecreate => State::Pending,
        Verb::Deploy | Verb::Resume | Verb::Boot | Verb::Reboot | Verb::RebootHard => State::Running,
        Verb::Suspend => State::Suspended,
        Verb::Stop => State::Stopped,
        Verb::Poweroff | Verb::PoweroffHard => State::Poweroff,
        Verb::Undeploy | Verb::UndeployHard => State::Undeployed,
        Verb::Shutdown | Verb::ShutdownHard | Verb::Delete => State::Done,
        // Recovery carries another operation on and ends where that one does; these are never looked up.
        Verb::RecoverSuccess | Verb::RecoverFailure | Verb::RecoverRetry | Verb::RecoverUndo => State::Failed,
    }
}

/// The state a VM shows during `step` of `verb`.
#[must_use]
pub const fn shown(verb: Verb, step: StepKind) -> State {
    match step {
        // A deploy clears the front end once the host has the files; every other verb, because the VM ends or goes back.
        StepKind::DropHome if !matches!(verb, Verb::Deploy) => State::Epilog,
        StepKind::DropHome
        | StepKind::PrepareDisks
        | StepKind::CopyIn
        | StepKind::Boot
        | StepKind::Restore
        | StepKind::Unpause
        | StepKind::DropRecovery
        | StepKind::PressPower
        | StepKind::PowerOff
        | StepKind::Save
        | StepKind::Remove
        | StepKind::CopyOut
        | StepKind::DropHost
        | StepKind::Reboot
        | StepKind::Reset => step.state(),
    }
}

/// What the failure of `step` in `verb` leads to.
#[must_use]
pub const fn on_failure(verb: Verb, step: StepKind) -> OnFailure {
    match verb {
        Verb::Delete | Verb::DeleteRecreate => OnFailure::Insist,
        Verb::Deploy | Verb::Resume | Verb::Boot => match step {
            // The memory counts as used, and what is in the domain is the only copy: neither restored again nor removed.
            // And once the guest runs, an old recovery file is removed with the VM's folder at the latest.
            StepKind::Unpause | StepKind::DropRecovery => OnFailure::Settle,
            StepKind::PrepareDisks
            | StepKind::CopyIn
            | StepKind::DropHome
            | StepKind::Boot
            | StepKind::Restore
            | StepKind::PressPower
            | StepKind::PowerOff
            | StepKind::Save
            | StepKind::Remove
            | StepKind::CopyOut
            | StepKind::DropHost
            | StepKind::Reboot
            | StepKind::Reset => start_failed(verb),
        },
        Verb::Suspend
        | Verb::Stop
        | Verb::Poweroff
        | Verb::PoweroffHard
        | Verb::Undeploy
        | Verb::UndeployHard
        | Verb::Shutdown
        | Verb::ShutdownHard
        | Verb::Reboot
        | Verb::RebootHard => match step {
            StepKind::Remove | StepKind::CopyOut | StepKind::DropHost | StepKind::DropHome => OnFailure::Fail,
            StepKind::PrepareDisks
            | StepKind::CopyIn
            | StepKind::Boot
            | StepKind::Restore
            | StepKind::Unpause
            | StepKind::DropRecovery
            | StepKind::PressPower
            | StepKind::PowerOff
            | StepKind::Save
            | StepKind::Reboot
            | StepKind::Reset => OnFailure::Settle,
        },
        Verb::Hold | Verb::Release | Verb::RecoverSuccess | Verb::RecoverFailure | Verb::RecoverRetry | Verb::RecoverUndo => {
            OnFailure::Settle
        }
    }
}

/// A VM that had no place keeps the one it got, so that a retry is possible; one that had, goes back to where it was.
const fn start_failed(verb: Verb) -> OnFailure {
    if matches!(verb, Verb::Deploy) { OnFailure::Fail } else { OnFailure::Undo }
}

/// The step that takes back what `step` did, if that can be taken back.
#[must_use]
pub const fn undo(step: StepKind) -> Option<StepKind> {
    match step {
        StepKind::PrepareDisks | StepKind::CopyIn => Some(StepKind::DropHost),
        StepKind::DropHome => Some(StepKind::CopyOut),
        StepKind::Boot | StepKind::Restore | StepKind::Unpause => Some(StepKind::Remove),
        StepKind::CopyOut => Some(StepKind::DropHome),
        StepKind::DropHost => Some(StepKind::CopyIn),
        StepKind::DropRecovery
        | StepKind::PressPower
        | StepKind::PowerOff
        | StepKind::Save
        | StepKind::Remove
        | StepKind::Reboot
        | StepKind::Reset => None,
    }
}

/// What takes back the first steps of `plan`, the last first; nothing twice in a row. None if a step of it removed the only
/// copy of something.
#[must_use]
pub fn rollback(plan: &[StepKind]) -> Option<Plan> {
    let copied = |to_leave: StepKind, copy: StepKind| {
        plan.iter().position(|step| *step == to_leave).is_none_or(|dropped| plan[..dropped].contains(&copy))
    };
    if !copied(StepKind::DropHost, StepKind::CopyOut) || !copied(StepKind::DropHome, StepKind::CopyIn) {
        return None;
    }
    let mut back: Plan = plan.iter().rev().filter_map(|step| undo(*step)).collect();
    back.dedup();
    // Whatever went wrong, files are only touched where no domain is left: the same rule as for every epilog.
    if back.first().is_some_and(|first| *first != StepKind::Remove) {
        back.insert(0, StepKind::Remove);
    }
    Some(back)
}

/// How a VM that has its files on a host is started there: restored if there is memory to restore, booted otherwise.
#[must_use]
pub fn start(record: &VmRecord) -> Plan {
    if record.usable_recovery().is_some() {
        vec![StepKind::Restore, StepKind::Unpause, StepKind::DropRecovery]
    } else {
        vec![StepKind::Boot]
    }
}

/// Placing a VM and starting it.
#[must_use]
pub fn deploy(record: &VmRecord, shared: bool) -> Plan {
    let mut plan = match (record.files.home, shared) {
        (false, _) => vec![StepKind::PrepareDisks],
        (true, true) => vec![],
        (true, false) => vec![StepKind::CopyIn, StepKind::DropHome],
    };
    plan.extend(start(record));
    plan
}

/// Having no domain, and the files back at the front end.
#[must_use]
pub fn bring_back(record: &VmRecord) -> Plan {
    let mut plan = vec![StepKind::Remove];
    if !record.storage.as_ref().is_some_and(|storage| storage.shared) {
        plan.extend([StepKind::CopyOut, StepKind::DropHost]);
    }
    plan
}

/// Having nothing left anywhere.
#[must_use]
pub fn clean(record: &VmRecord) -> Plan {
    if record.placement.is_some() {
        vec![StepKind::Remove, StepKind::DropHost, StepKind::DropHome]
    } else {
        vec![StepKind::DropHome]
    }
}
