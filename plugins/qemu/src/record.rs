//! What a domain is, as its files hold it. No IO.

use ostler_sdk::{
    DiskFormat, DomainDisk, DomainNic, DomainSeen, DomainSpec, EffectId, Error, Firmware, Graphics,
    Identity, Power, PowerReason, Stamped,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The PCI slots for devices: those below belong to the machine.
const SLOTS: std::ops::RangeInclusive<u8> = 3..=30;

/// The most queues of a disk. More than a few are of no use to a disk in one file.
const QUEUES_MAX: u32 = 16;

/// The longest text in QEMU's configuration: its reader has room for 1023 bytes.
const TEXT_MAX: usize = 1000;

/// The record of a domain. Only calls that the host never makes beside each other write it; a
/// destroy, which may come beside any call, writes an [`End`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Domain {
    pub(crate) uuid: String,
    pub(crate) name: String,
    pub(crate) store: String,
    pub(crate) generation: u64,
    /// The last edge. It is written before the edge is sent.
    pub(crate) edge: Option<String>,
    /// The mark of the process that was started last. It is written before the start.
    pub(crate) run: String,
    /// Whether that process was let go: its guest may have run, or its memory was restored.
    pub(crate) let_go: bool,
    pub(crate) kernel: Option<String>,
    pub(crate) initrd: Option<String>,
    pub(crate) cmdline: String,
    /// The console's log: datastore and path.
    pub(crate) console: (String, String),
    pub(crate) hardware: Hardware,
    /// The hardware of each snapshot: memory fits only what it was taken of.
    #[serde(default)]
    pub(crate) snapshots: BTreeMap<String, Hardware>,
    /// The file that memory is being saved to.
    pub(crate) saving: Option<String>,
}

/// What the guest sees.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Hardware {
    pub(crate) vcpus: u32,
    /// Of what the guest's balloon leaves of the machine's memory.
    pub(crate) memory_mib: u64,
    #[serde(flatten)]
    pub(crate) room: Room,
    pub(crate) disks: Vec<Disk>,
    pub(crate) nics: Vec<Nic>,
}

/// The machine around the guest: how far it can grow. Saved memory fits only the machine that it was
/// saved of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Room {
    /// The most CPUs. 0 in records of version 0.1.0: no more than it has.
    #[serde(default)]
    pub(crate) vcpus_most: u32,
    /// The memory of the machine. 0 in those records, as well.
    #[serde(default)]
    pub(crate) memory_most_mib: u64,
    /// Whether it has a balloon.
    #[serde(default)]
    pub(crate) balloon: bool,
}

/// A disk, and the slot that it has for as long as the domain has it: saved memory fits only
/// devices that are where they were.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Disk {
    pub(crate) name: String,
    pub(crate) slot: u8,
    pub(crate) file: String,
    /// Datastore and path of the file.
    pub(crate) place: (String, String),
    pub(crate) format: DiskFormat,
    pub(crate) read_only: bool,
}

/// A network card, with its slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Nic {
    pub(crate) mac: String,
    pub(crate) slot: u8,
    pub(crate) bridge: String,
}

/// Why the process with this mark was ended by the driver.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct End {
    pub(crate) run: String,
    pub(crate) reason: PowerReason,
}

/// What is known of a domain's process.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Process {
    /// There is none, and it has tidied up: it ended by itself, or never came up.
    Ended,
    /// There is none, and its sockets are left: it was killed, or the host fell.
    Died,
    /// It lives; the word is QEMU's.
    Lives(String),
}

impl Process {
    pub(crate) fn lives(&self) -> bool {
        matches!(self, Self::Lives(_))
    }
}

/// What the driver cannot give a domain is refused, never left out in silence.
pub(crate) fn possible(spec: &DomainSpec) -> Result<(), Error> {
    let refuse = |code: &str, what: &str| Err(Error::refused(code, what));
    if spec.firmware != Firmware::Bios {
        return refuse("no-uefi", "this driver starts guests with BIOS only");
    }
    if spec.graphics != Graphics::None {
        return refuse("no-graphics", "this driver gives guests a serial console only");
    }
    // These are written into QEMU's configuration, which has no way to escape a quote.
    let files = spec.kernel.iter().chain(&spec.initrd).map(|file| file.absolute.as_str());
    for text in files.chain([spec.cmdline.as_str()]) {
        if text.len() > TEXT_MAX || text.contains(|c: char| c == '"' || c.is_control()) {
            return refuse("bad-boot", "QEMU takes at most 1000 bytes, without double quotes");
        }
    }
    Ok(())
}

