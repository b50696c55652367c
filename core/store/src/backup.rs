//! Backup of a running store, and restore.

use crate::error::{BackupError, Fault, OpenError};
use crate::store::{Options, Store, sync_parent};
use crate::tables;
use redb::{Builder, DatabaseError, ReadOnlyDatabase};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

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

/// A name next to the target, so that the rename stays within one file system.
fn draft_of(to: &Path) -> PathBuf {
    let mut name = to.file_name().map_or_else(OsString::new, OsString::from);
    name.push(format!(".{}.draft", std::process::id()));
    to.with_file_name(name)
}

/// Removes a draft that came to nothing.
struct Draft(PathBuf);

impl Drop for Draft {
    fn drop(&mut self) {
        // Gone after the rename, and then there is nothing to remove.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Gives the draft its name, unless that is taken by now.
fn publish(draft: &Draft, to: &Path) -> Result<(), BackupError> {
    let synced = std::fs::File::open(&draft.0).and_then(|file| file.sync_all());
    synced.map_err(file_error("writing", &draft.0))?;
    let renamed = rustix::fs::renameat_with(rustix::fs::CWD, &draft.0, rustix::fs::CWD, to, rustix::fs::RenameFlags::NOREPLACE);
    match renamed {
        Ok(()) => sync_parent(to).map_err(file_error("writing the directory of", to)),
        Err(rustix::io::Errno::EXIST) => Err(BackupError::Exists { path: to.to_owned() }),
        Err(error) => Err(file_error("renaming to", to)(error.into())),
    }
}

fn refuse_existing(to: &Path) -> Result<(), BackupError> {
    match to.symlink_metadata() {
        Ok(_) => Err(BackupError::Exists { path: to.to_owned() }),
        Err(_) => Ok(()),
    }
}

impl Store {
    /// Writes everything that is committed now into a new file, while commits go on. The name appears when the copy is whole and
    /// durable. Blocks: call it where that is allowed.
    ///
    /// # Errors
    /// When the target exists, or cannot be written.
    pub fn backup(&self, to: &Path) -> Result<u64, BackupError> {
        refuse_existing(to)?;
        let draft = Draft(draft_of(to));
        // Of an earlier try of a process with the same number.
        let _ = std::fs::remove_file(&draft.0);
        let reader = self.read()?;
        crate::store::prepare_file(&draft.0).map_err(file_error("making", &draft.0))?;
        let copy = Builder::new().set_cache_size(Options::default().cache_bytes).create(&draft.0).map_err(Fault::from)?;
        let txn = copy.begin_write().map_err(Fault::from)?;
        let rows = tables::copy_all(&reader.txn, &txn)?;
        txn.commit().map_err(Fault::from)?;
        copy.close().map_err(Fault::from)?;
        publish(&draft, to)?;
        Ok(rows)
    }
}

/// Makes a store from a backup: copies it, migrates and checks the copy, and only then gives it its name.
///
/// # Errors
/// When the target exists or is a running store, when the source is a running store, or when the backup does not add up.
pub fn restore(from: &Path, to: &Path) -> Result<Restored, BackupError> {
    if to.symlink_metadata().is_ok() {
        return Err(match ReadOnlyDatabase::open(to) {
            Err(DatabaseError::DatabaseAlreadyOpen) => BackupError::InUse { path: to.to_owned() },
            Ok(_) | Err(_) => BackupError::Exists { path: to.to_owned() },
        });
    }
    // Whatever else is wrong with the source, opening the copy tells. A source that somebody writes would tear.
    if let Err(DatabaseError::DatabaseAlreadyOpen) = ReadOnlyDatabase::open(from) {
        return Err(BackupError::InUse { path: from.to_owned() });
    }
    let draft = Draft(draft_of(to));
    let _ = std::fs::remove_file(&draft.0);
    crate::store::prepare_file(&draft.0).map_err(file_error("making", &draft.0))?;
    let mut source = std::fs::File::open(from).map_err(file_error("reading", from))?;
    let target = std::fs::OpenOptions::new().write(true).open(&draft.0);
    let mut target = target.map_err(file_error("writing", &draft.0))?;
    std::io::copy(&mut source, &mut target).map_err(file_error("copying to", &draft.0))?;
    drop(target);
    let restored = prove(&draft.0, from)?;
    publish(&draft, to)?;
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
