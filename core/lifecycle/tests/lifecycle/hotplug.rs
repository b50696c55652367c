//! Disks are plugged in and unplugged while a VM runs, or rests.

use crate::script::{Stage, check, check_on};
use expect_test::expect;

#[test]
fn attach_a_disk() {
    check(
        "deploy; drive; disk-attach; ok; hardware; run; hardware; disk-attach:vdb; disk-attach:vdx; run; hardware; suspend; drive; resume; drive; hardware",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            disk-attach    hotplug (prepare-disks: calling) > prepare disk:vdb
            ok             hotplug (attach-disk: calling) > attach-disk disk:vdb
            hardware       record: (2, 0, 1), domain: Some((1, 0, 1))
              attach-disk  running [asked] | operation 3 succeeded
            hardware       record: (2, 0, 1), domain: Some((2, 0, 1))
            disk-attach:vdb refused bad-request: Invalid { part: Disk, error: InvalidSpec { field: "disks[2].name", problem: "vdb is there twice" } }
            disk-attach:vdx hotplug (prepare-disks: calling) > prepare disk:vdx
              prepare      hotplug (attach-disk: calling) > attach-disk disk:vdx
              attach-disk  running [asked] | operation 5 succeeded
            hardware       record: (3, 0, 1), domain: Some((3, 0, 1))
            suspend        save (save: calling) > save
            resume         boot (restore: calling) > restore
            hardware       record: (3, 0, 1), domain: Some((3, 0, 1))
        "#]],
    );
}

#[test]
fn attach_a_disk_to_a_vm_that_is_off() {
    check(
        "deploy; drive; poweroff-hard; drive; disk-attach; run; hardware; resume; run; hardware",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            poweroff-hard  shutdown (power-off: calling) > destroy
            disk-attach    hotplug (prepare-disks: calling) > prepare disk:vdb
              prepare      poweroff [asked] | operation 4 succeeded
            hardware       record: (2, 0, 1), domain: Some((1, 0, 1))
            resume         boot (boot: calling) > deploy
              deploy       running [asked] | operation 5 succeeded
            hardware       record: (2, 0, 1), domain: Some((2, 0, 1))
        "#]],
    );
}

