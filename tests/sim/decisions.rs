//! Looks at each decision that the engine has made: the promises that a decision keeps by itself,
//! and what the runs have reached.

use super::watch::{Violation, must};
use super::{Fault, spoil};
use crate::coverage::Coverage;
use ostler_driver_testkit::fake::Fake;
use ostler_engine::Decides;
use ostler_lifecycle::{Decision, Input};
use ostler_model::{Call, NowCall, Power, Refusal, State, VmRecord, VmUuid};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Lines = Arc<Mutex<Vec<String>>>;

/// The decisions so far.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) decisions: u64,
    pub(crate) coverage: Coverage,
    /// The first decision that broke a promise.
    pub(crate) broken: Option<Violation>,
    /// How often something had changed about each VM when its last operation ended.
    ended: BTreeMap<VmUuid, u64>,
    /// One line for each decision that changed something, if a trace is asked for.
    lines: Option<Lines>,
}

impl Seen {
    /// Checks a decision about a look that counts. If nothing has happened to the VM since its last
    /// operation ended, the look must have shown what is there. A look from before shows something
    /// else. It does not count, so it must change nothing.
    fn looked(
        &mut self,
        fake: &Fake,
        before: &VmRecord,
        input: &Input,
        made: &Decision,
    ) -> Result<(), Violation> {
        let (after, changes) = (&made.record, fake.changes_of(before.uuid));
        if before.operation.is_some() && after.operation.is_none() {
            self.ended.insert(before.uuid, changes);
        }
        let Input::Observed { step, .. } = input else { return Ok(()) };
        let is_look = after.operation.is_none() && (made.changed || *step == before.step);
        let nothing_since = self.ended.get(&before.uuid) == Some(&changes);
        let (Some(place), None, true) =
            (&after.placement, &after.moving, is_look && nothing_since && after.restored.is_none())
        else {
            return Ok(());
        };
        let domain = fake.domain(place.host, after.uuid);
        let is_alive = domain.is_some_and(|domain| domain.seen.power != Power::Off);
        let agrees = match after.state {
            State::Running => is_alive,
            State::Poweroff => !is_alive,
            _ => true,
        };
        must!(
            agrees,
            "disagrees: VM {} is {} after a look, and its domain is there: {is_alive}",
            after.id,
            after.state
        );
        Ok(())
    }
}

/// The decisions of all lives of the daemon.
#[derive(Clone, Default)]
pub(crate) struct Decisions(Arc<Mutex<Seen>>);

impl Decisions {
    /// Writes decisions down from now on, with all else that happens.
    pub(crate) fn trace(&self, lines: &Lines) {
        self.seen().lines = Some(Arc::clone(lines));
    }

    /// The lock is held for one decision at a time.
    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the engine's decisions, under a fault, and looks at each of them.
    pub(crate) fn hook(&self, fault: Fault, fake: &Fake) -> Decides {
        let (all, fake) = (self.clone(), fake.clone());
        Arc::new(move |record, facts, input, now| {
            let made = spoil::decide(fault, record, facts, input, now);
            let mut seen = all.seen();
            seen.decisions += 1;
            match &made {
                Ok(made) => {
                    seen.coverage.decided(record, input, made);
                    if let Some(lines) = seen.lines.as_ref().filter(|_| made.changed) {
                        lines
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push(line(input, made));
                    }
                    if seen.broken.is_none() {
                        seen.broken = promises(record, input, made).err();
                    }
                    if seen.broken.is_none() {
                        seen.broken = seen.looked(&fake, record, input, made).err();
                    }
                    if begins_anew(&made.record) {
                        fake.forget_writes(record.uuid);
                    }
                }
                Err(refusal) => refused(&mut seen.coverage, input, refusal),
            }
            drop(seen);
            made
        })
    }
}

fn line(input: &Input, made: &Decision) -> String {
    let Decision { record, effects, .. } = made;
    let input = match input {
        Input::Request(asked) => format!("{} of {}", asked.verb, asked.by),
        Input::Answered { key, result: Ok(outcome), .. } => {
            format!("{}/{} answered {:?}", key.step, key.item, outcome.seen)
        }
        Input::Answered { key, result: Err(error), .. } => {
            format!("{}/{} failed: {error}", key.step, key.item)
        }
        other => format!("{other:?}"),
    };
    let sends: Vec<String> = effects
        .iter()
        .map(|effect| format!("{} {} to {}", effect.key.step, effect.call, effect.host))
        .collect();
    format!("             VM {}: {input} -> {}, sends {sends:?}", record.id, record.state)
}

fn refused(coverage: &mut Coverage, input: &Input, refusal: &Refusal) {
    if let Input::Request(asked) = input {
        coverage.refused(asked, refusal.kind);
    }
}

/// True if the VM will get new disks, so that the content of its old ones does not count any more.
const fn begins_anew(record: &VmRecord) -> bool {
    matches!(record.state, State::Pending | State::Hold) && !record.files.host && !record.files.home
}

/// Checks the promises that one decision keeps by itself.
fn promises(before: &VmRecord, input: &Input, made: &Decision) -> Result<(), Violation> {
    let (after, id) = (&made.record, before.id);
    if made.changed {
        must!(
            after.version == before.version.next(),
            "version: VM {id} went from {} to {}",
            before.version,
            after.version
        );
    } else {
        must!(
            made.effects.is_empty() && made.settled.is_empty() && made.journal.is_empty(),
            "unchanged, but VM {id} does something"
        );
        must!(made.images.is_empty(), "unchanged, but VM {id} changes images");
    }
    for key in &made.settled {
        must!(
            before.open.iter().any(|open| open.key == *key),
            "VM {id}: settled what was not open: {key}"
        );
    }
    for key in &made.cancels {
        must!(
            after.open.iter().any(|open| open.key == *key && open.cancelled),
            "VM {id}: cancels what is not open: {key}"
        );
    }
    if let (Input::Request(asked), Some(answer)) = (input, &made.answer) {
        must!(answer.state == after.state, "VM {id}: the answer is not the truth");
        must!(
            asked.schedule.is_some() || !answer.already || !made.changed,
            "VM {id}: already so, but changed"
        );
    }
    must!(
        after.issued >= before.issued && after.placed >= before.placed,
        "VM {id}: generations went back"
    );
    must!(after.placed <= after.issued, "VM {id}: placed above issued");
    must!(after.step >= before.step, "VM {id}: the step counter went back");
    for effect in &made.effects {
        must!(effect.patience.0 > 0, "VM {id}: a call without patience");
        must!(
            after.open.iter().any(|open| open.key == effect.key),
            "outbox: VM {id} sends what is not open: {}",
            effect.key
        );
        let place = after.placement.as_ref().map(|place| place.generation);
        must!(
            !matches!(effect.call, Call::Now(NowCall::Deploy) | Call::Now(NowCall::Restore))
                || place == Some(effect.generation),
            "fence: VM {id} is started under {}, and its place has {place:?}",
            effect.generation
        );
        let used = after.recovery.as_ref().is_none_or(|file| file.consumed);
        must!(
            effect.call != Call::Now(NowCall::Unpause) || used,
            "VM {id}: restored memory runs before it counts as used"
        );
    }
    Ok(())
}
