//! Snapshots while other verbs run: the rules say which are lost and which are hidden.

use crate::script::check;
use expect_test::expect;

#[test]
fn lost_when_it_moves() {
    check(
        "deploy; drive; snapshot-create:one; run; migrate@2; run; snapshots",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            snapshot-create:one snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-3
              create-snapshot running [asked] | operation 3 succeeded
            migrate@2      save (save: calling) > save
              save         snapshot (delete-snapshot: calling) > delete-snapshot snapshot:snap-3
              delete-snapshot migrate (remove: calling) > remove
              remove       migrate (copy-across: calling) > copy-across disk:vda
              copy-across  migrate (copy-across: calling) > copy-across recovery
              copy-across  boot (restore: calling) > restore
              restore      boot (unpause: calling) > unpause
              unpause      boot (drop-recovery: calling) > drop-recovery recovery
              drop-recovery migrate (drop-other: calling) > drop-host files
              drop-host    running [asked] | operation 4 succeeded
            snapshots      
        "#]],
    );
}

#[test]
fn lost_when_it_moves_live() {
    check(
        "deploy; drive; snapshot-create:one; run; migrate-live@2; run; snapshots",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            snapshot-create:one snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-3
              create-snapshot running [asked] | operation 3 succeeded
            migrate-live@2 snapshot (delete-snapshot: calling) > delete-snapshot snapshot:snap-3
              delete-snapshot migrate (prepare-other: calling) > prepare disk:vda
              prepare      migrate (migrate: calling) > migrate
              migrate      migrate (migrate: confirming) > observe
              observe      migrate (remove-other: calling) > remove
              remove       migrate (drop-other: calling) > drop-host files
              drop-host    running [asked] | operation 4 succeeded
            snapshots      
        "#]],
    );
}

#[test]
fn lost_when_it_stops_and_the_removal_is_refused() {
    check(
        "deploy; drive; snapshot-create:one; run; stop; ok; refused; run; snapshots; memory",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            snapshot-create:one snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-3
              create-snapshot running [asked] | operation 3 succeeded
            stop           save (save: calling) > save
            ok             snapshot (delete-snapshot: calling) > delete-snapshot snapshot:snap-3
            refused        snapshot (delete-snapshot: settling) > observe
              observe      suspended [step-failed] | operation 4 failed: refused
            snapshots      snap-3
            memory         Some((true, false))
        "#]],
    );
}

#[test]
fn lost_when_it_moves_off_and_the_removal_is_refused() {
    check(
        "deploy; drive; snapshot-create:one; run; migrate-live@2; refused; run; snapshots; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            snapshot-create:one snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-3
              create-snapshot running [asked] | operation 3 succeeded
            migrate-live@2 snapshot (delete-snapshot: calling) > delete-snapshot snapshot:snap-3
            refused        snapshot (delete-snapshot: settling) > observe
              observe      running [step-failed] | operation 4 failed: refused
            snapshots      snap-3
            where          at 1g1 | domains: 1 running | files: 1
        "#]],
    );
}

#[test]
fn lost_though_there_is_no_domain() {
    check(
        "deploy; drive; snapshot-create:one; run; suspend; drive; undefined; stop; run; snapshots",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            snapshot-create:one snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-3
              create-snapshot running [asked] | operation 3 succeeded
            suspend        save (save: calling) > save
            stop           snapshot (delete-snapshot: calling) > delete-snapshot snapshot:snap-3
              delete-snapshot epilog (remove: calling) > remove
              remove       epilog (copy-out: calling) > copy-out disk:vda
              copy-out     epilog (copy-out: calling) > copy-out recovery
              copy-out     epilog (drop-host: calling) > drop-host files
              drop-host    stopped [asked] | operation 5 succeeded
            snapshots      
        "#]],
    );
}

#[test]
fn lost_by_hotplug() {
    check(
        "deploy; drive; snapshot-create:one; run; rules-lose; nic-attach; run; snapshots",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            snapshot-create:one snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-3
              create-snapshot running [asked] | operation 3 succeeded
            nic-attach     snapshot (delete-snapshot: calling) > delete-snapshot snapshot:snap-3
              delete-snapshot hotplug (attach-nic: calling) > attach-nic nic:b2:7c:1e:60:74:6e
              attach-nic   running [asked] | operation 4 succeeded
            snapshots      
        "#]],
    );
}

