//! What follows from the records: the content of the derived tables, computed again, and compared
//! with the tables.

use super::{Findings, Of};
use crate::error::ReadError;
use crate::read::Reader;
use crate::sabotage::Sabotage;
use crate::tables;
use ostler_model::{Amount, Book, BookKey, EffectKey, Holding, State, VmId, VmRecord, VmUuid};
use std::collections::{BTreeMap, BTreeSet};

/// The content that the derived tables must have according to the records.
#[derive(Default)]
pub(super) struct Derived {
    by_name: BTreeSet<(String, u64)>,
    by_owner: BTreeSet<(String, u64)>,
    by_state: BTreeSet<(String, u64)>,
    by_uuid: BTreeSet<(u128, u64)>,
    by_host: BTreeSet<(u32, u64)>,
    holders: BTreeSet<(String, String, u64)>,
    owners: BTreeMap<(Book, BookKey), BTreeSet<String>>,
    by_datastore: BTreeSet<(u32, u64)>,
    live: BTreeSet<u64>,
    active: BTreeSet<u64>,
    resched: BTreeSet<u64>,
    done: BTreeSet<(u64, u64)>,
    timers: BTreeSet<(u64, u64)>,
    sums: BTreeMap<(String, String), Amount>,
    counts: BTreeMap<State, u64>,
    pub(super) open: BTreeMap<VmUuid, (VmId, Vec<EffectKey>)>,
    pub(super) ids: BTreeSet<u64>,
    /// VMs whose records cannot be read. Rows that depend on these records cannot be judged.
    pub(super) unreadable: BTreeSet<u64>,
}

impl Derived {
    /// Enters a record. This is deliberately not the code that the writer uses.
    pub(super) fn enter(&mut self, record: &VmRecord, sabotage: Sabotage) {
        let id = record.id.0;
        self.ids.insert(id);
        self.by_name.insert((record.spec.name.to_string(), id));
        self.by_owner.insert((record.owner.clone(), id));
        self.by_state.insert((record.state.to_string(), id));
        self.by_uuid.insert((record.uuid.0.as_u128(), id));
        let left = record.leftovers.iter().map(|left| &left.place);
        for place in record.places().chain(left) {
            self.by_host.insert((place.host.0, id));
        }
        if record.state != State::Done {
            self.live.insert(id);
        }
        if record.state != State::Done || !record.leftovers.is_empty() {
            self.by_datastore
                .extend(record.storage.iter().map(|storage| (storage.datastore.0, id)));
        }
        let active = record.operation.is_some() || !record.open.is_empty();
        if active {
            self.active.insert(id);
        }
        if record.resched {
            self.resched.insert(id);
        }
        let nowhere =
            record.placement.is_none() && record.moving.is_none() && record.leftovers.is_empty();
        if record.state == State::Done && nowhere && !active {
            self.done.insert((record.since.0, id));
        }
        if let Some(due) = record.next_due() {
            self.timers.insert((due.0, id));
        }
        // The record says what a VM holds. Here it is only proven that the books are the sum of
        // that.
        for Holding { book, key, amount } in record.holdings() {
            let by_spec = sabotage == Sabotage::BooksBySpec && book == Book::Host;
            let amount = if by_spec { Some(record.spec.capacity().into()) } else { amount };
            let name = (book.to_string(), key.to_string());
            match amount {
                Some(amount) => {
                    let sum = self.sums.entry(name).or_default();
                    *sum = sum.plus(amount);
                }
                None => {
                    self.holders.insert((name.0, name.1, id));
                    self.owners
                        .entry((book, key))
                        .or_default()
                        .insert(format!("{} (id {id})", record.spec.name));
                }
            }
        }
        *self.counts.entry(record.state).or_default() += 1;
        self.open.insert(
            record.uuid,
            (record.id, record.open.iter().map(|call| call.key.clone()).collect()),
        );
    }
}

/// The key of an index whose keys are plain numbers.
fn itself<T>(key: T) -> T {
    key
}

