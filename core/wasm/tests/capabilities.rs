//! What a driver may do, granted twice, against real processes and real directories.

mod support;

use ostler_driver::{DomainSpec, FileRef, Hypervisor, JobStatus};
use ostler_model::{
    ErrorKind, Firmware, Generation, Graphics, HostId, Identity, Observation, OpaqueState,
    Progress, StoreId,
};
use ostler_wasm::{Grants, HostOptions, Secret};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use support::{
    Audit, all, call, files, granting, host, hypervisor, load, nowhere, options, processes, site,
    told, vm,
};

const MINUTE: Duration = Duration::from_secs(60);

async fn driver(grants: Grants) -> (Arc<dyn Hypervisor>, Arc<Audit>) {
    let audit = Arc::new(Audit::default());
    let host = host(HostOptions { audit: Arc::clone(&audit) as _, ..options() });
    (hypervisor(&load(&host, grants).await), audit)
}

#[tokio::test]
async fn what_is_not_granted_is_denied_and_told() {
    let only_config = granting(&[("config", &[])]);
    let no_command = granting(&[("config", &[]), ("exec", &[])]);
    let mut no_socket = all();
    no_socket.capabilities.insert("socket".to_owned(), ["fixed".to_owned()].into());
    let mut secrets = all();
    secrets.capabilities.remove("secrets");
    secrets.secrets.insert("password".to_owned(), Secret::new("hunter2"));
    for (grants, deed, missing) in [
        (only_config.clone(), "exec cat", "the operator has not granted exec"),
        (only_config.clone(), "read ds a", "the operator has not granted files"),
        (only_config.clone(), "copy ds a ds b", "the operator has not granted files"),
        (no_command.clone(), "exec cat", "the operator has not granted exec:cat"),
        (all(), "exec halt", "its manifest does not ask for exec:halt"),
        (no_command.clone(), "talk peer file=ds:a x", "the operator has not granted socket"),
        (no_socket, "talk peer file=ds:a x", "the operator has not granted socket:peer"),
        (all(), "talk docker x=y x", "its manifest does not ask for socket:docker"),
        (secrets.clone(), "secret password", "the operator has not granted secrets"),
        (Grants::none(), "", "the operator has not granted config"),
    ] {
        let (driver, audit) = driver(grants).await;
        let error = driver.observe(&nowhere(deed), vm(1)).await.expect_err(deed);
        assert_eq!(
            (error.kind, error.code.as_str()),
            (ErrorKind::Refused, "denied"),
            "{deed}: {error}"
        );
        assert!(error.detail.ends_with(missing), "{deed}: {error}");
        let audited = audit.0.lock().expect("not poisoned");
        assert_eq!(audited.len(), 1);
        assert!(audited[0].contains(missing) && !audited[0].contains("hunter2"), "{audited:?}");
    }
}

/// It is granted, and the manifest does not ask for it: one of both is not enough.
#[tokio::test]
async fn what_the_manifest_does_not_ask_for_is_denied() {
    let older = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kept/guest-1.wasm"));
    let older = older.expect("it is kept");
    let manifest = ostler_wasm::inspect("guest", &older).expect("a component").manifest;
    let mut grants = Grants::all(&manifest);
    grants.capabilities.insert("secrets".to_owned(), BTreeSet::new());
    grants.secrets.insert("password".to_owned(), Secret::new("hunter2"));
    let host = host(options());
    let driver = host.load_bytes("guest.wasm", older, grants).await.expect("loads");
    let error = told(&hypervisor(&driver), &nowhere("secret password")).await.expect_err("denied");
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Refused, "denied"), "{error}");
    assert!(error.detail.ends_with("its manifest does not ask for secrets"), "{error}");
}

#[tokio::test]
async fn a_session_is_shared_by_the_calls_of_one_driver_for_one_host() {
    let (driver, _) = driver(all()).await;
    let ask = async |driver: &Arc<dyn Hypervisor>, id: u32, deed: &str| {
        let mut site = nowhere(deed);
        site.id = HostId(id);
        told(driver, &site).await
    };
    let kept = |value: Option<&str>| Ok(format!("{value:?}"));
    assert_eq!(ask(&driver, 1, "kept token").await, kept(None));
    assert_eq!(ask(&driver, 1, "keep token s3cret 3600000").await, Ok(String::new()));
    assert_eq!(ask(&driver, 1, "kept token").await, kept(Some("s3cret")));
    assert_eq!(ask(&driver, 2, "kept token").await, kept(None), "it is of one host");
    let (another, _) = self::driver(all()).await;
    assert_eq!(ask(&another, 1, "kept token").await, kept(None), "it is of one driver");
    assert_eq!(ask(&driver, 1, "drop token").await, Ok(String::new()));
    assert_eq!(ask(&driver, 1, "kept token").await, kept(None), "it was forgotten");
    assert_eq!(ask(&driver, 1, "keep token over 0").await, Ok(String::new()));
    assert_eq!(ask(&driver, 1, "kept token").await, kept(None), "its time is over");
    let error = ask(&driver, 1, "keep token large 1000").await.expect_err("too large");
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Refused, "too-large"));
}

