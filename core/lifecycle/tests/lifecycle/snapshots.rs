//! System snapshots: made, gone back to, removed; and what the rules say becomes of them.

use crate::rig::{Fault, Rig};
use crate::script::check;
use expect_test::expect;
use ostler_model::{Args, Cause, HostId, Verb};

#[test]
fn create_and_delete() {
    check(
        "deploy; drive; snapshot-create:one; run; snapshots; snapshot-create:one; snapshot-create; run; snapshots; snapshot-delete:one; run; snapshots; snapshot-delete:nine",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            snapshot-create:one snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-3
              create-snapshot running [asked] | operation 3 succeeded
            snapshots      snap-3
            snapshot-create:one refused bad-request: SnapshotThere { label: "one" }
            snapshot-create snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-5
              create-snapshot running [asked] | operation 5 succeeded
            snapshots      snap-3, snap-5
            snapshot-delete:one snapshot (delete-snapshot: calling) > delete-snapshot snapshot:snap-3
              delete-snapshot running [asked] | operation 6 succeeded
            snapshots      snap-5
            snapshot-delete:nine refused bad-request: NoSnapshot { name: "nine", known: ["snap-5"] }
        "#]],
    );
}

#[test]
fn one_that_is_not_there_is_refused_before_the_rules_are_heard() {
    check(
        "deploy; drive; rules-refuse; snapshot-revert:nine; snapshot-create:nine",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            snapshot-revert:nine refused bad-request: NoSnapshot { name: "nine", known: [] }
            snapshot-create:nine refused rules: RulesSayNo { rules: "rules", reason: "they do not like it" }
        "#]],
    );
}

#[test]
fn revert() {
    check(
        "deploy; drive; snapshot-create:one; run; snapshot-revert:one; run; snapshots; memory",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            snapshot-create:one snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-3
              create-snapshot running [asked] | operation 3 succeeded
            snapshot-revert:one snapshot (revert-snapshot: calling) > revert-snapshot snapshot:snap-3
              revert-snapshot running [asked] | operation 4 succeeded
            snapshots      snap-3
            memory         None
        "#]],
    );
}

#[test]
fn revert_is_refused_while_the_hardware_is_another() {
    check(
        "deploy; drive; snapshot-create:one; run; disk-attach; run; nic-attach; run; snapshot-revert:one; disk-detach:vdb; run; snapshot-revert:one",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            snapshot-create:one snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-3
              create-snapshot running [asked] | operation 3 succeeded
            disk-attach    hotplug (prepare-disks: calling) > prepare disk:vdb
              prepare      hotplug (attach-disk: calling) > attach-disk disk:vdb
              attach-disk  running [asked] | operation 4 succeeded
            nic-attach     hotplug (attach-nic: calling) > attach-nic nic:b2:b3:98:19:f3:6e
              attach-nic   running [asked] | operation 5 succeeded
            snapshot-revert:one refused bad-request: SnapshotOfOtherHardware { name: SnapshotName("snap-3"), label: "one", changes: [DiskAttached(DiskName("vdb")), NicAttached(MacAddress("b2:b3:98:19:f3:6e"))] }
            disk-detach:vdb hotplug (detach-disk: calling) > detach-disk disk:vdb
              detach-disk  hotplug (drop-disk: calling) > drop-disk disk:vdb
              drop-disk    running [asked] | operation 7 succeeded
            snapshot-revert:one refused bad-request: SnapshotOfOtherHardware { name: SnapshotName("snap-3"), label: "one", changes: [NicAttached(MacAddress("b2:b3:98:19:f3:6e"))] }
        "#]],
    );
    check(
        "deploy; drive; snapshot-create:one; run; resize:2; run; snapshot-revert:one; resize:1; run; snapshot-revert:one; run; hardware",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            snapshot-create:one snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-3
              create-snapshot running [asked] | operation 3 succeeded
            resize:2       hotplug (resize: calling) > resize
              resize       running [asked] | operation 4 succeeded
            snapshot-revert:one refused bad-request: SnapshotOfOtherHardware { name: SnapshotName("snap-3"), label: "one", changes: [Resized { from: Size { cpu_milli: 1000, vcpus: 1, memory_mib: 96 }, to: Size { cpu_milli: 1000, vcpus: 2, memory_mib: 96 } }] }
            resize:1       hotplug (resize: calling) > resize
              resize       running [asked] | operation 6 succeeded
            snapshot-revert:one snapshot (revert-snapshot: calling) > revert-snapshot snapshot:snap-3
              revert-snapshot running [asked] | operation 7 succeeded
            hardware       record: (1, 0, 1), domain: Some((1, 0, 1))
        "#]],
    );
}

