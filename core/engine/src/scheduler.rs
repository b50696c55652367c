//! First fit over committed capacity. Proposes; the decision and the claim inside the transaction dispose.

use crate::clock;
use crate::directory::Directory;
use crate::handle::ActionRequest;
use crate::mailbox::Message;
use crate::refusals::Refusals;
use crate::shared::{Shared, locked};
use ostler_model::{Ability, Capacity, DriverName, Host, HostId, HostName, Placement, State, Verb, VmId, VmRecord};
use ostler_store::{ReadError, Reader};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, oneshot};

/// Who the scheduler is in operations and events.
pub(crate) const SCHEDULER: &str = "scheduler";
/// VMs read at once; between two pages others have their turn.
const PAGE: usize = 500;
/// Most proposals that are not answered: each is a runner with its record, and a queue for the store. The next cycle goes on behind them.
const PROPOSED_MAX: usize = 512;
/// Most VMs that are looked at in one cycle because they are to be moved; the next cycle goes on behind them.
const MOVES_LOOKED_AT: usize = 500;
/// Most that move to or from one host at once: each copies memory or disks there, and more of them only take longer together.
const MOVES_AT_ONE_HOST: usize = 8;
/// Without being woken, it looks this often: a host may have come back.
const CYCLE_EVERY: Duration = Duration::from_secs(5);
/// Most hosts told of by name for one VM.
const LINES_MAX: usize = 20;

/// What the scheduler remembers between cycles. Nothing of it needs to survive.
#[derive(Default)]
pub(crate) struct Wishes {
    wake: Notify,
    /// Proposed and not yet answered.
    proposed: Mutex<HashMap<VmId, (HostId, Capacity)>>,
    /// Proposed, and refused since the cycle that is under way began: there is room again.
    given_back: Mutex<Vec<(HostId, Capacity)>>,
    refused: Mutex<Refusals>,
    /// What it said last about VMs that stay pending, a line a host.
    said: Mutex<HashMap<VmId, Vec<String>>>,
}

impl Wishes {
    /// Something changed that may let a pending VM be placed.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// A host, a datastore or an image was changed: what was refused may be accepted now.
    pub(crate) fn changed(&self) {
        locked(&self.refused).clear();
        self.wake();
    }

    pub(crate) fn said(&self, vm: VmId) -> Vec<String> {
        locked(&self.said).get(&vm).cloned().unwrap_or_default()
    }
}

/// Runs until the daemon ends.
pub(crate) async fn run(shared: Arc<Shared>) {
    // What a run that panicked has proposed is answered to nobody.
    locked(&shared.wishes.proposed).clear();
    let mut turn = Turn::default();
    while !shared.stop.is_cancelled() {
        if let Err(error) = cycle(&shared, &mut turn).await {
            tracing::error!(error = &error as &dyn std::error::Error, "the scheduler cannot read the store");
        }
        tokio::select! {
            biased;
            () = shared.wishes.wake.notified() => {}
            () = tokio::time::sleep(CYCLE_EVERY) => {}
            () = shared.stop.cancelled() => {}
        }
    }
}

struct Offer {
    id: HostId,
    name: HostName,
    driver: DriverName,
    /// Whether a running VM can leave it and come to it.
    live: bool,
    free: Capacity,
    unreachable: Option<String>,
}

/// Where the next cycle goes on, if one could not look at all of them.
#[derive(Default)]
struct Turn {
    pending: Option<VmId>,
    moving: Option<VmId>,
}

/// Looks at every pending VM, the oldest first, and at those that are to be moved. One that ends early goes on there the next time, so
/// that those behind have their turn too.
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
        move_away(shared, &reader, offers, moves, *vm)?;
    }
    if all && began_with.is_none() {
        seen.extend(moving);
        locked(&shared.wishes.said).retain(|vm, _| seen.contains(vm));
    }
    Ok(())
}

/// Those that are looked at in this cycle: the ones behind `last` first.
fn in_turn(all: &[VmId], last: Option<VmId>) -> impl Iterator<Item = &VmId> {
    let first = last.map_or(0, |last| all.partition_point(|vm| *vm <= last));
    all[first..].iter().chain(&all[..first]).take(MOVES_LOOKED_AT)
}