#[tokio::test]
async fn a_driver_cannot_flood_the_audit() {
    let (driver, audit) = driver(all()).await;
    assert_eq!(told(&driver, &nowhere("ask-often")).await, Ok(String::new()));
    assert_eq!(audit.0.lock().expect("not poisoned").len(), 16);
}

#[tokio::test]
async fn settings_come_from_host_then_driver_then_manifest() {
    let mut grants = all();
    let mut here = nowhere("config answer");
    let (first, _) = driver(grants.clone()).await;
    assert_eq!(told(&first, &here).await.expect("told"), "Some(\"42\")");
    grants.config.insert("answer".to_owned(), "of the driver".to_owned());
    grants.config.insert("not-named".to_owned(), "x".to_owned());
    let (second, _) = driver(grants).await;
    assert_eq!(told(&second, &here).await.expect("told"), "Some(\"of the driver\")");
    assert_eq!(told(&second, &nowhere("config not-named")).await.expect("told"), "None");
    here.config.insert("answer".to_owned(), "of the host".to_owned());
    assert_eq!(told(&second, &here).await.expect("told"), "Some(\"of the host\")");
}

fn domain() -> DomainSpec {
    let file = FileRef {
        host: HostId(1),
        datastore: "ds".parse().expect("a name"),
        path: "console".parse().expect("a path"),
        absolute: "/x/console".to_owned(),
    };
    DomainSpec {
        identity: Identity {
            store: StoreId(uuid::Uuid::nil()),
            vm: vm(1),
            generation: Generation(9),
        },
        name: "ostler-1".to_owned(),
        title: String::new(),
        vcpus: 1,
        cpu_milli: 1000,
        vcpus_most: 1,
        memory_mib: 64,
        memory_most_mib: 64,
        firmware: Firmware::Bios,
        kernel: None,
        initrd: None,
        cmdline: String::new(),
        disks: Vec::new(),
        nics: Vec::new(),
        graphics: Graphics::None,
        console_log: file,
    }
}

#[tokio::test]
async fn a_call_is_told_who_it_is() {
    let (driver, _) = driver(all()).await;
    let control = call(1, MINUTE);
    let error = driver.deploy(&nowhere(""), &control, &domain()).await.expect_err("told");
    assert_eq!(error.detail, "(\"domain\", 7, 8, 3, 9, true, \"ostler-1\", 0)");
    assert_eq!(
        *control.progress.borrow(),
        Some(Progress { done: 1, total: 2, phase: "half".to_owned() })
    );
    let state = OpaqueState { version: 4, data: vec![1, 2, 3] };
    let mut control = call(1, MINUTE);
    control.state = Some(state.clone());
    let outcome = driver.remove(&nowhere(""), &control).await.expect("removed");
    assert_eq!((outcome.seen, outcome.state), (Some(Observation::Absent), Some(state)));
    let batch = driver
        .changes()
        .expect("exported")
        .changes(&nowhere(""), 5, Duration::from_millis(1))
        .await
        .expect("changes");
    assert_eq!(batch.cursor, 6);
    assert!(driver.reboot().is_none(), "not exported");
    assert_eq!(told(&driver, &nowhere("random")).await.expect("told"), "(4096, true)");
}

