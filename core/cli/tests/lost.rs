//! Lost connections: no request is done twice, and no event is missed.

#[allow(dead_code)]
mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::Daemon;

/// Forwards connections to the daemon. On the first `lose` connections it reads the first answer,
/// throws it away and closes the connection. So the request was served, but the client cannot know.
fn losing(daemon: &Daemon, lose: usize) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let to = daemon.http.trim_start_matches("http://").to_owned();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let number = counted.fetch_add(1, Ordering::SeqCst);
            let daemon = TcpStream::connect(&to).expect("the daemon is there");
            forward(client.try_clone().expect("a handle"), daemon.try_clone().expect("a handle"));
            if number < lose {
                std::thread::spawn(move || {
                    let _ = (&daemon).read(&mut [0; 1024]);
                    let _ = client.shutdown(Shutdown::Both);
                });
            } else {
                forward(daemon, client);
            }
        }
    });
    (address, count)
}

fn forward(mut from: TcpStream, mut to: TcpStream) {
    std::thread::spawn(move || {
        let mut bytes = [0; 16 * 1024];
        while let Ok(read @ 1..) = from.read(&mut bytes) {
            if to.write_all(&bytes[..read]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
}

#[test]
fn a_request_whose_answer_is_lost_is_done_once() {
    let Some(daemon) = Daemon::start(None) else { return };
    let (lossy, count) = losing(&daemon, 3);
    let token = daemon.admin_token().display().to_string();
    let file = daemon.file("vm.toml", "name = \"web\"\nmemory = 96\n");
    let server = format!("--server={lossy}");
    let ran = daemon
        .run(&[&server, "--token-file", &token, "vm", "create", "-f", &file, "--hold"])
        .expect(0);
    assert_eq!(ran.out, "vm 1 web: created, hold\n");
    assert!(count.load(Ordering::SeqCst) >= 4, "three answers were lost");
    assert_eq!(daemon.run(&["vm", "list", "-o", "name"]).expect(0).out, "1\n", "made once");
}

/// A daemon that sends an event without an end on its first connection. Answers how many bytes of
/// it were taken.
fn endless() -> (String, std::thread::JoinHandle<usize>) {
    const MOST: usize = 64 * 1024 * 1024;
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let sends = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().expect("a client comes");
        let _ = client.read(&mut [0; 16 * 1024]);
        let head =
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\nevent: created\ndata: ";
        client.write_all(head.as_bytes()).expect("sent");
        let mut taken = 0;
        while taken < MOST && client.write_all(&[b'x'; 64 * 1024]).is_ok() {
            taken += 64 * 1024;
        }
        taken
    });
    (address, sends)
}

#[test]
fn an_event_without_an_end_does_not_fill_the_memory() {
    let (address, sends) = endless();
    let server = format!("--server={address}");
    let mut command = support::command();
    command
        .args([&server, "event", "watch", "--after", "0"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut watch = command.spawn().expect("starts");
    let taken = sends.join().expect("the client comes and goes");
    watch.kill().and_then(|()| watch.wait()).expect("ends");
    assert!(taken < 32 * 1024 * 1024, "{taken} bytes of one event were taken");
}

#[test]
fn a_watch_goes_on_where_it_was_when_the_daemon_is_back() {
    let Some(mut daemon) = Daemon::start(None) else { return };
    let file = daemon.file("vm.toml", "name = \"web\"\nmemory = 96\n");
    let create = ["vm", "create", "-f", &file, "--hold"];
    daemon.run(&create).expect(0);
    let args =
        ["event", "watch", "--after", "0", "--kind", "created", "--count", "3", "-o", "json"];
    let watch = daemon
        .command()
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    daemon.run(&create).expect(0);
    daemon.kill();
    daemon.start_again();
    daemon.run(&create).expect(0);
    let ran = support::Ran::of(&watch.wait_with_output().expect("ends")).expect(0);
    let vms: Vec<u64> = ran
        .out
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).expect("one event a line")["vm"]
                .as_u64()
                .expect("a VM")
        })
        .collect();
    assert_eq!(vms, [1, 2, 3], "each once, none missed: {ran:#?}");
}
