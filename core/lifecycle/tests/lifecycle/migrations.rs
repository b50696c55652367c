//! A VM moves to another host: the happy ways, and who is refused.

use crate::script::{Stage, check, check_on};
use expect_test::expect;

#[test]
fn cold_of_a_running_vm() {
    check(
        "deploy; drive; migrate@2; run; where; place; due",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate@2      save (save: calling) > save
              save         migrate (remove: calling) > remove
              remove       migrate (copy-across: calling) > copy-across disk:vda
              copy-across  migrate (copy-across: calling) > copy-across recovery
              copy-across  boot (restore: calling) > restore
              restore      boot (unpause: calling) > unpause
              unpause      boot (drop-recovery: calling) > drop-recovery recovery
              drop-recovery migrate (drop-other: calling) > drop-host files
              drop-host    running [asked] | operation 3 succeeded
            where          at 2g2 | domains: 2 running | files: 2
            place          Some(2) host=true home=false placed=2
            due            nothing
        "#]],
    );
}

#[test]
fn cold_on_shared_storage() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; migrate@2; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate@2      save (save: calling) > save
              save         migrate (remove: calling) > remove
              remove       boot (restore: calling) > restore
              restore      boot (unpause: calling) > unpause
              unpause      boot (drop-recovery: calling) > drop-recovery recovery
              drop-recovery running [asked] | operation 3 succeeded
            where          at 2g2 | domains: 2 running | files: 0
        "#]],
    );
}

#[test]
fn cold_of_a_suspended_vm() {
    check(
        "deploy; drive; suspend; drive; migrate@2; run; where; memory; resume; run",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            suspend        save (save: calling) > save
            migrate@2      migrate (remove: calling) > remove
              remove       migrate (copy-across: calling) > copy-across disk:vda
              copy-across  migrate (copy-across: calling) > copy-across recovery
              copy-across  migrate (drop-other: calling) > drop-host files
              drop-host    suspended [asked] | operation 4 succeeded
            where          at 2g2 | domains: | files: 2
            memory         Some((true, false))
            resume         boot (restore: calling) > restore
              restore      boot (unpause: calling) > unpause
              unpause      boot (drop-recovery: calling) > drop-recovery recovery
              drop-recovery running [asked] | operation 5 succeeded
        "#]],
    );
}

#[test]
fn cold_of_a_suspended_vm_on_shared_storage() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; suspend; drive; migrate@2; run; where; memory; resume; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            suspend        save (save: calling) > save
            migrate@2      migrate (remove: calling) > remove
              remove       suspended [asked] | operation 4 succeeded
            where          at 2g2 | domains: | files: 0
            memory         Some((true, false))
            resume         boot (restore: calling) > restore
              restore      boot (unpause: calling) > unpause
              unpause      boot (drop-recovery: calling) > drop-recovery recovery
              drop-recovery running [asked] | operation 5 succeeded
            where          at 2g2 | domains: 2 running | files: 0
        "#]],
    );
}

#[test]
fn cold_of_a_vm_that_is_off() {
    check(
        "deploy; drive; poweroff-hard; drive; migrate@2; run; where; resume; run",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            poweroff-hard  shutdown (power-off: calling) > destroy
            migrate@2      migrate (remove: calling) > remove
              remove       migrate (copy-across: calling) > copy-across disk:vda
              copy-across  migrate (drop-other: calling) > drop-host files
              drop-host    poweroff [asked] | operation 4 succeeded
            where          at 2g2 | domains: | files: 2
            resume         boot (boot: calling) > deploy
              deploy       running [asked] | operation 5 succeeded
        "#]],
    );
}

#[test]
fn poweroff_first() {
    check(
        "deploy; drive; wait:99; migrate-poweroff@2; run; obey; tick; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            wait:99        running [asked]
            migrate-poweroff@2 shutdown (press-power: calling) > press-power
              press-power  shutdown (press-power: waiting)
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
fn poweroff_first_at_once() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; migrate-poweroff-hard@2; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-poweroff-hard@2 shutdown (power-off: calling) > destroy
              destroy      migrate (remove: calling) > remove
              remove       boot (boot: calling) > deploy
              deploy       running [asked] | operation 3 succeeded
            where          at 2g2 | domains: 2 running | files: 0
        "#]],
    );
}

#[test]
fn live() {
    check(
        "deploy; drive; migrate-live@2; run; where; place",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 migrate (prepare-other: calling) > prepare disk:vda
              prepare      migrate (migrate: calling) > migrate
              migrate      migrate (migrate: confirming) > observe
              observe      migrate (remove-other: calling) > remove
              remove       migrate (drop-other: calling) > drop-host files
              drop-host    running [asked] | operation 3 succeeded
            where          at 2g2 | domains: 2 running | files: 2
            place          Some(2) host=true home=false placed=2
        "#]],
    );
}

#[test]
fn live_on_shared_storage() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; migrate-live@2; run; where; place",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 migrate (migrate: calling) > migrate
              migrate      migrate (migrate: confirming) > observe
              observe      migrate (remove-other: calling) > remove
              remove       running [asked] | operation 3 succeeded
            where          at 2g2 | domains: 2 running | files: 0
            place          Some(2) host=true home=false placed=2
        "#]],
    );
}

#[test]
fn live_leaves_the_domain_defined() {
    check_on(
        Stage { disks: 1, shared: true },
        "deploy; drive; leaves-source; migrate-live@2; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 migrate (migrate: calling) > migrate
              migrate      migrate (migrate: confirming) > observe
              observe      migrate (remove-other: calling) > remove
              remove       running [asked] | operation 3 succeeded
            where          at 2g2 | domains: 2 running | files: 0
        "#]],
    );
}

