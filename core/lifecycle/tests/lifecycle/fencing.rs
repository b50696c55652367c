//! Hosts that are lost: a VM is started elsewhere, or forgotten, and what comes back with the host
//! is put away.

use crate::script::{Stage, check, check_on};
use expect_test::expect;

#[test]
fn fenced_on_shared_storage() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; plug-pulled@1; blind; migrate@2; migrate@2:fenced; run; where; sweep@1; host-back@1; sweep@1; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            blind          unknown [cannot-ask]
            migrate@2      refused not-fenced: MayStillRun
            migrate@2:fenced boot (boot: calling) > deploy
              deploy       running [asked] | operation 4 succeeded
            where          at 2g2 left 1g1 | domains: 1 off 2 running | files: 0
            sweep@1        nothing is swept
            sweep@1        running [asked]
            where          at 2g2 | domains: 2 running | files: 0
        "#]],
    );
}

#[test]
fn fenced_with_files_on_the_host() {
    check(
        "deploy; drive; plug-pulled@1; blind; migrate@2:fenced; bring@2; migrate@2:fenced-moved; run; where; host-back@1; sweep@1; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            blind          unknown [cannot-ask]
            migrate@2:fenced refused not-fenced: FilesOnLostHost
            migrate@2:fenced-moved boot (boot: calling) > deploy
              deploy       running [asked] | operation 4 succeeded
            where          at 2g2 left 1g1 (files) | domains: 1 off 2 running | files: 1 2
            sweep@1        running [asked]
            where          at 2g2 | domains: 2 running | files: 2
        "#]],
    );
}

#[test]
fn a_host_that_answers_is_not_fenced() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; blind; migrate@2:fenced; look; migrate@2; run",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            blind          unknown [cannot-ask]
            migrate@2:fenced refused contradicted: AnswersWith { seen: Running }
            look           running [seen-again]
            migrate@2      save (save: calling) > save
              save         migrate (remove: calling) > remove
              remove       boot (restore: calling) > restore
              restore      boot (unpause: calling) > unpause
              unpause      boot (drop-recovery: calling) > drop-recovery recovery
              drop-recovery running [asked] | operation 4 succeeded
        "#]],
    );
}

#[test]
fn a_host_that_answers_that_it_is_off() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; blind; off; migrate@2:fenced; look; migrate@2; run",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            blind          unknown [cannot-ask]
            migrate@2:fenced refused contradicted: AnswersWith { seen: Off }
            look           poweroff [destroyed-outside]
            migrate@2      migrate (remove: calling) > remove
              remove       poweroff [asked] | operation 4 succeeded
        "#]],
    );
}

#[test]
fn fenced_and_it_does_not_start() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; plug-pulled@1; blind; migrate@2:fenced; refused; run; tick; run; tick; run; tick; run; tick; run; where; host-back@1; look; where; resume; run",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            blind          unknown [cannot-ask]
            migrate@2:fenced boot (boot: calling) > deploy
            refused        migrate (undo remove: calling) > remove
              remove       migrate (undo end: settling) > observe
              observe      migrate (undo end: blind)
            tick           migrate (undo end: settling) > observe
              observe      migrate (undo end: blind)
            tick           migrate (undo end: settling) > observe
              observe      migrate (undo end: blind)
            tick           migrate (undo end: settling) > observe
              observe      migrate (undo end: blind)
            tick           migrate (undo end: settling) > observe
              observe      unknown [cannot-ask] | operation 3 failed: refused
            where          at 1g1 | domains: 1 off | files: 0
            look           poweroff [crashed]
            where          at 1g1 | domains: 1 off | files: 0
            resume         boot (boot: calling) > deploy
              deploy       running [asked] | operation 4 succeeded
        "#]],
    );
}

#[test]
fn fenced_and_its_start_is_lost() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; plug-pulled@1; blind; migrate@2:fenced; lost; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            blind          unknown [cannot-ask]
            migrate@2:fenced boot (boot: calling) > deploy
            lost           boot (boot: confirming) > observe
              observe      running [asked] | operation 3 succeeded
            where          at 2g2 left 1g1 | domains: 1 off 2 running | files: 0
        "#]],
    );
}

#[test]
fn fenced_with_files_brought_and_it_does_not_start() {
    check(
        "deploy; drive; plug-pulled@1; blind; bring@2; migrate@2:fenced-moved; refused; go:20; where; host-back@1; look; where; resume; run",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            blind          unknown [cannot-ask]
            migrate@2:fenced-moved boot (boot: calling) > deploy
            refused        migrate (undo remove: calling) > remove
            go:20          unknown [cannot-ask] | operation 3 failed: refused
            where          at 1g1 | domains: 1 off | files: 1 2
            look           poweroff [crashed]
            where          at 1g1 | domains: 1 off | files: 1 2
            resume         boot (boot: calling) > deploy
              deploy       running [asked] | operation 4 succeeded
        "#]],
    );
}

