//! Applies the monitor's observations to a VM. An observation is a fact. If the host could not be
//! asked, that is not a fact about the VM.

use crate::domain_status::{DomainStatus, status, status_at};
use crate::draft::Draft;
use crate::{advice, lost_time, rest, step_result};
use ostler_model::{
    Millis, Monitored, Observation, Power, PowerReason, Reason, Side, State, StepNo, Timestamp,
    Verb, VmRecord,
};

/// How long a host may be silent before its running VMs become `unknown`. This is longer than a
/// restart of the daemon or of the spanning tree of a switch, and shorter than an operator's
/// patience.
pub const UNREACHABLE_GRACE: Millis = Millis(45_000);

/// Whether the monitor must look at this VM by itself, because the list of its host does not show
/// what the VM's state says. `listed` is the power of its domain in that list; none if there is no
/// domain there. `newer`: some host has a domain that is newer than the store; then the absence of
/// a domain on this host says nothing.
#[must_use]
pub fn is_suspect(state: State, reason: Reason, newer: bool, listed: Option<Power>) -> bool {
    match state.monitored() {
        _ if newer => true,
        Some(Monitored::Running) => listed != Some(Power::Running),
        // A VM that was paused at the hypervisor has no memory file. If its domain is gone, its
        // memory is lost, so a look must tell.
        Some(Monitored::Suspended) if reason == Reason::External => true,
        Some(Monitored::Poweroff | Monitored::Suspended) => {
            !matches!(listed, None | Some(Power::Off))
        }
        Some(Monitored::Unknown) => true,
        // A guest that is asked to switch itself off is waited for.
        None => state == State::Shutdown,
    }
}

/// The monitor has looked at the VM's own host, and at the other host of a migration. It read the
/// step counter `asked_at` before.
pub(crate) fn observed(
    draft: &mut Draft<'_>,
    asked_at: StepNo,
    seen: &Observation,
    there: Option<&Observation>,
) {
    if asked_at != draft.record.step || !draft.record.open.is_empty() {
        return;
    }
    // This counts for a domain that is not ours too: while a domain of that UUID is not off, it may
    // write to the disks.
    let lives = matches!(seen, Observation::Present(domain) if domain.power != Power::Off);
    let shown = seen;
    let seen = status(&draft.record, draft.facts.store, shown);
    if draft.record.operation.is_some() {
        return draft.work(|draft, active| step_result::seen_while_waiting(draft, active, seen));
    }
    let doubtful = seen == DomainStatus::AboveIssued && draft.record.state.monitored().is_some();
    if doubtful && lost_time::came_back(draft, shown) {
        return;
    }
    if draft.record.placement.is_none()
        || matches!(seen, DomainStatus::Paused(PowerReason::Starting))
    {
        return;
    }
    // A migration that failed half-way waits for a person, who may carry it on: both placements
    // stay until then. So only `unknown` counts.
    let apart = draft.record.moving.is_some() && draft.record.state == State::Unknown;
    if apart && !part(draft, seen, there) {
        return;
    }
    match draft.record.state.monitored() {
        // A VM that failed waits for a person; the others have no domain, or an operation.
        None => {}
        Some(Monitored::Running) if seen == DomainStatus::Running => {
            draft.record.blind_since = None
        }
        Some(_) if lost_time::is_contradicted(draft.facts, seen) => {
            lost_time::contradicted(draft, seen)
        }
        Some(Monitored::Running | Monitored::Unknown) => settled(draft, seen, lives),
        Some(Monitored::Poweroff | Monitored::Suspended) => off(draft, seen, lives),
    }
}

