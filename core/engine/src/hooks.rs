//! Hooks by which tests end an engine at an exact point as `kill -9` would, break it on purpose, or
//! supply its clock and its random numbers. Nothing else sets these.

use ostler_lifecycle::{Decision, Facts, Input};
use ostler_model::{Effect, Millis, Refusal, Timestamp, VmRecord, VmUuid};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A point where an engine may be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Point {
    /// A decision was made. Nothing is committed.
    Decided,
    /// The decision is committed. No call is sent, no event is told, and no answer is given.
    Committed,
    /// A driver is about to be called.
    Sending,
    /// A driver has answered. The answer was not handed to the runner.
    Answered,
}

/// A deliberate fault. With it, tests prove that they would notice a real fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sabotage {
    /// None.
    #[default]
    None,
    /// Effects are sent before they are committed.
    ActFirst,
    /// Effects are sent without a row in the outbox.
    NoOutbox,
    /// Nobody looks for open calls of a previous process.
    NoResume,
    /// A request is carried out only while its caller waits: if the caller goes away, what follows
    /// the commit is not done.
    CallerCarries,
    /// If an answer is lost with its runner, the call stays in the map of calls in flight.
    AnswersLost,
    /// After a restore, requests and schedules do not wait until it is known where the VM is.
    Ungated,
    /// Hosts and datastores are read, and put into memory some time later. An older state may
    /// replace a newer one.
    LateReload,
    /// A proposal that was refused keeps its capacity for the rest of the cycle, and is made again
    /// in the next one.
    RefusalsForgotten,
    /// The time of a call runs while it waits for a place in its lane, and a call that has waited
    /// too long goes to the end.
    WaitCounts,
    /// A transfer does not wait for a dropped transfer of the same VM.
    TransfersBeside,
    /// A VM waits for ever for a host on which it has left something, even if the operator says
    /// that the host is lost.
    LostForEver,
    /// After a restart no timer is set.
    TimersLost,
    /// A call is sent while a dropped call of the same VM may be at work.
    CallsBeside,
    /// A host that could not be asked counts as a host that has nothing.
    SilenceIsAbsence,
    /// Busy VMs are looked at too. Without this fault, a look of the monitor waits until the VM's
    /// calls have returned.
    ObserveWhileBusy,
    /// Each domain of this store counts as a leftover, whatever its generation.
    AnyZombie,
}

impl Sabotage {
    /// Whether the watchdog runs under this fault. It does not run under the faults whose damage it
    /// would repair: these faults once were real, and there was no watchdog then.
    pub(crate) const fn is_watched(self) -> bool {
        !matches!(self, Self::CallerCarries | Self::AnswersLost | Self::TimersLost)
    }
}

/// The text of a panic that [`Hooks::panics`] asks for.
pub const WANTED_PANIC: &str = "a panic that a test wants";

/// Gives values in a simulation, which makes them from its seed.
type Source<T> = Arc<dyn Fn() -> T + Send + Sync>;

type Crash = Arc<dyn Fn(Point) -> bool + Send + Sync>;

/// Decides in place of [`ostler_lifecycle::decide`].
pub type Decides =
    Arc<dyn Fn(&VmRecord, &Facts, &Input, Timestamp) -> Result<Decision, Refusal> + Send + Sync>;

/// Changes a call that is about to be sent to its driver. If it answers none, the call is lost.
pub type Sends = Arc<dyn Fn(&Effect) -> Option<Effect> + Send + Sync>;

/// All hooks.
#[derive(Clone, Default)]
pub struct Hooks {
    /// The fault.
    pub sabotage: Sabotage,
    /// Asked at every point. If it answers yes, the engine ends there.
    pub crash: Option<Crash>,
    /// Asked at every point. If it answers yes, the task panics there with the text
    /// [`WANTED_PANIC`].
    pub panics: Option<Crash>,
    /// Makes all decisions about VMs that exist, instead of [`ostler_lifecycle::decide`]. A
    /// simulation looks at decisions here, and spoils them on purpose.
    pub decides: Option<Decides>,
    /// Changes or loses calls that are about to be sent.
    pub sends: Option<Sends>,
    /// A host that stops answering counts as silent for this long already.
    pub head_start: Millis,
    /// Gives the time of day, instead of the system's clock.
    pub now: Option<Source<Timestamp>>,
    /// Gives the UUIDs of new VMs, instead of random ones.
    pub uuid: Option<Source<VmUuid>>,
    /// Gives how long a thread is held up at the place that [`Sabotage::LateReload`] leaves without
    /// a lock.
    pub held_up: Option<Source<Duration>>,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").field("sabotage", &self.sabotage).finish_non_exhaustive()
    }
}