#[test]
fn fenced_and_restarted() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; plug-pulled@1; blind; migrate@2:fenced; restart-after; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            blind          unknown [cannot-ask]
            migrate@2:fenced boot (boot: calling) > deploy
            restart-after  boot (boot: confirming) > observe
              observe      running [asked] | operation 3 succeeded
            where          at 2g2 left 1g1 | domains: 1 off 2 running | files: 0
        "#]],
    );
}

#[test]
fn fenced_twice() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; plug-pulled@1; blind; migrate@2:fenced; run; plug-pulled@2; blind; migrate@3:fenced; run; where; host-back; sweep@1; sweep@2; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            blind          unknown [cannot-ask]
            migrate@2:fenced boot (boot: calling) > deploy
              deploy       running [asked] | operation 3 succeeded
            blind          unknown [cannot-ask]
            migrate@3:fenced boot (boot: calling) > deploy
              deploy       running [asked] | operation 4 succeeded
            where          at 3g3 left 1g1 left 2g2 | domains: 1 off 2 off 3 running | files: 0
            sweep@1        running [asked]
            sweep@2        running [asked]
            where          at 3g3 | domains: 3 running | files: 0
        "#]],
    );
}

#[test]
fn fenced_and_back_where_it_was() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; plug-pulled@1; blind; migrate@2:fenced; run; host-back@1; migrate@1; sweep@1; migrate@1; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            blind          unknown [cannot-ask]
            migrate@2:fenced boot (boot: calling) > deploy
              deploy       running [asked] | operation 3 succeeded
            migrate@1      refused no-host: HostUnfit { host: HostId(1), why: Leftover }
            sweep@1        running [asked]
            migrate@1      save (save: calling) > save
              save         migrate (remove: calling) > remove
              remove       boot (restore: calling) > restore
              restore      boot (unpause: calling) > unpause
              unpause      boot (drop-recovery: calling) > drop-recovery recovery
              drop-recovery running [asked] | operation 5 succeeded
            where          at 1g3 | domains: 1 running | files: 0
        "#]],
    );
}

#[test]
fn fenced_and_deleted_before_the_old_host_is_back() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; plug-pulled@1; blind; migrate@2:fenced; run; delete; run; where; host-back@1; sweep@1; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            blind          unknown [cannot-ask]
            migrate@2:fenced boot (boot: calling) > deploy
              deploy       running [asked] | operation 3 succeeded
            delete         epilog (remove: calling) > remove
              remove       epilog (drop-host: calling) > drop-host files
              drop-host    done [asked] | operation 4 succeeded
            where          at - left 1g1 | domains: 1 off | files:
            sweep@1        done [asked]
            where          at - | domains: | files:
        "#]],
    );
}

#[test]
fn the_old_host_was_not_off_after_all() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; host-gone@1; blind; off; migrate@2:fenced; run; host-back@1; where; sweep@1; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            blind          unknown [cannot-ask]
            migrate@2:fenced boot (boot: calling) > deploy
              deploy       running [asked] | operation 3 succeeded
            where          at 2g2 left 1g1 | domains: 1 off 2 running | files: 0
            sweep@1        running [asked]
            where          at 2g2 | domains: 2 running | files: 0
        "#]],
    );
}

#[test]
fn fenced_of_a_suspended_one_that_is_unknown() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; suspend; drive; io-error; preserved; look; where; memory",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            suspend        save (save: calling) > save
            look           unknown [guest-crashed]
            where          at 1g1 | domains: 1 crashed | files: 0
            memory         None
        "#]],
    );
}

#[test]
fn forget_of_a_lost_host() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; plug-pulled@1; blind; forget; where; host-back@1; sweep@1; where; delete; forget",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            blind          unknown [cannot-ask]
            forget         done [asked] | operation 3 succeeded
            where          at - left 1g1 (files) | domains: 1 off | files: 0
            sweep@1        done [asked]
            where          at - | domains: | files:
            delete         done [asked] | already so
            forget         done [asked] | already so
        "#]],
    );
}

#[test]
fn forget_of_files_on_a_lost_host() {
    check(
        "deploy; drive; plug-pulled@1; blind; forget; where; host-back@1; sweep@1; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            blind          unknown [cannot-ask]
            forget         done [asked] | operation 3 succeeded
            where          at - left 1g1 (files) | domains: 1 off | files: 1
            sweep@1        done [asked]
            where          at - | domains: | files:
        "#]],
    );
}

