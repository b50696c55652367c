//! `ostlerd`: the HTTP API over the engine, and the one place where everything is wired.
//!
//! ```text
//! main      flags and the configuration file; exit codes
//! daemon    opens the store, loads drivers, starts the engine, listens, ends
//! listen    connections over TCP and the unix socket; peers counts them by address
//! auth      who asks, and whether they may
//! params    which query parameters a route takes
//! routes    one file a resource: convert, call the engine or read the store once, convert
//! looks     at files and directories, on the machines that are to use them, before they are believed
//! convert   between the wire's types and ours
//! log       lines that hold nobody up, whatever becomes of standard error
//! problem   errors as problems: the only place that knows HTTP's statuses
//! words     refusals, hints and explanations as sentences, with names in the place of ids
//! ```
//!
//! **Invariants:** nothing is decided here: the engine answers, and the answer is passed on. Reads go to the store directly, for
//! it answers in microseconds. No lock is held across an answer.

#![deny(clippy::wildcard_enum_match_arm)]

mod app;
mod audit;
mod auth;
mod clock;
mod config;
mod convert;
mod daemon;
mod drivers;
mod extract;
mod listen;
mod log;
mod looks;
mod metrics;
mod params;
mod peers;
mod private;
mod problem;
mod routes;
mod services;
mod words;

#[cfg(test)]
mod golden;

pub use config::{Config, ConfigError, DriverConfig};
pub use daemon::{DaemonError, Ready, STORE_FILE, TOKEN_FILE, run};
pub use drivers::DriverProblem;
pub use log::Log;
pub use private::private_dir;
pub use routes::openapi;
