//! Makes a driver call out of an effect: the arguments come from the record as it was committed with the effect.

use crate::directory::Directory;
use crate::shared::Shared;
use ostler_driver::{CallControl, DiskSource, DomainDisk, DomainNic, DomainSpec, FileRef, JobStatus, Site, Transfer, TransferJob};
use ostler_model::{
    Call, CallResult, Datastore, DiskState, DriverError, Effect, ErrorKind, Generation, HostId, Identity, Item, Lane, Observation,
    Outcome, VmRecord,
};
use std::sync::Arc;
use std::time::Duration;

/// A long job is asked how far it is after this long at first, and then less and less often.
const POLL_FIRST: Duration = Duration::from_millis(50);
/// And at least this often.
const POLL_MOST: Duration = Duration::from_secs(2);

/// The serial console's log within a VM's folder.
const CONSOLE_LOG: &str = "console.log";

/// Runs a driver's future; its panic is an answer. Drivers are code of others, and an answer that is lost would be waited for for ever.
pub(crate) async fn caught<T>(call: impl Future<Output = Result<T, DriverError>>) -> Result<T, DriverError> {
    use futures::FutureExt as _;
    // What a driver leaves half done behind it is the driver's own; nothing of ours is borrowed mutably.
    std::panic::AssertUnwindSafe(call).catch_unwind().await.unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let detail = format!("the driver panicked: {}", words.unwrap_or("without a word"));
        tracing::error!(detail, "a driver panicked");
        // The code by which the lifecycle knows crashes and gives up after some.
        Err(DriverError::unknown("driver-trap", detail))
    })
}

/// Looks at a placed VM.
pub(crate) async fn observe(shared: &Shared, record: &VmRecord) -> Result<Observation, DriverError> {
    let Some(place) = &record.placement else { return Ok(Observation::Absent) };
    let driver = shared.drivers.hypervisor(&place.driver).map_err(|error| DriverError::retry("not-loaded", error.to_string()))?;
    let site = shared.directory().site(place.host).ok_or_else(|| no_host(place.host))?;
    caught(driver.observe(&site, record.uuid)).await
}

/// Calls the driver.
pub(crate) async fn call(shared: &Arc<Shared>, effect: &Effect, record: &VmRecord, control: &CallControl) -> CallResult {
    let directory = shared.directory();
    let site = directory.site(effect.host).ok_or_else(|| no_host(effect.host))?;
    let args = Arguments { shared, directory: &directory, record, effect };
    match effect.call.lane() {
        Lane::Hypervisor => hypervisor(&args, &site, control).await,
        Lane::Transfer => {
            let driver =
                shared.drivers.transfer(&effect.driver).map_err(|error| DriverError::retry("not-loaded", error.to_string()))?;
            let job = args.job()?;
            transfer(driver.as_ref(), &site, control, &job).await
        }
    }
}

async fn hypervisor(args: &Arguments<'_>, site: &Site, control: &CallControl) -> CallResult {
    let name = &args.effect.driver;
    let driver = args.shared.drivers.hypervisor(name).map_err(|error| DriverError::retry("not-loaded", error.to_string()))?;
    match args.effect.call {
        Call::Deploy => driver.deploy(site, control, &args.domain()?).await,
        Call::Restore => driver.restore(site, control, &args.domain()?, &args.recovery()?).await,
        Call::Unpause => driver.unpause(site, control).await,
        Call::PressPower => driver.press_power(site, control).await,
        Call::Destroy => driver.destroy(site, control).await,
        Call::Save => driver.save(site, control, &args.recovery()?).await,
        Call::Remove => driver.remove(site, control).await,
        Call::Reboot => driver.reboot(site, control).await,
        Call::Reset => driver.reset(site, control).await,
        Call::Observe => {
            let seen = driver.observe(site, args.record.uuid).await?;
            Ok(Outcome { seen: Some(seen), state: None })
        }
        Call::Prepare | Call::CopyIn | Call::DropHome | Call::DropRecovery | Call::CopyOut | Call::DropHost => {
            Err(DriverError::refused("wrong-lane", "a transfer call was sent to a hypervisor driver"))
        }
    }
}

