//! Tests of `decide` from outside: records and inputs go in, decisions come out. `script` reads
//! short stories and compares how they went (`UPDATE_EXPECT=1` rewrites). `model` makes up long
//! ones and holds every decision against the invariants. `controls` shows that the invariants fail
//! if there is a fault.
#![allow(clippy::unwrap_used, reason = "a story that cannot be told is a failed test")]

mod acts;
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
mod rounds;
mod samples;
mod script;
mod world;

mod cold;
mod deadlines;
mod deletes;
mod destroys;
mod failures;
mod failures_of_memory;
mod failures_to_end;
mod fencing;
mod hotplug;
mod hotplug_sizes;
mod images;
mod lost_at_rest;
mod memory;
mod migrations;
mod migrations_cold;
mod migrations_cold_cut;
mod migrations_live;
mod migrations_lost;
mod migrations_recovered;
mod monitoring;
mod new_image;
mod outcomes;
mod overtaking;
mod overtaking_by_delete;
mod placement;
mod preemption;
mod put_away;
mod records;
mod recovery;
mod recovery_undo;
mod restarts;
mod restored;
mod restored_cut;
mod restored_late;
mod restored_lives;
mod snapshots;
mod snapshots_at_risk;
mod steps;
mod strangers;
mod unreached;
mod walks;
mod walks_to_the_end;