impl Hardware {
    /// What `spec` wants. Devices that the domain had in `old` keep their slots.
    fn new(spec: &DomainSpec, old: Option<&Self>) -> Result<Self, Error> {
        let room = Room {
            vcpus_most: spec.vcpus_most(),
            memory_most_mib: spec.memory_most_mib(),
            balloon: true,
        };
        let (vcpus, memory_mib) = (spec.vcpus, spec.memory_mib);
        let mut hardware = Self { vcpus, memory_mib, room, disks: Vec::new(), nics: Vec::new() };
        let slot_of = |device: &str| old.and_then(|old| old.slot_of(device));
        // New devices must not take the slots of those.
        let kept = spec.disks.iter().filter_map(|disk| slot_of(&disk.name));
        let kept: Vec<u8> =
            kept.chain(spec.nics.iter().filter_map(|nic| slot_of(&nic.mac))).collect();
        for disk in &spec.disks {
            let slot = hardware.slot(slot_of(&disk.name), &kept, slots_for_disk(&disk.name))?;
            hardware.disks.push(Disk::new(disk, slot));
        }
        for nic in &spec.nics {
            let slot = hardware.slot(slot_of(&nic.mac), &kept, SLOTS.rev())?;
            hardware.nics.push(Nic::new(nic, slot));
        }
        Ok(hardware)
    }

    /// The most CPUs that the guest can get while it runs.
    pub(crate) fn vcpus_most(&self) -> u32 {
        self.room.vcpus_most.max(self.vcpus)
    }

    /// The most memory that the guest can get while it runs: that of the machine.
    pub(crate) fn memory_most_mib(&self) -> u64 {
        self.room.memory_most_mib.max(self.memory_mib)
    }

    /// How many queues a disk has. QEMU would count the CPUs with which it starts. Saved memory fits
    /// only disks with as many queues as they had, and a guest that has grown is restored by a QEMU
    /// that starts with more CPUs. None where 0.1.0 has left that to QEMU.
    pub(crate) fn queues(&self) -> Option<u32> {
        self.room.balloon.then(|| self.vcpus_most().min(QUEUES_MAX))
    }

    /// Whether a running guest can have this size. None is asked to give up a CPU.
    pub(crate) fn fits(&self, vcpus: u32, memory_mib: u64) -> Result<(), Error> {
        let (vcpus_most, memory_most) = (self.vcpus_most(), self.memory_most_mib());
        if vcpus > vcpus_most || memory_mib > memory_most {
            let told = format!(
                "the domain was started with room for {vcpus_most} CPUs and {memory_most} MiB: \
                 poweroff, resize, resume"
            );
            return Err(Error::refused("beyond-most", told));
        }
        if vcpus < self.vcpus {
            let told = format!(
                "the guest has {} CPUs, and none is taken from a guest that runs: poweroff, \
                 resize, resume",
                self.vcpus
            );
            return Err(Error::refused("fewer-cpus", told));
        }
        if memory_mib != self.memory_mib && !self.room.balloon {
            let told = "the domain was started by version 0.1.0 of the driver, without a balloon: \
                        poweroff, resize, resume";
            return Err(Error::refused("no-balloon", told));
        }
        Ok(())
    }

    fn slot_of(&self, device: &str) -> Option<u8> {
        let disk = self.disks.iter().find(|disk| disk.name == device).map(|disk| disk.slot);
        disk.or_else(|| self.nics.iter().find(|nic| nic.mac == device).map(|nic| nic.slot))
    }

    /// The slot that a device has already, or the first free one of `wishes`.
    fn slot(
        &self,
        kept: Option<u8>,
        not: &[u8],
        mut wishes: impl Iterator<Item = u8>,
    ) -> Result<u8, Error> {
        if let Some(slot) = kept {
            return Ok(slot);
        }
        let disks = self.disks.iter().map(|disk| disk.slot);
        let taken: Vec<u8> = disks.chain(self.nics.iter().map(|nic| nic.slot)).collect();
        let free = wishes.find(|slot| !taken.contains(slot) && !not.contains(slot));
        free.ok_or_else(|| Error::refused("no-slot", "all PCI slots are taken"))
    }

    /// Adds a disk, and answers it.
    pub(crate) fn add_disk(&mut self, disk: &DomainDisk) -> Result<Disk, Error> {
        let disk = Disk::new(disk, self.slot(None, &[], slots_for_disk(&disk.name))?);
        self.disks.push(disk.clone());
        Ok(disk)
    }

