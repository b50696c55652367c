//! Plugs disks and network cards, and resizes CPUs and memory of a running guest. The guest
//! confirms what it has.

use crate::rig::{BOOT, Rig, SOON, Vm, power, refusal, seen};
use ostler_driver::{
    CallControl, DomainDisk, DomainNic, DomainSpec, Hotplug, Hypervisor, LiveResize,
};
use ostler_model::{CallResult, DiskFormat, ErrorKind, MacAddress, Observation, Power};
use ostler_tests::lab;
use std::process::Command;
use std::time::Duration;

fn disk(rig: &Rig, name: &str, file: &str) -> DomainDisk {
    let file = rig.file(file);
    if !std::path::Path::new(&file.absolute).exists() {
        let made = Command::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2", &file.absolute, "32M"])
            .status()
            .expect("runs");
        assert!(made.success());
    }
    DomainDisk {
        name: name.parse().expect("valid"),
        file,
        format: DiskFormat::Qcow2,
        read_only: false,
        below: None,
    }
}

fn attach(rig: &Rig, vm: &Vm, step: u64, disk: &DomainDisk) -> CallResult {
    rig.run(rig.kvm.attach_disk(&rig.site, &rig.call(vm, step, 1), disk))
}

fn detach_by(rig: &Rig, call: &CallControl, name: &str) -> CallResult {
    rig.run(rig.kvm.detach_disk(&rig.site, call, &name.parse().expect("valid")))
}

fn detach(rig: &Rig, vm: &Vm, step: u64, name: &str) -> CallResult {
    detach_by(rig, &rig.call(vm, step, 1), name)
}

/// How often the text stands in the XML of the running domain, and in that of its definition.
fn told(rig: &Rig, vm: &Vm, text: &str) -> (usize, usize) {
    let count = |flags: &[&str]| {
        let arguments: Vec<&str> =
            ["dumpxml", &vm.name].into_iter().chain(flags.iter().copied()).collect();
        rig.host.virsh(&arguments).expect("dumped").matches(text).count()
    };
    (count(&[]), count(&["--inactive"]))
}

#[test]
fn a_disk_comes_and_goes_while_the_guest_runs_and_off() {
    if !lab::require_libvirt() {
        return;
    }
    let rig = Rig::up("disk");
    let mut vm = rig.vm(&[]);
    let extra = disk(&rig, "vdb", "extra.qcow2");
    assert_eq!(refusal(attach(&rig, &vm, 2, &extra)), (ErrorKind::Gone, "no-domain".to_owned()));
    assert_eq!(detach(&rig, &vm, 2, "vdb").expect("nothing there").seen, Some(Observation::Absent));
    rig.deploy(&vm, 1, 1).expect("deploys");
    vm.console.wait_for("GUEST-READY", BOOT);
    for _ in 0..2 {
        assert_eq!(power(attach(&rig, &vm, 2, &extra)), Power::Running);
        assert_eq!(told(&rig, &vm, "extra.qcow2"), (1, 1));
    }
    vm.console.wait_for("DISK+ vdb bytes=33554432", SOON);
    let other = disk(&rig, "vdb", "other.qcow2");
    assert_eq!(refusal(attach(&rig, &vm, 3, &other)), (ErrorKind::Refused, "taken".to_owned()));
    let stale = rig.call(&vm, 3, 0);
    assert_eq!(refusal(detach_by(&rig, &stale, "vdb")), (ErrorKind::Stale, "stale".to_owned()));
    // As after a call that was cut off in the middle: the running domain has the disk, its
    // definition does not.
    rig.host
        .virsh(&["detach-disk", &vm.name, "vdb", "--config"])
        .expect("detached from the definition");
    assert_eq!(told(&rig, &vm, "extra.qcow2"), (1, 0));
    attach(&rig, &vm, 2, &extra).expect("made whole");
    assert_eq!(told(&rig, &vm, "extra.qcow2"), (1, 1));

    rig.host.virsh(&["suspend", &vm.name]).expect("suspended");
    assert_eq!(refusal(detach(&rig, &vm, 4, "vdb")), (ErrorKind::Refused, "paused".to_owned()));
    rig.host.virsh(&["resume", &vm.name]).expect("resumed");
    for _ in 0..2 {
        assert_eq!(power(detach(&rig, &vm, 4, "vdb")), Power::Running);
        assert_eq!(told(&rig, &vm, "extra.qcow2"), (0, 0));
    }
    vm.console.wait_for("DISK- vdb", SOON);
    // Plugs as many disks as there are free ports, twice.
    for round in 0..2 {
        for (at, name) in ["vdb", "vdc", "vdd"].into_iter().enumerate() {
            attach(&rig, &vm, 10 + at as u64, &disk(&rig, name, &format!("{name}.qcow2")))
                .expect(name);
            vm.console.wait_for(&format!("DISK+ {name}"), SOON);
        }
        for name in ["vdb", "vdc", "vdd"] {
            detach(&rig, &vm, 20 + round, name).expect(name);
        }
    }
    // The domain is off, so only its definition changes.
    rig.destroy(&vm, 30).expect("off");
    for _ in 0..2 {
        assert_eq!(power(attach(&rig, &vm, 31, &extra)), Power::Off);
    }
    assert_eq!(told(&rig, &vm, "extra.qcow2"), (1, 1));
    for _ in 0..2 {
        assert_eq!(power(detach(&rig, &vm, 32, "vdb")), Power::Off);
    }
    assert_eq!(told(&rig, &vm, "extra.qcow2"), (0, 0));
}

