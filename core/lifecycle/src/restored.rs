//! Handles a record that is older than reality: the store came back with a backup, or was replaced
//! by an old copy.
//!
//! Between a backup and its restore the lost store went on: it moved VMs, used up their memory
//! files, ended their operations. Nothing in the restored record proves where the VM is now. Three
//! rules prevent that such a VM runs twice, and that its disks are removed while it runs:
//!
//! - **Unreconciled.** A restore marks each record ([`ostler_model::Restored`]). While the mark
//!   stands, no call is sent for the VM: an operation that was under way in the backup ends at
//!   rest, scheduled actions wait, and nothing is concluded from a look.
//! - **Reconciling** ([`Input::Reconcile`]) needs a list of every host that is on, or a person's
//!   statement. A domain that the lost store has placed is then taken over, if there is only one
//!   that can be the VM.
//! - **Ahead.** Also without a mark, a domain on another host under a generation that the record
//!   does not know is newer than the record. Requests that could start a second domain are refused.
//!   Such a domain counts only on a host of the VM's own driver, or under a generation of a time
//!   that a restore has lost: a driver must not be able to stop the VMs of another driver by
//!   claiming them.

use crate::decision::Input;
use crate::domain_status::{DomainStatus, status, status_at};
use crate::draft::{Draft, Next};
use crate::facts::{Elsewhere, Found};
use crate::{gone, rest, slot, subject};
use ostler_model::{
    Active, Cause, DriverError, Ended, EventKind, FilesAt, Generation, Hint, Observation,
    Placement, Power, PowerReason, Reason, Refusal, RefusalKind, Request, Restored, Side, State,
    StepKind, Storage, StoreId, Strength, Verb, VmRecord,
};

impl Found {
    /// The generation in its stamp, if `store` stamped it for `record`.
    pub(crate) fn generation(&self, record: &VmRecord, store: StoreId) -> Option<Generation> {
        let identity = self.seen.identity?;
        (identity.store == store && identity.vm == record.uuid).then_some(identity.generation)
    }
}

/// Whether a domain that a host with this `driver` has listed counts for `record`: the VM has, or
/// had, a placement with that driver, or the domain was placed in a time that a restore has lost.
/// In that time any driver may have got the VM: it was undeployed, and deployed elsewhere. A VM that
/// was never placed is on no host, unless it was placed in a lost time.
fn counts(record: &VmRecord, found: &Found, generation: Generation) -> bool {
    let driver = &found.driver;
    if record.restored.as_ref().is_some_and(|restored| restored.contains(generation)) {
        return true;
    }
    let left = record.leftovers.iter().map(|left| &left.place);
    let places = record.places().chain(left).map(|place| &place.driver);
    let mut drivers = places.chain(&record.last_driver).peekable();
    if drivers.peek().is_none() {
        // A record that an older daemon wrote does not tell which driver had the VM last.
        return record.restored.is_some() || !record.history.is_empty();
    }
    drivers.any(|known| known == driver)
}

/// Whether a domain that another host has listed is newer than the record, and the driver of that
/// host counts.
#[must_use]
pub fn is_elsewhere(record: &VmRecord, store: StoreId, found: &Found) -> bool {
    let here = record.placement.as_ref().is_some_and(|place| place.host == found.host);
    let counts = |generation| record.is_ahead(generation) && counts(record, found, generation);
    !here && found.generation(record, store).is_some_and(counts)
}

/// The domain among `found` that is newer than the record and on another host than the VM's own.
/// `all_listed`: every host that is on has been listed.
#[must_use]
pub fn elsewhere(
    record: &VmRecord,
    store: StoreId,
    found: &[Found],
    all_listed: impl FnOnce() -> bool,
) -> Option<Elsewhere> {
    let here = record.placement.as_ref().map(|place| place.host);
    let others = || found.iter().filter(|found| Some(found.host) != here);
    let newer = others().find(|other| is_elsewhere(record, store, other))?;
    Some(Elsewhere { found: newer.clone(), alone: others().count() == 1 && all_listed() })
}

