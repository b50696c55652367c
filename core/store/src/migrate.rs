//! The version of the schema, and the migrations from older ones: a list in order. They run when
//! the store is opened, in one transaction each, and never while it is in use.
//!
//! A change of what is *derived* (summary, index keys, when a VM is due) needs a new
//! [`crate::derive::DERIVED`] and nothing else. A change of a *row* that older rows do not satisfy
//! needs no migration, but a new `Row::VERSION` with its `upgrade`. A change of *tables* (a new
//! index, another key) needs an entry here, a new [`crate::SCHEMA`], and a file of the schema
//! before it in `tests/kept/`, with a test that opens this file.

use crate::batch::Tail;
use crate::derive;
use crate::error::{Fault, OpenError, ReadError};
use crate::log::Followers;
use crate::meta;
use crate::read::Reader;
use crate::tables::{Cold, Hot, META, SCHEMA};
use crate::txn::{Recorded, Txn};
use ostler_model::StoreId;
use redb::{Database, ReadableDatabase, TableDefinition, TableError};
use uuid::Uuid;

/// One step on the way from the first schema to [`SCHEMA`].
pub(crate) struct Migration {
    /// The schema that it leads to, from the one before.
    pub(crate) to: u32,
    /// A description for the log.
    pub(crate) what: &'static str,
    /// Makes the change. The number of the schema is written in the same transaction.
    pub(crate) run: fn(&Txn) -> Result<(), OpenError>,
}

/// Schema 1 was the first one that was released.
const MIGRATIONS: &[Migration] = &[
    Migration {
        to: 2,
        what: "sets of VMs to move to another host, and of VMs to forget",
        run: make_tables,
    },
    Migration {
        to: 3,
        what: "one table for all books, and one for what has one holder",
        run: join_books,
    },
    Migration { to: 4, what: "a table for secrets of drivers", run: make_tables },
];

/// The books of schema 2. What was in them is derived again.
const HOST_USAGE: TableDefinition<'static, u32, (u64, u64, u64)> =
    TableDefinition::new("host_usage");
const IMAGE_HOLD: TableDefinition<'static, u32, u64> = TableDefinition::new("image_hold");
const VM_BY_MAC: TableDefinition<'static, (u64, u64), ()> = TableDefinition::new("vm_by_mac");

impl From<ReadError> for OpenError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Storage { source } => Self::Storage { source },
            ReadError::Row(source) => Self::Row { source },
        }
    }
}

/// Makes the tables that are missing, migrates an old schema, and derives again if needed. Answers
/// the store's id and its tail.
pub(crate) fn at_open(
    db: &Database,
    id: Option<StoreId>,
    followers: &Followers,
) -> Result<(StoreId, Tail), OpenError> {
    bring_to(db, SCHEMA, MIGRATIONS, followers)?;
    derive_anew(db, followers)?;
    let reader = Reader::new(db.begin_read().map_err(Fault::from)?);
    let tail = Tail::load(&reader)?;
    let id = match meta::store_id(&reader.table(META)?)? {
        Some(id) => id,
        None => {
            let id = id.unwrap_or_else(|| StoreId(Uuid::new_v4()));
            let txn = Txn::begin(db).map_err(Fault::from)?;
            meta::store_id_put(&mut txn.open_table(META).map_err(Fault::from)?, id)?;
            txn.commit().map_err(Fault::from)?;
            id
        }
    };
    Ok((id, tail))
}

/// Derives everything again if the rules for it have changed.
fn derive_anew(db: &Database, followers: &Followers) -> Result<(), OpenError> {
    let (kept, id) = {
        let meta = Reader::new(db.begin_read().map_err(Fault::from)?).table(META)?;
        (meta::number(&meta, meta::DERIVED_KEY)?, meta::store_id(&meta)?)
    };
    if kept == Some(derive::DERIVED) {
        return Ok(());
    }
    tracing::info!(
        ?kept,
        now = derive::DERIVED,
        "deriving summaries, indexes, timers and books anew"
    );
    let txn = Txn::recorded(db, followers.any(), None).map_err(Fault::from)?;
    derive::rebuild(&txn)?;
    let number = meta::batch_next(&mut txn.open_table(META).map_err(Fault::from)?)?;
    let recorded = txn.commit().map_err(Fault::from)?;
    if let Some(id) = id {
        followers.tell(id, number, recorded);
    }
    Ok(())
}

