//! Hosts, datastores, images and drivers.

use super::{Unfit, new_name, parse, time, word};
use ostler_api as wire;
use ostler_driver::{DriverInfo, DriverOrigin, DriverSetting, SignedBy};
use ostler_engine::{DriverHealth, HostHealth};
use ostler_model::{
    Capacity, Datastore, DatastoreId, DiskFormat, DriverRef, ExecTransport, FilePath, Host, HostId,
    HostState, Image, ImageId, ImageState, Timestamp, Usage,
};
use ostler_store::EarlierDriver;
use std::collections::{BTreeMap, BTreeSet};

/// The name of host 0, the front end.
const FRONT_END: &str = "front-end";
/// The port of ssh.
const SSH_PORT: u16 = 22;
const MIB: u64 = 1024 * 1024;
/// Directories of the system. None of them may itself be the root of a datastore, because the files
/// of a VM are removed with the VM. A directory below one of them, like `/var/lib/ostler`, may be.
const SYSTEM_ROOTS: [&str; 12] = [
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr",
    "/var",
];
/// No file below these directories is an ordinary file, so no root of a datastore may be there.
const UNREAL: [&str; 3] = ["/dev", "/proc", "/sys"];
/// The exception: it has ordinary files.
const SHARED_MEMORY: &str = "/dev/shm";

/// Makes a host from a request.
pub(crate) fn new_host(new: &wire::NewHost, id: HostId, now: Timestamp) -> Result<Host, Unfit> {
    let total = match (new.cpu, new.memory) {
        (Some(cpu), Some(memory)) => Some(Capacity { cpu_milli: cpu.0, memory_mib: memory.0 }),
        (None, None) => None,
        (Some(_), None) => {
            return Err(Unfit::new(
                "memory",
                "a stated capacity needs cpu and memory; leave out both to probe",
            ));
        }
        (None, Some(_)) => {
            return Err(Unfit::new(
                "cpu",
                "a stated capacity needs cpu and memory; leave out both to probe",
            ));
        }
    };
    if new.name == FRONT_END {
        return Err(Unfit::new(
            "name",
            format!("{FRONT_END} is the name of the machine ostlerd runs on"),
        ));
    }
    Ok(Host {
        id,
        name: new_name("name", &new.name)?,
        hypervisor: Some(DriverRef {
            driver: parse("driver", &new.driver)?,
            config: new.config.clone(),
        }),
        transport: new.ssh.as_ref().map_or(ExecTransport::Local, transport),
        labels: new.labels.clone(),
        state: new.state.as_deref().map_or(Ok(HostState::On), |state| word("state", state))?,
        total: total.unwrap_or_default(),
        total_is_fixed: total.is_some(),
        rules: None,
        identity: None,
        added: now,
    })
}

fn transport(ssh: &wire::SshAddress) -> ExecTransport {
    ExecTransport::Ssh {
        destination: ssh.destination.clone(),
        port: ssh.port.unwrap_or(SSH_PORT),
        identity_file: ssh.identity_file.clone(),
        known_hosts: ssh.known_hosts.clone(),
    }
}

/// A host, as it is sent.
/// `secrets` are the names of those that are set for it.
pub(crate) fn host(
    host: Host,
    usage: Usage,
    health: Option<HostHealth>,
    secrets: Vec<String>,
) -> wire::Host {
    wire::Host {
        id: host.id.0,
        name: host.name.into(),
        driver: host.hypervisor.map(|DriverRef { driver, config }| wire::HostDriver {
            name: driver.into(),
            config,
            secrets,
        }),
        transport: match host.transport {
            ExecTransport::Local => "local".to_owned(),
            ExecTransport::Ssh { destination, .. } => destination,
        },
        labels: host.labels,
        rules: host.rules.map(String::from),
        state: host.state.to_string(),
        cpu: wire::CpuMilli(host.total.cpu_milli),
        cpu_held: wire::CpuMilli(usage.held.cpu_milli),
        memory: wire::Size(host.total.memory_mib),
        memory_bytes: wire::Size(host.total.memory_mib).bytes(),
        memory_held: wire::Size(usage.held.memory_mib),
        memory_held_bytes: wire::Size(usage.held.memory_mib).bytes(),
        vms: usage.vms,
        added: time(host.added),
        health: health.map(host_health),
    }
}

fn host_health(health: HostHealth) -> wire::HostHealth {
    wire::HostHealth {
        reachable: health.reachable,
        since: time(health.since),
        error: health.error,
        hypervisor: health.hypervisor,
        notes: health.notes,
        abilities: health.abilities.iter().map(ToString::to_string).collect(),
        wild: health.wild,
        zombies: health.zombies,
    }
}

