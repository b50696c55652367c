//! Derives summaries, indexes, timers and books again from the records, if a newer daemon derives
//! them by other rules.

use crate::batch::{Batch, Limits, Tail};
use crate::error::{Fault, OpenError};
use crate::options::Options;
use crate::prepare::PreparedVm;
use crate::tables::{
    BOOK, HOLDER, META, STATE_COUNT, TIMER, VM_ACTIVE, VM_BY_DATASTORE, VM_BY_HOST, VM_BY_NAME,
    VM_BY_OWNER, VM_BY_STATE, VM_BY_UUID, VM_DONE, VM_LIVE, VM_RESCHED, VM_SUMMARY,
};
use crate::txn::Txn;
use crate::{meta, row};
use ostler_model::VmRecord;
use redb::{Builder, ReadableTable};
use std::path::Path;

/// Raise this with every change of what is derived from a record: [`crate::VmSummary`], the keys of
/// indexes, `VmRecord::next_due`, `also_on` and `holdings`. If a store has another number,
/// everything is derived again when it is opened.
pub(crate) const DERIVED: u64 = 4;

/// Derives everything again in the store of this file, which nobody has open.
pub(crate) fn anew(path: &Path) -> Result<(), OpenError> {
    let db = Builder::new()
        .set_cache_size(Options::default().cache_bytes)
        .open(path)
        .map_err(Fault::from)?;
    let txn = Txn::begin(&db).map_err(Fault::from)?;
    rebuild(&txn)?;
    meta::batch_next(&mut txn.open_table(META).map_err(Fault::from)?)?;
    txn.commit().map_err(Fault::from)?;
    Ok(db.close().map_err(Fault::from)?)
}

