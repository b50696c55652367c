//! The steps of an operation, the state in which it ends, and the consequence of its failure. Each
//! is a `match` over all verbs or steps.

use ostler_model::{Active, ErrorKind, State, StepKind, Subject, Verb, VmRecord};

/// The steps of an operation.
pub type Plan = Vec<StepKind>;

/// The consequence of a failed step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnFailure {
    /// The VM rests where a fresh look finds it.
    Settle,
    /// The steps before it are rolled back. After that as [`OnFailure::Settle`].
    Undo,
    /// The VM rests in `failed`. The record keeps what is needed to carry the operation on.
    Fail,
    /// The step is tried again, for ever.
    Insist,
    /// The operation goes on without the step. Things that the step should have removed are written
    /// down, and swept when their host is seen.
    Skip,
}

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

/// The consequence if `step` of `verb` fails.
#[must_use]
pub fn on_failure(verb: Verb, step: StepKind) -> OnFailure {
    policy(verb).of(step)
}

/// The consequences of the failures of one verb's steps: one for all steps, and the steps that have
/// another one.
#[derive(Clone, Copy)]
struct Policy {
    usual: OnFailure,
    others: &'static [(OnFailure, &'static [StepKind])],
}

impl Policy {
    const fn of_all(usual: OnFailure) -> Self {
        Self { usual, others: &[] }
    }

    fn of(self, step: StepKind) -> OnFailure {
        self.others
            .iter()
            .find(|(_, steps)| steps.contains(&step))
            .map_or(self.usual, |(policy, _)| *policy)
    }
}

/// From the removal of the domain on, files may be half way, so a person must look at them. If an
/// earlier step fails, the VM rests where a look finds it.
const EPILOG: Policy = Policy {
    usual: OnFailure::Settle,
    others: &[(
        OnFailure::Fail,
        &[
            StepKind::Remove,
            StepKind::CopyOut,
            StepKind::SaveBack,
            StepKind::DropHost,
            StepKind::DropHome,
        ],
    )],
};

/// When one of these steps fails, the memory file counts as used, and the domain holds the only
/// copy of the memory. So it is neither restored again nor removed. Once the guest runs, an old
/// memory file is removed with the VM's folder at the latest.
const STARTED: (OnFailure, &[StepKind]) =
    (OnFailure::Settle, &[StepKind::Unpause, StepKind::DropRecovery, StepKind::DeleteSnapshot]);

