//! Runs `qemu-img`, and makes temporary names.

use ostler_sdk::host::jobs::CommandJob;
use ostler_sdk::host::{exec, files};
use ostler_sdk::{Call, EffectId, Error, FilePath, FileRef, JobState};

/// The name of the job that converts a disk or an image.
const CONVERT: &str = "convert";

/// Whether the metadata of a qcow2 file are sound. Leaked clusters (code 3) only cost space.
/// `qemu-img` opens the files that the disk names, so the caller must have checked these names.
pub(crate) fn sound(disk: &FilePath) -> Result<bool, Error> {
    let exit = exec::run("check", &[("disk", &disk.hole())], &[])?;
    match exit.code {
        Some(0 | 3) => Ok(true),
        Some(2) => Ok(false),
        Some(_) => Err(exec::failed("check", &exit)),
        // A signal ended it, for example because the host ran out of memory. This says nothing
        // about the disk.
        None => Err(Error { code: "command-killed".to_owned(), ..exec::failed("check", &exit) }),
    }
}

/// Runs a command that makes something. A full disk gets an error code of its own, because an
/// operator can act on it.
pub(crate) fn make(command: &str, holes: &[(&str, &str)]) -> Result<(), Error> {
    exec::output(command, holes).map(|_| ()).map_err(no_space)
}

fn no_space(mut error: Error) -> Error {
    if error.detail.contains("No space left on device") {
        error.code = "no-space".to_owned();
    }
    error
}

/// Converts a disk into the file `target`. That may take hours, so it is a job, which goes on when
/// the daemon is started anew; a repeat of the call finds it. `total` is the size inside.
pub(crate) fn convert(
    call: &Call,
    (from, source): (&str, &str),
    (to, target): (&str, &FilePath),
    (total, phase): (u64, &str),
) -> Result<(), Error> {
    call.progress(0, total, phase);
    let holes = [("from", from), ("to", to), ("source", source), ("target", &target.hole())];
    let exit = CommandJob::new(CONVERT).finish("convert", &holes, &[], |running| {
        let done = files::stat(target).ok().flatten().map_or(0, |stat| stat.allocated);
        let seconds = running.ran_ms / 1000;
        call.progress(done.min(total), total, &format!("{phase} for {seconds} s"));
    })?;
    if exit.code == Some(0) { Ok(()) } else { Err(no_space(exec::failed("convert", &exit))) }
}

/// Ends the conversion of this effect, if one is at work.
pub(crate) fn stop_converting() -> Result<(), Error> {
    CommandJob::new(CONVERT).stop().map(drop)
}

/// The temporary name of a file. It lies beside the target, and is the same for a repeat of the
/// same effect.
pub(crate) fn scratch(target: &FileRef, id: &EffectId) -> FilePath {
    FilePath::new(
        target.datastore.clone(),
        format!("{}.new-{}-{}", target.path, id.operation, id.step),
    )
}

/// The folder of a file. None for a file at the datastore's root.
pub(crate) fn parent(target: &FileRef) -> Option<FilePath> {
    target.path.rsplit_once('/').map(|(folder, _)| FilePath::new(target.datastore.clone(), folder))
}

/// Makes a file under its temporary name, and renames it only if `make` has succeeded. After an
/// error the temporary file is removed.
pub(crate) fn made(
    call: &Call,
    target: &FileRef,
    make: impl FnOnce(&FilePath) -> Result<(), Error>,
) -> Result<(), Error> {
    let scratch = scratch(target, &call.id());
    if let Some(folder) = parent(target) {
        files::make_folder(&folder)?;
    }
    files::remove(&scratch)?;
    finished(call, target, &scratch, make)
}

/// The same for a file that [`convert`] makes. The job of an earlier call may be at work on the
/// temporary file, or may have made it: then the file stays.
pub(crate) fn made_by_job(
    call: &Call,
    target: &FileRef,
    make: impl FnOnce(&FilePath) -> Result<(), Error>,
) -> Result<(), Error> {
    let (scratch, job) = (scratch(target, &call.id()), CommandJob::new(CONVERT));
    if let Some(folder) = parent(target) {
        files::make_folder(&folder)?;
    }
    let goes_on = match job.poll()? {
        JobState::Running(_) => true,
        // An earlier call may have given the file its name already.
        JobState::Ended(_) => files::stat(&scratch)?.is_some(),
        _ => false,
    };
    if !goes_on {
        job.stop()?;
        files::remove(&scratch)?;
    }
    match make(&scratch).and_then(|()| call.go_on()) {
        Ok(()) => files::rename(&scratch, &target.place())?,
        // An error of the removal is ignored, because the first error matters more. A job that may
        // be at work keeps its file.
        Err(error) => {
            if job.stop().is_ok() {
                let _ = files::remove(&scratch);
            }
            return Err(error);
        }
    }
    job.stop().map(drop)
}

fn finished(
    call: &Call,
    target: &FileRef,
    scratch: &FilePath,
    make: impl FnOnce(&FilePath) -> Result<(), Error>,
) -> Result<(), Error> {
    let result = make(scratch).and_then(|()| call.go_on());
    if let Err(error) = result {
        // An error of the removal is ignored, because the first error matters more. The file is
        // replaced by a repeat, or removed with its folder.
        let _ = files::remove(scratch);
        return Err(error);
    }
    files::rename(scratch, &target.place())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_sdk::Item;

    fn target(path: &str) -> FileRef {
        FileRef { datastore: "d".into(), path: path.into(), absolute: format!("/d/{path}") }
    }

    #[test]
    fn a_repeat_has_the_same_scratch_name_and_another_step_has_not() {
        let id =
            |step| EffectId { vm: "v".into(), operation: 4, step, item: Item::Disk("vda".into()) };
        assert_eq!(scratch(&target("v/vda.qcow2"), &id(1)).path, "v/vda.qcow2.new-4-1");
        assert_ne!(
            scratch(&target("v/vda.qcow2"), &id(1)).path,
            scratch(&target("v/vda.qcow2"), &id(2)).path
        );
    }

    #[test]
    fn a_file_at_the_root_has_no_folder() {
        assert!(parent(&target("x")).is_none());
        assert_eq!(parent(&target("a/b/x")).map(|folder| folder.path), Some("a/b".to_owned()));
    }
}
