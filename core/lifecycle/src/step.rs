//! How steps run. One set of functions for all operations:
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

use crate::draft::Draft;
use crate::recipe::{self, OnFailure};
use crate::sight::{Sight, sight};
use crate::{Look, settle};
use ostler_model::{
    Active, CallResult, DriverError, EffectClass, EffectKey, ErrorKind, EventKind, Goal, Item, Journal, Lane, Millis, Outcome,
    Patience, Phase, PowerReason, Reason, RecoveryFile, State, Stated, StepKind, Timestamp,
};

/// While a press is waited for, the engine looks this often at least. Events make it look at once; this bounds their loss.
pub const LOOK_EVERY: Millis = Millis(2_000);
/// After so many looks in a row that could not be had, a VM whose step failed rests in unknown.
pub const BLIND_TRIES: u32 = 5;
/// After so many driver crashes over one item the step has failed: the same inputs will crash it again.
pub const CRASHES_MAX: u32 = 3;
/// First wait before something is sent again.
const BACKOFF_FIRST: Millis = Millis(100);
/// Longest wait before something is sent again.
const BACKOFF_MOST: Millis = Millis(30_000);
/// How long a look may take.
const LOOK_PATIENCE: Millis = Millis(15_000);

/// The wait before attempt `attempt + 1`: doubles, within bounds. Not random, because one VM never retries beside itself and
/// lanes keep VMs apart.
#[must_use]
pub fn retry_after(attempt: u32) -> Millis {
    let factor = 1u64 << attempt.saturating_sub(1).min(20);
    Millis(BACKOFF_FIRST.0.saturating_mul(factor).min(BACKOFF_MOST.0))
}

