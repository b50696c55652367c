//! The monitor of the simulated daemon: polls, changes, looks. A function with the name of one in
//! `ostler_engine::monitor` or `ostler_engine::health` mirrors that one.

use crate::mutation::{self, Mutation};
use crate::queue::{Duty, Message, Purpose};
use crate::run::Sim;
use crate::world::STORE;
use ostler_lifecycle::{Input, Look, UNREACHABLE_GRACE, is_suspect};
use ostler_model::{HostId, Millis, Observation, State, StepNo, Timestamp, VmId};

/// Mirrors `EngineConfig::poll_every`.
const POLL_EVERY: Millis = Millis::secs(10);
/// Mirrors `EngineConfig::retry_every`.
const RETRY_EVERY: Millis = Millis::secs(3);

/// The daemon's knowledge of a host.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Health {
    pub(crate) reachable: bool,
    blind_since: Option<Timestamp>,
}

impl Sim {
    pub(crate) fn watch_hosts(&mut self) {
        let hosts: Vec<HostId> = self.world.hosts.keys().copied().collect();
        for host in hosts {
            let wait = Millis(self.rng.within(1, 1_000));
            self.later(wait, Duty::Poll(host));
        }
    }

    /// Compares the domains that the host has with those that it should have.
    pub(crate) fn poll(&mut self, host: HostId) {
        let answers = self.world.reaches(host) && !self.rng.permille(self.weather.trouble);
        if !answers {
            self.unreachable(host);
            return self.later(RETRY_EVERY, Duty::Poll(host));
        }
        let came_back = !self
            .health
            .insert(host, Health { reachable: true, blind_since: None })
            .is_some_and(|was| was.reachable);
        self.keep_list(host);
        self.strays(host);
        for vm in self.suspects(host) {
            self.look_at_one(vm, host);
        }
        if came_back {
            self.wake_scheduler();
        }
        self.later(POLL_EVERY, Duty::Poll(host));
    }

    /// VMs whose line in the host's list does not fit their state. This is only a hint: the monitor
    /// looks at each of them by itself.
    fn suspects(&self, host: HostId) -> Vec<VmId> {
        let expected = self.store.rows.by_host.get(&host).into_iter().flatten();
        let odd = |vm: &&VmId| {
            let Some(record) = self.store.rows.records.get(vm) else { return false };
            if record.placement.as_ref().is_none_or(|place| place.host != host) {
                return false;
            }
            let power = match self.world.see(**vm, host) {
                Observation::Present(domain)
                    if domain.identity.is_some_and(|identity| identity.store == STORE) =>
                {
                    Some(domain.power)
                }
                Observation::Present(_) | Observation::Absent => None,
            };
            is_suspect(record.state, record.reason, self.knows_newer(**vm), power)
        };
        expected.filter(odd).copied().collect()
    }

    /// Looks at one VM. The step counter is read before the look, so that a decision in between
    /// makes the look void.
    pub(crate) fn look_at_one(&mut self, vm: VmId, host: HostId) {
        let Some(record) = self.store.rows.records.get(&vm) else { return };
        let Some(place) = &record.placement else { return };
        let other = record.other.as_ref().map(|place| place.host);
        if place.host != host {
            return;
        }
        if !record.open.is_empty() && self.mutation != Mutation::ObserveWhileBusy {
            return;
        }
        let (at, step, wait) = (place.host, record.step, Millis(self.rng.within(1, 40)));
        self.later(wait, Duty::Look(vm, at, other, Purpose::Monitor(step)));
    }

    /// A look reaches its host. The host is seen now, and the result arrives later.
    pub(crate) fn look(&mut self, vm: VmId, host: HostId, other: Option<HostId>, purpose: Purpose) {
        let seen = Box::new(self.observe(vm, host));
        let there = other.map(|other| Box::new(self.observe(vm, other)));
        let late = matches!(purpose, Purpose::Monitor(_)) && self.rng.permille(self.weather.late);
        let wait = if late { self.rng.within(500, 40_000) } else { self.rng.within(0, 30) };
        if late && self.rng.permille(300) {
            // The result arrives twice.
            self.later(
                Millis(wait / 2),
                Duty::Saw(vm, host, purpose.clone(), seen.clone(), there.clone()),
            );
        }
        self.later(Millis(wait), Duty::Saw(vm, host, purpose, seen, there));
    }

    pub(crate) fn saw(
        &mut self,
        vm: VmId,
        host: HostId,
        purpose: &Purpose,
        look: Look,
        there: Option<Look>,
    ) {
        match purpose {
            Purpose::Facts => self.looked_for_facts(vm, look),
            Purpose::Alone(sending) => {
                self.alone(*sending, &look.and(there.unwrap_or(Ok(Observation::Absent))).map(drop))
            }
            Purpose::PutAway => self.looked_to_put_away(vm, host, &look),
            Purpose::Monitor(step) => self.observed(vm, *step, look, there),
        }
    }

    fn observed(&mut self, vm: VmId, step: StepNo, look: Look, there: Option<Look>) {
        let silence = self.mutation == Mutation::SilenceIsAbsence;
        let fact = |look: Look| if silence { mutation::absent(look) } else { look };
        let Ok(seen) = fact(look) else { return };
        let there = match there.map(fact) {
            Some(Ok(there)) => Some(there),
            // If one of the two hosts could not be looked at, the other look does not count either.
            Some(Err(_)) => return,
            None => None,
        };
        self.deliver(vm, Message::Input(Input::Observed { step, seen, there }));
    }

    /// The host did not answer. Nothing is concluded about its VMs at first. After a grace period
    /// its running VMs become `unknown`.
    fn unreachable(&mut self, host: HostId) {
        let now = self.now;
        let entry = self.health.entry(host).or_default();
        entry.reachable = false;
        let since = *entry.blind_since.get_or_insert(now);
        if now.since(since) < UNREACHABLE_GRACE {
            return;
        }
        let vms: Vec<VmId> =
            self.store.rows.by_host.get(&host).into_iter().flatten().copied().collect();
        for vm in vms {
            let Some(record) = self.store.rows.records.get(&vm) else { continue };
            let here = record.placement.as_ref().is_some_and(|place| place.host == host);
            if here
                && record.state == State::Running
                && record.operation.is_none()
                && record.open.is_empty()
            {
                self.deliver(vm, Message::Input(Input::CouldNotAsk { since }));
            }
        }
    }

    /// The hypervisor reports a change, in half of the cases.
    pub(crate) fn tell_change(&mut self, vm: VmId, host: HostId) {
        if self.up && self.world.reaches(host) && self.rng.permille(500) {
            let wait = Millis(self.rng.within(1, 200));
            self.later(wait, Duty::Changed(vm, host));
        }
    }
}
