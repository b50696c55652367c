//! The mock host itself, and a small driver that is tested with it.

use super::*;
use crate::host::http::{Request, Response};
use crate::host::{clock, config, exec, files, log, random, secrets, session, socket};
use crate::{Error, ErrorKind, FileKind, FilePath, LogLevel, OpaqueState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

fn at(path: &str) -> FilePath {
    FilePath::new("ds", path)
}

#[test]
fn files_behave_like_those_of_a_host() {
    let host = MockHost::new();
    assert_eq!(files::read(&at("a/b")), Ok(None));
    files::write(&at("a/b"), b"one").expect("written");
    files::make_folder(&at("a/c/d")).expect("made");
    assert_eq!(files::list(&at("a")), Ok(vec!["b".to_owned(), "c".to_owned()]));
    assert_eq!(files::copy(&at("a/b"), &at("e")), Ok(3));
    files::rename(&at("e"), &at("a/c/e")).expect("renamed");
    assert_eq!(host.file("ds", "a/c/e").as_deref(), Some(&b"one"[..]));
    let stat = files::stat(&at("a/b")).expect("seen").expect("there");
    assert_eq!((stat.kind, stat.size), (FileKind::File, 3));
    assert_eq!(
        files::checksum(&at("a/b")).expect("there"),
        "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
    );
    files::remove(&at("a/c")).expect("removed");
    assert_eq!(files::list(&at("a")), Ok(vec!["b".to_owned()]));
    let code = |answer: Result<(), Error>| answer.expect_err("refused").code;
    assert_eq!(code(files::rename(&at("x"), &at("y"))), "no-file");
    assert_eq!(code(files::list(&at("x")).map(drop)), "no-folder");
    assert_eq!(code(files::write(&at("../x"), b"")), "bad-path");
    assert_eq!(code(files::write(&at("x"), &[0; 65_537])), "too-large");
    assert_eq!(host.calls(), 14);
}

#[test]
fn a_wait_ends_when_it_has_found_when_it_is_told_to_and_before_the_deadline() {
    let host = MockHost::new();
    let mut looks = 0;
    let third = clock::until("the third look", 50, || {
        looks += 1;
        Ok((looks == 3).then_some(looks))
    });
    assert_eq!((third, clock::monotonic_ms()), (Ok(3), 100));
    host.deadline_in(1000);
    let never = || clock::until("a domain", 50, || Ok(None::<()>)).expect_err("never");
    assert_eq!((never().code.as_str(), clock::remaining_ms()), ("not-yet", 250));
    host.tell_to_stop(true);
    assert_eq!(never().kind, ErrorKind::Cancelled);
}

#[test]
fn a_peer_listens_while_its_file_is_there() {
    let host = MockHost::new().peer_at("monitor", "file", |asked| asked.to_vec());
    let connect = || socket::connect("monitor", &[("file", "ds:vm/qmp")]).map(drop);
    assert_eq!(connect().expect_err("not yet").code, "no-socket");
    host.change_files(|files| files.put("ds", "vm/qmp", ""));
    connect().expect("it listens");
    host.change_files(|files| drop(files.take("ds", "vm/qmp")));
    assert_eq!(connect().expect_err("no longer").code, "no-socket");
}

#[test]
fn a_request_is_answered_recorded_and_cut() {
    let made = std::rc::Rc::new(std::cell::Cell::new(0));
    let count = std::rc::Rc::clone(&made);
    let host = MockHost::new().endpoint("api", move |request| {
        count.set(count.get() + 1);
        Ok(Response::new(201, request.body.clone()).with_header("Location", "/vms/7"))
    });
    let create = || Request::post("api", "/vms?dry=no", "{}").json().login().send();
    let answer = create().expect("answered").success().expect("made");
    assert_eq!((answer.status, answer.header("location")), (201, Some("/vms/7")));
    let sent = &host.requests()[0];
    assert_eq!((sent.method.as_str(), sent.path.as_str()), ("POST", "/vms?dry=no"));
    assert!(sent.headers.contains(&("authorization".to_owned(), b"{login}".to_vec())));
    let none = Request::get("elsewhere", "/").send().expect_err("no such endpoint");
    assert_eq!((none.kind, none.code.as_str()), (ErrorKind::Retry, "unreachable"));
    assert_eq!((host.calls(), made.get()), (2, 1));
    host.tell_to_stop(true);
    assert_eq!(create().expect_err("told to stop").kind, ErrorKind::Cancelled);
}

#[test]
fn a_command_keeps_the_marks_of_its_secrets() {
    let host = MockHost::new().secret("password", "s3cret").command("login", |run, _| {
        Ok(Exit::success(std::str::from_utf8(&run.input).expect("text")))
    });
    let input = format!("user=root\npassword={}\n", secrets::mark("password"));
    let exit = exec::run("login", &[], input.as_bytes()).expect("ran");
    assert_eq!(exit.stdout, input.as_bytes());
    assert_eq!(host.runs()[0].input, b"user=root\npassword={secret:password}\n");
}

#[test]
fn settings_secrets_time_and_the_log_are_those_of_the_test() {
    let host = MockHost::new().setting("folder", "vms").secret("token", "s3cret");
    assert_eq!(config::required("folder").as_deref(), Ok("vms"));
    assert_eq!(config::get("other"), Ok(None));
    assert_eq!(secrets::get("token").expect("read").as_deref(), Some("s3cret"));
    host.deadline_in(1000);
    let began = clock::now_ms();
    clock::sleep_ms(400).expect("waited");
    assert_eq!((clock::now_ms() - began, clock::remaining_ms()), (400, 600));
    clock::sleep_ms(5000).expect("waited until the deadline");
    assert_eq!(clock::remaining_ms(), 0);
    host.tell_to_stop(true);
    assert_eq!(clock::sleep_ms(1).expect_err("told").kind, ErrorKind::Cancelled);
    assert!(clock::go_on().is_err() && host.call("vm", 1).go_on().is_err());
    host.tell_to_stop(false);
    assert!(clock::go_on().is_ok());
    assert_ne!(random::bytes(16), random::bytes(16));
    log::warn("look here");
    assert_eq!(host.lines(), [(LogLevel::Warn, "look here".to_owned())]);
    assert_eq!(host.calls(), 0);
}

#[test]
fn a_session_ends_with_its_time_and_with_the_daemon() {
    let host = MockHost::new();
    let minute = Duration::from_secs(60);
    let made = session::get_or_put("token", minute, || Ok(b"first".to_vec()));
    assert_eq!(made.as_deref(), Ok(&b"first"[..]));
    let kept = session::get_or_put("token", minute, || Err(Error::refused("no", "not asked")));
    assert_eq!(kept, made);
    clock::sleep_ms(60_000).expect("waited");
    assert_eq!(session::get("token"), None);
    session::put("token", b"second", minute).expect("kept");
    host.forget_sessions();
    assert_eq!(session::get("token"), None);
    session::put("token", b"third", minute).expect("kept");
    session::remove("token");
    assert_eq!(session::get("token"), None);
    let large = session::put("token", &[0; 16 * 1024 + 1], minute).expect_err("too large");
    assert_eq!(large.code, "too-large");
    assert_eq!(host.calls(), 0);
}

#[test]
fn commands_and_peers_are_functions_of_the_test() {
    let host = MockHost::new()
        .command("create", |run, files| {
            files.put("ds", run.hole("file").expect("given"), run.input.clone());
            Ok(Exit::success("made"))
        })
        .command("fail", |_, _| Ok(Exit::failure(3, "no space")))
        .peer("monitor", |said| [said, b" heard\n"].concat());
    assert_eq!(exec::output("create", &[("file", "a/b")]).as_deref(), Ok(&b"made"[..]));
    assert_eq!(host.file("ds", "a/b"), Some(Vec::new()));
    let failed = exec::output("fail", &[]).expect_err("code 3");
    assert!(failed.detail.contains("no space"), "{failed:?}");
    assert_eq!(exec::output("missing", &[]).expect_err("missing").kind, ErrorKind::NotHere);
    let line = |command| exec::Line { command, holes: &[], input: b"" };
    let ends = exec::run_all(&[line("fail"), line("missing")]).expect("ran");
    assert_eq!(ends.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false]);
    assert!(exec::run_all(&[line("fail"); 65]).is_err());
    let ran: Vec<String> = host.runs().into_iter().map(|run| run.command).collect();
    assert_eq!(ran, ["create", "fail", "missing", "fail", "missing"]);
    let mut peer = socket::connect("monitor", &[]).expect("it listens");
    peer.write_all(b"hello").expect("taken");
    assert_eq!(peer.read_line(100, 50).as_deref(), Ok("hello heard"));
    assert_eq!(peer.read_line(100, 50).expect_err("silent").code, "no-answer");
    assert_eq!(socket::connect("other", &[]).map(drop).expect_err("none").code, "no-socket");
}

