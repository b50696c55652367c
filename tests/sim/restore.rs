//! Restores an older backup while the world has gone on. The daemon that starts from it reconciles
//! its VMs. Each function mirrors one of `ostler_store::backup`, `ostler_engine::{restored, seen}`
//! or `ostler_engine::health`.
//!
//! The store of a backup cannot keep all promises about the lost time: it may know only old disks,
//! and not know files that were made then. From a restore on, a run is checked only for the
//! promises that a restore keeps (see [`World::wrong`] and `invariants::committed`): no guest runs
//! twice, no file of a living guest is removed, no edge effect reaches a guest twice, and
//! everything comes to rest.

use crate::mutation::Mutation;
use crate::queue::{Duty, Event, Happening, Message};
use crate::run::Sim;
use crate::shell::driver;
use crate::store::Rows;
use crate::world::{STORE, World};
use ostler_lifecycle::{Facts, Found, Input, is_elsewhere};
use ostler_model::{
    DomainSeen, HostId, Millis, Observation, Power, PowerReason, Reason, State, Timestamp, VmId,
    VmRecord,
};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Mirrors `ostler_engine::restored::LOOK_EVERY`.
const LOOK_EVERY: Millis = Millis(500);
/// Mirrors `ostler_engine::restored::TRY_AGAIN`.
const TRY_AGAIN: Millis = Millis::secs(30);

/// The domains of a host's newest list that may be newer than the store. Mirrors
/// `ostler_engine::seen::List`.
#[derive(Default)]
pub(crate) struct List {
    domains: BTreeMap<VmId, DomainSeen>,
    unreadable: BTreeSet<VmId>,
}

impl World {
    /// True if the violation must never happen, even to a VM whose record is older than the world.
    pub(crate) fn harms(what: &str) -> bool {
        ["twice", "doubled", "touches files"].iter().any(|word| what.contains(word))
    }
}

impl Sim {
    /// In runs with restores, a backup is made from time to time, and the store is lost some time
    /// after.
    pub(crate) fn begin_backups(&mut self) {
        if self.weather.restores {
            self.backup_later(Happening::Backup, 10, 60);
        }
    }

    /// Plans a backup or a restore for the time when the operator has made about so many more
    /// requests, so that something happens in the lost time.
    fn backup_later(&mut self, happening: Happening, least: u64, most: u64) {
        // A start takes some seconds.
        let wait = Millis(
            self.rng.within(20_000, 60_000)
                + self.rng.within(self.haste * least / 2, self.haste * most / 2),
        );
        let at = self.now.plus(wait);
        self.queue.push(at, Event::World(happening));
    }

    pub(crate) fn back_up(&mut self) {
        if !self.calm {
            self.say(|| "  a backup is made".to_owned());
            self.backup = Some(self.store.rows.clone());
            self.backup_later(Happening::Restore, 5, 120);
        }
    }

    /// The store is lost, and the backup takes its place. Mirrors `ostler_store::restore`.
    pub(crate) fn restore_backup(&mut self) {
        if self.calm {
            return;
        }
        if !self.up {
            return self.backup_later(Happening::Restore, 5, 20);
        }
        let Some(mut rows) = self.backup.take() else { return };
        self.say(|| "  the store is lost, and the backup is restored".to_owned());
        self.crash();
        if self.mutation != Mutation::NoRestoreMark {
            mark(&mut rows, self.now);
        }
        self.store.rows = rows;
        self.stats.restores += 1;
        self.world.aged = true;
        let known = &self.store.rows;
        self.acked.retain(|operation, _| known.operations.contains_key(operation));
        // A person decides about VMs that the backup does not know. Here that person has removed
        // them.
        self.world.beings.retain(|vm, _| known.records.contains_key(vm));
        self.works.retain(|_, work| known.records.contains_key(&work.effect.vm));
        self.backup_later(Happening::Backup, 10, 60);
    }

