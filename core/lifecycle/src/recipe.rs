//! Which steps an operation takes, where it ends, and what failure leads to. Data in the form of total functions.

use ostler_model::{Active, ErrorKind, State, StepKind, Subject, Verb, VmRecord};

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
    /// The operation goes on without it. What it should have cleaned is written down, and swept when its host is seen.
    Skip,
}

/// Where an operation that succeeded leaves the VM. None: in the state it began in.
#[must_use]
pub const fn ends(verb: Verb) -> Option<State> {
    match verb {
        Verb::Hold => Some(State::Hold),
        Verb::Release | Verb::DeleteRecreate => Some(State::Pending),
        Verb::Deploy | Verb::Resume | Verb::ResumeCold | Verb::Boot => Some(State::Running),
        Verb::Reboot | Verb::RebootHard => Some(State::Running),
        Verb::Suspend => Some(State::Suspended),
        Verb::Stop => Some(State::Stopped),
        Verb::Poweroff | Verb::PoweroffHard => Some(State::Poweroff),
        Verb::Undeploy | Verb::UndeployHard => Some(State::Undeployed),
        Verb::Shutdown | Verb::ShutdownHard | Verb::Delete | Verb::Forget => Some(State::Done),
        // A VM whose host was lost runs again; one that rested rests.
        Verb::Migrate | Verb::MigrateLive | Verb::MigratePoweroff | Verb::MigratePoweroffHard => None,
        Verb::DiskAttach | Verb::DiskDetach | Verb::NicAttach | Verb::NicDetach | Verb::Resize => None,
        Verb::SnapshotCreate | Verb::SnapshotRevert | Verb::SnapshotDelete | Verb::DiskSnapshotLive | Verb::Adopt => None,
        Verb::Resched | Verb::Unresched | Verb::DiskSnapshot | Verb::DiskSnapshotCancel => None,
        Verb::Update | Verb::Rename | Verb::Schedule | Verb::Unschedule | Verb::Reschedule => None,
        // Recovery carries another operation on and ends where that one does; these are never looked up.
        Verb::RecoverSuccess | Verb::RecoverFailure | Verb::RecoverRetry | Verb::RecoverUndo => None,
    }
}

/// Where an operation that succeeded leaves the VM that it found in `origin`.
#[must_use]
pub fn ends_in(verb: Verb, origin: State) -> State {
    match (ends(verb), origin) {
        // The scheduler finds a host for it.
        (_, State::Stopped | State::Undeployed) if matches!(verb, Verb::Resume | Verb::ResumeCold) => State::Pending,
        (Some(state), _) => state,
        (None, State::Unknown) if verb.is_migration() => State::Running,
        (None, origin) => origin,
    }
}

