//! Observes hosts, with one watch per host. Events and lists only tell which VMs to look at. Only a
//! look at the single VM is evidence, and the VM's step counter is read before it. A lost event
//! costs a delay, and never makes a state wrong.

use crate::calls;
use crate::health;
use crate::hooks::Sabotage;
use crate::hosts::{ask, count_crash, driver_of, is_silent, within};
use crate::locked::locked;
use crate::message::Message;
use crate::shared::Shared;
use ostler_driver::Listed;
use ostler_lifecycle::{Input, is_suspect};
use ostler_model::{
    DomainSeen, DriverError, Host, HostId, HostState, Power, Reason, State, Timestamp, VmUuid,
};
use ostler_store::ReadError;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long one listing or probe of a host may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(20);
/// How long one wait for changes lasts.
const CHANGES_WAIT: Duration = Duration::from_secs(10);
/// How many VMs of one host are looked at in parallel, each by itself.
const LOOKS_AT_ONCE: usize = 8;
/// A host that answers is probed again after this many lists: memory is added, or its hypervisor is
/// upgraded.
const PROBE_EVERY: u32 = 30;
/// The pause after each batch of changes. Without it, a driver that always answers at once would
/// keep this loop busy.
const CHANGES_REST: Duration = Duration::from_millis(10);

struct Watch {
    host: Host,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Watch {
    /// The watch goes on if only the results of a probe have changed.
    fn fits(&self, host: &Host) -> bool {
        host.hypervisor == self.host.hypervisor && host.transport == self.host.transport
    }
}

/// Keeps one watch for each host that is not off, until the daemon ends.
pub(crate) async fn run(shared: Arc<Shared>) {
    // A panic drops this guard, and so the watches from before the panic end.
    let all = shared.stop.child_token();
    let _end = all.clone().drop_guard();
    let mut watches: BTreeMap<HostId, Watch> = BTreeMap::new();
    while !shared.stop.is_cancelled() {
        let directory = shared.directory();
        let watched = |host: &Host| host.hypervisor.is_some() && host.state != HostState::Off;
        let wanted: BTreeMap<HostId, &Host> = directory
            .hosts
            .values()
            .filter(|host| watched(host))
            .map(|host| (host.id, host))
            .collect();
        let ending: Vec<HostId> = watches
            .iter()
            .filter(|(id, watch)| !wanted.get(id).is_some_and(|host| watch.fits(host)))
            .map(|(id, _)| *id)
            .collect();
        for id in ending {
            let Some(watch) = watches.remove(&id) else { continue };
            watch.stop.cancel();
            // The watch ends at its next await. After that it cannot write the data that is removed
            // here. A panic has been reported already.
            let _ = watch.task.await;
            locked(&shared.host_health).remove(&id);
            shared.seen.forget(id);
        }
        for (id, host) in wanted {
            watches.entry(id).or_insert_with(|| {
                let stop = all.child_token();
                let task = shared.spawn(watch(Arc::clone(&shared), id, stop.clone()));
                Watch { host: host.clone(), stop, task }
            });
        }
        tokio::select! {
            biased;
            () = shared.hosts_changed.notified() => {}
            () = shared.stop.cancelled() => {}
        }
    }
}

async fn watch(shared: Arc<Shared>, host: HostId, stop: CancellationToken) {
    let both = async { tokio::join!(poll(&shared, host), follow(&shared, host)) };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        _ = both => {}
    }
}

/// Lists the host regularly. Probes it at first, when it comes back, after every `PROBE_EVERY`
/// lists, when a VM waits for a bridge that the host does not have, and when its driver was
/// replaced.
async fn poll(shared: &Arc<Shared>, host: HostId) {
    let mut blind_since: Option<Timestamp> = None;
    let mut lists = 0;
    loop {
        let looked =
            look_over(shared, host, shared.probes.is_wanted(host) || lists % PROBE_EVERY == 0)
                .await;
        let wait = match &looked {
            Ok(()) => {
                lists = lists.wrapping_add(1);
                blind_since = None;
                shared.config.poll_every
            }
            Err(error) => {
                count_crash(shared, host, error);
                lists = 0;
                let head_start = shared.config.hooks.head_start;
                let since = *blind_since
                    .get_or_insert_with(|| Timestamp(shared.now().0.saturating_sub(head_start.0)));
                health::unreachable(shared, host, since, error).await;
                shared.config.retry_every
            }
        };
        shared.probes.rest(host, wait).await;
    }
}

