//! A VM that moves, and an operator who says what happened, or wants it back.

use crate::script::{Stage, check, check_on};
use expect_test::expect;

#[test]
fn recover_in_each_step() {
    check(
        "deploy; drive; wait:99; migrate@2; ok; recover-success; recover-retry; ok; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            wait:99        running [asked]
            migrate@2      save (save: calling) > save
            ok             migrate (remove: calling) > remove
            recover-success refused contradicted: GoalUnseen { goal: Absent, seen: Off }
            recover-retry  migrate (remove: draining) > cancel domain
            ok             migrate (remove: calling) > remove
              remove       migrate (copy-across: calling) > copy-across disk:vda
              copy-across  migrate (copy-across: calling) > copy-across recovery
              copy-across  boot (restore: calling) > restore
              restore      boot (unpause: calling) > unpause
              unpause      boot (drop-recovery: calling) > drop-recovery recovery
              drop-recovery migrate (drop-other: calling) > drop-host files
              drop-host    running [asked] | operation 3 succeeded
            where          at 2g2 | domains: 2 running | files: 2
        "#]],
    );
}

#[test]
fn a_copy_is_not_believed() {
    check(
        "deploy; drive; wait:99; migrate@2; ok; ok; recover-success; recover-failure; ok; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            wait:99        running [asked]
            migrate@2      save (save: calling) > save
            ok             migrate (remove: calling) > remove
            ok             migrate (copy-across: calling) > copy-across disk:vda
            recover-success refused contradicted: Uncheckable { step: CopyAcross }
            recover-failure migrate (copy-across: draining) > cancel disk:vda
            ok             boot (undo restore: calling) > restore
              restore      boot (undo unpause: calling) > unpause
              unpause      boot (undo drop-recovery: calling) > drop-recovery recovery
              drop-recovery migrate (undo drop-other: calling) > drop-host files
              drop-host    migrate (undo end: settling) > observe
              observe      running [step-failed] | operation 3 failed: operator
            where          at 1g1 | domains: 1 running | files: 1
        "#]],
    );
}

#[test]
fn undo_by_the_operator_while_it_copies() {
    check(
        "deploy; drive; wait:99; migrate@2; ok; ok; recover-undo; ok; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            wait:99        running [asked]
            migrate@2      save (save: calling) > save
            ok             migrate (remove: calling) > remove
            ok             migrate (copy-across: calling) > copy-across disk:vda
            recover-undo   migrate (copy-across: draining) > cancel disk:vda
            ok             boot (undo restore: calling) > restore
              restore      boot (undo unpause: calling) > unpause
              unpause      boot (undo drop-recovery: calling) > drop-recovery recovery
              drop-recovery migrate (undo drop-other: calling) > drop-host files
              drop-host    migrate (undo end: settling) > observe
              observe      running [step-failed] | operation 3 failed: undone
            where          at 1g1 | domains: 1 running | files: 1
        "#]],
    );
}

#[test]
fn undo_by_the_operator_while_it_restores() {
    check(
        "deploy; drive; wait:99; migrate@2; ok; ok; ok; ok; recover-undo; ok; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            wait:99        running [asked]
            migrate@2      save (save: calling) > save
            ok             migrate (remove: calling) > remove
            ok             migrate (copy-across: calling) > copy-across disk:vda
            ok             migrate (copy-across: calling) > copy-across recovery
            ok             boot (restore: calling) > restore
            recover-undo   boot (restore: draining) > cancel domain
            ok             migrate (undo remove: calling) > remove
              remove       boot (undo restore: calling) > restore
              restore      boot (undo unpause: calling) > unpause
              unpause      boot (undo drop-recovery: calling) > drop-recovery recovery
              drop-recovery migrate (undo drop-other: calling) > drop-host files
              drop-host    migrate (undo end: settling) > observe
              observe      running [step-failed] | operation 3 failed: undone
            where          at 1g3 | domains: 1 running | files: 1
        "#]],
    );
}

#[test]
fn undo_by_the_operator_while_it_runs_there() {
    check(
        "deploy; drive; wait:99; migrate@2; ok; ok; ok; ok; ok; recover-undo; ok; recover-undo; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            wait:99        running [asked]
            migrate@2      save (save: calling) > save
            ok             migrate (remove: calling) > remove
            ok             migrate (copy-across: calling) > copy-across disk:vda
            ok             migrate (copy-across: calling) > copy-across recovery
            ok             boot (restore: calling) > restore
            ok             boot (unpause: calling) > unpause
            recover-undo   refused contradicted: NoWayBack { restored: false }
            ok             boot (drop-recovery: calling) > drop-recovery recovery
            recover-undo   refused contradicted: NoWayBack { restored: false }
              drop-recovery migrate (drop-other: calling) > drop-host files
              drop-host    running [asked] | operation 3 succeeded
            where          at 2g2 | domains: 2 running | files: 2
        "#]],
    );
}

#[test]
fn undo_by_the_operator_of_a_live_one() {
    check(
        "deploy; drive; wait:99; migrate-live@2; ok; recover-undo; unknown; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            wait:99        running [asked]
            migrate-live@2 migrate (prepare-other: calling) > prepare disk:vda
            ok             migrate (migrate: calling) > migrate
            recover-undo   migrate (migrate: draining) > cancel domain
            unknown        migrate (migrate: settling) > observe
              observe      migrate (undo remove-other: calling) > remove
              remove       boot (undo unpause: calling) > unpause
              unpause      migrate (undo drop-other: calling) > drop-host files
              drop-host    migrate (undo end: settling) > observe
              observe      running [step-failed] | operation 3 failed: operator
            where          at 1g1 | domains: 1 running | files: 1
        "#]],
    );
}

#[test]
fn undo_by_the_operator_of_a_live_one_that_has_arrived() {
    check(
        "deploy; drive; wait:99; migrate-live@2; ok; ok; recover-undo; ok; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            wait:99        running [asked]
            migrate-live@2 migrate (prepare-other: calling) > prepare disk:vda
            ok             migrate (migrate: calling) > migrate
            ok             migrate (migrate: confirming) > observe
            recover-undo   migrate (migrate: draining) > cancel look
            ok             migrate (migrate: settling) > observe
              observe      unknown [cannot-ask] | operation 3 failed: operator
            where          at 1g1 other 2g2 (domain) | domains: 2 running | files: 1 2
        "#]],
    );
}

#[test]
fn success_of_a_live_one_by_the_operator() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; wait:99; migrate-live@2; recover-success; do; recover-success!; unknown; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            wait:99        running [asked]
            migrate-live@2 migrate (migrate: calling) > migrate
            recover-success refused cannot-ask: OtherHostUnseen
            recover-success! migrate (migrate: draining) > cancel domain
            unknown        migrate (remove-other: calling) > remove
              remove       running [asked] | operation 3 succeeded
            where          at 2g2 | domains: 2 running | files: 0
        "#]],
    );
}

#[test]
fn boot_sends_a_hanging_start_again() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; wait:99; migrate-poweroff-hard@2; ok; ok; boot; ok; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            wait:99        running [asked]
            migrate-poweroff-hard@2 shutdown (power-off: calling) > destroy
            ok             migrate (remove: calling) > remove
            ok             boot (boot: calling) > deploy
            boot           boot (boot: draining) > cancel domain
            ok             boot (boot: calling) > deploy
              deploy       running [asked] | operation 3 succeeded
            where          at 2g2 | domains: 2 running | files: 0
        "#]],
    );
}
