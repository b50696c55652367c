//! Collects what each host offers, and asks for the proposed actions
//! ([`ostler_lifecycle::propose`]) with ordinary requests.

use crate::bridges::interfaces_seen;
use crate::clock;
use crate::directory::Directory;
use crate::faults;
use crate::handle::{ActionRequest, EngineError};
use crate::hooks::Sabotage;
use crate::locked::locked;
use crate::message::Message;
use crate::refusals::Refusals;
use crate::shared::Shared;
use ostler_lifecycle::{Candidate, Declined, Offer, Proposal, Scene, Waits, WhyNot, propose};
use ostler_model::{Ability, Capacity, Host, HostId, State, Unfit, Verb, VmId, VmRecord};
use ostler_store::{ReadError, Reader};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// The name of the scheduler in operations and events.
pub(crate) const SCHEDULER: &str = "scheduler";
/// How many VMs are read at once. Between two pages, other tasks have their turn.
const PAGE: usize = 500;
/// How many proposals may wait for an answer. Each needs a runner with its record, and a place in
/// the store's queue. The next cycle goes on behind them.
const PROPOSED_MAX: usize = 512;
/// How many VMs that are to be moved are looked at in one cycle. The next cycle goes on behind
/// them.
const MOVES_LOOKED_AT: usize = 500;
/// If nothing wakes the scheduler, it looks again after this time: a host may have come back.
const CYCLE_EVERY: Duration = Duration::from_secs(5);

/// The data that the scheduler keeps between cycles. Nothing of it needs to survive a restart.
#[derive(Default)]
pub(crate) struct SchedulerState {
    wake: Notify,
    /// Proposals that are not answered yet.
    proposed: Mutex<HashMap<VmId, (HostId, Capacity)>>,
    /// Capacity of proposals that were refused since the current cycle began. It is free again.
    given_back: Mutex<Vec<(HostId, Capacity)>>,
    refused: Mutex<Refusals>,
    /// The latest reasons why VMs stay pending, one per host.
    said: Mutex<HashMap<VmId, Vec<Waits>>>,
}

impl SchedulerState {
    /// Something changed, so a pending VM may be placed now.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// A host, a datastore or an image was changed. So a proposal that was refused may be accepted
    /// now.
    pub(crate) fn changed(&self) {
        locked(&self.refused).clear();
        self.wake();
    }

    pub(crate) fn said(&self, vm: VmId) -> Vec<Waits> {
        locked(&self.said).get(&vm).cloned().unwrap_or_default()
    }
}

/// Runs until the daemon ends.
pub(crate) async fn run(shared: Arc<Shared>) {
    // If an earlier run panicked, nobody receives the answers to its proposals.
    locked(&shared.scheduler.proposed).clear();
    let mut turn = Turn::default();
    while !shared.stop.is_cancelled() {
        if let Err(error) = cycle(&shared, &mut turn).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the scheduler cannot read the store"
            );
        }
        tokio::select! {
            biased;
            () = shared.scheduler.wake.notified() => {}
            () = tokio::time::sleep(CYCLE_EVERY) => {}
            () = shared.stop.cancelled() => {}
        }
    }
}

/// Where the next cycle goes on, if one cycle could not look at all VMs.
#[derive(Default)]
struct Turn {
    pending: Option<VmId>,
    moving: Option<VmId>,
}

/// Looks at every pending VM, the oldest first, and at the VMs that are to be moved. If a cycle
/// ends early, the next one goes on there, so that the VMs behind have their turn too.
async fn cycle(shared: &Arc<Shared>, turn: &mut Turn) -> Result<(), ReadError> {
    let mut seen: HashSet<VmId> = HashSet::new();
    let mut offers = None;
    let began_with = turn.pending;
    let all = place_pending(shared, turn, &mut offers, &mut seen).await?;
    let reader = shared.store.read()?;
    let moving = reader.vms_to_resched()?;
    let mut moves = None;
    for vm in in_turn(&moving, turn.moving) {
        turn.moving = Some(*vm);
        let offers = match &mut offers {
            Some(offers) => offers,
            none => none.insert(begin_offers(shared, &reader)?),
        };
        let moves = match &mut moves {
            Some(moves) => moves,
            none => none.insert(moves_now(&reader)?),
        };
        take_back(shared, offers);
        for host in place(shared, &reader, offers, Some(moves), *vm)?.into_iter().flatten() {
            *moves.entry(host).or_default() += 1;
        }
    }
    if all && began_with.is_none() {
        seen.extend(moving);
        locked(&shared.scheduler.said).retain(|vm, _| seen.contains(vm));
    }
    Ok(())
}

/// The VMs to move that are looked at in this cycle. The VMs behind `last` come first.
fn in_turn(all: &[VmId], last: Option<VmId>) -> impl Iterator<Item = &VmId> {
    let first = last.map_or(0, |last| all.partition_point(|vm| *vm <= last));
    all[first..].iter().chain(&all[..first]).take(MOVES_LOOKED_AT)
}

