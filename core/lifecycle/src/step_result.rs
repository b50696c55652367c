//! Judges the current step by an answer or a look: the step is done, waits, is sent again, or has
//! failed.

use crate::crash::is_crash;
use crate::domain_status::{DomainStatus, status_at};
use crate::draft::{Draft, Next};
use crate::facts::Look;
use crate::recipe::{self, OnFailure};
use crate::step::{BLIND_TRIES, CRASHES_MAX, LOOK_EVERY, SKIP_TRIES, retry_after};
use crate::{operation_end, step};
use ostler_model::{
    Active, Call, CallResult, DriverError, EffectClass, EffectKey, ErrorKind, EventKind, Goal,
    Item, Journal, Lane, OpenCall, Outcome, Phase, PowerReason, Reason, Side, Stated, StepKind,
    Timestamp,
};

/// Up to this number, every attempt that ends in the same error is told. After that, only the 16th,
/// the 32nd, and so on.
const TROUBLE_TOLD: u32 = 8;

/// A driver call returned, or was proven dead. An answer to a call that is not open any more is
/// ignored: the call was answered, or given up, before.
pub(crate) fn answered(
    draft: &mut Draft<'_>,
    key: &EffectKey,
    sent: Option<Timestamp>,
    result: &CallResult,
) {
    if let Some(closed) = draft.close_call(key) {
        keep_driver_state(draft, closed.call, result);
        draft.work(|draft, active| told(draft, active, &closed, sent, result));
    }
}

/// Gives the answer of a call that was open to the operation.
fn told(
    draft: &mut Draft<'_>,
    mut active: Active,
    closed: &OpenCall,
    sent: Option<Timestamp>,
    result: &CallResult,
) -> Next {
    let key = &closed.key;
    if key.item != Item::Look && !matches!(result, Err(error) if error.kind == ErrorKind::Retry) {
        active.acted = true;
    }
    if matches!(active.phase, Phase::Draining) {
        if active.id == key.operation && result.is_ok() {
            step::came_true(draft, &active.subject, closed.call, &key.item);
        }
        return step::drained(draft, active);
    }
    if active.id != key.operation || active.step != key.step {
        // The answer of an earlier step or operation.
        return Some(active);
    }
    if key.item == Item::Look {
        let look = match result {
            Ok(outcome) => outcome.seen.clone().ok_or_else(|| {
                DriverError::unknown("no-look", "the driver did not say what it saw")
            }),
            Err(error) => Err(error.clone()),
        };
        return looked(draft, active, &look);
    }
    let waited_for =
        matches!(active.phase, Phase::Calling) && active.pending.first() == Some(&key.item);
    let Some(kind) = active.kind().filter(|_| waited_for) else { return Some(active) };
    if let (None, Some(sent)) = (active.sent, sent) {
        active.sent = Some(sent);
        active.deadline = Some(sent.plus(step::patience_of(draft.record.spec.patience, kind)));
    }
    if !draft.record.open.is_empty() {
        return beside(draft, active, result);
    }
    match result {
        Ok(outcome) => succeeded(draft, active, kind, outcome),
        Err(error) => erred(draft, active, kind, error),
    }
}

/// A destroy that ran beside an earlier call has returned first. Its result proves nothing, because
/// the earlier call may still start the domain. The next step of the plan waits for that call, and
/// switches off or removes the domain again.
fn beside(draft: &mut Draft<'_>, active: Active, result: &CallResult) -> Next {
    if let Err(error) = result {
        note_trouble(draft, &active, error);
    }
    step::pass(draft, active)
}

/// Keeps the state that a driver has returned, under the name of that driver.
fn keep_driver_state(draft: &mut Draft<'_>, call: Call, result: &CallResult) {
    let record = &mut draft.record;
    let driver = match call.lane() {
        Lane::Hypervisor => record.placement.as_ref().map(|place| place.driver.clone()),
        Lane::Transfer => record.storage.as_ref().map(|storage| storage.driver.clone()),
    };
    if let (Ok(Outcome { state: Some(state), .. }), Some(driver)) = (result, driver) {
        record.driver_state.insert(driver, state.clone());
    }
}

