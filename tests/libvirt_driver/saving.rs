//! The caller of a save dies at some moment. libvirt continues the save, and the repeated call must
//! find out the result.

use crate::rig::{BOOT, Rig, SOON, power, refusal, seen};
use ostler_driver::{Hypervisor, Suspend};
use ostler_model::{ErrorKind, Power, PowerReason};
use ostler_tests::kvm::ticks;
use ostler_tests::lab;
use ostler_tests::wait::wait_until;
use std::sync::Arc;
use std::time::Instant;

/// At how many moments a save is cut, from its beginning to its end.
const MOMENTS: u32 = 16;

#[test]
fn a_save_whose_caller_dies_is_found_by_its_repeat_at_every_moment() {
    if !lab::require_libvirt() {
        return;
    }
    let mut rig = Rig::up("cut");
    let mut vm = rig.vm(&["vt.tick=0.1"]);
    rig.deploy(&vm, 1, 1).expect("deploys");
    vm.console.wait_for("TICK 5 ", BOOT);
    let file = rig.file("whole");
    let began = Instant::now();
    assert_eq!(power(rig.save(&vm, 2, &file)), Power::Off);
    let typical = began.elapsed();
    rig.restore(&vm, 3, 2, &file).expect("restores");
    rig.unpause(&vm, 4, 2).expect("runs on");
    for moment in 0..MOMENTS {
        let generation = u64::from(moment) + 2;
        let steps = 10 + 3 * u64::from(moment);
        let counted = ticks(&vm.console);
        wait_until("the guest to count on", SOON, || {
            if ticks(&vm.console) > counted { Ok(()) } else { Err(ticks(&vm.console)) }
        });
        let counted = ticks(&vm.console);
        let file = rig.file(&format!("cut-{moment}"));
        let (kvm, site, target) = (Arc::clone(&rig.kvm), rig.site.clone(), file.clone());
        let call = rig.call(&vm, steps, generation);
        drop(rig.spawn(async move { kvm.save(&site, &call, &target).await }));
        let pause = typical * moment / (MOMENTS - 1);
        rig.run(async { tokio::time::sleep(pause).await });
        rig.forget();
        // The engine does the same: it repeats after `Retry` and `Unknown`, and takes any other
        // answer.
        let saved = wait_until("the repeat to be answered", SOON, || {
            match rig.run(rig.kvm.save(&rig.site, &rig.call(&vm, steps, generation), &file)) {
                Err(error) if matches!(error.kind, ErrorKind::Retry | ErrorKind::Unknown) => {
                    Err(error)
                }
                answer => Ok(answer),
            }
        });
        let saved = seen(saved.map_err(|error| panic!("cut at {moment} of {MOMENTS}: {error}")));
        assert_eq!(saved.power, Power::Off, "cut at {moment} of {MOMENTS}");
        rig.restore(&vm, steps + 1, generation + 1, &file).expect("restores");
        rig.unpause(&vm, steps + 2, generation + 1).expect("runs on");
        wait_until("the guest to go on", SOON, || {
            if ticks(&vm.console) > counted { Ok(()) } else { Err(ticks(&vm.console)) }
        });
    }
    assert_eq!(vm.console.contents().matches("TICK 0 ").count(), 1, "it has booted once");
    rig.run(rig.kvm.remove(&rig.site, &rig.call(&vm, 100, 99))).expect("removes");
}

#[test]
fn memory_that_libvirt_keeps_for_somebody_outlives_our_older_file() {
    if !lab::require_libvirt() {
        return;
    }
    let rig = Rig::up("kept");
    let mut vm = rig.vm(&["vt.tick=0.1"]);
    let file = rig.file("memory");
    rig.deploy(&vm, 1, 1).expect("deploys");
    vm.console.wait_for("TICK 3 ", BOOT);
    rig.save(&vm, 2, &file).expect("saves");
    // Somebody starts the domain outside of Ostler, and lets libvirt save its new memory.
    rig.host.virsh(&["start", &vm.name]).expect("started");
    vm.console.wait_for("GUEST-READY", BOOT);
    rig.host.virsh(&["managedsave", &vm.name]).expect("kept");
    rig.wait_for(&vm, Power::Off, PowerReason::Kept);
    assert_eq!(refusal(rig.save(&vm, 2, &file)), (ErrorKind::Gone, "not-running".to_owned()));
    assert_eq!(
        refusal(rig.restore(&vm, 3, 2, &file)),
        (ErrorKind::Refused, "newer-memory".to_owned())
    );
    // A path that cannot be read does not tell whether the file exists.
    let looped = rig.file("looped");
    std::os::unix::fs::symlink(&looped.absolute, &looped.absolute).expect("linked");
    assert_eq!(
        refusal(rig.restore(&vm, 3, 2, &looped)),
        (ErrorKind::Retry, "no-answer".to_owned())
    );
    assert_eq!(refusal(rig.restore(&vm, 3, 2, &rig.file("nothing"))).0, ErrorKind::Gone);
    let counted = ticks(&vm.console);
    assert_eq!(power(rig.deploy(&vm, 4, 1)), Power::Running);
    wait_until("the guest to count on", SOON, || {
        if ticks(&vm.console) > counted { Ok(()) } else { Err(ticks(&vm.console)) }
    });
    assert_eq!(
        vm.console.contents().matches("GUEST-READY").count(),
        2,
        "it has not booted a third time"
    );
    rig.remove(&vm, 5).expect("removes");
}
