//! The `meta` table: data about the store itself.

use crate::commit::{Commit, ResourceChange};
use crate::error::{CommitError, Fault, ReadError, RowError};
use crate::log::BatchNo;
use crate::read::Reader;
use crate::row::{self, Row};
use crate::tables::META;
use crate::txn::Tab;
use ostler_model::{Epoch, EventSeq, StoreId, Timestamp};
use redb::ReadableTable;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering};

/// Key of the schema's version, a decimal number. It can be read before anything else about the
/// store is known.
pub(crate) const SCHEMA_KEY: &str = "schema";
/// Key of the version of what is derived, a decimal number.
pub(crate) const DERIVED_KEY: &str = "derived";
/// Key of the store's id.
const STORE_KEY: &str = "store";
/// Key of the high-water marks.
const MARKS_KEY: &str = "marks";
/// Key of the number of the last event, a decimal number.
const EVENT_KEY: &str = "event";
/// Key of the number of the last batch, a decimal number. Stores of older daemons have none, which
/// is 0.
const BATCH_KEY: &str = "batch";

/// Key of the row that says who took charge of the store last.
const CHARGE_KEY: &str = "charge";
/// Key of the mark of a restore.
const RESTORED_KEY: &str = "restored";

/// The mark of a restore: the store came back with a backup, and not all of its VMs are reconciled
/// yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoredStore {
    /// The time of the newest event of the backup.
    pub as_of: Timestamp,
    /// The number of that event. Later events are lost.
    pub seq: EventSeq,
}

impl Row for RestoredStore {
    const TABLE: &'static str = "meta";
}

/// Who took charge of the store last. Stores of older daemons have no such row.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Charged {
    /// The epoch of that daemon.
    pub(crate) epoch: Epoch,
    /// The file that the store was in then. None if that could not be told, and after a restore.
    pub(crate) place: Option<String>,
}

impl Row for Charged {
    const TABLE: &'static str = "meta";
}

/// The identity of the store.
#[derive(Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) id: StoreId,
}

impl Row for Identity {
    const TABLE: &'static str = "meta";
}

/// The highest id of each kind that a row ever had. These only rise, so an id is never used again,
/// even after its row is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Marks {
    pub(crate) vm: u64,
    pub(crate) operation: u64,
    pub(crate) host: u32,
    pub(crate) datastore: u32,
    pub(crate) image: u32,
}

impl Row for Marks {
    const TABLE: &'static str = "meta";
}

impl Marks {
    /// How many ids of a kind with 64 bits a restore leaves out. A store cannot use so many between
    /// a backup and its restore.
    const SKIPPED: u64 = 1_000_000_000;
    /// The same for the kinds with 32 bits. These have fewer ids, and people make them by hand.
    const SKIPPED_NARROW: u32 = 10_000_000;

    /// Marks above all ids that a lost copy of the store can have used. A mark that would overflow
    /// stays at the last number, and then the next id of that kind is refused. Operations skip the
    /// seconds of `now`, too, because effects are named after them: if one backup is restored
    /// twice, no operation of the second time has the id of one of the first.
    pub(crate) fn skipped(self, now: Timestamp) -> Self {
        Self {
            vm: self.vm.saturating_add(Self::SKIPPED),
            operation: self.operation.saturating_add(Self::SKIPPED).saturating_add(now.0 / 1000),
            host: self.host.saturating_add(Self::SKIPPED_NARROW),
            datastore: self.datastore.saturating_add(Self::SKIPPED_NARROW),
            image: self.image.saturating_add(Self::SKIPPED_NARROW),
        }
    }

