//! A disk or image of format qcow2 is a text here: a head that says what it is made of, a body, and
//! an end. A raw file is any file.

use crate::{Faulty, has};
use ostler_sdk::host::files;
use ostler_sdk::{
    Call, CopyJob, DiskFormat, Error, FileKind, FilePath, FileRef, Job, JobStatus, Outcome,
    PrepareJob, SaveBackJob, Source, Transfer, TransferImages,
};

const HEAD: &str = "a disk of ";
const END: &str = "the end\n";

impl Transfer for Faulty {
    fn begin(call: &Call, job: Job) -> Result<JobStatus, Error> {
        match job {
            Job::Prepare(job) if has("lock-of-the-disk") => locked(call, &job)?,
            Job::Prepare(job) => prepare(call, &job)?,
            Job::Copy(job) => copy(call, &job)?,
            Job::Delete(target) => delete(call, &target)?,
        }
        Ok(JobStatus::Done(Outcome::done()))
    }
}

impl TransferImages for Faulty {
    fn begin_save_back(call: &Call, job: SaveBackJob) -> Result<JobStatus, Error> {
        let (disk, image) = (read(&job.disk.place())?, read(&job.image.place())?);
        match disk {
            Some(disk) if whole(&disk) => {
                make(call, &job.image, &text("a whole image"))?;
            }
            Some(_) => return Err(Error::refused("bad-disk", "it is no whole disk")),
            None if image.as_deref().is_some_and(whole) => {}
            None => return Err(Error::gone("no-disk", "there is no such disk")),
        }
        Ok(JobStatus::Done(Outcome::done()))
    }
}

fn text(of: &str) -> String {
    format!("{HEAD}{of}\n{}{END}", "content ".repeat(20))
}

fn whole(content: &str) -> bool {
    // A driver that gives a file its name before its content is there cannot ask for its end.
    let ends = content.ends_with(END) || has("name-before-content");
    content.starts_with(HEAD) && ends
}

fn read(file: &FilePath) -> Result<Option<String>, Error> {
    Ok(files::read(file)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

fn beside(target: &FileRef, ending: &str) -> FilePath {
    FilePath::new(&target.datastore, format!("{}.{ending}", target.path))
}

/// The temporary name of the file.
fn draft(call: &Call, target: &FileRef) -> FilePath {
    let id = call.id();
    let own = format!("new-{}-{}", id.operation, id.step);
    if has("draft-of-the-attempt") {
        let attempt = if call.attempt() > 1 { "again" } else { "first" };
        return beside(target, &format!("{own}-{attempt}"));
    }
    beside(target, &own)
}

fn folder(target: &FileRef) -> Result<(), Error> {
    match target.path.rsplit_once('/') {
        Some((folder, _)) => files::make_folder(&FilePath::new(&target.datastore, folder)),
        None => Ok(()),
    }
}

/// Makes a file of that content under a temporary name, and renames it.
fn make(call: &Call, target: &FileRef, content: &str) -> Result<(), Error> {
    folder(target)?;
    let draft = draft(call, target);
    if has("draft-must-be-new") && files::stat(&draft)?.is_some() {
        return Err(Error::refused("exists", "the temporary file is there already"));
    }
    if has("name-before-content") {
        files::write(&target.place(), content.lines().next().unwrap_or_default().as_bytes())?;
        return files::write(&target.place(), content.as_bytes());
    }
    let (first, second) = content.split_at(content.len() / 2);
    let before = if has("draft-is-appended") { read(&draft)? } else { None };
    let first = format!("{}{first}", before.unwrap_or_default());
    files::write(&draft, first.as_bytes())?;
    files::write(&draft, format!("{first}{second}").as_bytes())?;
    files::rename(&draft, &target.place())
}

fn locked(call: &Call, job: &PrepareJob) -> Result<(), Error> {
    let lock = beside(&job.target, "lock");
    folder(&job.target)?;
    if files::stat(&lock)?.is_some() {
        return Err(Error::retry("locked", "another call works at it"));
    }
    files::write(&lock, b"locked")?;
    let answer = prepare(call, job);
    files::remove(&lock)?;
    answer
}

fn prepare(call: &Call, job: &PrepareJob) -> Result<(), Error> {
    let target = job.target.place();
    let of = match &job.source {
        Source::Image(image) => {
            let base = image.base.place();
            match files::stat(&base)? {
                None => return Err(Error::gone("no-image", "there is no such image")),
                Some(_) if image.format == DiskFormat::Raw => {}
                Some(_) if read(&base)?.as_deref().is_some_and(whole) => {}
                Some(_) => return Err(Error::refused("bad-image", "it is no whole image")),
            }
            if job.format == DiskFormat::Raw {
                return whole_copy(call, &job.target, &base);
            }
            image.base.path.clone()
        }
        Source::Blank(mib) => format!("{mib} MiB"),
        Source::Swap(mib) => format!("{mib} MiB of swap"),
    };
    let found = read(&target)?;
    if !found.is_some_and(|found| whole(&found) && found.starts_with(&format!("{HEAD}{of}"))) {
        make(call, &job.target, &text(&of))?;
    }
    Ok(())
}

/// Copies a file under a temporary name, and renames it.
fn whole_copy(call: &Call, target: &FileRef, source: &FilePath) -> Result<(), Error> {
    folder(target)?;
    let draft = draft(call, target);
    files::remove(&draft)?;
    files::copy(source, &draft)?;
    files::rename(&draft, &target.place())
}

fn copy(call: &Call, job: &CopyJob) -> Result<(), Error> {
    let (source, target) = (job.source.place(), job.target.place());
    if job.format == Some(DiskFormat::Raw) {
        return whole_copy(call, &job.target, &source);
    }
    match read(&source)? {
        None if files::stat(&target)?.is_some() => Ok(()),
        None => Err(Error::gone("no-source", "there is no such file")),
        Some(found) if job.format.is_some() && !whole(&found) => {
            Err(Error::retry("bad-copy", "it is no whole disk"))
        }
        Some(found) if has("source-moved-away") => {
            folder(&job.target)?;
            files::rename(&source, &beside(&job.source, "away"))?;
            files::write(&target, found.as_bytes())?;
            files::rename(&beside(&job.source, "away"), &source)
        }
        Some(found) => make(call, &job.target, &found),
    }
}

fn delete(call: &Call, target: &FileRef) -> Result<(), Error> {
    let place = target.place();
    if has("rubbish-is-left")
        && files::stat(&place)?.is_some_and(|found| found.kind == FileKind::File)
    {
        let rubbish = beside(target, if call.attempt() > 1 { "old" } else { "rubbish" });
        files::rename(&place, &rubbish)?;
        return files::remove(&rubbish);
    }
    files::remove(&place)
}
