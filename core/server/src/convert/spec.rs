//! A VM's specification.

use super::{Unfit, new_name, parse, word};
use ostler_api as wire;
use ostler_model::{
    BootSpec, DiskFormat, DiskSource, DiskSpec, Firmware, Graphics, Headroom, Millis, NicSpec,
    Patience, VmSpec,
};

/// Most thousandths of a CPU that a VM reserves.
const CPU_MILLI_MAX: u32 = 1024 * 1000;

/// Makes a specification from a file or a request. It is checked as far as that is possible without
/// hosts and images.
pub(crate) fn spec_from_wire(spec: &wire::VmSpec) -> Result<VmSpec, Unfit> {
    let (cpu_milli, vcpus) = cpus(spec)?;
    let disks = spec.disks.iter().enumerate().map(|(at, disk)| disk_from_wire(at, disk));
    let nics =
        spec.nics.iter().enumerate().map(|(at, nic)| nic_from_wire(&format!("nics[{at}]."), nic));
    let checked = VmSpec {
        name: new_name("name", &spec.name)?,
        cpu_milli,
        vcpus,
        memory_mib: spec.memory.0,
        boot: boot_from_wire(&spec.boot)?,
        disks: disks.collect::<Result<_, _>>()?,
        nics: nics.collect::<Result<_, _>>()?,
        graphics: spec.graphics.as_deref().map_or(Ok(Graphics::default()), graphics)?,
        host: spec.host.as_deref().map(|host| parse("host", host)).transpose()?,
        labels: spec.labels.clone(),
        user_data: spec.user_data.clone(),
        patience: patience_from_wire(&spec.patience),
        headroom: Headroom {
            vcpus: spec.headroom.vcpus,
            memory_mib: spec.headroom.memory.map(|size| size.0),
        },
    };
    checked.check().map_err(|err| Unfit::new(err.field, err.problem))?;
    Ok(checked)
}

/// A specification, as it is sent.
pub(crate) fn spec_to_wire(spec: &VmSpec) -> wire::VmSpec {
    wire::VmSpec {
        name: spec.name.to_string(),
        cpu: Some(wire::CpuMilli(spec.cpu_milli.into())),
        vcpus: Some(spec.vcpus),
        memory: wire::Size(spec.memory_mib),
        headroom: wire::Headroom {
            vcpus: spec.headroom.vcpus,
            memory: spec.headroom.memory_mib.map(wire::Size),
        },
        boot: boot_to_wire(&spec.boot),
        disks: spec.disks.iter().map(disk_to_wire).collect(),
        nics: spec
            .nics
            .iter()
            .map(|nic| wire::Nic {
                bridge: nic.bridge.clone(),
                mac: nic.mac.clone().map(String::from),
            })
            .collect(),
        graphics: Some(spec.graphics.to_string()),
        host: spec.host.as_ref().map(ToString::to_string),
        labels: spec.labels.clone(),
        user_data: spec.user_data.clone(),
        patience: patience_to_wire(&spec.patience),
    }
}

/// The reserved CPUs (in thousandths) and the virtual CPUs. A request needs only one of both: a VM
/// with 0.5 CPUs sees one virtual CPU, and a VM with 2 virtual CPUs reserves two CPUs.
fn cpus(spec: &wire::VmSpec) -> Result<(u32, u32), Unfit> {
    let milli = match (spec.cpu, spec.vcpus) {
        (Some(cpu), _) => cpu_from_wire(cpu)?,
        // `vcpus` that are 0 or too many are refused later, with the other bounds and under their
        // own name.
        (None, Some(vcpus)) => vcpus.max(1).saturating_mul(1000).min(CPU_MILLI_MAX),
        (None, None) => 1000,
    };
    Ok((milli, spec.vcpus.unwrap_or_else(|| milli.div_ceil(1000))))
}

/// The CPUs that placement reserves. The problem names the bounds in CPUs, as the client writes
/// them.
pub(crate) fn cpu_from_wire(cpu: wire::CpuMilli) -> Result<u32, Unfit> {
    let milli = u32::try_from(cpu.0).ok().filter(|milli| (1..=CPU_MILLI_MAX).contains(milli));
    milli.ok_or_else(|| {
        Unfit::new("cpu", format!("is {cpu}, must be from 0.001 to {}", CPU_MILLI_MAX / 1000))
    })
}

fn graphics(text: &str) -> Result<Graphics, Unfit> {
    text.parse().map_err(|_| Unfit::new("graphics", format!("{text:?} is not one of none, vnc")))
}

