//! Taking charge of a store: each daemon that is to act for it gets an epoch, which is committed
//! before anything is done.
//!
//! Hosts keep the highest epoch that they have seen, and start nothing for a lower one. So of two
//! daemons with copies of one store only one acts. Which number a daemon gets decides which one
//! that is:
//!
//! - A daemon that finds the store in the file in which it was left gets the next number.
//! - A daemon that finds it in another file (it was copied, or came back with a backup) gets at
//!   least the seconds since 1970, and at least a million more than the last one: that is above every
//!   number that a daemon gets in the first way.
//!
//! So a machine that was thought dead, and starts again with its old store, stays below the one
//! that took its place.

use crate::error::{Fault, ReadError};
use crate::log::{BatchNo, Followers};
use crate::meta::{self, Charged, Marks};
use crate::tables::META;
use crate::txn::Txn;
use ostler_model::{Epoch, StoreId, Timestamp};
use redb::Database;

/// The highest epoch. It is far above the seconds since 1970, and below what other programs
/// (shells, JavaScript) can count.
pub const EPOCH_MAX: Epoch = Epoch(1_000_000_000_000_000);

/// How far the first epoch of a copy is above the last one of the store, at least: more than the
/// daemon with the other copy can be started anew. Its clock may be wrong, or a second old.
const COPIED: u64 = 1_000_000;

/// Who takes charge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Charge {
    /// The time, by this machine's clock.
    pub now: Timestamp,
    /// What tells the store's file from each copy of it. None: it cannot be told, and the store
    /// counts as copied.
    pub place: Option<String>,
    /// The least epoch, if an operator has given one.
    pub at_least: Option<Epoch>,
}

impl Charge {
    /// Whether the store was copied since `last`: the daemon that has the other copy may go on with
    /// the same numbers.
    fn was_copied(&self, last: &Charged) -> bool {
        matches!((&self.place, &last.place), (Some(now), Some(then)) if now != then)
    }

    /// The epoch of a daemon that takes charge after `last`. It stays at the highest one.
    fn after(&self, last: &Charged) -> Epoch {
        let stays = self.place.is_some() && self.place == last.place && last.epoch.0 > 0;
        let elsewhere = last.epoch.0.saturating_add(COPIED).max(self.now.0 / 1000);
        let by_clock = Epoch(match (stays, last.epoch.0) {
            (true, _) => 0,
            (false, 0) => self.now.0 / 1000,
            (false, _) => elsewhere,
        });
        let least = self.at_least.unwrap_or_default();
        last.epoch.next().max(by_clock).max(least).min(EPOCH_MAX)
    }
}

/// The outcome of taking charge.
pub(crate) struct Taken {
    pub(crate) epoch: Epoch,
    /// The number of its batch.
    pub(crate) number: BatchNo,
    /// The high-water marks, if the store was copied. Operations begin above all that the daemon
    /// with the other copy can have begun, because files and jobs at hosts are named after them.
    pub(crate) marks: Option<Marks>,
}

/// Commits the epoch of a daemon that takes charge, in a transaction of its own.
pub(crate) fn take(
    db: &Database,
    (id, followers): (StoreId, &Followers),
    charge: Charge,
) -> Result<Taken, ReadError> {
    let txn = Txn::recorded(db, followers.any(), None).map_err(Fault::from)?;
    let mut table = txn.open_table(META).map_err(Fault::from)?;
    let last = meta::charged(&*table)?;
    let epoch = charge.after(&last);
    let marks = if charge.was_copied(&last) {
        let marks = meta::marks(&*table)?;
        let marks = Marks { operation: marks.skipped(charge.now).operation, ..marks };
        meta::marks_put(&mut table, marks)?;
        Some(marks)
    } else {
        None
    };
    meta::charged_put(&mut table, &Charged { epoch, place: charge.place })?;
    let number = meta::batch_next(&mut table)?;
    drop(table);
    let recorded = txn.commit().map_err(Fault::from)?;
    followers.tell(id, number, recorded);
    Ok(Taken { epoch, number, marks })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn charge(seconds: u64, place: Option<&str>) -> Charge {
        let place = place.map(str::to_owned);
        Charge { now: Timestamp(seconds * 1000), place, at_least: None }
    }

    fn left(epoch: u64, place: &str) -> Charged {
        Charged { epoch: Epoch(epoch), place: Some(place.to_owned()) }
    }

    #[test]
    fn a_machine_that_comes_back_stays_below_the_one_that_took_its_place() {
        let first = charge(1000, Some("a")).after(&Charged::default());
        let taken = charge(2000, Some("b")).after(&left(first.0, "a"));
        let back = charge(3000, Some("a")).after(&left(first.0, "a"));
        assert_eq!((first, taken, back), (Epoch(1000), Epoch(1_001_000), Epoch(1001)));
    }

    #[test]
    fn an_epoch_rises_whatever_the_clock_says() {
        assert_eq!(charge(7, Some("b")).after(&left(5000, "a")), Epoch(1_005_000));
        assert_eq!(charge(9_000_000, None).after(&left(5000, "a")), Epoch(9_000_000));
        let unknown = Charged { epoch: Epoch(5000), place: None };
        assert_eq!(charge(9000, None).after(&unknown), Epoch(1_005_000));
        let told = Charge { at_least: Some(Epoch(6000)), ..charge(7, Some("a")) };
        assert_eq!(told.after(&left(5000, "a")), Epoch(6000));
        assert_eq!(told.after(&left(6000, "a")), Epoch(6001));
        assert_eq!(charge(7, Some("a")).after(&left(EPOCH_MAX.0, "a")), EPOCH_MAX);
    }
}
