//! VMs move between real libvirt hosts, and hosts are lost. With the real daemon, the command line,
//! and guests that confirm.

use ostler_tests::daemon;
use ostler_tests::kvm::{BOOT, Kvm, SOON, Storage, ticks};
use ostler_tests::wait::wait_until;
use std::time::Duration;

/// How long it may take until a silent host is missed. libvirt's timeout and Ostler's take about a
/// minute and a half together.
const MISSED: Duration = Duration::from_secs(180);

/// Checks that the guest counts on from `counted` and has booted only once.
#[track_caller]
fn counts_on(kvm: &Kvm, vm: &str, counted: u64) {
    counts_past(kvm, vm, counted);
    let text = kvm.console(vm).contents();
    assert!(
        text.matches("TICK 0 ").count() <= 1 && text.matches("GUEST-READY").count() <= 1,
        "it has booted again:\n{text}"
    );
}

#[track_caller]
fn counts_past(kvm: &Kvm, vm: &str, counted: u64) {
    // If the hosts share nothing, the console's file on the new host begins there.
    let console = kvm.console(vm);
    wait_until(&format!("the guest to count past {counted}"), SOON, || {
        let text = console.contents();
        if text.contains("TICK ") && ticks(&console) >= counted + 3 {
            Ok(())
        } else {
            Err(text.len())
        }
    });
}

fn moves_live(storage: Storage) {
    let Some(kvm) = Kvm::up(2, storage, &[]) else { return };
    let vm = kvm.guest("mover", &["vt.tick=0.2"], "");
    let mut console = kvm.console(&vm);
    console.wait_for("TICK 5 ", SOON);
    let from = kvm.host_of(&vm);
    let to = 1 - from;
    let counted = ticks(&console);
    kvm.vm(&["migrate", &vm, &format!("kvm{}", to + 1), "--live"]);
    assert_eq!((kvm.state(&vm).as_str(), kvm.host_of(&vm)), ("running", to));
    assert_eq!((kvm.domains(from).len(), kvm.domains(to).len()), (0, 1));
    counts_on(&kvm, &vm, counted);
    if storage == Storage::Private {
        assert!(!kvm.folder(&vm, from).exists(), "nothing is left where it came from");
    }
    // The guest moves back, and has the same disk.
    let counted = ticks(&kvm.console(&vm));
    kvm.vm(&["migrate", &vm, &format!("kvm{}", from + 1), "--live"]);
    counts_on(&kvm, &vm, counted);
    let shown = kvm.show(&vm);
    assert_eq!(
        shown["history"].as_array().map(Vec::len),
        Some(3),
        "one entry a stay: {}",
        shown["history"]
    );
    kvm.ends_without_a_trace(&vm);
}

#[test]
fn a_running_guest_moves_over_shared_storage_and_counts_on() {
    moves_live(Storage::Shared);
}

#[test]
fn a_running_guest_moves_with_its_disk_and_counts_on() {
    moves_live(Storage::Private);
}

fn moves_cold(storage: Storage) {
    let Some(kvm) = Kvm::up(2, storage, &[]) else { return };
    let vm = kvm.guest("cold", &["vt.tick=0.2", "vt.mark=mine"], "");
    let from = kvm.host_of(&vm);
    let (here, there) = (format!("kvm{}", from + 1), format!("kvm{}", 2 - from));
    let mut console = kvm.console(&vm);
    console.wait_for("TICK 5 ", SOON);
    let counted = ticks(&console);
    kvm.vm(&["migrate", &vm, &there]);
    assert_eq!(kvm.host_of(&vm), 1 - from);
    counts_on(&kvm, &vm, counted);
    // A suspended VM moves with its memory.
    kvm.vm(&["suspend", &vm]);
    let counted = ticks(&kvm.console(&vm));
    kvm.vm(&["migrate", &vm, &here]);
    assert_eq!((kvm.state(&vm).as_str(), kvm.host_of(&vm)), ("suspended", from));
    assert!(kvm.all_domains().is_empty(), "{:?}", kvm.all_domains());
    kvm.vm(&["resume", &vm]);
    counts_on(&kvm, &vm, counted);
    // A VM that is powered off for the move boots on the other host from the same disk.
    kvm.vm(&["migrate", &vm, &there, "--poweroff"]);
    let mut console = kvm.console(&vm);
    console.wait_for("DISK-MARK mine", BOOT);
    kvm.vm(&["poweroff", &vm, "--hard"]);
    kvm.vm(&["migrate", &vm, &here]);
    assert_eq!((kvm.state(&vm).as_str(), kvm.host_of(&vm)), ("poweroff", from));
    kvm.vm(&["resume", &vm]);
    kvm.console(&vm).wait_for("DISK-MARK mine", BOOT);
    kvm.vm(&["migrate", &vm, &there, "--poweroff-hard"]);
    kvm.console(&vm).wait_for("DISK-MARK mine", BOOT);
    kvm.ends_without_a_trace(&vm);
}

#[test]
fn a_guest_moves_cold_over_shared_storage() {
    moves_cold(Storage::Shared);
}

#[test]
fn a_guest_moves_cold_with_its_files() {
    moves_cold(Storage::Private);
}