/// The state a VM shows during `step` of `verb`.
#[must_use]
pub const fn shown(verb: Verb, step: StepKind) -> State {
    match step {
        // A deploy clears the front end once the host has the files; every other verb, because the VM ends or goes back.
        StepKind::DropHome if !matches!(verb, Verb::Deploy) => State::Epilog,
        // Before it is started, and perhaps before it has a host.
        StepKind::DropRecovery if matches!(verb, Verb::ResumeCold) => State::Prolog,
        // The same steps, for one disk and not for all there is.
        StepKind::PrepareDisks | StepKind::SaveBack | StepKind::DropDisk if verb.is_hotplug() => State::Hotplug,
        StepKind::Remove | StepKind::DropHost if verb.is_migration() => State::Migrate,
        StepKind::RemoveOther | StepKind::DropOther if !verb.is_migration() => State::Epilog,
        step => step.state(),
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
            StepKind::Unpause | StepKind::DropRecovery | StepKind::DeleteSnapshot => OnFailure::Settle,
            // A VM that had no place keeps the one it got, so that a retry is possible; one that had, goes back to where it was.
            _ if matches!(verb, Verb::Deploy) => OnFailure::Fail,
            _ => OnFailure::Undo,
        },
        Verb::ResumeCold => match step {
            // The memory counts as dropped. Its file goes with the VM's folder at the latest, and may be why this was asked for.
            StepKind::DropRecovery => OnFailure::Skip,
            StepKind::PowerOff | StepKind::DeleteSnapshot => OnFailure::Settle,
            _ => OnFailure::Undo,
        },
        Verb::Migrate | Verb::MigrateLive | Verb::MigratePoweroff | Verb::MigratePoweroffHard => match step {
            // What the VM left behind is swept when that host is seen. The guest is where it should be.
            StepKind::RemoveOther | StepKind::DropOther | StepKind::DropRecovery => OnFailure::Skip,
            // Everything that leaves the guest where it was, as it was.
            StepKind::Save | StepKind::PressPower | StepKind::PowerOff | StepKind::DeleteSnapshot => OnFailure::Settle,
            StepKind::Unpause => OnFailure::Settle,
            _ => OnFailure::Undo,
        },
        Verb::DiskAttach | Verb::NicAttach | Verb::Resize => match step {
            StepKind::DropDisk => OnFailure::Skip,
            StepKind::DeleteSnapshot => OnFailure::Settle,
            _ => OnFailure::Undo,
        },
        Verb::DiskDetach => match step {
            // The guest has let go of it: its file goes with the VM's folder at the latest.
            StepKind::DropDisk => OnFailure::Skip,
            _ => OnFailure::Settle,
        },
        Verb::Suspend | Verb::Stop | Verb::Poweroff | Verb::PoweroffHard | Verb::Undeploy | Verb::UndeployHard => epilog(step),
        Verb::Shutdown | Verb::ShutdownHard | Verb::Reboot | Verb::RebootHard | Verb::Forget => epilog(step),
        // Whether it was made is not known: it is removed, or it is kept and not offered.
        Verb::SnapshotCreate => match step {
            StepKind::CreateSnapshot => OnFailure::Undo,
            _ => OnFailure::Settle,
        },
        Verb::NicDetach | Verb::SnapshotRevert | Verb::SnapshotDelete | Verb::DiskSnapshotLive => OnFailure::Settle,
        Verb::Hold | Verb::Release | Verb::Adopt => OnFailure::Settle,
        Verb::Resched | Verb::Unresched | Verb::DiskSnapshot | Verb::DiskSnapshotCancel => OnFailure::Settle,
        Verb::Update | Verb::Rename | Verb::Schedule | Verb::Unschedule | Verb::Reschedule => OnFailure::Settle,
        Verb::RecoverSuccess | Verb::RecoverFailure | Verb::RecoverRetry | Verb::RecoverUndo => OnFailure::Settle,
    }
}

/// Files that are half way are looked at by a person; before that, the guest is where a look finds it.
const fn epilog(step: StepKind) -> OnFailure {
    match step {
        StepKind::Remove | StepKind::CopyOut | StepKind::SaveBack | StepKind::DropHost | StepKind::DropHome => OnFailure::Fail,
        _ => OnFailure::Settle,
    }
}

/// The step that takes back what `step` did, if that can be taken back. Migrations have a way back of their own.
#[must_use]
pub const fn undo(step: StepKind) -> Option<StepKind> {
    match step {
        StepKind::PrepareDisks | StepKind::CopyIn => Some(StepKind::DropHost),
        StepKind::DropHome => Some(StepKind::CopyOut),
        StepKind::Boot | StepKind::Restore | StepKind::Unpause => Some(StepKind::Remove),
        StepKind::CopyOut => Some(StepKind::DropHome),
        StepKind::DropHost => Some(StepKind::CopyIn),
        StepKind::AttachDisk => Some(StepKind::DetachDisk),
        StepKind::AttachNic => Some(StepKind::DetachNic),
        StepKind::Resize => Some(StepKind::Resize),
        StepKind::CreateSnapshot => Some(StepKind::DeleteSnapshot),
        StepKind::CopyAcross | StepKind::PrepareOther => Some(StepKind::DropOther),
        StepKind::Migrate => Some(StepKind::RemoveOther),
        StepKind::Switch => Some(StepKind::Switch),
        _ => None,
    }
}

/// What takes back `active`'s steps up to the one in hand, the last first; nothing twice in a row. None if a step of it removed the
/// only copy of something, or if memory that was used would be needed again.
#[must_use]
pub fn rollback(record: &VmRecord, active: &Active) -> Option<Plan> {
    let removes = |step: &StepKind| matches!(step, StepKind::DropHome | StepKind::DropHost | StepKind::DropOther);
    // What the lost time has done, it may have ended: then the copy that the way back removes is the only one.
    way_back(record, active).filter(|back| !active.cut || !back.iter().any(removes))
}

