//! The log of batches: every transaction is a numbered list of changes that another store can apply
//! ([`crate::Follower`]).
//!
//! The number of the last batch stands in the store itself and is written with the batch, so a
//! store always says up to which batch it holds. Batches are told to whoever follows, after they
//! are durable and before the commits in them are answered. They are not kept: who has missed one
//! begins again from a copy of the store. Decision 13 says why.

use crate::error::{Fault, RowError};
use crate::tables::{self, SCHEMA};
use crate::txn::{Change, RECORDED_BYTES_MAX, Recorded, What};
use ostler_model::StoreId;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;
use uuid::Uuid;

/// How many batches wait for one follower, at most. At the highest load these are the batches of
/// about a second.
pub const FOLLOW_MAX: usize = 256;
/// How many bytes wait for one follower, at most, so that a slow one costs a bounded amount of
/// memory.
pub const FOLLOW_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How many bytes a batch has as bytes, at most: what a transaction records, and the lengths in it.
pub const LOGGED_BYTES_MAX: usize = 2 * RECORDED_BYTES_MAX;

/// Marks the bytes of a batch, and the version of their form.
const MAGIC: &[u8; 8] = b"OSTLRB1\n";

/// The number of a batch. The first is 1; a store that holds none has 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BatchNo(pub u64);

impl std::fmt::Display for BatchNo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// One transaction of a store, as another store applies it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedBatch {
    pub(crate) store: StoreId,
    pub(crate) number: BatchNo,
    pub(crate) schema: u32,
    /// The changes in their order. None: they are not in the log, and a follower has to begin again
    /// from a copy.
    pub(crate) changes: Option<Vec<Change>>,
}

/// Bytes that are no batch.
#[derive(Debug, thiserror::Error)]
pub enum NotABatch {
    /// They were cut, changed on the way, or are something else.
    #[error("these bytes are not a batch of a store, or were changed on the way: send it again")]
    Broken,
    /// They are more than any store logs.
    #[error(
        "a batch of {given} bytes is more than a store logs ({LOGGED_BYTES_MAX} bytes): begin \
         again from a copy"
    )]
    TooLarge {
        /// How many there are.
        given: usize,
    },
    /// A newer version wrote them.
    #[error(
        "the batch changes table {table}, which this ostlerd does not know: use the newer ostlerd"
    )]
    UnknownTable {
        /// The name of the table.
        table: String,
    },
}

impl LoggedBatch {
    /// The store that it is of.
    #[must_use]
    pub const fn store(&self) -> StoreId {
        self.store
    }

    /// Its number. Each is one above that of the batch before.
    #[must_use]
    pub const fn number(&self) -> BatchNo {
        self.number
    }

    /// How many rows and tables it changes. None if its changes are not in the log.
    #[must_use]
    pub fn changes(&self) -> Option<usize> {
        self.changes.as_ref().map(Vec::len)
    }

    /// How many bytes its keys and values have.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.changes.iter().flatten().map(|change| change.what.bytes()).sum()
    }

    /// The batch as bytes, to be sent or kept. They end with a checksum.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes() + 64);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(self.store.0.as_bytes());
        out.extend_from_slice(&self.number.0.to_le_bytes());
        out.extend_from_slice(&self.schema.to_le_bytes());
        out.push(u8::from(self.changes.is_some()));
        for Change { table, what } in self.changes.iter().flatten() {
            let (kind, parts): (u8, [&[u8]; 2]) = match what {
                What::Put(key, value) => (1, [key, value]),
                What::Remove(key) => (2, [key, &[]]),
                What::Clear => (3, [&[], &[]]),
            };
            out.push(kind);
            for part in [table.as_bytes(), parts[0], parts[1]] {
                // A part is at most as long as a transaction records, which is far below 4 GiB.
                out.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
                out.extend_from_slice(part);
            }
        }
        let sum = checksum(&out);
        out.extend_from_slice(&sum.to_le_bytes());
        out
    }

    /// Reads a batch.
    ///
    /// # Errors
    /// When the bytes are not those of a batch.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NotABatch> {
        if bytes.len() > LOGGED_BYTES_MAX {
            return Err(NotABatch::TooLarge { given: bytes.len() });
        }
        let (content, sum) = bytes.split_last_chunk::<8>().ok_or(NotABatch::Broken)?;
        if checksum(content) != u64::from_le_bytes(*sum) {
            return Err(NotABatch::Broken);
        }
        let mut rest = Parts(content);
        if rest.take::<8>()? != MAGIC {
            return Err(NotABatch::Broken);
        }
        let store = StoreId(Uuid::from_bytes(*rest.take()?));
        let number = BatchNo(u64::from_le_bytes(*rest.take()?));
        let schema = u32::from_le_bytes(*rest.take()?);
        let [known] = *rest.take::<1>()?;
        let mut changes = Vec::new();
        while !rest.0.is_empty() {
            let [kind] = *rest.take::<1>()?;
            let (table, key, value) = (rest.part()?, rest.part()?, rest.part()?);
            let name = tables::NAMES.iter().find(|name| name.as_bytes() == table);
            let name = name.ok_or_else(|| NotABatch::UnknownTable {
                table: String::from_utf8_lossy(table).into_owned(),
            })?;
            let what = match kind {
                1 => What::Put(key.into(), value.into()),
                2 => What::Remove(key.into()),
                3 => What::Clear,
                _ => return Err(NotABatch::Broken),
            };
            changes.push(Change { table: Arc::from(*name), what });
        }
        Ok(Self { store, number, schema, changes: (known == 1).then_some(changes) })
    }
}

