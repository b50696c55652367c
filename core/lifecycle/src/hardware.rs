//! Disks, network cards, size, images and snapshots. This module writes a change into the record before its first step begins.
//! [`crate::subject`] takes the change back if the operation does not succeed.

use crate::draft::Draft;
use crate::facts::Interfaces;
use crate::placement::missing_bridge;
use crate::refusals::{bad, wrong_state};
use ostler_model::{
    Args, Ask, DiskFormat, DiskName, DiskSource, DiskSpec, DiskState, ImageChange, MacAddress, NewImage, NicSpec, OperationId,
    Refusal, RefusalKind, RelPath, Request, Size, Snapshot, SnapshotName, State, Subject, Verb, VmRecord,
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
        (Verb::SnapshotCreate, Args::NewSnapshot { label }) => create_snapshot(draft, asked, label),
        (Verb::SnapshotCreate, Args::None) => create_snapshot(draft, asked, ""),
        (Verb::SnapshotRevert | Verb::SnapshotDelete, Args::Snapshot { name }) => match draft.record.snapshot(name) {
            Some(snapshot) => Ok(Subject::Snapshot { name: snapshot.name.clone() }),
            None => Err(no_such_snapshot(draft, asked, name)),
        },
        (verb, _) => {
            Err(bad(draft, asked, format!("was asked for {verb} without what it needs"), "see the API page for its arguments"))
        }
    }
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
        return Err(bad(draft, asked, "has no free disk name left".to_owned(), "detach a disk first"));
    };
    let image = match source {
        DiskSource::Image { image } => match &draft.facts.image {
            Some(found) => Some(found.id),
            None => {
                return Err(draft.refuse(
                    asked.verb,
                    RefusalKind::ImageNotReady,
                    format!("there is no image {image}"),
                    "register it",
                ));
            }
        },
        DiskSource::Blank { .. } | DiskSource::Swap { .. } => None,
        DiskSource::File { .. } => {
            return Err(bad(draft, asked, "cannot be given a file that is somebody else's".to_owned(), "register it as an image"));
        }
    };
    let Some(file) = disk_file(&name, asked.operation, format) else {
        return Err(bad(draft, asked, format!("cannot have a file for disk {name}"), "choose another name"));
    };
    let mut spec = draft.record.spec.clone();
    spec.disks.push(DiskSpec { name: name.clone(), source: source.clone(), format, read_only });
    spec.check().map_err(|error| bad(draft, asked, format!("cannot have that disk: {error}"), "change what is asked"))?;
    draft.record.spec = spec;
    draft.record.disks.push(DiskState { name: name.clone(), file, format, image, save_as: None, adopted: None });
    draft.asks.extend(image.map(Ask::image));
    Ok(Subject::Disk { name })
}

/// The file of a disk that is attached. Its name holds the operation's id, so it is never a file that was there before.
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
        None => Err(bad(draft, asked, format!("has no disk {name}"), "`ostler vm show` lists its disks")),
        Some(disk) if disk.save_as.is_some() => {
            let what = format!("is to save disk {name} as an image when it is shut down");
            Err(bad(draft, asked, what, "take that back first: disk-snapshot-cancel"))
        }
        Some(_) => Ok(Subject::Disk { name: name.clone() }),
    }
}

/// How many addresses are tried: more than the network cards that a VM can have.
const SALTS_MAX: u64 = 256;

fn attach_nic(draft: &mut Draft<'_>, asked: &Request, nic: &NicSpec) -> Result<Subject, Refusal> {
    fix_macs(&mut draft.record);
    let taken = |mac: &MacAddress| draft.record.spec.nics.iter().any(|nic| nic.mac.as_ref() == Some(mac));
    // The salts depend on the operation. If the address turns out to be another VM's, the next request is another operation and
    // gets another address.
    let salts = (1..=SALTS_MAX).map(|at| asked.operation.0.wrapping_mul(SALTS_MAX).wrapping_add(at));
    let made = || salts.map(|salt| MacAddress::chosen(draft.record.uuid, salt)).find(|mac| !taken(mac));
    let Some(mac) = nic.mac.clone().or_else(made) else {
        return Err(bad(draft, asked, "has no free address left".to_owned(), "give one"));
    };
    let mut spec = draft.record.spec.clone();
    spec.nics.push(NicSpec { bridge: nic.bridge.clone(), mac: Some(mac.clone()) });
    spec.check().map_err(|error| bad(draft, asked, format!("cannot have that network card: {error}"), "change what is asked"))?;
    if let Some(Interfaces { host, names }) = &draft.facts.interfaces
        && let Some(bridge) = missing_bridge(std::slice::from_ref(nic), Some(names))
    {
        let what = format!("cannot get that network card: host {host} has no bridge {bridge}");
        return Err(bad(draft, asked, what, "make the bridge on the host, or name another one"));
    }
    draft.record.spec = spec;
    Ok(Subject::Nic { mac })
}

/// Fixes the address of every network card. An address that is derived from the card's position would change when another card is
/// removed.
fn fix_macs(record: &mut VmRecord) {
    let macs: Vec<_> = (0..record.spec.nics.len()).map(|at| record.mac_of(at)).collect();
    for (nic, mac) in record.spec.nics.iter_mut().zip(macs) {
        nic.mac = Some(mac);
    }
}

fn detach_nic(draft: &mut Draft<'_>, asked: &Request, mac: &MacAddress) -> Result<Subject, Refusal> {
    fix_macs(&mut draft.record);
    if draft.record.spec.nics.iter().any(|nic| nic.mac.as_ref() == Some(mac)) {
        return Ok(Subject::Nic { mac: mac.clone() });
    }
    Err(bad(draft, asked, format!("has no network card {mac}"), "`ostler vm show` lists them"))
}

