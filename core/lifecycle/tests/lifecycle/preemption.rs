//! Graceful < hard < delete, with and without calls in flight.

use crate::script::check;
use expect_test::expect;

#[test]
fn hard_overtakes_while_the_guest_is_waited_for() {
    check(
        "deploy; drive; wait:9; poweroff; ok; poweroff-hard; run",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        wait:9         running [asked]
        poweroff       shutdown (press-power: calling) > press-power
        ok             shutdown (press-power: waiting)
        poweroff-hard  shutdown (power-off: calling) > destroy | operation 3 superseded by 4
          destroy      poweroff [asked] | operation 4 succeeded
    "#]],
    );
}

#[test]
fn hard_overtakes_a_press_in_flight_and_switches_off_twice() {
    check(
        "deploy; drive; wait:9; poweroff; poweroff-hard; open; ok2; open; ok; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        wait:9         running [asked]
        poweroff       shutdown (press-power: calling) > press-power
        poweroff-hard  shutdown (power-off: calling) > destroy > cancel domain | operation 3 superseded by 4
        open           [PressPower, Destroy]
        ok2            shutdown (power-off: draining)
        open           [PressPower]
        ok             shutdown (power-off: calling) > destroy
        ok             poweroff [asked] | operation 4 succeeded
    "#]],
    );
}

#[test]
fn the_press_returns_first() {
    check(
        "deploy; drive; wait:9; poweroff; poweroff-hard; ok; open; ok; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        wait:9         running [asked]
        poweroff       shutdown (press-power: calling) > press-power
        poweroff-hard  shutdown (power-off: calling) > destroy > cancel domain | operation 3 superseded by 4
        ok             shutdown (power-off: calling)
        open           [Destroy]
        ok             shutdown (power-off: calling) > destroy
        ok             poweroff [asked] | operation 4 succeeded
    "#]],
    );
}

#[test]
fn the_first_destroy_fails_beside_a_press() {
    check(
        "deploy; drive; wait:9; poweroff; poweroff-hard; refused2; ok; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        wait:9         running [asked]
        poweroff       shutdown (press-power: calling) > press-power
        poweroff-hard  shutdown (power-off: calling) > destroy > cancel domain | operation 3 superseded by 4
        refused2       shutdown (power-off: draining)
        ok             shutdown (power-off: calling) > destroy
        ok             poweroff [asked] | operation 4 succeeded
    "#]],
    );
}

#[test]
fn the_first_destroy_is_lost_beside_a_press() {
    check(
        "deploy; drive; wait:9; poweroff; poweroff-hard; lost2; ok; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        wait:9         running [asked]
        poweroff       shutdown (press-power: calling) > press-power
        poweroff-hard  shutdown (power-off: calling) > destroy > cancel domain | operation 3 superseded by 4
        lost2          shutdown (power-off: draining)
        ok             shutdown (power-off: calling) > destroy
        ok             poweroff [asked] | operation 4 succeeded
    "#]],
    );
}

#[test]
fn shutdown_hard_overtakes_shutdown() {
    check(
        "deploy; drive; wait:9; shutdown; shutdown-hard; ok2; ok; run",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        wait:9         running [asked]
        shutdown       shutdown (press-power: calling) > press-power
        shutdown-hard  shutdown (power-off: calling) > destroy > cancel domain | operation 3 superseded by 4
        ok2            epilog (remove: draining)
        ok             epilog (remove: calling) > remove
          remove       epilog (drop-host: calling) > drop-host files
          drop-host    done [asked] | operation 4 succeeded
    "#]],
    );
}

#[test]
fn shutdown_hard_overtakes_poweroff() {
    check(
        "deploy; drive; wait:9; poweroff; ok; shutdown-hard; run",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        wait:9         running [asked]
        poweroff       shutdown (press-power: calling) > press-power
        ok             shutdown (press-power: waiting)
        shutdown-hard  shutdown (power-off: calling) > destroy | operation 3 superseded by 4
          destroy      epilog (remove: calling) > remove
          remove       epilog (drop-host: calling) > drop-host files
          drop-host    done [asked] | operation 4 succeeded
    "#]],
    );
}

#[test]
fn hard_overtakes_a_look() {
    check(
        "deploy; drive; wait:9; poweroff; ok; tick; open; poweroff-hard; ok2; ok; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        wait:9         running [asked]
        poweroff       shutdown (press-power: calling) > press-power
        ok             shutdown (press-power: waiting)
        tick           shutdown (press-power: confirming) > observe
        open           [Observe]
        poweroff-hard  shutdown (power-off: calling) > destroy > cancel look | operation 3 superseded by 4
        ok2            shutdown (power-off: draining)
        ok             shutdown (power-off: calling) > destroy
        ok             poweroff [asked] | operation 4 succeeded
    "#]],
    );
}