/// Runs the missing migrations, each in its own transaction.
fn bring_to(
    db: &Database,
    schema: u32,
    migrations: &[Migration],
    followers: &Followers,
) -> Result<(), OpenError> {
    let mut found = match schema_of(db)? {
        Some(found) => found,
        None => return make(db, schema),
    };
    if found > schema {
        return Err(OpenError::NewerSchema { found, ours: schema });
    }
    while found < schema {
        let Some(step) = migrations.iter().find(|step| step.to == found + 1) else {
            return Err(OpenError::NotAStore {
                why: format!("there is no migration from its schema {found}"),
            });
        };
        tracing::info!(from = found, to = step.to, what = step.what, "migrating the store");
        let txn = Txn::begin(db).map_err(Fault::from)?;
        (step.run)(&txn)?;
        let mut meta = txn.open_table(META).map_err(Fault::from)?;
        meta::number_put(&mut meta, meta::SCHEMA_KEY, step.to.into())?;
        let (number, id) = (meta::batch_next(&mut meta)?, meta::store_id(&*meta)?);
        drop(meta);
        txn.commit().map_err(Fault::from)?;
        // The tables differ now. Followers cannot apply that: they begin again from a copy.
        if let Some(id) = id {
            followers.tell(id, number, Recorded::Nothing);
        }
        found = step.to;
    }
    Ok(())
}

/// The schema of a database. None if it has no table at all.
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
    OpenError::NotAStore {
        why: "the file is a database of something else; give another path".to_owned(),
    }
}

/// Makes the missing tables. Derived tables are filled after this, because a change that adds one
/// also raises [`crate::derive::DERIVED`].
fn make_tables(txn: &Txn) -> Result<(), OpenError> {
    Hot::open(txn)?;
    Cold::open(txn)?;
    Ok(())
}

fn join_books(txn: &Txn) -> Result<(), OpenError> {
    txn.delete_table(HOST_USAGE).map_err(Fault::from)?;
    txn.delete_table(IMAGE_HOLD).map_err(Fault::from)?;
    txn.delete_table(VM_BY_MAC).map_err(Fault::from)?;
    make_tables(txn)
}

