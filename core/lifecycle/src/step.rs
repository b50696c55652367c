//! Runs the steps. All operations use this one set of functions:
//!
//! ```text
//!  begin ──> Draining ──(earlier calls returned)──┐
//!    │                                            v
//!    ├────> Delaying (guest booted just now) ──> send <──────────── Backoff <─┐
//!    └──────────────────────────────────────────> │                          │
//!                                              Calling ── retry, lost ───────┤
//!                                                 │ ── lost, judged by look ─┼─> Confirming ──(not yet)─┐
//!                                                 │ ── pressed ──> Waiting ──┘        │                 │
//!                                                 v                                   v                 │
//!                                             item done <──────────── goal seen ──────┘          resend ┘
//!                                                 │
//!                                   next item, next step, or the end;   failed ──> on_failure(verb, step)
//! ```
//!
//! The part of the drawing down to `Calling` is in this module. The part that follows an answer or
//! a look is in `step_result`.

use crate::draft::{Draft, Next};
use crate::items::items;
use crate::{marks, operation_end, recipe};
use ostler_model::{
    Active, Call, DriverError, EventKind, Goal, ImageChange, ImageState, Item, Journal, Lane,
    Millis, NowCall, Patience, Phase, Reason, Side, State, Stated, StepKind, Subject, Verb,
};

/// While an operation waits after a press, it looks at least this often. Events make it look at
/// once. This interval bounds the delay if an event is lost.
pub const LOOK_EVERY: Millis = Millis(2_000);
/// After so many failed looks in a row, a VM whose step has failed, or is past its deadline, rests
/// in `unknown`.
pub const BLIND_TRIES: u32 = 5;
/// After so many tries, an operation goes on without a step that it can do without. All pauses
/// between these tries together are shorter than half a minute.
pub const SKIP_TRIES: u32 = 8;
/// After so many driver crashes over one item, the step has failed: the same inputs will crash the
/// driver again.
pub const CRASHES_MAX: u32 = 3;
/// The first wait before a call is sent again.
const BACKOFF_FIRST: Millis = Millis(100);
/// The longest wait before a call is sent again.
const BACKOFF_MOST: Millis = Millis(30_000);
/// How long a look may take.
const LOOK_PATIENCE: Millis = Millis(15_000);

/// The wait before attempt `attempt + 1`. It doubles, within bounds. It is not random, because a VM
/// never has two retries at the same time, and lanes keep VMs apart.
#[must_use]
pub fn retry_after(attempt: u32) -> Millis {
    let factor = 1u64 << attempt.saturating_sub(1).min(20);
    Millis(BACKOFF_FIRST.0.saturating_mul(factor).min(BACKOFF_MOST.0))
}

/// Begins the step that `at` points to, or ends the operation after the last one.
pub(crate) fn begin(draft: &mut Draft<'_>, mut active: Active) -> Next {
    // Steps that have nothing to act on are skipped. A plan is short, so this loop ends.
    loop {
        let Some(kind) = active.kind() else { return end(draft, active) };
        let pending = items(draft, &active, kind);
        if !pending.is_empty() {
            return begin_with(draft, active, kind, pending);
        }
        if kind == StepKind::Switch {
            switch(draft, &active);
        }
        active.at += 1;
    }
}

/// All steps are done. But nothing rests while an earlier call may still have an effect. `forget`
/// asks no host, so it gets here while such calls are open.
fn end(draft: &mut Draft<'_>, mut active: Active) -> Next {
    if draft.record.open.is_empty() {
        return operation_end::succeeded(draft, active);
    }
    draft.set_state(State::Epilog, Reason::Asked);
    active.phase = Phase::Draining;
    Some(active)
}

/// This step only changes the record: it swaps the two placements of a migration.
fn switch(draft: &mut Draft<'_>, active: &Active) {
    let (verb, undoing) = (active.verb, active.undoing);
    // Another verb can have the origin `unknown` too, if it overtook a verb that began there. But
    // since then its domain was found.
    let was_lost = undoing && active.origin == State::Unknown && verb == Verb::Migrate;
    let lost = was_lost || !undoing && recipe::leaves_lost_host(&active.plan);
    let live = !undoing && active.plan.contains(&StepKind::Migrate);
    // Nothing of ours is about to start on a lost host. The domain that is found there when the
    // host is back is still the one from before, so its generation stays.
    draft.switch(verb, live, undoing && !lost);
    // The VM's files are where the operator says that they are. The files that the lost host has
    // are swept.
    draft.record.files.host |= lost && !undoing;
    let Some(there) = &mut draft.record.moving else { return };
    // The operator has stated that nothing runs on the old host. When that host is back, its domain
    // must still be swept.
    there.domain |= lost && !undoing;
    if lost && undoing {
        // The files at the host on which the VM should have started were brought there by the
        // operator. They stay.
        there.files = false;
    }
}

