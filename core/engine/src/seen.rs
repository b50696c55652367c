//! The domains that hosts have listed and that are newer than this store's record of their VM, or belong to a VM that is not reconciled
//! since a restore. Kept in memory: each host is listed again after a start, and a restore waits for that.

use crate::shared::{Shared, locked};
use ostler_lifecycle::{Found, is_elsewhere};
use ostler_model::{DomainSeen, DriverName, Host, HostId, HostState, StoreId, VmRecord, VmUuid};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

/// A host's newest list.
pub(crate) struct List {
    /// The host's hypervisor driver.
    pub(crate) driver: DriverName,
    /// Of all that was listed: what may be newer than the store.
    pub(crate) domains: BTreeMap<VmUuid, DomainSeen>,
    /// Domains of which the host could not tell whose they are.
    pub(crate) unreadable: BTreeSet<VmUuid>,
}

/// As each host was listed last.
#[derive(Default)]
pub(crate) struct Seen(Mutex<BTreeMap<HostId, List>>);

impl Seen {
    /// `host` was listed.
    pub(crate) fn keep(&self, host: HostId, list: List) {
        drop(locked(&self.0).insert(host, list));
    }

    /// `host` is not watched any more.
    pub(crate) fn forget(&self, host: HostId) {
        drop(locked(&self.0).remove(&host));
    }

    /// Whether there may be a newer domain of this VM on some host.
    pub(crate) fn knows(&self, vm: VmUuid) -> bool {
        locked(&self.0).values().any(|list| list.domains.contains_key(&vm))
    }

    /// A domain that is newer than `record`, on another host than the record's.
    pub(crate) fn elsewhere(&self, record: &VmRecord, store: StoreId) -> Option<Found> {
        self.found(record.uuid).into_iter().find(|found| is_elsewhere(record, store, found))
    }

    /// All that is kept of this VM.
    pub(crate) fn found(&self, vm: VmUuid) -> Vec<Found> {
        let lists = locked(&self.0);
        let of = |(host, list): (&HostId, &List)| {
            let seen = list.domains.get(&vm)?.clone();
            Some(Found { host: *host, driver: list.driver.clone(), seen })
        };
        lists.iter().filter_map(of).collect()
    }

    /// Whether some host could not tell whether it has a domain of this VM.
    pub(crate) fn is_unreadable(&self, vm: VmUuid) -> bool {
        locked(&self.0).values().any(|list| list.unreadable.contains(&vm))
    }
}

/// Hosts that are on and were not listed since the start.
pub(crate) fn unlisted(shared: &Shared) -> Vec<HostId> {
    let directory = shared.directory();
    let lists = locked(&shared.seen.0);
    let watched = |host: &&Host| host.hypervisor.is_some() && host.state != HostState::Off;
    directory.hosts.values().filter(watched).map(|host| host.id).filter(|host| !lists.contains_key(host)).collect()
}
