//! Tests of the lab itself: a real guest boots, obeys, keeps its disk and survives accidents, and
//! no test leaves anything behind.

use std::fs;
use std::io::{self, Read};
use std::net::TcpStream;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ostler_tests::lab::{self, Hosts, Lab, LibvirtHost, SerialLog};
use ostler_tests::wait::wait_until;

const BOOT: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(20);

/// Defines the guest `g` with a copy of the base disk in a folder of the host. Returns its console.
fn define(host: &LibvirtHost, folder: &Path, flags: &[&str]) -> SerialLog {
    let guest = Lab::guest();
    let (disk, console) = (folder.join("g.qcow2"), folder.join("g.console"));
    if !host.on_machine(&disk).exists() {
        fs::copy(&guest.base_disk, host.on_machine(&disk)).expect("a copy of the base disk");
    }
    // A device that is plugged into a running q35 machine needs its own port.
    let ports: String = (1..=8)
        .map(|index| format!("<controller type='pci' index='{index}' model='pcie-root-port'/>"))
        .collect();
    let xml = format!(
        "<domain type='{kind}'><name>g</name>
           <memory unit='MiB'>128</memory><vcpu current='1'>2</vcpu>
           <os><type arch='x86_64' machine='q35'>hvm</type><kernel>{kernel}</kernel><initrd>{initrd}</initrd>
             <cmdline>{line}</cmdline></os>
           <features><acpi/><apic/></features>
           <on_crash>preserve</on_crash>
           <devices>
             <controller type='usb' model='none'/>{ports}
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
    let file = host.dir().join("g.xml");
    fs::write(&file, xml).expect("the domain's XML");
    host.virsh(&["define", text(&file)]).expect("define");
    SerialLog::new(host.on_machine(&console))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

fn wait_state(host: &LibvirtHost, name: &str, wanted: &str) {
    wait_until(&format!("{name} to be {wanted}"), SOON, || {
        let state = host.virsh(&["domstate", name, "--reason"])?;
        if state.trim().starts_with(wanted) { Ok(()) } else { Err(state) }
    });
}

/// The processes that have a mount of this folder. These are the processes inside a host, because a
/// host mounts its folders over libvirt's.
fn processes_of(dir: &Path) -> Vec<PathBuf> {
    let needle = dir.to_string_lossy().into_owned();
    let processes =
        fs::read_dir("/proc").expect("/proc").filter_map(Result::ok).map(|entry| entry.path());
    processes
        .filter(|path| {
            fs::read_to_string(path.join("mountinfo")).is_ok_and(|text| text.contains(&needle))
        })
        .collect()
}

#[test]
fn a_guest_boots_obeys_the_power_button_and_keeps_its_disk() {
    if !lab::require_libvirt() {
        return;
    }
    let host = LibvirtHost::up("boot");
    let mut console = define(&host, host.dir(), &["vt.mark=first"]);
    host.virsh(&["start", "g"]).expect("start");
    console.wait_for("DISK-MARK base", BOOT);
    console.wait_for("DISK-MARKED first", SOON);
    console.wait_for("GUEST-READY", SOON);
    host.virsh(&["shutdown", "g"]).expect("shutdown");
    console.wait_for("ACPI-POWER-BUTTON", SOON);
    wait_state(&host, "g", "shut off (shutdown)");

    host.virsh(&["undefine", "g"]).expect("undefine");
    let mut console = define(&host, host.dir(), &["vt.noacpi", "vt.selfoff=1"]);
    console.skip_to_end();
    host.virsh(&["start", "g"]).expect("start again");
    console.wait_for("DISK-MARK first", BOOT);
    console.wait_for("SELF-OFF", BOOT);
    wait_state(&host, "g", "shut off (shutdown)");

    let dir = host.dir().to_owned();
    assert!(
        !processes_of(&dir).is_empty(),
        "the search for processes finds those of a running host"
    );
    drop(host);
    assert_eq!(processes_of(&dir), Vec::<PathBuf>::new());
    assert!(!dir.exists() || std::env::var_os("OSTLER_LAB_KEEP").is_some());
}

#[test]
fn a_guest_runs_on_without_its_daemon_and_not_without_its_host() {
    if !lab::require_libvirt() {
        return;
    }
    let host = LibvirtHost::up("faults");
    let mut console = define(&host, host.dir(), &["vt.tick=0.1"]);
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

/// The numbers that the guest has counted, in the order of its console.
fn counted(console: &SerialLog) -> Vec<u32> {
    // The prompt of the guest's shell may stand before the word.
    let number = |line: &str| line.split_once("TICK ")?.1.split(' ').next()?.parse().ok();
    console.contents().lines().filter_map(number).collect()
}

/// Checks that each number of the guest's counter is there once. Then nothing was lost and nothing
/// happened twice.
#[track_caller]
fn assert_counts_on(ticks: &[u32]) {
    let gap = ticks.windows(2).find(|pair| pair[1] != pair[0] + 1);
    assert!(gap.is_none(), "from {gap:?} on the count is not what it was: {ticks:?}");
}

/// Live migration as a control plane asks for it: the libvirt of the source talks to the libvirt of
/// the target.
fn migrate(from: &LibvirtHost, to: &LibvirtHost, options: &[&str]) -> Result<String, String> {
    let uri = to.network_uri();
    let mut all = vec!["migrate", "--live", "--p2p", "--persistent", "--undefinesource"];
    all.extend(options);
    all.extend(["g", &uri]);
    from.virsh(&all)
}

/// A connection to the host's libvirt over the network.
fn connect(host: &LibvirtHost) -> io::Result<TcpStream> {
    let address = format!("{}:16509", host.address().expect("a host on the network"));
    TcpStream::connect_timeout(&address.parse().expect("an address"), Duration::from_secs(1))
}

fn takes_connections(host: &LibvirtHost) -> bool {
    connect(host).is_ok()
}

/// Checks that the peer of an open connection sends nothing, and does not close it either.
#[track_caller]
fn assert_silent(mut connection: &TcpStream) {
    connection.set_read_timeout(Some(Duration::from_millis(300))).expect("a limit");
    let read = connection.read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(read, Err(io::ErrorKind::WouldBlock));
}

/// Runs a command on the host over ssh.
fn over_ssh(host: &LibvirtHost, command: &str) -> Result<String, String> {
    let ssh = host.ssh();
    let known = format!("UserKnownHostsFile={}", ssh.known_hosts.expect("a file"));
    let out = Command::new("ssh")
        .args([
            "-F",
            "none",
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=yes",
            "-o",
            &known,
        ])
        .args([
            "-i",
            &ssh.identity_file.expect("a file"),
            "-p",
            &ssh.port.expect("a port").to_string(),
        ])
        .args([&ssh.destination, command])
        .output()
        .expect("ssh");
    let said =
        String::from_utf8_lossy(if out.status.success() { &out.stdout } else { &out.stderr })
            .trim()
            .to_owned();
    if out.status.success() { Ok(said) } else { Err(said) }
}

#[test]
fn a_guest_moves_between_hosts_and_counts_on() {
    if !lab::require_libvirt() {
        return;
    }
    let hosts = Hosts::shared(3);
    let mut console = define(&hosts[0], hosts.store(), &["vt.tick=0.2"]);
    hosts[0].virsh(&["start", "g"]).expect("start");
    console.wait_for("TICK 5 ", BOOT);
    for way in hosts.windows(2) {
        migrate(&way[0], &way[1], &["--unsafe"]).expect("migrate");
        wait_state(&way[1], "g", "running (migrated)");
        way[0].virsh(&["domstate", "g"]).expect_err("it is no longer there");
        console.skip_to_end();
        console.wait_for("TICK", SOON);
    }
    assert_counts_on(&counted(&console));

    hosts[2].virsh(&["destroy", "g"]).expect("destroy");
    hosts[2]
        .virsh(&[
            "migrate",
            "--offline",
            "--persistent",
            "--undefinesource",
            "--p2p",
            "g",
            &hosts[0].network_uri(),
        ])
        .expect("a cold guest moves");
    hosts[0].virsh(&["start", "g"]).expect("start where it came from");
    console.skip_to_end();
    console.wait_for("GUEST-READY", BOOT);
}

#[test]
fn a_guest_takes_its_disk_along_where_storage_is_not_shared() {
    if !lab::require_libvirt() {
        return;
    }
    let hosts = Hosts::private(2);
    let disk = hosts.store().join("g.qcow2");
    let mut console = define(&hosts[0], hosts.store(), &["vt.tick=0.2", "vt.mark=first"]);
    let seen: Vec<_> =
        hosts.iter().map(|host| over_ssh(host, &format!("ls {}", text(hosts.store())))).collect();
    assert_eq!(
        seen,
        [Ok("g.qcow2".to_owned()), Ok(String::new())],
        "one path, and other files on each host"
    );
    assert!(!disk.exists() && hosts[0].on_machine(&disk).exists());

    hosts[0].virsh(&["start", "g"]).expect("start");
    console.wait_for("DISK-MARKED first", BOOT);
    console.wait_for("TICK 5 ", BOOT);
    over_ssh(&hosts[1], &format!("qemu-img create -q -f qcow2 {} 64M", text(&disk)))
        .expect("an empty disk of the same size");
    migrate(&hosts[0], &hosts[1], &["--copy-storage-all"]).expect("migrate");

    let mut there = SerialLog::new(hosts[1].on_machine(&hosts.store().join("g.console")));
    there.wait_for("TICK", SOON);
    let mut ticks = counted(&console);
    ticks.extend(counted(&there));
    assert_counts_on(&ticks);
    hosts[1].virsh(&["reset", "g"]).expect("reset");
    there.wait_for("DISK-MARK first", BOOT);
}

#[test]
fn a_host_that_is_cut_off_is_silent_and_runs_on() {
    if !lab::require_libvirt() {
        return;
    }
    let hosts = Hosts::shared(2);
    let mut console = define(&hosts[0], hosts.store(), &["vt.tick=0.2"]);
    hosts[0].virsh(&["start", "g"]).expect("start");
    console.wait_for("GUEST-READY", BOOT);
    let open = connect(&hosts[0]).expect("somebody is there");
    hosts[0].cut();
    assert_silent(&open);
    assert!(!takes_connections(&hosts[0]) && takes_connections(&hosts[1]));
    console.skip_to_end();
    console.wait_for("TICK", SOON);
    wait_state(&hosts[0], "g", "running");
    hosts[0].mend();
    wait_until("the host to be back", SOON, || takes_connections(&hosts[0]));
    migrate(&hosts[0], &hosts[1], &["--unsafe"]).expect("all is as before");
    assert_counts_on(&counted(&console));
}

#[test]
fn a_host_without_power_is_gone_and_comes_back_as_it_was() {
    if !lab::require_libvirt() {
        return;
    }
    let hosts = Hosts::shared(2);
    let mut console = define(&hosts[0], hosts.store(), &["vt.tick=0.2"]);
    hosts[0].virsh(&["start", "g"]).expect("start");
    console.wait_for("GUEST-READY", BOOT);
    let file = hosts[0].dir().join("g.xml");
    hosts[1].virsh(&["define", text(&file)]).expect("define it there as well");
    hosts[1].virsh(&["start", "g"]).expect_err("its disk is in use");
    let open = connect(&hosts[0]).expect("somebody is there");
    hosts[0].power_off();
    assert_silent(&open);
    assert_eq!(processes_of(hosts[0].dir()), Vec::<PathBuf>::new());
    assert!(!takes_connections(&hosts[0]));
    let another = LibvirtHost::up_on_network("another");
    assert_ne!(
        another.address(),
        hosts[0].address(),
        "an address is not given away while its host is without power"
    );

    console.skip_to_end();
    hosts[1].virsh(&["start", "g"]).expect("nobody uses its disk any more");
    console.wait_for("GUEST-READY", BOOT);
    hosts[0].power_on();
    assert!(takes_connections(&hosts[0]));
    wait_state(&hosts[0], "g", "shut off");
    over_ssh(&hosts[0], "true").expect("its key is the same");
}

#[test]
fn a_guest_confirms_what_is_plugged_in_and_out() {
    if !lab::require_libvirt() {
        return;
    }
    let host = LibvirtHost::up_on_network("hotplug");
    let mut console = define(&host, host.dir(), &[]);
    host.virsh(&["start", "g"]).expect("start");
    console.wait_for("cpus=1 ", BOOT);

    let disk = host.dir().join("more.qcow2");
    over_ssh(&host, &format!("qemu-img create -q -f qcow2 {} 16M", text(&disk))).expect("a disk");
    let mac = "52:54:00:4f:53:01";
    host.virsh(&["attach-disk", "g", text(&disk), "vdb", "--subdriver", "qcow2", "--live"])
        .expect("a disk is plugged in");
    console.wait_for("DISK+ vdb bytes=16777216", SOON);
    host.virsh(&["blockresize", "g", "vdb", "32M"]).expect("it grows");
    console.wait_for("DISK= vdb bytes=33554432", SOON);
    host.virsh(&["detach-disk", "g", "vdb", "--live"]).expect("it is taken out");
    console.wait_for("DISK- vdb", SOON);
    host.virsh(&[
        "attach-interface",
        "g",
        "bridge",
        "br0",
        "--mac",
        mac,
        "--model",
        "virtio",
        "--live",
    ])
    .expect("a card");
    console.wait_for(&format!("NIC+ eth0 {mac}"), SOON);
    host.virsh(&["detach-interface", "g", "bridge", "--mac", mac, "--live"])
        .expect("it is taken out");
    console.wait_for(&format!("NIC- eth0 {mac}"), SOON);

    host.virsh(&["setvcpus", "g", "2", "--live"]).expect("a processor");
    console.wait_for("CPUS 2", SOON);
    let memory = |line: String| {
        line.split_once("kb=").and_then(|(_, kb)| kb.trim().parse::<u32>().ok()).expect("a number")
    };
    host.virsh(&["setmem", "g", "88M", "--live"]).expect("less memory");
    let less = memory(console.wait_for("MEMORY", SOON));
    host.virsh(&["setmem", "g", "128M", "--live"]).expect("all of its memory");
    let all = memory(console.wait_for("MEMORY", SOON));
    assert_eq!(all - less, 40 * 1024, "the balloon took what it was told to take");
}

#[test]
fn a_guest_goes_back_to_its_snapshot() {
    if !lab::require_libvirt() {
        return;
    }
    let host = LibvirtHost::up("snapshot");
    let mut console = define(&host, host.dir(), &["vt.tick=0.2"]);
    host.virsh(&["start", "g"]).expect("start");
    console.wait_for("TICK 5 ", BOOT);
    host.virsh(&["snapshot-create-as", "g", "then"]).expect("a snapshot");
    let then = counted(&console).last().copied().expect("a count");
    console.wait_for(&format!("TICK {} ", then + 10), SOON);
    host.virsh(&["snapshot-revert", "g", "then"]).expect("back");
    // The guest repeats what it printed between the snapshot and the revert.
    console.skip_to_end();
    console.wait_for(&format!("TICK {} ", then + 5), SOON);
    host.virsh(&["snapshot-delete", "g", "then"]).expect("the snapshot goes");
    wait_state(&host, "g", "running (from snapshot)");
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
