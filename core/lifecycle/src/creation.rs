//! Decides whether a VM can be made of a specification: all that it names must be there.

use crate::placement::missing_bridge;
use ostler_model::{
    DatastoreName, DiskName, DiskSource, DiskSpec, DiskState, Hint, HostName, Image, ImageName,
    ImageState, InvalidName, NicSpec, RelPath, VmSpec,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Why a VM is not created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotCreated {
    /// There is no image of that name.
    NoImage(ImageName),
    /// The image is not ready.
    ImageNotReady(ImageName),
    /// The disk would be smaller than its image.
    SmallerThanImage {
        /// The disk.
        disk: DiskName,
        /// Its image.
        image: ImageName,
        /// The least size, in MiB.
        least_mib: u64,
    },
    /// A file of somebody else is only adopted with its domain.
    FileOfOthers(RelPath),
    /// The name of the disk makes no valid file name.
    NoFileName(DiskName, InvalidName),
    /// There is no image datastore of that name.
    NoImageDatastore(DatastoreName),
    /// There is no host of that name.
    NoHost(HostName),
    /// The one host that the VM may go to does not have this bridge.
    NoBridge {
        /// The name of the bridge.
        bridge: String,
        /// The host.
        host: HostName,
    },
    /// No host that the VM may go to has all of its bridges.
    NoBridgeAnywhere {
        /// The name of the first bridge that is missing.
        bridge: String,
        /// How many hosts there are.
        hosts: usize,
    },
}

impl NotCreated {
    /// What can be done instead, if that is not in the reason.
    #[must_use]
    pub const fn hint(&self) -> Option<Hint> {
        Some(match self {
            Self::NoImage(_) => Hint::ListImages,
            Self::ImageNotReady(_) => Hint::ImageReady,
            Self::FileOfOthers(_) => Hint::RegisterImage,
            Self::NoImageDatastore(_) => Hint::ListDatastores,
            Self::NoHost(_) => Hint::ListHosts,
            Self::NoBridge { .. } | Self::NoBridgeAnywhere { .. } => Hint::MakeBridge,
            Self::NoFileName(..) | Self::SmallerThanImage { .. } => return None,
        })
    }
}

/// The things that a new VM may name.
#[derive(Debug, Default)]
pub struct Named<'a> {
    /// The images that its specification names, as far as there are such images.
    pub images: BTreeMap<ImageName, Image>,
    /// All image datastores.
    pub image_datastores: BTreeSet<&'a DatastoreName>,
    /// All hosts.
    pub hosts: BTreeSet<&'a HostName>,
}

/// Checks that all that the specification names is there, and answers the disks that the VM gets.
///
/// # Errors
/// The first thing that is not there or cannot be used.
pub fn disks_of(spec: &VmSpec, named: &Named<'_>) -> Result<Vec<DiskState>, NotCreated> {
    for file in [&spec.boot.kernel, &spec.boot.initrd].into_iter().flatten() {
        if !named.image_datastores.contains(&file.datastore) {
            return Err(NotCreated::NoImageDatastore(file.datastore.clone()));
        }
    }
    if let Some(host) = spec.host.as_ref().filter(|host| !named.hosts.contains(host)) {
        return Err(NotCreated::NoHost(host.clone()));
    }
    spec.disks.iter().map(|disk| disk_of(disk, named)).collect()
}

fn disk_of(disk: &DiskSpec, named: &Named<'_>) -> Result<DiskState, NotCreated> {
    let image = match &disk.source {
        DiskSource::Image { image, size_mib } => {
            let found =
                named.images.get(image).ok_or_else(|| NotCreated::NoImage(image.clone()))?;
            if found.state != ImageState::Ready {
                return Err(NotCreated::ImageNotReady(image.clone()));
            }
            if let Some(least_mib) = more_than(*size_mib, found) {
                let (disk, image) = (disk.name.clone(), image.clone());
                return Err(NotCreated::SmallerThanImage { disk, image, least_mib });
            }
            Some(found.id)
        }
        DiskSource::Blank { .. } | DiskSource::Swap { .. } => None,
        DiskSource::File { path } => return Err(NotCreated::FileOfOthers(path.clone())),
    };
    let file = format!("{}.{}", disk.name, disk.format);
    let file = file.parse().map_err(|error| NotCreated::NoFileName(disk.name.clone(), error))?;
    Ok(DiskState {
        name: disk.name.clone(),
        file,
        format: disk.format,
        image,
        save_as: None,
        adopted: None,
    })
}

/// The size in MiB that a disk must at least have to hold the image, if the size that was asked for
/// is less.
pub(crate) fn more_than(asked_mib: Option<u64>, image: &Image) -> Option<u64> {
    let least = image.least_mib();
    asked_mib.filter(|asked| *asked < least).map(|_| least)
}

/// A host that a new VM may go to, and its network interfaces. None: they are not known.
pub type Reachable = (HostName, Option<Arc<BTreeSet<String>>>);

/// Checks that one of `hosts`, which are those that a new VM may go to, has all bridges of its
/// network cards, or may have them. If there is no host, the VM waits for one.
///
/// # Errors
/// Each host is known to lack a bridge.
pub fn bridges_are_somewhere(nics: &[NicSpec], hosts: &[Reachable]) -> Result<(), NotCreated> {
    let missing: Option<Vec<&str>> =
        hosts.iter().map(|(_, interfaces)| missing_bridge(nics, interfaces.as_deref())).collect();
    let Some(bridge) =
        missing.and_then(|missing| missing.first().map(|bridge| (*bridge).to_owned()))
    else {
        return Ok(());
    };
    Err(match hosts {
        [(host, _)] => NotCreated::NoBridge { bridge, host: host.clone() },
        hosts => NotCreated::NoBridgeAnywhere { bridge, hosts: hosts.len() },
    })
}
