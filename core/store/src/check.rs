//! Proves that the store is consistent: everything that is derived is derived again and compared,
//! in both directions.

use crate::error::{Chain, Fault, ReadError};
use crate::event::EVENTS_SKIPPED;
use crate::meta;
use crate::read::Reader;
use crate::row;
use crate::sabotage::Sabotage;
use crate::summary::VmSummary;
use crate::tables;
use ostler_model::{
    Amount, Book, BookKey, Effect, EffectKey, Holding, OperationRecord, State, VmId, VmRecord,
    VmUuid,
};
use redb::{Key, ReadableTable, ReadableTableMetadata, TableDefinition, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

/// How many findings are reported for each kind, at most. The first few show the defect; thousands
/// more would hide it.
const FINDINGS_MAX: usize = 200;

/// The findings, as text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Findings {
    /// About data that follows from the records: summaries, indexes, timers and books. Deriving it
    /// again repairs it.
    pub(crate) derived: Vec<String>,
    /// About rows that follow from nothing else.
    pub(crate) kept: Vec<String>,
    /// About things that should not be, but do no harm. They come from old stores, which did not
    /// check for them.
    pub(crate) odd: Vec<String>,
    /// VMs whose records this version cannot read.
    pub(crate) unreadable: Vec<String>,
}

/// The kind of a finding.
#[derive(Clone, Copy)]
enum Of {
    Derived,
    Kept,
    Odd,
    Unreadable,
}

impl Findings {
    fn add(&mut self, of: Of, finding: impl Into<String>) {
        let list = match of {
            Of::Derived => &mut self.derived,
            Of::Kept => &mut self.kept,
            Of::Odd => &mut self.odd,
            Of::Unreadable => &mut self.unreadable,
        };
        // Each record that cannot be read is named, because the operator has to watch these VMs one
        // by one.
        if list.len() < FINDINGS_MAX || matches!(of, Of::Unreadable) {
            list.push(finding.into());
        }
    }

    /// Compares the rows that exist with the rows that should exist.
    fn compare<T: Ord + Debug>(
        &mut self,
        of: Of,
        table: &str,
        is: &BTreeSet<T>,
        should: &BTreeSet<T>,
    ) {
        for extra in is.difference(should) {
            self.add(of, format!("{table}: {extra:?} is there, but follows from nothing"));
        }
        for missing in should.difference(is) {
            self.add(of, format!("{table}: {missing:?} is missing"));
        }
    }

    /// All findings.
    pub(crate) fn all(self) -> Vec<String> {
        let mut all = self.derived;
        all.extend(self.kept);
        all.extend(self.odd);
        all.extend(self.unreadable);
        all
    }
}

/// The content that the derived tables must have according to the records.
#[derive(Default)]
struct Derived {
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
    open: BTreeMap<VmUuid, (VmId, Vec<EffectKey>)>,
    ids: BTreeSet<u64>,
    /// VMs whose records cannot be read. Rows that depend on these records cannot be judged.
    unreadable: BTreeSet<u64>,
}