/// The table of [`on_failure`]: a line for each verb.
const fn policy(verb: Verb) -> Policy {
    match verb {
        Verb::Delete | Verb::DeleteRecreate => Policy::of_all(OnFailure::Insist),
        // A VM that had no placement keeps the new one, so that a retry is possible. A VM that had
        // one goes back to its state before.
        Verb::Deploy => Policy { usual: OnFailure::Fail, others: &[STARTED] },
        Verb::Resume | Verb::Boot => Policy { usual: OnFailure::Undo, others: &[STARTED] },
        Verb::ResumeCold => Policy {
            usual: OnFailure::Undo,
            others: &[
                // The memory counts as dropped. Its file is removed with the VM's folder at the
                // latest. That file may be the reason why this verb was asked for, so it must not
                // stop the operation.
                (OnFailure::Skip, &[StepKind::DropRecovery]),
                (OnFailure::Settle, &[StepKind::PowerOff, StepKind::DeleteSnapshot]),
            ],
        },
        Verb::Migrate | Verb::MigrateLive | Verb::MigratePoweroff | Verb::MigratePoweroffHard => {
            Policy {
                usual: OnFailure::Undo,
                others: &[
                    // The guest is where it should be. Things that the VM left behind are swept
                    // when their host is seen.
                    (
                        OnFailure::Skip,
                        &[StepKind::RemoveOther, StepKind::DropOther, StepKind::DropRecovery],
                    ),
                    // If one of these steps fails, the guest is where it was, as it was.
                    (
                        OnFailure::Settle,
                        &[
                            StepKind::Save,
                            StepKind::PressPower,
                            StepKind::PowerOff,
                            StepKind::DeleteSnapshot,
                        ],
                    ),
                    (OnFailure::Settle, &[StepKind::Unpause]),
                ],
            }
        }
        Verb::DiskAttach | Verb::NicAttach | Verb::Resize => Policy {
            usual: OnFailure::Undo,
            others: &[
                (OnFailure::Skip, &[StepKind::DropDisk]),
                (OnFailure::Settle, &[StepKind::DeleteSnapshot]),
            ],
        },
        // The guest no longer uses the disk. Its file is removed with the VM's folder at the
        // latest.
        Verb::DiskDetach => {
            Policy { usual: OnFailure::Settle, others: &[(OnFailure::Skip, &[StepKind::DropDisk])] }
        }
        Verb::Suspend
        | Verb::Stop
        | Verb::Poweroff
        | Verb::PoweroffHard
        | Verb::Undeploy
        | Verb::UndeployHard => EPILOG,
        Verb::Shutdown | Verb::ShutdownHard | Verb::Reboot | Verb::RebootHard | Verb::Forget => {
            EPILOG
        }
        // It is not known whether the snapshot was made. It is removed, or it is kept in the record
        // and hidden.
        Verb::SnapshotCreate => Policy {
            usual: OnFailure::Settle,
            others: &[(OnFailure::Undo, &[StepKind::CreateSnapshot])],
        },
        Verb::NicDetach | Verb::SnapshotRevert | Verb::SnapshotDelete | Verb::DiskSnapshotLive => {
            Policy::of_all(OnFailure::Settle)
        }
        Verb::Hold | Verb::Release | Verb::Adopt => Policy::of_all(OnFailure::Settle),
        Verb::Resched | Verb::Unresched | Verb::DiskSnapshot | Verb::DiskSnapshotCancel => {
            Policy::of_all(OnFailure::Settle)
        }
        Verb::Update | Verb::Rename | Verb::Schedule | Verb::Unschedule | Verb::Reschedule => {
            Policy::of_all(OnFailure::Settle)
        }
        Verb::RecoverSuccess | Verb::RecoverFailure | Verb::RecoverRetry | Verb::RecoverUndo => {
            Policy::of_all(OnFailure::Settle)
        }
    }
}

/// The step that takes back what `step` did, if that can be taken back. The rollback of a migration
/// is made in another way.
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
        StepKind::DropRecovery
        | StepKind::PressPower
        | StepKind::PowerOff
        | StepKind::Save
        | StepKind::Remove => None,
        StepKind::Reboot
        | StepKind::Reset
        | StepKind::RemoveOther
        | StepKind::DropOther
        | StepKind::Stamp => None,
        StepKind::DetachDisk
        | StepKind::DropDisk
        | StepKind::DetachNic
        | StepKind::CopyDisk
        | StepKind::SaveBack => None,
        StepKind::RevertSnapshot | StepKind::DeleteSnapshot => None,
    }
}

/// The steps that take back `active`'s steps up to the current one, in reverse order, and none
/// twice in a row. None if one of its steps removed the only copy of something, or if the rollback
/// would need memory that is already used.
#[must_use]
pub fn rollback(record: &VmRecord, active: &Active) -> Option<Plan> {
    let removes = |step: &StepKind| {
        matches!(step, StepKind::DropHome | StepKind::DropHost | StepKind::DropOther)
    };
    // A restore of the store has cut the operation, so it may have ended in the lost time. Then the
    // copy that the rollback removes is the only one.
    way_back(record, active).filter(|back| !active.cut || !back.iter().any(removes))
}

