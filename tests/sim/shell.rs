//! The runner of the simulated daemon: it takes an input, fetches facts, has it decided, commits,
//! and only then does what was decided. A function with the name of one in `ostler_engine::runner`
//! mirrors that one.

use crate::invariants;
use crate::mutation::{self, Mutation};
use crate::queue::{Asker, Duty, Event, Message, Purpose, Reply};
use crate::run::Sim;
use crate::store::{Commit, Committed};
use crate::sweep::PuttingAway;
use crate::world::Site;
use ostler_lifecycle::{Decision, Facts, Input, Look, decide, due, must_rest, wants_look};
use ostler_model::{
    Cause, DriverName, Due, Hint, HostId, Millis, Refusal, RefusalKind, Request, ScheduleId, State,
    Timestamp, Verb, VmId, VmRecord,
};
use std::collections::VecDeque;
use std::rc::Rc;

/// The thing that a runner waits for.
#[derive(Default)]
enum Waits {
    #[default]
    Nothing,
    /// A look that the request needs.
    Facts(Box<(Request, Asker)>),
    Commit(Asked),
    /// A look before a sweep.
    Look,
    PutAway(Box<PuttingAway>),
}

/// The asker of a request, and the request.
type Asked = Option<(Asker, Request)>;

/// A VM's mailbox, and its runner.
#[derive(Default)]
pub(crate) struct Desk {
    pub(crate) loaded: Option<Rc<VmRecord>>,
    inbox: VecDeque<Message>,
    waits: Waits,
}

impl Desk {
    /// True if the desk does nothing, or only looks whether a host can be swept.
    pub(crate) fn rests(&self) -> bool {
        matches!(self.waits, Waits::Nothing | Waits::Look) && self.inbox.is_empty()
    }

    /// The thing that it waits for, as words for a violation.
    pub(crate) const fn waits(&self) -> &'static str {
        match self.waits {
            Waits::Nothing => "nothing",
            Waits::Facts(_) => "facts",
            Waits::Commit(_) => "a commit",
            Waits::Look => "a look",
            Waits::PutAway(_) => "what it puts away",
        }
    }

    /// Takes the thing that the desk waits for, if it is of the kind asked for. After that the desk
    /// waits for nothing.
    fn taken(&mut self, which: impl Fn(&Waits) -> bool) -> Waits {
        if which(&self.waits) { std::mem::take(&mut self.waits) } else { Waits::Nothing }
    }

    pub(crate) fn idle(&self) -> bool {
        matches!(self.waits, Waits::Nothing) && self.inbox.is_empty()
    }
}

impl Sim {
    /// Puts a message into a mailbox.
    pub(crate) fn deliver(&mut self, vm: VmId, message: Message) {
        self.desks.entry(vm).or_default().inbox.push_back(message);
        self.pump(vm);
    }

    fn pump(&mut self, vm: VmId) {
        loop {
            let desk = self.desks.entry(vm).or_default();
            if !matches!(desk.waits, Waits::Nothing) {
                return;
            }
            let Some(message) = desk.inbox.pop_front() else { return };
            if !self.ready(vm) {
                // The runner first goes on with what a dead daemon left. The message waits for
                // that.
                self.desks.entry(vm).or_default().inbox.push_front(message);
                return;
            }
            self.handle(vm, message);
        }
    }

    /// Loads the record if it is not loaded, and goes on with what a dead daemon left. Returns true
    /// if nothing of that is under way.
    fn ready(&mut self, vm: VmId) -> bool {
        if self.desks.get(&vm).is_some_and(|desk| desk.loaded.is_some()) {
            return true;
        }
        let Some(record) = self.store.rows.records.get(&vm).map(Rc::clone) else { return true };
        self.desks.entry(vm).or_default().loaded = Some(Rc::clone(&record));
        let orphaned =
            must_rest(&record) || record.open.iter().any(|open| !self.executor.is_at(&open.key));
        if self.mutation != Mutation::TimersLost || self.life == 1 {
            self.set_timer(vm, record.next_due());
        }
        if orphaned && self.mutation != Mutation::NoRestarted {
            self.settle(vm, &record, self.bare(&record), Input::Restarted, None);
            return matches!(self.desks.entry(vm).or_default().waits, Waits::Nothing);
        }
        true
    }

