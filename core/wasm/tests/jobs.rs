//! Command jobs on this machine, with real processes: they outlive the process that began them, and
//! the next one has their end.

#[path = "support/jobs_lab.rs"]
mod lab;
mod support;

use lab::{LONG, Lab, asked, domain, end, named, says, until};
use ostler_driver::CallControl;
use ostler_model::{
    ErrorKind, ExecTransport, HostId, Item, Observation, OperationId, StepNo, StoreId,
};
use ostler_wasm::{Confine, HostOptions, Secret, can_confine};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use support::{
    Audit, Sites, all, call, granting, host, hypervisor, load, options, patched, processes, site,
    told, vm,
};

/// Works until the file `go` is there.
const WAITS: &str = "echo begun >>$D/begun; until [ -e $D/go ]; do sleep 0.02; done\n\
                     echo out; echo err >&2; exit 7";

/// Begins a job, and lives until it is killed. It is this test in a process of its own.
struct Daemon(Child);

impl Daemon {
    fn start(lab: &Lab, deed: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this test"));
        command.args(["--exact", "the_daemon_of_other_tests", "--nocapture"]);
        command.env("JOBS_LAB", lab.dir.path()).env("JOBS_DEED", deed).stdout(Stdio::null());
        Self(command.spawn().expect("started"))
    }

    fn kill(mut self) {
        self.0.kill().expect("killed");
        self.0.wait().expect("ended");
    }
}

#[tokio::test]
async fn the_daemon_of_other_tests() {
    let (Some(dir), Ok(deed)) = (std::env::var_os("JOBS_LAB"), std::env::var("JOBS_DEED")) else {
        return;
    };
    let dir = PathBuf::from(dir);
    let jobs_folder = dir.join("jobs").display().to_string();
    let host = host(HostOptions { jobs_folder, ..options() });
    let driver = hypervisor(&load(&host, all()).await);
    let state = told(&driver, &site(&dir.join("ds"), &deed)).await.expect("begun");
    assert!(state.starts_with("running"), "{state}");
    std::fs::write(dir.join("ds/answered"), state).expect("written");
    std::future::pending().await
}

#[tokio::test]
async fn a_job_outlives_the_process_that_began_it_and_the_next_one_has_its_end() {
    let lab = Lab::new();
    lab.script("work", WAITS);
    let daemon = Daemon::start(&lab, "job start copy do script=ds:work");
    until("the answer", || lab.has("answered")).await;
    until("the command", || lab.has("begun")).await;
    daemon.kill();
    let host = host(lab.options());
    let driver = hypervisor(&load(&host, all()).await);
    let state = says(&driver, &lab, "job poll copy").await.expect("told");
    assert_eq!(state, "running \"\"");
    // The same call, sent again, finds it.
    let state = says(&driver, &lab, "job start copy do script=ds:work").await.expect("told");
    assert_eq!(state, "running \"\"");
    lab.make("go");
    let ended = "ended Some(7) None false 4 4 \"out\\n\" \"err\\n\"";
    assert_eq!(end(&driver, &lab, "copy").await, ended);
    let again = says(&driver, &lab, "job start copy do script=ds:work").await;
    assert_eq!(again.as_deref(), Ok(ended));
    let begun = std::fs::read_to_string(lab.root().join("begun")).expect("read");
    assert_eq!(begun, "begun\n", "it ran once");
    assert_eq!(says(&driver, &lab, "job stop copy").await.as_deref(), Ok(ended));
    assert_eq!(says(&driver, &lab, "job poll copy").await.as_deref(), Ok("absent"));
    let calls = host.calls_of(call(1, LONG).context.key.operation).records;
    let of = |function| calls.iter().find(|record| record.function == Some(function));
    let start = of("exec.start").expect("recorded");
    assert_eq!(start.what, "\"copy\": /bin/sh ds:work");
    assert_eq!((start.answered.code.as_str(), start.answered.failed), ("running", false));
    let end = calls.iter().rfind(|record| record.function == Some("exec.stop")).expect("recorded");
    assert_eq!((end.answered.code.as_str(), end.answered.failed), ("exit-7", true));
}

