//! Looks at a disk's file before `qemu-img` opens it.
//!
//! `qemu-img` runs with the rights of the host and opens every file that a disk names: a file below
//! it, a file for its data. So the head of every qcow2 disk is read here first, and a disk that
//! names a file it may not name is refused.

use ostler_sdk::host::{exec, files};
use ostler_sdk::qcow2::{self, Content, Header};
use ostler_sdk::{DiskFormat, Error, ErrorKind, FileKind, FilePath, FileRef};

/// The size of a sector. The last sector of a raw file may be short, so the size is rounded up.
const SECTOR: u64 = 512;
/// The most characters of a file name in a message.
const NAME_TOLD: usize = 200;

/// A file, and the content that its first bytes show.
pub(crate) struct Found {
    /// Whether it is a regular file. Other files are not read, because a pipe would block the
    /// reader for ever.
    pub(crate) is_file: bool,
    pub(crate) kind: FileKind,
    pub(crate) size: u64,
    pub(crate) allocated: u64,
    pub(crate) content: Content,
}

/// Looks at a file. None if it does not exist.
pub(crate) fn look(file: &FilePath) -> Result<Option<Found>, Error> {
    let Some(stat) = files::stat(file)? else { return Ok(None) };
    let is_file = stat.kind == FileKind::File;
    let content = if is_file {
        qcow2::read(&exec::output("head", &[("disk", &file.hole())])?)
    } else {
        Content::Raw
    };
    Ok(Some(Found {
        is_file,
        kind: stat.kind,
        size: stat.size,
        allocated: stat.allocated,
        content,
    }))
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Disk {
    pub(crate) virtual_size: u64,
    /// The header. A raw disk has the default one, which names no file.
    pub(crate) header: Header,
}

impl Disk {
    /// The name of the file below it, if any.
    pub(crate) fn backing(&self) -> Option<&str> {
        self.header.backing.as_deref()
    }

    /// Whether it names no other file.
    pub(crate) fn is_alone(&self) -> bool {
        self.header.names().next().is_none()
    }
}

/// The disk in a file. None if there is no file, or no complete disk of that format. The caller
/// always gives the format. Otherwise a guest could write a header into its raw disk and so decide
/// which files are opened.
pub(crate) fn disk(file: &FilePath, format: &DiskFormat) -> Result<Option<Disk>, Error> {
    if *format == DiskFormat::Raw {
        let stat = files::stat(file)?.filter(|stat| stat.kind == FileKind::File);
        let raw = |size: u64| Disk {
            virtual_size: size.next_multiple_of(SECTOR),
            header: Header::default(),
        };
        return Ok(stat.map(|stat| raw(stat.size)));
    }
    if *format != DiskFormat::Qcow2 {
        return Ok(None);
    }
    Ok(match look(file)? {
        Some(Found { size, content: Content::Qcow2(header), .. }) if header.least_size <= size => {
            Some(Disk { virtual_size: header.virtual_size, header })
        }
        Some(_) | None => None,
    })
}

/// An image that disks can be made from. It must exist, have that format, name no other file, and
/// need no key.
pub(crate) fn image(file: &FileRef, format: &DiskFormat) -> Result<Disk, Error> {
    let (name, place) = (&file.absolute, file.place());
    let Some(stat) = files::stat(&place)? else {
        return Err(Error::gone("no-image", format!("the image {name} is not there")));
    };
    if stat.kind != FileKind::File {
        return Err(Error::refused("bad-image", format!("the image {name} is no file")));
    }
    let found = disk(&place, format)?.ok_or_else(|| {
        Error::refused("bad-image", format!("the image {name} is no {format} file"))
    })?;
    if found.header.encrypted {
        return Err(Error::refused(
            "encrypted-image",
            format!("the image {name} is encrypted, and there is no key for it"),
        ));
    }
    alone(&format!("the image {name}"), &found.header)?;
    Ok(found)
}

/// Checks the image below a disk, and answers its format. The disk must say this format. Otherwise
/// the format would be guessed from bytes that a guest may have written, and these could name other
/// files.
pub(crate) fn base(file: &FileRef, format: Option<&str>, what: &str) -> Result<DiskFormat, Error> {
    let format = format.ok_or_else(|| {
        Error::refused("no-base-format", format!("{what} does not say the format of its base"))
    })?;
    let format = DiskFormat::parse(format).ok_or_else(|| {
        let told = format!("the base of {what} is {format}, and only qcow2 and raw are read here");
        Error::refused("bad-image", told)
    })?;
    match image(file, &format) {
        Ok(_) => Ok(format),
        // `Gone` would mean that the disk itself is gone.
        Err(error) if error.kind == ErrorKind::Gone => Err(Error::retry(error.code, error.detail)),
        Err(error) => Err(error),
    }
}

/// Refuses a disk that names another file.
pub(crate) fn alone(what: &str, header: &Header) -> Result<(), Error> {
    match header.names().next() {
        None => Ok(()),
        Some(other) => Err(foreign(what, other)),
    }
}

/// The error for a disk that names another file, which would be opened with the rights of the host.
pub(crate) fn foreign(what: &str, other: &str) -> Error {
    let told: String = other.chars().take(NAME_TOLD).collect();
    let detail = format!(
        "{what} stands on another file ({told}), which a guest would be shown with the rights of \
         its host; make one whole file of it (qemu-img convert -O qcow2 OLD NEW) and use that"
    );
    Error::refused("names-other-file", detail)
}