    /// The marks of the ids in a commit.
    ///
    /// # Errors
    /// If it has the last number of a kind. This number is never used: a counter that has reached
    /// it has run out.
    pub(crate) fn of(commit: &Commit) -> Result<Self, CommitError> {
        let mut marks = Self::default();
        if let Some(change) = &commit.vm {
            marks.vm = change.record.id.0;
        }
        for operation in &commit.operations {
            marks.operation = marks.operation.max(operation.id.0);
        }
        for change in &commit.resources {
            match change {
                ResourceChange::HostPut(host) => marks.host = marks.host.max(host.id.0),
                ResourceChange::DatastorePut(datastore) => {
                    marks.datastore = marks.datastore.max(datastore.id.0)
                }
                ResourceChange::ImagePut(image) => marks.image = marks.image.max(image.id.0),
                // Operations that begin after a restart must not be numbered below the ones that
                // stay on an earlier file.
                ResourceChange::DriverPut(driver) => {
                    let until = driver.earlier.iter().map(|earlier| earlier.until.0).max();
                    marks.operation = marks.operation.max(until.unwrap_or_default());
                }
                _ => {}
            }
        }
        let exhausted = marks.vm == u64::MAX
            || marks.operation == u64::MAX
            || [marks.host, marks.datastore, marks.image].contains(&u32::MAX);
        if exhausted {
            return Err(CommitError::Malformed { why: "there are no ids left".to_owned() });
        }
        Ok(marks)
    }

    /// The higher of each.
    pub(crate) fn max(self, other: Self) -> Self {
        Self {
            vm: self.vm.max(other.vm),
            operation: self.operation.max(other.operation),
            host: self.host.max(other.host),
            datastore: self.datastore.max(other.datastore),
            image: self.image.max(other.image),
        }
    }
}

/// The counters for new ids. An id that was handed out but never committed may be handed out again
/// after a restart.
#[derive(Debug)]
pub(crate) struct Ids {
    pub(crate) vm: AtomicU64,
    pub(crate) operation: AtomicU64,
    pub(crate) host: AtomicU64,
    pub(crate) datastore: AtomicU64,
    pub(crate) image: AtomicU64,
}

impl Ids {
    pub(crate) fn after(marks: Marks) -> Self {
        Self {
            vm: marks.vm.into(),
            operation: marks.operation.into(),
            host: u64::from(marks.host).into(),
            datastore: u64::from(marks.datastore).into(),
            image: u64::from(marks.image).into(),
        }
    }

    /// Raises the counters, so that an id that a commit uses is never handed out, no matter who
    /// chose it.
    pub(crate) fn raise(&self, marks: Marks) {
        self.vm.fetch_max(marks.vm, Ordering::Relaxed);
        self.operation.fetch_max(marks.operation, Ordering::Relaxed);
        self.host.fetch_max(marks.host.into(), Ordering::Relaxed);
        self.datastore.fetch_max(marks.datastore.into(), Ordering::Relaxed);
        self.image.fetch_max(marks.image.into(), Ordering::Relaxed);
    }

    /// The next id of a kind with 64 bits. It stays at the last number, which [`Marks::of`]
    /// refuses.
    pub(crate) fn wide(counter: &AtomicU64) -> u64 {
        let step = |last: u64| Some(last.saturating_add(1));
        counter
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, step)
            .unwrap_or(u64::MAX)
            .saturating_add(1)
    }

    /// The next id of a kind with 32 bits. It stays at the last number too.
    pub(crate) fn narrow(counter: &AtomicU64) -> u32 {
        u32::try_from(Self::wide(counter)).unwrap_or(u32::MAX)
    }
}

/// The decimal number under a key, if there is one.
pub(crate) fn number(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
    key: &'static str,
) -> Result<Option<u64>, ReadError> {
    let Some(kept) = table.get(key).map_err(Fault::from)? else { return Ok(None) };
    let parsed = std::str::from_utf8(kept.value()).ok().and_then(|text| text.parse().ok());
    parsed.map(Some).ok_or_else(|| RowError::NotARow { table: "meta", key: key.to_owned() }.into())
}

fn row_at<R: Row>(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
    key: &'static str,
) -> Result<Option<R>, ReadError> {
    let kept = table.get(key).map_err(Fault::from)?;
    Ok(kept.map(|kept| row::decode(kept.value(), key)).transpose()?)
}

/// The number of the last event; 0 before the first.
pub(crate) fn event_last(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
) -> Result<u64, ReadError> {
    Ok(number(table, EVENT_KEY)?.unwrap_or(0))
}

/// The number of the last batch; 0 before the first.
pub(crate) fn batch(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
) -> Result<u64, ReadError> {
    Ok(number(table, BATCH_KEY)?.unwrap_or(0))
}

