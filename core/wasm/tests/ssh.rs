//! Commands and files over ssh, against a real sshd on loopback.

#[path = "support/ssh_jobs.rs"]
mod jobs;
#[path = "support/sshd.rs"]
mod sshd;
mod support;

use ostler_driver::{Hypervisor, Site};
use ostler_model::{ErrorKind, ExecTransport, Observation};
use ostler_wasm::{HostOptions, Lease, Secret};
use sshd::{Sshd, run};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{
    Sites, all, call, epochs, files, host, hypervisor, load, options, processes, site, told,
    told_at, vm,
};

async fn driver(sites: Vec<Site>) -> Arc<dyn Hypervisor> {
    let (sites, lease) = (Arc::new(Sites(sites)), Lease::renewed_every(2));
    let host = host(HostOptions { sites, lease, ..options() });
    hypervisor(&load(&host, all()).await)
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().to_owned();
    (dir, path)
}

#[tokio::test]
async fn commands_and_files_are_as_on_this_machine() {
    let Some(sshd) = Sshd::start() else { return };
    let (_dir, root) = folder();
    let driver = driver(Vec::new()).await;
    let there = |deed: &str| sshd.site("here", "127.0.0.1", &root, deed);
    files(&driver, there, &root).await;
    let shown =
        told(&driver, &there("exec show word=$(id)';\"\\* n=7 file=ds:disk")).await.expect("ran");
    assert_eq!(
        shown,
        format!(
            "(Some(0), None, {:?}, \"\")",
            format!("$(id)';\"\\*|n=7|{}/disk|", root.display())
        )
    );
    assert_eq!(
        told(&driver, &there("exec cat")).await.expect("ran"),
        "(Some(0), None, \"input\", \"\")"
    );
    let missing = told(&driver, &there("exec missing")).await.expect_err("it is not there");
    assert_eq!((missing.kind, missing.code.as_str()), (ErrorKind::NotHere, "no-program"));
    let begun = Instant::now();
    told(&driver, &there("exec cat")).await.expect("ran");
    println!("one command over the shared connection: {:?}", begun.elapsed());
    assert_eq!(sshd.log().matches("Accepted publickey").count(), 1, "one connection is shared");
}

#[tokio::test]
async fn a_host_does_nothing_for_a_daemon_that_is_no_longer_in_charge() {
    let Some(sshd) = Sshd::start() else { return };
    let ((_a, root), (_b, kept)) = (folder(), folder());
    let host = host(HostOptions { epochs: Some(kept.join("epochs")), ..options() });
    let driver = hypervisor(&load(&host, all()).await);
    let there = |deed: &str| sshd.site("here", "127.0.0.1", &root, deed);
    epochs(&driver, there, &root, &kept.join("epochs")).await;
}

#[tokio::test]
async fn a_host_that_can_keep_no_epoch_works_and_has_a_note() {
    let Some(sshd) = Sshd::start() else { return };
    let ((_a, root), (_b, kept)) = (folder(), folder());
    // No folder can be made below a file, not even by root.
    std::fs::write(kept.join("file"), "").expect("written");
    let host = host(HostOptions { epochs: Some(kept.join("file/epochs")), ..options() });
    let driver = hypervisor(&load(&host, all()).await);
    let there = |deed: &str| sshd.site("here", "127.0.0.1", &root, deed);
    let notes = async || driver.probe(&there("")).await.expect("facts").notes;
    // The login's home takes it then.
    assert_eq!(told_at(&driver, &there("make ds a"), 6).await.as_deref(), Ok("()"));
    let at_home = PathBuf::from(sshd.file(".ostler/epochs"));
    assert_eq!(std::fs::read_dir(&at_home).expect("made").count(), 1);
    assert!(told_at(&driver, &there("make ds a"), 5).await.expect_err("lower").is_superseded());
    assert_eq!(notes().await, ["a note"]);
    std::fs::remove_dir_all(sshd.file(".ostler")).expect("removed");
    std::fs::write(sshd.file(".ostler"), "").expect("written");
    for epoch in [6, 5] {
        assert_eq!(told_at(&driver, &there("make ds a"), epoch).await.as_deref(), Ok("()"));
    }
    assert!(notes().await.concat().contains("cannot be kept"), "{:?}", notes().await);
    std::fs::remove_file(sshd.file(".ostler")).expect("removed");
    assert_eq!(told_at(&driver, &there("make ds a"), 6).await.as_deref(), Ok("()"));
    assert_eq!(notes().await, ["a note"]);
}

