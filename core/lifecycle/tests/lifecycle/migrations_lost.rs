//! A live migration that ended without a word, because hosts were silent or gone: both are seen, or
//! somebody states where it is.

use crate::script::{Stage, check, check_on};
use expect_test::expect;

#[test]
fn half_way_and_the_answer_is_lost() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; migrate-live@2; half-moved; unknown; run; moved; tick; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 migrate (migrate: calling) > migrate
            unknown        migrate (migrate: confirming) > observe
              observe      migrate (migrate: waiting)
            tick           migrate (migrate: confirming) > observe
              observe      migrate (remove-other: calling) > remove
              remove       running [asked] | operation 3 succeeded
            where          at 2g2 | domains: 2 running | files: 0
        "#]],
    );
}

#[test]
fn the_other_host_is_gone_and_it_did_not_move() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; migrate-live@2; host-gone@2; unknown; go:9; wait:9999; ok; where; look; host-back@2; look; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 migrate (migrate: calling) > migrate
            unknown        migrate (migrate: confirming) > observe
            go:9           migrate (migrate: blind)
            wait:9999      migrate (migrate: confirming) > observe
            ok             unknown [cannot-ask] | operation 3 failed: unknown
            where          at 1g1 other 2g2 (domain) | domains: 1 running | files: 0
            look           unknown [cannot-ask]
            look           running [seen-again]
            where          at 1g1 | domains: 1 running | files: 0
        "#]],
    );
}

#[test]
fn the_other_host_is_gone_and_it_moved() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; migrate-live@2; do; host-gone@2; unknown; go:9; wait:9999; ok; where; look; why; host-back@2; look; where; sweep@1; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 migrate (migrate: calling) > migrate
            unknown        migrate (migrate: confirming) > observe
            go:9           migrate (migrate: blind)
            wait:9999      migrate (migrate: confirming) > observe
            ok             unknown [cannot-ask] | operation 3 failed: unknown
            where          at 1g1 other 2g2 (domain) | domains: 2 running | files: 0
            look           unknown [cannot-ask]
            why            [BothHosts { hosts: [HostId(1), HostId(2)] }]
            look           running [seen-again]
            where          at 2g2 | domains: 2 running | files: 0
            sweep@1        nothing is swept
            where          at 2g2 | domains: 2 running | files: 0
        "#]],
    );
}

#[test]
fn the_other_host_is_gone_and_it_was_refused() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; migrate-live@2; host-gone@2; refused; go:9; wait:9999; ok; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 migrate (migrate: calling) > migrate
            refused        migrate (migrate: confirming) > observe
            go:9           migrate (migrate: blind)
            wait:9999      migrate (migrate: confirming) > observe
            ok             unknown [cannot-ask] | operation 3 failed: refused
            where          at 1g1 other 2g2 (domain) | domains: 1 running | files: 0
        "#]],
    );
}

#[test]
fn both_hosts_are_gone_and_it_moved() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; migrate-live@2; do; host-gone; unknown; go:9; wait:9999; go:30; where; host-back@1; look; where; host-back@2; look; where; sweep@1; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 migrate (migrate: calling) > migrate
            unknown        migrate (migrate: confirming) > observe
            go:9           migrate (migrate: blind)
            wait:9999      migrate (migrate: confirming) > observe
            go:30          unknown [cannot-ask] | operation 3 failed: unknown
            where          at 1g1 other 2g2 (domain) | domains: 2 running | files: 0
            look           unknown [cannot-ask]
            where          at 1g1 other 2g2 (domain) | domains: 2 running | files: 0
            look           running [seen-again]
            where          at 2g2 | domains: 2 running | files: 0
            sweep@1        nothing is swept
            where          at 2g2 | domains: 2 running | files: 0
        "#]],
    );
}

#[test]
fn both_hosts_are_gone_and_it_did_not_move() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; migrate-live@2; host-gone; unknown; go:9; wait:9999; go:30; where; host-back@1; look; where; host-back@2; look; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 migrate (migrate: calling) > migrate
            unknown        migrate (migrate: confirming) > observe
            go:9           migrate (migrate: blind)
            wait:9999      migrate (migrate: confirming) > observe
            go:30          unknown [cannot-ask] | operation 3 failed: unknown
            where          at 1g1 other 2g2 (domain) | domains: 1 running | files: 0
            look           unknown [cannot-ask]
            where          at 1g1 other 2g2 (domain) | domains: 1 running | files: 0
            look           running [seen-again]
            where          at 1g1 | domains: 1 running | files: 0
        "#]],
    );
}

