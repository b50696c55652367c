//! Turns a commit into rows in the caller's task, so that the one writer thread only places bytes.

use crate::commit::{Commit, EventDraft, IdempotencyRow, ResourceChange, SecretRow};
use crate::error::{CommitError, RowError};
use crate::meta::Marks;
use crate::row::{self, Row};
use crate::summary::VmSummary;
use ostler_model::{Claim, Effect, EffectKey, OperationRecord, Version, VmId, VmRecord};
use std::collections::BTreeSet;
use std::sync::Arc;

impl Row for OperationRecord {
    const TABLE: &'static str = "operation";
}

impl Row for Effect {
    const TABLE: &'static str = "outbox";
}

impl Row for EventDraft {
    const TABLE: &'static str = "event";
}

impl Row for IdempotencyRow {
    const TABLE: &'static str = "idempotency";
}

/// A commit as rows.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    pub(crate) vm: Option<PreparedVm>,
    pub(crate) claims: Vec<Claim>,
    pub(crate) operations: Vec<PreparedOperation>,
    pub(crate) outbox_put: Vec<(OutboxId, Vec<u8>)>,
    pub(crate) outbox_del: Vec<OutboxId>,
    pub(crate) events: Vec<Vec<u8>>,
    pub(crate) idempotency: Option<(IdempotencyRow, Vec<u8>)>,
    pub(crate) resources: Vec<ResourceChange>,
    pub(crate) marks: Marks,
    /// Whether it is only judged, and nothing is written.
    pub(crate) rehearsal: bool,
}

#[derive(Debug)]
pub(crate) struct PreparedVm {
    pub(crate) summary: VmSummary,
    pub(crate) row: Vec<u8>,
    pub(crate) summary_row: Vec<u8>,
    pub(crate) expect: Option<Version>,
}

#[derive(Debug)]
pub(crate) struct PreparedOperation {
    pub(crate) id: u64,
    pub(crate) vm: u64,
    pub(crate) ended: bool,
    pub(crate) row: Vec<u8>,
}

/// The key of an outbox row.
#[derive(Debug, Clone)]
pub(crate) struct OutboxId {
    pub(crate) vm: u128,
    pub(crate) operation: u64,
    pub(crate) step: u64,
    pub(crate) item: String,
}

impl OutboxId {
    pub(crate) fn key(&self) -> (u128, u64, u64, &str) {
        (self.vm, self.operation, self.step, &self.item)
    }
}

impl From<&EffectKey> for OutboxId {
    fn from(key: &EffectKey) -> Self {
        Self {
            vm: key.vm.0.as_u128(),
            operation: key.operation.0,
            step: key.step.0,
            item: key.item.to_string(),
        }
    }
}

fn malformed(why: impl Into<String>) -> CommitError {
    CommitError::Malformed { why: why.into() }
}

fn unwritable(source: RowError) -> CommitError {
    CommitError::Row { source: Arc::new(source) }
}

fn encode<R: Row>(row: &R) -> Result<Vec<u8>, CommitError> {
    row::encode(row).map_err(unwritable)
}

impl Prepared {
    pub(crate) fn new(commit: Commit) -> Result<Self, CommitError> {
        let marks = Marks::of(&commit)?;
        Ok(Self { marks, rehearsal: false, ..Self::rehearsal(commit)? })
    }

    pub(crate) fn rehearsal(commit: Commit) -> Result<Self, CommitError> {
        sensible(&commit)?;
        let vm = commit
            .vm
            .map(|change| PreparedVm::new(&change.record, change.expect))
            .transpose()
            .map_err(unwritable)?;
        let operations =
            commit.operations.iter().map(PreparedOperation::new).collect::<Result<_, _>>()?;
        let effects = commit.outbox_put.iter();
        let outbox_put = effects
            .map(|effect| Ok((OutboxId::from(&effect.key), encode(effect)?)))
            .collect::<Result<_, _>>()?;
        let events = commit.events.iter().map(encode).collect::<Result<_, _>>()?;
        let idempotency =
            commit.idempotency.map(|row| encode(&row).map(|kept| (row, kept))).transpose()?;
        Ok(Self {
            vm,
            claims: commit.claims,
            operations,
            outbox_put,
            outbox_del: commit.outbox_del.iter().map(OutboxId::from).collect(),
            events,
            idempotency,
            resources: commit.resources,
            marks: Marks::default(),
            rehearsal: true,
        })
    }
}

impl Prepared {
    /// The VM that this commit forgets.
    pub(crate) fn forgets(&self) -> Option<VmId> {
        self.resources.iter().find_map(|change| {
            if let ResourceChange::VmForget(id) = change { Some(*id) } else { None }
        })
    }