#[tokio::test]
async fn a_migration_is_told_the_settings_of_where_it_goes() {
    let mut grants = all();
    grants.config.insert("deed".to_owned(), "of the driver".to_owned());
    let (granted, _) = driver(grants.clone()).await;
    let migrate = granted.migrate().expect("exported");
    let (here, control) = (nowhere(""), call(1, MINUTE));
    let mut there = nowhere("there");
    there.name = "far".parse().expect("a name");
    there.config.insert("not-named".to_owned(), "x".to_owned());
    let disks = ["vdb".parse().expect("a name")];
    let error = migrate.begin(&here, &control, &domain(), &there, &disks).await.expect_err("told");
    let most = r#"[("vcpus-most", "1"), ("memory-most-mib", "64")]"#;
    let settings = r#"[("config.answer", "42"), ("config.deed", "there")]"#;
    assert_eq!(error.detail, format!(r#"({most}, "far", "live", ["vdb"], {settings})"#));
    let Ok(JobStatus::Pending(progress)) = migrate.poll(&here, &control).await else {
        panic!("pending")
    };
    assert_eq!((progress.done, progress.total), (1, 2));
    let error = migrate.abort(&here, &control).await.expect_err("told");
    assert_eq!(error.detail, "\"abort\"");
    assert!(granted.disk_copy().is_none(), "not exported");
    grants.capabilities.remove("config");
    let (denied, _) = driver(grants).await;
    let error = denied
        .migrate()
        .expect("exported")
        .begin(&here, &control, &domain(), &there, &[])
        .await
        .expect_err("told");
    assert!(error.detail.ends_with("[], [])"), "{error}");
}

#[tokio::test]
async fn what_a_wild_domain_is_told_to_be_is_checked() {
    let (driver, _) = driver(all()).await;
    let (adopt, snapshots) =
        (driver.adopt().expect("exported"), driver.snapshots().expect("exported"));
    let wild = adopt.inspect(&nowhere(""), vm(1)).await.expect("inspected");
    assert_eq!(
        (wild.name.as_str(), wild.nics[0].0.as_str(), wild.disks[0].1.as_str()),
        ("wild", "52:54:00:aa:00:01", "/x/y")
    );
    for deed in ["disk", "file", "format", "mac", "bridge", "many", "units"] {
        let error = adopt.inspect(&nowhere(deed), vm(1)).await.expect_err(deed);
        assert_eq!(
            (error.kind, error.code.as_str()),
            (ErrorKind::Unknown, "driver-lied"),
            "{deed}: {error}"
        );
    }
    assert_eq!(
        snapshots.list(&nowhere(""), vm(1)).await,
        Ok(vec!["a".to_owned(), "b c".to_owned()])
    );
    assert_eq!(
        snapshots.list(&nowhere("flood"), vm(1)).await.expect_err("too many").code,
        "driver-lied"
    );
    let error =
        adopt.stamp(&nowhere(""), &call(1, MINUTE), &domain().identity).await.expect_err("told");
    assert_eq!(error.detail, format!("({:?}, 9)", vm(1).to_string()));
}

#[tokio::test]
async fn the_place_of_a_console_is_checked_and_a_fence_is_told_for_whom_it_is() {
    let (driver, _) = driver(all()).await;
    let (console, fence) = (driver.console().expect("exported"), driver.fence().expect("exported"));
    let found = console.open(&nowhere(""), vm(1), "vnc").await.expect("there");
    assert_eq!((found.kind.as_str(), found.address.as_str()), ("vnc", "tcp:127.0.0.1:5900"));
    for deed in ["kind", "place", "lines", "long"] {
        let error = console.open(&nowhere(deed), vm(1), "vnc").await.expect_err(deed);
        assert_eq!(
            (error.kind, error.code.as_str()),
            (ErrorKind::Unknown, "driver-lied"),
            "{deed}: {error}"
        );
    }
    assert_eq!(fence.fence(&nowhere("off"), &call(1, MINUTE)).await, Ok(()));
    assert_eq!(fence.fence(&nowhere(""), &call(1, MINUTE)).await.expect_err("told").detail, "9");
}

#[tokio::test]
async fn commands_run_as_their_template_says() {
    let dir = tempfile::tempdir().expect("dir");
    let (driver, _) = driver(all()).await;
    let here = |deed: &str| site(dir.path(), deed);
    let root = dir.path().display();
    assert_eq!(
        told(&driver, &here("exec show word=$(id) n=7 file=ds:disk")).await.expect("ran"),
        format!("(Some(0), None, \"$(id)|n=7|{root}/disk|\", \"\")")
    );
    assert_eq!(
        told(&driver, &here("exec cat")).await.expect("ran"),
        "(Some(0), None, \"input\", \"\")"
    );
    let missing = told(&driver, &here("exec missing")).await.expect_err("it is not there");
    assert_eq!((missing.kind, missing.code.as_str()), (ErrorKind::NotHere, "no-program"));
    std::os::unix::fs::symlink("/etc", dir.path().join("out")).expect("link");
    for (deed, code) in [
        ("exec show word=-rf n=7 file=ds:disk", "bad-argument"),
        ("exec show word=a n=65 file=ds:disk", "bad-argument"),
        ("exec show word=a n=7 file=ds:../disk", "bad-argument"),
        ("exec show word=a n=7 file=/etc/passwd", "bad-argument"),
        ("exec show word=a n=7", "bad-argument"),
        ("exec show word=a n=7 file=ds:out/passwd", "outside-datastore"),
        ("exec show word=a n=7 file=other:disk", "no-such-datastore"),
    ] {
        let error = told(&driver, &here(deed)).await.expect_err(deed);
        assert_eq!(
            (error.kind, error.code.as_str()),
            (ErrorKind::Refused, code),
            "{deed}: {error}"
        );
    }
}

#[tokio::test]
async fn groups_of_arguments_come_as_often_as_they_are_given() {
    let (driver, _) = driver(all()).await;
    let said = |deed: &'static str| {
        let driver = Arc::clone(&driver);
        async move { told(&driver, &nowhere(deed)).await }
    };
    let printed = |text: &str| Ok(format!("(Some(0), None, {text:?}, \"\")"));
    assert_eq!(said("exec groups").await, printed("a|"));
    assert_eq!(said("exec groups o=x=1 r=b r=c").await, printed("a|-o|x=1|-r|b|-r|c|"));
    let twice = said("exec groups o=1 o=2").await.expect_err("twice");
    assert_eq!((twice.kind, twice.code.as_str()), (ErrorKind::Refused, "bad-argument"));
}

#[tokio::test]
async fn a_command_that_runs_for_too_long_is_ended() {
    let (driver, _) = driver(all()).await;
    let error = told(&driver, &nowhere("exec short seconds=4571")).await.expect_err("too long");
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Unknown, "command-timeout"));
    assert!(error.detail.contains("/bin/sleep") && error.detail.contains("100ms"), "{error}");
    assert_eq!(processes("/bin/sleep\u{0}4571\u{0}"), 0);
}

