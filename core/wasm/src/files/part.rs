//! An unfinished file, beside its final name. It gets that name only when it is complete and
//! synced. Copies are made in this way.

use super::local::{explain, explain_io, open, parent};
use super::{FileError, Progress, Way};
use rustix::fd::OwnedFd;
use rustix::fs::{
    AtFlags, FlockOperation, Mode, OFlags, SeekFrom, copy_file_range, flock, fstat, fsync,
    ftruncate, ioctl_ficlone, openat, renameat, seek, statat,
};
use rustix::io::{Errno, pread, pwrite};
use std::fs::File;
use tokio_util::sync::CancellationToken;

/// How many bytes are copied between two checks for cancel and reports of progress.
const CHUNK: u64 = 8 * 1024 * 1024;
/// How many bytes are read at once where the kernel cannot copy by itself.
const BUFFER: usize = 256 * 1024;

/// The unfinished file. Its name follows from the final name, so a repeat replaces the file that a
/// crash left behind.
pub(super) struct Part {
    pub(super) file: File,
    dir: OwnedFd,
    draft: String,
    name: String,
}

impl Part {
    /// Opens it empty, and locks it: a second writer gets the error *busy*.
    pub(super) fn open(root: &str, rel: &Way) -> Result<Self, FileError> {
        let failed = |errno| explain(&rel.to_string(), errno);
        let (dir, name) = parent(root, rel, true)?;
        let draft = format!(".{name}.ostler-part");
        let flags =
            OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file =
            openat(&dir, draft.as_str(), flags, Mode::from_raw_mode(0o644)).map_err(failed)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(failed)?;
        // The writer before us may have renamed the file to its final name between our open and our
        // lock.
        let (ours, there) = (
            fstat(&file).map_err(failed)?,
            statat(&dir, draft.as_str(), AtFlags::SYMLINK_NOFOLLOW),
        );
        if there.map(|there| (there.st_dev, there.st_ino)) != Ok((ours.st_dev, ours.st_ino)) {
            return Err(FileError::Busy(rel.to_string()));
        }
        ftruncate(&file, 0).map_err(failed)?;
        Ok(Self { file: File::from(file), dir, draft, name: name.to_owned() })
    }

    /// Syncs it and gives it its final name.
    pub(super) fn commit(self) -> Result<(), FileError> {
        let failed = |errno| explain(&self.name, errno);
        fsync(&self.file).map_err(failed)?;
        renameat(&self.dir, self.draft.as_str(), &self.dir, self.name.as_str()).map_err(failed)?;
        let dir = openat(
            &self.dir,
            ".",
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(failed)?;
        fsync(&dir).map_err(failed)
    }

    /// Removes the unfinished file.
    pub(super) fn discard(self) {
        let _ = rustix::fs::unlinkat(&self.dir, self.draft.as_str(), AtFlags::empty());
    }
}

/// Copies a file: by reference if the file system can do that, otherwise by content, and holes stay
/// holes.
pub(super) fn copy(
    from_root: &str,
    from: &Way,
    to_root: &str,
    to: &Way,
    progress: &Progress,
    stop: &CancellationToken,
) -> Result<u64, FileError> {
    let source = open(from_root, from)?;
    let part = Part::open(to_root, to)?;
    match fill(&source, &part.file, to, progress, stop) {
        Ok(size) => part.commit().map(|()| size),
        Err(problem) => {
            part.discard();
            Err(problem)
        }
    }
}

fn fill(
    source: &File,
    target: &File,
    to: &Way,
    progress: &Progress,
    stop: &CancellationToken,
) -> Result<u64, FileError> {
    let failed = |errno| explain(&to.to_string(), errno);
    let size = source.metadata().map_err(|error| explain_io(&to.to_string(), &error))?.len();
    if ioctl_ficlone(target, source).is_ok() {
        progress(size, size);
        return Ok(size);
    }
    ftruncate(target, size).map_err(failed)?;
    let mut at = 0;
    let mut buffer = Vec::new();
    while at < size {
        let data = match seek(source, SeekFrom::Data(at)) {
            Ok(data) => data,
            Err(Errno::NXIO) => break,
            Err(errno) => return Err(failed(errno)),
        };
        let end = seek(source, SeekFrom::Hole(data)).map_err(failed)?.min(size);
        at = data;
        while at < end {
            if stop.is_cancelled() {
                return Err(FileError::Cancelled);
            }
            match move_some(source, target, at, (end - at).min(CHUNK), &mut buffer)
                .map_err(failed)?
            {
                0 => {
                    return Err(FileError::Io(format!(
                        "the source of {to} became shorter while it was copied"
                    )));
                }
                moved => at += moved,
            }
            progress(at, size);
        }
    }
    Ok(size)
}

fn move_some(
    source: &File,
    target: &File,
    at: u64,
    count: u64,
    buffer: &mut Vec<u8>,
) -> Result<u64, Errno> {
    let (mut from, mut to) = (at, at);
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if buffer.is_empty() {
        match copy_file_range(source, Some(&mut from), target, Some(&mut to), count) {
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                buffer.resize(BUFFER, 0)
            }
            other => return other.map(|moved| moved as u64),
        }
    }
    let room = count.min(buffer.len());
    let read = pread(source, &mut buffer[..room], at)?;
    let mut done = 0;
    while done < read {
        done += pwrite(target, &buffer[done..read], at + done as u64)?;
    }
    Ok(read as u64)
}