fn succeeded(draft: &mut Draft<'_>, mut active: Active, kind: StepKind, outcome: &Outcome) -> Next {
    if !active.undoing {
        active.error = None;
    }
    if kind.goal() == Goal::Nothing {
        let seen = outcome.seen.as_ref().filter(|_| kind.looked_at() == Side::Here);
        draft.status =
            seen.map(|seen| status_at(&draft.record, Side::Here, draft.facts.store, seen));
        return step::item_done(draft, active, kind);
    }
    match &outcome.seen {
        // The driver observes the host at which it was called. That says nothing about the other
        // host.
        Some(seen) if kind.sent_to() == kind.looked_at() => {
            let seen = status_at(&draft.record, kind.looked_at(), draft.facts.store, seen);
            judge(draft, active, kind, seen, Judged::Answer)
        }
        Some(_) | None => step::look(draft, active, Phase::Confirming),
    }
}

/// The code of an error that says that a domain is not this store's. Drivers use it too.
pub(crate) const FOREIGN: &str = "foreign";

/// How the observation was obtained. An observation in an answer proves more than a look after a
/// lost answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Judged {
    Answer,
    Look,
}

fn judge(
    draft: &mut Draft<'_>,
    mut active: Active,
    kind: StepKind,
    seen: DomainStatus,
    by: Judged,
) -> Next {
    // `RemoveOther` looks at the other host: do not overwrite what we know of the VM's own host.
    if kind != StepKind::RemoveOther {
        draft.note_status(seen);
    }
    let stated = active.stated.take() == Some(Stated::Success);
    match seen {
        DomainStatus::AboveIssued => {
            let error = DriverError::new(
                ErrorKind::Stale,
                "store-is-stale",
                "a generation above all this store issued is at the host",
            );
            return operation_end::unknown(draft, active, Reason::StoreIsStale, &error);
        }
        DomainStatus::Foreign => {
            let error = DriverError::refused(
                FOREIGN,
                "a domain of this UUID is there that this store did not stamp",
            );
            return operation_end::fail(draft, active, &error);
        }
        // The domain does not count as paused yet either. The restore that is under way may fail,
        // and then its memory must not count as used.
        DomainStatus::Paused(PowerReason::Starting)
            if matches!(kind.goal(), Goal::Running | Goal::Paused) =>
        {
            return still_starting(draft, active, kind);
        }
        DomainStatus::Running
        | DomainStatus::Paused(_)
        | DomainStatus::Off(_)
        | DomainStatus::Crashed
        | DomainStatus::Absent
        | DomainStatus::OlderOff
        | DomainStatus::OlderAlive => {}
    }
    if kind == StepKind::Migrate
        && seen != DomainStatus::Running
        && let Some(error) = active.error.clone().filter(is_definite)
    {
        return operation_end::fail(draft, active, &error);
    }
    // The driver or the operator said that the step is done, or a look alone proves this kind of
    // step.
    let said_yes = by == Judged::Answer || stated || active.error.is_none();
    if (said_yes || kind.proven_by_look()) && seen.meets(kind.goal()) {
        return step::item_done(draft, active, kind);
    }
    not_met(draft, active, kind, seen, said_yes)
}

/// The hypervisor is still starting the domain. Until the deadline this is neither *running* nor a
/// failure.
fn still_starting(draft: &mut Draft<'_>, active: Active, kind: StepKind) -> Next {
    if late(&active, draft.now) {
        let error = DriverError::retry(
            "still-starting",
            format!("{kind} was sent, and the domain was still being started at the deadline"),
        );
        return operation_end::fail(draft, active, &error);
    }
    wait(active, draft.now)
}

/// Looks again after a while, and not later than the deadline.
fn wait(mut active: Active, now: Timestamp) -> Next {
    let until = now.plus(LOOK_EVERY);
    active.phase =
        Phase::Waiting { until: active.deadline.map_or(until, |deadline| until.min(deadline)) };
    Some(active)
}

fn late(active: &Active, now: Timestamp) -> bool {
    active.deadline.is_some_and(|deadline| now >= deadline)
}

