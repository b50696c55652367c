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
//! The part of the drawing down to `Calling` is in this module. The part that follows an answer or a look is in `judge`.

use crate::draft::Draft;
use crate::{marks, recipe, settle};
use ostler_model::{
    Active, Call, DriverError, EffectKey, EventKind, Folder, Goal, ImageChange, ImageState, Item, Journal, Lane, Millis, Patience,
    Phase, Reason, Scope, Side, State, Stated, StepKind, Subject, Verb, VmRecord,
};

/// While an operation waits after a press, it looks at least this often. Events make it look at once. This interval bounds the
/// delay if an event is lost.
pub const LOOK_EVERY: Millis = Millis(2_000);
/// After so many failed looks in a row, a VM whose step has failed, or is past its deadline, rests in `unknown`.
pub const BLIND_TRIES: u32 = 5;
/// After so many tries, within half a minute, an operation goes on without a step that it can do without.
pub const SKIP_TRIES: u32 = 8;
/// After so many driver crashes over one item, the step has failed: the same inputs will crash the driver again.
pub const CRASHES_MAX: u32 = 3;
/// The first wait before a call is sent again.
const BACKOFF_FIRST: Millis = Millis(100);
/// The longest wait before a call is sent again.
const BACKOFF_MOST: Millis = Millis(30_000);
/// How long a look may take.
const LOOK_PATIENCE: Millis = Millis(15_000);

/// The wait before attempt `attempt + 1`. It doubles, within bounds. It is not random, because a VM never has two retries at the
/// same time, and lanes keep VMs apart.
#[must_use]
pub fn retry_after(attempt: u32) -> Millis {
    let factor = 1u64 << attempt.saturating_sub(1).min(20);
    Millis(BACKOFF_FIRST.0.saturating_mul(factor).min(BACKOFF_MOST.0))
}

/// Begins the step that `at` points to, or ends the operation after the last one.
pub(crate) fn begin(draft: &mut Draft<'_>) {
    // Steps that have nothing to act on are skipped. A plan is short, so this loop ends.
    loop {
        let Some(active) = &draft.record.operation else { return };
        let Some(kind) = active.kind() else { return end(draft) };
        let pending = items(draft, kind);
        if pending.is_empty() {
            if kind == StepKind::Switch {
                switch(draft);
            }
            advance_index(draft);
            continue;
        }
        return begin_with(draft, kind, pending);
    }
}

/// All steps are done. But nothing rests while an earlier call may still have an effect. `forget` asks no host, so it gets here
/// while such calls are open.
fn end(draft: &mut Draft<'_>) {
    if draft.record.open.is_empty() {
        return settle::succeeded(draft);
    }
    draft.set_state(State::Epilog, Reason::Asked);
    set_phase(draft, Phase::Draining);
}

/// This step only changes the record: it swaps the two placements of a migration.
fn switch(draft: &mut Draft<'_>) {
    let Some(active) = &draft.record.operation else { return };
    let (verb, undoing) = (active.verb, active.undoing);
    // Another verb can have the origin `unknown` too, if it overtook a verb that began there. But since then its domain was
    // found.
    let was_lost = undoing && active.origin == State::Unknown && verb == Verb::Migrate;
    let lost = was_lost || !undoing && recipe::leaves_lost_host(&active.plan);
    let live = !undoing && active.plan.contains(&StepKind::Migrate);
    // Nothing of ours is about to start on a lost host. The domain that is found there when the host is back is still the one
    // from before, so its generation stays.
    draft.switch(verb, live, undoing && !lost);
    // The operator has stated that nothing runs on the old host. When that host is back, its domain must still be swept.
    draft.record.other_domain |= lost && !undoing;
    // The VM's files are where the operator says that they are. The files that the lost host has are swept.
    draft.record.files.host |= lost && !undoing;
    if lost && undoing {
        // The files at the host on which the VM should have started were brought there by the operator. They stay.
        draft.record.files.other = false;
    }
}

fn begin_with(draft: &mut Draft<'_>, kind: StepKind, pending: Vec<Item>) {
    draft.record.step = draft.record.step.next();
    let (step, now) = (draft.record.step, draft.now);
    let Some(active) = &mut draft.record.operation else { return };
    active.step = step;
    active.pending = pending;
    active.attempt = 0;
    active.blind = 0;
    active.crashes = 0;
    active.sent = None;
    active.deadline = None;
    active.stated = None;
    let (operation, undoing, shown) = (active.id, active.undoing, recipe::shown(active.verb, kind));
    draft.journal.push(Journal::StepBegan { operation, step, kind, undoing, at: now });
    draft.events.push(EventKind::StepBegan { operation, step, step_kind: kind });
    draft.set_state(shown, Reason::Asked);
    marks::before(&mut draft.record, kind, operation);
    begin_sending(draft, kind);
}

