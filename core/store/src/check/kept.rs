//! Rows that follow from no record: the outbox, operations, events, keys of repeated requests,
//! resources and the marks of ids. They are compared with each other.

use super::derived::Derived;
use super::{Findings, Of};
use crate::error::{Fault, ReadError};
use crate::event::EVENTS_SKIPPED;
use crate::read::Reader;
use crate::{meta, row, tables};
use ostler_model::{Effect, OperationRecord};
use redb::{Key, ReadableTable, TableDefinition, Value};
use std::collections::BTreeSet;

impl Reader {
    pub(super) fn check_outbox(
        &self,
        derived: &Derived,
        findings: &mut Findings,
    ) -> Result<(), ReadError> {
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

    pub(super) fn check_operations(
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

    pub(super) fn check_events(&self, findings: &mut Findings) -> Result<(), ReadError> {
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

    pub(super) fn check_idempotency(&self, findings: &mut Findings) -> Result<(), ReadError> {
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

    pub(super) fn check_resources(&self, findings: &mut Findings) -> Result<(), ReadError> {
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
        let hosts: BTreeSet<u32> = self.hosts()?.iter().map(|host| host.id.0).collect();
        for (driver, host, name) in self.keys(tables::SECRET, |(driver, host, name)| {
            (driver.to_owned(), host, name.to_owned())
        })? {
            if let Some(host) = host.filter(|host| !hosts.contains(host)) {
                findings.add(
                    Of::Kept,
                    format!(
                        "secret: {name} of driver {driver} is for host {host}, which is not there"
                    ),
                );
            }
        }
        Ok(())
    }

    /// Checks that no row has an id above the mark of its kind. Otherwise the id would be used
    /// again.
    pub(super) fn check_marks(&self, findings: &mut Findings) -> Result<(), ReadError> {
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
}
