//! A VM that moves is overtaken.

use crate::script::check;
use expect_test::expect;

#[test]
fn hard_overtakes_a_migration_that_presses() {
    check(
        "deploy; drive; wait:99; migrate-poweroff@2; migrate-poweroff-hard@2; ok; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            wait:99        running [asked]
            migrate-poweroff@2 shutdown (press-power: calling) > press-power
            migrate-poweroff-hard@2 shutdown (power-off: calling) > destroy > cancel domain | operation 3 superseded by 4
            ok             shutdown (power-off: calling)
              destroy      migrate (remove: calling) > remove
              remove       migrate (copy-across: calling) > copy-across disk:vda
              copy-across  boot (boot: calling) > deploy
              deploy       migrate (drop-other: calling) > drop-host files
              drop-host    running [asked] | operation 4 succeeded
            where          at 2g3 | domains: 2 running | files: 2
        "#]],
    );
}

#[test]
fn hard_overtakes_a_migration_that_waits() {
    check(
        "deploy; drive; wait:99; migrate-poweroff@2; ok; migrate-poweroff-hard@2; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            wait:99        running [asked]
            migrate-poweroff@2 shutdown (press-power: calling) > press-power
            ok             shutdown (press-power: waiting)
            migrate-poweroff-hard@2 shutdown (power-off: calling) > destroy | operation 3 superseded by 4
              destroy      migrate (remove: calling) > remove
              remove       migrate (copy-across: calling) > copy-across disk:vda
              copy-across  boot (boot: calling) > deploy
              deploy       migrate (drop-other: calling) > drop-host files
              drop-host    running [asked] | operation 4 succeeded
            where          at 2g3 | domains: 2 running | files: 2
        "#]],
    );
}

#[test]
fn hard_to_another_host() {
    check(
        "deploy; drive; wait:99; migrate-poweroff@2; ok; migrate-poweroff@3; migrate-poweroff-hard@3; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            wait:99        running [asked]
            migrate-poweroff@2 shutdown (press-power: calling) > press-power
            ok             shutdown (press-power: waiting)
            migrate-poweroff@3 refused busy: Busy { operation: OperationId(3), doing: MigratePoweroff }
            migrate-poweroff-hard@3 shutdown (power-off: calling) > destroy | operation 3 superseded by 5
              destroy      migrate (remove: calling) > remove
              remove       migrate (copy-across: calling) > copy-across disk:vda
              copy-across  boot (boot: calling) > deploy
              deploy       migrate (drop-other: calling) > drop-host files
              drop-host    running [asked] | operation 5 succeeded
            where          at 3g3 | domains: 3 running | files: 3
        "#]],
    );
}

#[test]
fn hard_to_where_it_is() {
    check(
        "deploy; drive; wait:99; migrate-poweroff@2; ok; migrate-poweroff-hard@1; obey; tick; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            wait:99        running [asked]
            migrate-poweroff@2 shutdown (press-power: calling) > press-power
            ok             shutdown (press-power: waiting)
            migrate-poweroff-hard@1 refused bad-request: SameHost { host: HostId(1) }
            tick           shutdown (press-power: confirming) > observe
              observe      migrate (remove: calling) > remove
              remove       migrate (copy-across: calling) > copy-across disk:vda
              copy-across  boot (boot: calling) > deploy
              deploy       migrate (drop-other: calling) > drop-host files
              drop-host    running [asked] | operation 3 succeeded
            where          at 2g2 | domains: 2 running | files: 2
        "#]],
    );
}

#[test]
fn poweroff_overtakes_a_migration() {
    check(
        "deploy; drive; wait:99; migrate-poweroff@2; ok; poweroff-hard; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            wait:99        running [asked]
            migrate-poweroff@2 shutdown (press-power: calling) > press-power
            ok             shutdown (press-power: waiting)
            poweroff-hard  shutdown (power-off: calling) > destroy | operation 3 superseded by 4
              destroy      poweroff [asked] | operation 4 succeeded
            where          at 1g1 | domains: 1 off | files: 1
        "#]],
    );
}

