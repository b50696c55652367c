//! What drivers are asked to make.

use ostler_model::{DatastoreName, DiskFormat, DiskName, Firmware, Graphics, HostId, Identity, MacAddress, RelPath};

/// A file on one host. `absolute` is resolved by the engine from the host's datastore roots and is what a hypervisor is told;
/// a component opens files only by `(datastore, path)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRef {
    /// The host whose view this is.
    pub host: HostId,
    /// The datastore.
    pub datastore: DatastoreName,
    /// Below its root.
    pub path: RelPath,
    /// Root and path joined.
    pub absolute: String,
}

/// A domain to be: everything a hypervisor needs, and nothing it must look up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainSpec {
    /// Stamped into the domain before it may run.
    pub identity: Identity,
    /// Its name at the hypervisor.
    pub name: String,
    /// What operators call it; for titles only.
    pub title: String,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Thousandths of a physical CPU reserved for it; hypervisors that can weigh use it.
    pub cpu_milli: u32,
    /// Most virtual CPUs it can be given while it runs; at least `vcpus`.
    pub vcpus_most: u32,
    /// Memory.
    pub memory_mib: u64,
    /// Most memory it can be given while it runs; at least `memory_mib`.
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
    /// Where the serial console is logged.
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
    /// All files below it, the next one first; empty if it stands on nothing. None if that is not known (a disk that was adopted, an
    /// image of before files were looked at): then only the disk itself tells.
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

/// What a transfer driver found when it looked at a file. Facts only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileLook {
    /// What it is.
    pub kind: FileKind,
    /// Bytes of the file.
    pub size: u64,
    /// What its content says: `qcow2`, `raw`, or the word for a format that no disk of ours has.
    pub format: String,
    /// Bytes that a guest would see.
    pub virtual_size: u64,
    /// Other files that it names.
    pub names: Vec<String>,
    /// Whether it cannot be read without a key.
    pub encrypted: bool,
    /// Why it cannot be whole, for people.
    pub damage: Option<String>,
}

/// What stands under a name.
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
    /// A copy on write of an image.
    Image {
        /// The image.
        base: FileRef,
        /// Its format.
        format: DiskFormat,
    },
    /// Empty.
    Blank {
        /// Size.
        size_mib: u64,
    },
    /// Formatted as swap space.
    Swap {
        /// Size.
        size_mib: u64,
    },
}

/// A job of a transfer driver. All are level: a repeat finds the result and answers success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransferJob {
    /// Make one disk. An existing complete file of the same making is success; a partial one is replaced.
    Prepare {
        /// Where.
        target: FileRef,
        /// Its format.
        format: DiskFormat,
        /// From what.
        source: DiskSource,
    },
    /// Copy one file, possibly between hosts, and verify it (size, and more where the driver can). The source is untouched.
    /// A source that is absent while a verified target exists is success.
    Copy {
        /// From.
        from: FileRef,
        /// To.
        to: FileRef,
        /// Disk format, or none for a recovery file.
        format: Option<DiskFormat>,
        /// For an overlay: its base as the destination sees it.
        base: Option<FileRef>,
    },
    /// Make an image of a disk that nobody writes: a complete file of `format` that stands on no other, under the image's own folder.
    /// Needs the transfer ability to make images.
    SaveBack {
        /// The disk.
        disk: FileRef,
        /// Its format.
        from_format: DiskFormat,
        /// The image's file.
        image: FileRef,
        /// The image's format.
        format: DiskFormat,
    },
    /// Have no such file or folder.
    Delete {
        /// What: a file, or a folder with all below it.
        target: FileRef,
    },
}