#[test]
fn a_guest_that_does_not_let_go_keeps_its_disk_and_can_be_asked_again() {
    if !lab::require_libvirt() {
        return;
    }
    let rig = Rig::up("keeps");
    // A kernel that ignores what ACPI says about slots.
    let mut vm = rig.vm(&["acpiphp.disable=1", "vt.tick=0.2"]);
    let extra = disk(&rig, "vdb", "extra.qcow2");
    let spec = rig.spec(&vm, 1);
    let spec = DomainSpec { disks: spec.disks.iter().cloned().chain([extra]).collect(), ..spec };
    rig.run(rig.kvm.deploy(&rig.site, &rig.call(&vm, 1, 1), &spec)).expect("deploys");
    vm.console.wait_for("GUEST-READY", BOOT);
    for step in 3..5 {
        let short = crate::rig::call((rig.store, vm.uuid), step, 1, Duration::from_secs(8));
        assert_eq!(
            refusal(detach_by(&rig, &short, "vdb")),
            (ErrorKind::Refused, "guest-ignored".to_owned())
        );
        assert_eq!(told(&rig, &vm, "extra.qcow2"), (1, 1), "it is still its own");
    }
    vm.console.skip_to_end();
    vm.console.wait_for("TICK", SOON);
    // A reset unplugs the disk that the guest was asked to release. A repeat of the call finds
    // this, and changes the definition, too.
    rig.host.virsh(&["reset", &vm.name]).expect("reset");
    vm.console.wait_for("GUEST-READY", BOOT);
    detach(&rig, &vm, 5, "vdb").expect("now it is gone");
    assert_eq!(told(&rig, &vm, "extra.qcow2"), (0, 0));
}

#[test]
fn a_network_card_comes_and_goes() {
    if !lab::require_libvirt() {
        return;
    }
    let (rig, _other) = Rig::pair("nic");
    let mut vm = rig.vm(&[]);
    rig.deploy(&vm, 1, 1).expect("deploys");
    vm.console.wait_for("GUEST-READY", BOOT);
    let mac: MacAddress = "52:54:00:0a:0b:0c".parse().expect("valid");
    let nic = DomainNic { mac: mac.clone(), bridge: "br0".to_owned() };
    for _ in 0..2 {
        let attached = rig.run(rig.kvm.attach_nic(&rig.site, &rig.call(&vm, 2, 1), &nic));
        assert_eq!(power(attached), Power::Running);
        assert_eq!(told(&rig, &vm, mac.as_str()), (1, 1));
    }
    vm.console.wait_for("NIC+ eth0 52:54:00:0a:0b:0c", SOON);
    let elsewhere = DomainNic { mac: mac.clone(), bridge: "br9".to_owned() };
    let taken = rig.run(rig.kvm.attach_nic(&rig.site, &rig.call(&vm, 3, 1), &elsewhere));
    assert_eq!(refusal(taken), (ErrorKind::Refused, "taken".to_owned()));
    for _ in 0..2 {
        let detached = rig.run(rig.kvm.detach_nic(&rig.site, &rig.call(&vm, 4, 1), &mac));
        assert_eq!(power(detached), Power::Running);
        assert_eq!(told(&rig, &vm, mac.as_str()), (0, 0));
    }
    vm.console.wait_for("NIC- eth0 52:54:00:0a:0b:0c", SOON);
    let unknown = DomainNic { mac, bridge: "no-such-bridge".to_owned() };
    let error = rig
        .run(rig.kvm.attach_nic(&rig.site, &rig.call(&vm, 5, 1), &unknown))
        .expect_err("no such bridge");
    assert_eq!(error.kind, ErrorKind::Refused, "{error}");
    assert_eq!(told(&rig, &vm, "no-such-bridge"), (0, 0));
}

