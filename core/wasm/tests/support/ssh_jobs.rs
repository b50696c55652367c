//! Command jobs over ssh.

use super::support::{all, call, host, hypervisor, load, options, processes, told};
use super::{Sshd, folder, gone};
use ostler_driver::{Hypervisor, Site};
use ostler_model::{DriverError, ErrorKind};
use ostler_wasm::{HostOptions, Lease, Secret};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const WORK: &str = "echo begun; until [ -e $D/go ]; do sleep 0.02; done; echo out; exit 7\n";

/// A daemon of its own, with its own connections.
async fn daemon(jobs: &Path) -> Arc<dyn Hypervisor> {
    let mut grants = all();
    grants.secrets.insert("password".to_owned(), Secret::new("hunter2"));
    let (jobs_folder, lease) = (jobs.display().to_string(), Lease::renewed_every(1));
    let host = host(HostOptions { jobs_folder, lease, ..options() });
    hypervisor(&load(&host, grants).await)
}

/// Asks until the host is reached, and the job is no longer at work.
async fn end(driver: &Arc<dyn Hypervisor>, site: &Site) -> Result<String, DriverError> {
    for _ in 0..3000 {
        match told(driver, site).await {
            Ok(state) if state.starts_with("running") => {}
            Err(error) if matches!(error.kind, ErrorKind::Retry | ErrorKind::Unknown) => {}
            told => return told,
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the job does not end")
}

#[tokio::test]
async fn a_job_goes_on_when_its_connection_is_cut_and_is_ended_by_another_daemon() {
    let Some(sshd) = Sshd::start() else { return };
    let ((_dir, root), (_jobs, jobs)) = (folder(), folder());
    std::fs::write(root.join("work"), format!("D={}\n{WORK}", root.display())).expect("written");
    std::fs::write(root.join("hang"), "sleep 84301 & sleep 84302").expect("written");
    let there = |deed: &str| sshd.site("here", "127.0.0.1", &root, deed);
    let first = daemon(&jobs).await;
    for deed in ["job start copy do script=ds:work", "job start hang do script=ds:hang"] {
        let state = told(&first, &there(deed)).await.expect("begun");
        assert!(state.starts_with("running"), "{state}");
    }
    let sleeps = || processes("sleep\u{0}84301\u{0}") + processes("sleep\u{0}84302\u{0}");
    sshd.cut();
    drop(first);
    let second = daemon(&jobs).await;
    let state = told(&second, &there("job poll copy")).await.expect("told");
    assert!(state.starts_with("running"), "{state}");
    std::fs::write(root.join("go"), "").expect("written");
    let state = end(&second, &there("job poll copy")).await.expect("told");
    assert!(state.contains("ended Some(7) None false 10 0"), "{state}");
    assert_eq!(sleeps(), 2);
    let stopped = told(&second, &there("job stop hang")).await;
    assert_eq!(stopped.as_deref(), Ok("absent"));
    assert_eq!(sleeps(), 0);
    // Its secret goes to standard input there, too.
    told(&second, &there("job start login login")).await.expect("begun");
    let state = end(&second, &there("job poll login")).await.expect("told");
    assert!(state.contains("f52fbd32b2b3b86ff88ef6c490628285f482af15ddcb29541f94bcf526a3f6c7"));
}

#[tokio::test]
async fn a_job_can_be_ended_by_a_call_that_was_told_to_stop() {
    let Some(sshd) = Sshd::start() else { return };
    let ((_dir, root), (_jobs, jobs)) = (folder(), folder());
    let driver = daemon(&jobs).await;
    let there = |deed: &str| sshd.site("here", "127.0.0.1", &root, deed);
    told(&driver, &there("job start long sleep seconds=84303")).await.expect("begun");
    let sleeps = || processes("/bin/sleep\u{0}84303\u{0}");
    while sleeps() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let control = call(1, Duration::from_secs(60));
    let told = async {
        while !root.join("began").exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        control.cancel.cancel();
    };
    let deed = there("job cancelled-stop long");
    let (answer, ()) = tokio::join!(driver.remove(&deed, &control), told);
    assert_eq!(answer.expect_err("told").detail, "absent");
    gone(sleeps).await;
}
