//! Commits the first decision about a VM, and carries it out. [`crate::create`] and
//! [`crate::adopt`] make that decision.

use crate::answers::{keep_answer, no_answer, replied};
use crate::handle::{EngineError, Idempotency, Replied};
use crate::journal;
use crate::mailbox::Message;
use crate::shared::Shared;
use crate::unusable::Unusable;
use ostler_lifecycle::Decision;
use ostler_model::{EventKind, Lack, OperationId, State, VmId};
use ostler_store::{Commit, Committed, EventDraft, ResourceChange, VmChange};
use std::sync::Arc;
use tokio::sync::oneshot;

/// The VM id in the dry run of a creation or an adoption. No VM has it.
pub(crate) const NO_VM: VmId = VmId(u64::MAX);
/// The operation id in a dry run. No operation has it.
pub(crate) const NO_OPERATION: OperationId = OperationId(u64::MAX);

/// A VM that is about to be made.
pub(crate) struct Birth {
    pub(crate) decision: Decision,
    pub(crate) idempotency: Option<Idempotency>,
    /// An earlier VM with the same UUID, which is done. The same commit forgets it.
    pub(crate) former: Option<VmId>,
}

impl Birth {
    /// A VM that has no earlier VM.
    pub(crate) const fn of(decision: Decision, idempotency: Option<Idempotency>) -> Self {
        Self { decision, idempotency, former: None }
    }
}

/// Hands the first decision to the VM's runner. From then on it is carried out, even if the caller
/// goes away.
pub(crate) async fn bear(shared: &Arc<Shared>, birth: Birth) -> Result<Replied, EngineError> {
    let (reply, answer) = oneshot::channel();
    let vm = birth.decision.record.id;
    shared.mailboxes.ask(shared, vm, Message::Born(Box::new(birth), reply))?;
    shared.answered(answer).await
}

/// Commits the first decision about a VM and carries it out. Called by the VM's runner.
pub(crate) async fn commit(shared: &Arc<Shared>, birth: Birth) -> Result<Replied, EngineError> {
    let Birth { decision, idempotency, former } = birth;
    let answer = decision.answer.clone().ok_or_else(no_answer)?;
    let mut commit = as_commit(shared, &decision);
    commit.idempotency =
        idempotency.as_ref().and_then(|key| keep_answer(key, &answer, shared.now()));
    commit.resources = forgets(former);
    let record = commit
        .vm
        .as_ref()
        .map_or_else(|| Arc::new(decision.record.clone()), |change| Arc::clone(&change.record));
    match shared.store.commit(commit).await? {
        Committed::Replayed(row) => return replied(&row),
        Committed::IdempotencyConflict => {
            return Err(EngineError::IdempotencyConflict {
                key: idempotency.map(|key| key.key).unwrap_or_default(),
            });
        }
        committed => {
            if let Some(error) = refused(committed, record.id) {
                return Err(error);
            }
        }
    }
    for effect in decision.effects {
        shared.executor.send(shared, effect, Arc::clone(&record));
    }
    if record.state == State::Pending {
        shared.scheduler.wake();
    }
    Ok(Replied { answer, replayed: false })
}

/// Makes a commit of the first decision about a VM.
pub(crate) fn as_commit(shared: &Shared, decision: &Decision) -> Commit {
    let (at, vm, version) = (shared.now(), decision.record.id, decision.record.version);
    let event = |kind: &EventKind| EventDraft {
        at,
        vm: Some(vm),
        version: Some(version),
        kind: kind.clone(),
    };
    Commit {
        vm: Some(VmChange { record: Arc::new(decision.record.clone()), expect: None }),
        claims: decision.claims.clone(),
        operations: journal::born(decision),
        outbox_put: decision.effects.clone(),
        events: decision.events.iter().map(event).collect(),
        ..Commit::default()
    }
}

/// The error, if the store's answer says that the VM is not made.
pub(crate) fn refused(committed: Committed, vm: VmId) -> Option<EngineError> {
    match committed {
        Committed::ClaimRefused(refused) => Some(match refused.lack {
            Lack::Taken { .. } => EngineError::Taken(Box::new(refused)),
            Lack::Missing | Lack::Closed { .. } | Lack::Full { .. } => {
                Unusable::Claim(Box::new(refused)).into()
            }
        }),
        Committed::Refused(refused) => Some(EngineError::Resource(refused)),
        Committed::Stale { .. } => Some(EngineError::NoSuchVm(vm)),
        Committed::Applied { .. } | Committed::Replayed(_) | Committed::IdempotencyConflict => None,
    }
}

/// The change that forgets an earlier VM.
pub(crate) fn forgets(former: Option<VmId>) -> Vec<ResourceChange> {
    former.map(ResourceChange::VmForget).into_iter().collect()
}
