//! End to end on real guests: the real daemon, real libvirt and QEMU, and a real Linux that
//! confirms on its serial console. Tests every operation of the lifecycle, and accidents: a guest
//! that ignores ACPI, a guest that powers itself off, QEMU killed, libvirtd gone, the daemon
//! killed.

use ostler_api::{ActionBody, Client, Sent, Vm};
use ostler_tests::daemon::{self, Daemon, create, done, in_state, poll};
use ostler_tests::lab::{self, Lab, LibvirtHost, SerialLog};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a boot may take. Under emulation it takes 3 s on an idle machine, and many times that
/// on a busy one.
const BOOT: Duration = Duration::from_secs(90);
/// How long libvirt and the guest may take for anything else.
const SOON: Duration = Duration::from_secs(40);

struct Rig {
    daemon: Daemon,
    host: LibvirtHost,
    runtime: tokio::runtime::Runtime,
    dir: tempfile::TempDir,
}

impl Rig {
    /// Starts a libvirt host and a daemon that knows it. The guest's files are an image datastore.
    fn up(name: &str) -> Option<Self> {
        if !daemon::is_built() || !lab::require_libvirt() {
            return None;
        }
        let host = LibvirtHost::up(name);
        let dir = tempfile::tempdir().expect("a folder");
        let daemon = Daemon::start(dir.path(), &["--rules", "kvm=snapshots-kvm", "--log", "warn"]);
        let runtime = tokio::runtime::Runtime::new().expect("threads");
        let rig = Self { daemon, host, runtime, dir };
        rig.run(rig.set_up());
        Some(rig)
    }

    async fn set_up(&self) {
        let (client, dir) = (self.client(), self.dir.path());
        daemon::datastores(client, dir).await;
        let guest = Lab::guest();
        for file in [&guest.kernel, &guest.initrd, &guest.base_disk] {
            let name = file.file_name().expect("a file has a name");
            std::fs::copy(file, dir.join("images").join(name)).expect("a copy");
        }
        daemon::image(client, "base", "images:base.qcow2").await;
        let config = [("uri".to_owned(), self.host.uri().to_owned())].into();
        let new = ostler_api::NewHost {
            name: "kvm1".to_owned(),
            driver: "kvm".to_owned(),
            config,
            ..Default::default()
        };
        client.add_host(&new).await.expect("a host is added");
        daemon::reachable(client, "kvm1").await;
    }

    fn client(&self) -> &Client {
        self.daemon.client()
    }

    #[track_caller]
    fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// A pending VM with a disk on the base image.
    fn vm(&self, name: &str, flags: &[&str], more: &str) -> String {
        let guest = Lab::guest();
        let spec = format!(
            "name = \"{name}\"\ncpu = 0.5\nmemory = \"96MiB\"\n{more}\n\
             [boot]\nkernel = \"images:{}\"\ninitrd = \"images:{}\"\ncmdline = \"{}\"\n\
             [[disks]]\nname = \"vda\"\nimage = \"base\"\n",
            file_name(&guest.kernel),
            file_name(&guest.initrd),
            guest.command_line(flags),
        );
        // `more` stands before the first table. Otherwise its settings would belong to that table.
        self.run(create(self.client(), &spec, false))
    }

    fn show(&self, vm: &str) -> Vm {
        self.run(self.client().vm(vm)).expect("a VM")
    }

    fn folder(&self, vm: &str) -> PathBuf {
        self.dir.path().join("system/vms").join(self.show(vm).uuid)
    }

    fn console(&self, vm: &str) -> SerialLog {
        SerialLog::new(self.folder(vm).join("console.log"))
    }

    fn domains(&self) -> Vec<String> {
        let names = self.host.virsh(&["list", "--all", "--name"]).expect("libvirt answers");
        names.lines().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }

    fn running(&self, vm: &str) -> Vm {
        self.run(in_state(self.client(), vm, "running", BOOT))
    }

