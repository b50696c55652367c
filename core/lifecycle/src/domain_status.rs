//! The meaning of an observation for one VM.

use ostler_model::{
    Generation, Goal, Observation, Power, PowerReason, Shown, Side, StoreId, VmRecord,
};

/// An observation, judged: first to whom the domain belongs, then what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DomainStatus {
    /// It runs, under the generation that may run.
    Running,
    /// It is paused.
    Paused(PowerReason),
    /// It is defined, and off.
    Off(PowerReason),
    /// It crashed and was preserved.
    Crashed,
    /// There is no such domain.
    Absent,
    /// A domain of that UUID that this store did not stamp.
    Foreign,
    /// It is stamped with a generation that is newer than the record, above all that this store
    /// issued or from a lost time: this store is stale.
    AboveIssued,
    /// A leftover of an earlier placement on the same host, off.
    OlderOff,
    /// A leftover of an earlier placement on the same host that is not off.
    OlderAlive,
}

/// Judges an observation at the VM's own placement in `record`.
#[must_use]
pub fn status(record: &VmRecord, store: StoreId, seen: &Observation) -> DomainStatus {
    status_at(record, Side::Here, store, seen)
}

/// Judges an observation at one of the two hosts of a migration.
#[must_use]
pub fn status_at(
    record: &VmRecord,
    side: Side,
    store: StoreId,
    seen: &Observation,
) -> DomainStatus {
    let Observation::Present(domain) = seen else { return DomainStatus::Absent };
    let Some(identity) =
        domain.identity.filter(|identity| identity.store == store && identity.vm == record.uuid)
    else {
        return DomainStatus::Foreign;
    };
    if record.is_ahead(identity.generation) {
        return DomainStatus::AboveIssued;
    }
    // The two hosts are one hypervisor, and this is the domain of the VM's own placement. Nothing
    // of the other placement is here.
    if side == Side::Other && lives_elsewhere(record, identity.generation) {
        return DomainStatus::Absent;
    }
    let expected = record.place(side).map_or(Generation(0), |place| place.generation);
    let older = identity.generation < expected;
    match (domain.power, older) {
        (Power::Off, true) => DomainStatus::OlderOff,
        (Power::Running | Power::Paused | Power::Crashed, true) => DomainStatus::OlderAlive,
        (Power::Running, false) => DomainStatus::Running,
        (Power::Paused, false) => DomainStatus::Paused(domain.reason),
        (Power::Off, false) => DomainStatus::Off(domain.reason),
        (Power::Crashed, false) => DomainStatus::Crashed,
    }
}

impl DomainStatus {
    /// Whether it shows the goal of a step.
    #[must_use]
    pub const fn meets(self, goal: Goal) -> bool {
        match goal {
            Goal::Nothing => true,
            Goal::Running => matches!(self, Self::Running),
            // A guest that already runs is past this goal. The next step writes that down.
            Goal::Paused => matches!(self, Self::Paused(_) | Self::Running),
            Goal::Off => matches!(self, Self::Off(_) | Self::Absent | Self::OlderOff),
            Goal::Absent => matches!(self, Self::Absent),
        }
    }

    /// Whether a guest of ours has run, or may have run. Then its disks are newer than any saved
    /// memory.
    #[must_use]
    pub const fn lives(self) -> bool {
        match self {
            Self::Running | Self::Paused(_) | Self::Crashed | Self::OlderAlive => true,
            Self::Off(_) | Self::Absent | Self::Foreign | Self::AboveIssued | Self::OlderOff => {
                false
            }
        }
    }

    /// The same without what only decisions use.
    #[must_use]
    pub const fn shown(self) -> Shown {
        match self {
            Self::Running => Shown::Running,
            Self::Paused(_) => Shown::Paused,
            Self::Off(_) => Shown::Off,
            Self::Crashed => Shown::Crashed,
            Self::Absent => Shown::Absent,
            Self::Foreign => Shown::Foreign,
            Self::AboveIssued => Shown::AboveIssued,
            Self::OlderOff => Shown::OlderOff,
            Self::OlderAlive => Shown::OlderAlive,
        }
    }

    /// In a word or two, for people.
    #[must_use]
    pub const fn words(self) -> &'static str {
        self.shown().words()
    }
}

/// Whether a domain of this generation is the domain of the VM's placement. Each generation is
/// issued once, so it is that very domain, on whichever host it is seen.
pub(crate) fn lives_elsewhere(record: &VmRecord, generation: Generation) -> bool {
    record.placement.as_ref().is_some_and(|place| place.generation == generation)
}