/// Empties every derived table and fills it again. If a record cannot be read, it is left out and
/// reported: its VM is in no list and in no book, but all other VMs are.
pub(crate) fn rebuild(txn: &Txn) -> Result<(), OpenError> {
    macro_rules! empty {
        ($($table:ident),*) => {
            $(txn.delete_table($table).map_err(Fault::from)?;)*
        };
    }
    empty!(
        VM_SUMMARY,
        VM_BY_NAME,
        VM_BY_UUID,
        VM_BY_STATE,
        VM_BY_OWNER,
        VM_BY_HOST,
        VM_BY_DATASTORE,
        VM_LIVE,
        VM_ACTIVE,
        VM_RESCHED,
        VM_DONE,
        TIMER,
        STATE_COUNT,
        BOOK,
        HOLDER
    );
    // The bounds do not matter: nothing is appended here.
    let limits = Limits { events_kept: u64::MAX, operations_kept: usize::MAX };
    let mut batch = Batch::open(txn, Tail::default(), limits)?;
    let (mut next, mut whole) = (Some(0), true);
    while let Some(from) = next {
        let (id, record) = match batch
            .hot
            .vm
            .range(from..)
            .map_err(Fault::from)?
            .next()
            .transpose()
            .map_err(Fault::from)?
        {
            Some((id, kept)) => (id.value(), row::decode::<VmRecord>(kept.value(), id.value())),
            None => break,
        };
        next = id.checked_add(1);
        match record {
            Ok(record) => batch.vm_put(&PreparedVm::new(&record, None)?, None)?,
            Err(error) => {
                whole = false;
                tracing::error!(
                    vm = id,
                    error = &error as &dyn std::error::Error,
                    "the record of a VM cannot be read; it is kept as it is and left out of all \
                     lists: use the version that wrote it"
                );
            }
        }
    }
    batch.books_flush()?;
    drop(batch);
    // If a record was left out, this is tried again at each start, until a version can read it.
    let number = if whole { DERIVED } else { 0 };
    meta::number_put(&mut txn.open_table(META).map_err(Fault::from)?, meta::DERIVED_KEY, number)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Backend;
    use crate::log::Followers;
    use crate::read::Reader;
    use crate::support::disk::Disk;
    use crate::support::{options, script};
    use crate::tables::{self, META};
    use crate::{Store, Unreadable, meta, migrate};
    use ostler_model::{Timestamp, VmId};
    use redb::{Database, Key, ReadableDatabase, TableDefinition, Value};
    use std::borrow::Borrow;

    /// The database after the script has run: some of its VMs are in the middle of operations.
    async fn played() -> Vec<u8> {
        let disk = Disk::default();
        let store = Store::open_with(disk.clone(), options()).expect("opens");
        for step in script::steps() {
            script::run(&store, step).await;
        }
        drop(store);
        disk.bytes()
    }

    fn reader(db: &Database) -> Reader {
        Reader::new(db.begin_read().expect("reads"))
    }

    /// All rows but the number of the last batch, which rises whenever anything is derived.
    fn content(db: &Database) -> Vec<String> {
        let mut rows = reader(db).dump().expect("dumps");
        rows.retain(|row| !row.starts_with("meta\t\"batch\"\t"));
        rows
    }

    /// Makes a backup of `db` in the file `to`.
    fn copied(db: &Database, to: &Path) {
        let copy = Builder::new().create(to).expect("makes");
        let txn = Txn::begin(&copy).expect("begins");
        tables::copy_all(&db.begin_read().expect("reads"), &txn).expect("copies");
        txn.commit().expect("commits");
    }

    fn change(db: &Database, change: impl FnOnce(&Txn)) {
        let txn = Txn::begin(db).expect("begins");
        change(&txn);
        txn.commit().expect("commits");
    }

    #[tokio::test]
    async fn what_is_derived_by_other_rules_is_derived_anew() {
        let db = Builder::new()
            .create_with_backend(Backend(Disk::holding(played().await)))
            .expect("opens");
        let (before, batch) = (content(&db), reader(&db).batch().expect("reads"));
        change(&db, |txn| {
            txn.open_table(TIMER).expect("opens").insert((1, 1), ()).expect("writes");
            txn.delete_table(VM_SUMMARY).expect("deletes");
            txn.open_table(BOOK).expect("opens").insert(("host", "2"), (9, 9, 9)).expect("writes");
            txn.open_table(VM_SUMMARY).expect("opens");
            meta::number_put(&mut txn.open_table(META).expect("opens"), meta::DERIVED_KEY, 0)
                .expect("writes");
        });
        assert!(!reader(&db).check().expect("reads").is_empty());
        migrate::at_open(&db, None, &Followers::default()).expect("derives anew");
        assert_eq!(reader(&db).check().expect("reads"), Vec::<String>::new());
        assert_eq!(content(&db), before);
        assert_eq!(
            reader(&db).batch().expect("reads").0,
            batch.0 + 1,
            "who follows must not miss this"
        );
    }

    /// Older daemons did not check whether a network address is another VM's.
    #[tokio::test]
    async fn a_store_in_which_two_vms_have_one_address_opens_and_tells() {
        let db = Builder::new()
            .create_with_backend(Backend(Disk::holding(played().await)))
            .expect("opens");
        change(&db, |txn| {
            let mut vms = txn.open_table(tables::VM).expect("opens");
            for id in [7, 8] {
                let mut record: VmRecord =
                    row::decode(vms.get(id).expect("reads").expect("is there").value(), id)
                        .expect("decodes");
                let mac = Some("52:54:00:00:00:07".parse().expect("an address"));
                record.spec.nics = vec![ostler_model::NicSpec { bridge: "br0".to_owned(), mac }];
                vms.insert(id, row::encode(&record).expect("encodes").as_slice()).expect("writes");
            }
            meta::number_put(&mut txn.open_table(META).expect("opens"), meta::DERIVED_KEY, 2)
                .expect("writes");
        });
        migrate::at_open(&db, None, &Followers::default()).expect("opens");
        let findings = reader(&db).check().expect("reads");
        let told = "network address: 52:54:00:00:00:07 is that of VMs vm-7 (id 7) and vm-8 (id 8); \
                    detach it from all but one, and attach another";
        assert_eq!(findings, [told]);
        let dir = tempfile::tempdir().expect("a directory");
        copied(&db, &dir.path().join("backup"));
        crate::restore(&dir.path().join("backup"), &dir.path().join("back"), Unreadable::Refused)
            .expect("is no reason to lose everything");
    }

    #[tokio::test]
    async fn one_record_that_cannot_be_read_keeps_no_other_from_being_there() {
        let db = Builder::new()
            .create_with_backend(Backend(Disk::holding(played().await)))
            .expect("opens");
        let listed = |db: &Database| {
            reader(db).summaries().expect("reads").into_iter().map(|vm| vm.id.0).collect::<Vec<_>>()
        };
        let (before, dump) = (listed(&db), content(&db));
        let vms = db.begin_read().expect("reads").open_table(tables::VM).expect("opens");
        let good = vms.get(7).expect("reads").expect("is there").value().to_vec();
        drop(vms);
        let newer = br#"{"v":1,"row":{"id":7,"state":"a state of a newer version"}}"#;
        change(&db, |txn| {
            txn.open_table(tables::VM).expect("opens").insert(7, newer.as_slice()).expect("writes");
            meta::number_put(&mut txn.open_table(META).expect("opens"), meta::DERIVED_KEY, 0)
                .expect("writes");
        });
        migrate::at_open(&db, None, &Followers::default()).expect("opens");
        assert_eq!(listed(&db), before.iter().copied().filter(|id| *id != 7).collect::<Vec<_>>());
        let findings = reader(&db).check().expect("reads");
        assert!(
            findings.len() == 1 && findings[0].starts_with("vm: the record of VM 7 cannot be read"),
            "{findings:#?}"
        );
        // The VM cannot be marked as not reconciled, and a version that can read its record would
        // start it.
        let dir = tempfile::tempdir().expect("a directory");
        let (backup, back) = (dir.path().join("backup"), dir.path().join("back"));
        copied(&db, &backup);
        let refused = crate::restore(&backup, &back, Unreadable::Refused);
        assert!(
            matches!(refused, Err(crate::BackupError::Unreadable { findings: told, .. }) if told == findings)
        );
        assert!(!back.exists());
        assert_eq!(
            crate::restore(&backup, &back, Unreadable::LeftOut).expect("restores").unreadable,
            findings
        );
        // A version that can read the record has the VM in its lists again.
        change(&db, |txn| {
            drop(
                txn.open_table(tables::VM)
                    .expect("opens")
                    .insert(7, good.as_slice())
                    .expect("writes"),
            )
        });
        migrate::at_open(&db, None, &Followers::default()).expect("opens");
        assert_eq!(content(&db), dump);
    }

    /// Like a store of schema 1 that has VMs which are done, or are to move. The sets that came
    /// with schema 2 are made and filled.
    #[tokio::test]
    async fn a_migrated_store_has_in_its_new_sets_what_its_records_say() {
        let db = Builder::new()
            .create_with_backend(Backend(Disk::holding(played().await)))
            .expect("opens");
        let (before, batch) = (content(&db), reader(&db).batch().expect("reads"));
        change(&db, |txn| {
            assert!(
                txn.delete_table(VM_RESCHED).expect("deletes")
                    && txn.delete_table(VM_DONE).expect("deletes")
            );
            let mut meta = txn.open_table(META).expect("opens");
            meta::number_put(&mut meta, meta::SCHEMA_KEY, 1).expect("writes");
            meta::number_put(&mut meta, meta::DERIVED_KEY, 1).expect("writes");
        });
        migrate::at_open(&db, None, &Followers::default()).expect("migrates");
        assert_eq!(content(&db), before);
        let reader = reader(&db);
        assert_eq!(
            reader.batch().expect("reads").0,
            batch.0 + 4,
            "three migrations, and what is derived"
        );
        assert_eq!(reader.check().expect("reads"), Vec::<String>::new());
        assert_eq!(reader.vms_to_resched().expect("reads"), [VmId(8)]);
        assert_eq!(reader.done_before(Timestamp(u64::MAX), 9).expect("reads"), [VmId(11)]);
    }

    /// What is derived anew at the opening is a batch like any other: a follower that held the
    /// batch before has the same rows after it.
    #[tokio::test]
    async fn a_follower_has_what_is_derived_anew() {
        let db = Builder::new()
            .create_with_backend(Backend(Disk::holding(played().await)))
            .expect("opens");
        change(&db, |txn| {
            txn.open_table(TIMER).expect("opens").insert((1, 1), ()).expect("writes");
            txn.open_table(BOOK).expect("opens").pop_last().expect("writes");
            meta::number_put(&mut txn.open_table(META).expect("opens"), meta::DERIVED_KEY, 0)
                .expect("writes");
        });
        let dir = tempfile::tempdir().expect("a directory");
        copied(&db, &dir.path().join("copy"));
        let mut follower =
            crate::Follower::open(&dir.path().join("copy"), &options()).expect("opens");
        let followers = Followers::default();
        let mut told = followers.follow(9);
        migrate::at_open(&db, None, &followers).expect("derives anew");
        let batch = told.next().await.expect("keeps up").expect("is told");
        follower.apply(&batch).expect("applies");
        assert_eq!(
            follower.read().expect("reads").dump().expect("dumps"),
            reader(&db).dump().expect("dumps")
        );
        assert_eq!(follower.read().expect("reads").check().expect("reads"), Vec::<String>::new());
    }

    /// The records are the data that the store was given. Books that do not fit them are made
    /// again, and this is reported.
    #[tokio::test]
    async fn a_backup_whose_books_do_not_fit_is_restored_with_books_that_do() {
        let dir = tempfile::tempdir().expect("a directory");
        let restored = async |name: &str, tampering: fn(&Txn)| {
            let db = Builder::new()
                .create_with_backend(Backend(Disk::holding(played().await)))
                .expect("opens");
            change(&db, tampering);
            let backup = dir.path().join(format!("{name}-backup"));
            copied(&db, &backup);
            crate::restore(&backup, &dir.path().join(name), Unreadable::Refused)
                .map(|restored| restored.mended)
        };
        assert_eq!(restored("whole", |_| ()).await.expect("restores"), Vec::<String>::new());
        let mended = restored("book", |txn| {
            txn.open_table(BOOK).expect("opens").insert(("host", "2"), (9, 9, 9)).expect("writes");
            txn.open_table(TIMER).expect("opens").pop_last().expect("writes");
            txn.open_table(VM_SUMMARY).expect("opens").pop_last().expect("writes");
        });
        let mended = mended.await.expect("restores");
        for table in ["book", "timer", "vm_summary"] {
            assert!(
                mended.iter().any(|finding| finding.starts_with(table)),
                "{table}: {mended:#?}"
            );
        }
        let again = Store::open(&dir.path().join("book"), options()).expect("opens");
        assert_eq!(again.check().expect("reads"), Vec::<String>::new());
        let refused = restored("row", |txn| {
            txn.open_table(BOOK).expect("opens").insert(("host", "2"), (9, 9, 9)).expect("writes");
            txn.open_table(tables::HOST).expect("opens").pop_last().expect("writes");
        });
        assert!(
            matches!(refused.await, Err(crate::BackupError::Broken { .. })),
            "a row that follows from nothing is lost"
        );
    }

    type Tampering = fn(&Txn);
    type Def<K, V> = TableDefinition<'static, K, V>;

    fn put<'k, 'v, K: Key + 'static, V: Value + 'static>(
        txn: &Txn,
        table: Def<K, V>,
        key: impl Borrow<K::SelfType<'k>>,
        value: impl Borrow<V::SelfType<'v>>,
    ) {
        txn.open_table(table).expect("opens").insert(key, value).expect("writes");
    }

    fn remove<K: Key + 'static, V: Value + 'static>(
        txn: &Txn,
        table: Def<K, V>,
        key: K::SelfType<'_>,
    ) {
        txn.open_table(table).expect("opens").remove(key).expect("writes");
    }

    fn first<K: Key + 'static, V: Value + 'static>(txn: &Txn, table: Def<K, V>) {
        txn.open_table(table).expect("opens").pop_first().expect("writes");
    }

    fn last<K: Key + 'static, V: Value + 'static>(txn: &Txn, table: Def<K, V>) {
        txn.open_table(table).expect("opens").pop_last().expect("writes");
    }

    /// One change that does not belong, in each table: the table that the finding must name, and
    /// the change.
    const TAMPERINGS: &[(&str, Tampering)] = &[
        ("vm_summary", |txn| remove(txn, VM_SUMMARY, 7)),
        ("vm_by_name", |txn| first(txn, VM_BY_NAME)),
        ("vm_by_uuid", |txn| put(txn, VM_BY_UUID, 1, 1)),
        ("vm_by_state", |txn| put(txn, VM_BY_STATE, ("x", 1), ())),
        ("vm_by_owner", |txn| last(txn, VM_BY_OWNER)),
        ("vm_by_host", |txn| last(txn, VM_BY_HOST)),
        ("holder", |txn| put(txn, HOLDER, ("mac", "1", 1), ())),
        ("vm_by_datastore", |txn| last(txn, VM_BY_DATASTORE)),
        ("vm_live", |txn| last(txn, VM_LIVE)),
        ("vm_active", |txn| put(txn, VM_ACTIVE, 99, ())),
        ("vm_resched", |txn| last(txn, VM_RESCHED)),
        ("vm_done", |txn| last(txn, VM_DONE)),
        ("timer", |txn| last(txn, TIMER)),
        ("state_count", |txn| put(txn, STATE_COUNT, "done", 9)),
        ("book", |txn| first(txn, BOOK)),
        ("book", |txn| put(txn, BOOK, ("image", "1"), (9, 0, 0))),
        ("book", |txn| put(txn, BOOK, ("no such book", "1"), (9, 0, 0))),
        ("host_by_name", |txn| last(txn, tables::HOST_BY_NAME)),
        ("image_by_name", |txn| last(txn, tables::IMAGE_BY_NAME)),
        ("secret", |txn| put(txn, tables::SECRET, ("sim", Some(99), "password"), b"".as_slice())),
        ("operation", |txn| last(txn, tables::OPERATION_BY_VM)),
        ("outbox", |txn| {
            let idle = row::encode(&crate::support::vm(7)).expect("encodes");
            put(txn, tables::VM, 7, idle.as_slice());
        }),
        ("event", |txn| remove(txn, tables::EVENT, 20)),
        ("idempotency_by_age", |txn| last(txn, tables::IDEMPOTENCY_BY_AGE)),
        ("meta", |txn| {
            meta::marks_put(&mut txn.open_table(META).expect("opens"), meta::Marks::default())
                .expect("writes")
        }),
    ];

    /// Negative control of `check`: if a row is added to or removed from one of these tables,
    /// `check` finds it, and its finding names the table.
    #[tokio::test]
    async fn the_check_finds_any_row_that_does_not_belong() {
        let bytes = played().await;
        for (table, tampering) in TAMPERINGS {
            let db = Builder::new()
                .create_with_backend(Backend(Disk::holding(bytes.clone())))
                .expect("opens");
            assert_eq!(reader(&db).check().expect("reads"), Vec::<String>::new());
            change(&db, tampering);
            let findings = reader(&db).check().expect("reads");
            assert!(
                findings.iter().any(|finding| finding.starts_with(table)),
                "{table}: {findings:#?}"
            );
        }
    }
}
