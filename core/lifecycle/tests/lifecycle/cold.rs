//! `resume --cold`: a guest whose saved memory cannot be restored starts from its disks.

use crate::script::{Stage, check, check_on};
use expect_test::expect;

#[test]
fn a_suspended_vm_starts_from_its_disks() {
    check(
        "deploy; drive; suspend; drive; resume; refused; run; why; resume-cold; destroys; run; memory; resume",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            suspend        save (save: calling) > save
            resume         boot (restore: calling) > restore
            refused        epilog (undo remove: calling) > remove
              remove       epilog (undo end: settling) > observe
              observe      suspended [step-failed] | operation 4 failed: refused
            why            [Resume]
            resume-cold    prolog (drop-recovery: calling) > drop-recovery recovery
            destroys       saved memory
              drop-recovery boot (boot: calling) > deploy
              deploy       running [asked] | operation 5 succeeded
            memory         None
            resume         running [asked] | already so
        "#]],
    );
}

#[test]
fn one_that_was_paused_at_the_hypervisor_is_switched_off_first() {
    check(
        "deploy; drive; paused; look; resume-cold; destroys; run",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        look           suspended [external]
        resume-cold    shutdown (power-off: calling) > destroy
        destroys       saved memory
          destroy      boot (boot: calling) > deploy
          deploy       running [asked] | operation 3 succeeded
    "#]],
    );
}

#[test]
fn memory_that_cannot_even_be_removed_is_no_reason_not_to_start() {
    check(
        "deploy; drive; suspend; drive; resume-cold; refused; run; memory; poweroff-hard; drive; resume; run",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        suspend        save (save: calling) > save
        resume-cold    prolog (drop-recovery: calling) > drop-recovery recovery
        refused        boot (boot: calling) > deploy
          deploy       running [asked] | operation 4 succeeded
        memory         None
        poweroff-hard  shutdown (power-off: calling) > destroy
        resume         boot (boot: calling) > deploy
          deploy       running [asked] | operation 6 succeeded
    "#]],
    );
}

#[test]
fn a_guest_that_does_not_start_is_off_and_has_no_memory() {
    check(
        "deploy; drive; suspend; drive; resume-cold; ok; refused; run; memory; resume; run",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        suspend        save (save: calling) > save
        resume-cold    prolog (drop-recovery: calling) > drop-recovery recovery
        ok             boot (boot: calling) > deploy
        refused        epilog (undo remove: calling) > remove
          remove       epilog (undo end: settling) > observe
          observe      poweroff [step-failed] | operation 4 failed: refused
        memory         None
        resume         boot (boot: calling) > deploy
          deploy       running [asked] | operation 5 succeeded
    "#]],
    );
}

#[test]
fn a_stopped_vm_forgets_its_memory_and_is_placed() {
    check(
        "deploy; drive; stop; drive; resume-cold; destroys; run; memory; deploy@2; run; place",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        stop           save (save: calling) > save
        resume-cold    prolog (drop-recovery: calling) > drop-recovery recovery
        destroys       saved memory
          drop-recovery pending [asked] | operation 4 succeeded
        memory         None
        deploy@2       prolog (copy-in: calling) > copy-in disk:vda
          copy-in      prolog (drop-home: calling) > drop-home files
          drop-home    boot (boot: calling) > deploy
          deploy       running [asked] | operation 5 succeeded
        place          Some(2) host=true home=false placed=2
    "#]],
    );
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; stop; drive; resume-cold; run; memory; deploy@2; run; place",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            stop           save (save: calling) > save
            resume-cold    prolog (drop-recovery: calling) > drop-recovery recovery
              drop-recovery pending [asked] | operation 4 succeeded
            memory         None
            deploy@2       boot (boot: calling) > deploy
              deploy       running [asked] | operation 5 succeeded
            place          Some(2) host=true home=false placed=2
        "#]],
    );
    check(
        "deploy; drive; undeploy-hard; drive; resume-cold; destroys; deploy; drive",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            undeploy-hard  shutdown (power-off: calling) > destroy
            resume-cold    refused wrong-state: WrongState { state: Undeployed }
            destroys       nothing was decided
            deploy         prolog (copy-in: calling) > copy-in disk:vda
        "#]],
    );
}

