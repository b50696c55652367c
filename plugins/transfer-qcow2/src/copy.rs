//! Copies a disk or a memory file, and verifies the copy.

use crate::{look, tools};
use ostler_sdk::host::files;
use ostler_sdk::{Call, CopyJob, DiskFormat, Error, ErrorKind, FileKind, FilePath, FileRef};

/// Copies, verifies, renames. As long as the source exists, a repeat copies it again, because the
/// file at the target might be older. If the source is gone and the target is sound, an earlier
/// call has copied it and the source was removed afterwards.
pub(crate) fn copy(call: &Call, job: &CopyJob) -> Result<(), Error> {
    let copied = tools::made(call, &job.target, |scratch| {
        call.progress(0, 0, "copying");
        let size = files::fetch(&job.from_host, &job.source.place(), scratch)?;
        call.progress(size, size, "verifying");
        call.go_on()?;
        verify(scratch, size, job)
    });
    match copied {
        Err(error) if error.kind == ErrorKind::Gone => was_copied(job, error),
        answer => answer,
    }
}

fn verify(copy: &FilePath, size: u64, job: &CopyJob) -> Result<(), Error> {
    let found = files::stat(copy)?.map(|stat| stat.size);
    if found != Some(size) {
        return Err(Error::retry(
            "bad-copy",
            format!("the copy has {found:?} bytes, the source {size}"),
        ));
    }
    if usable(copy, job)? {
        Ok(())
    } else {
        Err(Error::retry(
            "bad-copy",
            format!("{} is no whole qcow2 file, or qemu-img check finds it corrupt", copy.path),
        ))
    }
}

/// Whether a file is as the job says. Another host wrote it, so its head is checked before anything
/// opens it here.
fn usable(copy: &FilePath, job: &CopyJob) -> Result<bool, Error> {
    if job.format != Some(DiskFormat::Qcow2) {
        return Ok(true);
    }
    let Some(disk) = look::disk(copy, &DiskFormat::Qcow2)? else { return Ok(false) };
    let what = format!("the disk {}", job.source.path);
    match (&disk.header.data_file, disk.backing(), &job.base) {
        (Some(data), _, _) => return Err(look::foreign(&what, data)),
        (None, Some(backing), None) => return Err(look::foreign(&what, backing)),
        (None, Some(backing), Some(base)) => {
            stand_on(copy, backing, disk.header.backing_format.as_deref(), base)?
        }
        (None, None, _) => {}
    }
    tools::sound(copy)
}

/// Makes an overlay name its base by the path that this host sees. Only the name changes; the base
/// is the same image.
fn stand_on(
    disk: &FilePath,
    backing: &str,
    format: Option<&str>,
    base: &FileRef,
) -> Result<(), Error> {
    let format = look::base(base, format, &disk.path)?;
    if backing == base.absolute {
        return Ok(());
    }
    tools::make(
        "rebase",
        &[("base", &base.hole()), ("format", format.as_str()), ("disk", &disk.hole())],
    )
}

fn was_copied(job: &CopyJob, gone: Error) -> Result<(), Error> {
    let target = job.target.place();
    let there = files::stat(&target)?.is_some_and(|stat| stat.kind == FileKind::File);
    if there && usable(&target, job)? { Ok(()) } else { Err(gone) }
}