/// The items on which the step acts, in order. Empty if there is no place to act on.
fn items(draft: &Draft<'_>, kind: StepKind) -> Vec<Item> {
    let record = &draft.record;
    let Some(active) = &record.operation else { return vec![] };
    let subject = &active.subject;
    let of_subject = || record.disks.iter().filter(|disk| recipe::concerns(subject, &disk.name));
    let disks = || of_subject().map(|disk| Item::Disk(disk.name.clone()));
    let own_disks = || of_subject().filter(|disk| disk.adopted.is_none()).map(|disk| Item::Disk(disk.name.clone()));
    let found = match kind.scope() {
        Scope::Nothing => vec![],
        Scope::Domain => vec![Item::Domain],
        Scope::OwnDisks => own_disks().collect(),
        Scope::Disks => disks().collect(),
        Scope::NewImages => disks().filter(|item| draft.new_image(item).is_some()).collect(),
        Scope::DisksAndMemory => own_disks().chain(record.usable_recovery().map(|_| Item::Recovery)).collect(),
        Scope::Memory => record.recovery.iter().map(|_| Item::Recovery).collect(),
        // Files are not removed under a domain that could not be removed. Then both are swept later.
        Scope::Folder(Folder::Other) if record.other_domain => vec![],
        Scope::Folder(folder) if marks::has_files(record, folder) => vec![Item::Files],
        Scope::Folder(_) => vec![],
        Scope::Nic => match subject {
            Subject::Nic { mac } => vec![Item::Nic(mac.clone())],
            Subject::Vm | Subject::Disk { .. } | Subject::Snapshot { .. } | Subject::DiskImage { .. } | Subject::Size { .. } => {
                vec![]
            }
        },
        Scope::Snapshots => match (kind, subject) {
            (StepKind::DeleteSnapshot, Subject::Snapshot { name }) if active.verb != Verb::SnapshotDelete && !active.undoing => {
                // This step removes the snapshots that do not survive, never the subject itself.
                losing(record).filter(|item| *item != Item::Snapshot(name.clone())).collect()
            }
            (_, Subject::Snapshot { name }) => vec![Item::Snapshot(name.clone())],
            (_, _) => losing(record).collect(),
        },
    };
    let reachable = |item: &Item| draft.address(kind.call(), kind.sent_to(), item).is_some();
    if found.first().is_some_and(reachable) { found } else { vec![] }
}

fn losing(record: &VmRecord) -> impl Iterator<Item = Item> + '_ {
    record.snapshots.iter().filter(|snapshot| snapshot.losing).map(|snapshot| Item::Snapshot(snapshot.name.clone()))
}

/// Sends the step's call, if it may be sent now. A VM has one mutating call at a time. Only a destroy may run beside another
/// call, and only if the next step switches off or removes the domain again: the call in flight may still start it. A press of
/// the power button waits until the guest has booted.
pub(crate) fn begin_sending(draft: &mut Draft<'_>, kind: StepKind) {
    if !draft.record.open.is_empty() && !may_run_beside(draft) {
        return set_phase(draft, Phase::Draining);
    }
    if let (true, Some(since)) = (matches!(kind, StepKind::PressPower | StepKind::Reboot), draft.record.running_since) {
        let until = since.plus(draft.record.spec.patience.boot_grace);
        if until > draft.now {
            return set_phase(draft, Phase::Delaying { until });
        }
    }
    send(draft);
}

fn may_run_beside(draft: &Draft<'_>) -> bool {
    let Some(active) = &draft.record.operation else { return false };
    active.kind() == Some(StepKind::PowerOff)
        && matches!(active.plan.get(active.at + 1), Some(StepKind::PowerOff | StepKind::Remove))
}

/// Goes on to the next step, and records nothing about the result of this one.
pub(crate) fn pass(draft: &mut Draft<'_>) {
    let now = draft.now;
    if let Some(active) = &draft.record.operation {
        draft.journal.push(Journal::StepEnded { operation: active.id, at: now });
    }
    advance_index(draft);
    begin(draft);
}

