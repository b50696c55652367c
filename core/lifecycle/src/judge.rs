//! Judges the current step by an answer or a look: the step is done, waits, is sent again, or has failed.

use crate::draft::Draft;
use crate::recipe::{self, OnFailure};
use crate::sight::{Sight, sight_at};
use crate::step::{BLIND_TRIES, CRASHES_MAX, LOOK_EVERY, SKIP_TRIES, retry_after};
use crate::{Look, settle, step};
use ostler_model::{
    Active, Call, CallResult, DriverError, EffectClass, EffectKey, ErrorKind, EventKind, Goal, Item, Journal, Lane, Outcome, Phase,
    PowerReason, Reason, Side, Stated, StepKind, Timestamp,
};

/// Up to this number, every attempt that ends in the same error is told. After that, only the 16th, the 32nd, and so on.
const TROUBLE_TOLD: u32 = 8;

/// A driver call returned, or was proven dead.
pub(crate) fn answered(draft: &mut Draft<'_>, key: &EffectKey, sent: Option<Timestamp>, result: &CallResult) {
    let Some(closed) = draft.close_call(key) else { return };
    keep_driver_state(draft, closed.call, result);
    let patience = draft.record.spec.patience;
    let Some(active) = &mut draft.record.operation else { return };
    if key.item != Item::Look && !matches!(result, Err(error) if error.kind == ErrorKind::Retry) {
        active.acted = true;
    }
    if matches!(active.phase, Phase::Draining) {
        if active.id == key.operation && result.is_ok() {
            step::came_true(draft, closed.call, &key.item);
        }
        return step::drained(draft);
    }
    if active.id != key.operation || active.step != key.step {
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
    if let (None, Some(sent)) = (active.sent, sent) {
        active.sent = Some(sent);
        active.deadline = active.kind().map(|kind| sent.plus(step::patience_of(patience, kind)));
    }
    if !draft.record.open.is_empty() {
        return beside(draft, result);
    }
    match result {
        Ok(outcome) => succeeded(draft, outcome),
        Err(error) => erred(draft, error),
    }
}

/// A destroy that ran beside an earlier call has returned first. Its result proves nothing, because the earlier call may still
/// start the domain. The next step of the plan waits for that call, and switches off or removes the domain again.
fn beside(draft: &mut Draft<'_>, result: &CallResult) {
    if let Err(error) = result {
        note_trouble(draft, error);
    }
    step::pass(draft);
}

/// Keeps the state that a driver has returned, under the name of that driver.
fn keep_driver_state(draft: &mut Draft<'_>, call: Call, result: &CallResult) {
    let Ok(Outcome { state: Some(state), .. }) = result else { return };
    let record = &mut draft.record;
    let driver = match call.lane() {
        Lane::Hypervisor => record.placement.as_ref().map(|place| place.driver.clone()),
        Lane::Transfer => record.storage.as_ref().map(|storage| storage.driver.clone()),
    };
    if let Some(driver) = driver {
        record.driver_state.insert(driver, state.clone());
    }
}

fn succeeded(draft: &mut Draft<'_>, outcome: &Outcome) {
    let Some(active) = &mut draft.record.operation else { return };
    let Some(kind) = active.kind() else { return };
    if !active.undoing {
        active.error = None;
    }
    if kind.goal() == Goal::Nothing {
        let seen = outcome.seen.as_ref().filter(|_| kind.looked_at() == Side::Here);
        draft.sighted = seen.map(|seen| sight_at(&draft.record, Side::Here, draft.facts.store, seen));
        return step::item_done(draft, kind);
    }
    match &outcome.seen {
        // The driver observes the host at which it was called. That says nothing about the other host.
        Some(seen) if kind.sent_to() == kind.looked_at() => {
            let seen = sight_at(&draft.record, kind.looked_at(), draft.facts.store, seen);
            judge(draft, kind, seen, Judged::Answer);
        }
        Some(_) | None => step::look(draft, Phase::Confirming),
    }
}

/// How the observation was obtained. An observation in an answer proves more than a look after a lost answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Judged {
    Answer,
    Look,
}