#[test]
fn a_call_that_is_sent_again_keeps_its_identity() {
    let host = MockHost::new();
    let call = host.call("vm-1", 7).of_store("ours");
    let kept = Some(OpaqueState { version: 1, data: vec![1] });
    let again = call.again().with_state(kept.clone());
    assert_eq!((call.id(), call.attempt(), call.state()), (again.id(), 1, None));
    assert_eq!((again.attempt(), again.generation(), again.state()), (2, 7, kept));
    assert_eq!((again.store().as_str(), again.vm().as_str()), ("ours", "vm-1"));
    assert_eq!((again.epoch(), again.of_epoch(9).again().epoch()), (1, 9));
    assert_ne!(host.call("vm-1", 7).id(), call.id());
    call.progress(1, 2, "half");
    assert_eq!(call.reported(), [(1, 2, "half".to_owned())]);
    assert_eq!(call.again().reported(), []);
}

/// The words of the panic of `act`.
fn panic_of(act: impl FnOnce()) -> String {
    let thrown = catch_unwind(AssertUnwindSafe(act)).expect_err("it panics");
    let constant = thrown.downcast_ref::<&str>().map(|words| (*words).to_owned());
    constant.or_else(|| thrown.downcast_ref::<String>().cloned()).expect("it has words")
}

