//! Files and folders that no other user can write to.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Makes a folder that nobody else may enter. If the folder exists, it must be ours, and no other
/// user may write to it: such a user could replace the store, the components that are loaded, and
/// the socket.
///
/// # Errors
/// The folder cannot be made, it belongs to another user, or other users may write to it.
pub fn private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let found = std::fs::metadata(path)?;
    let ours = rustix::process::geteuid().as_raw();
    if found.uid() != ours {
        return Err(unsafe_dir(&format!(
            "it belongs to user {}, and ostlerd runs as user {ours}",
            found.uid()
        )));
    }
    if found.mode() & 0o022 != 0 {
        let mode = found.mode() & 0o7777;
        return Err(unsafe_dir(&format!(
            "others may write to it (mode {mode:o}): take that away with chmod go-w"
        )));
    }
    if found.mode() & 0o055 != 0 {
        tracing::warn!(
            path = %path.display(),
            mode = format!("{:o}", found.mode() & 0o7777),
            "others may look into this folder; chmod 700 is enough for ostlerd"
        );
    }
    Ok(())
}

fn unsafe_dir(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}

/// Writes a file that only its owner may read. It is renamed to its place when it is complete, so a
/// crash does not leave half of it.
pub(crate) fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let draft = path.with_extension("new");
    match std::fs::remove_file(&draft) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    std::fs::rename(&draft, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_folder_that_others_can_write_to_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path().join("deep/data");
        private_dir(&dir).expect("it is made");
        let mode = |mode| {
            std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(mode))
                .expect("it is ours")
        };
        assert_eq!(std::fs::metadata(&dir).expect("it is there").mode() & 0o7777, 0o700);
        for good in [0o700, 0o755, 0o750] {
            mode(good);
            private_dir(&dir).expect("nobody else writes there");
        }
        for bad in [0o770, 0o777, 0o1777, 0o702] {
            mode(bad);
            let told = private_dir(&dir).expect_err("others write there").to_string();
            assert!(told.contains(&format!("mode {bad:o}")), "{told}");
        }
    }
}
