//! A record that is older than the world: the store came back with a backup, or was replaced by an old copy.
//!
//! Between a backup and its restore the lost store went on: it moved VMs, used up their memory files, ended their operations. Nothing
//! in the restored record is proof of where the VM is now. Three rules keep such a VM from running twice and its disks from being
//! removed under it:
//!
//! - **Unreconciled.** A restore marks each record ([`ostler_model::Restored`]). While the mark stands, no call is sent for the VM: an
//!   operation that the backup had under way ends at rest, scheduled actions wait, nothing is concluded from a look.
//! - **Reconciling** ([`Input::Reconcile`]) needs a list of every host that is on, or the word of a person. A
//!   domain that the lost store has placed is then taken over, if there is only one that can be the VM.
//! - **Ahead.** Also without a mark, a domain on another host under a generation that the record does not know is newer than the record.
//!   Requests that could start a second one are refused. It counts only on a host of the VM's own driver: a driver must not be able to
//!   stop the VMs of another one by claiming them.

use crate::draft::Draft;
use crate::sight::Sight;
use crate::{Facts, Input, monitor, settle};
use ostler_model::{
    Active, DomainSeen, DriverError, DriverName, EventKind, FilesAt, Generation, HostId, Placement, Power, PowerReason, Reason,
    Refusal, RefusalKind, Request, Restored, Side, Size, State, StepKind, Storage, StoreId, Strength, Subject, Verb, VmRecord,
};

/// A domain that a host has listed, stamped with a VM's identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where.
    pub host: HostId,
    /// The host's hypervisor driver.
    pub driver: DriverName,
    /// The domain.
    pub seen: DomainSeen,
}

impl Found {
    /// The generation in its stamp, if `store` stamped it for `record`.
    fn generation(&self, record: &VmRecord, store: StoreId) -> Option<Generation> {
        let identity = self.seen.identity?;
        (identity.store == store && identity.vm == record.uuid).then_some(identity.generation)
    }
}

/// Whether the host's word about `record` counts: it is a host of the driver that the VM has, or had, its place with. A VM that was never
/// placed is nowhere, unless a restore has lost the time in which it was.
fn counts(record: &VmRecord, driver: &DriverName) -> bool {
    let left = record.leftovers.iter().map(|left| &left.place);
    let places = record.placement.iter().chain(&record.other).chain(left).map(|place| &place.driver);
    let mut drivers = places.chain(&record.last_driver).peekable();
    if drivers.peek().is_none() {
        // A record of an older daemon does not tell who had it last.
        return record.restored.is_some() || !record.history.is_empty();
    }
    drivers.any(|known| known == driver)
}

/// Whether a domain that was listed on `host` is newer than the record, and the host's word counts.
#[must_use]
pub fn is_elsewhere(record: &VmRecord, store: StoreId, found: &Found) -> bool {
    let here = record.placement.as_ref().is_some_and(|place| place.host == found.host);
    let ahead = found.generation(record, store).is_some_and(|generation| record.is_ahead(generation));
    !here && ahead && counts(record, &found.driver)
}

/// Refuses what would start a second one, or take the disks from the one there is.
pub(crate) fn gate(draft: &Draft<'_>, asked: &Request) -> Result<(), Refusal> {
    let record = &draft.record;
    let verb = asked.verb;
    // These change the record only.
    let harmless = verb.is_record_only() || matches!(verb, Verb::Hold | Verb::Release);
    if harmless || record.state == State::Done {
        return Ok(());
    }
    if record.is_unreconciled() {
        let detail = format!(
            "VM {}: the store was restored from a backup, and it is not known yet where this VM is by now; nothing is done for it \
             before that",
            record.id
        );
        let hint = "`ostler admin restored` tells which hosts are waited for, and how to say that the record is right";
        return Err(draft.refuse(verb, RefusalKind::Contradicted, detail, hint));
    }
    // What a forgotten VM has on hosts is left alone while a newer domain is known; what it has at home is removed at once.
    let forgets = verb.strength() == Strength::Forget && !record.files.home;
    // An operation in hand looks by itself, and what runs where the record has it is the right one.
    if forgets || record.operation.is_some() || record.state == State::Running {
        return Ok(());
    }
    let Some(found) = &draft.facts.elsewhere else { return Ok(()) };
    let detail = format!(
        "VM {}: host {} has its domain {}, which is newer than this store's record of the VM",
        record.id, found.host, found.seen.name
    );
    let hint = "restore a newer backup; or make sure that this domain is not the VM, and say so: ostler admin restored --accept VM";
    Err(draft.refuse(verb, RefusalKind::Contradicted, detail, hint))
}

