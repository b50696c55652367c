//! The daemon, reduced to what a decision needs: the record, the outbox, the calls in flight and
//! the time. Every decision goes through [`Rig::feed`], which holds it against the invariants.

use crate::invariants;
use crate::samples::{asked, began, new_vm};
use crate::world::World;
use ostler_lifecycle::{Decision, Facts, Input, create, decide};
use ostler_model::{
    Ability, Args, Call, CallResult, DriverError, Effect, EffectKey, HostId, ImageId, ImageState,
    Item, Journal, Millis, Observation, OperationId, OperationRecord, Refusal, State, StepNo,
    StoreId, Timestamp, Verb, VmRecord, VmUuid,
};
use std::collections::{BTreeMap, BTreeSet};

/// What went against an invariant.
pub(crate) type Violation = String;

/// A call in flight.
#[derive(Debug, Clone)]
pub(crate) struct Flight {
    pub(crate) effect: Effect,
    /// The record as it was committed with the effect: what arguments are built from.
    pub(crate) record: VmRecord,
    pub(crate) sent: Timestamp,
    /// What came of it and the world's stamp right after, once it was carried out.
    pub(crate) done: Option<(CallResult, u64)>,
}

/// A deliberate fault, for negative controls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// A decided effect is never sent.
    DropEffect,
    /// The outbox keeps what has ended.
    ForgetSettled,
    /// A lost press is sent again under a new identity.
    NewEdgeIdentity,
    /// A lost answer is taken for success.
    RestWithoutLook,
    /// Memory counts as used one commit too late.
    ConsumeLate,
    /// A wait has no end.
    Stuck,
    /// Done before the cleaning.
    EarlyDone,
    /// The place is kept at the end.
    KeepCapacity,
    /// Ends without waiting for what is in flight.
    RestWithOpenCalls,
    /// A rollback that fails forgets that it was one.
    ForgetUndoing,
    /// A commit does not raise the version.
    SameVersion,
    /// A VM that moves goes under the generation it had.
    SameGeneration,
    /// A VM that has moved is looked for where it came from.
    GoBackToOldDisks,
    /// A rollback does not make sure that nothing runs at the other host.
    UndoWithoutRemoveOther,
    /// The guest is started at the other host though its domain is still where it came from.
    SwitchWithoutRemove,
    /// What a VM left behind is not written down.
    ForgetLeftover,
    /// A snapshot that does not survive is still offered.
    KeepLostSnapshot,
    /// An image that was not written stays locked.
    KeepImageLocked,
    /// Whoever cannot see both hosts decides by one.
    DecideByOneHost,
    /// A disk that could not be plugged in stays in the record.
    KeepAttached,
    /// A scheduled action that is refused stays due.
    StayDue,
}

pub(crate) struct Rig {
    pub(crate) record: VmRecord,
    pub(crate) world: World,
    pub(crate) outbox: BTreeMap<EffectKey, Effect>,
    pub(crate) flying: Vec<Flight>,
    pub(crate) now: Timestamp,
    pub(crate) fault: Fault,
    /// Edge identities sent, by operation.
    pub(crate) edges: BTreeMap<OperationId, BTreeSet<EffectKey>>,
    /// The last answer, for those who deliver it twice.
    pub(crate) last_answer: Option<Input>,
    /// Looks that were begun, and are delivered late.
    pub(crate) late_looks: Vec<LateLook>,
    /// How operations have ended.
    pub(crate) outcomes: BTreeMap<OperationId, ostler_model::Ended>,
    /// Operations as the store keeps them.
    pub(crate) operations: BTreeMap<OperationId, OperationRecord>,
    /// How many operations have ended.
    pub(crate) ended: usize,
    pub(crate) last: Option<Decision>,
    /// What the driver is able to do.
    pub(crate) abilities: Option<Vec<Ability>>,
    /// What the driver is able to do where the VM would go.
    pub(crate) target_abilities: Option<Vec<Ability>>,
    /// What the snapshot rules say.
    pub(crate) rules: Rules,
    /// Rows of images, by what the decisions said.
    pub(crate) images: BTreeMap<ImageId, ImageState>,
    pub(crate) next_operation: u64,
    /// Whether the record came back with a backup: then it may be wrong about files and disks, and
    /// only what harms a guest counts.
    pub(crate) restored: bool,
}

/// A look that was begun: the step then, what was seen, what was seen at the other host, and how
/// many operations had ended.
pub(crate) type LateLook = (StepNo, Observation, Option<Observation>, usize);

/// What the snapshot rules say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rules {
    /// What is so in this world: a snapshot lives in the disks, and goes where they go away.
    True,
    /// None survives anything.
    Lose,
    /// Nobody knows.
    Hide,
    /// They say no.
    Refuse,
    /// They give no answer.
    Silent,
    /// None are bound.
    None,
}

pub(crate) const STORE: StoreId = StoreId(uuid::Uuid::from_u128(0x5705e));
pub(crate) const ALIEN: StoreId = StoreId(uuid::Uuid::from_u128(0xa11e));
pub(crate) const UUID: VmUuid = VmUuid(uuid::Uuid::from_u128(0xbeef));

