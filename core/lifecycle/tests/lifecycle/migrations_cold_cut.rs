//! A VM that moves saved, or switched off: an answer of a step is lost, or the daemon is restarted
//! in it.

use crate::script::check;
use expect_test::expect;

#[test]
fn save_lost() {
    check(
        "deploy; drive; migrate@2; lost; tick; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate@2      save (save: calling) > save
            lost           save (save: backoff)
            tick           save (save: calling) > save
              save         migrate (remove: calling) > remove
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
fn remove_lost() {
    check(
        "deploy; drive; migrate@2; ok; lost; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate@2      save (save: calling) > save
            ok             migrate (remove: calling) > remove
            lost           migrate (remove: confirming) > observe
              observe      migrate (copy-across: calling) > copy-across disk:vda
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
fn copy_lost() {
    check(
        "deploy; drive; migrate@2; ok; ok; lost; tick; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate@2      save (save: calling) > save
            ok             migrate (remove: calling) > remove
            ok             migrate (copy-across: calling) > copy-across disk:vda
            lost           migrate (copy-across: backoff)
            tick           migrate (copy-across: calling) > copy-across disk:vda
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
fn restore_lost() {
    check(
        "deploy; drive; migrate@2; ok; ok; ok; ok; lost; tick; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate@2      save (save: calling) > save
            ok             migrate (remove: calling) > remove
            ok             migrate (copy-across: calling) > copy-across disk:vda
            ok             migrate (copy-across: calling) > copy-across recovery
            ok             boot (restore: calling) > restore
            lost           boot (restore: backoff)
            tick           boot (restore: calling) > restore
              restore      boot (unpause: calling) > unpause
              unpause      boot (drop-recovery: calling) > drop-recovery recovery
              drop-recovery migrate (drop-other: calling) > drop-host files
              drop-host    running [asked] | operation 3 succeeded
            where          at 2g2 | domains: 2 running | files: 2
        "#]],
    );
}

#[test]
fn unpause_lost() {
    check(
        "deploy; drive; migrate@2; ok; ok; ok; ok; ok; lost; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate@2      save (save: calling) > save
            ok             migrate (remove: calling) > remove
            ok             migrate (copy-across: calling) > copy-across disk:vda
            ok             migrate (copy-across: calling) > copy-across recovery
            ok             boot (restore: calling) > restore
            ok             boot (unpause: calling) > unpause
            lost           boot (unpause: confirming) > observe
              observe      boot (drop-recovery: calling) > drop-recovery recovery
              drop-recovery migrate (drop-other: calling) > drop-host files
              drop-host    running [asked] | operation 3 succeeded
            where          at 2g2 | domains: 2 running | files: 2
        "#]],
    );
}

#[test]
fn restart_in_each_step_before() {
    check(
        "deploy; drive; migrate@2; restart; ok; restart; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate@2      save (save: calling) > save
            restart        save (save: calling) > save
            ok             migrate (remove: calling) > remove
            restart        migrate (remove: confirming) > observe
              observe      migrate (remove: backoff)
            where          at 1g1 other 2g2 | domains: 1 off | files: 1
        "#]],
    );
}

#[test]
fn restart_in_save() {
    check(
        "deploy; drive; migrate@2; restart-after; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate@2      save (save: calling) > save
            restart-after  save (save: calling) > save
              save         migrate (remove: calling) > remove
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
fn restart_in_copy() {
    check(
        "deploy; drive; migrate@2; ok; ok; restart-after; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate@2      save (save: calling) > save
            ok             migrate (remove: calling) > remove
            ok             migrate (copy-across: calling) > copy-across disk:vda
            restart-after  migrate (copy-across: calling) > copy-across disk:vda
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
fn restart_in_restore() {
    check(
        "deploy; drive; migrate@2; ok; ok; ok; ok; restart-after; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate@2      save (save: calling) > save
            ok             migrate (remove: calling) > remove
            ok             migrate (copy-across: calling) > copy-across disk:vda
            ok             migrate (copy-across: calling) > copy-across recovery
            ok             boot (restore: calling) > restore
            restart-after  boot (restore: calling) > restore
              restore      boot (unpause: calling) > unpause
              unpause      boot (drop-recovery: calling) > drop-recovery recovery
              drop-recovery migrate (drop-other: calling) > drop-host files
              drop-host    running [asked] | operation 3 succeeded
            where          at 2g2 | domains: 2 running | files: 2
        "#]],
    );
}

#[test]
fn restart_in_rollback() {
    check(
        "deploy; drive; migrate@2; ok; ok; ok; ok; refused; restart; ok; restart; run; restart; where; run",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate@2      save (save: calling) > save
            ok             migrate (remove: calling) > remove
            ok             migrate (copy-across: calling) > copy-across disk:vda
            ok             migrate (copy-across: calling) > copy-across recovery
            ok             boot (restore: calling) > restore
            refused        migrate (undo remove: calling) > remove
            restart        migrate (undo remove: confirming) > observe
            ok             boot (undo restore: calling) > restore
            restart        boot (undo restore: calling) > restore
              restore      boot (undo unpause: calling) > unpause
              unpause      boot (undo drop-recovery: calling) > drop-recovery recovery
              drop-recovery migrate (undo drop-other: calling) > drop-host files
              drop-host    migrate (undo end: settling) > observe
              observe      running [step-failed] | operation 3 failed: refused
            restart        running [step-failed]
            where          at 1g3 | domains: 1 running | files: 1
        "#]],
    );
}
