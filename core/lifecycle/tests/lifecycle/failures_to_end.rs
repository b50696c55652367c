//! Every kind of failure at the steps that end something: save, press, destroy, epilog, delete.

use crate::script::check;
use expect_test::expect;

#[test]
fn save_refused() {
    check(
        "deploy; drive; suspend; refused; ok; memory",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        suspend        save (save: calling) > save
        refused        save (save: settling) > observe
        ok             running [step-failed] | operation 3 failed: refused
        memory         None
    "#]],
    );
}

#[test]
fn save_whose_answer_was_lost_is_not_proven_by_off() {
    check(
        "deploy; drive; suspend; lost; due; tick; ok; memory",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        suspend        save (save: calling) > save
        lost           save (save: backoff)
        due            in 100 ms
        tick           save (save: calling) > save
        ok             suspended [asked] | operation 3 succeeded
        memory         Some((true, false))
    "#]],
    );
}

#[test]
fn save_that_never_arrived_of_a_guest_that_is_off() {
    check(
        "deploy; drive; suspend; unknown; guest-off; tick; ok; ok; memory",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        suspend        save (save: calling) > save
        unknown        save (save: backoff)
        tick           save (save: calling) > save
        ok             save (save: settling) > observe
        ok             poweroff [guest] | operation 3 failed: no-domain
        memory         None
    "#]],
    );
}

#[test]
fn save_and_stop_fails() {
    check(
        "deploy; drive; stop; refused; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        stop           save (save: calling) > save
        refused        save (save: settling) > observe
        ok             running [step-failed] | operation 3 failed: refused
    "#]],
    );
}

#[test]
fn epilog_fails() {
    check(
        "deploy; drive; stop; ok; ok; refused; recover-retry; run; place",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            stop           save (save: calling) > save
            ok             epilog (remove: calling) > remove
            ok             epilog (copy-out: calling) > copy-out disk:vda
            refused        failed [step-failed] | operation 3 failed: refused
            recover-retry  epilog (remove: calling) > remove
              remove       epilog (copy-out: calling) > copy-out disk:vda
              copy-out     epilog (copy-out: calling) > copy-out recovery
              copy-out     epilog (drop-host: calling) > drop-host files
              drop-host    stopped [asked] | operation 4 succeeded
            place          None host=false home=true placed=1
        "#]],
    );
}

#[test]
fn epilog_cannot_ask() {
    check(
        "deploy; drive; stop; ok; host-gone; ok; ok; wait:100; ok; tick; ok; tick; ok; host-back; look; memory",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            stop           save (save: calling) > save
            ok             epilog (remove: calling) > remove
            ok             epilog (remove: confirming) > observe
            ok             epilog (remove: blind)
            wait:100       epilog (remove: confirming) > observe
            ok             epilog (remove: blind)
            tick           epilog (remove: confirming) > observe
            ok             epilog (remove: blind)
            tick           epilog (remove: confirming) > observe
            ok             epilog (remove: blind)
            look           epilog (remove: blind)
            memory         Some((true, false))
        "#]],
    );
}

#[test]
fn press_refused() {
    check(
        "deploy; drive; wait:9; poweroff; refused; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        wait:9         running [asked]
        poweroff       shutdown (press-power: calling) > press-power
        refused        shutdown (press-power: settling) > observe
        ok             running [step-failed] | operation 3 failed: refused
    "#]],
    );
}

#[test]
fn press_lost_on_its_way_is_sent_under_one_identity() {
    check(
        "deploy; drive; wait:9; poweroff; unknown; ok; tick; ok; obey; look",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        wait:9         running [asked]
        poweroff       shutdown (press-power: calling) > press-power
        unknown        shutdown (press-power: confirming) > observe
        ok             shutdown (press-power: backoff)
        tick           shutdown (press-power: calling) > press-power
        ok             shutdown (press-power: waiting)
        look           poweroff [asked] | operation 3 succeeded
    "#]],
    );
}

#[test]
fn press_whose_answer_was_lost() {
    check(
        "deploy; drive; wait:9; shutdown; lost; obey; ok; run",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        wait:9         running [asked]
        shutdown       shutdown (press-power: calling) > press-power
        lost           shutdown (press-power: confirming) > observe
        ok             epilog (remove: calling) > remove
          remove       epilog (drop-host: calling) > drop-host files
          drop-host    done [asked] | operation 3 succeeded
    "#]],
    );
}

#[test]
fn press_of_a_guest_that_is_gone() {
    check(
        "deploy; drive; wait:9; poweroff; undefined; gone; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        wait:9         running [asked]
        poweroff       shutdown (press-power: calling) > press-power
        gone           shutdown (press-power: confirming) > observe
        ok             poweroff [asked] | operation 3 succeeded
    "#]],
    );
}

