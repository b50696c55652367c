//! The specification of a VM, as an operator asks for it.

use crate::{
    Capacity, DiskName, FilePath, HostName, ImageName, MacAddress, Millis, RelPath, VmName,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use strum::{Display, EnumIter, EnumString, IntoStaticStr};

/// Most virtual CPUs of one VM. Above the limit of every hypervisor that ships.
const VCPUS_MAX: u32 = 1024;
/// Most memory: 64 TiB.
const MEMORY_MIB_MAX: u64 = 64 * 1024 * 1024;
/// Most disks. Virtio names end at `vdzz`, but q35 gets slow long before that.
const DISKS_MAX: usize = 64;
/// Most NICs.
const NICS_MAX: usize = 32;
/// Most labels of a VM, and the longest name and value of a label. Labels are part of the record,
/// and each commit writes the whole record.
const LABELS_MAX: usize = 64;
const LABEL_MAX: usize = 256;
/// Largest blank disk: 1 PiB.
const DISK_MIB_MAX: u64 = 1024 * 1024 * 1024;
/// Longest kernel command line (Linux's own limit on x86).
const CMDLINE_MAX: usize = 2048;
/// Most user data.
const USER_DATA_MAX: usize = 64 * 1024;

/// A VM's specification: the template that the VM is made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmSpec {
    /// Its name.
    pub name: VmName,
    /// Thousandths of a physical CPU that placement reserves.
    pub cpu_milli: u32,
    /// Virtual CPUs that the guest sees.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// How it starts.
    pub boot: BootSpec,
    /// Its disks, in boot order.
    pub disks: Vec<DiskSpec>,
    /// Its network cards.
    pub nics: Vec<NicSpec>,
    /// Its screen.
    pub graphics: Graphics,
    /// The only host that it may be placed on; none means any host.
    pub host: Option<HostName>,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// User data. Ostler keeps it and shows it as given, but does not hand it to the guest yet.
    pub user_data: String,
    /// How long steps may take.
    pub patience: Patience,
    /// How far it may grow while it runs.
    #[serde(default)]
    pub headroom: Headroom,
}

/// How far a VM may grow while it runs. The hypervisor prepares for this growth when it starts the
/// guest. No capacity is reserved for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Headroom {
    /// Most virtual CPUs. None means: no more than it has.
    pub vcpus: Option<u32>,
    /// Most memory in MiB. None means: no more than it has.
    pub memory_mib: Option<u64>,
}

/// How a VM boots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct BootSpec {
    /// Firmware.
    pub firmware: Firmware,
    /// A kernel to boot directly.
    pub kernel: Option<FilePath>,
    /// Its initial RAM disk.
    pub initrd: Option<FilePath>,
    /// Its command line.
    pub cmdline: String,
}

/// Firmware of the virtual machine.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    IntoStaticStr,
    EnumIter,
    Default,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Firmware {
    /// Legacy BIOS.
    #[default]
    Bios,
    /// UEFI.
    Uefi,
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskSpec {
    /// Its name and target device.
    pub name: DiskName,
    /// Where its content comes from.
    pub source: DiskSource,
    /// Format of the VM's own file.
    pub format: DiskFormat,
    /// Whether the guest may only read.
    pub read_only: bool,
}

/// Where a disk's content comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum DiskSource {
    /// A copy-on-write overlay of an image.
    Image {
        /// The image's name.
        image: ImageName,
        /// Size in MiB, at least the image's. None means: the image's size.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size_mib: Option<u64>,
    },
    /// Empty.
    Blank {
        /// Size in MiB.
        size_mib: u64,
    },
    /// Formatted as swap space.
    Swap {
        /// Size in MiB.
        size_mib: u64,
    },
    /// A file that existed before the VM. It is adopted: Ostler never makes it and never removes
    /// it.
    File {
        /// The file's path below the root of the VM's system datastore.
        path: RelPath,
    },
}

