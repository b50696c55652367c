//! Driver calls at work on hosts: how long they take, what goes wrong, and who still gets the
//! answer.
//!
//! A call takes effect in one moment (`Happening::Deed`), and its answer comes later
//! (`Happening::Answer`), or never. A call that was dropped, or whose daemon has died, goes on.
//! Until it ends, every look at that VM on that host is answered with `busy`, as drivers promise. A
//! definite error (`refused`, `not-here`, `gone`, `stale`, `cancelled`) is never the answer of a
//! call that has taken effect; `retry` and `unknown` may be.

use crate::queue::{Event, Happening};
use crate::run::Sim;
use ostler_lifecycle::Look;
use ostler_model::{
    Call, CallResult, DriverError, Effect, ErrorKind, HostId, Lane, Millis, Outcome, VmId, VmRecord,
};
use std::rc::Rc;

pub(crate) type WorkId = u64;

/// The part of the daemon that waits for the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The executor, for a sending.
    Sending(u64),
    /// A runner that sweeps a host.
    PutAway,
}

/// The fate of a call at its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The call is done, and answered.
    Told,
    /// The call is done, and answered without a look.
    Blind,
    /// The call is done, and its answer is an error that does not say so.
    DoneBut(DriverError),
    /// The call is not done.
    Not(DriverError),
    /// The call is half done, and leaves half of a file.
    Half(DriverError),
    /// The call is done, and there is no answer.
    Silent,
    /// The call is not done, and there is no answer.
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
    /// The call has taken effect, or never will. Only its answer is still to come.
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

/// Jobs take up to some seconds, other calls some milliseconds. Some calls are slow.
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
    /// The executor, or a runner that sweeps a host, calls a driver.
    pub(crate) fn begin_work(
        &mut self,
        effect: &Rc<Effect>,
        record: &Rc<VmRecord>,
        origin: Origin,
    ) -> Option<WorkId> {
        self.stats.calls += 1;
        self.next_work += 1;
        self.say(|| {
            format!("  begin {} {} at host {} for {origin:?}", effect.call, effect.key, effect.host)
        });
        let id = self.next_work;
        let also = (effect.call == Call::Migrate)
            .then(|| record.other.as_ref().map(|place| place.host))
            .flatten();
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
                Beside::Busy => self.answer_soon(
                    id,
                    work,
                    Err(DriverError::retry("busy", "another job is at work on these files")),
                ),
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
            // No answer comes. The deadline ends the call.
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

    /// Finds another call of the VM that is at work there. A job of the same identity is joined. A
    /// transfer job waits for other jobs on the same files. Hypervisor calls must not run beside
    /// each other, except for destroys and looks.
    fn beside(&mut self, effect: &Effect, origin: Origin) -> Option<Beside> {
        let lane = effect.call.lane();
        let clashes = |work: &Work| {
            !work.done
                && work.effect.vm == effect.vm
                && work.effect.call.lane() == lane
                && work.holds(effect.host)
        };
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
            let what = format!(
                "doubled: {} of VM {} began while {} was at work",
                effect.call, effect.vm, other.effect.call
            );
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
        let (effect, record, fate) =
            (Rc::clone(&work.effect), Rc::clone(&work.record), work.fate.clone());
        if work.abandoned {
            self.works.remove(&id);
        }
        if self.tracing {
            self.note(format!(
                "  host {}: {} of {} ({fate:?})",
                effect.host, effect.call, effect.key
            ));
        }
        let looks = effect.call == Call::Observe;
        let result = match fate {
            Fate::Told if looks => self
                .no_dropped_call(effect.vm, effect.host)
                .and_then(|()| self.world.execute(&effect, &record)),
            // Even if something is wrong at the host, a level effect whose aim is reached already
            // finds that, and succeeds.
            Fate::Not(error) | Fate::Half(error)
                if error.kind != ErrorKind::Unknown && self.world.is_so(&effect, &record) =>
            {
                self.world.execute(&effect, &record)
            }
            Fate::Told => self.world.execute(&effect, &record),
            Fate::Blind => self.world.execute(&effect, &record).map(|_| Outcome::default()),
            // If the call itself is refused, that error is the answer.
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

    /// The answer of a call arrives, if somebody still waits for it and the host can be reached.
    pub(crate) fn answer(&mut self, id: WorkId, result: CallResult) {
        let Some(work) = self.works.get(&id) else { return };
        let lost = !self.world.reaches(work.effect.host)
            && !result.as_ref().is_err_and(|error| error.code == "unreachable");
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

    /// Tells a call to stop. Some calls do not stop.
    pub(crate) fn stop_work(&mut self, id: WorkId) {
        let stops = self.rng.permille(650);
        let Some(work) = self.works.get_mut(&id).filter(|work| !work.done && stops) else { return };
        work.done = true;
        let (effect, record) = (Rc::clone(&work.effect), Rc::clone(&work.record));
        if self.rng.permille(500) {
            self.world.half_done(&effect, &record);
        }
        let stopped =
            DriverError::new(ErrorKind::Cancelled, "stopped", "it was told to stop, and did");
        let at = self.now.plus(Millis(self.rng.within(1, 100)));
        self.queue.push(at, Event::World(Happening::Answer(id, Box::new(Err(stopped)))));
    }

    /// Nobody waits for the call any more. It goes on.
    pub(crate) fn abandon_work(&mut self, id: WorkId) {
        let Some(work) = self.works.get_mut(&id) else { return };
        work.abandoned = true;
        if work.done {
            self.works.remove(&id);
        }
    }

    /// The daemon has died. Calls go on without it, except for those that ran in its own processes.
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

    /// A host has lost power: the calls at work on it come to nothing.
    pub(crate) fn power_ends_works(&mut self, host: HostId) {
        let ids: Vec<WorkId> = self
            .works
            .iter()
            .filter(|(_, work)| !work.done && work.holds(host))
            .map(|(id, _)| *id)
            .collect();
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

    /// If a dropped call is still at work on the host, the driver answers every look with `busy`.
    pub(crate) fn no_dropped_call(&self, vm: VmId, host: HostId) -> Result<(), DriverError> {
        let busy = self.works.values().any(|work| {
            let changes =
                work.effect.call.lane() == Lane::Hypervisor && work.effect.call != Call::Observe;
            work.abandoned && !work.done && work.effect.vm == vm && work.holds(host) && changes
        });
        if busy {
            Err(DriverError::retry("busy", "a call that was dropped is still at work"))
        } else {
            Ok(())
        }
    }

    /// The answer of a driver to a look. It is never *absent* if the driver cannot tell.
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

/// The call that was found beside a new one.
enum Beside {
    /// A job of the same identity is at work.
    Attached(WorkId),
    /// Another job on the same files.
    Busy,
}
