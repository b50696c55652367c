//! A decision in the making: the next record and what goes with it. Knows how to write things down, not what to decide.

use crate::sight::Sight;
use crate::{Decision, Facts};
use ostler_model::{
    Active, Answer, Call, Claim, Destroyed, DriverError, Effect, EffectKey, Ended, EventKind, Generation, HistoryEntry, HostId,
    ImageChange, ImageState, Item, Journal, Lane, Leftover, Millis, NewImage, OpenCall, OperationId, Placement, PowerReason,
    Reason, Refusal, RefusalKind, Request, Side, Sighting, State, StateKind, Subject, Timestamp, Verb, VmRecord,
};

pub(crate) struct Draft<'a> {
    pub(crate) before: &'a VmRecord,
    pub(crate) facts: &'a Facts,
    pub(crate) now: Timestamp,
    pub(crate) record: VmRecord,
    pub(crate) answer: Option<Answer>,
    pub(crate) effects: Vec<Effect>,
    pub(crate) settled: Vec<EffectKey>,
    pub(crate) cancels: Vec<EffectKey>,
    pub(crate) claims: Vec<Claim>,
    pub(crate) journal: Vec<Journal>,
    pub(crate) events: Vec<EventKind>,
    pub(crate) images: Vec<ImageChange>,
    /// What the call that returned has seen at the VM's place, where that is not what it was sent for.
    pub(crate) sighted: Option<Sight>,
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
            claims: Vec::new(),
            journal: Vec::new(),
            events: Vec::new(),
            images: Vec::new(),
            sighted: None,
        }
    }

    pub(crate) fn finish(mut self) -> Decision {
        let changed =
            self.record != *self.before || !self.effects.is_empty() || !self.settled.is_empty() || !self.journal.is_empty();
        if changed {
            self.record.version = self.before.version.next();
            if let Some(answer) = &mut self.answer {
                answer.version = self.record.version;
                answer.state = self.record.state;
            }
        }
        // A call that is settled and sent again by one decision keeps its row: the identity is the same.
        let mut settled = self.settled;
        settled.retain(|key| !self.effects.iter().any(|effect| effect.key == *key));
        Decision {
            record: self.record,
            changed,
            answer: self.answer,
            effects: self.effects,
            settled,
            cancels: self.cancels,
            claims: self.claims,
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

    pub(crate) fn note_sight(&mut self, sight: Sight) {
        let what = sight.words();
        if self.record.seen.as_ref().is_none_or(|seen| seen.what != what) {
            self.record.seen = Some(Sighting { at: self.now, what: what.to_owned() });
        }
        self.record.blind_since = None;
    }

    /// Gives the slot to a new operation; its plan is begun by the caller.
    pub(crate) fn occupy(&mut self, active: Active, by: &str, verb: Verb, destroys: Vec<Destroyed>) {
        self.journal.push(Journal::Began { operation: active.id, verb, by: by.to_owned(), at: self.now });
        self.events.push(EventKind::OperationBegan { operation: active.id, verb, by: by.to_owned(), destroys });
        self.record.failure = None;
        self.record.operation = Some(active);
    }

    /// An operation that begins and ends in this decision, beside the one that holds the slot if there is one.
    pub(crate) fn note_instant(&mut self, asked: &Request) {
        let (operation, verb, by) = (asked.operation, asked.verb, asked.by.clone());
        self.journal.push(Journal::Began { operation, verb, by: by.clone(), at: self.now });
        self.events.push(EventKind::OperationBegan { operation, verb, by, destroys: Vec::new() });
        self.end_operation(operation, Ended::Succeeded);
    }

    /// The step in hand has come to nothing.
    pub(crate) fn step_failed(&mut self, error: &DriverError) {
        if let Some(active) = &self.record.operation {
            self.journal.push(Journal::StepFailed { operation: active.id, error: error.clone(), at: self.now });
        }
    }

    /// Writes the end of an operation down and frees the slot if it holds it.
    pub(crate) fn end_operation(&mut self, operation: OperationId, outcome: Ended) {
        let (word, error) = match &outcome {
            Ended::Succeeded => ("succeeded", None),
            Ended::Failed { error } => ("failed", Some(error.clone())),
            Ended::Superseded { .. } => ("superseded", None),
        };
        let succeeded = outcome == Ended::Succeeded;
        crate::agenda::ended(self, operation, &outcome);
        self.events.push(EventKind::OperationEnded { operation, outcome: word.to_owned(), error });
        self.journal.push(Journal::Ended { operation, outcome, at: self.now });
        if let Some(active) = self.record.operation.as_ref().filter(|active| active.id == operation) {
            // A recovery that has rolled an attach back has succeeded, and the disk or card is gone.
            let unplugged = active.undoing && matches!(active.verb, Verb::DiskAttach | Verb::NicAttach);
            if !succeeded || unplugged {
                self.take_back();
            }
            self.record.operation = None;
            // A look that was begun before this end says nothing about what comes after it.
            self.record.step = self.record.step.next();
        }
    }

    /// What the record says about the subject of an operation that did not succeed is put right.
    fn take_back(&mut self) {
        let Some(active) = self.record.operation.clone() else { return };
        let record = &mut self.record;
        for snapshot in &mut record.snapshots {
            snapshot.losing = false;
        }
        match (active.verb, active.subject) {
            (Verb::DiskAttach, Subject::Disk { name }) => {
                record.disks.retain(|disk| disk.name != name);
                record.spec.disks.retain(|disk| disk.name != name);
            }
            (Verb::NicAttach, Subject::Nic { mac }) => record.spec.nics.retain(|nic| nic.mac.as_ref() != Some(&mac)),
            // It was to be removed again, and may still be there: known, and not offered.
            (Verb::SnapshotCreate, Subject::Snapshot { name }) if active.undoing => {
                record.snapshots.iter_mut().filter(|snapshot| snapshot.name == name).for_each(|snapshot| snapshot.hidden = true);
            }
            (Verb::SnapshotCreate, Subject::Snapshot { name }) => record.snapshots.retain(|snapshot| snapshot.name != name),
            // While it is rolled back, the record says already what was before.
            (Verb::Resize, Subject::Size { before }) if !active.undoing => record.spec.set_size(before),
            (Verb::DiskSnapshotLive, Subject::DiskImage { becomes, .. }) => {
                self.images.push(ImageChange::Set { image: becomes.image, state: ImageState::Error });
            }
            (_, _) => {}
        }
    }

    /// Puts a driver call about `item` into the outbox and opens it.
    pub(crate) fn open_call(&mut self, call: Call, side: Side, item: Item, patience: Millis) {
        let Some(active) = &self.record.operation else { return };
        let key = EffectKey { vm: self.record.uuid, operation: active.id, step: active.step, item };
        let attempt = active.attempt;
        let Some((host, driver, generation)) = self.address(call, side, &key.item) else { return };
        // Where two hosts are one hypervisor, a removal at one side of a move would take the domain that lives at the other.
        let removes = call == Call::Remove && side == Side::Other;
        let spares = self.record.placement.as_ref().map(|place| place.generation).filter(|_| removes);
        self.record.open.push(OpenCall { key: key.clone(), call, attempt, cancelled: false });
        self.effects.push(Effect { vm: self.record.id, key, attempt, call, host, driver, generation, spares, patience });
    }

    /// Where a call goes, by which driver and for which generation; none if there is no such place.
    pub(crate) fn address(&self, call: Call, side: Side, item: &Item) -> Option<(HostId, ostler_model::DriverName, Generation)> {
        let record = &self.record;
        let place = record.place(side);
        let generation = place.map_or(record.placed, |place| place.generation);
        match call.lane() {
            // Sent to the host that it leaves, and done for the generation that arrives.
            Lane::Hypervisor if call == Call::Migrate => {
                let arrives = record.other.as_ref()?.generation;
                place.map(|place| (place.host, place.driver.clone(), arrives))
            }
            Lane::Hypervisor => place.map(|place| (place.host, place.driver.clone(), generation)),
            Lane::Transfer => {
                let where_it_is = matches!(call, Call::SaveBack | Call::DropRecovery);
                let at_home = matches!(call, Call::CopyOut | Call::DropHome) || (where_it_is && place.is_none());
                let host = if at_home { HostId::FRONT_END } else { place?.host };
                let driver = match call {
                    Call::SaveBack => self.new_image(item)?.driver,
                    _ => record.storage.as_ref()?.driver.clone(),
                };
                Some((host, driver, generation))
            }
        }
    }

    /// The image that a disk is to become: now, or when the VM is shut down.
    pub(crate) fn new_image(&self, item: &Item) -> Option<NewImage> {
        let Item::Disk(disk) = item else { return None };
        if let Some(Subject::DiskImage { name, becomes }) = self.record.operation.as_ref().map(|active| &active.subject)
            && name == disk
        {
            return Some(becomes.clone());
        }
        self.record.disks.iter().find(|known| known.name == *disk)?.save_as.clone()
    }

    /// The two hosts of a migration change their parts. A place that is gone back to is a new stay there, under a new generation: what
    /// may still be about to start under the old one must not run.
    pub(crate) fn switch(&mut self, verb: Verb, guest_runs: bool, back: bool) {
        let record = &mut self.record;
        let (Some(mut to), Some(from)) = (record.other.take(), record.placement.take()) else { return };
        if back {
            record.issued = record.issued.next();
            to.generation = record.issued;
        }
        to.since = self.now;
        if guest_runs {
            record.placed = to.generation;
        }
        if !record.storage_is_shared() {
            std::mem::swap(&mut record.files.host, &mut record.files.other);
            // They are at the host that it leaves, and go with the folder there.
            record.unused.clear();
        }
        record.other_domain = guest_runs;
        record.resched = false;
        let (host, generation) = (to.host, to.generation);
        record.other = Some(from);
        record.placement = Some(to);
        self.history_end(Some(verb));
        self.history_begin(host, verb, generation);
    }

    /// The migration is over. What may still be at the other place is written down, to be swept when its host is seen.
    pub(crate) fn part_from_other(&mut self) {
        let record = &mut self.record;
        let Some(place) = record.other.take() else { return };
        let files = std::mem::take(&mut record.files.other);
        if std::mem::take(&mut record.other_domain) || files {
            self.leave_behind(place, files);
        }
    }

    /// Something of the VM may still be at `place`. A host is swept once, however often it was left.
    pub(crate) fn leave_behind(&mut self, place: Placement, files: bool) {
        let leftovers = &mut self.record.leftovers;
        match leftovers.iter_mut().find(|left| left.place.host == place.host) {
            Some(left) => *left = Leftover { place, files: files || left.files },
            None => leftovers.push(Leftover { place, files }),
        }
    }

    /// Takes a call that has returned, or is proven dead, off the books.
    pub(crate) fn close_call(&mut self, key: &EffectKey) -> Option<OpenCall> {
        let at = self.record.open.iter().position(|open| open.key == *key)?;
        self.settled.push(key.clone());
        Some(self.record.open.remove(at))
    }

    /// Tells every open call to stop. They stay open until they have returned.
    pub(crate) fn cancel_open(&mut self) {
        for open in &mut self.record.open {
            if !open.cancelled {
                open.cancelled = true;
                self.cancels.push(open.key.clone());
            }
        }
    }

    /// The driver said that all of the memory is in the recovery file.
    pub(crate) fn memory_is_written(&mut self) {
        if let Some(file) = &mut self.record.recovery {
            file.complete = true;
        }
    }

    /// The save that was begun came to nothing.
    pub(crate) fn memory_is_not_written(&mut self) {
        if self.record.recovery.as_ref().is_some_and(|file| !file.complete) {
            self.forget_recovery();
        }
    }

    /// A save was sent and its answer never came; now the hypervisor says that the domain went off by being saved. Restoring makes
    /// sure of the file. Memory that the hypervisor keeps for somebody else is no such save, and newer than any file of ours.
    pub(crate) fn saved_after_all(&mut self, seen: Sight) {
        match seen {
            Sight::Off(PowerReason::Saved) => self.memory_is_written(),
            Sight::Off(PowerReason::Kept) => self.consume_recovery(),
            Sight::Off(
                PowerReason::None
                | PowerReason::Person
                | PowerReason::Guest
                | PowerReason::Destroyed
                | PowerReason::Crashed
                | PowerReason::Migrated
                | PowerReason::IoError
                | PowerReason::Watchdog
                | PowerReason::Starting,
            )
            | Sight::Running
            | Sight::Paused(_)
            | Sight::Crashed
            | Sight::Absent
            | Sight::Foreign
            | Sight::AboveIssued
            | Sight::OlderOff
            | Sight::OlderAlive => {}
        }
    }

    /// Nobody will restore from the recovery file any more. It is removed when the VM's host is looked at next.
    pub(crate) fn forget_recovery(&mut self) {
        let record = &mut self.record;
        let Some(file) = record.recovery.take() else { return };
        if record.unused.len() >= VmRecord::UNUSED_MAX {
            // It goes with the VM's folder.
            record.unused.remove(0);
        }
        record.unused.push(file.name);
    }

    /// The guest has run, or may have, since its memory was saved: never restored from again.
    pub(crate) fn consume_recovery(&mut self) {
        if let Some(file) = &mut self.record.recovery {
            file.consumed = true;
        }
    }

    /// Gives the place, and with it the capacity, back.
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
        self.record.history.push(HistoryEntry { host, from, begun_by, generation, to: None, ended_by: None, capacity });
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

    /// The answer tells what is removed for good.
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

    pub(crate) fn refuse(&self, verb: Verb, kind: RefusalKind, detail: impl Into<String>, hint: impl Into<String>) -> Refusal {
        Refusal { kind, verb, detail: detail.into(), hint: hint.into() }
    }
}
