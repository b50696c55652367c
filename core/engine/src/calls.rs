//! Makes a driver call from an effect. The arguments come from the record as it was committed with the effect.

use crate::clock;
use crate::directory::Directory;
use crate::shared::Shared;
use ostler_driver::{
    CallControl, DiskSource, DomainDisk, DomainNic, DomainSpec, FileRef, Hypervisor, JobStatus, Layer, SaveBackJob, Site, Transfer,
    TransferJob, require,
};
use ostler_model::{
    Call, CallResult, Datastore, DiskFormat, DiskName, DiskState, DriverError, DriverName, Effect, ErrorKind, Generation, HostId,
    Identity, Image, ImageId, Item, MacAddress, Observation, Outcome, SnapshotName, Subject, VmRecord,
};
use std::sync::Arc;
use std::time::Duration;

/// The driver is asked for the progress of a long job: after this time at first, and then less and less often. Each wait is a
/// fixed share of the time that the job has taken so far. So a late question makes the job at most that share longer.
const POLL_FIRST: Duration = Duration::from_millis(20);
/// Each wait is the time so far divided by this number.
const POLL_SHARE: u32 = 32;
/// The longest wait.
const POLL_MOST: Duration = Duration::from_secs(2);

/// The log of the serial console, in the VM's folder.
const CONSOLE_LOG: &str = "console.log";

/// The folders in a system datastore that hold the folders of VMs: on hosts, and at the front end.
pub(crate) const TOPS: [&str; 2] = [ON_HOST, AT_HOME];
pub(crate) const ON_HOST: &str = "vms";
const AT_HOME: &str = "home";

/// Runs a driver's future, and turns its panic into an answer. Drivers are code of others. If a panic took the answer away, the
/// caller would wait for ever.
pub(crate) async fn caught<T>(call: impl Future<Output = Result<T, DriverError>>) -> Result<T, DriverError> {
    use futures::FutureExt as _;
    // Only the driver's own data can be left half changed by the panic. No data of ours is borrowed mutably.
    std::panic::AssertUnwindSafe(call).catch_unwind().await.unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let detail = format!("the driver panicked: {}", words.unwrap_or("without a word"));
        tracing::error!(detail, "a driver panicked");
        // The lifecycle recognises a crash by this code, and gives up after several of them.
        Err(DriverError::unknown("driver-trap", detail))
    })
}

/// Looks at a VM on the host of its placement.
pub(crate) async fn observe(shared: &Shared, record: &VmRecord) -> Result<Observation, DriverError> {
    match &record.placement {
        Some(place) => observe_at(shared, place.host, &place.driver, record).await,
        None => Ok(Observation::Absent),
    }
}

/// Looks at a VM on a host.
pub(crate) async fn observe_at(
    shared: &Shared,
    host: HostId,
    driver: &DriverName,
    record: &VmRecord,
) -> Result<Observation, DriverError> {
    let driver = shared.drivers.hypervisor(driver).map_err(|error| DriverError::retry("not-loaded", error.to_string()))?;
    let site = shared.directory().site(host).ok_or_else(|| no_host(host))?;
    caught(driver.observe(&site, record.uuid)).await
}

/// Calls the driver with the arguments of the effect.
pub(crate) async fn call(shared: &Arc<Shared>, effect: &Effect, record: &VmRecord, control: &CallControl) -> CallResult {
    let directory = shared.directory();
    let site = directory.site_for(effect.host, &effect.driver).ok_or_else(|| no_host(effect.host))?;
    let args = Arguments { shared, directory: &directory, record, effect };
    if effect.call.is_job() {
        let job = args.job()?;
        return run_job(&job, &site, control).await;
    }
    hypervisor(&args, &site, control).await
}