    fn done(&self, vm: &str, verb: &str) {
        self.run(done(self.client(), vm, verb));
    }

    /// Sends a request and does not wait for the operation.
    fn ask(&self, vm: &str, verb: &str) {
        self.run(self.client().act(vm, verb, &ActionBody::default(), &Sent::default()))
            .unwrap_or_else(|error| panic!("{verb}: {error}"));
    }

    fn books_are_right(&self) {
        let findings = self.run(self.client().check()).expect("a check").findings;
        assert!(findings.is_empty(), "{findings:#?}");
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().expect("a file has a name").to_string_lossy().into_owned()
}

/// The last number that the guest has counted to.
fn ticks(console: &SerialLog) -> u64 {
    let text = console.contents();
    let last = text
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("TICK ")?.split(' ').next()?.parse().ok());
    last.expect("the guest counts")
}

#[test]
fn a_guest_goes_through_every_operation_and_confirms_each() {
    let Some(rig) = Rig::up("ops") else { return };
    let vm = rig.vm("ops", &["vt.tick=0.2"], "");
    rig.running(&vm);
    let mut console = rig.console(&vm);
    console.wait_for("DISK-MARK base", BOOT);
    console.wait_for("GUEST-READY", BOOT);
    console.wait_for("TICK 5", SOON);
    let counters = rig.run(rig.client().counters(&vm)).expect("counters");
    assert!(
        counters.counted && counters.cpu_ns > 100_000_000 && counters.memory_kib > 10_000,
        "{counters:?}"
    );

    rig.done(&vm, "suspend");
    assert_eq!(rig.show(&vm).state, "suspended");
    let counted = ticks(&console);
    rig.done(&vm, "resume");
    console.wait_for(&format!("TICK {}", counted + 3), SOON);
    assert_eq!(
        console.contents().matches("GUEST-READY").count(),
        1,
        "its memory came back, it did not boot anew"
    );

    rig.done(&vm, "stop");
    let stopped = rig.show(&vm);
    assert_eq!((stopped.state.as_ref(), stopped.placement.is_none()), ("stopped", true));
    assert!(rig.domains().is_empty(), "{:?}", rig.domains());
    let home = rig.dir.path().join("system/home").join(&stopped.uuid);
    assert!(
        home.join("vda.qcow2").exists() && !rig.folder(&vm).exists(),
        "the files rest at the front end"
    );
    rig.ask(&vm, "resume");
    rig.running(&vm);
    let mut console = rig.console(&vm);
    console.wait_for("TICK ", SOON);
    assert!(ticks(&console) > counted, "it counts on where it was stopped");
    assert!(!home.exists(), "nothing is left at the front end");

    rig.done(&vm, "reboot");
    console.wait_for("GUEST-READY", BOOT);
    console.skip_to_end();
    rig.done(&vm, "reboot-hard");
    console.wait_for("GUEST-READY", BOOT);
    console.skip_to_end();

    rig.done(&vm, "poweroff");
    console.wait_for("ACPI-POWER-BUTTON", SOON);
    assert_eq!(rig.show(&vm).state, "poweroff");
    rig.done(&vm, "resume");
    console.wait_for("GUEST-READY", BOOT);
    rig.done(&vm, "poweroff-hard");
    rig.done(&vm, "undeploy");
    assert_eq!(rig.show(&vm).state, "undeployed");
    rig.ask(&vm, "resume");
    rig.running(&vm);
    rig.console(&vm).wait_for("GUEST-READY", BOOT);
    rig.done(&vm, "shutdown");
    let end = rig.show(&vm);
    assert_eq!(end.state, "done");
    assert_eq!(end.history.len(), 3, "one entry a placement: {:?}", end.history);
    assert!(rig.domains().is_empty() && !rig.folder(&vm).exists(), "nothing is left");
    rig.books_are_right();
}

