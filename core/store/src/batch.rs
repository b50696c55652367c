//! One transaction of the database, which serves many commits.
//!
//! Each commit is judged completely before its first write. So a commit that is refused leaves
//! nothing behind, and the other commits go on: the database can only undo all of them together.
//! Later commits of a batch see what earlier ones wrote.

use crate::book::{Books, Claimant};
use crate::commit::{Committed, ResourceChange};
use crate::error::{Fault, ReadError};
use crate::meta::{self, Marks};
use crate::prepare::Prepared;
use crate::read::Reader;
use crate::resource::Ahead;
use crate::summary::VmSummary;
use crate::tables::{Cold, EVENT, Hot, META};
use crate::txn::Txn;
use ostler_model::{Claim, EventSeq};
use redb::ReadableTableMetadata;

/// Bounds. Tests make them small.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) events_kept: u64,
    pub(crate) operations_kept: usize,
}

/// The data that the writer carries from batch to batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tail {
    /// The number of the last event.
    pub(crate) last: u64,
    /// How many events are kept.
    pub(crate) kept: u64,
    /// The high-water marks.
    pub(crate) marks: Marks,
    /// The number of the last batch.
    pub(crate) batch: u64,
}

impl Tail {
    pub(crate) fn load(reader: &Reader) -> Result<Self, ReadError> {
        let meta = reader.table(META)?;
        let last = meta::event_last(&meta)?;
        let kept = reader.table(EVENT)?.len().map_err(Fault::from)?;
        Ok(Self { last, kept, marks: meta::marks(&meta)?, batch: meta::batch(&meta)? })
    }
}

/// An open transaction.
pub(crate) struct Batch<'txn> {
    txn: &'txn Txn,
    pub(crate) hot: Hot<'txn>,
    cold: Option<Cold<'txn>>,
    pub(crate) books: Books,
    pub(crate) before: Tail,
    pub(crate) tail: Tail,
    pub(crate) limits: Limits,
}

/// The result of judging a commit.
pub(crate) enum Verdict {
    /// The commit may be applied. Holds the summary that it replaces.
    Go(Option<VmSummary>),
    /// The commit may not be applied.
    No(Committed),
}

impl<'txn> Batch<'txn> {
    pub(crate) fn open(txn: &'txn Txn, tail: Tail, limits: Limits) -> Result<Self, Fault> {
        Ok(Self {
            txn,
            hot: Hot::open(txn)?,
            cold: None,
            books: Books::default(),
            before: tail,
            tail,
            limits,
        })
    }

    /// The tables of resources. They are opened when they are needed first.
    pub(crate) fn cold(&mut self) -> Result<&mut Cold<'txn>, Fault> {
        match &mut self.cold {
            Some(cold) => Ok(cold),
            empty => Ok(empty.insert(Cold::open(self.txn)?)),
        }
    }

    /// Judges whether a commit may be applied. Writes nothing.
    pub(crate) fn judge(&mut self, commit: &Prepared) -> Result<Verdict, ReadError> {
        if let Some((row, _)) = &commit.idempotency
            && let Some(seen) = self.idempotency_seen(row)?
        {
            return Ok(Verdict::No(seen));
        }
        let old = match &commit.vm {
            None => None,
            Some(vm) => {
                let old = self.vm_summary(vm.summary.id)?;
                let found = old.as_ref().map(|summary| summary.version);
                if found != vm.expect {
                    return Ok(Verdict::No(Committed::Stale { found }));
                }
                old
            }
        };
        let new = commit.vm.as_ref().map(|vm| &vm.summary);
        let by = Claimant::new(old.as_ref(), new, commit.forgets());
        if let Some(refused) = self.claims_refused(commit.claims.iter().cloned(), &by)? {
            return Ok(Verdict::No(Committed::ClaimRefused(refused)));
        }
        if let Some(vm) = new
            && let Some(refused) = self.vm_refused(vm, old.as_ref(), commit.forgets())?
        {
            return Ok(Verdict::No(Committed::Refused(refused)));
        }
        if let Some(refused) = self.claims_refused(Claim::implied(by.old, by.new), &by)? {
            return Ok(Verdict::No(Committed::ClaimRefused(refused)));
        }
        let ahead = Ahead::of_vm(old.as_ref(), new);
        if let Some(refused) = self.resources_refused(&commit.resources, ahead)? {
            return Ok(Verdict::No(Committed::Refused(refused)));
        }
        Ok(Verdict::Go(old))
    }

    /// Writes a commit that was judged as good.
    pub(crate) fn apply(
        &mut self,
        commit: &Prepared,
        old: Option<&VmSummary>,
    ) -> Result<Committed, ReadError> {
        self.tail.marks = self.tail.marks.max(commit.marks);
        if let Some(former) = commit.forgets() {
            // This comes before the VM that takes over the UUID.
            self.resource_apply(&ResourceChange::VmForget(former))?;
        }
        if let Some(vm) = &commit.vm {
            self.vm_put(vm, old)?;
        }
        for operation in &commit.operations {
            self.operation_put(operation)?;
        }
        for gone in &commit.outbox_del {
            self.outbox_remove(gone)?;
        }
        for (id, row) in &commit.outbox_put {
            self.outbox_put(id, row)?;
        }
        for event in &commit.events {
            self.event_append(event)?;
        }
        if let Some((row, kept)) = &commit.idempotency {
            self.idempotency_put(row, kept)?;
        }
        for change in
            commit.resources.iter().filter(|change| !matches!(change, ResourceChange::VmForget(_)))
        {
            self.resource_apply(change)?;
        }
        Ok(Committed::Applied { seq: EventSeq(self.tail.last) })
    }

    /// Writes what is written once per batch, and closes the tables.
    pub(crate) fn finish(mut self) -> Result<Tail, ReadError> {
        self.event_trim()?;
        self.books_flush()?;
        if self.tail.last != self.before.last {
            meta::event_last_put(&mut self.hot.meta, self.tail.last)?;
        }
        if self.tail.marks != self.before.marks {
            meta::marks_put(&mut self.hot.meta, self.tail.marks)?;
        }
        self.tail.batch = self.tail.batch.saturating_add(1);
        meta::batch_put(&mut self.hot.meta, self.tail.batch)?;
        Ok(self.tail)
    }
}
