//! VMs that are off or suspended on a host that is lost: they are moved without asking that host,
//! and stay what they were.

use crate::acts::Act;
use crate::model::happen;
use crate::rig::{Fault, Rig};
use crate::script::{Stage, check_on};
use expect_test::{Expect, expect};
use ostler_model::{ErrorKind, State, Verb};

fn shared(story: &str, expected: Expect) {
    check_on(Stage { disks: 1, shared: true }, story, expected);
}

#[test]
fn one_that_is_off_is_off_elsewhere() {
    shared(
        "deploy; drive; poweroff-hard; drive; plug-pulled@1; migrate@2; migrate@2:fenced; where; place; resume; run; host-back@1; sweep@1; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            poweroff-hard  shutdown (power-off: calling) > destroy
            migrate@2      refused not-fenced: HasDomain
            migrate@2:fenced poweroff [asked] | operation 5 succeeded
            where          at 2g2 left 1g1 | domains: 1 off | files: 0
            place          Some(2) host=true home=false placed=1
            resume         boot (boot: calling) > deploy
              deploy       running [asked] | operation 6 succeeded
            sweep@1        running [asked]
            where          at 2g2 | domains: 2 running | files: 0
        "#]],
    );
}

#[test]
fn saved_memory_is_restored_elsewhere() {
    shared(
        "deploy; drive; suspend; drive; plug-pulled@1; migrate@2:fenced; memory; resume; run; memory",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        suspend        save (save: calling) > save
        migrate@2:fenced suspended [asked] | operation 4 succeeded
        memory         Some((true, false))
        resume         boot (restore: calling) > restore
          restore      boot (unpause: calling) > unpause
          unpause      boot (drop-recovery: calling) > drop-recovery recovery
          drop-recovery running [asked] | operation 5 succeeded
        memory         None
    "#]],
    );
}

#[test]
fn memory_that_was_only_at_the_host_is_lost_with_it() {
    shared(
        "deploy; drive; paused; look; plug-pulled@1; migrate@2; migrate@2:fenced; resume; run",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            look           suspended [external]
            migrate@2      refused not-fenced: HasDomain
            migrate@2:fenced poweroff [asked] | operation 4 succeeded
            resume         boot (boot: calling) > deploy
              deploy       running [asked] | operation 5 succeeded
        "#]],
    );
}

#[test]
fn files_that_are_not_shared_are_brought_by_the_operator() {
    check_on(
        Stage { disks: 1, shared: false },
        "deploy; drive; poweroff-hard; drive; plug-pulled@1; migrate@2:fenced; bring@2; migrate@2:fenced moved; where; place; resume; run; \
         host-back@1; sweep@1; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            poweroff-hard  shutdown (power-off: calling) > destroy
            migrate@2:fenced refused not-fenced: FilesOnLostHost
            migrate@2:fenced moved poweroff [asked] | operation 5 succeeded
            where          at 2g2 left 1g1 (files) | domains: 1 off | files: 1 2
            place          Some(2) host=true home=false placed=1
            resume         boot (boot: calling) > deploy
              deploy       running [asked] | operation 6 succeeded
            sweep@1        running [asked]
            where          at 2g2 | domains: 2 running | files: 2
        "#]],
    );
}

#[test]
fn a_host_that_answers_is_not_lost() {
    shared(
        "deploy; drive; poweroff-hard; drive; migrate@2:fenced; migrate@2; run; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            poweroff-hard  shutdown (power-off: calling) > destroy
            migrate@2:fenced refused contradicted: AnswersForFence
            migrate@2      migrate (remove: calling) > remove
              remove       poweroff [asked] | operation 5 succeeded
            where          at 2g2 | domains: | files: 0
        "#]],
    );
}

#[test]
fn snapshots_stay_where_nobody_can_be_asked() {
    shared(
        "deploy; drive; snapshot-create; drive; poweroff-hard; drive; rules-lose; plug-pulled@1; migrate@2:fenced; destroys; snapshots",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            snapshot-create snapshot (create-snapshot: calling) > create-snapshot snapshot:snap-3
            poweroff-hard  shutdown (power-off: calling) > destroy
            migrate@2:fenced poweroff [asked] | operation 5 succeeded
            destroys       snapshot snap-3 (hidden)
            snapshots      snap-3 (hidden)
        "#]],
    );
}

