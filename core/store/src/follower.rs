//! A store that follows another one: it applies its batches in order, and is then equal to it row
//! by row.

use crate::disk::{Backend, RawDisk};
use crate::error::{Fault, OpenError, ReadError};
use crate::file;
use crate::log::{ApplyError, BatchNo, LoggedBatch};
use crate::meta;
use crate::migrate::schema_of;
use crate::options::Options;
use crate::read::Reader;
use crate::store::Store;
use crate::tables::{self, META, SCHEMA};
use crate::txn::{Change, Txn};
use ostler_model::StoreId;
use redb::{Builder, Database, ReadableDatabase};
use std::collections::BTreeMap;
use std::path::Path;

/// A copy of a store that is kept up to date with its batches. It begins as a backup
/// ([`Store::backup`]). Nobody commits to it; its content changes only by [`Follower::apply`].
#[derive(Debug)]
pub struct Follower {
    db: Database,
    id: StoreId,
    held: BatchNo,
}

impl Follower {
    /// Opens a copy of a store in this file. A copy of an older schema is not migrated: the store
    /// that it follows migrates, and a copy of that is needed.
    ///
    /// # Errors
    /// If the file is not such a copy, or cannot be read.
    pub fn open(path: &Path, options: &Options) -> Result<Self, OpenError> {
        if !file::taken(path) {
            let source = std::io::Error::from(std::io::ErrorKind::NotFound);
            return Err(OpenError::File { path: path.to_owned(), source });
        }
        Self::of(
            Builder::new().set_cache_size(options.cache_bytes).open(path).map_err(Fault::from)?,
        )
    }

    /// The same on another disk than a file.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(disk: impl RawDisk, options: &Options) -> Result<Self, OpenError> {
        Self::of(
            Builder::new()
                .set_cache_size(options.cache_bytes)
                .create_with_backend(Backend(disk))
                .map_err(Fault::from)?,
        )
    }

    fn of(db: Database) -> Result<Self, OpenError> {
        match schema_of(&db)? {
            Some(SCHEMA) => {}
            Some(found) if found > SCHEMA => {
                return Err(OpenError::NewerSchema { found, ours: SCHEMA });
            }
            Some(_) | None => return Err(no_copy()),
        }
        let reader = Reader::new(db.begin_read().map_err(Fault::from)?);
        let id = meta::store_id(&reader.table(META)?)?.ok_or_else(no_copy)?;
        let held = reader.batch()?;
        drop(reader);
        Ok(Self { db, id, held })
    }

    /// The id of the store that it follows.
    #[must_use]
    pub const fn id(&self) -> StoreId {
        self.id
    }

    /// The last batch that it holds. It is durable.
    #[must_use]
    pub const fn held(&self) -> BatchNo {
        self.held
    }

    /// Applies the next batch, durably, as a whole or not at all. This blocks.
    ///
    /// # Errors
    /// If it is not the next batch of this store, or cannot be written.
    pub fn apply(&mut self, batch: &LoggedBatch) -> Result<(), ApplyError> {
        let (held, given) = (self.held, batch.number);
        if batch.store != self.id {
            return Err(ApplyError::OtherStore { given: batch.store, ours: self.id });
        }
        if batch.schema != SCHEMA {
            return Err(ApplyError::OtherSchema { given: batch.schema, ours: SCHEMA });
        }
        if given <= held {
            return Err(ApplyError::Repeat { held, given });
        }
        if given.0 - held.0 > 1 {
            return Err(ApplyError::Gap { held, given });
        }
        let Some(changes) = &batch.changes else { return Err(ApplyError::NotLogged { given }) };
        // Each table is opened once. The order matters only within a table.
        let mut by_table: BTreeMap<&str, Vec<&Change>> = BTreeMap::new();
        for change in changes {
            by_table.entry(&change.table).or_default().push(change);
        }
        let txn = Txn::begin(&self.db).map_err(Fault::from)?;
        for (table, changes) in by_table {
            if !tables::replay(&txn, table, &changes)? {
                return Err(ApplyError::OtherSchema { given: batch.schema, ours: SCHEMA });
            }
        }
        let says =
            meta::batch(&*txn.open_table(META).map_err(Fault::from)?).map_err(
                |error| match error {
                    ReadError::Storage { source } => ApplyError::Storage { source },
                    ReadError::Row(source) => ApplyError::Row { source },
                },
            )?;
        if says != given.0 {
            txn.abort().map_err(Fault::from)?;
            return Err(ApplyError::Unnumbered { given });
        }
        txn.commit().map_err(Fault::from)?;
        self.held = given;
        Ok(())
    }

    /// A consistent view of everything that it holds now.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn read(&self) -> Result<Reader, ReadError> {
        Ok(Reader::new(self.db.begin_read().map_err(Fault::from)?))
    }

    /// Makes a store of it that takes commits. It goes on with the number after the last batch that
    /// it holds.
    ///
    /// Only for a follower that holds all batches of the store that it followed. Calls of a batch
    /// that it does not hold may be at work, and their VMs would be started a second time. A store
    /// that may lack batches must be marked as after a restore ([`crate::restore`]) before an
    /// engine runs on it.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn lead(self, options: Options) -> Result<Store, OpenError> {
        Store::start(self.db, options)
    }
}

fn no_copy() -> OpenError {
    OpenError::NotAStore {
        why: "it is no copy of a store of this version; begin again from a copy".to_owned(),
    }
}
