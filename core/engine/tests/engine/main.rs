//! The engine against real stores and the fake.

mod faults;
mod life;
mod monitor;
mod requests;
mod restart;
mod scheduler;
mod support;
