//! Applies what the snapshot rules say. Before anything happens, they may refuse a snapshot verb.
//! They also decide whether each existing snapshot stays, is removed or is hidden.

use crate::draft::Draft;
use crate::facts::{Advice, Fate};
use crate::recipe::{self, Plan};
use ostler_model::{
    Cause, EventKind, Hint, Refusal, RefusalKind, Request, StepKind, Strength, Subject, Verb,
};

/// Refuses a snapshot verb unless the snapshot rules allow it.
pub(crate) fn allowed(draft: &Draft<'_>, asked: &Request) -> Result<(), Refusal> {
    if !asked.verb.is_snapshot() {
        return Ok(());
    }
    let (cause, hint) = match &draft.facts.advice {
        Some(Ok(Advice { refused: None, .. })) => return Ok(()),
        Some(Ok(Advice { refused: Some(reason), rules, .. })) => {
            (Cause::RulesSayNo { rules: rules.clone(), reason: reason.clone() }, Hint::ListRules)
        }
        Some(Err(error)) => (Cause::RulesSilent { error: error.clone() }, Hint::MendRules),
        None => (Cause::NoRules, Hint::BindRules),
    };
    Err(draft.refuse(asked.verb, RefusalKind::Rules, cause, hint))
}

/// The fate of each snapshot of the record. If the rules gave no answer, every snapshot is hidden.
fn fates(draft: &Draft<'_>) -> Vec<Fate> {
    let count = draft.record.snapshots.len();
    let silent = Fate::Hide;
    match &draft.facts.advice {
        Some(Ok(advice)) => {
            (0..count).map(|at| advice.fates.get(at).copied().unwrap_or(silent)).collect()
        }
        Some(Err(_)) | None => vec![silent; count],
    }
}

/// Marks the fate of each snapshot when `verb` runs. Inserts into its plan the step that removes
/// the snapshots that do not survive.
pub(crate) fn apply(draft: &mut Draft<'_>, verb: Verb, subject: &Subject, mut plan: Plan) -> Plan {
    if draft.record.snapshots.is_empty() || verb.is_record_only() || verb.is_snapshot() {
        return plan;
    }
    let mut fates = fates(draft);
    keep_none_of_a_removed_disk(draft, verb, subject, &mut fates);
    mark(draft, &fates, &verb.to_string());
    // A delete removes the snapshots together with the files, and a lost host takes its snapshots
    // with it. Neither operation waits for a step that removes them.
    let lost_host = recipe::leaves_lost_host(&plan);
    // A VM that had no placement has no domain from which a snapshot could be removed.
    let nowhere = draft.before.placement.is_none();
    let goes_anyway =
        matches!(verb.strength(), Strength::Delete | Strength::Forget) || lost_host || nowhere;
    let any = draft.record.snapshots.iter().any(|snapshot| snapshot.losing);
    if any && !goes_anyway && !plan.is_empty() && draft.record.placement.is_some() {
        plan.insert(recipe::lose_at(&plan), StepKind::DeleteSnapshot);
    } else {
        hide_losing(draft);
    }
    plan
}

/// Hides each snapshot that has the disk that is detached, although the rules keep it. The file of
/// the disk is removed, or it is an adopted file, which Ostler cannot attach again. So nobody can
/// go back to that snapshot any more.
fn keep_none_of_a_removed_disk(
    draft: &Draft<'_>,
    verb: Verb,
    subject: &Subject,
    fates: &mut [Fate],
) {
    let Subject::Disk { name } = subject else { return };
    if verb != Verb::DiskDetach {
        return;
    }
    for (snapshot, fate) in draft.record.snapshots.iter().zip(fates) {
        if *fate == Fate::Keep && snapshot.has_disk(name) {
            *fate = Fate::Hide;
        }
    }
}

/// An observation has changed the VM's state. It cannot remove snapshots, so those that do not
/// survive are hidden.
pub(crate) fn seen(draft: &mut Draft<'_>) {
    if draft.record.snapshots.is_empty() {
        return;
    }
    let fates = fates(draft);
    mark(draft, &fates, "observed");
    hide_losing(draft);
}

fn hide_losing(draft: &mut Draft<'_>) {
    for snapshot in &mut draft.record.snapshots {
        snapshot.hidden |= std::mem::take(&mut snapshot.losing);
    }
}

fn mark(draft: &mut Draft<'_>, fates: &[Fate], by: &str) {
    let (mut lost, mut hidden) = (Vec::new(), Vec::new());
    for (snapshot, fate) in draft.record.snapshots.iter_mut().zip(fates) {
        match fate {
            Fate::Keep => {}
            Fate::Lose => {
                snapshot.losing = true;
                lost.push(snapshot.name.to_string());
            }
            Fate::Hide if snapshot.hidden => {}
            Fate::Hide => {
                snapshot.hidden = true;
                hidden.push(snapshot.name.to_string());
            }
        }
    }
    if !(lost.is_empty() && hidden.is_empty()) {
        draft.events.push(EventKind::Snapshots { lost, hidden, by: by.to_owned() });
    }
}
