//! One libvirt daemon: three connections, opened when needed, opened again when lost.

use crate::failure::{During, driver_error};
use crate::feed::Feed;
use crate::host::HostKind;
use crate::jobs::Jobs;
use crate::lanes::Lanes;
use crate::locks::{Locks, Ticket, Worker};
use crate::raw::{self, Callbacks};
use ostler_model::{DriverError, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use virt::connect::Connect;
use virt::error::{Error, ErrorDomain};

/// Calls at work at once on a connection: one less than libvirtd's own limit of five, at which it stops reading from the
/// connection and keepalive with it.
const LANES: usize = 4;
/// Calls that wait for a lane. The engine keeps fewer in flight for a host; more would only grow old.
const WAITING: usize = 1024;
/// Seconds between keepalive messages, and how many may stay unanswered.
const KEEPALIVE: (i32, u32) = (2, 3);
/// First and longest pause after a failed open. Trying a dead socket is cheap, and a daemon that comes back should be seen soon.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Whether a connection lives.
pub(crate) struct Pulse {
    alive: AtomicBool,
    feed: Option<Arc<Feed>>,
}

impl Pulse {
    /// libvirt says that the connection closed. Called from its event thread.
    pub(crate) fn stop(&self, reason: std::ffi::c_int) {
        self.alive.store(false, Ordering::Release);
        tracing::info!(reason, "libvirt closed a connection (0 error, 1 end of file, 2 keepalive, 3 by us)");
        if let Some(feed) = &self.feed {
            feed.lost();
        }
    }
}

/// An open connection.
pub(crate) struct Live {
    connect: Option<Connect>,
    pulse: Arc<Pulse>,
    callbacks: Callbacks,
    /// How guests run there, once somebody asked.
    pub(crate) host: OnceLock<HostKind>,
}

impl Live {
    /// The connection.
    pub(crate) fn connect(&self) -> &Connect {
        self.connect.as_ref().expect("taken only when dropped")
    }

    /// Whether libvirt still answers on it, as far as is known. Asks nobody.
    pub(crate) fn is_alive(&self) -> bool {
        self.pulse.alive.load(Ordering::Acquire)
    }

    /// What libvirt said, as the engine's error.
    pub(crate) fn error(&self, error: &Error, during: During) -> DriverError {
        // The callback comes from another thread and may be late: the library itself knows already.
        let wire = matches!(error.domain(), ErrorDomain::Rpc | ErrorDomain::Remote);
        if wire && !self.connect().is_alive().unwrap_or(false) {
            self.pulse.alive.store(false, Ordering::Release);
        }
        driver_error(error, during, self.is_alive())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let (Some(mut connect), callbacks) = (self.connect.take(), std::mem::take(&mut self.callbacks)) else { return };
        // Closing tells the daemon, and blocks if that hangs.
        let close = move || {
            raw::unwatch(&connect, &callbacks);
            // Not closed by being dropped. A connection that is broken cannot be closed any better.
            if let Err(error) = connect.close() {
                tracing::debug!(error = error.message(), "closing a libvirt connection");
            }
        };
        if let Err(error) = std::thread::Builder::new().name("libvirt-close".to_owned()).spawn(close) {
            tracing::warn!(%error, "no thread to close a libvirt connection: closed here");
        }
    }
}

/// One connection and its lanes.
pub(crate) struct Road {
    uri: String,
    lanes: Lanes,
    open_timeout: Duration,
    feed: Option<Arc<Feed>>,
    state: Mutex<State>,
    changed: Condvar,
}

enum State {
    /// Not open; when it may be tried again, how often it failed in a row, and what was said.
    Closed { again: Instant, failures: u32, error: Option<DriverError> },
    /// A thread opens it.
    Opening { since: Instant, failures: u32 },
    /// Open, as far as is known.
    Open(Arc<Live>),
}

impl Road {
    fn new(name: &'static str, uri: &str, open_timeout: Duration, feed: Option<Arc<Feed>>) -> Arc<Self> {
        Arc::new(Self {
            uri: uri.to_owned(),
            lanes: Lanes::new(name, LANES, WAITING),
            open_timeout,
            feed,
            state: Mutex::new(State::Closed { again: Instant::now(), failures: 0, error: None }),
            changed: Condvar::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection, opened if need be. Blocks until it is open, the time is over or opening failed.
    fn live(self: &Arc<Self>, until: Instant) -> Result<Arc<Live>, DriverError> {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            let wait_until = match &*state {
                State::Open(live) if live.is_alive() => return Ok(Arc::clone(live)),
                State::Open(_) => {
                    // Dropped without the lock would be nicer still, but dropping only starts a thread.
                    *state = State::Closed { again: now, failures: 0, error: None };
                    continue;
                }
                State::Closed { again, error: Some(error), .. } if now < *again => return Err(error.clone()),
                State::Closed { failures, .. } => {
                    let failures = *failures;
                    *state = State::Opening { since: now, failures };
                    self.open_aside(&mut state);
                    continue;
                }
                State::Opening { since, .. } => until.min(*since + self.open_timeout),
            };
            let Some(left) = wait_until.checked_duration_since(now).filter(|left| !left.is_zero()) else {
                let detail = format!("libvirt at {} does not answer: opening the connection goes on", self.uri);
                return Err(DriverError::retry("no-connection", detail));
            };
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Opens the connection on a thread of its own: a daemon that is stopped makes it block for good.
    fn open_aside(self: &Arc<Self>, state: &mut State) {
        let road = Arc::clone(self);
        let open = move || {
            let opened = catch_unwind(AssertUnwindSafe(|| road.open()));
            let opened = opened.unwrap_or_else(|_| Err(DriverError::retry("no-connection", "opening the connection panicked")));
            let mut state = road.lock();
            *state = match opened {
                Ok(live) => State::Open(Arc::new(live)),
                Err(error) => failed(&state, error),
            };
            drop(state);
            if let Some(feed) = &road.feed {
                feed.lost();
            }
            road.changed.notify_all();
        };
        if let Err(error) = std::thread::Builder::new().name("libvirt-open".to_owned()).spawn(open) {
            *state = failed(state, DriverError::retry("no-connection", format!("no thread to open a connection: {error}")));
        }
    }

    fn open(&self) -> Result<Live, DriverError> {
        raw::start_event_loop().map_err(|error| DriverError::retry("no-connection", error))?;
        let connect = Connect::open(Some(&self.uri)).map_err(|error| open_error(&error))?;
        let pulse = Arc::new(Pulse { alive: AtomicBool::new(true), feed: self.feed.clone() });
        // Drivers inside the process have no wire and refuse keepalive: nothing to be kept.
        let kept = connect.set_keep_alive(KEEPALIVE.0, KEEPALIVE.1);
        raw::watch_connection(&connect, &pulse);
        let callbacks = self.feed.as_ref().map(|feed| raw::watch_domains(&connect, feed)).unwrap_or_default();
        tracing::info!(uri = self.uri, keepalive = kept.is_ok(), events = callbacks.len(), "connected to libvirt");
        Ok(Live { connect: Some(connect), pulse, callbacks, host: OnceLock::new() })
    }

    /// Runs `work` in a lane and waits for it until the deadline. `doubt` is what a passed deadline means once it is at work.
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
            let done = catch_unwind(AssertUnwindSafe(|| road.live(until).and_then(|live| work(&live))));
            drop(worker); // before the answer: whoever has it finds the domain free
            let panicked = |_| Err(DriverError::new(doubt, "driver-panic", "the kvm driver panicked; the log has the message"));
            // Nobody may be waiting any more.
            let _ = answer.send(done.unwrap_or_else(panicked));
        };
        self.lanes.submit(Box::new(job)).map_err(|full| DriverError::retry("busy", full.to_string()))?;
        match tokio::time::timeout_at(until.into(), answered).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => Err(DriverError::retry("busy", "the call was given up before it began")),
            Err(_) if ticket.is_some_and(|ticket| ticket.abandon()) => {
                Err(DriverError::retry("busy", "the time was over before the host had room for the call"))
            }
            Err(_) => Err(DriverError::new(doubt, "timeout", format!("no answer from libvirt at {} in time", self.uri))),
        }
    }
}

fn failed(state: &State, error: DriverError) -> State {
    let failures = match state {
        State::Opening { failures, .. } | State::Closed { failures, .. } => failures.saturating_add(1),
        State::Open(_) => 1,
    };
    let pause = BACKOFF.0.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(BACKOFF.1);
    State::Closed { again: Instant::now() + pause, failures, error: Some(error) }
}

/// Why a connection could not be opened: only what an operator must change is refused.
fn open_error(error: &Error) -> DriverError {
    let told = driver_error(error, During::Asking, true);
    match told.kind {
        ErrorKind::Refused if told.code == "forbidden" => told,
        _ => DriverError::retry("no-connection", error.message()),
    }
}

/// One daemon.
pub(crate) struct Link {
    /// For calls that change a domain.
    pub(crate) work: Arc<Road>,
    /// For looking, and for `destroy`.
    pub(crate) express: Arc<Road>,
    /// For calls that last as long as a job does: neither a change nor a look waits behind a migration.
    pub(crate) lasting: Arc<Road>,
    /// The jobs that were begun.
    pub(crate) jobs: Arc<Jobs>,
    /// One mutating call a domain.
    pub(crate) locks: Arc<Locks>,
    /// What changes there.
    pub(crate) feed: Arc<Feed>,
}

impl Link {
    /// A link that is not open yet.
    pub(crate) fn new(uri: &str, open_timeout: Duration) -> Self {
        let feed = Arc::new(Feed::new());
        Self {
            work: Road::new("libvirt-work", uri, open_timeout, None),
            express: Road::new("libvirt-look", uri, open_timeout, Some(Arc::clone(&feed))),
            lasting: Road::new("libvirt-job", uri, open_timeout, None),
            jobs: Arc::default(),
            locks: Arc::default(),
            feed,
        }
    }

    /// A question, on the express road.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        patience: Duration,
        question: impl FnOnce(&Live) -> Result<T, DriverError> + Send + 'static,
    ) -> Result<T, DriverError> {
        self.express.run(Instant::now() + patience, None, ErrorKind::Retry, question).await
    }
}
