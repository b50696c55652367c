//! All decisions, as pure functions. A record, facts, an input and the time go in. A [`Decision`]
//! comes out: the next record, and what follows from it.
//!
//! ```text
//!            Request ─┐                      ┌─ record (next version)
//!   Answered (calls) ─┤                      ├─ effects  -> outbox -> drivers
//!  Observed (monitor)─┼─> decide(record,  ───┼─ cancels  -> calls in flight
//!        Tick (time) ─┤    facts, input, now)├─ claims   -> checked inside the transaction
//!          Restarted ─┘                      └─ events, journal
//! ```
//!
//! **Invariant:** no IO, no async, no clock and no randomness here, and no other place that
//! decides. The states in which a verb begins, its steps, the state it ends in and the consequence
//! of its failure are matches over all verbs, without a wildcard: a new verb does not compile until
//! all of these are decided.
//!
//! An operation is a *plan*: a list of steps fixed when it begins ([`recipe`]). All operations run
//! through the same few functions (`step`, `step_result`): begin a step, send its items one after the
//! other, judge the answers against the step's goal, go on or fail. The consequence of a failure is
//! a policy of (verb, step), not code of its own.
//!
//! ```text
//! decide ─┬─ request ── may it begin, and with which plan: admission, abilities, advice, placement, migrate, hardware, snapshots, edit, plan
//!         │     └────── recover carries a failed operation on;   destroys tells what is removed for good
//!         ├─ step_result, wake ── an operation goes on: step <─> step_result <─> operation_end, over
//!         │                       items, marks, slot, subject, rest
//!         ├─ monitor, gone ── what is seen without an operation
//!         └─ restored ── the record is older than what the hosts show
//! allowed, why, outcomes, table: the same rules, told to people
//! trial, crash ── when a driver's new file is taken back, and when a driver is not called for a while
//! ```

#![deny(clippy::wildcard_enum_match_arm)]

mod decision;
mod domain_status;
mod facts;
mod input;

pub mod recipe;

mod abilities;
mod admission;
mod advice;
mod destroys;
mod edit;
mod hardware;
mod migrate;
mod new_image;
mod placement;
mod plan;
mod recover;
mod refusals;
mod request;
mod schedules;
mod snapshots;

mod draft;
mod items;
mod marks;
mod operation_end;
mod rest;
mod slot;
mod step;
mod step_result;
mod subject;
mod wake;

mod crash;
mod trial;

mod adoption;
mod creation;
mod gone;
mod lost_host;
mod lost_time;
mod monitor;
mod restored;
mod zombie;

mod allowed;
mod outcomes;
mod table;
mod why;

pub use adoption::{Becomes, NotAdopted, accepts_changes, becomes, is_adoptable};
pub use allowed::{can, presumed};
pub use crash::{Breaker, is_crash, waits};
pub use creation::{Named, NotCreated, Reachable, bridges_are_somewhere, disks_of};
pub use decision::{Decision, Input};
pub use domain_status::{DomainStatus, status, status_at};
pub use facts::{
    Advice, Candidate, Elsewhere, Facts, Fate, Found, Interfaces, Look, Near, wants_advice,
    wants_look,
};
pub use input::{Adopted, NewVm, adopt, create, decide};
pub use lost_host::{NotLost, is_lost};
pub use monitor::{UNREACHABLE_GRACE, is_suspect};
pub use new_image::{Shelf, image_to_be};
pub use outcomes::{Cell, Happens, Leads, outcomes};
pub use placement::{
    Declined, MOVES_AT_ONE_HOST, Offer, Proposal, Scene, Waits, WhyNot, missing_bridge, propose,
};
pub use recipe::{OnFailure, Plan};
pub use restored::{elsewhere, is_elsewhere, must_rest};
pub use schedules::due;
pub use step::{BLIND_TRIES, CRASHES_MAX, LOOK_EVERY, SKIP_TRIES, retry_after};
pub use table::{diagram, table};
pub use trial::{Answers, Spike, TRIAL, spike};
pub use why::{Done, LastError, Summary, WaitsFor, Why, why, why_with};
pub use zombie::{Listing, PutAway, doomed, listed, put_away, to_sweep, unused_memory};
