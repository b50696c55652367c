//! Every kind of failure at the steps that start something: prolog, boot, restore, unpause, and
//! their rollback.

use crate::script::{Stage, check, check_on};
use expect_test::expect;

#[test]
fn prolog_fails_and_keeps_its_capacity() {
    check(
        "deploy; refused; place; why; deploy; delete; run",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            refused        failed [step-failed] | operation 2 failed: refused
            place          Some(1) host=true home=false placed=0
            why            [Recovery { cold: false }]
            deploy         refused wrong-state: WrongState { state: Failed }
            delete         epilog (remove: calling) > remove
              remove       epilog (drop-host: calling) > drop-host files
              drop-host    done [asked] | operation 4 succeeded
        "#]],
    );
}

#[test]
fn prolog_elsewhere() {
    check(
        "deploy; not-here; place",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        not-here       failed [step-failed] | operation 2 failed: not-here
        place          Some(1) host=true home=false placed=0
    "#]],
    );
}

#[test]
fn prolog_is_tried_again_until_its_deadline() {
    check(
        "deploy; retry; due; tick; retry; tick; lost; tick; ok; refused",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        retry          prolog (prepare-disks: backoff)
        due            in 100 ms
        tick           prolog (prepare-disks: calling) > prepare disk:vda
        retry          prolog (prepare-disks: backoff)
        tick           prolog (prepare-disks: calling) > prepare disk:vda
        lost           prolog (prepare-disks: backoff)
        tick           prolog (prepare-disks: calling) > prepare disk:vda
        ok             boot (boot: calling) > deploy
        refused        failed [step-failed] | operation 2 failed: refused
    "#]],
    );
}

#[test]
fn prolog_deadline() {
    check(
        "deploy; retry; wait:3599; retry; wait:2; retry",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        retry          prolog (prepare-disks: backoff)
        wait:3599      prolog (prepare-disks: calling) > prepare disk:vda
        retry          prolog (prepare-disks: backoff)
        wait:2         prolog (prepare-disks: calling) > prepare disk:vda
        retry          failed [step-failed] | operation 2 failed: retry
    "#]],
    );
}

#[test]
fn each_disk_has_the_whole_time() {
    check_on(
        Stage { disks: 2, shared: false },
        "deploy; wait:3500; ok; wait:3500; retry; tick; ok; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        wait:3500      prolog (prepare-disks: calling)
        ok             prolog (prepare-disks: calling) > prepare disk:vdb
        wait:3500      prolog (prepare-disks: calling)
        retry          prolog (prepare-disks: backoff)
        tick           prolog (prepare-disks: calling) > prepare disk:vdb
        ok             boot (boot: calling) > deploy
        ok             running [asked] | operation 2 succeeded
    "#]],
    );
}

#[test]
fn boot_fails() {
    check(
        "deploy; ok; refused; place; look; recover-retry; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        ok             boot (boot: calling) > deploy
        refused        failed [step-failed] | operation 2 failed: refused
        place          Some(1) host=true home=false placed=0
        look           failed [step-failed]
        recover-retry  boot (boot: calling) > deploy
        ok             running [asked] | operation 3 succeeded
    "#]],
    );
}

#[test]
fn boot_whose_answer_was_lost_is_looked_for() {
    check(
        "deploy; ok; lost; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        ok             boot (boot: calling) > deploy
        lost           boot (boot: confirming) > observe
        ok             running [asked] | operation 2 succeeded
    "#]],
    );
}

#[test]
fn boot_that_never_arrived_is_sent_again() {
    check(
        "deploy; ok; unknown; ok; tick; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        ok             boot (boot: calling) > deploy
        unknown        boot (boot: confirming) > observe
        ok             boot (boot: backoff)
        tick           boot (boot: calling) > deploy
        ok             running [asked] | operation 2 succeeded
    "#]],
    );
}

#[test]
fn boot_and_the_host_goes_away() {
    check(
        "deploy; ok; host-gone; ok; ok; tick; ok; wait:100; ok; tick; ok; tick; ok; why; host-back; look",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            ok             boot (boot: calling) > deploy
            ok             boot (boot: confirming) > observe
            ok             boot (boot: blind)
            tick           boot (boot: confirming) > observe
            ok             boot (boot: blind)
            wait:100       boot (boot: confirming) > observe
            ok             boot (boot: blind)
            tick           boot (boot: confirming) > observe
            ok             boot (boot: blind)
            tick           boot (boot: confirming) > observe
            ok             unknown [cannot-ask] | operation 2 failed: unreachable
            why            [Host { host: HostId(1) }]
            look           poweroff [seen-again]
        "#]],
    );
}

#[test]
fn boot_of_a_driver_that_crashes() {
    check(
        "deploy; ok; trap; ok; tick; trap; ok; tick; trap",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        ok             boot (boot: calling) > deploy
        trap           boot (boot: confirming) > observe
        ok             boot (boot: backoff)
        tick           boot (boot: calling) > deploy
        trap           boot (boot: confirming) > observe
        ok             boot (boot: backoff)
        tick           boot (boot: calling) > deploy
        trap           failed [step-failed] | operation 2 failed: driver-trap
    "#]],
    );
}

