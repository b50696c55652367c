//! The table of verbs and states. It says from which states an operation begins, in which states
//! the VM is already so, and from which states the verb is refused.

use crate::recipe;
use ostler_model::{State, Verb, VmRecord};

/// The answer of a state to a verb, before any fact is considered. Printed into
/// `docs/lifecycle.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// An operation begins.
    Begin,
    /// The VM is already so: nothing is done.
    Already,
    /// The verb is refused.
    Refuse,
    /// An operation begins only after a look says that the domain is off or absent. A domain that
    /// is paused by an error, by the watchdog, by a person or without a reason is accepted too: it
    /// is unpaused.
    BeginIfOff,
}

/// A line of the table: the states of rest from which an operation begins, those in which the VM is
/// already so, and those from which an operation begins only after the VM is seen off. From every
/// other state the verb is refused.
struct Line {
    begin: &'static [State],
    already: &'static [State],
    if_off: &'static [State],
}

const fn line(begin: &'static [State], already: &'static [State]) -> Line {
    Line { begin, already, if_off: &[] }
}

/// Every state of rest except `done`.
const ALIVE: &[State] = &[
    State::Pending,
    State::Hold,
    State::Running,
    State::Stopped,
    State::Suspended,
    State::Poweroff,
    State::Undeployed,
    State::Failed,
    State::Unknown,
];

/// The line of each verb. It names states of rest only, because a transient state always has an
/// operation: see [`crate::request`].
const fn line_of(verb: Verb) -> Line {
    use State::{
        Done, Failed, Hold, Pending, Poweroff, Running, Stopped, Suspended, Undeployed, Unknown,
    };
    match verb {
        Verb::Hold => line(&[Pending], &[Hold]),
        Verb::Release => line(&[Hold], &[Pending]),
        Verb::Deploy => line(&[Pending, Hold, Stopped, Undeployed], &[Running]),
        Verb::Suspend => line(&[Running], &[Suspended]),
        Verb::Stop => line(&[Running, Suspended], &[Stopped]),
        Verb::Resume => Line {
            begin: &[Stopped, Suspended, Poweroff, Undeployed],
            already: &[Pending, Running],
            if_off: &[Unknown],
        },
        // The states in which a VM may have saved memory. From `failed` only if the step that
        // failed, or a later step of its plan, restores that memory.
        Verb::ResumeCold => line(&[Stopped, Suspended, Failed], &[Running]),
        Verb::Boot => Line { begin: &[], already: &[Running], if_off: &[Unknown] },
        Verb::Poweroff | Verb::PoweroffHard => line(&[Running, Unknown], &[Poweroff]),
        Verb::Undeploy | Verb::UndeployHard => line(&[Running, Poweroff, Unknown], &[Undeployed]),
        Verb::Shutdown | Verb::ShutdownHard => {
            line(&[Running, Stopped, Suspended, Poweroff, Undeployed, Unknown], &[Done])
        }
        Verb::Reboot | Verb::RebootHard => line(&[Running], &[]),
        // From `unknown` only if the operator states that the host is fenced.
        Verb::Migrate => line(&[Running, Suspended, Poweroff, Unknown], &[]),
        Verb::MigrateLive => line(&[Running], &[]),
        Verb::MigratePoweroff | Verb::MigratePoweroffHard => line(&[Running, Poweroff], &[]),
        Verb::Resched | Verb::Unresched => line(&[Running, Poweroff, Suspended, Unknown], &[]),
        Verb::DiskAttach | Verb::DiskDetach | Verb::NicAttach | Verb::NicDetach => {
            line(&[Running, Poweroff], &[])
        }
        Verb::SnapshotCreate => line(&[Running, Suspended, Poweroff], &[]),
        Verb::SnapshotRevert => line(&[Running], &[]),
        Verb::SnapshotDelete => line(&[Running, Suspended, Poweroff], &[]),
        Verb::DiskSnapshot | Verb::DiskSnapshotLive | Verb::DiskSnapshotCancel => {
            line(&[Running, Suspended, Poweroff], &[])
        }
        Verb::Resize => line(&[Pending, Hold, Running, Poweroff, Undeployed, Failed], &[]),
        Verb::Update | Verb::Rename | Verb::Schedule | Verb::Unschedule | Verb::Reschedule => {
            line(ALIVE, &[])
        }
        Verb::Delete => line(ALIVE, &[Done]),
        // A pending VM may have been stopped before. Then it has files and saved memory, and
        // recreate removes them.
        Verb::DeleteRecreate => line(ALIVE, &[]),
        Verb::Forget => line(ALIVE, &[Done]),
        // Adopt makes a VM. Before that there is no VM to ask.
        Verb::Adopt => line(&[], &[]),
        Verb::RecoverSuccess | Verb::RecoverRetry | Verb::RecoverUndo => line(&[Failed], &[]),
        Verb::RecoverFailure => line(&[], &[Failed]),
    }
}

/// The answer of `state` to `verb`, before any fact is considered.
pub(crate) fn admission(state: State, verb: Verb) -> Admission {
    let line = line_of(verb);
    match state {
        state if line.begin.contains(&state) => Admission::Begin,
        state if line.already.contains(&state) => Admission::Already,
        state if line.if_off.contains(&state) => Admission::BeginIfOff,
        _ => Admission::Refuse,
    }
}

/// Whether `verb` acts on the files of a VM that rests on its host, and would do harm if the VM
/// were not off.
pub(crate) fn needs_off(record: &VmRecord, verb: Verb) -> bool {
    let paused_outside = record.state == State::Suspended && record.usable_recovery().is_none();
    let touches_files = matches!(
        verb,
        Verb::Stop
            | Verb::Undeploy
            | Verb::Shutdown
            | Verb::DiskDetach
            | Verb::NicDetach
            | Verb::DiskSnapshotLive
    );
    recipe::rests_off(record.state) && !paused_outside && (touches_files || verb.is_migration())
}
