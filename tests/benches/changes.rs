//! Measures changes of a running guest beside `virsh`, which does the same to a second domain: live
//! migration there and back, plugging, snapshots, resizing.
//!
//! `cargo bench -p ostler-tests --bench changes [-- ROUNDS]`. Two lab hosts share their storage.
//! One VM of Ostler's and one wild domain, the twin, run on them. Both are made of the same XML.
//! Changes of the two alternate, so that noise hits both. Ostler's time runs from the request to
//! the answer at the operation's end. virsh's time is that of the process, less the time of a
//! process by itself (`virsh version`), because a daemon would pay that only once. The downtime of
//! a migration is what libvirt reports for the job, for both.

mod rig;

use ostler_api::{ActionReply, Sent};
use ostler_tests::kvm::{Kvm, Storage};
use rig::figures::{Times, line, ms};
use serde_json::{Value, json};
use std::process::Command;
use std::time::{Duration, Instant};

/// How many rounds, unless told otherwise. One round takes about ten seconds.
const ROUNDS: usize = 8;
const TWIN: &str = "twin";

/// One change, done by Ostler and by virsh.
struct Deed {
    name: &'static str,
    ours: Vec<Duration>,
    theirs: Vec<Duration>,
}

impl Deed {
    const fn new(name: &'static str) -> Self {
        Self { name, ours: Vec::new(), theirs: Vec::new() }
    }

    fn tell(self, process: Duration, aim: &str) {
        let (ours, theirs) = (Times::new(self.ours), Times::new(self.theirs));
        let bare = theirs.median().saturating_sub(process);
        println!("{}: ours {}; virsh {}", self.name, ours.words(), theirs.words());
        let more = ms(ours.median()) - ms(bare);
        let ratio = ms(ours.median()) / ms(bare).max(0.001);
        line(
            self.name,
            &format!("{:.1} ms ({more:+.1} ms)", ms(ours.median())),
            &format!("{:.1} ms", ms(bare)),
            &format!("{ratio:.3}"),
            aim,
        );
    }
}

struct Bench {
    kvm: Kvm,
    vm: String,
}

impl Bench {
    fn ours(&self, verb: &str, body: &Value) -> Duration {
        let sent = Sent { wait: Some(Duration::from_secs(120)), ..Sent::default() };
        let began = Instant::now();
        let reply: ActionReply = self
            .kvm
            .run(self.kvm.daemon.client().act(&self.vm, verb, body, &sent))
            .unwrap_or_else(|error| panic!("{verb}: {error}"));
        let took = began.elapsed();
        let outcome = reply.operation.and_then(|operation| operation.outcome);
        assert_eq!(outcome.as_deref(), Some("succeeded"), "{verb}");
        took
    }

    fn virsh(&self, host: usize, arguments: &[&str]) -> (Duration, String) {
        let uri = self.kvm.hosts[host].uri().to_owned();
        let mut all = vec!["-q", "-c", uri.as_str()];
        all.extend(arguments);
        let began = Instant::now();
        let done = Command::new("virsh").args(&all).output().expect("virsh runs");
        let took = began.elapsed();
        assert!(
            done.status.success(),
            "virsh {arguments:?}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
        (took, String::from_utf8_lossy(&done.stdout).into_owned())
    }

    /// Makes a wild domain that is like the VM.
    fn make_twin(&self, host: usize) {
        let domain = self.kvm.domains(host).pop().expect("ours is there");
        let (_, xml) = self.virsh(host, &["dumpxml", "--inactive", &domain]);
        let folder = self.kvm.hosts.store().join(TWIN);
        std::fs::create_dir(&folder).expect("a folder");
        let uuid = self.kvm.show(&self.vm)["uuid"].as_str().expect("one").to_owned();
        let ours = self.kvm.hosts.store().join("vms").join(&uuid);
        let base = self.kvm.dir().join("images/base.qcow2").display().to_string();
        let disk = folder.join("vda.qcow2").display().to_string();
        overlay(&base, &disk);
        let fresh = without(&without(&xml, "<metadata>", "</metadata>"), "<uuid>", "</uuid>");
        let fresh = without(&fresh, "<title>", "</title>")
            .replace(&ours.display().to_string(), &folder.display().to_string())
            .replace(&domain, TWIN);
        let file = self.kvm.dir().join("twin.xml");
        std::fs::write(&file, fresh).expect("written");
        self.virsh(host, &["define", &file.display().to_string()]);
        self.virsh(host, &["start", TWIN]);
        ostler_tests::lab::SerialLog::new(folder.join("console.log"))
            .wait_for("GUEST-READY", ostler_tests::kvm::BOOT);
    }

    /// The downtime of the last migration that arrived on a host, as libvirt reports it.
    fn downtime(&self, host: usize, domain: &str) -> Option<Duration> {
        let (_, said) = self.virsh(host, &["domjobinfo", domain, "--completed"]);
        let line = said.lines().find(|line| line.starts_with("Total downtime"))?;
        let number: f64 = line.split_whitespace().nth(2)?.parse().ok()?;
        Some(Duration::from_secs_f64(number / 1000.0))
    }
}

fn overlay(base: &str, file: &str) -> Duration {
    let began = Instant::now();
    let done = Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, file])
        .output()
        .expect("it runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    began.elapsed()
}

