//! The operator states what happened.

use crate::script::check;
use expect_test::expect;

#[test]
fn nothing_to_recover() {
    check(
        "deploy; drive; recover-success; recover-failure; recover-retry; recover-undo",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            recover-success refused nothing-to-recover: NothingFailed { state: Running }
            recover-failure refused nothing-to-recover: NothingFailed { state: Running }
            recover-retry  refused nothing-to-recover: NothingFailed { state: Running }
            recover-undo   refused nothing-to-recover: NothingFailed { state: Running }
        "#]],
    );
}

#[test]
fn success_of_a_boot_that_is_none_is_refused() {
    check(
        "deploy; ok; refused; recover-success; recover-success!",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            ok             boot (boot: calling) > deploy
            refused        failed [step-failed] | operation 2 failed: refused
            recover-success refused contradicted: GoalUnseen { goal: Running, seen: Absent }
            recover-success! running [asked] | operation 4 succeeded
        "#]],
    );
}

#[test]
fn success_of_a_boot_that_is_one() {
    check(
        "deploy; ok; do; refused; recover-success; place",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        ok             boot (boot: calling) > deploy
        refused        failed [step-failed] | operation 2 failed: refused
        recover-success running [asked] | operation 3 succeeded
        place          Some(1) host=true home=false placed=1
    "#]],
    );
}

#[test]
fn success_that_cannot_be_checked() {
    check(
        "deploy; ok; do; refused; host-gone; recover-success; recover-success!",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            ok             boot (boot: calling) > deploy
            refused        failed [step-failed] | operation 2 failed: refused
            recover-success refused cannot-ask: SuccessUnseen { error: Some(DriverError { kind: Unknown, code: "unreachable", detail: "no answer" }) }
            recover-success! running [asked] | operation 4 succeeded
        "#]],
    );
}

#[test]
fn success_in_flight_waits_and_looks() {
    check(
        "deploy; ok; do; recover-success; open; lost; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        ok             boot (boot: calling) > deploy
        recover-success boot (boot: draining) > cancel domain
        open           [Deploy]
        lost           boot (boot: confirming) > observe
        ok             running [asked] | operation 2 succeeded
    "#]],
    );
}

#[test]
fn success_in_flight_that_turns_out_wrong_goes_on() {
    check(
        "deploy; ok; do; recover-success; crash; lost; ok; tick; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        ok             boot (boot: calling) > deploy
        recover-success boot (boot: draining) > cancel domain
        lost           boot (boot: confirming) > observe
        ok             boot (boot: backoff)
        tick           boot (boot: calling) > deploy
        ok             running [asked] | operation 2 succeeded
    "#]],
    );
}

#[test]
fn success_in_flight_forced() {
    check(
        "deploy; ok; recover-success!; unknown",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        ok             boot (boot: calling) > deploy
        recover-success! boot (boot: draining) > cancel domain
        unknown        running [asked] | operation 2 succeeded
    "#]],
    );
}

#[test]
fn success_of_a_save_in_flight() {
    check(
        "deploy; drive; suspend; do; recover-success; lost; ok; memory",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        suspend        save (save: calling) > save
        recover-success save (save: draining) > cancel domain
        lost           save (save: confirming) > observe
        ok             suspended [asked] | operation 3 succeeded
        memory         Some((true, false))
    "#]],
    );
}

#[test]
fn success_of_a_prolog() {
    check(
        "deploy; do; refused; recover-success; run",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        refused        failed [step-failed] | operation 2 failed: refused
        recover-success boot (boot: calling) > deploy
          deploy       running [asked] | operation 3 succeeded
    "#]],
    );
}

#[test]
fn success_of_a_copy_that_nobody_verified_is_not_believed() {
    check(
        "deploy; drive; stop; ok; ok; refused; recover-success; place; recover-retry; ok; recover-success; recover-success!; ok",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            stop           save (save: calling) > save
            ok             epilog (remove: calling) > remove
            ok             epilog (copy-out: calling) > copy-out disk:vda
            refused        failed [step-failed] | operation 3 failed: refused
            recover-success refused contradicted: Uncheckable { step: CopyOut }
            place          Some(1) host=true home=true placed=1
            recover-retry  epilog (remove: calling) > remove
            ok             epilog (copy-out: calling) > copy-out disk:vda
            recover-success refused contradicted: Uncheckable { step: CopyOut }
            recover-success! epilog (copy-out: draining) > cancel disk:vda
            ok             epilog (drop-host: calling) > drop-host files
        "#]],
    );
}

#[test]
fn failure_of_a_failed_one_is_so_already() {
    check(
        "deploy; refused; recover-failure",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        refused        failed [step-failed] | operation 2 failed: refused
        recover-failure failed [step-failed] | already so
    "#]],
    );
}

#[test]
fn failure_in_flight_of_a_deploy() {
    check(
        "deploy; recover-failure; open; ok; place",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        recover-failure prolog (prepare-disks: draining) > cancel disk:vda
        open           [Prepare]
        ok             failed [step-failed] | operation 2 failed: operator
        place          Some(1) host=true home=false placed=0
    "#]],
    );
}

#[test]
fn failure_in_flight_of_a_suspend() {
    check(
        "deploy; drive; suspend; recover-failure; ok; ok; memory",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            suspend        save (save: calling) > save
            recover-failure save (save: draining) > cancel domain
            ok             save (save: settling) > observe
            ok             suspended [step-failed] | operation 3 failed: operator
            memory         Some((true, false))
        "#]],
    );
}

#[test]
fn retry_in_flight() {
    check(
        "deploy; ok; recover-retry; open; lost; open; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        ok             boot (boot: calling) > deploy
        recover-retry  boot (boot: draining) > cancel domain
        open           [Deploy]
        lost           boot (boot: calling) > deploy
        open           [Deploy]
        ok             running [asked] | operation 2 succeeded
    "#]],
    );
}

#[test]
fn retry_in_backoff() {
    check(
        "deploy; retry; recover-retry; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        retry          prolog (prepare-disks: backoff)
        recover-retry  prolog (prepare-disks: calling) > prepare disk:vda
        ok             boot (boot: calling) > deploy
    "#]],
    );
}

#[test]
fn retry_of_a_press_has_the_same_identity() {
    check(
        "deploy; drive; wait:9; poweroff; ok; recover-retry; ok; obey; look",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        wait:9         running [asked]
        poweroff       shutdown (press-power: calling) > press-power
        ok             shutdown (press-power: waiting)
        recover-retry  shutdown (press-power: calling) > press-power
        ok             shutdown (press-power: waiting)
        look           poweroff [asked] | operation 3 succeeded
    "#]],
    );
}

#[test]
fn boot_sends_a_hanging_start_again() {
    check(
        "deploy; ok; boot; unknown; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        ok             boot (boot: calling) > deploy
        boot           boot (boot: draining) > cancel domain
        unknown        boot (boot: calling) > deploy
        ok             running [asked] | operation 2 succeeded
    "#]],
    );
}

#[test]
fn boot_sends_a_hanging_restore_again() {
    check(
        "deploy; drive; suspend; drive; resume; boot; do; lost; run",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        suspend        save (save: calling) > save
        resume         boot (restore: calling) > restore
        boot           boot (restore: draining) > cancel domain
        lost           boot (restore: calling) > restore
          restore      boot (unpause: calling) > unpause
          unpause      boot (drop-recovery: calling) > drop-recovery recovery
          drop-recovery running [asked] | operation 4 succeeded
    "#]],
    );
}