/// The bytes that are not read yet.
struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    fn take<const N: usize>(&mut self) -> Result<&'a [u8; N], NotABatch> {
        let (head, rest) = self.0.split_first_chunk().ok_or(NotABatch::Broken)?;
        self.0 = rest;
        Ok(head)
    }

    fn part(&mut self) -> Result<&'a [u8], NotABatch> {
        let length =
            usize::try_from(u32::from_le_bytes(*self.take()?)).map_err(|_| NotABatch::Broken)?;
        let (part, rest) = self.0.split_at_checked(length).ok_or(NotABatch::Broken)?;
        self.0 = rest;
        Ok(part)
    }
}

/// FNV-1a. It finds bytes that were cut or changed by accident. It is no proof of where they come
/// from.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Whoever follows a store. Clones are the same list. Given to [`crate::Options`], it is told of
/// the batches of the opening too: migrations, and what is derived anew.
#[derive(Debug, Clone, Default)]
pub struct Followers(Arc<Mutex<Vec<Told>>>);

/// One that follows.
#[derive(Debug)]
struct Told {
    queue: mpsc::Sender<Arc<LoggedBatch>>,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How many bytes wait.
    bytes: AtomicUsize,
    /// Set once a batch did not fit.
    behind: AtomicBool,
}

/// The batches of a store from a moment on.
#[derive(Debug)]
pub struct Subscription {
    queue: mpsc::Receiver<Arc<LoggedBatch>>,
    state: Arc<State>,
}

/// The follower was too slow, and batches are lost to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the follower was too slow and has missed batches: begin again from a copy of the store")]
pub struct FellBehind;

impl Subscription {
    /// The next batch. None once the store is closed and all batches were told.
    ///
    /// # Errors
    /// When this follower was too slow. Nothing comes any more.
    pub async fn next(&mut self) -> Result<Option<Arc<LoggedBatch>>, FellBehind> {
        if self.state.behind.load(Ordering::Acquire) {
            return Err(FellBehind);
        }
        match self.queue.recv().await {
            Some(batch) => {
                self.state.bytes.fetch_sub(batch.bytes(), Ordering::AcqRel);
                Ok(Some(batch))
            }
            None if self.state.behind.load(Ordering::Acquire) => Err(FellBehind),
            None => Ok(None),
        }
    }
}