    fn handle(&mut self, vm: VmId, message: Message) {
        if let Message::Returned { sending, key, .. } = &message
            && !self.executor.received(key, *sending)
        {
            // The answer came twice, and its call was sent again in between. No executor passes on
            // such an answer.
            return;
        }
        let Some(record) = self.desks.get(&vm).and_then(|desk| desk.loaded.clone()) else {
            if let Message::Request(asked, asker) = message {
                self.reply(vm, asker, &asked, &Reply::Lost);
            }
            return;
        };
        match message {
            Message::Input(input) => self.take_in(vm, &record, input),
            Message::Returned { key, sent, result, .. } => {
                self.take_in(vm, &record, Input::Answered { key, sent, result })
            }
            Message::Request(asked, asker) => self.request(vm, &record, asked, asker),
            Message::Sweep(host) => self.look_to_put_away(vm, host),
            Message::Wake => {}
        }
    }

    fn take_in(&mut self, vm: VmId, record: &Rc<VmRecord>, input: Input) {
        let ticks = input == Input::Tick;
        self.settle(vm, record, self.bare(record), input, None);
        if ticks {
            self.ask_what_is_due(vm);
        }
    }

    /// The VM's own runner asks for a scheduled action that is due. An action that is too late is
    /// written down. Mirrors `fire`.
    fn ask_what_is_due(&mut self, vm: VmId) {
        let Some(desk) = self.desks.get_mut(&vm) else { return };
        let Some(record) = desk.loaded.clone() else { return };
        if !matches!(desk.waits, Waits::Nothing) {
            // The tick is being committed. After that, the runner looks again for actions that are
            // due.
            desk.inbox.push_front(Message::Input(Input::Tick));
            return;
        }
        let Some(planned) = due(&record, self.now) else {
            if let Some(at) = record.next_due() {
                self.set_timer(vm, Some(at));
            }
            return;
        };
        let (id, schedule) = (planned.id(), &planned.schedule);
        if let Some(Due::Missed { .. }) = schedule.due(self.now) {
            let (verb, cause, hint) = (schedule.verb, Cause::TooLate, Hint::SeeMisfire);
            let refusal = Refusal { kind: RefusalKind::Busy, verb, vm, cause, hint };
            return self.settle(
                vm,
                &record,
                self.bare(&record),
                Input::ScheduleRefused { schedule: id, refusal },
                None,
            );
        }
        self.next_operation += 1;
        let asked = Request {
            operation: ostler_model::OperationId(self.next_operation),
            verb: schedule.verb,
            by: schedule.by.clone(),
            args: planned.args.clone(),
            host: planned.host,
            enforce: planned.host.is_some(),
            force: false,
            if_version: None,
            schedule: Some(id),
        };
        self.request(vm, &record, asked, Asker::Clock);
    }

    /// The result of a scheduled action's request is committed next, before anything else.
    pub(crate) fn fired(&mut self, vm: VmId, schedule: ScheduleId, refusal: Option<Refusal>) {
        let desk = self.desks.entry(vm).or_default();
        desk.inbox.push_front(Message::Input(Input::Tick));
        if let Some(refusal) = refusal {
            desk.inbox.push_front(Message::Input(Input::ScheduleRefused { schedule, refusal }));
        }
    }

    pub(crate) fn deliver_soon(&mut self, vm: VmId, message: Message) {
        self.later(Millis(0), Duty::Deliver(vm, Box::new(message)));
    }

    fn request(&mut self, vm: VmId, record: &Rc<VmRecord>, asked: Request, asker: Asker) {
        if wants_look(record, asked.verb)
            && let Some(place) = &record.placement
        {
            let (host, wait) = (place.host, Millis(self.rng.within(1, 100)));
            self.desks.entry(vm).or_default().waits = Waits::Facts(Box::new((asked, asker)));
            return self.later(wait, Duty::Look(vm, host, None, Purpose::Facts));
        }
        self.decide_request(vm, record, asked, asker, None);
    }