#[test]
fn without_a_host_the_panic_says_what_to_do() {
    drop(MockHost::new());
    let said = panic_of(|| {
        let _ = config::get("x");
    });
    assert!(said.contains("make a `mock::MockHost`"), "{said}");
}

/// Counts an edge in a file, and remembers for which effect.
fn count(call: &Call, careful: bool) -> Result<(), Error> {
    let text = files::read(&at("count"))?.unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let (number, last) = text.split_once(' ').unwrap_or(("0", ""));
    let id = call.id().to_string();
    if careful && last == id {
        return Ok(());
    }
    let number = number.parse::<u32>().unwrap_or(0) + 1;
    files::write(&at("count"), format!("{number} {id}").as_bytes())?;
    files::stat(&at("count")).map(drop)
}

fn counted(careful: bool) -> u64 {
    each_cut(
        || {
            let host = MockHost::new();
            let call = host.call("vm-1", 1);
            (host, call)
        },
        |call| count(call, careful),
        |host| {
            let text = host.file("ds", "count").expect("written");
            assert!(text.starts_with(b"1 "), "counted {}", String::from_utf8_lossy(&text));
        },
    )
}

#[test]
fn a_call_that_converges_is_stopped_before_and_after_each_of_its_calls() {
    assert_eq!(counted(true), 6);
}

#[test]
fn a_call_that_counts_twice_is_found() {
    let said = panic_of(|| {
        counted(false);
    });
    assert!(said.contains("counted 2"), "{said}");
}
