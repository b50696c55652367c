//! The schema's version, and the way from older ones: a list in order, run at open, one transaction each, never during work.
//!
//! A change of a *row* that an older one does not satisfy needs no migration but a new `Row::VERSION` with its `upgrade`. A change
//! of *tables* (a new index, another key) needs an entry here, a new [`SCHEMA`], and a kept file of the schema before it in
//! `tests/kept/` with a test that opens it.

use crate::batch::Tail;
use crate::error::{Fault, OpenError, ReadError};
use crate::meta;
use crate::read::Reader;
use crate::tables::{Cold, Hot, META};
use ostler_model::StoreId;
use redb::{Database, ReadableDatabase, TableError, WriteTransaction};
use uuid::Uuid;

/// The schema that this version writes.
pub const SCHEMA: u32 = 1;

/// One step of the way from the first schema to [`SCHEMA`].
pub(crate) struct Migration {
    /// The schema it leads to, from the one before.
    pub(crate) to: u32,
    /// What it does, for the log.
    pub(crate) what: &'static str,
    /// Does it. The number of the schema is written in the same transaction.
    pub(crate) run: fn(&WriteTransaction) -> Result<(), OpenError>,
}

/// Schema 1 is the first that was released.
const MIGRATIONS: &[Migration] = &[];

impl From<ReadError> for OpenError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Storage { source } => Self::Storage { source },
            ReadError::Row(source) => Self::Row { source },
        }
    }
}

/// Makes what is missing, migrates what is old. Answers the store's id and where it stands.
pub(crate) fn at_open(db: &Database, id: Option<StoreId>) -> Result<(StoreId, Tail), OpenError> {
    bring_to(db, SCHEMA, MIGRATIONS)?;
    let reader = Reader { txn: db.begin_read().map_err(Fault::from)? };
    let tail = Tail::load(&reader)?;
    let id = match meta::store_id(&reader.table(META)?)? {
        Some(id) => id,
        None => {
            let id = id.unwrap_or_else(|| StoreId(Uuid::new_v4()));
            let txn = db.begin_write().map_err(Fault::from)?;
            meta::store_id_put(&mut txn.open_table(META).map_err(Fault::from)?, id)?;
            txn.commit().map_err(Fault::from)?;
            id
        }
    };
    Ok((id, tail))
}

/// Runs the migrations that are missing, each in a transaction of its own.
fn bring_to(db: &Database, schema: u32, migrations: &[Migration]) -> Result<(), OpenError> {
    let mut found = match schema_of(db)? {
        Some(found) => found,
        None => return make(db, schema),
    };
    if found > schema {
        return Err(OpenError::NewerSchema { found, ours: schema });
    }
    while found < schema {
        let Some(step) = migrations.iter().find(|step| step.to == found + 1) else {
            return Err(OpenError::NotAStore { why: format!("there is no migration from its schema {found}") });
        };
        tracing::info!(from = found, to = step.to, what = step.what, "migrating the store");
        let txn = db.begin_write().map_err(Fault::from)?;
        (step.run)(&txn)?;
        meta::number_put(&mut txn.open_table(META).map_err(Fault::from)?, meta::SCHEMA_KEY, step.to.into())?;
        txn.commit().map_err(Fault::from)?;
        found = step.to;
    }
    Ok(())
}

/// The schema found; none in a database that has no table at all.
pub(crate) fn schema_of(db: &impl ReadableDatabase) -> Result<Option<u32>, OpenError> {
    let txn = db.begin_read().map_err(Fault::from)?;
    let table = match txn.open_table(META) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => {
            let empty = txn.list_tables().map_err(Fault::from)?.next().is_none();
            return if empty { Ok(None) } else { Err(not_a_store()) };
        }
        Err(TableError::Storage(error)) => return Err(Fault::from(error).into()),
        Err(_) => return Err(not_a_store()),
    };
    let found = meta::number(&table, meta::SCHEMA_KEY)?.ok_or_else(not_a_store)?;
    Ok(Some(u32::try_from(found).unwrap_or(u32::MAX)))
}

fn not_a_store() -> OpenError {
    OpenError::NotAStore { why: "the file is a database of something else; give another path".to_owned() }
}

/// Makes all tables of an empty database.
fn make(db: &Database, schema: u32) -> Result<(), OpenError> {
    let txn = db.begin_write().map_err(Fault::from)?;
    {
        let mut hot = Hot::open(&txn)?;
        Cold::open(&txn)?;
        meta::number_put(&mut hot.meta, meta::SCHEMA_KEY, schema.into())?;
    }
    txn.commit().map_err(Fault::from)?;
    Ok(())
}
