//! Keeps the listed domains that are newer than this store's record of their VM, or whose VM is not
//! reconciled since a restore. They are kept in memory only: each host is listed again after a
//! start, and a restore waits for that.

use crate::locked::locked;
use crate::shared::Shared;
use ostler_lifecycle::{Elsewhere, Found};
use ostler_model::{DomainSeen, DriverName, Host, HostId, HostState, VmRecord, VmUuid};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

/// The newest list of a host.
pub(crate) struct List {
    /// The host's hypervisor driver.
    pub(crate) driver: DriverName,
    /// The listed domains that may be newer than the store's records.
    pub(crate) domains: BTreeMap<VmUuid, DomainSeen>,
    /// Domains that the host could not read, so nothing may be concluded about them.
    pub(crate) unreadable: BTreeSet<VmUuid>,
}

/// The newest list of each host.
#[derive(Default)]
pub(crate) struct Seen(Mutex<BTreeMap<HostId, List>>);

impl Seen {
    /// Keeps a new list of `host`.
    pub(crate) fn keep(&self, host: HostId, list: List) {
        drop(locked(&self.0).insert(host, list));
    }

    /// Removes the list of `host`, which is no longer watched.
    pub(crate) fn forget(&self, host: HostId) {
        drop(locked(&self.0).remove(&host));
    }

    /// Whether some host may have a domain of this VM that is newer than the record.
    pub(crate) fn knows(&self, vm: VmUuid) -> bool {
        locked(&self.0).values().any(|list| list.domains.contains_key(&vm))
    }

    /// All domains of this VM that are kept.
    pub(crate) fn found(&self, vm: VmUuid) -> Vec<Found> {
        let lists = locked(&self.0);
        let of = |(host, list): (&HostId, &List)| {
            let seen = list.domains.get(&vm)?.clone();
            Some(Found { host: *host, driver: list.driver.clone(), seen })
        };
        lists.iter().filter_map(of).collect()
    }

    /// Whether some host could not read a domain of this VM.
    pub(crate) fn is_unreadable(&self, vm: VmUuid) -> bool {
        locked(&self.0).values().any(|list| list.unreadable.contains(&vm))
    }
}

/// A domain that is newer than `record`, on another host than that of its placement.
pub(crate) fn elsewhere(shared: &Shared, record: &VmRecord) -> Option<Elsewhere> {
    let found = shared.seen.found(record.uuid);
    ostler_lifecycle::elsewhere(record, shared.store.id(), &found, || unlisted(shared).is_empty())
}

/// Hosts that are not off and were not listed since the start.
pub(crate) fn unlisted(shared: &Shared) -> Vec<HostId> {
    let directory = shared.directory();
    let lists = locked(&shared.seen.0);
    let watched = |host: &&Host| host.hypervisor.is_some() && host.state != HostState::Off;
    directory
        .hosts
        .values()
        .filter(watched)
        .map(|host| host.id)
        .filter(|host| !lists.contains_key(host))
        .collect()
}
