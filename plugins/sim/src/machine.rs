//! How calls change the hardware of a domain while it runs. No IO.

use crate::domain::{Change, Domain, running, there};
use crate::parts::{Disk, Machine, Nic, Snapshot};
use ostler_sdk::{EffectId, Error, Power, PowerReason, WildDisk, WildDomain, WildNic};

/// Puts `wanted` into the list, unless it is there already. Answers whether the list has changed.
fn plugged<T: PartialEq>(
    list: &mut Vec<T>,
    wanted: T,
    is: impl Fn(&T) -> bool,
    what: &str,
) -> Result<bool, Error> {
    match list.iter().find(|found| is(found)) {
        Some(found) if *found == wanted => Ok(false),
        Some(_) => {
            Err(Error::refused("differs", format!("{what} is there already, and is another")))
        }
        None => {
            list.push(wanted);
            Ok(true)
        }
    }
}

fn changed(domain: Domain, change: bool) -> Change {
    if change { Change::Put(domain) } else { Change::None(Some(domain)) }
}

pub(crate) fn attach_disk(found: Option<Domain>, disk: Disk) -> Result<Change, Error> {
    let mut domain = running(found)?;
    let name = disk.name.clone();
    let change = plugged(&mut domain.machine.disks, disk, |found| found.name == name, &name)?;
    Ok(changed(domain, change))
}

pub(crate) fn detach_disk(found: Option<Domain>, name: &str) -> Result<Change, Error> {
    let mut domain = running(found)?;
    let before = domain.machine.disks.len();
    domain.machine.disks.retain(|disk| disk.name != name);
    let change = domain.machine.disks.len() != before;
    Ok(changed(domain, change))
}

pub(crate) fn attach_nic(found: Option<Domain>, nic: Nic) -> Result<Change, Error> {
    let mut domain = running(found)?;
    let mac = nic.mac.clone();
    let change = plugged(&mut domain.machine.nics, nic, |found| found.mac == mac, &mac)?;
    Ok(changed(domain, change))
}

pub(crate) fn detach_nic(found: Option<Domain>, mac: &str) -> Result<Change, Error> {
    let mut domain = running(found)?;
    let before = domain.machine.nics.len();
    domain.machine.nics.retain(|nic| nic.mac != mac);
    let change = domain.machine.nics.len() != before;
    Ok(changed(domain, change))
}

pub(crate) fn resize(found: Option<Domain>, vcpus: u32, memory_mib: u64) -> Result<Change, Error> {
    let mut domain = running(found)?;
    let machine = &mut domain.machine;
    let (most, most_mib) = (machine.vcpus_most, machine.memory_most_mib);
    if (most > 0 && vcpus > most) || (most_mib > 0 && memory_mib > most_mib) {
        return Err(Error::refused(
            "beyond-most",
            format!("at most {most} CPUs and {most_mib} MiB can be given to it"),
        ));
    }
    let change = (machine.vcpus, machine.memory_mib) != (vcpus, memory_mib);
    (machine.vcpus, machine.memory_mib) = (vcpus, memory_mib);
    Ok(changed(domain, change))
}

pub(crate) fn create_snapshot(found: Option<Domain>, name: &str) -> Result<Change, Error> {
    let mut domain = running(found)?;
    let change = domain.snapshots.iter().all(|snapshot| snapshot.name != name);
    if change {
        domain.snapshots.push(Snapshot {
            name: name.to_owned(),
            presses: domain.presses,
            reboots: domain.reboots,
            resets: domain.resets,
            started_ms: domain.started_ms,
            machine: domain.machine.clone(),
        });
    }
    Ok(changed(domain, change))
}

/// Goes back to a snapshot and stamps the effect, both in one write.
pub(crate) fn revert_snapshot(
    found: Option<Domain>,
    id: &EffectId,
    generation: u64,
    name: &str,
) -> Result<Change, Error> {
    let mut domain = there(found)?;
    let mark = id.to_string();
    if domain.edge.as_ref() == Some(&mark) {
        return Ok(Change::None(Some(domain)));
    }
    let snapshot = domain.snapshots.iter().find(|snapshot| snapshot.name == name).cloned();
    let Some(snapshot) = snapshot else {
        return Err(Error::gone("no-snapshot", format!("there is no snapshot {name}")));
    };
    (domain.presses, domain.reboots, domain.resets) =
        (snapshot.presses, snapshot.reboots, snapshot.resets);
    (domain.started_ms, domain.machine) = (snapshot.started_ms, snapshot.machine);
    (domain.off_at_ms, domain.crash_at_ms, domain.journey) = (None, None, None);
    (domain.power, domain.reason) = (Power::Running, PowerReason::None);
    (domain.edge, domain.generation) = (Some(mark), generation);
    domain.reverts = domain.reverts.saturating_add(1);
    Ok(Change::Put(domain))
}

pub(crate) fn delete_snapshot(found: Option<Domain>, name: &str) -> Change {
    let Some(mut domain) = found else { return Change::None(None) };
    let before = domain.snapshots.len();
    domain.snapshots.retain(|snapshot| snapshot.name != name);
    let change = domain.snapshots.len() != before;
    changed(domain, change)
}

