//! All tables of the store, by name and type. The tree in the crate's documentation tells what each
//! of them holds.
//!
//! *Hot* tables are those that most commits touch. They are opened once per batch. The others are
//! *cold*. They are opened only by a batch that changes a resource, because to open a table costs
//! about as much as to write a row.

use crate::error::Fault;
use crate::txn::{Change, Tab, Txn, What};
use redb::{Key, ReadTransaction, ReadableTable, TableDefinition, Value};

/// The schema that this version writes.
pub const SCHEMA: u32 = 4;

/// Bytes of a row in its envelope.
pub(crate) type Bytes = &'static [u8];
/// VM UUID, operation, step, item.
pub(crate) type OutboxKey = (u128, u64, u64, &'static str);
/// Who, route, key.
pub(crate) type IdempotencyKey = (&'static str, &'static str, &'static str);
/// Driver, host (none: all hosts of the driver), name.
pub(crate) type SecretId = (&'static str, Option<u32>, &'static str);
/// When, who, route, key.
pub(crate) type IdempotencyAge = (u64, &'static str, &'static str, &'static str);

macro_rules! tables {
    (
        hot { $($hot_def:ident $hot:ident: $hot_key:ty => $hot_value:ty;)* }
        cold { $($cold_def:ident $cold:ident: $cold_key:ty => $cold_value:ty;)* }
    ) => {
        $(
            pub(crate) const $hot_def: TableDefinition<'static, $hot_key, $hot_value> =
                TableDefinition::new(stringify!($hot));
        )*
        $(
            pub(crate) const $cold_def: TableDefinition<'static, $cold_key, $cold_value> =
                TableDefinition::new(stringify!($cold));
        )*

        /// The tables that most commits touch.
        pub(crate) struct Hot<'txn> {
            $(pub(crate) $hot: Tab<'txn, $hot_key, $hot_value>,)*
        }

        impl<'txn> Hot<'txn> {
            pub(crate) fn open(txn: &'txn Txn) -> Result<Self, Fault> {
                Ok(Self { $($hot: txn.open_table($hot_def)?,)* })
            }
        }

        /// The tables of resources.
        pub(crate) struct Cold<'txn> {
            $(pub(crate) $cold: Tab<'txn, $cold_key, $cold_value>,)*
        }

        impl<'txn> Cold<'txn> {
            pub(crate) fn open(txn: &'txn Txn) -> Result<Self, Fault> {
                Ok(Self { $($cold: txn.open_table($cold_def)?,)* })
            }
        }

        /// Names of all tables.
        pub(crate) const NAMES: &[&str] = &[$(stringify!($hot),)* $(stringify!($cold),)*];

        /// Copies every row of every table.
        pub(crate) fn copy_all(from: &ReadTransaction, to: &Txn) -> Result<u64, Fault> {
            let mut rows = 0;
            $(rows += copy(from, to, $hot_def)?;)*
            $(rows += copy(from, to, $cold_def)?;)*
            Ok(rows)
        }

        /// Makes the logged changes of one table. Answers whether there is such a table.
        pub(crate) fn replay(txn: &Txn, table: &str, changes: &[&Change]) -> Result<bool, Fault> {
            $(if table == stringify!($hot) {
                return replay_one(txn, $hot_def, changes).map(|()| true);
            })*
            $(if table == stringify!($cold) {
                return replay_one(txn, $cold_def, changes).map(|()| true);
            })*
            Ok(false)
        }

        /// Calls `see` for every row of every table: with the table's name, the key as text, and
        /// the value as it is stored.
        pub(crate) fn walk(
            from: &ReadTransaction,
            mut see: impl FnMut(&'static str, String, &[u8]),
        ) -> Result<(), Fault> {
            $(walk_one(from, $hot_def, stringify!($hot), &mut see)?;)*
            $(walk_one(from, $cold_def, stringify!($cold), &mut see)?;)*
            Ok(())
        }
    };
}

tables! {
    hot {
        META meta: &'static str => Bytes;
        VM vm: u64 => Bytes;
        VM_SUMMARY vm_summary: u64 => Bytes;
        VM_BY_NAME vm_by_name: (&'static str, u64) => ();
        VM_BY_UUID vm_by_uuid: u128 => u64;
        VM_BY_STATE vm_by_state: (&'static str, u64) => ();
        VM_BY_OWNER vm_by_owner: (&'static str, u64) => ();
        VM_BY_HOST vm_by_host: (u32, u64) => ();
        VM_BY_DATASTORE vm_by_datastore: (u32, u64) => ();
        VM_LIVE vm_live: u64 => ();
        VM_ACTIVE vm_active: u64 => ();
        VM_RESCHED vm_resched: u64 => ();
        VM_DONE vm_done: (u64, u64) => ();
        STATE_COUNT state_count: &'static str => u64;
        BOOK book: (&'static str, &'static str) => (u64, u64, u64);
        HOLDER holder: (&'static str, &'static str, u64) => ();
        TIMER timer: (u64, u64) => ();
        OPERATION operation: u64 => Bytes;
        OPERATION_BY_VM operation_by_vm: (u64, u64) => bool;
        OUTBOX outbox: OutboxKey => Bytes;
        EVENT event: u64 => Bytes;
        IDEMPOTENCY idempotency: IdempotencyKey => Bytes;
        IDEMPOTENCY_BY_AGE idempotency_by_age: IdempotencyAge => ();
        HOST host: u32 => Bytes;
        DATASTORE datastore: u32 => Bytes;
        IMAGE image: u32 => Bytes;
    }
    cold {
        HOST_BY_NAME host_by_name: &'static str => u32;
        DATASTORE_BY_NAME datastore_by_name: &'static str => u32;
        IMAGE_BY_NAME image_by_name: &'static str => u32;
        IMAGE_BY_DATASTORE image_by_datastore: (u32, u32) => ();
        TOKEN token: &'static str => Bytes;
        TOKEN_BY_HASH token_by_hash: &'static str => &'static str;
        DRIVER driver: &'static str => Bytes;
        RULES rules: &'static str => Bytes;
        SECRET secret: SecretId => Bytes;
    }
}

fn copy<K: Key + 'static, V: Value + 'static>(
    from: &ReadTransaction,
    to: &Txn,
    table: TableDefinition<'static, K, V>,
) -> Result<u64, Fault> {
    let source = from.open_table(table)?;
    let mut target = to.open_table(table)?;
    let mut rows = 0;
    for row in ReadableTable::iter(&source)? {
        let (key, value) = row?;
        target.insert(key.value(), value.value())?;
        rows += 1;
    }
    Ok(rows)
}

fn replay_one<K: Key + 'static, V: Value + 'static>(
    txn: &Txn,
    table: TableDefinition<'static, K, V>,
    changes: &[&Change],
) -> Result<(), Fault> {
    // What was there before the last time that the table was emptied does not matter.
    let emptied = changes.iter().rposition(|change| change.what == What::Clear);
    if emptied.is_some() {
        txn.delete_table(table)?;
    }
    let mut open = txn.open_table(table)?;
    for change in &changes[emptied.map_or(0, |at| at + 1)..] {
        match &change.what {
            What::Put(key, value) => drop(open.insert(K::from_bytes(key), V::from_bytes(value))?),
            What::Remove(key) => drop(open.remove(K::from_bytes(key))?),
            What::Clear => {}
        }
    }
    Ok(())
}

fn walk_one<K: Key + 'static, V: Value + 'static>(
    from: &ReadTransaction,
    table: TableDefinition<'static, K, V>,
    name: &'static str,
    see: &mut impl FnMut(&'static str, String, &[u8]),
) -> Result<(), Fault> {
    let source = from.open_table(table)?;
    for row in ReadableTable::iter(&source)? {
        let (key, value) = row?;
        let value = value.value();
        see(name, format!("{:?}", key.value()), V::as_bytes(&value).as_ref());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use redb::{ReadableDatabase, TableHandle};
    use std::collections::BTreeSet;

    #[test]
    fn a_new_store_has_the_listed_tables_and_no_other() {
        let backend = redb::backends::InMemoryBackend::new();
        let db = redb::Builder::new().create_with_backend(backend).expect("opens");
        crate::migrate::at_open(&db, None, &crate::log::Followers::default()).expect("is made");
        let txn = db.begin_read().expect("reads");
        let made: BTreeSet<String> =
            txn.list_tables().expect("lists").map(|table| table.name().to_owned()).collect();
        let listed: BTreeSet<String> = NAMES.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(made, listed);
        let text = include_str!("lib.rs");
        for name in NAMES {
            assert!(
                text.contains(&format!("{name} ")),
                "{name} is not in the tree at the top of the crate"
            );
        }
    }
}
