//! Runs `qemu-img`, and makes temporary names.

use ostler_sdk::host::{exec, files};
use ostler_sdk::{Call, EffectId, Error, FilePath, FileRef};

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
    exec::output(command, holes).map(|_| ()).map_err(|mut error| {
        if error.detail.contains("No space left on device") {
            error.code = "no-space".to_owned();
        }
        error
    })
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
    let result = make(&scratch).and_then(|()| call.go_on());
    if let Err(error) = result {
        // An error of the removal is ignored, because the first error matters more. The file is
        // replaced by a repeat, or removed with its folder.
        let _ = files::remove(&scratch);
        return Err(error);
    }
    files::rename(&scratch, &target.place())
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
