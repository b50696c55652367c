//! The record is older than the world: it came back with a backup, or somebody put an old copy of
//! the store into its place.

use crate::rig::{Fault, Rig, STORE, Violation};
use ostler_lifecycle::{DomainStatus, Elsewhere, Found, Input, status};
use ostler_model::{
    Args, Cause, DiskFormat, DiskSource, DriverError, EventKind, Generation, HostId, Identity,
    Power, PowerReason, Reason, RefusalKind, State, Verb, VmRecord,
};

pub(crate) const A: HostId = HostId(1);
pub(crate) const B: HostId = HostId(2);

impl Rig {
    /// The daemon and its store are lost, and the store comes back as `backup` has it.
    pub(crate) fn restore(&mut self, backup: VmRecord) {
        self.record = backup;
        self.record.mark_restored(self.now);
        self.restored = true;
        self.flying.clear();
        self.outbox.clear();
        self.edges.clear();
        self.last_answer = None;
        self.late_looks.clear();
        self.next_operation += 1000;
    }

    pub(crate) fn reconcile(&mut self, by: Option<&str>) -> Result<(), Violation> {
        self.tell(&Input::Reconcile {
            found: self.found(),
            storage: Some(self.storage()),
            by: by.map(str::to_owned),
        })
    }

    pub(crate) fn asks(&mut self, verb: Verb, host: HostId) -> Result<(), String> {
        self.ask(verb, Args::None, false, host)
            .unwrap()
            .map_err(|refusal| format!("{}: {:?}", refusal.kind, refusal.cause))
    }

    pub(crate) fn sends(&self) -> usize {
        self.last.as_ref().map_or(0, |last| last.effects.len())
    }
}

pub(crate) fn rig(shared: bool, verbs: &[(Verb, HostId)]) -> Rig {
    let mut rig = Rig::new(1, shared, Fault::None);
    goes(&mut rig, verbs);
    rig
}

pub(crate) fn goes(rig: &mut Rig, verbs: &[(Verb, HostId)]) {
    for (verb, host) in verbs {
        rig.asks(*verb, *host).unwrap();
        rig.settle().unwrap();
    }
}

#[test]
fn before_all_hosts_are_listed_nothing_is_concluded_and_nothing_begins() {
    let mut rig = rig(true, &[(Verb::Deploy, A), (Verb::Suspend, A)]);
    let backup = rig.record.clone();
    goes(&mut rig, &[(Verb::Resume, A), (Verb::MigrateLive, B)]);
    rig.restore(backup.clone());
    rig.observe().unwrap();
    assert_eq!((rig.state(), rig.record.usable_recovery().is_some()), (State::Suspended, true));
    for verb in [
        Verb::Resume,
        Verb::Stop,
        Verb::Delete,
        Verb::ShutdownHard,
        Verb::Migrate,
        Verb::SnapshotCreate,
    ] {
        let refused = rig.ask(verb, crate::script::args(&rig, verb, ""), false, A).unwrap();
        assert!(refused.is_err_and(|refusal| refusal.cause == Cause::NotReconciled), "{verb}");
    }
    rig.reconcile(None).unwrap();
    assert_eq!((rig.state(), rig.host()), (State::Running, Some(B)));
    assert!(rig.record.usable_recovery().is_none(), "the guest has run since its memory was saved");
}

#[test]
fn what_nobody_has_seen_since_is_as_the_backup_says() {
    let mut rig = rig(true, &[(Verb::Deploy, A), (Verb::Suspend, A)]);
    let backup = rig.record.clone();
    rig.restore(backup.clone());
    rig.reconcile(None).unwrap();
    assert_eq!(
        (rig.state(), rig.record.usable_recovery()),
        (State::Suspended, backup.usable_recovery())
    );
    assert!(matches!(
        rig.last.as_ref().unwrap().events.first(),
        Some(EventKind::Reconciled { .. })
    ));
    goes(&mut rig, &[(Verb::Resume, A)]);
    assert_eq!(rig.state(), State::Running);
    assert!(rig.record.placement.as_ref().unwrap().generation <= rig.record.issued);
}

#[test]
fn a_vm_that_was_suspended_after_the_backup_waits_for_a_person() {
    let mut rig = rig(true, &[(Verb::Deploy, A)]);
    let backup = rig.record.clone();
    goes(&mut rig, &[(Verb::MigrateLive, B)]);
    rig.restore(backup);
    rig.world.power(B, Power::Off, PowerReason::Saved);
    rig.reconcile(None).unwrap();
    assert_eq!(
        (rig.state(), rig.record.reason, rig.record.is_unreconciled()),
        (State::Unknown, Reason::StoreIsStale, true)
    );
    rig.reconcile(Some("anna")).unwrap();
    assert!(!rig.record.is_unreconciled());
    assert!(rig.asks(Verb::Delete, A).is_ok());
}

