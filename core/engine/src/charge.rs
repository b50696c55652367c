//! Another daemon has taken charge of the store: a host has seen its epoch, and starts nothing for
//! this daemon any more.
//!
//! Then nothing that this daemon decides is true: the other one moves VMs, and ends and begins
//! operations. So the store takes no commits from there on. No VM is marked failed or lost, no
//! effect is sent to any host, and every request is answered with the reason. Calls that are open
//! stay so, as when the daemon ends.

use crate::shared::Shared;
use ostler_model::{DriverError, EventKind, HostId};
use ostler_store::Health;

/// Whether this daemon is in charge of the store, as far as it knows.
pub(crate) fn is_held(shared: &Shared) -> bool {
    !matches!(shared.store.health(), Health::NotInCharge { .. })
}

/// Whether the answer of a call to `host` says that another daemon is in charge. Then this one
/// gives the store up, and tells that in the log, in the feed, and at the host.
pub(crate) async fn is_lost<T>(
    shared: &Shared,
    host: HostId,
    answer: &Result<T, DriverError>,
) -> bool {
    let Some(error) = answer.as_ref().err().filter(|error| error.is_superseded()) else {
        return false;
    };
    // Of several answers, one is told.
    if shared.superseded_at.set((host, error.told())).is_ok() {
        tracing::error!(%host, epoch = %shared.store.epoch(), "{}", error.detail);
        let directory = shared.directory();
        let known = directory.hosts.get(&host);
        let name = known.map(|host| host.name.to_string()).unwrap_or_default();
        let (resource, change) = ("host".to_owned(), "error".to_owned());
        let detail = error.told();
        shared.tell(EventKind::Resource { resource, name, change, detail }).await;
        shared.store.give_up(error.detail.clone());
    }
    true
}
