//! The simulated daemon as a process: it dies, and starts again.

use crate::invariants;
use crate::queue::{Duty, Event, Happening, Message};
use crate::run::Sim;
use ostler_model::{Millis, VmId};

impl Sim {
    /// The daemon dies: everything that is not in the store is lost.
    pub(crate) fn crash(&mut self) {
        self.stats.crashes += 1;
        self.life += 1;
        self.up = false;
        let durable = self.rng.permille(500);
        for (commit, committed) in self.store.crash(durable) {
            self.durable(&commit, &committed);
        }
        self.desks.clear();
        self.executor = crate::executor::Executor::default();
        self.timers.clear();
        self.proposed.clear();
        self.health.clear();
        self.listed.clear();
        self.orphan_works();
        if let Err(why) = invariants::after_crash(self) {
            self.world.wrong(|| why);
        }
        let at = self.now.plus(Millis(self.rng.within(10, 30_000)));
        self.queue.push(at, Event::World(Happening::Start));
    }

    /// Mirrors `ostler_engine::Engine::start`: every VM with an operation, an open call or a timer
    /// is woken, and hosts are watched.
    pub(crate) fn start(&mut self) {
        self.up = true;
        let vms: Vec<VmId> = self.store.rows.records.keys().copied().collect();
        for vm in vms {
            let record = &self.store.rows.records[&vm];
            // A call that an earlier daemon began may still be at work, even if nobody waited for
            // it any more.
            self.executor.haunt_all(record);
            if record.operation.is_some() || !record.open.is_empty() || record.next_due().is_some()
            {
                self.deliver_soon(vm, Message::Wake);
            }
        }
        self.watch_hosts();
        self.reconcile();
        self.later(Millis(1), Duty::Scheduler);
    }
}
