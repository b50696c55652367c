//! Guests are changed while they run: plugged, resized, snapshotted, saved as images, adopted. With
//! real libvirt and QEMU. The guest confirms each change on its serial console.

use ostler_api::CreateVm;
use ostler_tests::kvm::{BOOT, Kvm, SOON, Storage, ticks};
use ostler_tests::lab::Lab;
use ostler_tests::wait::wait_until;
use serde_json::Value;
use std::path::Path;

fn names(shown: &Value, what: &str) -> Vec<String> {
    let list = shown[what].as_array().cloned().unwrap_or_default();
    list.iter().filter_map(|entry| entry["name"].as_str().map(str::to_owned)).collect()
}

#[test]
fn a_guest_sees_disks_and_cards_come_and_go() {
    let Some(kvm) = Kvm::up(1, Storage::Shared, &[]) else { return };
    let vm = kvm.guest("plugged", &["vt.tick=0.5"], "");
    let mut console = kvm.console(&vm);
    console.skip_to_end();
    kvm.vm(&["disk-attach", &vm, "--blank", "16MiB"]);
    console.wait_for("DISK+ vdb", SOON);
    assert_eq!(names(&kvm.show(&vm), "disks"), ["vda", "vdb"]);
    kvm.vm(&["disk-attach", &vm, "--image", "base", "--name", "vdc"]);
    console.wait_for("DISK+ vdc", SOON);
    kvm.vm(&["disk-detach", &vm, "vdb"]);
    console.wait_for("DISK- vdb", SOON);
    assert_eq!(names(&kvm.show(&vm), "disks"), ["vda", "vdc"]);
    kvm.vm(&["nic-attach", &vm, "--bridge", "br0"]);
    let nic = console.wait_for("NIC+ eth", SOON);
    let mac = kvm.show(&vm)["nics"][0]["mac"].as_str().expect("an address").to_owned();
    assert!(nic.contains(&mac), "{nic} is not {mac}");
    // All devices must still be there after a stop and a start.
    kvm.vm(&["poweroff", &vm]);
    kvm.vm(&["disk-attach", &vm, "--blank", "8MiB", "--name", "vdd"]);
    assert_eq!(kvm.state(&vm), "poweroff");
    kvm.vm(&["resume", &vm]);
    // The guest names its devices itself at boot, in order: three disks and a card.
    let mut console = kvm.console(&vm);
    console.wait_for("disks=vda,vdb,vdc, nics=eth0,", BOOT);
    console.skip_to_end();
    kvm.vm(&["nic-detach", &vm, &mac]);
    console.wait_for("NIC- eth", SOON);
    let refused = kvm.refused(&["vm", "nic-detach", &vm, &mac]);
    assert!(refused.contains(&mac), "{refused}");
    kvm.ends_without_a_trace(&vm);
}

#[test]
fn a_guest_grows_while_it_runs() {
    let Some(kvm) = Kvm::up(1, Storage::Shared, &[]) else { return };
    let vm = kvm.guest("grower", &[], "headroom = { vcpus = 3, memory = \"160MiB\" }\n");
    let mut console = kvm.console(&vm);
    console.skip_to_end();
    if kvm.hosts[0].domain_type() == "kvm" {
        kvm.vm(&["resize", &vm, "--vcpus", "2"]);
        console.wait_for("CPUS 2", SOON);
    } else {
        // Under emulation QEMU may end a guest that gets a CPU. So the driver refuses, and nothing
        // is changed.
        let refused = kvm.refused(&["vm", "resize", &vm, "--vcpus", "2"]);
        assert!(refused.contains("emulated"), "{refused}");
        assert_eq!(
            (kvm.state(&vm).as_str(), kvm.show(&vm)["spec"]["vcpus"].as_u64()),
            ("running", Some(1))
        );
    }
    kvm.vm(&["resize", &vm, "--memory", "140MiB"]);
    console.wait_for("MEMORY kb=1", SOON);
    let refused = kvm.refused(&["vm", "resize", &vm, "--memory", "1GiB"]);
    assert!(refused.contains("160 MiB"), "{refused}");
    kvm.vm(&["poweroff", &vm, "--hard"]);
    kvm.vm(&["resize", &vm, "--vcpus", "2", "--memory", "112MiB"]);
    let mut console = kvm.console(&vm);
    console.skip_to_end();
    kvm.vm(&["resume", &vm]);
    console.wait_for("cpus=2 ", BOOT);
    kvm.ends_without_a_trace(&vm);
}

