//! Whole lives with a backup and a restore in them, made up by chance: no guest runs twice.

use crate::acts::{Act, act, story};
use crate::invariants;
use crate::model::happen;
use crate::rig::{Fault, Rig, Violation};
use ostler_lifecycle::Input;
use ostler_model::{State, Verb};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

/// What happens until the backup, until the store is lost, before and after the VM is reconciled.
type Tale = ((usize, bool, Vec<Act>), usize, Vec<Act>, Vec<Act>);

fn tale() -> impl Strategy<Value = Tale> {
    let acts = || prop::collection::vec(act(), 1..25);
    (story(), any::<usize>(), acts(), acts())
}

/// With `gated` false the record is taken as it comes back, as if there were no mark.
fn live(((disks, shared, lost), cut, before, after): &Tale, gated: bool) -> Result<(), Violation> {
    let mut rig = Rig::new(*disks, *shared, Fault::None);
    let mut backup = rig.record.clone();
    let cut = cut % lost.len().max(1);
    for (at, act) in lost.iter().enumerate() {
        if at == cut {
            backup = rig.record.clone();
        }
        happen(&mut rig, act)?;
    }
    rig.world.half_ends(false);
    rig.world.reach(true);
    rig.world.wrongs.clear();
    if rig.state() == State::Done || backup.state == State::Done {
        return Ok(());
    }
    rig.restore(backup.clone());
    if !gated {
        rig.record = backup;
    }
    rig.tell(&Input::Restarted)?;
    for act in before {
        // Nobody says of a guest that lives that its host is lost.
        let lies = matches!(act, Act::Ask(Verb::Forget | Verb::Migrate, ..) | Act::Recover(_));
        if lies || matches!(act, Act::Guest(_)) {
            continue;
        }
        let (domains, files) = (
            rig.world.domains.len(),
            rig.world.places.values().filter(|place| !place.is_empty()).count(),
        );
        happen(&mut rig, act)?;
        if gated && rig.sends() > 0 {
            return Err(format!("{act:?} sends something before the VM is reconciled"));
        }
        let now = (
            rig.world.domains.len(),
            rig.world.places.values().filter(|place| !place.is_empty()).count(),
        );
        if gated && now < (domains, files) {
            return Err(format!("{act:?} removes something before the VM is reconciled"));
        }
    }
    rig.world.reach(true);
    if gated {
        rig.reconcile(None)?;
    }
    for act in after {
        let lies = matches!(act, Act::Ask(Verb::Forget | Verb::Migrate, ..) | Act::Recover(_));
        if lies
            || matches!(
                act,
                Act::Guest(_) | Act::Reach(_) | Act::ReachOne(..) | Act::CouldNotAsk(_)
            )
        {
            continue;
        }
        happen(&mut rig, act)?;
        invariants::harmed(&rig)?;
    }
    Ok(())
}

#[test]
fn whatever_the_lost_time_did_no_guest_runs_twice_and_no_live_disk_is_touched() {
    let cases =
        std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(3000);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let outcome =
        TestRunner::new(config).run(&tale(), |tale| live(&tale, true).map_err(TestCaseError::fail));
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

#[test]
fn without_the_mark_of_a_restore_a_guest_runs_twice() {
    let config = Config {
        cases: 20_000,
        failure_persistence: None,
        max_shrink_iters: 0,
        ..Config::default()
    };
    let mut runner =
        TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    match runner.run(&tale(), |tale| live(&tale, false).map_err(TestCaseError::fail)) {
        Err(TestError::Fail(reason, _)) => {
            let said = reason.message();
            assert!(
                said.contains("twice")
                    || said.contains("while there is a domain")
                    || said.contains("in use"),
                "{said}"
            );
        }
        other => panic!("an old record harms nobody: {other:?}"),
    }
}
