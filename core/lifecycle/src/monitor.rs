//! What monitoring makes of a VM. Observations are facts; not having been able to ask is not.

use crate::draft::Draft;
use crate::sight::{Sight, sight, sight_at};
use crate::{advice, judge, settle};
use ostler_model::{
    Generation, HostId, Millis, Observation, Power, PowerReason, Reason, Side, State, StepNo, Timestamp, Verb,
};

/// How long a host may be silent before its running VMs are unknown: longer than a daemon's restart or a switch's reboot of
/// spanning tree, shorter than an operator's patience.
pub const UNREACHABLE_GRACE: Millis = Millis(45_000);

/// The monitor looked, having read `asked_at` before it did: where the VM has its place, and at the other host of a migration.
pub(crate) fn observed(draft: &mut Draft<'_>, asked_at: StepNo, seen: &Observation, there: Option<&Observation>) {
    if asked_at != draft.record.step || !draft.record.open.is_empty() {
        return;
    }
    // Whoever's it is: while a domain of that UUID is not off, its disks may be written.
    let lives = matches!(seen, Observation::Present(domain) if domain.power != Power::Off);
    let seen = sight(&draft.record, draft.facts.store, seen);
    if draft.record.operation.is_some() {
        return judge::seen_while_waiting(draft, seen);
    }
    if draft.record.placement.is_none() || matches!(seen, Sight::Paused(PowerReason::Starting)) {
        return;
    }
    if draft.record.other.is_some() && !part(draft, seen, there) {
        return;
    }
    match draft.record.state {
        State::Running if seen == Sight::Running => draft.record.blind_since = None,
        State::Running | State::Unknown => settled(draft, seen, lives),
        State::Poweroff | State::Suspended => off(draft, seen, lives),
        // Failed waits for a person; the others have no domain, or an operation.
        State::Failed
        | State::Pending
        | State::Hold
        | State::Prolog
        | State::Boot
        | State::Migrate
        | State::Hotplug
        | State::Snapshot
        | State::Save
        | State::Epilog
        | State::Shutdown
        | State::Stopped
        | State::Undeployed
        | State::Done => {}
    }
}

/// A migration that ended without a word: both hosts are seen, and the one that the guest is at has it. Answers whether the VM is
/// to be settled by what was seen where it has its place; while that cannot be said, nothing is concluded.
fn part(draft: &mut Draft<'_>, seen: Sight, there: Option<&Observation>) -> bool {
    let Some(there) = there else { return false };
    let there = sight_at(&draft.record, Side::Other, draft.facts.store, there);
    if matches!(there, Sight::Paused(PowerReason::Starting)) {
        return false;
    }
    match (seen.lives(), there.lives()) {
        (false, true) if there == Sight::Running => {
            draft.note_sight(there);
            draft.switch(Verb::MigrateLive, true, false);
            // Off or absent, but perhaps still defined there.
            draft.record.other_domain = true;
            draft.part_from_other();
            draft.record.failure = None;
            settle::rest_at(draft, State::Running, Reason::SeenAgain);
            false
        }
        (_, false) if there == Sight::Absent => {
            draft.record.other_domain = false;
            draft.part_from_other();
            true
        }
        // Alive on both, or something that is neither alive nor gone: a person, or the next look, decides.
        (_, _) => false,
    }
}

/// A place that the VM had left is empty.
pub(crate) fn swept(draft: &mut Draft<'_>, host: HostId, generation: Generation) {
    draft.record.leftovers.retain(|left| left.place.host != host || left.place.generation > generation);
}

fn off(draft: &mut Draft<'_>, seen: Sight, lives: bool) {
    match seen {
        Sight::Running | Sight::Paused(_) | Sight::Crashed | Sight::AboveIssued | Sight::Foreign | Sight::OlderAlive => {
            settled(draft, seen, lives);
        }
        Sight::Off(_) | Sight::Absent | Sight::OlderOff => {
            // Paused by a person, and gone meanwhile: there is no memory to go back to.
            if draft.record.state == State::Suspended && draft.record.usable_recovery().is_none() {
                settled(draft, seen, lives);
            }
        }
    }
}

fn settled(draft: &mut Draft<'_>, seen: Sight, lives: bool) {
    if lives {
        draft.consume_recovery();
    }
    let (rest, reason) = settle::at_rest(draft, seen, otherwise(draft, seen));
    if (rest, reason) == (draft.record.state, draft.record.reason) {
        return;
    }
    if rest != draft.record.state {
        advice::seen(draft);
    }
    draft.note_sight(seen);
    settle::rest_at(draft, rest, reason);
}

/// The reason, where the hypervisor tells none.
fn otherwise(draft: &Draft<'_>, seen: Sight) -> Reason {
    // What was not known to run has not been switched off by anybody.
    let ran = draft.record.running_since.is_some();
    match (seen == Sight::Running, draft.record.state == State::Unknown) {
        (true, true) => Reason::SeenAgain,
        (true, false) => Reason::StartedOutside,
        (false, true) if !ran => Reason::SeenAgain,
        (false, true | false) => Reason::DestroyedOutside,
    }
}

/// The monitor could not ask the VM's host.
pub(crate) fn could_not_ask(draft: &mut Draft<'_>, since: Timestamp) {
    let idle = draft.record.operation.is_none();
    if idle && draft.record.state == State::Running && draft.now.since(since) >= UNREACHABLE_GRACE {
        draft.record.blind_since = Some(since);
        draft.set_state(State::Unknown, Reason::CannotAsk);
    }
}
