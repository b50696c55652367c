//! The promises of the design, which must hold after each step: nothing is lost, nothing is
//! doubled, nothing is stuck.

use crate::run::Sim;
use crate::store::Commit;
use crate::world::{Being, Site, World};
use ostler_lifecycle::{Decision, Input, Summary, why};
use ostler_model::{
    Call, Capacity, EffectClass, EffectKey, HostId, ImageState, Observation, Power, PowerReason,
    State, StateKind, Subject, Verb, VmId, VmRecord,
};
use std::collections::BTreeSet;

/// A broken promise, as a sentence.
pub(crate) type Violation = String;

macro_rules! must {
    ($holds:expr, $($words:tt)*) => {
        if !$holds { return Err(format!($($words)*)); }
    };
}

/// Checks what one decision does.
pub(crate) fn decision(before: &VmRecord, input: &Input, made: &Decision) -> Result<(), Violation> {
    let (after, id) = (&made.record, before.id);
    if made.changed {
        must!(
            after.version == before.version.next(),
            "version: VM {id} went from {} to {}",
            before.version,
            after.version
        );
    } else {
        must!(
            made.effects.is_empty() && made.settled.is_empty() && made.journal.is_empty(),
            "unchanged, but VM {id} does something"
        );
        must!(made.images.is_empty(), "unchanged, but VM {id} changes images");
    }
    for key in &made.settled {
        must!(
            before.open.iter().any(|open| open.key == *key),
            "VM {id}: settled what was not open: {key}"
        );
    }
    for key in &made.cancels {
        must!(
            after.open.iter().any(|open| open.key == *key && open.cancelled),
            "VM {id}: cancels what is not open: {key}"
        );
    }
    if let (Input::Request(_), Some(answer)) = (input, &made.answer) {
        must!(answer.state == after.state, "VM {id}: the answer is not the truth");
        let planned = matches!(input, Input::Request(asked) if asked.schedule.is_some());
        must!(planned || !answer.already || !made.changed, "VM {id}: already so, but changed");
    }
    must!(
        after.issued >= before.issued && after.placed >= before.placed,
        "VM {id}: generations went back"
    );
    must!(after.placed <= after.issued, "VM {id}: placed above issued");
    must!(after.step >= before.step, "VM {id}: the step counter went back");
    for effect in &made.effects {
        must!(effect.patience.0 > 0, "VM {id}: a call without patience");
        must!(
            after.open.iter().any(|open| open.key == effect.key),
            "outbox: VM {id} sends what is not open: {}",
            effect.key
        );
    }
    Ok(())
}

/// Checks a VM whenever its record was committed.
pub(crate) fn committed(
    sim: &Sim,
    before: Option<&VmRecord>,
    commit: &Commit,
) -> Result<(), Violation> {
    let record = &*commit.next;
    let id = record.id;
    let rows = &sim.store.rows;
    let open: BTreeSet<&EffectKey> = record.open.iter().map(|open| &open.key).collect();
    must!(open.len() == record.open.len(), "outbox: VM {id} has one identity open twice");
    let mirrors = rows
        .outbox
        .get(&id)
        .map_or(open.is_empty(), |outbox| open.iter().copied().eq(outbox.keys()));
    must!(mirrors, "outbox: it does not mirror the open calls of VM {id}");
    let sent = record.open.iter().all(|open| sim.executor.is_at(&open.key));
    must!(sent, "stuck: an open call of VM {id} was never sent");
    let mutating = record
        .open
        .iter()
        .filter(|open| open.call.class() != EffectClass::Question && open.call != Call::Destroy);
    must!(mutating.count() <= 1, "doubled: VM {id} has two mutating calls at a time");
    slot(record)?;
    let nowhere = Being::default();
    let being = sim.world.beings.get(&id).unwrap_or(&nowhere);
    if let (true, Some(place), None) = (
        commit.seen && being.stamp == being.settled && !sim.world.aged,
        &record.placement,
        &record.other,
    ) {
        // Nothing has happened to the VM since its last operation ended. So the monitor must have
        // seen what is there.
        agrees(sim, record, place.host)?;
    }
    if record.version.0.is_multiple_of(8)
        || before.is_none_or(|before| before.state != record.state)
    {
        explained(record)?;
    }
    if sim.world.aged {
        // The record does not know what was done in the lost time.
        return Ok(());
    }
    places(record, being)?;
    rest(record, being)?;
    full(sim, record)
}

