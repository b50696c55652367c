//! All decisions, as pure functions. A record, facts, an input and the time go in. A [`Decision`] comes out: the next record, and
//! what follows from it.
//!
//! ```text
//!            Request ─┐                      ┌─ record (next version)
//!   Answered (calls) ─┤                      ├─ effects  -> outbox -> drivers
//!  Observed (monitor)─┼─> decide(record,  ───┼─ cancels  -> calls in flight
//!        Tick (time) ─┤    facts, input, now)├─ claims   -> checked inside the transaction
//!          Restarted ─┘                      └─ events, journal
//! ```
//!
//! **Invariant:** no IO, no async, no clock and no randomness here, and no other place that decides. The states in which a verb
//! begins, its steps, the state it ends in and the consequence of its failure are matches over all verbs, without a wildcard: a
//! new verb does not compile until all of these are decided.
//!
//! An operation is a *plan*: a list of steps fixed when it begins ([`recipe`]). All operations run through the same few functions
//! (`step`, `judge`): begin a step, send its items one after the other, judge the answers against the step's goal, go on or fail.
//! The consequence of a failure is a policy of (verb, step), not code of its own.

#![deny(clippy::wildcard_enum_match_arm)]

mod facts;
mod input;
mod sight;

pub mod recipe;

mod admission;
mod adoption;
mod advice;
mod agenda;
mod can;
mod destroys;
mod draft;
mod edit;
mod hardware;
mod items;
mod judge;
mod marks;
mod migrate;
mod monitor;
mod outcomes;
mod placement;
mod plan;
mod recover;
mod request;
mod rest;
mod restored;
mod settle;
mod slot;
mod step;
mod subject;

mod table;
mod wake;
mod why;
mod zombie;

pub use adoption::{Becomes, NotAdopted, accepts_changes, becomes, is_adoptable};
pub use agenda::due;
pub use can::{can, presumed};
pub use facts::{Advice, Facts, Fate, Look, wants_advice, wants_look};
pub use input::{Adopted, Decision, Input, NewVm, adopt, create, decide};
pub use monitor::{UNREACHABLE_GRACE, is_suspect};
pub use outcomes::{Cell, Happens, Leads, outcomes};
pub use placement::{Candidate, MOVES_AT_ONE_HOST, Near, Offer, Proposal, Scene, Unfit, Waits, WhyNot, propose};
pub use recipe::{OnFailure, Plan};
pub use restored::{Found, is_elsewhere, must_rest};
pub use sight::{Sight, sight, sight_at};
pub use step::{BLIND_TRIES, CRASHES_MAX, LOOK_EVERY, SKIP_TRIES, retry_after};
pub use table::{diagram, table};
pub use why::{Why, why, why_with};
pub use zombie::{Listing, PutAway, doomed, listed, put_away, to_sweep, unused_memory};
