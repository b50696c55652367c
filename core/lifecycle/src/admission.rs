//! The table of verbs and states: from where an operation begins, where it is so already, from where it is refused.

use ostler_model::{State, Verb};

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

/// A line of the table: from which states of rest an operation begins, in which it is so already, and from which it begins only once
/// the VM is seen off. From every other one it is refused.
struct Line {
    begin: &'static [State],
    already: &'static [State],
    if_off: &'static [State],
}

const fn line(begin: &'static [State], already: &'static [State]) -> Line {
    Line { begin, already, if_off: &[] }
}

/// Every state of rest but done.
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

/// The table of verbs and rest states. Transient states always have an operation: see [`crate::request`].
const fn line_of(verb: Verb) -> Line {
    use State::{Done, Failed, Hold, Pending, Poweroff, Running, Stopped, Suspended, Undeployed, Unknown};
    match verb {
        Verb::Hold => line(&[Pending], &[Hold]),
        Verb::Release => line(&[Hold], &[Pending]),
        Verb::Deploy => line(&[Pending, Hold, Stopped, Undeployed], &[Running]),
        Verb::Suspend => line(&[Running], &[Suspended]),
        Verb::Stop => line(&[Running, Suspended], &[Stopped]),
        Verb::Resume => {
            Line { begin: &[Stopped, Suspended, Poweroff, Undeployed], already: &[Pending, Running], if_off: &[Unknown] }
        }
        // Where there is saved memory. From failed only where that is what it failed at, or what comes next.
        Verb::ResumeCold => line(&[Stopped, Suspended, Failed], &[Running]),
        Verb::Boot => Line { begin: &[], already: &[Running], if_off: &[Unknown] },
        Verb::Poweroff | Verb::PoweroffHard => line(&[Running, Unknown], &[Poweroff]),
        Verb::Undeploy | Verb::UndeployHard => line(&[Running, Poweroff, Unknown], &[Undeployed]),
        Verb::Shutdown | Verb::ShutdownHard => line(&[Running, Stopped, Suspended, Poweroff, Undeployed, Unknown], &[Done]),
        Verb::Reboot | Verb::RebootHard => line(&[Running], &[]),
        // From unknown only as from a host that is fenced.
        Verb::Migrate => line(&[Running, Suspended, Poweroff, Unknown], &[]),
        Verb::MigrateLive => line(&[Running], &[]),
        Verb::MigratePoweroff | Verb::MigratePoweroffHard => line(&[Running, Poweroff], &[]),
        Verb::Resched | Verb::Unresched => line(&[Running, Poweroff, Suspended, Unknown], &[]),
        Verb::DiskAttach | Verb::DiskDetach | Verb::NicAttach | Verb::NicDetach => line(&[Running, Poweroff], &[]),
        Verb::SnapshotCreate => line(&[Running, Suspended, Poweroff], &[]),
        Verb::SnapshotRevert => line(&[Running], &[]),
        Verb::SnapshotDelete => line(&[Running, Suspended, Poweroff], &[]),
        Verb::DiskSnapshot | Verb::DiskSnapshotLive | Verb::DiskSnapshotCancel => line(&[Running, Suspended, Poweroff], &[]),
        Verb::Resize => line(&[Pending, Hold, Running, Poweroff, Undeployed, Failed], &[]),
        Verb::Update | Verb::Rename | Verb::Schedule | Verb::Unschedule | Verb::Reschedule => line(ALIVE, &[]),
        Verb::Delete => line(ALIVE, &[Done]),
        // A pending VM may have been stopped: then it has files and memory that recreate drops.
        Verb::DeleteRecreate => line(ALIVE, &[]),
        Verb::Forget => line(ALIVE, &[Done]),
        // Adoption makes a VM; there is none to ask yet.
        Verb::Adopt => line(&[], &[]),
        Verb::RecoverSuccess | Verb::RecoverRetry | Verb::RecoverUndo => line(&[Failed], &[]),
        Verb::RecoverFailure => line(&[], &[Failed]),
    }
}

/// What `state` makes of `verb`, before any fact is looked at.
pub(crate) fn admission(state: State, verb: Verb) -> Admission {
    let line = line_of(verb);
    match state {
        state if line.begin.contains(&state) => Admission::Begin,
        state if line.already.contains(&state) => Admission::Already,
        state if line.if_off.contains(&state) => Admission::BeginIfOff,
        _ => Admission::Refuse,
    }
}
