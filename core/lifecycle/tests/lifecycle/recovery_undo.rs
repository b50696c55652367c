//! The operator has an operation rolled back.

use crate::script::{Stage, check, check_on};
use expect_test::expect;

#[test]
fn undo_of_a_prolog_gives_capacity_back() {
    check(
        "deploy; refused; recover-undo; run; place; deploy; run",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        refused        failed [step-failed] | operation 2 failed: refused
        recover-undo   epilog (undo remove: calling) > remove
          remove       epilog (undo drop-host: calling) > drop-host files
          drop-host    pending [step-failed] | operation 3 succeeded
        place          None host=false home=false placed=0
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
          prepare      boot (boot: calling) > deploy
          deploy       running [asked] | operation 4 succeeded
    "#]],
    );
}

#[test]
fn undo_of_a_boot_gives_capacity_back() {
    check(
        "deploy; ok; refused; recover-undo; run; place",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        ok             boot (boot: calling) > deploy
        refused        failed [step-failed] | operation 2 failed: refused
        recover-undo   epilog (undo remove: calling) > remove
          remove       epilog (undo drop-host: calling) > drop-host files
          drop-host    pending [step-failed] | operation 3 succeeded
        place          None host=false home=false placed=0
    "#]],
    );
}

#[test]
fn undo_in_flight() {
    check(
        "deploy; ok; recover-undo; ok; run; place",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        ok             boot (boot: calling) > deploy
        recover-undo   boot (boot: draining) > cancel domain
        ok             epilog (undo remove: calling) > remove
          remove       epilog (undo drop-host: calling) > drop-host files
          drop-host    pending [step-failed] | operation 2 failed: undone
        place          None host=false home=false placed=0
    "#]],
    );
}

#[test]
fn undo_of_a_deploy_after_stop() {
    check(
        "deploy; drive; stop; drive; resume; deploy; ok; ok; ok; refused; recover-undo; run; place; memory; deploy; drive; memory",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            stop           save (save: calling) > save
            resume         pending [asked] | operation 4 succeeded
            deploy         prolog (copy-in: calling) > copy-in disk:vda
            ok             prolog (copy-in: calling) > copy-in recovery
            ok             prolog (drop-home: calling) > drop-home files
            ok             boot (restore: calling) > restore
            refused        failed [step-failed] | operation 5 failed: refused
            recover-undo   epilog (undo remove: calling) > remove
              remove       epilog (undo copy-out: calling) > copy-out disk:vda
              copy-out     epilog (undo copy-out: calling) > copy-out recovery
              copy-out     epilog (undo drop-host: calling) > drop-host files
              drop-host    pending [step-failed] | operation 6 succeeded
            place          None host=false home=true placed=1
            memory         Some((true, false))
            deploy         prolog (copy-in: calling) > copy-in disk:vda
            memory         None
        "#]],
    );
}

#[test]
fn undo_of_a_deploy_after_stop_on_shared_storage() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; stop; drive; resume; deploy; refused; recover-undo; run; place; memory; deploy; drive; memory",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            stop           save (save: calling) > save
            resume         pending [asked] | operation 4 succeeded
            deploy         boot (restore: calling) > restore
            refused        failed [step-failed] | operation 5 failed: refused
            recover-undo   epilog (undo remove: calling) > remove
              remove       pending [step-failed] | operation 6 succeeded
            place          None host=false home=true placed=1
            memory         Some((true, false))
            deploy         boot (restore: calling) > restore
            memory         None
        "#]],
    );
}

#[test]
fn undo_of_a_stop_that_was_copying() {
    check(
        "deploy; drive; stop; ok; ok; refused; recover-undo; run; place; memory; resume; run",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            stop           save (save: calling) > save
            ok             epilog (remove: calling) > remove
            ok             epilog (copy-out: calling) > copy-out disk:vda
            refused        failed [step-failed] | operation 3 failed: refused
            recover-undo   epilog (undo remove: calling) > remove
              remove       epilog (undo drop-home: calling) > drop-home files
              drop-home    epilog (undo end: settling) > observe
              observe      suspended [step-failed] | operation 4 succeeded
            place          Some(1) host=true home=false placed=1
            memory         Some((true, false))
            resume         boot (restore: calling) > restore
              restore      boot (unpause: calling) > unpause
              unpause      boot (drop-recovery: calling) > drop-recovery recovery
              drop-recovery running [asked] | operation 5 succeeded
        "#]],
    );
}