/// Begins the job and asks until it is done. A job that is dropped with this future is begun again by whoever resends it.
async fn transfer(driver: &dyn Transfer, site: &Site, control: &CallControl, job: &TransferJob) -> CallResult {
    let mut status = driver.begin(site, control, job).await?;
    let mut wait = POLL_FIRST;
    loop {
        match status {
            JobStatus::Done(outcome) => return Ok(outcome),
            JobStatus::Pending(progress) => {
                control.progress.send_replace(Some(progress));
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = control.cancel.cancelled() => {
                        driver.abort(site, control).await?;
                        return Err(DriverError::new(ErrorKind::Cancelled, "aborted", "the job was told to stop, and did"));
                    }
                }
                wait = (wait * 2).min(POLL_MOST);
                status = driver.poll(site, control).await.map_err(|error| match error.kind {
                    // The job is not known any more: it is begun again.
                    ErrorKind::Gone => DriverError::retry("job-lost", error.detail),
                    ErrorKind::Retry
                    | ErrorKind::Refused
                    | ErrorKind::NotHere
                    | ErrorKind::Stale
                    | ErrorKind::Cancelled
                    | ErrorKind::Unknown => error,
                })?;
            }
        }
    }
}

/// Where a placed VM's serial console is logged.
pub(crate) fn console_log(shared: &Shared, record: &VmRecord) -> Option<(HostId, String)> {
    let place = record.placement.as_ref()?;
    let directory = shared.directory();
    let store = directory.datastores.get(&record.storage.as_ref()?.datastore)?;
    let file = directory.file(place.host, store, &format!("vms/{}/{CONSOLE_LOG}", record.folder()))?;
    Some((place.host, file.absolute))
}

fn no_host(host: HostId) -> DriverError {
    DriverError::retry("no-host", format!("host {host} is not known; add it again"))
}

fn missing(what: &str) -> DriverError {
    DriverError::refused("missing", format!("{what} is not there; register it again, then recover --retry"))
}

