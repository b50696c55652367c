//! Operations of VMs that rest on a host that does not answer: nothing was begun there, and they
//! are what they were.

use crate::script::{Stage, check, check_on};
use expect_test::expect;

/// Tries until the step's deadline, on a host that says *not now* to everything and cannot be
/// looked at.
const OUT: &str = "in-vain";

#[test]
fn resume() {
    check(
        &format!(
            "deploy; drive; suspend; drive; host-gone; resume; {OUT}; memory; host-back; look; resume; run"
        ),
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        suspend        save (save: calling) > save
        resume         boot (restore: calling) > restore
        in-vain        suspended [step-failed] | operation 4 failed: no-connection
        memory         Some((true, false))
        look           suspended [step-failed]
        resume         boot (restore: calling) > restore
          restore      boot (unpause: calling) > unpause
          unpause      boot (drop-recovery: calling) > drop-recovery recovery
          drop-recovery running [asked] | operation 5 succeeded
    "#]],
    );
    check(
        &format!(
            "deploy; drive; poweroff-hard; drive; host-gone; resume; {OUT}; host-back; look; resume; run"
        ),
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        poweroff-hard  shutdown (power-off: calling) > destroy
        resume         boot (boot: calling) > deploy
        in-vain        poweroff [step-failed] | operation 4 failed: no-connection
        look           poweroff [step-failed]
        resume         boot (boot: calling) > deploy
          deploy       running [asked] | operation 5 succeeded
    "#]],
    );
    check(
        &format!(
            "deploy; drive; paused; look; host-gone; resume; {OUT}; host-back; look; resume; run"
        ),
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        look           suspended [external]
        resume         boot (unpause: calling) > unpause
        in-vain        suspended [external] | operation 3 failed: no-connection
        look           suspended [external]
        resume         boot (unpause: calling) > unpause
          unpause      running [asked] | operation 4 succeeded
    "#]],
    );
    check(
        &format!(
            "deploy; drive; suspend; drive; host-gone; resume-cold; {OUT}; memory; host-back; look; resume; run"
        ),
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            suspend        save (save: calling) > save
            resume-cold    prolog (drop-recovery: calling) > drop-recovery recovery
            in-vain        suspended [step-failed] | operation 4 failed: no-connection
            memory         Some((true, false))
            look           suspended [step-failed]
            resume         boot (restore: calling) > restore
              restore      boot (unpause: calling) > unpause
              unpause      boot (drop-recovery: calling) > drop-recovery recovery
              drop-recovery running [asked] | operation 5 succeeded
        "#]],
    );
}

#[test]
fn what_brings_it_back_or_ends_it() {
    check(
        &format!("deploy; drive; suspend; drive; host-gone; stop; {OUT}; memory"),
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        suspend        save (save: calling) > save
        stop           epilog (remove: calling) > remove
        in-vain        suspended [step-failed] | operation 4 failed: no-connection
        memory         Some((true, false))
    "#]],
    );
    check(
        &format!("deploy; drive; suspend; drive; host-gone; shutdown; {OUT}; memory"),
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        suspend        save (save: calling) > save
        shutdown       epilog (remove: calling) > remove
        in-vain        suspended [step-failed] | operation 4 failed: no-connection
        memory         Some((true, false))
    "#]],
    );
    check(
        &format!("deploy; drive; suspend; drive; host-gone; shutdown-hard; {OUT}; memory"),
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        suspend        save (save: calling) > save
        shutdown-hard  epilog (remove: calling) > remove
        in-vain        suspended [step-failed] | operation 4 failed: no-connection
        memory         Some((true, false))
    "#]],
    );
    check(
        &format!("deploy; drive; poweroff-hard; drive; host-gone; undeploy; {OUT}; place"),
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        poweroff-hard  shutdown (power-off: calling) > destroy
        undeploy       epilog (remove: calling) > remove
        in-vain        poweroff [step-failed] | operation 4 failed: no-connection
        place          Some(1) host=true home=false placed=1
    "#]],
    );
    check(
        &format!("deploy; drive; poweroff-hard; drive; host-gone; undeploy-hard; {OUT}; place"),
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        poweroff-hard  shutdown (power-off: calling) > destroy
        undeploy-hard  epilog (remove: calling) > remove
        in-vain        poweroff [step-failed] | operation 4 failed: no-connection
        place          Some(1) host=true home=false placed=1
    "#]],
    );
    check(
        &format!("deploy; drive; poweroff-hard; drive; host-gone; shutdown; {OUT}; place"),
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        poweroff-hard  shutdown (power-off: calling) > destroy
        shutdown       epilog (remove: calling) > remove
        in-vain        poweroff [step-failed] | operation 4 failed: no-connection
        place          Some(1) host=true home=false placed=1
    "#]],
    );
}

