//! Time: deadlines, delays, and looks that must agree before a deadline counts.

use crate::script::check;
use expect_test::expect;

#[test]
fn a_guest_that_ignores_the_button_runs_on() {
    check(
        "ignores; deploy; drive; wait:9; poweroff; ok; why; wait:60; ok; wait:60; ok",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            wait:9         running [asked]
            poweroff       shutdown (press-power: calling) > press-power
            ok             shutdown (press-power: waiting)
            why            [GuestOff]
            wait:60        shutdown (press-power: confirming) > observe
            ok             shutdown (press-power: waiting)
            wait:60        shutdown (press-power: confirming) > observe
            ok             running [step-failed] | operation 3 failed: guest-ignored
        "#]],
    );
}

#[test]
fn at_the_deadline_a_look_decides() {
    check(
        "ignores; deploy; drive; wait:9; shutdown; ok; wait:300; open; guest-off; ok; run",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        wait:9         running [asked]
        shutdown       shutdown (press-power: calling) > press-power
        ok             shutdown (press-power: waiting)
        wait:300       shutdown (press-power: confirming) > observe
        open           [Observe]
        ok             epilog (remove: calling) > remove
          remove       epilog (drop-host: calling) > drop-host files
          drop-host    done [asked] | operation 3 succeeded
    "#]],
    );
}

#[test]
fn at_the_deadline_the_host_is_away() {
    check(
        "deploy; drive; wait:9; shutdown; ok; host-gone; wait:300; ok; tick; ok; tick; ok; tick; ok; tick; ok; host-back; look",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            wait:9         running [asked]
            shutdown       shutdown (press-power: calling) > press-power
            ok             shutdown (press-power: waiting)
            wait:300       shutdown (press-power: confirming) > observe
            ok             shutdown (press-power: blind)
            tick           shutdown (press-power: confirming) > observe
            ok             shutdown (press-power: blind)
            tick           shutdown (press-power: confirming) > observe
            ok             shutdown (press-power: blind)
            tick           shutdown (press-power: confirming) > observe
            ok             shutdown (press-power: blind)
            tick           shutdown (press-power: confirming) > observe
            ok             unknown [cannot-ask] | operation 3 failed: cannot-ask
            look           running [seen-again]
        "#]],
    );
}

#[test]
fn after_the_deadline_hard_works_at_once() {
    check(
        "ignores; deploy; drive; wait:9; poweroff; ok; wait:121; ok; poweroff-hard; run",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        wait:9         running [asked]
        poweroff       shutdown (press-power: calling) > press-power
        ok             shutdown (press-power: waiting)
        wait:121       shutdown (press-power: confirming) > observe
        ok             running [step-failed] | operation 3 failed: guest-ignored
        poweroff-hard  shutdown (power-off: calling) > destroy
          destroy      poweroff [asked] | operation 4 succeeded
    "#]],
    );
}

#[test]
fn a_press_waits_for_a_guest_that_has_just_booted() {
    check(
        "deploy; drive; poweroff; due; why; wait:4; due; wait:1; ok",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            poweroff       shutdown (press-power: delaying)
            due            in 5.0 s
            why            [GuestBooted]
            wait:4         shutdown (press-power: delaying)
            due            in 1.0 s
            wait:1         shutdown (press-power: calling) > press-power
            ok             shutdown (press-power: waiting)
        "#]],
    );
}

#[test]
fn a_reboot_waits_too() {
    check(
        "deploy; drive; wait:2; reboot; due; tick; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        wait:2         running [asked]
        reboot         running (reboot: delaying)
        due            in 3.0 s
        tick           running (reboot: calling) > reboot
        ok             running [asked] | operation 3 succeeded
    "#]],
    );
}

#[test]
fn a_guest_that_runs_long_is_pressed_at_once() {
    check(
        "deploy; drive; wait:9; shutdown",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        wait:9         running [asked]
        shutdown       shutdown (press-power: calling) > press-power
    "#]],
    );
}

#[test]
fn a_reset_does_not_wait() {
    check(
        "deploy; drive; reboot-hard; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        reboot-hard    running (reset: calling) > reset
        ok             running [asked] | operation 3 succeeded
    "#]],
    );
}

#[test]
fn after_a_reboot_the_guest_boots_again() {
    check(
        "deploy; drive; wait:9; reboot; ok; poweroff; due",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        wait:9         running [asked]
        reboot         running (reboot: calling) > reboot
        ok             running [asked] | operation 3 succeeded
        poweroff       shutdown (press-power: delaying)
        due            in 5.0 s
    "#]],
    );
}

#[test]
fn waits_between_attempts_double() {
    check(
        "deploy; retry; due; tick; retry; due; tick; retry; due; tick; retry; due",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        retry          prolog (prepare-disks: backoff)
        due            in 100 ms
        tick           prolog (prepare-disks: calling) > prepare disk:vda
        retry          prolog (prepare-disks: backoff)
        due            in 200 ms
        tick           prolog (prepare-disks: calling) > prepare disk:vda
        retry          prolog (prepare-disks: backoff)
        due            in 400 ms
        tick           prolog (prepare-disks: calling) > prepare disk:vda
        retry          prolog (prepare-disks: backoff)
        due            in 800 ms
    "#]],
    );
}

#[test]
fn a_tick_that_is_not_due_is_nothing() {
    check(
        "deploy; retry; wait:0; tick; wait:0",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        retry          prolog (prepare-disks: backoff)
        wait:0         prolog (prepare-disks: backoff)
        tick           prolog (prepare-disks: calling) > prepare disk:vda
        wait:0         prolog (prepare-disks: calling)
    "#]],
    );
}

#[test]
fn a_repeat_has_what_is_left_and_enough_to_find_out() {
    check(
        "deploy; patience; ok; patience; retry; wait:60; patience; retry; wait:29; patience",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        patience       60 min
        ok             boot (boot: calling) > deploy
        patience       90.0 s
        retry          boot (boot: backoff)
        wait:60        boot (boot: calling) > deploy
        patience       30.0 s
        retry          boot (boot: backoff)
        wait:29        boot (boot: calling) > deploy
        patience       15.0 s
    "#]],
    );
}

#[test]
fn what_is_insisted_on_gets_the_whole_time_anew() {
    check(
        "deploy; drive; delete; ok; wait:3500; retry; tick; patience; wait:200; retry; tick; patience",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        delete         epilog (remove: calling) > remove
        ok             epilog (drop-host: calling) > drop-host files
        wait:3500      epilog (drop-host: calling)
        retry          epilog (drop-host: backoff)
        tick           epilog (drop-host: calling) > drop-host files
        patience       99.9 s
        wait:200       epilog (drop-host: calling)
        retry          epilog (drop-host: backoff)
        tick           epilog (drop-host: calling) > drop-host files
        patience       60 min
    "#]],
    );
}
