//! The daemon dies at every point: before and after what was in flight has happened.

use crate::script::check;
use expect_test::expect;

#[test]
fn in_prolog() {
    check(
        "deploy; restart; ok; restart-after; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        restart        prolog (prepare-disks: calling) > prepare disk:vda
        ok             boot (boot: calling) > deploy
        restart-after  boot (boot: confirming) > observe
        ok             running [asked] | operation 2 succeeded
    "#]],
    );
}

#[test]
fn in_boot_before() {
    check(
        "deploy; ok; restart; ok; tick; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        ok             boot (boot: calling) > deploy
        restart        boot (boot: confirming) > observe
        ok             boot (boot: backoff)
        tick           boot (boot: calling) > deploy
        ok             running [asked] | operation 2 succeeded
    "#]],
    );
}

#[test]
fn in_boot_after() {
    check(
        "deploy; ok; restart-after; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        ok             boot (boot: calling) > deploy
        restart-after  boot (boot: confirming) > observe
        ok             running [asked] | operation 2 succeeded
    "#]],
    );
}

#[test]
fn in_boot_again_and_again_has_a_deadline() {
    check(
        "deploy; ok; restart; ok; wait:100; restart; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        ok             boot (boot: calling) > deploy
        restart        boot (boot: confirming) > observe
        ok             boot (boot: backoff)
        wait:100       boot (boot: calling) > deploy
        restart        boot (boot: confirming) > observe
        ok             failed [step-failed] | operation 2 failed: goal-not-met
    "#]],
    );
}

#[test]
fn while_a_boot_is_looked_for() {
    check(
        "deploy; ok; lost; restart; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        ok             boot (boot: calling) > deploy
        lost           boot (boot: confirming) > observe
        restart        boot (boot: confirming) > observe
        ok             running [asked] | operation 2 succeeded
    "#]],
    );
}

#[test]
fn in_save_before() {
    check(
        "deploy; drive; suspend; restart; ok; memory",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        suspend        save (save: calling) > save
        restart        save (save: calling) > save
        ok             suspended [asked] | operation 3 succeeded
        memory         Some((true, false))
    "#]],
    );
}

#[test]
fn in_save_after() {
    check(
        "deploy; drive; suspend; restart-after; memory; ok; memory",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        suspend        save (save: calling) > save
        restart-after  save (save: calling) > save
        memory         Some((false, false))
        ok             suspended [asked] | operation 3 succeeded
        memory         Some((true, false))
    "#]],
    );
}

#[test]
fn in_restore_before() {
    check(
        "deploy; drive; suspend; drive; resume; restart; run",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        suspend        save (save: calling) > save
        resume         boot (restore: calling) > restore
        restart        boot (restore: calling) > restore
          restore      boot (unpause: calling) > unpause
          unpause      boot (drop-recovery: calling) > drop-recovery recovery
          drop-recovery running [asked] | operation 4 succeeded
    "#]],
    );
}

#[test]
fn in_restore_after() {
    check(
        "deploy; drive; suspend; drive; resume; restart-after; run",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        suspend        save (save: calling) > save
        resume         boot (restore: calling) > restore
        restart-after  boot (restore: calling) > restore
          restore      boot (unpause: calling) > unpause
          unpause      boot (drop-recovery: calling) > drop-recovery recovery
          drop-recovery running [asked] | operation 4 succeeded
    "#]],
    );
}

#[test]
fn in_unpause_before() {
    check(
        "deploy; drive; suspend; drive; resume; ok; restart; ok; tick; run",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        suspend        save (save: calling) > save
        resume         boot (restore: calling) > restore
        ok             boot (unpause: calling) > unpause
        restart        boot (unpause: confirming) > observe
        ok             boot (unpause: backoff)
        tick           boot (unpause: calling) > unpause
          unpause      boot (drop-recovery: calling) > drop-recovery recovery
          drop-recovery running [asked] | operation 4 succeeded
    "#]],
    );
}

#[test]
fn in_unpause_after_and_crashed() {
    check(
        "deploy; drive; suspend; drive; resume; ok; restart-after; crash; ok; tick; ok; ok; memory",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        suspend        save (save: calling) > save
        resume         boot (restore: calling) > restore
        ok             boot (unpause: calling) > unpause
        restart-after  boot (unpause: confirming) > observe
        ok             boot (unpause: backoff)
        tick           boot (unpause: calling) > unpause
        ok             boot (unpause: settling) > observe
        ok             poweroff [crashed] | operation 4 failed: no-domain
        memory         None
    "#]],
    );
}

#[test]
fn in_press_before() {
    check(
        "deploy; drive; wait:9; poweroff; restart; ok; tick; ok; obey; look",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        wait:9         running [asked]
        poweroff       shutdown (press-power: calling) > press-power
        restart        shutdown (press-power: confirming) > observe
        ok             shutdown (press-power: backoff)
        tick           shutdown (press-power: calling) > press-power
        ok             shutdown (press-power: waiting)
        look           poweroff [asked] | operation 3 succeeded
    "#]],
    );
}

#[test]
fn in_press_after() {
    check(
        "deploy; drive; wait:9; poweroff; restart-after; ok; tick; ok; obey; look",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        wait:9         running [asked]
        poweroff       shutdown (press-power: calling) > press-power
        restart-after  shutdown (press-power: confirming) > observe
        ok             shutdown (press-power: backoff)
        tick           shutdown (press-power: calling) > press-power
        ok             shutdown (press-power: waiting)
        look           poweroff [asked] | operation 3 succeeded
    "#]],
    );
}

