//! The arguments of driver calls: the folders, files and hardware of a VM as drivers are told of
//! them, made from its record as it was committed with the effect.

use crate::directory::Directory;
use crate::shared::Shared;
use ostler_driver::{
    DiskSource, DomainDisk, DomainNic, DomainSpec, FileRef, Hypervisor, Layer, SaveBackJob, Site,
    Transfer, TransferJob,
};
use ostler_model::{
    Call, Datastore, DiskFormat, DiskName, DiskState, DriverError, DriverName, Effect, Generation,
    HostId, Identity, Image, ImageId, Item, JobCall, MacAddress, SnapshotName, Subject, VmRecord,
};
use std::sync::Arc;

/// The log of the serial console, in the VM's folder.
const CONSOLE_LOG: &str = "console.log";

/// The folders in a system datastore that hold the folders of VMs: on hosts, and at the front end.
pub(crate) const TOPS: [&str; 2] = [ON_HOST, AT_HOME];
pub(crate) const ON_HOST: &str = "vms";
const AT_HOME: &str = "home";

/// The host and the path of the console log. None if the VM has no placement.
pub(crate) fn console_log(shared: &Shared, record: &VmRecord) -> Option<(HostId, String)> {
    let place = record.placement.as_ref()?;
    let directory = shared.directory();
    let store = directory.datastores.get(&record.storage.as_ref()?.datastore)?;
    let file = directory.file(
        place.host,
        store,
        &format!("{ON_HOST}/{}/{CONSOLE_LOG}", record.folder()),
    )?;
    Some((place.host, file.absolute))
}

pub(crate) fn no_host(host: HostId) -> DriverError {
    DriverError::retry("no-host", format!("host {host} is not known; add it again"))
}

fn missing(what: &str) -> DriverError {
    DriverError::refused(
        "missing",
        format!("{what} is not there; register it again, then recover --retry"),
    )
}

/// A call that takes long. The driver begins it, reports its progress when it is asked, and can be
/// told to stop.
pub(crate) struct JobArguments<'a> {
    /// The name of the driver, for the error of one that cannot do the job.
    pub(crate) name: &'a DriverName,
    pub(crate) work: Work,
}

/// The driver of a job, and the job's arguments.
pub(crate) enum Work {
    Transfer(Arc<dyn Transfer>, TransferJob),
    SaveBack(Arc<dyn Transfer>, SaveBackJob),
    Migrate {
        driver: Arc<dyn Hypervisor>,
        domain: Box<DomainSpec>,
        to: Arc<Site>,
        move_disks: Vec<DiskName>,
    },
    CopyDisk {
        driver: Arc<dyn Hypervisor>,
        disk: DiskName,
        target: FileRef,
        format: DiskFormat,
    },
}

/// The two places in a datastore where a VM's files can be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// On the VM's host.
    Host,
    /// At the front end.
    Home,
}

/// An effect, and the data from which its arguments are made.
pub(crate) struct Arguments<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) directory: &'a Directory,
    pub(crate) record: &'a VmRecord,
    pub(crate) effect: &'a Effect,
}

