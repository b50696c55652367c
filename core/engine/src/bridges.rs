//! Looks for the bridges of network cards on hosts, before a decision that depends on them.

use crate::clock;
use crate::health;
use crate::hosts::{ask, driver_of};
use crate::locked::locked;
use crate::shared::Shared;
use ostler_lifecycle::missing_bridge;
use ostler_model::{HostId, NicSpec};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// How long a probe for a decision may take. The VM's other messages wait meanwhile.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// The network interfaces of a host, for a decision about these network cards. A host that was not
/// seen to have all of their bridges is probed anew first, because the bridge may have been made
/// since. None: not known.
pub(crate) async fn interfaces(
    shared: &Arc<Shared>,
    host: HostId,
    nics: &[NicSpec],
) -> Option<Arc<BTreeSet<String>>> {
    let known = interfaces_seen(shared, host);
    if missing_bridge(nics, known.as_deref()).is_none() {
        return known;
    }
    let asked = clock::instant();
    let turn = shared.probes.turn(host);
    let mut began = turn.lock().await;
    // A probe that began after this was asked answers it, too. So many decisions about one host
    // cost two probes at most.
    if began.is_none_or(|began| began < asked) {
        *began = Some(clock::instant());
        let probed = match driver_of(shared, host) {
            Ok((driver, site)) => {
                ask(shared, host, "probe", PROBE_TIMEOUT, driver.probe(&site)).await.ok()
            }
            Err(_) => None,
        };
        match probed {
            Some(facts) => health::keep_facts(shared, host, &facts),
            None => health::forget_interfaces(shared, host),
        }
    }
    interfaces_seen(shared, host)
}

/// The network interfaces that a host had when it was probed last. None if they are not known, or
/// if the host does not answer now.
pub(crate) fn interfaces_seen(shared: &Shared, host: HostId) -> Option<Arc<BTreeSet<String>>> {
    locked(&shared.host_health).get(&host).filter(|health| health.reachable)?.interfaces.clone()
}
