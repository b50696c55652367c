//! What must hold after every decision, whatever happened.

use crate::rig::{Rig, Violation};
use ostler_lifecycle::{Decision, Input};
use ostler_model::{
    Call, EffectClass, EffectKey, HostId, ImageId, ImageState, NowCall, Power, PowerReason, State,
    StateKind, Subject, Verb, VmRecord,
};
use std::collections::BTreeSet;

macro_rules! must {
    ($holds:expr, $($words:tt)*) => {
        if !$holds { return Err(format!($($words)*)); }
    };
}

/// What one decision may do.
pub(crate) fn decision(
    rig: &Rig,
    before: &VmRecord,
    input: &Input,
    made: &Decision,
) -> Result<(), Violation> {
    let after = &made.record;
    if made.changed {
        must!(
            after.version == before.version.next(),
            "version: {} became {}",
            before.version,
            after.version
        );
    } else {
        must!(after == before, "unchanged, but it is another record");
        must!(
            made.effects.is_empty() && made.settled.is_empty() && made.journal.is_empty(),
            "unchanged, but it does something"
        );
    }
    let earlier: BTreeSet<&EffectKey> = before.open.iter().map(|open| &open.key).collect();
    for key in &made.settled {
        must!(earlier.contains(key), "settled what was not open: {key}");
    }
    for key in &made.cancels {
        must!(
            after.open.iter().any(|open| open.key == *key && open.cancelled),
            "cancels what is not open: {key}"
        );
    }
    if let (Input::Request(asked), Some(answer)) = (input, &made.answer) {
        must!(
            answer.version == after.version && answer.state == after.state,
            "the answer is not the truth"
        );
        must!(
            !answer.already || !made.changed || asked.schedule.is_some(),
            "already so, but changed"
        );
    }
    must!(after.issued >= before.issued && after.placed >= before.placed, "generations went back");
    must!(after.placed <= after.issued, "placed above issued");
    must!(after.step >= before.step, "the step counter went back");
    for effect in &made.effects {
        must!(effect.patience.0 > 0, "a call without patience");
        must!(
            rig.record.open.iter().any(|open| open.key == effect.key),
            "outbox: sent, but not open: {}",
            effect.key
        );
    }
    Ok(())
}

/// What must hold also where the record is older than the world.
pub(crate) fn harmed(rig: &Rig) -> Result<(), Violation> {
    let harms = |wrong: &&String| {
        ["twice", "while there is a domain", "in use"].iter().any(|word| wrong.contains(word))
    };
    if let Some(wrong) = rig.world.wrongs.iter().find(harms) {
        return Err(format!("world: {wrong}"));
    }
    let running =
        rig.world.domains.values().filter(|domain| domain.power == Power::Running).count();
    must!(running <= 1, "twice: more than one domain runs");
    slot(&rig.record)
}

/// What must hold at any time.
pub(crate) fn standing(rig: &Rig) -> Result<(), Violation> {
    let record = &rig.record;
    if let Some(wrong) = rig.world.wrongs.first() {
        return Err(format!("world: {wrong}"));
    }
    let open: BTreeSet<&EffectKey> = record.open.iter().map(|open| &open.key).collect();
    must!(open.len() == record.open.len(), "outbox: one identity is open twice");
    must!(open == rig.outbox.keys().collect(), "outbox: it does not mirror the open calls");
    must!(
        open.iter().all(|key| rig.flying.iter().any(|flight| flight.effect.key == **key)),
        "outbox: an open call was never sent"
    );
    let mutating = record.open.iter().filter(|open| {
        open.call.class() != EffectClass::Question && open.call != Call::Now(NowCall::Destroy)
    });
    must!(mutating.count() <= 1, "two mutating calls at a time");
    for (operation, keys) in &rig.edges {
        must!(keys.len() <= 1, "edge: operation {operation} has {} identities", keys.len());
    }
    slot(record)?;
    places(rig)?;
    images(rig)?;
    match record.state {
        State::Done => done(rig),
        State::Pending | State::Hold | State::Stopped | State::Undeployed => at_home(rig),
        State::Running | State::Suspended | State::Poweroff | State::Unknown
            if record.operation.is_none() =>
        {
            on_host(rig)
        }
        _ => Ok(()),
    }
}

