//! Sweeps hosts: removes domains of VMs that have no placement there, and leftovers on hosts that
//! were not seen empty. Mirrors `ostler_engine::sweep`.
//!
//! Every call has the leftover's own generation, so the host refuses it (`stale`) if a later
//! placement has arrived there.

use crate::mutation::Mutation;
use crate::queue::Message;
use crate::run::Sim;
use crate::shell::driver;
use crate::work::Origin;
use crate::world::STORE;
use ostler_lifecycle::{doomed, to_sweep, unused_memory};
use ostler_model::{
    Call, Effect, EffectKey, Generation, HostId, Item, Millis, Observation, OperationId, RelPath,
    State, StepNo, VmId, VmRecord,
};
use std::collections::BTreeSet;
use std::rc::Rc;

/// How far a sweep is.
pub(crate) enum PuttingAway {
    /// There is nothing to remove, or it cannot be removed now.
    Nothing,
    /// The domain is being removed.
    Domain { host: HostId },
    /// Files are being removed; nothing is left after that.
    Files { host: HostId, generation: Generation },
    /// An unused memory file is being removed.
    Memory { name: RelPath },
    /// The memory file was removed.
    MemoryRemoved { name: RelPath },
    /// The host is empty of this VM.
    Swept { host: HostId, generation: Generation },
}

impl Sim {
    /// A host has listed all its domains: asks the VMs concerned to sweep it. Mirrors
    /// `ostler_engine::health::{strays, left_on}`.
    pub(crate) fn strays(&mut self, host: HostId) {
        let mut found: BTreeSet<VmId> = BTreeSet::new();
        for (vm, being) in &self.world.beings {
            let Some(record) =
                self.store.rows.records.get(vm).filter(|_| being.domains.contains_key(&host))
            else {
                continue;
            };
            let coming = record.other.as_ref().is_some_and(|place| place.host == host);
            let any = self.mutation == Mutation::AnyZombie;
            if any || !coming && doomed(record, STORE, host, &self.world.see(*vm, host)).is_some() {
                found.insert(*vm);
            }
        }
        for vm in self.store.rows.by_host.get(&host).into_iter().flatten() {
            let Some(record) = self.store.rows.records.get(vm) else { continue };
            let idle = record.operation.is_none() && record.open.is_empty();
            if idle && (record.also_on().contains(&host) || !unused_memory(record, host).is_empty())
            {
                found.insert(*vm);
            }
        }
        for vm in found {
            self.deliver(vm, Message::Sweep(host));
        }
    }

    /// After one more look, removes what is there if that is still safe. Mirrors
    /// `ostler_engine::sweep::{sweep, drop_memory}`.
    pub(crate) fn begin_sweep(
        &mut self,
        record: &Rc<VmRecord>,
        host: HostId,
        seen: &Observation,
    ) -> PuttingAway {
        let elsewhere = self.elsewhere(record).is_some();
        if let (Some(name), false) = (unused_memory(record, host).first(), elsewhere) {
            self.call_to_put_away(record, host, record.placed, Call::DropRecovery);
            return PuttingAway::Memory { name: name.clone() };
        }
        let any = (self.mutation == Mutation::AnyZombie && *seen != Observation::Absent)
            .then_some(Generation(u64::MAX));
        match (any.or_else(|| doomed(record, STORE, host, seen)), seen) {
            (Some(generation), _) => {
                self.call_to_put_away(record, host, generation, Call::Remove);
                PuttingAway::Domain { host }
            }
            // A domain is there that is not ours or must not be touched. The leftover stays in the
            // record.
            (None, Observation::Present(_)) => PuttingAway::Nothing,
            // The VM lives elsewhere, and its domain may use these files.
            (None, Observation::Absent) if elsewhere => PuttingAway::Nothing,
            (None, Observation::Absent) => self.sweep_files(record, host),
        }
    }

    fn sweep_files(&mut self, record: &Rc<VmRecord>, host: HostId) -> PuttingAway {
        let Some(left) = to_sweep(record, host) else { return PuttingAway::Nothing };
        let generation = left.place.generation;
        if !left.files || record.storage_is_shared() && record.state != State::Done {
            return PuttingAway::Swept { host, generation };
        }
        if record.storage.is_none() {
            // The record does not say any more in which datastore the files are.
            return PuttingAway::Nothing;
        }
        self.call_to_put_away(record, host, generation, Call::DropHost);
        PuttingAway::Files { host, generation }
    }

    /// The next part of a sweep, after a call has succeeded.
    pub(crate) fn next_to_put_away(
        &mut self,
        record: &Rc<VmRecord>,
        now: &PuttingAway,
    ) -> PuttingAway {
        match now {
            PuttingAway::Domain { .. } if self.elsewhere(record).is_some() => PuttingAway::Nothing,
            PuttingAway::Domain { host } => self.sweep_files(record, *host),
            PuttingAway::Files { host, generation } => {
                PuttingAway::Swept { host: *host, generation: *generation }
            }
            PuttingAway::Memory { name } => PuttingAway::MemoryRemoved { name: name.clone() },
            PuttingAway::Nothing
            | PuttingAway::Swept { .. }
            | PuttingAway::MemoryRemoved { .. } => PuttingAway::Nothing,
        }
    }

    /// Sends a call that belongs to no operation. The current time makes it a new effect each time.
    /// Mirrors `ostler_engine::sweep::control`, except for `spares`.
    fn call_to_put_away(
        &mut self,
        record: &Rc<VmRecord>,
        host: HostId,
        generation: Generation,
        call: Call,
    ) {
        let item = match call {
            Call::Remove => Item::Domain,
            Call::DropRecovery => Item::Recovery,
            _ => Item::Files,
        };
        let key = EffectKey {
            vm: record.uuid,
            operation: OperationId(0),
            step: StepNo(self.now.0),
            item,
        };
        let patience = Millis::secs(20);
        let effect = Effect {
            vm: record.id,
            key,
            attempt: 1,
            call,
            host,
            driver: driver(),
            generation,
            spares: None,
            patience,
        };
        if let Some(work) = self.begin_work(&Rc::new(effect), record, Origin::PutAway) {
            self.later(patience, crate::queue::Duty::GiveUp(record.id, work));
        }
    }

    /// A call of a sweep has not ended in time. The leftover stays in the record.
    pub(crate) fn give_up(&mut self, vm: VmId, work: u64) {
        if self.works.contains_key(&work) {
            if let Some(host) = self.works.get(&work).map(|work| work.effect.host) {
                self.executor.haunt(vm, host);
            }
            self.abandon_work(work);
            self.put_away(vm, false);
        }
    }
}
