//! Records that a host answered the monitor or did not, and does what follows from it.

use crate::handle::HostHealth;
use crate::hooks::Sabotage;
use crate::identity;
use crate::locked::locked;
use crate::message::Message;
use crate::seen::List;
use crate::shared::Shared;
use crate::sweep;
use ostler_driver::Listed;
use ostler_lifecycle::{Input, UNREACHABLE_GRACE};
use ostler_model::{
    DomainSeen, DriverError, EventKind, HostFacts, HostId, State, Timestamp, VmId, VmUuid,
};
use ostler_store::{Commit, ReadError, ResourceChange, VmSummary};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

/// How many strays of each kind are listed by name for each host, at most.
const STRAYS_MAX: usize = 1000;

/// Strays of a host, and our domains there that may be newer than the store.
#[derive(Default)]
struct Strays {
    /// The names of domains that are not ours.
    wild: Vec<String>,
    /// The names of our domains that should not be there.
    zombies: Vec<String>,
    /// The VMs of those zombies that may be destroyed.
    doomed: Vec<VmId>,
    /// Our domains that are newer than this store's record, or whose VM is not reconciled.
    newer: BTreeMap<VmUuid, DomainSeen>,
}

/// Handles the answer of a host.
pub(crate) async fn reachable(
    shared: &Arc<Shared>,
    host: HostId,
    facts: Option<HostFacts>,
    listed: &Listed,
) {
    // If the store cannot be read here, those who read it for an answer report the error. The old
    // list of strays stays.
    let strays = strays(shared, host, listed).ok();
    if let Some(strays) = &strays {
        keep_list(shared, host, strays.newer.clone(), listed);
    }
    let (may_take, news) = note(shared, host, facts.as_ref(), strays.as_ref());
    for (domain, what) in news {
        shared.tell(EventKind::Stray { host, domain, what: what.to_owned() }).await;
    }
    let mut to_sweep = left_on(shared, host).unwrap_or_default();
    to_sweep.extend(strays.map(|strays| strays.doomed).unwrap_or_default());
    for vm in to_sweep {
        sweep::ask(shared, vm, host);
    }
    if let Some(facts) = facts {
        keep_total(shared, host, &facts).await;
        identity::keep(shared, host, &facts).await;
    }
    if may_take {
        shared.scheduler.wake();
    }
}

/// Keeps the domains that are newer than the store, as facts for decisions about their VMs.
fn keep_list(
    shared: &Shared,
    host: HostId,
    domains: BTreeMap<VmUuid, DomainSeen>,
    listed: &Listed,
) {
    let directory = shared.directory();
    let Some(driver) = directory.hosts.get(&host).and_then(|host| host.hypervisor.as_ref()) else {
        return;
    };
    let unreadable = listed.unreadable.iter().copied().collect();
    shared.seen.keep(host, List { driver: driver.driver.clone(), domains, unreadable });
}

