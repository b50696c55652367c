//! Plain QEMU without libvirt: one QEMU process for each domain, steered by QMP.
//!
//! ```text
//!   driver, suspend, hotplug, resize, snapshots, copy, metrics   the calls of the contract
//!     -> record    what a domain is, as its files hold it (no IO)
//!     -> place     where its files are; reads and writes them
//!     -> process   starts, looks at and ends its QEMU
//!       -> plug    disks and cards, the same way at a start and later
//!       -> size    how many CPUs and how much memory the guest has
//!       -> state   the memory of snapshots
//!       -> monitor QMP
//! ```
//!
//! A domain is a folder with a record (`domain.json`), and while it runs a process. The record is
//! written first, and the process is the truth about what runs.

mod copy;
mod driver;
mod hotplug;
mod metrics;
mod monitor;
mod place;
mod plug;
mod process;
mod record;
mod resize;
mod size;
mod snapshots;
mod state;
mod suspend;

use driver::Qemu;

ostler_sdk::export!(
    Qemu: Hypervisor + Reboot + Suspend + Metrics + Hotplug + Snapshots + LiveResize + DiskCopy;
    manifest = "manifest.toml"
);
