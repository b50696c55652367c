//! Backup of a running store, and restore.

use crate::error::{BackupError, Fault, OpenError};
use crate::file::{self, Draft};
use crate::store::{Options, Store};
use crate::tables;
use redb::{Builder, DatabaseError, ReadOnlyDatabase};
use std::path::Path;

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The id of the store: domains stamped with it are ours again.
    pub id: ostler_model::StoreId,
    /// The place of the feed it stands at.
    pub seq: ostler_model::EventSeq,
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

/// Makes a store from a backup: copies it, migrates and checks the copy, and only then gives it its name.
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
    let restored = prove(draft.path(), from)?;
    publish(draft, to)?;
    Ok(restored)
}

fn prove(copy: &Path, from: &Path) -> Result<Restored, BackupError> {
    // A backup is never empty; an empty file would become a new store.
    let length = copy.metadata().map_err(file_error("reading", copy))?.len();
    if length == 0 {
        return Err(OpenError::NotAStore { why: format!("{} is empty", from.display()) }.into());
    }
    let store = Store::open(copy, Options::default())?;
    let reader = store.read()?;
    let findings = reader.check()?;
    if !findings.is_empty() {
        return Err(BackupError::Broken { path: from.to_owned(), findings });
    }
    Ok(Restored { id: store.id(), seq: reader.seq()? })
}