/// Makes all tables of an empty database.
fn make(db: &Database, schema: u32) -> Result<(), OpenError> {
    let txn = Txn::begin(db).map_err(Fault::from)?;
    {
        let mut hot = Hot::open(&txn)?;
        Cold::open(&txn)?;
        meta::number_put(&mut hot.meta, meta::SCHEMA_KEY, schema.into())?;
        meta::number_put(&mut hot.meta, meta::DERIVED_KEY, derive::DERIVED)?;
    }
    txn.commit().map_err(Fault::from)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row;
    use redb::{Builder, backends::InMemoryBackend};

    const OLD: TableDefinition<'static, &str, &str> = TableDefinition::new("tokens");

    fn empty() -> Database {
        Builder::new().create_with_backend(InMemoryBackend::new()).expect("opens")
    }

    /// A store as schema 0 might have been: tokens in another table without an index of hashes, and
    /// no other table.
    fn of_schema_0() -> Database {
        let db = empty();
        let txn = Txn::begin(&db).expect("begins");
        meta::number_put(&mut txn.open_table(META).expect("opens"), meta::SCHEMA_KEY, 0)
            .expect("writes");
        txn.open_table(OLD).expect("opens").insert("admin", "00ff").expect("writes");
        txn.commit().expect("commits");
        db
    }

    fn tokens_move(txn: &Txn) -> Result<(), OpenError> {
        Hot::open(txn)?;
        let mut cold = Cold::open(txn)?;
        {
            let old = txn.open_table(OLD).map_err(Fault::from)?;
            for entry in redb::ReadableTable::iter(&*old).map_err(Fault::from)? {
                let (name, hash) = entry.map_err(Fault::from)?;
                let token = crate::TokenRow {
                    name: name.value().to_owned(),
                    hash_hex: hash.value().to_owned(),
                    scopes: vec!["admin".to_owned()],
                    created: ostler_model::Timestamp(0),
                    expires: None,
                };
                let kept = row::encode(&token)?;
                cold.token.insert(token.name.as_str(), kept.as_slice()).map_err(Fault::from)?;
                cold.token_by_hash
                    .insert(token.hash_hex.as_str(), token.name.as_str())
                    .map_err(Fault::from)?;
            }
        }
        txn.delete_table(OLD).map_err(Fault::from)?;
        Ok(())
    }

    fn nothing(_: &Txn) -> Result<(), OpenError> {
        Ok(())
    }

    fn fails(txn: &Txn) -> Result<(), OpenError> {
        txn.delete_table(OLD).map_err(Fault::from)?;
        Err(not_a_store())
    }

    const TO_1: Migration = Migration { to: 1, what: "tokens have a hash index", run: tokens_move };
    const TO_2: Migration = Migration { to: 2, what: "nothing", run: nothing };

    #[test]
    fn an_older_store_goes_through_every_migration_in_order() {
        let db = of_schema_0();
        bring_to(&db, 2, &[TO_1, TO_2], &Followers::default()).expect("migrates");
        assert_eq!(schema_of(&db).expect("reads"), Some(2));
        let reader = Reader::new(db.begin_read().expect("reads"));
        assert_eq!(
            reader.token_by_hash("00ff").expect("reads").map(|token| token.name),
            Some("admin".to_owned())
        );
        assert_eq!(reader.check().expect("reads"), Vec::<String>::new());
        bring_to(&db, 2, &[TO_1, TO_2], &Followers::default()).expect("has nothing to do");
    }

    #[test]
    fn a_migration_that_fails_changes_nothing() {
        let db = of_schema_0();
        let broken = Migration { to: 1, what: "fails", run: fails };
        bring_to(&db, 1, &[broken], &Followers::default()).expect_err("fails");
        assert_eq!(schema_of(&db).expect("reads"), Some(0));
        bring_to(&db, 1, &[TO_1], &Followers::default()).expect("the old table is still there");
    }

    #[test]
    fn a_newer_a_foreign_and_an_unknown_database_are_refused_in_words() {
        let db = empty();
        make(&db, SCHEMA + 1).expect("is made");
        let error = at_open(&db, None, &Followers::default()).expect_err("newer");
        assert!(
            matches!(error, OpenError::NewerSchema { found, ours } if found == SCHEMA + 1 && ours == SCHEMA)
        );
        assert!(error.to_string().contains("use the newer ostlerd"), "{error}");
        let error =
            at_open(&of_schema_0(), None, &Followers::default()).expect_err("no way from there");
        assert!(error.to_string().contains("no migration from its schema 0"), "{error}");
        let db = empty();
        let txn = Txn::begin(&db).expect("begins");
        txn.open_table(OLD).expect("opens");
        txn.commit().expect("commits");
        assert!(matches!(
            at_open(&db, None, &Followers::default()),
            Err(OpenError::NotAStore { .. })
        ));
    }

    #[test]
    fn the_list_leads_to_the_schema_without_a_gap() {
        let first = MIGRATIONS.first().map_or(SCHEMA, |first| first.to - 1);
        let steps: Vec<u32> = MIGRATIONS.iter().map(|step| step.to).collect();
        assert_eq!(steps, (first + 1..=SCHEMA).collect::<Vec<_>>());
    }
}
