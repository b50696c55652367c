//! Stores as files: locks, names, backup, restore, kept files of older versions.

mod support;

use ostler_model::*;
use ostler_store::*;
use std::path::{Path, PathBuf};
use support::*;

async fn full(path: &Path) -> Store {
    let store = Store::open(path, options()).expect("opens");
    for step in script::steps() {
        script::run(&store, step).await;
    }
    sound(&store);
    store
}

fn dump(store: &Store) -> Vec<String> {
    store.read().expect("reads").dump().expect("dumps")
}

#[tokio::test]
async fn a_store_is_there_again_and_only_its_owner_can_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    let store = full(&path).await;
    let (id, before) = (store.id(), dump(&store));
    drop(store);
    let mode = path.metadata().expect("is there").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let store = Store::open(&path, Options::default()).expect("opens again");
    assert_eq!((store.id(), dump(&store)), (id, before));
    let names: Vec<_> = std::fs::read_dir(dir.path())
        .expect("lists")
        .map(|entry| entry.expect("reads").file_name())
        .collect();
    assert_eq!(names, ["store"], "no draft is left");
}

#[tokio::test]
async fn a_store_in_use_a_foreign_file_and_a_missing_directory_are_refused_in_words() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    let _held = Store::open(&path, options()).expect("opens");
    let error = Store::open(&path, options()).expect_err("is held");
    assert!(
        matches!(error, OpenError::InUse { .. }) && error.to_string().contains("another ostlerd"),
        "{error}"
    );
    let foreign = dir.path().join("foreign");
    std::fs::write(&foreign, vec![7_u8; 10_000]).expect("writes");
    Store::open(&foreign, options()).expect_err("is none of ours");
    assert_eq!(
        std::fs::read(&foreign).expect("reads"),
        vec![7_u8; 10_000],
        "a foreign file is left alone"
    );
    let error = Store::open(&dir.path().join("no/where"), options()).expect_err("no directory");
    assert!(matches!(error, OpenError::File { .. }), "{error:?}");
}

#[tokio::test]
async fn a_backup_is_one_moment_while_commits_go_on_and_restores() {
    let dir = tempfile::tempdir().expect("a directory");
    let (path, copy, back) =
        (dir.path().join("store"), dir.path().join("backup"), dir.path().join("restored"));
    let store = full(&path).await;
    let before = dump(&store);
    store.backup(&copy).expect("is written");
    let after = create(vm(store.next_vm_id().0));
    applied(&store, after).await;
    assert!(
        matches!(store.backup(&copy), Err(BackupError::Exists { .. })),
        "nothing is overwritten"
    );
    assert!(
        matches!(restore(&copy, &path, Unreadable::Refused), Err(BackupError::InUse { .. })),
        "a running store is left alone"
    );
    assert!(
        matches!(restore(&path, &back, Unreadable::Refused), Err(BackupError::InUse { .. })),
        "a running store is no backup"
    );
    let restored = restore(&copy, &back, Unreadable::Refused).expect("restores");
    assert_eq!(restored.id, store.id());
    assert!(matches!(restore(&copy, &back, Unreadable::Refused), Err(BackupError::Exists { .. })));
    let again = Store::open(&back, Options::default()).expect("opens");
    assert_eq!(but_what_is_marked(dump(&again)), but_what_is_marked(before));
    sound(&again);
    let foreign = dir.path().join("foreign");
    std::fs::write(&foreign, b"").expect("writes");
    assert!(matches!(
        restore(&foreign, &dir.path().join("x"), Unreadable::Refused),
        Err(BackupError::Open { .. })
    ));
    assert!(matches!(
        restore(&dir.path().join("none"), &dir.path().join("x"), Unreadable::Refused),
        Err(BackupError::File { .. })
    ));
    assert!(!dir.path().join("x").exists());
}

/// Without the records that a restore marks, what is derived from them, and what the store says of
/// itself.
fn but_what_is_marked(dump: Vec<String>) -> Vec<String> {
    let marked =
        ["vm\t", "vm_summary\t", "vm_by_state\t", "state_count\t", "timer\t", "meta\t", "event\t"];
    dump.into_iter().filter(|line| !marked.iter().any(|table| line.starts_with(table))).collect()
}

