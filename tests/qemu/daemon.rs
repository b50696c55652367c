//! The component in a real daemon, with real guests, and accidents.

use crate::{component, processes, send};
use ostler_api::{ActionBody, ActionReply, Client, ClientError, NewHost, Sent, Vm};
use ostler_tests::daemon::{self, Daemon, create, done, in_state, poll};
use ostler_tests::lab::{Lab, SerialLog};
use ostler_tests::wait::wait_until;
use rustix::process::Signal;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a guest may take to boot under emulation, and to be restored, on a busy machine.
const BOOT: Duration = Duration::from_secs(90);
/// How long anything else may take.
const SOON: Duration = Duration::from_secs(60);

struct World {
    daemon: Daemon,
    runtime: tokio::runtime::Runtime,
    dir: tempfile::TempDir,
}

impl World {
    fn up() -> Option<Self> {
        component()?;
        let dir = tempfile::tempdir().expect("a folder");
        let more = ["--grant", "qemu=all", "--rules", "qemu=snapshots-kvm"];
        let daemon = Daemon::start(dir.path(), &more);
        let runtime = tokio::runtime::Runtime::new().expect("threads");
        let world = Self { daemon, runtime, dir };
        world.run(async {
            let client = world.client();
            daemon::datastores(client, dir_of(&world)).await;
            let guest = Lab::guest();
            for file in [&guest.kernel, &guest.initrd, &guest.base_disk] {
                std::fs::copy(file, dir_of(&world).join("images").join(name(file))).expect("copy");
            }
            daemon::image(client, "base", &format!("images:{}", name(&guest.base_disk))).await;
            let set = |key: &str, value: &str| (key.to_owned(), value.to_owned());
            let config: BTreeMap<_, _> =
                [set("datastore", "simhosts"), set("folder", "q"), set("accel", "tcg")].into();
            let new = NewHost {
                name: "q".to_owned(),
                driver: "qemu".to_owned(),
                config,
                ..NewHost::default()
            };
            client.add_host(&new).await.expect("a host is added");
            daemon::reachable(client, "q").await;
        });
        Some(world)
    }

    fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    fn client(&self) -> &Client {
        self.daemon.client()
    }

    /// Makes a guest with a disk, which counts on its console, and waits until it does.
    fn guest(&self, called: &str) -> Guest {
        self.guest_with(called, "")
    }

    /// The same, with more lines before the tables of the specification.
    fn guest_with(&self, called: &str, more: &str) -> Guest {
        let guest = Lab::guest();
        let spec = format!(
            "name = \"{called}\"\ncpu = 0.5\nmemory = \"96MiB\"\n{more}\
             [boot]\nkernel = \"images:{}\"\ninitrd = \"images:{}\"\ncmdline = \"{}\"\n\
             [patience]\nboot_grace = \"1s\"\n[[disks]]\nname = \"vda\"\nimage = \"base\"\n",
            name(&guest.kernel),
            name(&guest.initrd),
            guest.command_line(&["vt.tick=0.2"]),
        );
        let vm = self.run(create(self.client(), &spec, false));
        let uuid = self.rests(&vm, "running").uuid;
        let folder = self.dir.path().join(format!("system/vms/{uuid}"));
        let console = SerialLog::new(folder.join("console.log"));
        let mut guest = Guest { vm, uuid, folder, console };
        guest.console.wait_for("GUEST-READY", BOOT);
        guest.console.wait_for("TICK 3", BOOT);
        guest
    }

    fn rests(&self, vm: &str, state: &str) -> Vm {
        self.run(in_state(self.client(), vm, state, BOOT))
    }

    fn does(&self, vm: &str, verb: &str) {
        self.run(done(self.client(), vm, verb));
    }

    /// Resizes a VM, and waits for the end.
    fn resizes(&self, vm: &str, body: &serde_json::Value) -> Result<ActionReply, ClientError> {
        let sent = Sent { wait: Some(SOON), ..Sent::default() };
        self.run(self.client().act(vm, "resize", body, &sent))
    }

    /// Resizes a VM, which must succeed.
    fn has_size(&self, vm: &str, body: &serde_json::Value) {
        let ended = self.resizes(vm, body).expect("accepted").operation;
        let outcome = ended.as_ref().and_then(|ended| ended.outcome.as_deref());
        assert!(matches!(outcome, None | Some("succeeded")), "{body}: {ended:#?}");
    }

    /// The domains that have a folder.
    fn domains(&self) -> Vec<PathBuf> {
        let found = std::fs::read_dir(self.dir.path().join("simhosts/q"));
        found.map(|all| all.flatten().map(|one| one.path()).collect()).unwrap_or_default()
    }

    /// Deletes a VM. Nothing of it is left, and the books are right.
    fn ends_without_a_trace(&self, guest: &Guest) {
        self.does(&guest.vm, "delete");
        assert_eq!(processes(&guest.uuid), Vec::<u32>::new());
        assert_eq!(self.domains(), Vec::<PathBuf>::new());
        assert!(!guest.folder.exists(), "{} is left", guest.folder.display());
        let findings = self.run(self.client().check()).expect("a check").findings;
        assert!(findings.is_empty(), "{findings:#?}");
    }
}

/// Nothing runs on after a test that failed.
impl Drop for World {
    fn drop(&mut self) {
        self.daemon.kill();
        let folder = self.dir.path().display().to_string();
        processes(&folder).into_iter().for_each(|pid| send(pid, Signal::KILL));
    }
}

/// A VM and its guest.
struct Guest {
    vm: String,
    uuid: String,
    folder: PathBuf,
    console: SerialLog,
}

impl Guest {
    /// The one process that it has.
    fn process(&self) -> u32 {
        let found = processes(&self.uuid);
        assert_eq!(found.len(), 1, "{} has the processes {found:?}", self.vm);
        found[0]
    }