/// Whether an operation must end without another call: the store was restored while it was under way.
#[must_use]
pub fn must_rest(record: &VmRecord) -> bool {
    record.is_unreconciled() && (record.operation.is_some() || !record.open.is_empty())
}

/// Anything that happens to a VM that is not reconciled, but a request.
pub(crate) fn unreconciled(draft: &mut Draft<'_>, input: &Input) {
    match input {
        Input::Reconcile { found, storage, by } => reconcile(draft, found, storage.as_ref(), by.as_deref()),
        // Whatever the backup had under way went on without this store. Looks and silence prove nothing before all hosts are listed.
        Input::Restarted | Input::Tick | Input::Answered { .. } => come_to_rest(draft),
        // A person's word about a host holds all the same.
        Input::HostGone { host } => monitor::host_gone(draft, *host),
        Input::MemoryRemoved { name } => monitor::memory_removed(draft, name),
        Input::Observed { .. } | Input::Swept { .. } | Input::ScheduleRefused { .. } | Input::CouldNotAsk { .. } => {}
        Input::Request(_) => {}
    }
}

/// Ends the operation that the backup had under way, without a call. What it may have plugged in or made stays in the record.
fn come_to_rest(draft: &mut Draft<'_>) {
    let open: Vec<_> = draft.record.open.iter().map(|open| open.key.clone()).collect();
    for key in &open {
        draft.close_call(key);
    }
    let Some(active) = &mut draft.record.operation else { return };
    active.cut = true;
    let active = active.clone();
    let error = DriverError::unknown(
        "restored",
        "the store was restored from a backup that was made while this was under way; what came of it is not known",
    );
    if draft.record.placement.is_none() || moves_files(&active) {
        return settle::rest_failed(draft, &error);
    }
    keep_subject(draft);
    draft.end_operation(active.id, ostler_model::Ended::Failed { error });
    draft.set_state(State::Unknown, Reason::StoreIsStale);
}

/// Files may be half way: only a person, or the same steps once more, carry that on.
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

/// What the operation in hand is about is not taken out of the record when the operation ends: the guest may have it. A size that was
/// being changed is booked as the larger one, and a snapshot that may be there is known and not offered.
pub(crate) fn keep_subject(draft: &mut Draft<'_>) {
    let record = &mut draft.record;
    let Some(active) = &mut record.operation else { return };
    match &active.subject {
        Subject::Disk { .. } | Subject::Nic { .. } => active.subject = Subject::Vm,
        Subject::Size { before } => {
            let now = record.spec.size();
            record.spec.set_size(larger(*before, now));
            active.subject = Subject::Vm;
        }
        Subject::Snapshot { name } => {
            if active.verb == Verb::SnapshotCreate {
                record.snapshots.iter_mut().filter(|known| known.name == *name).for_each(|known| known.hidden = true);
                active.subject = Subject::Vm;
            }
        }
        // The image is not whole: that it is in error is said when the operation ends.
        Subject::DiskImage { .. } | Subject::Vm => {}
    }
}

fn larger(one: Size, other: Size) -> Size {
    Size {
        cpu_milli: one.cpu_milli.max(other.cpu_milli),
        vcpus: one.vcpus.max(other.vcpus),
        memory_mib: one.memory_mib.max(other.memory_mib),
    }
}

/// A person says that the record of a VM is right that does not wait for that. What is under way for it goes on: only an operation that a
/// restore has cut is ended.
pub(crate) fn stated(draft: &mut Draft<'_>, found: &[Found], by: Option<&str>) -> Result<(), Refusal> {
    let Some(by) = by else { return Ok(()) };
    if let Some(active) = &draft.record.operation {
        let id = draft.record.id;
        let detail = format!("VM {id} is busy: operation {} ({}) is still running", active.id, active.verb);
        return Err(draft.refuse(Verb::Update, RefusalKind::Busy, detail, "wait for its end, and say it again"));
    }
    reconcile(draft, found, None, Some(by));
    Ok(())
}

