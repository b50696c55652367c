//! Disks that become images: when the VM is shut down, or at once.

use crate::script::{Stage, check, check_on};
use expect_test::expect;

#[test]
fn saved_when_it_is_shut_down() {
    check(
        "deploy; drive; disk-snapshot; images; shutdown-hard; run; images; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            disk-snapshot  running [asked] | operation 3 succeeded
            images         [Locked]
            shutdown-hard  shutdown (power-off: calling) > destroy
              destroy      epilog (remove: calling) > remove
              remove       epilog (save-back: calling) > save-back disk:vda
              save-back    epilog (drop-host: calling) > drop-host files
              drop-host    done [asked] | operation 4 succeeded
            images         [Ready]
            where          at - | domains: | files:
        "#]],
    );
}

#[test]
fn kept_until_it_is_shut_down() {
    check(
        "deploy; drive; disk-snapshot; stop; drive; images; resume; deploy; drive; poweroff-hard; drive; images; undeploy; drive; images; shutdown; run; images",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            disk-snapshot  running [asked] | operation 3 succeeded
            stop           save (save: calling) > save
            images         [Locked]
            resume         pending [asked] | operation 5 succeeded
            deploy         prolog (copy-in: calling) > copy-in disk:vda
            poweroff-hard  shutdown (power-off: calling) > destroy
            images         [Locked]
            undeploy       epilog (remove: calling) > remove
            images         [Locked]
            shutdown       epilog (save-back: calling) > save-back disk:vda
              save-back    epilog (drop-home: calling) > drop-home files
              drop-home    done [asked] | operation 9 succeeded
            images         [Ready]
        "#]],
    );
}

#[test]
fn saved_at_the_front_end() {
    check(
        "deploy; drive; disk-snapshot; stop; drive; shutdown; run; images; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            disk-snapshot  running [asked] | operation 3 succeeded
            stop           save (save: calling) > save
            shutdown       epilog (save-back: calling) > save-back disk:vda
              save-back    epilog (drop-home: calling) > drop-home files
              drop-home    done [asked] | operation 5 succeeded
            images         [Ready]
            where          at - | domains: | files:
        "#]],
    );
}

#[test]
fn saved_of_a_suspended_one() {
    check_on(
        Stage { disks: 2, shared: true },
        "deploy; drive; disk-snapshot:vdb; suspend; drive; shutdown; run; images",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            disk-snapshot:vdb running [asked] | operation 3 succeeded
            suspend        save (save: calling) > save
            shutdown       epilog (remove: calling) > remove
              remove       epilog (save-back: calling) > save-back disk:vdb
              save-back    epilog (drop-host: calling) > drop-host files
              drop-host    done [asked] | operation 5 succeeded
            images         [Ready]
        "#]],
    );
}

#[test]
fn taken_back() {
    check(
        "deploy; drive; disk-snapshot; disk-snapshot; disk-snapshot-cancel; images; disk-snapshot-cancel; shutdown-hard; run; images",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            disk-snapshot  running [asked] | operation 3 succeeded
            disk-snapshot  refused bad-request: DiskToSave { disk: DiskName("vda"), again: true }
            disk-snapshot-cancel running [asked] | operation 5 succeeded
            images         []
            disk-snapshot-cancel refused bad-request: NoDiskToSave { disk: DiskName("vda") }
            shutdown-hard  shutdown (power-off: calling) > destroy
              destroy      epilog (remove: calling) > remove
              remove       epilog (drop-host: calling) > drop-host files
              drop-host    done [asked] | operation 7 succeeded
            images         []
        "#]],
    );
}

#[test]
fn not_taken_back_while_it_is_busy() {
    check(
        "deploy; drive; disk-snapshot; shutdown-hard; disk-snapshot-cancel; run; images",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            disk-snapshot  running [asked] | operation 3 succeeded
            shutdown-hard  shutdown (power-off: calling) > destroy
            disk-snapshot-cancel refused busy: DisksBusy { operation: OperationId(4), doing: ShutdownHard }
              destroy      epilog (remove: calling) > remove
              remove       epilog (save-back: calling) > save-back disk:vda
              save-back    epilog (drop-host: calling) > drop-host files
              drop-host    done [asked] | operation 4 succeeded
            images         [Ready]
        "#]],
    );
}

