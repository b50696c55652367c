//! Reads one consistent view of the store, as of one commit.
//!
//! # Which reads may be made in async code
//!
//! A read blocks its thread: for the CPU that it takes to find and decode rows, and for the disk
//! where a page is in no cache. To begin one ([`crate::Store::read`]) takes less than a
//! microsecond, and waits for no writer.
//!
//! - *At once, in async code:* reads by key, of a number of rows that does not grow with the store
//!   (a VM with its operation, a host, a token): 20 to 50 microseconds each, in an unoptimised
//!   build on a busy machine. A hop to another thread would cost about as much. What the engine
//!   reads for one host at a time (about 20 microseconds for each VM there) belongs here too: the
//!   engine has no threads of its own, so that a simulation can repeat it, and yields between pages
//!   where it reads all VMs.
//! - *On a thread for blocking work:* pages of VMs (100: a millisecond; 1,000: nine), lists of all
//!   of a kind, figures, the check, backups, exports. The server does this with one helper,
//!   `App::reading`.

use crate::error::Fault;
use crate::sabotage::Sabotage;
use crate::summary_cache::SummaryCache;
use redb::{Key, ReadOnlyTable, ReadTransaction, TableDefinition, Value};
use std::sync::Arc;

/// A consistent view. Later commits do not change it. If it is held for long, old pages stay on the
/// disk.
pub struct Reader {
    pub(crate) txn: ReadTransaction,
    pub(crate) summaries: Arc<SummaryCache>,
    pub(crate) sabotage: Sabotage,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl Reader {
    pub(crate) fn new(txn: ReadTransaction) -> Self {
        Self { txn, summaries: Arc::default(), sabotage: Sabotage::None }
    }

    pub(crate) fn table<K: Key + 'static, V: Value + 'static>(
        &self,
        table: TableDefinition<'static, K, V>,
    ) -> Result<ReadOnlyTable<K, V>, Fault> {
        Ok(self.txn.open_table(table)?)
    }
}