fn judge(draft: &mut Draft<'_>, kind: StepKind, seen: Sight, by: Judged) {
    // `RemoveOther` looks at the other host: do not overwrite what we know of the VM's own host.
    if kind != StepKind::RemoveOther {
        draft.note_sight(seen);
    }
    let stated = draft.record.operation.as_mut().and_then(|active| active.stated.take()) == Some(Stated::Success);
    match seen {
        Sight::AboveIssued => {
            let error =
                DriverError::new(ErrorKind::Stale, "store-is-stale", "a generation above all this store issued is at the host");
            return settle::unknown(draft, Reason::StoreIsStale, &error);
        }
        Sight::Foreign => {
            let error = DriverError::refused("foreign", "a domain of this UUID is there that this store did not stamp");
            return settle::fail(draft, &error);
        }
        // The domain does not count as paused yet either. The restore that is under way may fail, and then its memory must not
        // count as used.
        Sight::Paused(PowerReason::Starting) if matches!(kind.goal(), Goal::Running | Goal::Paused) => {
            return still_starting(draft, kind);
        }
        Sight::Running
        | Sight::Paused(_)
        | Sight::Off(_)
        | Sight::Crashed
        | Sight::Absent
        | Sight::OlderOff
        | Sight::OlderAlive => {}
    }
    let Some(active) = &draft.record.operation else { return };
    if kind == StepKind::Migrate
        && seen != Sight::Running
        && let Some(error) = active.error.clone().filter(is_definite)
    {
        return settle::fail(draft, &error);
    }
    // The driver or the operator said that the step is done, or a look alone proves this kind of step.
    let said_yes = by == Judged::Answer || stated || active.error.is_none();
    if (said_yes || kind.proven_by_look()) && seen.meets(kind.goal()) {
        return step::item_done(draft, kind);
    }
    not_met(draft, kind, seen, said_yes);
}

/// The hypervisor is still starting the domain. Until the deadline this is neither *running* nor a failure.
fn still_starting(draft: &mut Draft<'_>, kind: StepKind) {
    if late(draft) {
        let error = DriverError::retry(
            "still-starting",
            format!("{kind} was sent, and the domain was still being started at the deadline"),
        );
        return settle::fail(draft, &error);
    }
    wait(draft);
}

/// Looks again after a while, and not later than the deadline.
fn wait(draft: &mut Draft<'_>) {
    let until = draft.now.plus(LOOK_EVERY);
    if let Some(active) = &mut draft.record.operation {
        active.phase = Phase::Waiting { until: active.deadline.map_or(until, |deadline| until.min(deadline)) };
    }
}

pub(crate) fn late(draft: &Draft<'_>) -> bool {
    let deadline = draft.record.operation.as_ref().and_then(|active| active.deadline);
    deadline.is_some_and(|deadline| draft.now >= deadline)
}

fn not_met(draft: &mut Draft<'_>, kind: StepKind, seen: Sight, said_yes: bool) {
    match kind.class() {
        EffectClass::Edge if kind == StepKind::PressPower => {
            if late(draft) {
                let error = DriverError::refused("guest-ignored", "the guest did not switch itself off in time");
                return settle::failed_at_sight(draft, &error, seen);
            }
            // If the answer was lost, the press may have been lost too. Send it again under the same effect key.
            match draft.record.operation.as_ref().and_then(|active| active.error.clone()) {
                Some(error) => send_later(draft, &error),
                None => wait(draft),
            }
        }
        EffectClass::Edge | EffectClass::Question => {
            let error = DriverError::refused("goal-not-met", format!("{kind} was sent, and the domain is {}", seen.words()));
            settle::failed_at_sight(draft, &error, seen);
        }
        EffectClass::Level => {
            let error = DriverError::unknown("goal-not-met", format!("{kind} was sent, and the domain is {}", seen.words()));
            // The guest was started and has switched itself off. Do not start it again: the VM rests as off.
            if said_yes && kind.goal() == Goal::Running && matches!(seen, Sight::Off(PowerReason::Guest)) {
                return settle::failed_at_sight(draft, &error, seen);
            }
            send_later(draft, &error);
        }
    }
}

