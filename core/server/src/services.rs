//! Tells components where hosts are: how a host is reached, its configuration, and the roots of the
//! datastores. Hands them their secrets.

use ostler_driver::Site;
use ostler_model::{
    Datastore, DatastoreName, DriverName, ExecTransport, Host, HostId, HostName, HostState,
};
use ostler_store::{Reader, Store};
use ostler_wasm::{Secret, SecretDirectory, SiteDirectory};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

/// The name of host 0, the front end. It needs no row in the store.
const FRONT_END: &str = "front-end";

/// Finds hosts in the store.
pub(crate) struct StoreSites(pub(crate) Store);

impl SiteDirectory for StoreSites {
    fn site(&self, name: &HostName) -> Option<Site> {
        let reader = self.0.read().ok()?;
        match reader.host_by_name(name).ok()? {
            Some(host) => Some(site(&reader, host)),
            None if name.as_str() == FRONT_END => front_end(&reader),
            None => None,
        }
    }

    fn host_name(&self, id: HostId) -> Option<HostName> {
        match self.0.read().ok()?.host(id).ok()? {
            Some(host) => Some(host.name),
            None if id == HostId::FRONT_END => FRONT_END.parse().ok(),
            None => None,
        }
    }
}

/// Finds secrets in the store: one or two rows by their keys, at each use.
pub(crate) struct StoreSecrets(pub(crate) Store);

impl SecretDirectory for StoreSecrets {
    fn secret(
        &self,
        driver: &DriverName,
        host: Option<HostId>,
        name: &str,
    ) -> Result<Option<Secret>, String> {
        let Ok(name) = name.parse() else { return Ok(None) };
        let found = self.0.read().and_then(|reader| reader.secret_for(driver, host, &name));
        match found {
            Ok(found) => Ok(found.map(|secret| Secret::new(secret.value.expose()))),
            Err(err) => {
                let error = crate::problem::chain(&err);
                tracing::error!(%driver, %name, error, "a secret cannot be read");
                Err(error)
            }
        }
    }

    fn edition(&self, driver: &DriverName, host: Option<HostId>) -> u64 {
        let mut hasher = DefaultHasher::new();
        for of in BTreeSet::from([None, host]) {
            let rows = self.0.read().and_then(|reader| reader.secrets_of(driver, of));
            // If it cannot be read, no session of the time before counts.
            for row in rows.unwrap_or_default() {
                (row.key.host, row.key.name.as_str(), row.set.0).hash(&mut hasher);
            }
        }
        hasher.finish()
    }
}

fn roots(reader: &Reader) -> BTreeMap<DatastoreName, String> {
    let datastores = reader.datastores().unwrap_or_default();
    datastores.into_iter().map(|datastore| (datastore.name, datastore.root)).collect()
}

fn front_end(reader: &Reader) -> Option<Site> {
    let (name, config) = (FRONT_END.parse().ok()?, BTreeMap::new());
    Some(Site {
        id: HostId::FRONT_END,
        name,
        config,
        transport: ExecTransport::Local,
        roots: roots(reader),
    })
}

fn site(reader: &Reader, host: Host) -> Site {
    Site {
        id: host.id,
        name: host.name,
        config: host.hypervisor.map(|driver| driver.config).unwrap_or_default(),
        transport: host.transport,
        roots: roots(reader),
    }
}

/// The machines on which files of `datastore` are looked at: the front end, and one host for each
/// transport, because hosts with the same transport see the same files. Hosts that are `off` are
/// left out. The root of `datastore` is added for each of them, because the datastore may not be in
/// the store yet.
pub(crate) fn places(reader: &Reader, datastore: &Datastore) -> Vec<Site> {
    let mut places: Vec<Site> = front_end(reader).into_iter().collect();
    for host in
        reader.hosts().unwrap_or_default().into_iter().filter(|host| host.state != HostState::Off)
    {
        if !places.iter().any(|place| place.transport == host.transport) {
            let config = host.settings_for(&datastore.driver).cloned().unwrap_or_default();
            places.push(Site { config, ..site(reader, host) });
        }
    }
    for place in &mut places {
        place.roots.insert(datastore.name.clone(), datastore.root.clone());
    }
    places
}