    /// How many rows it puts or removes, without indexes and books, and how many bytes they have.
    pub(crate) fn size(&self) -> (u64, u64) {
        let kept = self.vm.iter().flat_map(|vm| [vm.row.len(), vm.summary_row.len()]);
        let kept = kept.chain(self.operations.iter().map(|operation| operation.row.len()));
        let kept = kept.chain(self.outbox_put.iter().map(|(_, row)| row.len()));
        let kept = kept.chain(self.outbox_del.iter().map(|_| 0));
        let kept = kept.chain(self.events.iter().map(Vec::len));
        let kept = kept.chain(self.idempotency.iter().map(|(_, row)| row.len()));
        kept.fold((0, 0), |(rows, bytes), row| (rows + 1, bytes + row as u64))
    }
}

impl PreparedVm {
    pub(crate) fn new(record: &VmRecord, expect: Option<Version>) -> Result<Self, RowError> {
        let summary = VmSummary::from(record);
        let summary_row = row::encode(&summary)?;
        Ok(Self { row: row::encode(record)?, summary, summary_row, expect })
    }
}

impl PreparedOperation {
    fn new(operation: &OperationRecord) -> Result<Self, CommitError> {
        Ok(Self {
            id: operation.id.0,
            vm: operation.vm.0,
            ended: operation.ended.is_some(),
            row: encode(operation)?,
        })
    }
}

/// Refuses a commit that no decision can mean, before it damages the books.
fn sensible(commit: &Commit) -> Result<(), CommitError> {
    if let Some(change) = &commit.vm
        && change.expect.is_some_and(|expect| change.record.version <= expect)
    {
        return Err(malformed(format!(
            "VM {} does not rise above version {}",
            change.record.id, change.record.version
        )));
    }
    let record = commit.vm.as_ref().map(|change| &change.record);
    for effect in &commit.outbox_put {
        let open = record.is_some_and(|record| {
            record.id == effect.vm && record.open.iter().any(|call| call.key == effect.key)
        });
        if !open {
            return Err(malformed(format!(
                "effect {} is put into the outbox but is not open in its record",
                effect.key
            )));
        }
    }
    if !commit.claims.is_empty() && record.is_none() {
        return Err(malformed("something is claimed for no VM"));
    }
    let removes = |change: &ResourceChange| {
        use ResourceChange as C;
        matches!(
            change,
            C::HostRemove(_)
                | C::DatastoreRemove(_)
                | C::ImageRemove(_)
                | C::DriverRemove(_)
                | C::VmForget(_)
        )
    };
    // Nothing depends on a VM. A new VM may take the place of a VM that is done and has the same
    // UUID.
    let takes_over = |change: &ResourceChange| {
        let new = commit.vm.as_ref().is_some_and(|vm| vm.expect.is_none());
        let other = |id| commit.vm.as_ref().is_some_and(|vm| vm.record.id != id);
        new && matches!(change, ResourceChange::VmForget(id) if other(*id))
    };
    // Each commit is judged before its first write. So a removal must not be in one commit with
    // something that would depend on it.
    let beside = |change: &ResourceChange| {
        commit.resources.len() > 1 || commit.vm.is_some() && !takes_over(change)
    };
    if commit.resources.iter().any(|change| removes(change) && beside(change)) {
        return Err(malformed("a removal is committed together with other changes"));
    }
    let mut touched = BTreeSet::new();
    if let Some(twice) =
        commit.resources.iter().map(touches).find(|key| !touched.insert(key.clone()))
    {
        return Err(malformed(format!("{twice} is changed twice in one commit")));
    }
    Ok(())
}

/// The resource that a change is about.
fn touches(change: &ResourceChange) -> String {
    match change {
        ResourceChange::HostPut(host) => format!("host {}", host.id),
        ResourceChange::HostEdit { id, .. }
        | ResourceChange::HostProbed { id, .. }
        | ResourceChange::HostIdentified { id, .. }
        | ResourceChange::HostRemove(id) => format!("host {id}"),
        ResourceChange::DatastorePut(datastore) => format!("datastore {}", datastore.id),
        ResourceChange::DatastoreRemove(id) => format!("datastore {id}"),
        ResourceChange::ImagePut(image) => format!("image {}", image.id),
        ResourceChange::ImageSetState { id, .. }
        | ResourceChange::ImageDiscard(id)
        | ResourceChange::ImageRemove(id) => {
            format!("image {id}")
        }
        ResourceChange::TokenPut(token) => format!("token {}", token.name),
        ResourceChange::TokenRemove(name) => format!("token {name}"),
        ResourceChange::DriverPut(driver) => format!("driver {}", driver.name),
        ResourceChange::DriverRemove(name) => format!("driver {name}"),
        ResourceChange::RulesBind(binding) => format!("rules of {}", binding.hypervisor),
        ResourceChange::RulesUnbind(hypervisor) => format!("rules of {hypervisor}"),
        ResourceChange::SecretPut(SecretRow { key, .. }) | ResourceChange::SecretRemove(key) => {
            format!("secret {key}")
        }
        ResourceChange::VmForget(id) => format!("VM {id}"),
        ResourceChange::RestoreOver => "the mark of a restore".to_owned(),
    }
}
