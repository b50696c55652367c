//! Tests of the KVM driver with real libvirt, QEMU and guests that confirm.

mod away;
mod broken;
mod copying;
mod moving;
mod plugging;
mod rig;
mod saving;
mod snapshots;
mod still;

use ostler_driver::{Changes, Hypervisor, Metrics, Reboot};
use ostler_model::{
    Ability, ErrorKind, Generation, Identity, Observation, Power, PowerReason, StoreId, VmUuid,
};
use ostler_tests::lab;
use ostler_tests::wait::wait_until;
use rig::{BOOT, Rig, SOON, power, refusal, seen};
use std::time::Duration;

#[test]
fn a_guest_lives_its_life_and_every_call_may_come_twice() {
    if !lab::require_libvirt() {
        return;
    }
    let rig = Rig::up("life");
    let mut vm = rig.vm(&["vt.tick=0.2", "vt.mark=mine"]);
    assert_eq!(rig.observe(&vm).expect("asked"), Observation::Absent);

    let first = seen(rig.deploy(&vm, 1, 1));
    assert_eq!((first.power, first.name.as_str()), (Power::Running, vm.name.as_str()));
    assert_eq!(first.identity, Some(rig.spec(&vm, 1).identity));
    let id = rig.host.virsh(&["domid", &vm.name]).expect("it runs");
    assert_eq!(power(rig.deploy(&vm, 1, 1)), Power::Running);
    assert_eq!(
        rig.host.virsh(&["domid", &vm.name]).expect("it runs"),
        id,
        "the second deploy left it alone"
    );
    vm.console.wait_for("DISK-MARKED mine", BOOT);
    vm.console.wait_for("GUEST-READY", BOOT);

    let listed = rig.run(rig.kvm.list(&rig.site)).expect("lists");
    assert_eq!((listed.domains.len(), listed.unreadable.len()), (1, 0));
    let metrics = rig.run(Metrics::sample(&*rig.kvm, &rig.site)).expect("counts");
    assert_eq!((metrics.len(), metrics[0].vm), (1, Some(vm.uuid)));
    assert!(
        metrics[0].cpu_ns > 1_000_000 && metrics[0].memory_kib > 10_000 && metrics[0].disk_read > 0,
        "{metrics:?}"
    );

    let pressed = seen(rig.press(&vm, 2));
    assert!(pressed.last_edge.is_some() || pressed.power == Power::Off);
    vm.console.wait_for("ACPI-POWER-BUTTON", SOON);
    rig.wait_for(&vm, Power::Off, PowerReason::Guest);
    assert_eq!(power(rig.press(&vm, 2)), Power::Off, "the same press again");
    assert_eq!(power(rig.destroy(&vm, 3)), Power::Off, "nothing to destroy");

    assert_eq!(power(rig.deploy(&vm, 4, 1)), Power::Running);
    vm.console.wait_for("DISK-MARK mine", BOOT);
    let destroyed = seen(rig.destroy(&vm, 5));
    assert_eq!((destroyed.power, destroyed.reason), (Power::Off, PowerReason::Destroyed));
    for _ in 0..2 {
        assert_eq!(rig.remove(&vm, 6).expect("removes").seen, Some(Observation::Absent));
        assert_eq!(rig.destroy(&vm, 7).expect("nothing to do").seen, Some(Observation::Absent));
    }
    assert_eq!(rig.host.virsh(&["list", "--all", "--name"]).expect("lists").trim(), "");
}

