//! Backup of a running store, and restore.
//!
//! A backup does not know what came after it: VMs were moved, their memory files were used up,
//! their operations ended. So a restore marks each VM as not reconciled
//! ([`ostler_model::Restored`]), and nothing is done for such a VM before every host was listed.
//! Ids, versions, generations and event numbers go on far above those that were used in the lost
//! time. So an effect, an image or a snapshot of the lost time is not taken for a new one, and a
//! reader of the feed notices that it has missed something.

use crate::batch::{Batch, Limits, Tail};
use crate::check::Findings;
use crate::commit::EventDraft;
use crate::derive;
use crate::error::{BackupError, Fault, OpenError, ReadError};
use crate::event::{EVENTS_KEPT, EVENTS_SKIPPED, EventsAfter};
use crate::file::{self, Draft};
use crate::log::Followers;
use crate::meta::{self, Charged, RestoredStore};
use crate::migrate;
use crate::operation::OPERATIONS_KEPT;
use crate::options::Options;
use crate::prepare::PreparedVm;
use crate::read::Reader;
use crate::row;
use crate::sabotage::Sabotage;
use crate::store::Store;
use crate::tables;
use crate::txn::Txn;
use ostler_model::{EventKind, EventSeq, Reason, State, Timestamp, VmRecord};
use redb::{Builder, Database, DatabaseError, ReadOnlyDatabase, ReadableDatabase};
use std::path::Path;

/// How many numbers of batches a restore leaves out. A store cannot write so many between a backup
/// and its restore.
const BATCHES_SKIPPED: u64 = 1_000_000_000_000;
/// Batch numbers after a restore are above this many for each millisecond since 1970. So two
/// restores of one backup never give the same number: no store commits so many batches.
const BATCHES_A_MILLISECOND: u64 = 1000;

/// The result of a restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreReport {
    /// The id of the store. Domains that are stamped with it are ours again.
    pub id: ostler_model::StoreId,
    /// The number of the last event after the restore.
    pub seq: EventSeq,
    /// How many VMs are not reconciled yet.
    pub vms: u64,
    /// How many of them were pending. They are on hold until they are reconciled.
    pub held: u64,
    /// Indexes and books that did not fit the records. They were derived again.
    pub mended: Vec<String>,
    /// Records of VMs that cannot be read, and so are not marked.
    pub unreadable: Vec<String>,
}

/// How to restore a backup with records of VMs that this version cannot read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// The restore is refused. Such a VM cannot be marked, and a version that can read its record
    /// would start it, although it may run elsewhere by now.
    Refused,
    /// Such a record stays as it is, and is in no list. For backups that no version can read
    /// completely.
    LeftOut,
}

fn file_error<'a>(
    what: &'static str,
    path: &'a Path,
) -> impl FnOnce(std::io::Error) -> BackupError + 'a {
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
    /// Writes everything that is committed now into a new file, while commits go on. The file gets
    /// its name when the copy is complete and durable. This blocks, so call it where blocking is
    /// allowed.
    ///
    /// # Errors
    /// If the target exists, or cannot be written.
    pub fn backup(&self, to: &Path) -> Result<u64, BackupError> {
        let draft = draft(to)?;
        let reader = self.read()?;
        let copy = Builder::new()
            .set_cache_size(Options::default().cache_bytes)
            .create(draft.path())
            .map_err(Fault::from)?;
        let txn = Txn::begin(&copy).map_err(Fault::from)?;
        let rows = tables::copy_all(&reader.txn, &txn)?;
        txn.commit().map_err(Fault::from)?;
        copy.close().map_err(Fault::from)?;
        publish(draft, to)?;
        Ok(rows)
    }
}

/// Makes a store from a backup: copies it, migrates and checks the copy, and marks its VMs as not
/// reconciled. Only after that the copy gets its name.
///
/// # Errors
/// If the target exists or is a running store, if the source is a running store, if the backup does
/// not add up, or if it has records that cannot be read and `unreadable` is `Refused`.
pub fn restore(
    from: &Path,
    to: &Path,
    unreadable: Unreadable,
) -> Result<RestoreReport, BackupError> {
    if file::taken(to) {
        return Err(match ReadOnlyDatabase::open(to) {
            Err(DatabaseError::DatabaseAlreadyOpen) => BackupError::InUse { path: to.to_owned() },
            Ok(_) | Err(_) => BackupError::Exists { path: to.to_owned() },
        });
    }
    // Every other fault of the source shows when the copy is opened. But a copy of a source that
    // somebody writes would be inconsistent.
    if let Err(DatabaseError::DatabaseAlreadyOpen) = ReadOnlyDatabase::open(from) {
        return Err(BackupError::InUse { path: from.to_owned() });
    }
    let draft = draft(to)?;
    std::fs::copy(from, draft.path()).map_err(file_error("copying", from))?;
    let proven = prove(draft.path(), from, unreadable)?;
    let restored = mark(draft.path(), now())?;
    publish(draft, to)?;
    Ok(RestoreReport { mended: proven.mended, unreadable: proven.unreadable, ..restored })
}