#[test]
fn the_old_host_is_gone_and_it_moved() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; migrate-live@2; do; host-gone@1; unknown; run; go:20; where; host-back@1; sweep@1; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 migrate (migrate: calling) > migrate
            unknown        migrate (migrate: confirming) > observe
              observe      migrate (remove-other: calling) > remove
              remove       migrate (remove-other: confirming) > observe
              observe      migrate (remove-other: blind)
            go:20          running [asked] | operation 3 succeeded
            where          at 2g2 left 1g1 | domains: 2 running | files: 0
            sweep@1        running [asked]
            where          at 2g2 | domains: 2 running | files: 0
        "#]],
    );
}

#[test]
fn unknown_and_nothing_but_the_end_is_done() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; migrate-live@2; do; host-gone@2; unknown; go:9; wait:9999; ok; resume; migrate@3; boot; poweroff-hard; suspend; resched; rename:other; recover-retry; delete; ok; where; host-back@2; wait:999; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 migrate (migrate: calling) > migrate
            unknown        migrate (migrate: confirming) > observe
            go:9           migrate (migrate: blind)
            wait:9999      migrate (migrate: confirming) > observe
            ok             unknown [cannot-ask] | operation 3 failed: unknown
            resume         refused cannot-ask: AtOneOfTwoHosts
            migrate@3      refused cannot-ask: AtOneOfTwoHosts
            boot           refused cannot-ask: AtOneOfTwoHosts
            poweroff-hard  refused cannot-ask: AtOneOfTwoHosts
            suspend        refused cannot-ask: AtOneOfTwoHosts
            resched        unknown [cannot-ask] | operation 9 succeeded
            rename:other   unknown [cannot-ask] | operation 10 succeeded
            recover-retry  refused nothing-to-recover: NoStepOfMigration
            delete         epilog (remove: calling) > remove
            ok             epilog (remove-other: calling) > remove
            where          at 1g1 other 2g2 (domain) | domains: 2 running | files: 0
            wait:999       epilog (remove-other: calling)
              remove       epilog (drop-host: calling) > drop-host files
              drop-host    done [asked] | operation 12 succeeded
            where          at - | domains: | files:
        "#]],
    );
}

#[test]
fn unknown_and_forgotten() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; migrate-live@2; do; host-gone@2; unknown; go:9; wait:9999; ok; forget; forget!; where; sweep@1; where; host-back@2; sweep@2; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 migrate (migrate: calling) > migrate
            unknown        migrate (migrate: confirming) > observe
            go:9           migrate (migrate: blind)
            wait:9999      migrate (migrate: confirming) > observe
            ok             unknown [cannot-ask] | operation 3 failed: unknown
            forget         refused contradicted: AnswersForForget
            forget!        done [asked] | operation 5 succeeded
            where          at - left 1g1 (files) left 2g2 | domains: 2 running | files: 0
            sweep@1        nothing is swept
            where          at - left 1g1 (files) left 2g2 | domains: 2 running | files: 0
            sweep@2        done [asked]
            where          at - left 1g1 (files) | domains: | files: 0
        "#]],
    );
}

#[test]
fn the_other_host_is_lost_and_it_did_not_move() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; migrate-live@2; host-gone@2; unknown; go:9; wait:9999; ok; look; recover-retry; recover-success; recover-failure; where; look; where; host-back@2; sweep@2; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 migrate (migrate: calling) > migrate
            unknown        migrate (migrate: confirming) > observe
            go:9           migrate (migrate: blind)
            wait:9999      migrate (migrate: confirming) > observe
            ok             unknown [cannot-ask] | operation 3 failed: unknown
            look           unknown [cannot-ask]
            recover-retry  refused nothing-to-recover: NoStepOfMigration
            recover-success refused contradicted: ArrivalUnseen { seen: Some(Running) }
            recover-failure unknown [cannot-ask] | operation 6 succeeded
            where          at 1g1 left 2g2 | domains: 1 running | files: 0
            look           running [seen-again]
            where          at 1g1 left 2g2 | domains: 1 running | files: 0
            sweep@2        running [seen-again]
            where          at 1g1 | domains: 1 running | files: 0
        "#]],
    );
}

#[test]
fn the_old_host_is_lost_and_it_moved() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; migrate-live@2; do; host-gone; unknown; go:9; wait:9999; go:30; host-back@2; look; recover-failure; recover-success; recover-success!; where; look; where; host-back@1; sweep@1; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 migrate (migrate: calling) > migrate
            unknown        migrate (migrate: confirming) > observe
            go:9           migrate (migrate: blind)
            wait:9999      migrate (migrate: confirming) > observe
            go:30          unknown [cannot-ask] | operation 3 failed: unknown
            look           unknown [cannot-ask]
            recover-failure refused contradicted: ArrivalUnseen { seen: None }
            recover-success refused contradicted: ArrivalUnseen { seen: None }
            recover-success! unknown [cannot-ask] | operation 6 succeeded
            where          at 2g2 left 1g1 | domains: 2 running | files: 0
            look           running [seen-again]
            where          at 2g2 left 1g1 | domains: 2 running | files: 0
            sweep@1        running [seen-again]
            where          at 2g2 | domains: 2 running | files: 0
        "#]],
    );
}