#[test]
fn a_detached_disk_hides_the_snapshots_that_have_it() {
    check(
        "deploy; drive; snapshot-create:before; run; disk-attach; run; snapshot-create:with; run; disk-detach:vdb; destroys; run; snapshots; snapshot-revert:with; snapshot-revert:before; run; hardware",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            snapshot-create:before snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-3
              create-snapshot running [asked] | operation 3 succeeded
            disk-attach    hotplug (prepare-disks: calling) > prepare disk:vdb
              prepare      hotplug (attach-disk: calling) > attach-disk disk:vdb
              attach-disk  running [asked] | operation 4 succeeded
            snapshot-create:with snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-5
              create-snapshot running [asked] | operation 5 succeeded
            disk-detach:vdb hotplug (detach-disk: calling) > detach-disk disk:vdb
            destroys       disk vdb, snapshot snap-5 (with) (hidden)
              detach-disk  hotplug (drop-disk: calling) > drop-disk disk:vdb
              drop-disk    running [asked] | operation 6 succeeded
            snapshots      snap-3, snap-5 (hidden)
            snapshot-revert:with refused bad-request: NoSnapshot { name: "with", known: ["snap-3", "before"] }
            snapshot-revert:before snapshot (revert-snapshot: calling) > revert-snapshot snapshot:snap-3
              revert-snapshot running [asked] | operation 8 succeeded
            hardware       record: (1, 0, 1), domain: Some((1, 0, 1))
        "#]],
    );
}

#[test]
fn revert_is_lost_and_sent_under_the_same_identity() {
    check(
        "deploy; drive; snapshot-create:one; run; snapshot-revert:one; lost; tick; run; snapshots",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            snapshot-create:one snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-3
              create-snapshot running [asked] | operation 3 succeeded
            snapshot-revert:one snapshot (revert-snapshot: calling) > revert-snapshot snapshot:snap-3
            lost           snapshot (revert-snapshot: backoff)
            tick           snapshot (revert-snapshot: calling) > revert-snapshot snapshot:snap-3
              revert-snapshot running [asked] | operation 4 succeeded
            snapshots      snap-3
        "#]],
    );
}

#[test]
fn revert_is_refused() {
    check(
        "deploy; drive; snapshot-create:one; run; snapshot-revert:one; refused; run; snapshots",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            snapshot-create:one snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-3
              create-snapshot running [asked] | operation 3 succeeded
            snapshot-revert:one snapshot (revert-snapshot: calling) > revert-snapshot snapshot:snap-3
            refused        snapshot (revert-snapshot: settling) > observe
              observe      running [step-failed] | operation 4 failed: refused
            snapshots      snap-3
        "#]],
    );
}

#[test]
fn revert_and_the_guest_is_gone() {
    check(
        "deploy; drive; snapshot-create:one; run; snapshot-revert:one; crash; refused; run; snapshots",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            snapshot-create:one snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-3
              create-snapshot running [asked] | operation 3 succeeded
            snapshot-revert:one snapshot (revert-snapshot: calling) > revert-snapshot snapshot:snap-3
            refused        snapshot (revert-snapshot: settling) > observe
              observe      poweroff [crashed] | operation 4 failed: refused
            snapshots      snap-3
        "#]],
    );
}

#[test]
fn create_is_refused() {
    check(
        "deploy; drive; snapshot-create:one; refused; run; snapshots",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            snapshot-create:one snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-3
            refused        snapshot (undo delete-snapshot: calling) > delete-snapshot snapshot:snap-3
              delete-snapshot snapshot (undo end: settling) > observe
              observe      running [step-failed] | operation 3 failed: refused
            snapshots      
        "#]],
    );
}

