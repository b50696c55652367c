//! A VM that moves saved, or switched off: each step fails, is lost, or is cut by a restart.

use crate::script::{Stage, check, check_on};
use expect_test::expect;

#[test]
fn save_refused() {
    check(
        "deploy; drive; migrate@2; refused; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate@2      save (save: calling) > save
            refused        save (save: settling) > observe
              observe      running [step-failed] | operation 3 failed: refused
            where          at 1g1 | domains: 1 running | files: 1
        "#]],
    );
}

#[test]
fn remove_refused() {
    check(
        "deploy; drive; migrate@2; ok; refused; run; where; memory",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate@2      save (save: calling) > save
            ok             migrate (remove: calling) > remove
            refused        boot (undo restore: calling) > restore
              restore      boot (undo unpause: calling) > unpause
              unpause      boot (undo drop-recovery: calling) > drop-recovery recovery
              drop-recovery boot (undo end: settling) > observe
              observe      running [step-failed] | operation 3 failed: refused
            where          at 1g1 | domains: 1 running | files: 1
            memory         None
        "#]],
    );
}

#[test]
fn copy_refused() {
    check(
        "deploy; drive; migrate@2; ok; ok; refused; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate@2      save (save: calling) > save
            ok             migrate (remove: calling) > remove
            ok             migrate (copy-across: calling) > copy-across disk:vda
            refused        boot (undo restore: calling) > restore
              restore      boot (undo unpause: calling) > unpause
              unpause      boot (undo drop-recovery: calling) > drop-recovery recovery
              drop-recovery migrate (undo drop-other: calling) > drop-host files
              drop-host    migrate (undo end: settling) > observe
              observe      running [step-failed] | operation 3 failed: refused
            where          at 1g1 | domains: 1 running | files: 1
        "#]],
    );
}

#[test]
fn copy_of_the_memory_refused() {
    check(
        "deploy; drive; migrate@2; ok; ok; ok; refused; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate@2      save (save: calling) > save
            ok             migrate (remove: calling) > remove
            ok             migrate (copy-across: calling) > copy-across disk:vda
            ok             migrate (copy-across: calling) > copy-across recovery
            refused        boot (undo restore: calling) > restore
              restore      boot (undo unpause: calling) > unpause
              unpause      boot (undo drop-recovery: calling) > drop-recovery recovery
              drop-recovery migrate (undo drop-other: calling) > drop-host files
              drop-host    migrate (undo end: settling) > observe
              observe      running [step-failed] | operation 3 failed: refused
            where          at 1g1 | domains: 1 running | files: 1
        "#]],
    );
}

#[test]
fn copy_refused_of_a_suspended_one() {
    check(
        "deploy; drive; suspend; drive; migrate@2; ok; refused; run; where; memory; resume; drive",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            suspend        save (save: calling) > save
            migrate@2      migrate (remove: calling) > remove
            ok             migrate (copy-across: calling) > copy-across disk:vda
            refused        migrate (undo drop-other: calling) > drop-host files
              drop-host    migrate (undo end: settling) > observe
              observe      suspended [step-failed] | operation 4 failed: refused
            where          at 1g1 | domains: | files: 1
            memory         Some((true, false))
            resume         boot (restore: calling) > restore
        "#]],
    );
}

#[test]
fn copy_refused_of_one_that_is_off() {
    check(
        "deploy; drive; poweroff-hard; drive; migrate@2; ok; refused; run; where; resume; drive",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            poweroff-hard  shutdown (power-off: calling) > destroy
            migrate@2      migrate (remove: calling) > remove
            ok             migrate (copy-across: calling) > copy-across disk:vda
            refused        migrate (undo drop-other: calling) > drop-host files
              drop-host    migrate (undo end: settling) > observe
              observe      poweroff [step-failed] | operation 4 failed: refused
            where          at 1g1 | domains: | files: 1
            resume         boot (boot: calling) > deploy
        "#]],
    );
}