#[test]
fn the_other_host_is_lost_and_it_moved() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; migrate-live@2; do; host-gone@2; unknown; go:9; wait:9999; ok; look; recover-failure; recover-success; where; look; blind; host-back@2; look; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 migrate (migrate: calling) > migrate
            unknown        migrate (migrate: confirming) > observe
            go:9           migrate (migrate: blind)
            wait:9999      migrate (migrate: confirming) > observe
            ok             unknown [cannot-ask] | operation 3 failed: unknown
            look           unknown [cannot-ask]
            recover-failure refused contradicted: ArrivalUnseen { seen: Some(Absent) }
            recover-success unknown [cannot-ask] | operation 5 succeeded
            where          at 2g2 left 1g1 | domains: 2 running | files: 0
            look           unknown [cannot-ask]
            blind          unknown [cannot-ask]
            look           running [seen-again]
            where          at 2g2 left 1g1 | domains: 2 running | files: 0
        "#]],
    );
}

#[test]
fn it_moved_and_went_off_there() {
    check(
        "deploy; drive; migrate-live@2; ok; do; host-gone; unknown; go:9; wait:9999; go:30; guest-off@2; host-back; look; where; resume; drive; where; sweep@1; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 migrate (prepare-other: calling) > prepare disk:vda
            ok             migrate (migrate: calling) > migrate
            unknown        migrate (migrate: confirming) > observe
            go:9           migrate (migrate: blind)
            wait:9999      migrate (migrate: confirming) > observe
            go:30          unknown [cannot-ask] | operation 3 failed: unknown
            look           poweroff [guest]
            where          at 2g2 left 1g1 (files) | domains: 2 off | files: 1 2
            resume         boot (boot: calling) > deploy
            where          at 2g2 left 1g1 (files) | domains: 2 running | files: 1 2
            sweep@1        running [asked]
            where          at 2g2 | domains: 2 running | files: 2
        "#]],
    );
}

#[test]
fn it_moved_and_vanished_there() {
    check(
        "deploy; drive; migrate-live@2; ok; do; host-gone; unknown; go:9; wait:9999; go:30; undefined@2; host-back; look; where; recover-success; where; look; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 migrate (prepare-other: calling) > prepare disk:vda
            ok             migrate (migrate: calling) > migrate
            unknown        migrate (migrate: confirming) > observe
            go:9           migrate (migrate: blind)
            wait:9999      migrate (migrate: confirming) > observe
            go:30          unknown [cannot-ask] | operation 3 failed: unknown
            look           unknown [cannot-ask]
            where          at 1g1 other 2g2 (domain) | domains: | files: 1 2
            recover-success unknown [cannot-ask] | operation 4 succeeded
            where          at 2g2 left 1g1 (files) | domains: | files: 1 2
            look           poweroff [destroyed-outside]
            where          at 2g2 left 1g1 (files) | domains: | files: 1 2
        "#]],
    );
}

#[test]
fn it_moved_and_stands_still_there() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; migrate-live@2; do; host-gone; unknown; go:9; wait:9999; go:30; io-error@2; host-back; look; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 migrate (migrate: calling) > migrate
            unknown        migrate (migrate: confirming) > observe
            go:9           migrate (migrate: blind)
            wait:9999      migrate (migrate: confirming) > observe
            go:30          unknown [cannot-ask] | operation 3 failed: unknown
            look           unknown [io-error]
            where          at 2g2 | domains: 2 paused | files: 0
        "#]],
    );
}

#[test]
fn it_moved_and_the_source_stands_still() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; migrate-live@2; half-moved; host-gone; unknown; go:9; wait:9999; go:30; starting@2; host-back; look; where; unmoved; look; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 migrate (migrate: calling) > migrate
            unknown        migrate (migrate: confirming) > observe
            go:9           migrate (migrate: blind)
            wait:9999      migrate (migrate: confirming) > observe
            go:30          unknown [cannot-ask] | operation 3 failed: unknown
            look           unknown [cannot-ask]
            where          at 1g1 other 2g2 (domain) | domains: 1 paused 2 paused | files: 0
            look           suspended [external]
            where          at 1g1 | domains: 1 paused | files: 0
        "#]],
    );
}
