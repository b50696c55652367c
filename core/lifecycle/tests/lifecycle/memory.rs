//! Memory that was saved is not lost, whatever the hypervisor answers; memory that nobody will use
//! is removed.

use crate::script::{Stage, check, check_on};
use expect_test::expect;

#[test]
fn a_save_that_is_refused_because_it_was_done_is_asked_for_again() {
    check(
        "deploy; drive; suspend; do; refused; ok; tick; ok; memory",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        suspend        save (save: calling) > save
        refused        save (save: settling) > observe
        ok             save (save: backoff)
        tick           save (save: calling) > save
        ok             suspended [asked] | operation 3 succeeded
        memory         Some((true, false))
    "#]],
    );
}

#[test]
fn a_move_goes_on_after_a_save_that_was_done_and_refused() {
    check(
        "deploy; drive; migrate@2; do; refused; ok; tick; run; memory",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        migrate@2      save (save: calling) > save
        refused        save (save: settling) > observe
        ok             save (save: backoff)
        tick           save (save: calling) > save
          save         migrate (remove: calling) > remove
          remove       migrate (copy-across: calling) > copy-across disk:vda
          copy-across  migrate (copy-across: calling) > copy-across recovery
          copy-across  boot (restore: calling) > restore
          restore      boot (unpause: calling) > unpause
          unpause      boot (drop-recovery: calling) > drop-recovery recovery
          drop-recovery migrate (drop-other: calling) > drop-host files
          drop-host    running [asked] | operation 3 succeeded
        memory         None
    "#]],
    );
}

#[test]
fn a_stop_goes_on_after_a_save_that_was_done_and_refused() {
    check(
        "deploy; drive; stop; do; refused; ok; tick; run; memory",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        stop           save (save: calling) > save
        refused        save (save: settling) > observe
        ok             save (save: backoff)
        tick           save (save: calling) > save
          save         epilog (remove: calling) > remove
          remove       epilog (copy-out: calling) > copy-out disk:vda
          copy-out     epilog (copy-out: calling) > copy-out recovery
          copy-out     epilog (drop-host: calling) > drop-host files
          drop-host    stopped [asked] | operation 3 succeeded
        memory         Some((true, false))
    "#]],
    );
}

#[test]
fn a_save_that_is_refused_leaves_the_guest_as_it_is() {
    check(
        "deploy; drive; suspend; refused; ok; memory; unused",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        suspend        save (save: calling) > save
        refused        save (save: settling) > observe
        ok             running [step-failed] | operation 3 failed: refused
        memory         None
        unused         ["memory-3.save"]
    "#]],
    );
}

#[test]
fn a_guest_that_ended_before_it_was_saved_is_off() {
    check(
        "deploy; drive; suspend; guest-off; gone; ok; memory; unused",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        suspend        save (save: calling) > save
        gone           save (save: settling) > observe
        ok             poweroff [guest] | operation 3 failed: gone
        memory         None
        unused         ["memory-3.save"]
    "#]],
    );
}

#[test]
fn a_save_that_is_refused_for_ever_ends_at_its_deadline() {
    check(
        "deploy; drive; suspend; off; refused; ok; wait:300; refused; ok; memory",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        suspend        save (save: calling) > save
        refused        save (save: settling) > observe
        ok             save (save: backoff)
        wait:300       save (save: calling) > save
        refused        save (save: settling) > observe
        ok             poweroff [step-failed] | operation 3 failed: refused
        memory         None
    "#]],
    );
}

