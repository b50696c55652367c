//! The engine against real stores and the fake.

mod addresses;
mod adoption;
mod aliases;
mod births;
mod bridges;
mod callers;
mod changes;
mod charge;
mod faults;
mod fenced;
mod lanes;
mod life;
mod monitor;
mod moves;
mod rehearsed;
mod requests;
mod restart;
mod restored;
mod scheduler;
mod support;
mod watchdog;
mod wild;