#[test]
fn a_guest_goes_back_to_a_snapshot() {
    let Some(kvm) = Kvm::up(1, Storage::Shared, &[]) else { return };
    let vm = kvm.guest("traveller", &["vt.tick=0.2"], "");
    let mut console = kvm.console(&vm);
    console.wait_for("TICK 5 ", SOON);
    kvm.vm(&["snapshot-create", &vm, "before"]);
    let then = ticks(&console);
    console.wait_for(&format!("TICK {} ", then + 15), SOON);
    kvm.vm(&["snapshot-revert", &vm, "before"]);
    console.skip_to_end();
    // The guest soon counts numbers again that it has counted before.
    let again = console.wait_for("TICK ", SOON);
    let number: u64 = again
        .split("TICK ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next())
        .and_then(|n| n.parse().ok())
        .expect("a number");
    assert!(number < then + 12, "it went on from {number}, and the snapshot was of about {then}");
    assert_eq!(kvm.state(&vm), "running");
    // The snapshot came back with the right generation, so another snapshot can be made.
    kvm.vm(&["snapshot-create", &vm, "second"]);
    assert_eq!(kvm.show(&vm)["snapshots"].as_array().map(Vec::len), Some(2));
    kvm.vm(&["snapshot-delete", &vm, "second"]);
    let told = kvm.vm(&["poweroff", &vm, "--hard", "--dry-run"]);
    assert!(told.contains("snap"), "what becomes of the snapshot is told before: {told}");
    assert_eq!(kvm.show(&vm)["snapshots"].as_array().map(Vec::len), Some(1));
    kvm.vm(&["poweroff", &vm, "--hard"]);
    assert_eq!(
        kvm.show(&vm)["snapshots"].as_array().map(Vec::len).unwrap_or_default(),
        0,
        "as the rules say"
    );
    kvm.vm(&["resume", &vm]);
    kvm.console(&vm).wait_for("GUEST-READY", BOOT);
    // The rules are followed: a raw disk cannot hold a snapshot.
    kvm.vm(&["disk-attach", &vm, "--blank", "8MiB", "--format", "raw"]);
    let refused = kvm.refused(&["vm", "snapshot-create", &vm]);
    assert!(refused.contains("qcow2"), "{refused}");
    kvm.ends_without_a_trace(&vm);
}

#[test]
fn disks_become_images_that_can_be_deployed() {
    let Some(kvm) = Kvm::up(1, Storage::Shared, &[]) else { return };
    let vm = kvm.guest("maker", &["vt.mark=mine"], "");
    kvm.console(&vm).wait_for("DISK-MARKED mine", SOON);
    kvm.vm(&["disk-snapshot", &vm, "vda", "made-live", "--live"]);
    assert_eq!(kvm.state(&vm), "running");
    kvm.vm(&["disk-snapshot", &vm, "vda", "never"]);
    kvm.vm(&["disk-snapshot-cancel", &vm, "vda"]);
    kvm.vm(&["disk-snapshot", &vm, "vda", "made-later"]);
    let early =
        "name = \"early\"\nmemory = \"96MiB\"\n[[disks]]\nname = \"vda\"\nimage = \"made-later\"\n";
    let early = CreateVm { spec: toml::from_str(early).expect("a specification"), hold: true };
    let refused = kvm
        .run(kvm.daemon.client().create_vm(&early, None))
        .expect_err("the image is not made yet")
        .to_string();
    assert!(refused.contains("made-later") && refused.contains("not ready"), "{refused}");
    kvm.vm(&["shutdown", &vm]);
    assert_eq!(kvm.state(&vm), "done");
    for image in ["made-live", "made-later"] {
        let guest = Lab::guest();
        let spec = format!(
            "name = \"from-{image}\"\nmemory = \"96MiB\"\n[boot]\nkernel = \"images:vmlinux\"\ninitrd = \"images:initrd.img\"\ncmdline = \"{}\"\n\
             [[disks]]\nname = \"vda\"\nimage = \"{image}\"\n",
            guest.command_line(&[])
        );
        let made = kvm.run(ostler_tests::daemon::create(kvm.daemon.client(), &spec, false));
        kvm.rests(&made, "running", BOOT);
        kvm.console(&made).wait_for("DISK-MARK mine", BOOT);
        kvm.ends_without_a_trace(&made);
    }
}

/// The XML of a domain that somebody has made by hand.
fn domain(name: &str, kind: &str, images: &Path, disk: &Path, console: &Path) -> String {
    let command_line = Lab::guest().command_line(&["vt.tick=0.2"]);
    let (kernel, initrd) = (
        images.join("vmlinux").display().to_string(),
        images.join("initrd.img").display().to_string(),
    );
    let (disk, console) = (disk.display(), console.display());
    format!(
        "<domain type='{kind}'><name>{name}</name><memory \
         unit='MiB'>96</memory><vcpu>1</vcpu><os><type arch='x86_64' \
         machine='q35'>hvm</type><kernel>{kernel}</kernel><initrd>{initrd}</initrd><cmdline>{command_line}</cmdline></os><features><acpi/></features><devices><disk \
         type='file' device='disk'><driver name='qemu' type='qcow2'/><source \
         file='{disk}'/><target dev='vda' bus='virtio'/></disk><serial type='file'><source \
         path='{console}'/><target port='0'/></serial></devices></domain>"
    )
}

#[test]
fn a_domain_that_somebody_else_made_becomes_a_vm_and_is_not_restarted() {
    let Some(kvm) = Kvm::up(1, Storage::Shared, &[]) else { return };
    let guest = Lab::guest();
    let disk = kvm.hosts.store().join("legacy.qcow2");
    std::fs::copy(&guest.base_disk, &disk).expect("a copy");
    let console = kvm.hosts.store().join("legacy.log");
    // The domain is defined with virsh, as its owner would.
    let file = kvm.dir().join("legacy.xml");
    std::fs::write(
        &file,
        domain("legacy", &kvm.hosts[0].domain_type(), &kvm.dir().join("images"), &disk, &console),
    )
    .expect("a file");
    kvm.hosts[0].virsh(&["define", &file.display().to_string()]).expect("defined");
    kvm.hosts[0].virsh(&["start", "legacy"]).expect("started");
    let mut log = ostler_tests::lab::SerialLog::new(&console);
    log.wait_for("TICK 3 ", BOOT);
    let counted = ticks(&log);
    kvm.ostler(&["host", "adopt", "kvm1", "legacy"]);
    kvm.rests("legacy", "running", SOON);
    log.wait_for(&format!("TICK {} ", counted + 3), SOON);
    assert_eq!(log.contents().matches("TICK 0 ").count(), 1, "it was not restarted");
    kvm.vm(&["suspend", "legacy"]);
    let counted = ticks(&log);
    kvm.vm(&["resume", "legacy"]);
    let shown = kvm.show("legacy");
    let id = shown["id"].to_string();
    let log_now = ostler_tests::lab::SerialLog::new(&console);
    wait_until("it to count on", SOON, || {
        let texts = [log_now.contents(), kvm.console(&id).contents()];
        texts.iter().any(|text| text.contains(&format!("TICK {} ", counted + 2)))
    });
    kvm.vm(&["delete", "legacy"]);
    assert!(kvm.all_domains().is_empty());
    assert!(disk.exists(), "its disk was somebody else's, and still is");
}

/// Defines a domain of somebody else's that is off. Answers its disk.
fn defined(kvm: &Kvm, name: &str, change: impl Fn(String) -> String) -> std::path::PathBuf {
    let disk = kvm.hosts.store().join(format!("{name}.qcow2"));
    std::fs::copy(&Lab::guest().base_disk, &disk).expect("a copy");
    let console = kvm.hosts.store().join(format!("{name}.log"));
    let xml = domain(name, &kvm.hosts[0].domain_type(), &kvm.dir().join("images"), &disk, &console);
    let file = kvm.dir().join(format!("{name}.xml"));
    std::fs::write(&file, change(xml)).expect("a file");
    kvm.hosts[0].virsh(&["define", &file.display().to_string()]).expect("defined");
    disk
}

#[test]
fn a_domain_that_is_off_becomes_a_vm_too() {
    let Some(kvm) = Kvm::up(1, Storage::Shared, &[]) else { return };
    let disk = defined(&kvm, "sleeper", |xml| xml);
    let told = kvm.ostler(&["host", "adopt", "kvm1", "sleeper"]);
    assert!(told.contains("adopted from kvm1, poweroff"), "{told}");
    let id = kvm.rests("sleeper", "poweroff", SOON)["id"].to_string();
    kvm.vm(&["resume", "sleeper"]);
    kvm.console(&id).wait_for("GUEST-READY", BOOT);
    kvm.vm(&["delete", "sleeper"]);
    assert!(kvm.all_domains().is_empty() && disk.exists());
    kvm.books_are_right();
}

#[test]
fn a_domain_that_would_become_another_machine_is_adopted_only_on_somebodys_word() {
    let Some(kvm) = Kvm::up(1, Storage::Shared, &[]) else { return };
    let odd = |xml: String| {
        xml.replace("machine='q35'", "machine='pc'")
            .replace("<features>", "<clock offset='localtime'/><features>")
    };
    defined(&kvm, "odd", odd);
    let before = kvm.hosts[0].virsh(&["dumpxml", "odd"]).expect("dumped");
    let refused = kvm.refused(&["host", "adopt", "kvm1", "odd"]);
    for word in ["machine type pc-i440fx", "clock offset localtime", "--accept-changes"] {
        assert!(refused.contains(word), "{word}: {refused}");
    }
    let listed = kvm.ostler(&["host", "adopt", "kvm1", "odd", "--dry-run"]);
    assert!(
        listed.contains("machine type pc-i440fx") && listed.contains("clock offset localtime"),
        "{listed}"
    );
    assert!(!listed.contains("cache"), "only what would change: {listed}");
    assert_eq!(kvm.hosts[0].virsh(&["dumpxml", "odd"]).expect("dumped"), before, "it is as it was");
    kvm.ostler(&["host", "adopt", "kvm1", "odd", "--accept-changes"]);
    kvm.rests("odd", "poweroff", SOON);
    kvm.vm(&["delete", "odd"]);
    assert!(kvm.all_domains().is_empty());
}

#[test]
fn memory_that_libvirt_keeps_for_somebody_is_gone_on_from() {
    let Some(kvm) = Kvm::up(1, Storage::Shared, &[]) else { return };
    let vm = kvm.guest("kept", &["vt.tick=0.2"], "");
    let mut console = kvm.console(&vm);
    console.wait_for("TICK 3 ", SOON);
    let name = kvm.domains(0).remove(0);
    kvm.hosts[0].virsh(&["managedsave", &name]).expect("saved");
    let shown = kvm.rests(&vm, "poweroff", SOON);
    assert_eq!(shown["reason"], "saved-outside");
    let counted = ticks(&console);
    kvm.vm(&["resume", &vm]);
    wait_until("the guest to count on", SOON, || {
        if ticks(&console) > counted { Ok(()) } else { Err(ticks(&console)) }
    });
    assert_eq!(console.contents().matches("GUEST-READY").count(), 1, "it has not booted again");
    // Somebody renames the domain while it is off. It gets its own name back at the next start.
    kvm.vm(&["poweroff", &vm, "--hard"]);
    kvm.hosts[0].virsh(&["domrename", &name, "other"]).expect("renamed");
    kvm.vm(&["resume", &vm]);
    assert_eq!(kvm.domains(0), [name]);
    kvm.ends_without_a_trace(&vm);
}

#[test]
fn a_bridge_that_is_not_there_is_named() {
    let Some(kvm) = Kvm::up(1, Storage::Shared, &[]) else { return };
    let vm = kvm.guest("carded", &[], "");
    let refused = kvm.refused(&["vm", "nic-attach", &vm, "--bridge", "br7"]);
    assert!(refused.contains("host kvm1 has no bridge br7"), "{refused}");
    // Refused before anything began, and not by the domain.
    let operations: Value =
        serde_json::from_str(&kvm.ostler(&["operation", "list", &vm, "-o", "json"])).expect("JSON");
    let verbs: Vec<&str> = operations
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| one["verb"].as_str())
        .collect();
    assert!(!verbs.is_empty() && !verbs.contains(&"nic-attach"), "{operations}");
    let spec = kvm.dir().join("lost.toml");
    std::fs::write(&spec, "name = \"lost\"\nmemory = \"64MiB\"\n[[nics]]\nbridge = \"br7\"\n")
        .expect("a file");
    let refused = kvm.refused(&["vm", "create", "-f", &spec.display().to_string()]);
    assert!(refused.contains("bridge br7 cannot be used: host kvm1 does not have it"), "{refused}");
    // A bridge that was made since is found.
    kvm.hosts[0].make_bridge("br7");
    kvm.vm(&["nic-attach", &vm, "--bridge", "br7"]);
    kvm.ends_without_a_trace(&vm);
}