/// All hosts that are on were listed, or a person says that the record is right.
fn reconcile(draft: &mut Draft<'_>, found: &[Found], storage: Option<&Storage>, by: Option<&str>) {
    come_to_rest(draft);
    let newer: Vec<(&Found, Generation)> = found
        .iter()
        .filter_map(|found| Some((found, found.generation(&draft.record, draft.facts.store)?)))
        .filter(|(found, generation)| draft.record.is_ahead(*generation) && counts(&draft.record, &found.driver))
        .collect();
    if let Some(by) = by {
        own_here(draft, &newer);
        disown(draft, newer.iter().map(|(_, generation)| *generation).max());
        return reconciled(draft, format!("{by} stated that the record is right"));
    }
    let is_latest = |generation: &Generation| draft.record.restored.as_ref().is_none_or(|restored| restored.is_latest(*generation));
    let latest = newer.iter().filter(|(_, generation)| is_latest(generation));
    let newest = latest.max_by_key(|(_, generation)| *generation).copied();
    let Some((newest, generation)) = newest.or_else(|| arrived(draft, found)) else {
        if !newer.is_empty() && !lives_in_its_place(draft, found) {
            // An earlier lost time placed it there, and this store has placed it since: which of them is the VM only a person can tell.
            return stale(draft);
        }
        seen_in_its_place(draft, found);
        return reconciled(draft, "no host has a newer domain of it".to_owned());
    };
    let lives = |found: &Found| found.seen.power != Power::Off;
    let others = found.iter().filter(|other| !std::ptr::eq(*other, newest));
    let alone = !others.clone().any(lives);
    // Saved memory lies there under a name that the record does not know, and a start would throw it away.
    let saved = newest.seen.power == Power::Off && matches!(newest.seen.reason, PowerReason::Saved | PowerReason::Kept);
    let stored = draft.record.storage.is_some() || storage.is_some();
    if !alone || saved || !stored || newest.seen.reason == PowerReason::Starting {
        return stale(draft);
    }
    take_over(draft, newest, generation, storage);
    reconciled(draft, format!("it is on host {}, which it came to after the backup was made", newest.host));
}

/// The backup was made during a migration, and the guest has arrived since: it lives there, or is off there and nothing is left where it
/// came from.
fn arrived<'a>(draft: &Draft<'_>, found: &'a [Found]) -> Option<(&'a Found, Generation)> {
    let other = draft.record.other.as_ref()?;
    let there = found.iter().find(|found| found.host == other.host)?;
    let here = draft.record.placement.as_ref().is_some_and(|place| found.iter().any(|found| found.host == place.host));
    if there.seen.power == Power::Off && here {
        return None;
    }
    let generation = there.generation(&draft.record, draft.facts.store)?;
    (generation == other.generation).then_some((there, generation))
}

/// Where the VM is cannot be said: a person has to.
fn stale(draft: &mut Draft<'_>) {
    if let Some(restored) = &mut draft.record.restored {
        restored.in_doubt = true;
    }
    if !matches!(draft.record.state, State::Failed) {
        draft.set_state(State::Unknown, Reason::StoreIsStale);
    }
}

/// A newer domain on the host where the record has the VM is the VM, if the record is right. The place takes that domain's generation:
/// under an older one the host refuses every call as stale, and the VM could neither be started nor deleted.
fn own_here(draft: &mut Draft<'_>, newer: &[(&Found, Generation)]) {
    let record = &mut draft.record;
    let Some(place) = &mut record.placement else { return };
    let here = newer.iter().filter(|(found, _)| found.host == place.host).map(|(_, generation)| *generation).max();
    if let Some(generation) = here {
        place.generation = place.generation.max(generation);
        record.issued = record.issued.max(generation);
    }
}

/// Domains up to this generation are not the VM, by a person's word.
fn disown(draft: &mut Draft<'_>, newest: Option<Generation>) {
    let issued = draft.record.issued;
    let none = Restored { known: issued, lost: issued, reconciled: true, in_doubt: false, earlier: Vec::new() };
    let restored = draft.record.restored.get_or_insert(none);
    if let Some(newest) = newest {
        // Never given to another placement: the domain that is not the VM would be taken for it.
        draft.record.issued = draft.record.issued.max(newest);
        restored.disown(newest);
    }
}

