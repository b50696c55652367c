//! Copying a disk or a recovery file, and making sure of the copy.

use crate::tools;
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
        verify(scratch, size, job.format.as_deref())?;
        match (&job.base, job.format.as_deref()) {
            (Some(base), Some("qcow2")) => stand_on(scratch, base),
            (_, _) => Ok(()),
        }
    });
    match copied {
        Err(error) if error.kind == ErrorKind::Gone => was_copied(job, error),
        answer => answer,
    }
}

fn verify(copy: &FilePath, size: u64, format: Option<&str>) -> Result<(), Error> {
    let found = files::stat(copy)?.map(|stat| stat.size);
    if found != Some(size) {
        return Err(Error::retry("bad-copy", format!("the copy has {found:?} bytes, the source {size}")));
    }
    if format == Some("qcow2") && !tools::sound(copy)? {
        return Err(Error::retry("bad-copy", format!("qemu-img check finds {} corrupt", copy.path)));
    }
    Ok(())
}

/// Has an overlay name its base as this host sees it. Only the name is changed: the base is the same image.
fn stand_on(disk: &FilePath, base: &FileRef) -> Result<(), Error> {
    let Some(found) = tools::info(disk, "qcow2")? else {
        return Err(Error::retry("bad-copy", format!("{} is no qcow2 file", disk.path)));
    };
    match (found.backing(), found.backing_filename_format.as_deref()) {
        (Some(backing), Some(format)) if backing != base.absolute => {
            tools::make("rebase", &[("base", &base.hole()), ("format", format), ("disk", &disk.hole())])
        }
        (Some(_), None) => Err(Error::refused("no-base-format", format!("{} does not say the format of its base", disk.path))),
        (Some(_), Some(_)) | (None, _) => Ok(()),
    }
}

fn was_copied(job: &CopyJob, gone: Error) -> Result<(), Error> {
    let target = job.target.place();
    let there = files::stat(&target)?.is_some_and(|stat| stat.kind == "file");
    let good = there && (job.format.as_deref() != Some("qcow2") || tools::sound(&target)?);
    if good { Ok(()) } else { Err(gone) }
}
