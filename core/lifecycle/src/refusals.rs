//! The refusals that several verbs share.

use crate::admission::{Admission, admission};
use crate::draft::Draft;
use ostler_model::{Cause, Hint, Refusal, RefusalKind, Request, State, Verb};
use strum::IntoEnumIterator;

/// The refusal of a request that makes no sense for this VM.
pub(crate) const fn bad(draft: &Draft<'_>, asked: &Request, cause: Cause, hint: Hint) -> Refusal {
    draft.refuse(asked.verb, RefusalKind::BadRequest, cause, hint)
}

/// The refusal of a verb that cannot begin in the state of the VM.
pub(crate) fn wrong_state(draft: &Draft<'_>, verb: Verb) -> Refusal {
    let state = draft.record.state;
    let begins =
        |from: &State| matches!(admission(*from, verb), Admission::Begin | Admission::BeginIfOff);
    let hint = if state == State::Done {
        Hint::CreateNew
    } else {
        Hint::WorksFrom { states: State::iter().filter(begins).collect() }
    };
    draft.refuse(verb, RefusalKind::WrongState, Cause::WrongState { state }, hint)
}
