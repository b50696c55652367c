//! A VM that is saved, restored or moved, or whose move has failed, is deleted, recreated or
//! forgotten.

use crate::script::{Stage, check, check_on};
use expect_test::expect;

#[test]
fn delete_overtakes_a_save() {
    check(
        "deploy; drive; wait:99; migrate@2; delete; ok; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            wait:99        running [asked]
            migrate@2      save (save: calling) > save
            delete         shutdown (power-off: calling) > destroy > cancel domain | operation 3 superseded by 4
            ok             shutdown (power-off: calling)
              destroy      epilog (remove: calling) > remove
              remove       epilog (remove-other: calling) > remove
              remove       epilog (drop-host: calling) > drop-host files
              drop-host    done [asked] | operation 4 succeeded
            where          at - | domains: | files:
        "#]],
    );
}

#[test]
fn delete_overtakes_a_copy() {
    check(
        "deploy; drive; wait:99; migrate@2; ok; ok; delete; ok; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            wait:99        running [asked]
            migrate@2      save (save: calling) > save
            ok             migrate (remove: calling) > remove
            ok             migrate (copy-across: calling) > copy-across disk:vda
            delete         shutdown (power-off: calling) > destroy > cancel disk:vda | operation 3 superseded by 4
            ok             shutdown (power-off: calling)
              destroy      epilog (remove: calling) > remove
              remove       epilog (remove-other: calling) > remove
              remove       epilog (drop-host: calling) > drop-host files
              drop-host    epilog (drop-other: calling) > drop-host files
              drop-host    done [asked] | operation 4 succeeded
            where          at - | domains: | files:
        "#]],
    );
}

#[test]
fn delete_overtakes_a_restore() {
    check(
        "deploy; drive; wait:99; migrate@2; ok; ok; ok; ok; delete; ok; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            wait:99        running [asked]
            migrate@2      save (save: calling) > save
            ok             migrate (remove: calling) > remove
            ok             migrate (copy-across: calling) > copy-across disk:vda
            ok             migrate (copy-across: calling) > copy-across recovery
            ok             boot (restore: calling) > restore
            delete         shutdown (power-off: calling) > destroy > cancel domain | operation 3 superseded by 4
            ok             shutdown (power-off: calling)
              destroy      epilog (remove: calling) > remove
              remove       epilog (remove-other: calling) > remove
              remove       epilog (drop-host: calling) > drop-host files
              drop-host    epilog (drop-other: calling) > drop-host files
              drop-host    done [asked] | operation 4 succeeded
            where          at - | domains: | files:
        "#]],
    );
}

#[test]
fn delete_overtakes_the_cleaning() {
    check(
        "deploy; drive; wait:99; migrate@2; ok; ok; ok; ok; ok; ok; ok; delete; ok; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            wait:99        running [asked]
            migrate@2      save (save: calling) > save
            ok             migrate (remove: calling) > remove
            ok             migrate (copy-across: calling) > copy-across disk:vda
            ok             migrate (copy-across: calling) > copy-across recovery
            ok             boot (restore: calling) > restore
            ok             boot (unpause: calling) > unpause
            ok             boot (drop-recovery: calling) > drop-recovery recovery
            ok             migrate (drop-other: calling) > drop-host files
            delete         shutdown (power-off: calling) > destroy > cancel files | operation 3 superseded by 4
            ok             shutdown (power-off: calling)
              destroy      epilog (remove: calling) > remove
              remove       epilog (remove-other: calling) > remove
              remove       epilog (drop-host: calling) > drop-host files
              drop-host    epilog (drop-other: calling) > drop-host files
              drop-host    done [asked] | operation 4 succeeded
            where          at - | domains: | files:
        "#]],
    );
}

