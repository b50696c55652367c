//! Negative controls: with each of these faults the invariants must fail, and for the right
//! reason.

use crate::acts::story;
use crate::model::run;
use crate::rig::Fault;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

/// Enough for each fault to be met many times over; the stories are the same in every run.
const CASES: u32 = 20_000;

fn turns_red(fault: Fault, words: &[&str]) {
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        max_shrink_iters: 0,
        ..Config::default()
    };
    let mut runner =
        TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let outcome = runner.run(&story(), |(disks, shared, acts)| {
        run(disks, shared, &acts, fault).map_err(TestCaseError::fail)
    });
    match outcome {
        Err(TestError::Fail(reason, _)) => {
            let said = reason.message();
            assert!(
                words.iter().any(|word| said.contains(word)),
                "{fault:?} turned it red for another reason: {said}"
            );
        }
        Err(TestError::Abort(reason)) => panic!("{fault:?}: {reason}"),
        Ok(()) => panic!("{fault:?} went unnoticed"),
    }
}

#[test]
fn an_effect_that_is_never_sent() {
    turns_red(Fault::DropEffect, &["outbox"]);
}

#[test]
fn an_outbox_that_forgets_what_ended() {
    turns_red(Fault::ForgetSettled, &["outbox"]);
}

#[test]
fn a_press_under_two_identities() {
    turns_red(Fault::NewEdgeIdentity, &["edge"]);
}

#[test]
fn a_lost_answer_taken_for_success() {
    turns_red(Fault::RestWithoutLook, &["disagrees", "lost", "world", "leak"]);
}

#[test]
fn memory_that_counts_as_used_too_late() {
    turns_red(Fault::ConsumeLate, &["runs before it counts as used", "restored over"]);
}

#[test]
fn a_wait_without_end() {
    turns_red(Fault::Stuck, &["stuck"]);
}

#[test]
fn done_before_the_cleaning() {
    turns_red(Fault::EarlyDone, &["done, and", "outbox", "leak"]);
}

#[test]
fn capacity_that_is_kept() {
    turns_red(Fault::KeepCapacity, &["capacity"]);
}

#[test]
fn a_rest_beside_an_open_call() {
    turns_red(Fault::RestWithOpenCalls, &["open: rests"]);
}

#[test]
fn a_rollback_that_forgets_that_it_is_one() {
    turns_red(Fault::ForgetUndoing, &["disagrees", "lost", "leak", "capacity", "running", "world"]);
}

#[test]
fn a_commit_that_nobody_can_tell() {
    turns_red(Fault::SameVersion, &["version"]);
}

#[test]
fn a_vm_that_moved_is_looked_for_where_it_was() {
    turns_red(Fault::GoBackToOldDisks, &["leak", "lost", "disagrees", "capacity"]);
}

#[test]
fn a_rollback_that_does_not_empty_the_other_host() {
    turns_red(Fault::UndoWithoutRemoveOther, &["leak", "twice", "stuck", "outbox"]);
}

#[test]
fn a_start_elsewhere_beside_the_domain_that_is_left() {
    turns_red(Fault::SwitchWithoutRemove, &["while there is a domain", "leak", "twice"]);
}

#[test]
fn a_leftover_that_nobody_knows() {
    turns_red(Fault::ForgetLeftover, &["leak", "done, and"]);
}

#[test]
fn a_lost_snapshot_that_is_offered() {
    turns_red(Fault::KeepLostSnapshot, &["snapshot:"]);
}

#[test]
fn an_image_that_is_never_written_and_stays_locked() {
    turns_red(Fault::KeepImageLocked, &["image:"]);
}

#[test]
fn one_host_seen_and_the_other_guessed() {
    turns_red(Fault::DecideByOneHost, &["leak", "lost", "disagrees", "twice"]);
}

#[test]
fn a_disk_that_was_never_plugged_in_and_stays() {
    turns_red(Fault::KeepAttached, &["lost", "disks:"]);
}

#[test]
fn a_schedule_that_is_due_for_ever() {
    turns_red(Fault::StayDue, &["schedule: it is still due"]);
}

#[test]
fn two_places_under_one_generation() {
    turns_red(Fault::SameGeneration, &["generation:"]);
}
