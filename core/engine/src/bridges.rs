//! Looks for the bridges of network cards on hosts, before a decision that depends on them.

use crate::clock;
use crate::directory::Directory;
use crate::health;
use crate::monitor::{driver_of, within};
use crate::shared::{Shared, locked};
use ostler_lifecycle::missing_bridge;
use ostler_model::{HostId, NicSpec};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long a probe for a decision may take. The VM's other messages wait meanwhile.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// When the last probe for a decision began. Locked while a probe is made, so that others wait for
/// its answer.
type Began = Arc<tokio::sync::Mutex<Option<Instant>>>;

/// The probes of hosts that are made for decisions, beside the regular ones of the monitor.
#[derive(Default)]
pub(crate) struct Probes {
    began: Mutex<BTreeMap<HostId, Began>>,
    /// Hosts that the monitor probes with its next list.
    wanted: Mutex<BTreeSet<HostId>>,
    /// Hosts that are to be listed at once.
    hurried: Mutex<BTreeSet<HostId>>,
    /// Wakes the monitor of each host, to look whether the host is hurried.
    woken: tokio::sync::Notify,
}

impl Probes {
    /// Asks the monitor to probe a host soon.
    pub(crate) fn want(&self, host: HostId) {
        locked(&self.wanted).insert(host);
    }

    /// Has the monitor probe these hosts at once.
    pub(crate) fn want_now(&self, hosts: impl IntoIterator<Item = HostId>) {
        let hosts: BTreeSet<HostId> = hosts.into_iter().collect();
        locked(&self.wanted).extend(&hosts);
        locked(&self.hurried).extend(hosts);
        self.woken.notify_waiters();
    }

    /// Waits until it is time to list a host again: after `wait`, or at once if somebody wants it.
    pub(crate) async fn rest(&self, host: HostId, wait: Duration) {
        let timer = tokio::time::sleep(wait);
        tokio::pin!(timer);
        loop {
            // A call of `want_now` between this line and the wait below is not missed.
            let woken = self.woken.notified();
            if locked(&self.hurried).remove(&host) {
                return;
            }
            tokio::select! {
                biased;
                () = &mut timer => return,
                () = woken => {}
            }
        }
    }

    /// Whether somebody has asked for a probe of this host since the last call.
    pub(crate) fn is_wanted(&self, host: HostId) -> bool {
        locked(&self.wanted).remove(&host)
    }

    /// Forgets hosts that are gone.
    pub(crate) fn prune(&self, directory: &Directory) {
        locked(&self.began).retain(|host, _| directory.hosts.contains_key(host));
        locked(&self.wanted).retain(|host| directory.hosts.contains_key(host));
        locked(&self.hurried).retain(|host| directory.hosts.contains_key(host));
    }
}

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
    let turn = Arc::clone(locked(&shared.probes.began).entry(host).or_default());
    let mut began = turn.lock().await;
    // A probe that began after this was asked answers it, too. So many decisions about one host
    // cost two probes at most.
    if began.is_none_or(|began| began < asked) {
        *began = Some(clock::instant());
        let probed = match driver_of(shared, host) {
            Ok((driver, site)) => within(PROBE_TIMEOUT, driver.probe(&site)).await.ok(),
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
