//! What a verb removes for good is told when it is accepted: disks, saved memory, snapshots, and
//! what was done since one.

use crate::script::check;
use expect_test::expect;

#[test]
fn a_shutdown_removes_the_disks_that_become_no_image() {
    check(
        "deploy; drive; shutdown; destroys",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        shutdown       shutdown (press-power: delaying)
        destroys       disk vda
    "#]],
    );
    check(
        "deploy; drive; disk-snapshot; shutdown; destroys",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        disk-snapshot  running [asked] | operation 3 succeeded
        shutdown       shutdown (press-power: delaying)
        destroys       nothing
    "#]],
    );
    check(
        "deploy; drive; suspend; drive; shutdown; destroys",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        suspend        save (save: calling) > save
        shutdown       epilog (remove: calling) > remove
        destroys       disk vda, saved memory
    "#]],
    );
    check(
        "deploy; drive; stop; drive; shutdown-hard; destroys",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        stop           save (save: calling) > save
        shutdown-hard  epilog (drop-home: calling) > drop-home files
        destroys       disk vda, saved memory
    "#]],
    );
}

#[test]
fn a_delete_removes_all_there_is_and_nothing_that_was_never_made() {
    check(
        "delete; destroys",
        expect![[r#"
        delete         done [asked] | operation 2 succeeded
        destroys       nothing
    "#]],
    );
    check(
        "deploy; drive; snapshot-create:one; drive; delete; destroys",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        snapshot-create:one snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-3
        delete         epilog (remove: calling) > remove
        destroys       disk vda, snapshot snap-3 (one)
    "#]],
    );
    check(
        "deploy; drive; suspend; drive; delete-recreate; destroys",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        suspend        save (save: calling) > save
        delete-recreate epilog (remove: calling) > remove
        destroys       disk vda, saved memory
    "#]],
    );
    check(
        "deploy; drive; disk-snapshot; delete; destroys",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        disk-snapshot  running [asked] | operation 3 succeeded
        delete         epilog (remove: calling) > remove
        destroys       disk vda
    "#]],
    );
    check(
        "deploy; drive; host-gone; forget; destroys",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        forget         done [asked] | operation 3 succeeded
        destroys       disk vda
    "#]],
    );
}

#[test]
fn a_disk_that_is_unplugged_is_removed() {
    check(
        "deploy; drive; disk-detach; destroys",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        disk-detach    hotplug (detach-disk: calling) > detach-disk disk:vda
        destroys       disk vda
    "#]],
    );
    check(
        "deploy; drive; poweroff-hard; drive; disk-detach; destroys",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        poweroff-hard  shutdown (power-off: calling) > destroy
        disk-detach    hotplug (drop-disk: calling) > drop-disk disk:vda
        destroys       disk vda
    "#]],
    );
    check(
        "adopted; drive; disk-detach; destroys",
        expect![[r#"
        adopted        boot (stamp: calling) > stamp
        disk-detach    hotplug (detach-disk: calling) > detach-disk disk:vda
        destroys       nothing
    "#]],
    );
}

#[test]
fn snapshots_are_lost_as_the_rules_say() {
    check(
        "deploy; drive; snapshot-create:one; drive; rules-lose; disk-attach; destroys",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        snapshot-create:one snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-3
        disk-attach    snapshot (delete-snapshot: calling) > delete-snapshot snapshot:snap-3
        destroys       snapshot snap-3 (one)
    "#]],
    );
    check(
        "deploy; drive; snapshot-create; drive; rules-lose; suspend; destroys",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        snapshot-create snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-3
        suspend        save (save: calling) > save
        destroys       snapshot snap-3
    "#]],
    );
    check(
        "deploy; drive; snapshot-create; drive; rules-hide; resize:2; destroys; drive; nic-attach; destroys",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            snapshot-create snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-3
            resize:2       hotplug (resize: calling) > resize
            destroys       snapshot snap-3 (hidden)
            nic-attach     hotplug (attach-nic: calling) > attach-nic nic:b2:b3:98:19:f3:6e
            destroys       nothing
        "#]],
    );
    check(
        "deploy; drive; snapshot-create; drive; rules-lose; migrate-live@2; destroys",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        snapshot-create snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-3
        migrate-live@2 snapshot (delete-snapshot: calling) > delete-snapshot snapshot:snap-3
        destroys       snapshot snap-3
    "#]],
    );
    check(
        "deploy; drive; snapshot-create; drive; poweroff; destroys",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        snapshot-create snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-3
        poweroff       shutdown (press-power: delaying)
        destroys       nothing
    "#]],
    );
}

#[test]
fn going_back_to_a_snapshot_and_removing_one() {
    check(
        "deploy; drive; snapshot-create:one; drive; snapshot-create; drive; snapshot-revert:one; destroys; drive; snapshot-delete; destroys",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            snapshot-create:one snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-3
            snapshot-create snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-4
            snapshot-revert:one snapshot (revert-snapshot: calling) > revert-snapshot snapshot:snap-3
            destroys       all changes since snapshot snap-3 (one)
            snapshot-delete snapshot (delete-snapshot: calling) > delete-snapshot snapshot:snap-4
            destroys       snapshot snap-4
        "#]],
    );
}

#[test]
fn what_removes_nothing_says_so() {
    check(
        "deploy; destroys; drive; suspend; destroys; drive; resume; destroys; drive; stop; destroys; drive; resume; destroys; drive; \
         deploy; drive; migrate@2; destroys; drive; update:x; destroys; poweroff; destroys; poweroff; destroys",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            destroys       nothing
            suspend        save (save: calling) > save
            destroys       nothing
            resume         boot (restore: calling) > restore
            destroys       nothing
            stop           save (save: calling) > save
            destroys       nothing
            resume         pending [asked] | operation 6 succeeded
            destroys       nothing
            deploy         prolog (copy-in: calling) > copy-in disk:vda
            migrate@2      save (save: calling) > save
            destroys       nothing
            update:x       running [asked] | operation 9 succeeded
            destroys       nothing
            poweroff       shutdown (press-power: delaying)
            destroys       nothing
            poweroff       shutdown (press-power: delaying) | already so
            destroys       nothing
        "#]],
    );
}

#[test]
fn a_recovery_tells_what_it_goes_on_to_remove() {
    check(
        "deploy; drive; shutdown; drive; recover-retry; destroys",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        shutdown       shutdown (press-power: delaying)
        recover-retry  shutdown (press-power: delaying)
        destroys       nothing
    "#]],
    );
    check(
        "deploy; drive; shutdown-hard; ok; ok; refused; recover-retry; destroys",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        shutdown-hard  shutdown (power-off: calling) > destroy
        ok             epilog (remove: calling) > remove
        ok             epilog (drop-host: calling) > drop-host files
        refused        failed [step-failed] | operation 3 failed: refused
        recover-retry  epilog (remove: calling) > remove
        destroys       disk vda
    "#]],
    );
    check(
        "deploy; ok; refused; recover-undo; destroys",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        ok             boot (boot: calling) > deploy
        refused        failed [step-failed] | operation 2 failed: refused
        recover-undo   epilog (undo remove: calling) > remove
        destroys       disk vda
    "#]],
    );
    check(
        "deploy; drive; disk-attach; ok; recover-undo; destroys",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        disk-attach    hotplug (prepare-disks: calling) > prepare disk:vdb
        ok             hotplug (attach-disk: calling) > attach-disk disk:vdb
        recover-undo   hotplug (attach-disk: draining) > cancel disk:vdb
        destroys       disk vdb
    "#]],
    );
}
