//! Operations: one row per operation, and an index by VM that tells which ones have ended.

use crate::batch::Batch;
use crate::error::{Fault, ReadError};
use crate::prepare::PreparedOperation;
use crate::read::Reader;
use crate::row;
use crate::tables::{OPERATION, OPERATION_BY_VM};
use ostler_model::{OperationId, OperationRecord, VmId};

/// How many ended operations are kept for each VM. A person who asks what happened looks at the
/// last few. A VM that is started and stopped for years must not fill the disk.
pub const OPERATIONS_KEPT: usize = 32;

impl Batch<'_> {
    /// Adds or replaces an operation. Deletes the VM's oldest ended operations, if there are more
    /// than the bound.
    pub(crate) fn operation_put(&mut self, operation: &PreparedOperation) -> Result<(), Fault> {
        let new = self.hot.operation.insert(operation.id, operation.row.as_slice())?.is_none();
        if new || operation.ended {
            self.hot.operation_by_vm.insert((operation.vm, operation.id), operation.ended)?;
        }
        if operation.ended { self.operation_trim(operation.vm) } else { Ok(()) }
    }

    fn operation_trim(&mut self, vm: u64) -> Result<(), Fault> {
        let ended = self.operation_ids(vm, |ended| ended)?;
        for id in ended.iter().take(ended.len().saturating_sub(self.limits.operations_kept)) {
            self.hot.operation.remove(id)?;
            self.hot.operation_by_vm.remove((vm, *id))?;
        }
        Ok(())
    }

    /// Removes all operations of a VM.
    pub(crate) fn operation_forget(&mut self, vm: u64) -> Result<(), Fault> {
        for id in self.operation_ids(vm, |_| true)? {
            self.hot.operation.remove(id)?;
            self.hot.operation_by_vm.remove((vm, id))?;
        }
        Ok(())
    }

    fn operation_ids(&self, vm: u64, wanted: impl Fn(bool) -> bool) -> Result<Vec<u64>, Fault> {
        use redb::ReadableTable;
        let mut ids = Vec::new();
        for row in self.hot.operation_by_vm.range((vm, 0)..=(vm, u64::MAX))? {
            let (key, ended) = row?;
            if wanted(ended.value()) {
                ids.push(key.value().1);
            }
        }
        Ok(ids)
    }
}

impl Reader {
    /// An operation.
    ///
    /// # Errors
    /// When the store or the row cannot be read.
    pub fn operation(&self, id: OperationId) -> Result<Option<OperationRecord>, ReadError> {
        let kept = self.table(OPERATION)?.get(id.0).map_err(Fault::from)?;
        Ok(kept.map(|kept| row::decode(kept.value(), id)).transpose()?)
    }

    /// The operations of a VM that are kept, newest first, at most `limit`.
    ///
    /// # Errors
    /// When the store or a row cannot be read.
    pub fn operations_of(&self, vm: VmId, limit: usize) -> Result<Vec<OperationRecord>, ReadError> {
        let index = self.table(OPERATION_BY_VM)?;
        let table = self.table(OPERATION)?;
        let mut found = Vec::new();
        for entry in
            index.range((vm.0, 0)..=(vm.0, u64::MAX)).map_err(Fault::from)?.rev().take(limit)
        {
            let id = entry.map_err(Fault::from)?.0.value().1;
            if let Some(kept) = table.get(id).map_err(Fault::from)? {
                found.push(row::decode(kept.value(), id)?);
            }
        }
        Ok(found)
    }
}