#[test]
fn a_cold_start_of_a_stopped_vm_is_taken_back() {
    check(
        "deploy; drive; stop; drive; resume-cold; recover-undo; ok; memory",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        stop           save (save: calling) > save
        resume-cold    prolog (drop-recovery: calling) > drop-recovery recovery
        recover-undo   prolog (drop-recovery: draining) > cancel recovery
        ok             undeployed [step-failed] | operation 4 failed: undone
        memory         None
    "#]],
    );
}

#[test]
fn a_placement_that_failed_at_the_memory_goes_on_without_it() {
    check(
        "deploy; drive; stop; drive; resume; deploy@2; go:3; refused; why; resume-cold; destroys; run; memory",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            stop           save (save: calling) > save
            resume         pending [asked] | operation 4 succeeded
            deploy@2       prolog (copy-in: calling) > copy-in disk:vda
            go:3           boot (restore: calling) > restore
            refused        failed [step-failed] | operation 5 failed: refused
            why            [Recovery { cold: true }]
            resume-cold    boot (boot: calling) > deploy
            destroys       saved memory
              deploy       running [asked] | operation 6 succeeded
            memory         None
        "#]],
    );
    // The file is gone at the front end already.
    check(
        "deploy; drive; stop; drive; resume; deploy; ok; gone; resume-cold; run; memory",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            stop           save (save: calling) > save
            resume         pending [asked] | operation 4 succeeded
            deploy         prolog (copy-in: calling) > copy-in disk:vda
            ok             prolog (copy-in: calling) > copy-in recovery
            gone           failed [step-failed] | operation 5 failed: gone
            resume-cold    prolog (copy-in: calling) > copy-in disk:vda
              copy-in      prolog (drop-home: calling) > drop-home files
              drop-home    boot (boot: calling) > deploy
              deploy       running [asked] | operation 6 succeeded
            memory         None
        "#]],
    );
}

#[test]
fn a_migration_that_could_restore_at_neither_host_goes_on_without_memory() {
    check(
        "deploy; drive; migrate@2; go:4; refused; go:1; refused; why; resume-cold; destroys; run; memory; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate@2      save (save: calling) > save
            go:4           boot (restore: calling) > restore
            refused        migrate (undo remove: calling) > remove
            go:1           boot (undo restore: calling) > restore
            refused        failed [step-failed] | operation 3 failed: refused
            why            [Recovery { cold: true }]
            resume-cold    boot (undo boot: calling) > deploy
            destroys       saved memory
              deploy       migrate (undo drop-other: calling) > drop-host files
              drop-host    migrate (undo end: settling) > observe
              observe      running [step-failed] | operation 4 succeeded
            memory         None
            where          at 1g3 | domains: 1 running | files: 1
        "#]],
    );
}

#[test]
fn what_failed_elsewhere_is_not_started_cold() {
    check(
        "deploy; refused; resume-cold",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            refused        failed [step-failed] | operation 2 failed: refused
            resume-cold    refused wrong-state: FailedOtherwise
        "#]],
    );
    check(
        "deploy; drive; suspend; drive; stop; ok; refused; resume-cold",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            suspend        save (save: calling) > save
            stop           epilog (remove: calling) > remove
            ok             epilog (copy-out: calling) > copy-out disk:vda
            refused        failed [step-failed] | operation 4 failed: refused
            resume-cold    refused wrong-state: FailedOtherwise
        "#]],
    );
    check(
        "resume-cold; deploy; drive; resume-cold",
        expect![[r#"
            resume-cold    refused wrong-state: WrongState { state: Pending }
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            resume-cold    running [asked] | already so
        "#]],
    );
}
