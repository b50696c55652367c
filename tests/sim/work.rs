//! Driver calls as they go on at hosts: how long they take, what goes wrong, who still hears of them.
//!
//! A call takes effect in one moment (`Happening::Deed`) and is answered later (`Happening::Answer`), if at all. A call that nobody waits
//! for any more, because it was dropped or its daemon has died, goes on: until then every look at that VM on that host says `busy`, as
//! drivers promise. A definite error (`refused`, `not-here`, `gone`, `stale`, `cancelled`) is never told of something that was done; `retry`
//! and `unknown` may be told of anything.

use crate::queue::{Event, Happening};
use crate::run::Sim;
use ostler_lifecycle::Look;
use ostler_model::{Call, CallResult, DriverError, Effect, ErrorKind, HostId, Lane, Millis, Outcome, VmId, VmRecord};
use std::rc::Rc;

pub(crate) type WorkId = u64;

/// Who waits for the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The executor, for a sending.
    Sending(u64),
    /// A runner that puts something away.
    PutAway,
}

/// What becomes of a call at its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is done, and told.
    Told,
    /// It is done, and told without a look.
    Blind,
    /// It is done, and the answer is an error that does not say so.
    DoneBut(DriverError),
    /// It is not done.
    Not(DriverError),
    /// It is done half, which leaves half of a file.
    Half(DriverError),
    /// It is done, and nobody is told.
    Silent,
    /// It comes to nothing, and nobody is told.
    Never,
}

/// A call at work.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    pub(crate) effect: Rc<Effect>,
    pub(crate) record: Rc<VmRecord>,
    /// The daemon's life that waits for it.
    pub(crate) life: u32,
    pub(crate) origin: Origin,
    /// The other host that it changes.
    pub(crate) also: Option<HostId>,
    pub(crate) abandoned: bool,
    /// It has taken effect, or never will; only its answer is on its way.
    pub(crate) done: bool,
    fate: Fate,
}

impl Work {
    fn holds(&self, host: HostId) -> bool {
        self.effect.host == host || self.also == Some(host)
    }
}

fn unreachable() -> DriverError {
    DriverError::retry("unreachable", "the host does not answer")
}

/// Most bytes to move take seconds, most calls take milliseconds.
fn length(sim: &mut Sim, call: Call) -> u64 {
    let slow = sim.rng.permille(sim.weather.slow);
    match (call, slow) {
        (_, true) => sim.rng.within(2_000, 60_000),
        (Call::Observe, _) => sim.rng.within(1, 20),
        (call, _) if call.is_job() => sim.rng.within(20, 4_000),
        (_, _) => sim.rng.within(3, 400),
    }
}

impl Sim {
    /// The executor, or a runner that puts something away, calls a driver.
    pub(crate) fn begin_work(&mut self, effect: &Rc<Effect>, record: &Rc<VmRecord>, origin: Origin) -> Option<WorkId> {
        self.stats.calls += 1;
        self.next_work += 1;
        self.say(|| format!("  begin {} {} at host {} for {origin:?}", effect.call, effect.key, effect.host));
        let id = self.next_work;
        let also = (effect.call == Call::Migrate).then(|| record.other.as_ref().map(|place| place.host)).flatten();
        let mut work = Work {
            effect: Rc::clone(effect),
            record: Rc::clone(record),
            life: self.life,
            origin,
            also,
            abandoned: false,
            done: false,
            fate: Fate::Told,
        };
        if !self.world.reaches(effect.host) {
            return self.not_reached(id, work);
        }
        if let Some(answer) = self.beside(effect, origin) {
            return match answer {
                Beside::Attached(found) => Some(found),
                Beside::Busy => {
                    self.answer_soon(id, work, Err(DriverError::retry("busy", "another job is at work on these files")))
                }
            };
        }
        work.fate = self.fate(effect);
        let mut takes = length(self, effect.call);
        if matches!(work.fate, Fate::Silent | Fate::Never) {
            takes += self.rng.within(0, 200_000);
        }
        self.works.insert(id, work);
        let at = self.now.plus(Millis(takes));
        self.queue.push(at, Event::World(Happening::Deed(id)));
        Some(id)
    }

    fn not_reached(&mut self, id: WorkId, work: Work) -> Option<WorkId> {
        if self.rng.permille(300) {
            // Nothing comes back: the deadline ends it.
            self.works.insert(id, Work { done: true, ..work });
            return Some(id);
        }
        self.answer_soon(id, work, Err(unreachable()))
    }

