//! Proves that the store is consistent: everything that is derived is derived again and compared,
//! in both directions.

mod derived;
mod kept;

use self::derived::Derived;
use crate::error::{Chain, Fault, ReadError};
use crate::read::Reader;
use crate::row;
use crate::summary::VmSummary;
use crate::tables;
use ostler_model::VmRecord;
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

    /// Compares an index of the VMs with the rows that follow from the records.
    fn index<T: Ord + Debug>(&mut self, table: &str, is: BTreeSet<T>, should: &BTreeSet<T>) {
        self.compare(Of::Derived, table, &is, should);
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