/// Refuses a request that would start a second domain of the VM, or would take the disks away from
/// the domain that exists.
pub(crate) fn gate(draft: &Draft<'_>, asked: &Request) -> Result<(), Refusal> {
    let record = &draft.record;
    let verb = asked.verb;
    // These change the record only.
    let harmless = verb.is_record_only() || matches!(verb, Verb::Hold | Verb::Release);
    if harmless || record.state == State::Done {
        return Ok(());
    }
    if record.is_unreconciled() {
        return Err(draft.refuse(
            verb,
            RefusalKind::Contradicted,
            Cause::NotReconciled,
            Hint::SeeRestored,
        ));
    }
    // `forget` touches nothing on hosts while a newer domain is known, so it may go on. But it
    // removes files at the front end at once, so it may not if there are any.
    let forgets = verb.strength() == Strength::Forget && !record.files.home;
    // An operation that is under way looks by itself. A VM that runs where the record has it is the
    // right one.
    if forgets || record.operation.is_some() || record.state == State::Running {
        return Ok(());
    }
    let Some(Elsewhere { found, .. }) = &draft.facts.elsewhere else { return Ok(()) };
    let cause = Cause::NewerElsewhere { host: found.host, domain: found.seen.name.clone() };
    Err(draft.refuse(verb, RefusalKind::Contradicted, cause, Hint::AcceptRecord))
}

/// Whether an operation must end without another call: the store was restored while it was under
/// way.
#[must_use]
pub fn must_rest(record: &VmRecord) -> bool {
    record.is_unreconciled() && (record.operation.is_some() || !record.open.is_empty())
}

/// Handles every input but a request, for a VM that is not reconciled.
pub(crate) fn unreconciled(draft: &mut Draft<'_>, input: &Input) {
    match input {
        Input::Reconcile { found, storage, by } => {
            reconcile(draft, found, storage.as_ref(), by.as_deref())
        }
        // The operation that was under way in the backup has gone on without this store. Until all
        // hosts are listed, neither a look nor silence proves anything.
        Input::Restarted | Input::Tick | Input::Answered { .. } => come_to_rest(draft),
        // A person's statement about a host is true all the same.
        Input::HostGone { host } => gone::host_gone(draft, *host),
        Input::MemoryRemoved { name } => gone::memory_removed(draft, name),
        Input::Observed { .. }
        | Input::Swept { .. }
        | Input::ScheduleRefused { .. }
        | Input::CouldNotAsk { .. } => {}
        Input::Request(_) => {}
    }
}

/// Ends the operation that was under way in the backup, without a call. Things that it may have
/// plugged in or made stay in the record.
fn come_to_rest(draft: &mut Draft<'_>) {
    let open: Vec<_> = draft.record.open.iter().map(|open| open.key.clone()).collect();
    for key in &open {
        draft.close_call(key);
    }
    draft.work(cut);
}

/// Ends an operation whose outcome is lost with the store that was replaced.
fn cut(draft: &mut Draft<'_>, mut active: Active) -> Next {
    active.cut = true;
    let error = DriverError::unknown(
        "restored",
        "the store was restored from a backup that was made while this was under way; what came of it is not known",
    );
    if draft.record.placement.is_none() || moves_files(&active) {
        return rest::failed(draft, active, &error);
    }
    subject::keep(&mut draft.record, &mut active);
    slot::end(draft, active, Ended::Failed { error });
    draft.set_state(State::Unknown, Reason::StoreIsStale);
    None
}

/// Whether the operation's files may be half way. Then only a person, or the same steps once more,
/// can carry it on.
fn moves_files(active: &Active) -> bool {
    active.plan.iter().any(|step| match step {
        StepKind::PrepareDisks => !active.verb.is_hotplug(),
        StepKind::CopyIn
        | StepKind::CopyOut
        | StepKind::CopyAcross
        | StepKind::DropHome
        | StepKind::DropHost
        | StepKind::DropOther
        | StepKind::PrepareOther
        | StepKind::Switch
        | StepKind::SaveBack => true,
        StepKind::Boot
        | StepKind::Restore
        | StepKind::Unpause
        | StepKind::DropRecovery
        | StepKind::PressPower
        | StepKind::PowerOff
        | StepKind::Save
        | StepKind::Remove
        | StepKind::Reboot
        | StepKind::Reset
        | StepKind::Migrate
        | StepKind::RemoveOther
        | StepKind::AttachDisk
        | StepKind::DetachDisk
        | StepKind::DropDisk
        | StepKind::AttachNic
        | StepKind::DetachNic
        | StepKind::CopyDisk
        | StepKind::Resize
        | StepKind::CreateSnapshot
        | StepKind::RevertSnapshot
        | StepKind::DeleteSnapshot
        | StepKind::Stamp => false,
    })
}

/// A person says that the record is right, for a VM that does not wait for that. An operation that
/// is under way is not ended by this: the statement is refused until the operation has ended.
pub(crate) fn stated(
    draft: &mut Draft<'_>,
    found: &[Found],
    by: Option<&str>,
) -> Result<(), Refusal> {
    let Some(by) = by else { return Ok(()) };
    if let Some(active) = &draft.record.operation {
        let cause = Cause::Busy { operation: active.id, doing: active.verb };
        return Err(draft.refuse(Verb::Update, RefusalKind::Busy, cause, Hint::Wait));
    }
    reconcile(draft, found, None, Some(by));
    Ok(())
}