/// Waits until the hypervisor reports changes, if its driver can. If the driver was replaced, the
/// next round uses the new one.
async fn follow(shared: &Arc<Shared>, host: HostId) {
    let mut cursor = 0;
    loop {
        let known = driver_of(shared, host).ok();
        let Some((changes, site)) =
            known.as_ref().and_then(|(driver, site)| Some((driver.changes()?, site)))
        else {
            tokio::time::sleep(shared.config.poll_every).await;
            continue;
        };
        match within(CHANGES_WAIT + ASK_TIMEOUT, changes.changes(site, cursor, CHANGES_WAIT)).await
        {
            Ok(batch) => {
                cursor = batch.cursor;
                let vms = batch.vms.into_iter().collect::<BTreeSet<_>>();
                look_at(shared, host, vms).await;
                if batch.lost {
                    // `poll` asks the same, and reports a failure.
                    let _ = look_over(shared, host, false).await;
                }
                tokio::time::sleep(CHANGES_REST).await;
            }
            Err(_) => tokio::time::sleep(shared.config.retry_every).await,
        }
    }
}

/// Compares everything that the host has with everything that it should have.
async fn look_over(shared: &Arc<Shared>, host: HostId, probe: bool) -> Result<(), DriverError> {
    let (driver, site) = driver_of(shared, host)?;
    let facts = match probe {
        true => Some(ask(shared, host, "probe", ASK_TIMEOUT, driver.probe(&site)).await?),
        false => None,
    };
    let expected =
        expected(shared, host).map_err(|error| DriverError::retry("store", error.to_string()))?;
    let listed = ask(shared, host, "list", ASK_TIMEOUT, driver.list(&site)).await?;
    health::reachable(shared, host, facts, &listed).await;
    let suspects = suspects(shared, &expected, &listed);
    look_at(shared, host, suspects).await;
    Ok(())
}

/// The store's data of a VM on the host, as far as a list can be compared with it.
struct Expected {
    state: State,
    reason: Reason,
    newer: bool,
}

fn expected(shared: &Shared, host: HostId) -> Result<HashMap<VmUuid, Expected>, ReadError> {
    let reader = shared.store.read()?;
    let mut found = HashMap::new();
    for vm in reader.vms_on_host(host)? {
        if let Some(summary) = reader.vm_summary(vm)? {
            // VMs that have only left something here are swept, not watched.
            if summary.host == Some(host) {
                found.insert(
                    summary.uuid,
                    Expected {
                        state: summary.state,
                        reason: summary.reason,
                        newer: shared.seen.knows(summary.uuid),
                    },
                );
            }
        }
    }
    Ok(found)
}

/// VMs that must be looked at one by one, because their line in the list does not agree with their
/// state.
fn suspects(
    shared: &Shared,
    expected: &HashMap<VmUuid, Expected>,
    listed: &Listed,
) -> BTreeSet<VmUuid> {
    let store = shared.store.id();
    let ours =
        |domain: &&DomainSeen| domain.identity.is_some_and(|identity| identity.store == store);
    let seen: HashMap<VmUuid, Power> =
        listed.domains.iter().filter(ours).map(|domain| (domain.uuid, domain.power)).collect();
    let unreadable: HashSet<VmUuid> = listed.unreadable.iter().copied().collect();
    let odd = |uuid: &VmUuid, is: &Expected| {
        is_suspect(is.state, is.reason, is.newer, seen.get(uuid).copied())
    };
    expected
        .iter()
        .filter(|(uuid, is)| !unreadable.contains(uuid) && odd(uuid, is))
        .map(|(uuid, _)| *uuid)
        .collect()
}

/// Looks at each of these VMs, and hands the observation to its runner.
async fn look_at(shared: &Arc<Shared>, host: HostId, vms: BTreeSet<VmUuid>) {
    use futures::StreamExt as _;
    futures::stream::iter(vms)
        .for_each_concurrent(LOOKS_AT_ONCE, |uuid| look_at_one(shared, host, uuid))
        .await;
}

async fn look_at_one(shared: &Arc<Shared>, host: HostId, uuid: VmUuid) {
    let found = shared.store.read().and_then(|reader| match reader.vm_by_uuid(uuid)? {
        Some(id) => reader.vm(id),
        None => Ok(None),
    });
    let Ok(Some(record)) = found else { return };
    if record.placement.as_ref().is_none_or(|place| place.host != host) {
        return;
    }
    if !record.open.is_empty() && shared.config.hooks.sabotage != Sabotage::ObserveWhileBusy {
        // A look would not count now. When the call returns, its answer is judged.
        return;
    }
    // During a migration, the operation knows by itself when the other host must be asked.
    let other = record.other().filter(|_| record.operation.is_none());
    if other.is_some_and(|place| is_silent(shared, place.host)) {
        // A look at only one of the two hosts does not count. And a host that does not answer must
        // not delay the looks at this host.
        return;
    }
    // The step counter was read before the look. If a step begins or an operation ends meanwhile,
    // the counter rises and the look is void.
    let both = async {
        let seen = calls::observe(shared, &record).await?;
        let there = match other {
            Some(other) => {
                Some(calls::observe_at(shared, other.host, &other.driver, &record).await?)
            }
            None => None,
        };
        Ok((seen, there))
    };
    if let Ok((seen, there)) = within(ASK_TIMEOUT, both).await {
        let input = Input::Observed { step: record.step, seen, there };
        shared.mailboxes.deliver(shared, record.id, Message::Input(input)).await;
    }
}
