//! The commit of a decision, and the answer if the store refuses it.

use crate::answers::replied;
use crate::handle::{EngineError, Idempotency, Replied};
use crate::journal::note;
use crate::shared::Shared;
use ostler_lifecycle::Decision;
use ostler_model::{
    Book, Cause, ClaimRefused, EventKind, Hint, ImageChange, Lack, OperationId, OperationRecord,
    Refusal, RefusalKind, Verb, VmId, VmRecord,
};
use ostler_store::{Commit, CommitError, Committed, EventDraft, ResourceChange, VmChange};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Makes a commit of a decision. Answers also which operations the decision changes; `operations`
/// are then as they will be after it.
pub(crate) fn as_commit(
    shared: &Shared,
    before: &VmRecord,
    operations: &mut BTreeMap<OperationId, OperationRecord>,
    decision: &Decision,
) -> Result<(Commit, Vec<OperationId>), EngineError> {
    let touched = note(operations, decision);
    let Decision { record, changed, effects, settled, claims, events, images, .. } = decision;
    let (at, vm, version) = (shared.now(), record.id, record.version);
    let event = |kind: &EventKind| EventDraft {
        at,
        vm: Some(vm),
        version: Some(version),
        kind: kind.clone(),
    };
    let commit = Commit {
        vm: changed
            .then(|| VmChange { record: Arc::new(record.clone()), expect: Some(before.version) }),
        claims: claims.clone(),
        operations: touched.iter().filter_map(|id| operations.get(id).cloned()).collect(),
        outbox_put: effects.clone(),
        outbox_del: settled.clone(),
        events: events.iter().map(event).collect(),
        idempotency: None,
        resources: resources(shared, images)?,
    };
    Ok((commit, touched))
}

/// The changes of images, one per image. If an operator has removed the image meanwhile, its state
/// is not changed.
fn resources(shared: &Shared, images: &[ImageChange]) -> Result<Vec<ResourceChange>, EngineError> {
    if images.is_empty() {
        return Ok(Vec::new());
    }
    let reader = shared.store.read()?;
    let mut changes = BTreeMap::new();
    for change in images {
        match change {
            ImageChange::Add(image) => {
                drop(changes.insert(image.id, ResourceChange::ImagePut(image.clone())))
            }
            ImageChange::Set { image, state } if reader.image(*image)?.is_some() => {
                changes.insert(*image, ResourceChange::ImageSetState { id: *image, state: *state });
            }
            ImageChange::Set { .. } => {}
            ImageChange::Discard { image } => {
                drop(changes.insert(*image, ResourceChange::ImageDiscard(*image)))
            }
        }
    }
    Ok(changes.into_values().collect())
}

/// The result of a commit that was not applied.
pub(crate) fn not_applied(
    committed: Result<Committed, CommitError>,
    vm: VmId,
    verb: Option<Verb>,
    idempotency: Option<&Idempotency>,
) -> Result<Replied, EngineError> {
    match committed? {
        Committed::ClaimRefused(refused) => Err(claim_refused(refused, vm, verb)),
        Committed::Replayed(row) => replied(&row),
        Committed::IdempotencyConflict => Err(EngineError::IdempotencyConflict {
            key: idempotency.map(|key| key.key.clone()).unwrap_or_default(),
        }),
        // The VM was forgotten meanwhile.
        Committed::Stale { found: None } => Err(EngineError::NoSuchVm(vm)),
        Committed::Refused(refused) => Err(EngineError::Resource(refused)),
        // Only this runner writes the record, so this is a defect. The record is read again.
        Committed::Stale { found: Some(_) } | Committed::Applied { .. } => {
            Err(CommitError::Malformed { why: format!("VM {vm} was changed by another writer") }
                .into())
        }
    }
}

/// The fault that the restart test must find: effects that are not written down.
pub(crate) fn forget_open(commit: &mut Commit) {
    commit.outbox_put.clear();
    if let Some(change) = &mut commit.vm {
        Arc::make_mut(&mut change.record).open.clear();
    }
}

/// The answer to a request whose claim does not hold.
pub(crate) fn claim_refused(refused: ClaimRefused, vm: VmId, verb: Option<Verb>) -> EngineError {
    let (kind, hint) = match (&refused.lack, refused.claim.holding.book) {
        (Lack::Taken { .. }, _) => return EngineError::Taken(Box::new(refused)),
        (_, Book::Host | Book::Mac) => (RefusalKind::NoCapacity, Hint::OtherHostOrRoom),
        (_, Book::Image) => (RefusalKind::ImageNotReady, Hint::ImageReady),
    };
    let verb = verb.unwrap_or(Verb::Deploy);
    EngineError::Refused(Refusal { kind, verb, vm, cause: Cause::Claim(Box::new(refused)), hint })
}
