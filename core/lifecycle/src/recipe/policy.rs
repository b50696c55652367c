//! The consequence of a step's failure, for each verb.

use ostler_model::{ErrorKind, StepKind, Verb};

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

/// The guest is started without its memory.
const COLD: Policy = Policy {
    usual: OnFailure::Undo,
    others: &[
        // The memory counts as dropped. Its file is removed with the VM's folder at the
        // latest. That file may be the reason why this verb was asked for, so it must not
        // stop the operation.
        (OnFailure::Skip, &[StepKind::DropRecovery]),
        (OnFailure::Settle, &[StepKind::PowerOff, StepKind::DeleteSnapshot]),
    ],
};

/// The guest is moved to another host.
const MOVE: Policy = Policy {
    usual: OnFailure::Undo,
    others: &[
        // The guest is where it should be. Things that the VM left behind are swept
        // when their host is seen.
        (OnFailure::Skip, &[StepKind::RemoveOther, StepKind::DropOther, StepKind::DropRecovery]),
        // If one of these steps fails, the guest is where it was, as it was.
        (
            OnFailure::Settle,
            &[StepKind::Save, StepKind::PressPower, StepKind::PowerOff, StepKind::DeleteSnapshot],
        ),
        (OnFailure::Settle, &[StepKind::Unpause]),
    ],
};

/// The table of [`on_failure`]: a line for each verb.
const fn policy(verb: Verb) -> Policy {
    match verb {
        Verb::Delete | Verb::DeleteRecreate => Policy::of_all(OnFailure::Insist),
        // A VM that had no placement keeps the new one, so that a retry is possible. A VM that had
        // one goes back to its state before.
        Verb::Deploy => Policy { usual: OnFailure::Fail, others: &[STARTED] },
        Verb::Resume | Verb::Boot => Policy { usual: OnFailure::Undo, others: &[STARTED] },
        Verb::ResumeCold => COLD,
        Verb::Migrate | Verb::MigrateLive | Verb::MigratePoweroff | Verb::MigratePoweroffHard => {
            MOVE
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

/// Whether the error tells the outcome of the call. It does not if the call may have had its
/// effect, or may yet have it.
#[must_use]
pub const fn is_definite(kind: ErrorKind) -> bool {
    !matches!(kind, ErrorKind::Retry | ErrorKind::Unknown)
}
