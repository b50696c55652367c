//! The floor below everything durable: the database alone, writing as many rows of the same sizes in transactions of the same size.

use redb::{Database, TableDefinition};
use std::path::Path;
use std::time::Instant;

/// Rows of records are overwritten, rows of events are new: half of each is about what a cycle does.
const KEPT: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("kept");
const GROWS: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("grows");
/// Keys of the rows that are overwritten.
const KEYS: u64 = 4096;

/// What the store has written in some time.
pub(crate) struct Work {
    /// Transactions, each with one sync.
    pub(crate) transactions: f64,
    /// Commits in them.
    pub(crate) commits: f64,
    /// Rows, indexes left out.
    pub(crate) rows: f64,
    /// Bytes of those rows.
    pub(crate) bytes: f64,
}

impl Work {
    /// What was written since then.
    #[must_use]
    pub(crate) fn since(&self, then: &Self) -> Self {
        Self {
            transactions: self.transactions - then.transactions,
            commits: self.commits - then.commits,
            rows: self.rows - then.rows,
            bytes: self.bytes - then.bytes,
        }
    }
}

/// Cycles a second, were there nothing but the database.
///
/// # Panics
/// When the disk fails.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts are small and not negative")]
pub(crate) fn cycles(dir: &Path, at: usize, work: &Work, cycles: usize) -> f64 {
    let db = Database::create(dir.join(format!("floor-{at}.redb"))).expect("opens");
    let row = vec![b'x'; (work.bytes / work.rows) as usize];
    let (transactions, each) = (work.transactions as u64, (work.rows / work.transactions).ceil() as u64);
    let began = Instant::now();
    let mut next = 0u64;
    for _ in 0..transactions {
        let txn = db.begin_write().expect("begins");
        {
            let mut kept = txn.open_table(KEPT).expect("opens");
            let mut grows = txn.open_table(GROWS).expect("opens");
            for _ in 0..each {
                next += 1;
                if next.is_multiple_of(2) {
                    // A large odd factor spreads the keys as many VMs do.
                    kept.insert(next.wrapping_mul(2_654_435_761) % KEYS, row.as_slice()).expect("writes");
                } else {
                    grows.insert(next, row.as_slice()).expect("writes");
                }
            }
        }
        txn.commit().expect("commits");
    }
    cycles as f64 / began.elapsed().as_secs_f64()
}
