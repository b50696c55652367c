//! Copies a disk in use. No guest writes to it, so its file is copied.

use crate::domain::{Change, running};
use crate::driver::{Sim, act};
use crate::parts::Disk;
use ostler_sdk::host::{exec, files};
use ostler_sdk::qcow2::{self, Content};
use ostler_sdk::{Call, DiskCopy, DiskFormat, Error, FilePath, FileRef, JobStatus};

impl DiskCopy for Sim {
    /// The copy is made under a temporary name that derives from the effect, and then renamed. So a
    /// file under its final name is complete.
    fn begin(
        call: &Call,
        disk: &str,
        target: FileRef,
        format: DiskFormat,
    ) -> Result<JobStatus, Error> {
        let outcome = act(call, "copy-disk", |_, found| {
            let domain = running(found)?;
            let found = domain.machine.disks.iter().find(|found| found.name == disk);
            let found = found
                .ok_or_else(|| Error::gone("no-disk", format!("the domain has no disk {disk}")))?;
            let id = call.id();
            let scratch = FilePath::new(
                target.datastore.clone(),
                format!("{}.new-{}-{}", target.path, id.operation, id.step),
            );
            files::remove(&scratch)?;
            if let Err(error) = copy(found, &target, &scratch, &format).and_then(|()| call.go_on())
            {
                // An error of the removal is ignored, because the first error matters more. A
                // repeat replaces the temporary file.
                let _ = files::remove(&scratch);
                return Err(error);
            }
            files::rename(&scratch, &target.place())?;
            Ok(Change::None(Some(domain)))
        })?;
        Ok(JobStatus::Done(outcome))
    }
}

/// Copies a disk into `scratch`. A raw disk is copied byte by byte if the target is raw. All other
/// copies are made by `qemu-img convert`, because the disk may stand on another file or must change
/// its format.
fn copy(
    disk: &Disk,
    target: &FileRef,
    scratch: &FilePath,
    format: &DiskFormat,
) -> Result<(), Error> {
    if disk.datastore.is_empty() {
        return Err(Error::refused(
            "unknown-place",
            format!("the datastore of {} was never told", disk.file),
        ));
    }
    let source = FilePath::new(disk.datastore.clone(), disk.path.clone());
    if files::stat(&source)?.is_none() {
        return Err(Error::gone(
            "no-disk-file",
            format!("the file of disk {} is not there", disk.name),
        ));
    }
    if disk.format == DiskFormat::Raw && *format == DiskFormat::Raw {
        return files::copy(&source, scratch).map(drop);
    }
    if let Some((folder, _)) = scratch.path.rsplit_once('/') {
        files::make_folder(&FilePath::new(scratch.datastore.clone(), folder))?;
    }
    if disk.format == DiskFormat::Qcow2 {
        names_an_image(disk, target)?;
    }
    let holes = [
        ("from", disk.format.as_str()),
        ("to", format.as_str()),
        ("source", &source.hole()),
        ("target", &scratch.hole()),
    ];
    exec::output("convert", &holes).map(drop)
}

/// Refuses a disk that names a file it may not name, because `qemu-img` opens named files with the
/// rights of the host. A disk made here names nothing, or one image. That image names nothing, and
/// lies in the datastore of the disk or of the target.
fn names_an_image(disk: &Disk, target: &FileRef) -> Result<(), Error> {
    let foreign = |name: &str| {
        Error::refused("names-other-file", format!("disk {} names another file: {name}", disk.name))
    };
    let own = FileRef {
        datastore: disk.datastore.clone(),
        path: disk.path.clone(),
        absolute: disk.file.clone(),
    };
    let Content::Qcow2(header) = head(&own)? else { return Ok(()) };
    if let Some(odd) = header.odd_name() {
        return Err(foreign(odd));
    }
    let Some(backing) = header.backing.as_deref() else { return Ok(()) };
    let image = [&own, target]
        .into_iter()
        .find_map(|file| file.beside(backing))
        .ok_or_else(|| foreign(backing))?;
    match header.backing_format.as_deref() {
        Some("raw") => Ok(()),
        Some("qcow2") => match head(&image)? {
            Content::Qcow2(below) => below.names().next().map_or(Ok(()), |name| Err(foreign(name))),
            Content::Broken(_) | Content::Other(_) | Content::Raw => Err(foreign(backing)),
        },
        Some(_) | None => Err(Error::refused(
            "no-base-format",
            format!("disk {} does not say the format of its base", disk.name),
        )),
    }
}

fn head(file: &FileRef) -> Result<Content, Error> {
    Ok(qcow2::read(&exec::output("head", &[("disk", &file.hole())])?))
}
