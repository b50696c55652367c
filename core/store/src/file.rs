//! Files that appear under their name only when they are whole and durable.
//!
//! A new database is written in several steps, and one that was cut in the middle is refused as none of ours. So every new file, be it
//! a store, a backup or a restored one, is made beside its name and renamed at the end.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A file in the making. Removed if nothing comes of it.
pub(crate) struct Draft {
    at: PathBuf,
    to: PathBuf,
}

impl Draft {
    /// An empty file next to `to`, so that the rename stays within one file system. Only its owner can read it: stores hold hashes of
    /// tokens and user data of VMs.
    pub(crate) fn new(to: &Path) -> io::Result<Self> {
        let mut name = to.file_name().map_or_else(OsString::new, OsString::from);
        name.push(format!(".{}.draft", std::process::id()));
        let draft = Self { at: to.with_file_name(name), to: to.to_owned() };
        let mut how = std::fs::OpenOptions::new();
        // Truncated, should an earlier process with the same number have left one.
        how.write(true).create(true).truncate(true).mode(0o600).open(&draft.at)?;
        Ok(draft)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.at
    }

    /// Gives it its name, durably. Fails with [`io::ErrorKind::AlreadyExists`] if that is taken by now.
    pub(crate) fn publish(self) -> io::Result<()> {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        std::fs::File::open(&self.at)?.sync_all()?;
        renameat_with(CWD, &self.at, CWD, &self.to, RenameFlags::NOREPLACE)?;
        let parent = self.to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::File::open(parent)?.sync_all()
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After the rename there is nothing to remove.
        let _ = std::fs::remove_file(&self.at);
    }
}

/// Whether there is something under this name already, be it a dangling link.
pub(crate) fn taken(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}
