//! The happy path of every verb from every state of rest that admits it, and its three answers.

use crate::script::{Stage, check, check_on};
use expect_test::expect;

#[test]
fn deploy_brings_disks_and_boots() {
    check(
        "deploy; ok; place; ok; place",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        ok             boot (boot: calling) > deploy
        place          Some(1) host=true home=false placed=0
        ok             running [asked] | operation 2 succeeded
        place          Some(1) host=true home=false placed=1
    "#]],
    );
}

#[test]
fn deploy_with_two_disks_brings_one_after_the_other() {
    check_on(
        Stage { disks: 2, shared: false },
        "deploy; run",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
          prepare      prolog (prepare-disks: calling) > prepare disk:vdb
          prepare      boot (boot: calling) > deploy
          deploy       running [asked] | operation 2 succeeded
    "#]],
    );
}

#[test]
fn deploy_without_disks() {
    check_on(
        Stage { disks: 0, shared: false },
        "deploy; run; suspend; run; delete; run",
        expect![[r#"
        deploy         boot (boot: calling) > deploy
          deploy       running [asked] | operation 2 succeeded
        suspend        save (save: calling) > save
          save         suspended [asked] | operation 3 succeeded
        delete         epilog (remove: calling) > remove
          remove       epilog (drop-host: calling) > drop-host files
          drop-host    done [asked] | operation 4 succeeded
    "#]],
    );
}

#[test]
fn hold_release_and_deploy_from_hold() {
    check(
        "hold; hold; release; release; hold; deploy; run",
        expect![[r#"
        hold           hold [asked] | operation 2 succeeded
        hold           hold [asked] | already so
        release        pending [asked] | operation 4 succeeded
        release        pending [asked] | already so
        hold           hold [asked] | operation 6 succeeded
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
          prepare      boot (boot: calling) > deploy
          deploy       running [asked] | operation 7 succeeded
    "#]],
    );
}

#[test]
fn suspend_and_resume() {
    check(
        "deploy; drive; suspend; run; memory; suspend; resume; ok; memory; ok; memory; ok; memory",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        suspend        save (save: calling) > save
          save         suspended [asked] | operation 3 succeeded
        memory         Some((true, false))
        suspend        suspended [asked] | already so
        resume         boot (restore: calling) > restore
        ok             boot (unpause: calling) > unpause
        memory         Some((true, true))
        ok             boot (drop-recovery: calling) > drop-recovery recovery
        memory         Some((true, true))
        ok             running [asked] | operation 5 succeeded
        memory         None
    "#]],
    );
}

#[test]
fn suspend_and_stop() {
    check(
        "deploy; drive; suspend; drive; stop; run; place; stop",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        suspend        save (save: calling) > save
        stop           epilog (remove: calling) > remove
          remove       epilog (copy-out: calling) > copy-out disk:vda
          copy-out     epilog (copy-out: calling) > copy-out recovery
          copy-out     epilog (drop-host: calling) > drop-host files
          drop-host    stopped [asked] | operation 4 succeeded
        place          None host=false home=true placed=1
        stop           stopped [asked] | already so
    "#]],
    );
}

#[test]
fn stop_and_back_on_storage_of_the_host() {
    check(
        "deploy; drive; stop; run; place; memory; resume; place; deploy; run; place; memory",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        stop           save (save: calling) > save
          save         epilog (remove: calling) > remove
          remove       epilog (copy-out: calling) > copy-out disk:vda
          copy-out     epilog (copy-out: calling) > copy-out recovery
          copy-out     epilog (drop-host: calling) > drop-host files
          drop-host    stopped [asked] | operation 3 succeeded
        place          None host=false home=true placed=1
        memory         Some((true, false))
        resume         pending [asked] | operation 4 succeeded
        place          None host=false home=true placed=1
        deploy         prolog (copy-in: calling) > copy-in disk:vda
          copy-in      prolog (copy-in: calling) > copy-in recovery
          copy-in      prolog (drop-home: calling) > drop-home files
          drop-home    boot (restore: calling) > restore
          restore      boot (unpause: calling) > unpause
          unpause      boot (drop-recovery: calling) > drop-recovery recovery
          drop-recovery running [asked] | operation 5 succeeded
        place          Some(2) host=true home=false placed=2
        memory         None
    "#]],
    );
}

#[test]
fn stop_and_back_on_shared_storage() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; stop; run; place; memory; resume; deploy; run; place; memory",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            stop           save (save: calling) > save
              save         epilog (remove: calling) > remove
              remove       stopped [asked] | operation 3 succeeded
            place          None host=false home=true placed=1
            memory         Some((true, false))
            resume         pending [asked] | operation 4 succeeded
            deploy         boot (restore: calling) > restore
              restore      boot (unpause: calling) > unpause
              unpause      boot (drop-recovery: calling) > drop-recovery recovery
              drop-recovery running [asked] | operation 5 succeeded
            place          Some(2) host=true home=false placed=2
            memory         None
        "#]],
    );
}

#[test]
fn a_stopped_vm_keeps_its_memory_through_hold_and_release() {
    check(
        "deploy; drive; stop; drive; resume; hold; release; memory; deploy; run",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        stop           save (save: calling) > save
        resume         pending [asked] | operation 4 succeeded
        hold           hold [asked] | operation 5 succeeded
        release        pending [asked] | operation 6 succeeded
        memory         Some((true, false))
        deploy         prolog (copy-in: calling) > copy-in disk:vda
          copy-in      prolog (copy-in: calling) > copy-in recovery
          copy-in      prolog (drop-home: calling) > drop-home files
          drop-home    boot (restore: calling) > restore
          restore      boot (unpause: calling) > unpause
          unpause      boot (drop-recovery: calling) > drop-recovery recovery
          drop-recovery running [asked] | operation 7 succeeded
    "#]],
    );
}

#[test]
fn poweroff_and_resume() {
    check(
        "deploy; drive; wait:9; poweroff; ok; obey; look; poweroff; poweroff-hard; resume; run",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        wait:9         running [asked]
        poweroff       shutdown (press-power: calling) > press-power
        ok             shutdown (press-power: waiting)
        look           poweroff [asked] | operation 3 succeeded
        poweroff       poweroff [asked] | already so
        poweroff-hard  poweroff [asked] | already so
        resume         boot (boot: calling) > deploy
          deploy       running [asked] | operation 6 succeeded
    "#]],
    );
}

#[test]
fn poweroff_hard() {
    check(
        "deploy; drive; poweroff-hard; run",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        poweroff-hard  shutdown (power-off: calling) > destroy
          destroy      poweroff [asked] | operation 3 succeeded
    "#]],
    );
}

#[test]
fn undeploy_and_back() {
    check(
        "deploy; drive; wait:9; undeploy; ok; obey; look; run; place; undeploy; resume; deploy; run; place",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        wait:9         running [asked]
        undeploy       shutdown (press-power: calling) > press-power
        ok             shutdown (press-power: waiting)
        look           epilog (remove: calling) > remove
          remove       epilog (copy-out: calling) > copy-out disk:vda
          copy-out     epilog (drop-host: calling) > drop-host files
          drop-host    undeployed [asked] | operation 3 succeeded
        place          None host=false home=true placed=1
        undeploy       undeployed [asked] | already so
        resume         pending [asked] | operation 5 succeeded
        deploy         prolog (copy-in: calling) > copy-in disk:vda
          copy-in      prolog (drop-home: calling) > drop-home files
          drop-home    boot (boot: calling) > deploy
          deploy       running [asked] | operation 6 succeeded
        place          Some(2) host=true home=false placed=2
    "#]],
    );
}

#[test]
fn undeploy_on_shared_storage() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; undeploy-hard; run; place; resume; deploy; run; place",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            undeploy-hard  shutdown (power-off: calling) > destroy
              destroy      epilog (remove: calling) > remove
              remove       undeployed [asked] | operation 3 succeeded
            place          None host=false home=true placed=1
            resume         pending [asked] | operation 4 succeeded
            deploy         boot (boot: calling) > deploy
              deploy       running [asked] | operation 5 succeeded
            place          Some(2) host=true home=false placed=2
        "#]],
    );
}