#[tokio::test]
async fn a_restore_marks_every_vm_and_skips_what_the_lost_time_can_have_used() {
    let dir = tempfile::tempdir().expect("a directory");
    let (copy, back) = (dir.path().join("backup"), dir.path().join("restored"));
    let store = Store::open(&dir.path().join("store"), options()).expect("opens");
    applied(&store, ground()).await;
    let count = u64::try_from(VM_PAGE_MAX).expect("small") + 20;
    let all = [State::Pending, State::Hold, State::Stopped, State::Running, State::Done];
    let state = |id: u64| {
        if id > 50 { State::Pending } else { all[usize::try_from(id % 5).expect("small")] }
    };
    let record = |id| if state(id) == State::Running { placed(vm(id), 1) } else { vm(id) };
    script::run(&store, (1..=count).map(|id| create(idle(record(id), state(id)))).collect()).await;
    store.backup(&copy).expect("is written");
    let restored = restore(&copy, &back, Unreadable::Refused).expect("restores");
    assert_eq!((restored.id, restored.held, restored.vms), (store.id(), count - 40, count - 10));
    let again = Store::open(&back, Options::default()).expect("opens");
    sound(&again);
    let (old, new) = (store.read().expect("reads"), again.read().expect("reads"));
    let last = EventSeq(count + EVENTS_SKIPPED + 1 + restored.held);
    assert_eq!((old.seq().expect("reads"), new.seq().expect("reads")), (EventSeq(count), last));
    assert_eq!(
        (last, new.vms_in_state(State::Pending, None, 9).expect("reads")),
        (restored.seq, vec![])
    );
    assert_eq!(
        new.restored().expect("reads"),
        Some(RestoredStore { as_of: Timestamp(50), seq: EventSeq(count) })
    );
    for id in 1..=count {
        let read = |reader: &Reader| reader.vm(VmId(id)).expect("reads").expect("is there");
        let (was, is) = (read(&old), read(&new));
        if was.state == State::Done {
            assert_eq!(is, was);
            continue;
        }
        assert!(
            is.is_unreconciled()
                && is.issued.0 >= was.issued.0 + GENERATIONS_SKIPPED
                && is.version.0 > was.version.0 + 1_000_000
        );
        assert_eq!(
            is.restored.as_ref().map(|mark| (mark.known, mark.lost)),
            Some((was.issued, is.issued))
        );
        let held = VmRecord {
            state: State::Hold,
            reason: Reason::StoreIsStale,
            since: Timestamp(50),
            ..was.clone()
        };
        let expected = if was.state == State::Pending { held } else { was };
        assert_eq!(
            VmRecord { issued: expected.issued, version: expected.version, restored: None, ..is },
            expected
        );
    }
    assert!(again.next_vm_id().0 > count + 1_000_000 && again.next_operation_id().0 > 1_000_000);
    assert!(again.next_image_id().0 > 1_000_000 && again.next_host_id().0 > 1_000_000);
}

#[tokio::test]
async fn a_reader_of_the_feed_notices_that_a_restore_has_lost_a_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let (copy, back) = (dir.path().join("backup"), dir.path().join("restored"));
    let store = Store::open(&dir.path().join("store"), options()).expect("opens");
    applied(&store, ground()).await;
    script::run(&store, (1..=20).map(|id| create(vm(id))).collect()).await;
    store.backup(&copy).expect("is written");
    script::run(&store, (21..=30).map(|id| create(vm(id))).collect()).await;
    restore(&copy, &back, Unreadable::Refused).expect("restores");
    let again = Store::open(&back, Options::default()).expect("opens");
    let reader = again.read().expect("reads");
    let after = |seq| reader.events_after(EventSeq(seq), 1).expect("reads");
    let EventsAfter::Page { events, .. } = after(20) else {
        panic!("what the backup has told is known")
    };
    assert_eq!(events[0].kind, EventKind::StoreRestored { after: EventSeq(20) });
    for lost in [21, 25, 30, EVENTS_SKIPPED] {
        assert!(matches!(after(lost), EventsAfter::Trimmed { .. }), "{lost} is of the lost time");
    }
    let last = reader.seq().expect("reads");
    assert!(matches!(after(last.0), EventsAfter::Page { events, .. } if events.is_empty()));
    assert!(matches!(after(last.0 + 1), EventsAfter::Trimmed { .. }), "nobody was told that yet");
}