#[tokio::test]
async fn files_come_from_other_hosts() {
    let Some(sshd) = Sshd::start() else { return };
    let ((_a, here), (_b, there), (_c, beyond)) = (folder(), folder(), folder());
    let far = sshd.site("far", "127.0.0.1", &there, "");
    let other = sshd.site("other", "localhost", &beyond, "");
    let near = Site { name: "near".parse().expect("a name"), ..site(&here, "") };
    let driver = driver(vec![far.clone(), other.clone(), near.clone()]).await;
    let size: u64 = (20 << 20) + 12345;
    let disk = std::fs::File::create(here.join("disk")).expect("made");
    disk.set_len(size).expect("sized");
    disk.write_all_at(b"begin", 0).expect("written");
    disk.write_all_at(b"end", 10 << 20).expect("written");
    let sum = run("sha256sum", &[here.join("disk").to_str().expect("text")])[..64].to_owned();
    let deed = |site: &Site, deed: &str| {
        let mut site = site.clone();
        site.config.insert("deed".to_owned(), deed.to_owned());
        site
    };
    for (at, from, path, root) in [
        (&far, "near", "in/disk", &there),
        (&near, "far", "back", &here),
        (&other, "far", "x/y", &beyond),
    ] {
        let source = if from == "near" { "disk" } else { "in/disk" };
        let fetched =
            told(&driver, &deed(at, &format!("fetch {from} ds {source} ds {path}"))).await;
        assert_eq!(fetched, Ok(size.to_string()), "from {from}");
        let target = root.join(path);
        assert_eq!(run("sha256sum", &[target.to_str().expect("text")])[..64], sum);
        let blocks =
            std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(&target).expect("there"));
        assert!(blocks * 512 < 4 << 20, "holes are kept: {blocks} blocks");
        let names = std::fs::read_dir(target.parent().expect("folder")).expect("listed");
        assert!(
            names
                .filter_map(Result::ok)
                .all(|name| !name.file_name().to_string_lossy().contains("part")),
            "nothing half-made is left"
        );
    }
    let error = told(&driver, &deed(&near, "fetch far ds nothing ds z")).await.expect_err("absent");
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Gone, "no-such-file"));
    std::os::unix::fs::symlink("/etc", there.join("out")).expect("link");
    let error =
        told(&driver, &deed(&near, "fetch far ds out/passwd ds z")).await.expect_err("outside");
    assert_eq!(error.code, "outside-datastore");
    assert!(!here.join("z").exists());
}

#[tokio::test]
async fn a_lost_connection_is_unknown_and_ends_the_command() {
    let Some(sshd) = Sshd::start() else { return };
    let (_dir, root) = folder();
    let driver = driver(Vec::new()).await;
    let there = |deed: &str| sshd.site("here", "127.0.0.1", &root, deed);
    let sleeps = |seconds: &str| processes(&format!("/bin/sleep\u{0}{seconds}\u{0}"));
    let (long, control) = (there("exec sleep seconds=5151"), call(1, Duration::from_secs(60)));
    let cut = async {
        while sleeps("5151") == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        sshd.cut();
    };
    let (answer, ()) = tokio::join!(driver.remove(&long, &control), cut);
    let error = answer.expect_err("lost");
    assert_eq!(
        (error.kind, error.code.as_str()),
        (ErrorKind::Unknown, "connection-lost"),
        "{error}"
    );
    gone(|| sleeps("5151")).await;
    // A new connection is made by itself, and cancel reaches the far end.
    let (long, control) = (there("exec sleep seconds=6161"), call(1, Duration::from_secs(60)));
    let cancel = async {
        while sleeps("6161") == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        control.cancel.cancel();
    };
    let (answer, ()) = tokio::join!(driver.remove(&long, &control), cancel);
    assert_eq!(answer.expect_err("cancelled").kind, ErrorKind::Cancelled);
    gone(|| sleeps("6161")).await;
    // The first command might still have been at work.
    assert_eq!(answered(&driver, &there("")).await, Observation::Absent);
}

#[tokio::test]
async fn a_command_ends_when_its_host_hears_nothing_more() {
    let Some(sshd) = Sshd::start() else { return };
    let (_dir, root) = folder();
    let host = host(HostOptions { lease: Lease::renewed_every(1), ..options() });
    let driver = hypervisor(&load(&host, all()).await);
    let there = |deed: &str| sshd.site("here", "127.0.0.1", &root, deed);
    let sleeps = |seconds: &str| processes(&format!("/bin/sleep\u{0}{seconds}\u{0}"));
    // It takes longer than a lease that nobody renews.
    let told = told(&driver, &there("exec sleep seconds=6")).await;
    assert_eq!(told.as_deref(), Ok("(Some(0), None, \"\", \"\")"));
    let (long, control) = (there("exec sleep seconds=7171"), call(1, Duration::from_secs(600)));
    let silence = async {
        while sleeps("7171") == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        sshd.silence();
    };
    let (answer, ()) = tokio::join!(driver.remove(&long, &control), silence);
    let error = answer.expect_err("lost");
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Unknown, "connection-lost"));
    // Nothing is said of the VM while the command may be at work.
    let busy = driver.observe(&there(""), vm(1)).await.expect_err("a command may be at work");
    assert_eq!((busy.kind, busy.code.as_str()), (ErrorKind::Retry, "busy"), "{busy}");
    let listed = driver.list(&there("")).await.expect("another VM may be told of");
    assert_eq!(listed.unreadable, [vm(1)]);
    assert_eq!(driver.observe(&there(""), vm(2)).await, Ok(Observation::Absent));
    let seen = answered(&driver, &there("")).await;
    assert_eq!((seen, sleeps("7171")), (Observation::Absent, 0), "it was said too early");
    assert_eq!(driver.list(&there("")).await.expect("listed").unreadable, []);
}