fn boot_from_wire(boot: &wire::Boot) -> Result<BootSpec, Unfit> {
    Ok(BootSpec {
        firmware: boot
            .firmware
            .as_deref()
            .map_or(Ok(Firmware::default()), |text| word("boot.firmware", text))?,
        kernel: boot.kernel.as_deref().map(|file| parse("boot.kernel", file)).transpose()?,
        initrd: boot.initrd.as_deref().map(|file| parse("boot.initrd", file)).transpose()?,
        cmdline: boot.cmdline.clone(),
    })
}

fn boot_to_wire(boot: &BootSpec) -> wire::Boot {
    wire::Boot {
        firmware: Some(boot.firmware.to_string()),
        kernel: boot.kernel.as_ref().map(ToString::to_string),
        initrd: boot.initrd.as_ref().map(ToString::to_string),
        cmdline: boot.cmdline.clone(),
    }
}

/// A network card. `place` comes before the names of its fields in a problem.
pub(crate) fn nic_from_wire(place: &str, nic: &wire::Nic) -> Result<NicSpec, Unfit> {
    let mac = nic.mac.as_deref().map(|mac| parse(&format!("{place}mac"), mac)).transpose()?;
    Ok(NicSpec { bridge: nic.bridge.clone(), mac })
}

/// The ways to say the content of a disk.
pub(crate) const ONE_CONTENT: &str =
    "give image (with a size, if the disk is to be larger), or size alone, or swap alone";

fn disk_from_wire(at: usize, disk: &wire::Disk) -> Result<DiskSpec, Unfit> {
    let field = |name: &str| format!("disks[{at}].{name}");
    let whole = format!("disks[{at}]");
    let source = match (&disk.image, disk.size, disk.swap, &disk.file) {
        (Some(image), size, None, None) => DiskSource::Image {
            image: parse(&field("image"), image)?,
            size_mib: size.map(|size| size.0),
        },
        (None, Some(size), None, None) => DiskSource::Blank { size_mib: size.0 },
        (None, None, Some(swap), None) => DiskSource::Swap { size_mib: swap.0 },
        // The engine refuses this, and says why.
        (None, None, None, Some(file)) => DiskSource::File { path: parse(&field("file"), file)? },
        (None, None, None, None) => {
            return Err(Unfit::new(whole, ONE_CONTENT));
        }
        _ => return Err(Unfit::new(whole, ONE_CONTENT)),
    };
    Ok(DiskSpec {
        name: parse(&field("name"), &disk.name)?,
        format: format_or_usual(&field("format"), disk.format.as_deref(), &source)?,
        source,
        read_only: disk.read_only,
    })
}

/// The format that was asked for, or the usual one of such disks.
pub(crate) fn format_or_usual(
    field: &str,
    asked: Option<&str>,
    source: &DiskSource,
) -> Result<DiskFormat, Unfit> {
    let usual =
        if matches!(source, DiskSource::Swap { .. }) { DiskFormat::Raw } else { DiskFormat::Qcow2 };
    asked.map_or(Ok(usual), |text| word(field, text))
}

fn disk_to_wire(disk: &DiskSpec) -> wire::Disk {
    let bare = wire::Disk {
        name: disk.name.to_string(),
        format: Some(disk.format.to_string()),
        read_only: disk.read_only,
        ..wire::Disk::default()
    };
    match &disk.source {
        DiskSource::Image { image, size_mib } => {
            wire::Disk { image: Some(image.to_string()), size: size_mib.map(wire::Size), ..bare }
        }
        DiskSource::Blank { size_mib } => wire::Disk { size: Some(wire::Size(*size_mib)), ..bare },
        DiskSource::Swap { size_mib } => wire::Disk { swap: Some(wire::Size(*size_mib)), ..bare },
        DiskSource::File { path } => wire::Disk { file: Some(path.to_string()), ..bare },
    }
}

fn patience_from_wire(patience: &wire::Patience) -> Patience {
    let usual = Patience::default();
    let or = |given: Option<wire::Span>, usual: Millis| given.map_or(usual, |span| Millis(span.0));
    Patience {
        shutdown: or(patience.shutdown, usual.shutdown),
        hypervisor: or(patience.hypervisor, usual.hypervisor),
        transfer: or(patience.transfer, usual.transfer),
        boot_grace: or(patience.boot_grace, usual.boot_grace),
    }
}

