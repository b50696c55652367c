//! Looks from outside, again and again, at what runs of each VM: processes of QEMU by their UUID, and
//! the files of `sim`.

use ostler_tests::lab::skipped;
use ostler_tests::wait::wait_until;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a watch may last at most.
const LONGEST: Duration = Duration::from_secs(3600);
/// A QEMU with a guest has at least these threads: its own, one for what is freed later, and one for
/// the guest's CPUs. One that waits for another to be started has no guest, and fewer threads.
const THREADS: usize = 3;

/// The UUIDs that are watched, and the folders of the `sim` hosts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places {
    vms: Arc<Mutex<BTreeSet<String>>>,
    folders: Vec<PathBuf>,
}

impl Places {
    pub(crate) fn new(folders: Vec<PathBuf>) -> Self {
        Self { folders, ..Self::default() }
    }

    pub(crate) fn only(vms: &[String]) -> Self {
        let places = Self::default();
        vms.iter().for_each(|vm| places.add(vm));
        places
    }

    /// Has a VM watched, too.
    pub(crate) fn add(&self, vm: &str) {
        self.vms.lock().expect("whole").insert(vm.to_owned());
    }

    /// All that were ever watched.
    pub(crate) fn vms(&self) -> BTreeSet<String> {
        self.vms.lock().expect("whole").clone()
    }

    /// What runs of each watched VM.
    pub(crate) fn running(&self) -> BTreeMap<String, BTreeSet<String>> {
        let vms = self.vms();
        let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let processes = processes().into_iter().filter(|(_, _, threads)| *threads >= THREADS);
        let processes = processes.map(|(vm, pid, _)| (vm, format!("process {pid}")));
        let files = self.folders.iter().flat_map(|folder| sims(folder));
        for (vm, place) in processes.chain(files).filter(|(vm, _)| vms.contains(vm)) {
            found.entry(vm).or_default().insert(place);
        }
        found
    }

    /// The processes and files of the watched VMs that are there at all.
    pub(crate) fn left(&self) -> Vec<String> {
        let vms = self.vms();
        let files = self.folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok());
        let files = files.flatten().flatten().map(|file| file.path().display().to_string());
        let files = files.filter(|file| vms.iter().any(|vm| file.contains(vm)));
        let processes = processes().into_iter().filter(|(vm, _, _)| vms.contains(vm));
        processes.map(|(vm, pid, _)| format!("process {pid} of {vm}")).chain(files).collect()
    }
}

impl Places {
    /// Ends all processes of the watched VMs.
    pub(crate) fn end_all(&self) {
        let vms = self.vms();
        for (_, pid, _) in processes().into_iter().filter(|(vm, _, _)| vms.contains(vm)) {
            if let Some(pid) = pid.parse().ok().and_then(Pid::from_raw) {
                // It may have ended meanwhile.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

/// All processes of QEMU: UUID, number, threads. One that is ending has no arguments any more.
fn processes() -> Vec<(String, String, usize)> {
    let all = std::fs::read_dir("/proc").expect("proc").flatten();
    let qemu = |folder: &Path| {
        let line = std::fs::read(folder.join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).into_owned();
        let mut words = line.split('\0');
        words.next().filter(|program| program.contains("qemu-system"))?;
        words.find(|word| *word == "-uuid")?;
        let vm = words.next()?.to_owned();
        let pid = folder.file_name()?.to_str()?.to_owned();
        Some((vm, pid, std::fs::read_dir(folder.join("task")).ok()?.count()))
    };
    all.filter_map(|process| qemu(&process.path())).collect()
}

/// The domains of a `sim` host that are not off.
fn sims(folder: &Path) -> Vec<(String, String)> {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let alive = |file: &Path| {
        let vm = file.file_name()?.to_str()?.strip_suffix(".json")?.to_owned();
        // A file that is taken away meanwhile is no domain any more.
        let text = std::fs::read(file).ok()?;
        let domain: serde_json::Value = serde_json::from_slice(&text).ok()?;
        (domain["power"] != "off").then(|| (vm, file.display().to_string()))
    };
    files.filter_map(|file| alive(&file.path())).collect()
}

/// What a watch has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) looks: u64,
    pub(crate) ran: BTreeSet<String>,
    pub(crate) twice: Vec<String>,
}

/// A watch at work.
pub(crate) struct Watch {
    over: Arc<AtomicBool>,
    found: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

impl Watch {
    pub(crate) fn begin(places: Places) -> Self {
        let (over, found) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (until, tell) = (Arc::clone(&over), Arc::clone(&found));
        let thread = std::thread::spawn(move || {
            let mut seen = Seen::default();
            let mut before = places.running();
            wait_until("the end of the watch", LONGEST, || {
                let now = places.running();
                seen.looks += 1;
                for (vm, here) in &now {
                    // One look takes a while, and one may end in it before the other begins. Two
                    // that are in both looks were there at once: between the looks.
                    let both = before.get(vm).map(|before| here & before).unwrap_or_default();
                    if both.len() > 1 && !tell.swap(true, Ordering::Relaxed) {
                        seen.twice.push(format!("{vm} runs {} times: {both:?}", both.len()));
                    }
                }
                seen.ran.extend(now.keys().cloned());
                before = now;
                until.load(Ordering::Relaxed)
            });
            seen
        });
        Self { over, found, thread }
    }

    /// Whether it has found a VM that runs twice.
    pub(crate) fn found(&self) -> bool {
        self.found.load(Ordering::Relaxed)
    }

    pub(crate) fn end(self) -> Seen {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().expect("it has watched until the end")
    }
}

/// Two QEMUs with the same UUID.
pub(crate) struct Twins {
    vm: String,
    children: Vec<Child>,
}

impl Twins {
    /// None, said aloud, if there is no QEMU.
    pub(crate) fn start() -> Option<Self> {
        let program = Path::new("/usr/bin/qemu-system-x86_64");
        if !program.is_file() {
            skipped("QEMU is not installed: run scripts/setup");
            return None;
        }
        let vm = uuid::Uuid::new_v4().to_string();
        let start = || {
            Command::new(program)
                .args(["-S", "-nodefaults", "-display", "none", "-accel", "tcg", "-uuid", &vm])
                .stdin(Stdio::null())
                .spawn()
                .expect("QEMU starts")
        };
        let children = vec![start(), start()];
        Some(Self { vm, children })
    }

    pub(crate) fn vm(&self) -> String {
        self.vm.clone()
    }
}

impl Drop for Twins {
    fn drop(&mut self) {
        for child in &mut self.children {
            // One that has ended by itself is no trouble.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
