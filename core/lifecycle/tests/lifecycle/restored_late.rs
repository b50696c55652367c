//! Domains of a lost time that another driver made, or that are seen late.

use crate::restored::{A, B, claim, goes, rig};
use crate::rig::Rig;
use ostler_lifecycle::{Found, Input};
use ostler_model::{HostId, Power, PowerReason, State, Verb};

/// The backup is restored while a live migration of the lost time is at work. The guest is seen at
/// its own host, so the VM is reconciled there. Then the hypervisor ends the migration.
#[test]
fn a_guest_that_arrives_after_the_vm_was_reconciled_is_followed() {
    // The guest is at B, and A has let go of it, while the record has it at A.
    let arrives = |verbs: &[(Verb, HostId)]| {
        let mut rig = rig(true, &[(Verb::Deploy, A)]);
        let backup = rig.record.clone();
        goes(&mut rig, verbs);
        rig.restore(backup);
        rig.record.restored.as_mut().unwrap().reconciled = true;
        rig
    };
    let mut moved = arrives(&[(Verb::MigrateLive, B)]);
    moved.observe().unwrap();
    assert_eq!((moved.state(), moved.host()), (State::Running, Some(B)));
    goes(&mut moved, &[(Verb::Delete, B)]);
    assert_eq!((moved.state(), moved.world.domains.len()), (State::Done, 0));

    // The guest has ended there: the disks at A may be newer.
    let mut off = arrives(&[(Verb::MigrateLive, B)]);
    off.world.power(B, Power::Off, PowerReason::Guest);
    // A third host has a domain, too, or one was not listed yet.
    let mut third = arrives(&[(Verb::MigrateLive, B)]);
    let mut facts = third.facts(None);
    facts.elsewhere.as_mut().unwrap().alone = false;
    // This store has placed the VM anew since the restore.
    let mut placed = arrives(&[(Verb::MigrateLive, B)]);
    let issued = placed.record.issued.next();
    placed.record.placement.as_mut().unwrap().generation = issued;
    placed.record.issued = issued;
    for (rig, facts) in [(&mut off, None), (&mut third, Some(facts)), (&mut placed, None)] {
        let facts = facts.unwrap_or_else(|| rig.facts(None));
        let seen = rig.world.see(A);
        let input = Input::Observed { step: rig.record.step, seen, there: None };
        rig.feed(&input, &facts).unwrap().unwrap();
        assert_eq!((rig.state(), rig.host()), (State::Unknown, Some(A)), "a person decides");
    }
}

/// In the lost time the VM was undeployed, and then deployed with another driver.
#[test]
fn a_vm_that_another_driver_got_in_the_lost_time_is_followed() {
    let mut rig = rig(true, &[(Verb::Deploy, A), (Verb::Undeploy, A)]);
    let backup = rig.record.clone();
    goes(&mut rig, &[(Verb::Resume, A), (Verb::Deploy, B)]);
    let by_another = |rig: &Rig| -> Vec<Found> {
        let plain = "plain".parse::<ostler_model::DriverName>().unwrap();
        rig.found().into_iter().map(|found| Found { driver: plain.clone(), ..found }).collect()
    };
    let found = by_another(&rig);
    assert_eq!(found.len(), 1);
    rig.restore(backup);
    let storage = Some(rig.storage());
    rig.tell(&Input::Reconcile { found, storage, by: None }).unwrap();
    let place = rig.record.placement.clone().expect("it is at B");
    assert_eq!((rig.state(), place.host, place.driver.as_str()), (State::Running, B, "plain"));
}

#[test]
fn a_claim_of_another_driver_after_a_restore_does_not_stop_a_vm_that_runs() {
    let mut rig = rig(true, &[(Verb::Deploy, A)]);
    let backup = rig.record.clone();
    rig.restore(backup);
    let lost = rig.record.restored.as_ref().unwrap().known.next();
    let found: Vec<Found> =
        rig.found().into_iter().chain([claim(&rig, "hostile", lost.0)]).collect();
    assert_eq!(found.len(), 2);
    rig.tell(&Input::Reconcile { found, storage: None, by: None }).unwrap();
    assert_eq!(
        (rig.state(), rig.host(), rig.record.is_unreconciled()),
        (State::Running, Some(A), false)
    );
}

/// The VM's own host was off when the VM was reconciled. It comes back with the domain that the lost
/// time has placed there.
#[test]
fn a_host_that_comes_back_with_a_domain_of_the_lost_time_is_believed() {
    for off in [false, true] {
        let mut rig = rig(true, &[(Verb::Deploy, A), (Verb::Poweroff, A)]);
        let backup = rig.record.clone();
        goes(&mut rig, &[(Verb::Undeploy, A), (Verb::Resume, A), (Verb::Deploy, A)]);
        if off {
            rig.world.power(A, Power::Off, PowerReason::Guest);
        }
        rig.restore(backup);
        rig.record.restored.as_mut().unwrap().reconciled = true;
        rig.observe().unwrap();
        let state = if off { State::Poweroff } else { State::Running };
        assert_eq!((rig.state(), rig.host()), (state, Some(A)));
        goes(&mut rig, &[(Verb::Delete, A)]);
        assert_eq!((rig.state(), rig.world.domains.len()), (State::Done, 0));
    }
}