#[test]
fn attach_a_disk_from_the_wrong_state() {
    check(
        "disk-attach; deploy; drive; suspend; drive; disk-attach; nic-attach; disk-detach",
        expect![[r#"
            disk-attach    refused wrong-state: WrongState { state: Pending }
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            suspend        save (save: calling) > save
            disk-attach    refused wrong-state: WrongState { state: Suspended }
            nic-attach     refused wrong-state: WrongState { state: Suspended }
            disk-detach    refused wrong-state: WrongState { state: Suspended }
        "#]],
    );
}

#[test]
fn what_a_driver_cannot_plug() {
    check(
        "deploy; drive; unable; disk-attach; nic-attach; disk-detach; resize:2; disk-snapshot-live; poweroff-hard; drive; disk-attach; drive; hardware",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            disk-attach    refused not-able: NotOffered { ability: Hotplug }
            nic-attach     refused not-able: NotOffered { ability: Hotplug }
            disk-detach    refused not-able: NotOffered { ability: Hotplug }
            resize:2       refused not-able: NotOffered { ability: LiveResize }
            disk-snapshot-live refused not-able: NotOffered { ability: DiskCopy }
            poweroff-hard  shutdown (power-off: calling) > destroy
            disk-attach    hotplug (prepare-disks: calling) > prepare disk:vdb
            hardware       record: (2, 0, 1), domain: Some((1, 0, 1))
        "#]],
    );
}

#[test]
fn making_the_disk_is_refused() {
    check(
        "deploy; drive; disk-attach; refused; run; hardware; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            disk-attach    hotplug (prepare-disks: calling) > prepare disk:vdb
            refused        hotplug (undo drop-disk: calling) > drop-disk disk:vdb
              drop-disk    hotplug (undo end: settling) > observe
              observe      running [step-failed] | operation 3 failed: refused
            hardware       record: (1, 0, 1), domain: Some((1, 0, 1))
            where          at 1g1 | domains: 1 running | files: 1
        "#]],
    );
}

#[test]
fn plugging_it_in_is_refused() {
    check(
        "deploy; drive; disk-attach; ok; refused; run; hardware; where; disk-attach; run; hardware",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            disk-attach    hotplug (prepare-disks: calling) > prepare disk:vdb
            ok             hotplug (attach-disk: calling) > attach-disk disk:vdb
            refused        hotplug (undo detach-disk: calling) > detach-disk disk:vdb
              detach-disk  hotplug (undo drop-disk: calling) > drop-disk disk:vdb
              drop-disk    hotplug (undo end: settling) > observe
              observe      running [step-failed] | operation 3 failed: refused
            hardware       record: (1, 0, 1), domain: Some((1, 0, 1))
            where          at 1g1 | domains: 1 running | files: 1
            disk-attach    hotplug (prepare-disks: calling) > prepare disk:vdb
              prepare      hotplug (attach-disk: calling) > attach-disk disk:vdb
              attach-disk  running [asked] | operation 4 succeeded
            hardware       record: (2, 0, 1), domain: Some((2, 0, 1))
        "#]],
    );
}

#[test]
fn plugging_it_in_is_lost() {
    check(
        "deploy; drive; disk-attach; ok; lost; go:1; run; hardware",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            disk-attach    hotplug (prepare-disks: calling) > prepare disk:vdb
            ok             hotplug (attach-disk: calling) > attach-disk disk:vdb
            lost           hotplug (attach-disk: backoff)
            go:1           hotplug (attach-disk: calling) > attach-disk disk:vdb
              attach-disk  running [asked] | operation 3 succeeded
            hardware       record: (2, 0, 1), domain: Some((2, 0, 1))
        "#]],
    );
}

#[test]
fn plugging_it_in_is_lost_for_good() {
    check(
        "deploy; drive; disk-attach; ok; do; unknown; wait:9999; go:5; run; hardware",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            disk-attach    hotplug (prepare-disks: calling) > prepare disk:vdb
            ok             hotplug (attach-disk: calling) > attach-disk disk:vdb
            unknown        hotplug (attach-disk: backoff)
            wait:9999      hotplug (attach-disk: calling) > attach-disk disk:vdb
            go:5           running [asked] | operation 3 succeeded
            hardware       record: (2, 0, 1), domain: Some((2, 0, 1))
        "#]],
    );
}

#[test]
fn plugging_it_in_and_taking_it_back_are_refused() {
    check(
        "deploy; drive; disk-attach; ok; refused; refused; run; hardware; poweroff-hard; drive; resume; run; hardware",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            disk-attach    hotplug (prepare-disks: calling) > prepare disk:vdb
            ok             hotplug (attach-disk: calling) > attach-disk disk:vdb
            refused        hotplug (undo detach-disk: calling) > detach-disk disk:vdb
            refused        hotplug (undo detach-disk: settling) > observe
              observe      running [step-failed] | operation 3 failed: refused
            hardware       record: (2, 0, 1), domain: Some((1, 0, 1))
            poweroff-hard  shutdown (power-off: calling) > destroy
            resume         boot (boot: calling) > deploy
              deploy       running [asked] | operation 5 succeeded
            hardware       record: (2, 0, 1), domain: Some((2, 0, 1))
        "#]],
    );
}

#[test]
fn the_guest_is_gone_while_a_disk_is_plugged_in() {
    check(
        "deploy; drive; disk-attach; ok; crash; run; hardware; resume; run",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            disk-attach    hotplug (prepare-disks: calling) > prepare disk:vdb
            ok             hotplug (attach-disk: calling) > attach-disk disk:vdb
              attach-disk  hotplug (undo detach-disk: calling) > detach-disk disk:vdb
              detach-disk  hotplug (undo detach-disk: confirming) > observe
              observe      hotplug (undo detach-disk: backoff)
            hardware       record: (2, 0, 1), domain: Some((1, 0, 1))
            resume         refused busy: Busy { operation: OperationId(3), doing: DiskAttach }
        "#]],
    );
}

#[test]
fn the_host_is_gone_while_a_disk_is_plugged_in() {
    check(
        "deploy; drive; disk-attach; ok; host-gone; go:30; hardware; host-back; look; hardware",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            disk-attach    hotplug (prepare-disks: calling) > prepare disk:vdb
            ok             hotplug (attach-disk: calling) > attach-disk disk:vdb
            go:30          hotplug (undo detach-disk: backoff)
            hardware       record: (2, 0, 1), domain: Some((1, 0, 1))
            look           hotplug (undo detach-disk: backoff)
            hardware       record: (2, 0, 1), domain: Some((1, 0, 1))
        "#]],
    );
}

#[test]
fn attach_restarted() {
    check(
        "deploy; drive; disk-attach; restart; ok; restart; run; hardware",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            disk-attach    hotplug (prepare-disks: calling) > prepare disk:vdb
            restart        hotplug (prepare-disks: calling) > prepare disk:vdb
            ok             hotplug (attach-disk: calling) > attach-disk disk:vdb
            restart        hotplug (attach-disk: calling) > attach-disk disk:vdb
              attach-disk  running [asked] | operation 3 succeeded
            hardware       record: (2, 0, 1), domain: Some((2, 0, 1))
        "#]],
    );
}

#[test]
fn attach_overtaken_by_delete() {
    check(
        "deploy; drive; disk-attach; ok; delete; ok; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            disk-attach    hotplug (prepare-disks: calling) > prepare disk:vdb
            ok             hotplug (attach-disk: calling) > attach-disk disk:vdb
            delete         shutdown (power-off: calling) > destroy > cancel disk:vdb | operation 3 superseded by 4
            ok             shutdown (power-off: calling)
              destroy      epilog (remove: calling) > remove
              remove       epilog (drop-host: calling) > drop-host files
              drop-host    done [asked] | operation 4 succeeded
            where          at - | domains: | files:
        "#]],
    );
}

#[test]
fn attach_overtaken_by_recreate() {
    check(
        "deploy; drive; disk-attach; ok; delete-recreate; ok; run; where; deploy; run; hardware",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            disk-attach    hotplug (prepare-disks: calling) > prepare disk:vdb
            ok             hotplug (attach-disk: calling) > attach-disk disk:vdb
            delete-recreate shutdown (power-off: calling) > destroy > cancel disk:vdb | operation 3 superseded by 4
            ok             shutdown (power-off: calling)
              destroy      epilog (remove: calling) > remove
              remove       epilog (drop-host: calling) > drop-host files
              drop-host    pending [asked] | operation 4 succeeded
            where          at - | domains: | files:
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
              prepare      boot (boot: calling) > deploy
              deploy       running [asked] | operation 5 succeeded
            hardware       record: (1, 0, 1), domain: Some((1, 0, 1))
        "#]],
    );
}

#[test]
fn nothing_else_overtakes_an_attach() {
    check(
        "deploy; drive; disk-attach; poweroff-hard; shutdown-hard; disk-attach; disk-detach; rename:other",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            disk-attach    hotplug (prepare-disks: calling) > prepare disk:vdb
            poweroff-hard  refused busy: Busy { operation: OperationId(3), doing: DiskAttach }
            shutdown-hard  refused busy: Busy { operation: OperationId(3), doing: DiskAttach }
            disk-attach    refused busy: Busy { operation: OperationId(3), doing: DiskAttach }
            disk-detach    refused busy: Busy { operation: OperationId(3), doing: DiskAttach }
            rename:other   hotplug (prepare-disks: calling) | operation 8 succeeded
        "#]],
    );
}

#[test]
fn detach_a_disk() {
    check_on(
        Stage { disks: 2, shared: false },
        "deploy; drive; disk-detach:vdb; ok; run; hardware; where; disk-detach:vdb; suspend; drive; resume; drive; hardware",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            disk-detach:vdb hotplug (detach-disk: calling) > detach-disk disk:vdb
            ok             hotplug (drop-disk: calling) > drop-disk disk:vdb
              drop-disk    running [asked] | operation 3 succeeded
            hardware       record: (1, 0, 1), domain: Some((1, 0, 1))
            where          at 1g1 | domains: 1 running | files: 1
            disk-detach:vdb refused bad-request: NoDisk { disk: DiskName("vdb") }
            suspend        save (save: calling) > save
            resume         boot (restore: calling) > restore
            hardware       record: (1, 0, 1), domain: Some((1, 0, 1))
        "#]],
    );
}

#[test]
fn detach_a_disk_of_a_vm_that_is_off() {
    check_on(
        Stage { disks: 2, shared: false },
        "deploy; drive; poweroff-hard; drive; disk-detach:vdb; run; hardware; resume; drive; hardware",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            poweroff-hard  shutdown (power-off: calling) > destroy
            disk-detach:vdb hotplug (drop-disk: calling) > drop-disk disk:vdb
              drop-disk    poweroff [asked] | operation 4 succeeded
            hardware       record: (1, 0, 1), domain: Some((2, 0, 1))
            resume         boot (boot: calling) > deploy
            hardware       record: (1, 0, 1), domain: Some((1, 0, 1))
        "#]],
    );
}

#[test]
fn detach_a_disk_of_a_vm_that_is_off_and_was_started_outside() {
    check_on(
        Stage { disks: 2, shared: false },
        "deploy; drive; poweroff-hard; drive; started; disk-detach:vdb; look; disk-detach:vdb; run; hardware",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            poweroff-hard  shutdown (power-off: calling) > destroy
            disk-detach:vdb refused not-absent: NotOff { seen: Running }
            look           running [started-outside]
            disk-detach:vdb hotplug (detach-disk: calling) > detach-disk disk:vdb
              detach-disk  hotplug (drop-disk: calling) > drop-disk disk:vdb
              drop-disk    running [asked] | operation 5 succeeded
            hardware       record: (1, 0, 1), domain: Some((1, 0, 1))
        "#]],
    );
}

#[test]
fn detach_a_disk_of_a_vm_that_is_off_and_cannot_be_seen() {
    check_on(
        Stage { disks: 2, shared: false },
        "deploy; drive; poweroff-hard; drive; host-gone; disk-detach:vdb; hardware",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            poweroff-hard  shutdown (power-off: calling) > destroy
            disk-detach:vdb refused cannot-ask: OffUnseen { error: Some(DriverError { kind: Unknown, code: "unreachable", detail: "no answer" }) }
            hardware       record: (2, 0, 1), domain: Some((2, 0, 1))
        "#]],
    );
}

#[test]
fn the_guest_does_not_let_go() {
    check_on(
        Stage { disks: 2, shared: false },
        "deploy; drive; disk-detach:vdb; retry; tick; wait:9999; retry; run; hardware",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            disk-detach:vdb hotplug (detach-disk: calling) > detach-disk disk:vdb
            retry          hotplug (detach-disk: backoff)
            tick           hotplug (detach-disk: calling) > detach-disk disk:vdb
            wait:9999      hotplug (detach-disk: calling)
            retry          hotplug (detach-disk: settling) > observe
              observe      running [step-failed] | operation 3 failed: retry
            hardware       record: (2, 0, 1), domain: Some((2, 0, 1))
        "#]],
    );
}

#[test]
fn detach_is_refused() {
    check_on(
        Stage { disks: 2, shared: false },
        "deploy; drive; disk-detach:vdb; refused; run; hardware",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            disk-detach:vdb hotplug (detach-disk: calling) > detach-disk disk:vdb
            refused        hotplug (detach-disk: settling) > observe
              observe      running [step-failed] | operation 3 failed: refused
            hardware       record: (2, 0, 1), domain: Some((2, 0, 1))
        "#]],
    );
}

#[test]
fn detach_is_lost() {
    check_on(
        Stage { disks: 2, shared: false },
        "deploy; drive; disk-detach:vdb; lost; go:1; run; hardware",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            disk-detach:vdb hotplug (detach-disk: calling) > detach-disk disk:vdb
            lost           hotplug (detach-disk: backoff)
            go:1           hotplug (detach-disk: calling) > detach-disk disk:vdb
              detach-disk  hotplug (drop-disk: calling) > drop-disk disk:vdb
              drop-disk    running [asked] | operation 3 succeeded
            hardware       record: (1, 0, 1), domain: Some((1, 0, 1))
        "#]],
    );
}

#[test]
fn detach_of_what_is_not_plugged_in_any_more() {
    check_on(
        Stage { disks: 2, shared: false },
        "deploy; drive; disk-detach:vdb; do; gone; run; hardware",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            disk-detach:vdb hotplug (detach-disk: calling) > detach-disk disk:vdb
            gone           hotplug (detach-disk: confirming) > observe
              observe      hotplug (drop-disk: calling) > drop-disk disk:vdb
              drop-disk    running [asked] | operation 3 succeeded
            hardware       record: (1, 0, 1), domain: Some((1, 0, 1))
        "#]],
    );
}

#[test]
fn the_detached_file_is_not_dropped() {
    check_on(
        Stage { disks: 2, shared: false },
        "deploy; drive; disk-detach:vdb; ok; refused; hardware; where; stop; drive; resume; deploy; drive; hardware",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            disk-detach:vdb hotplug (detach-disk: calling) > detach-disk disk:vdb
            ok             hotplug (drop-disk: calling) > drop-disk disk:vdb
            refused        running [asked] | operation 3 succeeded
            hardware       record: (1, 0, 1), domain: Some((1, 0, 1))
            where          at 1g1 | domains: 1 running | files: 1
            stop           save (save: calling) > save
            resume         pending [asked] | operation 5 succeeded
            deploy         prolog (copy-in: calling) > copy-in disk:vda
            hardware       record: (1, 0, 1), domain: Some((1, 0, 1))
        "#]],
    );
}

#[test]
fn detach_restarted() {
    check_on(
        Stage { disks: 2, shared: false },
        "deploy; drive; disk-detach:vdb; restart-after; ok; restart; run; hardware",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            disk-detach:vdb hotplug (detach-disk: calling) > detach-disk disk:vdb
            restart-after  hotplug (detach-disk: calling) > detach-disk disk:vdb
            ok             hotplug (drop-disk: calling) > drop-disk disk:vdb
            restart        hotplug (drop-disk: calling) > drop-disk disk:vdb
              drop-disk    running [asked] | operation 3 succeeded
            hardware       record: (1, 0, 1), domain: Some((1, 0, 1))
        "#]],
    );
}
