//! The records of hypervisor drivers.

use super::{Extra, FileRef, Identity, records};
use crate::{
    ConsoleKind, DiskFormat, EffectId, Firmware, Graphics, MigrationMode, Power, PowerReason,
};

records! {
    /// A domain as the driver sees it.
    pub struct DomainSeen {
        /// The domain's UUID at the hypervisor.
        pub uuid: String,
        /// The domain's name at the hypervisor.
        pub name: String,
        /// The stamp in the domain. None if it has no stamp.
        pub identity: Option<Identity>,
        /// Its power state.
        pub power: Power,
        /// The reason for its power state.
        pub reason: PowerReason,
        /// The identity of the last edge effect. It is stamped before the effect is sent.
        pub last_edge: Option<EffectId>,
        /// Reserved.
        pub extra: Extra,
    }

    /// The capacity of a host, and what it can do.
    #[derive(Default)]
    pub struct HostFacts {
        /// Thousandths of a CPU that the host offers.
        pub cpu_milli: u64,
        /// Memory that the host offers, in MiB.
        pub memory_mib: u64,
        /// The hypervisor and its version.
        pub hypervisor: String,
        /// Names of exported abilities that this host cannot serve (`suspend`).
        pub unable: Vec<String>,
        /// Remarks that an operator should read.
        pub notes: Vec<String>,
        /// `identity` of the hypervisor; `interface` for each network interface of the host.
        pub extra: Extra,
    }

    /// A disk of a domain.
    pub struct DomainDisk {
        /// The target device (`vda`).
        pub name: String,
        /// Its file.
        pub file: FileRef,
        /// The format of the file.
        pub format: DiskFormat,
        /// Whether the guest may not write to it.
        pub read_only: bool,
        /// Reserved.
        pub extra: Extra,
    }

    /// A network card of a domain.
    pub struct DomainNic {
        /// Its MAC address.
        pub mac: String,
        /// The bridge that it is plugged into.
        pub bridge: String,
        /// Reserved.
        pub extra: Extra,
    }

    /// The domain as it should be.
    pub struct DomainSpec {
        /// The stamp that it gets before it may run.
        pub identity: Identity,
        /// The domain's name at the hypervisor.
        pub name: String,
        /// A text for people.
        pub title: String,
        /// The number of virtual CPUs.
        pub vcpus: u32,
        /// The share of the host's CPUs, in thousandths of one.
        pub cpu_milli: u32,
        /// The memory in MiB.
        pub memory_mib: u64,
        /// The firmware that starts it.
        pub firmware: Firmware,
        /// The kernel that it boots directly.
        pub kernel: Option<FileRef>,
        /// The initial RAM disk of that kernel.
        pub initrd: Option<FileRef>,
        /// The command line of that kernel.
        pub cmdline: String,
        /// Its disks.
        pub disks: Vec<DomainDisk>,
        /// Its network cards.
        pub nics: Vec<DomainNic>,
        /// Its screen.
        pub graphics: Graphics,
        /// The file that the serial console is logged to. Its folder may not exist yet.
        pub console_log: FileRef,
        /// See [`DomainSpec::vcpus_most`] and [`DomainSpec::memory_most_mib`].
        pub extra: Extra,
    }

    /// The host that a domain moves to.
    pub struct Destination {
        /// The host's name. Files are fetched from the host, and commands reach it, by this name.
        pub host: String,
        /// The way in which the domain moves.
        pub mode: MigrationMode,
        /// Disks in use that are not on shared storage. The driver moves them, too.
        pub move_disks: Vec<String>,
        /// See [`Destination::setting`].
        pub extra: Extra,
    }

    /// A disk of a domain that somebody else made.
    pub struct WildDisk {
        /// The target device (`vda`).
        pub name: String,
        /// The absolute path on the target host.
        pub file: String,
        /// The format of the file.
        pub format: DiskFormat,
        /// Whether the guest may not write to it.
        pub read_only: bool,
    }

    /// A network card of a domain that somebody else made.
    pub struct WildNic {
        /// Its MAC address.
        pub mac: String,
        /// The bridge that it is plugged into.
        pub bridge: String,
    }

    /// A domain that somebody else made.
    #[derive(Default)]
    pub struct WildDomain {
        /// The domain's name at the hypervisor.
        pub name: String,
        /// The number of virtual CPUs.
        pub vcpus: u32,
        /// The memory in MiB.
        pub memory_mib: u64,
        /// Its disks.
        pub disks: Vec<WildDisk>,
        /// Its network cards.
        pub nics: Vec<WildNic>,
        /// `kernel` and `initrd` (absolute paths on the target host) and `cmdline`, if the domain
        /// boots a kernel directly. And one `change` for each way in which the virtual machine
        /// would differ from its next start on, in a few words for people.
        pub extra: Extra,
    }

    /// The domains that may have changed.
    #[derive(Default)]
    pub struct Batch {
        /// The cursor of the next call.
        pub cursor: u64,
        /// The VMs whose domains may have changed.
        pub vms: Vec<String>,
        /// Whether changes were lost. Then the host looks at all domains.
        pub lost: bool,
    }

    /// The counters of a domain.
    #[derive(Default)]
    pub struct Sample {
        /// The VM.
        pub vm: String,
        /// CPU time in nanoseconds.
        pub cpu_ns: u64,
        /// Memory in use, in KiB.
        pub memory_kib: u64,
        /// Bytes read from disks.
        pub disk_read: u64,
        /// Bytes written to disks.
        pub disk_written: u64,
        /// Bytes received from networks.
        pub net_rx: u64,
        /// Bytes sent to networks.
        pub net_tx: u64,
        /// Reserved.
        pub extra: Extra,
    }

    /// The place where a console can be connected to.
    pub struct Endpoint {
        /// The kind of the console.
        pub kind: ConsoleKind,
        /// `tcp:ADDRESS:PORT` or `unix:PATH`, as seen on the target host.
        pub address: String,
        /// Reserved.
        pub extra: Extra,
    }

    /// All domains of a host.
    #[derive(Default)]
    pub struct Listed {
        /// The domains that could be read, Ostler's and others.
        pub domains: Vec<DomainSeen>,
        /// The UUIDs of the domains that could not be read now. The host concludes nothing about
        /// them.
        pub unreadable: Vec<String>,
    }
}
