//! Measures `create > running` of a real guest through `ostlerd`, beside `virsh define` and `start`
//! of the same XML.
//!
//! `cargo bench -p ostler-tests --bench kvm [-- ROUNDS]`. Both alternate, so that noise hits both.
//! virsh runs its two commands in one process. The time of such a process by itself
//! (`virsh version`) is measured apart and subtracted, because a daemon pays it only once. The
//! guest boots from its initrd and has no disk, because an overlay needs `qemu-img`, which virsh
//! does not run. A second pair of lines has a disk; there the floor includes `qemu-img create`.

mod rig;

use ostler_tests::daemon::{self, Daemon};
use ostler_tests::lab::{self, Lab, LibvirtHost};
use rig::client::Pool;
use rig::feed::Feed;
use rig::figures::{Times, line, ms};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// How many rounds, unless told otherwise. One round takes a few seconds.
const ROUNDS: usize = 12;

struct Rig {
    daemon: Daemon,
    host: LibvirtHost,
    pool: Pool,
    feed: Feed,
    dir: PathBuf,
}

impl Rig {
    async fn up(dir: &Path) -> Self {
        let host = LibvirtHost::up("bench-kvm");
        let daemon = Daemon::start(dir, &["--log", "error"]);
        let client = daemon.client();
        daemon::datastores(client, dir).await;
        let guest = Lab::guest();
        for file in [&guest.kernel, &guest.initrd, &guest.base_disk] {
            std::fs::copy(file, dir.join("images").join(name(file))).expect("a copy");
        }
        daemon::image(client, "base", &format!("images:{}", name(&guest.base_disk))).await;
        let config = [("uri".to_owned(), host.uri().to_owned())].into();
        let new = ostler_api::NewHost {
            name: "kvm1".to_owned(),
            driver: "kvm".to_owned(),
            config,
            ..Default::default()
        };
        client.add_host(&new).await.expect("a host is added");
        daemon::reachable(client, "kvm1").await;
        let pool = Pool::open(&daemon.socket(), 2).await;
        let feed = Feed::watch(&daemon.socket()).await;
        Self { daemon, host, pool, feed, dir: dir.to_owned() }
    }

    /// Creates a VM and waits until it runs.
    async fn ours(&self, round: usize, disk: bool) -> (u64, Duration) {
        let guest = Lab::guest();
        let disks = if disk { r#","disks":[{"name":"vda","image":"base"}]"# } else { "" };
        let spec = format!(
            r#"{{"spec":{{"name":"k{round}","memory":"96MiB","cpu":0.5,"boot":{{"kernel":"images:{}","initrd":"images:{}","cmdline":"{}"}}{disks}}}}}"#,
            name(&guest.kernel),
            name(&guest.initrd),
            guest.command_line(&[]),
        );
        let began = Instant::now();
        let (answer, _) = self.pool.send("POST", "/v1/vms", Some(&spec)).await;
        let vm = answer.number("vm");
        self.feed.reach(vm, "running").await;
        (vm, began.elapsed())
    }

    /// Ends the VM, and makes its XML that of a wild domain. Answers the XML's file, the domain's
    /// name and the VM's folder.
    async fn same(&self, vm: u64) -> (PathBuf, String, PathBuf) {
        let shown = self.daemon.client().vm(&vm.to_string()).await.expect("a VM");
        let domain = shown.placement.expect("it has a place").domain;
        let xml = self.host.virsh(&["dumpxml", "--inactive", &domain]).expect("dumped");
        let (answer, _) = self
            .pool
            .send("POST", &format!("/v1/vms/{vm}/actions/shutdown-hard"), Some("{}"))
            .await;
        assert!(answer.status < 300, "{}", String::from_utf8_lossy(&answer.body));
        self.feed.reach(vm, "done").await;
        let folder = self.dir.join("system/vms").join(&shown.uuid);
        std::fs::create_dir_all(&folder).expect("a folder");
        let file = self.dir.join("same.xml");
        // With Ostler's stamp in it, the monitor would take the domain for a leftover and end it.
        let fresh = without(&without(&xml, "<metadata>", "</metadata>"), "<uuid>", "</uuid>");
        std::fs::write(&file, fresh).expect("written");
        (file, domain, folder)
    }

    fn virsh(&self, commands: &str) -> Duration {
        run("virsh", &["-q", "-c", self.host.uri(), commands])
    }

    /// Runs virsh's define and start, after `qemu-img create` if there is a disk. Then removes
    /// everything.
    async fn theirs(&self, vm: u64, disk: bool) -> Duration {
        let (xml, domain, folder) = self.same(vm).await;
        let overlay = if disk {
            overlay(&self.dir.join("images").join(name(&Lab::guest().base_disk)), &folder)
        } else {
            Duration::ZERO
        };
        let took = self.virsh(&format!("define {}; start {domain}", xml.display()));
        self.virsh(&format!("destroy {domain}; undefine {domain}"));
        std::fs::remove_dir_all(&folder).expect("a folder");
        took + overlay
    }
}

fn overlay(base: &Path, folder: &Path) -> Duration {
    let file = folder.join("vda.qcow2").display().to_string();
    run(
        "qemu-img",
        &["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", &base.display().to_string(), &file],
    )
}

fn run(program: &str, arguments: &[&str]) -> Duration {
    let began = Instant::now();
    let done = Command::new(program).args(arguments).output().expect("it runs");
    let took = began.elapsed();
    assert!(
        done.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    took
}

/// `text` without the first part from `from` to `to`.
fn without(text: &str, from: &str, to: &str) -> String {
    match (text.find(from), text.find(to)) {
        (Some(begin), Some(end)) if begin < end => {
            format!("{}{}", &text[..begin], &text[end + to.len()..])
        }
        (_, _) => text.to_owned(),
    }
}

fn name(path: &Path) -> String {
    path.file_name().expect("a file has a name").to_string_lossy().into_owned()
}

fn main() {
    if !daemon::is_built() || !lab::require_libvirt() {
        return;
    }
    let rounds =
        std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(ROUNDS);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("starts");
    let dir = tempfile::tempdir().expect("a folder");
    runtime.block_on(async {
        let rig = Rig::up(dir.path()).await;
        for disk in [false, true] {
            compare(&rig, rounds, disk).await;
        }
    });
}

async fn compare(rig: &Rig, rounds: usize, disk: bool) {
    let (mut ours, mut theirs, mut process) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=rounds {
        let (vm, took) = rig.ours(round, disk).await;
        let floor = rig.theirs(vm, disk).await;
        let alone = rig.virsh("version");
        // The first round fills caches and opens connections. It is not counted.
        if round > 0 {
            ours.push(took);
            theirs.push(floor);
            process.push(alone);
        }
    }
    let (ours, theirs, process) = (Times::new(ours), Times::new(theirs), Times::new(process));
    let bare = theirs.median().saturating_sub(process.median());
    let kind = if disk { "a disk" } else { "no disk" };
    println!(
        "{kind}: ours {}; virsh {}; a virsh process alone {}",
        ours.words(),
        theirs.words(),
        process.words()
    );
    let more = ms(ours.median()) - ms(bare);
    line(
        &format!("create > running, KVM driver, {kind}"),
        &format!("{:.1} ms ({more:+.1} ms)", ms(ours.median())),
        &format!("{:.1} ms", ms(bare)),
        &format!("{:.3}", ms(ours.median()) / ms(bare)),
        "< 1.10 and < 15 ms more",
    );
}