    /// The result of the look that a request waited for.
    pub(crate) fn looked_for_facts(&mut self, vm: VmId, look: Look) {
        let desk = self.desks.entry(vm).or_default();
        let Waits::Facts(waiting) = desk.taken(|waits| matches!(waits, Waits::Facts(_))) else {
            return;
        };
        let Some(record) = desk.loaded.clone() else { return };
        let (asked, asker) = *waiting;
        self.decide_request(vm, &record, asked, asker, Some(look));
        self.pump(vm);
    }

    fn decide_request(
        &mut self,
        vm: VmId,
        record: &Rc<VmRecord>,
        asked: Request,
        asker: Asker,
        look: Option<Look>,
    ) {
        let look = look.map(|look| {
            if self.mutation == Mutation::SilenceIsAbsence { mutation::absent(look) } else { look }
        });
        let facts = self.facts(record, &asked, look);
        let input = Input::Request(asked.clone());
        self.settle(vm, record, facts, input, Some((asker, asked)));
    }

    /// Decides `input`, and passes the decision to the store. The answer to a request is given once
    /// the commit is durable.
    fn settle(
        &mut self,
        vm: VmId,
        record: &Rc<VmRecord>,
        facts: Facts,
        input: Input,
        asked: Asked,
    ) {
        self.stats.decisions += 1;
        let mutation = self.mutation;
        let decided = mutation::decide(mutation, record, &facts, &input, self.now, || {
            decide(record, &facts, &input, self.now)
        });
        let made = match decided {
            Ok(made) => self.after_seeing(record, &input, made),
            Err(refusal) => return self.refused(vm, asked, &input, refusal),
        };
        if self.tracing {
            self.note_decision(vm, &input, &made);
        }
        if let (Some((_, asked)), Some(answer)) = (&asked, &made.answer)
            && !answer.already
        {
            self.files_are_moved(vm, record, asked);
        }
        if let Err(why) = invariants::decision(record, &input, &made) {
            self.world.wrong(|| why);
        }
        self.coverage.decided(record, &input, &made);
        if !made.changed {
            if let (Some((asker, asked)), Some(answer)) = (asked, made.answer) {
                self.reply(vm, asker, &asked, &Reply::Accepted(answer));
            }
            return;
        }
        let seen = matches!(input, Input::Observed { .. });
        self.commit(vm, record, made, seen, asked);
    }

    /// If a look has changed the VM's state, the snapshot rules say what becomes of its snapshots.
    fn after_seeing(&self, record: &VmRecord, input: &Input, made: Decision) -> Decision {
        let seen = matches!(input, Input::Observed { .. }) && made.record.state != record.state;
        if !seen || record.snapshots.is_empty() {
            return made;
        }
        let facts = Facts { advice: Self::rules(record, Verb::Hold), ..self.bare(record) };
        decide(record, &facts, input, self.now).unwrap_or(made)
    }

    fn refused(&mut self, vm: VmId, asked: Asked, input: &Input, refusal: Refusal) {
        match asked {
            Some((asker, asked)) => {
                self.coverage.refused(&asked, refusal.kind);
                if self.tracing {
                    self.note(format!(
                        "VM {vm}: {} refused: {}: {:?}",
                        asked.verb, refusal.kind, refusal.cause
                    ));
                }
                self.reply(vm, asker, &asked, &Reply::Refused(refusal));
            }
            None => self
                .world
                .wrong(|| format!("VM {vm}: {input:?} is no request and was refused: {refusal}")),
        }
    }

