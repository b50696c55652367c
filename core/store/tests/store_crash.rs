//! Promise 1, as far as the store is concerned: the power is cut at every disk operation of a
//! scripted run, and what comes up again holds every commit that was answered, no half of any, and
//! books that add up.

mod support;

use ostler_store::{CommitError, Committed, Health, Options, Sabotage, Store};
use support::disk::{Disk, Lost, Replay};
use support::{applied, script, sound};

/// Random subsets of the writes that were not synced, for each cut.
const SUBSETS: u64 = 6;

/// Small bounds, so that trimming happens within the script.
fn options(sabotage: Sabotage) -> Options {
    Options { events_kept: 12, operations_kept: 1, sabotage, ..support::options() }
}

/// The store after each answered step: how long the disk's log was, and everything the store held.
struct Played {
    disk: Disk,
    marks: Vec<(usize, Vec<String>)>,
}

async fn play(sabotage: Sabotage) -> Played {
    let disk = Disk::default();
    let store = Store::open_with(disk.clone(), options(sabotage)).expect("opens");
    let dump = || store.read().expect("reads").dump().expect("dumps");
    let mut marks = vec![(disk.operations(), dump())];
    let mut refused = 0;
    for step in script::steps() {
        let answers = script::run(&store, step).await;
        refused +=
            answers.iter().filter(|answer| !matches!(answer, Committed::Applied { .. })).count();
        marks.push((disk.operations(), dump()));
    }
    // The VM that found no room, and what was to become of it; and the one that may have left
    // something.
    assert_eq!(refused, 6, "the script is not played as it is meant");
    sound(&store);
    // The log is taken before the store closes: closing may write more.
    let cut = Disk::default();
    for op in disk.log() {
        replay(&cut, &op);
    }
    Played { disk: cut, marks }
}

fn replay(disk: &Disk, op: &support::disk::Op) {
    use ostler_store::RawDisk;
    use support::disk::Op;
    match op {
        Op::Write(at, data) => disk.write(*at, data),
        Op::Len(len) => disk.set_length(*len),
        Op::Sync => disk.sync(),
    }
    .expect("replays");
}

/// What came up after a cut must be one of the states from the last answered one on; only the step
/// in flight may hold as well.
fn judge(played: &Played, at: usize, lost: Lost, bytes: Vec<u8>) -> Result<(), String> {
    let acked = played.marks.iter().rposition(|(operations, _)| *operations <= at);
    let store = match Store::open_with(Disk::holding(bytes), options(Sabotage::None)) {
        Ok(store) => store,
        // While it was made, nothing was promised; a file has no name yet then.
        Err(_) if acked.is_none() => return Ok(()),
        Err(error) => return Err(format!("cut {at} ({lost:?}): does not open: {error:?}")),
    };
    let findings = store.check().map_err(|error| format!("cut {at} ({lost:?}): {error:?}"))?;
    if !findings.is_empty() {
        return Err(format!("cut {at} ({lost:?}): {findings:#?}"));
    }
    let dump = store.read().and_then(|reader| reader.dump()).map_err(|error| error.to_string())?;
    let first = acked.unwrap_or(0);
    let allowed = &played.marks[first..(first + 2).min(played.marks.len())];
    if allowed.iter().any(|(_, state)| *state == dump) {
        return Ok(());
    }
    let known = played.marks.iter().position(|(_, state)| *state == dump);
    Err(match known {
        Some(known) => format!(
            "cut {at} ({lost:?}): step {first} was answered, but the store stands at {known}"
        ),
        None => {
            format!("cut {at} ({lost:?}): the store holds half of step {first} or {}", first + 1)
        }
    })
}