impl Derived {
    /// Enters a record. This is deliberately not the code that the writer uses.
    fn enter(&mut self, record: &VmRecord, sabotage: Sabotage) {
        let id = record.id.0;
        self.ids.insert(id);
        self.by_name.insert((record.spec.name.to_string(), id));
        self.by_owner.insert((record.owner.clone(), id));
        self.by_state.insert((record.state.to_string(), id));
        self.by_uuid.insert((record.uuid.0.as_u128(), id));
        let left = record.leftovers.iter().map(|left| &left.place);
        for place in record.placement.iter().chain(&record.other).chain(left) {
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
            record.placement.is_none() && record.other.is_none() && record.leftovers.is_empty();
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

impl Reader {
    /// Every row of a table, converted by `pick`.
    fn rows<K: Key + 'static, V: Value + 'static, T>(
        &self,
        table: TableDefinition<'static, K, V>,
        mut pick: impl FnMut(K::SelfType<'_>, V::SelfType<'_>) -> T,
    ) -> Result<Vec<T>, ReadError> {
        let table = self.table(table)?;
        let mut found = Vec::new();
        for entry in ReadableTable::iter(&table).map_err(Fault::from)? {
            let (key, value) = entry.map_err(Fault::from)?;
            found.push(pick(key.value(), value.value()));
        }
        Ok(found)
    }

    fn keys<K: Key + 'static, V: Value + 'static, T: Ord>(
        &self,
        table: TableDefinition<'static, K, V>,
        mut pick: impl FnMut(K::SelfType<'_>) -> T,
    ) -> Result<BTreeSet<T>, ReadError> {
        Ok(self.rows(table, |key, _| pick(key))?.into_iter().collect())
    }

    /// See [`crate::Store::check`].
    ///
    /// # Errors
    /// When the store or a row cannot be read.
    pub fn check(&self) -> Result<Vec<String>, ReadError> {
        Ok(self.findings()?.all())
    }

    /// The findings of [`Reader::check`], sorted by whether deriving again repairs them.
    pub(crate) fn findings(&self) -> Result<Findings, ReadError> {
        let mut findings = Findings::default();
        let derived = self.check_records(&mut findings)?;
        self.check_vm_indexes(&derived, &mut findings)?;
        self.check_books(&derived, &mut findings)?;
        self.check_outbox(&derived, &mut findings)?;
        self.check_operations(&derived, &mut findings)?;
        self.check_events(&mut findings)?;
        self.check_idempotency(&mut findings)?;
        self.check_resources(&mut findings)?;
        self.check_marks(&mut findings)?;
        Ok(findings)
    }

    /// Compares records with summaries. Answers what must follow from the records.
    fn check_records(&self, findings: &mut Findings) -> Result<Derived, ReadError> {
        let mut derived = Derived::default();
        let mut summaries: BTreeMap<u64, VmSummary> =
            self.summaries()?.into_iter().map(|summary| (summary.id.0, summary)).collect();
        for (id, kept) in
            self.rows(tables::VM, |id, kept| (id, row::decode::<VmRecord>(kept, id)))?
        {
            let record = match kept {
                Ok(record) => record,
                Err(error) => {
                    // Its summary may be from a time when the record could be read.
                    summaries.remove(&id);
                    derived.ids.insert(id);
                    derived.unreadable.insert(id);
                    let finding = format!(
                        "vm: the record of VM {id} cannot be read, so it is in no list: {}",
                        Chain(&error)
                    );
                    findings.add(Of::Unreadable, finding);
                    continue;
                }
            };
            if record.id.0 != id {
                findings.add(Of::Kept, format!("vm: row {id} holds VM {}", record.id));
            }
            match summaries.remove(&id) {
                Some(summary) if summary == VmSummary::from(&record) => {}
                Some(_) => findings.add(
                    Of::Derived,
                    format!("vm_summary: that of VM {id} does not tell what its record does"),
                ),
                None => {
                    findings.add(Of::Derived, format!("vm_summary: that of VM {id} is missing"))
                }
            }
            derived.enter(&record, self.sabotage);
        }
        for id in summaries.keys() {
            findings.add(
                Of::Derived,
                format!("vm_summary: there is one of VM {id}, which is not there"),
            );
        }
        Ok(derived)
    }

    fn check_vm_indexes(
        &self,
        derived: &Derived,
        findings: &mut Findings,
    ) -> Result<(), ReadError> {
        let named = |(key, id): (&str, u64)| (key.to_owned(), id);
        findings.compare(
            Of::Derived,
            "vm_by_name",
            &self.keys(tables::VM_BY_NAME, named)?,
            &derived.by_name,
        );
        findings.compare(
            Of::Derived,
            "vm_by_owner",
            &self.keys(tables::VM_BY_OWNER, named)?,
            &derived.by_owner,
        );
        findings.compare(
            Of::Derived,
            "vm_by_state",
            &self.keys(tables::VM_BY_STATE, named)?,
            &derived.by_state,
        );
        findings.compare(
            Of::Derived,
            "vm_by_host",
            &self.keys(tables::VM_BY_HOST, |key| key)?,
            &derived.by_host,
        );
        let held = |(book, key, id): (&str, &str, u64)| (book.to_owned(), key.to_owned(), id);
        findings.compare(
            Of::Derived,
            "holder",
            &self.keys(tables::HOLDER, held)?,
            &derived.holders,
        );
        for ((book, key), vms) in derived.owners.iter().filter(|(_, vms)| vms.len() > 1) {
            let vms: Vec<&str> = vms.iter().map(String::as_str).collect();
            let vms = vms.join(" and ");
            findings.add(
                Of::Odd,
                format!("{}: {key} is that of VMs {vms}; {}", book.noun(), book.advice()),
            );
        }
        findings.compare(
            Of::Derived,
            "vm_by_datastore",
            &self.keys(tables::VM_BY_DATASTORE, |key| key)?,
            &derived.by_datastore,
        );
        findings.compare(
            Of::Derived,
            "vm_live",
            &self.keys(tables::VM_LIVE, |key| key)?,
            &derived.live,
        );
        findings.compare(
            Of::Derived,
            "vm_active",
            &self.keys(tables::VM_ACTIVE, |key| key)?,
            &derived.active,
        );
        findings.compare(
            Of::Derived,
            "vm_resched",
            &self.keys(tables::VM_RESCHED, |key| key)?,
            &derived.resched,
        );
        findings.compare(
            Of::Derived,
            "vm_done",
            &self.keys(tables::VM_DONE, |key| key)?,
            &derived.done,
        );
        findings.compare(
            Of::Derived,
            "timer",
            &self.keys(tables::TIMER, |key| key)?,
            &derived.timers,
        );
        let by_uuid = self.rows(tables::VM_BY_UUID, |uuid, id| (uuid, id))?.into_iter().collect();
        findings.compare(Of::Derived, "vm_by_uuid", &by_uuid, &derived.by_uuid);
        Ok(())
    }

    fn check_books(&self, derived: &Derived, findings: &mut Findings) -> Result<(), ReadError> {
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

    fn check_outbox(&self, derived: &Derived, findings: &mut Findings) -> Result<(), ReadError> {
        let effects = self.rows(tables::OUTBOX, |key, kept| {
            row::decode::<Effect>(kept, format_args!("{key:?}"))
        })?;
        let mut written = BTreeSet::new();
        for effect in effects {
            let effect = effect?;
            written.insert(effect.key.clone());
            if derived.unreadable.contains(&effect.vm.0) {
                continue;
            }
            let open = derived.open.get(&effect.key.vm);
            if !open.is_some_and(|(id, open)| *id == effect.vm && open.contains(&effect.key)) {
                findings.add(Of::Kept, format!("outbox: {} is not open in its record", effect.key));
            }
        }
        // A call that is open and not in the outbox would never be sent again after a crash.
        let open =
            derived.open.values().flat_map(|(vm, open)| open.iter().map(move |key| (vm, key)));
        for (vm, key) in open.filter(|(_, key)| !written.contains(*key)) {
            // A restore closes every open call, so a backup with this finding can still be
            // restored.
            findings.add(
                Of::Odd,
                format!("outbox: the call {key} is open in the record of VM {vm}, and is missing"),
            );
        }
        Ok(())
    }

    fn check_operations(
        &self,
        derived: &Derived,
        findings: &mut Findings,
    ) -> Result<(), ReadError> {
        let mut should = BTreeSet::new();
        for kept in self.rows(tables::OPERATION, |id, kept| {
            row::decode::<OperationRecord>(kept, id).map(|row| (id, row))
        })? {
            let (id, operation) = kept?;
            if operation.id.0 != id {
                findings
                    .add(Of::Kept, format!("operation: row {id} holds operation {}", operation.id));
            }
            if !derived.ids.contains(&operation.vm.0) {
                findings.add(
                    Of::Kept,
                    format!("operation: {id} belongs to VM {}, which is not there", operation.vm),
                );
            }
            should.insert((operation.vm.0, id, operation.ended.is_some()));
        }
        let index = self
            .rows(tables::OPERATION_BY_VM, |(vm, id), ended| (vm, id, ended))?
            .into_iter()
            .collect();
        findings.compare(Of::Kept, "operation_by_vm", &index, &should);
        Ok(())
    }

    fn check_events(&self, findings: &mut Findings) -> Result<(), ReadError> {
        let last = self.seq()?.0;
        let seqs = self.rows(tables::EVENT, |seq, _| seq)?;
        let follows =
            |before: u64, after: u64| after - before == 1 || after - before == EVENTS_SKIPPED + 1;
        if let Some(pair) = seqs.windows(2).find(|pair| !follows(pair[0], pair[1])) {
            findings.add(Of::Kept, format!("event: {} is followed by {}", pair[0], pair[1]));
        }
        if let Some(newest) = seqs.last().filter(|newest| **newest != last) {
            findings.add(
                Of::Kept,
                format!("event: the newest is {newest}, and the last number given is {last}"),
            );
        }
        Ok(())
    }

    fn check_idempotency(&self, findings: &mut Findings) -> Result<(), ReadError> {
        let rows = self.rows(tables::IDEMPOTENCY, |key, kept| {
            row::decode::<crate::IdempotencyRow>(kept, key.2)
        })?;
        let mut should = BTreeSet::new();
        for kept in rows {
            let kept = kept?;
            should.insert((kept.at.0, kept.who, kept.route, kept.key));
        }
        let ages = self.keys(tables::IDEMPOTENCY_BY_AGE, |(at, who, route, key)| {
            (at, who.to_owned(), route.to_owned(), key.to_owned())
        })?;
        findings.compare(Of::Kept, "idempotency_by_age", &ages, &should);
        Ok(())
    }

    fn check_resources(&self, findings: &mut Findings) -> Result<(), ReadError> {
        let named = |name: &str, id: u32| (name.to_owned(), id);
        let index = self.rows(tables::HOST_BY_NAME, named)?.into_iter().collect();
        let should = self.hosts()?.iter().map(|host| (host.name.to_string(), host.id.0)).collect();
        findings.compare(Of::Kept, "host_by_name", &index, &should);
        let index = self.rows(tables::DATASTORE_BY_NAME, named)?.into_iter().collect();
        let should = self
            .datastores()?
            .iter()
            .map(|datastore| (datastore.name.to_string(), datastore.id.0))
            .collect();
        findings.compare(Of::Kept, "datastore_by_name", &index, &should);
        let images = self.images()?;
        let index = self.rows(tables::IMAGE_BY_NAME, named)?.into_iter().collect();
        let should = images.iter().map(|image| (image.name.to_string(), image.id.0)).collect();
        findings.compare(Of::Kept, "image_by_name", &index, &should);
        let should = images.iter().map(|image| (image.datastore.0, image.id.0)).collect();
        findings.compare(
            Of::Kept,
            "image_by_datastore",
            &self.keys(tables::IMAGE_BY_DATASTORE, |key| key)?,
            &should,
        );
        let index = self
            .rows(tables::TOKEN_BY_HASH, |hash, name| (hash.to_owned(), name.to_owned()))?
            .into_iter()
            .collect();
        let should = self.tokens()?.into_iter().map(|token| (token.hash_hex, token.name)).collect();
        findings.compare(Of::Kept, "token_by_hash", &index, &should);
        Ok(())
    }

    /// Checks that no row has an id above the mark of its kind. Otherwise the id would be used
    /// again.
    fn check_marks(&self, findings: &mut Findings) -> Result<(), ReadError> {
        let marks = meta::marks(&self.table(tables::META)?)?;
        let mut above = |kind: &str, highest: Option<u64>, mark: u64| {
            if let Some(highest) = highest.filter(|highest| *highest > mark) {
                findings.add(Of::Kept, format!("meta: {kind} {highest} is above the mark {mark}"));
            }
        };
        above("VM", self.last_key(tables::VM)?, marks.vm);
        above("operation", self.last_key(tables::OPERATION)?, marks.operation);
        above("host", self.last_key(tables::HOST)?.map(u64::from), marks.host.into());
        above(
            "datastore",
            self.last_key(tables::DATASTORE)?.map(u64::from),
            marks.datastore.into(),
        );
        above("image", self.last_key(tables::IMAGE)?.map(u64::from), marks.image.into());
        Ok(())
    }

    fn last_key<K, V>(&self, table: TableDefinition<'static, K, V>) -> Result<Option<K>, ReadError>
    where
        K: for<'a> Key<SelfType<'a> = K> + 'static,
        V: Value + 'static,
    {
        let table = self.table(table)?;
        Ok(table.last().map_err(Fault::from)?.map(|(key, _)| key.value()))
    }

    /// All rows of the store as text. Two stores with the same content give the same text. For
    /// tests.
    ///
    /// # Errors
    /// When the store cannot be read.
    #[doc(hidden)]
    pub fn dump(&self) -> Result<Vec<String>, ReadError> {
        let mut lines = Vec::new();
        tables::walk(&self.txn, |table, key, value| {
            let value =
                std::str::from_utf8(value).map_or_else(|_| row::bytes::hex(value), str::to_owned);
            lines.push(format!("{table}\t{key}\t{value}"));
        })?;
        Ok(lines)
    }

    /// How many VMs there are, including those that are done.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn vm_count(&self) -> Result<u64, ReadError> {
        Ok(self.table(tables::VM_SUMMARY)?.len().map_err(Fault::from)?)
    }
}