#[test]
fn cpus_and_memory_follow_within_the_room_there_is() {
    if !lab::require_libvirt() {
        return;
    }
    let rig = Rig::up("resize");
    let mut vm = rig.vm(&[]);
    let resize = |vm: &Vm, step, vcpus, mib| {
        rig.run(rig.kvm.resize(&rig.site, &rig.call(vm, step, 1), vcpus, mib))
    };
    assert_eq!(refusal(resize(&vm, 2, 1, 96)), (ErrorKind::Gone, "not-running".to_owned()));
    let spec = DomainSpec { vcpus_most: 3, memory_most_mib: 192, ..rig.spec(&vm, 1) };
    rig.run(rig.kvm.deploy(&rig.site, &rig.call(&vm, 1, 1), &spec)).expect("deploys");
    let ready = vm.console.wait_for("GUEST-READY", BOOT);
    assert!(ready.contains("cpus=1 "), "{ready}");
    // Under emulation a guest gets no CPU, because that may end it. Then nothing else of the call
    // is done either.
    let cpus = if rig.host.domain_type() == "qemu" {
        assert_eq!(refusal(resize(&vm, 2, 3, 160)), (ErrorKind::Refused, "emulated".to_owned()));
        1
    } else {
        assert_eq!(power(resize(&vm, 2, 3, 192)), Power::Running);
        vm.console.wait_for("CPUS 3", SOON);
        assert_eq!(refusal(resize(&vm, 6, 2, 192)), (ErrorKind::Refused, "fewer-cpus".to_owned()));
        3
    };
    for _ in 0..2 {
        assert_eq!(power(resize(&vm, 3, cpus, 160)), Power::Running);
    }
    vm.console.wait_for("MEMORY kb=", SOON);
    let xml = rig.host.virsh(&["dumpxml", "--inactive", &vm.name]).expect("dumped");
    assert!(
        xml.contains("<memory unit='KiB'>196608<")
            && xml.contains("<currentMemory unit='KiB'>163840<"),
        "{xml}"
    );
    assert_eq!(power(resize(&vm, 4, cpus, 112)), Power::Running);
    vm.console.wait_for("MEMORY kb=", SOON);

    assert_eq!(refusal(resize(&vm, 5, 4, 112)), (ErrorKind::Refused, "beyond-most".to_owned()));
    assert_eq!(refusal(resize(&vm, 5, cpus, 193)), (ErrorKind::Refused, "beyond-most".to_owned()));
    let stale = rig.run(rig.kvm.resize(&rig.site, &rig.call(&vm, 7, 0), cpus, 112));
    assert_eq!(refusal(stale), (ErrorKind::Stale, "stale".to_owned()));
    rig.host.virsh(&["suspend", &vm.name]).expect("suspended");
    assert_eq!(refusal(resize(&vm, 8, cpus, 120)), (ErrorKind::Refused, "paused".to_owned()));
}

#[test]
fn a_guest_without_a_balloon_driver_keeps_its_memory() {
    if !lab::require_libvirt() {
        return;
    }
    let rig = Rig::up("balloon");
    let mut vm = rig.vm(&[]);
    let spec = DomainSpec { memory_most_mib: 192, ..rig.spec(&vm, 1) };
    rig.run(rig.kvm.deploy(&rig.site, &rig.call(&vm, 1, 1), &spec)).expect("deploys");
    vm.console.wait_for("GUEST-READY", BOOT);
    // A guest does not obey for some seconds while it is being reset. The call has less time than
    // that.
    rig.host.virsh(&["reset", &vm.name]).expect("reset");
    let short = crate::rig::call((rig.store, vm.uuid), 2, 1, Duration::from_secs(3));
    let ignored = rig.run(rig.kvm.resize(&rig.site, &short, 1, 80));
    assert_eq!(refusal(ignored), (ErrorKind::Refused, "guest-ignored".to_owned()));
    let xml = rig.host.virsh(&["dumpxml", "--inactive", &vm.name]).expect("dumped");
    assert!(!xml.contains("<currentMemory unit='KiB'>81920<"), "the request was taken back: {xml}");
    assert_eq!(
        seen(rig.observe(&vm).map(|seen| ostler_model::Outcome { seen: Some(seen), state: None }))
            .power,
        Power::Running
    );
}
