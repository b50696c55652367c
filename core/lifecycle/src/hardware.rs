//! Disks, network cards, size and images. This module writes a change into the record
//! before its first step begins. [`crate::subject`] takes the change back if the operation does not
//! succeed.

use crate::creation::more_than;
use crate::draft::Draft;
use crate::facts::Interfaces;
use crate::placement::missing_bridge;
use crate::refusals::bad;
use crate::snapshots;
use ostler_model::{
    Args, Ask, Cause, DiskFormat, DiskName, DiskSource, DiskSpec, DiskState, Hint, ImageChange,
    ImageId, MacAddress, NewImage, NicSpec, OperationId, Part, Refusal, RefusalKind, RelPath,
    Request, Size, State, Subject, Verb, VmRecord, VmSpec,
};

/// Checks the request and writes the change into the record. Returns the subject of the operation.
pub(crate) fn prepare(draft: &mut Draft<'_>, asked: &Request) -> Result<Subject, Refusal> {
    match (asked.verb, &asked.args) {
        (Verb::DiskAttach, Args::NewDisk { name, source, format, read_only }) => {
            attach_disk(draft, asked, name.clone(), source, *format, *read_only)
        }
        (Verb::DiskDetach, Args::Disk { name }) => detach_disk(draft, asked, name),
        (Verb::NicAttach, Args::NewNic(nic)) => attach_nic(draft, asked, nic),
        (Verb::NicDetach, Args::Nic { mac }) => detach_nic(draft, asked, mac),
        (Verb::Resize, Args::Size { .. }) => {
            let before = resize(draft, asked)?;
            Ok(Subject::Size { before })
        }
        (Verb::DiskSnapshotLive, Args::NewImage { disk, .. }) => {
            let becomes = new_image(draft, asked, disk)?;
            Ok(Subject::DiskImage { name: disk.clone(), becomes })
        }
        (Verb::SnapshotCreate, Args::NewSnapshot { label }) => {
            snapshots::create(draft, asked, label)
        }
        (Verb::SnapshotCreate, Args::None) => snapshots::create(draft, asked, ""),
        (Verb::SnapshotRevert | Verb::SnapshotDelete, Args::Snapshot { name }) => {
            snapshots::find(draft, asked, name)
        }
        (_, _) => Err(bad(draft, asked, Cause::NoArguments, Hint::SeeArguments)),
    }
}

/// Refuses a change after which the specification would be wrong.
fn check(draft: &Draft<'_>, asked: &Request, spec: &VmSpec, part: Part) -> Result<(), Refusal> {
    spec.check()
        .map_err(|error| bad(draft, asked, Cause::Invalid { part, error }, Hint::ChangeRequest))
}

fn attach_disk(
    draft: &mut Draft<'_>,
    asked: &Request,
    name: Option<DiskName>,
    source: &DiskSource,
    format: DiskFormat,
    read_only: bool,
) -> Result<Subject, Refusal> {
    let Some(name) = name.or_else(|| free_name(draft)) else {
        return Err(bad(draft, asked, Cause::NoDiskName, Hint::DetachDisk));
    };
    let image = image_below(draft, asked, &name, source)?;
    let Some(file) = disk_file(&name, asked.operation, format) else {
        return Err(bad(draft, asked, Cause::NoFileName { disk: name }, Hint::OtherName));
    };
    let mut spec = draft.record.spec.clone();
    spec.disks.push(DiskSpec { name: name.clone(), source: source.clone(), format, read_only });
    check(draft, asked, &spec, Part::Disk)?;
    draft.record.spec = spec;
    draft.record.disks.push(DiskState {
        name: name.clone(),
        file,
        format,
        image,
        save_as: None,
        adopted: None,
    });
    draft.asks.extend(image.map(Ask::image));
    Ok(Subject::Disk { name })
}

/// The image that the disk is made from, if it is made from one.
fn image_below(
    draft: &Draft<'_>,
    asked: &Request,
    disk: &DiskName,
    source: &DiskSource,
) -> Result<Option<ImageId>, Refusal> {
    let (image, size_mib) = match source {
        DiskSource::Image { image, size_mib } => (image, *size_mib),
        DiskSource::Blank { .. } | DiskSource::Swap { .. } => return Ok(None),
        DiskSource::File { .. } => {
            return Err(bad(draft, asked, Cause::FileOfOthers, Hint::RegisterImage));
        }
    };
    let Some(found) = &draft.facts.image else {
        let cause = Cause::NoImage { image: image.clone() };
        return Err(draft.refuse(
            asked.verb,
            RefusalKind::ImageNotReady,
            cause,
            Hint::RegisterImage,
        ));
    };
    if let Some(least_mib) = more_than(size_mib, found) {
        let (disk, image) = (disk.clone(), image.clone());
        let cause = Cause::SmallerThanImage { disk, image, least_mib };
        return Err(bad(draft, asked, cause, Hint::ChangeRequest));
    }
    Ok(Some(found.id))
}

/// The file of a disk that is attached. Its name holds the operation's id, so it is never a file
/// that was there before.
fn disk_file(name: &DiskName, operation: OperationId, format: DiskFormat) -> Option<RelPath> {
    format!("{name}-{operation}.{format}").parse().ok()
}

/// The first of `vda` to `vdz` that no disk has.
fn free_name(draft: &Draft<'_>) -> Option<DiskName> {
    let taken = |name: &DiskName| draft.record.spec.disks.iter().any(|disk| disk.name == *name);
    ('a'..='z').filter_map(|letter| format!("vd{letter}").parse().ok()).find(|name| !taken(name))
}

