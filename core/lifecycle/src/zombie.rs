//! Decides which of our domains must not be where they are, and what is swept on a host.

use crate::domain_status::{DomainStatus, lives_elsewhere, status};
use ostler_model::{
    DomainSeen, Generation, HostId, Leftover, Observation, Placement, RelPath, State, StoreId,
    VmRecord,
};

/// The judgement about a domain of this store that a host has listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Listing {
    /// It may be newer than the store's record of its VM. It is kept as a fact for decisions about
    /// that VM.
    pub newer: bool,
    /// It should not be there.
    pub zombie: bool,
    /// It may be destroyed.
    pub doomed: bool,
}

/// Judges a domain of this store that `host` has listed. `record` is the one of its VM, if there is
/// one.
#[must_use]
pub fn listed(
    record: Option<&VmRecord>,
    store: StoreId,
    host: HostId,
    domain: &DomainSeen,
) -> Listing {
    // The domain is of a VM that was forgotten, or the store was restored from a backup.
    let Some(record) = record else { return Listing { zombie: true, ..Listing::default() } };
    let generation = domain.identity.map(|identity| identity.generation);
    let newer = record.is_unreconciled()
        || generation.is_some_and(|generation| record.is_ahead(generation));
    let at = |place: Option<&Placement>| place.is_some_and(|place| place.host == host);
    // The VM may have a domain on a host that its record does not name yet.
    let unsettled = record.operation.is_some()
        || !record.open.is_empty()
        || record.is_unreconciled()
        || at(record.other());
    let seen = Observation::Present(domain.clone());
    let is_there = at(record.placement.as_ref())
        && !matches!(status(record, store, &seen), DomainStatus::OlderAlive);
    if unsettled || is_there {
        return Listing { newer, ..Listing::default() };
    }
    Listing { newer, zombie: true, doomed: doomed(record, store, host, &seen).is_some() }
}

/// The things that are removed on a host that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PutAway<'a> {
    /// The domain that was seen is removed first, under this generation.
    pub domain: Option<Generation>,
    /// Then the VM's folder is removed.
    pub files: Option<&'a Leftover>,
    /// After that, nothing of this generation or of an older one is left on the host.
    pub empty: Option<Generation>,
    /// The files stay, and so does the leftover: the VM's own host uses these files.
    pub in_use: bool,
}

/// Decides what is removed on `host`, where a look has shown `seen`.
///
/// `elsewhere`: a domain on another host is newer than the record, and may use the files here.
/// `in_use`: the VM's own host is reached in the same way as `host`, so the files here are the VM's
/// files.
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
        // Either somebody else has made this domain since, or it is the VM's own domain, seen here
        // because both hosts are one hypervisor. If the leftover had no files, nothing of it is
        // here any more.
        (None, Observation::Present(_)) => {
            let empty = left.filter(|left| !left.files).map(|left| left.place.generation);
            return PutAway { empty, ..PutAway::default() };
        }
    };
    let Some(left) = left.filter(|_| may_clear && !elsewhere) else {
        return PutAway { domain, ..PutAway::default() };
    };
    // If all hosts see the same files, these are the files of a VM that is not done. They stay.
    let clears = left.files && !(record.storage_is_shared() && record.state != State::Done);
    if clears && in_use {
        return PutAway { domain, in_use, ..PutAway::default() };
    }
    PutAway {
        domain,
        files: Some(left).filter(|_| clears),
        empty: Some(left.place.generation),
        in_use: false,
    }
}

/// Whether a domain is of this VM, but is not the domain of its placement.
fn is_left(record: &VmRecord, store: StoreId, domain: &DomainSeen) -> bool {
    let ours =
        domain.identity.filter(|identity| identity.store == store && identity.vm == record.uuid);
    ours.is_some_and(|identity| !lives_elsewhere(record, identity.generation))
}

/// The generation of the domain that may be destroyed on `host`. None if it is not a leftover that
/// is safe to destroy.
///
/// The VM's own runner must destroy it, so that no operation begins meanwhile. The call must have
/// the leftover's own generation, so that the host refuses (`stale`) if a later placement has
/// arrived there after all.
#[must_use]
pub fn doomed(
    record: &VmRecord,
    store: StoreId,
    host: HostId,
    seen: &Observation,
) -> Option<Generation> {
    let Observation::Present(domain) = seen else { return None };
    let identity =
        domain.identity.filter(|identity| identity.store == store && identity.vm == record.uuid)?;
    if record.operation.is_some() || !record.open.is_empty() || record.moving.is_some() {
        return None;
    }
    if record.is_unreconciled() || record.is_ahead(identity.generation) {
        // It may be the VM itself: this store is older than that domain.
        return None;
    }
    // If two hosts are one hypervisor, both show the domain that lives at one of them.
    if lives_elsewhere(record, identity.generation) {
        return None;
    }
    let left =
        |left: &Leftover| left.place.host == host && identity.generation <= left.place.generation;
    let below = match &record.placement {
        // A domain on the host of the VM's placement is left to the VM's own operations.
        Some(place) if place.host == host => false,
        // The VM has a leftover here, so it was already decided that the VM is not here.
        Some(_) if record.leftovers.iter().any(left) => true,
        // Only after the VM was seen running under its later placement.
        Some(place) => identity.generation < place.generation && record.placed == place.generation,
        // A VM rests without a placement only after its domain was seen absent. So this domain was
        // started late, or its VM was forgotten.
        None => identity.generation <= record.issued,
    };
    below.then_some(identity.generation)
}

/// The leftover to sweep on `host`, now that the host is seen. None while an operation holds the
/// VM, or if the VM has its placement there again. Files that several hosts see are removed last,
/// when nothing that uses them can run any more.
#[must_use]
pub fn to_sweep(record: &VmRecord, host: HostId) -> Option<&Leftover> {
    let busy = record.operation.is_some()
        || !record.open.is_empty()
        || record.moving.is_some()
        || record.is_unreconciled();
    let here = record.placement.as_ref().is_some_and(|place| place.host == host);
    let left =
        record.leftovers.iter().find(|left| left.place.host == host).filter(|_| !busy && !here)?;
    let used_elsewhere = left.files && record.storage_is_shared() && record.leftovers.len() > 1;
    (!used_elsewhere).then_some(left)
}

/// The unused memory files on the host of the VM's placement. Empty while an operation holds the
/// VM, or before its guest has run on. Until then a person may find that a save whose answer was
/// lost was complete after all.
#[must_use]
pub fn unused_memory(record: &VmRecord, host: HostId) -> &[RelPath] {
    let busy = record.operation.is_some()
        || !record.open.is_empty()
        || record.moving.is_some()
        || record.is_unreconciled();
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
