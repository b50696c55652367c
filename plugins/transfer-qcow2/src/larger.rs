//! Makes a disk that is larger than its image.

use crate::look;
use crate::prepare::{self, MIB};
use crate::tools;
use ostler_sdk::host::files;
use ostler_sdk::{Call, DiskFormat, Error, FilePath, FromImage, LargerJob};

/// Makes the disk, unless it exists already.
pub(crate) fn prepare(call: &Call, job: &LargerJob) -> Result<(), Error> {
    let image = FromImage { base: job.base.clone(), format: job.base_format.clone() };
    if is_made(&job.target.place(), job, &image)? {
        return Ok(());
    }
    let least = look::image(&image.base, &image.format)?.virtual_size;
    if size(job) < least {
        let detail = format!(
            "the image {} has {least} bytes, and the disk is to have only {} MiB; the end of the \
             image would be cut off",
            image.base.absolute, job.size_mib
        );
        return Err(Error::refused("smaller-than-image", detail));
    }
    let make = |scratch: &FilePath| {
        prepare::from_image(call, &image, &job.format, Some(job.size_mib), scratch)?;
        if is_made(scratch, job, &image)? { Ok(()) } else { Err(prepare::not_as_asked(scratch)) }
    };
    if prepare::is_converted(&job.format, &image.format) {
        tools::made_by_job(call, &job.target, make)
    } else {
        tools::made(call, &job.target, make)
    }
}

/// Whether the file is a complete disk as the job asks. The content is not compared, because the
/// guest may have written to it.
fn is_made(disk: &FilePath, job: &LargerJob, image: &FromImage) -> Result<bool, Error> {
    if files::stat(disk)?.is_none() {
        return Ok(false);
    }
    let Some(found) = look::disk(disk, &job.format)? else { return Ok(false) };
    let whole = found.virtual_size == size(job);
    Ok(whole && (job.format == DiskFormat::Raw || prepare::is_overlay(&found, image)))
}

/// The size that the guest sees, in bytes.
fn size(job: &LargerJob) -> u64 {
    job.size_mib.saturating_mul(MIB)
}