/// A disk file's format.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    IntoStaticStr,
    EnumIter,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum DiskFormat {
    /// QEMU's copy-on-write format: overlays, internal snapshots.
    Qcow2,
    /// Plain bytes.
    Raw,
}

/// A network card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NicSpec {
    /// The bridge on the host that it is plugged into.
    pub bridge: String,
    /// Its address. If none is given, a stable one is chosen from the VM's UUID.
    pub mac: Option<MacAddress>,
}

/// The screen.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    IntoStaticStr,
    Default,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Graphics {
    /// Serial console only.
    #[default]
    None,
    /// VNC on the host's loopback, port chosen by the hypervisor.
    Vnc,
}

/// How long steps may take before they count as failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patience {
    /// Time for the guest to obey the power button.
    pub shutdown: Millis,
    /// Time for any other call of the hypervisor driver, except those that `transfer` is for.
    pub hypervisor: Millis,
    /// Time for a call of the transfer driver, such as the copy of one disk to a host or from it;
    /// also for a live migration, and for the copy of a disk that is in use.
    pub transfer: Millis,
    /// A graceful verb waits until the guest has run for this long. A guest that is still booting
    /// ignores the power button, although the call succeeds.
    pub boot_grace: Millis,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            shutdown: Millis::secs(120),
            hypervisor: Millis::secs(90),
            transfer: Millis::secs(3600),
            boot_grace: Millis::secs(5),
        }
    }
}

/// Why a specification is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct InvalidSpec {
    /// The field, as written in a file.
    pub field: String,
    /// The problem, and the values that are allowed.
    pub problem: String,
}

impl InvalidSpec {
    fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}

impl VmSpec {
    /// The capacity that placement reserves.
    #[must_use]
    pub const fn capacity(&self) -> Capacity {
        Capacity { cpu_milli: self.cpu_milli as u64, memory_mib: self.memory_mib }
    }

    /// Its CPUs and memory.
    #[must_use]
    pub const fn size(&self) -> crate::Size {
        crate::Size { cpu_milli: self.cpu_milli, vcpus: self.vcpus, memory_mib: self.memory_mib }
    }

    /// Changes its CPUs and memory.
    pub const fn set_size(&mut self, size: crate::Size) {
        self.cpu_milli = size.cpu_milli;
        self.vcpus = size.vcpus;
        self.memory_mib = size.memory_mib;
    }

    /// Most virtual CPUs while it runs.
    #[must_use]
    pub fn vcpus_most(&self) -> u32 {
        self.headroom.vcpus.unwrap_or(self.vcpus).max(self.vcpus)
    }

    /// Most memory while it runs, in MiB.
    #[must_use]
    pub fn memory_most_mib(&self) -> u64 {
        self.headroom.memory_mib.unwrap_or(self.memory_mib).max(self.memory_mib)
    }

    /// Checks everything that can be checked without looking at hosts, images or datastores.
    ///
    /// # Errors
    /// The first field that is out of its bounds.
    pub fn check(&self) -> Result<(), InvalidSpec> {
        in_range("cpu", u64::from(self.cpu_milli), 1, u64::from(VCPUS_MAX) * 1000)?;
        in_range("vcpus", u64::from(self.vcpus), 1, u64::from(VCPUS_MAX))?;
        in_range("memory", self.memory_mib, 1, MEMORY_MIB_MAX)?;
        in_range("headroom.vcpus", u64::from(self.vcpus_most()), 1, u64::from(VCPUS_MAX))?;
        in_range("headroom.memory", self.memory_most_mib(), 1, MEMORY_MIB_MAX)?;
        self.boot.check()?;
        self.check_disks()?;
        self.check_nics()?;
        if self.user_data.len() > USER_DATA_MAX {
            return Err(InvalidSpec::new(
                "user_data",
                format!("longer than {USER_DATA_MAX} bytes"),
            ));
        }
        self.patience.check()
    }

