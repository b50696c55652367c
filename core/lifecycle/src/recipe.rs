//! The steps of an operation, the state in which it ends, and the consequence of its failure. Each
//! is a `match` over all verbs or steps.

mod policy;
mod rollback;

pub use policy::{OnFailure, is_definite, on_failure};
pub use rollback::{begun, may_have_written, rollback, undo};

use ostler_model::{Active, State, StepKind, Subject, Verb, VmRecord};

/// The steps of an operation.
pub type Plan = Vec<StepKind>;

/// The state in which a successful operation leaves the VM. None: the state in which it began.
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
        // A VM that was `unknown` because its host was lost runs again (see `ends_in`). A VM that
        // rested still rests.
        Verb::Migrate | Verb::MigrateLive | Verb::MigratePoweroff | Verb::MigratePoweroffHard => {
            None
        }
        Verb::DiskAttach | Verb::DiskDetach | Verb::NicAttach | Verb::NicDetach | Verb::Resize => {
            None
        }
        Verb::SnapshotCreate
        | Verb::SnapshotRevert
        | Verb::SnapshotDelete
        | Verb::DiskSnapshotLive
        | Verb::Adopt => None,
        Verb::Resched | Verb::Unresched | Verb::DiskSnapshot | Verb::DiskSnapshotCancel => None,
        Verb::Update | Verb::Rename | Verb::Schedule | Verb::Unschedule | Verb::Reschedule => None,
        // A recovery carries on another operation and ends where that operation ends. These values
        // are never used.
        Verb::RecoverSuccess | Verb::RecoverFailure | Verb::RecoverRetry | Verb::RecoverUndo => {
            None
        }
    }
}

/// The state in which a successful operation leaves a VM that was in `origin` before.
#[must_use]
pub fn ends_in(verb: Verb, origin: State) -> State {
    match (ends(verb), origin) {
        // The VM has no host. The scheduler finds one for it.
        (_, State::Stopped | State::Undeployed)
            if matches!(verb, Verb::Resume | Verb::ResumeCold) =>
        {
            State::Pending
        }
        (Some(state), _) => state,
        (None, State::Unknown) if verb.is_migration() => State::Running,
        (None, origin) => origin,
    }
}

/// The change that a successful operation makes to the record, beside the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnSuccess {
    /// The VM is over: it leaves its host, and nothing of it is left.
    Over,
    /// As [`OnSuccess::Over`], but the VM begins anew, and may get another datastore.
    Anew,
    /// The VM leaves its host. Its files and its saved memory are at the front end.
    LeavesWithMemory,
    /// The VM leaves its host. Its files are at the front end, and saved memory is dropped.
    Leaves,
    /// The guest has run, or was switched off: memory that was saved before is older than its disks
    /// now.
    DropsMemory,
    /// The disk or card leaves the record.
    Unplugs,
    /// None.
    Nothing,
}

/// The change that a successful operation, begun in `origin`, makes to the record.
#[must_use]
pub fn on_success(verb: Verb, origin: State) -> OnSuccess {
    match verb {
        Verb::Shutdown | Verb::ShutdownHard | Verb::Delete | Verb::Forget => OnSuccess::Over,
        Verb::DeleteRecreate => OnSuccess::Anew,
        Verb::Stop => OnSuccess::LeavesWithMemory,
        Verb::Undeploy | Verb::UndeployHard => OnSuccess::Leaves,
        Verb::Poweroff
        | Verb::PoweroffHard
        | Verb::Reboot
        | Verb::RebootHard
        | Verb::SnapshotRevert => OnSuccess::DropsMemory,
        Verb::Deploy | Verb::Resume | Verb::ResumeCold | Verb::Boot => OnSuccess::DropsMemory,
        Verb::DiskDetach | Verb::NicDetach => OnSuccess::Unplugs,
        // A VM that was moved while it was off keeps its saved memory.
        Verb::Migrate | Verb::MigrateLive | Verb::MigratePoweroff | Verb::MigratePoweroffHard => {
            if ends_in(verb, origin) == State::Running {
                OnSuccess::DropsMemory
            } else {
                OnSuccess::Nothing
            }
        }
        Verb::Hold | Verb::Release | Verb::Suspend | Verb::Adopt => OnSuccess::Nothing,
        Verb::DiskAttach | Verb::NicAttach | Verb::Resize | Verb::DiskSnapshotLive => {
            OnSuccess::Nothing
        }
        Verb::SnapshotCreate | Verb::SnapshotDelete => OnSuccess::Nothing,
        Verb::Resched | Verb::Unresched | Verb::DiskSnapshot | Verb::DiskSnapshotCancel => {
            OnSuccess::Nothing
        }
        Verb::Update | Verb::Rename | Verb::Schedule | Verb::Unschedule | Verb::Reschedule => {
            OnSuccess::Nothing
        }
        // The operation that they carry on keeps its own verb, so no operation ends under these.
        Verb::RecoverSuccess | Verb::RecoverFailure | Verb::RecoverRetry | Verb::RecoverUndo => {
            OnSuccess::Nothing
        }
    }
}