fn without(text: &str, from: &str, to: &str) -> String {
    match (text.find(from), text.find(to)) {
        (Some(begin), Some(end)) if begin < end => {
            format!("{}{}", &text[..begin], &text[end + to.len()..])
        }
        (_, _) => text.to_owned(),
    }
}

fn migrations(bench: &Bench, rounds: usize, process: Duration) {
    let mut total = Deed::new("live migration, KVM, shared storage");
    let (mut down_ours, mut down_theirs) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let from = bench.kvm.host_of(&bench.vm);
        let to = 1 - from;
        let ours = bench.ours("migrate-live", &json!({ "host": format!("kvm{}", to + 1) }));
        let domain =
            bench.kvm.domains(to).into_iter().find(|name| name != TWIN).expect("ours is there");
        let uri = bench.kvm.hosts[to].network_uri();
        let go = [
            "migrate",
            TWIN,
            &uri,
            "--live",
            "--p2p",
            "--persistent",
            "--undefinesource",
            "--unsafe",
        ];
        let (theirs, _) = bench.virsh(from, &go);
        // The first round opens connections and is not counted.
        if round > 0 {
            total.ours.push(ours);
            total.theirs.push(theirs);
            down_ours.extend(bench.downtime(to, &domain));
            down_theirs.extend(bench.downtime(to, TWIN));
        }
    }
    total.tell(process, "< 1.05");
    let (ours, theirs) = (Times::new(down_ours), Times::new(down_theirs));
    let (ours, theirs) = (ms(ours.median()), ms(theirs.median()));
    line(
        "... its downtime",
        &format!("{ours:.0} ms"),
        &format!("{theirs:.0} ms"),
        &format!("{:.3}", ours / theirs.max(0.001)),
        "-",
    );
}