#[test]
fn what_the_guest_wrote_survives_undeploy_and_is_gone_after_recreate() {
    let Some(rig) = Rig::up("mark") else { return };
    let vm = rig.vm("mark", &["vt.mark=mine"], "");
    rig.running(&vm);
    rig.console(&vm).wait_for("DISK-MARKED mine", BOOT);
    rig.console(&vm).wait_for("GUEST-READY", BOOT);
    rig.done(&vm, "undeploy");
    rig.ask(&vm, "resume");
    rig.running(&vm);
    rig.console(&vm).wait_for("DISK-MARK mine", BOOT);
    rig.done(&vm, "delete-recreate");
    let again = rig.running(&vm);
    rig.console(&vm).wait_for("DISK-MARK base", BOOT);
    assert_eq!(again.id.to_string(), vm);
    rig.done(&vm, "delete");
    assert!(rig.domains().is_empty() && !rig.folder(&vm).exists());
    rig.books_are_right();
}

#[test]
fn a_guest_that_ignores_acpi_runs_on_at_the_deadline_and_hard_overtakes() {
    let Some(rig) = Rig::up("acpi") else { return };
    let guest = Lab::guest();
    let spec = format!(
        "name = \"deaf\"\nmemory = \"96MiB\"\n[boot]\nkernel = \"images:{}\"\ninitrd = \"images:{}\"\ncmdline = \"{}\"\n\
         [[disks]]\nname = \"vda\"\nimage = \"base\"\n[patience]\nshutdown = \"4s\"\n",
        file_name(&guest.kernel),
        file_name(&guest.initrd),
        guest.command_line(&["vt.noacpi"])
    );
    let vm = rig.run(create(rig.client(), &spec, false));
    rig.running(&vm);
    rig.console(&vm).wait_for("GUEST-READY", BOOT);
    let sent = Sent { wait: Some(BOOT), ..Sent::default() };
    let reply = rig
        .run(rig.client().act(&vm, "poweroff", &ActionBody::default(), &sent))
        .expect("it is accepted");
    let operation = reply.operation.expect("an operation");
    assert_eq!(operation.outcome.as_deref(), Some("failed"), "{operation:?}");
    assert_eq!(rig.show(&vm).state, "running", "the guest ignored it");

    rig.ask(&vm, "shutdown");
    rig.run(poll("the press", SOON, async || {
        let why = rig.client().why(&vm).await.map_err(|error| error.to_string())?;
        let waits = format!("{:?}", why.waits_for);
        if waits.contains("switch itself off") { Ok(()) } else { Err(waits) }
    }));
    rig.done(&vm, "shutdown-hard");
    assert_eq!(rig.show(&vm).state, "done");
    assert!(rig.domains().is_empty());
    rig.books_are_right();
}

#[test]
fn accidents_are_seen_and_nothing_is_concluded_from_silence() {
    let Some(rig) = Rig::up("acc") else { return };
    let selfish = rig.vm("selfish", &["vt.selfoff=3"], "");
    let killed = rig.vm("killed", &[], "");
    let steady = rig.vm("steady", &["vt.tick=0.5"], "");
    for vm in [&selfish, &killed, &steady] {
        rig.run(poll("a start", BOOT, async || {
            let seen = rig.client().vm(vm).await.map_err(|error| error.to_string())?;
            if seen.running_since.is_some() || seen.state == "poweroff" {
                Ok(())
            } else {
                Err(seen.state.into_owned())
            }
        }));
    }
    let off = rig.run(in_state(rig.client(), &selfish, "poweroff", BOOT));
    assert_eq!(off.reason, "guest");

    let running = rig.running(&killed);
    rig.host.kill_qemu(&running.placement.expect("a place").domain);
    let dead = rig.run(in_state(rig.client(), &killed, "poweroff", SOON));
    assert_eq!(dead.reason, "crashed");

    rig.console(&steady).wait_for("TICK 3", BOOT);
    let version = rig.running(&steady).version;
    rig.host.stop_daemon();
    rig.run(poll("the host to be missed", SOON, async || {
        let host = rig.client().host("kvm1").await.map_err(|error| error.to_string())?;
        match host.health {
            Some(health) if !health.reachable => Ok(()),
            other => Err(format!("{other:?}")),
        }
    }));
    let meanwhile = rig.show(&steady);
    assert_eq!(
        (meanwhile.state.as_ref(), meanwhile.version),
        ("running", version),
        "silence is no fact"
    );
    rig.host.start_daemon();
    rig.run(daemon::reachable(rig.client(), "kvm1"));
    let counted = ticks(&rig.console(&steady));
    rig.console(&steady).wait_for(&format!("TICK {}", counted + 2), SOON);
    assert_eq!(rig.running(&steady).version, version, "and its return changes nothing");
    for vm in [&selfish, &killed, &steady] {
        rig.done(vm, "delete");
    }
    assert!(rig.domains().is_empty());
    rig.books_are_right();
}