#[tokio::test]
async fn a_look_waits_for_the_commands_of_the_daemon_before() {
    let Some(sshd) = Sshd::start() else { return };
    let (_dir, root) = folder();
    for (seconds, is_busy) in [(60, true), (1, false)] {
        let lease = Lease::renewed_every(seconds);
        let host = host(HostOptions { lease, earlier_process: true, ..options() });
        let driver = hypervisor(&load(&host, all()).await);
        // On this machine they ended with that daemon.
        assert_eq!(driver.observe(&site(&root, ""), vm(1)).await, Ok(Observation::Absent));
        let there = sshd.site("here", "127.0.0.1", &root, "");
        if is_busy {
            let busy = driver.observe(&there, vm(1)).await.expect_err("it may be at work");
            assert_eq!((busy.kind, busy.code.as_str()), (ErrorKind::Retry, "busy"), "{busy}");
        } else {
            assert_eq!(answered(&driver, &there).await, Observation::Absent);
        }
    }
}

#[tokio::test]
async fn two_copies_never_write_one_file() {
    let Some(sshd) = Sshd::start() else { return };
    let (_dir, root) = folder();
    let driver = driver(Vec::new()).await;
    let there = sshd.site("here", "127.0.0.1", &root, "copy ds base ds disk");
    std::fs::write(root.join("base"), "content").expect("written");
    let draft = std::fs::File::create(root.join(".disk.ostler-part")).expect("made");
    draft.lock().expect("as a copy does that goes on");
    let busy = told(&driver, &there).await.expect_err("another copy is at work");
    assert_eq!((busy.kind, busy.code.as_str()), (ErrorKind::Retry, "busy"), "{busy}");
    drop(draft);
    assert_eq!(told(&driver, &there).await.as_deref(), Ok("7"));
    assert_eq!(std::fs::read(root.join("disk")).expect("copied"), b"content");
    assert!(!root.join(".disk.ostler-part").exists());
}

/// Looks at the first VM until a look is answered.
async fn answered(driver: &Arc<dyn Hypervisor>, site: &Site) -> Observation {
    for _ in 0..12_000 {
        match driver.observe(site, vm(1)).await {
            Err(error) if error.code == "busy" => {}
            seen => return seen.expect("answered"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no look was answered for two minutes")
}

async fn gone(count: impl Fn() -> usize) {
    for _ in 0..1000 {
        if count() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the command still runs at the far end");
}

/// The same as on the daemon's machine: the input goes to standard input at the far end.
#[tokio::test]
async fn a_command_is_given_its_secrets_at_the_far_end() {
    let Some(sshd) = Sshd::start() else { return };
    let (_dir, root) = folder();
    let mut grants = all();
    grants.secrets.insert("password".to_owned(), Secret::new("hunter2"));
    let driver = hypervisor(&load(&host(options()), grants).await);
    let says = async |deed: &str| told(&driver, &sshd.site("far", "127.0.0.1", &root, deed)).await;
    let echoed = Ok("(Some(0), \"a [secret password] b\", \"\")".to_owned());
    assert_eq!(says("fill echo a {secret:password} b").await, echoed);
    // The digest of `hunter2`.
    let digest = says("fill login {secret:password}").await.expect("ran");
    assert!(digest.contains("f52fbd32b2b3b86ff88ef6c490628285f482af15ddcb29541f94bcf526a3f6c7"));
    let error = says("fill login {secret:token}").await.expect_err("not set");
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Refused, "no-secret"), "{error}");
    assert!(error.detail.contains("`ostler host secret-set far token`"), "{error}");
}

#[tokio::test]
async fn a_host_that_is_not_known_is_not_used() {
    let Some(sshd) = Sshd::start() else { return };
    let (_dir, root) = folder();
    let driver = driver(Vec::new()).await;
    std::fs::write(sshd.file("known"), "").expect("written");
    let error = told(&driver, &sshd.site("here", "127.0.0.1", &root, "exec cat"))
        .await
        .expect_err("refused");
    assert_eq!(
        (error.kind, error.code.as_str()),
        (ErrorKind::Retry, "host-unreachable"),
        "{error}"
    );
    assert!(error.detail.contains("Host key verification failed"), "{error}");
    let mut away = sshd.site("here", "127.0.0.1", &root, "exec cat");
    if let ExecTransport::Ssh { port, .. } = &mut away.transport {
        *port = 1;
    }
    let error = told(&driver, &away).await.expect_err("refused");
    assert!(error.detail.contains("Connection refused"), "{error}");
    let mut odd = sshd.site("here", "127.0.0.1", &root, "exec cat");
    if let ExecTransport::Ssh { destination, .. } = &mut odd.transport {
        *destination = "-oProxyCommand=touch /tmp/x".to_owned();
    }
    assert_eq!(told(&driver, &odd).await.expect_err("refused").code, "bad-argument");
}