fn patience_to_wire(patience: &Patience) -> wire::Patience {
    wire::Patience {
        shutdown: Some(wire::Span(patience.shutdown.0)),
        hypervisor: Some(wire::Span(patience.hypervisor.0)),
        transfer: Some(wire::Span(patience.transfer.0)),
        boot_grace: Some(wire::Span(patience.boot_grace.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(value: Value) -> Result<VmSpec, Unfit> {
        spec_from_wire(&ostler_api::decode(value).expect("has the right shape"))
    }

    fn full() -> Value {
        json!({
            "name": "web-1", "cpu": 0.5, "vcpus": 2, "memory": "96MiB", "graphics": "vnc", "host": "a",
            "boot": {"kernel": "images:vmlinux", "initrd": "images:initrd.img", "cmdline": "console=ttyS0"},
            "disks": [{"name": "vda", "image": "tiny", "size": "20GiB"}, {"name": "vdb", "size": "1GiB", "format": "raw", "read_only": true},
                      {"name": "vdc", "swap": "512MiB"}],
            "nics": [{"bridge": "br0", "mac": "52:54:00:12:34:56"}], "headroom": {"vcpus": 4, "memory": "1GiB"},
            "labels": {"tier": "web"}, "user_data": "x", "patience": {"shutdown": "60s"}
        })
    }

    #[test]
    fn a_full_specification_goes_there_and_back() {
        let spec = read(full()).expect("is right");
        assert_eq!((spec.cpu_milli, spec.vcpus, spec.memory_mib), (500, 2, 96));
        assert_eq!(spec.disks[2].format, DiskFormat::Raw);
        assert_eq!(spec.patience.shutdown, Millis::secs(60));
        assert_eq!(spec.headroom, Headroom { vcpus: Some(4), memory_mib: Some(1024) });
        assert_eq!(spec.patience.transfer, Patience::default().transfer);
        assert_eq!(spec_from_wire(&spec_to_wire(&spec)), Ok(spec));
    }

    #[test]
    fn what_is_left_out_has_a_meaning() {
        let spec = read(json!({"name": "a", "memory": 64})).expect("is right");
        assert_eq!((spec.cpu_milli, spec.vcpus), (1000, 1));
        let spec = read(json!({"name": "a", "memory": 64, "cpu": 2.5})).expect("is right");
        assert_eq!((spec.cpu_milli, spec.vcpus), (2500, 3));
        let spec = read(json!({"name": "a", "memory": 64, "vcpus": 4})).expect("is right");
        assert_eq!((spec.cpu_milli, spec.vcpus), (4000, 4));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            (json!({"name": "a b"}), "name"),
            (json!({"memory": 0}), "memory"),
            (json!({"vcpus": 0}), "vcpus"),
            (json!({"cpu": 0}), "cpu"),
            (json!({"graphics": "gl"}), "graphics"),
            (json!({"boot": {"kernel": "vmlinux"}}), "boot.kernel"),
            (json!({"boot": {"kernel": "images:../vmlinux"}}), "boot.kernel"),
            (json!({"boot": {"firmware": "efi"}}), "boot.firmware"),
            (json!({"boot": {"cmdline": "x"}}), "boot"),
            (json!({"disks": [{"name": "vda"}]}), "disks[0]"),
            (json!({"disks": [{"name": "vda", "image": "a", "size": 0}]}), "disks[0].size"),
            (json!({"disks": [{"name": "vda", "image": "a", "swap": 1}]}), "disks[0]"),
            (json!({"disks": [{"name": "vda", "size": 1, "swap": 1}]}), "disks[0]"),
            (json!({"disks": [{"name": "vda", "size": 0}]}), "disks[0].size"),
            (json!({"disks": [{"name": "vda", "size": 1, "format": "vmdk"}]}), "disks[0].format"),
            (
                json!({"disks": [{"name": "vda", "size": 1}, {"name": "vda", "size": 1}]}),
                "disks[1].name",
            ),
            (json!({"nics": [{"bridge": ""}]}), "nics[0].bridge"),
            (json!({"nics": [{"bridge": "br0", "mac": "01:00:00:00:00:00"}]}), "nics[0].mac"),
            (json!({"patience": {"shutdown": "48h"}}), "patience.shutdown (ms)"),
            (json!({"headroom": {"vcpus": 5000}}), "headroom.vcpus"),
            (json!({"headroom": {"memory": "100TiB"}}), "headroom.memory"),
        ];
        for (part, field) in cases {
            let mut value = json!({"name": "a", "memory": 64});
            let (whole, part) =
                (value.as_object_mut().expect("object"), part.as_object().expect("object").clone());
            whole.extend(part);
            assert_eq!(read(value.clone()).expect_err("is wrong").field, field, "{value}");
        }
    }
}
