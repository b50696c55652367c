//! Files on this machine. The kernel resolves each path below the datastore's root (`openat2`,
//! `RESOLVE_BENEATH`): no symbolic link and no race can lead out.

use super::{FileError, NAMES_MAX, SMALL_MAX, Stat, Way, is_draft};
use crate::cache::hex;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, fstat, fsync, mkdirat, openat, openat2,
    renameat, unlinkat,
};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{Read, Write};
use tokio_util::sync::CancellationToken;

/// The deepest folder that can be removed.
const DEPTH_MAX: usize = 64;
/// How often the kernel may ask for a retry because the tree changes while it resolves a path.
const AGAIN_MAX: usize = 16;
/// How many bytes are read at once for a checksum.
const CHUNK: usize = 1024 * 1024;

pub(super) fn explain(what: &str, errno: Errno) -> FileError {
    let what = what.to_owned();
    match errno {
        Errno::XDEV | Errno::LOOP => FileError::Outside(what),
        Errno::NOENT | Errno::NOTDIR => FileError::Absent(what),
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG => FileError::NoSpace(what),
        Errno::ACCESS | Errno::PERM | Errno::ROFS => FileError::NoAccess(what),
        Errno::ISDIR | Errno::EXIST | Errno::NOTEMPTY => FileError::WrongKind(what),
        Errno::AGAIN | Errno::BUSY | Errno::TXTBSY => FileError::Busy(what),
        other => FileError::Io(format!("{what}: {other}")),
    }
}

pub(super) fn explain_io(what: &str, error: &std::io::Error) -> FileError {
    match error.raw_os_error() {
        Some(code) => explain(what, Errno::from_raw_os_error(code)),
        None => FileError::Io(format!("{what}: {error}")),
    }
}

fn open_root(root: &str) -> Result<OwnedFd, FileError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(root, flags, Mode::empty()).map_err(|errno| {
        FileError::NoDatastore(format!("the datastore's directory {root}: {errno}"))
    })
}

fn beneath(root: BorrowedFd<'_>, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let mut last = Errno::AGAIN;
    for _ in 0..AGAIN_MAX {
        match openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN) => last = Errno::AGAIN,
            Err(Errno::INTR) => last = Errno::INTR,
            other => return other,
        }
    }
    Err(last)
}

/// Where a path begins: the root, or the folder that it must stay in.
struct Start<'a> {
    dir: OwnedFd,
    /// The path below it.
    path: &'a str,
    /// Keeps the last part from being a link, if it must not be one.
    flags: OFlags,
}

/// Opens the place where a path begins. With `make`, the folder that it must stay in is made if it
/// is not there.
fn start<'a>(root: &str, way: &'a Way, make: bool) -> Result<Start<'a>, FileError> {
    let root = open_root(root)?;
    match way {
        Way::Free(path) => Ok(Start { dir: root, path: path.as_str(), flags: OFlags::empty() }),
        Way::Itself(path) => Ok(Start { dir: root, path: path.as_str(), flags: OFlags::NOFOLLOW }),
        Way::Below { folder, rest } => {
            if make {
                make_folders(root.as_fd(), folder.as_str())?;
            }
            let dir = folder_itself(root.as_fd(), folder.as_str())
                .map_err(|errno| explain(&way.to_string(), errno))?;
            Ok(Start { dir, path: rest.as_str(), flags: OFlags::empty() })
        }
    }
}

/// Opens a folder. One that is a link is an error of its own: nothing is known of what is behind it,
/// so it is not taken for a folder that is not there.
fn folder_itself(root: BorrowedFd<'_>, folder: &str) -> Result<OwnedFd, Errno> {
    let found = beneath(root, folder, OFlags::PATH | OFlags::NOFOLLOW)?;
    let kind = FileType::from_raw_mode(fstat(&found)?.st_mode);
    match kind {
        FileType::Directory => Ok(found),
        FileType::Symlink => Err(Errno::LOOP),
        _ => Err(Errno::NOTDIR),
    }
}

/// The folder of a path, and its last part. With `make`, the folder is made if it is not there.
pub(super) fn parent<'a>(
    root: &str,
    way: &'a Way,
    make: bool,
) -> Result<(OwnedFd, &'a str), FileError> {
    let Start { dir, path, .. } = start(root, way, make)?;
    let Some((folder, name)) = path.rsplit_once('/') else {
        return Ok((dir, path));
    };
    if make {
        make_folders(dir.as_fd(), folder)?;
    }
    let dir = beneath(dir.as_fd(), folder, OFlags::PATH | OFlags::DIRECTORY)
        .map_err(|errno| explain(folder, errno))?;
    Ok((dir, name))
}