#[tokio::test]
async fn stop_ends_all_processes_of_a_job_of_an_earlier_process() {
    let lab = Lab::new();
    let sleeps = |seconds: &str| processes(&format!("sleep\u{0}{seconds}\u{0}"));
    // One that ignores the signal to end, and one that has left the session.
    lab.script(
        "work",
        "trap '' TERM HUP INT; sleep 84211 & setsid sleep 84212 & sleep 84213; echo no",
    );
    let daemon = Daemon::start(&lab, "job start copy do script=ds:work");
    let all = || [sleeps("84211"), sleeps("84212"), sleeps("84213")];
    until("the processes", || all() == [1, 1, 1]).await;
    daemon.kill();
    let driver = lab.driver().await;
    assert_eq!(says(&driver, &lab, "job stop copy").await.as_deref(), Ok("absent"));
    assert_eq!(all(), [0, 0, 0]);
    assert_eq!(says(&driver, &lab, "job poll copy").await.as_deref(), Ok("absent"));
}

/// The process that waits for the command of the only job.
fn keeper(lab: &Lab) -> Option<String> {
    let (jobs, verb) = (lab.jobs().display().to_string(), b"\0keep\0");
    let all = std::fs::read_dir("/proc").expect("proc").filter_map(Result::ok);
    let of = |entry: &std::fs::DirEntry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        line.windows(verb.len()).any(|at| at == verb)
            && String::from_utf8_lossy(&line).contains(&jobs)
    };
    let mut pids = all.filter(of).filter_map(|entry| entry.file_name().into_string().ok());
    // Its readers and its watch are forks of it, in its session.
    pids.find(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        rest.split(' ').nth(3) == Some(pid)
    })
}

#[tokio::test]
async fn a_job_whose_keeper_is_killed_is_lost_and_nothing_of_it_goes_on() {
    let lab = Lab::new();
    lab.script("work", "sleep 84221; exit 0");
    let driver = lab.driver().await;
    let begin = "job start copy do script=ds:work";
    assert_eq!(says(&driver, &lab, begin).await.as_deref(), Ok("running \"\""));
    let sleeps = || processes("sleep\u{0}84221\u{0}");
    until("the command", || sleeps() == 1).await;
    let pid = keeper(&lab).expect("it has a keeper");
    assert!(Command::new("kill").args(["-9", &pid]).status().expect("kill").success());
    // It may be a zombie that nobody reaps.
    let stat = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    until("the end of the keeper", || stat().is_empty() || stat().contains(") Z ")).await;
    let why = "lost: the process that waited for it was killed, and so was what was left of it";
    assert_eq!(says(&driver, &lab, "job poll copy").await.as_deref(), Ok(why));
    assert_eq!(sleeps(), 0);
    // A repeat is told the same, until the driver forgets the job.
    assert_eq!(says(&driver, &lab, begin).await.as_deref(), Ok(why));
    assert_eq!(says(&driver, &lab, "job stop copy").await.as_deref(), Ok(why));
    assert_eq!(says(&driver, &lab, begin).await.as_deref(), Ok("running \"\""));
    assert_eq!(says(&driver, &lab, "job stop copy").await.as_deref(), Ok("absent"));
}

#[tokio::test]
async fn a_record_that_is_half_written_is_no_result() {
    let lab = Lab::new();
    lab.script("work", "exit 0");
    let driver = lab.driver().await;
    let begin = "job start copy do script=ds:work";
    says(&driver, &lab, begin).await.expect("begun");
    assert!(end(&driver, &lab, "copy").await.starts_with("ended Some(0)"));
    // The machine lost its power before the code was on the disk.
    let job = lab.job();
    std::fs::write(job.join("code"), "").expect("written");
    let state = says(&driver, &lab, "job poll copy").await.expect("told");
    assert!(state.starts_with("lost: the process that waited"), "{state}");
    std::fs::write(job.join("boot"), "an earlier one\n").expect("written");
    let state = says(&driver, &lab, "job poll copy").await;
    assert_eq!(state.as_deref(), Ok("lost: its host was started anew meanwhile"));
    // It died before the command began: there is no job, and a repeat begins it.
    std::fs::remove_file(job.join("go")).expect("removed");
    assert_eq!(says(&driver, &lab, "job poll copy").await.as_deref(), Ok("absent"));
    std::fs::remove_file(job.join("code")).expect("removed");
    says(&driver, &lab, begin).await.expect("begun");
    assert!(end(&driver, &lab, "copy").await.starts_with("ended Some(0)"));
}

#[tokio::test]
async fn two_starts_at_once_make_one_job() {
    let lab = Lab::new();
    lab.script("work", WAITS);
    let (one, other) = (lab.driver().await, lab.driver().await);
    for round in 0..5 {
        let deed = format!("job start copy-{round} do script=ds:work");
        let (here, there) = tokio::join!(says(&one, &lab, &deed), says(&other, &lab, &deed));
        for state in [here, there] {
            // The other one may be in the middle of its beginning; a driver tries again.
            let state = state.unwrap_or_else(|error| error.code.to_string());
            assert!(state == "running \"\"" || state == "busy", "{state}");
        }
        let begun = || std::fs::read_to_string(lab.root().join("begun")).unwrap_or_default();
        until("the command", || !begun().is_empty()).await;
        lab.make("go");
        assert!(end(&one, &lab, &format!("copy-{round}")).await.starts_with("ended Some(7)"));
        assert_eq!(begun(), "begun\n");
        for file in ["begun", "go"] {
            std::fs::remove_file(lab.root().join(file)).expect("removed");
        }
    }
}

