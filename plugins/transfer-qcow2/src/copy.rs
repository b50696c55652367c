//! Copying a disk or a recovery file, and making sure of the copy.

use crate::{look, tools};
use ostler_sdk::host::files;
use ostler_sdk::{Call, CopyJob, Error, ErrorKind, FilePath, FileRef};

/// Copies, verifies, renames. While the source is there it is the truth, so a repeat copies again: what stands at the target might be
/// older. A source that is gone beside a sound target was removed after an earlier copy.
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
        return Err(Error::retry("bad-copy", format!("the copy has {found:?} bytes, the source {size}")));
    }
    if usable(copy, job)? {
        Ok(())
    } else {
        Err(Error::retry("bad-copy", format!("{} is no whole qcow2 file, or qemu-img check finds it corrupt", copy.path)))
    }
}

/// Whether a file is what the job says. Another host wrote it, so it is looked at before anything opens it here.
fn usable(copy: &FilePath, job: &CopyJob) -> Result<bool, Error> {
    if job.format.as_deref() != Some("qcow2") {
        return Ok(true);
    }
    let Some(disk) = look::disk(copy, "qcow2")? else { return Ok(false) };
    let what = format!("the disk {}", job.source.path);
    match (&disk.header.data_file, disk.backing(), &job.base) {
        (Some(data), _, _) => return Err(look::foreign(&what, data)),
        (None, Some(backing), None) => return Err(look::foreign(&what, backing)),
        (None, Some(backing), Some(base)) => stand_on(copy, backing, disk.header.backing_format.as_deref(), base)?,
        (None, None, _) => {}
    }
    tools::sound(copy)
}

/// Has an overlay name its base as this host sees it. Only the name is changed: the base is the same image.
fn stand_on(disk: &FilePath, backing: &str, format: Option<&str>, base: &FileRef) -> Result<(), Error> {
    let format = look::base(base, format, &disk.path)?;
    if backing == base.absolute {
        return Ok(());
    }
    tools::make("rebase", &[("base", &base.hole()), ("format", format), ("disk", &disk.hole())])
}

fn was_copied(job: &CopyJob, gone: Error) -> Result<(), Error> {
    let target = job.target.place();
    let there = files::stat(&target)?.is_some_and(|stat| stat.kind == "file");
    if there && usable(&target, job)? { Ok(()) } else { Err(gone) }
}
