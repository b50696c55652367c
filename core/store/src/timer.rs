//! Durable timers: when each VM is due, taken from its record. They are written with the indexes of
//! `vm`.

use crate::error::{Fault, ReadError};
use crate::read::Reader;
use crate::tables::TIMER;
use ostler_model::{Timestamp, VmId};

impl Reader {
    /// All timers, the earliest first. There is at most one per VM. They are read at the start.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn timers_all(&self) -> Result<Vec<(Timestamp, VmId)>, ReadError> {
        self.timers_until(Timestamp(u64::MAX))
    }

    /// The timers that are due at `until` or before, the earliest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn timers_until(&self, until: Timestamp) -> Result<Vec<(Timestamp, VmId)>, ReadError> {
        let table = self.table(TIMER)?;
        let mut found = Vec::new();
        for row in table.range(..=(until.0, u64::MAX)).map_err(Fault::from)? {
            let (due, vm) = row.map_err(Fault::from)?.0.value();
            found.push((Timestamp(due), VmId(vm)));
        }
        Ok(found)
    }
}
