//! The files of the fake's hosts, and what transfers do with them.

use super::world::{FakeFile, Place, World, gone};
use ostler_driver::{DiskSource, FileRef, SaveBackJob, TransferJob};
use ostler_model::{DatastoreName, DriverError, HostId, Power, RelPath, VmUuid};

/// The prefix of a disk's content that marks a disk as naming another file.
pub(super) const NAMES: &str = "names ";

const MIB: u64 = 1024 * 1024;

impl FakeFile {
    /// The size that a guest would see, in bytes: the MiB at the end of the content, if it says
    /// them.
    pub(crate) fn virtual_size(&self) -> u64 {
        let mib = self.content.rsplit_once(" of ").and_then(|(_, mib)| mib.parse::<u64>().ok());
        mib.map_or(self.content.len() as u64, |mib| mib * MIB)
    }
}

impl World {
    pub(super) fn put_file(
        &mut self,
        host: HostId,
        datastore: DatastoreName,
        path: RelPath,
        file: FakeFile,
    ) {
        self.files.insert(self.at(host, &datastore, &path), file);
    }

    pub(super) fn file(
        &self,
        host: HostId,
        datastore: &DatastoreName,
        path: &RelPath,
    ) -> Option<FakeFile> {
        self.files.get(&self.at(host, datastore, path)).cloned()
    }

    pub(super) fn files(&self, host: HostId) -> Vec<(DatastoreName, RelPath)> {
        self.files
            .keys()
            .filter(|(at, _, _)| *at == host)
            .map(|(_, datastore, path)| (datastore.clone(), path.clone()))
            .collect()
    }

    /// The VM of a domain that is not off and has a disk whose file is `target`, or is in the
    /// folder `target`.
    pub(super) fn user_of(&self, target: &FileRef) -> Option<VmUuid> {
        let (host, datastore, path) = self.place(target);
        let below = format!("{path}/");
        let is_it = |file: &FileRef| {
            let file = self.place(file);
            file.0 == host
                && file.1 == datastore
                && (file.2 == path || file.2.as_str().starts_with(&below))
        };
        let alive = self.domains.iter().filter(|(_, domain)| domain.seen.power != Power::Off);
        let mut users =
            alive.filter(|(_, domain)| domain.machine.disks.iter().any(|disk| is_it(&disk.file)));
        users.next().map(|((_, vm), _)| *vm)
    }

    pub(super) fn transfer(&mut self, vm: VmUuid, job: &TransferJob) -> Result<(), DriverError> {
        match job {
            TransferJob::Prepare { target, format, source } => {
                let content = match source {
                    DiskSource::Image { base, size_mib, .. } => {
                        if !self.files.get(&self.place(base)).is_some_and(|base| base.complete) {
                            return Err(gone(
                                "no-image",
                                &format!("the image {} is not there", base.absolute),
                            ));
                        }
                        if self
                            .files
                            .get(&self.place(base))
                            .is_some_and(|base| base.content.starts_with(NAMES))
                        {
                            return Err(DriverError::refused(
                                "names-other-file",
                                format!("{} names another file", base.absolute),
                            ));
                        }
                        let least = self.files.get(&self.place(base)).map(FakeFile::virtual_size);
                        if size_mib.is_some_and(|mib| mib * MIB < least.unwrap_or(0)) {
                            return Err(DriverError::refused(
                                "smaller-than-image",
                                format!("{} is larger", base.absolute),
                            ));
                        }
                        let size = size_mib.map(|mib| format!(" of {mib}")).unwrap_or_default();
                        format!("{format} on {}:{}{size}", base.datastore, base.path)
                    }
                    DiskSource::Blank { size_mib } => format!("{format} blank {size_mib}"),
                    DiskSource::Swap { size_mib } => format!("{format} swap {size_mib}"),
                };
                let at = self.place(target);
                // A disk that is complete stays as it is.
                if !self.files.get(&at).is_some_and(|file| file.complete) {
                    self.writes.made(vm, at.clone());
                }
                self.files.insert(at, FakeFile { content, complete: true });
                Ok(())
            }
            TransferJob::Copy { from, to, .. } => {
                match self.files.get(&self.place(from)).cloned() {
                    Some(file) => {
                        let torn = self.user_of(from).is_some();
                        let (from, to) = (self.place(from), self.place(to));
                        self.writes.copied(vm, &from, to.clone(), torn);
                        self.files.insert(to, file);
                        Ok(())
                    }
                    None if self.files.get(&self.place(to)).is_some_and(|file| file.complete) => {
                        Ok(())
                    }
                    None => Err(gone("no-source", &format!("{} is not there", from.absolute))),
                }
            }
            TransferJob::Delete { target } => {
                let (host, datastore, path) = self.place(target);
                let below = format!("{path}/");
                let is_gone = |(at, store, file): &Place| {
                    *at == host
                        && *store == datastore
                        && (*file == path || file.as_str().starts_with(&below))
                };
                self.files.retain(|place, _| !is_gone(place));
                self.writes.removed(is_gone);
                Ok(())
            }
        }
    }

    pub(super) fn save_back(
        &mut self,
        SaveBackJob { disk, image, format, .. }: &SaveBackJob,
    ) -> Result<(), DriverError> {
        match self.files.get(&self.place(disk)).cloned() {
            Some(file) if file.content.starts_with(NAMES) => Err(DriverError::refused(
                "names-other-file",
                format!("{} names another file", disk.absolute),
            )),
            Some(file) => {
                let content = format!("{format} of {}", file.content);
                self.writes.image_of(&self.place(disk), self.user_of(disk));
                self.files.insert(self.place(image), FakeFile { content, complete: true });
                Ok(())
            }
            None if self.files.get(&self.place(image)).is_some_and(|file| file.complete) => Ok(()),
            None => Err(gone("no-disk", &format!("{} is not there", disk.absolute))),
        }
    }
}