    fn commit(
        &mut self,
        vm: VmId,
        record: &Rc<VmRecord>,
        made: Decision,
        seen: bool,
        asked: Asked,
    ) {
        let next = Rc::new(made.record.clone());
        let mutation = self.mutation;
        let commit = Commit {
            vm,
            expect: Some(record.version),
            seen,
            answer: made.answer.clone(),
            next: Rc::clone(&next),
            decision: Box::new(mutation::written(mutation, made)),
        };
        if mutation == Mutation::SendFirst {
            for effect in &commit.decision.effects {
                self.send(effect, &next);
            }
        }
        if mutation == Mutation::AnswerFirst
            && let (Some((asker, asked)), Some(answer)) = (&asked, &commit.answer)
        {
            self.reply(vm, *asker, asked, &Reply::Accepted(answer.clone()));
        }
        self.desks.entry(vm).or_default().waits = Waits::Commit(asked);
        self.submit(commit);
    }

    /// Mirrors the group commit of `ostler_store`.
    pub(crate) fn submit(&mut self, commit: Commit) {
        self.store.waiting.push(commit);
        self.write_next();
    }

    fn write_next(&mut self) {
        if self.store.writing.is_empty() && !self.store.waiting.is_empty() {
            self.store.writing = std::mem::take(&mut self.store.waiting);
            let wait = Millis(self.rng.within(1, 20));
            self.later(wait, Duty::Written);
        }
    }

    /// A batch is durable: the runners that waited for it go on.
    pub(crate) fn written(&mut self) {
        let done = self.store.written();
        let vms: Vec<VmId> = done.iter().map(|(commit, _)| commit.vm).collect();
        for (commit, committed) in done {
            self.durable(&commit, &committed);
            self.committed(commit, committed);
        }
        for vm in vms {
            self.pump(vm);
        }
        self.write_next();
    }

    /// Notes a durable commit in the world, for the invariants. This happens even if the daemon has
    /// died and nobody is answered.
    pub(crate) fn durable(&mut self, commit: &Commit, committed: &Committed) {
        if *committed != Committed::Applied {
            return;
        }
        if commit.begins_anew() {
            self.world.forget_content(commit.vm);
        }
        let being = self.world.being(commit.vm);
        if commit.next.usable_recovery().is_none() {
            being.secret = false;
        }
        if let Some(host) = being.brought {
            let places = commit.next.placement.iter().chain(&commit.next.other);
            let known = places
                .chain(commit.next.leftovers.iter().map(|left| &left.place))
                .any(|place| place.host == host);
            if !known
                || !commit.next.files.other
                    && commit.next.placement.as_ref().is_none_or(|place| place.host != host)
            {
                // The migration came to nothing, so the operator removes the files again.
                being.folders.remove(&Site::Host(host));
                being.brought = None;
            } else if commit.next.operation.is_none() {
                being.brought = None;
            }
        }
    }

    fn committed(&mut self, commit: Commit, committed: Committed) {
        let vm = commit.vm;
        let desk = self.desks.entry(vm).or_default();
        let asked = match std::mem::take(&mut desk.waits) {
            Waits::Commit(asked) => asked,
            other => {
                // This commit creates a VM. No runner waits for it.
                desk.waits = other;
                None
            }
        };
        match committed {
            Committed::Applied => {}
            Committed::ClaimRefused(claim) => {
                if let Some((asker, asked)) = asked {
                    self.coverage.refused(&asked, RefusalKind::NoCapacity);
                    return self.reply(vm, asker, &asked, &Reply::NoRoom(claim));
                }
                if commit.expect.is_some() {
                    self.world.wrong(|| {
                        format!(
                            "VM {vm}: {claim:?} of a decision that nobody asked for did not hold"
                        )
                    });
                }
                return;
            }
            Committed::Broken(why) => {
                desk.loaded = None;
                return self.world.wrong(|| format!("commit: {why}"));
            }
        }
        let before = desk.loaded.replace(Rc::clone(&commit.next));
        if self.mutation != Mutation::SendFirst {
            for effect in &commit.decision.effects {
                self.send(effect, &commit.next);
            }
        }
        self.publish(before.as_deref(), &commit);
        if let (Some((asker, asked)), Some(answer), true) =
            (asked, commit.answer, self.mutation != Mutation::AnswerFirst)
        {
            self.reply(vm, asker, &asked, &Reply::Accepted(answer));
        }
    }

