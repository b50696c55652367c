//! The API as clients meet it: the real daemon, real sockets, no hypervisor.
//!
//! A refused request must change nothing: [`daemon::Daemon::refused`] compares the event sequence
//! before and after.

mod auth;
mod bad_input;
mod daemon;
mod driver_files;
mod events;
mod figures;
mod life;
mod log;
mod parameters;
mod resources;
mod secrets;
mod verbs;
mod vms;
