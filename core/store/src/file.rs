//! Files that get their name only when they are complete and durable.
//!
//! A new database is written in several steps. If this is interrupted, the file is refused later,
//! because it is not a store. So every new file (a store, a backup or a restored store) is written
//! under a temporary name beside its own, and renamed at the end.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A file that is not complete yet. It is removed if it is not published.
pub(crate) struct Draft {
    at: PathBuf,
    to: PathBuf,
}

impl Draft {
    /// Makes an empty file beside `to`, so that the rename stays within one file system. Only its
    /// owner can read it, because stores hold secrets of drivers, hashes of tokens and user data of
    /// VMs.
    pub(crate) fn new(to: &Path) -> io::Result<Self> {
        let mut name = to.file_name().map_or_else(OsString::new, OsString::from);
        name.push(format!(".{}.draft", std::process::id()));
        let draft = Self { at: to.with_file_name(name), to: to.to_owned() };
        let mut how = std::fs::OpenOptions::new();
        // Truncated, because an earlier process with the same process id may have left such a file.
        how.write(true).create(true).truncate(true).mode(0o600).open(&draft.at)?;
        Ok(draft)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.at
    }

    /// Gives the file its name, durably. Fails with [`io::ErrorKind::AlreadyExists`] if the name is
    /// taken by now.
    pub(crate) fn publish(self) -> io::Result<()> {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        std::fs::File::open(&self.at)?.sync_all()?;
        renameat_with(CWD, &self.at, CWD, &self.to, RenameFlags::NOREPLACE)?;
        let parent = self
            .to
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        std::fs::File::open(parent)?.sync_all()
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After the rename there is nothing to remove.
        let _ = std::fs::remove_file(&self.at);
    }
}

/// Whether something exists under this name, even a dangling link.
pub(crate) fn taken(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}
