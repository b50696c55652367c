//! A host for the tests of a driver, on the author's own machine.
//!
//! A [`MockHost`] answers the calls in [`crate::host`] for the thread that has made it, until it is
//! dropped. Files are kept in memory, time passes only while the driver waits, and commands,
//! sockets and endpoints are answered by functions of the test. [`each_cut`] stops a call before and after every
//! call that it makes to the host, and sends it again: so a test proves that the call converges.
//!
//! ```
//! use ostler_sdk::host::{config, files};
//! use ostler_sdk::{FilePath, mock::MockHost};
//!
//! let host = MockHost::new().setting("datastore", "system");
//! let datastore = config::required("datastore")?;
//! files::write(&FilePath::new(datastore, "a/b"), b"text")?;
//! assert_eq!(host.file("system", "a/b").as_deref(), Some(&b"text"[..]));
//! # Ok::<(), ostler_sdk::Error>(())
//! ```
//!
//! It is not a hypervisor, and it proves nothing about one: `ostler plugin test` does.

mod call;
mod cut;
mod files;
pub(crate) mod sys;

pub use call::Call;
pub use cut::each_cut;
pub use files::Files;

use crate::http::{Request, Response};
use crate::types::JobName;
use crate::{Error, Exit, LogLevel, UnknownWord};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// How long a call may take, unless the test says otherwise.
const PATIENCE_MS: u64 = 60_000;
/// The time of day at which the clock of a new host stands: 2025-01-01, in milliseconds since 1970.
const BEGINNING_MS: u64 = 1_735_689_600_000;

/// One command that a driver has run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The name of the command in the manifest.
    pub command: String,
    /// The holes and their values, as the driver gave them.
    pub holes: Vec<(String, String)>,
    /// The standard input, as the driver gave it. Marks of secrets (`{secret:NAME}`) stay in it, so
    /// that a test sees which secrets the command would be given.
    pub input: Vec<u8>,
}

