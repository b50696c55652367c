//! Backup of a running store, and restore.
//!
//! A backup does not know what came after it. A VM that had a host then is told by its generation, if it is another's by now. A VM that
//! had none may run anywhere, under a generation that the backup never issued: nothing that has none may be started just because the
//! restored store comes up.

use crate::batch::{Batch, Limits, Tail};
use crate::commit::EventDraft;
use crate::error::{BackupError, Fault, OpenError, ReadError};
use crate::event::{EVENTS_KEPT, EventsAfter};
use crate::file::{self, Draft};
use crate::migrate;
use crate::operation::OPERATIONS_KEPT;
use crate::page::VM_PAGE_MAX;
use crate::prepare::PreparedVm;
use crate::read::Reader;
use crate::row;
use crate::store::{Options, Store};
use crate::tables;
use ostler_model::{EventKind, EventSeq, Reason, State, Timestamp, VmId, VmRecord};
use redb::{Builder, DatabaseError, ReadOnlyDatabase, ReadableDatabase};
use std::path::Path;

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The id of the store: domains stamped with it are ours again.
    pub id: ostler_model::StoreId,
    /// The place of the feed it stands at.
    pub seq: EventSeq,
    /// How many VMs were pending and are on hold now.
    pub held: u64,
}

fn file_error<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> BackupError + 'a {
    move |source| BackupError::File { what, path: path.to_owned(), source }
}

fn draft(to: &Path) -> Result<Draft, BackupError> {
    if file::taken(to) {
        return Err(BackupError::Exists { path: to.to_owned() });
    }
    Draft::new(to).map_err(file_error("making a file next to", to))
}

fn publish(draft: Draft, to: &Path) -> Result<(), BackupError> {
    draft.publish().map_err(|source| match source.kind() {
        std::io::ErrorKind::AlreadyExists => BackupError::Exists { path: to.to_owned() },
        _ => BackupError::File { what: "naming", path: to.to_owned(), source },
    })
}

impl Store {
    /// Writes everything that is committed now into a new file, while commits go on. The name appears when the copy is whole and
    /// durable. Blocks: call it where that is allowed.
    ///
    /// # Errors
    /// When the target exists, or cannot be written.
    pub fn backup(&self, to: &Path) -> Result<u64, BackupError> {
        let draft = draft(to)?;
        let reader = self.read()?;
        let copy = Builder::new().set_cache_size(Options::default().cache_bytes).create(draft.path()).map_err(Fault::from)?;
        let txn = copy.begin_write().map_err(Fault::from)?;
        let rows = tables::copy_all(&reader.txn, &txn)?;
        txn.commit().map_err(Fault::from)?;
        copy.close().map_err(Fault::from)?;
        publish(draft, to)?;
        Ok(rows)
    }
}

/// Makes a store from a backup: copies it, migrates and checks the copy, puts what is pending on hold, and only then gives it its name.
/// Whoever has seen that a VM on hold runs nowhere releases it.
///
/// # Errors
/// When the target exists or is a running store, when the source is a running store, or when the backup does not add up.
pub fn restore(from: &Path, to: &Path) -> Result<Restored, BackupError> {
    if file::taken(to) {
        return Err(match ReadOnlyDatabase::open(to) {
            Err(DatabaseError::DatabaseAlreadyOpen) => BackupError::InUse { path: to.to_owned() },
            Ok(_) | Err(_) => BackupError::Exists { path: to.to_owned() },
        });
    }
    // Whatever else is wrong with the source, opening the copy tells. A source that somebody writes would tear.
    if let Err(DatabaseError::DatabaseAlreadyOpen) = ReadOnlyDatabase::open(from) {
        return Err(BackupError::InUse { path: from.to_owned() });
    }
    let draft = draft(to)?;
    std::fs::copy(from, draft.path()).map_err(file_error("copying", from))?;
    prove(draft.path(), from)?;
    let restored = hold_pending(draft.path())?;
    publish(draft, to)?;
    Ok(restored)
}

fn prove(copy: &Path, from: &Path) -> Result<(), BackupError> {
    // A backup is never empty; an empty file would become a new store.
    let length = copy.metadata().map_err(file_error("reading", copy))?.len();
    if length == 0 {
        return Err(OpenError::NotAStore { why: format!("{} is empty", from.display()) }.into());
    }
    let findings = Store::open(copy, Options::default())?.check()?;
    if !findings.is_empty() {
        return Err(BackupError::Broken { path: from.to_owned(), findings });
    }
    Ok(())
}

/// Puts every pending VM on hold, so that the scheduler starts none that may be running.
fn hold_pending(copy: &Path) -> Result<Restored, BackupError> {
    let options = Options::default();
    let db = Builder::new().set_cache_size(options.cache_bytes).open(copy).map_err(Fault::from)?;
    let (id, tail) = migrate::at_open(&db, None)?;
    let reader = Reader::new(db.begin_read().map_err(Fault::from)?);
    let txn = db.begin_write().map_err(Fault::from)?;
    let limits = Limits { events_kept: EVENTS_KEPT, operations_kept: OPERATIONS_KEPT };
    let mut batch = Batch::open(&txn, tail, limits)?;
    let as_of = as_of(&reader)?;
    let pending = pending(&reader)?;
    for vm in &pending {
        let Some(mut record) = reader.vm(*vm)? else { continue };
        let event = hold(&mut record, as_of);
        let old = batch.vm_summary(*vm)?;
        batch.vm_put(&PreparedVm::new(&record, None).map_err(ReadError::from)?, old.as_ref())?;
        batch.event_append(&row::encode(&event).map_err(ReadError::from)?)?;
    }
    let Tail { last, .. } = batch.finish()?;
    txn.commit().map_err(Fault::from)?;
    drop(reader);
    db.close().map_err(Fault::from)?;
    Ok(Restored { id, seq: EventSeq(last), held: pending.len() as u64 })
}

/// Puts one on hold. A new version, so that whoever decided on the old one decides again.
fn hold(record: &mut VmRecord, as_of: Timestamp) -> EventDraft {
    let from = std::mem::replace(&mut record.state, State::Hold);
    record.reason = Reason::StoreIsStale;
    record.since = record.since.max(as_of);
    record.version = record.version.next();
    let kind = EventKind::State { from, to: record.state, reason: record.reason };
    EventDraft { at: record.since, vm: Some(record.id), version: Some(record.version), kind }
}

fn pending(reader: &Reader) -> Result<Vec<VmId>, ReadError> {
    let mut found = Vec::new();
    loop {
        let page = reader.vms_in_state(State::Pending, found.last().copied(), VM_PAGE_MAX)?;
        if page.is_empty() {
            return Ok(found);
        }
        found.extend(page);
    }
}

/// The time of the newest event: no clock is asked here, and the history that is restored ends then.
fn as_of(reader: &Reader) -> Result<Timestamp, ReadError> {
    let before = EventSeq(reader.seq()?.0.saturating_sub(1));
    Ok(match reader.events_after(before, 1)? {
        EventsAfter::Page { events, .. } => events.first().map_or(Timestamp(0), |event| event.at),
        EventsAfter::Trimmed { .. } => Timestamp(0),
    })
}
