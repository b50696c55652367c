//! The backup has an operation under way, which the lost time has ended.

use crate::restored::{A, B, goes, rig};
use ostler_lifecycle::Input;
use ostler_model::{Generation, State, Verb};

#[test]
fn a_vm_that_was_at_boot_and_has_moved_is_not_started_a_second_time() {
    let mut rig = rig(true, &[]);
    rig.asks(Verb::Deploy, A).unwrap();
    rig.answer(0).unwrap();
    assert_eq!(rig.line(), "boot (boot: calling) > deploy");
    let backup = rig.record.clone();
    rig.settle().unwrap();
    goes(&mut rig, &[(Verb::MigrateLive, B)]);
    rig.restore(backup);
    rig.tell(&Input::Restarted).unwrap();
    assert_eq!(
        (rig.state(), rig.sends()),
        (State::Failed, 0),
        "nothing is sent for what the backup had under way"
    );
    rig.reconcile(None).unwrap();
    assert_eq!(
        (rig.state(), rig.host(), rig.record.is_unreconciled()),
        (State::Running, Some(B), false)
    );
    assert_eq!(
        rig.record.placement.as_ref().map(|place| place.generation),
        Some(Generation(2)),
        "the one it runs under"
    );
    rig.asks(Verb::Suspend, B).unwrap();
    rig.settle().unwrap();
    assert_eq!(rig.line(), "suspended [asked] | operation 1004 succeeded");
}

#[test]
fn a_stop_that_was_removing_files_does_not_remove_those_of_the_vm_that_was_deployed_again() {
    let mut rig = rig(false, &[(Verb::Deploy, A)]);
    rig.asks(Verb::Stop, A).unwrap();
    while rig.record.operation.as_ref().and_then(|active| active.kind())
        != Some(ostler_model::StepKind::DropHost)
    {
        rig.answer(0).unwrap();
    }
    let backup = rig.record.clone();
    rig.settle().unwrap();
    goes(&mut rig, &[(Verb::Resume, A), (Verb::Deploy, A)]);
    let files = rig.world.place(A).clone();
    rig.restore(backup);
    rig.tell(&Input::Restarted).unwrap();
    assert_eq!((rig.state(), rig.sends()), (State::Failed, 0));
    assert!(
        rig.asks(Verb::RecoverRetry, A).unwrap_err().starts_with("contradicted"),
        "not before it is known where it is"
    );
    rig.reconcile(None).unwrap();
    assert_eq!((rig.state(), rig.host()), (State::Running, Some(A)));
    assert_eq!(rig.world.place(A).disks, files.disks);
}

#[test]
fn a_delete_that_a_restore_has_cut_is_not_taken_back_and_goes_on() {
    let mut rig = rig(false, &[(Verb::Deploy, A), (Verb::Poweroff, A)]);
    rig.asks(Verb::Delete, A).unwrap();
    let backup = rig.record.clone();
    rig.answer(0).unwrap();
    rig.restore(backup);
    rig.tell(&Input::Restarted).unwrap();
    rig.reconcile(None).unwrap();
    assert_eq!((rig.state(), rig.world.domains.len()), (State::Failed, 0));
    let refused = rig.asks(Verb::RecoverUndo, A).unwrap_err();
    assert_eq!(refused, "contradicted: BeingDeleted");
    goes(&mut rig, &[(Verb::RecoverRetry, A)]);
    assert_eq!(rig.state(), State::Done);
}

/// A stop that the backup knows half-way, and that the lost time has ended.
#[test]
fn a_way_back_that_would_remove_what_may_be_the_only_disks_is_refused() {
    let mut rig = rig(false, &[(Verb::Deploy, A)]);
    rig.asks(Verb::Stop, A).unwrap();
    for _ in 0..2 {
        rig.answer(0).unwrap();
    }
    assert_eq!(rig.line(), "epilog (copy-out: calling) > copy-out disk:vda");
    let backup = rig.record.clone();
    rig.settle().unwrap();
    rig.restore(backup);
    rig.tell(&Input::Restarted).unwrap();
    rig.reconcile(None).unwrap();
    assert_eq!(rig.state(), State::Failed);
    let refused = rig.asks(Verb::RecoverUndo, A).unwrap_err();
    assert!(refused.contains("NoWayBack { restored: true }"), "{refused}");
    // Nor after another failure of the same.
    rig.asks(Verb::RecoverRetry, A).unwrap();
    assert!(rig.record.operation.as_ref().unwrap().cut);
}

#[test]
fn a_vm_that_has_arrived_and_is_off_is_where_it_arrived() {
    let mut rig = rig(false, &[(Verb::Deploy, A), (Verb::Poweroff, A)]);
    rig.asks(Verb::Migrate, B).unwrap();
    let backup = rig.record.clone();
    rig.settle().unwrap();
    goes(&mut rig, &[(Verb::Resume, B), (Verb::Poweroff, B)]);
    rig.restore(backup);
    rig.tell(&Input::Restarted).unwrap();
    rig.reconcile(None).unwrap();
    assert_eq!((rig.host(), rig.state()), (Some(B), State::Poweroff));
}