/// Answers whether it came to the last of them.
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
            if locked(&shared.wishes.proposed).len() >= PROPOSED_MAX {
                return Ok(false);
            }
            // Before: one that cannot be read must not keep those behind it from their turn.
            turn.pending = Some(*vm);
            let offers = match &mut *offers {
                Some(offers) => offers,
                none => none.insert(begin_offers(shared, &reader)?),
            };
            take_back(shared, offers);
            place(shared, &reader, offers, *vm)?;
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

/// Those that were proposed in this cycle and refused meanwhile need their room no more.
fn take_back(shared: &Shared, offers: &mut [Offer]) {
    for (host, capacity) in locked(&shared.wishes.given_back).drain(..) {
        if let Some(offer) = offers.iter_mut().find(|offer| offer.id == host) {
            offer.free = offer.free.plus(capacity);
        }
    }
}

/// How many VMs move to or from each host now.
fn moves_now(reader: &Reader) -> Result<HashMap<HostId, usize>, ReadError> {
    let mut moves = HashMap::new();
    for vm in reader.active_vms()? {
        let summary = reader.vm_summary(vm)?;
        let moving = summary.filter(|summary| summary.operation.as_ref().is_some_and(|brief| brief.verb.is_migration()));
        for host in moving.iter().flat_map(|summary| summary.host.into_iter().chain(summary.also_on.iter().copied())) {
            *moves.entry(host).or_default() += 1;
        }
    }
    Ok(moves)
}

/// Has a VM moved whose operator asked for another host: live where both hosts can.
fn move_away(
    shared: &Arc<Shared>,
    reader: &Reader,
    offers: &mut [Offer],
    moves: &mut HashMap<HostId, usize>,
    vm: VmId,
) -> Result<(), ReadError> {
    if locked(&shared.wishes.proposed).contains_key(&vm) {
        return Ok(());
    }
    let Some(record) = reader.vm(vm)?.filter(|record| record.operation.is_none()) else { return Ok(()) };
    let Some(place) = &record.placement else { return Ok(()) };
    if waits_for_reconciliation(shared, &record) {
        return Ok(());
    }
    if record.state == State::Unknown {
        // To begin elsewhere what may run is an operator's word, not a matter of space.
        let line = "it is moved once it is seen again, or at once by migrate --fenced: its host cannot be asked".to_owned();
        drop(locked(&shared.wishes.said).insert(vm, vec![line]));
        return Ok(());
    }
    let here = offers.iter().any(|offer| offer.id == place.host && offer.live);
    let (directory, now) = (shared.directory(), clock::instant());
    let full = |host: HostId| moves.get(&host).is_some_and(|moves| *moves >= MOVES_AT_ONE_HOST);
    let crowded = |host| full(host).then(|| format!("{MOVES_AT_ONE_HOST} VMs move to or from it already"));
    if let Some(crowded) = crowded(place.host) {
        drop(locked(&shared.wishes.said).insert(vm, vec![format!("its host: {crowded}")]));
        return Ok(());
    }
    let why_not = |offer: &Offer| {
        let never = not_elsewhere(place, offer).or_else(|| barred(&directory, &record, offer));
        never.or_else(|| refused(shared, vm, offer.id, now)).or_else(|| crowded(offer.id))
    };
    match choose(offers, &record, &why_not) {
        Some((host, there)) => {
            let verb = match record.state {
                State::Running if here && there => Verb::MigrateLive,
                _ => Verb::Migrate,
            };
            for host in [place.host, host] {
                *moves.entry(host).or_default() += 1;
            }
            propose(shared, vm, host, record.spec.capacity(), verb);
        }
        None => drop(locked(&shared.wishes.said).insert(vm, lines(offers, &record, &why_not))),
    }
    Ok(())
}

/// A VM that came back with a backup is not proposed to any host: it would be refused, and keep the place from others.
fn waits_for_reconciliation(shared: &Shared, record: &VmRecord) -> bool {
    if record.is_unreconciled() {
        let line = "it came back with a backup, and may be running somewhere: `ostler admin restored` tells more".to_owned();
        drop(locked(&shared.wishes.said).insert(record.id, vec![line]));
    }
    record.is_unreconciled()
}

fn not_elsewhere(place: &Placement, offer: &Offer) -> Option<String> {
    if offer.id == place.host {
        return Some("it is there now".to_owned());
    }
    (offer.driver != place.driver).then(|| format!("has driver {}, not {}", offer.driver, place.driver))
}

