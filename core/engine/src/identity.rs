//! Finds out which hypervisor a host is. One hypervisor must be one host. Under two names its
//! capacity would count twice. And a guest that moves from one name to the other would be removed
//! at its origin, which is where it runs.

use crate::hosts::within;
use crate::shared::Shared;
use ostler_model::{EventKind, Host, HostFacts, HostId, HypervisorId, Identified};
use ostler_store::{Commit, ResourceChange};
use std::sync::Arc;
use std::time::Duration;

/// How long a new host may take to say which hypervisor it is, while somebody adds it. If it does
/// not answer, the monitor asks again.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// Asks a host that is not in the store yet which hypervisor it is.
pub(crate) async fn ask(shared: &Shared, host: &Host) -> Option<HypervisorId> {
    let driver = shared.drivers.hypervisor(&host.hypervisor.as_ref()?.driver).ok()?;
    let site = shared.directory().site_to_be(host);
    // The monitor asks the same, and reports an error.
    within(ASK_TIMEOUT, driver.probe(&site)).await.ok()?.identity
}

/// Keeps the hypervisor identity of a host, if it has changed, and reports a host that is the same
/// hypervisor as another host.
pub(crate) async fn keep(shared: &Arc<Shared>, host: HostId, facts: &HostFacts) {
    let known = shared.directory().hosts.get(&host).map(|known| known.identity.clone());
    if known
        .is_none_or(|known| known.as_ref().map(|identity| &identity.id) == facts.identity.as_ref())
    {
        return;
    }
    let identity = facts.identity.clone().map(|id| Identified { id, since: shared.now() });
    let change = ResourceChange::HostIdentified { id: host, identity };
    let task = Arc::clone(shared);
    // The watch that asks may be stopped at any moment. The change must be committed, and the
    // directory must follow it, all the same. If the store cannot be written, the next commit of a
    // VM reports it. If the reload fails, the old directory stays, and the next probe tries again.
    let noted = shared.outlive(async move {
        task.store.commit(Commit { resources: vec![change], ..Commit::default() }).await?;
        task.reload_directory()?;
        tell_of_twin(&task, host).await;
        Ok(())
    });
    let _ = noted.await;
}

async fn tell_of_twin(shared: &Arc<Shared>, host: HostId) {
    let directory = shared.directory();
    if let (Some(known), Some(other)) = (directory.hosts.get(&host), directory.twin_of(host)) {
        let (name, detail) = (known.name.to_string(), is_a_twin(other));
        tracing::error!(host = name, "{detail}");
        shared
            .tell(EventKind::Resource {
                resource: "host".to_owned(),
                name,
                change: "error".to_owned(),
                detail,
            })
            .await;
    }
}

/// The message about a host that is the same hypervisor as `other`.
pub(crate) fn is_a_twin(other: &Host) -> String {
    let name = &other.name;
    format!(
        "it is the same hypervisor as host {name}, and takes no VMs: move what is on it to another hypervisor and remove it, or remove \
         {name}. If they are two machines, their driver must tell them apart (for kvm: a host_uuid of its own in one's libvirtd.conf)"
    )
}