fn detach_disk(draft: &Draft<'_>, asked: &Request, name: &DiskName) -> Result<Subject, Refusal> {
    match draft.record.disks.iter().find(|disk| disk.name == *name) {
        None => Err(bad(draft, asked, Cause::NoDisk { disk: name.clone() }, Hint::ShowVm)),
        Some(disk) if disk.save_as.is_some() => {
            let cause = Cause::DiskToSave { disk: name.clone(), again: false };
            Err(bad(draft, asked, cause, Hint::CancelDiskSnapshot))
        }
        Some(_) => Ok(Subject::Disk { name: name.clone() }),
    }
}

/// How many addresses are tried: more than the network cards that a VM can have.
const SALTS_MAX: u64 = 256;

fn attach_nic(draft: &mut Draft<'_>, asked: &Request, nic: &NicSpec) -> Result<Subject, Refusal> {
    fix_macs(&mut draft.record);
    let taken =
        |mac: &MacAddress| draft.record.spec.nics.iter().any(|nic| nic.mac.as_ref() == Some(mac));
    // The salts depend on the operation. If the address turns out to be another VM's, the next
    // request is another operation and gets another address.
    let salts =
        (1..=SALTS_MAX).map(|at| asked.operation.0.wrapping_mul(SALTS_MAX).wrapping_add(at));
    let made =
        || salts.map(|salt| MacAddress::chosen(draft.record.uuid, salt)).find(|mac| !taken(mac));
    let Some(mac) = nic.mac.clone().or_else(made) else {
        return Err(bad(draft, asked, Cause::NoAddress, Hint::GiveAddress));
    };
    let mut spec = draft.record.spec.clone();
    spec.nics.push(NicSpec { bridge: nic.bridge.clone(), mac: Some(mac.clone()) });
    check(draft, asked, &spec, Part::Nic)?;
    if let Some(Interfaces { host, names }) = &draft.facts.interfaces
        && let Some(bridge) = missing_bridge(std::slice::from_ref(nic), Some(names))
    {
        let cause = Cause::NoBridge { host: host.clone(), bridge: bridge.to_owned() };
        return Err(bad(draft, asked, cause, Hint::MakeBridge));
    }
    draft.record.spec = spec;
    Ok(Subject::Nic { mac })
}

/// Fixes the address of every network card. An address that is derived from the card's position
/// would change when another card is removed.
fn fix_macs(record: &mut VmRecord) {
    let macs: Vec<_> = (0..record.spec.nics.len()).map(|at| record.mac_of(at)).collect();
    for (nic, mac) in record.spec.nics.iter_mut().zip(macs) {
        nic.mac = Some(mac);
    }
}

fn detach_nic(
    draft: &mut Draft<'_>,
    asked: &Request,
    mac: &MacAddress,
) -> Result<Subject, Refusal> {
    fix_macs(&mut draft.record);
    if draft.record.spec.nics.iter().any(|nic| nic.mac.as_ref() == Some(mac)) {
        return Ok(Subject::Nic { mac: mac.clone() });
    }
    Err(bad(draft, asked, Cause::NoNic { mac: mac.clone() }, Hint::ShowVm))
}

/// A running guest keeps at least this part (one in two) of its memory, unless the resize is
/// forced. A person who asks for less has most often left out a unit.
const LEAST_SHARE: u64 = 2;

/// Changes the size in the record. Returns the size from before.
pub(crate) fn resize(draft: &mut Draft<'_>, asked: &Request) -> Result<Size, Refusal> {
    let Args::Size { cpu_milli, vcpus, memory_mib } = asked.args else {
        return Err(bad(draft, asked, Cause::NoSize, Hint::GiveSize));
    };
    let before = draft.record.spec.size();
    let wanted = Size {
        cpu_milli: cpu_milli.unwrap_or(before.cpu_milli),
        vcpus: vcpus.unwrap_or(before.vcpus),
        memory_mib: memory_mib.unwrap_or(before.memory_mib),
    };
    let spec = &draft.record.spec;
    if draft.record.state == State::Running
        && (wanted.vcpus > spec.vcpus_most() || wanted.memory_mib > spec.memory_most_mib())
    {
        let cause =
            Cause::TooLarge { vcpus: spec.vcpus_most(), memory_mib: spec.memory_most_mib() };
        return Err(bad(draft, asked, cause, Hint::ResizeOff));
    }
    if draft.record.state == State::Running
        && !asked.force
        && wanted.memory_mib.saturating_mul(LEAST_SHARE) < before.memory_mib
    {
        let cause = Cause::LosesMemory { from_mib: before.memory_mib, to_mib: wanted.memory_mib };
        return Err(bad(draft, asked, cause, Hint::ForceResize));
    }
    let mut spec = spec.clone();
    spec.set_size(wanted);
    check(draft, asked, &spec, Part::Size)?;
    draft.record.spec = spec;
    if let Some(place) = &draft.record.placement {
        draft.asks.push(Ask::room(place.host, asked.enforce));
    }
    Ok(before)
}

/// Adds the row of the image that a disk is to become. The image is locked.
pub(crate) fn new_image(
    draft: &mut Draft<'_>,
    asked: &Request,
    disk: &DiskName,
) -> Result<NewImage, Refusal> {
    let Some(known) = draft.record.disks.iter().find(|known| known.name == *disk) else {
        return Err(bad(draft, asked, Cause::NoDisk { disk: disk.clone() }, Hint::ShowVm));
    };
    if known.save_as.is_some() {
        let cause = Cause::DiskToSave { disk: disk.clone(), again: true };
        return Err(bad(draft, asked, cause, Hint::CancelDiskSnapshot));
    }
    let Some((image, driver)) = draft.facts.new_image.clone() else {
        return Err(bad(draft, asked, Cause::NoImageDatastore, Hint::NameDatastore));
    };
    let becomes = NewImage { image: image.id, driver };
    draft.images.push(ImageChange::Add(image));
    Ok(becomes)
}