#[tokio::test]
async fn no_other_vm_store_item_host_or_driver_sees_a_job() {
    let lab = Lab::new();
    lab.script("work", WAITS);
    let driver = lab.driver().await;
    says(&driver, &lab, "job start copy do script=ds:work").await.expect("begun");
    let poll = lab.site("job poll copy");
    assert_eq!(asked(&driver, &call(1, LONG), &poll).await, "running \"\"");
    let changed = |change: fn(&mut CallControl)| {
        let mut control = call(1, LONG);
        change(&mut control);
        control
    };
    for other in [
        call(2, LONG),
        changed(|call| call.context.store = StoreId(uuid::Uuid::from_u128(6))),
        changed(|call| call.context.key.item = Item::Files),
    ] {
        assert_eq!(asked(&driver, &other, &poll).await, "absent", "{:?}", other.context);
        let stop = lab.site("job stop copy");
        assert_eq!(asked(&driver, &other, &stop).await, "absent", "{:?}", other.context);
    }
    let mut there = poll.clone();
    there.id = HostId(2);
    assert_eq!(asked(&driver, &call(1, LONG), &there).await, "absent");
    let host = host(lab.options());
    let best = host.load_bytes("guest.wasm", patched("test-guest", "best-guest"), all()).await;
    assert_eq!(asked(&hypervisor(&best.expect("loads")), &call(1, LONG), &poll).await, "absent");
    // The number of the attempt makes no other job.
    let again = changed(|call| call.context.attempt = 77);
    assert_eq!(asked(&driver, &again, &poll).await, "running \"\"");
    lab.make("go");
    assert!(end(&driver, &lab, "copy").await.starts_with("ended"));
}

#[tokio::test]
async fn no_look_is_answered_while_a_job_is_at_work_and_a_later_step_ends_it() {
    let lab = Lab::new();
    lab.script("work", "sleep 84251");
    let sleeps = || processes("sleep\u{0}84251\u{0}");
    for (operation, step) in [(8, 8), (7, 9)] {
        let begun = says(&lab.driver().await, &lab, "job start copy do script=ds:work").await;
        assert_eq!(begun.as_deref(), Ok("running \"\""));
        until("the command", || sleeps() == 1).await;
        // A daemon that was started anew knows of it, too.
        let driver = lab.driver().await;
        let busy = driver.observe(&lab.site(""), vm(1)).await.expect_err("at work");
        assert_eq!((busy.kind, busy.code.as_str()), (ErrorKind::Retry, "busy"), "{busy}");
        assert_eq!(driver.observe(&lab.site(""), vm(2)).await, Ok(Observation::Absent));
        let listed = driver.list(&lab.site("")).await.expect("listed");
        assert_eq!(listed.unreadable, [vm(1)]);
        let mut later = call(1, LONG);
        later.context.key.operation = OperationId(operation);
        later.context.key.step = StepNo(step);
        assert_eq!(asked(&driver, &later, &lab.site("job poll copy")).await, "absent");
        assert_eq!(sleeps(), 0);
        assert_eq!(driver.observe(&lab.site(""), vm(1)).await, Ok(Observation::Absent));
        assert_eq!(says(&driver, &lab, "job poll copy").await.as_deref(), Ok("absent"));
    }
}

