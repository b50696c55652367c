//! A running guest moves to another host. It counts on there, and nothing of it is left here.

use crate::rig::{BOOT, Other, Rig, SOON, Vm, refusal, seen};
use ostler_driver::{DomainSpec, Hypervisor, JobStatus, Migrate, Reboot};
use ostler_model::{DriverError, ErrorKind, Generation, Observation, Outcome, Power, Progress};
use ostler_tests::lab::{self, SerialLog};
use ostler_tests::wait::wait_until;
use std::process::Command;

/// The placement at the destination, with another generation and its own console.
pub(crate) fn placed(rig: &Rig, vm: &Vm, generation: u64) -> DomainSpec {
    DomainSpec { console_log: rig.file(&format!("{}.there", vm.name)), ..rig.spec(vm, generation) }
}

pub(crate) fn begin(
    rig: &Rig,
    vm: &Vm,
    step: u64,
    spec: &DomainSpec,
    other: &Other,
) -> Result<JobStatus, DriverError> {
    let call = rig.call(vm, step, spec.identity.generation.0);
    rig.run(Migrate::begin(&*rig.kvm, &rig.site, &call, spec, &other.site, &[]))
}

pub(crate) fn poll(
    rig: &Rig,
    vm: &Vm,
    step: u64,
    generation: u64,
) -> Result<JobStatus, DriverError> {
    rig.run(Migrate::poll(&*rig.kvm, &rig.site, &rig.call(vm, step, generation)))
}

pub(crate) fn abort(rig: &Rig, vm: &Vm, step: u64, generation: u64) -> Result<(), DriverError> {
    rig.run(Migrate::abort(&*rig.kvm, &rig.site, &rig.call(vm, step, generation)))
}

/// Polls until the job has ended.
#[track_caller]
pub(crate) fn end_of(
    rig: &Rig,
    vm: &Vm,
    step: u64,
    generation: u64,
) -> Result<Outcome, DriverError> {
    wait_until("the migration to end", SOON, || match poll(rig, vm, step, generation) {
        Ok(JobStatus::Pending(progress)) => Err(format!("{progress:?}")),
        Ok(JobStatus::Done(outcome)) => Ok(Ok(outcome)),
        Err(error) => Ok(Err(error)),
    })
}

pub(crate) fn there(rig: &Rig, vm: &Vm, other: &Other) -> Observation {
    rig.run(rig.kvm.observe(&other.site, vm.uuid)).expect("asked")
}

pub(crate) fn here(rig: &Rig, vm: &Vm) -> Observation {
    rig.observe(vm).expect("asked")
}

/// Makes a guest that counts. So little of its memory is sent per second that a migration takes a
/// while.
pub(crate) fn slow_guest(rig: &Rig) -> Vm {
    let mut vm = rig.vm(&["vt.tick=0.1"]);
    rig.deploy(&vm, 1, 1).expect("deploys");
    vm.console.wait_for("TICK 3 ", BOOT);
    rig.host.virsh(&["migrate-setspeed", &vm.name, "1"]).expect("slowed down");
    vm
}

pub(crate) fn speed_up(rig: &Rig, vm: &Vm) {
    rig.host.virsh(&["migrate-setspeed", &vm.name, "1000"]).expect("at full speed again");
}

/// Begins a migration that takes a while, and waits until memory is being sent.
#[track_caller]
pub(crate) fn begin_slowly(
    rig: &Rig,
    vm: &Vm,
    step: u64,
    spec: &DomainSpec,
    other: &Other,
) -> Progress {
    let begun = begin(rig, vm, step, spec, other).expect("begins");
    assert!(matches!(begun, JobStatus::Pending(_)), "{begun:?}");
    wait_until("memory to be on its way", SOON, || {
        match poll(rig, vm, step, spec.identity.generation.0) {
            Ok(JobStatus::Pending(progress)) if progress.done > 0 => Ok(progress),
            other => Err(format!("{other:?}")),
        }
    })
}

#[track_caller]
fn count(line: &str) -> u32 {
    line.split(' ')
        .nth(1)
        .and_then(|n| n.parse().ok())
        .unwrap_or_else(|| panic!("no count: {line}"))
}

