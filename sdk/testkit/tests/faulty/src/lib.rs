//! Domains and disks as small files, with one fault. The setting `fault` names it, and `none` is a
//! driver that is right. Each fault does no harm as long as every call ends: it needs a driver that
//! is stopped in the middle of a call.

mod disks;
mod domains;

use ostler_sdk::host::config;

/// The driver.
pub struct Faulty;

ostler_sdk::export!(
    Faulty: Hypervisor + Reboot + Suspend + Snapshots + Transfer + TransferImages;
    manifest = "manifest.toml"
);

/// Whether the driver has that fault.
fn has(fault: &str) -> bool {
    config::get("fault").ok().flatten().as_deref() == Some(fault)
}
