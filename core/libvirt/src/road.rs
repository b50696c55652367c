//! A road to one libvirt daemon: a few lanes, and a connection for each lane that is at work.
//!
//! **One call in flight on a connection.** A job owns the connection that it works on. libvirt's
//! client library lets several threads call on one connection; then one of them reads for all. When
//! keepalive closes such a connection, the others can be left waiting. And a thread that has
//! returned can leave a pointer to its own stack behind, which a later thread follows
//! (CVE-2024-4418, fixed in 10.4.0). With one caller per connection, no other thread can be left
//! behind. A further connection is opened only when a further lane has something to do.
//!
//! **An opening that hangs.** If a daemon accepts and never answers, the opening blocks. If the
//! daemon's machine then loses power, it blocks for good: nothing is on the wire that could fail.
//! So an opening has a number and a thread of its own. It is given up after a while, and if it
//! succeeds later, its connection is closed.

use crate::feed::Feed;
use crate::lanes::Lanes;
use crate::live::Live;
use crate::locks::{Ticket, Worker};
use ostler_model::{DriverError, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// The most calls that wait for a lane. The engine keeps fewer in flight for a host; more would
/// only become too old.
const WAITING: usize = 1024;
/// The first and the longest pause after a failed opening. Trying a dead socket is cheap, and a
/// daemon that comes back should be seen soon.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// The number of hanging openings that were given up from which on further ones are made only now
/// and then: each costs a thread and a socket.
const HANGING_SOON: usize = 3;
/// The pause between two openings from then on.
const HANGING_PAUSE: Duration = Duration::from_secs(600);
/// The number of hanging openings from which on no further one is made.
const HANGING_MOST: usize = 10;
/// A connection that was not needed for this long is closed, if another one is open.
const IDLE: Duration = Duration::from_secs(60);

/// How long openings may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpenTimes {
    /// How long a caller waits for an opening.
    pub(crate) wait: Duration,
    /// How long an opening may take before it is given up.
    pub(crate) give_up: Duration,
}

/// Some lanes to a daemon.
pub(crate) struct Road {
    uri: String,
    lanes: Lanes,
    times: OpenTimes,
    feed: Option<Arc<Feed>>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Open connections on which nobody works. The last one was used last.
    idle: Vec<Idle>,
    door: Door,
    /// The number of the last opening that was begun.
    openings: u64,
    /// Openings that were given up and have not ended.
    hanging: usize,
}

struct Idle {
    live: Live,
    since: Instant,
}

/// Whether a connection is being opened.
enum Door {
    /// No opening is under way. After a failure: why, and when it may be tried again.
    Shut(Option<Failed>),
    /// A thread opens one.
    Opening { number: u64, since: Instant, failures: u32 },
}

struct Failed {
    /// The failures in a row.
    times: u32,
    again: Instant,
    error: DriverError,
}