async fn hypervisor(args: &Arguments<'_>, site: &Site, control: &CallControl) -> CallResult {
    let (driver, name) = (args.hypervisor()?, &args.effect.driver);
    match args.effect.call {
        Call::Deploy => driver.deploy(site, control, &args.domain(args.effect.host, args.effect.generation)?).await,
        Call::Restore => {
            let domain = args.domain(args.effect.host, args.effect.generation)?;
            require(driver.suspend(), name)?.restore(site, control, &domain, &args.recovery()?).await
        }
        Call::Unpause => require(driver.suspend(), name)?.unpause(site, control).await,
        Call::PressPower => driver.press_power(site, control).await,
        Call::Destroy => driver.destroy(site, control).await,
        Call::Save => require(driver.suspend(), name)?.save(site, control, &args.recovery()?).await,
        Call::Remove => driver.remove(site, control).await,
        Call::Reboot => require(driver.reboot(), name)?.reboot(site, control).await,
        Call::Reset => require(driver.reboot(), name)?.reset(site, control).await,
        Call::AttachDisk => {
            let disk = args.domain_disk(args.disk()?, args.effect.host)?;
            require(driver.hotplug(), name)?.attach_disk(site, control, &disk).await
        }
        Call::DetachDisk => require(driver.hotplug(), name)?.detach_disk(site, control, &args.disk()?.name).await,
        Call::AttachNic => require(driver.hotplug(), name)?.attach_nic(site, control, &args.nic()?).await,
        Call::DetachNic => require(driver.hotplug(), name)?.detach_nic(site, control, args.mac()?).await,
        Call::Resize => {
            let spec = &args.record.spec;
            require(driver.live_resize(), name)?.resize(site, control, spec.vcpus, spec.memory_mib).await
        }
        Call::CreateSnapshot => require(driver.snapshots(), name)?.create(site, control, args.snapshot()?).await,
        Call::RevertSnapshot => require(driver.snapshots(), name)?.revert(site, control, args.snapshot()?).await,
        Call::DeleteSnapshot => require(driver.snapshots(), name)?.delete(site, control, args.snapshot()?).await,
        Call::Stamp => {
            let identity = args.identity(args.effect.generation);
            require(driver.adopt(), name)?.stamp(site, control, &identity).await
        }
        Call::Observe => {
            let seen = driver.observe(site, args.record.uuid).await?;
            Ok(Outcome { seen: Some(seen), state: None })
        }
        Call::Migrate | Call::CopyDisk | Call::Prepare | Call::CopyIn | Call::DropHome | Call::DropRecovery => wrong_lane(),
        Call::CopyOut | Call::DropHost | Call::CopyAcross | Call::DropDisk | Call::SaveBack => wrong_lane(),
    }
}

fn wrong_lane() -> CallResult {
    Err(DriverError::refused("wrong-lane", "a job was sent as a call"))
}

/// A call that takes long. The driver begins it, reports its progress when it is asked, and can be told to stop.
struct Job<'a> {
    /// The name of the driver, for the error of one that cannot do the job.
    name: &'a DriverName,
    work: Work,
}

/// The driver of a job, and the job's arguments.
enum Work {
    Transfer(Arc<dyn Transfer>, TransferJob),
    SaveBack(Arc<dyn Transfer>, SaveBackJob),
    Migrate { driver: Arc<dyn Hypervisor>, domain: Box<DomainSpec>, to: Arc<Site>, move_disks: Vec<DiskName> },
    CopyDisk { driver: Arc<dyn Hypervisor>, disk: DiskName, target: FileRef, format: DiskFormat },
}

impl Job<'_> {
    async fn begin(&self, site: &Site, control: &CallControl) -> Result<JobStatus, DriverError> {
        match &self.work {
            Work::Transfer(driver, job) => driver.begin(site, control, job).await,
            Work::SaveBack(driver, job) => require(driver.images(), self.name)?.begin_save_back(site, control, job).await,
            Work::Migrate { driver, domain, to, move_disks } => {
                require(driver.migrate(), self.name)?.begin(site, control, domain, to, move_disks).await
            }
            Work::CopyDisk { driver, disk, target, format } => {
                require(driver.disk_copy(), self.name)?.begin(site, control, disk, target, *format).await
            }
        }
    }

    async fn poll(&self, site: &Site, control: &CallControl) -> Result<JobStatus, DriverError> {
        match &self.work {
            Work::Transfer(driver, _) | Work::SaveBack(driver, _) => driver.poll(site, control).await,
            Work::Migrate { driver, .. } => require(driver.migrate(), self.name)?.poll(site, control).await,
            Work::CopyDisk { driver, .. } => require(driver.disk_copy(), self.name)?.poll(site, control).await,
        }
    }

    async fn abort(&self, site: &Site, control: &CallControl) -> Result<(), DriverError> {
        match &self.work {
            Work::Transfer(driver, _) | Work::SaveBack(driver, _) => driver.abort(site, control).await,
            Work::Migrate { driver, .. } => require(driver.migrate(), self.name)?.abort(site, control).await,
            Work::CopyDisk { driver, .. } => require(driver.disk_copy(), self.name)?.abort(site, control).await,
        }
    }
}

