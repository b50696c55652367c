//! Reads one consistent view of the store, as of one commit.

use crate::error::Fault;
use crate::lines::Lines;
use redb::{Key, ReadOnlyTable, ReadTransaction, TableDefinition, Value};
use std::sync::Arc;

/// A consistent view. Later commits do not change it. If it is held for long, old pages stay on the disk.
pub struct Reader {
    pub(crate) txn: ReadTransaction,
    pub(crate) lines: Arc<Lines>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl Reader {
    pub(crate) fn new(txn: ReadTransaction) -> Self {
        Self { txn, lines: Arc::default() }
    }

    pub(crate) fn table<K: Key + 'static, V: Value + 'static>(
        &self,
        table: TableDefinition<'static, K, V>,
    ) -> Result<ReadOnlyTable<K, V>, Fault> {
        Ok(self.txn.open_table(table)?)
    }
}