pub(crate) fn stamp(found: Option<Domain>, store: &str, generation: u64) -> Result<Change, Error> {
    let mut domain = there(found)?;
    if domain.store.as_deref().is_some_and(|found| found != store) {
        return Err(Error::refused("foreign", "a domain that is another store's is there"));
    }
    let change = (domain.store.as_deref(), domain.generation) != (Some(store), generation);
    (domain.store, domain.generation) = (Some(store.to_owned()), generation);
    Ok(changed(domain, change))
}

pub(crate) fn wild(domain: Domain) -> WildDomain {
    let Machine { vcpus, memory_mib, disks, nics, .. } = domain.machine;
    let disk = |disk: Disk| WildDisk {
        name: disk.name,
        file: disk.file,
        format: disk.format,
        read_only: disk.read_only,
    };
    WildDomain {
        name: domain.name,
        vcpus,
        memory_mib,
        disks: disks.into_iter().map(disk).collect(),
        nics: nics.into_iter().map(|nic| WildNic { mac: nic.mac, bridge: nic.bridge }).collect(),
        extra: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::tests::{id, put, spec};
    use crate::domain::{deploy, destroy};
    use ostler_sdk::{DiskFormat, ErrorKind};

    fn domain() -> Domain {
        let mut spec = spec(1);
        spec.extra =
            vec![("vcpus-most".into(), "4".into()), ("memory-most-mib".into(), "128".into())];
        put(deploy(None, &spec, 5, None).expect("deployed"))
    }

    fn disk(name: &str) -> Disk {
        Disk {
            name: name.into(),
            file: format!("/d/{name}"),
            datastore: "d".into(),
            path: name.into(),
            format: DiskFormat::Raw,
            read_only: false,
        }
    }

    #[test]
    fn what_is_plugged_in_twice_is_there_once() {
        let one = put(attach_disk(Some(domain()), disk("vdb")).expect("attached"));
        assert_eq!(
            attach_disk(Some(one.clone()), disk("vdb")).expect("again"),
            Change::None(Some(one.clone()))
        );
        let other = Disk { file: "/d/other".into(), ..disk("vdb") };
        assert_eq!(
            attach_disk(Some(one.clone()), other).expect_err("another").kind,
            ErrorKind::Refused
        );
        let none = put(detach_disk(Some(one), "vdb").expect("detached"));
        assert_eq!(
            detach_disk(Some(none.clone()), "vdb").expect("again"),
            Change::None(Some(none.clone()))
        );
        let off = put(destroy(Some(none)));
        assert_eq!(detach_disk(Some(off), "vdb").expect_err("off").kind, ErrorKind::Gone);
    }

    #[test]
    fn a_guest_grows_as_far_as_it_was_told() {
        let more = put(resize(Some(domain()), 4, 128).expect("resized"));
        assert_eq!((more.machine.vcpus, more.machine.memory_mib), (4, 128));
        assert_eq!(
            resize(Some(more.clone()), 4, 128).expect("again"),
            Change::None(Some(more.clone()))
        );
        assert_eq!(resize(Some(more), 5, 128).expect_err("too many").code, "beyond-most");
    }

    #[test]
    fn a_snapshot_brings_back_what_was_and_is_gone_back_to_once_an_identity() {
        let made = put(create_snapshot(Some(domain()), "a").expect("made"));
        assert_eq!(
            create_snapshot(Some(made.clone()), "a").expect("again"),
            Change::None(Some(made.clone()))
        );
        let mut later = put(resize(Some(made), 2, 100).expect("resized"));
        later.presses = 3;
        let back = put(revert_snapshot(Some(later), &id(7), 2, "a").expect("reverted"));
        assert_eq!((back.machine.vcpus, back.presses, back.generation, back.reverts), (1, 0, 2, 1));
        assert_eq!(
            revert_snapshot(Some(back.clone()), &id(7), 2, "a").expect("again"),
            Change::None(Some(back.clone()))
        );
        assert_eq!(
            revert_snapshot(Some(back.clone()), &id(8), 2, "b").expect_err("none").kind,
            ErrorKind::Gone
        );
        let off = put(destroy(Some(back)));
        let none = put(delete_snapshot(Some(off), "a"));
        assert_eq!(delete_snapshot(Some(none.clone()), "a"), Change::None(Some(none)));
        assert_eq!(delete_snapshot(None, "a"), Change::None(None));
    }

    #[test]
    fn a_wild_domain_is_told_and_stamped() {
        let text = r#"{"uuid":"v","name":"w","power":"running","vcpus":2,"memory-mib":64,
            "disks":[{"name":"vda","file":"/x/y","format":"raw"}]}"#;
        let wild_one: Domain = serde_json::from_str(text).expect("well formed");
        assert_eq!(wild(wild_one.clone()).disks[0].file, "/x/y");
        let stamped = put(stamp(Some(wild_one), "s", 3).expect("stamped"));
        assert_eq!((stamped.store.as_deref(), stamped.generation), (Some("s"), 3));
        assert_eq!(
            stamp(Some(stamped.clone()), "s", 3).expect("again"),
            Change::None(Some(stamped.clone()))
        );
        assert_eq!(stamp(Some(stamped), "t", 4).expect_err("another's").code, "foreign");
    }
}
