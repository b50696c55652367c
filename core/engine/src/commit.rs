//! The one path from a decision to what follows it. It is the same for the first decision about a
//! VM and for every later one: the commit is made here, the store's answer is read here, and a dry
//! run uses the same two functions and writes nothing.

use crate::answers::{keep_answer, replied};
use crate::follow::{follow, send_all};
use crate::handle::{EngineError, Idempotency, Replied};
use crate::hooks::{Point, Sabotage};
use crate::journal::{Operations, note};
use crate::shared::Shared;
use crate::unusable::Unusable;
use ostler_lifecycle::Decision;
use ostler_model::{
    Book, Cause, ClaimRefused, EventKind, Hint, ImageChange, Lack, OperationId, Refusal,
    RefusalKind, Verb, VmId, VmRecord,
};
use ostler_store::{Commit, CommitError, Committed, EventDraft, ResourceChange, VmChange};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What there is of the VM before the decision.
#[derive(Clone, Copy)]
pub(crate) enum Before<'a> {
    /// Nothing: the decision makes the VM.
    Unborn {
        /// An earlier VM with the same UUID, which is done. The same commit forgets it.
        former: Option<VmId>,
    },
    /// The record, which the decision changes.
    Known(&'a VmRecord),
}

impl<'a> Before<'a> {
    /// The record, if there is one.
    pub(crate) const fn record(self) -> Option<&'a VmRecord> {
        match self {
            Self::Unborn { .. } => None,
            Self::Known(record) => Some(record),
        }
    }
}

/// Where a decision comes from.
#[derive(Clone, Copy)]
pub(crate) struct Origin<'a> {
    pub(crate) before: Before<'a>,
    /// The verb, if a verb was requested.
    pub(crate) verb: Option<Verb>,
    /// The key under which the answer is kept.
    pub(crate) idempotency: Option<&'a Idempotency>,
}

/// What came of a commit that was not refused.
pub(crate) enum Came {
    /// The decision is committed, and this is the record now.
    Applied(Arc<VmRecord>),
    /// The same request was done before. This commit has changed nothing.
    Replayed(Replied),
}

