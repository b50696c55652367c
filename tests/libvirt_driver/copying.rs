//! A disk in use is copied. A domain that somebody else made is read and stamped.

use crate::rig::{BOOT, Rig, SOON, Vm, power, refusal, seen};
use ostler_driver::{Adopt, DiskCopy, FileRef, Hypervisor, JobStatus};
use ostler_model::{
    DiskFormat, DriverError, ErrorKind, Generation, Identity, Outcome, Power, StoreId,
};
use ostler_tests::lab::{self, Lab, SerialLog};
use ostler_tests::wait::wait_until;
use std::process::Command;

fn begin(
    rig: &Rig,
    vm: &Vm,
    step: u64,
    target: &FileRef,
    format: DiskFormat,
) -> Result<JobStatus, DriverError> {
    let disk = "vda".parse().expect("valid");
    rig.run(DiskCopy::begin(&*rig.kvm, &rig.site, &rig.call(vm, step, 1), &disk, target, format))
}

fn poll(rig: &Rig, vm: &Vm, step: u64) -> Result<JobStatus, DriverError> {
    rig.run(DiskCopy::poll(&*rig.kvm, &rig.site, &rig.call(vm, step, 1)))
}

fn abort(rig: &Rig, vm: &Vm, step: u64) -> Result<(), DriverError> {
    rig.run(DiskCopy::abort(&*rig.kvm, &rig.site, &rig.call(vm, step, 1)))
}

#[track_caller]
fn end_of(rig: &Rig, vm: &Vm, step: u64) -> Result<Outcome, DriverError> {
    wait_until("the copy to end", SOON, || match poll(rig, vm, step) {
        Ok(JobStatus::Pending(progress)) => Err(format!("{progress:?}")),
        Ok(JobStatus::Done(outcome)) => Ok(Ok(outcome)),
        Err(error) => Ok(Err(error)),
    })
}