#[test]
fn forget_of_a_host_that_answers() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; forget; forget!; where; sweep@1; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            forget         refused contradicted: AnswersForForget
            forget!        done [asked] | operation 4 succeeded
            where          at - left 1g1 (files) | domains: 1 running | files: 0
            sweep@1        done [asked]
            where          at - | domains: | files:
        "#]],
    );
}

#[test]
fn forget_of_what_is_at_the_front_end() {
    check(
        "deploy; drive; stop; drive; forget; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            stop           save (save: calling) > save
            forget         epilog (drop-home: calling) > drop-home files
              drop-home    done [asked] | operation 4 succeeded
            where          at - | domains: | files:
        "#]],
    );
}

#[test]
fn forget_while_it_starts() {
    check(
        "deploy; host-gone@1; forget; where; unknown; where; host-back@1; sweep@1; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            forget         epilog (end: draining) > cancel disk:vda | operation 2 superseded by 3
            where          at - left 1g1 (files) | domains: | files:
            unknown        done [asked] | operation 3 succeeded
            where          at - left 1g1 (files) | domains: | files:
            sweep@1        done [asked]
            where          at - | domains: | files:
        "#]],
    );
}

#[test]
fn forget_while_it_starts_and_it_starts_late() {
    check(
        "deploy; ok; forget; forget!; where; ok; where; sweep@1; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            ok             boot (boot: calling) > deploy
            forget         refused contradicted: AnswersForForget
            forget!        epilog (end: draining) > cancel domain | operation 2 superseded by 4
            where          at - left 1g1 (files) | domains: | files: 1
            ok             done [asked] | operation 4 succeeded
            where          at - left 1g1 (files) | domains: 1 running | files: 1
            sweep@1        done [asked]
            where          at - | domains: | files:
        "#]],
    );
}

#[test]
fn forget_while_it_is_deleted() {
    check(
        "deploy; drive; delete; host-gone@1; forget; unknown; where; host-back@1; sweep@1; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            delete         epilog (remove: calling) > remove
            forget         epilog (end: draining) > cancel domain | operation 3 superseded by 4
            unknown        done [asked] | operation 4 succeeded
            where          at - left 1g1 (files) | domains: 1 running | files: 1
            sweep@1        done [asked]
            where          at - | domains: | files:
        "#]],
    );
}

#[test]
fn forget_while_it_moves() {
    check(
        "deploy; drive; migrate-live@2; ok; host-gone; forget; do; unknown; where; host-back; sweep@1; sweep@2; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 migrate (prepare-other: calling) > prepare disk:vda
            ok             migrate (migrate: calling) > migrate
            forget         epilog (end: draining) > cancel domain | operation 3 superseded by 4
            unknown        done [asked] | operation 4 succeeded
            where          at - left 1g1 (files) left 2g2 (files) | domains: 1 running | files: 1 2
            sweep@1        done [asked]
            sweep@2        done [asked]
            where          at - | domains: | files:
        "#]],
    );
}

#[test]
fn forget_while_it_moves_on_shared_storage() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; migrate-live@2; forget!; ok; where; sweep@2; sweep@1; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 migrate (migrate: calling) > migrate
            forget!        epilog (end: draining) > cancel domain | operation 3 superseded by 4
            ok             done [asked] | operation 4 succeeded
            where          at - left 1g1 (files) left 2g2 | domains: 2 running | files: 0
            sweep@2        done [asked]
            sweep@1        done [asked]
            where          at - | domains: | files:
        "#]],
    );
}

#[test]
fn forget_after_a_restart() {
    check(
        "deploy; ok; host-gone@1; forget; restart; where; host-back@1; sweep@1; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            ok             boot (boot: calling) > deploy
            forget         epilog (end: draining) > cancel domain | operation 2 superseded by 3
            restart        done [asked] | operation 3 succeeded
            where          at - left 1g1 (files) | domains: | files: 1
            sweep@1        done [asked]
            where          at - | domains: | files:
        "#]],
    );
}

#[test]
fn forget_during_a_reboot() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; wait:99; reboot; forget!; ok; where; sweep@1; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            wait:99        running [asked]
            reboot         running (reboot: calling) > reboot
            forget!        epilog (end: draining) > cancel domain | operation 3 superseded by 4
            ok             done [asked] | operation 4 succeeded
            where          at - left 1g1 (files) | domains: 1 running | files: 0
            sweep@1        done [asked]
            where          at - | domains: | files:
        "#]],
    );
}

#[test]
fn forget_of_what_never_was_placed() {
    check(
        "forget; where",
        expect![[r#"
            forget         done [asked] | operation 2 succeeded
            where          at - | domains: | files:
        "#]],
    );
}
