//! A cassette: all calls to the host that a driver made in one run of the conformance suite, with
//! their answers. Played back, it answers the same calls, so that a driver is tested without its
//! hypervisor. No daemon has a [`Cassette`].
//!
//! ```text
//!   a check -> a call of the driver: found by check, function, effect and host, in their order
//!           -> its calls to the host: compared one after the other with those that were recorded
//! ```
//!
//! Nothing is guessed. The first call that the cassette does not have ends the run
//! ([`Cassette::problem`]). Time is played back. Randomness and the identities that the suite makes
//! come from a seed that is in the cassette.

mod call;
mod format;

pub(crate) use self::call::{TapedCall, Turn};
pub use self::format::{CassetteProblem, Recorded};

use self::format::{Call, HostCall, Key};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use uuid::Uuid;

/// The largest cassette, in bytes: a run of the whole suite takes some MiB.
pub const CASSETTE_MAX: usize = 64 * 1024 * 1024;
/// The bytes that a call takes beside its texts.
const CALL_BYTES: usize = 128;
/// The longest arguments or answer in a message.
const SHOWN_MAX: usize = 300;
/// The function under which the suite's own looks from outside of the driver are kept.
const OUTSIDE: &str = "outside";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Record,
    Replay,
}

/// Records calls to the host, or answers them. Clones share everything.
#[derive(Clone)]
pub struct Cassette(Arc<Inner>);

struct Inner {
    mode: Mode,
    recorded: Recorded,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    check: String,
    calls: Vec<Call>,
    /// Played back: where the calls of each key are, in their order.
    places: BTreeMap<Key, Vec<usize>>,
    /// How many calls of each key have begun.
    begun: BTreeMap<Key, usize>,
    /// The suite's looks from outside, in this check.
    outside: Option<TapedCall>,
    bytes: usize,
    identities: u64,
    problem: Option<String>,
}

impl Cassette {
    /// Records a run. `setup` is kept for the run that is played back.
    #[must_use]
    pub fn record(driver: &crate::Inspection, setup: Value) -> Self {
        let recorded = Recorded {
            ostler_cassette: format::VERSION,
            driver: driver.manifest.name.to_string(),
            version: driver.manifest.version.clone(),
            digest: driver.digest.clone(),
            seed: Uuid::from_bytes(rand::random()).simple().to_string(),
            setup,
        };
        Self(Arc::new(Inner { mode: Mode::Record, recorded, state: Mutex::default() }))
    }