fn not_met(
    draft: &mut Draft<'_>,
    active: Active,
    kind: StepKind,
    seen: DomainStatus,
    said_yes: bool,
) -> Next {
    match kind.class() {
        EffectClass::Edge if kind == StepKind::PressPower => {
            if late(&active, draft.now) {
                let error = DriverError::refused(
                    "guest-ignored",
                    "the guest did not switch itself off in time",
                );
                return operation_end::failed_with_status(draft, active, &error, seen);
            }
            // If the answer was lost, the press may have been lost too. Send it again under the
            // same effect key.
            match active.error.clone() {
                Some(error) => send_later(draft, active, &error),
                None => wait(active, draft.now),
            }
        }
        EffectClass::Edge | EffectClass::Question => {
            let error = DriverError::refused(
                "goal-not-met",
                format!("{kind} was sent, and the domain is {}", seen.words()),
            );
            operation_end::failed_with_status(draft, active, &error, seen)
        }
        EffectClass::Level => {
            let error = DriverError::unknown(
                "goal-not-met",
                format!("{kind} was sent, and the domain is {}", seen.words()),
            );
            // The guest was started and has switched itself off. Do not start it again: the VM
            // rests as off.
            if said_yes
                && kind.goal() == Goal::Running
                && matches!(seen, DomainStatus::Off(PowerReason::Guest))
            {
                return operation_end::failed_with_status(draft, active, &error, seen);
            }
            send_later(draft, active, &error)
        }
    }
}

fn is_definite(error: &DriverError) -> bool {
    recipe::is_definite(error.kind)
}

/// Writes down that the call of the current item has ended in an error.
fn note_trouble(draft: &mut Draft<'_>, active: &Active, error: &DriverError) {
    let (operation, attempts) = (active.id, active.attempt);
    draft.journal.push(Journal::StepWent { operation, attempts, error: Some(error.clone()) });
    // The same error is told less and less often. Otherwise a step that is retried for ever on a
    // host that is down would push the events of all other VMs out of the feed.
    let known = active
        .error
        .as_ref()
        .is_some_and(|last| (last.kind, &last.code) == (error.kind, &error.code));
    let told = !known || attempts <= TROUBLE_TOLD || attempts.is_power_of_two();
    if let Some(step_kind) = active.kind().filter(|_| told) {
        draft.events.push(EventKind::StepTrouble { operation, step_kind, error: error.clone() });
    }
}

