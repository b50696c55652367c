//! Which domains of ours must not be there, and may be put away.

use ostler_model::{Generation, HostId, Leftover, Observation, RelPath, State, StoreId, VmRecord};

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
pub fn lives_elsewhere(record: &VmRecord, generation: Generation) -> bool {
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