#[test]
fn reset_overtakes_a_reboot() {
    check(
        "deploy; drive; wait:9; reboot; reboot-hard; open; ok; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        wait:9         running [asked]
        reboot         running (reboot: calling) > reboot
        reboot-hard    running (reset: draining) > cancel domain | operation 3 superseded by 4
        open           [Reboot]
        ok             running (reset: calling) > reset
        ok             running [asked] | operation 4 succeeded
    "#]],
    );
}

#[test]
fn hard_overtakes_a_press_that_is_delayed() {
    check(
        "deploy; drive; poweroff; poweroff-hard; run",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        poweroff       shutdown (press-power: delaying)
        poweroff-hard  shutdown (power-off: calling) > destroy | operation 3 superseded by 4
          destroy      poweroff [asked] | operation 4 succeeded
    "#]],
    );
}

#[test]
fn hard_during_the_epilog_of_its_graceful_one_is_so_already() {
    check(
        "deploy; drive; wait:9; undeploy; ok; obey; look; undeploy-hard; shutdown-hard; delete; run",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            wait:9         running [asked]
            undeploy       shutdown (press-power: calling) > press-power
            ok             shutdown (press-power: waiting)
            look           epilog (remove: calling) > remove
            undeploy-hard  epilog (remove: calling) | already so
            shutdown-hard  refused busy: Busy { operation: OperationId(3), doing: Undeploy }
            delete         shutdown (power-off: calling) > destroy > cancel domain | operation 3 superseded by 6
              remove       shutdown (power-off: calling)
              destroy      epilog (remove: calling) > remove
              remove       epilog (drop-host: calling) > drop-host files
              drop-host    done [asked] | operation 6 succeeded
        "#]],
    );
}

#[test]
fn graceful_never_overtakes() {
    check(
        "deploy; drive; suspend; poweroff; stop; shutdown-hard",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            suspend        save (save: calling) > save
            poweroff       refused busy: Busy { operation: OperationId(3), doing: Suspend }
            stop           refused busy: Busy { operation: OperationId(3), doing: Suspend }
            shutdown-hard  refused busy: Busy { operation: OperationId(3), doing: Suspend }
        "#]],
    );
}

#[test]
fn graceful_does_not_overtake_hard() {
    check(
        "deploy; drive; poweroff-hard; poweroff; shutdown; poweroff-hard",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            poweroff-hard  shutdown (power-off: calling) > destroy
            poweroff       refused busy: Busy { operation: OperationId(3), doing: PoweroffHard }
            shutdown       refused busy: Busy { operation: OperationId(3), doing: PoweroffHard }
            poweroff-hard  shutdown (power-off: calling) | already so
        "#]],
    );
}

#[test]
fn delete_overtakes_a_prolog() {
    check(
        "deploy; delete; open; ok; run",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        delete         shutdown (power-off: calling) > destroy > cancel disk:vda | operation 2 superseded by 3
        open           [Prepare, Destroy]
        ok             shutdown (power-off: calling)
          destroy      epilog (remove: calling) > remove
          remove       epilog (drop-host: calling) > drop-host files
          drop-host    done [asked] | operation 3 succeeded
    "#]],
    );
}

#[test]
fn delete_overtakes_a_boot_that_is_late() {
    check(
        "deploy; ok; delete; open; ok2; open; ok; run",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        ok             boot (boot: calling) > deploy
        delete         shutdown (power-off: calling) > destroy > cancel domain | operation 2 superseded by 3
        open           [Deploy, Destroy]
        ok2            epilog (remove: draining)
        open           [Deploy]
        ok             epilog (remove: calling) > remove
          remove       epilog (drop-host: calling) > drop-host files
          drop-host    done [asked] | operation 3 succeeded
    "#]],
    );
}

#[test]
fn delete_overtakes_a_boot_whose_answer_is_lost() {
    check(
        "deploy; ok; delete; ok2; lost; run",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        ok             boot (boot: calling) > deploy
        delete         shutdown (power-off: calling) > destroy > cancel domain | operation 2 superseded by 3
        ok2            epilog (remove: draining)
        lost           epilog (remove: calling) > remove
          remove       epilog (drop-host: calling) > drop-host files
          drop-host    done [asked] | operation 3 succeeded
    "#]],
    );
}

