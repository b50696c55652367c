//! A domain that somebody else made.

use crate::{DiskFormat, DiskName, Graphics, MacAddress};

/// A domain that somebody else made, as far as a VM's specification can say it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WildDomain {
    /// Its name at the hypervisor.
    pub name: String,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Disks: target device, absolute path on the host, format, whether the guest may only read.
    pub disks: Vec<(DiskName, String, DiskFormat, bool)>,
    /// Network cards: address and bridge.
    pub nics: Vec<(MacAddress, String)>,
    /// Absolute path of the kernel that it boots directly, if it does.
    pub kernel: Option<String>,
    /// Absolute path of that kernel's initial RAM disk.
    pub initrd: Option<String>,
    /// That kernel's command line.
    pub cmdline: String,
    /// Its screen.
    pub graphics: Graphics,
    /// In what it would be another machine from its next start on, each in a few words: things of it that a specification cannot say.
    pub changes: Vec<String>,
}
