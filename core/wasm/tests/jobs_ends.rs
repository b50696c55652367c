//! Command jobs at the ends of things: after a reboot of their host, under a daemon that was
//! replaced, and beside a daemon with a copy of the store.

#[path = "support/jobs_lab.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod lab;
mod support;

use lab::{LONG, Lab, asked, end, says, until};
use ostler_model::{Epoch, StepNo};
use ostler_wasm::HostOptions;
use std::process::Command;
use support::{all, call, host, hypervisor, load, processes};

/// A command that has ended may not have flushed its file. After a power cut the file has its size
/// and no content.
#[tokio::test]
async fn the_end_of_a_job_from_before_a_reboot_is_not_believed() {
    let lab = Lab::new();
    lab.script("work", "echo out");
    let driver = lab.driver().await;
    says(&driver, &lab, "job start copy do script=ds:work").await.expect("begun");
    assert!(end(&driver, &lab, "copy").await.starts_with("ended Some(0)"));
    std::fs::write(lab.job().join("boot"), "00000000-0000-0000-0000-000000000000\n")
        .expect("written");
    let lost = "lost: its host was started anew meanwhile";
    assert_eq!(says(&driver, &lab, "job poll copy").await.as_deref(), Ok(lost));
    assert_eq!(says(&driver, &lab, "job stop copy").await.as_deref(), Ok(lost));
    assert_eq!(says(&driver, &lab, "job poll copy").await.as_deref(), Ok("absent"));
}

/// A daemon with a copy of the store can have used the same numbers for another effect.
#[tokio::test]
async fn a_job_of_another_command_is_ended_and_its_end_is_nobodys() {
    let lab = Lab::new();
    lab.script("theirs", "sleep 84291; echo theirs");
    lab.script("ours", "echo ours");
    let sleeps = || processes("sleep\u{0}84291\u{0}");
    let driver = lab.driver().await;
    says(&driver, &lab, "job start copy do script=ds:theirs").await.expect("begun");
    until("the command", || sleeps() == 1).await;
    says(&driver, &lab, "job start copy do script=ds:ours").await.expect("begun");
    assert_eq!(sleeps(), 0);
    let ended = end(&driver, &lab, "copy").await;
    assert!(ended.starts_with("ended Some(0)") && ended.contains("ours"), "{ended}");
}

/// Nothing is ended for the daemon, and the answer is the one by which it gives its store up.
#[tokio::test]
async fn a_daemon_that_was_replaced_ends_no_job_of_an_earlier_step() {
    let lab = Lab::new();
    lab.script("work", "sleep 84292");
    let sleeps = || processes("sleep\u{0}84292\u{0}");
    let epochs = Some(lab.dir.path().join("epochs"));
    let host = host(HostOptions { epochs, ..lab.options() });
    let driver = hypervisor(&load(&host, all()).await);
    let of = |step: u64, epoch: u64| {
        let mut control = call(1, LONG);
        control.context.key.step = StepNo(step);
        control.context.epoch = Epoch(epoch);
        control
    };
    let begun = asked(&driver, &of(8, 6), &lab.site("job start copy do script=ds:work")).await;
    assert_eq!(begun, "running \"\"");
    until("the command", || sleeps() == 1).await;
    let error = driver.remove(&lab.site(""), &of(9, 5)).await.expect_err("replaced");
    assert!(error.is_superseded(), "{error}");
    assert_eq!(sleeps(), 1);
    assert_eq!(asked(&driver, &of(8, 6), &lab.site("job stop copy")).await, "absent");
    assert_eq!(sleeps(), 0);
}

/// The files of a job are read by others: an image by the user that guests run as.
#[tokio::test]
async fn a_job_makes_files_with_the_usual_rights() {
    let lab = Lab::new();
    lab.script("work", "umask");
    let driver = lab.driver().await;
    says(&driver, &lab, "job start copy do script=ds:work").await.expect("begun");
    let ours = Command::new("/bin/sh").args(["-c", "umask"]).output().expect("runs").stdout;
    let ours = format!("{:?}", String::from_utf8_lossy(&ours));
    let ended = end(&driver, &lab, "copy").await;
    assert!(ended.contains(&ours), "{ended}, not {ours}");
}