#[test]
fn delete_overtakes_a_save() {
    check(
        "deploy; drive; suspend; delete; ok2; ok; run",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        suspend        save (save: calling) > save
        delete         shutdown (power-off: calling) > destroy > cancel domain | operation 3 superseded by 4
        ok2            epilog (remove: draining)
        ok             epilog (remove: calling) > remove
          remove       epilog (drop-host: calling) > drop-host files
          drop-host    done [asked] | operation 4 succeeded
    "#]],
    );
}

#[test]
fn delete_overtakes_an_epilog() {
    check(
        "deploy; drive; stop; ok; ok; delete; run",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            stop           save (save: calling) > save
            ok             epilog (remove: calling) > remove
            ok             epilog (copy-out: calling) > copy-out disk:vda
            delete         shutdown (power-off: calling) > destroy > cancel disk:vda | operation 3 superseded by 4
              copy-out     shutdown (power-off: calling)
              destroy      epilog (remove: calling) > remove
              remove       epilog (drop-host: calling) > drop-host files
              drop-host    epilog (drop-home: calling) > drop-home files
              drop-home    done [asked] | operation 4 succeeded
        "#]],
    );
}

#[test]
fn delete_overtakes_a_hard_one_that_overtook() {
    check(
        "deploy; drive; wait:9; poweroff; poweroff-hard; delete; open; ok2; ok; open; ok; run",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        wait:9         running [asked]
        poweroff       shutdown (press-power: calling) > press-power
        poweroff-hard  shutdown (power-off: calling) > destroy > cancel domain | operation 3 superseded by 4
        delete         shutdown (power-off: calling) > destroy > cancel domain | operation 4 superseded by 5
        open           [PressPower, Destroy, Destroy]
        ok2            shutdown (power-off: calling)
        ok             shutdown (power-off: calling)
        open           [Destroy]
        ok             epilog (remove: calling) > remove
          remove       epilog (drop-host: calling) > drop-host files
          drop-host    done [asked] | operation 5 succeeded
    "#]],
    );
}

#[test]
fn delete_overtakes_a_recreate() {
    check(
        "deploy; drive; delete-recreate; delete; run",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        delete-recreate epilog (remove: calling) > remove
        delete         shutdown (power-off: calling) > destroy > cancel domain | operation 3 superseded by 4
          remove       shutdown (power-off: calling)
          destroy      epilog (remove: calling) > remove
          remove       epilog (drop-host: calling) > drop-host files
          drop-host    done [asked] | operation 4 succeeded
    "#]],
    );
}

#[test]
fn recreate_does_not_overtake_a_delete() {
    check(
        "deploy; drive; delete; delete-recreate; delete; run",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            delete         epilog (remove: calling) > remove
            delete-recreate refused busy: Busy { operation: OperationId(3), doing: Delete }
            delete         epilog (remove: calling) | already so
              remove       epilog (drop-host: calling) > drop-host files
              drop-host    done [asked] | operation 3 succeeded
        "#]],
    );
}

#[test]
fn delete_overtakes_a_rollback() {
    check(
        "deploy; drive; poweroff-hard; drive; resume; refused; delete; run",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        poweroff-hard  shutdown (power-off: calling) > destroy
        resume         boot (boot: calling) > deploy
        refused        epilog (undo remove: calling) > remove
        delete         shutdown (power-off: calling) > destroy > cancel domain | operation 4 superseded by 5
          remove       shutdown (power-off: calling)
          destroy      epilog (remove: calling) > remove
          remove       epilog (drop-host: calling) > drop-host files
          drop-host    done [asked] | operation 5 succeeded
    "#]],
    );
}

#[test]
fn nothing_begins_while_a_deploy_runs() {
    check(
        "deploy; hold; release; suspend; deploy; poweroff-hard; recover-undo",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            hold           refused busy: Busy { operation: OperationId(2), doing: Deploy }
            release        refused busy: Busy { operation: OperationId(2), doing: Deploy }
            suspend        refused busy: Busy { operation: OperationId(2), doing: Deploy }
            deploy         prolog (prepare-disks: calling) | already so
            poweroff-hard  refused busy: Busy { operation: OperationId(2), doing: Deploy }
            recover-undo   prolog (prepare-disks: draining) > cancel disk:vda
        "#]],
    );
}

#[test]
fn delete_overtakes_the_removal_of_a_stopped_vm() {
    check(
        "deploy; drive; stop; drive; shutdown; delete; open; ok; ok",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            stop           save (save: calling) > save
            shutdown       epilog (drop-home: calling) > drop-home files
            delete         epilog (drop-home: draining) > cancel files | operation 4 superseded by 5
            open           [DropHome]
            ok             epilog (drop-home: calling) > drop-home files
            ok             done [asked] | operation 5 succeeded
        "#]],
    );
}