/// Answers whether it has looked at all pending VMs.
async fn place_pending(
    shared: &Arc<Shared>,
    turn: &mut Turn,
    offers: &mut Option<Vec<Offer>>,
    seen: &mut HashSet<VmId>,
) -> Result<bool, ReadError> {
    loop {
        let reader = shared.store.read()?;
        let page = reader.vms_in_state(State::Pending, turn.pending, PAGE)?;
        for vm in &page {
            if locked(&shared.scheduler.proposed).len() >= PROPOSED_MAX {
                return Ok(false);
            }
            // This is set before the VM is read: if it cannot be read, the VMs behind it must still
            // have their turn.
            turn.pending = Some(*vm);
            let offers = match &mut *offers {
                Some(offers) => offers,
                none => none.insert(begin_offers(shared, &reader)?),
            };
            take_back(shared, offers);
            place(shared, &reader, offers, None, *vm)?;
            seen.insert(*vm);
        }
        if page.len() < PAGE {
            turn.pending = None;
            return Ok(true);
        }
        if shared.stop.is_cancelled() {
            return Ok(false);
        }
        drop(reader);
        tokio::task::yield_now().await;
    }
}

/// Gives back the capacity of VMs that were proposed in this cycle and have been refused meanwhile.
fn take_back(shared: &Shared, offers: &mut [Offer]) {
    for (host, capacity) in locked(&shared.scheduler.given_back).drain(..) {
        if let Some(offer) = offers.iter_mut().find(|offer| offer.host == host) {
            offer.free = offer.free.plus(capacity);
        }
    }
}

/// How many VMs migrate from or to each host now.
fn moves_now(reader: &Reader) -> Result<HashMap<HostId, usize>, ReadError> {
    let mut moves = HashMap::new();
    for vm in reader.active_vms()? {
        let summary = reader.vm_summary(vm)?;
        let moving = summary.filter(|summary| {
            summary.operation.as_ref().is_some_and(|brief| brief.verb.is_migration())
        });
        for host in moving
            .iter()
            .flat_map(|summary| summary.host.into_iter().chain(summary.also_on.iter().copied()))
        {
            *moves.entry(host).or_default() += 1;
        }
    }
    Ok(moves)
}

/// One VM and the hosts that it could go to, in one cycle.
struct View<'a> {
    shared: &'a Shared,
    directory: Arc<Directory>,
    record: &'a VmRecord,
    moves: Option<&'a HashMap<HostId, usize>>,
}

impl Scene for View<'_> {
    fn has_storage(&self) -> bool {
        self.directory.system_storage().is_some()
    }

    fn candidate(&self, host: HostId) -> Option<Candidate> {
        let interfaces = if self.record.spec.nics.is_empty() {
            None
        } else {
            interfaces_seen(self.shared, host)
        };
        self.directory
            .candidate(self.record, host)
            .map(|candidate| Candidate { interfaces, ..candidate })
    }

    fn refused(&self, host: HostId) -> Option<Declined> {
        locked(&self.shared.scheduler.refused).why(self.record.id, host, clock::instant()).cloned()
    }

    fn moves(&self, host: HostId) -> usize {
        self.moves.and_then(|moves| moves.get(&host)).copied().unwrap_or_default()
    }
}

/// Asks for the action that is proposed for a VM, or remembers why there is none. For a move,
/// answers the two hosts.
fn place(
    shared: &Arc<Shared>,
    reader: &Reader,
    offers: &mut [Offer],
    moves: Option<&HashMap<HostId, usize>>,
    vm: VmId,
) -> Result<Option<[HostId; 2]>, ReadError> {
    if locked(&shared.scheduler.proposed).contains_key(&vm) {
        return Ok(None);
    }
    let Some(record) = reader.vm(vm)? else { return Ok(None) };
    match propose(
        &faults::as_found(shared.config.hooks.sabotage, &record),
        offers,
        &View { shared, directory: shared.directory(), record: &record, moves },
    ) {
        Proposal::Nothing => Ok(None),
        Proposal::Wait(lines) => {
            let lacks = |line: &Waits| match line {
                Waits::Host(name, WhyNot::Unfit(Unfit::NoBridge(_))) => Some(name.clone()),
                _ => None,
            };
            // The bridge may be made there while the VM waits for it.
            for name in lines.iter().filter_map(lacks) {
                offers
                    .iter()
                    .filter(|offer| offer.name == name)
                    .for_each(|offer| shared.probes.want(offer.host));
            }
            drop(locked(&shared.scheduler.said).insert(vm, lines));
            Ok(None)
        }
        Proposal::Go { host, verb } => {
            ask(shared, vm, host, record.spec.capacity(), verb);
            Ok(record.placement.map(|place| [place.host, host]))
        }
    }
}

/// The action that the scheduler would take now for a VM that does not exist yet: the host that it
/// would choose, or the reasons why the VM would wait, one per host.
pub(crate) fn foresee(shared: &Shared, record: &VmRecord) -> Result<Vec<Waits>, ReadError> {
    let mut offers = look_for_offers(shared, &shared.store.read()?)?;
    let view = View { shared, directory: shared.directory(), record, moves: None };
    Ok(match propose(record, &mut offers, &view) {
        Proposal::Nothing => Vec::new(),
        Proposal::Wait(lines) => lines,
        Proposal::Go { host, .. } => vec![Waits::WouldGo(host)],
    })
}

