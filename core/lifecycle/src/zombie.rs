//! Which domains of ours must not be there, and what is put away on a host.

use crate::sight::{Sight, sight};
use ostler_model::{DomainSeen, Generation, HostId, Leftover, Observation, Placement, RelPath, State, StoreId, VmRecord};

/// What a domain of this store is that a host has listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Listing {
    /// It may be newer than the store's record of its VM: kept for whoever decides about that VM.
    pub newer: bool,
    /// It should not be there.
    pub zombie: bool,
    /// It may be destroyed.
    pub doomed: bool,
}

/// Judges a domain of this store that `host` has listed. `record` is the one of its VM, if there is one.
#[must_use]
pub fn listed(record: Option<&VmRecord>, store: StoreId, host: HostId, domain: &DomainSeen) -> Listing {
    // Of a VM that was forgotten, or of a store that was restored from a backup.
    let Some(record) = record else { return Listing { zombie: true, ..Listing::default() } };
    let generation = domain.identity.map(|identity| identity.generation);
    let newer = record.is_unreconciled() || generation.is_some_and(|generation| record.is_ahead(generation));
    let at = |place: &Option<Placement>| place.as_ref().is_some_and(|place| place.host == host);
    // It may have a domain where its record does not say so yet.
    let unsettled = record.operation.is_some() || !record.open.is_empty() || record.is_unreconciled() || at(&record.other);
    let seen = Observation::Present(domain.clone());
    let is_there = at(&record.placement) && !matches!(sight(record, store, &seen), Sight::OlderAlive);
    if unsettled || is_there {
        return Listing { newer, ..Listing::default() };
    }
    Listing { newer, zombie: true, doomed: doomed(record, store, host, &seen).is_some() }
}

/// What is put away on a host that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PutAway<'a> {
    /// The domain that was seen is removed first, under this generation.
    pub domain: Option<Generation>,
    /// Then the VM's folder is removed.
    pub files: Option<&'a Leftover>,
    /// Then nothing is left there up to this generation.
    pub empty: Option<Generation>,
    /// The files stay, and the leftover with them: they are those of the VM's own host.
    pub in_use: bool,
}

/// Decides what is put away on `host`, of which a look has told `seen`.
///
/// `elsewhere`: a domain on another host is newer than the record, and may use the files here. `in_use`: the VM's own host is reached as
/// `host` is, so the files here are its files.
#[must_use]
pub fn put_away<'a>(
    record: &'a VmRecord,
    store: StoreId,
    host: HostId,
    seen: &Observation,
    (elsewhere, in_use): (bool, bool),
) -> PutAway<'a> {
    let left = to_sweep(record, host);
    let domain = doomed(record, store, host, seen);
    let may_clear = match (domain, seen) {
        (Some(_), _) | (None, Observation::Absent) => true,
        (None, Observation::Present(domain)) if is_left(record, store, domain) => false,
        // It was made by somebody else meanwhile, or it is what lives elsewhere, seen here because both hosts are one hypervisor. Of
        // what was left nothing is there any more, if the VM had no files of its own.
        (None, Observation::Present(_)) => {
            let empty = left.filter(|left| !left.files).map(|left| left.place.generation);
            return PutAway { empty, ..PutAway::default() };
        }
    };
    let Some(left) = left.filter(|_| may_clear && !elsewhere) else { return PutAway { domain, ..PutAway::default() } };
    // The files of a VM that lives on are its files, where all hosts see the same.
    let clears = left.files && !(record.storage_is_shared() && record.state != State::Done);
    if clears && in_use {
        return PutAway { domain, in_use, ..PutAway::default() };
    }
    PutAway { domain, files: Some(left).filter(|_| clears), empty: Some(left.place.generation), in_use: false }
}

