//! Reads domains that somebody else made, and writes our stamp into them.
//!
//! An adopted domain stays as it is until its next start. That start makes it from our
//! specification. A domain is refused if it could not run without something that a specification
//! cannot say; the refusal names that thing. Every other change is listed (see [`crate::differs`]),
//! and the operator decides.

use crate::differs::{self, Start};
use crate::domain_ops::{Order, foreign, look_after, look_before, write_stamp};
use crate::failure::During;
use crate::host;
use crate::live::Live;
use crate::look::{description, look};
use crate::options::HostConfig;
use crate::stamp::{Mark, Stamp};
use crate::tree::Node;
use ostler_model::{
    CallResult, DiskFormat, DiskName, DriverError, ErrorKind, Graphics, Identity, MacAddress,
    VmUuid, WildDomain,
};
use virt_sys as sys;

/// Devices that give a guest something of the host, or hold a part of the guest's state, and that a
/// specification cannot name.
const BEYOND_WORDS: [(&str, &str); 6] = [
    ("hostdev", "a device of the host that is passed through"),
    ("filesystem", "a folder of the host"),
    ("tpm", "a TPM"),
    ("shmem", "memory shared with others"),
    ("memory", "memory modules"),
    ("redirdev", "a redirected device"),
];

/// Describes the domain, and lists the changes that its next start would bring.
pub(crate) fn inspect(
    live: &Live,
    config: &HostConfig,
    vm: VmUuid,
) -> Result<WildDomain, DriverError> {
    let gone = || DriverError::new(ErrorKind::Gone, "no-domain", "there is no such domain");
    let sight = look(live, vm)?.ok_or_else(gone)?;
    if sight.mark == Mark::Unreadable {
        return Err(foreign(vm, "carries a mark of some Ostler's that this version cannot read"));
    }
    let asking = |error| live.error(&error, During::Asking);
    let now = description(live, &sight, 0)?;
    let mut wild = read(sight.domain.get_name().map_err(asking)?, &now)?;
    let is_persistent = sight.domain.is_persistent().map_err(asking)?;
    // The description that its next start would use.
    let next =
        if is_persistent { description(live, &sight, sys::VIR_DOMAIN_XML_INACTIVE)? } else { now };
    // The running description has the balloon's size of this moment, which is still changing while
    // the guest boots.
    if is_persistent {
        wild.memory_mib = memory_mib(&next)?;
    }
    let start =
        Start { kind: host::capabilities(live)?.choose(config)?.domain_type, cache: config.cache };
    wild.changes = differs::differences(&next, start);
    Ok(wild)
}

fn cannot(what: impl std::fmt::Display) -> DriverError {
    DriverError::refused(
        "beyond-words",
        format!("the domain has {what}, which a VM's specification cannot say"),
    )
}

fn unread(what: &str) -> DriverError {
    DriverError::refused("unreadable", format!("libvirt's XML tells no {what}"))
}

fn memory_mib(domain: &Node) -> Result<u64, DriverError> {
    let number =
        |child: &str| domain.child(child).and_then(|node| node.text().trim().parse::<u64>().ok());
    // libvirt itself always writes KiB.
    let kib =
        number("currentMemory").or_else(|| number("memory")).ok_or_else(|| unread("memory"))?;
    Ok(kib.div_ceil(1024))
}

fn read(name: String, domain: &Node) -> Result<WildDomain, DriverError> {
    let vcpu = domain.child("vcpu").ok_or_else(|| unread("number of CPUs"))?;
    // The CPUs that are plugged in now, not the most that there could be.
    let vcpus = vcpu.attr("current").map_or_else(|| vcpu.text(), str::to_owned);
    let vcpus = vcpus.trim().parse().map_err(|_| unread("number of CPUs"))?;
    let os = domain.child("os");
    let is_uefi = os.is_some_and(|os| {
        os.attr("firmware") == Some("efi")
            || os.child("loader").is_some()
            || os.child("nvram").is_some()
    });
    if is_uefi {
        return Err(cannot("UEFI with variables of its own"));
    }
    let of_os = |child: &str| {
        os.and_then(|os| os.child(child)).map(Node::text).filter(|text| !text.is_empty())
    };
    let mut wild = WildDomain {
        name,
        vcpus,
        memory_mib: memory_mib(domain)?,
        kernel: of_os("kernel"),
        initrd: of_os("initrd"),
        cmdline: of_os("cmdline").unwrap_or_default(),
        ..WildDomain::default()
    };
    for device in domain.child("devices").into_iter().flat_map(Node::children) {
        if let Some((_, what)) = BEYOND_WORDS.iter().find(|(word, _)| *word == device.name) {
            return Err(cannot(what));
        }
        match device.name.as_str() {
            "disk" => wild.disks.extend(disk(device)?),
            "interface" => wild.nics.push(nic(device)?),
            "graphics" if differs::is_vnc(device) => wild.graphics = Graphics::Vnc,
            _ => {}
        }
    }
    Ok(wild)
}