/// Reads the offers at the start of a cycle. Capacity that is refused after this is given back to
/// them.
fn begin_offers(shared: &Shared, reader: &Reader) -> Result<Vec<Offer>, ReadError> {
    locked(&shared.scheduler.given_back).clear();
    look_for_offers(shared, reader)
}

/// The capacity that each host has left, without the proposals that are not committed. Later
/// proposals are subtracted one by one.
fn look_for_offers(shared: &Shared, reader: &Reader) -> Result<Vec<Offer>, ReadError> {
    let directory = shared.directory();
    let mut held: BTreeMap<HostId, Capacity> =
        reader.usage_all()?.into_iter().map(|(host, usage)| (host, usage.held)).collect();
    let proposed = locked(&shared.scheduler.proposed).clone();
    for (vm, (host, capacity)) in proposed {
        if reader.vm_summary(vm)?.is_some_and(|summary| summary.host.is_none()) {
            let of = held.entry(host).or_default();
            *of = of.plus(capacity);
        }
    }
    let health = locked(&shared.host_health);
    let offer = |host: &Host| {
        let seen = health.get(&host.id);
        let driver = host.hypervisor.as_ref()?.driver.clone();
        Some(Offer {
            host: host.id,
            name: host.name.clone(),
            driver,
            live: seen.is_some_and(|seen| seen.abilities.contains(&Ability::Migrate)),
            free: host
                .total
                .minus(held.get(&host.id).copied().unwrap_or_default())
                .unwrap_or_default(),
            silent: match seen {
                Some(seen) if seen.reachable => None,
                Some(seen) => {
                    Some(seen.error.clone().unwrap_or_else(|| "it does not answer".to_owned()))
                }
                None => Some("it was not probed yet".to_owned()),
            },
        })
    };
    Ok(directory.hosts_on().filter_map(offer).collect())
}

/// Asks for the deployment or the move with an ordinary request. If it is refused, the VM stays
/// where it is, its capacity is free again, and the refusal is remembered for a while.
fn ask(shared: &Arc<Shared>, vm: VmId, host: HostId, capacity: Capacity, verb: Verb) {
    let asked =
        ActionRequest { host: Some(host), enforce: true, ..ActionRequest::of(verb, SCHEDULER) };
    let (reply, answer) = oneshot::channel();
    locked(&shared.scheduler.proposed).insert(vm, (host, capacity));
    if let Err(error) = shared.mailboxes.ask(shared, vm, Message::Request(asked, None, reply)) {
        tracing::debug!(%vm, error = &error as &dyn std::error::Error, "the proposal found no place");
        locked(&shared.scheduler.proposed).remove(&vm);
        return;
    }
    let task = Arc::clone(shared);
    shared.spawn(async move {
        let answered = answer.await;
        let why = match answered {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(declined(error)),
            // The VM's runner panicked, or the daemon ends.
            Err(_) => Some(Declined::Failed(
                "the daemon failed while it decided; its log tells more".to_owned(),
            )),
        };
        // The VM may be proposed again at once only if this host is left out. A refusal that is not
        // remembered would be repeated without a pause.
        let others_now = match why {
            None => {
                locked(&task.scheduler.said).remove(&vm);
                false
            }
            Some(why) if task.config.hooks.sabotage == Sabotage::RefusalsForgotten => {
                locked(&task.scheduler.said).insert(vm, vec![Waits::Refused(why)]);
                false
            }
            Some(why) => {
                locked(&task.scheduler.said).insert(vm, vec![Waits::Refused(why.clone())]);
                locked(&task.scheduler.given_back).push((host, capacity));
                locked(&task.scheduler.refused).keep(vm, host, why, clock::instant())
            }
        };
        // The VMs behind the last proposed one have waited for a place.
        let half_way = {
            let mut proposed = locked(&task.scheduler.proposed);
            proposed.remove(&vm);
            proposed.len() == PROPOSED_MAX / 2
        };
        if half_way || others_now {
            task.scheduler.wake();
        }
    });
}

/// Why a proposal was not accepted.
fn declined(error: EngineError) -> Declined {
    match error {
        EngineError::Refused(refusal) => Declined::Refused(refusal),
        EngineError::Resource(refused) => Declined::Resource(refused),
        EngineError::Taken(refused) => Declined::Taken(refused),
        error => Declined::Failed(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_are_to_be_moved_each_has_its_turn() {
        let all: Vec<VmId> = (1..=1_300).map(VmId).collect();
        let (mut last, mut looked_at) = (None, HashSet::new());
        for _cycle in 0..3 {
            for vm in in_turn(&all, last) {
                looked_at.insert(*vm);
                last = Some(*vm);
            }
        }
        assert_eq!(looked_at.len(), all.len());
        assert_eq!(
            in_turn(&all[..3], Some(VmId(2))).collect::<Vec<_>>(),
            [&VmId(3), &VmId(1), &VmId(2)]
        );
        assert_eq!(in_turn(&[], Some(VmId(2))).count(), 0);
    }
}