/// A VM has at most one operation, and an operation waits only for something that will come.
fn slot(record: &VmRecord) -> Result<(), Violation> {
    let id = record.id;
    match &record.operation {
        None => {
            must!(
                record.state.kind() != StateKind::Transient,
                "stuck: VM {id} is {} without an operation",
                record.state
            );
            must!(
                record.open.is_empty(),
                "open: VM {id} rests in {} with calls open",
                record.state
            );
            must!(
                record.failure.is_some() == (record.state == State::Failed),
                "VM {id}: a failure in {}",
                record.state
            );
        }
        Some(active) => {
            let runs = matches!(active.verb, Verb::Reboot | Verb::RebootHard) || active.undoing;
            must!(
                runs || record.state.kind() == StateKind::Transient,
                "VM {id} is {} with operation {}",
                record.state,
                active.verb
            );
            must!(
                !record.open.is_empty() || record.step_due().is_some(),
                "stuck: VM {id}: {:?} waits for nothing",
                active.phase
            );
        }
    }
    Ok(())
}

/// The engine can say what a VM waits for.
fn explained(record: &VmRecord) -> Result<(), Violation> {
    let why = why(record);
    let summed_up = matches!(why.summary, Summary::AtWork { .. }) == record.operation.is_some();
    must!(summed_up, "why: VM {} is said to be {:?}", record.id, why.summary);
    must!(
        !why.waits_for.is_empty() || record.operation.is_none(),
        "why: VM {} works, and waits for nothing",
        record.id
    );
    must!(
        why.last_error.is_some() || record.state != State::Failed,
        "why: VM {} failed, and why is not said",
        record.id
    );
    let stuck = why.can.is_empty() && record.state != State::Done;
    must!(!stuck, "why: nothing can be done about VM {} in {}", record.id, record.state);
    Ok(())
}

/// Domains and files are only where the record says that they may be.
fn places(record: &VmRecord, being: &Being) -> Result<(), Violation> {
    let id = record.id;
    let at = |host: HostId| {
        let left = record.leftovers.iter().any(|left| left.place.host == host);
        let place = record.placement.iter().chain(&record.other).any(|place| place.host == host);
        left || place
    };
    for (host, domain) in &being.domains {
        let known = at(*host) || domain.identity.is_none();
        must!(
            known,
            "leak: VM {id} is {} and has a domain on host {host} that its record does not know of",
            record.state
        );
    }
    for (site, _) in being.folders.iter().filter(|(_, folder)| !folder.is_empty()) {
        let left = |host: HostId| {
            record.leftovers.iter().any(|left| left.files && left.place.host == host)
        };
        let of = |place: &Option<ostler_model::Placement>, host| {
            place.as_ref().is_some_and(|place| place.host == host)
        };
        let known = match site {
            Site::Home => record.files.home,
            Site::Shared => {
                record.files.host
                    || record.files.home
                    || record.leftovers.iter().any(|left| left.files)
            }
            Site::Host(host) => {
                record.files.host && of(&record.placement, *host)
                    || record.files.other && of(&record.other, *host)
                    || left(*host)
            }
        };
        must!(
            known,
            "leak: VM {id} is {} and has files at {site:?} that its record does not know of",
            record.state
        );
    }
    Ok(())
}

/// Every disk and card that is plugged into a guest is in its record. Otherwise an operator could
/// not unplug it, and its image would not stay held.
fn plugged(record: &VmRecord, being: &Being, host: HostId) -> Result<(), Violation> {
    let lives =
        |domain: &&crate::world::Domain| domain.identity.is_some() && domain.power != Power::Off;
    let Some(domain) = being.domains.get(&host).filter(lives) else { return Ok(()) };
    for file in &domain.disks {
        let known = record.disks.iter().any(|disk| disk.file.as_str() == file);
        must!(
            known,
            "hardware: VM {} has {file} plugged in, and its record does not know it",
            record.id
        );
    }
    for mac in &domain.nics {
        let known = record
            .spec
            .nics
            .iter()
            .any(|nic| nic.mac.as_ref().is_some_and(|known| known.to_string() == *mac));
        must!(
            known,
            "hardware: VM {} has card {mac} plugged in, and its record does not know it",
            record.id
        );
    }
    Ok(())
}

