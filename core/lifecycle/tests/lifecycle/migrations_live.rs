//! A VM that moves while it runs: what was said counts less than where it is seen.

use crate::script::{Stage, check, check_on};
use expect_test::expect;

#[test]
fn prepare_refused() {
    check(
        "deploy; drive; migrate-live@2; refused; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 migrate (prepare-other: calling) > prepare disk:vda
            refused        migrate (undo drop-other: calling) > drop-host files
              drop-host    migrate (undo end: settling) > observe
              observe      running [step-failed] | operation 3 failed: refused
            where          at 1g1 | domains: 1 running | files: 1
        "#]],
    );
}

#[test]
fn refused() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; migrate-live@2; refused; run; where; place",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 migrate (migrate: calling) > migrate
            refused        migrate (migrate: confirming) > observe
              observe      migrate (migrate: settling) > observe
              observe      migrate (undo remove-other: calling) > remove
              remove       boot (undo unpause: calling) > unpause
              unpause      boot (undo end: settling) > observe
              observe      running [step-failed] | operation 3 failed: refused
            where          at 1g1 | domains: 1 running | files: 0
            place          Some(1) host=true home=false placed=1
        "#]],
    );
}

#[test]
fn refused_with_disks_of_its_own() {
    check(
        "deploy; drive; migrate-live@2; ok; refused; run; where; place",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 migrate (prepare-other: calling) > prepare disk:vda
            ok             migrate (migrate: calling) > migrate
            refused        migrate (migrate: confirming) > observe
              observe      migrate (migrate: settling) > observe
              observe      migrate (undo remove-other: calling) > remove
              remove       boot (undo unpause: calling) > unpause
              unpause      migrate (undo drop-other: calling) > drop-host files
              drop-host    migrate (undo end: settling) > observe
              observe      running [step-failed] | operation 3 failed: refused
            where          at 1g1 | domains: 1 running | files: 1
            place          Some(1) host=true home=false placed=1
        "#]],
    );
}

#[test]
fn retry_until_the_deadline() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; migrate-live@2; retry; tick; retry; tick; wait:4000; retry; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 migrate (migrate: calling) > migrate
            retry          migrate (migrate: backoff)
            tick           migrate (migrate: calling) > migrate
            retry          migrate (migrate: backoff)
            tick           migrate (migrate: calling) > migrate
            wait:4000      migrate (migrate: calling)
            retry          migrate (migrate: settling) > observe
              observe      migrate (undo remove-other: calling) > remove
              remove       boot (undo unpause: calling) > unpause
              unpause      boot (undo end: settling) > observe
              observe      running [step-failed] | operation 3 failed: retry
            where          at 1g1 | domains: 1 running | files: 0
        "#]],
    );
}

#[test]
fn the_answer_is_lost_and_it_moved() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; migrate-live@2; lost; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 migrate (migrate: calling) > migrate
            lost           migrate (migrate: confirming) > observe
              observe      migrate (remove-other: calling) > remove
              remove       running [asked] | operation 3 succeeded
            where          at 2g2 | domains: 2 running | files: 0
        "#]],
    );
}

#[test]
fn the_answer_is_lost_and_it_did_not_move() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; migrate-live@2; unknown; run; tick; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 migrate (migrate: calling) > migrate
            unknown        migrate (migrate: confirming) > observe
              observe      migrate (migrate: backoff)
            tick           migrate (migrate: calling) > migrate
              migrate      migrate (migrate: confirming) > observe
              observe      migrate (remove-other: calling) > remove
              remove       running [asked] | operation 3 succeeded
            where          at 2g2 | domains: 2 running | files: 0
        "#]],
    );
}

#[test]
fn the_answer_is_refused_and_it_moved() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; migrate-live@2; do; refused; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 migrate (migrate: calling) > migrate
            refused        migrate (migrate: confirming) > observe
              observe      migrate (remove-other: calling) > remove
              remove       running [asked] | operation 3 succeeded
            where          at 2g2 | domains: 2 running | files: 0
        "#]],
    );
}