fn make_folders(root: BorrowedFd<'_>, folder: &str) -> Result<(), FileError> {
    if beneath(root, folder, OFlags::PATH | OFlags::DIRECTORY).is_ok() {
        return Ok(());
    }
    let (above, name) = folder.rsplit_once('/').unwrap_or(("", folder));
    let made = if above.is_empty() {
        mkdirat(root, name, Mode::from_raw_mode(0o755))
    } else {
        make_folders(root, above)?;
        let dir = beneath(root, above, OFlags::PATH | OFlags::DIRECTORY)
            .map_err(|errno| explain(above, errno))?;
        mkdirat(dir, name, Mode::from_raw_mode(0o755))
    };
    match made {
        // Another call made the folder at the same time. Or it is a link, which is judged when it
        // is opened.
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(explain(folder, errno)),
    }
}

/// Opens a regular file for reading.
pub(super) fn open(root: &str, rel: &Way) -> Result<File, FileError> {
    let name = rel.to_string();
    let failed = |errno| explain(&name, errno);
    let Start { dir, path, flags } = start(root, rel, false)?;
    // Non-blocking: otherwise a named pipe would block this thread for ever.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | flags;
    let file = beneath(dir.as_fd(), path, flags).map_err(failed)?;
    let stat = fstat(&file).map_err(failed)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(FileError::WrongKind(name));
    }
    Ok(File::from(file))
}

/// Opens a socket, only to name it.
pub(super) fn open_socket(root: &str, rel: &Way) -> Result<OwnedFd, FileError> {
    let failed = |errno| explain(&rel.to_string(), errno);
    let Start { dir, path, flags } = start(root, rel, false)?;
    let file = beneath(dir.as_fd(), path, OFlags::PATH | flags).map_err(failed)?;
    match FileType::from_raw_mode(fstat(&file).map_err(failed)?.st_mode) {
        FileType::Socket => Ok(file),
        _ => Err(FileError::WrongKind(rel.to_string())),
    }
}

pub(super) fn check(root: &str, rel: &Way) -> Result<(), FileError> {
    let Start { dir, path, flags } = start(root, rel, false)?;
    match beneath(dir.as_fd(), path, OFlags::PATH | flags) {
        Ok(file) => itself_is_no_link(&file, rel),
        Err(Errno::NOENT) => parent(root, rel, false).map(drop),
        Err(errno) => Err(explain(&rel.to_string(), errno)),
    }
}

/// Refuses a link that was opened by itself: a program that is given its path would follow it.
fn itself_is_no_link(file: &OwnedFd, rel: &Way) -> Result<(), FileError> {
    let stat = fstat(file).map_err(|errno| explain(&rel.to_string(), errno))?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
        return Err(FileError::Outside(rel.to_string()));
    }
    Ok(())
}

#[allow(clippy::cast_sign_loss, reason = "sizes and times of existing files are not negative")]
pub(super) fn stat(root: &str, rel: &Way) -> Result<Option<Stat>, FileError> {
    let failed = |errno| explain(&rel.to_string(), errno);
    let Start { dir, path, flags } = match start(root, rel, false) {
        Err(FileError::Absent(_)) => return Ok(None),
        other => other?,
    };
    let file = match beneath(dir.as_fd(), path, OFlags::PATH | flags) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(errno) => return Err(failed(errno)),
    };
    let stat = fstat(&file).map_err(failed)?;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => "file",
        FileType::Directory => "directory",
        _ => "other",
    };
    let modified_ms =
        (stat.st_mtime as u64).saturating_mul(1000) + stat.st_mtime_nsec as u64 / 1_000_000;
    // `st_blocks` counts in units of 512 bytes on Linux, for every block size of the file system.
    Ok(Some(Stat {
        kind,
        size: stat.st_size as u64,
        allocated: stat.st_blocks as u64 * 512,
        modified_ms,
    }))
}

pub(super) fn list(root: &str, rel: &Way) -> Result<Vec<String>, FileError> {
    let failed = |errno| explain(&rel.to_string(), errno);
    let Start { dir, path, flags } = start(root, rel, false)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | flags;
    let dir = beneath(dir.as_fd(), path, flags).map_err(failed)?;
    let mut names = Vec::new();
    for entry in Dir::read_from(&dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy();
        if name == "." || name == ".." || is_draft(&name) {
            continue;
        }
        if names.len() == NAMES_MAX {
            return Err(FileError::TooMuch(format!(
                "folder {rel} has more than {NAMES_MAX} names"
            )));
        }
        names.push(name.into_owned());
    }
    names.sort_unstable();
    Ok(names)
}

pub(super) fn read(root: &str, rel: &Way) -> Result<Option<Vec<u8>>, FileError> {
    let file = match open(root, rel) {
        Err(FileError::Absent(_)) => return Ok(None),
        other => other?,
    };
    let mut data = Vec::new();
    file.take(SMALL_MAX as u64 + 1)
        .read_to_end(&mut data)
        .map_err(|error| explain_io(&rel.to_string(), &error))?;
    if data.len() > SMALL_MAX {
        return Err(FileError::TooMuch(format!(
            "{rel} is larger than the {SMALL_MAX} bytes that can be read at once"
        )));
    }
    Ok(Some(data))
}