/// All hosts that are on were listed, or a person says that the record is right.
fn reconcile(draft: &mut Draft<'_>, found: &[Found], storage: Option<&Storage>, by: Option<&str>) {
    come_to_rest(draft);
    // A driver must not be able to stop a VM that runs on another driver's host by claiming it.
    let claimed = |other: &Found| {
        lives_in_its_place(draft, found)
            && draft.record.placement.as_ref().is_some_and(|place| place.driver != other.driver)
    };
    let newer: Vec<(&Found, Generation)> = found
        .iter()
        .filter_map(|found| Some((found, found.generation(&draft.record, draft.facts.store)?)))
        .filter(|(found, generation)| {
            draft.record.is_ahead(*generation)
                && counts(&draft.record, found, *generation)
                && !claimed(found)
        })
        .collect();
    if let Some(by) = by {
        own_here(draft, &newer);
        disown(draft, newer.iter().map(|(_, generation)| *generation).max());
        return reconciled(draft, format!("{by} stated that the record is right"));
    }
    let is_latest = |generation: &Generation| {
        draft.record.restored.as_ref().is_none_or(|restored| restored.is_latest(*generation))
    };
    let latest = newer.iter().filter(|(_, generation)| is_latest(generation));
    let newest = latest.max_by_key(|(_, generation)| *generation).copied();
    let Some((newest, generation)) = newest.or_else(|| arrived(draft, found)) else {
        if !newer.is_empty() && !lives_in_its_place(draft, found) {
            // A copy of the store placed that domain in an earlier lost time, and this store has
            // placed the VM since. Only a person can tell which of the two is the VM.
            return stale(draft);
        }
        seen_in_its_place(draft, found);
        return reconciled(draft, "no host has a newer domain of it".to_owned());
    };
    let lives = |found: &Found| found.seen.power != Power::Off;
    let others = found.iter().filter(|other| !std::ptr::eq(*other, newest));
    let alone = !others.clone().any(lives);
    // Its saved memory is there under a name that the record does not know, and a start would throw
    // it away.
    let saved = newest.seen.power == Power::Off
        && matches!(newest.seen.reason, PowerReason::Saved | PowerReason::Kept);
    let stored = draft.record.storage.is_some() || storage.is_some();
    if !alone || saved || !stored || newest.seen.reason == PowerReason::Starting {
        return stale(draft);
    }
    take_over(draft, newest, generation, storage);
    reconciled(
        draft,
        format!("it is on host {}, which it came to after the backup was made", newest.host),
    );
}

/// The domain at the destination, if the backup was made during a migration and the guest has
/// arrived since. It has arrived if it lives there, or if it is off there and no domain is left at
/// the origin.
fn arrived<'a>(draft: &Draft<'_>, found: &'a [Found]) -> Option<(&'a Found, Generation)> {
    let other = draft.record.other()?;
    let there = found.iter().find(|found| found.host == other.host)?;
    let here = draft
        .record
        .placement
        .as_ref()
        .is_some_and(|place| found.iter().any(|found| found.host == place.host));
    if there.seen.power == Power::Off && here {
        return None;
    }
    let generation = there.generation(&draft.record, draft.facts.store)?;
    (generation == other.generation).then_some((there, generation))
}

/// Ostler cannot tell where the VM is. A person has to.
fn stale(draft: &mut Draft<'_>) {
    if let Some(restored) = &mut draft.record.restored {
        restored.in_doubt = true;
    }
    if !matches!(draft.record.state, State::Failed) {
        draft.set_state(State::Unknown, Reason::StoreIsStale);
    }
}

/// If the record is right, a newer domain on the VM's own host is the VM. The placement takes that
/// domain's generation. Under an older generation the host refuses every call as stale, and the VM
/// could neither be started nor deleted.
fn own_here(draft: &mut Draft<'_>, newer: &[(&Found, Generation)]) {
    let record = &mut draft.record;
    // A VM without a placement has no own host.
    let Some(place) = &mut record.placement else { return };
    let here = newer
        .iter()
        .filter(|(found, _)| found.host == place.host)
        .map(|(_, generation)| *generation)
        .max();
    if let Some(generation) = here {
        place.generation = place.generation.max(generation);
        record.issued = record.issued.max(generation);
    }
}

