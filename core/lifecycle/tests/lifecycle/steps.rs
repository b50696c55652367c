//! Which step an operation failed at is kept: not the last one of its rollback, and none that it
//! went on without.

use crate::script::check;
use expect_test::expect;

#[test]
fn the_step_that_failed_is_not_one_of_the_rollback() {
    check(
        "deploy; drive; poweroff-hard; drive; resume; refused; run; steps",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        poweroff-hard  shutdown (power-off: calling) > destroy
        resume         boot (boot: calling) > deploy
        refused        epilog (undo remove: calling) > remove
          remove       epilog (undo end: settling) > observe
          observe      poweroff [step-failed] | operation 4 failed: refused
        steps          boot!, undo remove; failed at Some("boot")
    "#]],
    );
    check(
        "deploy; drive; disk-attach; ok; refused; run; steps",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        disk-attach    hotplug (prepare-disks: calling) > prepare disk:vdb
        ok             hotplug (attach-disk: calling) > attach-disk disk:vdb
        refused        hotplug (undo detach-disk: calling) > detach-disk disk:vdb
          detach-disk  hotplug (undo drop-disk: calling) > drop-disk disk:vdb
          drop-disk    hotplug (undo end: settling) > observe
          observe      running [step-failed] | operation 3 failed: refused
        steps          prepare-disks, attach-disk!, undo detach-disk, undo drop-disk; failed at Some("attach-disk")
    "#]],
    );
    check(
        "deploy; ok; refused; steps; recover-retry; drive; steps",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        ok             boot (boot: calling) > deploy
        refused        failed [step-failed] | operation 2 failed: refused
        steps          prepare-disks, boot!; failed at Some("boot")
        recover-retry  boot (boot: calling) > deploy
        steps          boot; failed at None
    "#]],
    );
    check(
        "deploy; drive; migrate@2; go:4; refused; go:1; refused; steps; why",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate@2      save (save: calling) > save
            go:4           boot (restore: calling) > restore
            refused        migrate (undo remove: calling) > remove
            go:1           boot (undo restore: calling) > restore
            refused        failed [step-failed] | operation 3 failed: refused
            steps          save, remove, copy-across, restore!, undo remove, undo restore!; failed at Some("restore")
            why            [Recovery { cold: true }]
        "#]],
    );
}

#[test]
fn one_that_the_guest_did_not_heed_has_failed() {
    check(
        "deploy; drive; ignores; poweroff; tick; ok; wait:180; run; steps",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        poweroff       shutdown (press-power: delaying)
        tick           shutdown (press-power: calling) > press-power
        ok             shutdown (press-power: waiting)
        wait:180       shutdown (press-power: confirming) > observe
          observe      running [step-failed] | operation 3 failed: guest-ignored
        steps          press-power!; failed at Some("press-power")
    "#]],
    );
}

#[test]
fn one_that_went_well_at_the_second_try_has_not() {
    check(
        "deploy; drive; poweroff-hard; retry; tick; run; steps",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        poweroff-hard  shutdown (power-off: calling) > destroy
        retry          shutdown (power-off: backoff)
        tick           shutdown (power-off: calling) > destroy
          destroy      poweroff [asked] | operation 3 succeeded
        steps          power-off; failed at None
    "#]],
    );
}

#[test]
fn one_that_is_not_needed_is_told_apart() {
    check(
        "deploy; drive; suspend; drive; resume-cold; refused; ok; steps",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        suspend        save (save: calling) > save
        resume-cold    prolog (drop-recovery: calling) > drop-recovery recovery
        refused        boot (boot: calling) > deploy
        ok             running [asked] | operation 4 succeeded
        steps          drop-recovery!, boot; failed at None
    "#]],
    );
    check(
        "deploy; drive; suspend; drive; resume-cold; refused; refused; run; steps",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        suspend        save (save: calling) > save
        resume-cold    prolog (drop-recovery: calling) > drop-recovery recovery
        refused        boot (boot: calling) > deploy
        refused        epilog (undo remove: calling) > remove
          remove       epilog (undo end: settling) > observe
          observe      poweroff [step-failed] | operation 4 failed: refused
        steps          drop-recovery!, boot!, undo remove; failed at Some("boot")
    "#]],
    );
}