fn qemu_img(arguments: &[&str], file: &str) -> String {
    let out = Command::new("qemu-img").args(arguments).arg(file).output().expect("qemu-img runs");
    assert!(out.status.success(), "{arguments:?} {file}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Makes a guest on an overlay disk. The guest itself marks the disk.
fn marked_guest(rig: &Rig) -> Vm {
    let mut vm = rig.vm(&["vt.tick=0.1", "vt.mark=copied"]);
    let base = Lab::guest().base_disk.to_string_lossy().into_owned();
    std::fs::remove_file(&vm.disk).expect("another disk");
    let disk = vm.disk.to_string_lossy().into_owned();
    qemu_img(&["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", &base], &disk);
    rig.deploy(&vm, 1, 1).expect("deploys");
    vm.console.wait_for("DISK-MARKED copied", BOOT);
    vm.console.wait_for("TICK 1 ", BOOT);
    vm
}

#[test]
fn a_disk_in_use_is_copied_whole_and_the_guest_keeps_its_own() {
    if !lab::require_libvirt() {
        return;
    }
    let rig = Rig::up("copy");
    let mut vm = marked_guest(&rig);
    let before = rig.host.virsh(&["domblklist", &vm.name]).expect("told");
    for (step, format) in [(2, DiskFormat::Qcow2), (3, DiskFormat::Raw)] {
        let target = rig.file(&format!("copy.{format}"));
        begin(&rig, &vm, step, &target, format).expect("begins");
        assert_eq!(seen(end_of(&rig, &vm, step)).power, Power::Running);
        // The call is repeated. Nothing may be copied again, because the file could already be in
        // use.
        let whole = std::fs::metadata(&target.absolute)
            .and_then(|file| file.modified())
            .expect("it is there");
        let again = begin(&rig, &vm, step, &target, format).expect("done");
        assert!(matches!(&again, JobStatus::Done(_)), "{again:?}");
        assert_eq!(
            std::fs::metadata(&target.absolute).and_then(|file| file.modified()).expect("there"),
            whole
        );
    }
    assert_eq!(
        rig.host.virsh(&["domblklist", &vm.name]).expect("told"),
        before,
        "it uses the disk it had"
    );
    vm.console.skip_to_end();
    vm.console.wait_for("TICK", SOON);

    let copy = rig.file("copy.qcow2").absolute;
    qemu_img(&["check", "-q"], &copy);
    let info = qemu_img(&["info", "-U", "--output=json"], &copy);
    let info: serde_json::Value = serde_json::from_str(&info).expect("JSON");
    assert_eq!((&info["format"], info.get("backing-filename")), (&"qcow2".into(), None), "{info}");
    let raw = std::fs::read(rig.file("copy.raw").absolute).expect("the raw copy");
    assert_eq!(raw.len(), 64 << 20);
    assert!(raw.starts_with(b"OSTLER-MARK copied"), "what the guest wrote is in it");
    rig.destroy(&vm, 4).expect("off");
    for copy in [&copy, &rig.file("copy.raw").absolute] {
        // The disk did not change after the copies, because nobody wrote to it.
        qemu_img(&["compare", "-q", &vm.disk.to_string_lossy()], copy);
    }
    // Another guest starts from the copy.
    let mut second = rig.vm(&[]);
    std::fs::rename(copy, &second.disk).expect("moved");
    rig.deploy(&second, 1, 1).expect("deploys");
    second.console.wait_for("DISK-MARK copied", BOOT);
}

/// Begins a copy and slows it down. Answers its step. If a copy ends before it can be slowed down,
/// another step begins a new one.
fn slowly(rig: &Rig, vm: &Vm, from: u64, target: &FileRef) -> u64 {
    let mut step = from;
    wait_until("a copy to be slowed down", SOON, || {
        let told = poll(rig, vm, step);
        if !matches!(told, Ok(JobStatus::Pending(_))) {
            step += 1;
            begin(rig, vm, step, target, DiskFormat::Qcow2).expect("begins");
        }
        rig.host.virsh(&["blockjob", &vm.name, "vda", "--bandwidth", "1", "--bytes"])
    });
    step
}

/// A guest whose disk has so much data that a copy of it is still running when it is looked at.
fn full_guest(rig: &Rig) -> Vm {
    let vm = marked_guest(rig);
    rig.destroy(&vm, 2).expect("off");
    let disk = vm.disk.to_string_lossy().into_owned();
    qemu_img(&["resize", "-q", "-f", "qcow2", &disk], "400M");
    let io = ["-f", "qcow2", "-c", "write -q -P 7 4M 390M"];
    assert!(Command::new("qemu-io").args(io).arg(&disk).status().expect("qemu-io runs").success());
    rig.deploy(&vm, 3, 1).expect("runs");
    vm
}

#[test]
fn a_copy_is_stopped_outlives_whoever_asked_and_is_fenced() {
    if !lab::require_libvirt() {
        return;
    }
    let mut rig = Rig::up("copystop");
    let vm = full_guest(&rig);
    let target = rig.file("copy.qcow2");
    let step = slowly(&rig, &vm, 100, &target);
    assert_eq!(
        refusal(begin(&rig, &vm, 5, &target, DiskFormat::Qcow2)),
        (ErrorKind::Retry, "busy".to_owned())
    );
    abort(&rig, &vm, step).expect("stops");
    abort(&rig, &vm, step).expect("nothing is at work");
    assert_eq!(refusal(poll(&rig, &vm, step)), (ErrorKind::Cancelled, "aborted".to_owned()));
    rig.wait_for(&vm, Power::Running, ostler_model::PowerReason::None);

    // The unfinished file is written again. A daemon that was started meanwhile finds the running
    // copy.
    let step = slowly(&rig, &vm, 200, &target);
    rig.forget();
    assert_eq!(refusal(poll(&rig, &vm, step)), (ErrorKind::Gone, "no-job".to_owned()));
    let attached = begin(&rig, &vm, step, &target, DiskFormat::Qcow2).expect("finds it");
    assert!(matches!(attached, JobStatus::Pending(_)), "{attached:?}");
    let progress = wait_until("progress", SOON, || match poll(&rig, &vm, step) {
        Ok(JobStatus::Pending(progress)) if progress.total > 0 => Ok(progress),
        other => Err(format!("{other:?}")),
    });
    assert!(progress.done <= progress.total, "{progress:?}");
    rig.host.virsh(&["blockjob", &vm.name, "vda", "--bandwidth", "0"]).expect("at full speed");
    end_of(&rig, &vm, step).expect("it is whole");
    rig.forget();
    let done = begin(&rig, &vm, step, &target, DiskFormat::Qcow2).expect("was done");
    assert!(matches!(&done, JobStatus::Done(_)), "{done:?}");
    qemu_img(&["check", "-q"], &target.absolute);

    // A copy that this daemon did not begin is stopped, too.
    let other = rig.file("other.qcow2");
    begin(&rig, &vm, 7, &other, DiskFormat::Qcow2).expect("begins");
    let mirrors =
        |rig: &Rig| rig.host.virsh(&["dumpxml", &vm.name]).expect("dumped").contains("<mirror");
    wait_until("the mirror, or its end", SOON, || {
        mirrors(&rig) || matches!(poll(&rig, &vm, 7), Ok(JobStatus::Done(_)))
    });
    rig.forget();
    abort(&rig, &vm, 7).expect("stops");
    assert!(!mirrors(&rig));
    let (disk, stale) = ("vda".parse().expect("valid"), rig.call(&vm, 8, 0));
    let copy =
        rig.run(DiskCopy::begin(&*rig.kvm, &rig.site, &stale, &disk, &other, DiskFormat::Qcow2));
    assert_eq!(refusal(copy), (ErrorKind::Stale, "stale".to_owned()));
    let none = "vdx".parse().expect("valid");
    let copy = rig.run(DiskCopy::begin(
        &*rig.kvm,
        &rig.site,
        &rig.call(&vm, 9, 1),
        &none,
        &other,
        DiskFormat::Qcow2,
    ));
    assert_eq!(refusal(copy), (ErrorKind::Refused, "no-disk".to_owned()));
    rig.destroy(&vm, 10).expect("off");
    assert_eq!(
        refusal(begin(&rig, &vm, 11, &other, DiskFormat::Qcow2)),
        (ErrorKind::Gone, "not-running".to_owned())
    );
}

#[test]
fn a_domain_of_somebody_else_is_read_and_stamped_without_a_stop() {
    if !lab::require_libvirt() {
        return;
    }
    let rig = Rig::up("adopt");
    let mut vm = rig.vm(&["vt.tick=0.1"]);
    assert_eq!(
        refusal(rig.run(rig.kvm.inspect(&rig.site, vm.uuid))),
        (ErrorKind::Gone, "no-domain".to_owned())
    );
    rig.deploy(&vm, 1, 1).expect("deploys");
    vm.console.wait_for("TICK 1 ", BOOT);
    let element =
        ["metadata", &vm.name, "--uri", "urn:ostler:domain:1", "--remove", "--live", "--config"];
    rig.host.virsh(&element).expect("now it is nobody's");
    let id = rig.host.virsh(&["domid", &vm.name]).expect("it runs");

    let wild = rig.run(rig.kvm.inspect(&rig.site, vm.uuid)).expect("read");
    assert_eq!((wild.name.as_str(), wild.vcpus, wild.memory_mib), (vm.name.as_str(), 1, 96));
    let disk = (
        "vda".parse().expect("valid"),
        vm.disk.to_string_lossy().into_owned(),
        DiskFormat::Qcow2,
        false,
    );
    assert_eq!((wild.disks.as_slice(), wild.nics.len()), (&[disk][..], 0));

    let identity = rig.spec(&vm, 3).identity;
    for _ in 0..2 {
        let stamped = seen(rig.run(rig.kvm.stamp(&rig.site, &rig.call(&vm, 2, 3), &identity)));
        assert_eq!((stamped.power, stamped.identity), (Power::Running, Some(identity)));
    }
    assert_eq!(rig.host.virsh(&["domid", &vm.name]).expect("it runs"), id, "it was not stopped");
    assert_eq!(
        SerialLog::new(rig.file(&format!("{}.console", vm.name)).absolute)
            .contents()
            .matches("GUEST-READY")
            .count(),
        1
    );
    let defined = rig.host.virsh(&["dumpxml", "--inactive", &vm.name]).expect("dumped");
    assert!(defined.contains("generation=\"3\""), "{defined}");
    // After the stamp the domain is fenced and belongs to Ostler.
    let older = rig.spec(&vm, 2).identity;
    assert_eq!(
        refusal(rig.run(rig.kvm.stamp(&rig.site, &rig.call(&vm, 3, 2), &older))),
        (ErrorKind::Stale, "stale".to_owned())
    );
    let foreign =
        Identity { store: StoreId(uuid::Uuid::new_v4()), generation: Generation(9), ..identity };
    let mut call = rig.call(&vm, 4, 9);
    call.context.store = foreign.store;
    assert_eq!(
        refusal(rig.run(rig.kvm.stamp(&rig.site, &call, &foreign))),
        (ErrorKind::Refused, "foreign".to_owned())
    );
    assert_eq!(
        power(
            rig.press(&vm, 5)
                .map_or_else(|_| rig.run(rig.kvm.press_power(&rig.site, &rig.call(&vm, 5, 3))), Ok)
        ),
        Power::Running
    );
    rig.remove(&vm, 6).expect("ours to remove");
}
