//! The part of a record that describes a restore of the store. Between the backup and the restore
//! another copy of this store was running, and this store does not know where that copy has placed
//! the VM.

use crate::{Generation, Timestamp, VmRecord};
use serde::{Deserialize, Serialize};

/// A restore skips at least this many generations: more than a store can issue for one VM between a
/// backup and its restore.
pub const GENERATIONS_SKIPPED: u64 = 1_000_000_000;

/// More generations than a store can issue for one VM in a millisecond. From it and the current
/// time, a restore computes how many generations to skip: all that any copy of the store can have
/// issued before now, also a copy that was restored from the same backup.
const GENERATIONS_A_MS: u64 = 1000;

/// Most lost times that a record keeps one by one. If there are more, the two oldest are merged
/// into one. A domain with a generation between the two is then not touched either.
const LOST_TIMES_MAX: usize = 16;

/// A lost time: the generations that another copy of this store can have issued and that this store
/// does not know of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostTime {
    /// The lost generations are above this one, ...
    pub known: Generation,
    /// ... and at most this one.
    pub lost: Generation,
}

impl LostTime {
    fn contains(self, generation: Generation) -> bool {
        self.known < generation && generation <= self.lost
    }
}

/// Says that the VM came back with a restored backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// The highest generation from before the restore that the record knows of.
    pub known: Generation,
    /// The highest generation that can have been issued between the backup and the restore. This
    /// store issues only higher ones.
    pub lost: Generation,
    /// Whether the VM is reconciled: since the restore all hosts have been listed, or a person said
    /// that the record is right.
    pub reconciled: bool,
    /// Whether all hosts have been listed, and Ostler still cannot tell which domain is the VM.
    /// Then a person must say it.
    #[serde(default)]
    pub in_doubt: bool,
    /// The lost times of earlier restores, oldest first. A host that has been off since then may
    /// still have a domain from such a time. Such a domain must not be removed as an old one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<LostTime>,
}

impl Restored {
    /// Call this when a person said that the record is right: no domain with a generation up to
    /// `generation` is the VM.
    pub fn disown(&mut self, generation: Generation) {
        self.known = self.known.max(generation);
        self.lost = self.lost.max(generation);
        for time in &mut self.earlier {
            time.known = time.known.max(generation);
        }
        self.earlier.retain(|time| time.known < time.lost);
    }

    /// Whether a domain of this generation was placed in the latest lost time or by this store
    /// afterwards, not in an earlier lost time.
    #[must_use]
    pub fn is_latest(&self, generation: Generation) -> bool {
        generation > self.known
    }

    /// Call this when the domain of `generation`, from the latest lost time, is found to be the VM.
    /// Lower generations of that lost time are then known to be older.
    pub fn take_over(&mut self, generation: Generation) {
        if generation <= self.lost {
            self.known = self.known.max(generation);
        }
    }

    /// Whether a domain of this generation may have been placed in a lost time, of this restore or
    /// of an earlier one.
    #[must_use]
    pub fn contains(&self, generation: Generation) -> bool {
        LostTime { known: self.known, lost: self.lost }.contains(generation)
            || self.earlier.iter().any(|time| time.contains(generation))
    }

    /// All lost times, this one included, for the record of the next restore.
    fn into_earlier(mut self) -> Vec<LostTime> {
        self.earlier.push(LostTime { known: self.known, lost: self.lost });
        if self.earlier.len() > LOST_TIMES_MAX {
            self.earlier[1].known = self.earlier[0].known;
            self.earlier.remove(0);
        }
        self.earlier
    }
}

impl VmRecord {
    /// Marks the record as one that comes from a backup, restored at `now`. Versions and
    /// generations continue far above all that were used between the backup and the restore.
    pub fn mark_restored(&mut self, now: Timestamp) {
        let (known, earlier) = match self.restored.take() {
            // Restored again before it was reconciled: the generations that the older backup did
            // not know are still not known.
            Some(before) if !before.reconciled => (before.known, before.earlier),
            Some(before) => (self.issued, before.into_earlier()),
            None => (self.issued, Vec::new()),
        };
        let by_now = now.0.saturating_mul(GENERATIONS_A_MS);
        let lost = Generation(self.issued.0.saturating_add(GENERATIONS_SKIPPED).max(by_now));
        self.issued = lost;
        self.version.0 = self.version.0.saturating_add(GENERATIONS_SKIPPED);
        self.restored = Some(Restored { known, lost, reconciled: false, in_doubt: false, earlier });
    }

    /// Whether it came back with a restored backup and is not reconciled. It may be on any host, so
    /// nothing of it may be started, moved or removed.
    #[must_use]
    pub fn is_unreconciled(&self) -> bool {
        self.restored.as_ref().is_some_and(|restored| !restored.reconciled)
    }

    /// Whether a domain of this VM with `generation` is newer than the record: no placement in the
    /// record has this generation, and another copy of the store may have issued it.
    #[must_use]
    pub fn is_ahead(&self, generation: Generation) -> bool {
        let left = self.leftovers.iter().map(|left| &left.place);
        let mut places = self.places().chain(left);
        if places.any(|place| place.generation == generation) {
            return false;
        }
        generation > self.issued
            || self.restored.as_ref().is_some_and(|restored| restored.contains(generation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restored(known: u64, lost: u64, earlier: &[(u64, u64)]) -> Restored {
        let earlier = earlier
            .iter()
            .map(|(known, lost)| LostTime { known: Generation(*known), lost: Generation(*lost) })
            .collect();
        Restored {
            known: Generation(known),
            lost: Generation(lost),
            reconciled: true,
            in_doubt: false,
            earlier,
        }
    }

    fn lost(restored: &Restored, generations: &[u64]) -> Vec<u64> {
        generations
            .iter()
            .copied()
            .filter(|generation| restored.contains(Generation(*generation)))
            .collect()
    }

    #[test]
    fn a_later_restore_does_not_forget_an_earlier_lost_time() {
        let twice = restored(30, 40, &[(10, 20)]);
        assert_eq!(lost(&twice, &[10, 11, 20, 21, 30, 31, 40, 41]), [11, 20, 31, 40]);
    }

    #[test]
    fn what_a_person_disowned_and_what_was_taken_over_are_lost_no_more() {
        let mut taken = restored(30, 40, &[(10, 20)]);
        taken.take_over(Generation(35));
        assert_eq!(lost(&taken, &[11, 35, 36]), [11, 36], "the earlier time is lost all the same");
        taken.disown(Generation(15));
        assert_eq!(lost(&taken, &[15, 16, 36]), [16, 36]);
        taken.disown(Generation(38));
        assert_eq!((lost(&taken, &[16, 38, 39]), taken.earlier.len()), (vec![39], 0));
    }

    #[test]
    fn many_restores_do_not_make_the_record_long_and_lose_nothing() {
        let mut many = restored(0, 5, &[]);
        for at in 1..100 {
            let earlier = many.into_earlier();
            many = Restored { earlier, ..restored(at * 10, at * 10 + 5, &[]) };
        }
        assert_eq!(many.earlier.len(), LOST_TIMES_MAX);
        let all: Vec<u64> = (0..100).map(|at| at * 10 + 3).collect();
        assert_eq!(lost(&many, &all), all);
        assert!(!many.contains(Generation(989)), "that one was issued by this store");
    }
}
