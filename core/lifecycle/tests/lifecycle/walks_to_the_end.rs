//! The happy path of the verbs that end a VM, or make it as new.

use crate::script::check;
use expect_test::expect;

#[test]
fn delete_of_what_never_was_placed() {
    check(
        "delete; delete; resume; delete-recreate",
        expect![[r#"
            delete         done [asked] | operation 2 succeeded
            delete         done [asked] | already so
            resume         refused wrong-state: WrongState { state: Done }
            delete-recreate refused wrong-state: WrongState { state: Done }
        "#]],
    );
}

#[test]
fn shutdown() {
    check(
        "deploy; drive; wait:9; shutdown; ok; obey; look; run; place; shutdown; delete; delete-recreate; resume",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            wait:9         running [asked]
            shutdown       shutdown (press-power: calling) > press-power
            ok             shutdown (press-power: waiting)
            look           epilog (remove: calling) > remove
              remove       epilog (drop-host: calling) > drop-host files
              drop-host    done [asked] | operation 3 succeeded
            place          None host=false home=false placed=1
            shutdown       done [asked] | already so
            delete         done [asked] | already so
            delete-recreate refused wrong-state: WrongState { state: Done }
            resume         refused wrong-state: WrongState { state: Done }
        "#]],
    );
}

#[test]
fn shutdown_hard() {
    check(
        "deploy; drive; shutdown-hard; run",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        shutdown-hard  shutdown (power-off: calling) > destroy
          destroy      epilog (remove: calling) > remove
          remove       epilog (drop-host: calling) > drop-host files
          drop-host    done [asked] | operation 3 succeeded
    "#]],
    );
}

#[test]
fn shutdown_of_a_suspended_vm() {
    check(
        "deploy; drive; suspend; drive; shutdown; run",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        suspend        save (save: calling) > save
        shutdown       epilog (remove: calling) > remove
          remove       epilog (drop-host: calling) > drop-host files
          drop-host    done [asked] | operation 4 succeeded
    "#]],
    );
}

#[test]
fn shutdown_of_a_vm_that_is_off() {
    check(
        "deploy; drive; poweroff-hard; drive; shutdown-hard; run",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        poweroff-hard  shutdown (power-off: calling) > destroy
        shutdown-hard  epilog (remove: calling) > remove
          remove       epilog (drop-host: calling) > drop-host files
          drop-host    done [asked] | operation 4 succeeded
    "#]],
    );
}

#[test]
fn shutdown_of_a_stopped_vm() {
    check(
        "deploy; drive; stop; drive; shutdown; run; place",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            stop           save (save: calling) > save
            shutdown       epilog (drop-home: calling) > drop-home files
              drop-home    done [asked] | operation 4 succeeded
            place          None host=false home=false placed=1
        "#]],
    );
}

#[test]
fn shutdown_of_an_undeployed_vm() {
    check(
        "deploy; drive; undeploy-hard; drive; shutdown; run; place",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            undeploy-hard  shutdown (power-off: calling) > destroy
            shutdown       epilog (drop-home: calling) > drop-home files
              drop-home    done [asked] | operation 4 succeeded
            place          None host=false home=false placed=1
        "#]],
    );
}

#[test]
fn delete_of_a_running_vm() {
    check(
        "deploy; drive; delete; run; delete",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        delete         epilog (remove: calling) > remove
          remove       epilog (drop-host: calling) > drop-host files
          drop-host    done [asked] | operation 3 succeeded
        delete         done [asked] | already so
    "#]],
    );
}

#[test]
fn recreate_is_as_new() {
    check(
        "deploy; drive; delete-recreate; run; place; memory; deploy; run; place",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        delete-recreate epilog (remove: calling) > remove
          remove       epilog (drop-host: calling) > drop-host files
          drop-host    pending [asked] | operation 3 succeeded
        place          None host=false home=false placed=1
        memory         None
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
          prepare      boot (boot: calling) > deploy
          deploy       running [asked] | operation 4 succeeded
        place          Some(2) host=true home=false placed=2
    "#]],
    );
}

#[test]
fn recreate_of_a_stopped_vm_drops_its_memory() {
    check(
        "deploy; drive; stop; drive; resume; delete-recreate; run; memory; place",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            stop           save (save: calling) > save
            resume         pending [asked] | operation 4 succeeded
            delete-recreate epilog (drop-home: calling) > drop-home files
              drop-home    pending [asked] | operation 5 succeeded
            memory         None
            place          None host=false home=false placed=1
        "#]],
    );
}
