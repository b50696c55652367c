//! A decision that is being made: the next record, and what follows from it. This module knows how
//! to write a change down, not which change to make.

use crate::decision::Decision;
use crate::domain_status::DomainStatus;
use crate::facts::Facts;
use crate::marks;
use ostler_model::{
    Active, Answer, Ask, Call, Cause, Destroyed, DriverError, DriverName, Effect, EffectKey,
    EventKind, Generation, Hint, HistoryEntry, HostId, ImageChange, Item, JobCall, Journal, Lane,
    Leftover, Millis, Move, NewImage, NowCall, OpenCall, OperationId, Placement, PowerReason,
    Reason, Refusal, RefusalKind, Side, Sighting, State, StateKind, Subject, Timestamp, Verb,
    VmRecord,
};

/// The operation if it goes on. None if it has ended.
pub(crate) type Next = Option<Active>;

pub(crate) struct Draft<'a> {
    pub(crate) before: &'a VmRecord,
    pub(crate) facts: &'a Facts,
    pub(crate) now: Timestamp,
    pub(crate) record: VmRecord,
    pub(crate) answer: Option<Answer>,
    pub(crate) effects: Vec<Effect>,
    pub(crate) settled: Vec<EffectKey>,
    pub(crate) cancels: Vec<EffectKey>,
    /// What is to be judged inside the transaction. The amounts follow from the record as it is at
    /// the end.
    pub(crate) asks: Vec<Ask>,
    pub(crate) journal: Vec<Journal>,
    pub(crate) events: Vec<EventKind>,
    pub(crate) images: Vec<ImageChange>,
    /// The status at the VM's own host that came with the answer of a call. It is set only for a
    /// step that has no goal at the hypervisor.
    pub(crate) status: Option<DomainStatus>,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(before: &'a VmRecord, facts: &'a Facts, now: Timestamp) -> Self {
        Self {
            before,
            facts,
            now,
            record: before.clone(),
            answer: None,
            effects: Vec::new(),
            settled: Vec::new(),
            cancels: Vec::new(),
            asks: Vec::new(),
            journal: Vec::new(),
            events: Vec::new(),
            images: Vec::new(),
            status: None,
        }
    }

    pub(crate) fn finish(mut self) -> Decision {
        let changed = self.record != *self.before
            || !self.effects.is_empty()
            || !self.settled.is_empty()
            || !self.journal.is_empty();
        if changed {
            self.record.version = self.before.version.next();
            if let Some(answer) = &mut self.answer {
                answer.version = self.record.version;
                answer.state = self.record.state;
            }
        }
        // A call that one decision both settles and sends again keeps its row in the outbox,
        // because its effect key is the same.
        let mut settled = self.settled;
        settled.retain(|key| !self.effects.iter().any(|effect| effect.key == *key));
        // If nothing changes, nothing is claimed: a VM that is resized to the size that it has
        // already holds that room.
        let claims = if changed { self.record.claims(&self.asks) } else { Vec::new() };
        Decision {
            record: self.record,
            changed,
            answer: self.answer,
            effects: self.effects,
            settled,
            cancels: self.cancels,
            claims,
            journal: self.journal,
            events: self.events,
            images: self.images,
        }
    }

    pub(crate) fn set_state(&mut self, to: State, reason: Reason) {
        let from = self.record.state;
        if from != to || self.record.reason != reason {
            if from != to {
                self.record.since = self.now;
            }
            self.record.was_off &= to == State::Unknown || to.kind() == StateKind::Transient;
            self.record.state = to;
            self.record.reason = reason;
            self.events.push(EventKind::State { from, to, reason });
        }
    }

    pub(crate) fn note_status(&mut self, status: DomainStatus) {
        let what = status.words();
        if self.record.seen.as_ref().is_none_or(|seen| seen.what != what) {
            self.record.seen = Some(Sighting { at: self.now, what: what.to_owned() });
        }
        self.record.blind_since = None;
    }

    /// Takes the operation out of the record, has `go_on` work on it, and puts it back if it goes
    /// on. Does nothing for a VM without an operation. Only this function asks whether there is
    /// one: every function that `go_on` calls gets the operation.
    pub(crate) fn work(&mut self, go_on: impl FnOnce(&mut Self, Active) -> Next) {
        if let Some(active) = self.record.operation.take() {
            self.record.operation = go_on(self, active);
        }
    }

    /// Writes down that the current step has failed.
    pub(crate) fn step_failed(&mut self, active: &Active, error: &DriverError) {
        self.journal.push(Journal::StepFailed {
            operation: active.id,
            error: error.clone(),
            at: self.now,
        });
    }

    /// Opens a driver call about `item`: puts it into the record and into the outbox. Without a
    /// place to send it to there is no call: such a step has no items ([`crate::items`]).
    pub(crate) fn open_call(
        &mut self,
        active: &Active,
        call: Call,
        side: Side,
        item: Item,
        patience: Millis,
    ) {
        let key = EffectKey { vm: self.record.uuid, operation: active.id, step: active.step, item };
        let attempt = active.attempt;
        let Some((host, driver, generation)) = self.address(&active.subject, call, side, &key.item)
        else {
            return;
        };
        // If two hosts are one hypervisor, a removal at one host of a migration would remove the
        // domain that lives at the other host.
        let removes = call == Call::Now(NowCall::Remove) && side == Side::Other;
        let spares =
            self.record.placement.as_ref().map(|place| place.generation).filter(|_| removes);
        self.record.open.push(OpenCall { key: key.clone(), call, attempt, cancelled: false });
        self.effects.push(Effect {
            vm: self.record.id,
            key,
            attempt,
            call,
            host,
            driver,
            generation,
            spares,
            patience,
        });
    }

    /// The host, the driver and the generation of a call. None if there is no such place.
    pub(crate) fn address(
        &self,
        subject: &Subject,
        call: Call,
        side: Side,
        item: &Item,
    ) -> Option<(HostId, DriverName, Generation)> {
        let record = &self.record;
        let place = record.place(side);
        let generation = place.map_or(record.placed, |place| place.generation);
        match call.lane() {
            // The call is sent to the host that the VM leaves, with the generation of the placement
            // at which the VM arrives.
            Lane::Hypervisor if call == Call::Job(JobCall::Migrate) => {
                let arrives = record.other()?.generation;
                place.map(|place| (place.host, place.driver.clone(), arrives))
            }
            Lane::Hypervisor => place.map(|place| (place.host, place.driver.clone(), generation)),
            Lane::Transfer => {
                let where_it_is =
                    matches!(call, Call::Job(JobCall::SaveBack | JobCall::DropRecovery));
                let at_home = matches!(call, Call::Job(JobCall::CopyOut | JobCall::DropHome))
                    || (where_it_is && place.is_none());
                let host = if at_home { HostId::FRONT_END } else { place?.host };
                let saves = call == Call::Job(JobCall::SaveBack);
                let driver = if saves {
                    self.new_image(subject, item)?.driver
                } else {
                    record.storage.as_ref()?.driver.clone()
                };
                Some((host, driver, generation))
            }
        }
    }

    /// The image that a disk is to become, either now or when the VM is shut down.
    pub(crate) fn new_image(&self, subject: &Subject, item: &Item) -> Option<NewImage> {
        let Item::Disk(disk) = item else { return None };
        if let Subject::DiskImage { name, becomes } = subject
            && name == disk
        {
            return Some(becomes.clone());
        }
        self.record.disks.iter().find(|known| known.name == *disk)?.save_as.clone()
    }

    /// Swaps the two placements of a migration. `back`: the VM goes back to the placement that it
    /// left. That is a new stay, with a new generation: a domain that may still be about to start
    /// there under the old generation must not run. A VM that has no second placement stays where
    /// it is.
    pub(crate) fn switch(&mut self, verb: Verb, guest_runs: bool, back: bool) {
        let record = &mut self.record;
        let shared = record.storage_is_shared();
        let (Some(here), Some(moving)) = (&mut record.placement, &mut record.moving) else {
            return;
        };
        std::mem::swap(here, &mut moving.place);
        if back {
            record.issued = record.issued.next();
            here.generation = record.issued;
        }
        here.since = self.now;
        if guest_runs {
            record.placed = here.generation;
        }
        if !shared {
            std::mem::swap(&mut record.files.host, &mut moving.files);
            // The unused memory files are on the host that the VM leaves. They are removed with the
            // VM's folder there.
            record.unused.clear();
        }
        moving.domain = guest_runs;
        record.resched = false;
        let (host, generation) = (here.host, here.generation);
        self.history_end(Some(verb));
        self.history_begin(host, verb, generation);
    }

    /// The migration is over. If something of the VM may still be at the other placement, a
    /// leftover is written down, and swept when that host is seen.
    pub(crate) fn part_from_other(&mut self) {
        if let Some(Move { place, domain, files }) = self.record.moving.take()
            && (domain || files)
        {
            self.leave_behind(place, files);
        }
    }

    /// As [`Self::part_from_other`], after the other host was seen.
    pub(crate) fn part_from_other_seen(&mut self, there: DomainStatus) {
        if let Some(moving) = &mut self.record.moving {
            moving.domain = there != DomainStatus::Absent;
        }
        self.part_from_other();
    }

    /// Writes down that something of the VM may still be at `place`. A host has one leftover of a
    /// VM, even if the VM left it several times.
    pub(crate) fn leave_behind(&mut self, place: Placement, files: bool) {
        let leftovers = &mut self.record.leftovers;
        match leftovers.iter_mut().find(|left| left.place.host == place.host) {
            Some(left) => *left = Leftover { place, files: files || left.files },
            None => leftovers.push(Leftover { place, files }),
        }
    }

    /// Removes a call that has returned, or is proven dead, from the record and from the outbox.
    pub(crate) fn close_call(&mut self, key: &EffectKey) -> Option<OpenCall> {
        let at = self.record.open.iter().position(|open| open.key == *key)?;
        self.settled.push(key.clone());
        Some(self.record.open.remove(at))
    }

    /// Tells every open call to stop. The calls stay open until they have returned.
    pub(crate) fn cancel_open(&mut self) {
        for open in &mut self.record.open {
            if !open.cancelled {
                open.cancelled = true;
                self.cancels.push(open.key.clone());
            }
        }
    }

    /// The driver said that all of the memory is in the memory file.
    pub(crate) fn memory_is_written(&mut self) {
        if let Some(file) = &mut self.record.recovery {
            file.complete = true;
        }
    }

    /// The save that was begun has not written the memory: forgets its memory file.
    pub(crate) fn memory_is_not_written(&mut self) {
        if self.record.recovery.as_ref().is_some_and(|file| !file.complete) {
            self.forget_recovery();
        }
    }

    /// For a save whose answer was lost. If the hypervisor says that the domain is off because it
    /// was saved, the memory file counts as complete; a restore verifies the file. If the
    /// hypervisor keeps memory that somebody else saved, that is not our save: it is newer than any
    /// file of ours, so our file counts as used.
    pub(crate) fn saved_after_all(&mut self, seen: DomainStatus) {
        if seen == DomainStatus::Off(PowerReason::Saved) {
            self.memory_is_written();
        }
        if seen == DomainStatus::Off(PowerReason::Kept) {
            self.consume_recovery();
        }
    }

    /// Gives up the memory file ([`marks::forget_recovery`]).
    pub(crate) fn forget_recovery(&mut self) {
        marks::forget_recovery(&mut self.record);
    }

    /// The memory file must never be restored from again ([`marks::consume_recovery`]).
    pub(crate) fn consume_recovery(&mut self) {
        marks::consume_recovery(&mut self.record);
    }

    /// Gives up the placement, and with it the capacity.
    pub(crate) fn leave_host(&mut self, ended_by: Option<Verb>) {
        self.part_from_other();
        if let Some(place) = self.record.placement.take() {
            self.record.last_driver = Some(place.driver);
        }
        self.record.running_since = None;
        self.record.blind_since = None;
        self.record.resched = false;
        self.history_end(ended_by);
    }

    fn history_end(&mut self, ended_by: Option<Verb>) {
        let now = self.now;
        if let Some(entry) = self.record.history.last_mut().filter(|entry| entry.to.is_none()) {
            entry.to = Some(now);
            entry.ended_by = ended_by;
        }
    }

    pub(crate) fn history_begin(&mut self, host: HostId, verb: Verb, generation: Generation) {
        if self.record.history.len() >= VmRecord::HISTORY_MAX {
            self.record.history.remove(0);
        }
        let capacity = self.record.spec.capacity();
        let (from, begun_by) = (self.now, Some(verb));
        self.record.history.push(HistoryEntry {
            host,
            from,
            begun_by,
            generation,
            to: None,
            ended_by: None,
            capacity,
        });
    }

    pub(crate) fn accept(&mut self, operation: Option<OperationId>, overtook: Option<OperationId>) {
        self.answer = Some(Answer {
            vm: self.record.id,
            operation,
            state: self.record.state,
            version: self.record.version,
            already: false,
            overtook,
            destroys: Vec::new(),
        });
    }

    /// Writes into the answer which things are removed for good.
    pub(crate) fn destroys(&mut self, destroys: Vec<Destroyed>) {
        if let Some(answer) = &mut self.answer {
            answer.destroys = destroys;
        }
    }

    pub(crate) fn already(&mut self, operation: Option<OperationId>) {
        self.accept(operation, None);
        if let Some(answer) = &mut self.answer {
            answer.already = true;
        }
    }

    pub(crate) const fn refuse(
        &self,
        verb: Verb,
        kind: RefusalKind,
        cause: Cause,
        hint: Hint,
    ) -> Refusal {
        Refusal { kind, verb, vm: self.record.id, cause, hint }
    }
}