#[test]
fn boot_of_a_guest_that_switches_itself_off() {
    check(
        "deploy; ok; mute; do; guest-off; ok; ok",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            ok             boot (boot: calling) > deploy
            ok             boot (boot: confirming) > observe
            ok             poweroff [guest] | operation 2 failed: goal-not-met
        "#]],
    );
}

#[test]
fn boot_finds_a_higher_generation() {
    check(
        "deploy; ok; stale; why; look",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            ok             boot (boot: calling) > deploy
            stale          unknown [store-is-stale] | operation 2 failed: stale
            why            [PersonAtOwnDomain { host: HostId(1) }]
            look           poweroff [seen-again]
        "#]],
    );
}

#[test]
fn boot_finds_a_domain_that_is_not_ours() {
    check(
        "deploy; ok; mute; do; foreign; ok; ok; delete; ok",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            ok             boot (boot: calling) > deploy
            ok             boot (boot: confirming) > observe
            ok             failed [step-failed] | operation 2 failed: foreign
            delete         epilog (remove: calling) > remove
            ok             epilog (remove: backoff)
        "#]],
    );
}

#[test]
fn a_start_that_takes_long_is_waited_for() {
    check(
        "deploy; ok; mute; do; starting; ok; ok; why; due; tick; started; ok",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            ok             boot (boot: calling) > deploy
            ok             boot (boot: confirming) > observe
            ok             boot (boot: waiting)
            why            [Started]
            due            in 2.0 s
            tick           boot (boot: confirming) > observe
            ok             running [asked] | operation 2 succeeded
        "#]],
    );
}

#[test]
fn a_start_that_takes_too_long_has_failed() {
    check(
        "deploy; ok; do; starting; lost; ok; wait:100; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        ok             boot (boot: calling) > deploy
        lost           boot (boot: confirming) > observe
        ok             boot (boot: waiting)
        wait:100       boot (boot: confirming) > observe
        ok             failed [step-failed] | operation 2 failed: still-starting
    "#]],
    );
}

#[test]
fn nothing_is_concluded_while_the_hypervisor_is_at_it() {
    check(
        "deploy; drive; suspend; starting; refused; ok; tick; ok; started; tick; ok; memory",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            suspend        save (save: calling) > save
            refused        save (save: settling) > observe
            ok             save (save: blind)
            tick           save (save: settling) > observe
            ok             save (save: blind)
            tick           save (save: settling) > observe
            ok             running [step-failed] | operation 3 failed: refused
            memory         None
        "#]],
    );
}

#[test]
fn cancelled_boot() {
    check(
        "deploy; ok; cancelled",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        ok             boot (boot: calling) > deploy
        cancelled      failed [step-failed] | operation 2 failed: cancelled
    "#]],
    );
}

#[test]
fn resume_fails_and_is_back_where_it_was() {
    check(
        "deploy; drive; poweroff-hard; drive; resume; refused; run",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        poweroff-hard  shutdown (power-off: calling) > destroy
        resume         boot (boot: calling) > deploy
        refused        epilog (undo remove: calling) > remove
          remove       epilog (undo end: settling) > observe
          observe      poweroff [step-failed] | operation 4 failed: refused
    "#]],
    );
}

#[test]
fn rollback_fails_and_is_carried_on() {
    check(
        "deploy; drive; poweroff-hard; drive; resume; refused; refused; why; recover-retry; run",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            poweroff-hard  shutdown (power-off: calling) > destroy
            resume         boot (boot: calling) > deploy
            refused        epilog (undo remove: calling) > remove
            refused        failed [step-failed] | operation 4 failed: refused
            why            [Recovery { cold: false }]
            recover-retry  epilog (undo remove: calling) > remove
              remove       epilog (undo end: settling) > observe
              observe      poweroff [step-failed] | operation 5 succeeded
        "#]],
    );
}

#[test]
fn rollback_fails_and_its_undo_goes_on_too() {
    check(
        "deploy; drive; poweroff-hard; drive; resume; refused; refused; recover-undo; run",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        poweroff-hard  shutdown (power-off: calling) > destroy
        resume         boot (boot: calling) > deploy
        refused        epilog (undo remove: calling) > remove
        refused        failed [step-failed] | operation 4 failed: refused
        recover-undo   epilog (undo remove: calling) > remove
          remove       epilog (undo end: settling) > observe
          observe      poweroff [step-failed] | operation 5 succeeded
    "#]],
    );
}

#[test]
fn rollback_and_the_host_goes_away() {
    check(
        "deploy; refused; recover-undo; host-gone; ok; ok; wait:100; ok; tick; ok; tick; ok; host-back; recover-retry; run; place",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            refused        failed [step-failed] | operation 2 failed: refused
            recover-undo   epilog (undo remove: calling) > remove
            ok             epilog (undo remove: confirming) > observe
            ok             epilog (undo remove: blind)
            wait:100       epilog (undo remove: confirming) > observe
            ok             epilog (undo remove: blind)
            tick           epilog (undo remove: confirming) > observe
            ok             epilog (undo remove: blind)
            tick           epilog (undo remove: confirming) > observe
            ok             epilog (undo remove: blind)
            recover-retry  epilog (undo remove: calling) > remove
              remove       epilog (undo drop-host: calling) > drop-host files
              drop-host    pending [step-failed] | operation 3 succeeded
            place          None host=false home=false placed=0
        "#]],
    );
}
