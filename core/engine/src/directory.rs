//! Hosts and datastores in the form that drivers need. They are read often and change rarely, so
//! they are replaced as a whole.

use ostler_driver::{FileRef, Site};
use ostler_lifecycle::{Candidate, Near};
use ostler_model::{
    Datastore, DatastoreId, DatastoreKind, DatastoreName, DriverName, ExecTransport, FilePath,
    Host, HostId, HostState, HypervisorId, RelPath, Storage, Timestamp, VmRecord,
};
use ostler_store::{ReadError, Reader};
use std::collections::BTreeMap;
use std::sync::Arc;

/// All hosts and datastores.
#[derive(Debug, Clone, Default)]
pub(crate) struct Directory {
    pub(crate) hosts: BTreeMap<HostId, Host>,
    pub(crate) datastores: BTreeMap<DatastoreId, Datastore>,
    sites: BTreeMap<HostId, Arc<Site>>,
    /// For each host that is the same hypervisor as another host: the host that was first known to
    /// be it.
    twins: BTreeMap<HostId, HostId>,
}

impl Directory {
    pub(crate) fn load(reader: &Reader) -> Result<Self, ReadError> {
        let hosts: BTreeMap<HostId, Host> =
            reader.hosts()?.into_iter().map(|host| (host.id, host)).collect();
        let datastores: BTreeMap<DatastoreId, Datastore> =
            reader.datastores()?.into_iter().map(|store| (store.id, store)).collect();
        let roots: BTreeMap<DatastoreName, String> =
            datastores.values().map(|store| (store.name.clone(), store.root.clone())).collect();
        let mut sites: BTreeMap<HostId, Arc<Site>> =
            hosts.values().map(|host| (host.id, Arc::new(site(host, &roots)))).collect();
        sites.entry(HostId::FRONT_END).or_insert_with(|| Arc::new(front_end(&roots)));
        let twins = twins(&hosts);
        Ok(Self { hosts, datastores, sites, twins })
    }

    pub(crate) fn site(&self, host: HostId) -> Option<Arc<Site>> {
        self.sites.get(&host).cloned()
    }

    /// The site of a host, as `driver` may see it. The settings of a host are only for its own
    /// hypervisor driver. A transfer driver does not see them, because a setting of the same name
    /// would mean something else to it.
    pub(crate) fn site_for(&self, host: HostId, driver: &DriverName) -> Option<Arc<Site>> {
        let site = self.site(host)?;
        let own = self.hosts.get(&host).is_some_and(|host| host.settings_for(driver).is_some());
        if own || site.config.is_empty() {
            return Some(site);
        }
        Some(Arc::new(Site { config: BTreeMap::new(), ..Site::clone(&site) }))
    }

    /// As [`Self::site`], for a host that is not in the store yet.
    pub(crate) fn site_to_be(&self, host: &Host) -> Site {
        let roots = self
            .datastores
            .values()
            .map(|store| (store.name.clone(), store.root.clone()))
            .collect();
        site(host, &roots)
    }

    pub(crate) fn site_by_name(&self, name: &ostler_model::HostName) -> Option<Arc<Site>> {
        self.sites.values().find(|site| site.name == *name).cloned()
    }

    /// The system datastore that a VM gets at its first placement: the one with the lowest id.
    pub(crate) fn system_storage(&self) -> Option<Storage> {
        let store = self.datastores.values().find(|store| store.kind == DatastoreKind::System)?;
        Some(Storage { datastore: store.id, driver: store.driver.clone(), shared: store.shared })
    }

    /// The names of all image datastores.
    pub(crate) fn image_datastores(&self) -> impl Iterator<Item = &DatastoreName> {
        self.datastores
            .values()
            .filter(|store| store.kind == DatastoreKind::Image)
            .map(|store| &store.name)
    }

    /// Hosts that may take VMs according to the operator: they are on, and have a hypervisor
    /// driver.
    pub(crate) fn hosts_on(&self) -> impl Iterator<Item = &Host> {
        self.hosts.values().filter(|host| host.state == HostState::On && host.hypervisor.is_some())
    }

    /// The host that was known earlier to be the same hypervisor as `host`. If there is one, `host`
    /// takes no VMs.
    pub(crate) fn twin_of(&self, host: HostId) -> Option<&Host> {
        self.hosts.get(self.twins.get(&host)?)
    }