/// Sends the call of the current item.
fn send(draft: &mut Draft<'_>) {
    let now = draft.now;
    let patience = draft.record.spec.patience;
    let Some(active) = &mut draft.record.operation else { return };
    let (Some(kind), Some(item)) = (active.kind(), active.pending.first().cloned()) else { return };
    // The press itself is done at once. The long wait is for the guest.
    let whole = if kind == StepKind::PressPower { patience.hypervisor } else { patience_of(patience, kind) };
    // A repeated call has the time that remains, but always enough to find out that its work is already done.
    let left = active.deadline.map_or(whole, |deadline| deadline.since(now).max(LOOK_PATIENCE).min(whole));
    active.attempt = active.attempt.saturating_add(1);
    active.phase = Phase::Calling;
    let (operation, attempts) = (active.id, active.attempt);
    if attempts > 1 {
        draft.journal.push(Journal::StepWent { operation, attempts, error: None });
    }
    draft.open_call(kind.call(), kind.sent_to(), item, left);
}

/// Looks at a host, to find out the result of the current step or, if the step has failed, the state that it left.
pub(crate) fn look(draft: &mut Draft<'_>, phase: Phase) {
    let side = look_side(draft, &phase);
    set_phase(draft, phase);
    draft.open_call(Call::Observe, side, Item::Look, LOOK_PATIENCE);
}

/// The host of a migration at which a look in `phase` is made.
pub(crate) fn look_side(draft: &Draft<'_>, phase: &Phase) -> Side {
    let kind = draft.record.operation.as_ref().and_then(Active::kind);
    let settling = matches!(phase, Phase::Settling | Phase::Blind { settling: true, .. });
    kind.filter(|_| !settling).map_or(Side::Here, StepKind::looked_at)
}

fn set_phase(draft: &mut Draft<'_>, phase: Phase) {
    if let Some(active) = &mut draft.record.operation {
        active.phase = phase;
    }
}

