//! Every kind of failure at the steps that bring back saved memory: restore, unpause, and the
//! removal of the memory file.

use crate::script::check;
use expect_test::expect;

#[test]
fn memory_does_not_count_as_used_while_it_is_being_restored() {
    check(
        "deploy; drive; suspend; drive; resume; do; starting; restart; ok; memory; paused; tick; ok; memory",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            suspend        save (save: calling) > save
            resume         boot (restore: calling) > restore
            restart        boot (restore: calling) > restore
            ok             boot (restore: waiting)
            memory         Some((true, false))
            tick           boot (restore: confirming) > observe
            ok             boot (unpause: calling) > unpause
            memory         Some((true, true))
        "#]],
    );
}

#[test]
fn a_restore_that_comes_to_nothing_leaves_its_memory() {
    check(
        "deploy; drive; suspend; drive; resume; do; starting; restart; ok; off; tick; ok; memory; tick; run",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            suspend        save (save: calling) > save
            resume         boot (restore: calling) > restore
            restart        boot (restore: calling) > restore
            ok             boot (restore: waiting)
            tick           boot (restore: confirming) > observe
            ok             boot (restore: backoff)
            memory         Some((true, false))
            tick           boot (restore: calling) > restore
              restore      boot (unpause: calling) > unpause
              unpause      boot (drop-recovery: calling) > drop-recovery recovery
              drop-recovery running [asked] | operation 4 succeeded
        "#]],
    );
}

#[test]
fn restore_fails_and_the_memory_is_kept() {
    check(
        "deploy; drive; suspend; drive; resume; refused; run; memory; resume; run",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        suspend        save (save: calling) > save
        resume         boot (restore: calling) > restore
        refused        epilog (undo remove: calling) > remove
          remove       epilog (undo end: settling) > observe
          observe      suspended [step-failed] | operation 4 failed: refused
        memory         Some((true, false))
        resume         boot (restore: calling) > restore
          restore      boot (unpause: calling) > unpause
          unpause      boot (drop-recovery: calling) > drop-recovery recovery
          drop-recovery running [asked] | operation 5 succeeded
    "#]],
    );
}

#[test]
fn restore_whose_answer_was_lost_is_sent_again() {
    check(
        "deploy; drive; suspend; drive; resume; lost; tick; run",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        suspend        save (save: calling) > save
        resume         boot (restore: calling) > restore
        lost           boot (restore: backoff)
        tick           boot (restore: calling) > restore
          restore      boot (unpause: calling) > unpause
          unpause      boot (drop-recovery: calling) > drop-recovery recovery
          drop-recovery running [asked] | operation 4 succeeded
    "#]],
    );
}

#[test]
fn unpause_fails_and_the_memory_is_never_used_again() {
    check(
        "deploy; drive; suspend; drive; resume; ok; memory; undefined; ok; ok; memory; resume; run",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        suspend        save (save: calling) > save
        resume         boot (restore: calling) > restore
        ok             boot (unpause: calling) > unpause
        memory         Some((true, true))
        ok             boot (unpause: settling) > observe
        ok             poweroff [step-failed] | operation 4 failed: no-domain
        memory         None
        resume         boot (boot: calling) > deploy
          deploy       running [asked] | operation 5 succeeded
    "#]],
    );
}

#[test]
fn unpause_refused_leaves_it_paused() {
    check(
        "deploy; drive; suspend; drive; resume; ok; refused; ok; memory; resume; run; memory",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        suspend        save (save: calling) > save
        resume         boot (restore: calling) > restore
        ok             boot (unpause: calling) > unpause
        refused        boot (unpause: settling) > observe
        ok             suspended [external] | operation 4 failed: refused
        memory         None
        resume         boot (unpause: calling) > unpause
          unpause      running [asked] | operation 5 succeeded
        memory         None
    "#]],
    );
}

#[test]
fn unpause_of_a_deploy_that_fails_is_no_failed_deploy() {
    check(
        "deploy; drive; stop; drive; resume; deploy; ok; ok; ok; ok; refused; ok; memory; place",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        stop           save (save: calling) > save
        resume         pending [asked] | operation 4 succeeded
        deploy         prolog (copy-in: calling) > copy-in disk:vda
        ok             prolog (copy-in: calling) > copy-in recovery
        ok             prolog (drop-home: calling) > drop-home files
        ok             boot (restore: calling) > restore
        ok             boot (unpause: calling) > unpause
        refused        boot (unpause: settling) > observe
        ok             suspended [external] | operation 5 failed: refused
        memory         None
        place          Some(2) host=true home=false placed=1
    "#]],
    );
}

#[test]
fn a_used_file_that_cannot_be_removed_harms_nobody() {
    check(
        "deploy; drive; suspend; drive; resume; ok; ok; refused; ok; memory",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        suspend        save (save: calling) > save
        resume         boot (restore: calling) > restore
        ok             boot (unpause: calling) > unpause
        ok             boot (drop-recovery: calling) > drop-recovery recovery
        refused        boot (drop-recovery: settling) > observe
        ok             running [step-failed] | operation 4 failed: refused
        memory         None
    "#]],
    );
}

#[test]
fn the_same_in_a_deploy() {
    check(
        "deploy; drive; stop; drive; resume; deploy; ok; ok; ok; ok; ok; refused; ok; memory",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        stop           save (save: calling) > save
        resume         pending [asked] | operation 4 succeeded
        deploy         prolog (copy-in: calling) > copy-in disk:vda
        ok             prolog (copy-in: calling) > copy-in recovery
        ok             prolog (drop-home: calling) > drop-home files
        ok             boot (restore: calling) > restore
        ok             boot (unpause: calling) > unpause
        ok             boot (drop-recovery: calling) > drop-recovery recovery
        refused        boot (drop-recovery: settling) > observe
        ok             running [step-failed] | operation 5 failed: refused
        memory         None
    "#]],
    );
}