impl Road {
    /// A road with so many lanes. If there is a feed, its connections report changes to it.
    pub(crate) fn new(
        name: &'static str,
        lanes: usize,
        uri: &str,
        times: OpenTimes,
        feed: Option<Arc<Feed>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            uri: uri.to_owned(),
            lanes: Lanes::new(name, lanes, WAITING),
            times,
            feed,
            state: Mutex::new(State {
                idle: Vec::new(),
                door: Door::Shut(None),
                openings: 0,
                hanging: 0,
            }),
            changed: Condvar::new(),
        })
    }

    /// Runs `work` in a lane and waits for it until the deadline. `doubt` is the kind of the error
    /// if the deadline passes once `work` has begun.
    pub(crate) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        until: Instant,
        claim: Option<(Ticket, Worker)>,
        doubt: ErrorKind,
        work: impl FnOnce(&Live) -> Result<T, DriverError> + Send + 'static,
    ) -> Result<T, DriverError> {
        let (answer, answered) = oneshot::channel();
        let (ticket, worker) = claim.unzip();
        let road = Arc::clone(self);
        let job = move || {
            if answer.is_closed() || worker.as_ref().is_some_and(|worker| !worker.start()) {
                return;
            }
            let done = catch_unwind(AssertUnwindSafe(|| road.on_a_connection(until, work)));
            drop(worker); // before the answer: a caller that has it must find the domain free
            let panicked = |_| {
                Err(DriverError::new(
                    doubt,
                    "driver-panic",
                    "the kvm driver panicked; the log has the message",
                ))
            };
            // The caller may have gone.
            let _ = answer.send(done.unwrap_or_else(panicked));
        };
        self.lanes
            .submit(Box::new(job))
            .map_err(|full| DriverError::retry("busy", full.to_string()))?;
        match tokio::time::timeout_at(until.into(), answered).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => Err(DriverError::retry("busy", "the call was given up before it began")),
            Err(_) if ticket.is_some_and(|ticket| ticket.abandon()) => Err(DriverError::retry(
                "busy",
                "the time was over before the host had room for the call",
            )),
            Err(_) => Err(DriverError::new(
                doubt,
                "timeout",
                format!("no answer from libvirt at {} in time", self.uri),
            )),
        }
    }

    /// Runs `work` on a connection. If `work` panics, that connection is closed.
    fn on_a_connection<T>(
        self: &Arc<Self>,
        until: Instant,
        work: impl FnOnce(&Live) -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        let live = self.take(until)?;
        let done = work(&live);
        self.give_back(live);
        done
    }

    /// Whether an opening hangs, or has not ended yet.
    pub(crate) fn hangs(&self) -> bool {
        let state = self.lock();
        state.hanging > 0 || matches!(state.door, Door::Opening { .. })
    }

    #[cfg(test)]
    pub(crate) fn counts_a_hanging_opening(&self) {
        self.lock().hanging += 1;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that nobody else works on; opened if there is none. Blocks until there is one,
    /// the time is over or opening failed.
    fn take(self: &Arc<Self>, until: Instant) -> Result<Live, DriverError> {
        let mut dead = Vec::new(); // dropped after the lock
        let mut state = self.lock();
        loop {
            while let Some(Idle { live, .. }) = state.idle.pop() {
                if live.is_still_alive() {
                    return Ok(live);
                }
                dead.push(live);
            }
            let now = Instant::now();
            let wait_until = match &state.door {
                Door::Shut(Some(failed)) if now < failed.again => return Err(failed.error.clone()),
                Door::Shut(failed) => {
                    let failures = failed.as_ref().map_or(0, |failed| failed.times);
                    self.open_aside(&mut state, failures)?;
                    continue;
                }
                Door::Opening { since, failures, .. }
                    if now.duration_since(*since) >= self.times.give_up =>
                {
                    let failures = *failures;
                    state.give_up(failures, &self.uri);
                    continue;
                }
                Door::Opening { since, .. } => until.min(*since + self.times.wait),
            };
            let Some(left) = wait_until.checked_duration_since(now).filter(|left| !left.is_zero())
            else {
                let detail = format!(
                    "libvirt at {} does not answer: opening the connection goes on",
                    self.uri
                );
                return Err(DriverError::retry("no-connection", detail));
            };
            state =
                self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn give_back(&self, live: Live) {
        if !live.is_alive() {
            return;
        }
        let mut state = self.lock();
        state.idle.push(Idle { live, since: Instant::now() });
        let not_needed = state.idle.len() > 1
            && state.idle.first().is_some_and(|first| first.since.elapsed() > IDLE);
        let closed = not_needed.then(|| state.idle.remove(0));
        drop(state);
        self.changed.notify_one();
        drop(closed);
    }

    /// Opens a connection on a thread of its own: if the daemon is stopped, the opening blocks for
    /// good.
    fn open_aside(self: &Arc<Self>, state: &mut State, failures: u32) -> Result<(), DriverError> {
        if state.hanging >= HANGING_MOST {
            let detail = format!(
                "{} attempts to open a connection to libvirt at {} hang, and none is made any more \
                 until one of them ends: see whether libvirt answers there, and restart ostlerd if \
                 it does",
                state.hanging, self.uri
            );
            return Err(DriverError::retry("no-connection", detail));
        }
        state.openings += 1;
        let number = state.openings;
        state.door = Door::Opening { number, since: Instant::now(), failures };
        let road = Arc::clone(self);
        let open = move || {
            let opened =
                catch_unwind(AssertUnwindSafe(|| Live::open(&road.uri, road.feed.as_ref())));
            let opened = opened.unwrap_or_else(|_| {
                Err(DriverError::retry("no-connection", "opening the connection panicked"))
            });
            // This comes before the connection is handed out, so that its reader does not miss the
            // changes that follow.
            if let Some(feed) = &road.feed {
                feed.lost();
            }
            let too_late = road.lock().opened(number, opened);
            road.changed.notify_all();
            drop(too_late); // a connection that nobody waits for is closed
        };
        if let Err(error) = std::thread::Builder::new().name("libvirt-open".to_owned()).spawn(open)
        {
            state.fail(
                failures,
                DriverError::retry(
                    "no-connection",
                    format!("no thread to open a connection: {error}"),
                ),
            );
        }
        Ok(())
    }
}

impl State {
    /// Notes that an opening has ended. Returns its connection if the opening was given up
    /// meanwhile.
    fn opened(&mut self, number: u64, opened: Result<Live, DriverError>) -> Option<Live> {
        match self.door {
            Door::Opening { number: current, failures, .. } if current == number => {
                match opened {
                    Ok(live) => {
                        self.door = Door::Shut(None);
                        self.idle.push(Idle { live, since: Instant::now() });
                    }
                    Err(error) => self.fail(failures, error),
                }
                None
            }
            Door::Opening { .. } | Door::Shut(_) => {
                self.hanging = self.hanging.saturating_sub(1);
                // A hanging opening ended, so the daemon may answer again: the next try need not
                // wait.
                if let Door::Shut(Some(failed)) = &mut self.door {
                    failed.again = Instant::now();
                }
                opened.ok()
            }
        }
    }

    /// Gives up the opening that is under way: it takes too long.
    fn give_up(&mut self, failures: u32, uri: &str) {
        self.hanging += 1;
        let detail = format!(
            "libvirt at {uri} accepts connections and does not answer: the attempt was given up"
        );
        tracing::warn!(
            uri,
            hanging = self.hanging,
            "opening a connection to libvirt hangs and was given up"
        );
        self.fail(failures, DriverError::retry("no-connection", detail));
    }

    fn fail(&mut self, failures: u32, error: DriverError) {
        let pause = if self.hanging >= HANGING_SOON {
            HANGING_PAUSE
        } else {
            BACKOFF.0.saturating_mul(1 << failures.min(10)).min(BACKOFF.1)
        };
        self.door = Door::Shut(Some(Failed {
            times: failures.saturating_add(1),
            again: Instant::now() + pause,
            error,
        }));
    }
}

#[cfg(test)]
#[path = "road_tests.rs"]
mod tests;
