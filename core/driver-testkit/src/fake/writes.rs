//! How new the copies of disks and memory are. A guest that starts from an old copy of a disk has
//! lost what it wrote since, and old memory over newer disks damages them. No record of a caller
//! shows either. So the fake counts what guests write, and notes each start that loses something.

use super::world::Place;
use ostler_model::{HostId, VmUuid};
use std::collections::BTreeMap;

/// The version of a disk's content. Nobody has written to version 0.
type Version = u64;

/// A disk of a VM, by the name of its file. All its copies have this name.
type Disk = (VmUuid, String);

/// The versions of all copies.
#[derive(Default)]
pub(super) struct Writes {
    clock: Version,
    /// The copies of disks.
    copies: BTreeMap<Place, (VmUuid, Version)>,
    /// The newest content of each disk to which a guest has written.
    newest: BTreeMap<Disk, Version>,
    /// The disks' versions at the time when the memory in a file was saved.
    memory: BTreeMap<Place, BTreeMap<Disk, Version>>,
    /// The starts that lost something.
    lost: Vec<String>,
}

fn name_of(place: &Place) -> String {
    let path = place.2.as_str();
    path.rsplit('/').next().unwrap_or(path).to_owned()
}

impl Writes {
    pub(super) fn lost(&self) -> &[String] {
        &self.lost
    }

    pub(super) fn is_newest(&self, vm: VmUuid, place: &Place) -> bool {
        self.version(place) == self.newest(&(vm, name_of(place)))
    }

    fn version(&self, place: &Place) -> Version {
        self.copies.get(place).map_or(0, |(_, version)| *version)
    }

    fn newest(&self, disk: &Disk) -> Version {
        self.newest.get(disk).copied().unwrap_or(0)
    }

    /// A disk is made anew and is empty.
    pub(super) fn made(&mut self, vm: VmUuid, place: Place) {
        self.copies.insert(place, (vm, 0));
    }

    /// A file is copied. A copy of a disk to which a guest writes meanwhile is torn, so it counts
    /// as one that no guest has written to.
    pub(super) fn copied(&mut self, vm: VmUuid, from: &Place, to: Place, torn: bool) {
        match self.memory.get(from).cloned() {
            Some(memory) => drop(self.memory.insert(to, memory)),
            None => {
                let version = if torn { 0 } else { self.version(from) };
                self.copies.insert(to, (vm, version));
            }
        }
    }

    /// These files are gone. The last copy of a disk takes the count of its writes with it.
    pub(super) fn removed(&mut self, is_gone: impl Fn(&Place) -> bool) {
        self.memory.retain(|place, _| !is_gone(place));
        let mut gone = Vec::new();
        self.copies.retain(|place, (vm, _)| {
            let stays = !is_gone(place);
            if !stays {
                gone.push((*vm, name_of(place)));
            }
            stays
        });
        for disk in gone {
            let is_other =
                |(place, (vm, _)): (&Place, &(VmUuid, Version))| (*vm, name_of(place)) == disk;
            if !self.copies.iter().any(is_other) {
                self.newest.remove(&disk);
            }
        }
    }

    /// The content of the VM's disks does not count any more: the VM begins anew.
    pub(super) fn forget(&mut self, vm: VmUuid) {
        self.newest.retain(|(of, _), _| *of != vm);
        self.copies.retain(|_, (of, _)| *of != vm);
    }

    /// All that was written on a host is lost with the host.
    pub(super) fn lose_host(&mut self, host: HostId) {
        let there = self.copies.iter().filter(|((at, _, _), _)| *at == host);
        let lost: Vec<Disk> = there.map(|(place, (vm, _))| (*vm, name_of(place))).collect();
        for disk in lost {
            self.newest.remove(&disk);
        }
        self.memory.retain(|(at, _, _), _| *at != host);
        self.copies.retain(|(at, _, _), _| *at != host);
        let Self { copies, newest, .. } = self;
        for (place, (vm, version)) in copies.iter().filter(|(_, (_, version))| *version > 0) {
            let disk = (*vm, name_of(place));
            let known = newest.entry(disk).or_default();
            *known = (*known).max(*version);
        }
    }

    /// A guest starts on these copies of its disks.
    pub(super) fn starts<'a>(
        &mut self,
        vm: VmUuid,
        host: HostId,
        disks: impl Iterator<Item = &'a Place>,
    ) {
        for place in disks {
            let disk = (vm, name_of(place));
            let (is, newest) = (self.version(place), self.newest(&disk));
            if is != newest {
                self.lost.push(format!(
                    "guest {vm} starts on host {host} on version {is} of {}, the newest is {newest}",
                    disk.1
                ));
            }
        }
    }

    /// A guest writes to these disks.
    pub(super) fn writes(&mut self, vm: VmUuid, disks: impl Iterator<Item = Place>) {
        for place in disks {
            self.clock += 1;
            self.newest.insert((vm, name_of(&place)), self.clock);
            self.copies.insert(place, (vm, self.clock));
        }
    }

    /// The hypervisor has copied a disk while the guest wrote to it: the copy is as new as the
    /// disk.
    pub(super) fn mirrored(&mut self, vm: VmUuid, to: Place) {
        let version = self.newest(&(vm, name_of(&to)));
        self.copies.insert(to, (vm, version));
    }

    /// The guest's memory is saved to a file.
    pub(super) fn saved(&mut self, vm: VmUuid, file: Place, disks: impl Iterator<Item = Place>) {
        let disk = |place: Place| (vm, name_of(&place));
        let of = disks.map(disk).map(|disk| (disk.clone(), self.newest(&disk))).collect();
        self.memory.insert(file, of);
    }

    /// Memory is restored from a file. It must not be older than the disks.
    pub(super) fn restored(&mut self, vm: VmUuid, host: HostId, file: &Place) {
        let of = self.memory.get(file).cloned().unwrap_or_default();
        for (disk, was) in of {
            let newest = self.newest(&disk);
            if newest <= was {
                continue;
            }
            self.lost.push(format!(
                "old memory of guest {vm} is restored on host {host} over {}, which has version \
                 {newest} and not {was}",
                disk.1
            ));
        }
    }

    /// An image is made of a disk.
    pub(super) fn image_of(&mut self, disk: &Place, user: Option<VmUuid>) {
        if let Some(vm) = user {
            let name = name_of(disk);
            self.lost.push(format!("an image is made of {name}, to which guest {vm} writes"));
        }
    }
}
