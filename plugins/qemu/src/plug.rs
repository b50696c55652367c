//! Disks, network cards and the balloon. They are plugged by QMP, at a start as later, so there is
//! one way for each. Each has the slot that the record names.

use crate::monitor::Monitor;
use crate::record::{Disk, Domain, Nic};
use ostler_sdk::Error;
use serde_json::{Value, json};

/// The program that makes a tap on a bridge. `/etc/qemu/bridge.conf` says which bridges it may use.
const HELPER: &str = "/usr/lib/qemu/qemu-bridge-helper";

/// The slot of the balloon. The machine leaves it free, and no other device gets it.
const BALLOON_SLOT: &str = "2";

/// Plugs everything that the domain has. Nothing of the guest has run yet.
pub(crate) fn all(monitor: &mut Monitor, domain: &Domain) -> Result<(), Error> {
    if domain.hardware.room.balloon {
        let balloon = json!({
            "driver": "virtio-balloon-pci", "id": "balloon", "bus": "pci.0", "addr": BALLOON_SLOT,
        });
        monitor.ask("device_add", balloon)?;
    }
    for (order, disk) in domain.hardware.disks.iter().enumerate() {
        plug_disk(monitor, disk, domain.hardware.queues(), Some(order + 1))?;
    }
    domain.hardware.nics.iter().try_for_each(|nic| plug_nic(monitor, nic))
}

/// Plugs a disk, with so many queues if that is not left to QEMU. `boot` is its place in the order in which BIOS tries disks.
pub(crate) fn plug_disk(
    monitor: &mut Monitor,
    disk: &Disk,
    queues: Option<u32>,
    boot: Option<usize>,
) -> Result<(), Error> {
    let node = node(&disk.name);
    let image = json!({
        "driver": disk.format, "node-name": node, "read-only": disk.read_only,
        "file": {"driver": "file", "filename": disk.file},
    });
    monitor.ask("blockdev-add", image)?;
    let mut device = json!({
        "driver": "virtio-blk-pci", "id": device(&disk.name), "drive": node, "serial": disk.name,
        "bus": "pci.0", "addr": format!("{:x}", disk.slot),
    });
    if let Some(queues) = queues {
        device["num-queues"] = json!(queues);
    }
    if let Some(order) = boot {
        device["bootindex"] = json!(order);
    }
    let plugged = monitor.ask("device_add", device);
    if plugged.is_err() {
        // Its error is less telling than the first one.
        let _ = monitor.ask("blockdev-del", json!({"node-name": node}));
    }
    plugged.map(drop)
}

/// Plugs a network card.
pub(crate) fn plug_nic(monitor: &mut Monitor, nic: &Nic) -> Result<(), Error> {
    let link = link(&nic.mac);
    let tap = json!({"type": "bridge", "id": link, "br": nic.bridge, "helper": HELPER});
    monitor.ask("netdev_add", tap)?;
    let card = json!({
        "driver": "virtio-net-pci", "id": device(&nic.mac), "netdev": link, "mac": nic.mac,
        "romfile": "", "bus": "pci.0", "addr": format!("{:x}", nic.slot),
    });
    let plugged = monitor.ask("device_add", card);
    if plugged.is_err() {
        let _ = monitor.ask("netdev_del", json!({"id": link}));
    }
    plugged.map(drop)
}

/// Whether the guest has a device.
pub(crate) fn has(monitor: &mut Monitor, name: &str) -> Result<bool, Error> {
    let found = monitor.ask("qom-list", json!({"path": "/machine/peripheral"}))?;
    let wanted = Value::String(device(name));
    Ok(found.as_array().is_some_and(|all| all.iter().any(|one| one.get("name") == Some(&wanted))))
}

/// QEMU's name for the file of a disk.
pub(crate) fn node(disk: &str) -> String {
    format!("file-{disk}")
}

/// QEMU's name for the network of a card.
pub(crate) fn link(mac: &str) -> String {
    format!("net-{}", mac.replace(':', "-"))
}

/// QEMU's name for a device, by the name of its disk or the address of its card.
pub(crate) fn device(name: &str) -> String {
    format!("dev-{}", name.replace(':', "-"))
}
