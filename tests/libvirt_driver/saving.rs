//! Memory is saved and restored. The caller of a save may die at any moment: libvirt continues the
//! save, and the repeated call must find out the result.

use crate::rig::{BOOT, Rig, SOON, power, refusal, seen};
use ostler_driver::{Hypervisor, Suspend};
use ostler_model::{ErrorKind, Generation, Observation, Power, PowerReason};
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
        let saving = rig.spawn(async move { kvm.save(&site, &call, &target).await });
        // Cut after this part of a save's usual time, or at its end.
        let part = typical * moment / (MOMENTS - 1);
        drop(rig.run(async { tokio::time::timeout(part, saving).await }));
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

#[test]
fn memory_is_saved_once_and_comes_back_under_a_new_stamp() {
    if !lab::require_libvirt() {
        return;
    }
    let rig = Rig::up("save");
    let mut vm = rig.vm(&["vt.tick=0.1"]);
    let file = rig.file("memory");
    rig.deploy(&vm, 1, 1).expect("deploys");
    vm.console.wait_for("TICK 5 ", BOOT);
    let saved = seen(rig.save(&vm, 2, &file));
    assert_eq!((saved.power, saved.reason), (Power::Off, PowerReason::Saved));
    assert_eq!(power(rig.save(&vm, 2, &file)), Power::Off, "the same save again");
    rig.host.kill_daemon(); // libvirt forgets why the domain is off; the file itself still tells
    wait_until("the same save after the daemon's death", SOON, || rig.save(&vm, 2, &file));
    assert_eq!(
        refusal(rig.save(&vm, 3, &file)).0,
        ErrorKind::Gone,
        "another save has nothing to save"
    );
    assert_eq!(
        refusal(rig.save(&vm, 2, &rig.file("nothing"))),
        (ErrorKind::Gone, "no-recovery-file".to_owned())
    );

    for _ in 0..2 {
        let restored = seen(rig.restore(&vm, 4, 2, &file));
        assert_eq!((restored.power, restored.reason), (Power::Paused, PowerReason::None));
        assert_eq!(restored.identity.map(|identity| identity.generation), Some(Generation(2)));
    }
    vm.console.skip_to_end();
    for _ in 0..2 {
        assert_eq!(power(rig.unpause(&vm, 5, 2)), Power::Running);
    }
    let tick = vm.console.wait_for("TICK", SOON);
    let count: u32 = tick.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("a count");
    assert!(count > 5, "memory came along: {tick}");
    assert!(rig.host.virsh(&["dominfo", &vm.name]).expect("told").contains("Persistent:     yes"));
    assert_eq!(
        refusal(rig.destroy(&vm, 6)),
        (ErrorKind::Stale, "stale".to_owned()),
        "generation 1 may no longer touch it"
    );
    rig.remove(&vm, 7).expect("removes");
    assert_eq!(refusal(rig.unpause(&vm, 8, 2)), (ErrorKind::Gone, "not-running".to_owned()));

    // A file that was cut off, or no file: the domain must not be restored.
    let whole = std::fs::read(&file.absolute).expect("the memory");
    std::fs::write(&file.absolute, [b"LibvirtQemudPart", &whole[16..]].concat()).expect("written");
    assert_eq!(
        refusal(rig.restore(&vm, 9, 3, &file)),
        (ErrorKind::Gone, "no-recovery-file".to_owned())
    );
    std::fs::remove_file(&file.absolute).expect("removed");
    assert_eq!(
        refusal(rig.restore(&vm, 9, 3, &file)),
        (ErrorKind::Gone, "no-recovery-file".to_owned())
    );
    assert_eq!(rig.observe(&vm).expect("asked"), Observation::Absent);
}

#[test]
fn a_restored_guest_need_not_have_been_here_before() {
    if !lab::require_libvirt() {
        return;
    }
    let rig = Rig::up("elsewhere");
    let mut vm = rig.vm(&["vt.tick=0.1"]);
    let file = rig.file("memory");
    rig.deploy(&vm, 1, 1).expect("deploys");
    vm.console.wait_for("TICK 3 ", BOOT);
    rig.save(&vm, 2, &file).expect("saves");
    rig.remove(&vm, 3).expect("removes");
    // Its disk and console were moved meanwhile.
    let moved = vm.disk.with_extension("moved");
    std::fs::rename(&vm.disk, &moved).expect("moved");
    vm.disk = moved;
    assert_eq!(power(rig.restore(&vm, 4, 2, &file)), Power::Paused);
    let xml = rig.host.virsh(&["dumpxml", &vm.name]).expect("dumped");
    assert!(xml.contains(&*vm.disk.to_string_lossy()), "{xml}");
    vm.console.skip_to_end();
    rig.unpause(&vm, 5, 2).expect("runs on");
    vm.console.wait_for("TICK", SOON);
    rig.remove(&vm, 6).expect("removes");
}

#[test]
fn a_save_that_is_cancelled_leaves_the_guest_running_or_is_whole() {
    if !lab::require_libvirt() {
        return;
    }
    let rig = Rig::up("cancel");
    let mut vm = rig.vm(&["vt.tick=0.1", "vt.dirty=32"]);
    rig.deploy(&vm, 1, 1).expect("deploys");
    vm.console.wait_for("GUEST-READY", BOOT);
    let file = rig.file("memory");
    let call = rig.call(&vm, 2, 1);
    let (kvm, site, to, saving) = (rig.kvm.clone(), rig.site.clone(), file.clone(), call.clone());
    let save = rig.spawn(async move { kvm.save(&site, &saving, &to).await });
    wait_until("the save to have begun", SOON, || {
        std::path::Path::new(&file.absolute).exists() || save.is_finished()
    });
    call.cancel.cancel();
    match rig.run(save).expect("no panic") {
        Ok(outcome) => assert_eq!(power(Ok(outcome)), Power::Off),
        Err(error) => {
            assert_eq!(error.kind, ErrorKind::Cancelled, "{error}");
            rig.wait_for(&vm, Power::Running, PowerReason::None);
            vm.console.skip_to_end();
            vm.console.wait_for("TICK", SOON);
        }
    }
    assert_eq!(power(rig.save(&vm, 3, &file)), Power::Off, "it can be saved");
}
