//! Another store that applies the batches of the first one is equal to it after each of them, row
//! by row: also when the first one is opened again, and when the power of either goes.

mod support;

use ostler_model::*;
use ostler_store::*;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::collections::BTreeMap;
use std::path::Path;
use support::random::{Try, VMS, commit, tries};
use support::*;

fn dump(reader: Result<Reader, ReadError>) -> Vec<String> {
    reader.and_then(|reader| reader.dump()).expect("dumps")
}

fn held(store: &Store) -> BatchNo {
    store.read().and_then(|reader| reader.batch()).expect("reads")
}

/// The first row that differs.
fn same(leader: &Store, follower: &Follower) -> Result<(), String> {
    let (ours, theirs) = (dump(leader.read()), dump(follower.read()));
    match ours.iter().zip(&theirs).find(|(ours, theirs)| ours != theirs) {
        Some((ours, theirs)) => Err(format!("{ours} is {theirs} at the follower")),
        None if ours.len() != theirs.len() => {
            Err(format!("{} rows are {} at the follower", ours.len(), theirs.len()))
        }
        None => Ok(()),
    }
}

/// A store and one that follows it, on disks whose power can go.
struct Pair {
    disk: SimulatedDisk,
    leader: Store,
    told: Subscription,
    /// The follower's disk.
    copy: SimulatedDisk,
    follower: Follower,
    sabotage: Sabotage,
    /// How often the follower began again from a copy.
    copies: u64,
    ids: u64,
    dice: u64,
}

impl Pair {
    async fn new(sabotage: Sabotage) -> Self {
        let disk = SimulatedDisk::default();
        let leader = Store::open_with(disk.clone(), options()).expect("opens");
        applied(&leader, ground()).await;
        drop(leader);
        let copy = disk.copy();
        let follower = Follower::open_with(copy.clone(), &options()).expect("opens");
        let leader =
            Store::open_with(disk.clone(), Options { sabotage, ..options() }).expect("opens");
        let told = leader.follow(FOLLOW_MAX);
        Self { disk, leader, told, copy, follower, sabotage, copies: 0, ids: 0, dice: 1 }
    }

    fn roll(&mut self) -> u64 {
        self.dice = self
            .dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.dice >> 33
    }

    /// The disk after the power went. Of what was not synced a random part is left, or all of it.
    fn after_power_loss(&mut self, disk: &SimulatedDisk) -> SimulatedDisk {
        let (mut dice, all) = (self.roll(), self.roll().is_multiple_of(2));
        disk.after_power_loss(|| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            all || dice >> 40 & 1 == 0
        })
    }

    fn known(&self) -> BTreeMap<u64, VmRecord> {
        let reader = self.leader.read().expect("reads");
        (1..=VMS).filter_map(|id| Some((id, reader.vm(VmId(id)).expect("reads")?))).collect()
    }

    fn commits(&mut self, step: &[Try]) -> Vec<Commit> {
        let base = self.known();
        step.iter()
            .map(|what| {
                self.ids += 1;
                commit(what, &base, self.ids)
            })
            .collect()
    }

    /// Applies what the leader has told, each batch as it comes from its bytes, and compares.
    async fn catch_up(&mut self) -> Result<(), String> {
        while self.follower.held() < held(&self.leader) {
            let batch = self.told.next().await.expect("keeps up").expect("is told");
            let batch = LoggedBatch::from_bytes(&batch.to_bytes()).expect("reads");
            match self.follower.apply(&batch) {
                Ok(()) => {}
                // The power of the leader went between its commit and the telling.
                Err(ApplyError::Gap { .. }) => return self.begin_again().await,
                Err(error) => return Err(error.to_string()),
            }
        }
        same(&self.leader, &self.follower)
    }

    /// The follower begins again from a copy.
    async fn begin_again(&mut self) -> Result<(), String> {
        self.copies += 1;
        self.reopen(None);
        self.copy = self.disk.copy();
        self.follower = Follower::open_with(self.copy.clone(), &options()).expect("opens");
        same(&self.leader, &self.follower)
    }

    /// The leader is closed, or dead, and opened again, on this disk.
    fn reopen(&mut self, disk: Option<SimulatedDisk>) {
        let nothing = Store::open_with(SimulatedDisk::default(), options()).expect("opens");
        drop(std::mem::replace(&mut self.leader, nothing));
        self.disk = disk.unwrap_or_else(|| self.disk.clone());
        self.leader =
            Store::open_with(self.disk.clone(), Options { sabotage: self.sabotage, ..options() })
                .expect("opens after any loss");
        self.told = self.leader.follow(FOLLOW_MAX);
    }

    /// The leader's disk fails in the middle of a batch, and then the power goes.
    async fn leader_dies(&mut self, step: &[Try]) -> Result<(), String> {
        let commits = self.commits(step);
        let disk = self.disk.clone();
        disk.break_after(self.roll() % 40);
        for commit in commits {
            let _ = self.leader.commit(commit).await;
        }
        let disk = self.after_power_loss(&disk);
        // What was answered before the disk failed was told. But the follower may not have heard it
        // before the power went.
        let heard = self.roll().is_multiple_of(2);
        while heard && self.follower.held() < held(&self.leader) {
            let batch = self.told.next().await.expect("keeps up").expect("is told");
            self.follower.apply(&batch).map_err(|error| error.to_string())?;
        }
        self.reopen(Some(disk));
        if self.follower.held() > held(&self.leader) {
            return Err(format!("batch {} was told and is lost", self.follower.held()));
        }
        if self.follower.held() == held(&self.leader) {
            same(&self.leader, &self.follower)
        } else {
            self.begin_again().await
        }
    }

    /// The follower's disk fails while it applies, and then the power goes. It holds the batch or
    /// does not, and goes on.
    async fn follower_dies(&mut self, step: &[Try]) -> Result<(), String> {
        let commits = self.commits(step);
        script::run(&self.leader, commits).await;
        if self.follower.held() == held(&self.leader) {
            return Ok(());
        }
        let batch = self.told.next().await.expect("keeps up").expect("is told");
        let before = self.follower.held();
        let after = self.roll() % 40;
        self.copy.break_after(after);
        let answer = self.follower.apply(&batch);
        let copy = self.copy.clone();
        self.copy = self.after_power_loss(&copy);
        self.follower =
            Follower::open_with(self.copy.clone(), &options()).expect("opens after any loss");
        match (answer, self.follower.held()) {
            (Ok(()), now) if now != batch.number() => {
                return Err("an applied batch is lost".to_owned());
            }
            (_, now) if now == before => {
                self.follower.apply(&batch).map_err(|error| error.to_string())?
            }
            (_, now) => {
                assert_eq!(now, batch.number(), "a batch is applied as a whole or not at all")
            }
        }
        self.catch_up().await
    }
}

