//! Looks at hosts: a watch a host. Events and lists are wake-ups; what counts is a look at the one VM, begun with the VM's step
//! counter in hand. A lost event costs a delay, never a wrong state.

use crate::calls;
use crate::clock;
use crate::handle::HostHealth;
use crate::mailbox::Message;
use crate::shared::{Shared, locked};
use ostler_driver::{Hypervisor, Listed, Site};
use ostler_lifecycle::{Input, Sight, sight};
use ostler_model::{
    Ability, DomainSeen, DriverError, EventKind, HostFacts, HostId, HostState, Observation, State, Timestamp, VmId, VmUuid,
};
use ostler_store::{Commit, EventDraft, ReadError, ResourceChange};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long one listing or probe of a host may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(20);
/// How long one wait for changes lasts.
const CHANGES_WAIT: Duration = Duration::from_secs(10);
/// Looks at single VMs at once for each host.
const LOOKS_AT_ONCE: usize = 8;
/// Most strays told of by name for each host.
const STRAYS_MAX: usize = 1000;

/// Keeps one watch for each host that is not off, until the daemon ends.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut watches: BTreeMap<HostId, (ostler_model::Host, CancellationToken)> = BTreeMap::new();
    while !shared.stop.is_cancelled() {
        let directory = shared.directory();
        let wanted: BTreeMap<HostId, &ostler_model::Host> = directory
            .hosts
            .values()
            .filter(|host| host.hypervisor.is_some() && host.state != HostState::Off)
            .map(|host| (host.id, host))
            .collect();
        watches.retain(|id, (as_was, stop)| {
            // What a probe found is no reason to begin anew.
            let same =
                wanted.get(id).is_some_and(|host| host.hypervisor == as_was.hypervisor && host.transport == as_was.transport);
            if !same {
                stop.cancel();
                locked(&shared.host_health).remove(id);
            }
            same
        });
        for (id, host) in wanted {
            watches.entry(id).or_insert_with(|| {
                let stop = shared.stop.child_token();
                shared.tasks.spawn(watch(Arc::clone(&shared), id, stop.clone()));
                (host.clone(), stop)
            });
        }
        tokio::select! {
            () = shared.hosts_changed.notified() => {}
            () = shared.stop.cancelled() => {}
        }
    }
}

async fn watch(shared: Arc<Shared>, host: HostId, stop: CancellationToken) {
    let both = async { tokio::join!(poll(&shared, host), follow(&shared, host)) };
    tokio::select! {
        _ = both => {}
        () = stop.cancelled() => {}
    }
}

fn driver_of(shared: &Shared, host: HostId) -> Result<(Arc<dyn Hypervisor>, Arc<Site>), DriverError> {
    let directory = shared.directory();
    let known = directory.hosts.get(&host).and_then(|host| host.hypervisor.as_ref());
    let name = known.map(|driver| &driver.driver).ok_or_else(|| DriverError::retry("no-host", "the host was removed"))?;
    let driver = shared.drivers.hypervisor(name).map_err(|error| DriverError::retry("not-loaded", error.to_string()))?;
    let site = directory.site(host).ok_or_else(|| DriverError::retry("no-host", "the host was removed"))?;
    Ok((driver, site))
}

async fn in_time<T>(call: impl Future<Output = Result<T, DriverError>>) -> Result<T, DriverError> {
    tokio::time::timeout(ASK_TIMEOUT, call)
        .await
        .unwrap_or_else(|_| Err(DriverError::retry("timeout", "the host did not answer in time")))
}

/// Lists the host regularly, and probes it when it comes back.
async fn poll(shared: &Arc<Shared>, host: HostId) {
    let mut blind_since: Option<Timestamp> = None;
    let mut known = false;
    loop {
        let looked = look_over(shared, host, !known).await;
        let wait = match &looked {
            Ok(()) => {
                known = true;
                blind_since = None;
                shared.config.poll_every
            }
            Err(error) => {
                known = false;
                let since = *blind_since.get_or_insert_with(clock::now);
                unreachable(shared, host, since, error).await;
                shared.config.retry_every
            }
        };
        tokio::time::sleep(wait).await;
    }
}

