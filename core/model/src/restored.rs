//! What a record remembers of a restore: between the backup and the restore another copy of this store was at work, and this one
//! does not know where it has placed the VM.

use crate::{Generation, VmRecord};
use serde::{Deserialize, Serialize};

/// How many generations a restore leaves out: more than a store can issue for one VM between a backup and its restore.
pub const GENERATIONS_SKIPPED: u64 = 1_000_000_000;

/// The VM came back with a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// The highest generation that the record knows of from before the restore.
    pub known: Generation,
    /// The highest generation that can have been issued between the backup and the restore. This store issues higher ones only.
    pub lost: Generation,
    /// Whether all hosts have been listed since, or a person said that the record is right.
    pub reconciled: bool,
    /// Whether all hosts have been listed, and only a person can tell which domain is the VM.
    #[serde(default)]
    pub in_doubt: bool,
}

impl VmRecord {
    /// Marks the record as one that comes from a backup. Versions and generations go on far above those that were used meanwhile.
    pub fn mark_restored(&mut self) {
        let known = match self.restored {
            // Restored twice without having been reconciled: what the older backup did not know is still not known.
            Some(before) if !before.reconciled => before.known,
            Some(_) | None => self.issued,
        };
        let lost = Generation(self.issued.0.saturating_add(GENERATIONS_SKIPPED));
        self.issued = lost;
        self.version.0 = self.version.0.saturating_add(GENERATIONS_SKIPPED);
        self.restored = Some(Restored { known, lost, reconciled: false, in_doubt: false });
    }

    /// Whether it came back with a backup, and may be anywhere by now: nothing may be started, moved or removed.
    #[must_use]
    pub fn is_unreconciled(&self) -> bool {
        self.restored.is_some_and(|restored| !restored.reconciled)
    }

    /// Whether a domain of this VM under `generation` is newer than the record: no placement that the record knows of had it.
    #[must_use]
    pub fn is_ahead(&self, generation: Generation) -> bool {
        let mut places = self.placement.iter().chain(&self.other).chain(self.leftovers.iter().map(|left| &left.place));
        if places.any(|place| place.generation == generation) {
            return false;
        }
        match self.restored {
            None => generation > self.issued,
            Some(restored) if generation <= restored.known => false,
            Some(restored) => generation <= restored.lost || generation > self.issued,
        }
    }
}