#[test]
fn undeploy_from_poweroff() {
    check(
        "deploy; drive; poweroff-hard; drive; undeploy; run",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        poweroff-hard  shutdown (power-off: calling) > destroy
        undeploy       epilog (remove: calling) > remove
          remove       epilog (copy-out: calling) > copy-out disk:vda
          copy-out     epilog (drop-host: calling) > drop-host files
          drop-host    undeployed [asked] | operation 4 succeeded
    "#]],
    );
}

#[test]
fn reboot_keeps_the_slot() {
    check(
        "deploy; drive; wait:9; reboot; reboot; suspend; guest-off; look; ok",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            wait:9         running [asked]
            reboot         running (reboot: calling) > reboot
            reboot         running (reboot: calling) | already so
            suspend        refused busy: Busy { operation: OperationId(3), doing: Reboot }
            look           running (reboot: calling)
            ok             running (reboot: settling) > observe
        "#]],
    );
}

#[test]
fn reboot_and_reset() {
    check(
        "deploy; drive; wait:9; reboot; ok; reboot-hard; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        wait:9         running [asked]
        reboot         running (reboot: calling) > reboot
        ok             running [asked] | operation 3 succeeded
        reboot-hard    running (reset: calling) > reset
        ok             running [asked] | operation 4 succeeded
    "#]],
    );
}