/// Waits for the hypervisor to tell of changes, where it can.
async fn follow(shared: &Arc<Shared>, host: HostId) {
    let mut cursor = 0;
    loop {
        let Ok((driver, site)) = driver_of(shared, host) else { return tokio::time::sleep(shared.config.retry_every).await };
        if !driver.abilities().contains(&Ability::Changes) {
            return std::future::pending().await;
        }
        match driver.changes(&site, cursor, CHANGES_WAIT).await {
            Ok(batch) => {
                cursor = batch.cursor;
                let vms = batch.vms.into_iter().collect::<BTreeSet<_>>();
                look_at(shared, host, vms).await;
                if batch.lost {
                    // A failure is told by the poll, which asks the same.
                    let _ = look_over(shared, host, false).await;
                }
            }
            Err(_) => tokio::time::sleep(shared.config.retry_every).await,
        }
    }
}

/// Compares all that the host has with all that it should have.
async fn look_over(shared: &Arc<Shared>, host: HostId, probe: bool) -> Result<(), DriverError> {
    let (driver, site) = driver_of(shared, host)?;
    let facts = if probe { Some(in_time(driver.probe(&site)).await?) } else { None };
    let expected = expected(shared, host).map_err(|error| DriverError::retry("store", error.to_string()))?;
    let listed = in_time(driver.list(&site)).await?;
    reachable(shared, host, facts, &listed).await;
    let suspects = suspects(shared, &expected, &listed);
    look_at(shared, host, suspects).await;
    Ok(())
}

/// What the store says of a VM on the host, as far as a list can be compared with it.
struct Expected {
    state: State,
}

fn expected(shared: &Shared, host: HostId) -> Result<HashMap<VmUuid, Expected>, ReadError> {
    let reader = shared.store.read()?;
    let mut found = HashMap::new();
    for vm in reader.vms_on_host(host)? {
        if let Some(summary) = reader.vm_summary(vm)? {
            found.insert(summary.uuid, Expected { state: summary.state });
        }
    }
    Ok(found)
}

/// VMs whose line in the list does not look as their state says. Only a hint: each is looked at by itself.
fn suspects(shared: &Shared, expected: &HashMap<VmUuid, Expected>, listed: &Listed) -> BTreeSet<VmUuid> {
    use ostler_model::Power;
    let store = shared.store.id();
    let ours = |domain: &&DomainSeen| domain.identity.is_some_and(|identity| identity.store == store);
    let seen: HashMap<VmUuid, &DomainSeen> = listed.domains.iter().filter(ours).map(|domain| (domain.uuid, domain)).collect();
    let unreadable: HashSet<VmUuid> = listed.unreadable.iter().copied().collect();
    let odd = |uuid: &VmUuid, state: State| {
        let power = seen.get(uuid).map(|domain| domain.power);
        match state {
            State::Running => power != Some(Power::Running),
            State::Poweroff => !matches!(power, None | Some(Power::Off)),
            State::Suspended | State::Unknown | State::Shutdown => true,
            State::Pending
            | State::Hold
            | State::Prolog
            | State::Boot
            | State::Migrate
            | State::Hotplug
            | State::Snapshot
            | State::Save
            | State::Epilog
            | State::Stopped
            | State::Undeployed
            | State::Failed
            | State::Done => false,
        }
    };
    expected.iter().filter(|(uuid, is)| !unreadable.contains(uuid) && odd(uuid, is.state)).map(|(uuid, _)| *uuid).collect()
}

/// Looks at each VM by itself, and hands what is seen to its runner.
async fn look_at(shared: &Arc<Shared>, host: HostId, vms: BTreeSet<VmUuid>) {
    use futures::StreamExt as _;
    futures::stream::iter(vms).for_each_concurrent(LOOKS_AT_ONCE, |uuid| look_at_one(shared, host, uuid)).await;
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
    // The step counter was read before the look: a decision made meanwhile makes it void.
    if let Ok(seen) = in_time(calls::observe(shared, &record)).await {
        let input = Input::Observed { step: record.step, seen };
        shared.mailboxes.deliver(shared, record.id, Message::Input(input)).await;
    }
}