/// Why a VM must not come to a host, whatever space there is. It would be refused, and then it must not keep it from the others.
fn barred(directory: &Directory, record: &VmRecord, offer: &Offer) -> Option<String> {
    if record.leftovers.iter().any(|left| left.place.host == offer.id) {
        return Some("what it left there is not put away yet".to_owned());
    }
    if let Some(other) = directory.same_hypervisor(record, offer.id) {
        return Some(format!("is the same hypervisor as host {}", other.name));
    }
    let other = directory.its_files_at(record, offer.id)?;
    Some(format!("is reached as host {other} is, and would see the same files"))
}

/// Why a VM was refused at a host lately.
fn refused(shared: &Shared, vm: VmId, host: HostId, now: Instant) -> Option<String> {
    locked(&shared.wishes.refused).why(vm, host, now).map(|why| format!("it was refused there a moment ago: {why}"))
}

fn place(shared: &Arc<Shared>, reader: &Reader, offers: &mut [Offer], vm: VmId) -> Result<(), ReadError> {
    if locked(&shared.wishes.proposed).contains_key(&vm) {
        return Ok(());
    }
    let Some(record) = reader.vm(vm)?.filter(|record| record.state == State::Pending) else { return Ok(()) };
    if waits_for_reconciliation(shared, &record) {
        return Ok(());
    }
    let (directory, now) = (shared.directory(), clock::instant());
    let why_not = |offer: &Offer| barred(&directory, &record, offer).or_else(|| refused(shared, vm, offer.id, now));
    match choose(offers, &record, &why_not) {
        Some((host, _)) => propose(shared, vm, host, record.spec.capacity(), Verb::Deploy),
        None => drop(locked(&shared.wishes.said).insert(vm, lines(offers, &record, &why_not))),
    }
    Ok(())
}

/// What would be done now with a VM that does not exist yet: the host it would come to, or a line a host why it would wait.
pub(crate) fn foresee(shared: &Shared, record: &VmRecord) -> Result<Vec<String>, ReadError> {
    let directory = shared.directory();
    if directory.system_storage().is_none() {
        return Ok(vec!["it would wait: there is no system datastore; add one".to_owned()]);
    }
    let mut offers = look_for_offers(shared, &shared.store.read()?)?;
    let why_not = |offer: &Offer| barred(&directory, record, offer);
    let Some((host, _)) = choose(&mut offers, record, &why_not) else { return Ok(lines(&offers, record, &why_not)) };
    let name = offers.iter().find(|offer| offer.id == host).map_or_else(|| host.to_string(), |offer| offer.name.to_string());
    Ok(vec![format!("{name}: has room, and would be chosen now")])
}

/// The offers of a cycle. What is refused after they were read is given back to them.
fn begin_offers(shared: &Shared, reader: &Reader) -> Result<Vec<Offer>, ReadError> {
    locked(&shared.wishes.given_back).clear();
    look_for_offers(shared, reader)
}

/// What each host has left, without what was proposed and is not committed; what is proposed from now on is taken off as it goes.
fn look_for_offers(shared: &Shared, reader: &Reader) -> Result<Vec<Offer>, ReadError> {
    let directory = shared.directory();
    let mut held: BTreeMap<HostId, Capacity> = reader.usage_all()?.into_iter().map(|(host, usage)| (host, usage.held)).collect();
    let proposed = locked(&shared.wishes.proposed).clone();
    for (vm, (host, capacity)) in proposed {
        if reader.vm_summary(vm)?.is_some_and(|summary| summary.held.is_none()) {
            let of = held.entry(host).or_default();
            *of = of.plus(capacity);
        }
    }
    let health = locked(&shared.host_health);
    let offer = |host: &Host| {
        let seen = health.get(&host.id);
        let driver = host.hypervisor.as_ref()?.driver.clone();
        Some(Offer {
            id: host.id,
            name: host.name.clone(),
            driver,
            live: seen.is_some_and(|seen| seen.abilities.contains(&Ability::Migrate)),
            free: host.total.minus(held.get(&host.id).copied().unwrap_or_default()).unwrap_or_default(),
            unreachable: match seen {
                Some(seen) if seen.reachable => None,
                Some(seen) => Some(seen.error.clone().unwrap_or_else(|| "it does not answer".to_owned())),
                None => Some("it was not probed yet".to_owned()),
            },
        })
    };
    Ok(directory.hosts_on().filter_map(offer).collect())
}

