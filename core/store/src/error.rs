//! Errors. Each text names what was asked, what is wrong and what to do; the cause is kept apart as the source.

use std::path::PathBuf;
use std::sync::Arc;

/// What the embedded database said. Boxed, because it is large and rare.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Fault(Box<redb::Error>);

macro_rules! fault_from {
    ($($error:ty),*) => {$(
        impl From<$error> for Fault {
            fn from(error: $error) -> Self {
                Self(Box::new(error.into()))
            }
        }
    )*};
}

fault_from!(
    redb::Error,
    redb::StorageError,
    redb::TableError,
    redb::TransactionError,
    redb::CommitError,
    redb::DatabaseError,
    redb::SetDurabilityError
);

/// A row that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// The bytes are not one of our rows.
    #[error("row {key} of table {table} is not an Ostler row: restore the store from a backup")]
    NotARow {
        /// The table.
        table: &'static str,
        /// Its key.
        key: String,
    },
    /// A newer daemon wrote it.
    #[error("row {key} of table {table} has version {found}, this ostlerd reads up to {ours}: use the newer ostlerd again")]
    Newer {
        /// The table.
        table: &'static str,
        /// Its key.
        key: String,
        /// The version found.
        found: u32,
        /// The newest version known.
        ours: u32,
    },
    /// The content does not fit its type.
    #[error("row {key} of table {table} cannot be read: restore the store from a backup")]
    Content {
        /// The table.
        table: &'static str,
        /// Its key.
        key: String,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// A row could not be written as JSON.
    #[error("a row of table {table} cannot be written")]
    Encode {
        /// The table.
        table: &'static str,
        /// What the serialiser said.
        source: serde_json::Error,
    },
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process (or this one) has it open.
    #[error("the store {path} is in use: another ostlerd has it open; stop that one, or give this one another store")]
    InUse {
        /// Which.
        path: PathBuf,
    },
    /// A newer daemon made or migrated it.
    #[error("the store has schema {found}, this ostlerd knows up to {ours}: use the newer ostlerd, or restore a backup")]
    NewerSchema {
        /// The schema found.
        found: u32,
        /// The newest schema known.
        ours: u32,
    },
    /// There is a database, but it is not one of ours, or it is older than any migration knows.
    #[error("the store cannot be used: {why}")]
    NotAStore {
        /// Why.
        why: String,
    },
    /// The file could not be made or opened.
    #[error("the store {path} cannot be opened")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The database failed.
    #[error("the store cannot be opened")]
    Storage {
        /// What it said.
        #[from]
        source: Fault,
    },
    /// A row could not be read.
    #[error("the store cannot be opened")]
    Row {
        /// Which, and why.
        #[from]
        source: RowError,
    },
    /// The writer thread could not be started.
    #[error("the store's writer thread cannot be started")]
    Thread {
        /// What the system said.
        source: std::io::Error,
    },
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The database failed.
    #[error("the store cannot be read")]
    Storage {
        /// What it said.
        #[from]
        source: Fault,
    },
    /// A row could not be read.
    #[error(transparent)]
    Row(#[from] RowError),
}

/// Why a commit was not even decided. Nothing of it was committed, except after [`CommitError::Failed`], where only
/// reopening the store tells.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// An earlier commit failed; nothing is written any more.
    #[error("the store is read-only since a commit failed: {why}; look at the disk, then restart ostlerd")]
    ReadOnly {
        /// What failed.
        why: String,
    },
    /// This commit, or the batch it was in, failed. Whether it holds is known only after reopening.
    #[error("the commit failed, the store is read-only now; look at the disk, then restart ostlerd")]
    Failed {
        /// What the database said.
        source: Arc<ReadError>,
    },
    /// The caller asked for something that makes no sense: a defect in Ostler.
    #[error("the commit makes no sense: {why}; this is a defect of ostlerd, please report it")]
    Malformed {
        /// What is wrong.
        why: String,
    },
    /// A row that the commit depends on cannot be read.
    #[error("the commit depends on a row that cannot be read")]
    Row {
        /// Which, and why.
        source: Arc<RowError>,
    },
    /// The store was closed while the commit waited.
    #[error("the store was closed while the commit waited")]
    Closed,
}

/// Why a backup was not made, or not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The target is there.
    #[error("{path} exists: give a name that does not, nothing is overwritten")]
    Exists {
        /// Which.
        path: PathBuf,
    },
    /// The source or target is open.
    #[error("{path} is in use by a running ostlerd: stop it first, or make a backup of it with `ostler admin backup`")]
    InUse {
        /// Which.
        path: PathBuf,
    },
    /// A file could not be handled.
    #[error("{what} {path} failed")]
    File {
        /// What was tried.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The copy could not be opened.
    #[error("the copy cannot be opened")]
    Open {
        /// Why.
        #[from]
        source: OpenError,
    },
    /// The database failed.
    #[error("the copy cannot be written")]
    Storage {
        /// What it said.
        #[from]
        source: Fault,
    },
    /// The copy could not be read.
    #[error("the copy cannot be read")]
    Read {
        /// Why.
        #[from]
        source: ReadError,
    },
    /// The books of the backup do not add up.
    #[error("the backup {path} does not add up ({} findings, the first: {}): use another", findings.len(), findings.first().map_or("none", String::as_str))]
    Broken {
        /// Which.
        path: PathBuf,
        /// What [`crate::Store::check`] found.
        findings: Vec<String>,
    },
    /// Records of VMs in the backup cannot be read, so they cannot be marked as not reconciled.
    #[error(
        "records of {} VMs in the backup {path} cannot be read (the first: {}): restore it with the version of \
         ostlerd that made it", findings.len(), findings.first().map_or("none", String::as_str)
    )]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Which records, and why.
        findings: Vec<String>,
    },
}

/// An error with its causes, in one line.
pub(crate) struct Chain<'a>(pub(crate) &'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
