//! Over random commits, nothing is held beyond its limit, and nothing that has one owner has two,
//! whatever book it is of.

mod support;

use ostler_model::*;
use ostler_store::*;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::collections::BTreeMap;
use support::*;

const VMS: u64 = 5;
/// Few, so that VMs meet.
const CARDS: u8 = 4;

/// A random commit of one VM. Everything that it places is claimed, and the limit is enforced.
#[derive(Debug, Clone)]
struct Try {
    vm: u64,
    state: State,
    host: Option<u32>,
    other: Option<u32>,
    cpu_milli: u32,
    cards: Vec<u8>,
    disks: Vec<u32>,
    forgets: bool,
}

fn tries() -> impl Strategy<Value = Vec<Vec<Try>>> {
    let states =
        prop::sample::select(vec![State::Pending, State::Running, State::Poweroff, State::Done]);
    let hosts = || prop::option::of(1_u32..=2);
    let cards = prop::collection::vec(0..CARDS, 0..3);
    let disks = prop::collection::vec(1_u32..=2, 0..2);
    let one =
        (1..=VMS, states, hosts(), hosts(), 500_u32..2500, cards, disks, prop::bool::weighted(0.1))
            .prop_map(|(vm, state, host, other, cpu_milli, cards, disks, forgets)| Try {
                vm,
                state,
                host,
                other,
                cpu_milli,
                cards,
                disks,
                forgets,
            });
    prop::collection::vec(prop::collection::vec(one, 1..6), 1..12)
}

fn commit(what: &Try, known: &BTreeMap<u64, VmRecord>) -> Commit {
    let old = known.get(&what.vm);
    if what.forgets && old.is_some() {
        return Commit {
            resources: vec![ResourceChange::VmForget(VmId(what.vm))],
            ..Commit::default()
        };
    }
    let mut record = idle(old.cloned().unwrap_or_else(|| vm(what.vm)), what.state);
    record.spec.cpu_milli = what.cpu_milli;
    (record.placement, record.storage, record.moving) = (None, None, None);
    if let Some(host) = what.host {
        record = placed(record, host);
    }
    if let Some(host) = what.other {
        record = moving(record, host);
    }
    record.disks.clear();
    for image in &what.disks {
        record = with_disk(record, *image);
    }
    let card = |last: &u8| NicSpec {
        bridge: "br0".to_owned(),
        mac: Some(format!("b2:00:00:00:00:{last:02x}").parse().expect("an address")),
    };
    record.spec.nics = what.cards.iter().map(card).collect();
    let asks: Vec<Ask> =
        what.host.iter().chain(&what.other).map(|host| Ask::room(HostId(*host), true)).collect();
    let claims = record.claims(&asks);
    let commit = if old.is_some() { change(record) } else { create(record) };
    Commit { claims, ..commit }
}

/// What is wrong with the holdings. It is added up from the records alone, without the books.
fn over(records: &BTreeMap<u64, VmRecord>) -> Result<(), String> {
    let mut held: BTreeMap<(Book, BookKey), (Amount, Vec<VmId>)> = BTreeMap::new();
    for record in records.values() {
        for Holding { book, key, amount } in record.holdings() {
            let (sum, owners) = held.entry((book, key)).or_default();
            *sum = sum.plus(amount.unwrap_or_default());
            if amount.is_none() {
                owners.push(record.id);
            }
        }
    }
    let limit = Amount([u64::MAX, 4000, 4096]);
    for ((book, key), (sum, owners)) in held {
        if book == Book::Host && !sum.within(limit) {
            return Err(format!("host {key} is over its limit: {sum:?}"));
        }
        if owners.len() > 1 {
            return Err(format!("{book} {key} has two owners: {owners:?}"));
        }
    }
    Ok(())
}

async fn play(batches: &[Vec<Try>], sabotage: Sabotage) -> Result<(), String> {
    let store =
        Store::open_with(disk::Disk::default(), Options { sabotage, ..options() }).expect("opens");
    applied(&store, ground()).await;
    let mut known = BTreeMap::new();
    for batch in batches {
        script::run(&store, batch.iter().map(|what| commit(what, &known)).collect()).await;
        let reader = store.read().expect("reads");
        known =
            (1..=VMS).filter_map(|id| Some((id, reader.vm(VmId(id)).expect("reads")?))).collect();
        over(&known)?;
        sound(&store);
    }
    Ok(())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().expect("starts")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn no_limit_is_passed_and_nothing_has_two_owners(batches in tries()) {
        runtime().block_on(play(&batches, Sabotage::None)).map_err(TestCaseError::fail)?;
    }
}

/// The first that is wrong in the same random commits, with this fault in the store.
fn found(sabotage: Sabotage) -> Option<String> {
    let mut runner = TestRunner::deterministic();
    (0..96).find_map(|_| {
        let batches = tries().new_tree(&mut runner).expect("is made").current();
        let played = std::panic::catch_unwind(|| runtime().block_on(play(&batches, sabotage)));
        played.unwrap_or(Ok(())).err()
    })
}

/// Negative control: if claims were not judged, the test above would say so, for both kinds of
/// books.
#[test]
fn claims_that_nobody_judges_are_found() {
    assert_eq!(found(Sabotage::None), None);
    let over = found(Sabotage::AnyClaim).expect("the test must see it");
    assert!(over.contains("over its limit") || over.contains("two owners"), "{over}");
    let twice = found(Sabotage::AnyAddress).expect("the test must see it");
    assert!(twice.contains("two owners"), "{twice}");
}
