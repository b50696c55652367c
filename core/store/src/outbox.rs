//! The outbox: driver calls that are committed as begun. A row is removed when its call was seen to
//! end.

use crate::batch::Batch;
use crate::error::{Fault, ReadError};
use crate::prepare::OutboxId;
use crate::read::Reader;
use crate::row;
use crate::tables::OUTBOX;
use ostler_model::{Effect, VmId, VmUuid};
use redb::ReadableTable;

impl Batch<'_> {
    pub(crate) fn outbox_put(&mut self, id: &OutboxId, row: &[u8]) -> Result<(), Fault> {
        self.hot.outbox.insert(id.key(), row)?;
        Ok(())
    }

    pub(crate) fn outbox_remove(&mut self, id: &OutboxId) -> Result<(), Fault> {
        self.hot.outbox.remove(id.key())?;
        Ok(())
    }
}

impl Reader {
    /// Every driver call that was begun and was not seen to end. The engine bounds how many calls
    /// are in flight.
    ///
    /// # Errors
    /// When the store or a row cannot be read.
    pub fn outbox_all(&self) -> Result<Vec<Effect>, ReadError> {
        let table = self.table(OUTBOX)?;
        let mut found = Vec::new();
        for entry in ReadableTable::iter(&table).map_err(Fault::from)? {
            let (key, kept) = entry.map_err(Fault::from)?;
            found.push(row::decode(kept.value(), format_args!("{:?}", key.value()))?);
        }
        Ok(found)
    }

    /// The driver calls of one VM that were begun and not seen to end.
    ///
    /// # Errors
    /// When the store or a row cannot be read.
    pub fn outbox_of(&self, vm: VmId) -> Result<Vec<Effect>, ReadError> {
        match self.vm_summary(vm)? {
            Some(summary) => self.outbox_of_uuid(summary.uuid),
            None => Ok(Vec::new()),
        }
    }

    fn outbox_of_uuid(&self, uuid: VmUuid) -> Result<Vec<Effect>, ReadError> {
        let table = self.table(OUTBOX)?;
        let uuid = uuid.0.as_u128();
        let mut found = Vec::new();
        for entry in table.range((uuid, 0, 0, "")..).map_err(Fault::from)? {
            let (key, kept) = entry.map_err(Fault::from)?;
            if key.value().0 != uuid {
                break;
            }
            found.push(row::decode(kept.value(), format_args!("{:?}", key.value()))?);
        }
        Ok(found)
    }
}
