//! Delete and recreate from every state of rest.

use crate::script::check;
use expect_test::expect;

#[test]
fn delete_of_a_held_vm() {
    check(
        "hold; delete; run; place",
        expect![[r#"
        hold           hold [asked] | operation 2 succeeded
        delete         done [asked] | operation 3 succeeded
        place          None host=false home=false placed=0
    "#]],
    );
}

#[test]
fn recreate_of_a_held_vm() {
    check(
        "hold; delete-recreate; run; place",
        expect![[r#"
        hold           hold [asked] | operation 2 succeeded
        delete-recreate pending [asked] | operation 3 succeeded
        place          None host=false home=false placed=0
    "#]],
    );
}

#[test]
fn delete_of_a_suspended_vm() {
    check(
        "deploy; drive; suspend; drive; delete; run; place",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        suspend        save (save: calling) > save
        delete         epilog (remove: calling) > remove
          remove       epilog (drop-host: calling) > drop-host files
          drop-host    done [asked] | operation 4 succeeded
        place          None host=false home=false placed=1
    "#]],
    );
}

#[test]
fn recreate_of_a_suspended_vm() {
    check(
        "deploy; drive; suspend; drive; delete-recreate; run; place",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        suspend        save (save: calling) > save
        delete-recreate epilog (remove: calling) > remove
          remove       epilog (drop-host: calling) > drop-host files
          drop-host    pending [asked] | operation 4 succeeded
        place          None host=false home=false placed=1
    "#]],
    );
}

#[test]
fn delete_of_a_vm_that_is_off() {
    check(
        "deploy; drive; poweroff-hard; drive; delete; run; place",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        poweroff-hard  shutdown (power-off: calling) > destroy
        delete         epilog (remove: calling) > remove
          remove       epilog (drop-host: calling) > drop-host files
          drop-host    done [asked] | operation 4 succeeded
        place          None host=false home=false placed=1
    "#]],
    );
}

#[test]
fn recreate_of_a_vm_that_is_off() {
    check(
        "deploy; drive; poweroff-hard; drive; delete-recreate; run; place",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        poweroff-hard  shutdown (power-off: calling) > destroy
        delete-recreate epilog (remove: calling) > remove
          remove       epilog (drop-host: calling) > drop-host files
          drop-host    pending [asked] | operation 4 succeeded
        place          None host=false home=false placed=1
    "#]],
    );
}

#[test]
fn delete_of_a_stopped_vm() {
    check(
        "deploy; drive; stop; drive; delete; run; place",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        stop           save (save: calling) > save
        delete         epilog (drop-home: calling) > drop-home files
          drop-home    done [asked] | operation 4 succeeded
        place          None host=false home=false placed=1
    "#]],
    );
}

#[test]
fn recreate_of_a_stopped_vm() {
    check(
        "deploy; drive; stop; drive; delete-recreate; run; place",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        stop           save (save: calling) > save
        delete-recreate epilog (drop-home: calling) > drop-home files
          drop-home    pending [asked] | operation 4 succeeded
        place          None host=false home=false placed=1
    "#]],
    );
}

#[test]
fn delete_of_an_undeployed_vm() {
    check(
        "deploy; drive; undeploy-hard; drive; delete; run; place",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        undeploy-hard  shutdown (power-off: calling) > destroy
        delete         epilog (drop-home: calling) > drop-home files
          drop-home    done [asked] | operation 4 succeeded
        place          None host=false home=false placed=1
    "#]],
    );
}

#[test]
fn recreate_of_an_undeployed_vm() {
    check(
        "deploy; drive; undeploy-hard; drive; delete-recreate; run; place",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        undeploy-hard  shutdown (power-off: calling) > destroy
        delete-recreate epilog (drop-home: calling) > drop-home files
          drop-home    pending [asked] | operation 4 succeeded
        place          None host=false home=false placed=1
    "#]],
    );
}

#[test]
fn delete_of_a_failed_vm() {
    check(
        "deploy; refused; delete; run; place",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        refused        failed [step-failed] | operation 2 failed: refused
        delete         epilog (remove: calling) > remove
          remove       epilog (drop-host: calling) > drop-host files
          drop-host    done [asked] | operation 3 succeeded
        place          None host=false home=false placed=0
    "#]],
    );
}

#[test]
fn recreate_of_a_failed_vm() {
    check(
        "deploy; refused; delete-recreate; run; place",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        refused        failed [step-failed] | operation 2 failed: refused
        delete-recreate epilog (remove: calling) > remove
          remove       epilog (drop-host: calling) > drop-host files
          drop-host    pending [asked] | operation 3 succeeded
        place          None host=false home=false placed=0
    "#]],
    );
}

#[test]
fn delete_of_an_unknown_vm() {
    check(
        "deploy; drive; blind; delete; run; place",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        blind          unknown [cannot-ask]
        delete         epilog (remove: calling) > remove
          remove       epilog (drop-host: calling) > drop-host files
          drop-host    done [asked] | operation 3 succeeded
        place          None host=false home=false placed=1
    "#]],
    );
}

#[test]
fn recreate_of_an_unknown_vm() {
    check(
        "deploy; drive; blind; delete-recreate; run; place",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        blind          unknown [cannot-ask]
        delete-recreate epilog (remove: calling) > remove
          remove       epilog (drop-host: calling) > drop-host files
          drop-host    pending [asked] | operation 3 succeeded
        place          None host=false home=false placed=1
    "#]],
    );
}

#[test]
fn delete_of_a_vm_paused_by_a_person() {
    check(
        "deploy; drive; paused; look; delete; run; place",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        look           suspended [external]
        delete         epilog (remove: calling) > remove
          remove       epilog (drop-host: calling) > drop-host files
          drop-host    done [asked] | operation 3 succeeded
        place          None host=false home=false placed=1
    "#]],
    );
}

#[test]
fn recreate_of_a_vm_paused_by_a_person() {
    check(
        "deploy; drive; paused; look; delete-recreate; run; place",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        look           suspended [external]
        delete-recreate epilog (remove: calling) > remove
          remove       epilog (drop-host: calling) > drop-host files
          drop-host    pending [asked] | operation 3 succeeded
        place          None host=false home=false placed=1
    "#]],
    );
}

/// The host burnt down: nobody will ever see it empty.
#[test]
fn what_was_left_on_a_host_that_does_not_come_back_is_given_up() {
    check(
        "deploy; drive; host-gone; blind; forget; where; fenced-for-good@2; fenced-for-good@1",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            blind          unknown [cannot-ask]
            forget         done [asked] | operation 3 succeeded
            where          at - left 1g1 (files) | domains: 1 running | files: 1
            fenced-for-good@2 at - left 1g1 (files) | domains: 1 running | files: 1
            fenced-for-good@1 at - | domains: | files:
        "#]],
    );
}