#[test]
fn live_with_answers_that_carry_no_look() {
    check(
        "deploy; drive; mute; migrate-live@2; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 migrate (prepare-other: calling) > prepare disk:vda
              prepare      migrate (migrate: calling) > migrate
              migrate      migrate (migrate: confirming) > observe
              observe      migrate (remove-other: calling) > remove
              remove       migrate (remove-other: confirming) > observe
              observe      migrate (drop-other: calling) > drop-host files
              drop-host    running [asked] | operation 3 succeeded
            where          at 2g2 | domains: 2 running | files: 2
        "#]],
    );
}

#[test]
fn there_and_back_again() {
    check(
        "deploy; drive; migrate@2; drive; migrate@1; drive; where; migrate-live@3; drive; where; place",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate@2      save (save: calling) > save
            migrate@1      save (save: calling) > save
            where          at 1g3 | domains: 1 running | files: 1
            migrate-live@3 migrate (prepare-other: calling) > prepare disk:vda
            where          at 3g4 | domains: 3 running | files: 3
            place          Some(4) host=true home=false placed=4
        "#]],
    );
}

#[test]
fn without_disks() {
    check_on(
        Stage { disks: 0, shared: false },
        "deploy; drive; migrate-live@2; run; where; migrate@1; run; where",
        expect![[r#"
            deploy         boot (boot: calling) > deploy
            migrate-live@2 migrate (migrate: calling) > migrate
              migrate      migrate (migrate: confirming) > observe
              observe      migrate (remove-other: calling) > remove
              remove       migrate (drop-other: calling) > drop-host files
              drop-host    running [asked] | operation 3 succeeded
            where          at 2g2 | domains: 2 running | files:
            migrate@1      save (save: calling) > save
              save         migrate (remove: calling) > remove
              remove       migrate (copy-across: calling) > copy-across recovery
              copy-across  boot (restore: calling) > restore
              restore      boot (unpause: calling) > unpause
              unpause      boot (drop-recovery: calling) > drop-recovery recovery
              drop-recovery migrate (drop-other: calling) > drop-host files
              drop-host    running [asked] | operation 4 succeeded
            where          at 1g3 | domains: 1 running | files:
        "#]],
    );
}

#[test]
fn to_where_it_is() {
    check(
        "deploy; drive; migrate@1; migrate-live@1",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate@1      refused bad-request: SameHost { host: HostId(1) }
            migrate-live@1 refused bad-request: SameHost { host: HostId(1) }
        "#]],
    );
}

#[test]
fn of_what_is_nowhere() {
    check(
        "migrate@2; migrate-live@2; deploy; drive; stop; drive; migrate@2",
        expect![[r#"
            migrate@2      refused wrong-state: WrongState { state: Pending }
            migrate-live@2 refused wrong-state: WrongState { state: Pending }
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            stop           save (save: calling) > save
            migrate@2      refused wrong-state: WrongState { state: Stopped }
        "#]],
    );
}

#[test]
fn from_the_wrong_state() {
    check(
        "deploy; drive; suspend; drive; migrate-live@2; migrate-poweroff@2",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            suspend        save (save: calling) > save
            migrate-live@2 refused wrong-state: WrongState { state: Suspended }
            migrate-poweroff@2 refused wrong-state: WrongState { state: Suspended }
        "#]],
    );
}

#[test]
fn of_one_paused_by_a_person() {
    check(
        "deploy; drive; paused; look; migrate@2; stop; drive; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            look           suspended [external]
            migrate@2      refused wrong-state: PausedWithMemory
            stop           save (save: calling) > save
            where          at - | domains: | files: 0
        "#]],
    );
}

#[test]
fn what_a_driver_cannot_do() {
    check(
        "deploy; drive; unable; migrate-live@2; migrate@2; migrate-poweroff-hard@2; drive; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 refused not-able: NotOffered { ability: Migrate }
            migrate@2      refused not-able: NotOffered { ability: Suspend }
            migrate-poweroff-hard@2 shutdown (power-off: calling) > destroy
            where          at 2g2 | domains: 2 running | files: 2
        "#]],
    );
}

#[test]
fn what_the_other_driver_cannot_do() {
    check(
        "deploy; drive; unable-there; migrate-live@2; migrate@2; migrate-poweroff-hard@2; drive; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate-live@2 refused not-able: NotOfferedThere { ability: Migrate }
            migrate@2      refused not-able: NotOfferedThere { ability: Suspend }
            migrate-poweroff-hard@2 shutdown (power-off: calling) > destroy
            where          at 2g2 | domains: 2 running | files: 2
        "#]],
    );
}

#[test]
fn while_it_is_busy() {
    check(
        "deploy; migrate@2; ok; ok; migrate@2; migrate@2; migrate-live@2; suspend; hold",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            migrate@2      refused busy: Busy { operation: OperationId(2), doing: Deploy }
            ok             boot (boot: calling) > deploy
            ok             running [asked] | operation 2 succeeded
            migrate@2      save (save: calling) > save
            migrate@2      save (save: calling) | already so
            migrate-live@2 refused busy: Busy { operation: OperationId(4), doing: Migrate }
            suspend        refused busy: Busy { operation: OperationId(4), doing: Migrate }
            hold           refused busy: Busy { operation: OperationId(4), doing: Migrate }
        "#]],
    );
}