#[test]
fn a_start_that_fails_is_explained_carried_on_and_taken_back() {
    let Some(kvm) = Kvm::up(1, Storage::Shared, &[]) else { return };
    let (kernel, away) = (kvm.dir().join("images/vmlinux"), kvm.dir().join("vmlinux.away"));
    // A missing kernel is refused at the creation, so it is removed afterwards.
    let vm = kvm.held("stumbler");
    std::fs::rename(&kernel, &away).expect("moved");
    kvm.vm(&["release", &vm]);
    kvm.rests(&vm, "failed", BOOT);
    let why = kvm.vm(&["why", &vm]);
    assert!(why.contains("vmlinux") && why.contains("recover --retry"), "{why}");
    // The step did not succeed, so this statement is refused.
    let lie = kvm.refused(&["vm", "recover", &vm, "--success"]);
    assert!(lie.contains("--force"), "{lie}");
    std::fs::rename(&away, &kernel).expect("moved back");
    kvm.vm(&["recover", &vm, "--retry"]);
    assert_eq!(kvm.state(&vm), "running");
    kvm.console(&vm).wait_for("GUEST-READY", BOOT);
    kvm.ends_without_a_trace(&vm);
    let other = kvm.held("returner");
    std::fs::rename(&kernel, &away).expect("moved");
    kvm.vm(&["release", &other]);
    kvm.rests(&other, "failed", BOOT);
    std::fs::rename(&away, &kernel).expect("moved back");
    // After the rollback the VM is pending, and the scheduler places it again. That is another
    // stay.
    kvm.vm(&["recover", &other, "--undo", "--no-wait"]);
    kvm.rests(&other, "running", BOOT);
    assert_eq!(kvm.show(&other)["history"].as_array().map(Vec::len), Some(2));
    kvm.ends_without_a_trace(&other);
}
