//! Kills the daemon inside calls that save or restore a guest's memory, at moments spread over
//! these calls. Afterwards the guest must go on without a new boot, and no unused memory file may
//! stay. With real libvirt and QEMU.

use ostler_tests::daemon;
use ostler_tests::kvm::{BOOT, Kvm, SOON, Storage, ticks};
use ostler_tests::wait::wait_until;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often the daemon is killed, unless `OSTLER_KILLS` says another number.
const KILLS: usize = 15;

/// The operation that runs when the daemon is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Suspend,
    Migrate,
    Stop,
    Resume,
    Attach,
    Snapshot,
}

/// The operations in turn. Most of them save, because a failed save loses memory.
const DEEDS: [Deed; 8] = [
    Deed::Suspend,
    Deed::Migrate,
    Deed::Stop,
    Deed::Resume,
    Deed::Migrate,
    Deed::Suspend,
    Deed::Attach,
    Deed::Snapshot,
];

/// When the daemon is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// This long after the request, or at the operation's end.
    After(Duration),
    /// Once the memory file has this many bytes.
    FileOf(u64),
    /// Inside the hypervisor's call. QEMU is stopped before the call, and goes on when the next
    /// daemon has sent the call again.
    Held,
}

/// How long each operation takes if nobody is killed.
struct Typical {
    suspend: Duration,
    migrate: Duration,
    stop: Duration,
    resume: Duration,
    attach: Duration,
    snapshot: Duration,
    /// The size of a memory file.
    bytes: u64,
}

impl Deed {
    fn of(self, typical: &Typical) -> Duration {
        match self {
            Self::Suspend => typical.suspend,
            Self::Migrate => typical.migrate,
            Self::Stop => typical.stop,
            Self::Resume => typical.resume,
            Self::Attach => typical.attach,
            Self::Snapshot => typical.snapshot,
        }
    }

    const fn saves(self) -> bool {
        matches!(self, Self::Suspend | Self::Migrate | Self::Stop)
    }

    /// The state at the end. It must be the same after a kill.
    const fn ends(self) -> &'static str {
        match self {
            Self::Suspend => "suspended",
            Self::Stop => "stopped",
            Self::Migrate | Self::Resume | Self::Attach | Self::Snapshot => "running",
        }
    }

    fn ask(self, kvm: &Kvm, vm: &str, wait: bool) {
        let there = format!("kvm{}", 2 - kvm.host_of(vm));
        let mut words = match self {
            Self::Suspend => vec!["suspend", vm],
            Self::Stop => vec!["stop", vm],
            Self::Migrate => vec!["migrate", vm, &there],
            Self::Resume => vec!["resume", vm],
            Self::Attach => vec!["disk-attach", vm, "--blank", "8MiB"],
            Self::Snapshot => vec!["snapshot-create", vm],
        };
        if !wait {
            words.push("--no-wait");
        }
        kvm.vm(&words);
    }

    /// Prepares the guest for the operation.
    fn before(self, kvm: &Kvm, vm: &str) {
        if self == Self::Resume {
            kvm.vm(&["suspend", vm]);
        }
    }

    /// Brings the guest back to its state before the operation.
    fn after(self, kvm: &Kvm, vm: &str) {
        match self {
            Self::Suspend => drop(kvm.vm(&["resume", vm])),
            Self::Stop => {
                kvm.vm(&["resume", vm, "--no-wait"]);
                kvm.rests(vm, "running", BOOT);
            }
            // The guest may still be using the new disk, so the detach is repeated.
            Self::Attach => wait_until("the disk to be given back", SOON, || {
                kvm.try_vm(&["disk-detach", vm, "vdb"])
            }),
            Self::Snapshot => {
                let name = kvm.show(vm)["snapshots"][0]["name"].as_str().map(str::to_owned);
                let name = name.expect("a snapshot that was asked for is there");
                kvm.vm(&["snapshot-delete", vm, &name]);
            }
            Self::Migrate | Self::Resume => {}
        }
    }
}

/// The memory files in a folder.
fn memory_in(folder: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    files.filter(|path| path.extension().is_some_and(|end| end == "save")).collect()
}

fn bytes_in(folder: &Path) -> u64 {
    memory_in(folder).iter().filter_map(|path| path.metadata().ok()).map(|file| file.len()).sum()
}

/// Checks that the guest counts on from `counted` and has booted only once.
#[track_caller]
fn goes_on(kvm: &Kvm, vm: &str, counted: u64, what: &str) {
    let console = kvm.console(vm);
    wait_until(&format!("the guest to count on after {what}"), SOON, || {
        let now = ticks(&console);
        if now > counted { Ok(()) } else { Err(now) }
    });
    let text = console.contents();
    assert_eq!(
        (text.matches("TICK 0 ").count(), text.matches("GUEST-READY").count()),
        (1, 1),
        "after {what} it has booted again"
    );
}

#[track_caller]
fn no_memory_stays(kvm: &Kvm, folder: &Path, vm: &str, what: &str) {
    wait_until(&format!("no memory file to be left after {what}"), SOON, || {
        let left = memory_in(folder);
        if left.is_empty() { Ok(()) } else { Err((left, kvm.state(vm))) }
    });
}