/// Why a VM must not come to a host that has room.
type WhyNot<'a> = &'a dyn Fn(&Offer) -> Option<String>;

/// The first host that fits, and whether a running VM can come to it.
fn choose(offers: &mut [Offer], record: &VmRecord, why_not: WhyNot<'_>) -> Option<(HostId, bool)> {
    let wanted = record.spec.capacity();
    let only = record.spec.host.as_ref();
    let asked_for = |offer: &Offer| offer.unreachable.is_none() && only.is_none_or(|only| *only == offer.name);
    let mut open = offers.iter_mut().filter(|offer| asked_for(offer) && why_not(offer).is_none());
    open.find_map(|offer| {
        offer.free = offer.free.minus(wanted)?;
        Some((offer.id, offer.live))
    })
}

/// A line a host why it does not fit.
fn lines(offers: &[Offer], record: &VmRecord, why_not: WhyNot<'_>) -> Vec<String> {
    let wanted = record.spec.capacity();
    let only = record.spec.host.as_ref();
    if offers.is_empty() {
        return vec!["there is no host that is on: add one, or switch one on".to_owned()];
    }
    let asked: Vec<&Offer> = offers.iter().filter(|offer| only.is_none_or(|only| *only == offer.name)).collect();
    if let (true, Some(only)) = (asked.is_empty(), only) {
        return vec![format!("{only}: the one host it asks for is not on")];
    }
    let mut lines: Vec<String> = asked.iter().take(LINES_MAX).map(|offer| line(offer, wanted, why_not)).collect();
    if asked.len() > LINES_MAX {
        lines.push(format!("and {} more hosts that are too full, cannot be asked or must not have it", asked.len() - LINES_MAX));
    }
    lines
}

fn line(offer: &Offer, wanted: Capacity, why_not: WhyNot<'_>) -> String {
    let Offer { name, free, unreachable, .. } = offer;
    match (unreachable, why_not(offer)) {
        (Some(error), _) => format!("{name}: cannot be asked ({error})"),
        (None, Some(why)) => format!("{name}: {why}"),
        (None, None) => format!(
            "{name}: too full (free: {} CPUs and {} MiB; needed: {} CPUs and {} MiB)",
            free.cpus(),
            free.memory_mib,
            wanted.cpus(),
            wanted.memory_mib
        ),
    }
}

/// Asks for the deployment or the move like anybody else. A refusal leaves it where it is, gives the room back, and is remembered for a
/// while.
fn propose(shared: &Arc<Shared>, vm: VmId, host: HostId, capacity: Capacity, verb: Verb) {
    let asked = ActionRequest { host: Some(host), enforce: true, ..ActionRequest::of(verb, SCHEDULER) };
    let (reply, answer) = oneshot::channel();
    locked(&shared.wishes.proposed).insert(vm, (host, capacity));
    if let Err(error) = shared.mailboxes.ask(shared, vm, Message::Request(asked, None, reply)) {
        tracing::debug!(%vm, error = &error as &dyn std::error::Error, "the proposal found no place");
        locked(&shared.wishes.proposed).remove(&vm);
        return;
    }
    let task = Arc::clone(shared);
    shared.spawn(async move {
        let answered = answer.await;
        let why = match answered {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error.to_string()),
            // Its runner panicked, or the daemon ends.
            Err(_) => Some("the daemon failed while it decided; its log tells more".to_owned()),
        };
        // Proposed again at once only if this host is left out: a refusal that nobody remembers would be repeated without a pause.
        let others_now = match why {
            None => {
                locked(&task.wishes.said).remove(&vm);
                false
            }
            Some(why) => {
                locked(&task.wishes.said).insert(vm, vec![why.clone()]);
                locked(&task.wishes.given_back).push((host, capacity));
                locked(&task.wishes.refused).keep(vm, host, why, clock::instant())
            }
        };
        // Those behind the last one that was proposed have waited for a place.
        let half_way = {
            let mut proposed = locked(&task.wishes.proposed);
            proposed.remove(&vm);
            proposed.len() == PROPOSED_MAX / 2
        };
        if half_way || others_now {
            task.wishes.wake();
        }
    });
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
        assert_eq!(in_turn(&all[..3], Some(VmId(2))).collect::<Vec<_>>(), [&VmId(3), &VmId(1), &VmId(2)]);
        assert_eq!(in_turn(&[], Some(VmId(2))).count(), 0);
    }
}
