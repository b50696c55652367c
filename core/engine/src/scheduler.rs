//! First fit over committed capacity. Proposes; the decision and the claim inside the transaction dispose.

use crate::handle::ActionRequest;
use crate::mailbox::Message;
use crate::shared::{Shared, locked};
use ostler_model::{Capacity, Host, HostId, State, Verb, VmId, VmRecord};
use ostler_store::{ReadError, Reader};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// Who the scheduler is in operations and events.
pub(crate) const SCHEDULER: &str = "scheduler";
/// Most VMs looked at in one cycle; the next cycle goes on.
const CYCLE_MAX: usize = 1000;
/// Without being woken, it looks this often: a host may have come back.
const CYCLE_EVERY: Duration = Duration::from_secs(5);

/// What the scheduler remembers between cycles. Nothing of it needs to survive.
#[derive(Default)]
pub(crate) struct Wishes {
    wake: Notify,
    /// Proposed and not yet answered.
    proposed: Mutex<HashSet<VmId>>,
    /// What it said last about VMs that stay pending, a line a host.
    said: Mutex<HashMap<VmId, Vec<String>>>,
}

impl Wishes {
    /// Something changed that may let a pending VM be placed.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    pub(crate) fn said(&self, vm: VmId) -> Vec<String> {
        locked(&self.said).get(&vm).cloned().unwrap_or_default()
    }
}

/// Runs until the daemon ends.
pub(crate) async fn run(shared: Arc<Shared>) {
    while !shared.stop.is_cancelled() {
        if let Err(error) = cycle(&shared) {
            tracing::error!(error = &error as &dyn std::error::Error, "the scheduler cannot read the store");
        }
        tokio::select! {
            () = shared.wishes.wake.notified() => {}
            () = tokio::time::sleep(CYCLE_EVERY) => shared.prune_waiters(),
            () = shared.stop.cancelled() => {}
        }
    }
}

struct Offer {
    host: Host,
    free: Option<Capacity>,
    reachable: bool,
    why_not: String,
}

fn cycle(shared: &Arc<Shared>) -> Result<(), ReadError> {
    let reader = shared.store.read()?;
    let pending = reader.vms_in_state(State::Pending, None, CYCLE_MAX)?;
    let alive: HashSet<VmId> = pending.iter().copied().collect();
    locked(&shared.wishes.said).retain(|vm, _| alive.contains(vm));
    if pending.is_empty() {
        return Ok(());
    }
    let mut offers = offers(shared, &reader)?;
    for vm in pending {
        if locked(&shared.wishes.proposed).contains(&vm) {
            continue;
        }
        let Some(record) = reader.vm(vm)?.filter(|record| record.state == State::Pending) else { continue };
        match choose(&mut offers, &record) {
            Ok(host) => propose(shared, vm, host),
            Err(lines) => drop(locked(&shared.wishes.said).insert(vm, lines)),
        }
    }
    Ok(())
}

/// What each host has left, with what was proposed in this cycle taken off as it goes.
fn offers(shared: &Shared, reader: &Reader) -> Result<Vec<Offer>, ReadError> {
    let directory = shared.directory();
    let usage: BTreeMap<HostId, ostler_model::Usage> = reader.usage_all()?;
    let health = locked(&shared.host_health);
    Ok(directory
        .hosts_on()
        .map(|host| {
            let held = usage.get(&host.id).map(|usage| usage.held).unwrap_or_default();
            let seen = health.get(&host.id);
            Offer {
                host: host.clone(),
                free: host.total.minus(held),
                reachable: seen.is_some_and(|seen| seen.reachable),
                why_not: seen.and_then(|seen| seen.error.clone()).unwrap_or_else(|| "it was not probed yet".to_owned()),
            }
        })
        .collect())
}

/// The first host that fits, or a line a host why it does not.
fn choose(offers: &mut [Offer], record: &VmRecord) -> Result<HostId, Vec<String>> {
    let wanted = record.spec.capacity();
    let mut lines = Vec::new();
    for offer in offers.iter_mut() {
        let name = &offer.host.name;
        if record.spec.host.as_ref().is_some_and(|only| only != name) {
            lines.push(format!("{name}: not the host it asks for"));
        } else if !offer.reachable {
            lines.push(format!("{name}: cannot be asked ({})", offer.why_not));
        } else {
            match offer.free.and_then(|free| free.minus(wanted)) {
                Some(left) => {
                    offer.free = Some(left);
                    return Ok(offer.host.id);
                }
                None => lines.push(lacking(offer, wanted)),
            }
        }
    }
    if lines.is_empty() {
        lines.push("there is no host that is on: add one, or switch one on".to_owned());
    }
    Err(lines)
}

fn lacking(offer: &Offer, wanted: Capacity) -> String {
    let free = offer.free.unwrap_or_default();
    format!(
        "{}: too full (free: {} MiB and {} milli-CPUs; wanted: {} MiB and {})",
        offer.host.name, free.memory_mib, free.cpu_milli, wanted.memory_mib, wanted.cpu_milli
    )
}

/// Asks for the deployment like anybody else. A refusal leaves it pending, and the next cycle sees why.
fn propose(shared: &Arc<Shared>, vm: VmId, host: HostId) {
    let asked = ActionRequest {
        verb: Verb::Deploy,
        by: SCHEDULER.to_owned(),
        host: Some(host),
        enforce: true,
        force: false,
        if_version: None,
    };
    let (reply, answer) = oneshot::channel();
    if let Err(error) = shared.mailboxes.ask(shared, vm, Message::Request(asked, None, reply)) {
        tracing::debug!(%vm, error = &error as &dyn std::error::Error, "the proposal found no place");
        return;
    }
    locked(&shared.wishes.proposed).insert(vm);
    let shared = Arc::clone(shared);
    let tracker = shared.tasks.clone();
    tracker.spawn(async move {
        let answered = answer.await;
        locked(&shared.wishes.proposed).remove(&vm);
        match answered {
            Ok(Ok(_)) => drop(locked(&shared.wishes.said).remove(&vm)),
            Ok(Err(error)) => drop(locked(&shared.wishes.said).insert(vm, vec![error.to_string()])),
            Err(_) => {}
        }
    });
}
