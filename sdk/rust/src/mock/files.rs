//! Files in memory.

use crate::{Error, FileKind, FilePath, Stat};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// The largest file that `read` and `write` handle, as the real host has it.
const SMALL_MAX: usize = 64 * 1024;

/// The files of a host, by datastore and path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    files: BTreeMap<(String, String), Vec<u8>>,
    folders: BTreeSet<(String, String)>,
}

impl Files {
    /// The content of a file. None if there is no such file.
    #[must_use]
    pub fn get(&self, datastore: &str, path: &str) -> Option<&[u8]> {
        self.files.get(&(datastore.to_owned(), path.to_owned())).map(Vec::as_slice)
    }

    /// Writes a file, and makes the folders above it.
    pub fn put(&mut self, datastore: &str, path: &str, content: impl Into<Vec<u8>>) {
        let at = FilePath::new(datastore, path);
        self.make_parents(&at);
        self.files.insert(key(&at), content.into());
    }

    /// Removes a file, and answers its content. None if there is no such file.
    pub fn take(&mut self, datastore: &str, path: &str) -> Option<Vec<u8>> {
        self.files.remove(&(datastore.to_owned(), path.to_owned()))
    }

    /// All files, each as `DATASTORE:PATH`.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.files.keys().map(|(datastore, path)| format!("{datastore}:{path}")).collect()
    }

    fn make_parents(&mut self, at: &FilePath) {
        let mut path = at.path.as_str();
        while let Some((parent, _)) = path.rsplit_once('/') {
            self.folders.insert((at.datastore.clone(), parent.to_owned()));
            path = parent;
        }
    }

    pub(super) fn stat(&self, at: &FilePath) -> Result<Option<Stat>, Error> {
        let at = checked(at)?;
        let stat = |kind: FileKind, size: u64| Stat {
            kind,
            size,
            allocated: size,
            modified_ms: super::BEGINNING_MS,
        };
        let file = self.files.get(&at).map(|content| stat(FileKind::File, content.len() as u64));
        Ok(file.or_else(|| self.folders.contains(&at).then(|| stat(FileKind::Directory, 0))))
    }

    pub(super) fn list(&self, at: &FilePath) -> Result<Vec<String>, Error> {
        let (datastore, folder) = checked(at)?;
        if !self.folders.contains(&(datastore.clone(), folder.clone())) {
            return Err(Error::gone("no-folder", format!("there is no folder {folder}")));
        }
        let within = format!("{folder}/");
        let names = self.files.keys().chain(&self.folders).filter(|(of, _)| *of == datastore);
        let children = names.filter_map(|(_, path)| path.strip_prefix(&within));
        let direct = children.filter(|name| !name.contains('/')).map(str::to_owned);
        Ok(direct.collect::<BTreeSet<_>>().into_iter().collect())
    }

    pub(super) fn read(&self, at: &FilePath) -> Result<Option<Vec<u8>>, Error> {
        let found = self.files.get(&checked(at)?);
        small(found.map_or(0, Vec::len))?;
        Ok(found.cloned())
    }

    pub(super) fn write(&mut self, at: &FilePath, data: &[u8]) -> Result<(), Error> {
        small(data.len())?;
        checked(at)?;
        self.put(&at.datastore, &at.path, data);
        Ok(())
    }

    pub(super) fn make_folder(&mut self, at: &FilePath) -> Result<(), Error> {
        let key = checked(at)?;
        self.make_parents(at);
        self.folders.insert(key);
        Ok(())
    }

    pub(super) fn remove(&mut self, at: &FilePath) -> Result<(), Error> {
        let (datastore, path) = checked(at)?;
        let within = format!("{path}/");
        let stays = |(of, other): &(String, String)| {
            *of != datastore || *other != path && !other.starts_with(&within)
        };
        self.files.retain(|at, _| stays(at));
        self.folders.retain(stays);
        Ok(())
    }

    pub(super) fn rename(&mut self, source: &FilePath, target: &FilePath) -> Result<(), Error> {
        let from = checked(source)?;
        checked(target)?;
        let content = self.files.remove(&from).ok_or_else(|| no_file(source))?;
        self.put(&target.datastore, &target.path, content);
        Ok(())
    }

    pub(super) fn copy(&mut self, source: &FilePath, target: &FilePath) -> Result<u64, Error> {
        checked(target)?;
        let content = self.files.get(&checked(source)?).ok_or_else(|| no_file(source))?.clone();
        let size = content.len() as u64;
        self.put(&target.datastore, &target.path, content);
        Ok(size)
    }

    pub(super) fn checksum(&self, at: &FilePath) -> Result<String, Error> {
        let content = self.files.get(&checked(at)?).ok_or_else(|| no_file(at))?;
        Ok(Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect())
    }

    pub(super) fn absolute(at: &FilePath) -> Result<String, Error> {
        let (datastore, path) = checked(at)?;
        Ok(format!("/datastores/{datastore}/{path}"))
    }
}

fn key(at: &FilePath) -> (String, String) {
    (at.datastore.clone(), at.path.clone())
}

/// Refuses a path that the real host refuses, too.
fn checked(at: &FilePath) -> Result<(String, String), Error> {
    let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    if at.datastore.is_empty() || !at.path.split('/').all(plain) {
        return Err(Error::refused("bad-path", format!("{} is not a path of a file", at.hole())));
    }
    Ok(key(at))
}

fn small(size: usize) -> Result<(), Error> {
    if size > SMALL_MAX {
        return Err(Error::refused("too-large", format!("{size} bytes, at most {SMALL_MAX}")));
    }
    Ok(())
}

fn no_file(at: &FilePath) -> Error {
    Error::gone("no-file", format!("there is no file {}", at.hole()))
}
