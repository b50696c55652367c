//! Taking charge of a store: with stores as files, with old ones, and with one that is followed.

mod support;

use ostler_model::*;
use ostler_store::*;
use std::path::Path;
use support::*;

fn charge(seconds: u64, place: &str) -> Charge {
    Charge { now: Timestamp(seconds * 1000), place: Some(place.to_owned()), at_least: None }
}

/// Opens the store, and takes charge of it.
async fn taken(path: &Path, seconds: u64, place: &str) -> u64 {
    let store = Store::open(path, options()).expect("opens");
    assert_eq!(store.epoch(), Epoch(0), "nobody has taken charge since it was opened");
    let epoch = store.take_charge(charge(seconds, place)).await.expect("is taken");
    assert_eq!(store.epoch(), epoch);
    assert_eq!(store.read().and_then(|reader| reader.epoch()).expect("reads"), epoch);
    sound(&store);
    epoch.0
}

#[tokio::test]
async fn each_daemon_has_a_higher_epoch_than_the_one_before() {
    let dir = tempfile::tempdir().expect("a directory");
    let (path, copy) = (dir.path().join("store"), dir.path().join("copy"));
    assert_eq!(taken(&path, 1000, "here").await, 1000);
    assert_eq!(taken(&path, 5000, "here").await, 1001, "a restart, whatever the clock says");
    std::fs::copy(&path, &copy).expect("is copied");
    assert_eq!(taken(&copy, 6000, "there").await, 1_001_001, "a copy is above every restart");
    assert_eq!(taken(&copy, 9_000_000, "back").await, 9_000_000, "and of its own time");
    assert_eq!(taken(&path, 9000, "here").await, 1002, "the first one stays below the copy");
}

/// Files and jobs at hosts are named after operations, and the daemon with the other copy goes on
/// with its numbers.
#[tokio::test]
async fn operations_of_a_copy_have_numbers_of_their_own() {
    let dir = tempfile::tempdir().expect("a directory");
    let (path, copy) = (dir.path().join("store"), dir.path().join("copy"));
    taken(&path, 1000, "here").await;
    std::fs::copy(&path, &copy).expect("is copied");
    let next = async |path: &Path, place: &str| {
        let store = Store::open(path, options()).expect("opens");
        store.take_charge(charge(2000, place)).await.expect("is taken");
        store.next_operation_id().0
    };
    assert_eq!(next(&path, "here").await, 1);
    let first = next(&copy, "there").await;
    assert!(first > 1_000_000, "{first}");
    assert_eq!(next(&copy, "there").await, first, "a restart skips none");
}

#[tokio::test]
async fn a_store_that_comes_back_with_a_backup_is_above_its_lost_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let (path, copy) = (dir.path().join("store"), dir.path().join("backup"));
    assert_eq!(taken(&path, 1000, "here").await, 1000);
    Store::open(&path, options()).expect("opens").backup(&copy).expect("is written");
    assert_eq!(taken(&path, 2000, "here").await, 1001);
    std::fs::remove_file(&path).expect("is lost");
    restore(&copy, &path, Unreadable::Refused).expect("restores");
    assert_eq!(taken(&path, 3000, "here").await, 1_001_000, "also if it counts as the same file");
}

#[tokio::test]
async fn stores_of_earlier_versions_get_their_first_epoch() {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kept");
    let dir = tempfile::tempdir().expect("a directory");
    for schema in 1..=3 {
        let name = format!("schema-{schema}.redb");
        let path = dir.path().join(&name);
        std::fs::copy(kept.join(&name), &path).expect("is copied");
        assert_eq!(taken(&path, 1000, "here").await, 1000, "{name}");
        assert_eq!(taken(&path, 1000, "here").await, 1001, "{name}");
    }
}

#[tokio::test]
async fn a_follower_has_the_epoch_of_its_leader_and_takes_no_charge() {
    let disk = SimulatedDisk::default();
    drop(Store::open_with(disk.clone(), options()).expect("opens"));
    let mut follower = Follower::open_with(disk.copy(), &options()).expect("opens");
    let leader = Store::open_with(disk, options()).expect("opens");
    let mut told = leader.follow(FOLLOW_MAX);
    applied(&leader, ground()).await;
    leader.take_charge(charge(1000, "here")).await.expect("is taken");
    applied(&leader, create(vm(1))).await;
    for _ in 0..3 {
        let batch = told.next().await.expect("is told").expect("did not fall behind");
        follower.apply(&batch).expect("is applied");
    }
    let reader = follower.read().expect("reads");
    assert_eq!(reader.epoch().expect("reads"), Epoch(1000));
    assert_eq!(
        reader.dump().expect("dumps"),
        leader.read().and_then(|all| all.dump()).expect("dumps")
    );
}

#[tokio::test]
async fn a_daemon_that_gave_the_store_up_commits_nothing() {
    let store = store();
    applied(&store, ground()).await;
    store.take_charge(charge(1000, "here")).await.expect("is taken");
    store.give_up("host h1 has seen epoch 2000".to_owned());
    assert!(matches!(store.health(), Health::NotInCharge { why } if why.contains("epoch 2000")));
    let told = |error: CommitError| error.to_string().contains("epoch 2000");
    assert!(told(store.commit(create(vm(1))).await.expect_err("refused")));
    assert!(told(store.rehearse(create(vm(1))).await.expect_err("refused")));
    assert!(told(store.take_charge(charge(3000, "here")).await.expect_err("refused")));
    let reader = store.read().expect("reads");
    assert!(reader.vm(VmId(1)).expect("reads").is_none());
    assert_eq!(reader.epoch().expect("reads"), Epoch(1000));
}