/// Begins the job and asks for its progress until it is done. If this future is dropped, the job is begun again when the effect
/// is sent again.
async fn run_job(job: &Job<'_>, site: &Site, control: &CallControl) -> CallResult {
    let begun = clock::instant();
    let mut status = job.begin(site, control).await?;
    loop {
        match status {
            JobStatus::Done(outcome) => return Ok(outcome),
            JobStatus::Pending(progress) => {
                control.progress.send_replace(Some(progress));
                let wait = (clock::instant().duration_since(begun) / POLL_SHARE).clamp(POLL_FIRST, POLL_MOST);
                tokio::select! {
                    biased;
                    () = tokio::time::sleep(wait) => {}
                    () = control.cancel.cancelled() => {
                        // If the abort failed, whatever the reason, the job may go on.
                        job.abort(site, control).await.map_err(|error| DriverError::unknown("not-aborted", error.told()))?;
                        return Err(DriverError::new(ErrorKind::Cancelled, "aborted", "the job was told to stop, and did"));
                    }
                }
                status = job.poll(site, control).await.map_err(|error| match error.kind {
                    // The driver does not know the job any more, so it must be begun again.
                    ErrorKind::Gone => DriverError::retry("job-lost", error.detail),
                    _ => error,
                })?;
            }
        }
    }
}

/// The host and the path of the console log. None if the VM has no placement.
pub(crate) fn console_log(shared: &Shared, record: &VmRecord) -> Option<(HostId, String)> {
    let place = record.placement.as_ref()?;
    let directory = shared.directory();
    let store = directory.datastores.get(&record.storage.as_ref()?.datastore)?;
    let file = directory.file(place.host, store, &format!("{ON_HOST}/{}/{CONSOLE_LOG}", record.folder()))?;
    Some((place.host, file.absolute))
}

fn no_host(host: HostId) -> DriverError {
    DriverError::retry("no-host", format!("host {host} is not known; add it again"))
}

fn missing(what: &str) -> DriverError {
    DriverError::refused("missing", format!("{what} is not there; register it again, then recover --retry"))
}

/// The two places in a datastore where a VM's files can be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// On the VM's host.
    Host,
    /// At the front end.
    Home,
}

struct Arguments<'a> {
    shared: &'a Shared,
    directory: &'a Directory,
    record: &'a VmRecord,
    effect: &'a Effect,
}