    fn answer_soon(&mut self, id: WorkId, work: Work, result: CallResult) -> Option<WorkId> {
        self.works.insert(id, Work { done: true, ..work });
        let at = self.now.plus(Millis(self.rng.within(1, 50)));
        self.queue.push(at, Event::World(Happening::Answer(id, Box::new(result))));
        Some(id)
    }

    /// Another call of the VM is at work there: an identity that is at work is attached to, jobs on the same files wait for each other,
    /// and hypervisor calls must not be beside each other but for destroy.
    fn beside(&mut self, effect: &Effect, origin: Origin) -> Option<Beside> {
        let lane = effect.call.lane();
        let clashes =
            |work: &Work| !work.done && work.effect.vm == effect.vm && work.effect.call.lane() == lane && work.holds(effect.host);
        let found = self.works.iter().find(|(_, work)| clashes(work)).map(|(id, _)| *id)?;
        let life = self.life;
        let other = self.works.get_mut(&found)?;
        if other.effect.key == effect.key && effect.call.is_job() {
            (other.origin, other.life, other.abandoned) = (origin, life, false);
            return Some(Beside::Attached(found));
        }
        if lane == Lane::Transfer {
            return Some(Beside::Busy);
        }
        let question = |call: Call| matches!(call, Call::Destroy | Call::Observe);
        if !question(effect.call) && !question(other.effect.call) {
            let what = format!("doubled: {} of VM {} began while {} was at work", effect.call, effect.vm, other.effect.call);
            self.world.wrong(|| what);
        }
        None
    }

    fn fate(&mut self, effect: &Effect) -> Fate {
        let weather = &self.weather;
        let looks = effect.call == Call::Observe;
        if !self.rng.permille(weather.trouble) {
            return if self.rng.permille(150) && !looks { Fate::Blind } else { Fate::Told };
        }
        let of = |kind, code: &str| DriverError::new(kind, code, "chance");
        match self.rng.below(if looks { 6 } else { 16 }) {
            0 => Fate::Not(of(ErrorKind::Unknown, "lost")),
            1 => Fate::DoneBut(of(ErrorKind::Unknown, "lost")),
            2 => Fate::Not(of(ErrorKind::Retry, "not-now")),
            3 => Fate::Never,
            4 => Fate::Silent,
            5 => Fate::Not(of(ErrorKind::Unknown, "driver-trap")),
            6 => Fate::DoneBut(of(ErrorKind::Unknown, "driver-trap")),
            7 | 8 => Fate::Not(of(ErrorKind::Refused, "no-memory")),
            9 => Fate::Not(of(ErrorKind::NotHere, "not-on-this-host")),
            10 => Fate::Half(of(ErrorKind::Refused, "no-space")),
            11 => Fate::Half(of(ErrorKind::Unknown, "lost")),
            12 => Fate::Half(of(ErrorKind::Retry, "interrupted")),
            13 | 14 => Fate::DoneBut(of(ErrorKind::Unknown, "lost")),
            _ => Fate::DoneBut(of(ErrorKind::Retry, "not-now")),
        }
    }

    /// A call takes effect.
    pub(crate) fn deed(&mut self, id: WorkId) {
        let Some(work) = self.works.get_mut(&id).filter(|work| !work.done) else { return };
        work.done = true;
        let (effect, record, fate) = (Rc::clone(&work.effect), Rc::clone(&work.record), work.fate.clone());
        if work.abandoned {
            self.works.remove(&id);
        }
        if self.tracing {
            self.note(format!("  host {}: {} of {} ({fate:?})", effect.host, effect.call, effect.key));
        }
        let looks = effect.call == Call::Observe;
        let result = match fate {
            Fate::Told if looks => self.no_dropped_call(effect.vm, effect.host).and_then(|()| self.world.execute(&effect, &record)),
            // Whatever is wrong at the host: a level call finds that it is so already, and says so.
            Fate::Not(error) | Fate::Half(error) if error.kind != ErrorKind::Unknown && self.world.is_so(&effect, &record) => {
                self.world.execute(&effect, &record)
            }
            Fate::Told => self.world.execute(&effect, &record),
            Fate::Blind => self.world.execute(&effect, &record).map(|_| Outcome::default()),
            // What is refused for a reason of its own is told as such.
            Fate::DoneBut(error) => self.world.execute(&effect, &record).and(Err(error)),
            Fate::Not(error) => Err(error),
            Fate::Half(error) => {
                self.world.half_done(&effect, &record);
                Err(error)
            }
            Fate::Silent => {
                let _ = self.world.execute(&effect, &record);
                return self.tell_change(effect.vm, effect.host);
            }
            Fate::Never => return,
        };
        if !looks {
            self.tell_change(effect.vm, effect.host);
        }
        let at = self.now.plus(Millis(self.rng.within(0, 30)));
        self.queue.push(at, Event::World(Happening::Answer(id, Box::new(result))));
    }