#[test]
fn snapshots_and_disks() {
    check(
        &format!(
            "deploy; drive; poweroff-hard; drive; host-gone; snapshot-create; {OUT}; snapshots"
        ),
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            poweroff-hard  shutdown (power-off: calling) > destroy
            snapshot-create snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-4
            in-vain        poweroff [step-failed] | operation 4 failed: no-connection
            snapshots      
        "#]],
    );
    check(
        &format!("deploy; drive; poweroff-hard; drive; host-gone; disk-attach; {OUT}; hardware"),
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        poweroff-hard  shutdown (power-off: calling) > destroy
        disk-attach    hotplug (prepare-disks: calling) > prepare disk:vdb
        in-vain        poweroff [step-failed] | operation 4 failed: no-connection
        hardware       record: (1, 0, 1), domain: Some((1, 0, 1))
    "#]],
    );
    check(
        "deploy; drive; poweroff-hard; drive; host-gone; disk-detach",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            poweroff-hard  shutdown (power-off: calling) > destroy
            disk-detach    refused cannot-ask: OffUnseen { error: Some(DriverError { kind: Unknown, code: "unreachable", detail: "no answer" }) }
        "#]],
    );
    check(
        &format!(
            "deploy; drive; snapshot-create; drive; poweroff-hard; drive; rules-lose; host-gone; resume; {OUT}; snapshots"
        ),
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            snapshot-create snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-3
            poweroff-hard  shutdown (power-off: calling) > destroy
            resume         snapshot (delete-snapshot: calling) > delete-snapshot snapshot:snap-3
            in-vain        poweroff [step-failed] | operation 5 failed: no-connection
            snapshots      snap-3
        "#]],
    );
}

#[test]
fn a_rollback_that_does_not_get_there_is_settled_when_the_host_is_seen() {
    // The first try got through, its answer did not.
    check(
        &format!(
            "deploy; drive; suspend; drive; resume; unknown; host-gone; {OUT}; memory; host-back; look; resume; run"
        ),
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            suspend        save (save: calling) > save
            resume         boot (restore: calling) > restore
            unknown        boot (restore: backoff)
            in-vain        unknown [cannot-ask] | operation 4 failed: no-connection
            memory         Some((true, false))
            look           suspended [seen-again]
            resume         boot (restore: calling) > restore
              restore      boot (unpause: calling) > unpause
              unpause      boot (drop-recovery: calling) > drop-recovery recovery
              drop-recovery running [asked] | operation 5 succeeded
        "#]],
    );
    check(
        &format!(
            "deploy; drive; poweroff-hard; drive; resume; unknown; host-gone; {OUT}; host-back; look"
        ),
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        poweroff-hard  shutdown (power-off: calling) > destroy
        resume         boot (boot: calling) > deploy
        unknown        boot (boot: confirming) > observe
        in-vain        unknown [cannot-ask] | operation 4 failed: unknown
        look           poweroff [seen-again]
    "#]],
    );
}

#[test]
fn a_daemon_that_was_restarted_does_not_know_what_got_there() {
    check(
        &format!(
            "deploy; drive; suspend; drive; resume; restart-after; host-gone; {OUT}; host-back; look"
        ),
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        suspend        save (save: calling) > save
        resume         boot (restore: calling) > restore
        restart-after  boot (restore: calling) > restore
        in-vain        unknown [cannot-ask] | operation 4 failed: no-connection
        look           suspended [external]
    "#]],
    );
}

#[test]
fn one_that_is_moved() {
    check_on(
        Stage { disks: 1, shared: true },
        &format!(
            "deploy; drive; poweroff-hard; drive; migrate@2; host-gone; {OUT}; where; host-back; look; migrate@2; run; where"
        ),
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            poweroff-hard  shutdown (power-off: calling) > destroy
            migrate@2      migrate (remove: calling) > remove
            in-vain        poweroff [step-failed] | operation 4 failed: no-connection
            where          at 1g1 | domains: 1 off | files: 0
            look           poweroff [step-failed]
            migrate@2      migrate (remove: calling) > remove
              remove       poweroff [asked] | operation 5 succeeded
            where          at 2g3 | domains: | files: 0
        "#]],
    );
}