#[test]
fn delete_overtakes_a_rollback() {
    check(
        "deploy; drive; wait:99; migrate@2; ok; ok; ok; ok; refused; ok; delete; ok; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            wait:99        running [asked]
            migrate@2      save (save: calling) > save
            ok             migrate (remove: calling) > remove
            ok             migrate (copy-across: calling) > copy-across disk:vda
            ok             migrate (copy-across: calling) > copy-across recovery
            ok             boot (restore: calling) > restore
            refused        migrate (undo remove: calling) > remove
            ok             boot (undo restore: calling) > restore
            delete         shutdown (power-off: calling) > destroy > cancel domain | operation 3 superseded by 4
            ok             shutdown (power-off: calling)
              destroy      epilog (remove: calling) > remove
              remove       epilog (remove-other: calling) > remove
              remove       epilog (drop-host: calling) > drop-host files
              drop-host    epilog (drop-other: calling) > drop-host files
              drop-host    done [asked] | operation 4 succeeded
            where          at - | domains: | files:
        "#]],
    );
}

#[test]
fn delete_overtakes_a_live_one() {
    check(
        "deploy; drive; wait:99; migrate-live@2; ok; delete; ok; ok; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            wait:99        running [asked]
            migrate-live@2 migrate (prepare-other: calling) > prepare disk:vda
            ok             migrate (migrate: calling) > migrate
            delete         shutdown (power-off: calling) > destroy > cancel domain | operation 3 superseded by 4
            ok             shutdown (power-off: calling)
            ok             epilog (remove: calling) > remove
              remove       epilog (remove-other: calling) > remove
              remove       epilog (drop-host: calling) > drop-host files
              drop-host    epilog (drop-other: calling) > drop-host files
              drop-host    done [asked] | operation 4 succeeded
            where          at - | domains: | files:
        "#]],
    );
}

#[test]
fn delete_overtakes_a_live_one_that_arrives_late() {
    check(
        "deploy; drive; wait:99; migrate-live@2; ok; delete; ok2; ok; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            wait:99        running [asked]
            migrate-live@2 migrate (prepare-other: calling) > prepare disk:vda
            ok             migrate (migrate: calling) > migrate
            delete         shutdown (power-off: calling) > destroy > cancel domain | operation 3 superseded by 4
            ok2            epilog (remove: draining)
            ok             epilog (remove: calling) > remove
              remove       epilog (remove-other: calling) > remove
              remove       epilog (drop-host: calling) > drop-host files
              drop-host    epilog (drop-other: calling) > drop-host files
              drop-host    done [asked] | operation 4 succeeded
            where          at - | domains: | files:
        "#]],
    );
}

#[test]
fn delete_overtakes_a_live_one_whose_answer_is_lost() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; wait:99; migrate-live@2; delete; do; ok2; unknown; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            wait:99        running [asked]
            migrate-live@2 migrate (migrate: calling) > migrate
            delete         shutdown (power-off: calling) > destroy > cancel domain | operation 3 superseded by 4
            ok2            epilog (remove: draining)
            unknown        epilog (remove: calling) > remove
              remove       epilog (remove-other: calling) > remove
              remove       epilog (drop-host: calling) > drop-host files
              drop-host    done [asked] | operation 4 succeeded
            where          at - | domains: | files:
        "#]],
    );
}

#[test]
fn delete_overtakes_a_live_one_and_the_new_host_is_gone() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; wait:99; migrate-live@2; do; host-gone@2; delete; ok2; ok; go:20; where; host-back; go:20; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            wait:99        running [asked]
            migrate-live@2 migrate (migrate: calling) > migrate
            delete         shutdown (power-off: calling) > destroy > cancel domain | operation 3 superseded by 4
            ok2            epilog (remove: draining)
            ok             epilog (remove: calling) > remove
            go:20          epilog (remove-other: confirming) > observe
            where          at 1g1 other 2g2 (domain) | domains: 2 running | files: 0
            go:20          done [asked] | operation 4 succeeded
            where          at - | domains: | files:
        "#]],
    );
}