/// Checks that the guest runs there under `generation`, has counted on, and is no longer here.
#[track_caller]
pub(crate) fn has_moved(rig: &Rig, vm: &Vm, other: &Other, generation: u64) {
    let Observation::Present(seen) = there(rig, vm, other) else { panic!("it is not there") };
    assert_eq!(
        (seen.power, seen.identity.map(|identity| identity.generation)),
        (Power::Running, Some(Generation(generation)))
    );
    assert_eq!(here(rig, vm), Observation::Absent);
    let mut console = SerialLog::new(rig.file(&format!("{}.there", vm.name)).absolute);
    assert!(count(&console.wait_for("TICK", SOON)) > 3, "its memory came along");
    assert!(!console.contents().contains("GUEST-READY"), "it did not boot there");
    let defined =
        other.host.virsh(&["dumpxml", "--inactive", &vm.name]).expect("it is defined there");
    assert!(
        defined.contains(&format!("generation=\"{generation}\"")) && defined.contains(".there"),
        "{defined}"
    );
}

#[track_caller]
pub(crate) fn has_stayed(rig: &Rig, vm: &mut Vm, other: &Other) {
    assert_eq!(there(rig, vm, other), Observation::Absent);
    rig.wait_for(vm, Power::Running, ostler_model::PowerReason::None);
    vm.console.skip_to_end();
    vm.console.wait_for("TICK", SOON);
}

#[test]
fn a_running_guest_moves_with_its_memory_and_is_stamped_before_it_runs_there() {
    if !lab::require_libvirt() {
        return;
    }
    let (rig, other) = Rig::pair("move");
    let vm = slow_guest(&rig);
    let spec = placed(&rig, &vm, 2);
    let progress = begin_slowly(&rig, &vm, 2, &spec, &other);
    assert!(progress.total > 90 << 20 && progress.done < progress.total, "{progress:?}");
    let again = begin(&rig, &vm, 2, &spec, &other).expect("the same again");
    assert!(matches!(again, JobStatus::Pending(_)), "it is attached to: {again:?}");
    // The domain exists there already: it is paused and has the new generation. Here it runs with
    // the old one.
    let Observation::Present(coming) = there(&rig, &vm, &other) else { panic!("it is not there") };
    assert_eq!((coming.power, coming.identity), (Power::Paused, Some(spec.identity)));
    let Observation::Present(going) = here(&rig, &vm) else { panic!("it is not here") };
    assert_eq!(
        (going.power, going.identity.map(|identity| identity.generation)),
        (Power::Running, Some(Generation(1)))
    );
    // A call of another step is refused meanwhile.
    assert_eq!(refusal(begin(&rig, &vm, 3, &spec, &other)), (ErrorKind::Retry, "busy".to_owned()));

    speed_up(&rig, &vm);
    let arrived = seen(end_of(&rig, &vm, 2, 2));
    assert_eq!((arrived.power, arrived.identity), (Power::Running, Some(spec.identity)));
    has_moved(&rig, &vm, &other, 2);
    for _ in 0..2 {
        assert_eq!(seen(end_of(&rig, &vm, 2, 2)), arrived, "asked again");
        let done = begin(&rig, &vm, 2, &spec, &other).expect("the same again");
        assert!(matches!(&done, JobStatus::Done(_)), "{done:?}");
    }
    assert_eq!(refusal(abort(&rig, &vm, 2, 2)).0, ErrorKind::Unknown, "too late");
    has_moved(&rig, &vm, &other, 2);
    // A call of an older placement may not touch anything.
    let old = begin(&rig, &vm, 1, &placed(&rig, &vm, 1), &other);
    assert_eq!(refusal(old), (ErrorKind::Stale, "stale".to_owned()));
}

#[test]
fn a_migration_that_is_stopped_leaves_the_guest_running_and_can_be_begun_again() {
    if !lab::require_libvirt() {
        return;
    }
    let (mut rig, other) = Rig::pair("stop");
    let mut vm = slow_guest(&rig);
    let spec = placed(&rig, &vm, 2);
    begin_slowly(&rig, &vm, 2, &spec, &other);
    abort(&rig, &vm, 2, 2).expect("stops");
    abort(&rig, &vm, 2, 2).expect("nothing is at work");
    assert_eq!(refusal(poll(&rig, &vm, 2, 2)), (ErrorKind::Cancelled, "aborted".to_owned()));
    has_stayed(&rig, &mut vm, &other);

    // A daemon that was restarted stops the migration.
    begin_slowly(&rig, &vm, 3, &spec, &other);
    rig.forget();
    assert_eq!(refusal(poll(&rig, &vm, 3, 2)).0, ErrorKind::Gone);
    abort(&rig, &vm, 4, 2).expect("another identity has nothing at work");
    let Observation::Present(_) = there(&rig, &vm, &other) else {
        panic!("another identity stopped it")
    };
    abort(&rig, &vm, 3, 2).expect("stops");
    has_stayed(&rig, &mut vm, &other);

    speed_up(&rig, &vm);
    begin(&rig, &vm, 5, &spec, &other).expect("begins");
    end_of(&rig, &vm, 5, 2).expect("moves");
    has_moved(&rig, &vm, &other, 2);
}