#[test]
fn asked_while_it_is_busy() {
    check(
        "deploy; drive; suspend; disk-snapshot; run; images",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            suspend        save (save: calling) > save
            disk-snapshot  refused busy: DisksBusy { operation: OperationId(3), doing: Suspend }
              save         suspended [asked] | operation 3 succeeded
            images         []
        "#]],
    );
}

#[test]
fn deleted_and_it_is_in_error() {
    check(
        "deploy; drive; disk-snapshot; delete; run; images",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            disk-snapshot  running [asked] | operation 3 succeeded
            delete         epilog (remove: calling) > remove
              remove       epilog (drop-host: calling) > drop-host files
              drop-host    done [asked] | operation 4 succeeded
            images         [Error]
        "#]],
    );
}

#[test]
fn recreated_and_it_is_in_error() {
    check(
        "deploy; drive; disk-snapshot; delete-recreate; run; images",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            disk-snapshot  running [asked] | operation 3 succeeded
            delete-recreate epilog (remove: calling) > remove
              remove       epilog (drop-host: calling) > drop-host files
              drop-host    pending [asked] | operation 4 succeeded
            images         [Error]
        "#]],
    );
}

#[test]
fn forgotten_and_it_is_in_error() {
    check(
        "deploy; drive; disk-snapshot; plug-pulled@1; blind; forget; images",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            disk-snapshot  running [asked] | operation 3 succeeded
            blind          unknown [cannot-ask]
            forget         done [asked] | operation 4 succeeded
            images         [Error]
        "#]],
    );
}

#[test]
fn saving_is_refused() {
    check(
        "deploy; drive; disk-snapshot; shutdown-hard; ok; ok; refused; run; images; why; recover-success; recover-retry; run; images; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            disk-snapshot  running [asked] | operation 3 succeeded
            shutdown-hard  shutdown (power-off: calling) > destroy
            ok             epilog (remove: calling) > remove
            ok             epilog (save-back: calling) > save-back disk:vda
            refused        failed [step-failed] | operation 4 failed: refused
            images         [Locked]
            why            [Recovery { cold: false }]
            recover-success refused contradicted: Uncheckable { step: SaveBack }
            recover-retry  epilog (remove: calling) > remove
              remove       epilog (save-back: calling) > save-back disk:vda
              save-back    epilog (drop-host: calling) > drop-host files
              drop-host    done [asked] | operation 6 succeeded
            images         [Ready]
            where          at - | domains: | files:
        "#]],
    );
}

#[test]
fn saving_is_refused_and_undone() {
    check(
        "deploy; drive; disk-snapshot; shutdown-hard; ok; ok; refused; recover-undo; run; images; where; resume; drive",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            disk-snapshot  running [asked] | operation 3 succeeded
            shutdown-hard  shutdown (power-off: calling) > destroy
            ok             epilog (remove: calling) > remove
            ok             epilog (save-back: calling) > save-back disk:vda
            refused        failed [step-failed] | operation 4 failed: refused
            recover-undo   epilog (undo end: settling) > observe
              observe      poweroff [step-failed] | operation 5 succeeded
            images         [Locked]
            where          at 1g1 | domains: | files: 1
            resume         boot (boot: calling) > deploy
        "#]],
    );
}

#[test]
fn saving_is_stated() {
    check(
        "deploy; drive; disk-snapshot; shutdown-hard; ok; ok; do; recover-success!; ok; run; images; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            disk-snapshot  running [asked] | operation 3 succeeded
            shutdown-hard  shutdown (power-off: calling) > destroy
            ok             epilog (remove: calling) > remove
            ok             epilog (save-back: calling) > save-back disk:vda
            recover-success! epilog (save-back: draining) > cancel disk:vda
            ok             epilog (drop-host: calling) > drop-host files
              drop-host    done [asked] | operation 4 succeeded
            images         [Ready]
            where          at - | domains: | files:
        "#]],
    );
}