fn slot(record: &VmRecord) -> Result<(), Violation> {
    match &record.operation {
        None => {
            must!(
                record.state.kind() != StateKind::Transient,
                "{} without an operation",
                record.state
            );
            must!(record.open.is_empty(), "open: rests in {} with calls open", record.state);
            must!(
                record.failure.is_some() == (record.state == State::Failed),
                "a failure in {}",
                record.state
            );
        }
        Some(active) => {
            let reboots = matches!(active.verb, Verb::Reboot | Verb::RebootHard);
            must!(
                reboots || record.state.kind() == StateKind::Transient,
                "{} with an operation",
                record.state
            );
            must!(
                !record.open.is_empty() || record.next_due().is_some() || record.is_unreconciled(),
                "stuck: {:?} waits for nothing",
                active.phase
            );
        }
    }
    Ok(())
}

/// Files and domains are only where the record says that they may be: at its place, at the other
/// one, or where they are to be swept.
fn places(rig: &Rig) -> Result<(), Violation> {
    let record = &rig.record;
    let given = record
        .placement
        .iter()
        .chain(record.other())
        .chain(record.leftovers.iter().map(|left| &left.place));
    let generations: Vec<_> = given.map(|place| place.generation).collect();
    must!(
        generations.iter().collect::<BTreeSet<_>>().len() == generations.len(),
        "generation: one for two places: {generations:?}"
    );
    must!(
        generations.iter().all(|generation| *generation <= record.issued),
        "generation: a place has one that was never issued"
    );
    let other = |host: HostId| record.other().is_some_and(|place| place.host == host);
    let left = |host: HostId| record.leftovers.iter().find(|left| left.place.host == host);
    for host in rig.world.of_ours() {
        let known = rig.host() == Some(host)
            || (other(host) && record.domain_at_other())
            || left(host).is_some();
        must!(known, "leak: a domain on host {host}, which is not the place");
    }
    let running =
        rig.world.domains.values().filter(|domain| domain.power == Power::Running).count();
    must!(running <= 1, "twice: more than one domain runs");
    for (at, place) in rig.world.places.iter().filter(|(_, place)| !place.is_empty()) {
        let swept = left(*at).is_some_and(|left| left.files);
        let known = match (*at == HostId::FRONT_END, rig.world.shared) {
            (true, true) => {
                record.files.home
                    || record.files.host
                    || record.leftovers.iter().any(|left| left.files)
            }
            (true, false) => record.files.home,
            (false, _) => {
                (record.files.host && rig.host() == Some(*at))
                    || (record.files_at_other() && other(*at))
                    || swept
            }
        };
        must!(
            known || rig.world.brought.contains(at),
            "leak: files at {at} that the record does not know of: {place:?}"
        );
    }
    Ok(())
}

/// An image is locked while somebody is going to write it, and no longer.
fn images(rig: &Rig) -> Result<(), Violation> {
    let record = &rig.record;
    let now = match record.operation.as_ref().map(|active| &active.subject) {
        Some(Subject::DiskImage { becomes, .. }) => Some(becomes.image),
        _ => None,
    };
    let failed = match record.failure.as_ref().map(|failure| &failure.subject) {
        Some(Subject::DiskImage { becomes, .. }) => Some(becomes.image),
        _ => None,
    };
    let to_write: BTreeSet<ImageId> = record
        .disks
        .iter()
        .filter_map(|disk| disk.save_as.as_ref())
        .map(|becomes| becomes.image)
        .chain(now)
        .chain(failed)
        .collect();
    for (image, state) in &rig.images {
        let locked = *state == ImageState::Locked;
        must!(
            !locked || to_write.contains(image),
            "image: {image} is {state:?}, and nobody is going to write it"
        );
        must!(
            locked || !to_write.contains(image),
            "image: {image} is {state:?}, and is going to be written"
        );
    }
    Ok(())
}

fn done(rig: &Rig) -> Result<(), Violation> {
    let record = &rig.record;
    let left = |host: HostId| record.leftovers.iter().any(|left| left.place.host == host);
    must!(rig.world.of_ours().all(left), "done, and there is a domain");
    let files = rig
        .world
        .places
        .iter()
        .any(|(at, place)| !place.is_empty() && !rig.world.brought.contains(at));
    must!(!files || record.leftovers.iter().any(|left| left.files), "done, and there are files");
    must!(
        record.placement.is_none() && record.moving.is_none(),
        "capacity: done, and it has a place"
    );
    must!(record.history.iter().all(|stay| stay.to.is_some()), "done, and its stay has no end");
    must!(record.next_due().is_none(), "done, and something is due");
    Ok(())
}

