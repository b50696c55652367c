//! Makes an image of a disk that nobody writes.

use crate::look::{self, Disk};
use crate::tools;
use ostler_sdk::host::files;
use ostler_sdk::{Call, DiskFormat, Error, FileKind, FilePath, SaveBackJob};

/// Converts, verifies, renames. As long as the disk exists, a repeat makes the image again. If the
/// disk is gone and the image is sound, an earlier call has made it.
pub(crate) fn save_back(call: &Call, job: &SaveBackJob) -> Result<(), Error> {
    let disk = job.disk.place();
    if files::stat(&disk)?.is_none() {
        let image = job.image.place();
        let made = files::stat(&image)?.is_some_and(|stat| stat.kind == FileKind::File)
            && alone(&image, &job.format)?.is_some();
        return if made {
            Ok(())
        } else {
            Err(Error::gone("no-disk", format!("{} is not there", job.disk.absolute)))
        };
    }
    let found = look::disk(&disk, &job.disk_format)?;
    let size = found.ok_or_else(|| {
        Error::refused("bad-disk", format!("{} is no {} file", job.disk.absolute, job.disk_format))
    })?;
    stands_on_an_image(job, &size)?;
    tools::made_by_job(call, &job.image, |scratch| {
        let (from, to) = (job.disk_format.as_str(), job.format.as_str());
        let told = (size.virtual_size, "converting the disk");
        tools::convert(call, (from, &disk.hole()), (to, scratch), told)?;
        call.progress(size.virtual_size, size.virtual_size, "verifying");
        call.go_on()?;
        match alone(scratch, &job.format)? {
            Some(made) if made == size.virtual_size => Ok(()),
            made => Err(Error::retry(
                "bad-image",
                format!(
                    "{} has {made:?} bytes inside, the disk {}",
                    scratch.path, size.virtual_size
                ),
            )),
        }
    })
}

/// Checks that the disk stands on nothing or on one image. Any other file that it names is refused,
/// because it would be read into the image with the rights of the host. The job does not name the
/// base. So only a base in the datastore of the disk or of the new image is accepted.
fn stands_on_an_image(job: &SaveBackJob, disk: &Disk) -> Result<(), Error> {
    let what = format!("the disk {}", job.disk.absolute);
    if let Some(odd) = disk.header.odd_name() {
        return Err(look::foreign(&what, odd));
    }
    let Some(backing) = disk.backing() else { return Ok(()) };
    let beside = [&job.disk, &job.image].into_iter().find_map(|file| file.beside(backing));
    let base = beside.ok_or_else(|| look::foreign(&what, backing))?;
    look::base(&base, disk.header.backing_format.as_deref(), &what).map(drop)
}

/// The virtual size of an image. None if it is not sound or stands on another file.
fn alone(image: &FilePath, format: &DiskFormat) -> Result<Option<u64>, Error> {
    let Some(found) = look::disk(image, format)? else { return Ok(None) };
    let sound = found.is_alone() && (*format != DiskFormat::Qcow2 || tools::sound(image)?);
    Ok(sound.then_some(found.virtual_size))
}