/// Begins the step that `at` points to, or ends the operation after the last one.
pub(crate) fn begin(draft: &mut Draft<'_>) {
    // Steps that have nothing to act on are passed over; a plan is short, so this ends.
    loop {
        let Some(active) = &draft.record.operation else { return };
        let Some(kind) = active.kind() else { return settle::succeeded(draft) };
        let pending = items(draft, kind);
        if pending.is_empty() {
            advance_index(draft);
            continue;
        }
        return begin_with(draft, kind, pending);
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
    let operation = active.id;
    draft.journal.push(Journal::StepBegan { operation, step, kind, at: now });
    draft.events.push(EventKind::StepBegan { operation, step, step_kind: kind });
    draft.set_state(kind.state(), Reason::Asked);
    write_ahead(draft, kind);
    begin_sending(draft, kind);
}

/// What the record must say before the step's first call may be sent.
fn write_ahead(draft: &mut Draft<'_>, kind: StepKind) {
    let record = &mut draft.record;
    match kind {
        StepKind::PrepareDisks | StepKind::CopyIn => record.files.host = true,
        StepKind::CopyOut => record.files.home = true,
        StepKind::Unpause => {
            if let Some(file) = &mut record.recovery {
                file.consumed = true;
            }
        }
        StepKind::Save => {
            let begun = record.recovery.as_ref().is_some_and(|file| !file.complete);
            if let (false, Some(active)) = (begun, &record.operation) {
                let name = format!("memory-{}.save", active.id);
                // The name is made of digits and letters only, so it is always a path.
                record.recovery = name.parse().ok().map(|name| RecoveryFile { name, complete: false, consumed: false });
            }
        }
        StepKind::DropHome
        | StepKind::Boot
        | StepKind::Restore
        | StepKind::DropRecovery
        | StepKind::PressPower
        | StepKind::PowerOff
        | StepKind::Remove
        | StepKind::DropHost
        | StepKind::Reboot
        | StepKind::Reset => {}
    }
}

/// What the step acts on, in order.
fn items(draft: &Draft<'_>, kind: StepKind) -> Vec<Item> {
    let record = &draft.record;
    let disks = || record.disks.iter().map(|disk| Item::Disk(disk.name.clone()));
    match kind {
        StepKind::PrepareDisks => disks().collect(),
        StepKind::CopyIn | StepKind::CopyOut => disks().chain(record.usable_recovery().map(|_| Item::Recovery)).collect(),
        StepKind::DropRecovery => record.recovery.iter().map(|_| Item::Recovery).collect(),
        StepKind::DropHost => {
            if record.files.host && record.storage.is_some() {
                vec![Item::Files]
            } else {
                vec![]
            }
        }
        StepKind::DropHome => {
            if record.files.home && record.storage.is_some() {
                vec![Item::Files]
            } else {
                vec![]
            }
        }
        StepKind::Boot
        | StepKind::Restore
        | StepKind::Unpause
        | StepKind::PressPower
        | StepKind::PowerOff
        | StepKind::Save
        | StepKind::Remove
        | StepKind::Reboot
        | StepKind::Reset => {
            if record.placement.is_some() {
                vec![Item::Domain]
            } else {
                vec![]
            }
        }
    }
}

/// One mutating call a VM at a time; only a destroy may run beside it. A press waits for the guest to have booted.
pub(crate) fn begin_sending(draft: &mut Draft<'_>, kind: StepKind) {
    if !draft.record.open.is_empty() && kind != StepKind::PowerOff {
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

/// Sends the item in hand.
fn send(draft: &mut Draft<'_>) {
    let now = draft.now;
    let patience = draft.record.spec.patience;
    let Some(active) = &mut draft.record.operation else { return };
    let (Some(kind), Some(item)) = (active.kind(), active.pending.first().cloned()) else { return };
    let whole = match kind.call().lane() {
        Lane::Hypervisor => patience.hypervisor,
        Lane::Transfer => patience.transfer,
    };
    // A repeat has what remains, but always enough to find out that it is done already.
    let left = active.deadline.map_or(whole, |deadline| deadline.since(now).max(LOOK_PATIENCE).min(whole));
    active.attempt = active.attempt.saturating_add(1);
    active.phase = Phase::Calling;
    let (operation, attempts) = (active.id, active.attempt);
    if attempts > 1 {
        draft.journal.push(Journal::StepWent { operation, attempts, error: None });
    }
    draft.open_call(kind.call(), item, left);
}

fn look(draft: &mut Draft<'_>, phase: Phase) {
    set_phase(draft, phase);
    draft.open_call(ostler_model::Call::Observe, Item::Look, LOOK_PATIENCE);
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

/// A driver call returned, or was proven dead.
pub(crate) fn answered(draft: &mut Draft<'_>, key: &EffectKey, sent: Timestamp, result: &CallResult) {
    if draft.close_call(key).is_none() {
        return;
    }
    if let Ok(Outcome { state: Some(state), .. }) = result
        && let Some(place) = &draft.record.placement
    {
        let driver = place.driver.clone();
        draft.record.driver_state.insert(driver, state.clone());
    }
    let patience = draft.record.spec.patience;
    let Some(active) = &mut draft.record.operation else { return };
    let ours = active.id == key.operation && active.step == key.step;
    if matches!(active.phase, Phase::Draining) {
        return drained(draft);
    }
    if !ours {
        return;
    }
    if key.item == Item::Look {
        let look = match result {
            Ok(outcome) => {
                outcome.seen.clone().ok_or_else(|| DriverError::unknown("no-look", "the driver did not say what it saw"))
            }
            Err(error) => Err(error.clone()),
        };
        return looked(draft, &look);
    }
    if !matches!(active.phase, Phase::Calling) || active.pending.first() != Some(&key.item) {
        return;
    }
    if active.sent.is_none() {
        active.sent = Some(sent);
        active.deadline = active.kind().map(|kind| sent.plus(step_patience(patience, kind)));
    }
    match result {
        Ok(outcome) => succeeded(draft, outcome),
        Err(error) => erred(draft, error),
    }
}

fn step_patience(patience: Patience, kind: StepKind) -> Millis {
    match (kind, kind.call().lane()) {
        (StepKind::PressPower, _) => patience.shutdown,
        (_, Lane::Hypervisor) => patience.hypervisor,
        (_, Lane::Transfer) => patience.transfer,
    }
}

/// Earlier calls have returned, perhaps: then the step in hand goes on.
fn drained(draft: &mut Draft<'_>) {
    if !draft.record.open.is_empty() {
        return;
    }
    let Some(active) = &mut draft.record.operation else { return };
    let stated = active.stated.take();
    let Some(kind) = active.kind() else { return };
    match stated {
        None => begin_sending(draft, kind),
        Some(Stated::Retry) => {
            restart_count(draft);
            begin_sending(draft, kind);
        }
        Some(Stated::Success) => step_done(draft, kind),
        Some(Stated::Failure) => fail(draft, &DriverError::refused("operator", "the operator stated that it failed")),
        Some(Stated::Undo) => {
            if let Some(active) = &mut draft.record.operation {
                active.error = Some(DriverError::new(ErrorKind::Cancelled, "undone", "the operator had it rolled back"));
            }
            roll_back(draft);
        }
    }
}

/// Carries out what the operator stated, at once if nothing is open.
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

fn succeeded(draft: &mut Draft<'_>, outcome: &Outcome) {
    let Some(kind) = draft.record.operation.as_ref().and_then(Active::kind) else { return };
    if kind.goal() == Goal::Nothing {
        return item_done(draft, kind);
    }
    match &outcome.seen {
        Some(seen) => judge(draft, kind, sight(&draft.record, draft.facts.store, seen), Judged::Answer),
        None => look(draft, Phase::Confirming),
    }
}

/// What a sight was had by: an answer's word means more than a look after a lost answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Judged {
    Answer,
    Look,
}

fn judge(draft: &mut Draft<'_>, kind: StepKind, seen: Sight, by: Judged) {
    draft.note_sight(seen);
    match seen {
        Sight::AboveIssued => {
            let error =
                DriverError::new(ErrorKind::Stale, "store-is-stale", "a generation above all this store issued is at the host");
            return settle::unknown(draft, Reason::StoreIsStale, &error);
        }
        Sight::Foreign => {
            let error = DriverError::refused("foreign", "a domain of this UUID is there that this store did not stamp");
            return fail(draft, &error);
        }
        Sight::Paused(PowerReason::Starting) if kind.goal() == Goal::Running => return blind(draft, false),
        Sight::Running
        | Sight::Paused(_)
        | Sight::Off(_)
        | Sight::Crashed
        | Sight::Absent
        | Sight::OlderOff
        | Sight::OlderAlive => {}
    }
    let proven = by == Judged::Answer || kind.proven_by_look();
    if proven && seen.meets(kind.goal()) {
        return item_done(draft, kind);
    }
    not_met(draft, kind, seen, by);
}

fn not_met(draft: &mut Draft<'_>, kind: StepKind, seen: Sight, by: Judged) {
    let (now, deadline) = (draft.now, draft.record.operation.as_ref().and_then(|active| active.deadline));
    let late = deadline.is_some_and(|deadline| now >= deadline);
    match kind.class() {
        EffectClass::Edge if kind == StepKind::PressPower => {
            if late {
                let error = DriverError::refused("guest-ignored", "the guest did not switch itself off in time");
                return settle::failed_at_sight(draft, &error, seen);
            }
            let until = now.plus(LOOK_EVERY).min(deadline.unwrap_or(now.plus(LOOK_EVERY)));
            set_phase(draft, Phase::Waiting { until });
        }
        EffectClass::Edge | EffectClass::Question => {
            let error = DriverError::refused("goal-not-met", format!("{kind} was sent, and the domain is {}", seen.words()));
            settle::failed_at_sight(draft, &error, seen);
        }
        EffectClass::Level => {
            let error = DriverError::unknown("goal-not-met", format!("{kind} was sent, and the domain is {}", seen.words()));
            // A guest that was started and has switched itself off is off, not a failed start.
            if by == Judged::Answer && kind.goal() == Goal::Running && matches!(seen, Sight::Off(PowerReason::Guest)) {
                return settle::failed_at_sight(draft, &error, seen);
            }
            send_later(draft, &error);
        }
    }
}

fn erred(draft: &mut Draft<'_>, error: &DriverError) {
    let Some(active) = &mut draft.record.operation else { return };
    let Some(kind) = active.kind() else { return };
    let crashed = matches!(error.code.as_str(), "driver-trap" | "driver-memory");
    if crashed {
        active.crashes = active.crashes.saturating_add(1);
    }
    let poisoned = active.crashes >= CRASHES_MAX;
    active.error = Some(error.clone());
    let (operation, attempts) = (active.id, active.attempt);
    draft.journal.push(Journal::StepWent { operation, attempts, error: Some(error.clone()) });
    draft.events.push(EventKind::StepTrouble { operation, step_kind: kind, error: error.clone() });
    match error.kind {
        _ if poisoned => fail(draft, error),
        ErrorKind::Retry => send_later(draft, error),
        ErrorKind::Unknown => match (kind.call().lane(), kind.class()) {
            (Lane::Hypervisor, EffectClass::Edge) => look(draft, Phase::Confirming),
            (Lane::Hypervisor, EffectClass::Level | EffectClass::Question) if kind.proven_by_look() => {
                look(draft, Phase::Confirming)
            }
            (Lane::Hypervisor | Lane::Transfer, _) => send_later(draft, error),
        },
        ErrorKind::Gone if matches!(kind.goal(), Goal::Off | Goal::Absent) && kind.proven_by_look() => {
            look(draft, Phase::Confirming)
        }
        ErrorKind::Stale => settle::unknown(draft, Reason::StoreIsStale, error),
        ErrorKind::Gone | ErrorKind::Refused | ErrorKind::NotHere | ErrorKind::Cancelled => fail(draft, error),
    }
}

/// Sends the item in hand again after a while, as long as the step's deadline allows.
fn send_later(draft: &mut Draft<'_>, error: &DriverError) {
    let now = draft.now;
    let insists = policy(draft) == OnFailure::Insist;
    let Some(active) = &mut draft.record.operation else { return };
    let until = now.plus(retry_after(active.attempt));
    if !insists && active.deadline.is_some_and(|deadline| until >= deadline) {
        return fail(draft, error);
    }
    active.error = Some(error.clone());
    active.phase = Phase::Backoff { until };
}

fn policy(draft: &Draft<'_>) -> OnFailure {
    let Some(active) = &draft.record.operation else { return OnFailure::Settle };
    match active.kind() {
        Some(kind) => recipe::on_failure(active.verb, kind),
        None => OnFailure::Settle,
    }
}

fn item_done(draft: &mut Draft<'_>, kind: StepKind) {
    let Some(active) = &mut draft.record.operation else { return };
    if !active.pending.is_empty() {
        active.pending.remove(0);
    }
    active.error = if active.undoing { active.error.take() } else { None };
    if active.pending.is_empty() {
        return step_done(draft, kind);
    }
    active.attempt = 0;
    active.crashes = 0;
    send(draft);
}

fn step_done(draft: &mut Draft<'_>, kind: StepKind) {
    let now = draft.now;
    if let Some(active) = &draft.record.operation {
        draft.journal.push(Journal::StepEnded { operation: active.id, at: now });
    }
    let record = &mut draft.record;
    match kind {
        StepKind::DropHome => record.files.home = false,
        StepKind::DropHost => record.files.host = false,
        StepKind::Boot | StepKind::Unpause => {
            record.running_since = Some(now);
            if let Some(place) = &record.placement {
                record.placed = place.generation;
            }
            if kind == StepKind::Boot {
                record.recovery = None;
            }
        }
        StepKind::Reboot | StepKind::Reset => record.running_since = Some(now),
        StepKind::DropRecovery => record.recovery = None,
        StepKind::Save => {
            if let Some(file) = &mut record.recovery {
                file.complete = true;
            }
            record.running_since = None;
        }
        StepKind::PressPower | StepKind::PowerOff => record.running_since = None,
        StepKind::Remove => {
            record.running_since = None;
            record.driver_state.clear();
        }
        StepKind::PrepareDisks | StepKind::CopyIn | StepKind::Restore | StepKind::CopyOut => {}
    }
    advance_index(draft);
    begin(draft);
}

/// The step in hand has failed for good.
fn fail(draft: &mut Draft<'_>, error: &DriverError) {
    let Some(active) = &mut draft.record.operation else { return };
    let undoing = active.undoing;
    if !undoing || active.error.is_none() {
        active.error = Some(error.clone());
    }
    match policy(draft) {
        OnFailure::Insist => send_later(draft, error),
        _ if undoing => settle::rest_failed(draft, error),
        OnFailure::Fail => settle::rest_failed(draft, error),
        OnFailure::Settle => settle_by_look(draft),
        OnFailure::Undo => roll_back(draft),
    }
}

/// Replaces the plan by what takes its steps back.
pub(crate) fn roll_back(draft: &mut Draft<'_>) {
    let Some(active) = &mut draft.record.operation else { return };
    let done = active.plan.get(..=active.at).unwrap_or(&active.plan);
    active.plan = recipe::rollback(done);
    active.at = 0;
    active.undoing = true;
    begin(draft);
}

/// Looks, to know which state a failed step leaves.
pub(crate) fn settle_by_look(draft: &mut Draft<'_>) {
    if let Some(active) = &mut draft.record.operation {
        active.blind = 0;
    }
    look(draft, Phase::Settling);
}

/// A look returned.
fn looked(draft: &mut Draft<'_>, look: &Look) {
    let Some(active) = &draft.record.operation else { return };
    let settling = matches!(active.phase, Phase::Settling);
    let (kind, error) = (active.kind(), active.error.clone());
    match look {
        Ok(seen) => {
            let seen = sight(&draft.record, draft.facts.store, seen);
            match kind {
                Some(kind) if !settling => judge(draft, kind, seen, Judged::Look),
                Some(_) | None => {
                    let error = error.unwrap_or_else(|| DriverError::unknown("not-told", "the step failed without a word"));
                    settle::failed_at_sight(draft, &error, seen);
                }
            }
        }
        Err(why) => {
            let operation = active.id;
            let attempts = active.attempt;
            draft.journal.push(Journal::StepWent { operation, attempts, error: Some(why.clone()) });
            blind(draft, settling);
        }
    }
}

/// A look could not be had: nothing is concluded. After some tries the VM rests in unknown, unless the verb insists.
fn blind(draft: &mut Draft<'_>, settling: bool) {
    let now = draft.now;
    let insists = policy(draft) == OnFailure::Insist;
    let Some(active) = &mut draft.record.operation else { return };
    active.blind = active.blind.saturating_add(1);
    let late = active.deadline.is_some_and(|deadline| now >= deadline);
    if !insists && active.blind >= BLIND_TRIES && (settling || late) {
        let error = active.error.clone().unwrap_or_else(|| DriverError::retry("cannot-ask", "the host could not be asked"));
        return settle::unknown(draft, Reason::CannotAsk, &error);
    }
    active.phase = Phase::Blind { until: now.plus(retry_after(active.blind.saturating_add(2))), settling };
}

/// Time has passed; the record says what for.
pub(crate) fn tick(draft: &mut Draft<'_>) {
    let now = draft.now;
    let Some(active) = &draft.record.operation else { return };
    if draft.record.next_due().is_none_or(|due| due > now) {
        return;
    }
    match active.phase {
        Phase::Delaying { .. } | Phase::Backoff { .. } => send(draft),
        // After a restart, too, an elapsed deadline counts only once a look agrees.
        Phase::Waiting { .. } => look(draft, Phase::Confirming),
        Phase::Blind { settling, .. } => look(draft, if settling { Phase::Settling } else { Phase::Confirming }),
        Phase::Draining | Phase::Calling | Phase::Confirming | Phase::Settling => {}
    }
}

/// The daemon was started: whoever sent the open calls is dead, their outcome is not known.
pub(crate) fn restarted(draft: &mut Draft<'_>) {
    let open: Vec<EffectKey> = draft.record.open.iter().map(|open| open.key.clone()).collect();
    for key in &open {
        draft.close_call(key);
    }
    let Some(active) = &draft.record.operation else { return };
    let Some(kind) = active.kind() else { return begin(draft) };
    match active.phase {
        Phase::Draining => drained(draft),
        Phase::Calling if kind.call().lane() == Lane::Hypervisor && kind.class() == EffectClass::Level && kind.proven_by_look() => {
            look(draft, Phase::Confirming);
        }
        // Edge effects carry their identity to the host: a driver that finds it stamped does not press twice.
        Phase::Calling => send(draft),
        Phase::Confirming => look(draft, Phase::Confirming),
        Phase::Settling => look(draft, Phase::Settling),
        Phase::Delaying { .. } | Phase::Backoff { .. } | Phase::Waiting { .. } | Phase::Blind { .. } => {}
    }
}

/// The monitor saw something while a press is waited for.
pub(crate) fn seen_while_waiting(draft: &mut Draft<'_>, seen: Sight) {
    let Some(active) = &draft.record.operation else { return };
    let waits = matches!(active.phase, Phase::Waiting { .. } | Phase::Delaying { .. });
    if let (true, Some(kind)) = (waits, active.kind())
        && kind.state() == State::Shutdown
        && seen.meets(kind.goal())
    {
        draft.note_sight(seen);
        item_done(draft, kind);
    }
}

/// The operator states that the step in hand of a failed operation has succeeded.
pub(crate) fn stated_done(draft: &mut Draft<'_>) {
    match draft.record.operation.as_ref().and_then(Active::kind) {
        Some(kind) => {
            write_ahead(draft, kind);
            step_done(draft, kind);
        }
        None => begin(draft),
    }
}
