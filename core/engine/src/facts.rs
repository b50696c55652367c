//! Fetches what a decision may know beside the record.

use crate::calls;
use crate::shared::{Shared, locked};
use ostler_lifecycle::{Facts, Input, Target, wants_look};
use ostler_model::{Ability, DriverError, HostId, Verb, VmRecord};
use std::sync::Arc;
use std::time::Duration;

/// How long a look that a request needs may take. While it lasts the VM's other messages wait.
const LOOK_TIMEOUT: Duration = Duration::from_secs(15);

/// Fetches what the decision may know beside the record.
pub(crate) async fn facts(shared: &Arc<Shared>, record: &VmRecord, input: &Input) -> Facts {
    let mut facts = Facts::bare(shared.store.id());
    let Input::Request(asked) = input else { return facts };
    facts.abilities = abilities(shared, record);
    if asked.verb == Verb::Deploy {
        facts.target = asked.host.and_then(|host| target(shared, record, host));
    }
    if wants_look(record, asked.verb) {
        let look = tokio::time::timeout(LOOK_TIMEOUT, calls::observe(shared, record)).await;
        facts.look = Some(look.unwrap_or_else(|_| Err(DriverError::retry("timeout", "the host did not answer in time"))));
    }
    facts
}

fn abilities(shared: &Shared, record: &VmRecord) -> Option<Vec<Ability>> {
    let place = record.placement.as_ref()?;
    let probed =
        locked(&shared.host_health).get(&place.host).filter(|health| health.reachable).map(|health| health.abilities.clone());
    probed.or_else(|| shared.drivers.hypervisor(&place.driver).ok().map(|driver| driver.abilities().to_vec()))
}

fn target(shared: &Shared, record: &VmRecord, host: HostId) -> Option<Target> {
    let directory = shared.directory();
    let driver = directory.hosts.get(&host)?.hypervisor.as_ref()?.driver.clone();
    let storage = record.storage.clone().or_else(|| directory.system_storage())?;
    Some(Target { host, driver, storage })
}
