//! Errors. Each message tells what was asked, what is wrong and what to do. The cause is kept
//! separately, as the source.

use std::path::PathBuf;
use std::sync::Arc;

/// An error of the embedded database. Boxed, because it is large and rare.
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
    #[error(
        "row {key} of table {table} has version {found}, this ostlerd reads up to {ours}: use the \
         newer ostlerd again"
    )]
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
        /// The error of the parser.
        source: serde_json::Error,
    },
    /// A row could not be written as JSON.
    #[error("a row of table {table} cannot be written")]
    Encode {
        /// The table.
        table: &'static str,
        /// The error of the serialiser.
        source: serde_json::Error,
    },
}

/// The reason why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process (or this one) has it open.
    #[error(
        "the store {path} is in use: another ostlerd has it open; stop that one, or give this one \
         another store"
    )]
    InUse {
        /// The path of the store.
        path: PathBuf,
    },
    /// A newer daemon made or migrated it.
    #[error(
        "the store has schema {found}, this ostlerd knows up to {ours}: use the newer ostlerd, or \
         restore a backup"
    )]
    NewerSchema {
        /// The schema found.
        found: u32,
        /// The newest schema known.
        ours: u32,
    },
    /// There is a database, but it is not one of ours, or it is older than the first schema that
    /// can be migrated.
    #[error("the store cannot be used: {why}")]
    NotAStore {
        /// The reason.
        why: String,
    },
    /// The file could not be made or opened.
    #[error("the store {path} cannot be opened")]
    File {
        /// The path of the store.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The database failed.
    #[error("the store cannot be opened")]
    Storage {
        /// The error of the database.
        #[from]
        source: Fault,
    },
    /// A row could not be read.
    #[error("the store cannot be opened")]
    Row {
        /// The row, and the reason.
        #[from]
        source: RowError,
    },
    /// The writer thread could not be started.
    #[error("the store's writer thread cannot be started")]
    Thread {
        /// The error of the operating system.
        source: std::io::Error,
    },
}

/// The reason why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The database failed.
    #[error("the store cannot be read")]
    Storage {
        /// The error of the database.
        #[from]
        source: Fault,
    },
    /// A row could not be read.
    #[error(transparent)]
    Row(#[from] RowError),
}

/// The reason why a commit was not decided. Nothing of it was committed, except perhaps after
/// [`CommitError::Failed`]: then only reopening the store shows it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// An earlier commit failed, and since then nothing is written.
    #[error(
        "the store is read-only since a commit failed: {why}; look at the disk, then restart \
         ostlerd"
    )]
    ReadOnly {
        /// The error of that commit.
        why: String,
    },
    /// The daemon is no longer in charge of the store ([`crate::Store::give_up`]).
    #[error("nothing is decided any more: {why}")]
    NotInCharge {
        /// How it knows that.
        why: String,
    },
    /// This commit failed, or the batch that it was in. Whether it was applied is known only when
    /// the store is opened again.
    #[error(
        "the commit failed, the store is read-only now; look at the disk, then restart ostlerd"
    )]
    Failed {
        /// The error of the database.
        source: Arc<ReadError>,
    },
    /// The caller asked for something impossible. This is a defect in Ostler.
    #[error("the commit makes no sense: {why}; this is a defect of ostlerd, please report it")]
    Malformed {
        /// The reason.
        why: String,
    },
    /// A row that the commit depends on cannot be read.
    #[error("the commit depends on a row that cannot be read")]
    Row {
        /// The row, and the reason.
        source: Arc<RowError>,
    },
    /// The store was closed while the commit waited.
    #[error("the store was closed while the commit waited")]
    Closed,
}

fn first(findings: &[String]) -> &str {
    findings.first().map_or("none", String::as_str)
}

/// The reason why a backup was not made, or not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The target exists already.
    #[error("{path} exists: give a name that does not, nothing is overwritten")]
    Exists {
        /// The path of the target.
        path: PathBuf,
    },
    /// The source or the target is in use.
    #[error("{path} is in use by a running ostlerd: stop it first, or have it make a backup")]
    InUse {
        /// Its path.
        path: PathBuf,
    },
    /// A file could not be handled.
    #[error("{what} {path} failed")]
    File {
        /// The action that failed.
        what: &'static str,
        /// The path of the file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The copy could not be opened.
    #[error("the copy cannot be opened")]
    Open {
        /// The reason.
        #[from]
        source: OpenError,
    },
    /// The database failed.
    #[error("the copy cannot be written")]
    Storage {
        /// The error of the database.
        #[from]
        source: Fault,
    },
    /// The copy could not be read.
    #[error("the copy cannot be read")]
    Read {
        /// The reason.
        #[from]
        source: ReadError,
    },
    /// The content of the backup does not add up.
    #[error(
        "the backup {path} does not add up ({} findings, the first: {}): use another",
        findings.len(), first(findings)
    )]
    Broken {
        /// The path of the backup.
        path: PathBuf,
        /// The findings of [`crate::Store::check`].
        findings: Vec<String>,
    },
    /// Some records of VMs in the backup cannot be read, so these VMs cannot be marked as not
    /// reconciled.
    #[error(
        "records of {} VMs in the backup {path} cannot be read (the first: {}): restore it with \
         the version of ostlerd that made it",
        findings.len(), first(findings)
    )]
    Unreadable {
        /// The path of the backup.
        path: PathBuf,
        /// The records, and for each the reason.
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