/// Whatever is being done to a VM, on one host or between two: what the books hold of it is what
/// its record says.
#[tokio::test]
async fn a_backup_in_the_middle_of_any_operation_adds_up() {
    let size = |memory_mib| Size { cpu_milli: 500, vcpus: 1, memory_mib };
    let becomes = NewImage { image: ImageId(2), driver: "transfer-qcow2".parse().expect("a name") };
    let subjects = [
        (Verb::Deploy, Subject::Vm),
        (Verb::DiskAttach, Subject::Disk { name: "vda".parse().expect("a name") }),
        (Verb::NicAttach, Subject::Nic { mac: "52:54:00:00:00:01".parse().expect("an address") }),
        (Verb::SnapshotCreate, Subject::Snapshot { name: "snap-1".parse().expect("a name") }),
        (
            Verb::DiskSnapshotLive,
            Subject::DiskImage { name: "vda".parse().expect("a name"), becomes },
        ),
        // Of 512 MiB: it grows, and it shrinks.
        (Verb::Resize, Subject::Size { before: size(256) }),
        (Verb::Resize, Subject::Size { before: size(1024) }),
    ];
    for (number, (verb, subject)) in (1..).zip(subjects) {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(&dir.path().join("store"), options()).expect("opens");
        applied(&store, ground()).await;
        let here = placed(with_disk(vm(number), 1), 1);
        let both = moving(placed(vm(number + 10), 1), 2);
        for (record, operation) in [(here, number), (both, number + 10)] {
            let record = about(record, operation, verb, subject.clone());
            let begun = row_of_operation(&record);
            applied(&store, Commit { operations: vec![begun], ..create(record) }).await;
        }
        sound(&store);
        store.backup(&dir.path().join("backup")).expect("is written");
        let restored =
            restore(&dir.path().join("backup"), &dir.path().join("back"), Unreadable::Refused);
        assert_eq!(
            restored.unwrap_or_else(|error| panic!("{subject:?}: {error}")).mended,
            Vec::<String>::new()
        );
    }
}

/// The row of the operation in hand.
fn row_of_operation(record: &VmRecord) -> OperationRecord {
    operation(record.operation.as_ref().expect("one is in hand").id.0, record.id.0, false)
}

#[tokio::test]
async fn backups_during_a_storm_of_commits_add_up() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = full(&dir.path().join("store")).await;
    let (other, stop) =
        (store.clone(), std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false)));
    let stopped = std::sync::Arc::clone(&stop);
    let storm = tokio::spawn(async move {
        let mut commits = 0;
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            applied(&other, create(placed(with_disk(vm(other.next_vm_id().0), 1), 2))).await;
            commits += 1;
        }
        commits
    });
    for nth in 0..3 {
        let copy = dir.path().join(format!("backup-{nth}"));
        let from = store.clone();
        let to = copy.clone();
        tokio::task::spawn_blocking(move || from.backup(&to))
            .await
            .expect("runs")
            .expect("is written");
        sound(&Store::open(&copy, Options::default()).expect("opens"));
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(storm.await.expect("runs") > 0);
}

fn kept(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kept").join(name)
}

/// What this version makes of a kept store. Its books add up, and still do once everything is a
/// commit older.
async fn opened(dir: &tempfile::TempDir, name: &str) -> Store {
    let copy = dir.path().join("store");
    std::fs::copy(kept(name), &copy).expect("copies");
    let store = Store::open(&copy, Options::default()).expect("opens");
    sound(&store);
    let reader = store.read().expect("reads");
    let filter = VmFilter { include_done: true, ..VmFilter::default() };
    for vm in reader.vm_page(&filter, None, VM_PAGE_MAX).expect("reads").items {
        let record = reader.vm(vm.id).expect("reads").expect("is there");
        applied(&store, change(record)).await;
    }
    sound(&store);
    store
}

/// What the script left of VM 7, in stores of every schema.
fn holds_vm_7(reader: &Reader, version: Version) {
    let vm = reader.vm(VmId(7)).expect("reads").expect("is there");
    assert_eq!((vm.state, vm.version, vm.disks.len()), (State::Boot, version, 1));
    assert_eq!(reader.outbox_of(VmId(7)).expect("reads").len(), 1);
    assert_eq!(reader.operations_of(VmId(7), 9).expect("reads").len(), 3);
    assert!(
        matches!(reader.events_after(EventSeq(0), 1000).expect("reads"), EventsAfter::Page { events, .. } if events.len() > 20)
    );
}

