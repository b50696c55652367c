//! The lab proves itself: a real guest boots, obeys, remembers its disk, survives what it must, and nothing stays behind.

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ostler_tests::lab::{self, Lab, LibvirtHost, SerialLog};
use ostler_tests::wait::wait_until;

const BOOT: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(20);

/// Defines a guest with a copy of the base disk; returns its console.
fn define(host: &LibvirtHost, name: &str, disk: &Path, flags: &[&str]) -> SerialLog {
    let guest = Lab::guest();
    let console = host.dir().join(format!("{name}.console"));
    let file = host.dir().join(format!("{name}.xml"));
    if !disk.exists() {
        fs::copy(&guest.base_disk, disk).expect("a copy of the base disk");
    }
    let xml = format!(
        "<domain type='{kind}'><name>{name}</name><memory unit='MiB'>96</memory><vcpu>1</vcpu>
           <os><type arch='x86_64' machine='q35'>hvm</type><kernel>{kernel}</kernel><initrd>{initrd}</initrd>
             <cmdline>{line}</cmdline></os>
           <features><acpi/><apic/></features>
           <on_crash>preserve</on_crash>
           <devices>
             <controller type='usb' model='none'/>
             <disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='none'/>
               <source file='{disk}'/><target dev='vda' bus='virtio'/></disk>
             <serial type='pty'><log file='{console}' append='on'/><target port='0'/></serial>
           </devices></domain>",
        kind = host.domain_type(),
        kernel = guest.kernel.display(),
        initrd = guest.initrd.display(),
        line = guest.command_line(flags),
        disk = disk.display(),
        console = console.display(),
    );
    fs::write(&file, xml).expect("the domain's XML");
    host.virsh(&["define", &file.to_string_lossy()]).expect("define");
    SerialLog::new(console)
}

fn wait_state(host: &LibvirtHost, name: &str, wanted: &str) {
    wait_until(&format!("{name} to be {wanted}"), SOON, || {
        let state = host.virsh(&["domstate", name, "--reason"])?;
        if state.trim().starts_with(wanted) { Ok(()) } else { Err(state) }
    });
}

/// Processes that see a mount of this folder: the ones inside a host, for it binds its folders over libvirt's.
fn processes_of(dir: &Path) -> Vec<PathBuf> {
    let needle = dir.to_string_lossy().into_owned();
    let processes = fs::read_dir("/proc").expect("/proc").filter_map(Result::ok).map(|entry| entry.path());
    processes.filter(|path| fs::read_to_string(path.join("mountinfo")).is_ok_and(|text| text.contains(&needle))).collect()
}

#[test]
fn a_guest_boots_obeys_the_power_button_and_keeps_its_disk() {
    if !lab::require_libvirt() {
        return;
    }
    let host = LibvirtHost::up("boot");
    let disk = host.dir().join("g.qcow2");
    let mut console = define(&host, "g", &disk, &["vt.mark=first"]);
    host.virsh(&["start", "g"]).expect("start");
    console.wait_for("DISK-MARK base", BOOT);
    console.wait_for("DISK-MARKED first", SOON);
    console.wait_for("GUEST-READY", SOON);
    host.virsh(&["shutdown", "g"]).expect("shutdown");
    console.wait_for("ACPI-POWER-BUTTON", SOON);
    wait_state(&host, "g", "shut off (shutdown)");

    host.virsh(&["undefine", "g"]).expect("undefine");
    let mut console = define(&host, "g", &disk, &["vt.noacpi", "vt.selfoff=1"]);
    console.skip_to_end();
    host.virsh(&["start", "g"]).expect("start again");
    console.wait_for("DISK-MARK first", BOOT);
    console.wait_for("SELF-OFF", BOOT);
    wait_state(&host, "g", "shut off (shutdown)");

    let dir = host.dir().to_owned();
    assert!(!processes_of(&dir).is_empty(), "the search for processes finds those of a running host");
    drop(host);
    assert_eq!(processes_of(&dir), Vec::<PathBuf>::new());
    assert!(!dir.exists() || std::env::var_os("OSTLER_LAB_KEEP").is_some());
}

#[test]
fn a_guest_runs_on_without_its_daemon_and_not_without_its_host() {
    if !lab::require_libvirt() {
        return;
    }
    let mut host = LibvirtHost::up("faults");
    let mut console = define(&host, "g", &host.dir().join("g.qcow2"), &["vt.tick=0.1"]);
    host.virsh(&["start", "g"]).expect("start");
    console.wait_for("GUEST-READY", BOOT);

    host.stop_daemon();
    host.virsh(&["list"]).expect_err("nobody answers");
    console.skip_to_end();
    console.wait_for("TICK", SOON);
    host.start_daemon();
    wait_state(&host, "g", "running");

    host.kill_daemon();
    console.skip_to_end();
    console.wait_for("TICK", SOON);
    wait_state(&host, "g", "running");

    host.kill_qemu("g");
    wait_state(&host, "g", "shut off (crashed)");

    host.virsh(&["start", "g"]).expect("start again");
    host.power_off();
    assert_eq!(processes_of(host.dir()), Vec::<PathBuf>::new());
    host.power_on();
    wait_state(&host, "g", "shut off");
}

#[test]
fn a_guest_moves_between_two_hosts_and_remembers() {
    if !lab::require_libvirt() {
        return;
    }
    let (from, to) = (LibvirtHost::up_on_network("from"), LibvirtHost::up_on_network("to"));
    let mut console = define(&from, "g", &from.dir().join("g.qcow2"), &["vt.tick=0.2"]);
    from.virsh(&["start", "g"]).expect("start");
    console.wait_for("TICK 5 ", BOOT);
    from.virsh(&["migrate", "--live", "--unsafe", "--persistent", "--undefinesource", "g", to.uri()]).expect("migrate");
    wait_state(&to, "g", "running");
    from.virsh(&["domstate", "g"]).expect_err("it is no longer there");
    console.skip_to_end();
    let tick = console.wait_for("TICK", SOON);
    let count: u32 = tick.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("a count");
    assert!(count > 5, "memory came along: {tick}");
}

#[test]
fn a_failing_test_leaves_nothing_behind() {
    if !lab::require_libvirt() {
        return;
    }
    let mut dir = PathBuf::new();
    let failure = panic::catch_unwind(AssertUnwindSafe(|| {
        let host = LibvirtHost::up("fail");
        dir = host.dir().to_owned();
        panic!("on purpose");
    }));
    assert!(failure.is_err() && dir.is_absolute());
    assert_eq!(processes_of(&dir), Vec::<PathBuf>::new());
}
