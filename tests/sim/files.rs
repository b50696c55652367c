//! Carries out transfer calls on the files of the world.

use crate::deeds::{Did, gone};
use crate::world::{Domain, File, Folder, Site, World, is_adopted};
use ostler_model::{Call, DriverError, Effect, HostId, Item, OperationId, Subject, VmRecord};

impl World {
    pub(crate) fn transfer(&mut self, effect: &Effect, record: &VmRecord) -> Did {
        let (vm, at) = (effect.vm, Self::site(record, effect.host));
        match effect.call {
            Call::Prepare => {
                let Some(name) = self.file_of(effect, record) else { return gone("no-disk") };
                self.prepare(effect, at, name);
                Ok(())
            }
            Call::CopyIn => self.copy(effect, record, Site::Home, at),
            Call::CopyOut => {
                let from = record.placement.as_ref().map_or(HostId::FRONT_END, |place| place.host);
                self.copy(effect, record, Site::Host(from), Site::Home)
            }
            Call::CopyAcross => {
                let from = record.placement.as_ref().map_or(HostId::FRONT_END, |place| place.host);
                if !self.has_power(from) {
                    return Err(DriverError::retry(
                        "unreachable",
                        "the host it comes from does not answer",
                    ));
                }
                self.copy(effect, record, Site::Host(from), at)
            }
            Call::DropHost | Call::DropHome => {
                self.nobody_uses(effect, at);
                if let Some(folder) = self.being(vm).folders.get_mut(&at) {
                    folder.disks.retain(|name, _| is_adopted(name));
                    folder.memory.clear();
                    folder.console = false;
                }
                Ok(())
            }
            Call::DropRecovery => {
                // The call belongs to an operation, or to a sweep of an unused memory file.
                let in_hand = record.recovery.as_ref().map(|file| &file.name);
                let name = if effect.key.operation == OperationId(0) {
                    record.unused.first()
                } else {
                    in_hand
                };
                if let (Some(name), Some(folder)) = (name, self.being(vm).folders.get_mut(&at)) {
                    folder.memory.remove(&name.to_string());
                }
                Ok(())
            }
            Call::DropDisk => {
                let Some(name) = self.file_of(effect, record) else { return gone("no-disk") };
                if let Some(folder) = self.being(vm).folders.get_mut(&at) {
                    folder.disks.remove(&name);
                }
                Ok(())
            }
            Call::SaveBack => {
                let Some(name) = self.file_of(effect, record) else { return gone("no-disk") };
                if self.user(effect, at).is_some() {
                    // An image of a disk that a guest writes to is torn, and may not become ready.
                    return Ok(());
                }
                let complete =
                    |folder: &Folder| folder.disks.get(&name).is_some_and(|file| file.complete);
                if self.being(vm).folders.get(&at).is_some_and(complete) {
                    return self.image_is_written(effect, record);
                }
                gone("no-disk")
            }
            call => {
                self.wrong(|| format!("{call} is no call for a transfer driver"));
                Ok(())
            }
        }
    }

    /// The host of a domain that uses the files there.
    fn user(&mut self, effect: &Effect, at: Site) -> Option<HostId> {
        let uses = |host: HostId| at == Site::Shared || at == Site::Host(host);
        self.being(effect.vm)
            .domains
            .iter()
            .find(|(host, domain)| domain.alive() && uses(**host))
            .map(|(host, _)| *host)
    }

    /// Checks that files are removed only where no domain uses them.
    fn nobody_uses(&mut self, effect: &Effect, at: Site) {
        let user = self.user(effect, at);
        let disks = self
            .being(effect.vm)
            .folders
            .get(&at)
            .is_some_and(|folder| folder.disks.keys().any(|name| !is_adopted(name)));
        if let (Some(host), true) = (user, disks) {
            self.wrong(|| {
                format!(
                    "{} of VM {} touches files that its domain on host {host} uses",
                    effect.call, effect.vm
                )
            });
        }
    }

    fn prepare(&mut self, effect: &Effect, at: Site, name: String) {
        let being = self.being(effect.vm);
        // A disk that is made anew is empty, even if another copy had content.
        let version = if being.newest.contains_key(&name) { 0 } else { being.tick() };
        if version > 0 {
            being.newest.insert(name.clone(), version);
        }
        let folder = being.folders.entry(at).or_default();
        if !folder.disks.get(&name).is_some_and(|file| file.complete) {
            folder.disks.insert(name, File { version, complete: true });
        }
    }

    fn copy(&mut self, effect: &Effect, record: &VmRecord, from: Site, to: Site) -> Did {
        let being = self.being(effect.vm);
        if let Item::Recovery = effect.key.item {
            let Some(name) = record.recovery.as_ref().map(|file| file.name.to_string()) else {
                return gone("no-source");
            };
            let memory =
                being.folders.get(&from).and_then(|folder| folder.memory.get(&name)).cloned();
            return match memory {
                Some(memory) => {
                    being.folders.entry(to).or_default().memory.insert(name, memory);
                    Ok(())
                }
                None if being
                    .folders
                    .get(&to)
                    .is_some_and(|folder| folder.memory.contains_key(&name)) =>
                {
                    Ok(())
                }
                None => gone("no-source"),
            };
        }
        let Some(name) = self.file_of(effect, record) else { return gone("no-disk") };
        let being = self.being(effect.vm);
        let source = being.folders.get(&from).and_then(|folder| folder.disks.get(&name)).copied();
        match source {
            Some(file) if file.complete => {
                // A copy of a disk that a guest writes to is torn: no VM may start from it.
                let torn = being.domains.values().any(Domain::alive);
                let version = if torn { 0 } else { file.version };
                being.folders.entry(to).or_default().disks.insert(name, File { version, ..file });
            }
            Some(_) => {
                return Err(DriverError::refused("not-verified", "the source is not complete"));
            }
            // If the source is absent and a verified target exists, the call has succeeded.
            None if being
                .folders
                .get(&to)
                .and_then(|folder| folder.disks.get(&name))
                .is_some_and(|file| file.complete) => {}
            None => return gone("no-source"),
        }
        Ok(())
    }

    /// Leaves half of a file, as a job does that failed or was stopped.
    pub(crate) fn half_done(&mut self, effect: &Effect, record: &VmRecord) {
        let Some(name) = self.file_of(effect, record) else { return };
        let at = match effect.call {
            Call::Prepare | Call::CopyIn | Call::CopyAcross => Self::site(record, effect.host),
            Call::CopyOut => Site::Home,
            _ => return,
        };
        let folder = self.being(effect.vm).folders.entry(at).or_default();
        let half = File { version: 0, complete: false };
        match effect.call {
            // A complete file stays as it is.
            Call::Prepare => drop(folder.disks.entry(name).or_insert(half)),
            _ => drop(folder.disks.insert(name, half)),
        }
    }

    /// The image that the disk becomes is complete.
    pub(crate) fn image_is_written(&mut self, effect: &Effect, record: &VmRecord) -> Did {
        let Item::Disk(disk) = &effect.key.item else { return gone("no-disk") };
        let now = match record.operation.as_ref().map(|active| &active.subject) {
            Some(Subject::DiskImage { name, becomes }) if name == disk => Some(becomes.image),
            Some(_) | None => None,
        };
        let later = || {
            record
                .disks
                .iter()
                .find(|known| known.name == *disk)
                .and_then(|known| known.save_as.as_ref())
        };
        let Some(image) = now.or_else(|| later().map(|becomes| becomes.image)) else {
            return gone("no-image");
        };
        self.images.insert(image);
        Ok(())
    }
}