pub(crate) fn batch_put(table: &mut Meta<'_>, number: u64) -> Result<(), Fault> {
    number_put(table, BATCH_KEY, number)
}

/// Counts a transaction that is not of the writer. Answers its number.
pub(crate) fn batch_next(table: &mut Meta<'_>) -> Result<BatchNo, ReadError> {
    let number = batch(&**table)?.saturating_add(1);
    batch_put(table, number)?;
    Ok(BatchNo(number))
}

/// The high-water marks.
pub(crate) fn marks(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
) -> Result<Marks, ReadError> {
    Ok(row_at(table, MARKS_KEY)?.unwrap_or_default())
}

/// The store's id, if it has one yet.
pub(crate) fn store_id(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
) -> Result<Option<StoreId>, ReadError> {
    Ok(row_at::<Identity>(table, STORE_KEY)?.map(|identity| identity.id))
}

type Meta<'txn> = Tab<'txn, &'static str, &'static [u8]>;

pub(crate) fn number_put(table: &mut Meta<'_>, key: &'static str, value: u64) -> Result<(), Fault> {
    table.insert(key, value.to_string().as_bytes())?;
    Ok(())
}

pub(crate) fn event_last_put(table: &mut Meta<'_>, last: u64) -> Result<(), Fault> {
    number_put(table, EVENT_KEY, last)
}

pub(crate) fn marks_put(table: &mut Meta<'_>, marks: Marks) -> Result<(), ReadError> {
    let kept = row::encode(&marks)?;
    table.insert(MARKS_KEY, kept.as_slice()).map_err(Fault::from)?;
    Ok(())
}

pub(crate) fn store_id_put(table: &mut Meta<'_>, id: StoreId) -> Result<(), ReadError> {
    let kept = row::encode(&Identity { id })?;
    table.insert(STORE_KEY, kept.as_slice()).map_err(Fault::from)?;
    Ok(())
}

/// Who took charge of the store last.
pub(crate) fn charged(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
) -> Result<Charged, ReadError> {
    Ok(row_at(table, CHARGE_KEY)?.unwrap_or_default())
}

pub(crate) fn charged_put(table: &mut Meta<'_>, charged: &Charged) -> Result<(), ReadError> {
    let kept = row::encode(charged)?;
    table.insert(CHARGE_KEY, kept.as_slice()).map_err(Fault::from)?;
    Ok(())
}

/// The mark of a restore, while it is there.
pub(crate) fn restored(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
) -> Result<Option<RestoredStore>, ReadError> {
    row_at(table, RESTORED_KEY)
}

pub(crate) fn restored_put(table: &mut Meta<'_>, mark: &RestoredStore) -> Result<(), ReadError> {
    let kept = row::encode(mark)?;
    table.insert(RESTORED_KEY, kept.as_slice()).map_err(Fault::from)?;
    Ok(())
}

pub(crate) fn restored_remove(table: &mut Meta<'_>) -> Result<(), Fault> {
    table.remove(RESTORED_KEY)?;
    Ok(())
}

impl Reader {
    /// The number of the last batch. Everything that this reader shows is as of that batch.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn batch(&self) -> Result<BatchNo, ReadError> {
        Ok(BatchNo(batch(&self.table(META)?)?))
    }

    /// The epoch of the daemon that took charge of the store last; 0 before the first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn epoch(&self) -> Result<Epoch, ReadError> {
        Ok(charged(&self.table(META)?)?.epoch)
    }

    /// The mark that a restore leaves, until all VMs are reconciled.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn restored(&self) -> Result<Option<RestoredStore>, ReadError> {
        restored(&self.table(META)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_that_is_restored_twice_gives_out_no_operation_twice() {
        let backup = Marks { operation: 7, ..Marks::default() };
        let first = backup.skipped(Timestamp(1_700_000_000_000)).operation;
        // A minute later, after fewer than sixty operations.
        let second = backup.skipped(Timestamp(1_700_000_060_000)).operation;
        assert!(first > 1_000_000_007 && second >= first + 60, "{first} and {second}");
    }
}
