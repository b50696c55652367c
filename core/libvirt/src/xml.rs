//! A domain as typed XML. It is serialised, never put together from strings.

use crate::devices::{
    Balloon, Controller, Disk, Empty, Listen, Log, Model, Nic, Port, Serial, Stats, Video,
    VideoModel, Vnc,
};
use crate::element::{check_text, device, is_told};
use crate::layers::{Format, Source, files_of, format_word};
use crate::options::{Cache, HostConfig};
use crate::stamp::{Stamp, StampXml};
use ostler_driver::{DomainDisk, DomainNic, DomainSpec};
use ostler_model::{DiskFormat, DriverError, Firmware, Graphics};
use serde::Serialize;

/// PCIe ports that stay free for devices that are attached while the domain runs.
pub(crate) const SPARE_PORTS: usize = 4;
/// The cache for translated code of an emulated guest. QEMU's own default takes a quarter of the
/// memory, up to a gigabyte; with 32 MiB a small guest runs as fast.
const TCG_CACHE_MIB: u32 = 32;
/// The seconds between two reports of the guest about its memory.
const BALLOON_PERIOD: u32 = 10;
/// The cgroup shares of one whole CPU, as is usual.
const SHARES_PER_CPU: u64 = 1024;

/// How a host runs guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DomainType {
    /// KVM.
    Kvm,
    /// Emulation.
    Qemu,
}

/// The definition of a domain.
///
/// # Errors
/// `refused` when a text cannot stand in XML or a disk's name is not a device's.
pub(crate) fn domain(
    spec: &DomainSpec,
    config: &HostConfig,
    kind: DomainType,
) -> Result<String, DriverError> {
    check_texts(spec)?;
    let mut disks = Vec::with_capacity(spec.disks.len());
    for (at, disk) in spec.disks.iter().enumerate() {
        disks.push(Disk::new(disk, Some(at + 1), config.cache)?);
    }
    let vnc = spec.graphics == Graphics::Vnc;
    let domain = Domain {
        kind: if kind == DomainType::Kvm { "kvm" } else { "qemu" },
        name: &spec.name,
        uuid: spec.identity.vm.to_string(),
        title: clean(&spec.title),
        metadata: Metadata { stamp: Stamp::new(spec.identity).xml() },
        memory: Unit { unit: "MiB", value: spec.memory_most_mib.max(spec.memory_mib) },
        current_memory: Unit { unit: "MiB", value: spec.memory_mib },
        vcpu: Vcpu { current: spec.vcpus, most: spec.vcpus_most.max(spec.vcpus) },
        cputune: config.cpu_shares.then(|| CpuTune { shares: shares(spec.cpu_milli) }),
        os: Os {
            firmware: (spec.firmware == Firmware::Uefi).then_some("efi"),
            kind: OsType { arch: "x86_64", machine: "q35", value: "hvm" },
            kernel: spec.kernel.as_ref().map(|file| file.absolute.as_str()),
            initrd: spec.initrd.as_ref().map(|file| file.absolute.as_str()),
            cmdline: (spec.kernel.is_some() && !spec.cmdline.is_empty())
                .then_some(spec.cmdline.as_str()),
            nvram: (spec.firmware == Firmware::Uefi).then(|| variables(&spec.console_log.absolute)),
        },
        features: Features {
            acpi: Empty {},
            apic: Empty {},
            tcg: (kind == DomainType::Qemu)
                .then(|| Tcg { cache: Unit { unit: "MiB", value: u64::from(TCG_CACHE_MIB) } }),
        },
        cpu: (kind == DomainType::Kvm).then_some(Cpu { mode: "host-model" }),
        clock: Clock { offset: "utc" },
        on_poweroff: "destroy",
        on_reboot: "restart",
        on_crash: "preserve",
        devices: Devices {
            controllers: controllers(spec),
            disks,
            nics: spec.nics.iter().map(Nic::new).collect(),
            serial: Serial {
                kind: "pty",
                log: Log { file: &spec.console_log.absolute, append: "on" },
                target: Port { port: 0 },
            },
            graphics: vnc.then_some(Vnc {
                kind: "vnc",
                port: -1,
                autoport: "yes",
                listen: Listen { kind: "address", address: "127.0.0.1" },
            }),
            video: vnc.then_some(Video { model: VideoModel { kind: "vga", vram: 16384 } }),
            balloon: Balloon { model: "virtio", stats: Stats { period: BALLOON_PERIOD } },
            panic: Model { model: "isa" },
        },
    };
    quick_xml::se::to_string(&domain)
        .map_err(|error| DriverError::refused("bad-spec", format!("the domain as XML: {error}")))
}

/// The XML of one disk that is plugged in. The guest does not boot from it: the other disks have
/// the places in the boot order.
///
/// # Errors
/// As [`domain`].
pub(crate) fn disk(disk: &DomainDisk, cache: Cache) -> Result<String, DriverError> {
    files_of(disk).try_for_each(|file| check_text("path", &file.absolute))?;
    device(&Disk::new(disk, None, cache)?)
}

/// The XML of one network card that is plugged in.
///
/// # Errors
/// As [`domain`].
pub(crate) fn nic(nic: &DomainNic) -> Result<String, DriverError> {
    check_text("bridge", &nic.bridge)?;
    device(&Nic::new(nic))
}

/// The XML of a file to which a disk is copied.
///
/// # Errors
/// As [`domain`].
pub(crate) fn copy_of_disk(path: &str, format: DiskFormat) -> Result<String, DriverError> {
    #[derive(Serialize)]
    #[serde(rename = "disk")]
    struct Copy<'a> {
        #[serde(rename = "@type")]
        kind: &'static str,
        source: Source<'a>,
        driver: Format,
    }
    check_text("path", path)?;
    device(&Copy {
        kind: "file",
        source: Source { file: path },
        driver: Format { kind: format_word(format) },
    })
}

