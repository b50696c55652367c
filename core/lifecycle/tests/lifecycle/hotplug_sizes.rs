//! Network cards and the size of a VM change while it runs, or rests.

use crate::script::check;
use expect_test::expect;

#[test]
fn attach_a_card() {
    check(
        "deploy; drive; nic-attach; run; hardware; nic-attach; run; hardware; nic-detach; run; hardware",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            nic-attach     hotplug (attach-nic: calling) > attach-nic nic:b2:44:a4:a6:f5:6e
              attach-nic   running [asked] | operation 3 succeeded
            hardware       record: (1, 1, 1), domain: Some((1, 1, 1))
            nic-attach     hotplug (attach-nic: calling) > attach-nic nic:b2:7c:1e:60:74:6e
              attach-nic   running [asked] | operation 4 succeeded
            hardware       record: (1, 2, 1), domain: Some((1, 2, 1))
            nic-detach     hotplug (detach-nic: calling) > detach-nic nic:b2:44:a4:a6:f5:6e
              detach-nic   running [asked] | operation 5 succeeded
            hardware       record: (1, 1, 1), domain: Some((1, 1, 1))
        "#]],
    );
}

#[test]
fn attach_a_card_to_a_vm_that_is_off() {
    check(
        "deploy; drive; poweroff-hard; drive; nic-attach; nic-attach; nic-detach; hardware; resume; run; hardware",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            poweroff-hard  shutdown (power-off: calling) > destroy
            nic-attach     poweroff [asked] | operation 4 succeeded
            nic-attach     poweroff [asked] | operation 5 succeeded
            nic-detach     poweroff [asked] | operation 6 succeeded
            hardware       record: (1, 1, 1), domain: Some((1, 0, 1))
            resume         boot (boot: calling) > deploy
              deploy       running [asked] | operation 7 succeeded
            hardware       record: (1, 1, 1), domain: Some((1, 1, 1))
        "#]],
    );
}

#[test]
fn attach_of_a_card_is_refused() {
    check(
        "deploy; drive; nic-attach; refused; run; hardware",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            nic-attach     hotplug (attach-nic: calling) > attach-nic nic:b2:44:a4:a6:f5:6e
            refused        hotplug (undo detach-nic: calling) > detach-nic nic:b2:44:a4:a6:f5:6e
              detach-nic   hotplug (undo end: settling) > observe
              observe      running [step-failed] | operation 3 failed: refused
            hardware       record: (1, 0, 1), domain: Some((1, 0, 1))
        "#]],
    );
}

#[test]
fn attach_of_a_card_that_is_there() {
    check(
        "deploy; drive; nic-attach:02:00:00:00:00:01; run; nic-attach:02:00:00:00:00:01; hardware",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            nic-attach:02:00:00:00:00:01 hotplug (attach-nic: calling) > attach-nic nic:02:00:00:00:00:01
              attach-nic   running [asked] | operation 3 succeeded
            nic-attach:02:00:00:00:00:01 refused bad-request: Invalid { part: Nic, error: InvalidSpec { field: "nics[1].mac", problem: "02:00:00:00:00:01 is there twice" } }
            hardware       record: (1, 1, 1), domain: Some((1, 1, 1))
        "#]],
    );
}

#[test]
fn detach_of_a_card_is_refused() {
    check(
        "deploy; drive; nic-attach; run; nic-detach; refused; run; hardware",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            nic-attach     hotplug (attach-nic: calling) > attach-nic nic:b2:44:a4:a6:f5:6e
              attach-nic   running [asked] | operation 3 succeeded
            nic-detach     hotplug (detach-nic: calling) > detach-nic nic:b2:44:a4:a6:f5:6e
            refused        hotplug (detach-nic: settling) > observe
              observe      running [step-failed] | operation 4 failed: refused
            hardware       record: (1, 1, 1), domain: Some((1, 1, 1))
        "#]],
    );
}

#[test]
fn detach_of_a_card_is_lost() {
    check(
        "deploy; drive; nic-attach; run; nic-detach; lost; go:1; run; hardware",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            nic-attach     hotplug (attach-nic: calling) > attach-nic nic:b2:44:a4:a6:f5:6e
              attach-nic   running [asked] | operation 3 succeeded
            nic-detach     hotplug (detach-nic: calling) > detach-nic nic:b2:44:a4:a6:f5:6e
            lost           hotplug (detach-nic: backoff)
            go:1           hotplug (detach-nic: calling) > detach-nic nic:b2:44:a4:a6:f5:6e
              detach-nic   running [asked] | operation 4 succeeded
            hardware       record: (1, 0, 1), domain: Some((1, 0, 1))
        "#]],
    );
}

#[test]
fn detach_of_a_card_that_is_not_there() {
    check(
        "deploy; drive; nic-detach; disk-detach:vdq",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            nic-detach     refused bad-request: NoArguments
            disk-detach:vdq refused bad-request: NoDisk { disk: DiskName("vdq") }
        "#]],
    );
}

#[test]
fn resize_while_it_runs() {
    check(
        "deploy; drive; resize:2; hardware; run; hardware; resize:9; resize:2; run",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            resize:2       hotplug (resize: calling) > resize
            hardware       record: (1, 0, 2), domain: Some((1, 0, 1))
              resize       running [asked] | operation 3 succeeded
            hardware       record: (1, 0, 2), domain: Some((1, 0, 2))
            resize:9       refused bad-request: TooLarge { vcpus: 4, memory_mib: 96 }
            resize:2       hotplug (resize: calling) > resize
              resize       running [asked] | operation 5 succeeded
        "#]],
    );
}

