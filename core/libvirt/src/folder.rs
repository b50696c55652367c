//! The folder of a file, which must exist before QEMU or libvirt can create the file.

use ostler_driver::Site;
use ostler_model::{DriverError, ExecTransport};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// A folder that is to be made; none if it is not ours to make.
#[derive(Debug, Clone)]
pub(crate) struct Folder(Option<PathBuf>);

impl Folder {
    /// The folder of a file on a host. QEMU opens the console's log and creates the copy of a disk,
    /// libvirt writes memory, but neither creates the folder. A transfer driver has made it if the
    /// VM has disks. On a host that is reached over ssh nothing is made here, so there a VM needs
    /// at least one disk.
    pub(crate) fn of(site: &Site, file: &str) -> Self {
        let folder = Path::new(file).parent().map(Path::to_owned);
        Self(folder.filter(|_| matches!(site.transport, ExecTransport::Local)))
    }

    /// Makes the folder. For a lane: this blocks, and on a network file system that hangs it blocks
    /// for as long as that hangs.
    pub(crate) fn make(&self) -> Result<(), DriverError> {
        let Some(folder) = &self.0 else { return Ok(()) };
        std::fs::create_dir_all(folder).map_err(|error| explain(folder, &error))
    }
}

/// Only errors that stay until a person changes something are *refused*. A full disk or an absent
/// network file system is *retry*.
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