#[test]
fn cancelled() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; migrate-live@2; cancelled; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 migrate (migrate: calling) > migrate
            cancelled      migrate (migrate: confirming) > observe
              observe      migrate (migrate: settling) > observe
              observe      migrate (undo remove-other: calling) > remove
              remove       boot (undo unpause: calling) > unpause
              unpause      boot (undo end: settling) > observe
              observe      running [step-failed] | operation 3 failed: cancelled
            where          at 1g1 | domains: 1 running | files: 0
        "#]],
    );
}

#[test]
fn gone_and_the_source_is_gone() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; migrate-live@2; destroyed@1; ok; run; where; look",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 migrate (migrate: calling) > migrate
            ok             migrate (migrate: confirming) > observe
              observe      migrate (migrate: settling) > observe
              observe      unknown [cannot-ask] | operation 3 failed: no-domain
            where          at 1g1 other 2g2 (domain) | domains: 1 off | files: 0
            look           poweroff [destroyed-outside]
        "#]],
    );
}

#[test]
fn the_source_is_gone_without_a_trace() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; migrate-live@2; undefined@1; ok; run; where; look; resume; run",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 migrate (migrate: calling) > migrate
            ok             migrate (migrate: confirming) > observe
              observe      migrate (migrate: settling) > observe
              observe      unknown [cannot-ask] | operation 3 failed: no-domain
            where          at 1g1 other 2g2 (domain) | domains: | files: 0
            look           poweroff [destroyed-outside]
            resume         boot (boot: calling) > deploy
              deploy       running [asked] | operation 4 succeeded
        "#]],
    );
}

#[test]
fn half_way_and_back() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; migrate-live@2; half-moved; unknown; ok; unmoved; tick; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 migrate (migrate: calling) > migrate
            unknown        migrate (migrate: confirming) > observe
            ok             migrate (migrate: waiting)
            tick           migrate (migrate: confirming) > observe
              observe      migrate (migrate: backoff)
            where          at 1g1 other 2g2 (domain) | domains: 1 paused | files: 0
        "#]],
    );
}

#[test]
fn half_way_and_refused() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; migrate-live@2; half-moved; refused; ok; unmoved; tick; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 migrate (migrate: calling) > migrate
            refused        migrate (migrate: confirming) > observe
            ok             migrate (migrate: waiting)
            tick           migrate (migrate: confirming) > observe
              observe      migrate (migrate: settling) > observe
              observe      migrate (undo remove-other: calling) > remove
              remove       boot (undo unpause: calling) > unpause
              unpause      boot (undo end: settling) > observe
              observe      running [step-failed] | operation 3 failed: refused
            where          at 1g1 | domains: 1 running | files: 0
        "#]],
    );
}

#[test]
fn half_way_and_refused_with_disks_of_its_own() {
    check(
        "deploy; drive; migrate-live@2; ok; half-moved; refused; ok; unmoved; run; tick; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 migrate (prepare-other: calling) > prepare disk:vda
            ok             migrate (migrate: calling) > migrate
            refused        migrate (migrate: confirming) > observe
            ok             migrate (migrate: waiting)
            tick           migrate (migrate: confirming) > observe
              observe      migrate (migrate: settling) > observe
              observe      migrate (undo remove-other: calling) > remove
              remove       boot (undo unpause: calling) > unpause
              unpause      migrate (undo drop-other: calling) > drop-host files
              drop-host    migrate (undo end: settling) > observe
              observe      running [step-failed] | operation 3 failed: refused
            where          at 1g1 | domains: 1 running | files: 1
        "#]],
    );
}

