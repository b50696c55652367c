//! A domain that somebody else made.

use crate::{DiskFormat, DiskName, Graphics, MacAddress};

/// A domain that somebody else made, as far as a VM's specification can describe it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WildDomain {
    /// Its name at the hypervisor.
    pub name: String,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Disks: target device, absolute path on the host, format, and whether the disk is read-only
    /// for the guest.
    pub disks: Vec<(DiskName, String, DiskFormat, bool)>,
    /// Network cards: address and bridge.
    pub nics: Vec<(MacAddress, String)>,
    /// Absolute path of the kernel that it boots directly; none if it boots otherwise.
    pub kernel: Option<String>,
    /// Absolute path of that kernel's initial RAM disk.
    pub initrd: Option<String>,
    /// That kernel's command line.
    pub cmdline: String,
    /// Its screen.
    pub graphics: Graphics,
    /// The differences that the guest would meet from its next start on, each in a few words: parts
    /// of the domain that a specification cannot describe.
    pub changes: Vec<String>,
}
