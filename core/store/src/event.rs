//! The event feed. Events are numbered in the order of commits, without a gap, except where a
//! restore leaves numbers out. A bounded number of events is kept.

use crate::batch::Batch;
use crate::commit::EventDraft;
use crate::error::{Fault, ReadError};
use crate::meta;
use crate::read::Reader;
use crate::row;
use crate::tables::{EVENT, META};
use ostler_model::{Event, EventSeq};
use redb::ReadableTable;

/// How many events are kept: those of some minutes at the highest load, or of some weeks at an
/// ordinary one, in about 60 MB.
pub const EVENTS_KEPT: u64 = 200_000;
/// How many old events are removed for each new one, at most. So trimming keeps up, and no single
/// commit takes much longer than others.
const TRIM_RATIO: u64 = 2;
/// How many numbers a restore leaves out. A store cannot write so many events between a backup and
/// its restore.
pub const EVENTS_SKIPPED: u64 = 1_000_000_000_000;
/// How many events one page has, at most.
pub const EVENT_PAGE_MAX: usize = 1000;

/// The answer to the question which events follow a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventsAfter {
    /// The events that follow. There are fewer than asked for only at the end of the feed.
    Page {
        /// In order, without a gap, except where a restore leaves numbers out.
        events: Vec<Event>,
        /// The number of the last event that was committed then.
        last: EventSeq,
    },
    /// Some of the events that follow are no longer kept, or the number belongs to a time that a
    /// restore has lost. Read the VMs again, and then go on from `last`.
    Trimmed {
        /// The oldest event that is kept.
        oldest: EventSeq,
        /// The number of the last event that was committed then.
        last: EventSeq,
    },
}

impl Batch<'_> {
    /// Appends an event.
    pub(crate) fn event_append(&mut self, row: &[u8]) -> Result<(), Fault> {
        let seq = self.tail.last.saturating_add(1);
        self.hot.event.insert(seq, row)?;
        self.tail.last = seq;
        self.tail.kept = self.tail.kept.saturating_add(1);
        Ok(())
    }

    /// Removes some of the oldest events, if there are more than the bound.
    pub(crate) fn event_trim(&mut self) -> Result<(), Fault> {
        // The events are counted, because a restore leaves numbers out.
        let appended = self.tail.kept.saturating_sub(self.before.kept);
        let surplus = self
            .tail
            .kept
            .saturating_sub(self.limits.events_kept)
            .min(appended.saturating_mul(TRIM_RATIO));
        for _ in 0..surplus {
            self.hot.event.pop_first()?;
        }
        self.tail.kept = self.tail.kept.saturating_sub(surplus);
        Ok(())
    }
}

impl Reader {
    /// The number of the last event. Everything that this reader shows is true at that place of the
    /// feed.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn seq(&self) -> Result<EventSeq, ReadError> {
        Ok(EventSeq(meta::event_last(&self.table(META)?)?))
    }

    /// The oldest event that is kept. None if there are no events.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn oldest_event(&self) -> Result<Option<EventSeq>, ReadError> {
        Ok(self.table(EVENT)?.first().map_err(Fault::from)?.map(|(seq, _)| EventSeq(seq.value())))
    }

    /// The events after `seq`, at most `limit` and at most [`EVENT_PAGE_MAX`].
    ///
    /// # Errors
    /// When the store or a row cannot be read.
    pub fn events_after(&self, seq: EventSeq, limit: usize) -> Result<EventsAfter, ReadError> {
        let last = self.seq()?;
        let table = self.table(EVENT)?;
        let oldest = table
            .first()
            .map_err(Fault::from)?
            .map_or(last.next(), |(oldest, _)| EventSeq(oldest.value()));
        // No event of this store has this number: it was trimmed, or it belongs to a time that a
        // restore has lost.
        let known = seq.next() == oldest || table.get(seq.0).map_err(Fault::from)?.is_some();
        if !known {
            return Ok(EventsAfter::Trimmed { oldest, last });
        }
        let mut events = Vec::new();
        for entry in
            table.range(seq.next().0..).map_err(Fault::from)?.take(limit.min(EVENT_PAGE_MAX))
        {
            let (at, kept) = entry.map_err(Fault::from)?;
            let draft: EventDraft = row::decode(kept.value(), at.value())?;
            let EventDraft { at: when, vm, version, kind } = draft;
            events.push(Event { seq: EventSeq(at.value()), at: when, vm, version, kind });
        }
        Ok(EventsAfter::Page { events, last })
    }
}