#[test]
fn lost_by_hotplug_that_fails() {
    check(
        "deploy; drive; snapshot-create:one; run; rules-lose; nic-attach; ok; refused; run; snapshots; hardware",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            snapshot-create:one snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-3
              create-snapshot running [asked] | operation 3 succeeded
            nic-attach     snapshot (delete-snapshot: calling) > delete-snapshot snapshot:snap-3
            ok             hotplug (attach-nic: calling) > attach-nic nic:b2:7c:1e:60:74:6e
            refused        hotplug (undo detach-nic: calling) > detach-nic nic:b2:7c:1e:60:74:6e
              detach-nic   hotplug (undo end: settling) > observe
              observe      running [step-failed] | operation 4 failed: refused
            snapshots      
            hardware       record: (1, 0, 1), domain: Some((1, 0, 1))
        "#]],
    );
}

#[test]
fn lost_by_what_only_changes_the_record() {
    check(
        "deploy; drive; poweroff-hard; drive; snapshot-create:one; run; rules-lose; nic-attach; snapshots",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            poweroff-hard  shutdown (power-off: calling) > destroy
            snapshot-create:one snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-4
              create-snapshot poweroff [asked] | operation 4 succeeded
            nic-attach     poweroff [asked] | operation 5 succeeded
            snapshots      snap-4 (hidden)
        "#]],
    );
}

#[test]
fn lost_by_a_delete() {
    check(
        "deploy; drive; snapshot-create:one; run; rules-lose; delete; run; snapshots",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            snapshot-create:one snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-3
              create-snapshot running [asked] | operation 3 succeeded
            delete         epilog (remove: calling) > remove
              remove       epilog (drop-host: calling) > drop-host files
              drop-host    done [asked] | operation 4 succeeded
            snapshots      
        "#]],
    );
}

#[test]
fn lost_by_a_recreate() {
    check(
        "deploy; drive; snapshot-create:one; run; rules-lose; delete-recreate; run; snapshots",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            snapshot-create:one snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-3
              create-snapshot running [asked] | operation 3 succeeded
            delete-recreate epilog (remove: calling) > remove
              remove       epilog (drop-host: calling) > drop-host files
              drop-host    pending [asked] | operation 4 succeeded
            snapshots      
        "#]],
    );
}

#[test]
fn hidden() {
    check(
        "deploy; drive; snapshot-create:one; run; rules-hide; suspend; run; snapshots; rules-true; resume; run; snapshot-revert:one; snapshot-delete:one; snapshots",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            snapshot-create:one snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-3
              create-snapshot running [asked] | operation 3 succeeded
            suspend        save (save: calling) > save
              save         suspended [asked] | operation 4 succeeded
            snapshots      snap-3 (hidden)
            resume         boot (restore: calling) > restore
              restore      boot (unpause: calling) > unpause
              unpause      boot (drop-recovery: calling) > drop-recovery recovery
              drop-recovery running [asked] | operation 5 succeeded
            snapshot-revert:one refused bad-request: NoSnapshot { name: "one", known: [] }
            snapshot-delete:one refused bad-request: NoSnapshot { name: "one", known: [] }
            snapshots      snap-3 (hidden)
        "#]],
    );
}

#[test]
fn hidden_when_the_rules_are_silent() {
    check(
        "deploy; drive; snapshot-create:one; run; rules-silent; suspend; run; snapshots",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            snapshot-create:one snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-3
              create-snapshot running [asked] | operation 3 succeeded
            suspend        save (save: calling) > save
              save         suspended [asked] | operation 4 succeeded
            snapshots      snap-3 (hidden)
        "#]],
    );
}

#[test]
fn hidden_by_what_was_seen() {
    check(
        "deploy; drive; snapshot-create:one; run; rules-lose; crash; look; snapshots",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            snapshot-create:one snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-3
              create-snapshot running [asked] | operation 3 succeeded
            look           poweroff [crashed]
            snapshots      snap-3 (hidden)
        "#]],
    );
}

#[test]
fn kept_when_it_resumes_and_that_fails() {
    check(
        "deploy; drive; snapshot-create:one; run; poweroff-hard; drive; resume; refused; run; snapshots",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            snapshot-create:one snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-3
              create-snapshot running [asked] | operation 3 succeeded
            poweroff-hard  shutdown (power-off: calling) > destroy
            resume         boot (boot: calling) > deploy
            refused        epilog (undo remove: calling) > remove
              remove       epilog (undo end: settling) > observe
              observe      poweroff [step-failed] | operation 5 failed: refused
            snapshots      snap-3
        "#]],
    );
}

#[test]
fn kept_through_a_reboot() {
    check(
        "deploy; drive; snapshot-create:one; run; wait:99; reboot; run; snapshots",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            snapshot-create:one snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-3
              create-snapshot running [asked] | operation 3 succeeded
            wait:99        running [asked]
            reboot         running (reboot: calling) > reboot
              reboot       running [asked] | operation 4 succeeded
            snapshots      snap-3
        "#]],
    );
}