/// Where in a datastore a VM's files are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// With the VM's host.
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
    fn host(&self) -> HostId {
        self.record.placement.as_ref().map_or(HostId::FRONT_END, |place| place.host)
    }

    fn datastore(&self) -> Result<&Datastore, DriverError> {
        let storage = self.record.storage.as_ref().ok_or_else(|| missing("the VM's system datastore"))?;
        self.directory.datastores.get(&storage.datastore).ok_or_else(|| missing("the VM's system datastore"))
    }

    /// The VM's folder, or a file in it. On shared storage there is one folder, seen from everywhere.
    fn file(&self, place: Place, name: Option<&str>) -> Result<FileRef, DriverError> {
        let shared = self.record.storage.as_ref().is_some_and(|storage| storage.shared);
        let (top, host) = match place {
            Place::Host => ("vms", self.host()),
            Place::Home if shared => ("vms", HostId::FRONT_END),
            Place::Home => ("home", HostId::FRONT_END),
        };
        let folder = self.record.folder();
        let path = name.map_or_else(|| format!("{top}/{folder}"), |name| format!("{top}/{folder}/{name}"));
        self.directory.file(host, self.datastore()?, &path).ok_or_else(|| missing("a path for the VM's files"))
    }

    fn recovery(&self) -> Result<FileRef, DriverError> {
        let file = self.record.recovery.as_ref().ok_or_else(|| missing("the recovery file"))?;
        self.file(Place::Host, Some(file.name.as_str()))
    }

    fn disk(&self) -> Result<&DiskState, DriverError> {
        match &self.effect.key.item {
            Item::Disk(name) => self.record.disks.iter().find(|disk| disk.name == *name).ok_or_else(|| missing("the disk")),
            Item::Domain | Item::Recovery | Item::Files | Item::Look => Err(missing("a disk to act on")),
        }
    }

    /// The image below a disk, as a host sees it.
    fn base(&self, disk: &DiskState, host: HostId) -> Result<Option<(FileRef, ostler_model::DiskFormat)>, DriverError> {
        let Some(id) = disk.image else { return Ok(None) };
        let reader = self.shared.store.read().map_err(|error| DriverError::retry("store", error.to_string()))?;
        let image = reader
            .image(id)
            .map_err(|error| DriverError::retry("store", error.to_string()))?
            .ok_or_else(|| missing("the image"))?;
        let store = self.directory.datastores.get(&image.datastore).ok_or_else(|| missing("the image's datastore"))?;
        let file = self.directory.file(host, store, image.path.as_str()).ok_or_else(|| missing("the image's path"))?;
        Ok(Some((file, image.format)))
    }

    fn job(&self) -> Result<TransferJob, DriverError> {
        match self.effect.call {
            Call::Prepare => self.prepare(),
            Call::CopyIn => self.copy(Place::Home, Place::Host),
            Call::CopyOut => self.copy(Place::Host, Place::Home),
            Call::DropHome => Ok(TransferJob::Delete { target: self.file(Place::Home, None)? }),
            Call::DropHost => Ok(TransferJob::Delete { target: self.file(Place::Host, None)? }),
            Call::DropRecovery => Ok(TransferJob::Delete { target: self.recovery()? }),
            Call::Deploy
            | Call::Restore
            | Call::Unpause
            | Call::PressPower
            | Call::Destroy
            | Call::Save
            | Call::Remove
            | Call::Reboot
            | Call::Reset
            | Call::Observe => Err(DriverError::refused("wrong-lane", "a hypervisor call was sent to a transfer driver")),
        }
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
        };
        Ok(TransferJob::Prepare { target, format: disk.format, source })
    }

    fn copy(&self, from: Place, to: Place) -> Result<TransferJob, DriverError> {
        if self.effect.key.item == Item::Recovery {
            let name = self.record.recovery.as_ref().ok_or_else(|| missing("the recovery file"))?.name.as_str();
            return Ok(TransferJob::Copy {
                from: self.file(from, Some(name))?,
                to: self.file(to, Some(name))?,
                format: None,
                base: None,
            });
        }
        let disk = self.disk()?;
        let (from, to) = (self.file(from, Some(disk.file.as_str()))?, self.file(to, Some(disk.file.as_str()))?);
        let base = self.base(disk, to.host)?.map(|(file, _)| file);
        Ok(TransferJob::Copy { from, to, format: Some(disk.format), base })
    }

    fn domain(&self) -> Result<DomainSpec, DriverError> {
        let (record, host) = (self.record, self.host());
        let spec = &record.spec;
        let named = |file: &Option<ostler_model::FilePath>, what: &str| match file {
            Some(file) => self.directory.named(host, file).map(Some).ok_or_else(|| missing(&format!("{what} {file}"))),
            None => Ok(None),
        };
        let disks = record.disks.iter().map(|disk| {
            let read_only = spec.disks.iter().any(|wanted| wanted.name == disk.name && wanted.read_only);
            let file = self.file(Place::Host, Some(disk.file.as_str()))?;
            Ok(DomainDisk { name: disk.name.clone(), file, format: disk.format, read_only })
        });
        let generation = record.placement.as_ref().map_or(Generation(0), |place| place.generation);
        Ok(DomainSpec {
            identity: Identity { store: self.shared.store.id(), vm: record.uuid, generation },
            name: record.domain_name(),
            title: spec.name.to_string(),
            vcpus: spec.vcpus,
            cpu_milli: spec.cpu_milli,
            memory_mib: spec.memory_mib,
            firmware: spec.boot.firmware,
            kernel: named(&spec.boot.kernel, "kernel")?,
            initrd: named(&spec.boot.initrd, "initrd")?,
            cmdline: spec.boot.cmdline.clone(),
            disks: disks.collect::<Result<_, DriverError>>()?,
            nics: nics(record),
            graphics: spec.graphics,
            console_log: self.file(Place::Host, Some(CONSOLE_LOG))?,
        })
    }
}

/// The NICs, each with the address it was given or one made from the VM's UUID and its place, which is the same for ever.
fn nics(record: &VmRecord) -> Vec<DomainNic> {
    let uuid = record.uuid.0.as_bytes();
    let nic = |(at, nic): (usize, &ostler_model::NicSpec)| {
        let made = || {
            // 52:54:00 is the prefix that QEMU and libvirt use for addresses made up locally.
            let last = uuid[15].wrapping_add(u8::try_from(at).unwrap_or(u8::MAX));
            format!("52:54:00:{:02x}:{:02x}:{last:02x}", uuid[13], uuid[14])
        };
        DomainNic { mac: nic.mac.clone().unwrap_or_else(made), bridge: nic.bridge.clone() }
    };
    record.spec.nics.iter().enumerate().map(nic).collect()
}
