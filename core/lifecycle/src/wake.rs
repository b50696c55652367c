//! Goes on with an operation without an answer: because time has passed, or because the daemon was
//! started again.

use crate::draft::{Draft, Next};
use crate::step;
use ostler_model::{Active, DriverError, EffectKey, Phase};

/// Time has passed. The phase of the operation says what the wait was for.
pub(crate) fn tick(draft: &mut Draft<'_>, active: Active) -> Next {
    if active.phase.due().is_none_or(|due| due > draft.now) {
        return Some(active);
    }
    match active.phase {
        Phase::Delaying { .. } | Phase::Backoff { .. } => step::send(draft, active),
        // An elapsed deadline counts only after a look agrees, also after a restart.
        Phase::Waiting { .. } => step::look(draft, active, Phase::Confirming),
        Phase::Blind { settling: true, .. } => step::look(draft, active, Phase::Settling),
        Phase::Blind { settling: false, .. } => step::look(draft, active, Phase::Confirming),
        Phase::Draining | Phase::Calling | Phase::Confirming | Phase::Settling => Some(active),
    }
}

/// The daemon was started. The process that sent the open calls is dead, so their outcome is
/// unknown.
pub(crate) fn restarted(draft: &mut Draft<'_>) {
    let open: Vec<EffectKey> = draft.record.open.iter().map(|open| open.key.clone()).collect();
    for key in &open {
        draft.close_call(key);
    }
    draft.work(carried_on);
}

fn carried_on(draft: &mut Draft<'_>, mut active: Active) -> Next {
    let (now, patience) = (draft.now, draft.record.spec.patience);
    let Some(kind) = active.kind() else { return step::begin(draft, active) };
    match active.phase {
        Phase::Draining => step::drained(draft, active),
        Phase::Calling => {
            active.acted = true;
            // The call counts as sent now, at the latest. Otherwise a call that crashes the daemon
            // would have no deadline.
            if active.sent.is_none() {
                active.sent = Some(now);
                active.deadline = Some(now.plus(step::patience_of(patience, kind)));
            }
            if !active.undoing {
                active.error = Some(DriverError::unknown(
                    "restarted",
                    "the daemon was restarted while the call was open",
                ));
            }
            if kind.proven_by_look() {
                return step::look(draft, active, Phase::Confirming);
            }
            // An edge effect carries its effect key to the host. A driver that finds the key
            // stamped there does not send the effect twice.
            step::send(draft, active)
        }
        Phase::Confirming => step::look(draft, active, Phase::Confirming),
        Phase::Settling => step::look(draft, active, Phase::Settling),
        Phase::Delaying { .. }
        | Phase::Backoff { .. }
        | Phase::Waiting { .. }
        | Phase::Blind { .. } => Some(active),
    }
}
