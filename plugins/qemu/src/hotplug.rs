//! Disks and network cards of a running domain. The record gets a device before QEMU does, and
//! loses it after QEMU did: so a call that is cut is finished by the next one, in the same slot.

use crate::driver::{Qemu, begin_there, lives};
use crate::monitor::{Monitor, until};
use crate::plug::{device, has, link, node, plug_disk, plug_nic};
use crate::process::{act, outcome};
use ostler_sdk::{Call, DomainDisk, DomainNic, Error, Hotplug, Outcome};
use serde_json::json;

impl Hotplug for Qemu {
    fn attach_disk(call: &Call, disk: DomainDisk) -> Result<Outcome, Error> {
        let (place, mut domain) = begin_there(call)?;
        let mut monitor = act(&place, &domain.uuid)?;
        let known = domain.hardware.disks.iter().find(|known| known.name == disk.name).cloned();
        let wanted = match known {
            Some(known) if known.file == disk.file.absolute => known,
            Some(known) => {
                let told = format!("disk {} is another file: {}", disk.name, known.file);
                return Err(Error::refused("disk-exists", told));
            }
            None => {
                let added = domain.hardware.add_disk(&disk)?;
                place.write(&domain)?;
                added
            }
        };
        if !has(&mut monitor, &disk.name)? {
            // A call that was cut may have left the file without its device.
            let _ = monitor.ask("blockdev-del", json!({"node-name": node(&disk.name)}));
            if let Err(error) = plug_disk(&mut monitor, &wanted, domain.hardware.queues(), None) {
                domain.hardware.disks.retain(|known| known.name != disk.name);
                place.write(&domain)?;
                return Err(error);
            }
        }
        outcome(&place, &domain)
    }

    fn detach_disk(call: &Call, name: &str) -> Result<Outcome, Error> {
        let (place, mut domain) = begin_there(call)?;
        if lives(&place, &domain)?.is_some() {
            let mut monitor = act(&place, &domain.uuid)?;
            unplug(call, &mut monitor, name)?;
            // It is gone already if a call was cut after this.
            let _ = monitor.ask("blockdev-del", json!({"node-name": node(name)}));
        }
        domain.hardware.disks.retain(|disk| disk.name != name);
        place.write(&domain)?;
        outcome(&place, &domain)
    }

    fn attach_nic(call: &Call, nic: DomainNic) -> Result<Outcome, Error> {
        let (place, mut domain) = begin_there(call)?;
        let mut monitor = act(&place, &domain.uuid)?;
        let known = domain.hardware.nics.iter().find(|known| known.mac == nic.mac).cloned();
        let wanted = match known {
            Some(known) => known,
            None => {
                let added = domain.hardware.add_nic(&nic)?;
                place.write(&domain)?;
                added
            }
        };
        if !has(&mut monitor, &nic.mac)? {
            let _ = monitor.ask("netdev_del", json!({"id": link(&nic.mac)}));
            if let Err(error) = plug_nic(&mut monitor, &wanted) {
                domain.hardware.nics.retain(|known| known.mac != nic.mac);
                place.write(&domain)?;
                return Err(error);
            }
        }
        outcome(&place, &domain)
    }

    fn detach_nic(call: &Call, mac: &str) -> Result<Outcome, Error> {
        let (place, mut domain) = begin_there(call)?;
        if lives(&place, &domain)?.is_some() {
            let mut monitor = act(&place, &domain.uuid)?;
            unplug(call, &mut monitor, mac)?;
            let _ = monitor.ask("netdev_del", json!({"id": link(mac)}));
        }
        domain.hardware.nics.retain(|nic| nic.mac != mac);
        place.write(&domain)?;
        outcome(&place, &domain)
    }
}

/// Asks the guest for a device, and waits until it let go. A guest that is still booting misses the
/// question, so it is asked again.
fn unplug(call: &Call, monitor: &mut Monitor, name: &str) -> Result<(), Error> {
    const ASK_AGAIN: u32 = 50;
    let mut looks = 0_u32;
    until(call, "the guest to let go of the device", || {
        if !has(monitor, name)? {
            return Ok(Some(()));
        }
        if looks.is_multiple_of(ASK_AGAIN) {
            // QEMU refuses to ask while the guest has not answered.
            let _ = monitor.ask("device_del", json!({"id": device(name)}));
        }
        looks += 1;
        Ok(None)
    })
}