#[test]
fn two_domains_that_live_are_for_a_person_to_decide_about() {
    let mut rig = rig(true, &[(Verb::Deploy, A)]);
    let backup = rig.record.clone();
    goes(&mut rig, &[(Verb::MigrateLive, B)]);
    rig.restore(backup);
    let ours = rig.world.ours(1);
    rig.world.stranger(A, ours);
    rig.world.power(A, Power::Paused, PowerReason::Person);
    rig.reconcile(None).unwrap();
    assert_eq!((rig.state(), rig.record.is_unreconciled()), (State::Unknown, true));
}

#[test]
fn a_schedule_waits_until_the_vm_is_reconciled() {
    let mut rig = rig(true, &[(Verb::Deploy, A), (Verb::PoweroffHard, A)]);
    rig.ask(Verb::Schedule, crate::script::args(&rig, Verb::Schedule, "resume in 60"), false, A)
        .unwrap()
        .unwrap();
    let backup = rig.record.clone();
    rig.restore(backup);
    rig.now = rig.now.plus(ostler_model::Millis::secs(70));
    assert_eq!((rig.record.next_due(), ostler_lifecycle::due(&rig.record, rig.now)), (None, None));
    rig.reconcile(None).unwrap();
    assert!(ostler_lifecycle::due(&rig.record, rig.now).is_some());
}

#[test]
fn what_a_lost_attach_has_plugged_in_stays_in_the_record() {
    let mut rig = rig(true, &[(Verb::Deploy, A)]);
    let disk = Args::NewDisk {
        name: None,
        source: DiskSource::Blank { size_mib: 1 },
        format: DiskFormat::Qcow2,
        read_only: false,
    };
    rig.ask(Verb::DiskAttach, disk, false, A).unwrap().unwrap();
    rig.answer(0).unwrap();
    rig.execute(0);
    let backup = rig.record.clone();
    rig.restore(backup);
    rig.tell(&Input::Restarted).unwrap();
    assert_eq!(
        (rig.state(), rig.record.reason, rig.record.disks.len()),
        (State::Unknown, Reason::StoreIsStale, 2)
    );
    rig.reconcile(None).unwrap();
    assert_eq!((rig.state(), rig.record.disks.len()), (State::Running, 2));
}

#[test]
fn generations_of_the_lost_time_are_never_taken_for_old_ones() {
    let mut rig = rig(true, &[(Verb::Deploy, A), (Verb::PoweroffHard, A)]);
    let backup = rig.record.clone();
    rig.restore(backup);
    rig.reconcile(None).unwrap();
    // A host that was not known when the VM was reconciled has one from the lost time.
    let lost = rig.world.ours(7);
    rig.world.stranger(B, lost);
    let seen = rig.world.see(B);
    assert_eq!(status(&rig.record, STORE, &seen), DomainStatus::AboveIssued);
    assert_eq!(
        ostler_lifecycle::doomed(&rig.record, STORE, B, &seen),
        None,
        "it may be the VM itself"
    );
    assert!(rig.asks(Verb::Resume, A).unwrap_err().contains("NewerElsewhere"));
    // A person has removed it, and says so.
    rig.world.domains.remove(&B);
    rig.reconcile(Some("anna")).unwrap();
    goes(&mut rig, &[(Verb::Resume, A)]);
    assert_eq!(rig.state(), State::Running);
}

#[test]
fn a_second_restore_does_not_make_a_domain_of_the_first_lost_time_an_old_one() {
    let mut rig = rig(true, &[(Verb::Deploy, A), (Verb::PoweroffHard, A)]);
    let first = rig.record.clone();
    rig.restore(first);
    rig.reconcile(None).unwrap();
    goes(&mut rig, &[(Verb::Resume, A)]);
    let second = rig.record.clone();
    for off in [false, true] {
        if off {
            rig.world.power(A, Power::Off, PowerReason::Guest);
        }
        for known in [false, true] {
            rig.restore(second.clone());
            // Host B was off all the time, and comes back with the domain that the first lost time
            // placed there.
            let lost = rig.world.ours(7);
            if known {
                rig.world.stranger(B, lost);
                rig.world.power(B, Power::Off, PowerReason::Guest);
            }
            rig.reconcile(None).unwrap();
            rig.world.stranger(B, lost);
            let seen = rig.world.see(B);
            assert_eq!(
                ostler_lifecycle::doomed(&rig.record, STORE, B, &seen),
                None,
                "it may be the VM with what the guest has written"
            );
            assert_eq!(
                rig.host(),
                Some(A),
                "it is not moved to what an earlier lost time has placed"
            );
            let decided = rig.record.restored.as_ref().map(|restored| restored.in_doubt);
            assert_eq!(
                decided,
                Some(off && known),
                "one that lives in its place is there; else a person decides"
            );
            rig.world.domains.remove(&B);
        }
    }
}