#[test]
fn a_host_that_loses_power_and_comes_back() {
    let Some(kvm) = Kvm::up(2, Storage::Shared, &[]) else { return };
    let vm = kvm.guest("unlucky", &["vt.tick=0.2"], "");
    let from = kvm.host_of(&vm);
    let there = format!("kvm{}", 2 - from);
    kvm.hosts[from].power_off();
    kvm.rests(&vm, "unknown", MISSED);
    // Nobody has stated that the host is off, so the VM is not started elsewhere.
    let refused = kvm.refused(&["vm", "migrate", &vm, &there]);
    assert!(refused.contains("--fenced"), "{refused}");
    kvm.vm(&["migrate", &vm, &there, "--fenced"]);
    assert_eq!((kvm.state(&vm).as_str(), kvm.host_of(&vm)), ("running", 1 - from));
    kvm.console(&vm).wait_for("GUEST-READY", BOOT);
    // The host comes back. The old domain is still defined there and must be removed. The new one
    // keeps running.
    let counted = ticks(&kvm.console(&vm));
    kvm.hosts[from].power_on();
    wait_until("the old domain to be put away", MISSED, || {
        if kvm.domains(from).is_empty() { Ok(()) } else { Err(kvm.domains(from)) }
    });
    counts_past(&kvm, &vm, counted);
    wait_until("nothing to be left over", SOON, || {
        let left = kvm.show(&vm)["leftovers"].clone();
        if left.as_array().is_none_or(Vec::is_empty) { Ok(()) } else { Err(left) }
    });
    kvm.ends_without_a_trace(&vm);
}

#[test]
fn a_host_that_is_cut_off_runs_on_and_is_seen_again() {
    let Some(kvm) = Kvm::up(2, Storage::Shared, &[]) else { return };
    let vm = kvm.guest("islander", &["vt.tick=0.2"], "");
    let from = kvm.host_of(&vm);
    let counted = ticks(&kvm.console(&vm));
    kvm.hosts[from].cut();
    let shown = kvm.rests(&vm, "unknown", MISSED);
    assert_eq!(shown["reason"], "cannot-ask");
    let why = kvm.vm(&["why", &vm]);
    assert!(why.contains("host"), "{why}");
    counts_on(&kvm, &vm, counted);
    kvm.hosts[from].mend();
    kvm.rests(&vm, "running", MISSED);
    counts_on(&kvm, &vm, counted);
    assert_eq!(kvm.all_domains().len(), 1);
    kvm.ends_without_a_trace(&vm);
}

#[test]
fn a_vm_of_a_host_that_is_lost_is_forgotten_and_swept_when_it_is_back() {
    let Some(kvm) = Kvm::up(2, Storage::Private, &[]) else { return };
    let vm = kvm.guest("forgotten", &[], "");
    let from = kvm.host_of(&vm);
    let refused = kvm.refused(&["vm", "forget", &vm]);
    assert!(refused.contains("answers"), "{refused}");
    let folder = kvm.folder(&vm, from);
    kvm.hosts[from].cut();
    kvm.rests(&vm, "unknown", MISSED);
    kvm.vm(&["forget", &vm]);
    assert_eq!(kvm.state(&vm), "done");
    assert_eq!(kvm.domains(from).len(), 1, "nobody could end it");
    kvm.hosts[from].mend();
    wait_until("all of it to be swept", MISSED, || {
        let left = (kvm.domains(from), folder.exists());
        if left.0.is_empty() && !left.1 { Ok(()) } else { Err(left) }
    });
    kvm.books_are_right();
}

#[test]
fn the_scheduler_moves_what_is_to_be_elsewhere() {
    let Some(kvm) = Kvm::up(2, Storage::Shared, &[]) else { return };
    let vm = kvm.guest("sent-away", &["vt.tick=0.2"], "");
    let from = kvm.host_of(&vm);
    let counted = ticks(&kvm.console(&vm));
    kvm.vm(&["resched", &vm]);
    wait_until("it to be on the other host", SOON, || {
        let shown = kvm.show(&vm);
        shown["operation"].is_null() && shown["state"] == "running" && kvm.host_of(&vm) != from
    });
    counts_on(&kvm, &vm, counted);
    kvm.ends_without_a_trace(&vm);
}

#[test]
fn the_daemon_is_killed_in_the_middle_of_moves() {
    let Some(mut kvm) = Kvm::up(2, Storage::Shared, &[]) else { return };
    let vm = kvm.guest("survivor", &["vt.tick=0.2"], "");
    for (round, mode) in
        ["--live", "--live", "--live", "", "", "--poweroff-hard"].iter().enumerate()
    {
        let there = format!("kvm{}", 2 - kvm.host_of(&vm));
        let mut ask = vec!["migrate", &vm, &there, "--no-wait"];
        if !mode.is_empty() {
            ask.push(mode);
        }
        kvm.vm(&ask);
        let moment = Duration::from_millis(30 + 170 * round as u64);
        kvm.run(daemon::into_operation(kvm.daemon.client(), &vm, moment));
        kvm.daemon.kill();
        kvm.daemon.up();
        kvm.rests(&vm, "running", BOOT);
        assert_eq!(kvm.all_domains().len(), 1, "after a move {mode}: {:?}", kvm.all_domains());
        kvm.books_are_right();
    }
    kvm.console(&vm).wait_for("TICK ", SOON);
    kvm.ends_without_a_trace(&vm);
}
