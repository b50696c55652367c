//! What transfer drivers do, and when they must not.

use super::{Did, Place, World, gone};
use ostler_model::{
    Call, DiskState, DriverError, Effect, HostId, Item, JobCall, NewImage, Power, StepKind,
    Subject, Verb, VmRecord,
};

fn missing() -> Did {
    Err(DriverError::refused("no-source", "there is no such file"))
}

fn disk<'a>(record: &'a VmRecord, item: &Item) -> Option<&'a DiskState> {
    let Item::Disk(name) = item else { return None };
    record.disks.iter().find(|disk| disk.name == *name)
}

/// The image that the disk is written to.
fn becomes(record: &VmRecord, item: &Item) -> Option<NewImage> {
    match record.operation.as_ref().map(|active| &active.subject) {
        Some(Subject::DiskImage { becomes, .. }) => Some(becomes.clone()),
        _ => disk(record, item)?.save_as.clone(),
    }
}

impl World {
    pub(super) fn transfer(&mut self, effect: &Effect, record: &VmRecord) -> Did {
        let here = record.placement.as_ref().map_or(HostId::FRONT_END, |place| place.host);
        self.guard(effect, record, here);
        if disk(record, &effect.key.item).is_some_and(|disk| disk.adopted.is_some())
            && effect.call != Call::Job(JobCall::SaveBack)
        {
            self.wrong(format!("{} touches a disk that was adopted", effect.call));
        }
        let (host, item, newest) = (effect.host, &effect.key.item, self.newest);
        let memory = || record.recovery.as_ref().map(|file| file.name.to_string());
        match effect.call {
            Call::Job(JobCall::Prepare) => {
                let Some(disk) = disk(record, item) else { return missing() };
                let to_fill = record.operation.as_ref().and_then(|active| active.kind())
                    == Some(StepKind::PrepareOther);
                let at_home = self
                    .places
                    .get(&HostId::FRONT_END)
                    .is_some_and(|home| home.disks.contains_key(disk.file.as_str()));
                if at_home && !self.shared {
                    self.wrong("a disk is made anew though there is one at the front end");
                }
                let content = if to_fill { 0 } else { newest };
                self.place(host).disks.entry(disk.file.to_string()).or_insert(content);
                Ok(())
            }
            Call::Job(JobCall::CopyIn) => self.copy(HostId::FRONT_END, host, record, item),
            Call::Job(JobCall::CopyOut) => self.copy(here, HostId::FRONT_END, record, item),
            Call::Job(JobCall::CopyAcross) => self.copy(here, host, record, item),
            Call::Job(JobCall::DropHost) => {
                *self.place(host) = Place::default();
                Ok(())
            }
            Call::Job(JobCall::DropHome) => {
                *self.place(HostId::FRONT_END) = Place::default();
                Ok(())
            }
            Call::Job(JobCall::DropRecovery) => {
                if let Some(file) = memory() {
                    self.place(host).memory.remove(&file);
                }
                Ok(())
            }
            Call::Job(JobCall::DropDisk) => {
                let Some(disk) = disk(record, item) else { return missing() };
                self.place(host).disks.remove(disk.file.as_str());
                Ok(())
            }
            Call::Job(JobCall::SaveBack) => self.write_image(host, record, item),
            call => {
                self.wrong(format!("{call} is no call of a transfer driver"));
                Ok(())
            }
        }
    }

    /// A disk is never touched under a domain that may write it, and files are never moved while
    /// there is a domain at all.
    fn guard(&mut self, effect: &Effect, record: &VmRecord, here: HostId) {
        let moves = match effect.call {
            Call::Job(JobCall::DropRecovery) => return,
            Call::Job(JobCall::Prepare | JobCall::DropDisk) => false,
            Call::Job(JobCall::SaveBack) => {
                record.operation.as_ref().is_none_or(|active| active.verb != Verb::DiskSnapshotLive)
            }
            _ => true,
        };
        let sees = |at: HostId, host: HostId| self.shared || at == host;
        let file = disk(record, &effect.key.item).map(|disk| disk.file.to_string());
        let from = if effect.call == Call::Job(JobCall::CopyAcross)
            || effect.call == Call::Job(JobCall::CopyOut)
        {
            here
        } else {
            effect.host
        };
        let writes = self.domains.iter().any(|(at, domain)| {
            let touched = sees(*at, effect.host) || sees(*at, from);
            let plugged = file.as_ref().is_none_or(|file| domain.disks.contains(file));
            touched && domain.power != Power::Off && (moves || plugged)
        });
        let there = self.domains.contains_key(&from)
            && effect.call != Call::Job(JobCall::CopyAcross)
            && from != HostId::FRONT_END;
        if writes || (moves && there) {
            self.wrong(format!("{} touches disks while there is a domain", effect.call));
        }
    }

    fn copy(&mut self, from: HostId, to: HostId, record: &VmRecord, item: &Item) -> Did {
        if !self.answers(from) {
            return Err(DriverError::retry(
                "no-source",
                "the host that has the files does not answer",
            ));
        }
        if self.domains.contains_key(&from) {
            self.wrong("files are copied while there is a domain");
        }
        let newest = self.newest;
        if let Item::Disk(_) = item {
            let Some(file) = disk(record, item).map(|disk| disk.file.to_string()) else {
                return missing();
            };
            let Some(new) = self.place(from).disks.get(&file).copied() else { return missing() };
            if new != newest {
                self.wrong(format!("disks as of {new} are copied, the newest are of {newest}"));
            }
            self.place(to).disks.insert(file, new);
            return Ok(());
        }
        let Some(file) = record.recovery.as_ref().map(|file| file.name.to_string()) else {
            return missing();
        };
        let Some(new) = self.place(from).memory.get(&file).copied() else { return missing() };
        self.place(to).memory.insert(file, new);
        Ok(())
    }

    fn write_image(&mut self, host: HostId, record: &VmRecord, item: &Item) -> Did {
        let (Some(disk), Some(image)) = (disk(record, item), becomes(record, item)) else {
            self.wrong("an image is written that the record does not know");
            return gone();
        };
        if record.placement.as_ref().is_some_and(|place| place.host != host) {
            self.wrong(format!("an image is made at {host} of a disk that is not there"));
        }
        let newest = self.newest;
        let found = self
            .place(host)
            .disks
            .get(disk.file.as_str())
            .copied()
            .or(disk.adopted.as_ref().map(|_| newest));
        match found {
            None => missing(),
            Some(new) => {
                if new != newest {
                    self.wrong(format!(
                        "an image is made of a disk as of {new}, the newest is of {newest}"
                    ));
                }
                self.images.insert(image.image, new);
                Ok(())
            }
        }
    }

    /// Copies a disk that is in use.
    pub(super) fn copy_disk(&mut self, effect: &Effect, record: &VmRecord) -> Did {
        if self.domains.get(&effect.host).is_none_or(|domain| domain.power != Power::Running) {
            return gone();
        }
        self.write_image(effect.host, record, &effect.key.item)
    }
}