fn advance_index(draft: &mut Draft<'_>) {
    if let Some(active) = &mut draft.record.operation {
        active.at += 1;
    }
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
pub(crate) fn drained(draft: &mut Draft<'_>) {
    if !draft.record.open.is_empty() {
        return;
    }
    let Some(active) = &mut draft.record.operation else { return };
    let stated = active.stated.take();
    let Some(kind) = active.kind() else { return begin(draft) };
    match stated {
        None => begin_sending(draft, kind),
        Some(Stated::Retry) => {
            restart_count(draft);
            begin_sending(draft, kind);
        }
        Some(Stated::Success) if kind.goal() != Goal::Nothing => {
            // The look that came with the statement is older than the calls that have returned since. Look again.
            active.stated = Some(Stated::Success);
            look(draft, Phase::Confirming);
        }
        Some(Stated::Success | Stated::SuccessForced) => all_done(draft, kind),
        // For a migration, the place of the guest decides whether it can be taken back, not the operator's wish.
        Some(Stated::Failure | Stated::Undo) if kind == StepKind::Migrate => {
            settle::fail(draft, &DriverError::unknown("operator", "the operator had it rolled back"));
        }
        Some(Stated::Failure) => settle::fail(draft, &DriverError::unknown("operator", "the operator stated that it failed")),
        Some(Stated::Undo) => {
            let asked = DriverError::unknown("undone", "the operator had it rolled back");
            active.error = Some(asked.clone());
            settle::roll_back(draft, &asked);
        }
    }
}

/// Carries out the operator's statement: at once if no call is open, otherwise when the open calls have returned.
pub(crate) fn state(draft: &mut Draft<'_>, stated: Stated) {
    draft.cancel_open();
    if let Some(active) = &mut draft.record.operation {
        active.stated = Some(stated);
        active.phase = Phase::Draining;
    }
    drained(draft);
}

fn restart_count(draft: &mut Draft<'_>) {
    if let Some(active) = &mut draft.record.operation {
        active.crashes = 0;
        active.blind = 0;
        active.deadline = None;
        active.sent = None;
    }
}

pub(crate) fn item_done(draft: &mut Draft<'_>, kind: StepKind) {
    let Some(active) = &mut draft.record.operation else { return };
    if !active.pending.is_empty() {
        let item = active.pending.remove(0);
        one_done(draft, kind, &item);
    }
    let Some(active) = &mut draft.record.operation else { return };
    if !active.undoing {
        active.error = None;
    }
    if active.pending.is_empty() {
        return step_done(draft, kind);
    }
    // Each item has the whole time, and its own count of attempts and crashes.
    active.attempt = 0;
    restart_count(draft);
    send(draft);
}

/// A call that nobody waits for any more has succeeded. Its result holds, no matter what is stated about the step.
pub(crate) fn came_true(draft: &mut Draft<'_>, call: Call, item: &Item) {
    if call == Call::Save {
        draft.memory_is_written();
    }
    if call == Call::DeleteSnapshot {
        one_done(draft, StepKind::DeleteSnapshot, item);
    }
}

/// Writes the result of one item of a step into the record.
fn one_done(draft: &mut Draft<'_>, kind: StepKind, item: &Item) {
    match (kind, item) {
        (StepKind::DeleteSnapshot, Item::Snapshot(name)) => draft.record.snapshots.retain(|snapshot| snapshot.name != *name),
        (StepKind::SaveBack | StepKind::CopyDisk, Item::Disk(name)) => {
            if let Some(becomes) = draft.new_image(item) {
                draft.images.push(ImageChange::Set { image: becomes.image, state: ImageState::Ready });
            }
            if let Some(disk) = draft.record.disks.iter_mut().find(|disk| disk.name == *name) {
                disk.save_as = None;
            }
        }
        (_, _) => {}
    }
}

/// The operator stated that the whole step is done.
fn all_done(draft: &mut Draft<'_>, kind: StepKind) {
    let pending = draft.record.operation.as_mut().map(|active| std::mem::take(&mut active.pending)).unwrap_or_default();
    for item in &pending {
        one_done(draft, kind, item);
    }
    step_done(draft, kind);
}

fn step_done(draft: &mut Draft<'_>, kind: StepKind) {
    marks::after(&mut draft.record, kind, draft.now);
    pass(draft);
}

/// Time has passed. The phase of the operation says what the wait was for.
pub(crate) fn tick(draft: &mut Draft<'_>) {
    let now = draft.now;
    let Some(active) = &draft.record.operation else { return };
    if draft.record.step_due().is_none_or(|due| due > now) {
        return;
    }
    match active.phase {
        Phase::Delaying { .. } | Phase::Backoff { .. } => send(draft),
        // An elapsed deadline counts only after a look agrees, also after a restart.
        Phase::Waiting { .. } => look(draft, Phase::Confirming),
        Phase::Blind { settling, .. } => look(draft, if settling { Phase::Settling } else { Phase::Confirming }),
        Phase::Draining | Phase::Calling | Phase::Confirming | Phase::Settling => {}
    }
}

/// The daemon was started. The process that sent the open calls is dead, so their outcome is unknown.
pub(crate) fn restarted(draft: &mut Draft<'_>) {
    let open: Vec<EffectKey> = draft.record.open.iter().map(|open| open.key.clone()).collect();
    for key in &open {
        draft.close_call(key);
    }
    let (now, patience) = (draft.now, draft.record.spec.patience);
    let Some(active) = &mut draft.record.operation else { return };
    let Some(kind) = active.kind() else { return begin(draft) };
    match active.phase {
        Phase::Draining => drained(draft),
        Phase::Calling => {
            active.acted = true;
            // The call counts as sent now, at the latest. Otherwise a call that crashes the daemon would have no deadline.
            if active.sent.is_none() {
                active.sent = Some(now);
                active.deadline = Some(now.plus(patience_of(patience, kind)));
            }
            if !active.undoing {
                active.error = Some(DriverError::unknown("restarted", "the daemon was restarted while the call was open"));
            }
            if kind.proven_by_look() {
                look(draft, Phase::Confirming);
            } else {
                // An edge effect carries its effect key to the host. A driver that finds the key stamped there does not send the
                // effect twice.
                send(draft);
            }
        }
        Phase::Confirming => look(draft, Phase::Confirming),
        Phase::Settling => look(draft, Phase::Settling),
        Phase::Delaying { .. } | Phase::Backoff { .. } | Phase::Waiting { .. } | Phase::Blind { .. } => {}
    }
}

/// The operator states that the current step of a failed operation has succeeded.
pub(crate) fn stated_done(draft: &mut Draft<'_>) {
    match draft.record.operation.as_ref().and_then(|active| Some((active.id, active.kind()?))) {
        Some((operation, kind)) => {
            marks::before(&mut draft.record, kind, operation);
            let pending = items(draft, kind);
            if let Some(active) = &mut draft.record.operation {
                active.pending = pending;
            }
            all_done(draft, kind);
        }
        None => begin(draft),
    }
}