impl Reader {
    /// Compares the indexes of VMs with the records.
    pub(super) fn check_vm_indexes(
        &self,
        derived: &Derived,
        findings: &mut Findings,
    ) -> Result<(), ReadError> {
        let named = |(key, id): (&str, u64)| (key.to_owned(), id);
        let by_uuid = self.rows(tables::VM_BY_UUID, |uuid, id| (uuid, id))?.into_iter().collect();
        findings.index("vm_by_name", self.keys(tables::VM_BY_NAME, named)?, &derived.by_name);
        findings.index("vm_by_owner", self.keys(tables::VM_BY_OWNER, named)?, &derived.by_owner);
        findings.index("vm_by_state", self.keys(tables::VM_BY_STATE, named)?, &derived.by_state);
        findings.index("vm_by_uuid", by_uuid, &derived.by_uuid);
        findings.index("vm_by_host", self.keys(tables::VM_BY_HOST, itself)?, &derived.by_host);
        let datastores = self.keys(tables::VM_BY_DATASTORE, itself)?;
        findings.index("vm_by_datastore", datastores, &derived.by_datastore);
        findings.index("vm_live", self.keys(tables::VM_LIVE, itself)?, &derived.live);
        findings.index("vm_active", self.keys(tables::VM_ACTIVE, itself)?, &derived.active);
        findings.index("vm_resched", self.keys(tables::VM_RESCHED, itself)?, &derived.resched);
        findings.index("vm_done", self.keys(tables::VM_DONE, itself)?, &derived.done);
        findings.index("timer", self.keys(tables::TIMER, itself)?, &derived.timers);
        let held = |(book, key, id): (&str, &str, u64)| (book.to_owned(), key.to_owned(), id);
        findings.index("holder", self.keys(tables::HOLDER, held)?, &derived.holders);
        for ((book, key), vms) in derived.owners.iter().filter(|(_, vms)| vms.len() > 1) {
            let vms: Vec<&str> = vms.iter().map(String::as_str).collect();
            let vms = vms.join(" and ");
            findings.add(
                Of::Odd,
                format!("{}: {key} is that of VMs {vms}; {}", book.noun(), book.advice()),
            );
        }
        Ok(())
    }

    /// Compares the books and the counts with the records, and proves that everything that VMs hold
    /// is there.
    pub(super) fn check_books(
        &self,
        derived: &Derived,
        findings: &mut Findings,
    ) -> Result<(), ReadError> {
        let sums = self.rows(tables::BOOK, |(book, key), (a, b, c)| {
            ((book.to_owned(), key.to_owned()), Amount([a, b, c]))
        })?;
        let (is, should) = (sums.into_iter().collect(), derived.sums.clone().into_iter().collect());
        findings.compare(Of::Derived, "book", &is, &should);
        let counts = self.state_counts()?;
        if counts != derived.counts {
            findings.add(
                Of::Derived,
                format!("state_count: is {counts:?}, the records say {:?}", derived.counts),
            );
        }
        let hosts = self.keys(tables::HOST, |id| id)?;
        for host in
            derived.by_host.iter().map(|(host, _)| host).filter(|host| !hosts.contains(host))
        {
            findings.add(
                Of::Kept,
                format!("host: {host} is not there, but something of a VM is or may be on it"),
            );
        }
        let images = self.keys(tables::IMAGE, |id| id)?;
        let held = derived
            .sums
            .keys()
            .filter(|(book, _)| *book == Book::Image.to_string())
            .map(|(_, image)| image);
        for image in held.filter(|image| !image.parse().is_ok_and(|image| images.contains(&image)))
        {
            findings.add(Of::Kept, format!("image: {image} is not there, but a disk stands on it"));
        }
        let datastores = self.keys(tables::DATASTORE, |id| id)?;
        for (datastore, vm) in
            derived.by_datastore.iter().filter(|(datastore, _)| !datastores.contains(datastore))
        {
            findings.add(
                Of::Kept,
                format!("datastore: {datastore} is not there, but holds disks of VM {vm}"),
            );
        }
        Ok(())
    }
}