impl Run {
    /// The first value of a hole. None if it was not given.
    #[must_use]
    pub fn hole(&self, name: &str) -> Option<&str> {
        let found = self.holes.iter().find(|(hole, _)| hole == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Answers a command. It may change the files, as the real program would.
type Command = Box<dyn FnMut(&Run, &mut Files) -> Result<Exit, Error>>;
/// Answers what a driver has written to a socket: the bytes that the driver reads next.
type Answer = Box<dyn FnMut(&[u8]) -> Vec<u8>>;

/// The peer of a socket.
struct Peer {
    /// The hole with the socket's file. If there is one, nobody listens while the file is missing.
    hole: Option<String>,
    answer: Answer,
}

/// Answers the requests to an endpoint.
type Server = Box<dyn FnMut(&Request) -> Result<Response, Error>>;

/// The point at which a call is stopped: before or after one of its calls to the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    Before(u64),
    After(u64),
}

/// The payload of the panic that stops a call.
struct Stopped;

#[derive(Default)]
struct State {
    settings: BTreeMap<String, String>,
    secrets: BTreeMap<String, String>,
    files: Files,
    commands: BTreeMap<String, Command>,
    peers: BTreeMap<String, Peer>,
    endpoints: BTreeMap<String, Server>,
    requests: Vec<Request>,
    runs: Vec<Run>,
    lines: Vec<(LogLevel, String)>,
    passed_ms: u64,
    deadline_ms: u64,
    stop: bool,
    random: u64,
    /// Each value, and when its time is over.
    sessions: BTreeMap<String, (Vec<u8>, u64)>,
    calls: u64,
    operations: u64,
    /// For each command, the host that `run_on` or a job has named.
    hosts: Vec<Option<String>>,
    /// How each job ends, and when it has begun.
    jobs: BTreeMap<JobName, (Exit, u64)>,
    jobs_take_ms: u64,
    cut: Option<Cut>,
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<RefCell<State>>>> = const { RefCell::new(None) };
}

/// A host. It answers for this thread until it is dropped. The newest one of a thread counts.
pub struct MockHost(Rc<RefCell<State>>);

impl Default for MockHost {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for MockHost {
    fn drop(&mut self) {
        CURRENT.with_borrow_mut(|current| {
            if current.as_ref().is_some_and(|state| Rc::ptr_eq(state, &self.0)) {
                *current = None;
            }
        });
    }
}

impl MockHost {
    /// A host with nothing on it.
    #[must_use]
    pub fn new() -> Self {
        let state = State { deadline_ms: PATIENCE_MS, ..State::default() };
        let state = Rc::new(RefCell::new(state));
        CURRENT.with_borrow_mut(|current| *current = Some(Rc::clone(&state)));
        Self(state)
    }

    /// With a setting of the driver.
    #[must_use]
    pub fn setting(self, key: &str, value: &str) -> Self {
        self.0.borrow_mut().settings.insert(key.to_owned(), value.to_owned());
        self
    }

    /// With a secret that the driver reads with [`crate::host::secrets::get`]. A command's input
    /// keeps its marks of secrets: see [`Run::input`].
    #[must_use]
    pub fn secret(self, name: &str, value: &str) -> Self {
        self.0.borrow_mut().secrets.insert(name.to_owned(), value.to_owned());
        self
    }

    /// With a command. Without it, the command is `not-here`, as if the program were missing.
    /// `answer` is given the files to change. It must not call [`crate::host`] itself.
    #[must_use]
    pub fn command(
        self,
        name: &str,
        answer: impl FnMut(&Run, &mut Files) -> Result<Exit, Error> + 'static,
    ) -> Self {
        self.0.borrow_mut().commands.insert(name.to_owned(), Box::new(answer));
        self
    }

    /// With command jobs ([`crate::host::jobs`]) that take so many milliseconds, each. Without it
    /// they have ended when they are begun. What a job does to the files, it does when it begins.
    /// Jobs are kept by name and host, and not by the call's identity.
    #[must_use]
    pub fn jobs_take(self, ms: u64) -> Self {
        self.0.borrow_mut().jobs_take_ms = ms;
        self
    }

    /// With a peer that listens at a socket. Without it, the socket is `gone`. `answer` must not
    /// call [`crate::host`] itself.
    #[must_use]
    pub fn peer(self, name: &str, answer: impl FnMut(&[u8]) -> Vec<u8> + 'static) -> Self {
        let peer = Peer { hole: None, answer: Box::new(answer) };
        self.0.borrow_mut().peers.insert(name.to_owned(), peer);
        self
    }

    /// With a peer that listens at a socket while the file that the hole `hole` names is there:
    /// [`Files::put`] and [`Files::take`] in commands of the test make it come and go. `answer` must
    /// not call [`crate::host`] itself.
    #[must_use]
    pub fn peer_at(
        self,
        name: &str,
        hole: &str,
        answer: impl FnMut(&[u8]) -> Vec<u8> + 'static,
    ) -> Self {
        let peer = Peer { hole: Some(hole.to_owned()), answer: Box::new(answer) };
        self.0.borrow_mut().peers.insert(name.to_owned(), peer);
        self
    }

    /// With a server at an endpoint. Without it, the endpoint is `unreachable`. `answer` must not
    /// call [`crate::host`] itself.
    #[must_use]
    pub fn endpoint(
        self,
        name: &str,
        answer: impl FnMut(&Request) -> Result<Response, Error> + 'static,
    ) -> Self {
        self.0.borrow_mut().endpoints.insert(name.to_owned(), Box::new(answer));
        self
    }

    /// A new call for the VM `vm`, with an identity of its own. It acts for the store `store`.
    #[must_use]
    pub fn call(&self, vm: &str, generation: u64) -> Call {
        let mut state = self.0.borrow_mut();
        state.operations += 1;
        Call::new(vm, state.operations, generation)
    }

    /// The content of a file. None if there is no such file.
    #[must_use]
    pub fn file(&self, datastore: &str, path: &str) -> Option<Vec<u8>> {
        self.0.borrow().files.get(datastore, path).map(<[u8]>::to_vec)
    }

    /// Changes the files, as somebody else at the host would.
    pub fn change_files(&self, change: impl FnOnce(&mut Files)) {
        change(&mut self.0.borrow_mut().files);
    }

    /// The commands that were run, the first one first.
    #[must_use]
    pub fn runs(&self) -> Vec<Run> {
        self.0.borrow().runs.clone()
    }

    /// The commands that were run on another host by its name, also as jobs; the first one first.
    #[must_use]
    pub fn runs_on(&self, host: &str) -> Vec<Run> {
        let state = self.0.borrow();
        let all = state.runs.iter().zip(&state.hosts);
        all.filter(|(_, on)| on.as_deref() == Some(host)).map(|(run, _)| run.clone()).collect()
    }

    /// The requests that were sent, the first one first.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.0.borrow().requests.clone()
    }

    /// The lines that were logged, each with its level.
    #[must_use]
    pub fn lines(&self) -> Vec<(LogLevel, String)> {
        self.0.borrow().lines.clone()
    }

    /// How many calls to commands, files, sockets and endpoints were made. Settings, sessions, time,
    /// randomness and the log do not count.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.0.borrow().calls
    }

    /// Drops what drivers keep in `session`, as a daemon that is started anew does.
    pub fn forget_sessions(&self) {
        self.0.borrow_mut().sessions.clear();
    }

    /// Has the call's time run out in `ms` milliseconds, from now on.
    pub fn deadline_in(&self, ms: u64) {
        let mut state = self.0.borrow_mut();
        state.deadline_ms = state.passed_ms.saturating_add(ms);
    }

    /// Tells the call to stop, or takes that back.
    pub fn tell_to_stop(&self, stop: bool) {
        self.0.borrow_mut().stop = stop;
    }
}

/// A word that no SDK knows, as a later host may send it: `DiskFormat::Other(unknown_word("vmdk"))`.
#[must_use]
pub fn unknown_word(word: &str) -> UnknownWord {
    UnknownWord::new(word)
}

/// An exit code and an output, as a command of a test answers them.
impl Exit {
    /// A command that has ended with code 0 and has written `stdout`.
    #[must_use]
    pub fn success(stdout: impl Into<Vec<u8>>) -> Self {
        Self {
            code: Some(0),
            signal: None,
            stdout: stdout.into(),
            stderr: Vec::new(),
            truncated: false,
        }
    }

    /// A command that has ended with another code and has written `stderr`.
    #[must_use]
    pub fn failure(code: i32, stderr: impl Into<Vec<u8>>) -> Self {
        let (stdout, stderr) = (Vec::new(), stderr.into());
        Self { code: Some(code), signal: None, stdout, stderr, truncated: false }
    }
}

/// Uses the host of this thread.
fn with<T>(act: impl FnOnce(&mut State) -> T) -> T {
    let state = CURRENT.with_borrow(Clone::clone);
    let Some(state) = state else {
        panic!("a call to the host outside of a component: make a `mock::MockHost` in the test")
    };
    act(&mut state.borrow_mut())
}

/// One call to commands, files, sockets or endpoints, which a [`Cut`] may stop before and after.
fn reached<T>(act: impl FnOnce(&mut State) -> T) -> T {
    let number = with(|state| {
        state.calls += 1;
        state.calls
    });
    stop_at(Cut::Before(number));
    let answer = with(act);
    stop_at(Cut::After(number));
    answer
}

fn stop_at(here: Cut) {
    if with(|state| state.cut == Some(here)) {
        // This is no error of the driver, so nothing is printed.
        std::panic::resume_unwind(Box::new(Stopped));
    }
}

#[cfg(test)]
mod tests;