/// The file for the firmware's variables: in the VM's folder, beside the console's log. libvirt
/// creates the file at the first start. It is not copied with the disks to a host that sees other
/// files.
fn variables(console_log: &str) -> String {
    let folder = console_log.rsplit_once('/').map_or("", |(folder, _)| folder);
    format!("{folder}/uefi-variables.fd")
}

/// Thousandths of a CPU as cgroup shares. The kernel's least value is 2.
fn shares(cpu_milli: u32) -> u64 {
    (u64::from(cpu_milli) * SHARES_PER_CPU / 1000).max(2)
}

/// A q35 machine has no free slot by itself. So it gets one root port for each disk, each network
/// card and the balloon, and some spare ones.
fn controllers(spec: &DomainSpec) -> Vec<Controller> {
    let ports = spec.disks.len() + spec.nics.len() + 1 + SPARE_PORTS;
    let mut all = vec![Controller { kind: "pci", index: Some(0), model: "pcie-root" }];
    all.extend((1..=ports).map(|index| Controller {
        kind: "pci",
        index: Some(index),
        model: "pcie-root-port",
    }));
    all.push(Controller { kind: "usb", index: None, model: "none" });
    all
}

/// Refuses texts that libvirt cannot take.
fn check_texts(spec: &DomainSpec) -> Result<(), DriverError> {
    let files = [&spec.kernel, &spec.initrd].into_iter().flatten().chain([&spec.console_log]);
    let of_disks = spec.disks.iter().flat_map(files_of);
    let paths = files.chain(of_disks).map(|file| ("path", file.absolute.as_str()));
    let nics = spec
        .nics
        .iter()
        .flat_map(|nic| [("mac", nic.mac.as_str()), ("bridge", nic.bridge.as_str())]);
    for (what, text) in [("name", spec.name.as_str()), ("cmdline", spec.cmdline.as_str())]
        .into_iter()
        .chain(paths)
        .chain(nics)
    {
        check_text(what, text)?;
    }
    if spec.name.is_empty() || spec.name.contains('/') {
        return Err(DriverError::refused(
            "bad-name",
            format!("{:?} cannot be a domain's name", spec.name),
        ));
    }
    Ok(())
}

/// The title without the characters that cannot be written in XML: it is only for people.
fn clean(title: &str) -> Option<String> {
    let kept: String = title.chars().filter(|c| is_told(*c)).collect();
    (!kept.trim().is_empty()).then_some(kept)
}

#[derive(Serialize)]
#[serde(rename = "domain")]
struct Domain<'a> {
    #[serde(rename = "@type")]
    kind: &'static str,
    name: &'a str,
    uuid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    metadata: Metadata,
    memory: Unit,
    #[serde(rename = "currentMemory")]
    current_memory: Unit,
    vcpu: Vcpu,
    #[serde(skip_serializing_if = "Option::is_none")]
    cputune: Option<CpuTune>,
    os: Os<'a>,
    features: Features,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu: Option<Cpu>,
    clock: Clock,
    on_poweroff: &'static str,
    on_reboot: &'static str,
    on_crash: &'static str,
    devices: Devices<'a>,
}

#[derive(Serialize)]
struct Metadata {
    #[serde(rename = "ostler:vm")]
    stamp: StampXml,
}

#[derive(Serialize)]
struct Unit {
    #[serde(rename = "@unit")]
    unit: &'static str,
    #[serde(rename = "$text")]
    value: u64,
}

#[derive(Serialize)]
struct Vcpu {
    #[serde(rename = "@current")]
    current: u32,
    #[serde(rename = "$text")]
    most: u32,
}

#[derive(Serialize)]
struct CpuTune {
    shares: u64,
}

#[derive(Serialize)]
struct Os<'a> {
    #[serde(rename = "@firmware", skip_serializing_if = "Option::is_none")]
    firmware: Option<&'static str>,
    #[serde(rename = "type")]
    kind: OsType,
    #[serde(skip_serializing_if = "Option::is_none")]
    kernel: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    initrd: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cmdline: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nvram: Option<String>,
}

#[derive(Serialize)]
struct OsType {
    #[serde(rename = "@arch")]
    arch: &'static str,
    #[serde(rename = "@machine")]
    machine: &'static str,
    #[serde(rename = "$text")]
    value: &'static str,
}

#[derive(Serialize)]
struct Features {
    acpi: Empty,
    apic: Empty,
    #[serde(skip_serializing_if = "Option::is_none")]
    tcg: Option<Tcg>,
}

#[derive(Serialize)]
struct Tcg {
    #[serde(rename = "tb-cache")]
    cache: Unit,
}

#[derive(Serialize)]
struct Cpu {
    #[serde(rename = "@mode")]
    mode: &'static str,
}

#[derive(Serialize)]
struct Clock {
    #[serde(rename = "@offset")]
    offset: &'static str,
}

#[derive(Serialize)]
struct Devices<'a> {
    #[serde(rename = "controller")]
    controllers: Vec<Controller>,
    #[serde(rename = "disk")]
    disks: Vec<Disk<'a>>,
    #[serde(rename = "interface")]
    nics: Vec<Nic<'a>>,
    serial: Serial<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    graphics: Option<Vnc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    video: Option<Video>,
    #[serde(rename = "memballoon")]
    balloon: Balloon,
    panic: Model,
}

#[cfg(test)]
#[path = "xml_tests.rs"]
pub(crate) mod tests;
