//! Datastores.

use crate::batch::Batch;
use crate::error::{Fault, ReadError};
use crate::read::Reader;
use crate::resource::{Ahead, Refusal, in_use, not_found};
use crate::row::{self, Row};
use crate::tables::{DATASTORE, DATASTORE_BY_NAME};
use ostler_model::{Datastore, DatastoreId, DatastoreName, ImageId, ResourceKind, UsedBy, VmId};
use redb::ReadableTable;

impl Row for Datastore {
    const TABLE: &'static str = "datastore";
}

impl Batch<'_> {
    /// A datastore as this batch sees it.
    pub(crate) fn datastore(&self, id: DatastoreId) -> Result<Option<Datastore>, ReadError> {
        let kept = self.hot.datastore.get(id.0).map_err(Fault::from)?;
        Ok(kept.map(|kept| row::decode(kept.value(), id)).transpose()?)
    }

    pub(crate) fn datastore_put_refused(
        &mut self,
        datastore: &Datastore,
        ahead: &mut Ahead<'_>,
    ) -> Refusal {
        let name = datastore.name.as_str();
        let owner =
            self.cold()?.datastore_by_name.get(name).map_err(Fault::from)?.map(|id| id.value());
        ahead.name(ResourceKind::Datastore, name, owner, datastore.id.0)
    }

    pub(crate) fn datastore_remove_refused(&mut self, id: DatastoreId) -> Refusal {
        if self.datastore(id)?.is_none() {
            return not_found(id);
        }
        let images = &self.cold()?.image_by_datastore;
        let first = images.range((id.0, 0)..=(id.0, u32::MAX)).map_err(Fault::from)?.next();
        if let Some((key, _)) = first.transpose().map_err(Fault::from)? {
            return in_use(id, UsedBy::Image(ImageId(key.value().1)));
        }
        let first = self
            .hot
            .vm_by_datastore
            .range((id.0, 0)..=(id.0, u64::MAX))
            .map_err(Fault::from)?
            .next();
        match first.transpose().map_err(Fault::from)? {
            Some((key, _)) => in_use(id, UsedBy::FilesOf(VmId(key.value().1))),
            None => Ok(None),
        }
    }

    pub(crate) fn datastore_put(&mut self, datastore: &Datastore) -> Result<(), ReadError> {
        let old = self.datastore(datastore.id)?;
        let kept = row::encode(datastore)?;
        self.hot.datastore.insert(datastore.id.0, kept.as_slice()).map_err(Fault::from)?;
        if old.as_ref().map(|old| &old.name) == Some(&datastore.name) {
            return Ok(());
        }
        let names = &mut self.cold()?.datastore_by_name;
        if let Some(old) = old {
            names.remove(old.name.as_str()).map_err(Fault::from)?;
        }
        names.insert(datastore.name.as_str(), datastore.id.0).map_err(Fault::from)?;
        Ok(())
    }

    pub(crate) fn datastore_remove(&mut self, id: DatastoreId) -> Result<(), ReadError> {
        if let Some(old) = self.datastore(id)? {
            self.hot.datastore.remove(id.0).map_err(Fault::from)?;
            self.cold()?.datastore_by_name.remove(old.name.as_str()).map_err(Fault::from)?;
        }
        Ok(())
    }
}

impl Reader {
    /// A datastore.
    ///
    /// # Errors
    /// When the store or the row cannot be read.
    pub fn datastore(&self, id: DatastoreId) -> Result<Option<Datastore>, ReadError> {
        let kept = self.table(DATASTORE)?.get(id.0).map_err(Fault::from)?;
        Ok(kept.map(|kept| row::decode(kept.value(), id)).transpose()?)
    }

    /// A datastore by name.
    ///
    /// # Errors
    /// When the store or the row cannot be read.
    pub fn datastore_by_name(&self, name: &DatastoreName) -> Result<Option<Datastore>, ReadError> {
        match self.table(DATASTORE_BY_NAME)?.get(name.as_str()).map_err(Fault::from)? {
            Some(id) => self.datastore(DatastoreId(id.value())),
            None => Ok(None),
        }
    }

    /// All datastores, lowest id first.
    ///
    /// # Errors
    /// When the store or a row cannot be read.
    pub fn datastores(&self) -> Result<Vec<Datastore>, ReadError> {
        let table = self.table(DATASTORE)?;
        let mut found = Vec::new();
        for entry in ReadableTable::iter(&table).map_err(Fault::from)? {
            let (id, kept) = entry.map_err(Fault::from)?;
            found.push(row::decode(kept.value(), id.value())?);
        }
        Ok(found)
    }
}