    /// Plays a recorded run back.
    ///
    /// # Errors
    /// The file is no cassette that this version can read.
    pub fn replay(file: &[u8]) -> Result<Self, CassetteProblem> {
        let (recorded, calls) = format::read(file)?;
        let mut places = BTreeMap::<Key, Vec<usize>>::new();
        for (at, call) in calls.iter().enumerate() {
            places.entry(call.key.clone()).or_default().push(at);
        }
        let state = State { calls, places, ..State::default() };
        Ok(Self(Arc::new(Inner { mode: Mode::Replay, recorded, state: Mutex::new(state) })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a run is played back.
    #[must_use]
    pub fn is_replay(&self) -> bool {
        self.0.mode == Mode::Replay
    }

    /// The recorded run, and its driver.
    #[must_use]
    pub fn recorded(&self) -> &Recorded {
        &self.0.recorded
    }

    /// A check of the suite begins.
    pub fn begins(&self, check: &str) {
        let mut state = self.state();
        check.clone_into(&mut state.check);
        state.outside = None;
    }

    /// A new identity: the same one when the run is played back.
    #[must_use]
    pub fn identity(&self) -> Uuid {
        let mut state = self.state();
        state.identities += 1;
        let made = self.hashed(&format!("identity {}", state.identities));
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&made[..16]);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }

    fn hashed(&self, what: &str) -> [u8; 32] {
        Sha256::new().chain_update(&self.0.recorded.seed).chain_update(what).finalize().into()
    }

    /// Why the run cannot go on: the first difference between what the driver does and what was
    /// recorded; or the recording has become too large.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.state().problem.clone()
    }

    /// The file of what was recorded.
    ///
    /// # Errors
    /// It has become too large.
    pub fn file(&self) -> Result<Vec<u8>, CassetteProblem> {
        let state = self.state();
        match &state.problem {
            Some(problem) => Err(CassetteProblem::NotWhole(problem.clone())),
            None => Ok(format::written(&self.0.recorded, &state.calls)),
        }
    }

    /// A look of the suite from outside of the driver, at the files of the bench for example. None
    /// if it is played back and the cassette does not have it.
    pub async fn look<T: Serialize + DeserializeOwned>(
        &self,
        what: &str,
        about: &str,
        look: impl Future<Output = T>,
    ) -> Option<T> {
        let known = self.state().outside.clone();
        let outside = match known {
            Some(outside) => outside,
            None => {
                let begun = self.begin(OUTSIDE, String::new(), String::new()).ok()?;
                self.state().outside = Some(begun.clone());
                begun
            }
        };
        match outside.turn(what, Value::from(about)).ok()? {
            Turn::Real(at) => {
                let seen = look.await;
                outside.answered(at, json!({ "is": seen }));
                Some(seen)
            }
            Turn::Kept(answer) => {
                serde_json::from_value(answer?.get_mut("is").map(Value::take)?).ok()
            }
        }
    }

    /// A call of a driver begins.
    ///
    /// # Errors
    /// It is played back, and the cassette has no such call. The text is for people.
    pub(crate) fn begin(
        &self,
        function: &str,
        about: String,
        host: String,
    ) -> Result<TapedCall, String> {
        let mut state = self.state();
        let key = Key { check: state.check.clone(), function: function.to_owned(), about, host };
        let nth = state.begun.entry(key.clone()).or_default();
        *nth += 1;
        let nth = *nth;
        let at = match self.0.mode {
            Mode::Record => {
                state.grow(CALL_BYTES + key.about.len());
                state.calls.push(Call { key: key.clone(), hosts: Vec::new(), ended: false });
                state.calls.len() - 1
            }
            Mode::Replay => {
                match state.places.get(&key).and_then(|places| places.get(nth - 1)).copied() {
                    Some(at) => at,
                    None => {
                        let known = state.places.get(&key).map_or(0, Vec::len);
                        let problem = format!(
                            "{}: the cassette has {known} calls of {function} there, and this is call \
                         {nth}",
                            key.told()
                        );
                        state.problem.get_or_insert(problem.clone());
                        return Err(problem);
                    }
                }
            }
        };
        let seed = self.hashed(&format!("{key:?} {nth}"));
        Ok(TapedCall::new(self.clone(), at, seed))
    }
}

impl State {
    /// Counts bytes of a recording. What does not fit is not kept, and the recording is of no use.
    fn grow(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > CASSETTE_MAX {
            let mib = CASSETTE_MAX / (1024 * 1024);
            self.problem.get_or_insert(format!(
                "the recording is larger than {mib} MiB; record fewer checks with --only"
            ));
            self.calls.iter_mut().for_each(|call| call.hosts.clear());
        }
    }
}

/// A value in a message.
fn shown(value: &Value) -> String {
    crate::text::cut(&value.to_string(), SHOWN_MAX)
}

impl HostCall {
    fn told(&self) -> String {
        format!("{} {}", self.does, shown(&self.with))
    }
}

impl Key {
    /// The call for people.
    fn told(&self) -> String {
        let mut text = format!("check {}, call {}", self.check, self.function);
        // Writing to a String cannot fail.
        if !self.about.is_empty() {
            let _ = write!(text, " of {}", self.about);
        }
        if !self.host.is_empty() {
            let _ = write!(text, " on host {}", self.host);
        }
        text
    }
}