/// Whether a domain is of this VM, and not the one that the VM has where it is placed.
fn is_left(record: &VmRecord, store: StoreId, domain: &DomainSeen) -> bool {
    let ours = domain.identity.filter(|identity| identity.store == store && identity.vm == record.uuid);
    ours.is_some_and(|identity| !lives_elsewhere(record, identity.generation))
}

/// The generation of what may be destroyed on `host`: none if it is no leftover that is safe to destroy.
///
/// Whoever destroys it does so as the VM's own runner, so that no operation begins meanwhile, and under the leftover's own
/// generation, so that the host refuses (`stale`) if a later placement has arrived there after all.
#[must_use]
pub fn doomed(record: &VmRecord, store: StoreId, host: HostId, seen: &Observation) -> Option<Generation> {
    let Observation::Present(domain) = seen else { return None };
    let identity = domain.identity.filter(|identity| identity.store == store && identity.vm == record.uuid)?;
    if record.operation.is_some() || !record.open.is_empty() || record.other.is_some() {
        return None;
    }
    if record.is_unreconciled() || record.is_ahead(identity.generation) {
        // It may be the VM itself: this store is older than that domain.
        return None;
    }
    // Two hosts that are one hypervisor both show the domain that lives at one of them.
    if lives_elsewhere(record, identity.generation) {
        return None;
    }
    let left = |left: &Leftover| left.place.host == host && identity.generation <= left.place.generation;
    let below = match &record.placement {
        // What is where the VM has its place is for the VM's own operations.
        Some(place) if place.host == host => false,
        // It was decided already that the VM is not there.
        Some(_) if record.leftovers.iter().any(left) => true,
        // Only once the later one was seen running.
        Some(place) => identity.generation < place.generation && record.placed == place.generation,
        // It came to rest without a place only after its domain was seen absent: this is a late start, or what was forgotten.
        None => identity.generation <= record.issued,
    };
    below.then_some(identity.generation)
}

/// Whether a domain of this generation is the one that the VM has where it is placed. Generations are given out once, so it is that
/// very domain, wherever it is seen.
#[must_use]
pub(crate) fn lives_elsewhere(record: &VmRecord, generation: Generation) -> bool {
    record.placement.as_ref().is_some_and(|place| place.generation == generation)
}

/// What is to be swept on `host`, now that it is seen: nothing while an operation holds the VM, or where the VM has its place again.
/// Files that several hosts see are removed last of all, where nothing can run any more that uses them.
#[must_use]
pub fn to_sweep(record: &VmRecord, host: HostId) -> Option<&Leftover> {
    let busy = record.operation.is_some() || !record.open.is_empty() || record.other.is_some() || record.is_unreconciled();
    let here = record.placement.as_ref().is_some_and(|place| place.host == host);
    let left = record.leftovers.iter().find(|left| left.place.host == host).filter(|_| !busy && !here)?;
    let used_elsewhere = left.files && record.storage_is_shared() && record.leftovers.len() > 1;
    (!used_elsewhere).then_some(left)
}

/// Memory files that nobody will use, on the host where the VM has its place. Nothing while an operation holds the VM, or before its
/// guest has run on: until then a person may find that a save of which nobody had an answer was whole after all.
#[must_use]
pub fn unused_memory(record: &VmRecord, host: HostId) -> &[RelPath] {
    let busy = record.operation.is_some() || !record.open.is_empty() || record.other.is_some() || record.is_unreconciled();
    let here = record.placement.as_ref().is_some_and(|place| place.host == host);
    let ran_on = match record.state {
        State::Running | State::Suspended => true,
        State::Pending
        | State::Hold
        | State::Poweroff
        | State::Prolog
        | State::Boot
        | State::Migrate
        | State::Hotplug
        | State::Snapshot
        | State::Save
        | State::Epilog
        | State::Shutdown
        | State::Stopped
        | State::Undeployed
        | State::Failed
        | State::Unknown
        | State::Done => false,
    };
    if here && ran_on && !busy { &record.unused } else { &[] }
}
