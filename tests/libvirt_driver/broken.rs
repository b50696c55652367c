//! A host, the network or an operator interrupts a migration.

use crate::moving::{
    abort, begin, begin_slowly, end_of, has_moved, has_stayed, here, placed, slow_guest, speed_up,
    there,
};
use crate::rig::{BOOT, Rig, SOON, power};
use ostler_driver::{DomainDisk, DomainNic, DomainSpec, Hotplug, Hypervisor, LiveResize, Migrate};
use ostler_model::{DiskFormat, ErrorKind, MacAddress, Observation, Power};
use ostler_tests::lab::{self, Lab, SerialLog};
use ostler_tests::wait::wait_until;

#[test]
fn a_network_that_is_cut_lets_it_be_stopped_and_run_on() {
    if !lab::require_libvirt() {
        return;
    }
    let (rig, other) = Rig::pair("cut");
    let mut vm = slow_guest(&rig);
    let spec = placed(&rig, &vm, 2);
    begin_slowly(&rig, &vm, 2, &spec, &other);
    other.host.cut();
    // The call has a minute. libvirt's keepalive gives the other side up after half of it.
    abort(&rig, &vm, 2, 2).expect("stops");
    has_stayed(&rig, &mut vm, &other);
    other.host.mend();
    speed_up(&rig, &vm);
    begin(&rig, &vm, 3, &spec, &other).expect("begins");
    end_of(&rig, &vm, 3, 2).expect("moves");
    has_moved(&rig, &vm, &other, 2);
}

#[test]
fn a_destination_that_loses_power_costs_the_guest_nothing() {
    if !lab::require_libvirt() {
        return;
    }
    let (rig, other) = Rig::pair("lost");
    let mut vm = slow_guest(&rig);
    let spec = placed(&rig, &vm, 2);
    begin_slowly(&rig, &vm, 2, &spec, &other);
    other.host.power_off();
    vm.console.skip_to_end();
    vm.console.wait_for("TICK", SOON);
    other.host.power_on();
    // Both hosts answer again, so the driver can tell that the guest stayed.
    let error = end_of(&rig, &vm, 2, 2).expect_err("it did not move");
    assert!(!matches!(error.kind, ErrorKind::Gone | ErrorKind::Stale), "{error}");
    has_stayed(&rig, &mut vm, &other);
}

#[test]
fn a_guest_that_is_destroyed_on_its_way_runs_nowhere() {
    if !lab::require_libvirt() {
        return;
    }
    let (rig, other) = Rig::pair("destroyed");
    let vm = slow_guest(&rig);
    let spec = placed(&rig, &vm, 2);
    begin_slowly(&rig, &vm, 2, &spec, &other);
    let destroyed = rig.run(rig.kvm.destroy(&rig.site, &rig.call(&vm, 3, 2)));
    assert_eq!(power(destroyed), Power::Off);
    assert_eq!(end_of(&rig, &vm, 2, 2).expect_err("it is off").kind, ErrorKind::Gone);
    wait_until("nothing to be there", SOON, || there(&rig, &vm, &other) == Observation::Absent);
    assert!(matches!(here(&rig, &vm), Observation::Present(seen) if seen.power == Power::Off));
}

#[test]
fn what_was_plugged_in_moves_along_and_can_be_taken_out_there() {
    if !lab::require_libvirt() {
        return;
    }
    let (rig, other) = Rig::pair("along");
    let mut vm = rig.vm(&["vt.tick=0.1"]);
    let roomy = |generation| DomainSpec { memory_most_mib: 160, ..rig.spec(&vm, generation) };
    rig.run(rig.kvm.deploy(&rig.site, &rig.call(&vm, 1, 1), &roomy(1))).expect("deploys");
    let (disk, mac) =
        (rig.file("extra.qcow2"), "52:54:00:00:00:09".parse::<MacAddress>().expect("valid"));
    std::fs::copy(&Lab::guest().base_disk, &disk.absolute).expect("a disk");
    let disk = DomainDisk {
        name: "vdb".parse().expect("valid"),
        file: disk,
        format: DiskFormat::Qcow2,
        read_only: false,
        below: None,
    };
    let nic = DomainNic { mac: mac.clone(), bridge: "br0".to_owned() };
    vm.console.wait_for("TICK 5 ", BOOT);
    rig.run(rig.kvm.attach_disk(&rig.site, &rig.call(&vm, 2, 1), &disk)).expect("attached");
    rig.run(rig.kvm.attach_nic(&rig.site, &rig.call(&vm, 3, 1), &nic)).expect("attached");
    rig.run(rig.kvm.resize(&rig.site, &rig.call(&vm, 4, 1), 1, 128)).expect("resized");
    vm.console.wait_for("NIC+ eth0", SOON);

    let placed = placed(&rig, &vm, 2);
    let spec = DomainSpec {
        disks: [placed.disks.clone(), vec![disk]].concat(),
        nics: vec![nic],
        ..placed
    };
    begin(&rig, &vm, 5, &spec, &other).expect("begins");
    end_of(&rig, &vm, 5, 2).expect("moves");
    has_moved(&rig, &vm, &other, 2);
    let mut console = SerialLog::new(rig.file(&format!("{}.there", vm.name)).absolute);
    rig.run(rig.kvm.detach_disk(&other.site, &rig.call(&vm, 6, 2), &"vdb".parse().expect("valid")))
        .expect("let go of");
    console.wait_for("DISK- vdb", SOON);
    rig.run(rig.kvm.detach_nic(&other.site, &rig.call(&vm, 7, 2), &mac)).expect("let go of");
    console.wait_for("NIC- eth0", SOON);
    rig.run(rig.kvm.resize(&other.site, &rig.call(&vm, 8, 2), 1, 112)).expect("resized there");
    // The guest moves back to the first host, where it has left nothing.
    let home = DomainSpec { ..rig.spec(&vm, 3) };
    let call = rig.call(&vm, 9, 3);
    rig.run(Migrate::begin(&*rig.kvm, &other.site, &call, &home, &rig.site, &[])).expect("begins");
    wait_until("it to be home", SOON, || match rig.observe(&vm) {
        Ok(Observation::Present(seen))
            if seen.power == Power::Running && seen.identity == Some(home.identity) =>
        {
            Ok(())
        }
        other => Err(format!("{other:?}")),
    });
}