#[test]
fn delete_overtakes_a_live_one_that_has_arrived() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; wait:99; migrate-live@2; ok; ok; delete; ok; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            wait:99        running [asked]
            migrate-live@2 migrate (migrate: calling) > migrate
            ok             migrate (migrate: confirming) > observe
            ok             migrate (remove-other: calling) > remove
            delete         shutdown (power-off: calling) > destroy > cancel domain | operation 3 superseded by 4
            ok             shutdown (power-off: calling)
              destroy      epilog (remove: calling) > remove
              remove       epilog (remove-other: calling) > remove
              remove       epilog (drop-host: calling) > drop-host files
              drop-host    done [asked] | operation 4 succeeded
            where          at - | domains: | files:
        "#]],
    );
}

#[test]
fn recreate_overtakes_a_live_one() {
    check(
        "deploy; drive; wait:99; migrate-live@2; ok; delete-recreate; ok; ok; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            wait:99        running [asked]
            migrate-live@2 migrate (prepare-other: calling) > prepare disk:vda
            ok             migrate (migrate: calling) > migrate
            delete-recreate shutdown (power-off: calling) > destroy > cancel domain | operation 3 superseded by 4
            ok             shutdown (power-off: calling)
            ok             epilog (remove: calling) > remove
              remove       epilog (remove-other: calling) > remove
              remove       epilog (drop-host: calling) > drop-host files
              drop-host    epilog (drop-other: calling) > drop-host files
              drop-host    pending [asked] | operation 4 succeeded
            where          at - | domains: | files:
        "#]],
    );
}

#[test]
fn a_failed_migration_is_deleted() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; wait:99; migrate-poweroff-hard@2; ok; ok; refused; refused; delete; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            wait:99        running [asked]
            migrate-poweroff-hard@2 shutdown (power-off: calling) > destroy
            ok             migrate (remove: calling) > remove
            ok             boot (boot: calling) > deploy
            refused        migrate (undo remove: calling) > remove
            refused        failed [step-failed] | operation 3 failed: refused
            delete         epilog (remove: calling) > remove
              remove       epilog (remove-other: calling) > remove
              remove       epilog (drop-host: calling) > drop-host files
              drop-host    done [asked] | operation 4 succeeded
            where          at - | domains: | files:
        "#]],
    );
}

#[test]
fn a_failed_migration_is_recreated() {
    check(
        "deploy; drive; wait:99; migrate-poweroff-hard@2; ok; ok; ok; refused; refused; delete-recreate; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            wait:99        running [asked]
            migrate-poweroff-hard@2 shutdown (power-off: calling) > destroy
            ok             migrate (remove: calling) > remove
            ok             migrate (copy-across: calling) > copy-across disk:vda
            ok             boot (boot: calling) > deploy
            refused        migrate (undo remove: calling) > remove
            refused        failed [step-failed] | operation 3 failed: refused
            delete-recreate epilog (remove: calling) > remove
              remove       epilog (remove-other: calling) > remove
              remove       epilog (drop-host: calling) > drop-host files
              drop-host    epilog (drop-other: calling) > drop-host files
              drop-host    pending [asked] | operation 4 succeeded
            where          at - | domains: | files:
        "#]],
    );
}

#[test]
fn a_failed_migration_is_forgotten() {
    check(
        "deploy; drive; wait:99; migrate-poweroff-hard@2; ok; ok; ok; refused; refused; host-gone; forget; where; host-back; sweep@1; sweep@2; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            wait:99        running [asked]
            migrate-poweroff-hard@2 shutdown (power-off: calling) > destroy
            ok             migrate (remove: calling) > remove
            ok             migrate (copy-across: calling) > copy-across disk:vda
            ok             boot (boot: calling) > deploy
            refused        migrate (undo remove: calling) > remove
            refused        failed [step-failed] | operation 3 failed: refused
            forget         done [asked] | operation 4 succeeded
            where          at - left 2g2 (files) left 1g1 (files) | domains: | files: 1 2
            sweep@1        done [asked]
            sweep@2        done [asked]
            where          at - | domains: | files:
        "#]],
    );
}
