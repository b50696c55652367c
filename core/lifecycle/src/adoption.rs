//! Whether a domain that somebody else made can become a VM, and which VM it becomes.

use ostler_model::{
    BootSpec, Datastore, DatastoreKind, DiskName, DiskSource, DiskSpec, DiskState, DomainSeen,
    FilePath, Headroom, HostName, InvalidName, InvalidSpec, NicSpec, Patience, Power, RelPath,
    Storage, StoreId, VmName, VmSpec, WildDomain,
};
use std::collections::BTreeMap;

/// Why a domain is not adopted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotAdopted {
    /// This store made it, or has adopted it before.
    Ours,
    /// Another store made or adopted it.
    Others,
    /// It neither runs nor is off.
    Power(Power),
    /// Its disks are not all in one system datastore on its host. Ostler could neither name nor
    /// move files that lie elsewhere.
    DisksElsewhere {
        /// The domain's host.
        host: HostName,
        /// The root folders of the system datastores on that host.
        roots: Vec<String>,
    },
    /// One of its disks lies in the folder of a VM. The disk would be removed together with that
    /// folder.
    DiskInFolder {
        /// The disk.
        disk: DiskName,
        /// Its file.
        file: String,
    },
    /// A file that it boots from is not in an image datastore. Ostler could not name that file when
    /// the VM is started again.
    BootElsewhere {
        /// The kernel or the initial RAM disk.
        what: &'static str,
        /// Its file.
        file: String,
    },
    /// Its name is not a valid name of a VM.
    Name(InvalidName),
    /// The name of one of its disks does not give a valid file name.
    File(InvalidName),
    /// Its hardware does not give a valid VM specification.
    Spec(InvalidSpec),
    /// From its next start on it would be another machine, and nobody has accepted these changes.
    Changes(Vec<String>),
}

/// The VM that a domain becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Becomes {
    /// The specification of the VM.
    pub spec: VmSpec,
    /// Its disks: the domain's own files.
    pub disks: Vec<DiskState>,
    /// The system datastore that its disks are in.
    pub storage: Storage,
}

/// Whether a domain that a host has listed can be adopted, as far as the list tells.
///
/// # Errors
/// When it belongs to a store, or neither runs nor is off.
pub fn is_adoptable(seen: &DomainSeen, store: StoreId) -> Result<(), NotAdopted> {
    match seen.identity {
        Some(identity) if identity.store == store => Err(NotAdopted::Ours),
        Some(_) => Err(NotAdopted::Others),
        None if matches!(seen.power, Power::Running | Power::Off) => Ok(()),
        None => Err(NotAdopted::Power(seen.power)),
    }
}

/// Checks that somebody has accepted the changes if the domain would be another machine from its
/// next start on.
///
/// # Errors
/// When there are changes, and nobody has `accepted` them.
pub fn accepts_changes(wild: &WildDomain, accepted: bool) -> Result<(), NotAdopted> {
    if accepted || wild.changes.is_empty() {
        Ok(())
    } else {
        Err(NotAdopted::Changes(wild.changes.clone()))
    }
}

/// The VM that a domain on `host` becomes. The VM is called `name` if a name is given. `folders`
/// are the folders of a datastore that hold the folders of VMs.
///
/// # Errors
/// When a file that it uses lies in a wrong place, or its name, its disks or its hardware are not
/// valid for a VM.
pub fn becomes<'a>(
    wild: &WildDomain,
    name: Option<VmName>,
    host: &HostName,
    datastores: impl Iterator<Item = &'a Datastore> + Clone,
    folders: &[&str],
) -> Result<Becomes, NotAdopted> {
    let of = |kind| datastores.clone().filter(move |store| store.kind == kind);
    let holds_all = |store: &&Datastore| {
        wild.disks.iter().all(|(_, file, _, _)| below(&store.root, file).is_some())
    };
    let Some(store) = of(DatastoreKind::System).find(holds_all) else {
        let roots = of(DatastoreKind::System).map(|store| store.root.clone()).collect();
        return Err(NotAdopted::DisksElsewhere { host: host.clone(), roots });
    };
    let mut disks = Vec::new();
    let mut specs = Vec::new();
    for (disk, file, format, read_only) in &wild.disks {
        let Some(path) = below(&store.root, file) else { continue };
        if folders.iter().any(|folder| path.as_str().starts_with(&format!("{folder}/"))) {
            return Err(NotAdopted::DiskInFolder { disk: disk.clone(), file: file.clone() });
        }
        let own = format!("{disk}.{format}").parse().map_err(NotAdopted::File)?;
        let source = DiskSource::File { path: path.clone() };
        specs.push(DiskSpec { name: disk.clone(), source, format: *format, read_only: *read_only });
        disks.push(DiskState {
            name: disk.clone(),
            file: own,
            format: *format,
            image: None,
            save_as: None,
            adopted: Some(path),
        });
    }
    let spec = VmSpec {
        name: name.map_or_else(|| wild.name.parse().map_err(NotAdopted::Name), Ok)?,
        cpu_milli: wild.vcpus.saturating_mul(1000),
        vcpus: wild.vcpus,
        memory_mib: wild.memory_mib,
        boot: boots(wild, of(DatastoreKind::Image))?,
        disks: specs,
        nics: wild
            .nics
            .iter()
            .map(|(mac, bridge)| NicSpec { bridge: bridge.clone(), mac: Some(mac.clone()) })
            .collect(),
        graphics: wild.graphics,
        host: None,
        labels: BTreeMap::new(),
        user_data: String::new(),
        patience: Patience::default(),
        headroom: Headroom::default(),
    };
    spec.check().map_err(NotAdopted::Spec)?;
    let storage =
        Storage { datastore: store.id, driver: store.driver.clone(), shared: store.shared };
    Ok(Becomes { spec, disks, storage })
}

/// The boot specification of the domain. Its kernel and its initial RAM disk must lie in an image
/// datastore.
fn boots<'a>(
    wild: &WildDomain,
    images: impl Iterator<Item = &'a Datastore> + Clone,
) -> Result<BootSpec, NotAdopted> {
    let named =
        |file: &Option<String>, what: &'static str| -> Result<Option<FilePath>, NotAdopted> {
            let Some(file) = file else { return Ok(None) };
            let path = |store: &Datastore| {
                Some(FilePath { datastore: store.name.clone(), path: below(&store.root, file)? })
            };
            let found = images.clone().find_map(path);
            found.map(Some).ok_or_else(|| NotAdopted::BootElsewhere { what, file: file.clone() })
        };
    Ok(BootSpec {
        kernel: named(&wild.kernel, "kernel")?,
        initrd: named(&wild.initrd, "initial RAM disk")?,
        cmdline: wild.cmdline.clone(),
        ..BootSpec::default()
    })
}

/// The path of `file` below `root`, if it lies there.
fn below(root: &str, file: &str) -> Option<RelPath> {
    file.strip_prefix(root.trim_end_matches('/'))?.strip_prefix('/')?.parse().ok()
}
