//! The shell around the decisions: one door, one decider, one writer, one doer.
//!
//! ```text
//!  request ─┐                                             ┌─> answer
//!   answer ─┼─> mailbox ─> runner ─> decide ─> commit ────┼─> executor ─> driver ─> answer
//!  monitor ─┤   (bounded)  (one a VM, made on demand)     ├─> timers ─> tick
//!     tick ─┘                                             └─> scheduler, waiters, feed
//! ```
//!
//! **Invariants:** no driver is called inside a transaction; no effect is sent, no answer given and no event seen before its
//! commit; nobody but a VM's runner changes its record; a runner takes its next input after its commit is durable; no mutating
//! call but destroy is sent beside one that may still be at work at the host, whoever sent that one. There is no second code path
//! for recovery: a runner that loads a record with calls open that nobody is at hands `Restarted` to itself.

mod clock;
mod config;
mod handle;
mod hooks;

mod birth;
mod directory;
mod engine;
mod seen;
mod shared;

mod answers;
mod facts;
mod fenced;
mod journal;
mod mailbox;
mod preview;
mod rules;
mod runner;
mod sweep;

mod calls;
mod counters;
mod executor;

mod health;
mod identity;
mod monitor;
mod refusals;
mod restored;
mod retention;
mod scheduler;
mod timers;
mod watchdog;

pub use config::EngineConfig;
pub use engine::Engine;
pub use handle::{
    ActionRequest, AdoptRequest, CreateRequest, DriverHealth, EngineError, Explained, HostHealth, Idempotency, Preview, Replied,
    Restored, SnapshotAdvice, Unreconciled, WAIT_MAX, Waited,
};
#[doc(hidden)]
pub use hooks::{Hooks, Point, Sabotage, WANTED_PANIC};
