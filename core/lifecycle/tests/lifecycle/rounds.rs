//! Things that the daemon does for a VM that nobody asked for: the monitor looks, schedules are due,
//! hosts are swept. And a domain that becomes a VM.

use crate::invariants;
use crate::rig::{Flight, Rig, STORE, Violation};
use crate::samples::asked;
use ostler_lifecycle::{Input, adopt, doomed, due, to_sweep};
use ostler_model::{Cause, Hint, HostId, Observation, Refusal, RefusalKind, ScheduleId};

impl Rig {
    /// What the monitor sees: at the VM's place, and at the other host of a migration; nothing
    /// unless all of them answer.
    pub(crate) fn seen(&self) -> Option<(Observation, Option<Observation>)> {
        let here = self.world.look(self.host()?).ok()?;
        let there = self.record.other().map(|place| self.world.look(place.host));
        there.transpose().ok().map(|there| (here, there))
    }

    /// The monitor looks.
    pub(crate) fn observe(&mut self) -> Result<(), Violation> {
        let Some((seen, there)) = self.seen() else { return Ok(()) };
        let idle = self.record.operation.is_none() && self.record.open.is_empty();
        self.tell(&Input::Observed { step: self.record.step, seen, there })?;
        if idle && !self.restored {
            invariants::agrees(self, "the monitor has looked")
        } else {
            Ok(())
        }
    }

    /// What is due by schedule is asked for, as the VM's runner does it.
    pub(crate) fn fire(&mut self) -> Result<bool, Violation> {
        let Some(planned) = due(&self.record, self.now).cloned() else { return Ok(false) };
        let (id, host) = (planned.id(), planned.host.unwrap_or(HostId(1)));
        let refusal =
            if matches!(planned.schedule.due(self.now), Some(ostler_model::Due::Fire { .. })) {
                self.next_operation += 1;
                let mut asked = asked(
                    self.next_operation,
                    planned.schedule.verb,
                    planned.args.clone(),
                    host,
                    false,
                );
                asked.schedule = Some(id);
                let facts = self.facts(Some(&asked));
                self.feed(&Input::Request(asked), &facts)?.err()
            } else {
                let (verb, vm) = (planned.schedule.verb, self.record.id);
                Some(Refusal {
                    kind: RefusalKind::WrongState,
                    verb,
                    vm,
                    cause: Cause::TooLate,
                    hint: Hint::SeeMisfire,
                })
            };
        if let Some(refusal) = refusal {
            self.tell(&Input::ScheduleRefused { schedule: id, refusal })?;
        }
        let still =
            |planned: &ostler_model::Planned| planned.try_at().is_some_and(|at| at <= self.now);
        if self.schedule(id).is_some_and(still) {
            Err("schedule: it is still due".to_owned())
        } else {
            Ok(true)
        }
    }

    pub(crate) fn schedule(&self, id: ScheduleId) -> Option<&ostler_model::Planned> {
        self.record.schedules.iter().find(|planned| planned.id() == id)
    }

    /// What a host that answers does about what the VM left there, as whoever watches hosts does
    /// it.
    pub(crate) fn sweep(&mut self, host: HostId) -> Result<bool, Violation> {
        let Some(left) = to_sweep(&self.record, host).cloned() else { return Ok(false) };
        let Ok(seen) = self.world.look(host) else { return Ok(false) };
        let ours = matches!(&seen, Observation::Present(domain) if domain.identity.is_some_and(|found| found.store == STORE));
        if ours {
            if doomed(&self.record, STORE, host, &seen).is_none() {
                return Ok(false);
            }
            self.world.domains.remove(&host);
        }
        if left.files {
            if self.world.shared && (self.record.files.host || self.record.files.home) {
                self.world.wrong("files that are in use are swept");
            }
            *self.world.place(host) = crate::world::Place::default();
        }
        self.tell(&Input::Swept { host, generation: left.place.generation })?;
        Ok(true)
    }

    /// A domain that somebody else made is there, and becomes this VM.
    pub(crate) fn adopt(&mut self, running: bool) -> Result<(), Violation> {
        let (new, place, storage) = crate::facts::wild(self);
        let power = if running { ostler_model::Power::Running } else { ostler_model::Power::Off };
        self.world.stranger(HostId(1), None);
        self.world.power(HostId(1), power, ostler_model::PowerReason::None);
        let vm = ostler_lifecycle::Adopted {
            vm: new,
            place,
            storage,
            name: "theirs".to_owned(),
            running,
        };
        let made = adopt(vm, &self.facts(None), self.now);
        self.record = made.record.clone();
        for effect in &made.effects {
            self.outbox.insert(effect.key.clone(), effect.clone());
            self.flying.push(Flight {
                effect: effect.clone(),
                record: self.record.clone(),
                sent: self.now,
                done: None,
            });
        }
        self.last = Some(made);
        invariants::standing(self)
    }
}