/// A running guest keeps at least this part (one in two) of its memory, unless the resize is forced. A person who asks for less
/// has most often left out a unit.
const LEAST_SHARE: u64 = 2;

/// Changes the size in the record. Returns the size from before.
pub(crate) fn resize(draft: &mut Draft<'_>, asked: &Request) -> Result<Size, Refusal> {
    let Args::Size { cpu_milli, vcpus, memory_mib } = asked.args else {
        return Err(bad(draft, asked, "was asked for no size".to_owned(), "give cpu, vcpus or memory"));
    };
    let before = draft.record.spec.size();
    let wanted = Size {
        cpu_milli: cpu_milli.unwrap_or(before.cpu_milli),
        vcpus: vcpus.unwrap_or(before.vcpus),
        memory_mib: memory_mib.unwrap_or(before.memory_mib),
    };
    let spec = &draft.record.spec;
    if draft.record.state == State::Running && (wanted.vcpus > spec.vcpus_most() || wanted.memory_mib > spec.memory_most_mib()) {
        let what = format!("can have at most {} virtual CPUs and {} MiB while it runs", spec.vcpus_most(), spec.memory_most_mib());
        return Err(bad(draft, asked, what, "poweroff, resize, resume; or create it with more headroom"));
    }
    if draft.record.state == State::Running && !asked.force && wanted.memory_mib.saturating_mul(LEAST_SHARE) < before.memory_mib {
        let what = format!(
            "would go from {} MiB to {} MiB: a running guest that loses that much kills its processes",
            before.memory_mib, wanted.memory_mib
        );
        return Err(bad(
            draft,
            asked,
            what,
            "a bare number is MiB: write 2GiB for gigabytes; --force takes the memory away all the same",
        ));
    }
    let mut spec = spec.clone();
    spec.set_size(wanted);
    spec.check().map_err(|error| bad(draft, asked, format!("cannot have that size: {error}"), "change what is asked"))?;
    draft.record.spec = spec;
    if let Some(place) = &draft.record.placement {
        draft.asks.push(Ask::room(place.host, asked.enforce));
    }
    Ok(before)
}

/// Adds the row of the image that a disk is to become. The image is locked.
pub(crate) fn new_image(draft: &mut Draft<'_>, asked: &Request, disk: &DiskName) -> Result<NewImage, Refusal> {
    let Some(known) = draft.record.disks.iter().find(|known| known.name == *disk) else {
        return Err(bad(draft, asked, format!("has no disk {disk}"), "`ostler vm show` lists its disks"));
    };
    if known.save_as.is_some() {
        let what = format!("is to save disk {disk} as an image when it is shut down already");
        return Err(bad(draft, asked, what, "take that back first: disk-snapshot-cancel"));
    }
    let Some((image, driver)) = draft.facts.new_image.clone() else {
        let what = "has no datastore to save an image to".to_owned();
        return Err(bad(draft, asked, what, "name an image datastore"));
    };
    let becomes = NewImage { image: image.id, driver };
    draft.images.push(ImageChange::Add(image));
    Ok(becomes)
}

fn create_snapshot(draft: &mut Draft<'_>, asked: &Request, label: &str) -> Result<Subject, Refusal> {
    let taken = |snapshot: &Snapshot| !label.is_empty() && !snapshot.hidden && snapshot.label == label;
    if draft.record.snapshots.iter().any(taken) {
        return Err(bad(draft, asked, format!("has a snapshot called {label:?} already"), "choose another name"));
    }
    if is_a_name(label) {
        let what = format!("cannot have a snapshot called {label:?}: that is how snapshots without a name of yours are called");
        return Err(bad(draft, asked, what, "choose another name"));
    }
    if draft.record.snapshots.len() >= SNAPSHOTS_MAX {
        let what = format!("has {SNAPSHOTS_MAX} snapshots already");
        return Err(bad(draft, asked, what, "delete some first: snapshot-delete"));
    }
    if label.len() > LABEL_MAX || label.chars().any(char::is_control) {
        let what = format!("cannot have a snapshot called that: at most {LABEL_MAX} printable bytes");
        return Err(bad(draft, asked, what, "choose another name"));
    }
    // The prefix `snap-` and a number always make a valid name.
    let Ok(name) = format!("snap-{}", asked.operation).parse::<SnapshotName>() else {
        return Err(wrong_state(draft, asked.verb));
    };
    let made = draft.now;
    draft.record.snapshots.push(Snapshot { name: name.clone(), label: label.to_owned(), made, hidden: false, losing: false });
    Ok(Subject::Snapshot { name })
}

/// Whether a label that a person gives looks like a name that Ostler gives to snapshots. It could be mistaken for another
/// snapshot.
fn is_a_name(label: &str) -> bool {
    let number = label.to_ascii_lowercase().strip_prefix("snap-").map(str::to_owned);
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

fn no_such_snapshot(draft: &Draft<'_>, asked: &Request, name: &str) -> Refusal {
    let called: Vec<String> = draft.record.snapshots_called(name).map(|snapshot| snapshot.name.to_string()).collect();
    if called.is_empty() {
        return bad(draft, asked, format!("has no snapshot {name:?} that is offered"), "`ostler vm show` lists them");
    }
    let what = format!("has more than one snapshot called {name:?}: {}", called.join(", "));
    bad(draft, asked, what, "ask for it by its own name; where that is what another one is called, delete that one first")
}

/// Most snapshots of one VM, hidden ones included. The record contains them and is written as a whole with each commit. Each
/// snapshot is also an overlay that every read of the guest goes through.
const SNAPSHOTS_MAX: usize = 64;
/// Longest label that people can give to a snapshot, in bytes.
const LABEL_MAX: usize = 128;