fn way_back(record: &VmRecord, active: &Active) -> Option<Plan> {
    let begun = begun(active);
    if active.verb.is_migration() {
        return migrate_back(record, active, begun);
    }
    if active.verb.is_hotplug() || active.verb.is_snapshot() {
        // The file of a disk that was unplugged is being removed.
        return (!begun.contains(&StepKind::DropDisk)).then(|| plug_back(begun));
    }
    if begun.contains(&StepKind::Unpause) {
        return None;
    }
    let copied = |to_leave: StepKind, copy: StepKind| {
        begun.iter().position(|step| *step == to_leave).is_none_or(|dropped| begun[..dropped].contains(&copy))
    };
    if !copied(StepKind::DropHost, StepKind::CopyOut) || !copied(StepKind::DropHome, StepKind::CopyIn) {
        return None;
    }
    let mut back: Plan = begun.iter().rev().filter_map(|step| undo(*step)).collect();
    back.dedup();
    // Whatever went wrong, files are only touched where no domain is left: the same rule as for every epilog.
    if back.first().is_some_and(|first| *first != StepKind::Remove) {
        back.insert(0, StepKind::Remove);
    }
    Some(back)
}

/// The steps up to the one in hand. A recovery puts a second `remove` before the step that failed: that one was begun too.
#[must_use]
pub fn begun(active: &Active) -> &[StepKind] {
    let before = active.plan.get(..active.at).unwrap_or_default();
    let again = active.kind() == Some(StepKind::Remove) && before.contains(&StepKind::Remove);
    active.plan.get(..=active.at + usize::from(again)).unwrap_or(&active.plan)
}

/// Whether a plan takes a VM from a host of which nothing is asked, because it is lost.
#[must_use]
pub fn leaves_lost_host(plan: &[StepKind]) -> bool {
    plan.contains(&StepKind::Switch) && !plan.iter().any(|step| matches!(step, StepKind::Remove | StepKind::Migrate))
}

/// Whether a VM in that state of rest has a place, and is off or stands still.
#[must_use]
pub const fn rests_off(state: State) -> bool {
    matches!(state, State::Suspended | State::Poweroff)
}

/// Whether the step in hand is the first that does something to a VM that rested on its host.
#[must_use]
pub fn at_first_step(active: &Active) -> bool {
    let before = active.plan.get(..active.at).unwrap_or_default();
    rests_off(active.origin) && !active.undoing && before.iter().all(|step| *step == StepKind::DeleteSnapshot)
}

/// Whether the step in hand makes sure of a domain's absence before anything else is done. All files are still where they were: if it
/// fails, nobody has to say what becomes of them.
#[must_use]
pub fn only_makes_sure(active: &Active) -> bool {
    at_first_step(active) && active.kind() == Some(StepKind::Remove)
}

/// Only what concerns the one disk, card or snapshot is taken back; the guest runs on.
fn plug_back(begun: &[StepKind]) -> Plan {
    let back = begun.iter().rev().filter_map(|step| match step {
        StepKind::PrepareDisks => Some(StepKind::DropDisk),
        step => undo(*step),
    });
    back.collect()
}

/// Back to the host that the VM left, running there again if it ran.
fn migrate_back(record: &VmRecord, active: &Active, begun: &[StepKind]) -> Option<Plan> {
    let through = &begun[..begun.len().saturating_sub(1)];
    let (switched, moved) = (through.contains(&StepKind::Switch), begun.contains(&StepKind::Migrate));
    if moved {
        // Once it was seen running at the other host, that is where it is.
        return (!switched).then(|| vec![StepKind::RemoveOther, StepKind::Unpause, StepKind::DropOther]);
    }
    // Once it runs where it went, or its files are being removed from where it was, that is where it is.
    let there =
        begun.iter().any(|step| matches!(step, StepKind::Unpause | StepKind::DropOther)) || through.contains(&StepKind::Boot);
    if there || may_have_written(record, active) {
        return None;
    }
    let mut back = if switched { vec![StepKind::Remove, StepKind::Switch] } else { vec![] };
    let was_off = begun.iter().any(|step| matches!(step, StepKind::Save | StepKind::PressPower | StepKind::PowerOff));
    if active.origin == State::Running && was_off {
        back.extend(start(record));
    }
    // Last of all: the guest does not wait for a host that it is not at.
    if begun.iter().any(|step| matches!(step, StepKind::CopyAcross | StepKind::PrepareOther)) {
        back.push(StepKind::DropOther);
    }
    Some(back)
}