/// A disk. None for a drive without a medium: nothing is lost when it is left out.
fn disk(node: &Node) -> Result<Option<(DiskName, String, DiskFormat, bool)>, DriverError> {
    let attr = |child: &str, key: &str| node.child(child).and_then(|child| child.attr(key));
    let target = attr("target", "dev").unwrap_or("?");
    let kind = node.attr("device").unwrap_or("disk");
    let Some(source) = node.child("source").filter(|source| !source.attrs.is_empty()) else {
        return if kind == "disk" {
            Err(cannot(format!("the disk {target} without a file")))
        } else {
            Ok(None)
        };
    };
    if kind != "disk" {
        return Err(cannot(format!("a medium in the {kind} drive {target} (eject it first)")));
    }
    let (Some("file"), Some(file)) = (node.attr("type"), source.attr("file")) else {
        return Err(cannot(format!(
            "the disk {target} that is no file but of the type {}",
            node.attr("type").unwrap_or("?")
        )));
    };
    let bus = attr("target", "bus").unwrap_or("?");
    let of_its_bus =
        matches!((target.get(..2), bus), (Some("vd"), "virtio") | (Some("sd"), "sata"));
    let (true, Ok(name)) = (of_its_bus, target.parse()) else {
        return Err(cannot(format!(
            "the disk {target} on the bus {bus} (disks are vda.. on virtio, or sda.. on SATA)"
        )));
    };
    let format = match attr("driver", "type") {
        Some("qcow2") => DiskFormat::Qcow2,
        Some("raw") => DiskFormat::Raw,
        other => {
            return Err(cannot(format!(
                "the disk {target} of the format {}",
                other.unwrap_or("?")
            )));
        }
    };
    if node.child("encryption").is_some() || source.child("encryption").is_some() {
        return Err(cannot(format!("the encrypted disk {target}")));
    }
    Ok(Some((name, file.to_owned(), format, node.child("readonly").is_some())))
}

/// A network card. For a card on one of libvirt's networks, the bridge is the one that the network
/// has now.
fn nic(node: &Node) -> Result<(MacAddress, String), DriverError> {
    let mac = node.child("mac").and_then(|mac| mac.attr("address")).unwrap_or("?");
    let kind = node.attr("type").unwrap_or("?");
    let bridge = node.child("source").and_then(|source| source.attr("bridge"));
    let (true, Some(bridge)) = (matches!(kind, "bridge" | "network"), bridge) else {
        return Err(cannot(format!(
            "the network card {mac} that is on no bridge but of the type {kind}"
        )));
    };
    let address =
        mac.parse().map_err(|_| cannot(format!("a network card with the address {mac}")))?;
    Ok((address, bridge.to_owned()))
}

/// Writes the identity into the domain's stamp, if it is not there yet.
pub(crate) fn stamp(live: &Live, order: &Order, identity: &Identity) -> CallResult {
    let gone = || DriverError::new(ErrorKind::Gone, "no-domain", "there is no such domain");
    let sight = look(live, order.vm())?.ok_or_else(gone)?;
    // A domain without a stamp may be taken. A domain with a stamp must be ours already.
    let before = match &sight.mark {
        Mark::None => Stamp::new(*identity),
        Mark::Stamp(_) | Mark::Unreadable => order.may_touch(&sight)?,
    };
    if sight.mark != Mark::None && before.identity == *identity {
        return look_before(live, &sight);
    }
    write_stamp(live, &sight.domain, &Stamp { identity: *identity, ..before })?;
    look_after(live, order.vm())
}

#[cfg(test)]
#[path = "adopt_tests.rs"]
mod tests;
