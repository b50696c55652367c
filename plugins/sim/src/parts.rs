//! The parts of a domain's file: its hardware, its snapshots, and its journey while it moves.

use ostler_sdk::{DiskFormat, DomainDisk, DomainNic, DomainSpec, EffectId, FileRef, Progress};
use serde::{Deserialize, Serialize};

/// The hardware that the guest has.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct Machine {
    pub(crate) vcpus: u32,
    /// The most CPUs that it may get. 0 if nobody gave a limit.
    pub(crate) vcpus_most: u32,
    pub(crate) memory_mib: u64,
    /// The most memory that it may get. 0 if nobody gave a limit.
    pub(crate) memory_most_mib: u64,
    pub(crate) disks: Vec<Disk>,
    pub(crate) nics: Vec<Nic>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Disk {
    pub(crate) name: String,
    /// The absolute path, as a hypervisor would get it.
    pub(crate) file: String,
    /// The datastore of the file. Empty for a wild domain, of which only the absolute path is
    /// known.
    #[serde(default)]
    pub(crate) datastore: String,
    #[serde(default)]
    pub(crate) path: String,
    pub(crate) format: DiskFormat,
    #[serde(default)]
    pub(crate) read_only: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Nic {
    pub(crate) mac: String,
    pub(crate) bridge: String,
}

/// A guest at some moment. Its memory is the count of presses, reboots and resets until then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Snapshot {
    pub(crate) name: String,
    pub(crate) presses: u32,
    pub(crate) reboots: u32,
    pub(crate) resets: u32,
    pub(crate) started_ms: u64,
    #[serde(flatten)]
    pub(crate) machine: Machine,
}

impl From<DomainDisk> for Disk {
    fn from(disk: DomainDisk) -> Self {
        let FileRef { datastore, path, absolute } = disk.file;
        Self {
            name: disk.name,
            file: absolute,
            datastore,
            path,
            format: disk.format,
            read_only: disk.read_only,
        }
    }
}

impl From<DomainNic> for Nic {
    fn from(nic: DomainNic) -> Self {
        Self { mac: nic.mac, bridge: nic.bridge }
    }
}

impl Machine {
    pub(crate) fn of(spec: &DomainSpec) -> Self {
        Self {
            vcpus: spec.vcpus,
            vcpus_most: spec.vcpus_most(),
            memory_mib: spec.memory_mib,
            memory_most_mib: spec.memory_most_mib(),
            disks: spec.disks.iter().cloned().map(Disk::from).collect(),
            nics: spec.nics.iter().cloned().map(Nic::from).collect(),
        }
    }
}

/// The target of a domain that moves, and the domain as it will be there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Journey {
    /// The effect that began the journey.
    pub(crate) effect: String,
    pub(crate) host: String,
    pub(crate) folder: String,
    pub(crate) generation: u64,
    pub(crate) name: String,
    pub(crate) machine: Machine,
    pub(crate) began_ms: u64,
    pub(crate) takes_ms: u64,
}

impl Journey {
    pub(crate) fn new(id: &EffectId, spec: &DomainSpec, host: String, folder: String) -> Self {
        let (effect, machine) = (id.to_string(), Machine::of(spec));
        Self {
            effect,
            host,
            folder,
            generation: spec.identity.generation,
            name: spec.name.clone(),
            machine,
            began_ms: 0,
            takes_ms: 0,
        }
    }

    pub(crate) fn taking(self, now: u64, takes_ms: u64) -> Self {
        Self { began_ms: now, takes_ms, ..self }
    }

    /// How far the journey is. None once it is time to arrive.
    pub(crate) fn progress(&self, now: u64) -> Option<Progress> {
        let done = now.saturating_sub(self.began_ms);
        (done < self.takes_ms).then(|| Progress {
            done,
            total: self.takes_ms,
            phase: "moving".to_owned(),
        })
    }
}