    fn is_off(&self) -> bool {
        processes(&self.uuid).is_empty()
    }

    /// Waits until the guest counts on from `counted`, without having booted anew.
    fn counts_on_from(&mut self, counted: u64) {
        self.console.wait_for(&format!("TICK {} ", counted + 2), SOON);
        let boots = self.console.contents().matches("GUEST-READY").count();
        assert_eq!(boots, 1, "{} has booted anew", self.vm);
    }

    /// The last number that it has counted to. What follows is read from here.
    fn counted(&mut self) -> u64 {
        let counted = ostler_tests::kvm::ticks(&self.console);
        self.console.skip_to_end();
        counted
    }
}

fn dir_of(world: &World) -> &Path {
    world.dir.path()
}

fn name(path: &Path) -> String {
    path.file_name().expect("a name").to_string_lossy().into_owned()
}

#[test]
fn a_guest_is_suspended_goes_on_and_obeys() {
    let Some(world) = World::up() else { return };
    let mut guest = world.guest("first");
    world.does(&guest.vm, "suspend");
    assert!(guest.is_off());
    let counted = guest.counted();
    world.does(&guest.vm, "resume");
    guest.process();
    guest.counts_on_from(counted);
    world.does(&guest.vm, "poweroff");
    assert!(guest.is_off());
    world.ends_without_a_trace(&guest);
}

#[test]
fn a_daemon_that_is_killed_while_memory_is_saved_ends_what_it_began() {
    let Some(mut world) = World::up() else { return };
    let mut guest = world.guest("second");
    for marks in ["\"saving\":\"", ".part", "memory"] {
        let (body, sent) = (ActionBody::default(), Sent::default());
        world.run(world.client().act(&guest.vm, "suspend", &body, &sent)).expect("accepted");
        let record = world.dir.path().join(format!("simhosts/q/{}/domain.json", guest.uuid));
        wait_until("the saving to be on its way", SOON, || {
            let text = std::fs::read_to_string(&record).unwrap_or_default();
            let files = std::fs::read_dir(&guest.folder).expect("a folder").flatten();
            let mut names = files.map(|file| file.file_name().to_string_lossy().into_owned());
            text.contains(marks) || names.any(|name| name.contains(marks)) || guest.is_off()
        });
        world.daemon.kill();
        world.daemon.up();
        world.rests(&guest.vm, "suspended");
        assert!(guest.is_off());
        let counted = guest.counted();
        world.does(&guest.vm, "resume");
        guest.counts_on_from(counted);
        guest.process();
    }
    world.ends_without_a_trace(&guest);
}

#[test]
fn a_qemu_that_dies_is_noticed_and_one_that_hangs_hides_no_other() {
    let Some(world) = World::up() else { return };
    let (dies, hangs) = (world.guest("dies"), world.guest("hangs"));
    send(hangs.process(), Signal::STOP);
    send(dies.process(), Signal::KILL);
    let gone = world.run(poll("the death to be noticed", SOON, async || {
        let seen = world.client().vm(&dies.vm).await.map_err(|error| error.to_string())?;
        if seen.state == "running" { Err(seen.state.to_string()) } else { Ok(seen) }
    }));
    assert_eq!((gone.state.as_ref(), gone.reason.as_ref()), ("poweroff", "crashed"), "{gone:?}");
    let host = world.run(world.client().host("q")).expect("the host");
    assert!(host.health.is_some_and(|health| health.reachable), "one that hangs hides the host");
    assert_eq!(world.run(world.client().vm(&hangs.vm)).expect("it is there").state, "running");
    // What hangs is ended all the same.
    world.does(&hangs.vm, "delete");
    assert!(hangs.is_off());
    world.ends_without_a_trace(&dies);
}

#[test]
fn a_guest_grows_while_it_runs_and_is_saved_as_it_has_grown() {
    let Some(world) = World::up() else { return };
    let mut guest = world.guest_with("grower", "headroom = { vcpus = 3, memory = \"160MiB\" }\n");
    guest.console.skip_to_end();
    world.has_size(&guest.vm, &json!({"vcpus": 2}));
    guest.console.wait_for("CPUS 2", SOON);
    world.has_size(&guest.vm, &json!({"memory": "140MiB"}));
    guest.console.wait_for("MEMORY kb=1", SOON);
    let refused = world.resizes(&guest.vm, &json!({"memory": "1GiB"})).expect_err("too much");
    assert!(refused.to_string().contains("160 MiB"), "{refused}");
    // No CPU is taken from a guest that runs, and nothing else is changed then.
    let fewer = world.resizes(&guest.vm, &json!({"vcpus": 1, "memory": "100MiB"}));
    let fewer = fewer.map(|reply| format!("{reply:?}")).unwrap_or_else(|error| error.to_string());
    assert!(fewer.contains("poweroff, resize, resume"), "{fewer}");
    let counted = guest.counted();
    world.does(&guest.vm, "suspend");
    world.does(&guest.vm, "resume");
    guest.counts_on_from(counted);
    // It has the CPUs that it was saved with, and gets one more.
    world.has_size(&guest.vm, &json!({"vcpus": 3}));
    guest.console.wait_for("CPUS 3", SOON);
    world.has_size(&guest.vm, &json!({"memory": "96MiB"}));
    guest.console.wait_for("MEMORY kb=", SOON);
    world.does(&guest.vm, "poweroff-hard");
    world.has_size(&guest.vm, &json!({"vcpus": 2, "memory": "128MiB"}));
    world.does(&guest.vm, "resume");
    guest.console.wait_for("cpus=2 ", BOOT);
    world.ends_without_a_trace(&guest);
}
