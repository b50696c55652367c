//! Lists of VMs in pages. A list reads one index: by host if the filter names a host, else by
//! state, else by owner.

use crate::error::{Fault, ReadError};
use crate::read::Reader;
use crate::row;
use crate::summary::VmSummary;
use crate::tables::{VM_BY_HOST, VM_BY_OWNER, VM_BY_STATE, VM_LIVE, VM_SUMMARY};
use ostler_model::{EventSeq, HostId, State, VmId};
use redb::ReadableTable;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// How many VMs one page has, at most.
pub const VM_PAGE_MAX: usize = 1000;
/// How many index rows are read for one page, at most. If almost nothing matches the filter, pages
/// are short and have a `next`, and the client does not wait long.
const LOOKED_AT_MAX: usize = 10_000;

/// Selects the VMs of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VmFilter {
    /// Only VMs in one of these states. If empty, VMs in any state.
    pub states: Vec<State>,
    /// If no states are given: also VMs that are done.
    pub include_done: bool,
    /// Only VMs that have their placement on this host. A VM that migrates has its placement at the
    /// origin until it has arrived.
    pub host: Option<HostId>,
    /// Only VMs of this owner.
    pub owner: Option<String>,
}

impl VmFilter {
    fn takes(&self, vm: &VmSummary) -> bool {
        let state = if self.states.is_empty() {
            self.include_done || vm.live()
        } else {
            self.states.contains(&vm.state)
        };
        state
            && self.host.is_none_or(|host| vm.host == Some(host))
            && self.owner.as_ref().is_none_or(|owner| vm.owner == *owner)
    }
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// In the order of their ids.
    pub items: Vec<T>,
    /// The last VM of this page, if there is a next page: pass it as `after`. None at the end.
    pub next: Option<VmId>,
    /// The place in the feed at which the page is true.
    pub seq: EventSeq,
}

type Ids<'a> = Box<dyn Iterator<Item = Result<u64, redb::StorageError>> + 'a>;

/// Merges streams of rising ids into one stream of rising ids.
struct Merge<'a> {
    streams: Vec<Ids<'a>>,
    heads: BinaryHeap<Reverse<(u64, usize)>>,
    failed: Option<redb::StorageError>,
}

impl<'a> Merge<'a> {
    fn new(streams: Vec<Ids<'a>>) -> Self {
        let mut merge =
            Self { heads: BinaryHeap::with_capacity(streams.len()), streams, failed: None };
        for at in 0..merge.streams.len() {
            merge.pull(at);
        }
        merge
    }

    fn pull(&mut self, at: usize) {
        match self.streams.get_mut(at).and_then(Iterator::next) {
            Some(Ok(id)) => self.heads.push(Reverse((id, at))),
            Some(Err(error)) => self.failed = Some(error),
            None => {}
        }
    }
}

impl Iterator for Merge<'_> {
    type Item = Result<u64, redb::StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.failed.take() {
            self.heads.clear();
            return Some(Err(error));
        }
        let Reverse((id, at)) = self.heads.pop()?;
        self.pull(at);
        Some(Ok(id))
    }
}