impl Followers {
    /// Follows from now on. At most `batches` batches wait, and never more than [`FOLLOW_MAX`].
    #[must_use]
    pub fn follow(&self, batches: usize) -> Subscription {
        let (queue, told) = mpsc::channel(batches.clamp(1, FOLLOW_MAX));
        let state = Arc::<State>::default();
        self.lock().push(Told { queue, state: Arc::clone(&state) });
        Subscription { queue: told, state }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Told>> {
        // The list is whole after every statement that holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anybody follows.
    pub(crate) fn any(&self) -> bool {
        let mut list = self.lock();
        list.retain(|told| !told.queue.is_closed());
        !list.is_empty()
    }

    /// Tells everybody of a batch that is durable. Nobody is waited for: one whose queue is full
    /// has fallen behind.
    pub(crate) fn tell(&self, store: StoreId, number: BatchNo, recorded: Recorded) {
        let mut list = self.lock();
        if list.is_empty() {
            return;
        }
        let changes = match recorded {
            Recorded::Changes(changes) => Some(changes),
            // Somebody has begun to follow since this transaction began, or it changed too much.
            Recorded::Nothing | Recorded::TooMany => None,
        };
        let batch = Arc::new(LoggedBatch { store, number, schema: SCHEMA, changes });
        let bytes = batch.bytes();
        list.retain(|told| {
            let waiting = told.state.bytes.fetch_add(bytes, Ordering::AcqRel);
            // One batch may always wait, however large it is.
            let fits = waiting == 0 || waiting.saturating_add(bytes) <= FOLLOW_BYTES_MAX;
            let sent = fits && told.queue.try_send(Arc::clone(&batch)).is_ok();
            if !sent {
                told.state.behind.store(true, Ordering::Release);
            }
            sent
        });
    }
}

/// The reason why a batch was not applied. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// It is of another store.
    #[error("the batch is of store {given}, and this follows store {ours}")]
    OtherStore {
        /// Its store.
        given: StoreId,
        /// The store that is followed.
        ours: StoreId,
    },
    /// Another version logged it.
    #[error(
        "the batch is of a store of schema {given}, and this one has {ours}: begin again from a \
         copy"
    )]
    OtherSchema {
        /// Its schema.
        given: u32,
        /// The schema here.
        ours: u32,
    },
    /// Batches between are missing.
    #[error(
        "batch {given} does not follow batch {held}: send those between, or begin again from a copy"
    )]
    Gap {
        /// The last one that is held.
        held: BatchNo,
        /// The one that was given.
        given: BatchNo,
    },
    /// It is held already.
    #[error("batch {given} is held already, up to {held}")]
    Repeat {
        /// The last one that is held.
        held: BatchNo,
        /// The one that was given.
        given: BatchNo,
    },
    /// Its changes are not in the log: a migration, or more than is logged.
    #[error("batch {given} is not in the log: begin again from a copy")]
    NotLogged {
        /// The one that was given.
        given: BatchNo,
    },
    /// After it, the store would not say that it holds it.
    #[error("batch {given} does not say itself which one it is: begin again from a copy")]
    Unnumbered {
        /// The one that was given.
        given: BatchNo,
    },
    /// The database failed.
    #[error("the batch cannot be written")]
    Storage {
        /// The error of the database.
        #[from]
        source: Fault,
    },
    /// A row of the follower cannot be read.
    #[error("the batch cannot be written")]
    Row {
        /// The row, and the reason.
        #[from]
        source: RowError,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(changes: Option<Vec<Change>>) -> LoggedBatch {
        LoggedBatch {
            store: StoreId(Uuid::from_u128(7)),
            number: BatchNo(3),
            schema: SCHEMA,
            changes,
        }
    }

    fn put(value: usize) -> Change {
        Change { table: Arc::from("vm"), what: What::Put(vec![1; 8].into(), vec![2; value].into()) }
    }

    #[test]
    fn a_batch_comes_back_from_its_bytes_and_from_no_others() {
        let remove = Change { table: Arc::from("timer"), what: What::Remove(vec![9].into()) };
        let clear = Change { table: Arc::from("book"), what: What::Clear };
        for batch in [batch(None), batch(Some(vec![])), batch(Some(vec![put(3), remove, clear]))] {
            let bytes = batch.to_bytes();
            assert_eq!(LoggedBatch::from_bytes(&bytes).expect("reads"), batch);
            for end in 0..bytes.len() {
                assert!(LoggedBatch::from_bytes(&bytes[..end]).is_err(), "cut at {end}");
            }
            for at in 0..bytes.len() {
                let mut changed = bytes.clone();
                changed[at] ^= 1;
                assert!(LoggedBatch::from_bytes(&changed).is_err(), "changed at {at}");
            }
        }
        let foreign = batch(Some(vec![Change { table: Arc::from("tomorrow"), what: What::Clear }]))
            .to_bytes();
        assert!(
            matches!(LoggedBatch::from_bytes(&foreign), Err(NotABatch::UnknownTable { table }) if table == "tomorrow")
        );
        assert!(matches!(
            LoggedBatch::from_bytes(&vec![0; LOGGED_BYTES_MAX + 1]),
            Err(NotABatch::TooLarge { .. })
        ));
    }

    #[tokio::test]
    async fn one_that_is_too_slow_is_told_and_holds_nobody_up() {
        let tell = |followers: &Followers, number, value| {
            followers.tell(
                StoreId(Uuid::nil()),
                BatchNo(number),
                Recorded::Changes(vec![put(value)]),
            );
        };
        let followers = Followers::default();
        let (mut slow, mut fast) = (followers.follow(2), followers.follow(FOLLOW_MAX));
        for number in 1..=3 {
            tell(&followers, number, 1);
            assert_eq!(
                fast.next().await.expect("keeps up").map(|batch| batch.number()),
                Some(BatchNo(number))
            );
        }
        assert_eq!(slow.next().await, Err(FellBehind));
        // By bytes too: one batch may be as large as it is, but no second one waits beside it.
        tell(&followers, 4, FOLLOW_BYTES_MAX);
        tell(&followers, 5, 1);
        assert_eq!(fast.next().await, Err(FellBehind));
        assert!(!followers.any());
    }
}