    /// Checks bounds that hold for new VMs only. They are separate from [`VmSpec::check`], so that
    /// a VM that was made before these bounds existed can still be changed.
    ///
    /// # Errors
    /// If there are too many labels, or one is too long.
    pub fn check_labels(&self) -> Result<(), InvalidSpec> {
        if self.labels.len() > LABELS_MAX {
            return Err(InvalidSpec::new("labels", format!("more than {LABELS_MAX}")));
        }
        match self.labels.iter().find(|(name, value)| {
            name.is_empty() || name.len() > LABEL_MAX || value.len() > LABEL_MAX
        }) {
            Some((name, _)) => {
                let short: String = name.chars().take(40).collect();
                Err(InvalidSpec::new(
                    "labels",
                    format!(
                        "{short:?}: a name has 1 to {LABEL_MAX} bytes, and a value at most {LABEL_MAX}"
                    ),
                ))
            }
            None => Ok(()),
        }
    }

    fn check_disks(&self) -> Result<(), InvalidSpec> {
        if self.disks.len() > DISKS_MAX {
            return Err(InvalidSpec::new("disks", format!("more than {DISKS_MAX}")));
        }
        for (at, disk) in self.disks.iter().enumerate() {
            if self.disks[..at].iter().any(|other| other.name == disk.name) {
                return Err(InvalidSpec::new(
                    format!("disks[{at}].name"),
                    format!("{} is there twice", disk.name),
                ));
            }
            match &disk.source {
                DiskSource::Blank { size_mib }
                | DiskSource::Swap { size_mib }
                | DiskSource::Image { size_mib: Some(size_mib), .. } => {
                    in_range(&format!("disks[{at}].size"), *size_mib, 1, DISK_MIB_MAX)?;
                }
                DiskSource::Image { size_mib: None, .. } | DiskSource::File { .. } => {}
            }
        }
        Ok(())
    }

    fn check_nics(&self) -> Result<(), InvalidSpec> {
        if self.nics.len() > NICS_MAX {
            return Err(InvalidSpec::new("nics", format!("more than {NICS_MAX}")));
        }
        for (at, nic) in self.nics.iter().enumerate() {
            // IFNAMSIZ on Linux is 16 with the closing NUL.
            let bridge_ok = !nic.bridge.is_empty()
                && nic.bridge.len() < 16
                && nic
                    .bridge
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
            if !bridge_ok {
                return Err(InvalidSpec::new(
                    format!("nics[{at}].bridge"),
                    "must be a network interface's name",
                ));
            }
            if let Some(mac) = &nic.mac
                && self.nics[..at].iter().any(|other| other.mac.as_ref() == Some(mac))
            {
                return Err(InvalidSpec::new(
                    format!("nics[{at}].mac"),
                    format!("{mac} is there twice"),
                ));
            }
        }
        Ok(())
    }
}

impl BootSpec {
    fn check(&self) -> Result<(), InvalidSpec> {
        if self.kernel.is_none() && (self.initrd.is_some() || !self.cmdline.is_empty()) {
            return Err(InvalidSpec::new("boot", "initrd and cmdline need a kernel"));
        }
        if self.cmdline.len() > CMDLINE_MAX || self.cmdline.chars().any(char::is_control) {
            return Err(InvalidSpec::new(
                "boot.cmdline",
                format!("at most {CMDLINE_MAX} printable characters"),
            ));
        }
        Ok(())
    }
}

impl Patience {
    fn check(&self) -> Result<(), InvalidSpec> {
        let day = Millis::secs(24 * 3600).0;
        in_range("patience.shutdown (ms)", self.shutdown.0, 1, day)?;
        in_range("patience.hypervisor (ms)", self.hypervisor.0, 1, day)?;
        in_range("patience.transfer (ms)", self.transfer.0, 1, 7 * day)?;
        in_range("patience.boot_grace (ms)", self.boot_grace.0, 0, 600_000)
    }
}

fn in_range(field: &str, value: u64, least: u64, most: u64) -> Result<(), InvalidSpec> {
    if (least..=most).contains(&value) {
        Ok(())
    } else {
        Err(InvalidSpec::new(field, format!("is {value}, must be from {least} to {most}")))
    }
}