fn is_definite(error: &DriverError) -> bool {
    recipe::is_definite(error.kind)
}

fn note_trouble(draft: &mut Draft<'_>, error: &DriverError) {
    let Some(active) = &draft.record.operation else { return };
    let Some(step_kind) = active.kind() else { return };
    let (operation, attempts) = (active.id, active.attempt);
    draft.journal.push(Journal::StepWent { operation, attempts, error: Some(error.clone()) });
    // The same error is told less and less often. Otherwise a step that is retried for ever on a host that is down would push the
    // events of all other VMs out of the feed.
    let known = active.error.as_ref().is_some_and(|last| (last.kind, &last.code) == (error.kind, &error.code));
    if !known || attempts <= TROUBLE_TOLD || attempts.is_power_of_two() {
        draft.events.push(EventKind::StepTrouble { operation, step_kind, error: error.clone() });
    }
}

fn erred(draft: &mut Draft<'_>, error: &DriverError) {
    note_trouble(draft, error);
    let Some(active) = &mut draft.record.operation else { return };
    let Some(kind) = active.kind() else { return };
    if matches!(error.code.as_str(), "driver-trap" | "driver-memory") {
        active.crashes = active.crashes.saturating_add(1);
    }
    let poisoned = active.crashes >= CRASHES_MAX;
    if !active.undoing {
        active.error = Some(error.clone());
    }
    match error.kind {
        // For a migration, the place of the guest decides, not the error.
        _ if kind == StepKind::Migrate && (poisoned || is_definite(error)) => step::look(draft, Phase::Confirming),
        _ if poisoned => settle::fail(draft, error),
        ErrorKind::Retry => send_later(draft, error),
        ErrorKind::Unknown if kind.proven_by_look() => step::look(draft, Phase::Confirming),
        // No look tells whether the call had its effect. Send it again under the same effect key: the driver knows the key and
        // does it at most once.
        ErrorKind::Unknown => send_later(draft, error),
        ErrorKind::Gone if matches!(kind.goal(), Goal::Off | Goal::Absent) && kind.proven_by_look() => {
            step::look(draft, Phase::Confirming);
        }
        ErrorKind::Gone if kind == StepKind::DeleteSnapshot => step::item_done(draft, kind),
        // Either there is no such disk or card, or there is no such domain. If a look shows that the domain runs, the device is
        // unplugged.
        ErrorKind::Gone if matches!(kind, StepKind::DetachDisk | StepKind::DetachNic) => {
            if !active.undoing {
                active.error = None;
            }
            step::look(draft, Phase::Confirming);
        }
        ErrorKind::Stale => settle::unknown(draft, Reason::StoreIsStale, error),
        ErrorKind::Gone | ErrorKind::Refused | ErrorKind::NotHere | ErrorKind::Cancelled => settle::fail(draft, error),
    }
}

/// When the current item's call can be sent again at the earliest.
fn next_try(active: &Active, now: Timestamp) -> Timestamp {
    now.plus(retry_after(active.attempt))
}

/// Whether the current call can be sent again before its deadline.
pub(crate) fn has_time(active: &Active, now: Timestamp) -> bool {
    active.deadline.is_none_or(|deadline| next_try(active, now) < deadline)
}

/// Sends the current item's call again after a while, as long as the step's deadline allows it.
pub(crate) fn send_later(draft: &mut Draft<'_>, error: &DriverError) {
    let now = draft.now;
    let insists = policy(draft) == OnFailure::Insist;
    let may_be_skipped = may_be_skipped(draft);
    let Some(active) = &mut draft.record.operation else { return };
    let until = next_try(active, now);
    if may_be_skipped && active.attempt >= SKIP_TRIES {
        return settle::fail(draft, error);
    }
    if !has_time(active, now) {
        if !insists {
            return settle::fail(draft, error);
        }
        // A step that is insisted on gets its whole time again. Otherwise a job that needs more than the time that is left would
        // never end.
        active.sent = None;
        active.deadline = None;
    }
    if !active.undoing {
        active.error = Some(error.clone());
    }
    active.phase = Phase::Backoff { until };
}

