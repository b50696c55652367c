//! Everything around the decisions: every input comes one way, one function decides, one writer
//! commits, one part calls drivers.
//!
//! ```text
//!  request ─┐                                             ┌─> answer
//!   answer ─┼─> mailbox ─> runner ─> decide ─> commit ────┼─> executor ─> driver ─> answer
//!  monitor ─┤   (bounded)  (one per VM, on demand)        ├─> timers ─> tick
//!     tick ─┘                                             └─> scheduler, waiters, feed
//! ```
//!
//! **Invariants:** No driver is called inside a transaction. No effect is sent, no answer is given
//! and no event is seen before its commit. Only a VM's runner changes its record. A runner takes
//! its next input after its commit is durable. While a mutating hypervisor call may still be at
//! work at the host, only destroy is sent beside it. While a transfer may still be at work, nothing
//! is sent beside it. Both hold for calls of a previous process, too. There is no second code path
//! for recovery: a runner that loads a record with open calls that nobody works on gives itself the
//! input `Restarted`.

mod clock;
mod config;
mod figures;
mod handle;
mod hooks;
mod locked;

mod adopt;
mod birth;
mod bridges;
mod create;
mod directory;
mod drivers;
mod engine;
mod hosts;
mod seen;
mod shared;

mod agenda;
mod answers;
mod commit;
mod facts;
mod faults;
mod fenced;
mod follow;
mod input;
mod journal;
mod mailbox;
mod message;
mod preview;
mod probes;
mod rules;
mod runner;
mod sweep;

mod arguments;
mod calls;
mod charge;
mod counters;
mod executor;
mod in_flight;
mod maybe_running;

mod health;
mod identity;
mod monitor;
mod refusals;
mod related;
mod restored;
mod retention;
mod scheduler;
mod timers;
mod trials;
mod unusable;
mod watchdog;

pub use config::EngineConfig;
pub use drivers::{NotAnswered, oldest_operation};
pub use engine::Engine;
pub use figures::{DriverFigures, Figures, GROUPS_US, Recent, WINDOW};
pub use handle::{
    ActionRequest, AdoptRequest, CreateRequest, DriverHealth, EngineError, Explained, HostHealth,
    Idempotency, Preview, Reconciliation, Replied, SnapshotAdvice, Unreconciled, WAIT_MAX, Waited,
};
#[doc(hidden)]
pub use hooks::{Decides, Hooks, Point, Sabotage, Sends, WANTED_PANIC};
/// The explanations that the engine hands on, for those who make words of them.
pub use ostler_lifecycle::{
    Declined, Done, LastError, NotAdopted, NotCreated, Spike, Summary, TRIAL, Waits, WaitsFor, Why,
    WhyNot,
};
pub use trials::TakeBack;
pub use unusable::Unusable;
