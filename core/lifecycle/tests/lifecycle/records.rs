//! What only changes the record, what is done later, and domains that somebody else made.

use crate::script::{Stage, check, check_on};
use expect_test::expect;

#[test]
fn resched_and_back() {
    check(
        "resched; deploy; drive; resched; resched; unresched; unresched; resched; migrate@2; run; unresched",
        expect![[r#"
            resched        refused wrong-state: WrongState { state: Pending }
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            resched        running [asked] | operation 4 succeeded
            resched        running [asked] | already so
            unresched      running [asked] | operation 6 succeeded
            unresched      running [asked] | already so
            resched        running [asked] | operation 8 succeeded
            migrate@2      save (save: calling) > save
              save         migrate (remove: calling) > remove
              remove       migrate (copy-across: calling) > copy-across disk:vda
              copy-across  migrate (copy-across: calling) > copy-across recovery
              copy-across  boot (restore: calling) > restore
              restore      boot (unpause: calling) > unpause
              unpause      boot (drop-recovery: calling) > drop-recovery recovery
              drop-recovery migrate (drop-other: calling) > drop-host files
              drop-host    running [asked] | operation 9 succeeded
            unresched      running [asked] | already so
        "#]],
    );
}

#[test]
fn names_and_texts() {
    check(
        "rename:other; rename:other; update:hello; update:hello; deploy; drive; suspend; rename:third; run; delete; run; rename:fourth",
        expect![[r#"
            rename:other   pending [asked] | operation 2 succeeded
            rename:other   pending [asked] | already so
            update:hello   pending [asked] | operation 4 succeeded
            update:hello   pending [asked] | already so
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            suspend        save (save: calling) > save
            rename:third   save (save: calling) | operation 8 succeeded
              save         suspended [asked] | operation 7 succeeded
            delete         epilog (remove: calling) > remove
              remove       epilog (drop-host: calling) > drop-host files
              drop-host    done [asked] | operation 9 succeeded
            rename:fourth  refused wrong-state: WrongState { state: Done }
        "#]],
    );
}

#[test]
fn a_schedule_fires_once() {
    check(
        "deploy; drive; schedule:suspend in 60; schedules; due; wait:59; fire; wait:1; fire; run; schedules; due",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            schedule:suspend in 60 running [asked] | operation 3 succeeded
            schedules      suspend Waiting
            due            in 60.0 s
            wait:59        running [asked]
            fire           running [asked]
            wait:1         running [asked]
            fire           save (save: calling) > save
              save         suspended [asked] | operation 4 succeeded
            schedules      suspend Done { at: Timestamp(1060000), operation: OperationId(4) }
            due            nothing
        "#]],
    );
}

#[test]
fn a_schedule_fires_again_and_again() {
    check(
        "schedule:hold every 120; due; wait:121; fire; schedules; due; wait:121; fire; schedules; release; wait:121; fire; schedules",
        expect![[r#"
            schedule:hold every 120 pending [asked] | operation 2 succeeded
            due            in 2 min
            wait:121       pending [asked]
            fire           hold [asked] | operation 3 succeeded
            schedules      hold Done { at: Timestamp(1121000), operation: OperationId(3) }
            due            in 119.0 s
            wait:121       hold [asked]
            fire           hold [asked] | already so
            schedules      hold Done { at: Timestamp(1242000), operation: OperationId(4) }
            release        pending [asked] | operation 5 succeeded
            wait:121       pending [asked]
            fire           hold [asked] | operation 6 succeeded
            schedules      hold Done { at: Timestamp(1363000), operation: OperationId(6) }
        "#]],
    );
}

#[test]
fn a_schedule_of_what_is_so_already() {
    check(
        "hold; schedule:hold in 60; wait:60; fire; schedules; due",
        expect![[r#"
            hold           hold [asked] | operation 2 succeeded
            schedule:hold in 60 hold [asked] | operation 3 succeeded
            wait:60        hold [asked]
            fire           hold [asked] | already so
            schedules      hold Done { at: Timestamp(1060000), operation: OperationId(4) }
            due            nothing
        "#]],
    );
}

#[test]
fn a_schedule_that_is_refused() {
    check(
        "schedule:suspend in 60; wait:60; fire; schedules; due",
        expect![[r#"
            schedule:suspend in 60 pending [asked] | operation 2 succeeded
            wait:60        pending [asked]
            fire           pending [asked]
            schedules      suspend Failed { at: Timestamp(1060000), why: Refused(Refusal { kind: WrongState, verb: Suspend, vm: VmId(1), cause: WrongState { state: Pending }, hint: WorksFrom { states: [Running] } }) }
            due            nothing
        "#]],
    );
}

#[test]
fn a_schedule_of_a_vm_that_is_busy() {
    check(
        "deploy; drive; schedule:poweroff-hard in 60; wait:59; suspend; wait:1; fire; schedules; due; run; wait:20; fire; run; schedules",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            schedule:poweroff-hard in 60 running [asked] | operation 3 succeeded
            wait:59        running [asked]
            suspend        save (save: calling) > save
            wait:1         save (save: calling)
            fire           save (save: calling)
            schedules      poweroff-hard Waiting
            due            in 20.0 s
              save         suspended [asked] | operation 4 succeeded
            wait:20        suspended [asked]
            fire           suspended [asked]
            schedules      poweroff-hard Failed { at: Timestamp(1080000), why: Refused(Refusal { kind: WrongState, verb: PoweroffHard, vm: VmId(1), cause: WrongState { state: Suspended }, hint: WorksFrom { states: [Running, Unknown] } }) }
        "#]],
    );
}

#[test]
fn a_schedule_of_a_vm_that_is_busy_too_long() {
    check(
        "deploy; drive; schedule:poweroff-hard in 60; wait:59; suspend; wait:1; fire; due; wait:3599; fire; due; wait:1; fire; due; schedules",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            schedule:poweroff-hard in 60 running [asked] | operation 3 succeeded
            wait:59        running [asked]
            suspend        save (save: calling) > save
            wait:1         save (save: calling)
            fire           save (save: calling)
            due            in 20.0 s
            wait:3599      save (save: calling)
            fire           save (save: calling)
            due            in 1.0 s
            wait:1         save (save: calling)
            fire           save (save: calling)
            due            in 1 ms
            schedules      poweroff-hard Waiting
        "#]],
    );
}

#[test]
fn a_schedule_that_comes_too_late() {
    check(
        "deploy; drive; schedule:poweroff-hard in 60; wait:9999; fire; schedules; due",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            schedule:poweroff-hard in 60 running [asked] | operation 3 succeeded
            wait:9999      running [asked]
            fire           running [asked]
            schedules      poweroff-hard Failed { at: Timestamp(10999000), why: Missed { planned: Some(Timestamp(1060000)), grace: Some(Millis(3600000)) } }
            due            nothing
        "#]],
    );
}

#[test]
fn a_schedule_that_fails() {
    check(
        "deploy; drive; schedule:suspend in 60; wait:60; fire; refused; run; schedules",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            schedule:suspend in 60 running [asked] | operation 3 succeeded
            wait:60        running [asked]
            fire           save (save: calling) > save
            refused        save (save: settling) > observe
              observe      running [step-failed] | operation 4 failed: refused
            schedules      suspend Failed { at: Timestamp(1060000), why: Failed(DriverError { kind: Refused, code: "refused", detail: "as the story wants" }) }
        "#]],
    );
}

#[test]
fn a_schedule_that_is_overtaken() {
    check(
        "deploy; drive; schedule:poweroff in 60; wait:60; fire; poweroff-hard; run; schedules",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            schedule:poweroff in 60 running [asked] | operation 3 succeeded
            wait:60        running [asked]
            fire           shutdown (press-power: calling) > press-power
            poweroff-hard  shutdown (power-off: calling) > destroy > cancel domain | operation 4 superseded by 5
              press-power  shutdown (power-off: calling)
              destroy      shutdown (power-off: calling) > destroy
              destroy      poweroff [asked] | operation 5 succeeded
            schedules      poweroff Failed { at: Timestamp(1060000), why: Overtaken(OperationId(5)) }
        "#]],
    );
}

#[test]
fn a_schedule_is_changed_and_taken_back() {
    check(
        "schedule:hold in 60; reschedule:release in 90; schedules; due; unschedule; due; unschedule; reschedule:hold in 60",
        expect![[r#"
            schedule:hold in 60 pending [asked] | operation 2 succeeded
            reschedule:release in 90 pending [asked] | operation 3 succeeded
            schedules      release Waiting
            due            in 90.0 s
            unschedule     pending [asked] | operation 4 succeeded
            due            nothing
            unschedule     refused bad-request: NoSchedule { id: ScheduleId(0) }
            reschedule:hold in 60 refused bad-request: NoSchedule { id: ScheduleId(0) }
        "#]],
    );
}

#[test]
fn what_cannot_be_planned() {
    check(
        "schedule:recover-retry in 60; schedule:forget in 60; schedule:schedule in 60; schedule:hold in 0",
        expect![[r#"
            schedule:recover-retry in 60 refused bad-request: NotLater { verb: RecoverRetry }
            schedule:forget in 60 refused bad-request: NotLater { verb: Forget }
            schedule:schedule in 60 refused bad-request: NotLater { verb: Schedule }
            schedule:hold in 0 refused bad-request: BadSchedule { error: InvalidSchedule { field: "when", problem: "1970-01-01T00:16:40Z in UTC is not in the future, or lies before \"from\"" } }
        "#]],
    );
}

#[test]
fn nothing_is_due_when_it_is_done() {
    check(
        "schedule:hold every 120; delete; due; schedules",
        expect![[r#"
            schedule:hold every 120 pending [asked] | operation 2 succeeded
            delete         done [asked] | operation 3 succeeded
            due            nothing
            schedules      hold Waiting
        "#]],
    );
}

#[test]
fn a_recreated_vm_keeps_its_plans() {
    check(
        "deploy; drive; schedule:hold in 60; delete-recreate; run; due; schedules; wait:60; fire; schedules",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            schedule:hold in 60 running [asked] | operation 3 succeeded
            delete-recreate epilog (remove: calling) > remove
              remove       epilog (drop-host: calling) > drop-host files
              drop-host    pending [asked] | operation 4 succeeded
            due            in 60.0 s
            schedules      hold Waiting
            wait:60        pending [asked]
            fire           hold [asked] | operation 5 succeeded
            schedules      hold Done { at: Timestamp(1060000), operation: OperationId(5) }
        "#]],
    );
}

#[test]
fn adopt() {
    check(
        "adopted; run; where; wait:99; poweroff; run; obey; tick; run; resume; run; suspend; run; stop; migrate@2; undeploy-hard; delete; run; where",
        expect![[r#"
            adopted        boot (stamp: calling) > stamp
              stamp        running [asked] | operation 1 succeeded
            where          at 1g1 | domains: 1 running | files:
            wait:99        running [asked]
            poweroff       shutdown (press-power: calling) > press-power
              press-power  shutdown (press-power: waiting)
            tick           shutdown (press-power: confirming) > observe
              observe      poweroff [asked] | operation 2 succeeded
            resume         boot (boot: calling) > deploy
              deploy       running [asked] | operation 3 succeeded
            suspend        save (save: calling) > save
              save         suspended [asked] | operation 4 succeeded
            stop           refused not-able: AdoptedDisk { disk: DiskName("vda") }
            migrate@2      refused not-able: AdoptedDisk { disk: DiskName("vda") }
            undeploy-hard  refused wrong-state: WrongState { state: Suspended }
            delete         epilog (remove: calling) > remove
              remove       epilog (drop-host: calling) > drop-host files
              drop-host    done [asked] | operation 8 succeeded
            where          at - | domains: | files:
        "#]],
    );
}

#[test]
fn adopt_one_that_is_off() {
    check_on(
        Stage { disks: 1, shared: true },
        "adopted-off; run; where; resume; run; stop; run; resume; deploy@2; run; where",
        expect![[r#"
            adopted-off    boot (stamp: calling) > stamp
              stamp        poweroff [asked] | operation 1 succeeded
            where          at 1g1 | domains: 1 off | files:
            resume         boot (boot: calling) > deploy
              deploy       running [asked] | operation 2 succeeded
            stop           save (save: calling) > save
              save         epilog (remove: calling) > remove
              remove       stopped [asked] | operation 3 succeeded
            resume         pending [asked] | operation 4 succeeded
            deploy@2       boot (restore: calling) > restore
              restore      boot (unpause: calling) > unpause
              unpause      boot (drop-recovery: calling) > drop-recovery recovery
              drop-recovery running [asked] | operation 5 succeeded
            where          at 2g2 | domains: 2 running | files:
        "#]],
    );
}

#[test]
fn adopt_is_refused() {
    check(
        "adopted; refused; where",
        expect![[r#"
            adopted        boot (stamp: calling) > stamp
            refused        done [step-failed] | operation 1 failed: refused
            where          at - | domains: 1 running | files:
        "#]],
    );
}

#[test]
fn adopt_is_lost() {
    check(
        "adopted; lost; tick; run; where",
        expect![[r#"
            adopted        boot (stamp: calling) > stamp
            lost           boot (stamp: backoff)
            tick           boot (stamp: calling) > stamp
              stamp        running [asked] | operation 1 succeeded
            where          at 1g1 | domains: 1 running | files:
        "#]],
    );
}

#[test]
fn adopt_is_lost_for_good() {
    check(
        "adopted; unknown; tick; wait:9999; unknown; run; where",
        expect![[r#"
            adopted        boot (stamp: calling) > stamp
            unknown        boot (stamp: backoff)
            tick           boot (stamp: calling) > stamp
            wait:9999      boot (stamp: calling)
            unknown        boot (stamp: settling) > observe
              observe      done [step-failed] | operation 1 failed: unknown
            where          at - | domains: 1 running | files:
        "#]],
    );
}

#[test]
fn adopt_and_the_domain_is_gone() {
    check(
        "adopted; undefined; unknown; tick; wait:9999; unknown; run; where",
        expect![[r#"
            adopted        boot (stamp: calling) > stamp
            unknown        boot (stamp: backoff)
            tick           boot (stamp: calling) > stamp
            wait:9999      boot (stamp: calling)
            unknown        boot (stamp: settling) > observe
              observe      done [step-failed] | operation 1 failed: unknown
            where          at - | domains: | files:
        "#]],
    );
}

#[test]
fn adopt_and_the_host_is_gone() {
    check(
        "adopted; host-gone; go:60; where; host-back; look; delete; run; where",
        expect![[r#"
            adopted        boot (stamp: calling) > stamp
            go:60          unknown [cannot-ask] | operation 1 failed: unreachable
            where          at 1g1 | domains: 1 running | files:
            look           unknown [foreign]
            delete         epilog (remove: calling) > remove
              remove       done [step-failed] | operation 2 failed: foreign
            where          at - | domains: 1 running | files:
        "#]],
    );
}

#[test]
fn delete_overtakes_an_adoption_before_the_stamp() {
    check(
        "adopted; delete; cancelled; run; where",
        expect![[r#"
            adopted        boot (stamp: calling) > stamp
            delete         shutdown (power-off: calling) > destroy > cancel domain | operation 1 superseded by 2
            cancelled      shutdown (power-off: calling)
              destroy      done [step-failed] | operation 2 failed: foreign
            where          at - | domains: 1 running | files:
        "#]],
    );
}

#[test]
fn adopt_of_what_is_another_stores() {
    check(
        "adopted; foreign; ok; where",
        expect![[r#"
            adopted        boot (stamp: calling) > stamp
            ok             done [step-failed] | operation 1 failed: foreign
            where          at - | domains: 1 running | files:
        "#]],
    );
}

#[test]
fn adopt_is_restarted() {
    check(
        "adopted; restart; run; where",
        expect![[r#"
            adopted        boot (stamp: calling) > stamp
            restart        boot (stamp: calling) > stamp
              stamp        running [asked] | operation 1 succeeded
            where          at 1g1 | domains: 1 running | files:
        "#]],
    );
}

#[test]
fn adopt_is_overtaken_by_delete() {
    check(
        "adopted; delete; ok; run; where",
        expect![[r#"
            adopted        boot (stamp: calling) > stamp
            delete         shutdown (power-off: calling) > destroy > cancel domain | operation 1 superseded by 2
            ok             shutdown (power-off: calling)
              destroy      epilog (remove: calling) > remove
              remove       done [asked] | operation 2 succeeded
            where          at - | domains: | files:
        "#]],
    );
}

#[test]
fn recreate_of_what_was_adopted() {
    check_on(
        Stage { disks: 1, shared: true },
        "adopted; run; delete-recreate; run; deploy; run; where",
        expect![[r#"
            adopted        boot (stamp: calling) > stamp
              stamp        running [asked] | operation 1 succeeded
            delete-recreate epilog (remove: calling) > remove
              remove       pending [asked] | operation 2 succeeded
            deploy         boot (boot: calling) > deploy
              deploy       running [asked] | operation 3 succeeded
            where          at 1g2 | domains: 1 running | files:
        "#]],
    );
}

#[test]
fn an_adopted_disk_becomes_an_image() {
    check(
        "adopted-off; run; disk-snapshot-live; run; images; disk-snapshot; shutdown; run; images; where",
        expect![[r#"
            adopted-off    boot (stamp: calling) > stamp
              stamp        poweroff [asked] | operation 1 succeeded
            disk-snapshot-live hotplug (save-back: calling) > save-back disk:vda
              save-back    poweroff [asked] | operation 2 succeeded
            images         [Ready]
            disk-snapshot  poweroff [asked] | operation 3 succeeded
            shutdown       epilog (remove: calling) > remove
              remove       epilog (save-back: calling) > save-back disk:vda
              save-back    done [asked] | operation 4 succeeded
            images         [Ready, Ready]
            where          at - | domains: | files:
        "#]],
    );
}