    /// `host` as a possible target for `record`, as far as the store knows it.
    pub(crate) fn candidate(&self, record: &VmRecord, host: HostId) -> Option<Candidate> {
        let known = self.hosts.get(&host)?;
        let identity = |host: &Host| host.identity.as_ref().map(|identity| identity.id.clone());
        let places = record.placement.iter().chain(record.leftovers.iter().map(|left| &left.place));
        let near = places.filter_map(|place| self.hosts.get(&place.host)).map(|at| Near {
            host: at.id,
            name: at.name.clone(),
            one_hypervisor: identity(at).is_some() && identity(at) == identity(known),
            one_file_system: self.same_files(at.id, host),
        });
        Some(Candidate {
            host,
            driver: known.hypervisor.as_ref().map(|driver| driver.driver.clone()),
            storage: self.system_storage(),
            twin: self.twin_of(host).map(|twin| twin.name.clone()),
            near: near.collect(),
            interfaces: None,
        })
    }

    /// Whether two hosts are reached in the same way. Then a path is the same file on both hosts,
    /// even if their datastores are said to differ. A file that is copied from one host to the
    /// other, and then removed from the first, would be lost.
    pub(crate) fn same_files(&self, one: HostId, other: HostId) -> bool {
        let transport = |host| self.sites.get(&host).map(|site| &site.transport);
        one != other && transport(one) == transport(other)
    }

    /// A file in a datastore, as a host sees it.
    pub(crate) fn file(&self, host: HostId, store: &Datastore, path: &str) -> Option<FileRef> {
        let path: RelPath = path.parse().ok()?;
        let absolute = format!("{}/{path}", store.root.trim_end_matches('/'));
        Some(FileRef { host, datastore: store.name.clone(), path, absolute })
    }

    pub(crate) fn named(&self, host: HostId, file: &FilePath) -> Option<FileRef> {
        let store = self.datastores.values().find(|store| store.name == file.datastore)?;
        self.file(host, store, file.path.as_str())
    }
}

fn twins(hosts: &BTreeMap<HostId, Host>) -> BTreeMap<HostId, HostId> {
    let mut first: BTreeMap<&HypervisorId, (Timestamp, HostId)> = BTreeMap::new();
    let known = || {
        hosts.values().filter_map(|host| host.identity.as_ref().map(|identity| (host.id, identity)))
    };
    for (host, identity) in known() {
        let since = (identity.since, host);
        first.entry(&identity.id).and_modify(|first| *first = (*first).min(since)).or_insert(since);
    }
    known()
        .filter_map(|(host, identity)| Some((host, first.get(&identity.id)?.1)))
        .filter(|(host, first)| host != first)
        .collect()
}

fn site(host: &Host, roots: &BTreeMap<DatastoreName, String>) -> Site {
    Site {
        id: host.id,
        name: host.name.clone(),
        config: host.hypervisor.as_ref().map(|driver| driver.config.clone()).unwrap_or_default(),
        transport: host.transport.clone(),
        roots: roots.clone(),
    }
}

fn front_end(roots: &BTreeMap<DatastoreName, String>) -> Site {
    Site {
        id: HostId::FRONT_END,
        // The constant is a valid name.
        name: "front-end"
            .parse()
            .unwrap_or_else(|_| unreachable!("front-end is a valid host name")),
        config: BTreeMap::new(),
        transport: ExecTransport::Local,
        roots: roots.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_model::{Capacity, DriverRef, Timestamp};

    #[test]
    fn settings_of_a_host_are_for_its_own_driver() {
        let name = |text: &str| -> DriverName { text.parse().expect("a name") };
        let host = Host {
            id: HostId(1),
            name: "h".parse().expect("a name"),
            state: HostState::On,
            hypervisor: Some(DriverRef {
                driver: name("kvm"),
                config: [("uri".to_owned(), "x".to_owned())].into(),
            }),
            rules: None,
            identity: None,
            transport: ExecTransport::Local,
            total: Capacity::default(),
            total_is_fixed: false,
            labels: BTreeMap::new(),
            added: Timestamp(0),
        };
        let roots = [("system".parse().expect("a name"), "/srv".to_owned())].into();
        let sites = [(host.id, Arc::new(site(&host, &roots)))].into();
        let directory =
            Directory { hosts: [(host.id, host)].into(), sites, ..Directory::default() };
        let seen_by = |driver| directory.site_for(HostId(1), &name(driver)).expect("a site");
        assert_eq!(seen_by("kvm").config.len(), 1);
        assert!(seen_by("transfer").config.is_empty());
        assert_eq!(
            seen_by("transfer").roots,
            seen_by("kvm").roots,
            "it is the same host in all else"
        );
        assert!(directory.site_for(HostId(2), &name("kvm")).is_none());
    }
}
