//! Which hosts are to be probed out of turn, and when each was probed last for a decision.

use crate::directory::Directory;
use crate::locked::locked;
use ostler_model::HostId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// When the last probe for a decision began. Locked while a probe is made, so that others wait for
/// its answer.
pub(crate) type Began = Arc<tokio::sync::Mutex<Option<Instant>>>;

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
    /// The turn to probe a host for a decision.
    pub(crate) fn turn(&self, host: HostId) -> Began {
        Arc::clone(locked(&self.began).entry(host).or_default())
    }

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