/// Checks the root of a datastore, and writes it in one way: without doubled slashes and `.`.
fn root(given: &str) -> Result<String, Unfit> {
    let normal = given.starts_with('/') && !given.chars().any(char::is_control);
    if !normal || given.split('/').any(|part| part == "..") {
        return Err(Unfit::new("root", format!("{given:?} is not an absolute path without '..'")));
    }
    let root: String = given
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .flat_map(|part| ["/", part])
        .collect();
    let within = |dir: &str| {
        root.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let unreal = UNREAL.iter().any(|dir| within(dir)) && !within(SHARED_MEMORY);
    if root.is_empty() || unreal || SYSTEM_ROOTS.contains(&root.as_str()) {
        let named = if root.is_empty() { "/" } else { root.as_str() };
        return Err(Unfit::new(
            "root",
            format!(
                "{named} is the system's: give a directory of its own, like /srv/ostler/images"
            ),
        ));
    }
    Ok(root)
}

/// Makes a datastore from a request.
pub(crate) fn new_datastore(
    new: &wire::NewDatastore,
    id: DatastoreId,
    now: Timestamp,
) -> Result<Datastore, Unfit> {
    Ok(Datastore {
        id,
        name: new_name("name", &new.name)?,
        kind: word("kind", &new.kind)?,
        driver: parse("driver", &new.driver)?,
        root: root(&new.root)?,
        shared: new.shared,
        added: now,
    })
}

/// A datastore, as it is sent.
pub(crate) fn datastore(datastore: Datastore) -> wire::Datastore {
    wire::Datastore {
        id: datastore.id.0,
        name: datastore.name.into(),
        kind: datastore.kind.to_string(),
        driver: datastore.driver.into(),
        root: datastore.root,
        shared: datastore.shared,
        added: time(datastore.added),
        notes: Vec::new(),
    }
}

/// Makes an image from a request.
pub(crate) fn new_image(
    new: &wire::NewImage,
    file: &FilePath,
    datastore: DatastoreId,
    id: ImageId,
    now: Timestamp,
) -> Result<Image, Unfit> {
    let format = match new.format.as_deref() {
        Some(format) => word("format", format)?,
        None => by_extension(file.path.as_str())?,
    };
    Ok(Image {
        id,
        name: new_name("name", &new.name)?,
        datastore,
        path: file.path.clone(),
        format,
        state: ImageState::Ready,
        virtual_size: None,
        // It becomes true only if a look into the file has shown it.
        stands_alone: false,
        added: now,
    })
}

fn by_extension(path: &str) -> Result<DiskFormat, Unfit> {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("qcow2") => Ok(DiskFormat::Qcow2),
        Some("raw" | "img" | "iso") => Ok(DiskFormat::Raw),
        Some(_) | None => {
            Err(Unfit::new("format", "cannot be told from the file's name: give qcow2 or raw"))
        }
    }
}

/// An image, as it is sent.
pub(crate) fn image(image: Image, datastore: &str, used_by: u64) -> wire::Image {
    wire::Image {
        id: image.id.0,
        name: image.name.into(),
        path: format!("{datastore}:{}", image.path),
        format: image.format.to_string(),
        state: image.state.to_string(),
        size: image.virtual_size.map(|bytes| wire::Size(bytes.div_ceil(MIB))),
        used_by,
        added: time(image.added),
        notes: Vec::new(),
    }
}

fn signed_by(signed: SignedBy) -> wire::SignedBy {
    wire::SignedBy { key: signed.key, trusted: signed.name.is_some(), name: signed.name }
}

/// The secrets of a driver: those that it reads, and those that are `set` for all its hosts.
fn driver_secrets(origin: &DriverOrigin, set: Vec<String>) -> Vec<wire::DriverSecret> {
    let known = match origin {
        DriverOrigin::BuiltIn => None,
        DriverOrigin::Component { secrets, .. } => Some(secrets),
    };
    let set: BTreeSet<&String> =
        set.iter().chain(known.into_iter().flat_map(|known| &known.in_settings)).collect();
    let reads: BTreeMap<&String, &String> = known
        .into_iter()
        .flat_map(|known| known.reads.iter().map(|(name, about)| (name, about)))
        .collect();
    let names: BTreeSet<&String> = reads.keys().chain(&set).copied().collect();
    let told = |name: &String| wire::DriverSecret {
        name: name.clone(),
        about: reads.get(name).map(|about| (*about).clone()),
        set: set.contains(name),
    };
    names.into_iter().map(told).collect()
}

/// A file that was a driver before, as it is sent.
pub(crate) fn earlier_driver(earlier: EarlierDriver) -> wire::EarlierDriver {
    wire::EarlierDriver {
        version: earlier.version,
        digest: earlier.digest,
        added: time(earlier.added),
        taken_back: earlier.taken_back,
    }
}

/// A driver, as it is sent. `set` are the names of the secrets that are set for all its hosts.
fn setting(setting: DriverSetting) -> wire::DriverSetting {
    let DriverSetting { name, about, default, required } = setting;
    wire::DriverSetting { name, about, default, required }
}

pub(crate) fn driver(
    info: DriverInfo,
    kinds: &[&'static str],
    rules: Option<wire::RulesOf>,
    health: DriverHealth,
    set: Vec<String>,
) -> wire::Driver {
    wire::Driver {
        secrets: driver_secrets(&info.origin, set),
        settings: info.settings.into_iter().flatten().map(setting).collect(),
        name: info.name.into(),
        kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
        version: info.version,
        description: info.description,
        origin: match info.origin {
            DriverOrigin::BuiltIn => wire::DriverOrigin::BuiltIn,
            DriverOrigin::Component { digest, contract, granted, missing, signed, secrets: _ } => {
                let signed = signed.into_iter().map(signed_by).collect();
                wire::DriverOrigin::Component { digest, contract, granted, missing, signed }
            }
        },
        abilities: info.abilities.iter().map(ToString::to_string).collect(),
        rules,
        not_loaded: None,
        calls: health.calls,
        errors: health.errors,
        mean_us: health.busy_us.checked_div(health.calls).unwrap_or(0),
        last_error: health.last_error,
        trial_until: health.trial_until.map(time),
        paused: health
            .paused
            .into_iter()
            .map(|(host, left)| wire::DriverPause {
                host: host.into(),
                seconds: left.0.div_ceil(1000),
            })
            .collect(),
        earlier: Vec::new(),
        upgrade: None,
        figures: None,
    }
}