#[tokio::test]
async fn several_commands_run_at_once_and_each_has_its_own_end() {
    let (driver, _) = driver(all()).await;
    assert_eq!(
        told(&driver, &nowhere("mixed")).await.expect("ran"),
        "[Ok(65536), Err(\"no-program\"), Err(\"denied\"), Ok(65536)]"
    );
    assert_eq!(told(&driver, &nowhere("all 0 cat")).await.expect("ran"), "[]");
    assert_eq!(
        told(&driver, &nowhere("all 64 cat")).await.expect("ran"),
        format!("{:?}", vec![Ok::<usize, ()>(5); 64])
    );
    let many = told(&driver, &nowhere("all 65 cat")).await.expect_err("too many");
    assert_eq!((many.kind, many.code.as_str()), (ErrorKind::Refused, "bad-argument"));
    // All of them are at work at the same time, and the end of the call ends them all.
    let (here, control) = (nowhere("all 3 sleep seconds=4572"), call(1, MINUTE));
    let sleeps = || processes("/bin/sleep\u{0}4572\u{0}");
    let cancel = async {
        while sleeps() < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        control.cancel.cancel();
    };
    let (answer, ()) = tokio::join!(driver.remove(&here, &control), cancel);
    assert_eq!(
        answer.expect_err("told").detail,
        format!("{:?}", vec![Err::<(), _>("cancelled"); 3])
    );
    assert_eq!(sleeps(), 0);
}

#[tokio::test]
async fn every_call_knows_its_deadline_and_whether_it_is_told_to_stop() {
    let (driver, _) = driver(all()).await;
    assert_eq!(told(&driver, &nowhere("clock")).await.expect("told"), "(true, false)");
    let (here, control) = (nowhere(""), call(1, MINUTE));
    let (answer, ()) =
        tokio::join!(driver.press_power(&here, &control), async { control.cancel.cancel() });
    let error = answer.expect_err("cancelled");
    assert!(error.detail.ends_with(", true"), "{error}");
}

#[tokio::test]
async fn a_dropped_call_is_remembered_until_its_command_ended() {
    let (driver, _) = driver(all()).await;
    let (here, control) = (nowhere("exec sleep seconds=4567"), call(1, MINUTE));
    let mut running = driver.remove(&here, &control);
    let sleeps = || processes("/bin/sleep\u{0}4567\u{0}");
    while sleeps() == 0 {
        assert!(futures::poll!(&mut running).is_pending());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(running);
    let error = driver.observe(&nowhere(""), vm(1)).await.expect_err("busy");
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Retry, "busy"));
    assert_eq!(driver.observe(&nowhere(""), vm(2)).await, Ok(Observation::Absent));
    let mut answer = driver.observe(&nowhere(""), vm(1)).await;
    for _ in 0..1000 {
        if answer.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        answer = driver.observe(&nowhere(""), vm(1)).await;
    }
    assert_eq!(answer, Ok(Observation::Absent));
    assert_eq!(sleeps(), 0);
}

#[tokio::test]
async fn cancel_kills_the_command() {
    let (driver, _) = driver(all()).await;
    let (here, control) = (nowhere("exec sleep seconds=7654"), call(1, MINUTE));
    let sleeps = || processes("/bin/sleep\u{0}7654\u{0}");
    let cancel = async {
        while sleeps() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        control.cancel.cancel();
    };
    let (answer, ()) = tokio::join!(driver.remove(&here, &control), cancel);
    let error = answer.expect_err("cancelled");
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Cancelled, "cancelled"));
    assert_eq!(sleeps(), 0);
}

#[tokio::test]
async fn files_stay_in_their_datastore() {
    let dir = tempfile::tempdir().expect("dir");
    let (driver, _) = driver(all()).await;
    files(&driver, |deed| site(dir.path(), deed), dir.path()).await;
}
