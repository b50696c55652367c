//! The floor of all durable work: the database alone writes as many rows of the same sizes in
//! transactions of the same size.

use redb::{Database, TableDefinition};
use std::path::Path;
use std::time::Instant;

/// Half of the rows are overwritten, as rows of records are, and half are new, as rows of events
/// are. A cycle does about the same.
const KEPT: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("kept");
const GROWS: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("grows");
/// How many keys are overwritten.
const KEYS: u64 = 4096;

/// The amount that the store has written in some time.
pub(crate) struct Work {
    /// The number of transactions. Each has one sync.
    pub(crate) transactions: f64,
    /// The number of commits in them.
    pub(crate) commits: f64,
    /// The number of rows, without indexes.
    pub(crate) rows: f64,
    /// The bytes of those rows.
    pub(crate) bytes: f64,
}

impl Work {
    /// The amount that was written since `then`.
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

/// The cycles per second if there were only the database.
///
/// # Panics
/// When the disk fails.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts are small and not negative"
)]
pub(crate) fn cycles(dir: &Path, at: usize, work: &Work, cycles: usize) -> f64 {
    let db = Database::create(dir.join(format!("floor-{at}.redb"))).expect("opens");
    let row = vec![b'x'; (work.bytes / work.rows) as usize];
    let (transactions, each) =
        (work.transactions as u64, (work.rows / work.transactions).ceil() as u64);
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
                    // Multiplying by a large odd number spreads the keys, as the ids of many VMs
                    // do.
                    kept.insert(next.wrapping_mul(2_654_435_761) % KEYS, row.as_slice())
                        .expect("writes");
                } else {
                    grows.insert(next, row.as_slice()).expect("writes");
                }
            }
        }
        txn.commit().expect("commits");
    }
    cycles as f64 / began.elapsed().as_secs_f64()
}
