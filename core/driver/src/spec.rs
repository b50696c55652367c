//! The arguments of driver calls: files, domains, disks and transfer jobs.

use ostler_model::{
    DatastoreName, DiskFormat, DiskName, Firmware, Graphics, HostId, Identity, MacAddress, RelPath,
};

/// A file on one host. The engine makes `absolute` from the host's datastore roots, and hypervisors
/// get this path. A component opens files only by `(datastore, path)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRef {
    /// The host that sees the file under this path.
    pub host: HostId,
    /// The datastore.
    pub datastore: DatastoreName,
    /// The path below the datastore's root.
    pub path: RelPath,
    /// The absolute path: the root and `path` joined.
    pub absolute: String,
}

/// The specification of a domain. It holds everything that a hypervisor needs; the driver need not
/// look up anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainSpec {
    /// The identity that is stamped into the domain before the domain may run.
    pub identity: Identity,
    /// Its name at the hypervisor.
    pub name: String,
    /// The VM's name for operators; for titles only.
    pub title: String,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Thousandths of a physical CPU that are reserved for it. Hypervisors that can give CPU
    /// weights use it.
    pub cpu_milli: u32,
    /// Most virtual CPUs that it can be given while it runs; at least `vcpus`.
    pub vcpus_most: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Most memory in MiB that it can be given while it runs; at least `memory_mib`.
    pub memory_most_mib: u64,
    /// Firmware.
    pub firmware: Firmware,
    /// Kernel to boot directly.
    pub kernel: Option<FileRef>,
    /// Its initial RAM disk.
    pub initrd: Option<FileRef>,
    /// Its command line.
    pub cmdline: String,
    /// Disks in boot order.
    pub disks: Vec<DomainDisk>,
    /// NICs in order.
    pub nics: Vec<DomainNic>,
    /// The screen.
    pub graphics: Graphics,
    /// The log file of the serial console.
    pub console_log: FileRef,
}

/// A disk of a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainDisk {
    /// Target device.
    pub name: DiskName,
    /// Its file.
    pub file: FileRef,
    /// Its format.
    pub format: DiskFormat,
    /// Whether the guest may only read.
    pub read_only: bool,
    /// All files below it, the next one first; empty if there is no file below it. None if the
    /// files are not known: for an adopted disk, and for an image that was registered before Ostler
    /// inspected files. Then only the disk's own content tells them.
    pub below: Option<Vec<Layer>>,
}

/// A file below a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The file.
    pub file: FileRef,
    /// Its format.
    pub format: DiskFormat,
}

/// A NIC of a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainNic {
    /// Its address; always set.
    pub mac: MacAddress,
    /// The bridge.
    pub bridge: String,
}

/// The facts that a transfer driver found when it inspected a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileLook {
    /// The kind of file.
    pub kind: FileKind,
    /// The size of the file in bytes.
    pub size: u64,
    /// The format according to its content: `qcow2`, `raw`, or the name of a format that Ostler
    /// does not use for disks.
    pub format: String,
    /// The size that a guest would see, in bytes.
    pub virtual_size: u64,
    /// The other files that its content names.
    pub names: Vec<String>,
    /// Whether it is encrypted: it cannot be read without a key.
    pub encrypted: bool,
    /// Why the file cannot be complete, for people; none if no damage was found.
    pub damage: Option<String>,
}

/// The kind of thing that exists under a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A folder.
    Directory,
    /// A pipe, a socket, a device.
    Other,
}

/// Where a disk's content comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskSource {
    /// A copy-on-write overlay of an image.
    Image {
        /// The image.
        base: FileRef,
        /// Its format.
        format: DiskFormat,
        /// The size that the guest sees, in MiB; none means the image's size. Only drivers for which
        /// [`Transfer::larger`](crate::Transfer::larger) holds get one.
        size_mib: Option<u64>,
    },
    /// Empty.
    Blank {
        /// The size in MiB.
        size_mib: u64,
    },
    /// Formatted as swap space.
    Swap {
        /// The size in MiB.
        size_mib: u64,
    },
}

/// A job of a transfer driver. All jobs are level: a repeat finds the result and answers success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransferJob {
    /// Make one disk. If a complete file exists that was made the same way, that is success. A
    /// partial file is replaced.
    Prepare {
        /// The file of the disk.
        target: FileRef,
        /// Its format.
        format: DiskFormat,
        /// Where its content comes from.
        source: DiskSource,
    },
    /// Copy one file, possibly between hosts, and verify it (its size, and more if the driver can).
    /// The source is not changed. If the source is absent and a verified target exists, that is
    /// success.
    Copy {
        /// The source.
        from: FileRef,
        /// The target.
        to: FileRef,
        /// The disk's format; none for a memory file.
        format: Option<DiskFormat>,
        /// For an overlay: the image below it, as the destination sees it.
        base: Option<FileRef>,
    },
    /// Remove a file or a folder; if it does not exist, that is success.
    Delete {
        /// The file, or the folder with everything below it.
        target: FileRef,
    },
}

/// Make an image of a disk that nobody writes to: a complete file of `format` with no file below
/// it, in the image's own folder. Level: a repeat finds the image and answers success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaveBackJob {
    /// The disk.
    pub disk: FileRef,
    /// Its format.
    pub from_format: DiskFormat,
    /// The image's file.
    pub image: FileRef,
    /// The image's format.
    pub format: DiskFormat,
}