impl Rig {
    pub(crate) fn new(disks: usize, shared: bool, fault: Fault) -> Self {
        let now = Timestamp(1_000_000);
        Self {
            record: create(new_vm(disks, false), now).record,
            world: World::new(STORE, UUID, shared),
            outbox: BTreeMap::new(),
            flying: Vec::new(),
            now,
            fault,
            edges: BTreeMap::new(),
            last_answer: None,
            late_looks: Vec::new(),
            outcomes: BTreeMap::new(),
            operations: BTreeMap::new(),
            ended: 0,
            last: None,
            abilities: None,
            target_abilities: None,
            rules: Rules::True,
            images: BTreeMap::new(),
            next_operation: 1,
            restored: false,
        }
    }

    pub(crate) fn ask(
        &mut self,
        verb: Verb,
        args: Args,
        force: bool,
        host: HostId,
    ) -> Result<Result<(), Refusal>, Violation> {
        self.next_operation += 1;
        let asked = asked(self.next_operation, verb, args, host, force);
        let facts = self.facts(Some(&asked));
        self.feed(&Input::Request(asked), &facts)
    }

    pub(crate) fn tell(&mut self, input: &Input) -> Result<(), Violation> {
        let facts = self.facts(None);
        self.feed(input, &facts).map(|_| ())
    }

    /// One decision, held against the invariants, and committed.
    pub(crate) fn feed(
        &mut self,
        input: &Input,
        facts: &Facts,
    ) -> Result<Result<(), Refusal>, Violation> {
        let decided = crate::faults::decide(self, input, facts, || {
            decide(&self.record, facts, input, self.now)
        });
        let decision = match decided {
            Ok(decision) => decision,
            Err(refusal) => {
                if !matches!(input, Input::Request(_) | Input::Reconcile { by: Some(_), .. }) {
                    return Err("something that is no request was refused".to_owned());
                }
                self.last = None;
                return Ok(Err(refusal));
            }
        };
        let before = self.record.clone();
        // What only changes the record says nothing of the guest, and a look is as good after it as
        // before.
        let beside =
            |verb: Verb| verb.is_record_only() || verb.is_recovery() || verb == Verb::Resize;
        let only_record = decision
            .journal
            .iter()
            .any(|entry| matches!(entry, Journal::Began { verb, .. } if beside(*verb)));
        if !only_record {
            self.ended += decision
                .journal
                .iter()
                .filter(|entry| matches!(entry, Journal::Ended { .. }))
                .count();
        }
        self.send(&decision);
        self.note(&decision);
        for change in &decision.images {
            let booked = crate::facts::book(self, change);
            if !self.restored {
                booked?;
            }
        }
        if self.restored {
            invariants::harmed(self)?;
        } else {
            invariants::decision(self, &before, input, &decision)?;
            invariants::standing(self)?;
        }
        self.last = Some(decision);
        Ok(Ok(()))
    }

    /// Commits the record, and sends the calls.
    fn send(&mut self, decision: &Decision) {
        for key in &decision.settled {
            self.outbox.remove(key);
            self.flying.retain(|flight| flight.effect.key != *key);
        }
        self.record = decision.record.clone();
        for effect in &decision.effects {
            self.outbox.insert(effect.key.clone(), effect.clone());
            self.flying.retain(|flight| flight.effect.key != effect.key);
            self.flying.push(Flight {
                effect: effect.clone(),
                record: self.record.clone(),
                sent: self.now,
                done: None,
            });
            if effect.call.class() == ostler_model::EffectClass::Edge {
                self.edges.entry(effect.key.operation).or_default().insert(effect.key.clone());
            }
        }
    }

    /// Keeps the journal of operations.
    fn note(&mut self, decision: &Decision) {
        for entry in &decision.journal {
            if let Journal::Ended { operation, outcome, .. } = entry {
                self.outcomes.insert(*operation, outcome.clone());
            }
            if let Journal::Began { operation, verb, by, at } = entry {
                self.operations
                    .insert(*operation, began(self.record.id, *operation, *verb, by, *at));
            }
            if let Some(kept) = self.operations.get_mut(&entry.operation()) {
                kept.note(entry);
            }
        }
    }

    /// Carries a call out, without its answer.
    pub(crate) fn execute(&mut self, at: usize) {
        let Some(flight) = self.flying.get_mut(at) else { return };
        if flight.done.is_none() {
            let result = self.world.execute(&flight.effect, &flight.record);
            flight.done = Some((result, self.world.stamp));
        }
    }

    /// The call's answer arrives; it is carried out first if it was not yet.
    pub(crate) fn answer(&mut self, at: usize) -> Result<(), Violation> {
        self.execute(at);
        let Some(flight) = self.flying.get(at).cloned() else { return Ok(()) };
        let Some((result, stamp)) = flight.done.clone() else { return Ok(()) };
        let fresh = stamp == self.world.stamp;
        let idle_before = self.record.operation.is_none();
        let told = matches!(&result, Ok(outcome) if outcome.seen.is_some());
        self.deliver(&flight, result)?;
        // What was seen at the other host says nothing of where it is.
        let here = self.host() == Some(flight.effect.host);
        if fresh
            && told
            && here
            && !self.restored
            && !idle_before
            && self.record.operation.is_none()
        {
            invariants::agrees(self, "an operation ended")?;
        }
        Ok(())
    }