#[test]
fn a_migration_outlives_whoever_asked_for_it() {
    if !lab::require_libvirt() {
        return;
    }
    let (mut rig, other) = Rig::pair("outlive");
    let vm = slow_guest(&rig);
    let spec = placed(&rig, &vm, 2);
    begin_slowly(&rig, &vm, 2, &spec, &other);
    rig.forget();
    assert_eq!(refusal(poll(&rig, &vm, 2, 2)), (ErrorKind::Gone, "no-job".to_owned()));
    let attached = begin_slowly(&rig, &vm, 2, &spec, &other);
    assert!(attached.total > 0);
    speed_up(&rig, &vm);
    end_of(&rig, &vm, 2, 2).expect("moves");
    has_moved(&rig, &vm, &other, 2);
    // A migration has ended while no daemon looked.
    rig.forget();
    let done = begin(&rig, &vm, 2, &spec, &other).expect("finds it");
    assert!(matches!(&done, JobStatus::Done(_)), "{done:?}");
}

#[test]
fn a_daemon_that_dies_on_either_side_leaves_the_guest_running_here() {
    if !lab::require_libvirt() {
        return;
    }
    let (rig, other) = Rig::pair("dies");
    let mut vm = slow_guest(&rig);
    let spec = placed(&rig, &vm, 2);
    for (step, host) in [(2, &rig.host), (3, &other.host)] {
        begin_slowly(&rig, &vm, step, &spec, &other);
        host.kill_daemon();
        let error = end_of(&rig, &vm, step, 2).expect_err("it was interrupted");
        assert_ne!(error.kind, ErrorKind::Gone, "{error}");
        wait_until("a decision", SOON * 3, || match begin(&rig, &vm, step + 10, &spec, &other) {
            Ok(JobStatus::Pending(_)) => Ok(()),
            other => Err(format!("{other:?}")),
        });
        abort(&rig, &vm, step + 10, 2).expect("stops");
        has_stayed(&rig, &mut vm, &other);
        rig.host.virsh(&["migrate-setspeed", &vm.name, "1"]).expect("slowed down");
    }
    speed_up(&rig, &vm);
    begin(&rig, &vm, 20, &spec, &other).expect("begins");
    end_of(&rig, &vm, 20, 2).expect("moves");
    has_moved(&rig, &vm, &other, 2);
}

#[test]
fn what_cannot_move_says_why_and_runs_on() {
    if !lab::require_libvirt() {
        return;
    }
    let (rig, mut other) = Rig::pair("cannot");
    let mut vm = rig.vm(&["vt.tick=0.1"]);
    let spec = placed(&rig, &vm, 2);
    assert_eq!(
        refusal(begin(&rig, &vm, 2, &spec, &other)),
        (ErrorKind::Gone, "no-domain".to_owned())
    );
    rig.deploy(&vm, 1, 1).expect("deploys");
    vm.console.wait_for("TICK 3 ", BOOT);

    let call = rig.call(&vm, 2, 2);
    let home = rig.run(Migrate::begin(&*rig.kvm, &rig.site, &call, &spec, &rig.site, &[]));
    assert_eq!(refusal(home), (ErrorKind::Refused, "same-host".to_owned()));
    let uri = other.site.config.remove("migrate-uri").expect("set");
    assert_eq!(
        refusal(begin(&rig, &vm, 2, &spec, &other)),
        (ErrorKind::Refused, "no-migrate-uri".to_owned())
    );
    other.site.config.insert("migrate-uri".to_owned(), "qemu+tcp://10.77.0.199/system".to_owned());
    let nobody = begin(&rig, &vm, 2, &spec, &other)
        .and_then(|_| end_of(&rig, &vm, 2, 2).map(JobStatus::Done));
    assert!(
        matches!(refusal(nobody).0, ErrorKind::NotHere | ErrorKind::Retry),
        "nobody answers there"
    );
    other.site.config.insert("migrate-uri".to_owned(), uri);

    let mut read_only = spec.clone();
    read_only.disks[0].read_only = true;
    let disks = ["vda".parse().expect("valid")];
    let sent =
        rig.run(Migrate::begin(&*rig.kvm, &rig.site, &call, &read_only, &other.site, &disks));
    assert_eq!(refusal(sent), (ErrorKind::Refused, "read-only-disk".to_owned()));

    rig.host.virsh(&["suspend", &vm.name]).expect("suspended");
    assert_eq!(
        refusal(begin(&rig, &vm, 3, &spec, &other)),
        (ErrorKind::Refused, "paused".to_owned())
    );
    rig.host.virsh(&["resume", &vm.name]).expect("resumed");
    rig.host.virsh(&["snapshot-create-as", &vm.name, "one"]).expect("a snapshot");
    assert_eq!(
        refusal(begin(&rig, &vm, 2, &spec, &other)),
        (ErrorKind::Refused, "has-snapshots".to_owned())
    );
    rig.host.virsh(&["snapshot-delete", &vm.name, "one"]).expect("deleted");
    // The destination does not have the file.
    let mut elsewhere = spec.clone();
    elsewhere.disks[0].file.absolute.push_str(".not-there");
    let failed = begin(&rig, &vm, 2, &elsewhere, &other)
        .and_then(|_| end_of(&rig, &vm, 2, 2).map(JobStatus::Done));
    assert_eq!(refusal(failed).0, ErrorKind::NotHere);
    has_stayed(&rig, &mut vm, &other);
    assert_eq!(
        refusal(begin(&rig, &vm, 2, &placed(&rig, &vm, 0), &other)),
        (ErrorKind::Stale, "stale".to_owned())
    );
    begin(&rig, &vm, 2, &spec, &other).expect("begins");
    end_of(&rig, &vm, 2, 2).expect("moves after all");
    has_moved(&rig, &vm, &other, 2);
}

