//! Snapshots of memory and disk: after a revert the guest counts on from the snapshot's number.

use crate::rig::{BOOT, Rig, SOON, Vm, power, refusal, seen};
use ostler_driver::{Adopt, Hypervisor, Snapshots};
use ostler_model::{CallResult, ErrorKind, Generation, Observation, Power, SnapshotName};
use ostler_tests::lab;

fn name(text: &str) -> SnapshotName {
    text.parse().expect("valid")
}

fn create(rig: &Rig, vm: &Vm, step: u64, text: &str) -> CallResult {
    rig.run(Snapshots::create(&*rig.kvm, &rig.site, &rig.call(vm, step, 1), &name(text)))
}

fn revert(rig: &Rig, vm: &Vm, step: u64, generation: u64, text: &str) -> CallResult {
    rig.run(Snapshots::revert(&*rig.kvm, &rig.site, &rig.call(vm, step, generation), &name(text)))
}

fn delete(rig: &Rig, vm: &Vm, step: u64, text: &str) -> CallResult {
    rig.run(Snapshots::delete(&*rig.kvm, &rig.site, &rig.call(vm, step, 9), &name(text)))
}

fn list(rig: &Rig, vm: &Vm) -> Vec<String> {
    rig.run(Snapshots::list(&*rig.kvm, &rig.site, vm.uuid)).expect("asked")
}

/// The next number that the guest counts.
fn tick(vm: &mut Vm) -> u32 {
    vm.console.skip_to_end();
    let line = vm.console.wait_for("TICK", SOON);
    line.split(' ')
        .nth(1)
        .and_then(|n| n.parse().ok())
        .unwrap_or_else(|| panic!("no count: {line}"))
}

fn no_snapshot_is_in(disk: &std::path::Path) {
    let inside = std::process::Command::new("qemu-img")
        .args(["snapshot", "-l"])
        .arg(disk)
        .output()
        .expect("qemu-img runs");
    assert!(
        inside.status.success() && inside.stdout.is_empty(),
        "nothing is left in the disk: {inside:?}"
    );
}

#[test]
fn a_guest_goes_back_once_and_runs_on_under_its_own_stamp() {
    if !lab::require_libvirt() {
        return;
    }
    let rig = Rig::up("snap");
    let mut vm = rig.vm(&["vt.tick=0.1"]);
    assert_eq!(refusal(create(&rig, &vm, 2, "a")), (ErrorKind::Gone, "no-domain".to_owned()));
    assert!(list(&rig, &vm).is_empty(), "one that is not there has none");
    assert_eq!(delete(&rig, &vm, 2, "a").expect("nothing there").seen, Some(Observation::Absent));
    rig.deploy(&vm, 1, 1).expect("deploys");
    vm.console.wait_for("TICK 3 ", BOOT);
    for _ in 0..2 {
        assert_eq!(power(create(&rig, &vm, 2, "first")), Power::Running);
        assert_eq!(list(&rig, &vm), ["first"]);
    }
    let kept = tick(&mut vm);
    vm.console.wait_for(&format!("TICK {} ", kept + 30), SOON);
    create(&rig, &vm, 3, "a-second").expect("another");
    assert_eq!(list(&rig, &vm), ["first", "a-second"], "by age");

    // The VM gets a new stamp. The snapshot has the old stamp, and must not run with it.
    let restamp =
        rig.run(rig.kvm.stamp(&rig.site, &rig.call(&vm, 4, 2), &rig.spec(&vm, 2).identity));
    assert_eq!(seen(restamp).identity.map(|identity| identity.generation), Some(Generation(2)));
    assert_eq!(refusal(revert(&rig, &vm, 5, 1, "first")), (ErrorKind::Stale, "stale".to_owned()));
    assert_eq!(
        refusal(revert(&rig, &vm, 5, 2, "none")),
        (ErrorKind::Gone, "no-snapshot".to_owned())
    );
    let back = seen(revert(&rig, &vm, 6, 2, "first"));
    let key = rig.call(&vm, 6, 2).context.key;
    assert_eq!((back.power, back.last_edge.as_ref()), (Power::Running, Some(&key)));
    assert_eq!(back.identity, Some(rig.spec(&vm, 2).identity));
    let now = tick(&mut vm);
    assert!(now < kept + 25, "{now} is after {kept}: its memory came back");
    let defined = rig.host.virsh(&["dumpxml", "--inactive", &vm.name]).expect("dumped");
    assert!(defined.contains("generation=\"2\""), "{defined}");

    // The same identity does not revert again. But if the call was cut off before the domain ran,
    // the repeat lets it run.
    vm.console.wait_for(&format!("TICK {} ", kept + 30), SOON);
    assert_eq!(power(revert(&rig, &vm, 6, 2, "first")), Power::Running);
    assert!(tick(&mut vm) > kept + 29, "once an identity");
    rig.host.virsh(&["suspend", &vm.name]).expect("stamped, and not set going");
    assert_eq!(power(revert(&rig, &vm, 6, 2, "first")), Power::Running);
    let paused = ["snapshot-revert", &vm.name, "first", "--paused"];
    rig.host.virsh(&paused).expect("reverted, and not stamped");
    assert_eq!(seen(revert(&rig, &vm, 7, 2, "first")).identity, Some(rig.spec(&vm, 2).identity));
    assert!(tick(&mut vm) < kept + 25);

    // A domain that is off can be reverted, too.
    rig.run(rig.kvm.destroy(&rig.site, &rig.call(&vm, 8, 2))).expect("off");
    assert_eq!(list(&rig, &vm).len(), 2, "they outlive the process");
    assert_eq!(power(revert(&rig, &vm, 9, 2, "a-second")), Power::Running);
    assert!(tick(&mut vm) > kept + 29);

    for _ in 0..2 {
        assert_eq!(power(delete(&rig, &vm, 10, "first")), Power::Running);
        assert_eq!(list(&rig, &vm), ["a-second"]);
    }
    rig.run(rig.kvm.destroy(&rig.site, &rig.call(&vm, 11, 2))).expect("off");
    assert_eq!(refusal(create(&rig, &vm, 12, "third")).0, ErrorKind::Stale);
    let call = rig.call(&vm, 12, 2);
    let off = rig.run(Snapshots::create(&*rig.kvm, &rig.site, &call, &name("third")));
    assert_eq!(refusal(off), (ErrorKind::Gone, "not-running".to_owned()));
    for _ in 0..2 {
        assert_eq!(power(delete(&rig, &vm, 13, "a-second")), Power::Off);
    }
    assert!(list(&rig, &vm).is_empty());
    no_snapshot_is_in(&vm.disk);
}

#[test]
fn a_domain_with_snapshots_is_removed_with_them() {
    if !lab::require_libvirt() {
        return;
    }
    let rig = Rig::up("snaprm");
    let mut vm = rig.vm(&["vt.tick=0.2"]);
    rig.deploy(&vm, 1, 1).expect("deploys");
    vm.console.wait_for("TICK 1 ", BOOT);
    create(&rig, &vm, 2, "one").expect("a snapshot");
    assert_eq!(rig.remove(&vm, 3).expect("removes").seen, Some(Observation::Absent));
    rig.deploy(&vm, 4, 2).expect("deploys again");
    assert!(list(&rig, &vm).is_empty());
}