    /// Keeps the domains of a host's list that may be newer than the store. Mirrors `keep_list` and
    /// `strays` of `ostler_engine::health`.
    pub(crate) fn keep_list(&mut self, host: HostId) {
        if !self.world.aged {
            return;
        }
        let mut list = List::default();
        for vm in self.world.beings.keys() {
            let Some(record) = self.store.rows.records.get(vm) else { continue };
            if self.no_dropped_call(*vm, host).is_err() {
                list.unreadable.insert(*vm);
            }
            let Observation::Present(seen) = self.world.see(*vm, host) else { continue };
            let generation = seen
                .identity
                .filter(|identity| identity.store == STORE)
                .map(|identity| identity.generation);
            if record.is_unreconciled()
                || generation.is_some_and(|generation| record.is_ahead(generation))
            {
                list.domains.insert(*vm, seen);
            }
        }
        self.listed.insert(host, list);
    }

    fn found(&self, vm: VmId) -> Vec<Found> {
        let of = |(host, list): (&HostId, &List)| {
            let seen = list.domains.get(&vm)?.clone();
            Some(Found { host: *host, driver: driver(), seen })
        };
        self.listed.iter().filter_map(of).collect()
    }

    /// The facts that every decision has. Mirrors `ostler_engine::facts::bare`.
    pub(crate) fn bare(&self, record: &VmRecord) -> Facts {
        Facts { elsewhere: self.elsewhere(record), ..Facts::bare(STORE) }
    }

    pub(crate) fn elsewhere(&self, record: &VmRecord) -> Option<Found> {
        self.found(record.id).into_iter().find(|found| is_elsewhere(record, STORE, found))
    }

    /// True if a host has a domain of the VM that may be newer than the store.
    pub(crate) fn knows_newer(&self, vm: VmId) -> bool {
        self.listed.values().any(|list| list.domains.contains_key(&vm))
    }

    fn unreconciled(&self) -> Vec<VmId> {
        self.store
            .rows
            .records
            .values()
            .filter(|record| record.is_unreconciled())
            .map(|record| record.id)
            .collect()
    }

    /// Gives each VM what was found of it, once all hosts were listed. Mirrors
    /// `ostler_engine::restored::round`.
    pub(crate) fn reconcile(&mut self) {
        let waiting = self.unreconciled();
        if waiting.is_empty() {
            return;
        }
        let all = self.world.hosts.keys().all(|host| self.listed.contains_key(host));
        if all {
            for vm in waiting {
                if !self.listed.values().any(|list| list.unreadable.contains(&vm)) {
                    let found = self.found(vm);
                    self.deliver(
                        vm,
                        Message::Input(Input::Reconcile { found, storage: None, by: None }),
                    );
                }
            }
            self.wake_scheduler();
        }
        self.later(if all { TRY_AGAIN } else { LOOK_EVERY }, Duty::Reconcile);
    }

    /// A person decides about the VMs for which the daemon cannot tell which domain is the VM:
    /// first the person switches the other domains off. Returns true if there were such VMs.
    pub(crate) fn accept_in_doubt(&mut self) -> bool {
        let in_doubt = |record: &&Rc<VmRecord>| {
            record.restored.as_ref().is_some_and(|restored| restored.in_doubt)
        };
        let vms: Vec<VmId> =
            self.store.rows.records.values().filter(in_doubt).map(|record| record.id).collect();
        for vm in &vms {
            let vm = *vm;
            let here = self.store.rows.records[&vm].placement.as_ref().map(|place| place.host);
            let lives = |(host, domain): (&HostId, &crate::world::Domain)| {
                (Some(*host) != here && domain.alive()).then_some(*host)
            };
            let others: Vec<HostId> =
                self.world.being(vm).domains.iter().filter_map(lives).collect();
            for host in others {
                self.world.power(vm, host, Power::Off, PowerReason::Destroyed);
            }
            self.say(|| format!("operator says that the record of VM {vm} is right"));
            let (found, by) = (self.found(vm), Some("operator".to_owned()));
            self.deliver(vm, Message::Input(Input::Reconcile { found, storage: None, by }));
        }
        !vms.is_empty()
    }
}

/// Mirrors `ostler_store::backup::mark`.
fn mark(rows: &mut Rows, now: Timestamp) {
    for record in rows.records.values_mut().filter(|record| record.state != State::Done) {
        let record = Rc::make_mut(record);
        record.mark_restored(now);
        if record.state == State::Pending {
            (record.state, record.reason) = (State::Hold, Reason::StoreIsStale);
            rows.pending.remove(&record.id);
        }
    }
}