#[test]
fn create_is_lost() {
    check(
        "deploy; drive; snapshot-create:one; lost; go:1; run; snapshots",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            snapshot-create:one snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-3
            lost           snapshot (create-snapshot: backoff)
            go:1           snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-3
              create-snapshot running [asked] | operation 3 succeeded
            snapshots      snap-3
        "#]],
    );
}

#[test]
fn create_is_lost_for_good() {
    check(
        "deploy; drive; snapshot-create:one; do; unknown; tick; wait:9999; unknown; run; snapshots",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            snapshot-create:one snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-3
            unknown        snapshot (create-snapshot: backoff)
            tick           snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-3
            wait:9999      snapshot (create-snapshot: calling)
            unknown        snapshot (undo delete-snapshot: calling) > delete-snapshot snapshot:snap-3
              delete-snapshot snapshot (undo end: settling) > observe
              observe      running [step-failed] | operation 3 failed: unknown
            snapshots      
        "#]],
    );
}

#[test]
fn create_and_its_way_back_are_refused() {
    check(
        "deploy; drive; snapshot-create:one; do; refused; refused; run; snapshots",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            snapshot-create:one snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-3
            refused        snapshot (undo delete-snapshot: calling) > delete-snapshot snapshot:snap-3
            refused        snapshot (undo delete-snapshot: settling) > observe
              observe      running [step-failed] | operation 3 failed: refused
            snapshots      snap-3 (hidden)
        "#]],
    );
}

#[test]
fn delete_is_refused() {
    check(
        "deploy; drive; snapshot-create:one; run; snapshot-delete:one; refused; run; snapshots",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            snapshot-create:one snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-3
              create-snapshot running [asked] | operation 3 succeeded
            snapshot-delete:one snapshot (delete-snapshot: calling) > delete-snapshot snapshot:snap-3
            refused        snapshot (delete-snapshot: settling) > observe
              observe      running [step-failed] | operation 4 failed: refused
            snapshots      snap-3
        "#]],
    );
}

#[test]
fn delete_of_what_is_gone_already() {
    check(
        "deploy; drive; snapshot-create:one; run; snapshot-delete:one; gone; run; snapshots",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            snapshot-create:one snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-3
              create-snapshot running [asked] | operation 3 succeeded
            snapshot-delete:one snapshot (delete-snapshot: calling) > delete-snapshot snapshot:snap-3
            gone           running [asked] | operation 4 succeeded
            snapshots      
        "#]],
    );
}