/// Cuts at every operation; every way of losing what was not synced. Answers how many cuts were
/// made, or the first that hurt.
fn torture(played: &Played) -> Result<usize, String> {
    let log = played.disk.log();
    let mut replay = Replay::default();
    let mut cuts = 0;
    for at in 0..=log.len() {
        let mut ways = vec![Lost::All];
        if replay.at_risk() {
            ways.push(Lost::None);
            ways.extend(
                (1..=SUBSETS).map(|way| Lost::Some(0x9e37_79b9 * (at as u64 * SUBSETS + way))),
            );
        }
        for lost in ways {
            judge(played, at, lost, replay.cut(lost))?;
            cuts += 1;
        }
        if let Some(op) = log.get(at) {
            replay.push(op);
        }
    }
    Ok(cuts)
}

#[tokio::test]
async fn a_power_cut_at_any_disk_operation_loses_nothing_answered_and_halves_nothing() {
    let played = play(Sabotage::None).await;
    let cuts = torture(&played).unwrap_or_else(|hurt| panic!("{hurt}"));
    println!(
        "{cuts} cuts over {} disk operations and {} steps",
        played.disk.operations(),
        played.marks.len()
    );
    assert!(cuts > 400, "only {cuts} cuts: the script is too small to mean anything");
}

/// Negative control: if a commit were two transactions, the test above would say so.
#[tokio::test]
async fn a_commit_in_two_transactions_is_found() {
    let hurt = torture(&play(Sabotage::SplitCommit).await).expect_err("the harness must see it");
    assert!(hurt.contains("half of step"), "{hurt}");
}

/// Negative control: if commits were answered before they are on the disk, the test above would say
/// so.
#[tokio::test]
async fn an_answer_before_the_sync_is_found() {
    let hurt = torture(&play(Sabotage::NoSync).await).expect_err("the harness must see it");
    assert!(hurt.contains("was answered"), "{hurt}");
}

#[tokio::test]
async fn a_disk_that_fails_turns_the_store_read_only_and_says_why() {
    let whole = play(Sabotage::None).await.disk.operations();
    let opened = {
        let disk = Disk::default();
        let _store = Store::open_with(disk.clone(), options(Sabotage::None)).expect("opens");
        disk.operations()
    };
    for nth in (opened..whole).step_by(37) {
        let disk = Disk::default();
        let store = Store::open_with(disk.clone(), options(Sabotage::None)).expect("opens");
        disk.fail_from(nth);
        let mut failed = None;
        for commit in script::steps().into_iter().flatten() {
            match store.commit(commit).await {
                Ok(_) if failed.is_none() => {}
                Ok(answer) => panic!("operation {nth}: answered after a failure: {answer:?}"),
                Err(CommitError::ReadOnly { why }) => assert!(why.contains("on purpose"), "{why}"),
                Err(error @ CommitError::Failed { .. }) => {
                    assert!(failed.replace(error).is_none(), "failed twice")
                }
                Err(other) => panic!("operation {nth}: {other}"),
            }
        }
        // Batches differ from run to run, and the last operations may never come.
        if failed.is_some() {
            assert!(
                matches!(store.health(), Health::ReadOnly { why } if why.contains("on purpose"))
            );
            store.read().expect("reading goes on");
        }
    }
}

#[tokio::test]
async fn all_waiters_of_a_failed_batch_are_told() {
    let disk = Disk::default();
    let store = Store::open_with(disk.clone(), options(Sabotage::None)).expect("opens");
    applied(&store, support::ground()).await;
    let hold = store.hold().await.expect("holds");
    let commits = (1..=5).map(|id| store.commit(support::create(support::vm(id))));
    let waiting = futures::future::join_all(commits);
    tokio::pin!(waiting);
    assert!(futures::poll!(&mut waiting).is_pending());
    disk.fail_from(disk.operations());
    drop(hold);
    for answer in waiting.await {
        assert!(matches!(answer, Err(CommitError::Failed { .. })), "{answer:?}");
    }
    assert!(matches!(
        store.commit(support::create(support::vm(6))).await,
        Err(CommitError::ReadOnly { .. })
    ));
}
