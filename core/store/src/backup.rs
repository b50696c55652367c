//! Backup of a running store, and restore.
//!
//! A backup does not know what came after it: VMs were moved, their memory was used up, their operations ended. So a restore marks each
//! VM as not reconciled ([`ostler_model::Restored`]), and nothing is done for such a VM before every host was listed. Ids, versions,
//! generations and event numbers go on far above those that were used in the lost time: an effect, an image or a snapshot of that time
//! must not be taken for one of now, and a reader of the feed must notice that it missed something.

use crate::batch::{Batch, Limits, Tail};
use crate::check::Findings;
use crate::commit::EventDraft;
use crate::derive;
use crate::error::{BackupError, Fault, OpenError, ReadError};
use crate::event::{EVENTS_KEPT, EVENTS_SKIPPED, EventsAfter};
use crate::file::{self, Draft};
use crate::meta::{self, RestoredStore};
use crate::migrate;
use crate::operation::OPERATIONS_KEPT;
use crate::prepare::PreparedVm;
use crate::read::Reader;
use crate::row;
use crate::store::{Options, Store};
use crate::tables;
use ostler_model::{EventKind, EventSeq, Reason, State, Timestamp, VmRecord};
use redb::{Builder, Database, DatabaseError, ReadOnlyDatabase, ReadableDatabase};
use std::path::Path;

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The id of the store: domains stamped with it are ours again.
    pub id: ostler_model::StoreId,
    /// The place of the feed it stands at.
    pub seq: EventSeq,
    /// How many VMs wait to be reconciled.
    pub vms: u64,
    /// How many of them were pending; they are on hold until then.
    pub held: u64,
    /// Indexes and books that did not fit the records, and were derived anew.
    pub mended: Vec<String>,
    /// Records of VMs that cannot be read, and are not marked.
    pub unreadable: Vec<String>,
}

/// Whether a backup is restored that has records of VMs which this version cannot read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// It is refused: such a VM cannot be marked, and a version that can read it would start it although it may run elsewhere by now.
    Refused,
    /// Such a record stays as it is, in no list. For backups that no version can read whole.
    LeftOut,
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

/// Makes a store from a backup: copies it, migrates and checks the copy, marks its VMs as not reconciled, and only then gives it its name.
///
/// # Errors
/// When the target exists or is a running store, when the source is a running store, when the backup does not add up, or when it has
/// records that cannot be read and these are `Refused`.
pub fn restore(from: &Path, to: &Path, unreadable: Unreadable) -> Result<Restored, BackupError> {
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
    let proven = prove(draft.path(), from, unreadable)?;
    let restored = mark(draft.path(), now())?;
    publish(draft, to)?;
    Ok(Restored { mended: proven.mended, unreadable: proven.unreadable, ..restored })
}

/// What was found in a copy that can be restored.
struct Proven {
    /// It did not fit the records, and was derived anew.
    mended: Vec<String>,
    unreadable: Vec<String>,
}

/// Checks the copy.
fn prove(copy: &Path, from: &Path, unreadable: Unreadable) -> Result<Proven, BackupError> {
    // A backup is never empty; an empty file would become a new store.
    let length = copy.metadata().map_err(file_error("reading", copy))?.len();
    if length == 0 {
        return Err(OpenError::NotAStore { why: format!("{} is empty", from.display()) }.into());
    }
    let look = || -> Result<Findings, BackupError> { Ok(Store::open(copy, Options::default())?.read()?.findings()?) };
    let mut findings = look()?;
    let mended = findings.derived.clone();
    if findings.kept.is_empty() && !mended.is_empty() {
        // The records are whole: indexes and books that do not fit them are no reason to lose everything.
        derive::anew(copy)?;
        findings = look()?;
    }
    let broken = [findings.kept, findings.derived].concat();
    if !broken.is_empty() {
        return Err(BackupError::Broken { path: from.to_owned(), findings: broken });
    }
    if unreadable == Unreadable::Refused && !findings.unreadable.is_empty() {
        return Err(BackupError::Unreadable { path: from.to_owned(), findings: findings.unreadable });
    }
    Ok(Proven { mended, unreadable: findings.unreadable })
}

/// Marks every VM that is not done, in one transaction with the mark of the store itself.
fn mark(copy: &Path, now: Timestamp) -> Result<Restored, BackupError> {
    mark_in(Builder::new().set_cache_size(Options::default().cache_bytes).open(copy).map_err(Fault::from)?, now)
}

/// The system's time. If it is before 1970 it says nothing.
fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or_default())
}

/// The same, wherever the store is.
pub(crate) fn mark_in(db: Database, now: Timestamp) -> Result<Restored, BackupError> {
    let (id, tail) = migrate::at_open(&db, None)?;
    let reader = Reader::new(db.begin_read().map_err(Fault::from)?);
    let txn = db.begin_write().map_err(Fault::from)?;
    let limits = Limits { events_kept: EVENTS_KEPT, operations_kept: OPERATIONS_KEPT };
    let mut batch = Batch::open(&txn, tail, limits)?;
    let stands = RestoredStore { as_of: as_of(&reader)?, seq: reader.seq()? };
    batch.tail.last = batch.tail.last.saturating_add(EVENTS_SKIPPED);
    batch.tail.marks = batch.tail.marks.skipped();
    let lost = EventKind::StoreRestored { after: stands.seq };
    batch.event_append(&encode(&EventDraft { at: stands.as_of, vm: None, version: None, kind: lost })?)?;
    let (mut vms, mut held) = (0, 0);
    for vm in reader.vms_live()? {
        let Some(mut record) = reader.vm(vm)? else { continue };
        record.mark_restored(now);
        vms += 1;
        if record.state == State::Pending {
            held += 1;
            batch.event_append(&encode(&hold(&mut record, stands.as_of))?)?;
        }
        let old = batch.vm_summary(vm)?;
        batch.vm_put(&PreparedVm::new(&record, None).map_err(ReadError::from)?, old.as_ref())?;
    }
    meta::restored_put(&mut batch.hot.meta, &stands)?;
    let Tail { last, .. } = batch.finish()?;
    txn.commit().map_err(Fault::from)?;
    drop(reader);
    db.close().map_err(Fault::from)?;
    Ok(Restored { id, seq: EventSeq(last), vms, held, mended: Vec::new(), unreadable: Vec::new() })
}

fn encode(event: &EventDraft) -> Result<Vec<u8>, ReadError> {
    Ok(row::encode(event)?)
}

/// Puts one on hold, so that also a daemon of an older version does not start it.
fn hold(record: &mut VmRecord, as_of: Timestamp) -> EventDraft {
    let from = std::mem::replace(&mut record.state, State::Hold);
    record.reason = Reason::StoreIsStale;
    record.since = record.since.max(as_of);
    let kind = EventKind::State { from, to: record.state, reason: record.reason };
    EventDraft { at: record.since, vm: Some(record.id), version: Some(record.version), kind }
}

/// The time of the newest event: no clock is asked here, and the history that is restored ends then.
fn as_of(reader: &Reader) -> Result<Timestamp, ReadError> {
    let before = EventSeq(reader.seq()?.0.saturating_sub(1));
    Ok(match reader.events_after(before, 1)? {
        EventsAfter::Page { events, .. } => events.first().map_or(Timestamp(0), |event| event.at),
        EventsAfter::Trimmed { .. } => Timestamp(0),
    })
}