/// A store that schema 1 wrote, kept for ever: it has neither the tables that came later nor the
/// fields.
#[tokio::test]
async fn the_kept_store_of_schema_1_is_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = opened(&dir, "schema-1.redb").await;
    let reader = store.read().expect("reads");
    holds_vm_7(&reader, Version(5));
    assert_eq!(reader.vms_to_resched().expect("reads"), []);
    assert_eq!(reader.done_before(Timestamp(u64::MAX), 9).expect("reads"), []);
}

/// A store that schema 2 wrote, kept for ever. Written by this test when `OSTLER_WRITE_KEPT` is
/// set, and never again after release.
#[tokio::test]
async fn the_kept_store_of_schema_2_is_read() {
    let file = kept("schema-2.redb");
    if std::env::var_os("OSTLER_WRITE_KEPT").is_some() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = full(&dir.path().join("store")).await;
        let _ = std::fs::remove_file(&file);
        store.backup(&file).expect("is written");
    }
    let dir = tempfile::tempdir().expect("a directory");
    let store = opened(&dir, "schema-2.redb").await;
    let reader = store.read().expect("reads");
    holds_vm_7(&reader, Version(5));
    assert_eq!(reader.vms_to_resched().expect("reads"), [VmId(8)]);
    assert_eq!(reader.done_before(Timestamp(u64::MAX), 9).expect("reads"), [VmId(11)]);
    assert_eq!(reader.vms_on_host(HostId(1)).expect("reads"), [8, 9, 10].map(VmId));
    assert_eq!(reader.vms_on_host(HostId(2)).expect("reads"), [7, 8, 9].map(VmId));
    let moving = reader.vm(VmId(9)).expect("reads").expect("is there").moving;
    let moving = moving.map(|moving| (moving.place.host, moving.domain, moving.files));
    assert_eq!(moving, Some((HostId(1), false, false)), "its row is of an older version");
    let states = |id| reader.image(ImageId(id)).expect("reads").map(|image| image.state);
    assert_eq!([3, 4, 5].map(states), [Some(ImageState::Ready), None, Some(ImageState::Locked)]);
}

/// A store that schema 3 wrote, kept for ever: it has no table of secrets. It was written by the
/// version before this table came.
#[tokio::test]
async fn the_kept_store_of_schema_3_is_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = opened(&dir, "schema-3.redb").await;
    let driver: DriverName = "sim".parse().expect("a name");
    {
        let reader = store.read().expect("reads");
        holds_vm_7(&reader, Version(5));
        assert_eq!(reader.vms_to_resched().expect("reads"), [VmId(8)]);
        assert_eq!(reader.secrets_of(&driver, None).expect("reads"), []);
    }
    let key = SecretKey { driver, host: Some(HostId(2)), name: "token".parse().expect("a name") };
    let secret = SecretRow { key, value: SecretValue::new("hunter2"), set: Timestamp(1) };
    let put = ResourceChange::SecretPut(secret.clone());
    applied(&store, Commit { resources: vec![put], ..Commit::default() }).await;
    let reader = store.read().expect("reads");
    let found = reader.secrets_of(&secret.key.driver, secret.key.host).expect("reads");
    assert_eq!(found, [secret]);
    sound(&store);
}

#[tokio::test]
async fn a_backup_holds_secrets_and_only_its_owner_can_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("a directory");
    let (copy, back) = (dir.path().join("backup"), dir.path().join("restored"));
    let store = full(&dir.path().join("store")).await;
    store.backup(&copy).expect("is written");
    restore(&copy, &back, Unreadable::Refused).expect("restores");
    for path in [&copy, &back] {
        let mode = path.metadata().expect("is there").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", path.display());
    }
    let driver = "sim".parse().expect("a name");
    let again = Store::open(&back, Options::default()).expect("opens");
    let found = again.read().expect("reads").secrets_of(&driver, None).expect("reads");
    assert_eq!(found.iter().map(|secret| secret.value.expose()).collect::<Vec<_>>(), ["hunter2"]);
}