/// The first restore of a backup places the VM on B, which is off when the same backup is restored
/// again.
#[test]
fn the_same_backup_restored_twice_gives_out_other_generations() {
    let mut rig = rig(true, &[(Verb::Deploy, A), (Verb::PoweroffHard, A)]);
    let backup = rig.record.clone();
    let mut given = Vec::new();
    for _ in 0..2 {
        rig.restore(backup.clone());
        rig.now = rig.now.plus(ostler_model::Millis(1));
        given.push(rig.record.issued.next());
    }
    assert!(
        given[1] > given[0],
        "{given:?}: a domain of the first would be taken for that of the second"
    );
    rig.record.restored.as_mut().unwrap().reconciled = true;
    assert!(rig.record.is_ahead(given[0]), "it may be the VM");
}

#[test]
fn a_record_that_a_person_says_is_right_can_be_acted_on_where_its_domain_is_newer() {
    let mut rig = rig(true, &[(Verb::Deploy, A), (Verb::Poweroff, A)]);
    let backup = rig.record.clone();
    goes(
        &mut rig,
        &[(Verb::Undeploy, A), (Verb::Resume, A), (Verb::Deploy, A), (Verb::Suspend, A)],
    );
    assert!(
        rig.record.placement.as_ref().unwrap().generation
            > backup.placement.as_ref().unwrap().generation
    );
    rig.restore(backup);
    rig.tell(&Input::Restarted).unwrap();
    rig.reconcile(None).unwrap();
    assert_eq!(
        (rig.state(), rig.record.is_unreconciled()),
        (State::Unknown, true),
        "its memory is in a file that nobody knows"
    );
    rig.reconcile(Some("operator")).unwrap();
    rig.observe().unwrap();
    assert_eq!((rig.state(), rig.host()), (State::Poweroff, Some(A)));
    goes(&mut rig, &[(Verb::Delete, A)]);
    assert_eq!((rig.state(), rig.world.domains.len()), (State::Done, 0));
}

#[test]
fn a_vm_that_is_not_reconciled_is_not_forgotten_with_the_disks_that_it_may_run_from() {
    let mut rig = rig(true, &[(Verb::Deploy, A), (Verb::Undeploy, A)]);
    let backup = rig.record.clone();
    goes(&mut rig, &[(Verb::Resume, A), (Verb::Deploy, A)]);
    rig.restore(backup);
    let refused = rig.asks(Verb::Forget, A).unwrap_err();
    assert!(refused.starts_with("contradicted: "), "{refused}");
    rig.reconcile(None).unwrap();
    assert_eq!((rig.state(), rig.host()), (State::Running, Some(A)));
}

#[test]
fn a_generation_that_a_person_has_disowned_is_never_given_to_the_vm() {
    let mut rig = rig(true, &[(Verb::Deploy, A), (Verb::Undeploy, A)]);
    let stray = claim(&rig, "hyper", 7);
    rig.tell(&Input::Reconcile {
        found: vec![stray],
        storage: None,
        by: Some("operator".to_owned()),
    })
    .unwrap();
    goes(&mut rig, &[(Verb::Resume, A), (Verb::Deploy, A)]);
    assert_eq!(rig.record.placement.as_ref().map(|place| place.generation), Some(Generation(8)));
}

#[test]
fn a_hold_that_is_asked_for_before_the_vm_is_reconciled_lasts() {
    let mut rig = rig(true, &[]);
    let mut backup = rig.record.clone();
    (backup.state, backup.reason) = (State::Hold, Reason::StoreIsStale);
    for asks in [false, true] {
        rig.restore(backup.clone());
        if asks {
            rig.asks(Verb::Hold, A).unwrap();
        }
        rig.reconcile(None).unwrap();
        assert_eq!(rig.state(), if asks { State::Hold } else { State::Pending });
    }
}

