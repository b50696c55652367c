//! The scheduler of the simulated daemon: first fit over committed capacity. Mirrors
//! `ostler_engine::scheduler`. It only proposes a host. The decision, and the claim inside the
//! transaction, can still refuse it.

use crate::queue::{Asker, Duty, Message};
use crate::run::Sim;
use ostler_model::{Args, Capacity, HostId, Millis, OperationId, Request, State, Verb, VmId};

/// Mirrors `ostler_engine::scheduler::CYCLE_EVERY`.
const CYCLE_EVERY: Millis = Millis::secs(5);

impl Sim {
    /// Something changed that may let a pending VM be placed.
    pub(crate) fn wake_scheduler(&mut self) {
        if !std::mem::replace(&mut self.scheduler_woken, true) {
            self.later(Millis(1), Duty::Scheduler);
        }
    }

    /// Looks once at every pending VM, the oldest first, and at those that are to be moved.
    pub(crate) fn cycle(&mut self) {
        self.scheduler_woken = false;
        let mut offers = self.look_for_offers();
        let pending: Vec<VmId> = self.store.rows.pending.iter().copied().collect();
        let moving: Vec<VmId> = self.store.rows.resched.iter().copied().collect();
        for vm in pending.into_iter().chain(moving) {
            self.place(&mut offers, vm);
        }
        if self.next_cycle <= self.now {
            self.next_cycle = self.now.plus(CYCLE_EVERY);
            self.later(CYCLE_EVERY, Duty::Scheduler);
        }
    }

    /// The capacity that is left on each host. Capacity that was proposed and is not committed yet
    /// counts as used.
    fn look_for_offers(&self) -> Vec<(HostId, Capacity)> {
        let free = |(host, total): (&HostId, &Capacity)| {
            let held = self.store.rows.held.get(host).copied().unwrap_or_default();
            let proposed = self.proposed.values().filter(|(at, _)| at == host);
            let held = proposed.fold(held, |held, (_, capacity)| held.plus(*capacity));
            (*host, total.minus(held).unwrap_or_default())
        };
        let reachable = |(host, _): &(&HostId, &Capacity)| {
            self.health.get(host).is_some_and(|health| health.reachable)
        };
        self.store.rows.total.iter().filter(reachable).map(free).collect()
    }

    fn place(&mut self, offers: &mut [(HostId, Capacity)], vm: VmId) {
        let Some(record) = self.store.rows.records.get(&vm).cloned() else { return };
        if self.proposed.contains_key(&vm) || record.operation.is_some() || record.is_unreconciled()
        {
            return;
        }
        let verb = match record.state {
            State::Pending => Verb::Deploy,
            State::Running => *self.rng.pick(&[Verb::MigrateLive, Verb::Migrate]),
            State::Poweroff | State::Suspended => Verb::Migrate,
            _ => return,
        };
        let here = record.placement.as_ref().map(|place| place.host);
        let wanted = record.spec.capacity();
        let mut open = offers.iter_mut().filter(|(host, _)| Some(*host) != here);
        let chosen = open.find_map(|(host, free)| {
            *free = free.minus(wanted)?;
            Some(*host)
        });
        let Some(host) = chosen else { return };
        self.next_operation += 1;
        let asked = Request {
            operation: OperationId(self.next_operation),
            verb,
            by: "scheduler".to_owned(),
            args: Args::None,
            host: Some(host),
            enforce: true,
            force: false,
            if_version: None,
            schedule: None,
        };
        self.proposed.insert(vm, (host, wanted));
        self.deliver(vm, Message::Request(asked, Asker::Scheduler));
    }
}