#[test]
fn one_that_was_off_when_its_host_was_lost_is_not_started() {
    // The answer to the first step is lost, and then the host.
    shared(
        "deploy; drive; poweroff-hard; drive; disk-attach; unknown; plug-pulled@1; in-vain; migrate@2:fenced; drive; where",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            poweroff-hard  shutdown (power-off: calling) > destroy
            disk-attach    hotplug (prepare-disks: calling) > prepare disk:vdb
            unknown        hotplug (prepare-disks: backoff)
            in-vain        unknown [cannot-ask] | operation 4 failed: no-connection
            migrate@2:fenced poweroff [asked] | operation 5 succeeded
            where          at 2g2 left 1g1 | domains: 1 off | files: 0
        "#]],
    );
    shared(
        "deploy; drive; suspend; drive; stop; unknown; plug-pulled@1; in-vain; migrate@2:fenced; drive; memory",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        suspend        save (save: calling) > save
        stop           epilog (remove: calling) > remove
        unknown        epilog (remove: confirming) > observe
        in-vain        unknown [cannot-ask] | operation 4 failed: unknown
        migrate@2:fenced suspended [asked] | operation 5 succeeded
        memory         Some((true, false))
    "#]],
    );
    // A try to do more with it does not change that.
    shared(
        "deploy; drive; poweroff-hard; drive; disk-attach; unknown; plug-pulled@1; in-vain; poweroff-hard; in-vain; migrate@2:fenced; drive",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            poweroff-hard  shutdown (power-off: calling) > destroy
            disk-attach    hotplug (prepare-disks: calling) > prepare disk:vdb
            unknown        hotplug (prepare-disks: backoff)
            in-vain        unknown [cannot-ask] | operation 4 failed: no-connection
            poweroff-hard  shutdown (power-off: calling) > destroy
            in-vain        unknown [cannot-ask] | operation 5 failed: no-connection
            migrate@2:fenced poweroff [asked] | operation 6 succeeded
        "#]],
    );
}

#[test]
fn one_that_ran_or_was_to_run_is_started() {
    shared(
        "deploy; drive; plug-pulled@1; blind; migrate@2:fenced; drive; where",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        blind          unknown [cannot-ask]
        migrate@2:fenced boot (boot: calling) > deploy
        where          at 2g2 left 1g1 | domains: 1 off 2 running | files: 0
    "#]],
    );
    shared(
        "deploy; drive; poweroff-hard; drive; resume; unknown; plug-pulled@1; in-vain; migrate@2:fenced; drive",
        expect![[r#"
        deploy         prolog (prepare-disks: calling) > prepare disk:vda
        poweroff-hard  shutdown (power-off: calling) > destroy
        resume         boot (boot: calling) > deploy
        unknown        boot (boot: confirming) > observe
        in-vain        unknown [cannot-ask] | operation 4 failed: unknown
        migrate@2:fenced boot (boot: calling) > deploy
    "#]],
    );
    // Seen again meanwhile, it is what is seen.
    shared(
        "deploy; drive; poweroff-hard; drive; disk-attach; unknown; plug-pulled@1; in-vain; host-back@1; started; look; plug-pulled@1; blind; \
         migrate@2:fenced; drive",
        expect![[r#"
            deploy         prolog (prepare-disks: calling) > prepare disk:vda
            poweroff-hard  shutdown (power-off: calling) > destroy
            disk-attach    hotplug (prepare-disks: calling) > prepare disk:vdb
            unknown        hotplug (prepare-disks: backoff)
            in-vain        unknown [cannot-ask] | operation 4 failed: no-connection
            look           running [seen-again]
            blind          unknown [cannot-ask]
            migrate@2:fenced boot (boot: calling) > deploy
        "#]],
    );
}

/// Found by `restored_lives`: a VM that was paused at its hypervisor was to be stopped, and its
/// host died during the save.
#[test]
fn a_save_that_never_ended_leaves_no_memory_behind_when_the_vm_leaves_its_host() {
    let acts = [
        Act::Ask(Verb::Deploy, 1, 0),
        Act::Go(12),
        Act::Ask(Verb::Stop, 1, 0),
        Act::Go(12),
        Act::Ask(Verb::Resume, 1, 0),
        Act::Ask(Verb::Deploy, 1, 0),
        Act::Go(1),
        Act::Fail(0, ErrorKind::Refused),
        Act::Go(1),
        Act::Ask(Verb::Stop, 1, 0),
        Act::Dies(1),
        Act::Fail(0, ErrorKind::Refused),
        Act::Go(6),
        Act::Lose(0, false),
        Act::Go(2),
    ];
    let mut rig = Rig::new(0, true, Fault::None);
    for act in &acts {
        happen(&mut rig, act).unwrap();
    }
    assert!(
        rig.record.recovery.as_ref().is_some_and(|file| !file.complete),
        "the save was begun: {}",
        rig.line()
    );
    happen(&mut rig, &Act::Ask(Verb::Migrate, 2, 151)).unwrap();
    assert_eq!((rig.state(), rig.record.recovery.clone()), (State::Poweroff, None));
}