    /// Does what follows a commit, in the order in which it may be seen.
    fn publish(&mut self, before: Option<&VmRecord>, commit: &Commit) {
        let (vm, next) = (commit.vm, &commit.next);
        self.set_timer(vm, next.next_due());
        for key in &commit.decision.cancels {
            self.cancel(key);
        }
        let freed = before.is_none_or(|before| {
            (before.held(), before.held_too()) != (next.held(), next.held_too())
        });
        if next.state == State::Pending || freed || next.resched {
            self.wake_scheduler();
        }
        if before.is_some_and(|before| before.operation.is_some()) && next.operation.is_none() {
            let being = self.world.being(vm);
            being.settled = being.stamp;
        }
        if let Err(why) = invariants::committed(self, before, commit) {
            self.world.wrong(|| why);
        }
    }

    pub(crate) fn set_timer(&mut self, vm: VmId, due: Option<Timestamp>) {
        if self.timers.get(&vm).copied() == due {
            return;
        }
        match due {
            Some(due) => {
                self.timers.insert(vm, due);
                let at = due.max(self.now);
                self.queue.push(at, Event::Daemon(self.life, Duty::Alarm(vm, due)));
            }
            None => drop(self.timers.remove(&vm)),
        }
    }

    pub(crate) fn alarm(&mut self, vm: VmId, due: Timestamp) {
        if self.timers.get(&vm) == Some(&due) {
            self.timers.remove(&vm);
            self.deliver(vm, Message::Input(Input::Tick));
        }
    }

    /// Begins a sweep with a look. The VM's own runner does the sweep, so no operation of the VM
    /// can begin in the meantime.
    fn look_to_put_away(&mut self, vm: VmId, host: HostId) {
        self.say(|| format!("VM {vm}: looks at host {host} for what is to be put away"));
        self.desks.entry(vm).or_default().waits = Waits::Look;
        let wait = Millis(self.rng.within(1, 60));
        self.later(wait, Duty::Look(vm, host, None, Purpose::PutAway));
    }

    pub(crate) fn looked_to_put_away(&mut self, vm: VmId, host: HostId, look: &Look) {
        let desk = self.desks.entry(vm).or_default();
        let Waits::Look = desk.taken(|waits| matches!(waits, Waits::Look)) else { return };
        if let (Some(record), Ok(seen)) = (desk.loaded.clone(), look) {
            let begun = self.begin_sweep(&record, host, seen);
            self.go_on_putting_away(vm, begun);
        }
        self.pump(vm);
    }

    /// A call of a sweep has returned. If it failed, the leftover stays in the record.
    pub(crate) fn put_away(&mut self, vm: VmId, done: bool) {
        let desk = self.desks.entry(vm).or_default();
        let Waits::PutAway(now) = desk.taken(|waits| matches!(waits, Waits::PutAway(_))) else {
            return;
        };
        if let (true, Some(record)) = (done, desk.loaded.clone()) {
            let next = self.next_to_put_away(&record, &now);
            self.go_on_putting_away(vm, next);
        }
        self.pump(vm);
    }

    fn go_on_putting_away(&mut self, vm: VmId, next: PuttingAway) {
        match next {
            PuttingAway::Nothing => {}
            PuttingAway::Swept { host, generation } => {
                self.deliver_soon(vm, Message::Input(Input::Swept { host, generation }))
            }
            PuttingAway::MemoryRemoved { name } => {
                self.deliver_soon(vm, Message::Input(Input::MemoryRemoved { name }))
            }
            PuttingAway::Domain { .. } | PuttingAway::Files { .. } | PuttingAway::Memory { .. } => {
                self.desks.entry(vm).or_default().waits = Waits::PutAway(Box::new(next))
            }
        }
    }

    /// A runner with nothing to do ends; the next one reads the record anew.
    pub(crate) fn runner_ends(&mut self, vm: VmId) {
        if let Some(desk) = self.desks.get_mut(&vm).filter(|desk| desk.idle()) {
            desk.loaded = None;
        }
    }
}

/// The one driver of this world, for hypervisors and files alike.
pub(crate) fn driver() -> DriverName {
    "sim".parse().expect("a name")
}