#[test]
fn copy_refused_and_the_other_host_gone() {
    check(
        "deploy; drive; migrate@2; ok; ok; refused; host-gone@2; run; drive; where; go:40; where; host-back@2; sweep@2; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate@2      save (save: calling) > save
            ok             migrate (remove: calling) > remove
            ok             migrate (copy-across: calling) > copy-across disk:vda
            refused        boot (undo restore: calling) > restore
              restore      boot (undo unpause: calling) > unpause
              unpause      boot (undo drop-recovery: calling) > drop-recovery recovery
              drop-recovery migrate (undo drop-other: calling) > drop-host files
              drop-host    migrate (undo drop-other: backoff)
            where          at 1g1 other 2g2 | domains: 1 running | files: 1
            go:40          running [step-failed] | operation 3 failed: refused
            where          at 1g1 left 2g2 (files) | domains: 1 running | files: 1
            sweep@2        running [step-failed]
            where          at 1g1 | domains: 1 running | files: 1
        "#]],
    );
}

#[test]
fn restore_refused() {
    check(
        "deploy; drive; migrate@2; ok; ok; ok; ok; refused; run; where; place",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate@2      save (save: calling) > save
            ok             migrate (remove: calling) > remove
            ok             migrate (copy-across: calling) > copy-across disk:vda
            ok             migrate (copy-across: calling) > copy-across recovery
            ok             boot (restore: calling) > restore
            refused        migrate (undo remove: calling) > remove
              remove       boot (undo restore: calling) > restore
              restore      boot (undo unpause: calling) > unpause
              unpause      boot (undo drop-recovery: calling) > drop-recovery recovery
              drop-recovery migrate (undo drop-other: calling) > drop-host files
              drop-host    migrate (undo end: settling) > observe
              observe      running [step-failed] | operation 3 failed: refused
            where          at 1g3 | domains: 1 running | files: 1
            place          Some(3) host=true home=false placed=3
        "#]],
    );
}

#[test]
fn restore_refused_on_shared_storage() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; migrate@2; ok; ok; refused; run; where; place",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate@2      save (save: calling) > save
            ok             migrate (remove: calling) > remove
            ok             boot (restore: calling) > restore
            refused        migrate (undo remove: calling) > remove
              remove       boot (undo restore: calling) > restore
              restore      boot (undo unpause: calling) > unpause
              unpause      boot (undo drop-recovery: calling) > drop-recovery recovery
              drop-recovery boot (undo end: settling) > observe
              observe      running [step-failed] | operation 3 failed: refused
            where          at 1g3 | domains: 1 running | files: 0
            place          Some(3) host=true home=false placed=3
        "#]],
    );
}

#[test]
fn restore_refused_and_the_new_host_gone() {
    check(
        "deploy; drive; migrate@2; ok; ok; ok; ok; host-gone@2; refused; recover-retry; wait:99; wait:99; wait:99; wait:99; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate@2      save (save: calling) > save
            ok             migrate (remove: calling) > remove
            ok             migrate (copy-across: calling) > copy-across disk:vda
            ok             migrate (copy-across: calling) > copy-across recovery
            ok             boot (restore: calling) > restore
            refused        migrate (undo remove: calling) > remove
            recover-retry  migrate (undo remove: draining) > cancel domain
            wait:99        migrate (undo remove: draining)
            wait:99        migrate (undo remove: draining)
            wait:99        migrate (undo remove: draining)
            wait:99        migrate (undo remove: draining)
              remove       migrate (undo remove: calling) > remove
              remove       migrate (undo remove: confirming) > observe
              observe      migrate (undo remove: blind)
            where          at 2g2 other 1g1 | domains: | files: 1 2
        "#]],
    );
}

#[test]
fn unpause_refused() {
    check(
        "deploy; drive; migrate@2; ok; ok; ok; ok; ok; refused; run; where; memory; sweep@1; where; look; resume; run",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate@2      save (save: calling) > save
            ok             migrate (remove: calling) > remove
            ok             migrate (copy-across: calling) > copy-across disk:vda
            ok             migrate (copy-across: calling) > copy-across recovery
            ok             boot (restore: calling) > restore
            ok             boot (unpause: calling) > unpause
            refused        boot (unpause: settling) > observe
              observe      suspended [external] | operation 3 failed: refused
            where          at 2g2 left 1g1 (files) | domains: 2 paused | files: 1 2
            memory         None
            sweep@1        suspended [external]
            where          at 2g2 | domains: 2 paused | files: 2
            look           suspended [external]
            resume         boot (unpause: calling) > unpause
              unpause      running [asked] | operation 4 succeeded
        "#]],
    );
}