#[test]
fn resize_is_refused() {
    check(
        "deploy; drive; resize:2; refused; run; hardware",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            resize:2       hotplug (resize: calling) > resize
            refused        hotplug (undo resize: calling) > resize
              resize       hotplug (undo end: settling) > observe
              observe      running [step-failed] | operation 3 failed: refused
            hardware       record: (1, 0, 1), domain: Some((1, 0, 1))
        "#]],
    );
}

#[test]
fn resize_is_lost() {
    check(
        "deploy; drive; resize:2; lost; go:1; run; hardware",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            resize:2       hotplug (resize: calling) > resize
            lost           hotplug (resize: backoff)
            go:1           hotplug (resize: calling) > resize
              resize       running [asked] | operation 3 succeeded
            hardware       record: (1, 0, 2), domain: Some((1, 0, 2))
        "#]],
    );
}

#[test]
fn resize_and_its_way_back_are_refused() {
    check(
        "deploy; drive; resize:2; do; refused; refused; run; hardware",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            resize:2       hotplug (resize: calling) > resize
            refused        hotplug (undo resize: calling) > resize
            refused        hotplug (undo resize: settling) > observe
              observe      running [step-failed] | operation 3 failed: refused
            hardware       record: (1, 0, 2), domain: Some((1, 0, 2))
        "#]],
    );
}

#[test]
fn resize_at_rest() {
    check(
        "resize:2; hardware; resize:2; deploy; drive; hardware; poweroff-hard; drive; resize:4; resume; drive; hardware; suspend; drive; resize:1; hardware",
        expect![[r#"
            resize:2       pending [asked] | operation 2 succeeded
            hardware       record: (1, 0, 2), domain: None
            resize:2       pending [asked] | already so
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            hardware       record: (1, 0, 2), domain: Some((1, 0, 2))
            poweroff-hard  shutdown (power-off: calling) > destroy
            resize:4       poweroff [asked] | operation 6 succeeded
            resume         boot (boot: calling) > deploy
            hardware       record: (1, 0, 4), domain: Some((1, 0, 4))
            suspend        save (save: calling) > save
            resize:1       refused wrong-state: WrongState { state: Suspended }
            hardware       record: (1, 0, 4), domain: Some((1, 0, 4))
        "#]],
    );
}

#[test]
fn resize_overtaken_by_recreate() {
    check(
        "deploy; drive; resize:2; delete-recreate; ok; run; hardware",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            resize:2       hotplug (resize: calling) > resize
            delete-recreate shutdown (power-off: calling) > destroy > cancel domain | operation 3 superseded by 4
            ok             shutdown (power-off: calling)
              destroy      epilog (remove: calling) > remove
              remove       epilog (drop-host: calling) > drop-host files
              drop-host    pending [asked] | operation 4 succeeded
            hardware       record: (1, 0, 1), domain: None
        "#]],
    );
}

#[test]
fn resize_undone_by_the_operator() {
    check(
        "deploy; drive; resize:2; do; recover-undo; ok; run; hardware",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            resize:2       hotplug (resize: calling) > resize
            recover-undo   hotplug (resize: draining) > cancel domain
            ok             hotplug (undo resize: calling) > resize
              resize       hotplug (undo end: settling) > observe
              observe      running [step-failed] | operation 3 failed: undone
            hardware       record: (1, 0, 1), domain: Some((1, 0, 1))
        "#]],
    );
}

/// Until the guest has given it back, nobody else gets what it may have.
#[test]
fn growing_that_is_taken_back_keeps_its_capacity_until_it_is_back() {
    check(
        "deploy; drive; holds; resize:3000m; holds; do; refused; holds; ok; holds; run; holds",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        holds          1000 thousandths of a CPU
        resize:3000m   hotplug (resize: calling) > resize
        holds          3000 thousandths of a CPU
        refused        hotplug (undo resize: calling) > resize
        holds          3000 thousandths of a CPU
        ok             hotplug (undo end: settling) > observe
        holds          3000 thousandths of a CPU
          observe      running [step-failed] | operation 3 failed: refused
        holds          1000 thousandths of a CPU
    "#]],
    );
}

#[test]
fn a_running_guest_keeps_half_of_its_memory_unless_that_is_forced() {
    check(
        "deploy; drive; poweroff-hard; drive; resize:m512; resize:m400; resize:m2; resize:m512; resume; drive
         resize:m255; resize:m256; run; resize:m2; resize!:m2; run",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            poweroff-hard  shutdown (power-off: calling) > destroy
            resize:m512    poweroff [asked] | operation 4 succeeded
            resize:m400    poweroff [asked] | operation 5 succeeded
            resize:m2      poweroff [asked] | operation 6 succeeded
            resize:m512    poweroff [asked] | operation 7 succeeded
            resume         boot (boot: calling) > deploy
            resize:m255    refused bad-request: LosesMemory { from_mib: 512, to_mib: 255 }
            resize:m256    hotplug (resize: calling) > resize
              resize       running [asked] | operation 10 succeeded
            resize:m2      refused bad-request: LosesMemory { from_mib: 256, to_mib: 2 }
            resize!:m2     hotplug (resize: calling) > resize
              resize       running [asked] | operation 12 succeeded
        "#]],
    );
}