/// Checks what a state of rest promises.
fn rest(record: &VmRecord, being: &Being) -> Result<(), Violation> {
    let id = record.id;
    if record.operation.is_some() {
        return Ok(());
    }
    match record.state {
        State::Done => {
            must!(
                record.placement.is_none() && record.other.is_none(),
                "capacity: VM {id} is done, and has a place"
            );
            must!(
                record.history.iter().all(|stay| stay.to.is_some()),
                "VM {id} is done, and its stay has no end"
            );
            let ours = being.domains.values().any(|domain| domain.identity.is_some());
            let left = record.leftovers.is_empty()
                && (ours || being.folders.values().any(|folder| !folder.is_empty()));
            must!(!left, "leak: VM {id} is done, and something is left");
        }
        State::Pending | State::Hold | State::Stopped | State::Undeployed => {
            must!(
                record.placement.is_none() && record.other.is_none(),
                "capacity: VM {id} is {}, and has a place",
                record.state
            );
            must!(!record.files.host, "leak: VM {id} is {}, and has files on a host", record.state);
            if matches!(record.state, State::Stopped | State::Undeployed) {
                complete(record, being, HostId::FRONT_END)?;
            }
            must!(
                record.recovery.is_none() || record.usable_recovery().is_some(),
                "VM {id}: memory of no use in {}",
                record.state
            );
        }
        State::Running | State::Suspended | State::Poweroff | State::Unknown => {
            let Some(place) = &record.placement else {
                return Err(format!("capacity: VM {id} is {} without a place", record.state));
            };
            let saved = record.recovery.is_some()
                && matches!(record.state, State::Running | State::Poweroff);
            must!(!saved, "VM {id} is {} with saved memory", record.state);
            if record.other.is_none() {
                plugged(record, being, place.host)?;
                complete(record, being, place.host)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// All disks, and the memory file to restore, are there, and the disks are as new as they can be.
fn complete(record: &VmRecord, being: &Being, host: HostId) -> Result<(), Violation> {
    let (id, site) = (record.id, World::site(record, host));
    let folder = being.folders.get(&site);
    for disk in &record.disks {
        let name = disk.file.to_string();
        let newest = being.newest.get(&name).copied().unwrap_or(0);
        let file = folder.and_then(|folder| folder.disks.get(&name));
        let there = file.is_some_and(|file| file.complete && file.version == newest);
        must!(
            there,
            "lost: VM {id} is {} and {name} at {site:?} is {file:?}, the newest is {newest}",
            record.state
        );
    }
    if let Some(file) = record.usable_recovery() {
        let there = folder.is_some_and(|folder| folder.memory.contains_key(file.name.as_str()));
        must!(there, "lost: VM {id} is {} and its memory is not at {site:?}", record.state);
    }
    Ok(())
}

/// The VMs on a host hold no more than it has, in runs where every request asks to enforce that.
fn full(sim: &Sim, record: &VmRecord) -> Result<(), Violation> {
    if !sim.strict {
        return Ok(());
    }
    for place in record.placement.iter().chain(&record.other) {
        let held = sim.store.rows.held.get(&place.host).copied().unwrap_or_default();
        let total = sim.store.rows.total.get(&place.host).copied().unwrap_or_default();
        must!(
            held.fits(total),
            "capacity: host {} has {total:?} and is to hold {held:?}",
            place.host
        );
    }
    Ok(())
}

/// Checks what must hold at any time. It reads everything, so it runs seldom.
pub(crate) fn all(sim: &Sim) -> Result<(), Violation> {
    if let Some(differs) = sim.store.rows.books_differ() {
        return Err(differs);
    }
    let now = sim.now;
    for record in sim.store.rows.records.values() {
        let late = record.step_due().is_some_and(|due| now.since(due).0 > 600_000);
        must!(
            !late || !sim.up || sim.now.since(sim.started).0 < 700_000,
            "stuck: VM {} was due ten minutes ago",
            record.id
        );
    }
    images(sim)
}

/// A locked image belongs to the one disk that becomes it. An image that is ready was written.
fn images(sim: &Sim) -> Result<(), Violation> {
    let mut owned = BTreeSet::new();
    for record in sim.store.rows.records.values() {
        owned.extend(
            record
                .disks
                .iter()
                .filter_map(|disk| disk.save_as.as_ref())
                .map(|becomes| becomes.image),
        );
        let subjects = record
            .operation
            .iter()
            .map(|active| &active.subject)
            .chain(record.failure.iter().map(|failure| &failure.subject));
        for subject in subjects {
            if let Subject::DiskImage { becomes, .. } = subject {
                owned.insert(becomes.image);
            }
        }
    }
    for image in sim.store.rows.images.values() {
        must!(
            image.state != ImageState::Locked || owned.contains(&image.id),
            "leak: image {} is locked by nobody",
            image.id
        );
        let made = image.state != ImageState::Ready || sim.world.images.contains(&image.id);
        must!(made, "lost: image {} is ready, and was never written", image.id);
    }
    Ok(())
}

/// An operation that was answered is not forgotten.
pub(crate) fn after_crash(sim: &Sim) -> Result<(), Violation> {
    for (operation, vm) in &sim.acked {
        let known = sim.store.rows.operations.contains_key(operation);
        must!(
            known,
            "lost: operation {operation} of VM {vm} was answered, and the store does not know it"
        );
    }
    Ok(())
}

/// After everything has calmed down, every VM rests as its record says.
pub(crate) fn at_rest(sim: &Sim) -> Result<(), Violation> {
    for record in sim.store.rows.records.values() {
        let id = record.id;
        must!(
            record.operation.is_none() && record.open.is_empty(),
            "stuck: VM {id} is {}: {:?}",
            record.state,
            record.operation
        );
        let Some(place) = &record.placement else { continue };
        // A VM whose operation failed half-way waits for a person.
        let apart = record.other.is_some() && record.state != State::Failed;
        if apart && sim.world.aged {
            // Neither host has the VM. Only the lost time knew which of the two sets of disks is
            // the newest.
            continue;
        }
        must!(!apart, "stuck: VM {id} is {} between two hosts that both answer", record.state);
        agrees(sim, record, place.host)?;
        let folder = sim
            .world
            .beings
            .get(&id)
            .and_then(|being| being.folders.get(&World::site(record, place.host)));
        let unused = folder.into_iter().flat_map(|folder| folder.memory.keys()).next();
        // No record knows a memory file that was saved in the lost time. It is removed with the
        // VM's folder.
        let known = record.state != State::Running || sim.world.aged || unused.is_none();
        must!(known, "leak: VM {id} runs, and {unused:?} is of no use to anybody");
    }
    Ok(())
}

/// A state of rest agrees with the domain.
fn agrees(sim: &Sim, record: &VmRecord, host: HostId) -> Result<(), Violation> {
    let id = record.id;
    let (power, reason, ours) = match sim.world.see(id, host) {
        Observation::Present(domain) => (domain.power, domain.reason, domain.identity.is_some()),
        Observation::Absent => (Power::Off, PowerReason::None, true),
    };
    let usable = record.usable_recovery().is_some();
    let right = match record.state {
        State::Running => power == Power::Running,
        State::Poweroff => power == Power::Off,
        State::Suspended => (power == Power::Off && usable) || (power == Power::Paused && !usable),
        State::Unknown => {
            !ours
                || matches!(reason, PowerReason::IoError | PowerReason::Watchdog)
                || power == Power::Crashed
        }
        _ => true,
    };
    must!(
        right,
        "disagrees: VM {id} is {} ({}), and its domain is {power} ({reason})",
        record.state,
        record.reason
    );
    Ok(())
}

/// After everything was deleted, nothing is left of it.
pub(crate) fn over(sim: &Sim) -> Result<(), Violation> {
    for (vm, record) in &sim.store.rows.records {
        must!(record.state == State::Done, "stuck: VM {vm} is {} and was deleted", record.state);
        // A VM that was forgotten before it was reconciled may live on. A person decides about that
        // domain, and its files stay.
        let left = !record.leftovers.is_empty() && sim.elsewhere(record).is_none();
        must!(!left, "leak: VM {vm} is done, and was left on {:?}", record.leftovers);
    }
    for (vm, being) in sim.world.beings.iter().filter(|_| !sim.world.aged) {
        let ours = being.domains.iter().find(|(_, domain)| domain.identity.is_some());
        must!(ours.is_none(), "leak: VM {vm} is done, and has a domain: {ours:?}");
        let folder = being.folders.iter().find(|(_, folder)| !folder.is_empty());
        must!(folder.is_none(), "leak: VM {vm} is done, and has files: {folder:?}");
    }
    let zero = Capacity::default();
    must!(
        sim.store.rows.held.values().all(|held| *held == zero),
        "leak: capacity is held: {:?}",
        sim.store.rows.held
    );
    let lives_on = sim.store.rows.records.values().any(|record| !record.leftovers.is_empty());
    let held = sim.store.rows.holds.values().any(|holds| *holds > 0);
    must!(!held || lives_on, "leak: images are held: {:?}", sim.store.rows.holds);
    for (operation, told) in &sim.store.rows.operations {
        must!(
            told.ended.is_some(),
            "stuck: operation {operation} ({}) of VM {} has no end",
            told.verb,
            told.vm
        );
    }
    all(sim)
}

/// A call that is sent to a driver must be in the outbox.
pub(crate) fn may_be_sent(sim: &Sim, vm: VmId, key: &EffectKey) -> Result<(), Violation> {
    let written = sim.store.rows.outbox.get(&vm).is_some_and(|outbox| outbox.contains_key(key));
    must!(written, "outbox: {key} of VM {vm} is sent and not written down");
    Ok(())
}