    /// A call's answer arrives, if anybody still waits and it can be heard.
    pub(crate) fn answer(&mut self, id: WorkId, result: CallResult) {
        let Some(work) = self.works.get(&id) else { return };
        let lost = !self.world.reaches(work.effect.host) && !result.as_ref().is_err_and(|error| error.code == "unreachable");
        if lost && !work.abandoned {
            return;
        }
        let Some(work) = self.works.remove(&id) else { return };
        if work.abandoned || work.life != self.life {
            return;
        }
        match work.origin {
            Origin::Sending(sending) => self.called(sending, result),
            Origin::PutAway => self.put_away(work.effect.vm, result.is_ok()),
        }
    }

    /// Tells a call to stop. It may not care.
    pub(crate) fn stop_work(&mut self, id: WorkId) {
        let stops = self.rng.permille(650);
        let Some(work) = self.works.get_mut(&id).filter(|work| !work.done && stops) else { return };
        work.done = true;
        let (effect, record) = (Rc::clone(&work.effect), Rc::clone(&work.record));
        if self.rng.permille(500) {
            self.world.half_done(&effect, &record);
        }
        let stopped = DriverError::new(ErrorKind::Cancelled, "stopped", "it was told to stop, and did");
        let at = self.now.plus(Millis(self.rng.within(1, 100)));
        self.queue.push(at, Event::World(Happening::Answer(id, Box::new(Err(stopped)))));
    }

    /// Nobody waits for a call any more. What it began goes on.
    pub(crate) fn abandon_work(&mut self, id: WorkId) {
        let Some(work) = self.works.get_mut(&id) else { return };
        work.abandoned = true;
        if work.done {
            self.works.remove(&id);
        }
    }

    /// The daemon has died: calls go on without it, but for those that were its own processes.
    pub(crate) fn orphan_works(&mut self) {
        let ids: Vec<WorkId> = self.works.keys().copied().collect();
        for id in ids {
            let dies = self.rng.permille(400);
            let Some(work) = self.works.get_mut(&id) else { continue };
            work.abandoned = true;
            if work.done || dies {
                let Some(work) = self.works.remove(&id) else { continue };
                if !work.done && self.rng.permille(500) {
                    self.world.half_done(&work.effect, &work.record);
                }
            }
        }
    }

    /// A host has lost power: what was at work on it comes to nothing.
    pub(crate) fn power_ends_works(&mut self, host: HostId) {
        let ids: Vec<WorkId> = self.works.iter().filter(|(_, work)| !work.done && work.holds(host)).map(|(id, _)| *id).collect();
        for id in ids {
            let told = self.rng.permille(500);
            let Some(work) = self.works.get_mut(&id) else { continue };
            work.done = true;
            if work.abandoned {
                self.works.remove(&id);
            } else if told {
                let error = DriverError::unknown("connection", "the connection was reset");
                let at = self.now.plus(Millis(self.rng.within(1, 2_000)));
                self.queue.push(at, Event::World(Happening::Answer(id, Box::new(Err(error)))));
            }
        }
    }

    /// A driver that was left with a call at work says so, whoever asks what is there.
    pub(crate) fn no_dropped_call(&self, vm: VmId, host: HostId) -> Result<(), DriverError> {
        let busy = self.works.values().any(|work| {
            let changes = work.effect.call.lane() == Lane::Hypervisor && work.effect.call != Call::Observe;
            work.abandoned && !work.done && work.effect.vm == vm && work.holds(host) && changes
        });
        if busy { Err(DriverError::retry("busy", "a call that was dropped is still at work")) } else { Ok(()) }
    }

    /// What a driver says that is asked what is there: never *absent* when it cannot tell.
    pub(crate) fn observe(&mut self, vm: VmId, host: HostId) -> Look {
        if !self.world.reaches(host) {
            return Err(unreachable());
        }
        self.no_dropped_call(vm, host)?;
        if self.rng.permille(self.weather.trouble) {
            return Err(DriverError::retry("not-now", "chance"));
        }
        Ok(self.world.see(vm, host))
    }
}

/// What a call finds beside it.
enum Beside {
    /// The same identity at work.
    Attached(WorkId),
    /// Another job on the same files.
    Busy,
}