#[test]
fn undo_of_a_stop_that_was_dropping() {
    check(
        "deploy; drive; stop; ok; ok; ok; ok; do; refused; recover-undo; run; place; memory; resume; run",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            stop           save (save: calling) > save
            ok             epilog (remove: calling) > remove
            ok             epilog (copy-out: calling) > copy-out disk:vda
            ok             epilog (copy-out: calling) > copy-out recovery
            ok             epilog (drop-host: calling) > drop-host files
            refused        failed [step-failed] | operation 3 failed: refused
            recover-undo   epilog (undo remove: calling) > remove
              remove       prolog (undo copy-in: calling) > copy-in disk:vda
              copy-in      prolog (undo copy-in: calling) > copy-in recovery
              copy-in      epilog (undo drop-home: calling) > drop-home files
              drop-home    epilog (undo end: settling) > observe
              observe      suspended [step-failed] | operation 4 succeeded
            place          Some(1) host=true home=false placed=1
            memory         Some((true, false))
            resume         boot (restore: calling) > restore
              restore      boot (unpause: calling) > unpause
              unpause      boot (drop-recovery: calling) > drop-recovery recovery
              drop-recovery running [asked] | operation 5 succeeded
        "#]],
    );
}

#[test]
fn undo_of_a_shutdown_that_was_dropping_is_refused() {
    check(
        "deploy; drive; poweroff-hard; drive; shutdown; ok; do; refused; recover-undo; recover-retry; run",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            poweroff-hard  shutdown (power-off: calling) > destroy
            shutdown       epilog (remove: calling) > remove
            ok             epilog (drop-host: calling) > drop-host files
            refused        failed [step-failed] | operation 4 failed: refused
            recover-undo   refused contradicted: NoWayBack { restored: false }
            recover-retry  epilog (remove: calling) > remove
              remove       epilog (drop-host: calling) > drop-host files
              drop-host    done [asked] | operation 6 succeeded
        "#]],
    );
}

#[test]
fn undo_of_a_shutdown_that_was_not() {
    check(
        "deploy; drive; poweroff-hard; drive; shutdown; refused; recover-undo; run",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            poweroff-hard  shutdown (power-off: calling) > destroy
            shutdown       epilog (remove: calling) > remove
            refused        failed [step-failed] | operation 4 failed: refused
            recover-undo   epilog (undo end: settling) > observe
              observe      poweroff [step-failed] | operation 5 succeeded
        "#]],
    );
}

#[test]
fn undo_of_a_suspend_in_flight() {
    check(
        "deploy; drive; suspend; recover-undo; cancelled; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        suspend        save (save: calling) > save
        recover-undo   save (save: draining) > cancel domain
        cancelled      save (undo end: settling) > observe
        ok             running [step-failed] | operation 3 failed: undone
    "#]],
    );
}

#[test]
fn undo_of_a_press_that_is_waited_for() {
    check(
        "deploy; drive; wait:9; poweroff; ok; recover-undo; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        wait:9         running [asked]
        poweroff       shutdown (press-power: calling) > press-power
        ok             shutdown (press-power: waiting)
        recover-undo   shutdown (undo end: settling) > observe
        ok             running [step-failed] | operation 3 failed: undone
    "#]],
    );
}

#[test]
fn undo_while_undoing_goes_on() {
    check(
        "deploy; drive; poweroff-hard; drive; resume; refused; recover-undo; ok; run",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        poweroff-hard  shutdown (power-off: calling) > destroy
        resume         boot (boot: calling) > deploy
        refused        epilog (undo remove: calling) > remove
        recover-undo   epilog (undo remove: draining) > cancel domain
        ok             epilog (undo remove: calling) > remove
          remove       epilog (undo end: settling) > observe
          observe      poweroff [step-failed] | operation 4 failed: refused
    "#]],
    );
}

#[test]
fn undo_while_it_settles_after_a_rollback() {
    check(
        "deploy; drive; poweroff-hard; drive; resume; refused; ok; recover-retry; ok; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        poweroff-hard  shutdown (power-off: calling) > destroy
        resume         boot (boot: calling) > deploy
        refused        epilog (undo remove: calling) > remove
        ok             epilog (undo end: settling) > observe
        recover-retry  epilog (undo end: draining) > cancel look
        ok             epilog (undo end: settling) > observe
        ok             poweroff [step-failed] | operation 4 failed: refused
    "#]],
    );
}

#[test]
fn a_delete_is_not_taken_back() {
    check(
        "deploy; drive; delete; recover-undo; recover-failure; recover-retry; ok; run",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            delete         epilog (remove: calling) > remove
            recover-undo   refused busy: BeingDeleted
            recover-failure refused busy: BeingDeleted
            recover-retry  epilog (remove: draining) > cancel domain
            ok             epilog (remove: calling) > remove
              remove       epilog (drop-host: calling) > drop-host files
              drop-host    done [asked] | operation 3 succeeded
        "#]],
    );
}