impl Arguments<'_> {
    /// The host that sees the files which the call is about.
    fn host(&self) -> HostId {
        match self.effect.call {
            // These calls are sent to the front end, but they are about the files on the host of the VM's placement.
            Call::CopyOut | Call::DropHome => self.record.placement.as_ref().map_or(HostId::FRONT_END, |place| place.host),
            _ => self.effect.host,
        }
    }

    fn hypervisor(&self) -> Result<Arc<dyn Hypervisor>, DriverError> {
        let found = self.shared.drivers.hypervisor(&self.effect.driver);
        found.map_err(|error| DriverError::retry("not-loaded", error.to_string()))
    }

    fn transfer(&self) -> Result<Arc<dyn Transfer>, DriverError> {
        let found = self.shared.drivers.transfer(&self.effect.driver);
        found.map_err(|error| DriverError::retry("not-loaded", error.to_string()))
    }

    fn datastore(&self) -> Result<&Datastore, DriverError> {
        let storage = self.record.storage.as_ref().ok_or_else(|| missing("the VM's system datastore"))?;
        self.directory.datastores.get(&storage.datastore).ok_or_else(|| missing("the VM's system datastore"))
    }

    /// The VM's folder, or a file in it. Shared storage has one folder, which all hosts and the front end see.
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
        let path = name.map_or_else(|| format!("{top}/{folder}"), |name| format!("{top}/{folder}/{name}"));
        self.directory.file(host, self.datastore()?, &path).ok_or_else(|| missing("a path for the VM's files"))
    }

    fn recovery(&self) -> Result<FileRef, DriverError> {
        let file = self.record.recovery.as_ref().ok_or_else(|| missing("the recovery file"))?;
        let place = if self.record.placement.is_some() { Place::Host } else { Place::Home };
        self.file(place, Some(file.name.as_str()))
    }

    fn disk(&self) -> Result<&DiskState, DriverError> {
        match &self.effect.key.item {
            Item::Disk(name) => self.record.disks.iter().find(|disk| disk.name == *name).ok_or_else(|| missing("the disk")),
            _ => Err(missing("a disk to act on")),
        }
    }

    fn mac(&self) -> Result<&MacAddress, DriverError> {
        match &self.effect.key.item {
            Item::Nic(mac) => Ok(mac),
            _ => Err(missing("a network card to act on")),
        }
    }

    fn snapshot(&self) -> Result<&SnapshotName, DriverError> {
        match &self.effect.key.item {
            Item::Snapshot(name) => Ok(name),
            _ => Err(missing("a snapshot to act on")),
        }
    }

    fn nic(&self) -> Result<DomainNic, DriverError> {
        let mac = self.mac()?;
        nics(self.record).into_iter().find(|nic| nic.mac == *mac).ok_or_else(|| missing("the network card"))
    }

    /// A disk's file among the VM's files on `host`.
    fn disk_file(&self, disk: &DiskState, host: HostId) -> Result<FileRef, DriverError> {
        match &disk.adopted {
            Some(path) => {
                self.directory.file(host, self.datastore()?, path.as_str()).ok_or_else(|| missing("a path for the adopted disk"))
            }
            None => self.file_on(ON_HOST, host, Some(disk.file.as_str())),
        }
    }

    fn domain_disk(&self, disk: &DiskState, host: HostId) -> Result<DomainDisk, DriverError> {
        let read_only = self.record.spec.disks.iter().any(|wanted| wanted.name == disk.name && wanted.read_only);
        let file = self.disk_file(disk, host)?;
        Ok(DomainDisk { name: disk.name.clone(), file, format: disk.format, read_only, below: self.below(disk, host)? })
    }

    /// The files below a disk. None if they are not known. A raw disk has nothing below it. A disk that Ostler made has nothing
    /// below it, or only its image, if that image was found to stand alone.
    fn below(&self, disk: &DiskState, host: HostId) -> Result<Option<Vec<Layer>>, DriverError> {
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
    fn base(&self, disk: &DiskState, host: HostId) -> Result<Option<(FileRef, DiskFormat)>, DriverError> {
        disk.image.map(|id| self.image(id, host)).transpose()
    }

    fn image(&self, id: ImageId, host: HostId) -> Result<(FileRef, DiskFormat), DriverError> {
        let image = self.image_row(id)?;
        let store = self.directory.datastores.get(&image.datastore).ok_or_else(|| missing("the image's datastore"))?;
        let file = self.directory.file(host, store, image.path.as_str()).ok_or_else(|| missing("the image's path"))?;
        Ok((file, image.format))
    }

    fn image_row(&self, id: ImageId) -> Result<Image, DriverError> {
        let reader = self.shared.store.read().map_err(|error| DriverError::retry("store", error.to_string()))?;
        let image = reader.image(id).map_err(|error| DriverError::retry("store", error.to_string()))?;
        image.ok_or_else(|| missing("the image"))
    }

    /// The image that is made from a disk, as `host` sees its file.
    fn new_image(&self, disk: &DiskState, host: HostId) -> Result<(FileRef, DiskFormat), DriverError> {
        let of_subject = match self.record.operation.as_ref().map(|active| &active.subject) {
            Some(Subject::DiskImage { name, becomes }) if *name == disk.name => Some(becomes),
            _ => disk.save_as.as_ref(),
        };
        self.image(of_subject.ok_or_else(|| missing("the image to be"))?.image, host)
    }

    fn job(&self) -> Result<Job<'_>, DriverError> {
        Ok(Job { name: &self.effect.driver, work: self.work()? })
    }

    fn work(&self) -> Result<Work, DriverError> {
        let transfer = match self.effect.call {
            Call::Prepare => self.prepare()?,
            Call::CopyIn => self.copy(self.home_to(self.effect.host))?,
            Call::CopyOut => self.copy(((ON_HOST, self.host()), self.home()))?,
            Call::CopyAcross => self.copy(((ON_HOST, self.placed()?), (ON_HOST, self.effect.host)))?,
            Call::DropHome => TransferJob::Delete { target: self.file(Place::Home, None)? },
            Call::DropHost => TransferJob::Delete { target: self.file(Place::Host, None)? },
            Call::DropDisk => TransferJob::Delete { target: self.disk_file(self.disk()?, self.effect.host)? },
            Call::DropRecovery => TransferJob::Delete { target: self.recovery()? },
            Call::SaveBack => return Ok(Work::SaveBack(self.transfer()?, self.save_back()?)),
            Call::Migrate => return self.migrate(),
            Call::CopyDisk => {
                let disk = self.disk()?;
                let (target, format) = self.new_image(disk, self.effect.host)?;
                return Ok(Work::CopyDisk { driver: self.hypervisor()?, disk: disk.name.clone(), target, format });
            }
            _ => return Err(DriverError::refused("wrong-lane", "a call was sent as a job")),
        };
        Ok(Work::Transfer(self.transfer()?, transfer))
    }

    fn placed(&self) -> Result<HostId, DriverError> {
        self.record.placement.as_ref().map(|place| place.host).ok_or_else(|| missing("the VM's place"))
    }

    fn home(&self) -> (&'static str, HostId) {
        (if self.record.storage_is_shared() { ON_HOST } else { AT_HOME }, HostId::FRONT_END)
    }

    fn home_to(&self, host: HostId) -> FromTo {
        (self.home(), (ON_HOST, host))
    }

    fn migrate(&self) -> Result<Work, DriverError> {
        let other = self.record.other.as_ref().ok_or_else(|| missing("the host that it goes to"))?;
        let to = self.directory.site(other.host).ok_or_else(|| no_host(other.host))?;
        let domain = Box::new(self.domain(other.host, other.generation)?);
        // Read-only disks are not moved: the destination has the same content already, and a hypervisor would not send them.
        let written = domain.disks.iter().filter(|disk| !disk.read_only).map(|disk| disk.name.clone());
        let move_disks = if self.record.storage_is_shared() { Vec::new() } else { written.collect() };
        Ok(Work::Migrate { driver: self.hypervisor()?, domain, to, move_disks })
    }

    fn save_back(&self) -> Result<SaveBackJob, DriverError> {
        let disk = self.disk()?;
        // An adopted disk is never in the VM's folder, so its own path counts even if the VM has no placement.
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
        let wanted = self.record.spec.disks.iter().find(|spec| spec.name == disk.name).ok_or_else(|| missing("the disk"))?;
        let source = match (&wanted.source, self.base(disk, self.host())?) {
            (ostler_model::DiskSource::Image { .. }, Some((base, format))) => DiskSource::Image { base, format },
            (ostler_model::DiskSource::Image { .. }, None) => return Err(missing("the image")),
            (ostler_model::DiskSource::Blank { size_mib }, _) => DiskSource::Blank { size_mib: *size_mib },
            (ostler_model::DiskSource::Swap { size_mib }, _) => DiskSource::Swap { size_mib: *size_mib },
            (ostler_model::DiskSource::File { path }, _) => {
                return Err(DriverError::refused("adopted", format!("{path} was adopted: it is not made anew")));
            }
        };
        Ok(TransferJob::Prepare { target, format: disk.format, source })
    }

    fn copy(&self, ((from_top, from), (to_top, to)): FromTo) -> Result<TransferJob, DriverError> {
        let pair = |name: &str| -> Result<(FileRef, FileRef), DriverError> {
            Ok((self.file_on(from_top, from, Some(name))?, self.file_on(to_top, to, Some(name))?))
        };
        if self.effect.key.item == Item::Recovery {
            let name = self.record.recovery.as_ref().ok_or_else(|| missing("the recovery file"))?.name.as_str();
            let (from, to) = pair(name)?;
            return Ok(TransferJob::Copy { from, to, format: None, base: None });
        }
        let disk = self.disk()?;
        let (from, to) = pair(disk.file.as_str())?;
        let base = self.base(disk, to.host)?.map(|(file, _)| file);
        Ok(TransferJob::Copy { from, to, format: Some(disk.format), base })
    }

    fn identity(&self, generation: Generation) -> Identity {
        Identity { store: self.shared.store.id(), vm: self.record.uuid, generation }
    }

    /// The domain as it must be on `host`.
    fn domain(&self, host: HostId, generation: Generation) -> Result<DomainSpec, DriverError> {
        let record = self.record;
        let spec = &record.spec;
        let named = |file: &Option<ostler_model::FilePath>, what: &str| match file {
            Some(file) => self.directory.named(host, file).map(Some).ok_or_else(|| missing(&format!("{what} {file}"))),
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

/// The NICs. Each has the address in the specification, or one that is made from the VM's UUID and the NIC's index.
fn nics(record: &VmRecord) -> Vec<DomainNic> {
    let nics = record.spec.nics.iter().enumerate();
    nics.map(|(at, nic)| DomainNic { mac: record.mac_of(at), bridge: nic.bridge.clone() }).collect()
}
