//! What the host of components needs of us: where other hosts are, and who is told of denials.

use crate::clock::now;
use ostler_driver::Site;
use ostler_model::{DatastoreName, DriverName, EventKind, ExecTransport, Host, HostId, HostName};
use ostler_store::{Commit, EventDraft, Reader, Store};
use ostler_wasm::{AuditSink, SiteDirectory};
use std::collections::BTreeMap;
use tokio::sync::mpsc;

/// Denials that wait to be committed. A driver that asks for forbidden things in a loop fills this and is dropped from, not the
/// store: each denial is in the log as well.
const DENIALS_WAITING: usize = 256;

/// What the engine calls host 0, which needs no row.
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

fn roots(reader: &Reader) -> BTreeMap<DatastoreName, String> {
    let datastores = reader.datastores().unwrap_or_default();
    datastores.into_iter().map(|datastore| (datastore.name, datastore.root)).collect()
}

fn front_end(reader: &Reader) -> Option<Site> {
    let (name, config) = (FRONT_END.parse().ok()?, BTreeMap::new());
    Some(Site { id: HostId::FRONT_END, name, config, transport: ExecTransport::Local, roots: roots(reader) })
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

/// Makes events of denials.
pub(crate) struct AuditTrail {
    queue: mpsc::Sender<EventDraft>,
}

impl AuditTrail {
    /// One whose events go to `store`. Ends with the last sender.
    pub(crate) fn start(store: Store) -> Self {
        let (queue, mut denials) = mpsc::channel::<EventDraft>(DENIALS_WAITING);
        tokio::spawn(async move {
            while let Some(denial) = denials.recv().await {
                let commit = Commit { events: vec![denial], ..Commit::default() };
                if let Err(err) = store.commit(commit).await {
                    tracing::warn!(%err, "a denial could not be written down");
                }
            }
        });
        Self { queue }
    }
}

impl AuditSink for AuditTrail {
    fn denied(&self, driver: &DriverName, capability: &str, detail: &str) {
        tracing::warn!(%driver, capability, detail, "driver denied");
        let kind = EventKind::Denied { driver: driver.to_string(), capability: capability.to_owned(), detail: detail.to_owned() };
        // Full: the log has it.
        let _ = self.queue.try_send(EventDraft { at: now(), vm: None, version: None, kind });
    }
}