/// Updates the host's health. Answers whether VMs may go there that could not before, and which
/// strays are new.
fn note(
    shared: &Shared,
    host: HostId,
    facts: Option<&HostFacts>,
    strays: Option<&Strays>,
) -> (bool, Vec<(String, &'static str)>) {
    let mut health = locked(&shared.host_health);
    let entry = health.entry(host).or_insert_with(|| unseen(host, shared.now()));
    let came_back = !entry.reachable;
    if came_back {
        entry.since = shared.now();
    }
    entry.reachable = true;
    entry.error = None;
    let learned = facts.is_some_and(|facts| entry.learn(facts));
    let mut news = Vec::new();
    if let Some(strays) = strays {
        news.extend(fresh(&entry.wild, &strays.wild, "wild"));
        news.extend(fresh(&entry.zombies, &strays.zombies, "zombie"));
        entry.wild.clone_from(&strays.wild);
        entry.zombies.clone_from(&strays.zombies);
    }
    (came_back || learned, news)
}

/// Keeps the facts of a probe that was made for a decision, if the host is watched.
pub(crate) fn keep_facts(shared: &Shared, host: HostId, facts: &HostFacts) {
    let changed =
        locked(&shared.host_health).get_mut(&host).is_some_and(|entry| entry.learn(facts));
    if changed {
        shared.scheduler.wake();
    }
}

/// The network interfaces of the host are not known any more: a probe got no answer.
pub(crate) fn forget_interfaces(shared: &Shared, host: HostId) {
    if let Some(entry) = locked(&shared.host_health).get_mut(&host) {
        entry.interfaces = None;
    }
}

impl HostHealth {
    /// Keeps the facts of a probe. Answers whether the host has other network interfaces than
    /// before.
    fn learn(&mut self, facts: &HostFacts) -> bool {
        self.hypervisor.clone_from(&facts.hypervisor);
        self.notes.clone_from(&facts.notes);
        self.abilities.clone_from(&facts.abilities);
        let changed = self.interfaces.as_deref() != facts.interfaces.as_ref();
        if changed {
            self.interfaces = facts.interfaces.clone().map(Arc::new);
        }
        changed
    }
}

/// Keeps the capacity of the host, if it has changed.
async fn keep_total(shared: &Arc<Shared>, host: HostId, facts: &HostFacts) {
    let directory = shared.directory();
    if directory
        .hosts
        .get(&host)
        .is_none_or(|known| known.total_is_fixed || known.total == facts.total)
    {
        return;
    }
    let probed = ResourceChange::HostProbed { id: host, total: facts.total };
    let task = Arc::clone(shared);
    let noted = shared.outlive(async move {
        task.store.commit(Commit { resources: vec![probed], ..Commit::default() }).await?;
        task.reload_directory()
    });
    // If the store cannot be written, the next commit of a VM reports it. If the reload fails, the
    // old directory stays.
    let _ = noted.await;
}

fn fresh<'a>(
    before: &[String],
    now: &'a [String],
    what: &'static str,
) -> impl Iterator<Item = (String, &'static str)> + use<'a> {
    let before: HashSet<String> = before.iter().cloned().collect();
    now.iter().filter(move |name| !before.contains(*name)).map(move |name| (name.clone(), what))
}

fn unseen(host: HostId, since: Timestamp) -> HostHealth {
    HostHealth {
        host,
        reachable: false,
        since,
        error: None,
        hypervisor: String::new(),
        notes: Vec::new(),
        abilities: Vec::new(),
        interfaces: None,
        wild: Vec::new(),
        zombies: Vec::new(),
    }
}

/// Sorts out the strays of a host, and the domains that may be newer than the store.
fn strays(shared: &Shared, host: HostId, listed: &Listed) -> Result<Strays, ReadError> {
    let store = shared.store.id();
    let reader = shared.store.read()?;
    let mut strays = Strays::default();
    for domain in &listed.domains {
        if domain.identity.is_none_or(|identity| identity.store != store) {
            strays.wild.push(domain.name.clone());
            continue;
        }
        let record = match reader.vm_by_uuid(domain.uuid)? {
            Some(id) => reader.vm(id)?,
            None => None,
        };
        let is = ostler_lifecycle::listed(record.as_ref(), store, host, domain);
        if is.newer {
            strays.newer.insert(domain.uuid, domain.clone());
        }
        if is.zombie {
            strays.zombies.push(domain.name.clone());
        }
        let doomed = is.doomed || shared.config.hooks.sabotage == Sabotage::AnyZombie;
        strays.doomed.extend(record.filter(|_| doomed).map(|record| record.id));
    }
    strays.wild.truncate(STRAYS_MAX);
    strays.zombies.truncate(STRAYS_MAX);
    Ok(strays)
}

/// VMs that left this host without its being seen empty, or that have unused memory files here.
fn left_on(shared: &Shared, host: HostId) -> Result<BTreeSet<VmId>, ReadError> {
    let reader = shared.store.read()?;
    let mut found = BTreeSet::new();
    for vm in reader.vms_on_host(host)? {
        let left = |summary: &VmSummary| {
            summary.also_on.contains(&host) || summary.unused_memory && summary.host == Some(host)
        };
        if reader.vm_summary(vm)?.is_some_and(|summary| !summary.active && left(&summary)) {
            found.insert(vm);
        }
    }
    Ok(found)
}

/// Handles a host that did not answer. Nothing is concluded about its VMs at first. After a grace
/// period, its running VMs become `unknown`.
pub(crate) async fn unreachable(
    shared: &Arc<Shared>,
    host: HostId,
    since: Timestamp,
    error: &DriverError,
) {
    let first = {
        let mut health = locked(&shared.host_health);
        let entry = health.entry(host).or_insert_with(|| unseen(host, shared.now()));
        let first = entry.reachable || entry.error.is_none();
        if entry.reachable {
            entry.since = since;
        }
        entry.reachable = false;
        entry.error = Some(error.told());
        first
    };
    if first {
        let name = shared
            .directory()
            .hosts
            .get(&host)
            .map(|host| host.name.to_string())
            .unwrap_or_default();
        let detail = format!("cannot be asked: {}", error.told());
        shared
            .tell(EventKind::Resource {
                resource: "host".to_owned(),
                name,
                change: "error".to_owned(),
                detail,
            })
            .await;
    }
    if shared.now().since(since) < UNREACHABLE_GRACE {
        return;
    }
    // If the store cannot be read now, the next try comes soon and may succeed.
    for vm in running_on(shared, host).unwrap_or_default() {
        shared.mailboxes.deliver(shared, vm, Message::Input(Input::CouldNotAsk { since })).await;
    }
}

/// The VMs that have their placement on the host and are running according to the store.
fn running_on(shared: &Shared, host: HostId) -> Result<Vec<VmId>, ReadError> {
    let reader = shared.store.read()?;
    let mut running = Vec::new();
    for vm in reader.vms_on_host(host)? {
        if reader.vm_summary(vm)?.is_some_and(|summary| {
            summary.host == Some(host) && summary.state == State::Running && !summary.active
        }) {
            running.push(vm);
        }
    }
    Ok(running)
}