#[test]
fn half_way_for_ever() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; migrate-live@2; half-moved; refused; run; wait:9000; run; where; why; go:30; where; look; unmoved; look; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 migrate (migrate: calling) > migrate
            refused        migrate (migrate: confirming) > observe
              observe      migrate (migrate: waiting)
            wait:9000      migrate (migrate: confirming) > observe
              observe      migrate (migrate: settling) > observe
              observe      unknown [cannot-ask] | operation 3 failed: still-starting
            where          at 1g1 other 2g2 (domain) | domains: 1 paused 2 paused | files: 0
            why            [BothHosts { hosts: [HostId(1), HostId(2)] }]
            go:30          unknown [cannot-ask] | operation 3 failed: still-starting
            where          at 1g1 other 2g2 (domain) | domains: 1 paused 2 paused | files: 0
            look           unknown [cannot-ask]
            look           suspended [external]
            where          at 1g1 | domains: 1 paused | files: 0
        "#]],
    );
}

#[test]
fn the_source_stands_still() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; migrate-live@2; half-moved; unmoved; refused; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 migrate (migrate: calling) > migrate
            refused        migrate (migrate: confirming) > observe
              observe      migrate (migrate: settling) > observe
              observe      migrate (undo remove-other: calling) > remove
              remove       boot (undo unpause: calling) > unpause
              unpause      boot (undo end: settling) > observe
              observe      running [step-failed] | operation 3 failed: refused
            where          at 1g1 | domains: 1 running | files: 0
        "#]],
    );
}

#[test]
fn the_old_host_leaves_a_domain() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; migrate-live@2; leaves-source; ok; host-gone@1; unknown; go:20; where; sweep@1; host-back@1; sweep@1; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 migrate (migrate: calling) > migrate
            ok             migrate (migrate: confirming) > observe
            unknown        migrate (migrate: blind)
            go:20          running [asked] | operation 3 succeeded
            where          at 2g2 left 1g1 | domains: 1 off 2 running | files: 0
            sweep@1        nothing is swept
            sweep@1        running [asked]
            where          at 2g2 | domains: 2 running | files: 0
        "#]],
    );
}

#[test]
fn the_old_host_is_not_cleaned() {
    check(
        "deploy; drive; migrate-live@2; ok; ok; ok; ok; refused; where; sweep@1; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 migrate (prepare-other: calling) > prepare disk:vda
            ok             migrate (migrate: calling) > migrate
            ok             migrate (migrate: confirming) > observe
            ok             migrate (remove-other: calling) > remove
            ok             migrate (drop-other: calling) > drop-host files
            refused        running [asked] | operation 3 succeeded
            where          at 2g2 left 1g1 (files) | domains: 2 running | files: 1 2
            sweep@1        running [asked]
            where          at 2g2 | domains: 2 running | files: 2
        "#]],
    );
}

#[test]
fn restart_before() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; migrate-live@2; restart; run; tick; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 migrate (migrate: calling) > migrate
            restart        migrate (migrate: confirming) > observe
              observe      migrate (migrate: backoff)
            tick           migrate (migrate: calling) > migrate
              migrate      migrate (migrate: confirming) > observe
              observe      migrate (remove-other: calling) > remove
              remove       running [asked] | operation 3 succeeded
            where          at 2g2 | domains: 2 running | files: 0
        "#]],
    );
}

#[test]
fn restart_after() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; migrate-live@2; restart-after; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 migrate (migrate: calling) > migrate
            restart-after  migrate (migrate: confirming) > observe
              observe      migrate (remove-other: calling) > remove
              remove       running [asked] | operation 3 succeeded
            where          at 2g2 | domains: 2 running | files: 0
        "#]],
    );
}

#[test]
fn restart_in_prepare() {
    check(
        "deploy; drive; migrate-live@2; restart; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 migrate (prepare-other: calling) > prepare disk:vda
            restart        migrate (prepare-other: calling) > prepare disk:vda
              prepare      migrate (migrate: calling) > migrate
              migrate      migrate (migrate: confirming) > observe
              observe      migrate (remove-other: calling) > remove
              remove       migrate (drop-other: calling) > drop-host files
              drop-host    running [asked] | operation 3 succeeded
            where          at 2g2 | domains: 2 running | files: 2
        "#]],
    );
}

