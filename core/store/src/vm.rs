//! VMs: the record, its summary, and the indexes that are derived from them.

use crate::batch::Batch;
use crate::book::Claimant;
use crate::error::{Fault, ReadError, RowError};
use crate::prepare::PreparedVm;
use crate::read::Reader;
use crate::row;
use crate::sabotage::Sabotage;
use crate::summary::VmSummary;
use crate::tables::{
    VM, VM_ACTIVE, VM_BY_HOST, VM_BY_NAME, VM_BY_UUID, VM_DONE, VM_LIVE, VM_RESCHED, VM_SUMMARY,
};
use ostler_model::{HostId, Resource, ResourceRefused, Timestamp, VmId, VmName, VmRecord, VmUuid};
use redb::{ReadableTable, TableDefinition};
use serde::de::Error as _;
use std::collections::BTreeSet;

/// How many VMs are answered for one name, at most. This is enough to say that the name is
/// ambiguous, and to list candidates.
pub const SAME_NAME_MAX: usize = 100;
/// How many rows of one name are read, at most, the newest first. This takes a few milliseconds.
const SAME_NAME_SCANNED: usize = 10_000;

/// The fault that a simulation must find: a record cannot be read if this version does not know the
/// zone of a schedule in it.
fn understood(record: &VmRecord) -> Result<(), RowError> {
    let unknown = record.schedules.iter().find_map(|planned| planned.schedule.check().err());
    let refuse = |source| RowError::Content {
        table: "vm",
        key: record.id.to_string(),
        source: serde_json::Error::custom(source),
    };
    unknown.map_or(Ok(()), |error| Err(refuse(error)))
}

