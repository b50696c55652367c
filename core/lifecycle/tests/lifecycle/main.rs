//! The decider at its boundary: records and inputs go in, decisions come out. `script` reads short stories and compares how they
//! went (`UPDATE_EXPECT=1` rewrites), `model` makes up long ones and holds every decision against the invariants, `controls`
//! shows that those turn red.
#![allow(clippy::unwrap_used, reason = "a story that cannot be told is a failed test")]

mod adoption;
mod aliases;
mod controls;
mod docs;
mod explained;
mod facts;
mod faults;
mod invariants;
mod model;
mod rig;
mod script;
mod world;

mod cold;
mod deadlines;
mod deletes;
mod destroys;
mod failures;
mod failures_to_end;
mod fencing;
mod hotplug;
mod hotplug_sizes;
mod images;
mod lost_at_rest;
mod memory;
mod migrations;
mod migrations_cold;
mod migrations_live;
mod migrations_lost;
mod migrations_recovered;
mod monitoring;
mod outcomes;
mod overtaking;
mod placement;
mod preemption;
mod put_away;
mod records;
mod recovery;
mod restarts;
mod restored;
mod snapshots;
mod steps;
mod unreached;
mod walks;
