//! The refusals that several verbs share.

use crate::admission::{Admission, admission};
use crate::draft::Draft;
use ostler_model::{Refusal, RefusalKind, Request, State, Verb};

/// The refusal of a request that makes no sense for this VM.
pub(crate) fn bad(draft: &Draft<'_>, asked: &Request, what: String, hint: &str) -> Refusal {
    draft.refuse(asked.verb, RefusalKind::BadRequest, format!("VM {} {what}", draft.record.id), hint)
}

/// The refusal of a verb that cannot begin in the state of the VM.
pub(crate) fn wrong_state(draft: &Draft<'_>, verb: Verb) -> Refusal {
    let state = draft.record.state;
    let from: Vec<String> = {
        use strum::IntoEnumIterator;
        State::iter()
            .filter(|from| matches!(admission(*from, verb), Admission::Begin | Admission::BeginIfOff))
            .map(|s| s.to_string())
            .collect()
    };
    let hint = if state == State::Done {
        "a VM that is done stays done; create a new one".to_owned()
    } else {
        format!("{verb} works from: {}", from.join(", "))
    };
    draft.refuse(
        verb,
        RefusalKind::WrongState,
        format!("VM {} is {state}; {verb} is not possible from there", draft.record.id),
        hint,
    )
}