#[test]
fn a_disk_that_is_not_shared_moves_along() {
    if !lab::require_libvirt() {
        return;
    }
    let (rig, other) = Rig::pair("disks");
    let mut vm = rig.vm(&["vt.tick=0.1", "vt.mark=moved"]);
    rig.deploy(&vm, 1, 1).expect("deploys");
    vm.console.wait_for("TICK 3 ", BOOT);
    let mut spec = placed(&rig, &vm, 2);
    let target = other.host.dir().join("vda.qcow2").to_string_lossy().into_owned();
    let made = Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", &target, "64M"])
        .status()
        .expect("qemu-img runs");
    assert!(made.success());
    spec.disks[0].file.absolute.clone_from(&target);
    let disks = ["vda".parse().expect("valid")];
    let call = rig.call(&vm, 2, 2);
    rig.run(Migrate::begin(&*rig.kvm, &rig.site, &call, &spec, &other.site, &disks))
        .expect("begins");
    end_of(&rig, &vm, 2, 2).expect("moves");
    has_moved(&rig, &vm, &other, 2);
    std::fs::remove_file(&vm.disk).expect("the old disk is not needed");
    // The guest boots from the disk that was moved.
    rig.run(rig.kvm.reset(&other.site, &rig.call(&vm, 3, 2))).expect("reset");
    let mut console = SerialLog::new(rig.file(&format!("{}.there", vm.name)).absolute);
    console.wait_for("DISK-MARK moved", BOOT);
}

#[test]
fn what_is_removed_at_one_side_of_a_move_is_never_the_guest_of_the_other() {
    if !lab::require_libvirt() {
        return;
    }
    let rig = Rig::up("alias");
    let vm = rig.vm(&[]);
    rig.deploy(&vm, 1, 1).expect("deploys");
    let id = rig.host.virsh(&["domid", &vm.name]).expect("it runs");
    // This host plays the other host of the move, under another name.
    let mut call = rig.call(&vm, 2, 2);
    call.context.spares = Some(Generation(1));
    let removed = rig.run(rig.kvm.remove(&rig.site, &call)).expect("nothing of this side is here");
    assert_eq!(removed.seen, Some(Observation::Absent));
    assert_eq!(rig.host.virsh(&["domid", &vm.name]).expect("it runs"), id, "it was not touched");
    call.context.spares = Some(Generation(2));
    assert_eq!(
        rig.run(rig.kvm.remove(&rig.site, &call)).expect("removes").seen,
        Some(Observation::Absent)
    );
}

#[test]
fn a_daemon_has_one_identity_by_every_way_to_it() {
    if !lab::require_libvirt() {
        return;
    }
    let (rig, other) = Rig::pair("identity");
    let identity =
        |site: &ostler_driver::Site| rig.run(rig.kvm.probe(site)).expect("probed").identity;
    let mut by_network = rig.site.clone();
    by_network.config.insert("uri".to_owned(), rig.host.network_uri());
    assert!(identity(&rig.site).is_some());
    assert_eq!(identity(&rig.site), identity(&by_network));
    assert_ne!(identity(&rig.site), identity(&other.site));
}