fn erred(draft: &mut Draft<'_>, mut active: Active, kind: StepKind, error: &DriverError) -> Next {
    note_trouble(draft, &active, error);
    if is_crash(error) {
        active.crashes = active.crashes.saturating_add(1);
    }
    let poisoned = active.crashes >= CRASHES_MAX;
    if !active.undoing {
        active.error = Some(error.clone());
    }
    // For a migration, the place of the guest decides, not the error.
    if kind == StepKind::Migrate && (poisoned || is_definite(error)) {
        return step::look(draft, active, Phase::Confirming);
    }
    if poisoned {
        return operation_end::fail(draft, active, error);
    }
    match error.kind {
        ErrorKind::Retry => send_later(draft, active, error),
        ErrorKind::Unknown if kind.proven_by_look() => step::look(draft, active, Phase::Confirming),
        // No look tells whether the call had its effect. Send it again under the same effect key:
        // the driver knows the key and does it at most once.
        ErrorKind::Unknown => send_later(draft, active, error),
        ErrorKind::Gone
            if matches!(kind.goal(), Goal::Off | Goal::Absent) && kind.proven_by_look() =>
        {
            step::look(draft, active, Phase::Confirming)
        }
        ErrorKind::Gone if kind == StepKind::DeleteSnapshot => step::item_done(draft, active, kind),
        // Either there is no such disk or card, or there is no such domain. If a look shows that
        // the domain runs, the device is unplugged.
        ErrorKind::Gone if matches!(kind, StepKind::DetachDisk | StepKind::DetachNic) => {
            if !active.undoing {
                active.error = None;
            }
            step::look(draft, active, Phase::Confirming)
        }
        ErrorKind::Stale => operation_end::unknown(draft, active, Reason::StoreIsStale, error),
        ErrorKind::Gone | ErrorKind::Refused | ErrorKind::NotHere | ErrorKind::Cancelled => {
            operation_end::fail(draft, active, error)
        }
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
pub(crate) fn send_later(draft: &mut Draft<'_>, mut active: Active, error: &DriverError) -> Next {
    let until = next_try(&active, draft.now);
    if may_be_skipped(&active) && active.attempt >= SKIP_TRIES {
        return operation_end::fail(draft, active, error);
    }
    if !has_time(&active, draft.now) {
        if policy(&active) != OnFailure::Insist {
            return operation_end::fail(draft, active, error);
        }
        // A step that is insisted on gets its whole time again. Otherwise a job that needs more
        // than the time that is left would never end.
        active.sent = None;
        active.deadline = None;
    }
    if !active.undoing {
        active.error = Some(error.clone());
    }
    active.phase = Phase::Backoff { until };
    Some(active)
}

/// The consequence if the current step fails.
pub(crate) fn policy(active: &Active) -> OnFailure {
    active.kind().map_or(OnFailure::Settle, |kind| recipe::on_failure(active.verb, kind))
}

/// Whether the operation goes on without the current step if that step fails. It then gives the
/// step up soon: leftovers are swept when their host is seen, and until the operation ends nothing
/// else can be asked of the VM.
fn may_be_skipped(active: &Active) -> bool {
    let holds = active.undoing && active.kind() == Some(StepKind::RemoveOther);
    policy(active) == OnFailure::Skip && !holds
}

/// A look returned.
fn looked(draft: &mut Draft<'_>, mut active: Active, look: &Look) -> Next {
    let settling = matches!(active.phase, Phase::Settling);
    let seen = match look {
        Ok(seen) => status_at(&draft.record, step::look_side(&active), draft.facts.store, seen),
        Err(why) => {
            let (operation, attempts) = (active.id, active.attempt);
            draft.journal.push(Journal::StepWent { operation, attempts, error: Some(why.clone()) });
            return blind(draft, active, settling);
        }
    };
    if settling && seen == DomainStatus::Paused(PowerReason::Starting) {
        // The hypervisor is still starting the domain. The result is seen later or never, so this
        // look counts as one that failed.
        return blind(draft, active, settling);
    }
    active.blind = 0;
    match active.kind().filter(|_| !settling) {
        Some(kind) => judge(draft, active, kind, seen, Judged::Look),
        None => {
            let error = active.error.clone();
            let error = error.unwrap_or_else(|| {
                DriverError::unknown("not-told", "the step failed without a word")
            });
            operation_end::failed_with_status(draft, active, &error, seen)
        }
    }
}

/// A look failed, so nothing is concluded. After `BLIND_TRIES` failed looks the VM rests in
/// `unknown`, if the step has failed or its deadline has passed. A step that may be skipped is
/// given up instead. If the verb insists on the step, the looks go on.
fn blind(draft: &mut Draft<'_>, mut active: Active, settling: bool) -> Next {
    active.blind = active.blind.saturating_add(1);
    let many = active.blind >= BLIND_TRIES;
    let cause = |active: &Active| {
        active
            .error
            .clone()
            .unwrap_or_else(|| DriverError::retry("cannot-ask", "the host could not be asked"))
    };
    if many && may_be_skipped(&active) {
        let error = cause(&active);
        return operation_end::fail(draft, active, &error);
    }
    if many && policy(&active) != OnFailure::Insist && (settling || late(&active, draft.now)) {
        let error = cause(&active);
        return operation_end::unknown(draft, active, Reason::CannotAsk, &error);
    }
    active.phase = Phase::Blind {
        until: draft.now.plus(retry_after(active.blind.saturating_add(2))),
        settling,
    };
    Some(active)
}

/// The monitor has looked at a VM that has an operation. If the operation waits for the power
/// button to take effect, or waits to press it, and the guest is off, the step is done.
pub(crate) fn seen_while_waiting(
    draft: &mut Draft<'_>,
    active: Active,
    seen: DomainStatus,
) -> Next {
    let waits = matches!(active.phase, Phase::Waiting { .. } | Phase::Delaying { .. });
    match active
        .kind()
        .filter(|kind| waits && *kind == StepKind::PressPower && seen.meets(kind.goal()))
    {
        Some(kind) => {
            draft.note_status(seen);
            step::item_done(draft, active, kind)
        }
        None => Some(active),
    }
}
