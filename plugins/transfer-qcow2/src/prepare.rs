//! Makes a disk.

use crate::look::{self, Disk};
use crate::tools;
use ostler_sdk::host::files;
use ostler_sdk::{Call, DiskFormat, Error, FilePath, FileRef, FromImage, PrepareJob, Source};

pub(crate) const MIB: u64 = 1024 * 1024;

/// Makes the disk, unless it exists already.
pub(crate) fn prepare(call: &Call, job: &PrepareJob) -> Result<(), Error> {
    let target = job.target.place();
    if files::stat(&target)?.is_some() && is_made(&target, job)? {
        return Ok(());
    }
    let make = |scratch: &FilePath| {
        match &job.source {
            Source::Image(image) => from_image(call, image, &job.format, None, scratch)?,
            Source::Blank(size_mib) => blank(&job.format, *size_mib, scratch)?,
            Source::Swap(size_mib) => swap(job, *size_mib, scratch)?,
        }
        if is_made(scratch, job)? { Ok(()) } else { Err(not_as_asked(scratch)) }
    };
    match &job.source {
        Source::Image(image) if is_converted(&job.format, &image.format) => {
            tools::made_by_job(call, &job.target, make)
        }
        _ => tools::made(call, &job.target, make),
    }
}

/// Whether a disk of that format is converted from an image of this one. A swap disk is converted,
/// too, but that takes no time.
pub(crate) fn is_converted(disk: &DiskFormat, image: &DiskFormat) -> bool {
    *disk == DiskFormat::Raw && *image != DiskFormat::Raw
}

pub(crate) fn not_as_asked(made: &FilePath) -> Error {
    let detail = format!("{} was made, and is not what was asked for", made.path);
    Error::retry("not-as-asked", detail)
}

/// Whether the file is a complete disk as the job asks. The content is not compared, because the
/// guest may have written to it.
fn is_made(disk: &FilePath, job: &PrepareJob) -> Result<bool, Error> {
    let Some(found) = look::disk(disk, &job.format)? else { return Ok(false) };
    match &job.source {
        Source::Blank(size_mib) | Source::Swap(size_mib) => Ok(is_blank(&found, *size_mib)),
        Source::Image(image) if job.format == DiskFormat::Qcow2 => Ok(is_overlay(&found, image)),
        Source::Image(image) => {
            Ok(found.virtual_size == look::image(&image.base, &image.format)?.virtual_size)
        }
    }
}

fn is_blank(found: &Disk, size_mib: u64) -> bool {
    found.virtual_size == size_mib.saturating_mul(MIB) && found.is_alone()
}

pub(crate) fn is_overlay(found: &Disk, image: &FromImage) -> bool {
    found.backing().is_some_and(|backing| same_file(backing, &image.base))
        && found.header.backing_format.as_deref() == Some(image.format.as_str())
        && found.header.data_file.is_none()
}

/// Whether both are the same file. The root may be a symbolic link. Then the paths differ only
/// before the relative path.
fn same_file(backing: &str, base: &FileRef) -> bool {
    backing == base.absolute
        || backing.strip_suffix(base.path.as_str()).is_some_and(|root| root.ends_with('/'))
}

/// Makes a disk that begins as the image. With `size_mib` the disk gets that size; the caller has
/// checked that the image is not larger.
pub(crate) fn from_image(
    call: &Call,
    image: &FromImage,
    format: &DiskFormat,
    size_mib: Option<u64>,
    scratch: &FilePath,
) -> Result<(), Error> {
    let (base, to) = (image.base.hole(), scratch.hole());
    // The image is checked before any tool opens it, because a tool would also open the files that
    // it names.
    let found = look::image(&image.base, &image.format)?;
    let size = size_mib.map(|size| size.to_string());
    match (format, &image.format) {
        (DiskFormat::Qcow2, format) => {
            let mut holes = vec![("base", &*base), ("format", format.as_str()), ("target", &*to)];
            holes.extend(size.as_deref().map(|size| ("size", size)));
            return tools::make("overlay", &holes);
        }
        (DiskFormat::Raw, DiskFormat::Raw) => {
            call.progress(0, found.virtual_size, "copying the image");
            files::copy(&image.base.place(), scratch)?;
        }
        (DiskFormat::Raw, from) => {
            let told = (found.virtual_size, "converting the image");
            tools::convert(call, (from.as_str(), &base), ("raw", scratch), told)?;
        }
        (other, _) => {
            let detail = format!("{other} is neither qcow2 nor raw");
            return Err(Error::refused("bad-format", detail));
        }
    }
    match size {
        Some(size) => tools::make("resize", &[("disk", &to), ("size", &size)]),
        None => Ok(()),
    }
}

fn blank(format: &DiskFormat, size_mib: u64, scratch: &FilePath) -> Result<(), Error> {
    tools::make(
        "blank",
        &[
            ("format", format.as_str()),
            ("target", &scratch.hole()),
            ("size", &size_mib.to_string()),
        ],
    )
}

/// Makes a swap disk. `mkswap` writes only raw files, so a qcow2 disk is converted from a raw one.
/// Both are sparse.
fn swap(job: &PrepareJob, size_mib: u64, scratch: &FilePath) -> Result<(), Error> {
    if job.format == DiskFormat::Raw {
        blank(&DiskFormat::Raw, size_mib, scratch)?;
        return tools::make("mkswap", &[("target", &scratch.hole())]);
    }
    let raw = FilePath::new(scratch.datastore.clone(), format!("{}.raw", scratch.path));
    let result = blank(&DiskFormat::Raw, size_mib, &raw)
        .and_then(|()| tools::make("mkswap", &[("target", &raw.hole())]))
        .and_then(|()| {
            let holes = [
                ("from", "raw"),
                ("to", job.format.as_str()),
                ("source", &raw.hole()),
                ("target", &scratch.hole()),
            ];
            tools::make("convert", &holes)
        });
    let removed = files::remove(&raw);
    result.and(removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_sdk::qcow2::Header;

    fn base() -> FromImage {
        let base = FileRef {
            datastore: "i".into(),
            path: "a/b.raw".into(),
            absolute: "/images/a/b.raw".into(),
        };
        FromImage { base, format: DiskFormat::Raw }
    }

    fn found(backing: Option<&str>) -> Disk {
        let (backing, backing_format) = (backing.map(str::to_owned), Some("raw".to_owned()));
        Disk {
            virtual_size: 5 * MIB,
            header: Header { backing, backing_format, ..Header::default() },
        }
    }

    #[test]
    fn an_overlay_is_known_by_its_base() {
        assert!(is_overlay(&found(Some("/images/a/b.raw")), &base()));
        assert!(is_overlay(&found(Some("/private/images/a/b.raw")), &base()));
        for other in [None, Some("/images/a/c.raw"), Some("/images/xa/b.raw")] {
            assert!(!is_overlay(&found(other), &base()), "{other:?}");
        }
        let of = |change: fn(&mut Header)| {
            let mut disk = found(Some("/images/a/b.raw"));
            change(&mut disk.header);
            is_overlay(&disk, &base())
        };
        assert!(of(|_| {}));
        assert!(!of(|header| header.backing_format = Some("qcow2".to_owned())));
        assert!(!of(|header| header.data_file = Some("/dev/sda".to_owned())));
    }

    #[test]
    fn a_blank_disk_has_its_size_and_no_base() {
        assert!(is_blank(&found(None), 5));
        assert!(!is_blank(&found(None), 6));
        assert!(!is_blank(&found(Some("/x")), 5));
    }
}