pub(crate) fn policy(draft: &Draft<'_>) -> OnFailure {
    let Some(active) = &draft.record.operation else { return OnFailure::Settle };
    match active.kind() {
        Some(kind) => recipe::on_failure(active.verb, kind),
        None => OnFailure::Settle,
    }
}

/// Whether the operation goes on without the current step if that step fails. It then gives the step up soon: leftovers are swept
/// when their host is seen, and until the operation ends nothing else can be asked of the VM.
fn may_be_skipped(draft: &Draft<'_>) -> bool {
    let active = draft.record.operation.as_ref();
    let holds = active.is_some_and(|active| active.undoing && active.kind() == Some(StepKind::RemoveOther));
    policy(draft) == OnFailure::Skip && !holds
}

/// A look returned.
fn looked(draft: &mut Draft<'_>, look: &Look) {
    let Some(active) = &mut draft.record.operation else { return };
    let settling = matches!(active.phase, Phase::Settling);
    match look {
        Ok(seen) => {
            let (kind, error, phase) = (active.kind(), active.error.clone(), active.phase.clone());
            let seen = sight_at(&draft.record, step::look_side(draft, &phase), draft.facts.store, seen);
            if settling && seen == Sight::Paused(PowerReason::Starting) {
                // The hypervisor is still starting the domain. The result is seen later or never, so this look counts as one that
                // failed.
                return blind(draft, settling);
            }
            if let Some(active) = &mut draft.record.operation {
                active.blind = 0;
            }
            match kind {
                Some(kind) if !settling => judge(draft, kind, seen, Judged::Look),
                Some(_) | None => {
                    let error = error.unwrap_or_else(|| DriverError::unknown("not-told", "the step failed without a word"));
                    settle::failed_at_sight(draft, &error, seen);
                }
            }
        }
        Err(why) => {
            let (operation, attempts) = (active.id, active.attempt);
            draft.journal.push(Journal::StepWent { operation, attempts, error: Some(why.clone()) });
            blind(draft, settling);
        }
    }
}

/// A look failed, so nothing is concluded. After `BLIND_TRIES` failed looks the VM rests in `unknown`, if the step has failed or
/// its deadline has passed. A step that may be skipped is given up instead. If the verb insists on the step, the looks go on.
fn blind(draft: &mut Draft<'_>, settling: bool) {
    let insists = policy(draft) == OnFailure::Insist;
    let may_be_skipped = may_be_skipped(draft);
    let late = late(draft);
    let now = draft.now;
    let Some(active) = &mut draft.record.operation else { return };
    active.blind = active.blind.saturating_add(1);
    if may_be_skipped && active.blind >= BLIND_TRIES {
        let error = active.error.clone().unwrap_or_else(|| DriverError::retry("cannot-ask", "the host could not be asked"));
        return settle::fail(draft, &error);
    }
    if !insists && active.blind >= BLIND_TRIES && (settling || late) {
        let error = active.error.clone().unwrap_or_else(|| DriverError::retry("cannot-ask", "the host could not be asked"));
        return settle::unknown(draft, Reason::CannotAsk, &error);
    }
    active.phase = Phase::Blind { until: now.plus(retry_after(active.blind.saturating_add(2))), settling };
}

/// The monitor has looked at a VM that has an operation. If the operation waits for the power button to take effect, or waits to
/// press it, and the guest is off, the step is done.
pub(crate) fn seen_while_waiting(draft: &mut Draft<'_>, seen: Sight) {
    let Some(active) = &draft.record.operation else { return };
    let waits = matches!(active.phase, Phase::Waiting { .. } | Phase::Delaying { .. });
    if let (true, Some(kind)) = (waits, active.kind().filter(|kind| *kind == StepKind::PressPower))
        && seen.meets(kind.goal())
    {
        draft.note_sight(seen);
        step::item_done(draft, kind);
    }
}
