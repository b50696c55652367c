//! The folder that a file needs before QEMU or libvirt can make it.

use ostler_driver::Site;
use ostler_model::{DriverError, ExecTransport};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// A folder to be made.
#[derive(Debug, Clone)]
pub(crate) struct Folder(Option<PathBuf>);

impl Folder {
    /// That of a file on a host. QEMU opens the console's log and makes a copy of a disk, libvirt writes memory, but neither makes a
    /// folder for it. A transfer driver made it if the VM has disks; on hosts that are reached over ssh a VM needs at least one.
    pub(crate) fn of(site: &Site, file: &str) -> Self {
        let folder = Path::new(file).parent().map(Path::to_owned);
        Self(folder.filter(|_| matches!(site.transport, ExecTransport::Local)))
    }

    /// Makes it. Blocks, on a network file system that hangs for as long as that does: for a lane.
    pub(crate) fn make(&self) -> Result<(), DriverError> {
        let Some(folder) = &self.0 else { return Ok(()) };
        std::fs::create_dir_all(folder).map_err(|error| explain(folder, &error))
    }
}

/// Refused is only what stays so until a person changes it; a full disk or a network file system that is away does not.
fn explain(folder: &Path, error: &io::Error) -> DriverError {
    let detail = format!("cannot make the folder {}: {error}", folder.display());
    match error.kind() {
        ErrorKind::PermissionDenied
        | ErrorKind::NotADirectory
        | ErrorKind::AlreadyExists
        | ErrorKind::ReadOnlyFilesystem
        | ErrorKind::InvalidFilename
        | ErrorKind::InvalidInput
        | ErrorKind::Unsupported => DriverError::refused("folder", detail),
        _ => DriverError::retry("folder", detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_model::ErrorKind as Kind;

    #[test]
    fn only_what_a_person_must_change_is_refused() {
        let told = |errno: i32| explain(Path::new("/x"), &io::Error::from_raw_os_error(errno)).kind;
        // ENOSPC, EDQUOT, ESTALE, EIO, ETIMEDOUT, EMFILE, ENOMEM, EHOSTDOWN
        for errno in [28, 122, 116, 5, 110, 24, 12, 112] {
            assert_eq!(told(errno), Kind::Retry, "errno {errno}");
        }
        // EACCES, EPERM, ENOTDIR, EROFS, EEXIST, ENAMETOOLONG
        for errno in [13, 1, 20, 30, 17, 36] {
            assert_eq!(told(errno), Kind::Refused, "errno {errno}");
        }
    }
}