impl Batch<'_> {
    /// The summary of a VM as this batch sees it.
    pub(crate) fn vm_summary(&self, id: VmId) -> Result<Option<VmSummary>, ReadError> {
        let kept = self.hot.vm_summary.get(id.0).map_err(Fault::from)?;
        Ok(kept.map(|kept| row::decode(kept.value(), id)).transpose()?)
    }

    /// Refuses a record that names something that does not exist, or that has the UUID of another
    /// VM. The VM that the same commit forgets does not count.
    pub(crate) fn vm_refused(
        &self,
        new: &VmSummary,
        old: Option<&VmSummary>,
        goes: Option<VmId>,
    ) -> Result<Option<ResourceRefused>, ReadError> {
        let missing = |what: Resource| Ok(Some(ResourceRefused::NotFound { what }));
        let uuid_old = old.map(|vm| vm.uuid);
        if uuid_old != Some(new.uuid)
            && let Some(other) =
                self.hot.vm_by_uuid.get(new.uuid.0.as_u128()).map_err(Fault::from)?
            && other.value() != new.id.0
            && goes != Some(VmId(other.value()))
        {
            return Ok(Some(ResourceRefused::UuidTaken { vm: new.id, other: VmId(other.value()) }));
        }
        for host in
            new.hosts().filter(|host| !old.is_some_and(|vm| vm.hosts().any(|at| at == *host)))
        {
            if self.hot.host.get(host.0).map_err(Fault::from)?.is_none() {
                return missing(host.into());
            }
        }
        if let Some(datastore) =
            new.datastore.filter(|datastore| old.and_then(|vm| vm.datastore) != Some(*datastore))
            && self.hot.datastore.get(datastore.0).map_err(Fault::from)?.is_none()
        {
            return missing(datastore.into());
        }
        if let Some(thing) = self.missing_thing(&Claimant::new(old, Some(new), goes))? {
            return missing(thing);
        }
        Ok(None)
    }

    /// Writes a record and everything that is derived from it.
    pub(crate) fn vm_put(&mut self, vm: &PreparedVm, old: Option<&VmSummary>) -> Result<(), Fault> {
        let id = vm.summary.id.0;
        self.hot.vm.insert(id, vm.row.as_slice())?;
        self.hot.vm_summary.insert(id, vm.summary_row.as_slice())?;
        self.vm_index(id, old, Some(&vm.summary))?;
        self.books_enter(id, old, Some(&vm.summary))
    }

    /// Removes a record and everything that is derived from it.
    pub(crate) fn vm_remove(&mut self, old: &VmSummary) -> Result<(), Fault> {
        let id = old.id.0;
        self.hot.vm.remove(id)?;
        self.hot.vm_summary.remove(id)?;
        self.vm_index(id, Some(old), None)?;
        self.books_enter(id, Some(old), None)
    }

    /// Changes the index rows of one VM from its old summary to its new one. Rows that do not
    /// change are not touched.
    pub(crate) fn vm_index(
        &mut self,
        id: u64,
        old: Option<&VmSummary>,
        new: Option<&VmSummary>,
    ) -> Result<(), Fault> {
        let hot = &mut self.hot;
        /// Replaces `(key, VM)` if the key has changed.
        macro_rules! moved {
            ($table:ident, $key:expr) => {
                let (before, after) = (old.and_then($key), new.and_then($key));
                if before != after {
                    if let Some(key) = before {
                        hot.$table.remove((key, id))?;
                    }
                    if let Some(key) = after {
                        hot.$table.insert((key, id), ())?;
                    }
                }
            };
        }
        /// Keeps the VM in a set as long as the test holds.
        macro_rules! member {
            ($table:ident, $test:expr) => {
                match (old.is_some_and($test), new.is_some_and($test)) {
                    (false, true) => drop(hot.$table.insert(id, ())?),
                    (true, false) => drop(hot.$table.remove(id)?),
                    (true, true) | (false, false) => {}
                }
            };
        }
        moved!(vm_by_name, |vm: &VmSummary| Some(vm.name.as_str()));
        moved!(vm_by_owner, |vm: &VmSummary| Some(vm.owner.as_str()));
        moved!(vm_by_state, |vm: &VmSummary| Some(vm.state_key()));
        moved!(vm_by_datastore, |vm: &VmSummary| vm.datastore.map(|datastore| datastore.0));
        moved!(timer, |vm: &VmSummary| vm.due.map(|due| due.0));
        member!(vm_live, VmSummary::live);
        member!(vm_active, |vm: &VmSummary| vm.active);
        member!(vm_resched, |vm: &VmSummary| vm.resched);
        moved!(vm_done, |vm: &VmSummary| vm.over().then_some(vm.since.0));
        let (before, after) =
            (old.map(|vm| vm.uuid.0.as_u128()), new.map(|vm| vm.uuid.0.as_u128()));
        if before != after {
            if let Some(uuid) = before {
                hot.vm_by_uuid.remove(uuid)?;
            }
            if let Some(uuid) = after {
                hot.vm_by_uuid.insert(uuid, id)?;
            }
        }
        self.vm_index_hosts(id, old, new)
    }

    /// Updates the index by which a VM is found from every host where something of it is or may be.
    fn vm_index_hosts(
        &mut self,
        id: u64,
        old: Option<&VmSummary>,
        new: Option<&VmSummary>,
    ) -> Result<(), Fault> {
        let hosts = |vm: Option<&VmSummary>| {
            vm.into_iter().flat_map(VmSummary::hosts).collect::<BTreeSet<_>>()
        };
        let (before, after) = (hosts(old), hosts(new));
        for host in before.difference(&after) {
            self.hot.vm_by_host.remove((host.0, id))?;
        }
        for host in after.difference(&before) {
            self.hot.vm_by_host.insert((host.0, id), ())?;
        }
        Ok(())
    }
}

impl Reader {
    /// The record of a VM.
    ///
    /// # Errors
    /// When the store or the row cannot be read.
    pub fn vm(&self, id: VmId) -> Result<Option<VmRecord>, ReadError> {
        let kept = self.table(VM)?.get(id.0).map_err(Fault::from)?;
        let record: Option<VmRecord> =
            kept.map(|kept| row::decode(kept.value(), id)).transpose()?;
        if self.sabotage == Sabotage::StrictRows {
            record.as_ref().map_or(Ok(()), understood)?;
        }
        Ok(record)
    }