impl Reader {
    /// All VMs that are not done.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn vms_live(&self) -> Result<Vec<VmId>, ReadError> {
        let table = self.table(VM_LIVE)?;
        let rows = ReadableTable::iter(&table).map_err(Fault::from)?;
        rows.map(|row| Ok(VmId(row.map_err(Fault::from)?.0.value()))).collect()
    }

    /// A page of the VMs after `after`, with at most `limit` and at most [`VM_PAGE_MAX`] VMs. It
    /// may have fewer than `limit` although there are more: then it has a `next`.
    ///
    /// # Errors
    /// When the store or a row cannot be read.
    pub fn vm_page(
        &self,
        filter: &VmFilter,
        after: Option<VmId>,
        limit: usize,
    ) -> Result<Page<VmSummary>, ReadError> {
        let seq = self.seq()?;
        let summaries = self.table(VM_SUMMARY)?;
        let limit = limit.clamp(1, VM_PAGE_MAX);
        let mut items = Vec::with_capacity(limit.min(128));
        let mut last = None;
        for (looked_at, id) in self.candidates(filter, after)?.enumerate() {
            if items.len() == limit || looked_at == LOOKED_AT_MAX {
                return Ok(Page { items, next: last, seq });
            }
            let id = id.map_err(Fault::from)?;
            last = Some(VmId(id));
            if let Some(kept) = summaries.get(id).map_err(Fault::from)? {
                let summary = self.summaries.decode(kept.value(), id)?;
                if filter.takes(&summary) {
                    items.push(summary);
                }
            }
        }
        Ok(Page { items, next: None, seq })
    }

    /// Ids of VMs in one state after `after`, lowest first, at most `limit` and at most
    /// [`VM_PAGE_MAX`]. This is the scheduler's queue.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn vms_in_state(
        &self,
        state: State,
        after: Option<VmId>,
        limit: usize,
    ) -> Result<Vec<VmId>, ReadError> {
        let from = after.map_or(0, |id| id.0.saturating_add(1));
        self.state_ids(state, from)?
            .take(limit.min(VM_PAGE_MAX))
            .map(|id| id.map(VmId))
            .collect::<Result<_, _>>()
            .map_err(|error| Fault::from(error).into())
    }

    fn state_ids(&self, state: State, from: u64) -> Result<Ids<'static>, ReadError> {
        let key: &'static str = state.into();
        let rows =
            self.table(VM_BY_STATE)?.range((key, from)..=(key, u64::MAX)).map_err(Fault::from)?;
        Ok(Box::new(rows.map(|row| row.map(|(key, _)| key.value().1))))
    }

    /// Ids of VMs that may match, rising. Whether a VM matches is decided by its summary.
    fn candidates(
        &self,
        filter: &VmFilter,
        after: Option<VmId>,
    ) -> Result<Ids<'static>, ReadError> {
        let from = after.map_or(0, |id| id.0.saturating_add(1));
        if let Some(host) = filter.host {
            let rows = self
                .table(VM_BY_HOST)?
                .range((host.0, from)..=(host.0, u64::MAX))
                .map_err(Fault::from)?;
            return Ok(Box::new(rows.map(|row| row.map(|(key, _)| key.value().1))));
        }
        if !filter.states.is_empty() {
            let mut states = filter.states.clone();
            states.sort_unstable();
            states.dedup();
            let streams = states
                .into_iter()
                .map(|state| self.state_ids(state, from))
                .collect::<Result<_, _>>()?;
            return Ok(Box::new(Merge::new(streams)));
        }
        if let Some(owner) = &filter.owner {
            let owner = owner.as_str();
            let rows = self
                .table(VM_BY_OWNER)?
                .range((owner, from)..=(owner, u64::MAX))
                .map_err(Fault::from)?;
            return Ok(Box::new(rows.map(|row| row.map(|(key, _)| key.value().1))));
        }
        if filter.include_done {
            let rows = self.table(VM_SUMMARY)?.range(from..).map_err(Fault::from)?;
            return Ok(Box::new(rows.map(|row| row.map(|(key, _)| key.value()))));
        }
        let rows = self.table(VM_LIVE)?.range(from..).map_err(Fault::from)?;
        Ok(Box::new(rows.map(|row| row.map(|(key, _)| key.value()))))
    }

    /// The summary of every VM, for `check`.
    pub(crate) fn summaries(&self) -> Result<Vec<VmSummary>, ReadError> {
        let table = self.table(VM_SUMMARY)?;
        let mut found = Vec::new();
        for entry in ReadableTable::iter(&table).map_err(Fault::from)? {
            let (id, kept) = entry.map_err(Fault::from)?;
            found.push(row::decode(kept.value(), id.value())?);
        }
        Ok(found)
    }
}