/// A person said that domains up to this generation are not the VM.
fn disown(draft: &mut Draft<'_>, newest: Option<Generation>) {
    let issued = draft.record.issued;
    let none = Restored {
        known: issued,
        lost: issued,
        reconciled: true,
        in_doubt: false,
        earlier: Vec::new(),
    };
    let restored = draft.record.restored.get_or_insert(none);
    if let Some(newest) = newest {
        // No other placement may get this generation: the domain that is not the VM would be taken
        // for it.
        draft.record.issued = draft.record.issued.max(newest);
        restored.disown(newest);
    }
}

pub(crate) fn reconciled(draft: &mut Draft<'_>, why: String) {
    if let Some(restored) = &mut draft.record.restored {
        restored.reconciled = true;
        restored.in_doubt = false;
    }
    draft.events.push(EventKind::Reconciled { why });
    // A look that began before does not count. The new step number makes it void.
    draft.record.step = draft.record.step.next();
    if draft.record.state == State::Hold && draft.record.reason == Reason::StoreIsStale {
        draft.set_state(State::Pending, Reason::Asked);
    }
}

/// Whether the VM's own domain is alive on the host of its placement. A domain of an older
/// placement there is not its own.
fn lives_in_its_place(draft: &Draft<'_>, found: &[Found]) -> bool {
    let place = draft.record.placement.as_ref();
    let Some(found) = place.and_then(|place| found.iter().find(|found| found.host == place.host))
    else {
        return false;
    };
    let seen = status(&draft.record, draft.facts.store, &Observation::Present(found.seen.clone()));
    matches!(seen, DomainStatus::Running | DomainStatus::Paused(_) | DomainStatus::Crashed)
}

/// No host has a newer domain. A domain at the VM's own placement, with that placement's
/// generation, tells more than the operation that was under way in the backup: files that this
/// operation was about to move have been in use since.
fn seen_in_its_place(draft: &mut Draft<'_>, found: &[Found]) {
    // Only these two states are in doubt; any other state of rest is believed.
    let in_doubt = draft.record.moving.is_none()
        && matches!(draft.record.state, State::Failed | State::Unknown);
    let place = draft.record.placement.as_ref().filter(|_| in_doubt);
    let Some(found) = place.and_then(|place| found.iter().find(|found| found.host == place.host))
    else {
        return;
    };
    let seen = status(&draft.record, draft.facts.store, &Observation::Present(found.seen.clone()));
    match seen {
        DomainStatus::Paused(PowerReason::Starting) => {}
        DomainStatus::Running
        | DomainStatus::Paused(_)
        | DomainStatus::Crashed
        | DomainStatus::Off(_) => rest_as_seen(draft, seen),
        DomainStatus::Absent
        | DomainStatus::Foreign
        | DomainStatus::AboveIssued
        | DomainStatus::OlderOff
        | DomainStatus::OlderAlive => {}
    }
}

/// The lost store has placed the VM on this host, and it is nowhere else. The record follows. No
/// file is removed from the host where it was before.
pub(crate) fn take_over(
    draft: &mut Draft<'_>,
    found: &Found,
    generation: Generation,
    storage: Option<&Storage>,
) {
    draft.part_from_other();
    if let Some(place) = draft.record.placement.clone().filter(|place| place.host != found.host) {
        // The files there may be the only ones that hold what a person wants back, so they are not
        // swept. Only the domain is swept, by its generation.
        draft.leave_behind(place, false);
    }
    draft.leave_host(None);
    let record = &mut draft.record;
    if record.storage.is_none() {
        record.storage = storage.cloned();
    }
    record.leftovers.retain(|left| left.place.host != found.host);
    let home = record.files.home && !record.storage_is_shared();
    record.files = FilesAt { host: true, home };
    record.placement = Some(Placement {
        host: found.host,
        driver: found.driver.clone(),
        generation,
        since: draft.now,
    });
    if let Some(restored) = &mut record.restored {
        restored.take_over(generation);
    }
    draft.history_begin(found.host, Verb::Adopt, generation);
    // The guest has run since its memory was saved, or its memory is in another file by now.
    draft.consume_recovery();
    draft.record.failure = None;
    let seen = status_at(
        &draft.record,
        Side::Here,
        draft.facts.store,
        &Observation::Present(found.seen.clone()),
    );
    rest_as_seen(draft, seen);
}

fn rest_as_seen(draft: &mut Draft<'_>, seen: DomainStatus) {
    draft.record.failure = None;
    if seen.lives() {
        draft.consume_recovery();
    }
    let (rest, reason) = rest::seen_as(draft, seen, Reason::SeenAgain);
    draft.note_status(seen);
    rest::at(draft, rest, reason);
}