#[test]
fn boot_refused() {
    check(
        "deploy; drive; migrate-poweroff-hard@2; ok; ok; ok; refused; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-poweroff-hard@2 shutdown (power-off: calling) > destroy
            ok             migrate (remove: calling) > remove
            ok             migrate (copy-across: calling) > copy-across disk:vda
            ok             boot (boot: calling) > deploy
            refused        migrate (undo remove: calling) > remove
              remove       boot (undo boot: calling) > deploy
              deploy       migrate (undo drop-other: calling) > drop-host files
              drop-host    migrate (undo end: settling) > observe
              observe      running [step-failed] | operation 3 failed: refused
            where          at 1g3 | domains: 1 running | files: 1
        "#]],
    );
}

#[test]
fn boot_and_the_way_back_refused() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; migrate-poweroff-hard@2; ok; ok; refused; refused; where; recover-retry; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-poweroff-hard@2 shutdown (power-off: calling) > destroy
            ok             migrate (remove: calling) > remove
            ok             boot (boot: calling) > deploy
            refused        migrate (undo remove: calling) > remove
            refused        failed [step-failed] | operation 3 failed: refused
            where          at 2g2 other 1g1 | domains: | files: 0
            recover-retry  migrate (undo remove: calling) > remove
              remove       boot (undo boot: calling) > deploy
              deploy       boot (undo end: settling) > observe
              observe      running [step-failed] | operation 4 succeeded
            where          at 1g3 | domains: 1 running | files: 0
        "#]],
    );
}

#[test]
fn boot_refused_there_and_here() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; migrate-poweroff-hard@2; ok; ok; refused; ok; refused; where; recover-retry; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-poweroff-hard@2 shutdown (power-off: calling) > destroy
            ok             migrate (remove: calling) > remove
            ok             boot (boot: calling) > deploy
            refused        migrate (undo remove: calling) > remove
            ok             boot (undo boot: calling) > deploy
            refused        failed [step-failed] | operation 3 failed: refused
            where          at 1g3 other 2g2 | domains: | files: 0
            recover-retry  boot (undo boot: calling) > deploy
              deploy       boot (undo end: settling) > observe
              observe      running [step-failed] | operation 4 succeeded
            where          at 1g3 | domains: 1 running | files: 0
        "#]],
    );
}

#[test]
fn guest_ignores_the_press() {
    check(
        "deploy; drive; wait:99; ignores; migrate-poweroff@2; ok; wait:200; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            wait:99        running [asked]
            migrate-poweroff@2 shutdown (press-power: calling) > press-power
            ok             shutdown (press-power: waiting)
            wait:200       shutdown (press-power: confirming) > observe
              observe      running [step-failed] | operation 3 failed: guest-ignored
            where          at 1g1 | domains: 1 running | files: 1
        "#]],
    );
}

#[test]
fn what_was_left_is_not_dropped() {
    check(
        "deploy; drive; migrate@2; ok; ok; ok; ok; ok; ok; ok; refused; where; sweep@1; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate@2      save (save: calling) > save
            ok             migrate (remove: calling) > remove
            ok             migrate (copy-across: calling) > copy-across disk:vda
            ok             migrate (copy-across: calling) > copy-across recovery
            ok             boot (restore: calling) > restore
            ok             boot (unpause: calling) > unpause
            ok             boot (drop-recovery: calling) > drop-recovery recovery
            ok             migrate (drop-other: calling) > drop-host files
            refused        running [asked] | operation 3 succeeded
            where          at 2g2 left 1g1 (files) | domains: 2 running | files: 1 2
            sweep@1        running [asked]
            where          at 2g2 | domains: 2 running | files: 2
        "#]],
    );
}

#[test]
fn cold_of_a_vm_that_is_off_and_what_was_left_is_not_dropped() {
    check(
        "deploy; drive; poweroff-hard; drive; migrate@2; ok; ok; refused; where; sweep@1; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            poweroff-hard  shutdown (power-off: calling) > destroy
            migrate@2      migrate (remove: calling) > remove
            ok             migrate (copy-across: calling) > copy-across disk:vda
            ok             migrate (drop-other: calling) > drop-host files
            refused        poweroff [asked] | operation 4 succeeded
            where          at 2g2 left 1g1 (files) | domains: | files: 1 2
            sweep@1        poweroff [asked]
            where          at 2g2 | domains: | files: 2
        "#]],
    );
}