    /// Adds a network card, and answers it.
    pub(crate) fn add_nic(&mut self, nic: &DomainNic) -> Result<Nic, Error> {
        let nic = Nic::new(nic, self.slot(None, &[], SLOTS.rev())?);
        self.nics.push(nic.clone());
        Ok(nic)
    }
}

/// A disk gets the slot of its letter (`vda` the first), so that it has the same one at a host that
/// has no record of the domain: memory that was saved elsewhere fits. Network cards begin at the
/// other end.
fn slots_for_disk(name: &str) -> impl Iterator<Item = u8> {
    let own = match name.as_bytes() {
        [b'v', b'd', letter @ b'a'..=b'z'] => Some(SLOTS.start() + (letter - b'a')),
        _ => None,
    };
    own.into_iter().chain(SLOTS)
}

impl Disk {
    fn new(disk: &DomainDisk, slot: u8) -> Self {
        Self {
            name: disk.name.clone(),
            slot,
            file: disk.file.absolute.clone(),
            place: (disk.file.datastore.clone(), disk.file.path.clone()),
            format: disk.format.clone(),
            read_only: disk.read_only,
        }
    }
}

impl Nic {
    fn new(nic: &DomainNic, slot: u8) -> Self {
        Self { mac: nic.mac.clone(), slot, bridge: nic.bridge.clone() }
    }
}

impl Stamped for Domain {
    fn stamp(&self) -> Option<(&str, u64)> {
        Some((&self.store, self.generation))
    }
}

impl Domain {
    /// The domain as it is to be, in the place of `old`. It keeps the last edge and the snapshots.
    pub(crate) fn new(spec: &DomainSpec, run: String, old: Option<&Self>) -> Result<Self, Error> {
        Ok(Self {
            uuid: spec.identity.vm.clone(),
            name: spec.name.clone(),
            store: spec.identity.store.clone(),
            generation: spec.identity.generation,
            edge: old.and_then(|old| old.edge.clone()),
            run,
            let_go: false,
            kernel: spec.kernel.as_ref().map(|file| file.absolute.clone()),
            initrd: spec.initrd.as_ref().map(|file| file.absolute.clone()),
            cmdline: spec.cmdline.clone(),
            console: (spec.console_log.datastore.clone(), spec.console_log.path.clone()),
            hardware: Hardware::new(spec, old.map(|old| &old.hardware))?,
            snapshots: old.map(|old| old.snapshots.clone()).unwrap_or_default(),
            saving: None,
        })
    }

    /// QEMU's configuration for what fits in no argument.
    pub(crate) fn config(&self) -> String {
        let Some(kernel) = &self.kernel else { return String::new() };
        let mut text = format!("[machine]\n  kernel = \"{kernel}\"\n");
        if let Some(initrd) = &self.initrd {
            text.push_str(&format!("  initrd = \"{initrd}\"\n"));
        }
        if !self.cmdline.is_empty() {
            text.push_str(&format!("  append = \"{}\"\n", self.cmdline));
        }
        text
    }

    /// The domain for the host.
    pub(crate) fn seen(&self, process: &Process, end: Option<&End>) -> DomainSeen {
        let (power, reason) = self.power(process, end);
        DomainSeen {
            uuid: self.uuid.clone(),
            name: self.name.clone(),
            identity: Some(Identity {
                store: self.store.clone(),
                vm: self.uuid.clone(),
                generation: self.generation,
            }),
            power,
            reason,
            last_edge: self.edge.as_deref().and_then(EffectId::parse),
            extra: Vec::new(),
        }
    }

    fn power(&self, process: &Process, end: Option<&End>) -> (Power, PowerReason) {
        let end = end.filter(|end| end.run == self.run);
        match (process, end) {
            (Process::Lives(status), _) => power_of(status),
            (_, Some(end)) => (Power::Off, end.reason),
            _ if !self.let_go => (Power::Off, PowerReason::Starting),
            (Process::Ended, None) => (Power::Off, PowerReason::Guest),
            (Process::Died, None) => (Power::Off, PowerReason::Crashed),
        }
    }
}

/// QEMU's words for its state, in those of the contract.
fn power_of(status: &str) -> (Power, PowerReason) {
    match status {
        "running" => (Power::Running, PowerReason::None),
        "prelaunch" | "inmigrate" => (Power::Paused, PowerReason::Starting),
        "io-error" => (Power::Paused, PowerReason::IoError),
        "shutdown" => (Power::Off, PowerReason::Guest),
        "watchdog" => (Power::Paused, PowerReason::Watchdog),
        "guest-panicked" | "internal-error" => (Power::Crashed, PowerReason::Crashed),
        _ => (Power::Paused, PowerReason::None),
    }
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