fn reconciled(draft: &mut Draft<'_>, why: String) {
    if let Some(restored) = &mut draft.record.restored {
        restored.reconciled = true;
        restored.in_doubt = false;
    }
    draft.events.push(EventKind::Reconciled { why });
    // A look that was begun before counts for nothing.
    draft.record.step = draft.record.step.next();
    if draft.record.state == State::Hold && draft.record.reason == Reason::StoreIsStale {
        draft.set_state(State::Pending, Reason::Asked);
    }
}

/// Whether its domain lives where the record has it, under that place's generation.
fn lives_in_its_place(draft: &Draft<'_>, found: &[Found]) -> bool {
    let place = draft.record.placement.as_ref();
    let Some(found) = place.and_then(|place| found.iter().find(|found| found.host == place.host)) else { return false };
    crate::sight(&draft.record, draft.facts.store, &ostler_model::Observation::Present(found.seen.clone())).lives()
}

/// Nothing newer is anywhere. A domain that is in its own place, under that place's generation, tells more than what the backup had under
/// way there: files that the backup was about to move are in use since.
fn seen_in_its_place(draft: &mut Draft<'_>, found: &[Found]) {
    let Some(place) = draft.record.placement.clone() else { return };
    if draft.record.other.is_some() || !matches!(draft.record.state, State::Failed | State::Unknown) {
        return;
    }
    let Some(found) = found.iter().find(|found| found.host == place.host) else { return };
    let seen = crate::sight(&draft.record, draft.facts.store, &ostler_model::Observation::Present(found.seen.clone()));
    match seen {
        Sight::Paused(PowerReason::Starting) => {}
        Sight::Running | Sight::Paused(_) | Sight::Crashed | Sight::Off(_) => rest_as_seen(draft, seen),
        Sight::Absent | Sight::Foreign | Sight::AboveIssued | Sight::OlderOff | Sight::OlderAlive => {}
    }
}

/// The lost store placed the VM on this host, and it is nowhere else: the record follows. Nothing is removed where it was before.
fn take_over(draft: &mut Draft<'_>, found: &Found, generation: Generation, storage: Option<&Storage>) {
    draft.part_from_other();
    if let Some(place) = draft.record.placement.clone().filter(|place| place.host != found.host) {
        // Files that are there may be the only ones with what a person wants back; the domain is put away by its generation.
        draft.leave_behind(place, false);
    }
    draft.leave_host(None);
    let record = &mut draft.record;
    if record.storage.is_none() {
        record.storage = storage.cloned();
    }
    record.leftovers.retain(|left| left.place.host != found.host);
    let home = record.files.home && !record.storage_is_shared();
    record.files = FilesAt { host: true, home, other: false };
    record.placement = Some(Placement { host: found.host, driver: found.driver.clone(), generation, since: draft.now });
    if let Some(restored) = &mut record.restored {
        restored.take_over(generation);
    }
    draft.history_begin(found.host, Verb::Adopt, generation);
    // The guest has run since its memory was saved, or its memory is in another file by now.
    draft.consume_recovery();
    draft.record.failure = None;
    let seen = crate::sight::sight_at(
        &draft.record,
        Side::Here,
        draft.facts.store,
        &ostler_model::Observation::Present(found.seen.clone()),
    );
    rest_as_seen(draft, seen);
}

fn rest_as_seen(draft: &mut Draft<'_>, seen: Sight) {
    draft.record.failure = None;
    if seen.lives() {
        draft.consume_recovery();
    }
    let (rest, reason) = settle::at_rest(draft, seen, Reason::SeenAgain);
    draft.note_sight(seen);
    settle::rest_at(draft, rest, reason);
}

/// Another domain is newer than the record, and the VM does not live where the record has it: what the record says of it is too old.
/// Its saved memory is not given up for what another host says.
pub(crate) fn contradicted(draft: &mut Draft<'_>) {
    draft.set_state(State::Unknown, Reason::StoreIsStale);
}

/// Whether what was seen at the VM's own place means less than the domain that is newer than the record.
pub(crate) fn is_contradicted(facts: &Facts, seen: Sight) -> bool {
    facts.elsewhere.is_some() && !seen.lives()
}
