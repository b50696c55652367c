//! System snapshots: internal ones of qcow2, in the disks and in the file with the memory. A
//! snapshot exists if the latter has it: it is removed from there last.

use crate::driver::{Qemu, begin, begin_there, lives};
use crate::place::Place;
use crate::process::{self, Begin, act, outcome};
use crate::record::{Domain, Hardware};
use crate::size;
use crate::state::{job, make, names, open, settle, snapshots_in, state_of, without_memory};
use ostler_sdk::host::{exec, files};
use ostler_sdk::{Call, DiskFormat, Error, FilePath, Outcome, PowerReason, Snapshots};

impl Snapshots for Qemu {
    fn create(call: &Call, name: &str) -> Result<Outcome, Error> {
        let (place, mut domain) = begin_there(call)?;
        let mut monitor = act(&place, &domain.uuid)?;
        settle(call, &mut monitor)?;
        if !names(&place, &domain.uuid)?.iter().any(|known| known == name) {
            if let Some(disk) =
                domain.hardware.disks.iter().find(|disk| disk.format != DiskFormat::Qcow2)
            {
                let told = format!("disk {} is {}: only qcow2 can", disk.name, disk.format);
                return Err(Error::refused("no-snapshots", told));
            }
            make(&place, &domain.uuid)?;
            domain.hardware.vcpus = size::cpus(&mut monitor)?;
            domain.snapshots.insert(name.to_owned(), domain.hardware.clone());
            place.write(&domain)?;
            let arguments = open(&place, &mut monitor, &domain, name)?;
            // A snapshot of this name that was begun and not finished is in the way.
            job(call, &mut monitor, "snapshot-delete", without_memory(&arguments))?;
            job(call, &mut monitor, "snapshot-save", arguments)?;
        }
        outcome(&place, &domain)
    }

    /// Starts anew from the snapshot, with the hardware of then. That is right for a domain that
    /// runs, that has other devices by now, and that is off.
    fn revert(call: &Call, name: &str) -> Result<Outcome, Error> {
        let (place, domain) = begin_there(call)?;
        let id = call.id().to_string();
        let begun = domain.edge.as_ref() == Some(&id);
        if begun && !may_begin_again(&place, &domain)? {
            return outcome(&place, &domain);
        }
        let known = names(&place, &domain.uuid)?.iter().any(|known| known == name);
        let hardware: Option<Hardware> = domain.snapshots.get(name).filter(|_| known).cloned();
        let hardware = hardware
            .ok_or_else(|| Error::gone("no-snapshot", format!("there is no snapshot {name}")))?;
        let mut domain = if begun {
            // An end that is written here would look like that of a destroy.
            process::kill(call, &place, &domain.uuid)?;
            domain
        } else {
            process::end(call, &place, domain, PowerReason::Destroyed)?
        };
        domain.hardware = hardware;
        (domain.run, domain.let_go) = (process::mark(), false);
        (domain.edge, domain.generation) = (Some(id), call.generation());
        process::start(call, &place, &mut domain, &Begin::Snapshot(name))?;
        outcome(&place, &domain)
    }

    fn delete(call: &Call, name: &str) -> Result<Outcome, Error> {
        let (place, found) = begin(call)?;
        let Some(mut domain) = found else { return Ok(Outcome::absent()) };
        let running = lives(&place, &domain)?.is_some();
        if names(&place, &domain.uuid)?.iter().any(|known| known == name) {
            if running {
                let mut monitor = act(&place, &domain.uuid)?;
                settle(call, &mut monitor)?;
                let arguments = open(&place, &mut monitor, &domain, name)?;
                job(call, &mut monitor, "snapshot-delete", without_memory(&arguments))?;
            } else {
                delete_at_rest(&place, &domain, name)?;
            }
        }
        if domain.snapshots.remove(name).is_some() {
            place.write(&domain)?;
        }
        outcome(&place, &domain)
    }

    fn list(vm: &str) -> Result<Vec<String>, Error> {
        names(&Place::open()?, vm)
    }
}

/// Whether a revert that was begun and stopped may begin again: nothing of the guest has run, and
/// no destroy has ended it. A guest that was let go runs on.
fn may_begin_again(place: &Place, domain: &Domain) -> Result<bool, Error> {
    if domain.let_go {
        process::go_on(place, domain, &["prelaunch", "paused", "restore-vm"])?;
        return Ok(false);
    }
    Ok(place.end(&domain.uuid)?.is_none_or(|end| end.run != domain.run))
}

fn delete_at_rest(place: &Place, domain: &Domain, name: &str) -> Result<(), Error> {
    let disks = domain.hardware.disks.iter().filter(|disk| disk.format == DiskFormat::Qcow2);
    let disks = disks.map(|disk| FilePath::new(disk.place.0.clone(), disk.place.1.clone()));
    for disk in disks.chain([state_of(place, &domain.uuid)]) {
        if files::stat(&disk)?.is_some() && snapshots_in(&disk)?.iter().any(|found| found == name) {
            exec::output("delete-snapshot", &[("name", name), ("disk", &disk.hole())])?;
        }
    }
    Ok(())
}