fn way_back(record: &VmRecord, active: &Active) -> Option<Plan> {
    let begun = begun(active);
    if active.verb.is_migration() {
        return migrate_back(record, active, begun);
    }
    if active.verb.is_hotplug() || active.verb.is_snapshot() {
        // There is no way back once the file of an unplugged disk is being removed.
        return (!begun.contains(&StepKind::DropDisk)).then(|| plug_back(begun));
    }
    if begun.contains(&StepKind::Unpause) {
        return None;
    }
    let copied = |to_leave: StepKind, copy: StepKind| {
        begun
            .iter()
            .position(|step| *step == to_leave)
            .is_none_or(|dropped| begun[..dropped].contains(&copy))
    };
    if !copied(StepKind::DropHost, StepKind::CopyOut)
        || !copied(StepKind::DropHome, StepKind::CopyIn)
    {
        return None;
    }
    let mut back: Plan = begun.iter().rev().filter_map(|step| undo(*step)).collect();
    back.dedup();
    // Files are touched only where no domain is left, whatever went wrong. The same rule holds for
    // every epilog.
    if back.first().is_some_and(|first| *first != StepKind::Remove) {
        back.insert(0, StepKind::Remove);
    }
    Some(back)
}

/// The steps up to the current one. A recovery may put a second `remove` before the step that
/// failed. While that `remove` is the current step, the failed step counts as begun too.
#[must_use]
pub fn begun(active: &Active) -> &[StepKind] {
    let before = active.plan.get(..active.at).unwrap_or_default();
    let again = active.kind() == Some(StepKind::Remove) && before.contains(&StepKind::Remove);
    active.plan.get(..=active.at + usize::from(again)).unwrap_or(&active.plan)
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

/// Takes back only the steps about the one disk, card or snapshot. The guest runs on.
fn plug_back(begun: &[StepKind]) -> Plan {
    let back = |step: &StepKind| {
        if *step == StepKind::PrepareDisks { Some(StepKind::DropDisk) } else { undo(*step) }
    };
    begun.iter().rev().filter_map(back).collect()
}

/// The way back to the host that the VM left. The VM runs there again if it ran before.
fn migrate_back(record: &VmRecord, active: &Active, begun: &[StepKind]) -> Option<Plan> {
    let through = &begun[..begun.len().saturating_sub(1)];
    let (switched, moved) =
        (through.contains(&StepKind::Switch), begun.contains(&StepKind::Migrate));
    if moved {
        // If the guest was seen running at the other host, it stays there: no way back.
        return (!switched)
            .then(|| vec![StepKind::RemoveOther, StepKind::Unpause, StepKind::DropOther]);
    }
    // If the guest runs at the destination, or its files are being removed from the origin, it
    // stays at the destination: no way back.
    let there = begun.iter().any(|step| matches!(step, StepKind::Unpause | StepKind::DropOther))
        || through.contains(&StepKind::Boot);
    if there || may_have_written(record, active) {
        return None;
    }
    let mut back = if switched { vec![StepKind::Remove, StepKind::Switch] } else { vec![] };
    let was_off = begun
        .iter()
        .any(|step| matches!(step, StepKind::Save | StepKind::PressPower | StepKind::PowerOff));
    if active.origin == State::Running && was_off {
        back.extend(start(record));
    }
    // This step is the last one: the guest must not wait for a host where it is not.
    if begun.iter().any(|step| matches!(step, StepKind::CopyAcross | StepKind::PrepareOther)) {
        back.push(StepKind::DropOther);
    }
    Some(back)
}

/// Whether a guest that was moved while it was off may have run at the destination, with separate
/// disks there. Then the disks at the origin are old. The guest has not run if its first and only
/// start was refused.
#[must_use]
pub fn may_have_written(record: &VmRecord, active: &Active) -> bool {
    let refused =
        active.attempt <= 1 && active.error.as_ref().is_some_and(|error| is_definite(error.kind));
    active.kind() == Some(StepKind::Boot) && !active.undoing && record.files.other && !refused
}

/// Whether the error tells the outcome of the call. It does not if the call may have had its
/// effect, or may yet have it.
#[must_use]
pub const fn is_definite(kind: ErrorKind) -> bool {
    !matches!(kind, ErrorKind::Retry | ErrorKind::Unknown)
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
    match (&record.placement, &record.other) {
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