    /// The short form of a VM.
    ///
    /// # Errors
    /// When the store or the row cannot be read.
    pub fn vm_summary(&self, id: VmId) -> Result<Option<VmSummary>, ReadError> {
        let kept = self.table(VM_SUMMARY)?.get(id.0).map_err(Fault::from)?;
        Ok(kept.map(|kept| self.summaries.decode(kept.value(), id.0)).transpose()?)
    }

    /// The id of the VM that hypervisors know by this UUID.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn vm_by_uuid(&self, uuid: VmUuid) -> Result<Option<VmId>, ReadError> {
        Ok(self
            .table(VM_BY_UUID)?
            .get(uuid.0.as_u128())
            .map_err(Fault::from)?
            .map(|id| VmId(id.value())))
    }

    /// VMs with this name, lowest id first, at most [`SAME_NAME_MAX`]. If there are more, VMs that
    /// are not done are preferred, and then the newest. So a name that was used again and again
    /// still finds the VM that has it now.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn vms_by_name(&self, name: &VmName) -> Result<Vec<VmId>, ReadError> {
        let table = self.table(VM_BY_NAME)?;
        let rows =
            table.range((name.as_str(), 0)..=(name.as_str(), u64::MAX)).map_err(Fault::from)?;
        let live = self.table(VM_LIVE)?;
        let (mut found, mut done) = (Vec::new(), Vec::new());
        for row in rows.rev().take(SAME_NAME_SCANNED) {
            let id = row.map_err(Fault::from)?.0.value().1;
            let of =
                if live.get(id).map_err(Fault::from)?.is_some() { &mut found } else { &mut done };
            if of.len() < SAME_NAME_MAX {
                of.push(VmId(id));
            }
        }
        done.truncate(SAME_NAME_MAX - found.len());
        found.append(&mut done);
        found.sort_unstable();
        Ok(found)
    }

    /// VMs with an operation in hand, or with a driver call that may be under way. They are looked
    /// at after a restart.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn active_vms(&self) -> Result<Vec<VmId>, ReadError> {
        self.vm_set(VM_ACTIVE)
    }

    /// VMs that the scheduler is asked to move to another host, lowest id first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn vms_to_resched(&self) -> Result<Vec<VmId>, ReadError> {
        self.vm_set(VM_RESCHED)
    }

    fn vm_set(&self, table: TableDefinition<'static, u64, ()>) -> Result<Vec<VmId>, ReadError> {
        let table = self.table(table)?;
        let mut found = Vec::new();
        for row in ReadableTable::iter(&table).map_err(Fault::from)? {
            found.push(VmId(row.map_err(Fault::from)?.0.value()));
        }
        Ok(found)
    }

    /// VMs that have been done since before `before` and of which nothing is left, the longest ones
    /// first, at most `limit`. [`ResourceChange::VmForget`](crate::ResourceChange::VmForget) does
    /// not refuse these VMs.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn done_before(&self, before: Timestamp, limit: usize) -> Result<Vec<VmId>, ReadError> {
        let table = self.table(VM_DONE)?;
        let mut found = Vec::new();
        for row in table.range(..(before.0, 0)).map_err(Fault::from)?.take(limit) {
            found.push(VmId(row.map_err(Fault::from)?.0.value().1));
        }
        Ok(found)
    }

    /// The VMs of which something is or may be on a host, lowest id first: VMs that have their
    /// placement there, VMs that migrate from or to it, and VMs that left it without being seen
    /// gone.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn vms_on_host(&self, host: HostId) -> Result<Vec<VmId>, ReadError> {
        let table = self.table(VM_BY_HOST)?;
        let mut found = Vec::new();
        for row in table.range((host.0, 0)..=(host.0, u64::MAX)).map_err(Fault::from)? {
            found.push(VmId(row.map_err(Fault::from)?.0.value().1));
        }
        Ok(found)
    }
}