#[test]
fn restart_in_the_removal() {
    check(
        "deploy; drive; migrate-live@2; ok; ok; restart; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 migrate (prepare-other: calling) > prepare disk:vda
            ok             migrate (migrate: calling) > migrate
            ok             migrate (migrate: confirming) > observe
            restart        migrate (migrate: confirming) > observe
              observe      migrate (remove-other: calling) > remove
              remove       migrate (drop-other: calling) > drop-host files
              drop-host    running [asked] | operation 3 succeeded
            where          at 2g2 | domains: 2 running | files: 2
        "#]],
    );
}

#[test]
fn restart_in_the_cleaning() {
    check(
        "deploy; drive; migrate-live@2; ok; ok; ok; restart; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 migrate (prepare-other: calling) > prepare disk:vda
            ok             migrate (migrate: calling) > migrate
            ok             migrate (migrate: confirming) > observe
            ok             migrate (remove-other: calling) > remove
            restart        migrate (remove-other: confirming) > observe
              observe      migrate (drop-other: calling) > drop-host files
              drop-host    running [asked] | operation 3 succeeded
            where          at 2g2 | domains: 2 running | files: 2
        "#]],
    );
}

#[test]
fn restart_in_the_way_back() {
    check(
        "deploy; drive; migrate-live@2; ok; refused; run; where; migrate-live@2; ok; half-moved; unmoved; refused; restart; ok; restart; ok; restart; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 migrate (prepare-other: calling) > prepare disk:vda
            ok             migrate (migrate: calling) > migrate
            refused        migrate (migrate: confirming) > observe
              observe      migrate (migrate: settling) > observe
              observe      migrate (undo remove-other: calling) > remove
              remove       boot (undo unpause: calling) > unpause
              unpause      migrate (undo drop-other: calling) > drop-host files
              drop-host    migrate (undo end: settling) > observe
              observe      running [step-failed] | operation 3 failed: refused
            where          at 1g1 | domains: 1 running | files: 1
            migrate-live@2 migrate (prepare-other: calling) > prepare disk:vda
            ok             migrate (migrate: calling) > migrate
            refused        migrate (migrate: confirming) > observe
            restart        migrate (migrate: confirming) > observe
            ok             migrate (migrate: settling) > observe
            restart        migrate (migrate: settling) > observe
            ok             migrate (undo remove-other: calling) > remove
            restart        migrate (undo remove-other: confirming) > observe
              observe      boot (undo unpause: calling) > unpause
              unpause      migrate (undo drop-other: calling) > drop-host files
              drop-host    migrate (undo end: settling) > observe
              observe      running [step-failed] | operation 4 failed: refused
            where          at 1g1 | domains: 1 running | files: 1
        "#]],
    );
}

#[test]
fn the_way_back_fails() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; migrate-live@2; half-moved; unmoved; refused; ok; ok; refused; run; where; look",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 migrate (migrate: calling) > migrate
            refused        migrate (migrate: confirming) > observe
            ok             migrate (migrate: settling) > observe
            ok             migrate (undo remove-other: calling) > remove
            refused        unknown [cannot-ask] | operation 3 failed: refused
            where          at 1g1 other 2g2 (domain) | domains: 1 paused | files: 0
            look           suspended [external]
        "#]],
    );
}

#[test]
fn the_way_back_cannot_be_sure_of_the_other_host() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; migrate-live@2; half-moved; unmoved; refused; ok; host-gone@2; ok; wait:9999; go:30; where; host-back@2; look; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 migrate (migrate: calling) > migrate
            refused        migrate (migrate: confirming) > observe
            ok             migrate (migrate: settling) > observe
            ok             migrate (undo remove-other: calling) > remove
            wait:9999      migrate (undo remove-other: calling)
            go:30          unknown [cannot-ask] | operation 3 failed: refused
            where          at 1g1 other 2g2 (domain) | domains: 1 paused | files: 0
            look           suspended [external]
            where          at 1g1 | domains: 1 paused | files: 0
        "#]],
    );
}
