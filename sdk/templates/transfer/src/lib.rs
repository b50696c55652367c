//! A transfer driver that passes the conformance suite: qcow2 and raw files in directories.
//!
//! Every file is made under a temporary name and then renamed. So a file under its final name is
//! complete.

use ostler_sdk::host::{exec, files};
use ostler_sdk::qcow2::{self, Content};
use ostler_sdk::{
    Call, CopyJob, DiskFormat, Error, ErrorKind, FileKind, FilePath, FileRef, FromImage, Job,
    JobStatus, Outcome, PrepareJob, Source, Transfer,
};

/// The driver.
pub struct Driver;

ostler_sdk::export!(Driver: Transfer; manifest = "manifest.toml");

impl Transfer for Driver {
    fn begin(call: &Call, job: Job) -> Result<JobStatus, Error> {
        match job {
            Job::Prepare(job) => prepare(call, &job)?,
            Job::Copy(job) => copy(call, &job)?,
            Job::Delete(target) => files::remove(&target.place())?,
        }
        Ok(JobStatus::Done(Outcome::done()))
    }
}

/// Makes a file under a temporary name beside the target, and renames it at the end. A repeat of
/// the same effect uses the same temporary name.
fn made(
    call: &Call,
    target: &FileRef,
    make: impl FnOnce(&FilePath) -> Result<(), Error>,
) -> Result<(), Error> {
    let id = call.id();
    let scratch = FilePath::new(
        &target.datastore,
        format!("{}.new-{}-{}", target.path, id.operation, id.step),
    );
    if let Some((folder, _)) = target.path.rsplit_once('/') {
        files::make_folder(&FilePath::new(&target.datastore, folder))?;
    }
    files::remove(&scratch)?;
    if let Err(error) = make(&scratch).and_then(|()| call.go_on()) {
        let _ = files::remove(&scratch);
        return Err(error);
    }
    files::rename(&scratch, &target.place())
}

/// Whether a tool can open the file as a disk of that format. A raw file can always be opened, so
/// your driver may need a better check.
fn is_disk(file: &FilePath, format: &DiskFormat) -> Result<bool, Error> {
    Ok(exec::run("check", &[("format", format.as_str()), ("disk", &file.hole())], &[])?.code
        == Some(0))
}

/// Refuses a qcow2 image that names another file. Tools open such a file with the rights of the
/// host, so the head is read first.
fn whole(image: &FromImage) -> Result<(), Error> {
    if image.format != DiskFormat::Qcow2 {
        return Ok(());
    }
    let name = &image.base.absolute;
    let Some(stat) = files::stat(&image.base.place())? else {
        return Err(Error::gone("no-image", format!("the image {name} is not there")));
    };
    if stat.kind != FileKind::File {
        return Err(Error::refused("bad-image", format!("the image {name} is no file")));
    }
    match qcow2::read(&exec::output("head", &[("disk", &image.base.hole())])?) {
        Content::Qcow2(header) if header.names().next().is_none() => Ok(()),
        Content::Qcow2(_) => Err(Error::refused(
            "names-other-file",
            format!("the image {name} stands on another file"),
        )),
        Content::Broken(_) | Content::Other(_) | Content::Raw => {
            Err(Error::refused("bad-image", format!("the image {name} is no qcow2 file")))
        }
    }
}

fn prepare(call: &Call, job: &PrepareJob) -> Result<(), Error> {
    let target = job.target.place();
    if files::stat(&target)?.is_some()
        && job.format == DiskFormat::Qcow2
        && is_disk(&target, &job.format)?
    {
        return Ok(());
    }
    if let Source::Image(image) = &job.source {
        whole(image)?;
    }
    made(call, &job.target, |scratch| {
        let (format, to) = (&job.format, scratch.hole());
        match &job.source {
            Source::Image(image) if *format == DiskFormat::Qcow2 => exec::output(
                "overlay",
                &[("base", &image.base.hole()), ("format", image.format.as_str()), ("target", &to)],
            )
            .map(drop),
            Source::Image(image) => {
                let holes = [
                    ("from", image.format.as_str()),
                    ("to", format.as_str()),
                    ("source", &image.base.hole()),
                    ("target", &to),
                ];
                exec::output("convert", &holes).map(drop)
            }
            Source::Blank(size) => blank(format, *size, scratch),
            Source::Swap(size) if *format == DiskFormat::Raw => swap(*size, scratch),
            Source::Swap(size) => {
                let raw = FilePath::new(&scratch.datastore, format!("{}.raw", scratch.path));
                swap(*size, &raw)?;
                exec::output(
                    "convert",
                    &[
                        ("from", "raw"),
                        ("to", format.as_str()),
                        ("source", &raw.hole()),
                        ("target", &to),
                    ],
                )?;
                files::remove(&raw)
            }
        }
    })
}

fn blank(format: &DiskFormat, size_mib: u64, file: &FilePath) -> Result<(), Error> {
    exec::output(
        "blank",
        &[("format", format.as_str()), ("target", &file.hole()), ("size", &size_mib.to_string())],
    )
    .map(drop)
}

fn swap(size_mib: u64, file: &FilePath) -> Result<(), Error> {
    blank(&DiskFormat::Raw, size_mib, file)?;
    exec::output("mkswap", &[("target", &file.hole())]).map(drop)
}

/// Copies a file. A repeat copies it again while the source exists. If the source is gone and the
/// target exists, an earlier call has copied it.
fn copy(call: &Call, job: &CopyJob) -> Result<(), Error> {
    let copied = made(call, &job.target, |scratch| {
        let size = files::fetch(&job.from_host, &job.source.place(), scratch)?;
        let whole = files::stat(scratch)?.is_some_and(|stat| stat.size == size);
        let good =
            whole && job.format.as_ref().map_or(Ok(true), |format| is_disk(scratch, format))?;
        if good {
            Ok(())
        } else {
            Err(Error::retry("bad-copy", "the copy differs from its source"))
        }
    });
    match copied {
        Err(error)
            if error.kind == ErrorKind::Gone && files::stat(&job.target.place())?.is_some() =>
        {
            Ok(())
        }
        answer => answer,
    }
}
