//! A decision in the making: the next record and what goes with it. Knows how to write things down, not what to decide.

use crate::sight::Sight;
use crate::{Decision, Facts};
use ostler_model::{
    Active, Answer, Call, Claim, Effect, EffectKey, Ended, EventKind, Generation, HistoryEntry, HostId, Item, Journal, Lane,
    Millis, OpenCall, OperationId, Reason, Refusal, RefusalKind, Sighting, State, Timestamp, Verb, VmRecord,
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
        }
    }

    pub(crate) fn set_state(&mut self, to: State, reason: Reason) {
        let from = self.record.state;
        if from != to || self.record.reason != reason {
            if from != to {
                self.record.since = self.now;
            }
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
    pub(crate) fn occupy(&mut self, active: Active, by: &str, verb: Verb) {
        self.journal.push(Journal::Began { operation: active.id, verb, by: by.to_owned(), at: self.now });
        self.events.push(EventKind::OperationBegan { operation: active.id, verb, by: by.to_owned() });
        self.record.failure = None;
        self.record.operation = Some(active);
    }

    /// Writes the end of an operation down and frees the slot if it holds it.
    pub(crate) fn end_operation(&mut self, operation: OperationId, outcome: Ended) {
        let (word, error) = match &outcome {
            Ended::Succeeded => ("succeeded", None),
            Ended::Failed { error } => ("failed", Some(error.clone())),
            Ended::Superseded { .. } => ("superseded", None),
        };
        self.events.push(EventKind::OperationEnded { operation, outcome: word.to_owned(), error });
        self.journal.push(Journal::Ended { operation, outcome, at: self.now });
        if self.record.operation.as_ref().is_some_and(|active| active.id == operation) {
            self.record.operation = None;
            // A look that was begun before this end says nothing about what comes after it.
            self.record.step = self.record.step.next();
        }
    }

    /// Puts a driver call into the outbox and opens it.
    pub(crate) fn open_call(&mut self, call: Call, item: Item, patience: Millis) {
        let Some(active) = &self.record.operation else { return };
        let key = EffectKey { vm: self.record.uuid, operation: active.id, step: active.step, item };
        let attempt = active.attempt;
        let Some((host, driver, generation)) = self.place_of(call) else { return };
        self.record.open.push(OpenCall { key: key.clone(), call, attempt, cancelled: false });
        self.effects.push(Effect { vm: self.record.id, key, attempt, call, host, driver, generation, patience });
    }

    /// Where a call goes, by which driver and for which generation; none if there is no such place.
    pub(crate) fn place_of(&self, call: Call) -> Option<(HostId, ostler_model::DriverName, Generation)> {
        let record = &self.record;
        let place = record.placement.as_ref();
        let generation = place.map_or(record.placed, |place| place.generation);
        match call.lane() {
            Lane::Hypervisor => place.map(|place| (place.host, place.driver.clone(), generation)),
            Lane::Transfer => {
                let at_home = matches!(call, Call::CopyOut | Call::DropHome);
                let host = if at_home { HostId::FRONT_END } else { place?.host };
                record.storage.as_ref().map(|storage| (host, storage.driver.clone(), generation))
            }
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

    /// The guest has run, or may have, since its memory was saved: never restored from again.
    pub(crate) fn consume_recovery(&mut self) {
        if let Some(file) = &mut self.record.recovery {
            file.consumed = true;
        }
    }

    /// Gives the place, and with it the capacity, back.
    pub(crate) fn leave_host(&mut self, ended_by: Option<Verb>) {
        self.record.placement = None;
        self.record.running_since = None;
        self.record.blind_since = None;
        let now = self.now;
        if let Some(entry) = self.record.history.last_mut().filter(|entry| entry.to.is_none()) {
            entry.to = Some(now);
            entry.ended_by = ended_by;
        }
    }

    pub(crate) fn history_begin(&mut self, host: HostId) {
        if self.record.history.len() >= VmRecord::HISTORY_MAX {
            self.record.history.remove(0);
        }
        let capacity = self.record.spec.capacity();
        self.record.history.push(HistoryEntry { host, from: self.now, to: None, ended_by: None, capacity });
    }

    pub(crate) fn accept(&mut self, operation: Option<OperationId>, overtook: Option<OperationId>) {
        self.answer = Some(Answer {
            vm: self.record.id,
            operation,
            state: self.record.state,
            version: self.record.version,
            already: false,
            overtook,
        });
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
