//! Keeps the answers of requests, so that a repeated request gets the same answer.

use crate::handle::{EngineError, Idempotency, Replied};
use crate::shared::Shared;
use ostler_model::{Answer, Timestamp};
use ostler_store::{CommitError, IdempotencyRow};

/// Finds the answer that was given to the same request before. None if there is none.
pub(crate) fn replay(shared: &Shared, key: &Idempotency) -> Result<Option<Replied>, EngineError> {
    let found = shared.store.read()?.idempotency(&key.who, &key.route, &key.key, shared.now())?;
    match found {
        Some(row) if row.body_hash != key.body_hash.as_bytes() => {
            Err(EngineError::IdempotencyConflict { key: key.key.clone() })
        }
        Some(row) => replied(&row).map(Some),
        None => Ok(None),
    }
}

/// Reads a kept answer. If it cannot be read, this is an error: the request was done already, and
/// must not be done twice.
pub(crate) fn replied(row: &IdempotencyRow) -> Result<Replied, EngineError> {
    let answer =
        serde_json::from_slice::<Answer>(&row.answer).map_err(|error| CommitError::Malformed {
            why: format!("the answer kept for key {:?} cannot be read: {error}", row.key),
        })?;
    Ok(Replied { answer, replayed: true })
}

/// The error for a request that was decided without an answer. No decision may do that.
pub(crate) fn no_answer() -> EngineError {
    CommitError::Malformed { why: "a request was decided without an answer".to_owned() }.into()
}

pub(crate) fn keep_answer(
    key: &Idempotency,
    answer: &Answer,
    at: Timestamp,
) -> Option<IdempotencyRow> {
    let answer = serde_json::to_vec(answer).ok()?;
    Some(IdempotencyRow {
        who: key.who.clone(),
        route: key.route.clone(),
        key: key.key.clone(),
        body_hash: key.body_hash.as_bytes().to_vec(),
        answer,
        at,
    })
}