/// The host answered.
async fn reachable(shared: &Arc<Shared>, host: HostId, facts: Option<HostFacts>, listed: &Listed) {
    let (wild, zombies) = strays(shared, host, listed);
    let (came_back, news) = {
        let mut health = locked(&shared.host_health);
        let entry = health.entry(host).or_insert_with(|| unseen(host));
        let came_back = !entry.reachable;
        if came_back {
            entry.since = clock::now();
        }
        entry.reachable = true;
        entry.error = None;
        if let Some(facts) = &facts {
            entry.hypervisor.clone_from(&facts.hypervisor);
            entry.notes.clone_from(&facts.notes);
            entry.abilities.clone_from(&facts.abilities);
        }
        let names = |domains: &[(VmUuid, String)]| domains.iter().map(|(_, name)| name.clone()).collect::<Vec<_>>();
        let news =
            fresh(&entry.wild, &names(&wild), "wild").chain(fresh(&entry.zombies, &names(&zombies), "zombie")).collect::<Vec<_>>();
        entry.wild = names(&wild);
        entry.zombies = names(&zombies);
        (came_back, news)
    };
    for (domain, what) in news {
        tell(shared, EventKind::Stray { host, domain, what: what.to_owned() }).await;
    }
    if let Some(facts) = facts {
        // A store that cannot be written is told by the next commit of a VM.
        let _ = shared
            .store
            .commit(Commit { resources: vec![ResourceChange::HostProbed { id: host, total: facts.total }], ..Commit::default() })
            .await;
        // A failed reload keeps what was known.
        let _ = shared.reload_directory();
    }
    if came_back {
        shared.wishes.wake();
    }
}

fn fresh<'a>(before: &[String], now: &'a [String], what: &'static str) -> impl Iterator<Item = (String, &'static str)> + use<'a> {
    let before: HashSet<String> = before.iter().cloned().collect();
    now.iter().filter(move |name| !before.contains(*name)).map(move |name| (name.clone(), what))
}

fn unseen(host: HostId) -> HostHealth {
    HostHealth {
        host,
        reachable: false,
        since: clock::now(),
        error: None,
        hypervisor: String::new(),
        notes: Vec::new(),
        abilities: Vec::new(),
        wild: Vec::new(),
        zombies: Vec::new(),
    }
}

/// Domains that are not ours, and domains of ours that should not be on this host. Both are told of; zombies that an operation
/// could not have left behind are destroyed once fencing arrives with migration.
fn strays(shared: &Shared, host: HostId, listed: &Listed) -> (Vec<(VmUuid, String)>, Vec<(VmUuid, String)>) {
    let store = shared.store.id();
    let (mut wild, mut zombies) = (Vec::new(), Vec::new());
    let Ok(reader) = shared.store.read() else { return (wild, zombies) };
    for domain in listed.domains.iter().take(STRAYS_MAX) {
        if domain.identity.is_none_or(|identity| identity.store != store) {
            wild.push((domain.uuid, domain.name.clone()));
            continue;
        }
        let record = reader.vm_by_uuid(domain.uuid).ok().flatten().and_then(|id| reader.vm(id).ok().flatten());
        let misplaced = match &record {
            // A VM whose operation is at work may have a domain where its record does not say so yet.
            Some(record) if record.operation.is_some() || !record.open.is_empty() => false,
            Some(record) => {
                let here = record.placement.as_ref().is_some_and(|place| place.host == host);
                !here || matches!(sight(record, store, &Observation::Present(domain.clone())), Sight::OlderAlive)
            }
            None => true,
        };
        if misplaced {
            zombies.push((domain.uuid, domain.name.clone()));
        }
    }
    (wild, zombies)
}

/// The host did not answer. Nothing is concluded; after a grace its running VMs are unknown.
async fn unreachable(shared: &Arc<Shared>, host: HostId, since: Timestamp, error: &DriverError) {
    let first = {
        let mut health = locked(&shared.host_health);
        let entry = health.entry(host).or_insert_with(|| unseen(host));
        let first = entry.reachable || entry.error.is_none();
        if entry.reachable {
            entry.since = since;
        }
        entry.reachable = false;
        entry.error = Some(error.to_string());
        first
    };
    if first {
        let name = shared.directory().hosts.get(&host).map(|host| host.name.to_string()).unwrap_or_default();
        let detail = format!("cannot be asked: {error}");
        tell(shared, EventKind::Resource { resource: "host".to_owned(), name, change: "error".to_owned(), detail }).await;
    }
    if clock::now().since(since) < ostler_lifecycle::UNREACHABLE_GRACE {
        return;
    }
    let running: Vec<VmId> = match shared.store.read().and_then(|reader| reader.vms_on_host(host)) {
        Ok(vms) => vms,
        Err(_) => return,
    };
    for vm in running {
        shared.mailboxes.deliver(shared, vm, Message::Input(Input::CouldNotAsk { since })).await;
    }
}

/// Puts a line into the feed that is about no VM's record.
pub(crate) async fn tell(shared: &Shared, kind: EventKind) {
    let event = EventDraft { at: clock::now(), vm: None, version: None, kind };
    // A store that cannot be written says so by itself.
    let _ = shared.store.commit(Commit { events: vec![event], ..Commit::default() }).await;
}