#[test]
fn a_driver_that_does_not_look_is_looked_after() {
    check(
        "mute; deploy; drive; wait:9; suspend; run; resume; run; reboot; wait:9; run; poweroff-hard; run",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            wait:9         running [asked]
            suspend        save (save: calling) > save
              save         save (save: confirming) > observe
              observe      suspended [asked] | operation 3 succeeded
            resume         boot (restore: calling) > restore
              restore      boot (restore: confirming) > observe
              observe      boot (unpause: calling) > unpause
              unpause      boot (unpause: confirming) > observe
              observe      boot (drop-recovery: calling) > drop-recovery recovery
              drop-recovery running [asked] | operation 4 succeeded
            reboot         running (reboot: delaying)
            wait:9         running (reboot: calling) > reboot
              reboot       running (reboot: confirming) > observe
              observe      running [asked] | operation 5 succeeded
            poweroff-hard  shutdown (power-off: calling) > destroy
              destroy      shutdown (power-off: confirming) > observe
              observe      poweroff [asked] | operation 6 succeeded
        "#]],
    );
}

#[test]
fn what_a_driver_cannot_do_is_refused() {
    check(
        "deploy; drive; unable; suspend; stop; reboot; wait:9; poweroff",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            suspend        refused not-able: NotOffered { ability: Suspend }
            stop           refused not-able: NotOffered { ability: Suspend }
            reboot         refused not-able: NotOffered { ability: Reboot }
            wait:9         running [asked]
            poweroff       shutdown (press-power: calling) > press-power
        "#]],
    );
}

#[test]
fn wrong_states_are_refused_in_words() {
    check(
        "suspend; boot; recover-retry; stop; deploy; drive; release; recover-undo; recover-failure",
        expect![[r#"
            suspend        refused wrong-state: WrongState { state: Pending }
            boot           refused wrong-state: WrongState { state: Pending }
            recover-retry  refused nothing-to-recover: NothingFailed { state: Pending }
            stop           refused wrong-state: WrongState { state: Pending }
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            release        refused wrong-state: WrongState { state: Running }
            recover-undo   refused nothing-to-recover: NothingFailed { state: Running }
            recover-failure refused nothing-to-recover: NothingFailed { state: Running }
        "#]],
    );
}

#[test]
fn what_is_asked_twice_is_so_already_and_boot_sends_again() {
    check(
        "deploy; deploy; hold; boot; ok; boot",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            deploy         prolog (prepare-disks: calling) | already so
            hold           refused busy: Busy { operation: OperationId(2), doing: Deploy }
            boot           refused busy: Busy { operation: OperationId(2), doing: Deploy }
            ok             boot (boot: calling) > deploy
            boot           boot (boot: draining) > cancel domain
        "#]],
    );
}