#[test]
fn a_save_that_ends_while_its_host_is_away_is_found_when_it_is_back() {
    check(
        "deploy; drive; suspend; do; host-gone; lost; wait:600; run; tick; run; tick; run; tick; run; tick; run; host-back; look; memory; resume; run",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            suspend        save (save: calling) > save
            lost           save (save: backoff)
            wait:600       save (save: calling) > save
              save         save (save: settling) > observe
              observe      save (save: blind)
            tick           save (save: settling) > observe
              observe      save (save: blind)
            tick           save (save: settling) > observe
              observe      save (save: blind)
            tick           save (save: settling) > observe
              observe      save (save: blind)
            tick           save (save: settling) > observe
              observe      unknown [cannot-ask] | operation 3 failed: unreachable
            look           suspended [seen-again]
            memory         Some((true, false))
            resume         boot (restore: calling) > restore
              restore      boot (unpause: calling) > unpause
              unpause      boot (drop-recovery: calling) > drop-recovery recovery
              drop-recovery running [asked] | operation 4 succeeded
        "#]],
    );
}

#[test]
fn a_guest_that_was_saved_while_its_host_was_away_is_not_booted_anew() {
    check(
        "deploy; drive; suspend; do; host-gone; lost; wait:600; run; tick; run; tick; run; tick; run; tick; run; host-back; resume; run; memory",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            suspend        save (save: calling) > save
            lost           save (save: backoff)
            wait:600       save (save: calling) > save
              save         save (save: settling) > observe
              observe      save (save: blind)
            tick           save (save: settling) > observe
              observe      save (save: blind)
            tick           save (save: settling) > observe
              observe      save (save: blind)
            tick           save (save: settling) > observe
              observe      save (save: blind)
            tick           save (save: settling) > observe
              observe      unknown [cannot-ask] | operation 3 failed: unreachable
            resume         boot (restore: calling) > restore
              restore      boot (unpause: calling) > unpause
              unpause      boot (drop-recovery: calling) > drop-recovery recovery
              drop-recovery running [asked] | operation 4 succeeded
            memory         None
        "#]],
    );
}

#[test]
fn memory_that_somebody_went_on_without_is_removed() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; suspend; drive; started; look; memory; unused; sweep@1; drop-memory@1; unused",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            suspend        save (save: calling) > save
            look           running [started-outside]
            memory         None
            unused         ["memory-3.save"]
            sweep@1        nothing is swept
            drop-memory@1  running [started-outside]
            unused         []
        "#]],
    );
}

#[test]
fn memory_that_could_not_be_removed_at_its_end_is_removed_later() {
    check(
        "deploy; drive; suspend; drive; resume; ok; ok; refused; ok; unused; drop-memory@1; unused",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        suspend        save (save: calling) > save
        resume         boot (restore: calling) > restore
        ok             boot (unpause: calling) > unpause
        ok             boot (drop-recovery: calling) > drop-recovery recovery
        refused        boot (drop-recovery: settling) > observe
        ok             running [step-failed] | operation 4 failed: refused
        unused         ["memory-3.save"]
        drop-memory@1  running [step-failed]
        unused         []
    "#]],
    );
}

#[test]
fn memory_that_the_hypervisor_keeps_is_newer_than_the_file() {
    check(
        "deploy; drive; suspend; drive; kept; look; memory; resume; drive",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            suspend        save (save: calling) > save
            look           poweroff [saved-outside]
            memory         None
            resume         boot (boot: calling) > deploy
        "#]],
    );
}

#[test]
fn memory_that_the_hypervisor_keeps_does_not_end_a_save() {
    check(
        "deploy; drive; suspend; do; host-gone; lost; wait:600; run; tick; run; tick; run; tick; run; tick; run; host-back; kept; look; memory",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            suspend        save (save: calling) > save
            lost           save (save: backoff)
            wait:600       save (save: calling) > save
              save         save (save: settling) > observe
              observe      save (save: blind)
            tick           save (save: settling) > observe
              observe      save (save: blind)
            tick           save (save: settling) > observe
              observe      save (save: blind)
            tick           save (save: settling) > observe
              observe      save (save: blind)
            tick           save (save: settling) > observe
              observe      unknown [cannot-ask] | operation 3 failed: unreachable
            look           poweroff [saved-outside]
            memory         None
        "#]],
    );
}

#[test]
fn memory_that_the_hypervisor_keeps_is_told_of() {
    check(
        "deploy; drive; kept; look; memory",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        look           poweroff [saved-outside]
        memory         None
    "#]],
    );
}