#[test]
fn an_ignored_power_button_is_pressed_once_and_the_guest_runs_on() {
    if !lab::require_libvirt() {
        return;
    }
    let rig = Rig::up("press");
    let mut vm = rig.vm(&["vt.noacpi", "vt.tick=0.2"]);
    rig.deploy(&vm, 1, 1).expect("deploys");
    vm.console.wait_for("GUEST-READY", BOOT);
    let pressed = seen(rig.press(&vm, 2));
    let key = rig.call(&vm, 2, 1).context.key;
    assert_eq!((pressed.power, pressed.last_edge.as_ref()), (Power::Running, Some(&key)));
    assert_eq!(seen(rig.press(&vm, 2)).last_edge, Some(key.clone()), "once an identity");
    // The stamp is still there after the daemon has died. The next identity replaces it.
    rig.host.kill_daemon();
    wait_until("the stamp after the daemon's death", SOON, || match rig.observe(&vm) {
        Ok(Observation::Present(seen)) if seen.last_edge.as_ref() == Some(&key) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let reset = rig.run(rig.kvm.reset(&rig.site, &rig.call(&vm, 3, 1)));
    assert_eq!(seen(reset).last_edge, Some(rig.call(&vm, 3, 1).context.key));
    vm.console.skip_to_end();
    vm.console.wait_for("GUEST-READY", BOOT);
    vm.console.skip_to_end();
    rig.run(rig.kvm.reset(&rig.site, &rig.call(&vm, 3, 1))).expect("the same reset");
    vm.console.wait_for("TICK 2", BOOT);
    assert_eq!(vm.console.contents().matches("GUEST-READY").count(), 2, "it was reset once");
    rig.remove(&vm, 4).expect("removes");
}

#[test]
fn a_guest_reboots_once() {
    if !lab::require_libvirt() {
        return;
    }
    let rig = Rig::up("reboot");
    let mut vm = rig.vm(&[]);
    rig.deploy(&vm, 1, 1).expect("deploys");
    vm.console.wait_for("GUEST-READY", BOOT);
    for _ in 0..2 {
        let reboot = rig.run(Reboot::reboot(&*rig.kvm, &rig.site, &rig.call(&vm, 2, 1)));
        assert_eq!(seen(reboot).last_edge, Some(rig.call(&vm, 2, 1).context.key));
    }
    vm.console.wait_for("ACPI-POWER-BUTTON", SOON);
    vm.console.wait_for("GUEST-READY", BOOT);
    rig.wait_for(&vm, Power::Running, PowerReason::None);
    rig.destroy(&vm, 3).expect("destroys");
    for call in [
        Reboot::reboot(&*rig.kvm, &rig.site, &rig.call(&vm, 4, 1)),
        rig.kvm.reset(&rig.site, &rig.call(&vm, 5, 1)),
    ] {
        assert_eq!(refusal(rig.run(call)), (ErrorKind::Gone, "not-running".to_owned()));
    }
}

#[test]
fn what_is_not_ours_is_never_touched() {
    if !lab::require_libvirt() {
        return;
    }
    let mut rig = Rig::up("foreign");
    let vm = rig.vm(&[]);
    rig.deploy(&vm, 1, 5).expect("deploys");
    assert_eq!(refusal(rig.deploy(&vm, 2, 4)), (ErrorKind::Stale, "stale".to_owned()));
    assert_eq!(refusal(rig.press(&vm, 2)), (ErrorKind::Stale, "stale".to_owned()));
    assert_eq!(refusal(rig.destroy(&vm, 2)), (ErrorKind::Stale, "stale".to_owned()));

    // Another store asks for the same UUID.
    let ours = rig.store;
    rig.store = StoreId(uuid::Uuid::new_v4());
    let foreign = (ErrorKind::Refused, "foreign".to_owned());
    assert_eq!(refusal(rig.deploy(&vm, 3, 9)), foreign);
    assert_eq!(refusal(rig.remove(&vm, 3)), foreign);
    let still = match rig.observe(&vm).expect("asked") {
        Observation::Present(seen) => seen,
        Observation::Absent => panic!("it was touched"),
    };
    assert_eq!(
        still.identity,
        Some(Identity { store: ours, vm: vm.uuid, generation: Generation(5) })
    );
    assert_eq!(still.power, Power::Running);

    // The domain has no stamp at all.
    let element =
        ["metadata", &vm.name, "--uri", "urn:ostler:domain:1", "--remove", "--live", "--config"];
    rig.host.virsh(&element).expect("the stamp is removed");
    assert_eq!(refusal(rig.remove(&vm, 4)), foreign);
    assert_eq!(
        seen(rig.observe(&vm).map(|seen| ostler_model::Outcome { seen: Some(seen), state: None }))
            .identity,
        None
    );
}

#[test]
fn a_higher_generation_takes_the_place_of_a_lower_one() {
    if !lab::require_libvirt() {
        return;
    }
    let rig = Rig::up("generation");
    let vm = rig.vm(&[]);
    rig.deploy(&vm, 1, 1).expect("deploys");
    let id = rig.host.virsh(&["domid", &vm.name]).expect("it runs");
    let second = seen(rig.deploy(&vm, 2, 2));
    assert_eq!(
        (second.power, second.identity.map(|identity| identity.generation)),
        (Power::Running, Some(Generation(2)))
    );
    assert_ne!(rig.host.virsh(&["domid", &vm.name]).expect("it runs"), id);
}

#[test]
fn what_happens_behind_our_back_is_seen_as_it_is() {
    if !lab::require_libvirt() {
        return;
    }
    let rig = Rig::up("behind");
    let mut vm = rig.vm(&[]);
    rig.deploy(&vm, 1, 1).expect("deploys");
    vm.console.wait_for("GUEST-READY", BOOT);
    let start = rig.run(Changes::changes(&*rig.kvm, &rig.site, 0, Duration::ZERO)).expect("told");
    assert!(start.lost, "a new reader looks at all");
    rig.host.virsh(&["suspend", &vm.name]).expect("suspend");
    let batch = rig.run(Changes::changes(&*rig.kvm, &rig.site, start.cursor, SOON)).expect("told");
    assert_eq!((batch.vms.as_slice(), batch.lost), (&[vm.uuid][..], false));
    rig.wait_for(&vm, Power::Paused, PowerReason::Person);
    assert_eq!(refusal(rig.press(&vm, 2)), (ErrorKind::Refused, "paused".to_owned()));
    rig.host.virsh(&["resume", &vm.name]).expect("resume");
    rig.host.kill_qemu(&vm.name);
    rig.wait_for(&vm, Power::Off, PowerReason::Crashed);
    assert_eq!(power(rig.deploy(&vm, 3, 1)), Power::Running);

    // A managed save that somebody made would restore old memory with an old stamp.
    vm.console.wait_for("GUEST-READY", BOOT);
    rig.host.virsh(&["managedsave", &vm.name]).expect("managedsave");
    vm.console.skip_to_end();
    let fresh = seen(rig.deploy(&vm, 4, 2));
    assert_eq!(
        (fresh.power, fresh.identity.map(|identity| identity.generation)),
        (Power::Running, Some(Generation(2)))
    );
    vm.console.wait_for("GUEST-READY", BOOT);
    rig.host.virsh(&["managedsave", &vm.name]).expect("managedsave");
    rig.remove(&vm, 5).expect("removes what has a managed save");
    assert_eq!(rig.observe(&vm).expect("asked"), Observation::Absent);

    let mut panics = rig.vm(&["vt.panic=1"]);
    rig.deploy(&panics, 1, 1).expect("deploys");
    panics.console.wait_for("GUEST-READY", BOOT);
    rig.wait_for(&panics, Power::Crashed, PowerReason::Crashed);
    assert_eq!(refusal(rig.press(&panics, 2)), (ErrorKind::Refused, "crashed".to_owned()));
    assert_eq!(power(rig.destroy(&panics, 3)), Power::Off);
}

#[test]
fn the_host_is_probed() {
    if !lab::require_libvirt() {
        return;
    }
    let rig = Rig::up("probe");
    let facts = rig.run(rig.kvm.probe(&rig.site)).expect("probed");
    assert!(facts.total.cpu_milli >= 1000 && facts.total.memory_mib > 256, "{facts:?}");
    assert_eq!(facts.abilities, rig.kvm.abilities());
    for ability in
        [Ability::Suspend, Ability::Migrate, Ability::Hotplug, Ability::Snapshots, Ability::Adopt]
    {
        assert!(facts.abilities.contains(&ability), "{facts:?}");
    }
    assert!(
        facts.hypervisor.starts_with("QEMU ") && facts.hypervisor.contains("libvirt "),
        "{facts:?}"
    );
    assert_eq!(
        rig.host.domain_type() == "qemu",
        !facts.notes.is_empty(),
        "emulation is said and explained: {facts:?}"
    );

    let mut wrong = rig.site.clone();
    wrong
        .config
        .insert("uri".to_owned(), "qemu+unix:///system?socket=/nonexistent/socket".to_owned());
    assert_eq!(
        refusal(rig.run(rig.kvm.probe(&wrong))),
        (ErrorKind::Retry, "no-connection".to_owned())
    );
    assert_eq!(
        refusal(rig.run(rig.kvm.observe(&wrong, VmUuid(uuid::Uuid::nil())))).0,
        ErrorKind::Retry
    );
    wrong.config.insert("uri".to_owned(), "qemu+ext:///system?command=/bin/true".to_owned());
    assert_eq!(
        refusal(rig.run(rig.kvm.probe(&wrong))),
        (ErrorKind::Refused, "bad-config".to_owned())
    );
}

#[test]
fn what_cannot_start_says_why_and_can_be_tried_again() {
    if !lab::require_libvirt() {
        return;
    }
    let rig = Rig::up("cannot");
    let vm = rig.vm(&[]);
    let aside = vm.disk.with_extension("aside");
    std::fs::rename(&vm.disk, &aside).expect("moved");
    let error = rig.deploy(&vm, 1, 1).expect_err("no disk");
    assert!(
        error.kind == ErrorKind::NotHere && error.detail.contains(&*vm.disk.to_string_lossy()),
        "{error}"
    );
    rig.wait_for(&vm, Power::Off, PowerReason::Crashed);
    std::fs::rename(&aside, &vm.disk).expect("moved back");
    assert_eq!(power(rig.deploy(&vm, 1, 1)), Power::Running);
}

#[test]
fn an_ignored_reboot_turns_one_power_off_of_the_guest_into_a_reboot_unless_it_is_reset() {
    if !lab::require_libvirt() {
        return;
    }
    // This is libvirt's behaviour, described on the first page of the crate. If this test fails,
    // that page must be changed.
    let rig = Rig::up("trap");
    let mut vm = rig.vm(&["vt.noacpi", "vt.selfoff=4"]);
    rig.deploy(&vm, 1, 1).expect("deploys");
    vm.console.wait_for("GUEST-READY", BOOT);
    rig.run(Reboot::reboot(&*rig.kvm, &rig.site, &rig.call(&vm, 2, 1)))
        .expect("asked, and ignored");
    vm.console.wait_for("SELF-OFF", SOON);
    vm.console.wait_for("GUEST-READY", BOOT);
    // A reset by the driver ends this behaviour.
    rig.run(Reboot::reboot(&*rig.kvm, &rig.site, &rig.call(&vm, 3, 1)))
        .expect("asked, and ignored");
    rig.run(rig.kvm.reset(&rig.site, &rig.call(&vm, 4, 1))).expect("reset");
    vm.console.wait_for("GUEST-READY", BOOT);
    vm.console.wait_for("SELF-OFF", SOON);
    rig.wait_for(&vm, Power::Off, PowerReason::Guest);
}

#[test]
fn the_driver_conforms() {
    if !lab::require_libvirt() {
        return;
    }
    let (rig, other) = Rig::pair("conform");
    let report = rig.conformance(&other);
    eprintln!("{report}");
    assert!(report.passed(), "{report}");
    // A built-in driver is in no sandbox that could stop it at its calls to the host.
    let skipped = report.skipped().into_iter().filter(|check| !check.ends_with("-cut"));
    let skipped: Vec<&str> = skipped.collect();
    assert_eq!(skipped, [] as [&str; 0], "the bench has all that the suite asks for");
    for site in [&rig.site, &other.site] {
        let listed = rig.run(rig.kvm.list(site)).expect("lists");
        assert!(listed.domains.is_empty(), "the suite left nothing: {listed:?}");
    }
}
