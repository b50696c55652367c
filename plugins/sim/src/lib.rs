//! A driver without a hypervisor, for trials, tests and scale. `README.md` lists the faults that it
//! can simulate.
//!
//! ```text
//!   a call -> knobs (delay, error, trap) -> read UUID.json -> decide (pure)
//!          -> write UUID.json once -> knobs (lost, trap) -> answer
//! ```

mod abilities;
mod copy;
mod domain;
mod driver;
mod journey;
mod knobs;
mod machine;
mod migrate;
mod parts;

use driver::Sim;

ostler_sdk::export!(
    Sim: Hypervisor + Reboot + Suspend + Metrics + Migrate + Hotplug + Snapshots + LiveResize
        + DiskCopy + Adopt;
    manifest = "manifest.toml"
);