    /// The call ends in an error.
    pub(crate) fn err(
        &mut self,
        at: usize,
        error: DriverError,
        executed: bool,
    ) -> Result<(), Violation> {
        if executed {
            self.execute(at);
        }
        let Some(flight) = self.flying.get(at).cloned() else { return Ok(()) };
        self.deliver(&flight, Err(error))
    }

    fn deliver(&mut self, flight: &Flight, result: CallResult) -> Result<(), Violation> {
        let input =
            Input::Answered { key: flight.effect.key.clone(), sent: Some(flight.sent), result };
        self.tell(&input)?;
        self.last_answer = Some(input);
        Ok(())
    }

    /// The last answer arrives once more; it must change nothing unless its call was sent again
    /// meanwhile.
    pub(crate) fn answer_again(&mut self) -> Result<(), Violation> {
        let Some(input @ Input::Answered { .. }) = self.last_answer.clone() else { return Ok(()) };
        let Input::Answered { key, .. } = &input else { return Ok(()) };
        if self.record.open.iter().any(|open| open.key == *key) {
            return Ok(());
        }
        let before = self.record.clone();
        self.tell(&input)?;
        if before == self.record { Ok(()) } else { Err("an answer counted twice".to_owned()) }
    }

    /// The daemon dies and is started again. `happened` says for each open call whether it did.
    pub(crate) fn restart(&mut self, happened: impl Fn(usize) -> bool) -> Result<(), Violation> {
        for at in 0..self.flying.len() {
            if happened(at) {
                self.execute(at);
            }
        }
        self.flying.clear();
        self.last_answer = None;
        self.late_looks.clear();
        self.tell(&Input::Restarted)
    }

    /// Advances the time to when the record is due, and says so.
    pub(crate) fn tick(&mut self) -> Result<bool, Violation> {
        let Some(due) = self.record.step_due().or_else(|| self.record.next_due()) else {
            return Ok(false);
        };
        self.now = self.now.max(due);
        self.tell(&Input::Tick)?;
        Ok(true)
    }

    pub(crate) fn pass_time(&mut self, by: Millis) -> Result<(), Violation> {
        self.now = self.now.plus(by);
        self.tell(&Input::Tick)
    }

    pub(crate) fn host(&self) -> Option<HostId> {
        self.record.placement.as_ref().map(|place| place.host)
    }

    /// Lets everything take its course, with a world that answers, until the VM rests.
    pub(crate) fn settle(&mut self) -> Result<usize, Violation> {
        const BOUND: usize = 600;
        for steps in 0..BOUND {
            if !self.flying.is_empty() {
                self.answer(0)?;
            } else if self.record.operation.is_some() {
                self.world.obey();
                if self.record.step_due().is_none() || !self.tick()? {
                    return Err("it waits for nothing".to_owned());
                }
            } else {
                return Ok(steps);
            }
        }
        Err(format!("no rest after {BOUND} steps: {:?}", self.record.operation))
    }

    pub(crate) fn state(&self) -> State {
        self.record.state
    }

    /// One line about the record, for expectations.
    pub(crate) fn line(&self) -> String {
        let mut out = format!("{}", self.record.state);
        if let Some(active) = &self.record.operation {
            let phase = format!("{:?}", active.phase);
            let phase = phase.split([' ', '{']).next().unwrap_or_default().to_lowercase();
            let step = active.kind().map_or_else(|| "end".to_owned(), |kind| kind.to_string());
            out += &format!(" ({}{step}: {phase})", if active.undoing { "undo " } else { "" });
        } else {
            out += &format!(" [{}]", self.record.reason);
        }
        let Some(last) = &self.last else { return out };
        for effect in &last.effects {
            let item = if effect.key.item == Item::Look || effect.key.item == Item::Domain {
                String::new()
            } else {
                format!(" {}", effect.key.item)
            };
            out += &format!(" > {}{item}", effect.call);
        }
        for key in &last.cancels {
            out += &format!(" > cancel {}", key.item);
        }
        for entry in &last.journal {
            if let Journal::Ended { operation, outcome, .. } = entry {
                let word = match outcome {
                    ostler_model::Ended::Succeeded => "succeeded".to_owned(),
                    ostler_model::Ended::Failed { error } => format!("failed: {}", error.code),
                    ostler_model::Ended::Superseded { by } => format!("superseded by {by}"),
                };
                out += &format!(" | operation {operation} {word}");
            }
        }
        if last.answer.as_ref().is_some_and(|answer| answer.already) {
            out += " | already so";
        }
        out
    }

    pub(crate) fn open_calls(&self) -> Vec<String> {
        let name = |call: Call| match call {
            Call::Now(now) => format!("{now:?}"),
            Call::Job(job) => format!("{job:?}"),
        };
        self.record.open.iter().map(|open| name(open.call)).collect()
    }
}