/// The findings in a copy that can be restored.
struct Proven {
    /// Indexes and books that did not fit the records, and were derived again.
    mended: Vec<String>,
    unreadable: Vec<String>,
}

/// Checks the copy. Derives indexes and books again if they do not fit the records.
fn prove(copy: &Path, from: &Path, unreadable: Unreadable) -> Result<Proven, BackupError> {
    // A backup is never empty, and an empty file would become a new store.
    let length = copy.metadata().map_err(file_error("reading", copy))?.len();
    if length == 0 {
        return Err(OpenError::NotAStore { why: format!("{} is empty", from.display()) }.into());
    }
    let look = || -> Result<Findings, BackupError> {
        Ok(Store::open(copy, Options::default())?.read()?.findings()?)
    };
    let mut findings = look()?;
    let mended = findings.derived.clone();
    if findings.kept.is_empty() && !mended.is_empty() {
        // The records are good. Indexes and books that do not fit them are no reason to refuse the
        // backup.
        derive::anew(copy)?;
        findings = look()?;
    }
    let broken = [findings.kept, findings.derived].concat();
    if !broken.is_empty() {
        return Err(BackupError::Broken { path: from.to_owned(), findings: broken });
    }
    if unreadable == Unreadable::Refused && !findings.unreadable.is_empty() {
        return Err(BackupError::Unreadable {
            path: from.to_owned(),
            findings: findings.unreadable,
        });
    }
    Ok(Proven { mended, unreadable: findings.unreadable })
}

/// Marks every VM that is not done, and the store itself, in one transaction.
fn mark(copy: &Path, now: Timestamp) -> Result<RestoreReport, BackupError> {
    mark_in(
        Builder::new()
            .set_cache_size(Options::default().cache_bytes)
            .open(copy)
            .map_err(Fault::from)?,
        now,
        Sabotage::None,
    )
}

/// The system's time. A time before 1970 counts as 1970.
fn now() -> Timestamp {
    let since =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or_default())
}

/// As `mark`, for a database that is open.
pub(crate) fn mark_in(
    db: Database,
    now: Timestamp,
    sabotage: Sabotage,
) -> Result<RestoreReport, BackupError> {
    let (id, tail) = migrate::at_open(&db, None, &Followers::default())?;
    let reader = Reader::new(db.begin_read().map_err(Fault::from)?);
    let txn = Txn::begin(&db).map_err(Fault::from)?;
    let limits = Limits { events_kept: EVENTS_KEPT, operations_kept: OPERATIONS_KEPT };
    let mut batch = Batch::open(&txn, tail, limits)?;
    let stands = RestoredStore { as_of: as_of(&reader)?, seq: reader.seq()? };
    if sabotage != Sabotage::IdsAgain {
        batch.tail.last = batch.tail.last.saturating_add(EVENTS_SKIPPED);
        batch.tail.marks = batch.tail.marks.skipped(now);
    }
    // A follower of the lost time may hold batches with the next numbers. It must not take batches
    // of this time for them.
    batch.tail.batch = batch
        .tail
        .batch
        .saturating_add(BATCHES_SKIPPED)
        .max(now.0.saturating_mul(BATCHES_A_MILLISECOND));
    let lost = EventKind::StoreRestored { after: stands.seq };
    batch.event_append(&encode(&EventDraft {
        at: stands.as_of,
        vm: None,
        version: None,
        kind: lost,
    })?)?;
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
    // A daemon that takes charge gets an epoch above those of the lost time.
    let charged = meta::charged(&*batch.hot.meta)?;
    meta::charged_put(&mut batch.hot.meta, &Charged { place: None, ..charged })?;
    let Tail { last, .. } = batch.finish()?;
    txn.commit().map_err(Fault::from)?;
    drop(reader);
    db.close().map_err(Fault::from)?;
    Ok(RestoreReport {
        id,
        seq: EventSeq(last),
        vms,
        held,
        mended: Vec::new(),
        unreadable: Vec::new(),
    })
}

fn encode(event: &EventDraft) -> Result<Vec<u8>, ReadError> {
    Ok(row::encode(event)?)
}

/// Puts a pending VM on hold, so that a daemon of an older version does not start it either.
fn hold(record: &mut VmRecord, as_of: Timestamp) -> EventDraft {
    let from = std::mem::replace(&mut record.state, State::Hold);
    record.reason = Reason::StoreIsStale;
    record.since = record.since.max(as_of);
    let kind = EventKind::State { from, to: record.state, reason: record.reason };
    EventDraft { at: record.since, vm: Some(record.id), version: Some(record.version), kind }
}

/// The time of the newest event, at which the restored history ends. No clock is asked for this.
fn as_of(reader: &Reader) -> Result<Timestamp, ReadError> {
    let before = EventSeq(reader.seq()?.0.saturating_sub(1));
    Ok(match reader.events_after(before, 1)? {
        EventsAfter::Page { events, .. } => events.first().map_or(Timestamp(0), |event| event.at),
        EventsAfter::Trimmed { .. } => Timestamp(0),
    })
}