/// Whether a guest that was moved switched off may have run where it was moved to, with disks of its own there: then those of the host
/// that it came from are old. It never ran if its first and only start was refused.
#[must_use]
pub fn may_have_written(record: &VmRecord, active: &Active) -> bool {
    let refused = active.attempt <= 1 && active.error.as_ref().is_some_and(|error| is_definite(error.kind));
    active.kind() == Some(StepKind::Boot) && !active.undoing && record.files.other && !refused
}

/// Whether the driver said what came of the call: not that it may have happened, nor that it may yet.
#[must_use]
pub const fn is_definite(kind: ErrorKind) -> bool {
    !matches!(kind, ErrorKind::Retry | ErrorKind::Unknown)
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

/// As [`start`], from its disks: saved memory is dropped before.
#[must_use]
pub fn start_cold(record: &VmRecord) -> Plan {
    let drop = record.recovery.as_ref().map(|_| StepKind::DropRecovery);
    drop.into_iter().chain([StepKind::Boot]).collect()
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
    if !record.storage_is_shared() {
        plan.extend([StepKind::CopyOut, StepKind::DropHost]);
    }
    plan
}

/// Having nothing left anywhere.
#[must_use]
pub fn clean(record: &VmRecord) -> Plan {
    match (&record.placement, &record.other) {
        (Some(_), Some(_)) => {
            // Where it is first: nothing there can start to move any more once that is done.
            vec![StepKind::Remove, StepKind::RemoveOther, StepKind::DropHost, StepKind::DropOther, StepKind::DropHome]
        }
        (Some(_), None) => vec![StepKind::Remove, StepKind::DropHost, StepKind::DropHome],
        (None, _) => vec![StepKind::DropHome],
    }
}

/// Ending a VM in order: as [`clean`], with the disks that become images saved first.
#[must_use]
pub fn finish(record: &VmRecord) -> Plan {
    let mut plan = clean(record);
    if record.disks.iter().any(|disk| disk.save_as.is_some()) {
        let after = usize::from(plan.first() == Some(&StepKind::Remove));
        plan.insert(after, StepKind::SaveBack);
    }
    plan
}

/// Moving a VM that ran, or rests on its host, to another: `first` is what makes it stand still.
#[must_use]
pub fn move_cold(record: &VmRecord, first: Option<StepKind>) -> Plan {
    let shared = record.storage_is_shared();
    let mut plan: Plan = first.into_iter().collect();
    plan.push(StepKind::Remove);
    if !shared {
        plan.push(StepKind::CopyAcross);
    }
    plan.push(StepKind::Switch);
    match first {
        Some(StepKind::Save) => plan.extend([StepKind::Restore, StepKind::Unpause, StepKind::DropRecovery]),
        Some(_) => plan.push(StepKind::Boot),
        None => {}
    }
    if !shared {
        plan.push(StepKind::DropOther);
    }
    plan
}

/// Moving a VM while it runs. Disks that the two hosts do not share are moved by the hypervisor, into files made for them.
#[must_use]
pub fn move_live(shared: bool) -> Plan {
    if shared {
        vec![StepKind::Migrate, StepKind::Switch, StepKind::RemoveOther]
    } else {
        vec![StepKind::PrepareOther, StepKind::Migrate, StepKind::Switch, StepKind::RemoveOther, StepKind::DropOther]
    }
}

/// Where in `plan` snapshots that do not survive it are removed: as soon as the guest stands still, where it does; first of all,
/// where it does not.
#[must_use]
pub fn lose_at(plan: &[StepKind]) -> usize {
    usize::from(matches!(plan.first(), Some(StepKind::PressPower | StepKind::PowerOff | StepKind::Save)))
}

/// Whether an operation about `subject` acts on `disk`.
#[must_use]
pub fn concerns(subject: &Subject, disk: &ostler_model::DiskName) -> bool {
    match subject {
        Subject::Disk { name } | Subject::DiskImage { name, .. } => name == disk,
        Subject::Vm | Subject::Nic { .. } | Subject::Snapshot { .. } | Subject::Size { .. } => true,
    }
}