fn measure(kvm: &Kvm, vm: &str, folder: &Path) -> Typical {
    let mut bytes = 0;
    let mut took = |deed: Deed| {
        deed.before(kvm, vm);
        let began = Instant::now();
        deed.ask(kvm, vm, true);
        let took = began.elapsed();
        bytes = bytes.max(bytes_in(folder));
        deed.after(kvm, vm);
        took
    };
    let (suspend, migrate, stop) = (took(Deed::Suspend), took(Deed::Migrate), took(Deed::Stop));
    let (resume, attach, snapshot) = (took(Deed::Resume), took(Deed::Attach), took(Deed::Snapshot));
    Typical { suspend, migrate, stop, resume, attach, snapshot, bytes }
}

/// Kills the daemon while libvirt's call waits for QEMU. The next daemon sends the call again
/// before QEMU goes on.
fn held(kvm: &mut Kvm, vm: &str, deed: Deed, what: &str) {
    let domain = kvm.all_domains().remove(0);
    let at = kvm.host_of(vm);
    kvm.hosts[at].freeze_qemu(&domain);
    deed.ask(kvm, vm, false);
    wait_until(&format!("{what}: libvirt to wait for QEMU"), SOON, || {
        match kvm.hosts[at].virsh(&["domcontrol", &domain]) {
            Ok(control) if control.trim() != "ok" => Ok(()),
            other => Err(other),
        }
    });
    kvm.daemon.kill();
    kvm.daemon.up();
    wait_until(&format!("{what}: the save to be sent again"), SOON, || {
        let operation = kvm.show(vm)["operation"].clone();
        let again = operation["step"] == "save"
            && operation["phase"] == "calling"
            && operation["attempt"] == 2;
        if again { Ok(()) } else { Err(operation) }
    });
    kvm.hosts[at].thaw_qemu(&domain);
}

/// Checks that the kill has lost nothing and left nothing.
#[track_caller]
fn ends(kvm: &Kvm, vm: &str, folder: &Path, deed: Deed, counted: u64, what: &str) {
    wait_until(&format!("{what}: the operation to end"), BOOT, || {
        let shown = kvm.show(vm);
        if shown["operation"].is_null() { Ok(()) } else { Err(kvm.ostler(&["vm", "why", vm])) }
    });
    assert_eq!(kvm.state(vm), deed.ends(), "{what}: {}", kvm.ostler(&["vm", "why", vm]));
    deed.after(kvm, vm);
    assert_eq!(kvm.state(vm), "running", "{what}: {}", kvm.ostler(&["vm", "why", vm]));
    goes_on(kvm, vm, counted, what);
    no_memory_stays(kvm, folder, vm, what);
    assert_eq!(kvm.all_domains().len(), 1, "{what}: {:?}", kvm.all_domains());
}

#[test]
fn the_daemon_is_killed_inside_saves_restores_and_changes_and_no_guest_boots_anew() {
    let Some(mut kvm) = Kvm::up(2, Storage::Shared, &[]) else { return };
    let kills =
        std::env::var("OSTLER_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS);
    let vm = kvm.guest("keeper", &["vt.tick=0.2"], "");
    kvm.console(&vm).wait_for("TICK 3 ", SOON);
    let folder = kvm.folder(&vm, kvm.host_of(&vm));
    let typical = measure(&kvm, &vm, &folder);
    for kill in 0..kills {
        let deed = DEEDS[kill % DEEDS.len()];
        // Each operation is cut early, in the middle and late. Operations that save are also cut by
        // the amount that is saved.
        let tenths = u32::try_from(kill * 7 % 10).expect("one digit");
        let moment = match kill % 3 {
            1 if deed.saves() => Moment::FileOf(typical.bytes * u64::from(tenths) / 10),
            2 if deed.saves() => Moment::Held,
            _ => Moment::After(deed.of(&typical) * tenths / 10),
        };
        let what = format!("kill {kill}: {deed:?} cut at {moment:?}");
        deed.before(&kvm, &vm);
        let counted = ticks(&kvm.console(&vm));
        if matches!(moment, Moment::Held) {
            held(&mut kvm, &vm, deed, &what);
            ends(&kvm, &vm, &folder, deed, counted, &what);
            continue;
        }
        let began = Instant::now();
        deed.ask(&kvm, &vm, false);
        match moment {
            Moment::After(time) => {
                let pause = time.saturating_sub(began.elapsed());
                kvm.run(daemon::into_operation(kvm.daemon.client(), &vm, pause));
            }
            Moment::Held => unreachable!("it is cut above"),
            Moment::FileOf(bytes) => {
                wait_until(&format!("{what}: as much memory to be saved"), SOON, || {
                    let written = bytes_in(&folder);
                    let over = began.elapsed() > deed.of(&typical);
                    if written > bytes || over { Ok(()) } else { Err(written) }
                })
            }
        }
        kvm.daemon.kill();
        kvm.daemon.up();
        ends(&kvm, &vm, &folder, deed, counted, &what);
    }
    kvm.ends_without_a_trace(&vm);
}