/// The state a VM shows during `step` of `verb`.
#[must_use]
pub const fn shown(verb: Verb, step: StepKind) -> State {
    // A deploy clears the front end because the host has the files now. Every other verb does so
    // because the VM ends or goes back.
    if matches!(step, StepKind::DropHome) && !matches!(verb, Verb::Deploy) {
        return State::Epilog;
    }
    // Here the step runs before the VM is started, and perhaps before it has a host.
    if matches!(step, StepKind::DropRecovery) && matches!(verb, Verb::ResumeCold) {
        return State::Prolog;
    }
    // The same steps, but for one disk instead of all disks.
    if matches!(step, StepKind::PrepareDisks | StepKind::SaveBack | StepKind::DropDisk)
        && verb.is_hotplug()
    {
        return State::Hotplug;
    }
    if matches!(step, StepKind::Remove | StepKind::DropHost) && verb.is_migration() {
        return State::Migrate;
    }
    if matches!(step, StepKind::RemoveOther | StepKind::DropOther) && !verb.is_migration() {
        return State::Epilog;
    }
    step.state()
}

/// Whether a plan moves a VM away from a lost host, so that this host is asked nothing.
#[must_use]
pub fn leaves_lost_host(plan: &[StepKind]) -> bool {
    plan.contains(&StepKind::Switch)
        && !plan.iter().any(|step| matches!(step, StepKind::Remove | StepKind::Migrate))
}

/// Whether a VM in this state of rest has a placement, and is off or paused.
#[must_use]
pub const fn rests_off(state: State) -> bool {
    matches!(state, State::Suspended | State::Poweroff)
}

/// Whether the current step is the first that changes something of a VM that rested on its host.
/// The removal of snapshots before it does not count.
#[must_use]
pub fn at_first_step(active: &Active) -> bool {
    let before = active.plan.get(..active.at).unwrap_or_default();
    rests_off(active.origin)
        && !active.undoing
        && before.iter().all(|step| *step == StepKind::DeleteSnapshot)
}

/// Whether the current step only makes sure that the domain is absent, before anything else is
/// done. All files are still where they were. If the step fails, no person has to decide about
/// them.
#[must_use]
pub fn only_makes_sure(active: &Active) -> bool {
    at_first_step(active) && active.kind() == Some(StepKind::Remove)
}

/// The steps to start a VM that has its files on a host: restore if there is saved memory, boot
/// otherwise.
#[must_use]
pub fn start(record: &VmRecord) -> Plan {
    if record.usable_recovery().is_some() {
        vec![StepKind::Restore, StepKind::Unpause, StepKind::DropRecovery]
    } else {
        vec![StepKind::Boot]
    }
}

/// As [`start`], but from the disks: saved memory is dropped first.
#[must_use]
pub fn start_cold(record: &VmRecord) -> Plan {
    let drop = record.recovery.as_ref().map(|_| StepKind::DropRecovery);
    drop.into_iter().chain([StepKind::Boot]).collect()
}

/// The steps to place a VM and start it.
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

/// The steps to remove the domain and to bring the files back to the front end.
#[must_use]
pub fn bring_back(record: &VmRecord) -> Plan {
    let mut plan = vec![StepKind::Remove];
    if !record.storage_is_shared() {
        plan.extend([StepKind::CopyOut, StepKind::DropHost]);
    }
    plan
}

/// The steps to remove everything of a VM, everywhere.
#[must_use]
pub fn clean(record: &VmRecord) -> Plan {
    match (&record.placement, record.other()) {
        (Some(_), Some(_)) => {
            // The VM's own host comes first: after that step, no migration can start from there any
            // more.
            vec![
                StepKind::Remove,
                StepKind::RemoveOther,
                StepKind::DropHost,
                StepKind::DropOther,
                StepKind::DropHome,
            ]
        }
        (Some(_), None) => vec![StepKind::Remove, StepKind::DropHost, StepKind::DropHome],
        (None, _) => vec![StepKind::DropHome],
    }
}

/// The steps to end a VM in the normal way: as [`clean`], but first the disks that become images
/// are saved.
#[must_use]
pub fn finish(record: &VmRecord) -> Plan {
    let mut plan = clean(record);
    if record.disks.iter().any(|disk| disk.save_as.is_some()) {
        let after = usize::from(plan.first() == Some(&StepKind::Remove));
        plan.insert(after, StepKind::SaveBack);
    }
    plan
}

/// The steps to move a VM that ran, or that rests on its host, to another host. `first` is the step
/// that stops a running guest.
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
        Some(StepKind::Save) => {
            plan.extend([StepKind::Restore, StepKind::Unpause, StepKind::DropRecovery])
        }
        Some(_) => plan.push(StepKind::Boot),
        None => {}
    }
    if !shared {
        plan.push(StepKind::DropOther);
    }
    plan
}

/// The steps to move a VM while it runs. The hypervisor moves disks that the two hosts do not
/// share, into files that were made for them.
#[must_use]
pub fn move_live(shared: bool) -> Plan {
    if shared {
        vec![StepKind::Migrate, StepKind::Switch, StepKind::RemoveOther]
    } else {
        vec![
            StepKind::PrepareOther,
            StepKind::Migrate,
            StepKind::Switch,
            StepKind::RemoveOther,
            StepKind::DropOther,
        ]
    }
}

/// The index in `plan` at which the snapshots that do not survive it are removed. If the plan
/// begins with a step that stops the guest, this is right after that step; otherwise it is at the
/// beginning.
#[must_use]
pub fn lose_at(plan: &[StepKind]) -> usize {
    usize::from(matches!(
        plan.first(),
        Some(StepKind::PressPower | StepKind::PowerOff | StepKind::Save)
    ))
}

/// Whether an operation about `subject` acts on `disk`.
#[must_use]
pub fn concerns(subject: &Subject, disk: &ostler_model::DiskName) -> bool {
    match subject {
        Subject::Disk { name } | Subject::DiskImage { name, .. } => name == disk,
        Subject::Vm | Subject::Nic { .. } | Subject::Snapshot { .. } | Subject::Size { .. } => true,
    }
}
