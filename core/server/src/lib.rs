//! `ostlerd`: the HTTP API over the engine, and the one place where everything is wired.
//!
//! ```text
//! main      flags and the configuration file; exit codes
//! daemon    opens the store, loads drivers, starts the engine, listens, ends
//! listen    connections over TCP and the unix socket; peers counts them by address
//! auth      identifies the caller, and checks what the caller may do
//! params    which query parameters a route takes
//! routes    one file a resource: convert, call the engine or read the store once, convert
//! looks     checks files and directories on the machines that will use them, before they are added
//! convert   between the wire's types and ours
//! log       writes lines on a thread of its own, so that standard error can stop nothing
//! uploads   components that clients have sent, until drivers are made of them
//! trust     the trust policy of the settings, and advice about drivers that it refuses
//! problem   errors of the engine and the store as problems, each with its HTTP status
//! words     refusals, hints and explanations as sentences, with names in the place of ids
//! ```
//!
//! **Invariants:** nothing is decided here: the engine answers, and the handlers pass the answer
//! on. Handlers read the store directly, because a row is read in microseconds; long reads run on a
//! blocking thread (`App::reading`). Only two locks are held across an `await`, both on purpose:
//! `Loader::adding`, and the one of `App::check`.

#![deny(clippy::wildcard_enum_match_arm)]

mod app;
mod audit;
mod auth;
mod charge;
mod clock;
mod config;
mod convert;
mod daemon;
mod drivers;
mod extract;
mod grants;
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
mod settings;
mod swap;
mod trust;
mod unfit;
mod uploads;
mod words;

#[cfg(test)]
mod golden;

pub use config::{Config, ConfigError, DriverConfig};
pub use daemon::{DaemonError, Ready, STORE_FILE, TOKEN_FILE, run};
pub use drivers::DriverProblem;
pub use log::Log;
pub use private::private_dir;
pub use routes::openapi;
pub use trust::{PolicyWord, TrustConfig, TrustProblem};