#[tokio::test]
async fn what_may_not_be_is_refused_and_makes_no_job() {
    let lab = Lab::new();
    let audit = Arc::new(Audit::default());
    let no_command = granting(&[("config", &[]), ("exec", &[])]);
    for (grants, deed, code, says) in [
        (granting(&[("config", &[])]), "job start a cat", "denied", "has not granted exec"),
        (granting(&[("config", &[])]), "job poll a", "denied", "has not granted exec"),
        (granting(&[("config", &[])]), "job stop a", "denied", "has not granted exec"),
        (no_command, "job start a cat", "denied", "has not granted exec:cat"),
        (all(), "job start a halt", "denied", "does not ask for exec:halt"),
        (all(), "job start A cat", "bad-argument", "lower-case letters"),
        (all(), "job poll ../a", "bad-argument", "lower-case letters"),
        (all(), "job start a sleep seconds=x", "bad-argument", "seconds"),
        (all(), "job start a missing", "no-program", "/no/such/program"),
        (all(), "job start a@there cat", "host-not-of-call", "no command of it runs on host"),
        (all(), "job poll a@there", "host-not-of-call", "\"there\""),
        (all(), "job on there cat", "host-not-of-call", "destination of its migration"),
    ] {
        let sites = Arc::new(Sites(vec![named(&lab, "there", "")]));
        let options = HostOptions { audit: Arc::clone(&audit) as _, sites, ..lab.options() };
        let driver = hypervisor(&load(&host(options), grants).await);
        let error = self::says(&driver, &lab, deed).await.expect_err(deed);
        assert_eq!(error.code, code, "{deed}: {error}");
        assert!(error.detail.contains(says), "{deed}: {error}");
        assert_eq!(code == "no-program", error.kind != ErrorKind::Refused, "{deed}: {error}");
    }
    assert_eq!(audit.0.lock().expect("not poisoned").len(), 5);
    // A look has no effect.
    let error = lab.driver().await.observe(&lab.site("job start a cat"), vm(1)).await;
    let error = error.expect_err("a look");
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Refused, "no-effect"), "{error}");
}

#[tokio::test]
async fn output_that_is_too_long_is_cut_and_said() {
    let lab = Lab::new();
    lab.script("out", "head -c 3000000 /dev/zero | tr '\\0' x; echo some >&2");
    lab.script("err", "head -c 3000000 /dev/zero | tr '\\0' x >&2; echo some");
    lab.script("exact", "head -c 1048576 /dev/zero | tr '\\0' x");
    let driver = lab.driver().await;
    for (script, begins) in [
        ("out", "ended Some(0) None true 1048576 5 "),
        ("err", "ended Some(0) None true 5 65536 "),
        ("exact", "ended Some(0) None false 1048576 0 "),
    ] {
        says(&driver, &lab, &format!("job start {script} do script=ds:{script}"))
            .await
            .expect("begun");
        let state = end(&driver, &lab, script).await;
        assert!(state.starts_with(begins), "{script}: {state}");
    }
}

#[tokio::test]
async fn a_job_tells_what_it_has_written_so_far_and_ends_at_its_time_limit() {
    let lab = Lab::new();
    lab.script("work", &format!("echo half; {WAITS}"));
    let driver = lab.driver().await;
    says(&driver, &lab, "job start copy do script=ds:work").await.expect("begun");
    until("the command", || lab.has("begun")).await;
    let mut state = String::new();
    for _ in 0..1000 {
        state = says(&driver, &lab, "job poll copy").await.expect("told");
        if state.contains("half") {
            break;
        }
    }
    assert_eq!(state, "running \"half\\n\"");
    lab.make("go");
    assert!(end(&driver, &lab, "copy").await.starts_with("ended Some(7)"));
    // Its template gives it 100 ms.
    says(&driver, &lab, "job start brief short seconds=84231").await.expect("begun");
    let state = end(&driver, &lab, "brief").await;
    assert_eq!(state, "lost: it ran for longer than its time limit, and was ended");
    assert_eq!(processes("/bin/sleep\u{0}84231\u{0}"), 0);
}

#[tokio::test]
async fn a_driver_has_so_many_jobs_at_once_and_no_more() {
    let lab = Lab::new();
    let driver = lab.driver().await;
    let start = |number: u32| format!("job start n-{number} sleep seconds=84241");
    for number in 0..16 {
        let state = says(&driver, &lab, &start(number)).await;
        assert_eq!(state.as_deref(), Ok("running \"\""));
    }
    let full = says(&driver, &lab, &start(16)).await.expect_err("too many");
    assert_eq!((full.kind, full.code.as_str()), (ErrorKind::Retry, "too-many-jobs"), "{full}");
    says(&driver, &lab, "job stop n-3").await.expect("ended");
    assert_eq!(says(&driver, &lab, &start(16)).await.as_deref(), Ok("running \"\""));
    for number in (0..3).chain(4..17) {
        says(&driver, &lab, &format!("job stop n-{number}")).await.expect("ended");
    }
    assert_eq!(processes("/bin/sleep\u{0}84241\u{0}"), 0);
}