#[test]
fn from_the_wrong_state() {
    check(
        "snapshot-create; deploy; drive; snapshot-create:one; drive; poweroff-hard; drive; snapshot-revert:one; snapshot-create:two; run; snapshot-delete:two; run",
        expect![[r#"
            snapshot-create refused wrong-state: WrongState { state: Pending }
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            snapshot-create:one snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-4
            poweroff-hard  shutdown (power-off: calling) > destroy
            snapshot-revert:one refused wrong-state: WrongState { state: Poweroff }
            snapshot-create:two snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-7
              create-snapshot poweroff [asked] | operation 7 succeeded
            snapshot-delete:two snapshot (delete-snapshot: calling) > delete-snapshot snapshot:snap-7
              delete-snapshot poweroff [asked] | operation 8 succeeded
        "#]],
    );
}

#[test]
fn the_rules_say_no() {
    check(
        "deploy; drive; rules-refuse; snapshot-create; rules-silent; snapshot-create; rules-none; snapshot-create; rules-true; snapshot-create; run",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            snapshot-create refused rules: RulesSayNo { rules: "rules", reason: "they do not like it" }
            snapshot-create refused rules: RulesSilent { error: DriverError { kind: Unknown, code: "trap", detail: "the rules crashed" } }
            snapshot-create refused rules: NoRules
            snapshot-create snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-6
              create-snapshot running [asked] | operation 6 succeeded
        "#]],
    );
}

#[test]
fn a_driver_that_cannot() {
    check(
        "deploy; drive; snapshot-create:one; run; unable; snapshot-revert:one; snapshot-delete:one",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            snapshot-create:one snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-3
              create-snapshot running [asked] | operation 3 succeeded
            snapshot-revert:one refused not-able: NotOffered { ability: Snapshots }
            snapshot-delete:one refused not-able: NotOffered { ability: Snapshots }
        "#]],
    );
}

#[test]
fn create_overtaken_by_delete() {
    check(
        "deploy; drive; snapshot-create:one; delete; ok; run; snapshots; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            snapshot-create:one snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-3
            delete         shutdown (power-off: calling) > destroy > cancel snapshot:snap-3 | operation 3 superseded by 4
            ok             shutdown (power-off: calling)
              destroy      epilog (remove: calling) > remove
              remove       epilog (drop-host: calling) > drop-host files
              drop-host    done [asked] | operation 4 succeeded
            snapshots      
            where          at - | domains: | files:
        "#]],
    );
}

#[test]
fn restart_in_each() {
    check(
        "deploy; drive; snapshot-create:one; restart-after; run; snapshot-revert:one; restart-after; run; snapshot-delete:one; restart; run; snapshots",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            snapshot-create:one snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-3
            restart-after  snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-3
              create-snapshot running [asked] | operation 3 succeeded
            snapshot-revert:one snapshot (revert-snapshot: calling) > revert-snapshot snapshot:snap-3
            restart-after  snapshot (revert-snapshot: calling) > revert-snapshot snapshot:snap-3
              revert-snapshot running [asked] | operation 4 succeeded
            snapshot-delete:one snapshot (delete-snapshot: calling) > delete-snapshot snapshot:snap-3
            restart        snapshot (delete-snapshot: calling) > delete-snapshot snapshot:snap-3
              delete-snapshot running [asked] | operation 5 succeeded
            snapshots      
        "#]],
    );
}

#[test]
fn no_snapshot_is_called_like_another() {
    check(
        "deploy; drive; snapshot-create; drive; snapshot-create:snap-3; snapshot-create:SNAP-99; snapshot-create:snap-3a; drive; snapshot-create:snap-; drive; snapshots",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            snapshot-create snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-3
            snapshot-create:snap-3 refused bad-request: LabelIsAName { label: "snap-3" }
            snapshot-create:SNAP-99 refused bad-request: LabelIsAName { label: "SNAP-99" }
            snapshot-create:snap-3a snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-6
            snapshot-create:snap- snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-7
            snapshots      snap-3, snap-6, snap-7
        "#]],
    );
}

#[test]
fn of_two_that_are_called_the_same_none_is_chosen() {
    let mut rig = Rig::new(1, false, Fault::None);
    rig.ask(Verb::Deploy, Args::None, false, HostId(1)).unwrap().unwrap();
    rig.settle().unwrap();
    for label in ["first", "second"] {
        rig.ask(
            Verb::SnapshotCreate,
            Args::NewSnapshot { label: label.to_owned() },
            false,
            HostId(1),
        )
        .unwrap()
        .unwrap();
        rig.settle().unwrap();
    }
    // As it was accepted once: the second is called by the first one's name.
    rig.record.snapshots[1].label = rig.record.snapshots[0].name.to_string();
    let name = rig.record.snapshots[0].name.to_string();
    for verb in [Verb::SnapshotRevert, Verb::SnapshotDelete] {
        let refused = rig
            .ask(verb, Args::Snapshot { name: name.clone() }, false, HostId(1))
            .unwrap()
            .expect_err("ambiguous");
        assert!(
            matches!(&refused.cause, Cause::SnapshotsCalled { snapshots, .. } if snapshots.len() == 2),
            "{refused}"
        );
    }
    let second = rig.record.snapshots[1].name.to_string();
    rig.ask(Verb::SnapshotDelete, Args::Snapshot { name: second }, false, HostId(1))
        .unwrap()
        .unwrap();
    rig.settle().unwrap();
    rig.ask(Verb::SnapshotRevert, Args::Snapshot { name }, false, HostId(1))
        .unwrap()
        .expect("there is only one now");
}