/// Settles a migration with an unknown outcome: both hosts are seen, and the VM has its placement
/// at the host where the guest is. Returns whether the caller must settle the VM by what was seen
/// at its own placement. If the place of the guest cannot be told, nothing is concluded.
fn part(draft: &mut Draft<'_>, seen: DomainStatus, there: Option<&Observation>) -> bool {
    // Both hosts must be seen.
    let Some(there) = there else { return false };
    let there = status_at(&draft.record, Side::Other, draft.facts.store, there);
    match whereabouts(&draft.record, seen, there) {
        Some(Side::Here) => {
            draft.part_from_other_seen(there);
            true
        }
        Some(Side::Other) => {
            draft.switch(Verb::MigrateLive, there.lives(), false);
            // A look that began before says nothing about the new placement.
            draft.record.step = draft.record.step.next();
            draft.part_from_other_seen(seen);
            settled(draft, there, there.lives());
            false
        }
        None => false,
    }
}

/// The host of a migration at which the guest is, or was last: the host with the newest disks. None
/// while that cannot be told, or may still change.
fn whereabouts(record: &VmRecord, here: DomainStatus, there: DomainStatus) -> Option<Side> {
    // Without shared storage each host has its own disks, and the disks at the wrong host are old.
    let one_set_of_disks = record.storage_is_shared() || !record.files_at_other();
    let moved_away =
        matches!(here, DomainStatus::Absent | DomainStatus::Off(PowerReason::Migrated));
    match (here, there) {
        (_, DomainStatus::Paused(PowerReason::Starting)) => None,
        (DomainStatus::Running, DomainStatus::Absent) => Some(Side::Here),
        // The guest runs at the other host, and here it is paused, off or absent: this hypervisor
        // has let go of it.
        (
            DomainStatus::Paused(_) | DomainStatus::Off(_) | DomainStatus::Absent,
            DomainStatus::Running,
        ) => Some(Side::Other),
        (DomainStatus::Paused(_) | DomainStatus::Crashed, DomainStatus::Absent) => Some(Side::Here),
        (_, DomainStatus::Paused(_) | DomainStatus::Crashed | DomainStatus::Off(_))
            if moved_away =>
        {
            Some(Side::Other)
        }
        (DomainStatus::Off(_) | DomainStatus::Absent, DomainStatus::Absent)
            if one_set_of_disks || !moved_away =>
        {
            Some(Side::Here)
        }
        (_, _) => None,
    }
}

fn off(draft: &mut Draft<'_>, seen: DomainStatus, lives: bool) {
    match seen {
        DomainStatus::Running
        | DomainStatus::Paused(_)
        | DomainStatus::Crashed
        | DomainStatus::AboveIssued
        | DomainStatus::Foreign
        | DomainStatus::OlderAlive => {
            settled(draft, seen, lives);
        }
        DomainStatus::Off(_) | DomainStatus::Absent | DomainStatus::OlderOff => {
            // Either somebody paused the VM and its domain is gone since: there is no memory to go
            // back to. Or the VM ran since, and somebody else saved it.
            let newer = seen == DomainStatus::Off(PowerReason::Kept);
            if draft.record.state == State::Suspended
                && (newer || draft.record.usable_recovery().is_none())
            {
                settled(draft, seen, lives);
            }
        }
    }
}

fn settled(draft: &mut Draft<'_>, seen: DomainStatus, lives: bool) {
    if lives {
        draft.consume_recovery();
    }
    draft.saved_after_all(seen);
    let (rest, reason) = rest::seen_as(draft, seen, otherwise(draft, seen));
    let changes = State::from(rest) != draft.record.state;
    if !changes && reason == draft.record.reason {
        return;
    }
    if changes {
        advice::seen(draft);
    }
    draft.note_status(seen);
    rest::at(draft, rest, reason);
}

/// The reason that is used where the hypervisor gives none.
fn otherwise(draft: &Draft<'_>, seen: DomainStatus) -> Reason {
    // If the VM was not known to run, nobody has switched it off.
    let ran = draft.record.running_since.is_some();
    match (seen == DomainStatus::Running, draft.record.state == State::Unknown) {
        (true, true) => Reason::SeenAgain,
        (true, false) => Reason::StartedOutside,
        (false, true)
            if !ran
                || matches!(seen, DomainStatus::Off(PowerReason::Saved | PowerReason::Kept)) =>
        {
            Reason::SeenAgain
        }
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