#[tokio::test]
async fn jobs_that_are_over_go_when_a_later_step_of_the_vm_begins_one() {
    let lab = Lab::new();
    let driver = lab.driver().await;
    let step = |vm: u128, step: u64| {
        let mut control = call(vm, LONG);
        control.context.key.step = StepNo(step);
        control
    };
    let start = lab.site("job start a cat");
    let poll = lab.site("job poll a");
    for control in [step(1, 1), step(2, 1)] {
        asked(&driver, &control, &start).await;
        while asked(&driver, &control, &poll).await.starts_with("running") {}
    }
    asked(&driver, &step(1, 2), &start).await;
    assert_eq!(asked(&driver, &step(1, 1), &poll).await, "absent");
    assert!(asked(&driver, &step(2, 1), &poll).await.starts_with("ended Some(0)"));
}

#[tokio::test]
async fn a_job_gets_its_secret_on_standard_input_and_no_file_keeps_it() {
    let lab = Lab::new();
    let mut grants = all();
    grants.secrets.insert("password".to_owned(), Secret::new("hunter2"));
    let driver = hypervisor(&load(&host(lab.options()), grants).await);
    says(&driver, &lab, "job start login login").await.expect("begun");
    let state = end(&driver, &lab, "login").await;
    // The digest of `hunter2`.
    assert!(
        state.contains("f52fbd32b2b3b86ff88ef6c490628285f482af15ddcb29541f94bcf526a3f6c7"),
        "{state}"
    );
    for file in lab.job().read_dir().expect("a folder") {
        let path = file.expect("read").path();
        if path.is_file() {
            let text = std::fs::read(&path).expect("read");
            assert!(!String::from_utf8_lossy(&text).contains("hunter2"), "{}", path.display());
        }
    }
}

#[tokio::test]
async fn a_job_is_confined_as_a_command_is() {
    if !can_confine() {
        eprintln!("SKIPPED: the kernel has no Landlock");
        return;
    }
    for confine in [Confine::Always, Confine::Never] {
        let lab = Lab::new();
        std::fs::write(lab.dir.path().join("secret"), "hunter2").expect("written");
        lab.script("work", "cat $D/../secret; echo x >$D/../jobs/planted; echo done >$D/made");
        let options = HostOptions { confine, ..lab.options() };
        let driver = hypervisor(&load(&host(options), all()).await);
        says(&driver, &lab, "job start copy do script=ds:work").await.expect("begun");
        let state = end(&driver, &lab, "copy").await;
        let escaped = state.contains("hunter2") || lab.jobs().join("planted").exists();
        // The last one is the control.
        assert_eq!(escaped, confine == Confine::Never, "{confine:?}: {state}");
        assert!(lab.has("made"), "{confine:?}: {state}");
    }
}

#[tokio::test]
async fn a_migration_runs_commands_and_jobs_at_both_its_hosts_and_nowhere_else() {
    let lab = Lab::new();
    let (there, beyond) = (named(&lab, "there", ""), named(&lab, "beyond", ""));
    assert_eq!(there.transport, ExecTransport::Local);
    let sites = Arc::new(Sites(vec![there.clone(), beyond]));
    let driver = hypervisor(&load(&host(HostOptions { sites, ..lab.options() }), all()).await);
    let (migrate, control) = (driver.migrate().expect("exported"), call(1, LONG));
    let begin = async |deed: &str| {
        let begun = migrate.begin(&lab.site(deed), &control, &domain(), &there, &[]).await;
        begun.expect_err("told")
    };
    // The poll is told no destination, and has it all the same.
    let poll =
        async |deed: &str| migrate.poll(&lab.site(deed), &control).await.expect_err("told").detail;
    let ran = begin("job on there show word=w n=7 file=ds:disk").await;
    let path = format!("w|n=7|{}/disk|", lab.dir.path().join("there").display());
    assert!(ran.detail.contains(&path), "{ran}");
    let ran = poll("job on here show word=w n=7 file=ds:disk").await;
    assert!(ran.contains(&format!("w|n=7|{}/disk|", lab.root().display())), "{ran}");
    let other = begin("job on beyond cat").await;
    assert_eq!((other.kind, other.code.as_str()), (ErrorKind::Refused, "host-not-of-call"));
    let begun = begin("job start a@there show word=w n=7 file=ds:disk").await;
    assert_eq!(begun.code, "told", "{begun}");
    let mut state = poll("job poll a@there").await;
    while state.contains("running") {
        state = poll("job poll a@there").await;
    }
    assert!(state.contains(&path), "{state}");
    assert_eq!(poll("job poll a").await, "absent", "it is at the other host");
    assert!(poll("job stop a@there").await.contains("ended Some(0)"));
    // Another effect of the VM is not about that host.
    let mut later = call(1, LONG);
    later.context.key.step = StepNo(9);
    let error = driver.remove(&lab.site("job on there cat"), &later).await.expect_err("refused");
    assert_eq!(error.code, "host-not-of-call");
}