/// Commits a decision, and does what follows it.
///
/// # Errors
/// If nothing was committed. `operations` are then as the store has them.
pub(crate) async fn commit(
    shared: &Arc<Shared>,
    origin: Origin<'_>,
    operations: &mut Operations,
    decision: Decision,
) -> Result<Came, EngineError> {
    let (mut commit, touched) = as_commit(shared, origin, operations, &decision)?;
    let Decision { record, effects, cancels, .. } = decision;
    let vm = record.id;
    let next =
        commit.vm.as_ref().map_or_else(|| Arc::new(record), |change| Arc::clone(&change.record));
    let sabotage = shared.config.hooks.sabotage;
    if sabotage == Sabotage::ActFirst {
        send_all(shared, &effects, &next);
        // This is as if the commit took some time, so that the test does not depend on luck in
        // scheduling.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    shared.reach(Point::Decided).await;
    if sabotage == Sabotage::NoOutbox {
        forget_open(&mut commit);
    }
    let committed = shared.store.commit(commit).await;
    shared.reach(Point::Committed).await;
    let told = committed.map_err(EngineError::from).and_then(|told| read(told, vm, origin));
    if let Some(not_applied) = told.transpose() {
        read_again(shared, operations, &touched);
        return not_applied.map(Came::Replayed);
    }
    if sabotage != Sabotage::ActFirst {
        send_all(shared, &effects, &next);
    }
    follow(shared, origin.before.record(), &next, &cancels);
    forget_ended(shared, operations, &touched);
    Ok(Came::Applied(next))
}

/// Has the store judge a decision as it would judge its commit. Nothing is written.
///
/// # Errors
/// As for the commit.
pub(crate) async fn rehearse(
    shared: &Shared,
    origin: Origin<'_>,
    operations: &mut Operations,
    decision: &Decision,
) -> Result<(), EngineError> {
    let (commit, _) = as_commit(shared, origin, operations, decision)?;
    read(shared.store.rehearse(commit).await?, decision.record.id, origin).map(drop)
}

/// Makes a commit of a decision. Answers also which operations the decision changes; `operations`
/// are then as they will be after it.
fn as_commit(
    shared: &Shared,
    origin: Origin<'_>,
    operations: &mut Operations,
    decision: &Decision,
) -> Result<(Commit, Vec<OperationId>), EngineError> {
    let touched = note(operations, decision);
    let Decision { record, changed, answer, effects, settled, claims, events, images, .. } =
        decision;
    let (at, vm, version) = (shared.now(), record.id, record.version);
    let expect = origin.before.record().map(|before| before.version);
    let event = |kind: &EventKind| EventDraft {
        at,
        vm: Some(vm),
        version: Some(version),
        kind: kind.clone(),
    };
    let mut resources = of_images(shared, images)?;
    if let Before::Unborn { former: Some(former) } = origin.before {
        resources.push(ResourceChange::VmForget(former));
    }
    let commit = Commit {
        vm: changed.then(|| VmChange { record: Arc::new(record.clone()), expect }),
        claims: claims.clone(),
        operations: touched.iter().filter_map(|id| operations.get(id).cloned()).collect(),
        outbox_put: effects.clone(),
        outbox_del: settled.clone(),
        events: events.iter().map(event).collect(),
        idempotency: origin
            .idempotency
            .zip(answer.as_ref())
            .and_then(|(key, answer)| keep_answer(key, answer, at)),
        resources,
    };
    Ok((commit, touched))
}

/// The changes of images, one per image. If an operator has removed the image meanwhile, its state
/// is not changed.
fn of_images(shared: &Shared, images: &[ImageChange]) -> Result<Vec<ResourceChange>, EngineError> {
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

/// Reads the store's answer. None: the commit was applied. Some: the same request was done before,
/// with this answer.
fn read(
    committed: Committed,
    vm: VmId,
    origin: Origin<'_>,
) -> Result<Option<Replied>, EngineError> {
    match committed {
        Committed::Applied { .. } => Ok(None),
        Committed::Replayed(row) => replied(&row).map(Some),
        Committed::ClaimRefused(refused) => Err(claim_refused(refused, vm, origin)),
        Committed::Refused(refused) => Err(EngineError::Resource(refused)),
        Committed::IdempotencyConflict => Err(EngineError::IdempotencyConflict {
            key: origin.idempotency.map(|key| key.key.clone()).unwrap_or_default(),
        }),
        // The VM was forgotten meanwhile.
        Committed::Stale { found: None } => Err(EngineError::NoSuchVm(vm)),
        // Only this runner writes the record, so this is a defect. The record is read again.
        Committed::Stale { found: Some(_) } => {
            Err(CommitError::Malformed { why: format!("VM {vm} was changed by another writer") }
                .into())
        }
    }
}

/// The answer to a request whose claim does not hold.
fn claim_refused(refused: ClaimRefused, vm: VmId, origin: Origin<'_>) -> EngineError {
    if matches!(refused.lack, Lack::Taken { .. }) {
        return EngineError::Taken(Box::new(refused));
    }
    // A refusal is about a VM that there is. A VM that is not made has only an id that nobody
    // knows.
    let Before::Known(_) = origin.before else {
        return Unusable::Claim(Box::new(refused)).into();
    };
    let (kind, hint) = match refused.claim.holding.book {
        Book::Host | Book::Mac => (RefusalKind::NoCapacity, Hint::OtherHostOrRoom),
        Book::Image => (RefusalKind::ImageNotReady, Hint::ImageReady),
    };
    let verb = origin.verb.unwrap_or(Verb::Deploy);
    EngineError::Refused(Refusal { kind, verb, vm, cause: Cause::Claim(Box::new(refused)), hint })
}

/// Nothing was committed, so the notes about these operations are not true. The operations are read
/// again.
fn read_again(shared: &Shared, operations: &mut Operations, touched: &[OperationId]) {
    for id in touched {
        match shared.store.read().and_then(|reader| reader.operation(*id)) {
            Ok(Some(operation)) => drop(operations.insert(*id, operation)),
            // The operation never began, or the store cannot be read. In the second case nothing
            // can be committed either.
            Ok(None) | Err(_) => drop(operations.remove(id)),
        }
    }
}

/// Those who wait for the end of an operation are told.
fn forget_ended(shared: &Shared, operations: &mut Operations, touched: &[OperationId]) {
    for id in touched {
        if operations.get(id).is_some_and(|operation| operation.ended.is_some()) {
            operations.remove(id);
            shared.ended(*id);
        }
    }
}

/// The fault that the restart test must find: effects that are not written down.
fn forget_open(commit: &mut Commit) {
    commit.outbox_put.clear();
    if let Some(change) = &mut commit.vm {
        Arc::make_mut(&mut change.record).open.clear();
    }
}