pub(super) fn write(root: &str, rel: &Way, data: &[u8]) -> Result<(), FileError> {
    let (dir, name) = parent(root, rel, true)?;
    let draft = format!(".ostler-{}", uuid::Uuid::new_v4().simple());
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(&dir, draft.as_str(), flags, Mode::from_raw_mode(0o644))
        .map_err(|errno| explain(&rel.to_string(), errno))?;
    let written =
        File::from(file).write_all(data).map_err(|error| explain_io(&rel.to_string(), &error));
    let placed = written.and_then(|()| {
        renameat(&dir, draft.as_str(), &dir, name).map_err(|errno| explain(&rel.to_string(), errno))
    });
    if placed.is_err() {
        let _ = unlinkat(&dir, draft.as_str(), AtFlags::empty());
    }
    placed
}

pub(super) fn make_folder(root: &str, rel: &Way) -> Result<(), FileError> {
    let Start { dir, path, flags } = start(root, rel, true)?;
    make_folders(dir.as_fd(), path)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | flags;
    beneath(dir.as_fd(), path, flags).map(drop).map_err(|errno| match errno {
        Errno::NOTDIR => FileError::WrongKind(rel.to_string()),
        errno => explain(&rel.to_string(), errno),
    })
}

/// Renames durably: the file is often a disk that was just made, and its source may be removed
/// after the rename.
pub(super) fn rename(root: &str, rel: &Way, to: &Way) -> Result<(), FileError> {
    let (from_dir, from) = parent(root, rel, false)?;
    rustix::fs::statat(&from_dir, from, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|errno| explain(&rel.to_string(), errno))?;
    let (to_dir, name) = parent(root, to, true)?;
    let failed = |errno| explain(&to.to_string(), errno);
    sync_content(from_dir.as_fd(), from).map_err(failed)?;
    renameat(&from_dir, from, &to_dir, name).map_err(failed)?;
    let dir =
        openat(&to_dir, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(failed)?;
    fsync(&dir).map_err(failed)
}

/// Syncs the content before the rename. Otherwise, after a loss of power, the new name could stand
/// for less than was written.
fn sync_content(dir: BorrowedFd<'_>, name: &str) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = match openat(dir, name, flags, Mode::empty()) {
        // A symbolic link has no content of its own.
        Err(Errno::LOOP) => return Ok(()),
        other => other?,
    };
    let kind = FileType::from_raw_mode(fstat(&file)?.st_mode);
    if matches!(kind, FileType::RegularFile | FileType::Directory) { fsync(&file) } else { Ok(()) }
}

pub(super) fn remove(root: &str, rel: &Way, stop: &CancellationToken) -> Result<(), FileError> {
    let (dir, name) = match parent(root, rel, false) {
        Err(FileError::Absent(_)) => return Ok(()),
        other => other?,
    };
    remove_at(dir.as_fd(), name, rel, DEPTH_MAX, stop)
}

/// Removes a file or a whole folder. Symbolic links are removed, never followed.
fn remove_at(
    dir: BorrowedFd<'_>,
    name: &str,
    rel: &Way,
    depth: usize,
    stop: &CancellationToken,
) -> Result<(), FileError> {
    let failed = |errno| explain(&rel.to_string(), errno);
    if stop.is_cancelled() {
        return Err(FileError::Cancelled);
    }
    match unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR) => {}
        Err(errno) => return Err(failed(errno)),
    }
    if depth == 0 {
        return Err(FileError::TooMuch(format!("{rel} is deeper than {DEPTH_MAX} folders")));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = openat(dir, name, flags, Mode::empty()).map_err(failed)?;
    for entry in Dir::read_from(&folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        match entry.file_name().to_str() {
            Ok("." | "..") => {}
            Ok(inner) => remove_at(folder.as_fd(), inner, rel, depth - 1, stop)?,
            Err(_) => unlinkat(&folder, entry.file_name(), AtFlags::empty()).map_err(failed)?,
        }
    }
    match unlinkat(dir, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(failed(errno)),
    }
}

pub(super) fn checksum(
    root: &str,
    rel: &Way,
    stop: &CancellationToken,
) -> Result<String, FileError> {
    let mut file = open(root, rel)?;
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; CHUNK]);
    loop {
        if stop.is_cancelled() {
            return Err(FileError::Cancelled);
        }
        match file.read(&mut buffer).map_err(|error| explain_io(&rel.to_string(), &error))? {
            0 => return Ok(hex(&hasher.finalize())),
            count => hasher.update(&buffer[..count]),
        }
    }
}

#[cfg(test)]
#[path = "local_tests.rs"]
mod tests;