#[test]
fn poweroff_overtakes_a_migration_that_presses() {
    check(
        "deploy; drive; wait:99; migrate-poweroff@2; poweroff-hard; ok; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            wait:99        running [asked]
            migrate-poweroff@2 shutdown (press-power: calling) > press-power
            poweroff-hard  shutdown (power-off: calling) > destroy > cancel domain | operation 3 superseded by 4
            ok             shutdown (power-off: calling)
              destroy      shutdown (power-off: calling) > destroy
              destroy      poweroff [asked] | operation 4 succeeded
            where          at 1g1 | domains: 1 off | files: 1
        "#]],
    );
}

#[test]
fn shutdown_overtakes_a_migration() {
    check(
        "deploy; drive; wait:99; migrate-poweroff@2; ok; shutdown-hard; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            wait:99        running [asked]
            migrate-poweroff@2 shutdown (press-power: calling) > press-power
            ok             shutdown (press-power: waiting)
            shutdown-hard  shutdown (power-off: calling) > destroy | operation 3 superseded by 4
              destroy      epilog (remove: calling) > remove
              remove       epilog (drop-host: calling) > drop-host files
              drop-host    done [asked] | operation 4 succeeded
            where          at - | domains: | files:
        "#]],
    );
}

#[test]
fn undeploy_overtakes_a_migration() {
    check(
        "deploy; drive; wait:99; migrate-poweroff@2; ok; undeploy-hard; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            wait:99        running [asked]
            migrate-poweroff@2 shutdown (press-power: calling) > press-power
            ok             shutdown (press-power: waiting)
            undeploy-hard  shutdown (power-off: calling) > destroy | operation 3 superseded by 4
              destroy      epilog (remove: calling) > remove
              remove       epilog (copy-out: calling) > copy-out disk:vda
              copy-out     epilog (drop-host: calling) > drop-host files
              drop-host    undeployed [asked] | operation 4 succeeded
            where          at - | domains: | files: 0
        "#]],
    );
}

#[test]
fn a_hard_migration_overtakes_a_poweroff() {
    check(
        "deploy; drive; wait:99; poweroff; ok; migrate-poweroff-hard@2; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            wait:99        running [asked]
            poweroff       shutdown (press-power: calling) > press-power
            ok             shutdown (press-power: waiting)
            migrate-poweroff-hard@2 shutdown (power-off: calling) > destroy | operation 3 superseded by 4
              destroy      migrate (remove: calling) > remove
              remove       migrate (copy-across: calling) > copy-across disk:vda
              copy-across  boot (boot: calling) > deploy
              deploy       migrate (drop-other: calling) > drop-host files
              drop-host    running [asked] | operation 4 succeeded
            where          at 2g2 | domains: 2 running | files: 2
        "#]],
    );
}

#[test]
fn nothing_hard_overtakes_a_migration_that_moves() {
    check(
        "deploy; drive; wait:99; migrate-poweroff@2; ok; obey; tick; ok; migrate-poweroff-hard@2; poweroff-hard; shutdown-hard; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            wait:99        running [asked]
            migrate-poweroff@2 shutdown (press-power: calling) > press-power
            ok             shutdown (press-power: waiting)
            tick           shutdown (press-power: confirming) > observe
            ok             migrate (remove: calling) > remove
            migrate-poweroff-hard@2 migrate (remove: calling) | already so
            poweroff-hard  refused busy: Busy { operation: OperationId(3), doing: MigratePoweroff }
            shutdown-hard  refused busy: Busy { operation: OperationId(3), doing: MigratePoweroff }
              remove       migrate (copy-across: calling) > copy-across disk:vda
              copy-across  boot (boot: calling) > deploy
              deploy       migrate (drop-other: calling) > drop-host files
              drop-host    running [asked] | operation 3 succeeded
            where          at 2g2 | domains: 2 running | files: 2
        "#]],
    );
}
