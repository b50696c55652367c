//! What tests may do to an engine: end it at an exact point as `kill -9` would, and break it on purpose. Nothing else sets these.

use ostler_model::{Millis, Timestamp, VmUuid};
use std::fmt;
use std::sync::Arc;

/// Where an engine may be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Point {
    /// Decided, and nothing committed.
    Decided,
    /// Committed, and nothing sent, told or answered.
    Committed,
    /// A driver is about to be called.
    Sending,
    /// A driver has answered, and nobody knows.
    Answered,
}

/// A deliberate fault, by which tests prove that they would notice a real one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sabotage {
    /// None.
    #[default]
    None,
    /// Effects are sent before they are committed.
    ActFirst,
    /// Effects are sent without being written down.
    NoOutbox,
    /// Nobody looks for calls of a process that is dead.
    NoResume,
    /// What follows the commit of a request is done by the one who asked: if that one goes away, it is not done.
    CallerCarries,
    /// An answer that is lost with its runner stays on the books of the calls in flight.
    AnswersLost,
}

impl Sabotage {
    /// Whether the watchdog would heal what the fault breaks. Then it is left out, as it was when the fault was one.
    pub(crate) const fn is_watched(self) -> bool {
        !matches!(self, Self::CallerCarries | Self::AnswersLost)
    }
}

/// The words of a panic that [`Hooks::panics`] wants.
pub const WANTED_PANIC: &str = "a panic that a test wants";

/// A source of something that a simulation gives from its seed.
type Source<T> = Arc<dyn Fn() -> T + Send + Sync>;

type Crash = Arc<dyn Fn(Point) -> bool + Send + Sync>;

/// All of it.
#[derive(Clone, Default)]
pub struct Hooks {
    /// The fault.
    pub sabotage: Sabotage,
    /// Asked at every point; yes ends the engine there and then.
    pub crash: Option<Crash>,
    /// Asked at every point; yes is a panic there, with the words [`WANTED_PANIC`].
    pub panics: Option<Crash>,
    /// A host that falls silent counts as silent for this long already.
    pub head_start: Millis,
    /// The time of day, instead of the system's.
    pub now: Option<Source<Timestamp>>,
    /// The identities of new VMs, instead of random ones.
    pub uuid: Option<Source<VmUuid>>,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").field("sabotage", &self.sabotage).finish_non_exhaustive()
    }
}