#[test]
fn saving_is_lost() {
    check(
        "deploy; drive; disk-snapshot; shutdown-hard; ok; ok; lost; tick; run; images",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            disk-snapshot  running [asked] | operation 3 succeeded
            shutdown-hard  shutdown (power-off: calling) > destroy
            ok             epilog (remove: calling) > remove
            ok             epilog (save-back: calling) > save-back disk:vda
            lost           epilog (save-back: backoff)
            tick           epilog (save-back: calling) > save-back disk:vda
              save-back    epilog (drop-host: calling) > drop-host files
              drop-host    done [asked] | operation 4 succeeded
            images         [Ready]
        "#]],
    );
}

#[test]
fn saving_is_restarted() {
    check(
        "deploy; drive; disk-snapshot; shutdown-hard; ok; ok; restart-after; run; images",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            disk-snapshot  running [asked] | operation 3 succeeded
            shutdown-hard  shutdown (power-off: calling) > destroy
            ok             epilog (remove: calling) > remove
            ok             epilog (save-back: calling) > save-back disk:vda
            restart-after  epilog (save-back: calling) > save-back disk:vda
              save-back    epilog (drop-host: calling) > drop-host files
              drop-host    done [asked] | operation 4 succeeded
            images         [Ready]
        "#]],
    );
}

#[test]
fn detach_of_what_is_to_be_saved() {
    check(
        "deploy; drive; disk-snapshot; disk-detach; disk-snapshot-cancel; disk-detach; run; hardware",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            disk-snapshot  running [asked] | operation 3 succeeded
            disk-detach    refused bad-request: DiskToSave { disk: DiskName("vda"), again: false }
            disk-snapshot-cancel running [asked] | operation 5 succeeded
            disk-detach    hotplug (detach-disk: calling) > detach-disk disk:vda
              detach-disk  hotplug (drop-disk: calling) > drop-disk disk:vda
              drop-disk    running [asked] | operation 6 succeeded
            hardware       record: (0, 0, 1), domain: Some((0, 0, 1))
        "#]],
    );
}

#[test]
fn live() {
    check(
        "deploy; drive; disk-snapshot-live; images; run; images",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            disk-snapshot-live hotplug (copy-disk: calling) > copy-disk disk:vda
            images         [Locked]
              copy-disk    running [asked] | operation 3 succeeded
            images         [Ready]
        "#]],
    );
}

#[test]
fn live_of_one_that_is_off() {
    check(
        "deploy; drive; poweroff-hard; drive; disk-snapshot-live; run; images",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            poweroff-hard  shutdown (power-off: calling) > destroy
            disk-snapshot-live hotplug (save-back: calling) > save-back disk:vda
              save-back    poweroff [asked] | operation 4 succeeded
            images         [Ready]
        "#]],
    );
}

#[test]
fn live_of_one_that_is_suspended() {
    check(
        "deploy; drive; suspend; drive; disk-snapshot-live; run; images; resume; drive",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            suspend        save (save: calling) > save
            disk-snapshot-live hotplug (save-back: calling) > save-back disk:vda
              save-back    suspended [asked] | operation 4 succeeded
            images         [Ready]
            resume         boot (restore: calling) > restore
        "#]],
    );
}

#[test]
fn live_of_one_that_was_paused_by_a_person() {
    check(
        "deploy; drive; paused; look; disk-snapshot-live; images",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            look           suspended [external]
            disk-snapshot-live refused wrong-state: PausedWithDisks
            images         []
        "#]],
    );
}

#[test]
fn live_of_one_that_was_started_outside() {
    check(
        "deploy; drive; poweroff-hard; drive; started; disk-snapshot-live; images; look; disk-snapshot-live; run; images",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            poweroff-hard  shutdown (power-off: calling) > destroy
            disk-snapshot-live refused not-absent: NotOff { seen: Running }
            images         []
            look           running [started-outside]
            disk-snapshot-live hotplug (copy-disk: calling) > copy-disk disk:vda
              copy-disk    running [asked] | operation 5 succeeded
            images         [Ready]
        "#]],
    );
}