#[test]
fn a_person_s_word_about_a_vm_that_is_busy_ends_nothing() {
    let mut rig = rig(false, &[(Verb::Deploy, A), (Verb::Poweroff, A)]);
    rig.asks(Verb::Undeploy, A).unwrap();
    let (line, flying) = (rig.line(), rig.flying.len());
    let word = Input::Reconcile { found: vec![], storage: None, by: Some("operator".to_owned()) };
    let refused = rig.feed(&word, &rig.facts(None)).unwrap().unwrap_err();
    assert_eq!(refused.kind, RefusalKind::Busy);
    // That all hosts were listed, told late, is no news either.
    rig.tell(&Input::Reconcile { found: vec![], storage: None, by: None }).unwrap();
    assert_eq!(rig.flying.len(), flying);
    assert!(line.starts_with(&rig.line()), "{line}, then {}", rig.line());
    rig.settle().unwrap();
    assert_eq!(rig.state(), State::Undeployed);
}

/// A host of another driver, or one that was never asked about this VM, says that it has it.
pub(crate) fn claim(rig: &Rig, driver: &str, generation: u64) -> Found {
    let seen = ostler_model::DomainSeen {
        uuid: rig.record.uuid,
        name: "mine".to_owned(),
        identity: Some(Identity {
            store: STORE,
            vm: rig.record.uuid,
            generation: Generation(generation),
        }),
        power: Power::Running,
        reason: PowerReason::None,
        last_edge: None,
    };
    Found { host: HostId(9), driver: driver.parse().unwrap(), seen }
}

#[test]
fn the_word_of_another_driver_s_host_does_not_count() {
    let mut rig = rig(true, &[(Verb::Deploy, A), (Verb::Suspend, A)]);
    assert!(!ostler_lifecycle::is_elsewhere(&rig.record, STORE, &claim(&rig, "hostile", u64::MAX)));
    assert!(ostler_lifecycle::is_elsewhere(&rig.record, STORE, &claim(&rig, "hyper", 99)));
    goes(&mut rig, &[(Verb::Stop, A)]);
    assert!(
        !ostler_lifecycle::is_elsewhere(&rig.record, STORE, &claim(&rig, "hostile", u64::MAX)),
        "it has no place anywhere"
    );
    let backup = rig.record.clone();
    rig.restore(backup);
    assert!(
        ostler_lifecycle::is_elsewhere(&rig.record, STORE, &claim(&rig, "hyper", 99)),
        "the lost time may have placed it"
    );
}

#[test]
fn a_look_at_another_host_never_uses_up_saved_memory() {
    let mut rig = rig(true, &[(Verb::Deploy, A), (Verb::Suspend, A)]);
    let mut facts = rig.facts(None);
    facts.elsewhere = Some(Elsewhere { found: claim(&rig, "hyper", 99), alone: true });
    let seen = rig.world.see(A);
    rig.feed(&Input::Observed { step: rig.record.step, seen, there: None }, &facts)
        .unwrap()
        .unwrap();
    assert_eq!((rig.state(), rig.record.reason), (State::Unknown, Reason::StoreIsStale));
    assert!(rig.record.usable_recovery().is_some());
    // The claim ends, and the VM is what it was.
    rig.observe().unwrap();
    assert_eq!(rig.state(), State::Suspended);
    goes(&mut rig, &[(Verb::Resume, A)]);
    assert_eq!(rig.state(), State::Running);
}

#[test]
fn a_disk_that_may_be_plugged_in_is_not_forgotten_when_its_host_falls_silent() {
    let mut rig = rig(true, &[(Verb::Deploy, A)]);
    let disk = Args::NewDisk {
        name: None,
        source: DiskSource::Blank { size_mib: 1 },
        format: DiskFormat::Qcow2,
        read_only: false,
    };
    rig.ask(Verb::DiskAttach, disk, false, A).unwrap().unwrap();
    rig.answer(0).unwrap();
    // The driver says yes, and has not looked.
    rig.world.looks = false;
    rig.answer(0).unwrap();
    rig.world.reach(false);
    for _ in 0..40 {
        if rig.flying.is_empty() {
            if !rig.tick().unwrap() {
                break;
            }
        } else {
            rig.err(0, DriverError::unknown("unreachable", "no answer"), false).unwrap();
        }
    }
    assert_eq!((rig.state(), rig.record.operation.is_none()), (State::Unknown, true));
    assert_eq!((rig.record.disks.len(), rig.record.spec.disks.len()), (2, 2), "the guest has it");
    rig.world.reach(true);
    rig.observe().unwrap();
    assert_eq!(rig.state(), State::Running);
}