#[test]
fn while_a_press_is_waited_for() {
    check(
        "deploy; drive; wait:9; poweroff; ok; restart; due; obey; tick; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        wait:9         running [asked]
        poweroff       shutdown (press-power: calling) > press-power
        ok             shutdown (press-power: waiting)
        restart        shutdown (press-power: waiting)
        due            in 2.0 s
        tick           shutdown (press-power: confirming) > observe
        ok             poweroff [asked] | operation 3 succeeded
    "#]],
    );
}

#[test]
fn past_the_deadline_of_a_press_a_look_decides() {
    check(
        "deploy; drive; wait:9; poweroff; ok; restart; wait:500; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        wait:9         running [asked]
        poweroff       shutdown (press-power: calling) > press-power
        ok             shutdown (press-power: waiting)
        restart        shutdown (press-power: waiting)
        wait:500       shutdown (press-power: confirming) > observe
        ok             running [step-failed] | operation 3 failed: guest-ignored
    "#]],
    );
}

#[test]
fn while_a_press_is_delayed() {
    check(
        "deploy; drive; poweroff; restart; due; tick",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        poweroff       shutdown (press-power: delaying)
        restart        shutdown (press-power: delaying)
        due            in 5.0 s
        tick           shutdown (press-power: calling) > press-power
    "#]],
    );
}

#[test]
fn in_reboot() {
    check(
        "deploy; drive; wait:9; reboot; restart-after; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        wait:9         running [asked]
        reboot         running (reboot: calling) > reboot
        restart-after  running (reboot: calling) > reboot
        ok             running [asked] | operation 3 succeeded
    "#]],
    );
}

#[test]
fn in_destroy() {
    check(
        "deploy; drive; poweroff-hard; restart; ok; tick; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        poweroff-hard  shutdown (power-off: calling) > destroy
        restart        shutdown (power-off: confirming) > observe
        ok             shutdown (power-off: backoff)
        tick           shutdown (power-off: calling) > destroy
        ok             poweroff [asked] | operation 3 succeeded
    "#]],
    );
}

#[test]
fn in_removal() {
    check(
        "deploy; drive; delete; restart-after; ok; restart-after; ok",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            delete         epilog (remove: calling) > remove
            restart-after  epilog (remove: confirming) > observe
            ok             epilog (drop-host: calling) > drop-host files
            restart-after  epilog (drop-host: calling) > drop-host files
            ok             done [asked] | operation 3 succeeded
        "#]],
    );
}

#[test]
fn in_copy_out() {
    check(
        "deploy; drive; stop; ok; ok; restart-after; run",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        stop           save (save: calling) > save
        ok             epilog (remove: calling) > remove
        ok             epilog (copy-out: calling) > copy-out disk:vda
        restart-after  epilog (copy-out: calling) > copy-out disk:vda
          copy-out     epilog (copy-out: calling) > copy-out recovery
          copy-out     epilog (drop-host: calling) > drop-host files
          drop-host    stopped [asked] | operation 3 succeeded
    "#]],
    );
}

#[test]
fn in_backoff() {
    check(
        "deploy; retry; restart; due; tick; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        retry          prolog (prepare-disks: backoff)
        restart        prolog (prepare-disks: backoff)
        due            in 100 ms
        tick           prolog (prepare-disks: calling) > prepare disk:vda
        ok             boot (boot: calling) > deploy
    "#]],
    );
}

#[test]
fn while_settling() {
    check(
        "deploy; drive; suspend; refused; restart; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        suspend        save (save: calling) > save
        refused        save (save: settling) > observe
        restart        save (save: settling) > observe
        ok             running [step-failed] | operation 3 failed: refused
    "#]],
    );
}

#[test]
fn while_settling_after_a_rollback() {
    check(
        "deploy; drive; poweroff-hard; drive; resume; refused; ok; restart; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        poweroff-hard  shutdown (power-off: calling) > destroy
        resume         boot (boot: calling) > deploy
        refused        epilog (undo remove: calling) > remove
        ok             epilog (undo end: settling) > observe
        restart        epilog (undo end: settling) > observe
        ok             poweroff [step-failed] | operation 4 failed: refused
    "#]],
    );
}

#[test]
fn while_blind() {
    check(
        "deploy; drive; suspend; refused; host-gone; ok; restart; due; host-back; tick; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        suspend        save (save: calling) > save
        refused        save (save: settling) > observe
        ok             save (save: blind)
        restart        save (save: blind)
        due            in 400 ms
        tick           save (save: settling) > observe
        ok             running [step-failed] | operation 3 failed: refused
    "#]],
    );
}

#[test]
fn while_draining() {
    check(
        "deploy; ok; delete; restart-after; run",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        ok             boot (boot: calling) > deploy
        delete         shutdown (power-off: calling) > destroy > cancel domain | operation 2 superseded by 3
        restart-after  shutdown (power-off: confirming) > observe
          observe      epilog (remove: calling) > remove
          remove       epilog (drop-host: calling) > drop-host files
          drop-host    done [asked] | operation 3 succeeded
    "#]],
    );
}

#[test]
fn at_rest() {
    check(
        "deploy; drive; restart",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        restart        running [asked]
    "#]],
    );
}