fn begin_with(
    draft: &mut Draft<'_>,
    mut active: Active,
    kind: StepKind,
    pending: Vec<Item>,
) -> Next {
    draft.record.step = draft.record.step.next();
    let (step, now) = (draft.record.step, draft.now);
    active.step = step;
    active.pending = pending;
    active.attempt = 0;
    active.stated = None;
    restart_count(&mut active);
    let (operation, undoing) = (active.id, active.undoing);
    draft.journal.push(Journal::StepBegan { operation, step, kind, undoing, at: now });
    draft.events.push(EventKind::StepBegan { operation, step, step_kind: kind });
    draft.set_state(recipe::shown(active.verb, kind), Reason::Asked);
    marks::before(&mut draft.record, kind, operation);
    begin_sending(draft, active, kind)
}

/// Sends the step's call, if it may be sent now. A VM has one mutating call at a time. Only a
/// destroy may run beside another call, and only if the next step switches off or removes the
/// domain again: the call in flight may still start it. A press of the power button waits until the
/// guest has booted.
fn begin_sending(draft: &mut Draft<'_>, mut active: Active, kind: StepKind) -> Next {
    if !draft.record.open.is_empty() && !may_run_beside(&active) {
        active.phase = Phase::Draining;
        return Some(active);
    }
    if let (true, Some(since)) =
        (matches!(kind, StepKind::PressPower | StepKind::Reboot), draft.record.running_since)
    {
        let until = since.plus(draft.record.spec.patience.boot_grace);
        if until > draft.now {
            active.phase = Phase::Delaying { until };
            return Some(active);
        }
    }
    send(draft, active)
}

fn may_run_beside(active: &Active) -> bool {
    active.kind() == Some(StepKind::PowerOff)
        && matches!(active.plan.get(active.at + 1), Some(StepKind::PowerOff | StepKind::Remove))
}

/// Goes on to the next step, and records nothing about the result of this one.
pub(crate) fn pass(draft: &mut Draft<'_>, mut active: Active) -> Next {
    draft.journal.push(Journal::StepEnded { operation: active.id, at: draft.now });
    active.at += 1;
    begin(draft, active)
}

/// Sends the call of the current item.
pub(crate) fn send(draft: &mut Draft<'_>, mut active: Active) -> Next {
    let (Some(kind), Some(item)) = (active.kind(), active.pending.first().cloned()) else {
        // Nothing is left to send: the operation goes on with what is left of its plan.
        return begin(draft, active);
    };
    let patience = draft.record.spec.patience;
    // The press itself is done at once. The long wait is for the guest.
    let whole = if kind == StepKind::PressPower {
        patience.hypervisor
    } else {
        patience_of(patience, kind)
    };
    // A repeated call has the time that remains, but always enough to find out that its work is
    // already done.
    let left = active
        .deadline
        .map_or(whole, |deadline| deadline.since(draft.now).max(LOOK_PATIENCE).min(whole));
    active.attempt = active.attempt.saturating_add(1);
    active.phase = Phase::Calling;
    let (operation, attempts) = (active.id, active.attempt);
    if attempts > 1 {
        draft.journal.push(Journal::StepWent { operation, attempts, error: None });
    }
    draft.open_call(&active, kind.call(), kind.sent_to(), item, left);
    Some(active)
}

/// Looks at a host, to find out the result of the current step or, if the step has failed, the
/// state that it left.
pub(crate) fn look(draft: &mut Draft<'_>, mut active: Active, phase: Phase) -> Next {
    active.phase = phase;
    draft.open_call(
        &active,
        Call::Now(NowCall::Observe),
        look_side(&active),
        Item::Look,
        LOOK_PATIENCE,
    );
    Some(active)
}

/// The host of a migration at which a look in the present phase is made.
pub(crate) fn look_side(active: &Active) -> Side {
    let settling = matches!(active.phase, Phase::Settling | Phase::Blind { settling: true, .. });
    active.kind().filter(|_| !settling).map_or(Side::Here, StepKind::looked_at)
}

/// How long a step may take, counted from the first sending of the current item.
pub(crate) fn patience_of(patience: Patience, kind: StepKind) -> Millis {
    match (kind, kind.call().lane()) {
        (StepKind::PressPower, _) => patience.shutdown,
        // As long as it may take to move the same bytes as files.
        (StepKind::Migrate | StepKind::CopyDisk, _) => patience.transfer,
        (_, Lane::Hypervisor) => patience.hypervisor,
        (_, Lane::Transfer) => patience.transfer,
    }
}