#[test]
fn live_is_refused() {
    check(
        "deploy; drive; disk-snapshot-live; refused; run; images",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            disk-snapshot-live hotplug (copy-disk: calling) > copy-disk disk:vda
            refused        hotplug (copy-disk: settling) > observe
              observe      running [step-failed] | operation 3 failed: refused
            images         [Error]
        "#]],
    );
}

#[test]
fn live_is_lost() {
    check(
        "deploy; drive; disk-snapshot-live; lost; go:1; run; images",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            disk-snapshot-live hotplug (copy-disk: calling) > copy-disk disk:vda
            lost           hotplug (copy-disk: backoff)
            go:1           hotplug (copy-disk: calling) > copy-disk disk:vda
              copy-disk    running [asked] | operation 3 succeeded
            images         [Ready]
        "#]],
    );
}

#[test]
fn live_is_lost_for_good() {
    check(
        "deploy; drive; disk-snapshot-live; unknown; tick; wait:99999; unknown; run; images",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            disk-snapshot-live hotplug (copy-disk: calling) > copy-disk disk:vda
            unknown        hotplug (copy-disk: backoff)
            tick           hotplug (copy-disk: calling) > copy-disk disk:vda
            wait:99999     hotplug (copy-disk: calling)
            unknown        hotplug (copy-disk: settling) > observe
              observe      running [step-failed] | operation 3 failed: unknown
            images         [Error]
        "#]],
    );
}

#[test]
fn live_is_restarted() {
    check(
        "deploy; drive; disk-snapshot-live; restart; run; images",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            disk-snapshot-live hotplug (copy-disk: calling) > copy-disk disk:vda
            restart        hotplug (copy-disk: calling) > copy-disk disk:vda
              copy-disk    running [asked] | operation 3 succeeded
            images         [Ready]
        "#]],
    );
}

#[test]
fn live_is_overtaken() {
    check(
        "deploy; drive; disk-snapshot-live; delete; ok; run; images",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            disk-snapshot-live hotplug (copy-disk: calling) > copy-disk disk:vda
            delete         shutdown (power-off: calling) > destroy > cancel disk:vda | operation 3 superseded by 4
            ok             shutdown (power-off: calling)
              destroy      epilog (remove: calling) > remove
              remove       epilog (drop-host: calling) > drop-host files
              drop-host    done [asked] | operation 4 succeeded
            images         [Error]
        "#]],
    );
}

#[test]
fn live_is_forgotten() {
    check(
        "deploy; drive; disk-snapshot-live; plug-pulled@1; forget; unknown; images",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            disk-snapshot-live hotplug (copy-disk: calling) > copy-disk disk:vda
            forget         epilog (end: draining) > cancel disk:vda | operation 3 superseded by 4
            unknown        done [asked] | operation 4 succeeded
            images         [Error]
        "#]],
    );
}

#[test]
fn live_and_the_guest_goes() {
    check(
        "deploy; drive; disk-snapshot-live; crash; ok; run; images",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            disk-snapshot-live hotplug (copy-disk: calling) > copy-disk disk:vda
            ok             hotplug (copy-disk: settling) > observe
              observe      poweroff [crashed] | operation 3 failed: no-domain
            images         [Error]
        "#]],
    );
}

#[test]
fn what_makes_no_sense() {
    check(
        "deploy; drive; disk-snapshot:vdq; disk-snapshot-live:vdq; disk-snapshot-cancel:vdq; stop; drive; disk-snapshot; disk-snapshot-live",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            disk-snapshot:vdq refused bad-request: NoDisk { disk: DiskName("vdq") }
            disk-snapshot-live:vdq refused bad-request: NoDisk { disk: DiskName("vdq") }
            disk-snapshot-cancel:vdq refused bad-request: NoDiskToSave { disk: DiskName("vdq") }
            stop           save (save: calling) > save
            disk-snapshot  refused wrong-state: WrongState { state: Stopped }
            disk-snapshot-live refused wrong-state: WrongState { state: Stopped }
        "#]],
    );
}