async fn play(steps: &[Vec<Try>], sabotage: Sabotage) -> Result<u64, String> {
    let mut pair = Pair::new(sabotage).await;
    for (at, step) in steps.iter().enumerate() {
        match at % 4 {
            1 => {
                pair.reopen(None);
                same(&pair.leader, &pair.follower)?;
            }
            2 => pair.leader_dies(step).await?,
            3 => pair.follower_dies(step).await?,
            _ => {}
        }
        let commits = pair.commits(step);
        script::run(&pair.leader, commits).await;
        pair.catch_up().await?;
    }
    sound(&pair.leader);
    // It can take over.
    let Pair { follower, leader, .. } = pair;
    let (rows, batch) = (dump(leader.read()), follower.held());
    let successor = follower.lead(options()).expect("opens");
    assert_eq!(dump(successor.read()), rows);
    applied(&successor, create(vm(successor.next_vm_id().0))).await;
    assert_eq!(held(&successor).0, batch.0 + 1);
    sound(&successor);
    Ok(pair.copies)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().expect("starts")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_follower_is_equal_after_each_batch(steps in tries()) {
        runtime().block_on(play(&steps, Sabotage::None)).map_err(TestCaseError::fail)?;
    }
}

/// The same random runs, with this fault: what was found first, and how often a follower had to
/// begin again.
fn found(sabotage: Sabotage) -> (Option<String>, u64) {
    let (mut runner, mut copies) = (TestRunner::deterministic(), 0);
    for _ in 0..24 {
        let steps = tries().new_tree(&mut runner).expect("is made").current();
        match runtime().block_on(play(&steps, sabotage)) {
            Ok(again) => copies += again,
            Err(why) => return (Some(why), copies),
        }
    }
    (None, copies)
}

/// Negative control: if the changes of one table were not logged, the test above would say so.
#[test]
fn a_table_that_is_not_logged_is_found() {
    let (nothing, copies) = found(Sabotage::None);
    assert_eq!(nothing, None);
    assert!(
        copies > 0,
        "no power went between a commit and its telling: the runs are too tame to mean anything"
    );
    let (why, _) = found(Sabotage::TimersUnlogged);
    assert!(why.expect("the test must see it").contains("timer"));
}