/// Earlier calls may have returned. If none is open any more, the current step goes on.
pub(crate) fn drained(draft: &mut Draft<'_>, mut active: Active) -> Next {
    if !draft.record.open.is_empty() {
        return Some(active);
    }
    let stated = active.stated.take();
    let Some(kind) = active.kind() else { return begin(draft, active) };
    match stated {
        None => begin_sending(draft, active, kind),
        Some(Stated::Retry) => {
            restart_count(&mut active);
            begin_sending(draft, active, kind)
        }
        Some(Stated::Success) if kind.goal() != Goal::Nothing => {
            // The look that came with the statement is older than the calls that have returned
            // since. Look again.
            active.stated = Some(Stated::Success);
            look(draft, active, Phase::Confirming)
        }
        Some(Stated::Success | Stated::SuccessForced) => all_done(draft, active, kind),
        // For a migration, the place of the guest decides whether it can be taken back, not the
        // operator's wish.
        Some(Stated::Failure | Stated::Undo) if kind == StepKind::Migrate => operation_end::fail(
            draft,
            active,
            &DriverError::unknown("operator", "the operator had it rolled back"),
        ),
        Some(Stated::Failure) => operation_end::fail(
            draft,
            active,
            &DriverError::unknown("operator", "the operator stated that it failed"),
        ),
        Some(Stated::Undo) => {
            let asked = DriverError::unknown("undone", "the operator had it rolled back");
            active.error = Some(asked.clone());
            operation_end::roll_back(draft, active, &asked)
        }
    }
}

/// Carries out the operator's statement: at once if no call is open, otherwise when the open calls
/// have returned.
pub(crate) fn state(draft: &mut Draft<'_>, mut active: Active, stated: Stated) -> Next {
    draft.cancel_open();
    active.stated = Some(stated);
    active.phase = Phase::Draining;
    drained(draft, active)
}

fn restart_count(active: &mut Active) {
    active.crashes = 0;
    active.blind = 0;
    active.deadline = None;
    active.sent = None;
}

/// The current item is done: goes on with the next one, or ends the step.
pub(crate) fn item_done(draft: &mut Draft<'_>, mut active: Active, kind: StepKind) -> Next {
    if !active.pending.is_empty() {
        let item = active.pending.remove(0);
        one_done(draft, &active.subject, kind, &item);
    }
    if !active.undoing {
        active.error = None;
    }
    if active.pending.is_empty() {
        return step_done(draft, active, kind);
    }
    // Each item has the whole time, and its own count of attempts and crashes.
    active.attempt = 0;
    restart_count(&mut active);
    send(draft, active)
}

/// A call that nobody waits for any more has succeeded. Its result holds, no matter what is stated
/// about the step.
pub(crate) fn came_true(draft: &mut Draft<'_>, subject: &Subject, call: Call, item: &Item) {
    if call == Call::Now(NowCall::Save) {
        draft.memory_is_written();
    }
    if call == Call::Now(NowCall::DeleteSnapshot) {
        one_done(draft, subject, StepKind::DeleteSnapshot, item);
    }
}

/// Writes the result of one item of a step into the record.
fn one_done(draft: &mut Draft<'_>, subject: &Subject, kind: StepKind, item: &Item) {
    match (kind, item) {
        (StepKind::DeleteSnapshot, Item::Snapshot(name)) => {
            draft.record.snapshots.retain(|snapshot| snapshot.name != *name)
        }
        (StepKind::SaveBack | StepKind::CopyDisk, Item::Disk(name)) => {
            if let Some(becomes) = draft.new_image(subject, item) {
                draft
                    .images
                    .push(ImageChange::Set { image: becomes.image, state: ImageState::Ready });
            }
            if let Some(disk) = draft.record.disks.iter_mut().find(|disk| disk.name == *name) {
                disk.save_as = None;
            }
        }
        // The other steps change the record once, when their last item is done ([`marks::after`]).
        (_, _) => {}
    }
}

/// The operator stated that the whole step is done.
fn all_done(draft: &mut Draft<'_>, mut active: Active, kind: StepKind) -> Next {
    for item in &std::mem::take(&mut active.pending) {
        one_done(draft, &active.subject, kind, item);
    }
    step_done(draft, active, kind)
}

fn step_done(draft: &mut Draft<'_>, active: Active, kind: StepKind) -> Next {
    marks::after(&mut draft.record, kind, draft.now);
    pass(draft, active)
}

/// The operator states that the current step of a failed operation has succeeded.
pub(crate) fn stated_done(draft: &mut Draft<'_>, mut active: Active) -> Next {
    let Some(kind) = active.kind() else { return begin(draft, active) };
    marks::before(&mut draft.record, kind, active.id);
    active.pending = items(draft, &active, kind);
    all_done(draft, active, kind)
}