impl Arguments<'_> {
    /// The host that sees the files which the call is about.
    fn host(&self) -> HostId {
        match self.effect.call {
            // These calls are sent to the front end, but they are about the files on the host of
            // the VM's placement.
            Call::Job(JobCall::CopyOut | JobCall::DropHome) => {
                self.record.placement.as_ref().map_or(HostId::FRONT_END, |place| place.host)
            }
            _ => self.effect.host,
        }
    }

    pub(crate) fn hypervisor(&self) -> Result<Arc<dyn Hypervisor>, DriverError> {
        let found =
            self.shared.drivers.hypervisor_for(&self.effect.driver, self.effect.key.operation);
        found.map_err(|error| DriverError::retry("not-loaded", error.to_string()))
    }

    fn transfer(&self) -> Result<Arc<dyn Transfer>, DriverError> {
        let found =
            self.shared.drivers.transfer_for(&self.effect.driver, self.effect.key.operation);
        found.map_err(|error| DriverError::retry("not-loaded", error.to_string()))
    }

    fn datastore(&self) -> Result<&Datastore, DriverError> {
        let storage =
            self.record.storage.as_ref().ok_or_else(|| missing("the VM's system datastore"))?;
        self.directory
            .datastores
            .get(&storage.datastore)
            .ok_or_else(|| missing("the VM's system datastore"))
    }

    /// The VM's folder, or a file in it. Shared storage has one folder, which all hosts and the
    /// front end see.
    fn file(&self, place: Place, name: Option<&str>) -> Result<FileRef, DriverError> {
        let (top, host) = match place {
            Place::Host => (ON_HOST, self.host()),
            Place::Home if self.record.storage_is_shared() => (ON_HOST, HostId::FRONT_END),
            Place::Home => (AT_HOME, HostId::FRONT_END),
        };
        self.file_on(top, host, name)
    }

    fn file_on(&self, top: &str, host: HostId, name: Option<&str>) -> Result<FileRef, DriverError> {
        let folder = self.record.folder();
        let path =
            name.map_or_else(|| format!("{top}/{folder}"), |name| format!("{top}/{folder}/{name}"));
        self.directory
            .file(host, self.datastore()?, &path)
            .ok_or_else(|| missing("a path for the VM's files"))
    }

    pub(crate) fn recovery(&self) -> Result<FileRef, DriverError> {
        let file = self.record.recovery.as_ref().ok_or_else(|| missing("the recovery file"))?;
        let place = if self.record.placement.is_some() { Place::Host } else { Place::Home };
        self.file(place, Some(file.name.as_str()))
    }

    pub(crate) fn disk(&self) -> Result<&DiskState, DriverError> {
        match &self.effect.key.item {
            Item::Disk(name) => self
                .record
                .disks
                .iter()
                .find(|disk| disk.name == *name)
                .ok_or_else(|| missing("the disk")),
            _ => Err(missing("a disk to act on")),
        }
    }

    pub(crate) fn mac(&self) -> Result<&MacAddress, DriverError> {
        match &self.effect.key.item {
            Item::Nic(mac) => Ok(mac),
            _ => Err(missing("a network card to act on")),
        }
    }

    pub(crate) fn snapshot(&self) -> Result<&SnapshotName, DriverError> {
        match &self.effect.key.item {
            Item::Snapshot(name) => Ok(name),
            _ => Err(missing("a snapshot to act on")),
        }
    }

    pub(crate) fn nic(&self) -> Result<DomainNic, DriverError> {
        let mac = self.mac()?;
        nics(self.record)
            .into_iter()
            .find(|nic| nic.mac == *mac)
            .ok_or_else(|| missing("the network card"))
    }

    /// A disk's file among the VM's files on `host`.
    pub(crate) fn disk_file(&self, disk: &DiskState, host: HostId) -> Result<FileRef, DriverError> {
        match &disk.adopted {
            Some(path) => self
                .directory
                .file(host, self.datastore()?, path.as_str())
                .ok_or_else(|| missing("a path for the adopted disk")),
            None => self.file_on(ON_HOST, host, Some(disk.file.as_str())),
        }
    }

    pub(crate) fn domain_disk(
        &self,
        disk: &DiskState,
        host: HostId,
    ) -> Result<DomainDisk, DriverError> {
        let read_only = self
            .record
            .spec
            .disks
            .iter()
            .any(|wanted| wanted.name == disk.name && wanted.read_only);
        let file = self.disk_file(disk, host)?;
        Ok(DomainDisk {
            name: disk.name.clone(),
            file,
            format: disk.format,
            read_only,
            below: self.below(disk, host)?,
        })
    }

    /// The files below a disk. None if they are not known. A raw disk has nothing below it. A disk
    /// that Ostler made has nothing below it, or only its image, if that image was found to stand
    /// alone.
    pub(crate) fn below(
        &self,
        disk: &DiskState,
        host: HostId,
    ) -> Result<Option<Vec<Layer>>, DriverError> {
        match (disk.format, disk.image) {
            (DiskFormat::Raw, _) => Ok(Some(Vec::new())),
            (DiskFormat::Qcow2, _) if disk.adopted.is_some() => Ok(None),
            (DiskFormat::Qcow2, None) => Ok(Some(Vec::new())),
            (DiskFormat::Qcow2, Some(id)) => {
                let image = self.image_row(id)?;
                if !image.stands_alone {
                    return Ok(None);
                }
                let (file, format) = self.image(id, host)?;
                Ok(Some(vec![Layer { file, format }]))
            }
        }
    }

    /// The image below a disk, as `host` sees its file.
    pub(crate) fn base(
        &self,
        disk: &DiskState,
        host: HostId,
    ) -> Result<Option<(FileRef, DiskFormat)>, DriverError> {
        disk.image.map(|id| self.image(id, host)).transpose()
    }

    fn image(&self, id: ImageId, host: HostId) -> Result<(FileRef, DiskFormat), DriverError> {
        let image = self.image_row(id)?;
        let store = self
            .directory
            .datastores
            .get(&image.datastore)
            .ok_or_else(|| missing("the image's datastore"))?;
        let file = self
            .directory
            .file(host, store, image.path.as_str())
            .ok_or_else(|| missing("the image's path"))?;
        Ok((file, image.format))
    }

    fn image_row(&self, id: ImageId) -> Result<Image, DriverError> {
        let reader = self
            .shared
            .store
            .read()
            .map_err(|error| DriverError::retry("store", error.to_string()))?;
        let image =
            reader.image(id).map_err(|error| DriverError::retry("store", error.to_string()))?;
        image.ok_or_else(|| missing("the image"))
    }

    /// The image that is made from a disk, as `host` sees its file.
    fn new_image(
        &self,
        disk: &DiskState,
        host: HostId,
    ) -> Result<(FileRef, DiskFormat), DriverError> {
        let of_subject = match self.record.operation.as_ref().map(|active| &active.subject) {
            Some(Subject::DiskImage { name, becomes }) if *name == disk.name => Some(becomes),
            _ => disk.save_as.as_ref(),
        };
        self.image(of_subject.ok_or_else(|| missing("the image to be"))?.image, host)
    }

    pub(crate) fn job(&self, job: JobCall) -> Result<JobArguments<'_>, DriverError> {
        Ok(JobArguments { name: &self.effect.driver, work: self.work(job)? })
    }

    fn work(&self, job: JobCall) -> Result<Work, DriverError> {
        let transfer = match job {
            JobCall::Prepare => self.prepare()?,
            JobCall::CopyIn => self.copy(self.home_to(self.effect.host))?,
            JobCall::CopyOut => self.copy(((ON_HOST, self.host()), self.home()))?,
            JobCall::CopyAcross => {
                self.copy(((ON_HOST, self.placed()?), (ON_HOST, self.effect.host)))?
            }
            JobCall::DropHome => TransferJob::Delete { target: self.file(Place::Home, None)? },
            JobCall::DropHost => TransferJob::Delete { target: self.file(Place::Host, None)? },
            JobCall::DropDisk => {
                TransferJob::Delete { target: self.disk_file(self.disk()?, self.effect.host)? }
            }
            JobCall::DropRecovery => TransferJob::Delete { target: self.recovery()? },
            JobCall::SaveBack => return Ok(Work::SaveBack(self.transfer()?, self.save_back()?)),
            JobCall::Migrate => return self.migrate(),
            JobCall::CopyDisk => {
                let disk = self.disk()?;
                let (target, format) = self.new_image(disk, self.effect.host)?;
                return Ok(Work::CopyDisk {
                    driver: self.hypervisor()?,
                    disk: disk.name.clone(),
                    target,
                    format,
                });
            }
        };
        Ok(Work::Transfer(self.transfer()?, transfer))
    }

    fn placed(&self) -> Result<HostId, DriverError> {
        self.record
            .placement
            .as_ref()
            .map(|place| place.host)
            .ok_or_else(|| missing("the VM's place"))
    }

    fn home(&self) -> (&'static str, HostId) {
        (if self.record.storage_is_shared() { ON_HOST } else { AT_HOME }, HostId::FRONT_END)
    }

    fn home_to(&self, host: HostId) -> FromTo {
        (self.home(), (ON_HOST, host))
    }

    fn migrate(&self) -> Result<Work, DriverError> {
        let other = self.record.other().ok_or_else(|| missing("the host that it goes to"))?;
        let to = self.directory.site(other.host).ok_or_else(|| no_host(other.host))?;
        let domain = Box::new(self.domain(other.host, other.generation)?);
        // Read-only disks are not moved: the destination has the same content already, and a
        // hypervisor would not send them.
        let written =
            domain.disks.iter().filter(|disk| !disk.read_only).map(|disk| disk.name.clone());
        let move_disks =
            if self.record.storage_is_shared() { Vec::new() } else { written.collect() };
        Ok(Work::Migrate { driver: self.hypervisor()?, domain, to, move_disks })
    }

    fn save_back(&self) -> Result<SaveBackJob, DriverError> {
        let disk = self.disk()?;
        // An adopted disk is never in the VM's folder, so its own path counts even if the VM has no
        // placement.
        let from = if self.record.placement.is_some() || disk.adopted.is_some() {
            self.disk_file(disk, self.effect.host)?
        } else {
            let (top, host) = self.home();
            self.file_on(top, host, Some(disk.file.as_str()))?
        };
        let (image, format) = self.new_image(disk, self.effect.host)?;
        Ok(SaveBackJob { disk: from, from_format: disk.format, image, format })
    }

    fn prepare(&self) -> Result<TransferJob, DriverError> {
        let disk = self.disk()?;
        let target = self.file(Place::Host, Some(disk.file.as_str()))?;
        let wanted = self
            .record
            .spec
            .disks
            .iter()
            .find(|spec| spec.name == disk.name)
            .ok_or_else(|| missing("the disk"))?;
        let source = match (&wanted.source, self.base(disk, self.host())?) {
            (ostler_model::DiskSource::Image { size_mib, .. }, Some((base, format))) => {
                DiskSource::Image { base, format, size_mib: *size_mib }
            }
            (ostler_model::DiskSource::Image { .. }, None) => return Err(missing("the image")),
            (ostler_model::DiskSource::Blank { size_mib }, _) => {
                DiskSource::Blank { size_mib: *size_mib }
            }
            (ostler_model::DiskSource::Swap { size_mib }, _) => {
                DiskSource::Swap { size_mib: *size_mib }
            }
            (ostler_model::DiskSource::File { path }, _) => {
                return Err(DriverError::refused(
                    "adopted",
                    format!("{path} was adopted: it is not made anew"),
                ));
            }
        };
        Ok(TransferJob::Prepare { target, format: disk.format, source })
    }

    fn copy(&self, ((from_top, from), (to_top, to)): FromTo) -> Result<TransferJob, DriverError> {
        let pair = |name: &str| -> Result<(FileRef, FileRef), DriverError> {
            Ok((self.file_on(from_top, from, Some(name))?, self.file_on(to_top, to, Some(name))?))
        };
        if self.effect.key.item == Item::Recovery {
            let name = self
                .record
                .recovery
                .as_ref()
                .ok_or_else(|| missing("the recovery file"))?
                .name
                .as_str();
            let (from, to) = pair(name)?;
            return Ok(TransferJob::Copy { from, to, format: None, base: None });
        }
        let disk = self.disk()?;
        let (from, to) = pair(disk.file.as_str())?;
        let base = self.base(disk, to.host)?.map(|(file, _)| file);
        Ok(TransferJob::Copy { from, to, format: Some(disk.format), base })
    }

    pub(crate) fn identity(&self, generation: Generation) -> Identity {
        Identity { store: self.shared.store.id(), vm: self.record.uuid, generation }
    }

    /// The domain as it must be on `host`.
    pub(crate) fn domain(
        &self,
        host: HostId,
        generation: Generation,
    ) -> Result<DomainSpec, DriverError> {
        let record = self.record;
        let spec = &record.spec;
        let named = |file: &Option<ostler_model::FilePath>, what: &str| match file {
            Some(file) => self
                .directory
                .named(host, file)
                .map(Some)
                .ok_or_else(|| missing(&format!("{what} {file}"))),
            None => Ok(None),
        };
        let disks = record.disks.iter().map(|disk| self.domain_disk(disk, host));
        Ok(DomainSpec {
            identity: self.identity(generation),
            name: record.domain_name(),
            title: spec.name.to_string(),
            vcpus: spec.vcpus,
            vcpus_most: spec.vcpus_most(),
            cpu_milli: spec.cpu_milli,
            memory_mib: spec.memory_mib,
            memory_most_mib: spec.memory_most_mib(),
            firmware: spec.boot.firmware,
            kernel: named(&spec.boot.kernel, "kernel")?,
            initrd: named(&spec.boot.initrd, "initrd")?,
            cmdline: spec.boot.cmdline.clone(),
            disks: disks.collect::<Result<_, DriverError>>()?,
            nics: nics(record),
            graphics: spec.graphics,
            console_log: self.file_on(ON_HOST, host, Some(CONSOLE_LOG))?,
        })
    }
}

/// Two folders to copy between. Each is a top folder in the datastore, and the host that sees it.
type FromTo = ((&'static str, HostId), (&'static str, HostId));

/// The NICs. Each has the address in the specification, or one that is made from the VM's UUID and
/// the NIC's index.
fn nics(record: &VmRecord) -> Vec<DomainNic> {
    let nics = record.spec.nics.iter().enumerate();
    nics.map(|(at, nic)| DomainNic { mac: record.mac_of(at), bridge: nic.bridge.clone() }).collect()
}
