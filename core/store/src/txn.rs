//! The only place that writes to the database. A [`Tab`] is read like the database's own table;
//! each of its writes is also noted as a [`Change`], if the transaction is recorded.
//!
//! **Invariant:** no other module begins a write transaction, so that no change is missing in the
//! log of batches. A test below reads the sources for that.

use redb::{
    AccessGuard, CommitError, Database, Durability, Key, SetDurabilityError, StorageError, Table,
    TableDefinition, TableError, TableHandle, TransactionError, Value, WriteTransaction,
};
use std::borrow::Borrow;
use std::cell::RefCell;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// One change of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    /// The table.
    pub(crate) table: Arc<str>,
    /// What is done to it.
    pub(crate) what: What,
}

/// What is done to a table. `Debug` tells the lengths of rows, not their bytes: they hold secrets.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// A row is written: its key, its value.
    Put(Box<[u8]>, Box<[u8]>),
    /// The row with this key is removed.
    Remove(Box<[u8]>),
    /// All rows are removed.
    Clear,
}

impl fmt::Debug for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put(key, value) => write!(f, "Put({} and {} bytes)", key.len(), value.len()),
            Self::Remove(key) => write!(f, "Remove({} bytes)", key.len()),
            Self::Clear => f.write_str("Clear"),
        }
    }
}

impl What {
    /// How many bytes it has.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Put(key, value) => key.len() + value.len(),
            Self::Remove(key) => key.len(),
            Self::Clear => 0,
        }
    }
}

/// What a transaction has changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Recorded {
    /// Nobody listens.
    #[default]
    Nothing,
    /// The changes in their order.
    Changes(Vec<Change>),
    /// More changes than [`RECORDED_BYTES_MAX`]. They were not kept.
    TooMany,
}

/// How many bytes one transaction records, at most. A transaction of the writer stays far below
/// this; one that derives everything again in a large store does not.
pub(crate) const RECORDED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How many bytes a change takes beside its key and value, about.
const CHANGE_BYTES: usize = 64;

/// Notes the changes of one transaction.
#[derive(Debug, Default)]
struct Recorder {
    noted: RefCell<(Recorded, usize)>,
    /// The deliberate fault: changes of this table are not noted.
    omits: Option<&'static str>,
}

impl Recorder {
    fn note(&self, table: &Arc<str>, what: What) {
        if self.omits == Some(&**table) {
            return;
        }
        let (recorded, bytes) = &mut *self.noted.borrow_mut();
        *bytes += what.bytes() + CHANGE_BYTES;
        if *bytes > RECORDED_BYTES_MAX {
            *recorded = Recorded::TooMany;
        } else if let Recorded::Changes(changes) = recorded {
            changes.push(Change { table: Arc::clone(table), what });
        }
    }
}

/// A write transaction.
pub(crate) struct Txn {
    inner: WriteTransaction,
    log: Option<Recorder>,
}

impl Txn {
    /// Begins a transaction that records nothing.
    pub(crate) fn begin(db: &Database) -> Result<Self, TransactionError> {
        Ok(Self { inner: db.begin_write()?, log: None })
    }

    /// Begins a transaction that records its changes, if `wanted`. `omits` is a deliberate fault.
    pub(crate) fn recorded(
        db: &Database,
        wanted: bool,
        omits: Option<&'static str>,
    ) -> Result<Self, TransactionError> {
        let log = wanted
            .then(|| Recorder { noted: RefCell::new((Recorded::Changes(Vec::new()), 0)), omits });
        Ok(Self { inner: db.begin_write()?, log })
    }

    pub(crate) fn set_durability(
        &mut self,
        durability: Durability,
    ) -> Result<(), SetDurabilityError> {
        self.inner.set_durability(durability)
    }

    /// Opens a table, and makes it if it is missing.
    pub(crate) fn open_table<K: Key + 'static, V: Value + 'static>(
        &self,
        table: TableDefinition<'static, K, V>,
    ) -> Result<Tab<'_, K, V>, TableError> {
        let log = self.log.as_ref().map(|log| (log, Arc::from(table.name())));
        Ok(Tab { table: self.inner.open_table(table)?, log })
    }

    /// Removes a table with all its rows.
    pub(crate) fn delete_table(&self, table: impl TableHandle) -> Result<bool, TableError> {
        if let Some(log) = &self.log {
            log.note(&Arc::from(table.name()), What::Clear);
        }
        self.inner.delete_table(table)
    }

    /// Makes the changes durable, and answers them.
    pub(crate) fn commit(self) -> Result<Recorded, CommitError> {
        self.inner.commit()?;
        Ok(self.log.map(|log| log.noted.into_inner().0).unwrap_or_default())
    }

    pub(crate) fn abort(self) -> Result<(), StorageError> {
        self.inner.abort()
    }
}

/// An open table.
pub(crate) struct Tab<'txn, K: Key + 'static, V: Value + 'static> {
    table: Table<'txn, K, V>,
    log: Option<(&'txn Recorder, Arc<str>)>,
}

/// Reads go to the table itself. There is no `DerefMut`: writes go through the methods of [`Tab`].
impl<'txn, K: Key + 'static, V: Value + 'static> Deref for Tab<'txn, K, V> {
    type Target = Table<'txn, K, V>;

    fn deref(&self) -> &Self::Target {
        &self.table
    }
}

impl<K: Key + 'static, V: Value + 'static> Tab<'_, K, V> {
    /// Writes a row. Answers its old value.
    pub(crate) fn insert<'k, 'v>(
        &mut self,
        key: impl Borrow<K::SelfType<'k>>,
        value: impl Borrow<V::SelfType<'v>>,
    ) -> Result<Option<AccessGuard<'_, V>>, StorageError> {
        if let Some((log, name)) = &self.log {
            let (key, value) = (K::as_bytes(key.borrow()), V::as_bytes(value.borrow()));
            log.note(name, What::Put(key.as_ref().into(), value.as_ref().into()));
        }
        self.table.insert(key, value)
    }

    /// Removes a row. Answers its value.
    pub(crate) fn remove<'k>(
        &mut self,
        key: impl Borrow<K::SelfType<'k>>,
    ) -> Result<Option<AccessGuard<'_, V>>, StorageError> {
        if let Some((log, name)) = &self.log {
            log.note(name, What::Remove(K::as_bytes(key.borrow()).as_ref().into()));
        }
        self.table.remove(key)
    }

    /// Removes the first row, if there is one.
    pub(crate) fn pop_first(&mut self) -> Result<(), StorageError> {
        if let Some((key, _)) = self.table.pop_first()?
            && let Some((log, name)) = &self.log
        {
            log.note(name, What::Remove(K::as_bytes(&key.value()).as_ref().into()));
        }
        Ok(())
    }

    /// Removes the last row, if there is one. Tests do this, in transactions that record nothing.
    #[cfg(test)]
    pub(crate) fn pop_last(&mut self) -> Result<(), StorageError> {
        self.table.pop_last().map(drop)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_other_module_begins_to_write() {
        let mut folders = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        let mut begin = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("lists") {
                let path = entry.expect("is there").path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(&path).expect("reads");
                if text.contains("begin_write") || text.contains("WriteTransaction") {
                    begin.push(path.file_name().expect("has a name").to_owned());
                }
            }
        }
        assert_eq!(begin, ["txn.rs"], "writes that are not recorded make a follower differ");
    }
}
