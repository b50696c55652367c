//! The records of transfer drivers.

use super::{Extra, FileRef, records};
use crate::{DiskFormat, FileKind};

records! {
    /// A disk that begins as an image.
    pub struct FromImage {
        /// The image.
        pub base: FileRef,
        /// The format of the image.
        pub format: DiskFormat,
    }

    /// The content that a new disk begins with.
    pub enum Source {
        /// An image.
        Image(FromImage),
        /// Nothing. The size is in MiB.
        Blank(u64),
        /// A swap area. The size is in MiB.
        Swap(u64),
    }

    /// Makes one disk. A complete file that an earlier call has made is a success. A partial file
    /// is replaced.
    pub struct PrepareJob {
        /// The file to make.
        pub target: FileRef,
        /// The format of the file to make.
        pub format: DiskFormat,
        /// Its content.
        pub source: Source,
    }

    /// Copies and verifies. The source is not changed. If the source is missing and the target is
    /// verified, this is a success.
    pub struct CopyJob {
        /// The name of the host that sees `source`.
        pub from_host: String,
        /// The file to copy.
        pub source: FileRef,
        /// The file to make.
        pub target: FileRef,
        /// The format of the file. None for a memory file.
        pub format: Option<DiskFormat>,
        /// For an overlay: its base, as the target host sees it.
        pub base: Option<FileRef>,
    }

    /// A job of a transfer driver.
    pub enum Job {
        /// Makes one disk.
        Prepare(PrepareJob),
        /// Copies and verifies a file.
        Copy(CopyJob),
        /// Removes a file or folder. A missing one is a success.
        Delete(FileRef),
    }

    /// Makes a disk that begins as an image and is larger. As [`PrepareJob`] in all else.
    pub struct LargerJob {
        /// The file to make.
        pub target: FileRef,
        /// The format of the file to make.
        pub format: DiskFormat,
        /// The image.
        pub base: FileRef,
        /// The format of the image.
        pub base_format: DiskFormat,
        /// The size that the guest sees, in MiB.
        pub size_mib: u64,
        /// Reserved.
        pub extra: Extra,
    }

    /// Makes an image of a disk.
    pub struct SaveBackJob {
        /// A disk that nobody writes.
        pub disk: FileRef,
        /// The format of the disk.
        pub disk_format: DiskFormat,
        /// The image to make, in its own folder.
        pub image: FileRef,
        /// The format of the image.
        pub format: DiskFormat,
    }

    /// The description of a file. It has only facts; the host judges them.
    pub struct FileLook {
        /// The kind of the file. Only regular files are read.
        pub kind: FileKind,
        /// The size of the file in bytes.
        pub size: u64,
        /// The format that the content shows, whatever the file's name says: `qcow2`, `raw` (no
        /// known format), or another word (`vmdk`, `gzip`). [`crate::qcow2::Content::word`] has it.
        pub format: String,
        /// The size that a guest would see, in bytes.
        pub virtual_size: u64,
        /// The other files that the file names, as written in it: a file below it, a file for its
        /// data, an extent.
        pub names: Vec<String>,
        /// Whether the file cannot be read without a key.
        pub encrypted: bool,
        /// The damage that was found, for people: cut off, corrupt. None if none was found.
        pub damage: Option<String>,
        /// Reserved.
        pub extra: Extra,
    }

    /// The space of a datastore.
    #[derive(Default)]
    pub struct Usage {
        /// All of it, in MiB.
        pub total_mib: u64,
        /// The part in use, in MiB.
        pub used_mib: u64,
    }
}