/// A copy of the store as a follower.
fn follower(dir: &Path, store: &Store, name: &str) -> Follower {
    let path = dir.join(name);
    store.backup(&path).expect("is written");
    Follower::open(&path, &options()).expect("opens")
}

#[tokio::test]
async fn a_gap_a_repeat_and_a_batch_of_another_store_are_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = store();
    applied(&store, ground()).await;
    let mut told = store.follow(9);
    let mut copy = follower(dir.path(), &store, "copy");
    for id in 1..=3 {
        applied(&store, create(vm(id))).await;
    }
    let mut batches = Vec::new();
    for _ in 0..3 {
        batches.push(told.next().await.expect("keeps up").expect("is told"));
    }
    assert!(matches!(
        copy.apply(&batches[1]),
        Err(ApplyError::Gap { held: BatchNo(1), given: BatchNo(3) })
    ));
    copy.apply(&batches[0]).expect("is the next");
    assert!(matches!(
        copy.apply(&batches[0]),
        Err(ApplyError::Repeat { held: BatchNo(2), given: BatchNo(2) })
    ));
    let other = Options { store_id: Some(StoreId(uuid::Uuid::from_u128(9))), ..options() };
    let other = Store::open_with(disk::Disk::default(), other).expect("opens");
    applied(&other, ground()).await;
    let mut stranger = follower(dir.path(), &other, "stranger");
    assert!(matches!(stranger.apply(&batches[0]), Err(ApplyError::OtherStore { .. })));
    copy.apply(&batches[1]).expect("is the next");
    copy.apply(&batches[2]).expect("is the next");
    assert_eq!(same(&store, &copy), Ok(()));
    // A rehearsal and a commit that is refused are no batches.
    store.rehearse(create(vm(4))).await.expect("is judged");
    store.commit(create(vm(3))).await.expect("is decided");
    assert_eq!(held(&store), copy.held());
}

/// Who follows a restored store must not go on from what the lost time had.
#[tokio::test]
async fn a_restored_store_is_not_followed_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = store();
    applied(&store, ground()).await;
    store.backup(&dir.path().join("backup")).expect("is written");
    applied(&store, create(vm(1))).await;
    let mut copy = follower(dir.path(), &store, "copy");
    drop(store);
    restore(&dir.path().join("backup"), &dir.path().join("back"), Unreadable::Refused)
        .expect("restores");
    let back = Store::open(&dir.path().join("back"), options()).expect("opens");
    let mut told = back.follow(9);
    for id in 2..=3 {
        applied(&back, create(vm(id))).await;
        let batch = told.next().await.expect("keeps up").expect("is told");
        assert!(matches!(copy.apply(&batch), Err(ApplyError::Gap { .. })));
    }
}

/// A migration changes tables. Followers are told that they need a copy.
#[tokio::test]
async fn a_migration_sends_followers_to_a_copy() {
    let dir = tempfile::tempdir().expect("a directory");
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kept/schema-2.redb");
    let (path, before) = (dir.path().join("store"), dir.path().join("before"));
    std::fs::copy(&kept, &path).expect("copies");
    std::fs::copy(&kept, &before).expect("copies");
    assert!(
        matches!(Follower::open(&before, &options()), Err(OpenError::NotAStore { .. })),
        "it is of an older schema"
    );
    let followers = Followers::default();
    let mut told = followers.follow(9);
    let store = Store::open(&path, Options { followers, ..Options::default() }).expect("opens");
    for number in [1, 2] {
        let migrated = told.next().await.expect("keeps up").expect("is told");
        assert_eq!((migrated.number(), migrated.changes()), (BatchNo(number), None));
    }
    let derived = told.next().await.expect("keeps up").expect("is told");
    assert!(
        derived.number() == BatchNo(3) && derived.changes().is_some_and(|changes| changes > 20)
    );
    let mut copy = follower(dir.path(), &store, "copy");
    assert!(matches!(copy.apply(&derived), Err(ApplyError::Repeat { .. })), "the copy has it");
    let id = store.next_vm_id();
    applied(&store, create(vm(id.0))).await;
    copy.apply(&told.next().await.expect("keeps up").expect("is told")).expect("applies");
    assert_eq!(same(&store, &copy), Ok(()));
}

#[tokio::test]
async fn a_follower_that_does_not_keep_up_holds_no_commit_up() {
    let store = store();
    applied(&store, ground()).await;
    let mut slow = store.follow(1);
    for id in 1..=3 {
        applied(&store, create(vm(id))).await;
    }
    assert_eq!(slow.next().await, Err(FellBehind));
}