fn plugging(bench: &Bench, rounds: usize, process: Duration) {
    let mut deeds = [
        Deed::new("disk attach (an overlay)"),
        Deed::new("disk detach"),
        Deed::new("NIC attach"),
        Deed::new("NIC detach"),
    ];
    let host = bench.kvm.host_of(&bench.vm);
    let base = bench.kvm.dir().join("images/base.qcow2").display().to_string();
    let file = bench.kvm.hosts.store().join(TWIN).join("vdb.qcow2").display().to_string();
    let mac = "52:54:00:99:88:77";
    for round in 0..=rounds {
        let ours = [
            bench.ours("disk-attach", &json!({ "name": "vdb", "image": "base" })),
            bench.ours("disk-detach", &json!({ "name": "vdb" })),
            bench.ours("nic-attach", &json!({ "bridge": "br0", "mac": "52:54:00:99:88:66" })),
            bench.ours("nic-detach", &json!({ "mac": "52:54:00:99:88:66" })),
        ];
        let made = overlay(&base, &file);
        let attach = [
            "attach-disk",
            TWIN,
            &file,
            "vdb",
            "--driver",
            "qemu",
            "--subdriver",
            "qcow2",
            "--live",
            "--config",
        ];
        let detach = ["detach-disk", TWIN, "vdb", "--live", "--config"];
        let nic = [
            "attach-interface",
            TWIN,
            "bridge",
            "br0",
            "--mac",
            mac,
            "--model",
            "virtio",
            "--live",
            "--config",
        ];
        let un_nic = ["detach-interface", TWIN, "bridge", "--mac", mac, "--live", "--config"];
        let theirs = [
            made + bench.virsh(host, &attach).0,
            bench.virsh(host, &detach).0,
            bench.virsh(host, &nic).0,
            bench.virsh(host, &un_nic).0,
        ];
        std::fs::remove_file(&file).expect("removed");
        if round > 0 {
            for ((deed, ours), theirs) in deeds.iter_mut().zip(ours).zip(theirs) {
                deed.ours.push(ours);
                deed.theirs.push(theirs);
            }
        }
    }
    for deed in deeds {
        deed.tell(process, "< 1.10 or < 15 ms more");
    }
}

fn snapshots(bench: &Bench, rounds: usize, process: Duration) {
    let mut deeds =
        [Deed::new("snapshot create"), Deed::new("snapshot revert"), Deed::new("snapshot delete")];
    let host = bench.kvm.host_of(&bench.vm);
    for round in 0..=rounds {
        let named = json!({ "name": "bench" });
        let ours = ["snapshot-create", "snapshot-revert", "snapshot-delete"]
            .map(|verb| bench.ours(verb, &named));
        let theirs = [
            bench.virsh(host, &["snapshot-create-as", TWIN, "bench"]).0,
            bench.virsh(host, &["snapshot-revert", TWIN, "bench"]).0,
            bench.virsh(host, &["snapshot-delete", TWIN, "bench"]).0,
        ];
        if round > 0 {
            for ((deed, ours), theirs) in deeds.iter_mut().zip(ours).zip(theirs) {
                deed.ours.push(ours);
                deed.theirs.push(theirs);
            }
        }
    }
    for deed in deeds {
        deed.tell(process, "< 1.10 or < 15 ms more");
    }
}

fn sizes(bench: &Bench, rounds: usize, process: Duration) {
    let mut deed = Deed::new("memory, live");
    let host = bench.kvm.host_of(&bench.vm);
    for round in 0..=rounds {
        let mib = if round % 2 == 0 { 120 } else { 96 };
        let ours = bench.ours("resize", &json!({ "memory": format!("{mib}MiB") }));
        let (theirs, _) =
            bench.virsh(host, &["setmem", TWIN, &format!("{mib}M"), "--live", "--config"]);
        if round > 0 {
            deed.ours.push(ours);
            deed.theirs.push(theirs);
        }
    }
    deed.tell(process, "< 1.10 or < 15 ms more");
}

fn main() {
    let rounds =
        std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(ROUNDS);
    let Some(kvm) = Kvm::up(2, Storage::Shared, &[]) else { return };
    let vm = kvm.guest("bench", &[], "headroom = { memory = \"160MiB\" }\n");
    let bench = Bench { kvm, vm };
    let host = bench.kvm.host_of(&bench.vm);
    bench.make_twin(host);
    let process =
        Times::new((0..rounds).map(|_| bench.virsh(host, &["version"]).0).collect()).median();
    println!("a virsh process alone: {:.1} ms", ms(process));
    migrations(&bench, rounds, process);
    // Both are on the same host again, whichever that is.
    plugging(&bench, rounds, process);
    sizes(&bench, rounds, process);
    snapshots(&bench, rounds, process);
    let host = bench.kvm.host_of(&bench.vm);
    bench.virsh(host, &["destroy", TWIN]);
    bench.virsh(host, &["undefine", TWIN, "--snapshots-metadata"]);
}
