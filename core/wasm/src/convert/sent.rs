//! Our types as the contract's: what is sent to a component.

use crate::bindings::exports::ostler::driver as exported;
use crate::bindings::ostler::driver::types as wit;
use crate::grants::SiteDirectory;
use ostler_driver::{
    DiskSource, DomainDisk, DomainNic, DomainSpec, FileRef, RulesQuestion, SaveBackJob, Site,
    TransferJob,
};
use ostler_model::{Ability, DiskName, DriverError, HostName, Identity};

pub(crate) fn question(asked: &RulesQuestion) -> exported::snapshot_rules::Question {
    let disk =
        |(name, format, read_only): &(String, String, bool)| exported::snapshot_rules::Disk {
            name: name.clone(),
            format: format.clone(),
            read_only: *read_only,
        };
    exported::snapshot_rules::Question {
        verb: asked.verb.clone(),
        state: asked.state.to_string(),
        disks: asked.disks.iter().map(disk).collect(),
        snapshots: asked.snapshots.clone(),
        subject: asked.subject.clone(),
        abilities: asked.abilities.iter().map(Ability::to_string).collect(),
        now_ms: asked.now_ms,
        extra: Vec::new(),
    }
}

pub(crate) fn file(file: &FileRef) -> wit::FileRef {
    wit::FileRef {
        datastore: file.datastore.to_string(),
        path: file.path.to_string(),
        absolute: file.absolute.clone(),
    }
}

pub(crate) fn disk(disk: &DomainDisk) -> wit::DomainDisk {
    wit::DomainDisk {
        name: disk.name.to_string(),
        file: file(&disk.file),
        format: disk.format.to_string(),
        read_only: disk.read_only,
        extra: Vec::new(),
    }
}

pub(crate) fn nic(nic: &DomainNic) -> wit::DomainNic {
    wit::DomainNic { mac: nic.mac.to_string(), bridge: nic.bridge.clone(), extra: Vec::new() }
}

pub(crate) fn identity(identity: &Identity) -> wit::Identity {
    wit::Identity {
        store: identity.store.to_string(),
        vm: identity.vm.to_string(),
        generation: identity.generation.0,
    }
}

pub(crate) fn domain(domain: &DomainSpec) -> wit::DomainSpec {
    wit::DomainSpec {
        identity: identity(&domain.identity),
        name: domain.name.clone(),
        title: domain.title.clone(),
        vcpus: domain.vcpus,
        cpu_milli: domain.cpu_milli,
        memory_mib: domain.memory_mib,
        firmware: domain.firmware.to_string(),
        kernel: domain.kernel.as_ref().map(file),
        initrd: domain.initrd.as_ref().map(file),
        cmdline: domain.cmdline.clone(),
        disks: domain.disks.iter().map(disk).collect(),
        nics: domain.nics.iter().map(nic).collect(),
        graphics: domain.graphics.to_string(),
        console_log: file(&domain.console_log),
        extra: vec![
            ("vcpus-most".to_owned(), domain.vcpus_most.to_string()),
            ("memory-most-mib".to_owned(), domain.memory_most_mib.to_string()),
        ],
    }
}

/// # Errors
/// The job names a host that the directory does not know.
pub(crate) fn job(
    job: &TransferJob,
    site: &Site,
    sites: &dyn SiteDirectory,
) -> Result<exported::transfer::Job, DriverError> {
    use exported::transfer::{CopyJob, FromImage, Job, PrepareJob, Source};
    Ok(match job {
        TransferJob::Prepare { target, format, source } => {
            let source = match source {
                // A size comes only in the job of `larger`.
                DiskSource::Image { base, format, size_mib: _ } => {
                    Source::Image(FromImage { base: file(base), format: format.to_string() })
                }
                DiskSource::Blank { size_mib } => Source::Blank(*size_mib),
                DiskSource::Swap { size_mib } => Source::Swap(*size_mib),
            };
            Job::Prepare(PrepareJob { target: file(target), format: format.to_string(), source })
        }
        TransferJob::Copy { from, to, format, base } => {
            let known = if from.host == site.id {
                Some(site.name.clone())
            } else {
                sites.host_name(from.host)
            };
            let from_host = known.ok_or_else(|| {
                DriverError::refused("no-such-host", format!("no host has the id {}", from.host))
            })?;
            Job::Copy(CopyJob {
                from_host: from_host.to_string(),
                source: file(from),
                target: file(to),
                format: format.map(|format| format.to_string()),
                base: base.as_ref().map(file),
            })
        }
        TransferJob::Delete { target } => Job::Delete(file(target)),
    })
}

/// The job of `transfer-larger`, if the disk is to be larger than its image.
pub(crate) fn larger(job: &TransferJob) -> Option<exported::transfer_larger::LargerJob> {
    let TransferJob::Prepare {
        target,
        format,
        source: DiskSource::Image { base, format: base_format, size_mib: Some(size_mib) },
    } = job
    else {
        return None;
    };
    Some(exported::transfer_larger::LargerJob {
        target: file(target),
        format: format.to_string(),
        base: file(base),
        base_format: base_format.to_string(),
        size_mib: *size_mib,
        extra: Vec::new(),
    })
}

/// The host that a copy comes from.
pub(crate) fn comes_from(job: &exported::transfer::Job) -> Option<HostName> {
    match job {
        exported::transfer::Job::Copy(copy) => copy.from_host.parse().ok(),
        exported::transfer::Job::Prepare(_) | exported::transfer::Job::Delete(_) => None,
    }
}

pub(crate) fn save_back(job: &SaveBackJob) -> exported::transfer_images::SaveBackJob {
    exported::transfer_images::SaveBackJob {
        disk: file(&job.disk),
        disk_format: job.from_format.to_string(),
        image: file(&job.image),
        format: job.format.to_string(),
    }
}

/// Converts the destination of a migration. `settings` are the driver's settings there.
pub(crate) fn destination(
    to: &Site,
    move_disks: &[DiskName],
    settings: Vec<(String, String)>,
) -> exported::migrate::Destination {
    exported::migrate::Destination {
        host: to.name.to_string(),
        mode: "live".to_owned(),
        move_disks: move_disks.iter().map(ToString::to_string).collect(),
        extra: settings.into_iter().map(|(key, value)| (format!("config.{key}"), value)).collect(),
    }
}
