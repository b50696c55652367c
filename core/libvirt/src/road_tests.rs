//! The road to a daemon that accepts and never answers. A listener in this test plays the daemon.

use super::*;
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

/// Longer than any step of these tests takes.
const LONG: Duration = Duration::from_secs(60);
const TIMES: OpenTimes =
    OpenTimes { wait: Duration::from_millis(50), give_up: Duration::from_millis(200) };

/// The URI of a daemon that hangs, and the connections that were made to it.
fn daemon_that_hangs() -> (String, Receiver<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let (accepted, connections) = channel();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            if accepted.send(stream).is_err() {
                return;
            }
        }
    });
    (format!("qemu+tcp://127.0.0.1:{port}/system"), connections)
}

async fn ask(road: &Arc<Road>) -> DriverError {
    let until = Instant::now() + LONG;
    road.run(until, None, ErrorKind::Retry, |_| Ok(())).await.expect_err("nobody answers")
}

/// Asks until an answer contains this text.
async fn ask_until(road: &Arc<Road>, text: &str) {
    let end = Instant::now() + LONG;
    loop {
        let error = ask(road).await;
        assert_eq!(
            (error.kind, error.code.as_str()),
            (ErrorKind::Retry, "no-connection"),
            "{error}"
        );
        if error.detail.contains(text) {
            return;
        }
        assert!(Instant::now() < end, "waited for {text:?}: {error}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_opening_that_hangs_is_given_up_and_tried_again_but_not_for_ever() {
    let (uri, connections) = daemon_that_hangs();
    let road = Road::new("test", 4, &uri, TIMES, None);
    let mut held = Vec::new();
    for _ in 0..HANGING_SOON {
        ask_until(&road, "opening the connection goes on").await;
        held.push(connections.recv_timeout(LONG).expect("a further attempt"));
        ask_until(&road, "the attempt was given up").await;
    }
    assert_eq!(road.lock().hanging, HANGING_SOON);
    // From now on an opening is made only now and then.
    ask_until(&road, "the attempt was given up").await;
    let rare = |road: &Road| match &road.lock().door {
        Door::Shut(Some(failed)) => failed.again > Instant::now() + HANGING_PAUSE / 2,
        Door::Shut(None) | Door::Opening { .. } => false,
    };
    assert!(rare(&road));
    // And there is a limit to hanging openings.
    road.lock().hanging += HANGING_MOST - HANGING_SOON;
    road.lock().door = Door::Shut(None);
    ask_until(&road, "restart ostlerd").await;
    assert!(connections.try_recv().is_err(), "nothing was opened");
    road.lock().hanging -= HANGING_MOST - HANGING_SOON;

    // The machine is back and refuses connections that it does not know. The hanging openings end,
    // and the next one is tried at once.
    drop(held);
    let end = Instant::now() + LONG;
    while road.lock().hanging > 0 {
        assert!(Instant::now() < end, "what hung has ended");
        tokio::task::yield_now().await;
    }
    ask_until(&road, "opening the connection goes on").await;
    connections.recv_timeout(LONG).expect("a further attempt");
}

#[tokio::test]
async fn a_connection_that_is_opened_too_late_is_closed() {
    let road = Road::new("test", 4, "test:///default", TIMES, None);
    road.lock().door = Door::Opening { number: 1, since: Instant::now(), failures: 0 };
    road.lock().give_up(0, "test:///default");
    let late = Live::open("test:///default", None).expect("opens");
    assert!(road.lock().opened(1, Ok(late)).is_some(), "handed back, to be closed");
    let state = road.lock();
    assert!(state.idle.is_empty() && state.hanging == 0);
    assert!(
        matches!(&state.door, Door::Shut(Some(failed)) if failed.again <= Instant::now()),
        "it answers: tried again at once"
    );
}

#[tokio::test]
async fn each_lane_at_work_has_a_connection_of_its_own_and_they_are_used_again() {
    let road =
        Road::new("test", 3, "test:///default", OpenTimes { wait: LONG, give_up: LONG }, None);
    let together = Arc::new(std::sync::Barrier::new(3));
    let meet = || {
        let together = Arc::clone(&together);
        road.run(Instant::now() + LONG, None, ErrorKind::Retry, move |live| {
            together.wait();
            Ok(std::ptr::from_ref(live.connect()) as usize)
        })
    };
    for _ in 0..2 {
        let (a, b, c) = tokio::join!(meet(), meet(), meet());
        let (a, b, c) = (a.expect("meets"), b.expect("meets"), c.expect("meets"));
        assert!(a != b && b != c && a != c, "one caller a connection");
    }
    assert_eq!(road.lock().openings, 3);
    road.run(Instant::now() + LONG, None, ErrorKind::Retry, |_| Ok(())).await.expect("answers");
    let state = road.lock();
    assert_eq!((state.openings, state.idle.len()), (3, 3), "what is open is used");
}