#[test]
fn the_daemon_is_killed_ten_times_over_real_guests() {
    let Some(mut rig) = Rig::up("kill9") else { return };
    let verbs = [
        "create",
        "suspend",
        "resume",
        "poweroff-hard",
        "resume",
        "stop",
        "resume",
        "undeploy-hard",
        "resume",
        "delete",
    ];
    let mut vm = String::new();
    for (round, verb) in verbs.iter().enumerate() {
        if *verb == "create" {
            vm = rig.vm("survivor", &["vt.tick=0.5"], "");
        } else {
            rig.ask(&vm, verb);
        }
        // The kill comes later in each round: before, within and after the driver's calls.
        let moment = Duration::from_millis(20 + 45 * round as u64);
        rig.run(daemon::into_operation(rig.client(), &vm, moment));
        rig.daemon.kill();
        rig.daemon.up();
        let rests = match *verb {
            "create" | "resume" => "running",
            "suspend" => "suspended",
            "poweroff-hard" => "poweroff",
            "stop" => "stopped",
            "undeploy-hard" => "undeployed",
            _ => "done",
        };
        let seen = rig.run(in_state(rig.client(), &vm, rests, BOOT));
        let expected = usize::from(seen.placement.is_some());
        assert!(rig.domains().len() <= expected, "after {verb}: {:?}", rig.domains());
        rig.books_are_right();
    }
    assert!(rig.domains().is_empty(), "{:?}", rig.domains());
    let left = std::fs::read_dir(rig.dir.path().join("system/vms")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "no files are left");
}

#[test]
fn snapshot_rules_are_a_component_and_say_why_not() {
    let Some(rig) = Rig::up("rules") else { return };
    let vm = rig.vm("rules", &[], "");
    rig.running(&vm);
    let advice = rig.run(rig.client().snapshots(&vm)).expect("advice");
    assert_eq!(
        (advice.rules.as_str(), advice.allowed, advice.refused.as_deref()),
        ("snapshots-kvm", true, None),
        "{advice:?}"
    );
    rig.done(&vm, "poweroff-hard");
    let advice = rig.run(rig.client().snapshots(&vm)).expect("advice");
    assert!(!advice.allowed && advice.refused.is_some(), "{advice:?}");
    rig.done(&vm, "delete");
}

#[test]
fn a_guest_without_disks_has_its_console_and_leaves_no_folder() {
    let Some(rig) = Rig::up("bare") else { return };
    let guest = Lab::guest();
    let spec = format!(
        "name = \"bare\"\nmemory = \"96MiB\"\n[boot]\nkernel = \"images:{}\"\ninitrd = \"images:{}\"\ncmdline = \"{}\"\n",
        file_name(&guest.kernel),
        file_name(&guest.initrd),
        guest.command_line(&[])
    );
    let vm = rig.run(create(rig.client(), &spec, false));
    rig.running(&vm);
    rig.console(&vm).wait_for("GUEST-READY", BOOT);
    let folder = rig.folder(&vm);
    rig.done(&vm, "delete");
    assert!(!folder.exists() && rig.domains().is_empty(), "nothing is left");
    rig.books_are_right();
}