#[test]
fn reboot_lost_on_its_way_is_sent_under_one_identity() {
    check(
        "deploy; drive; wait:9; reboot; unknown; tick; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        wait:9         running [asked]
        reboot         running (reboot: calling) > reboot
        unknown        running (reboot: backoff)
        tick           running (reboot: calling) > reboot
        ok             running [asked] | operation 3 succeeded
    "#]],
    );
}

#[test]
fn reboot_of_a_guest_that_switches_itself_off() {
    check(
        "deploy; drive; wait:9; reboot; do; guest-off; gone; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        wait:9         running [asked]
        reboot         running (reboot: calling) > reboot
        gone           running (reboot: settling) > observe
        ok             poweroff [guest] | operation 3 failed: gone
    "#]],
    );
}

#[test]
fn reboot_refused() {
    check(
        "deploy; drive; wait:9; reboot; refused; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        wait:9         running [asked]
        reboot         running (reboot: calling) > reboot
        refused        running (reboot: settling) > observe
        ok             running [step-failed] | operation 3 failed: refused
    "#]],
    );
}

#[test]
fn destroy_refused() {
    check(
        "deploy; drive; poweroff-hard; refused; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        poweroff-hard  shutdown (power-off: calling) > destroy
        refused        shutdown (power-off: settling) > observe
        ok             running [step-failed] | operation 3 failed: refused
    "#]],
    );
}

#[test]
fn destroy_lost() {
    check(
        "deploy; drive; poweroff-hard; lost; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        poweroff-hard  shutdown (power-off: calling) > destroy
        lost           shutdown (power-off: confirming) > observe
        ok             poweroff [asked] | operation 3 succeeded
    "#]],
    );
}

#[test]
fn destroy_finds_a_higher_generation() {
    check(
        "deploy; drive; poweroff-hard; above; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        poweroff-hard  shutdown (power-off: calling) > destroy
        ok             unknown [store-is-stale] | operation 3 failed: stale
    "#]],
    );
}

#[test]
fn delete_insists() {
    check(
        "deploy; drive; delete; refused; due; tick; lost; ok; retry; wait:4000; refused; tick; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        delete         epilog (remove: calling) > remove
        refused        epilog (remove: backoff)
        due            in 100 ms
        tick           epilog (remove: calling) > remove
        lost           epilog (remove: confirming) > observe
        ok             epilog (drop-host: calling) > drop-host files
        retry          epilog (drop-host: backoff)
        wait:4000      epilog (drop-host: calling) > drop-host files
        refused        epilog (drop-host: backoff)
        tick           epilog (drop-host: calling) > drop-host files
        ok             done [asked] | operation 3 succeeded
    "#]],
    );
}

#[test]
fn delete_insists_while_the_host_is_away() {
    check(
        "deploy; drive; host-gone; delete; ok; ok; tick; ok; wait:500; ok; tick; ok; tick; ok; tick; ok; tick; ok; why; host-back; tick; ok; tick; run",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            delete         epilog (remove: calling) > remove
            ok             epilog (remove: confirming) > observe
            ok             epilog (remove: blind)
            tick           epilog (remove: confirming) > observe
            ok             epilog (remove: blind)
            wait:500       epilog (remove: confirming) > observe
            ok             epilog (remove: blind)
            tick           epilog (remove: confirming) > observe
            ok             epilog (remove: blind)
            tick           epilog (remove: confirming) > observe
            ok             epilog (remove: blind)
            tick           epilog (remove: confirming) > observe
            ok             epilog (remove: blind)
            tick           epilog (remove: confirming) > observe
            ok             epilog (remove: blind)
            why            [Answer { host: Some(HostId(1)) }]
            tick           epilog (remove: confirming) > observe
            ok             epilog (remove: backoff)
            tick           epilog (remove: calling) > remove
              remove       epilog (drop-host: calling) > drop-host files
              drop-host    done [asked] | operation 3 succeeded
        "#]],
    );
}

#[test]
fn delete_beside_a_domain_that_is_not_ours() {
    check(
        "deploy; drive; foreign; delete; ok; undefined; tick; ok; ok",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            delete         epilog (remove: calling) > remove
            ok             epilog (remove: backoff)
            tick           epilog (remove: calling) > remove
            ok             epilog (drop-host: calling) > drop-host files
            ok             done [asked] | operation 3 succeeded
        "#]],
    );
}

#[test]
fn delete_with_a_store_that_is_stale() {
    check(
        "deploy; drive; above; delete; ok",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        delete         epilog (remove: calling) > remove
        ok             unknown [store-is-stale] | operation 3 failed: stale
    "#]],
    );
}