fn at_home(rig: &Rig) -> Result<(), Violation> {
    let record = &rig.record;
    must!(record.placement.is_none(), "capacity: {}, and it has a place", record.state);
    must!(!record.files.host, "leak: {}, and it has files on a host", record.state);
    if matches!(record.state, State::Stopped | State::Undeployed) {
        complete(rig, HostId::FRONT_END)?;
    }
    must!(
        record.recovery.is_none() || record.usable_recovery().is_some(),
        "{} with memory of no use",
        record.state
    );
    Ok(())
}

/// What is plugged into a guest that lives is in its record: an operator must be able to unplug it,
/// and its image must stay held.
fn plugged(rig: &Rig, host: HostId) -> Result<(), Violation> {
    let ours = |domain: &&crate::world::Domain| {
        domain.identity.is_some_and(|identity| identity.store == crate::rig::STORE)
    };
    let Some(domain) =
        rig.world.domains.get(&host).filter(ours).filter(|domain| domain.power != Power::Off)
    else {
        return Ok(());
    };
    for file in &domain.disks {
        let known = rig.record.disks.iter().any(|disk| disk.file.as_str() == file);
        must!(known, "hardware: {file} is plugged in, and the record does not know it");
    }
    for mac in &domain.nics {
        let known = rig
            .record
            .spec
            .nics
            .iter()
            .any(|nic| nic.mac.as_ref().is_some_and(|known| known.to_string() == *mac));
        must!(known, "hardware: card {mac} is plugged in, and the record does not know it");
    }
    Ok(())
}

fn on_host(rig: &Rig) -> Result<(), Violation> {
    let record = &rig.record;
    let Some(host) = rig.host() else {
        return Err(format!("capacity: {} without a place", record.state));
    };
    must!(record.state != State::Running || record.recovery.is_none(), "running with saved memory");
    must!(
        record.state != State::Poweroff || record.recovery.is_none(),
        "poweroff with saved memory"
    );
    plugged(rig, host)?;
    let Some(other) = record.other() else { return complete(rig, host) };
    must!(record.state == State::Unknown, "capacity: {} with a place too many", record.state);
    // It is at one of them.
    complete(rig, host).or_else(|_| complete(rig, other.host))
}

/// All disks, and the memory to restore, are at `host`, as new as they can be; and so are the
/// snapshots that are offered.
fn complete(rig: &Rig, host: HostId) -> Result<(), Violation> {
    let at = if rig.world.shared { HostId::FRONT_END } else { host };
    let place = rig.world.places.get(&at).cloned().unwrap_or_default();
    let state = rig.record.state;
    for disk in rig.record.disks.iter().filter(|disk| disk.adopted.is_none()) {
        let found = place.disks.get(disk.file.as_str());
        must!(found.is_some(), "lost: {} is not at {at} in {state}", disk.name);
        must!(found == Some(&rig.world.newest), "lost: an old {} at {at} in {state}", disk.name);
    }
    must!(
        rig.record.spec.disks.len() == rig.record.disks.len(),
        "disks: what was asked for is not what there is"
    );
    if let Some(file) = rig.record.usable_recovery() {
        must!(
            place.memory.contains_key(&file.name.to_string()),
            "lost: no memory at {at} in {state}"
        );
    }
    for snapshot in rig.record.snapshots.iter().filter(|snapshot| !snapshot.hidden) {
        let name = snapshot.name.as_str();
        must!(
            place.snapshots.contains(name) || rig.world.removed.contains(name),
            "snapshot: {} is offered in {state} and lost",
            snapshot.name
        );
        must!(!snapshot.losing, "snapshot: {} is being lost in {state}", snapshot.name);
    }
    Ok(())
}

/// A state of rest on a host says what a look shows.
pub(crate) fn agrees(rig: &Rig, when: &str) -> Result<(), Violation> {
    let Some(host) = rig.host() else { return Ok(()) };
    if rig.record.moving.is_some() {
        return Ok(());
    }
    let domain = rig.world.domains.get(&host);
    let power = domain.map_or(Power::Off, |domain| domain.power);
    let usable = rig.record.usable_recovery().is_some();
    let io = domain.is_some_and(|domain| domain.reason == PowerReason::IoError);
    let ours = domain.is_none_or(|domain| {
        domain.identity.is_some_and(|identity| identity.store == rig.world.store)
    });
    let right = match rig.record.state {
        State::Running => power == Power::Running,
        State::Poweroff => power == Power::Off,
        State::Suspended => (power == Power::Off && usable) || (power == Power::Paused && !usable),
        State::Unknown => !ours || (!matches!(power, Power::Off | Power::Running) && io),
        _ => true,
    };
    must!(
        right,
        "disagrees: {when}, {} ({}), and the domain is {power}",
        rig.record.state,
        rig.record.reason
    );
    Ok(())
}
