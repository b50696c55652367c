//! The calls of the abilities hotplug, snapshots, resizing and adoption. `machine` decides the
//! change, and each call writes it once.

use crate::driver::{Sim, act, ask, change};
use crate::machine;
use ostler_sdk::{
    Adopt, Call, DomainDisk, DomainNic, Error, Hotplug, Identity, LiveResize, Outcome, Snapshots,
    WildDomain,
};

impl Hotplug for Sim {
    fn attach_disk(call: &Call, disk: DomainDisk) -> Result<Outcome, Error> {
        act(call, "attach-disk", |_, found| machine::attach_disk(found, disk.into()))
    }

    fn detach_disk(call: &Call, name: &str) -> Result<Outcome, Error> {
        act(call, "detach-disk", |_, found| machine::detach_disk(found, name))
    }

    fn attach_nic(call: &Call, nic: DomainNic) -> Result<Outcome, Error> {
        act(call, "attach-nic", |_, found| machine::attach_nic(found, nic.into()))
    }

    fn detach_nic(call: &Call, mac: &str) -> Result<Outcome, Error> {
        act(call, "detach-nic", |_, found| machine::detach_nic(found, mac))
    }
}

impl Snapshots for Sim {
    fn create(call: &Call, name: &str) -> Result<Outcome, Error> {
        act(call, "create-snapshot", |_, found| machine::create_snapshot(found, name))
    }

    fn revert(call: &Call, name: &str) -> Result<Outcome, Error> {
        act(call, "revert-snapshot", |_, found| {
            machine::revert_snapshot(found, &call.id(), call.generation(), name)
        })
    }

    fn delete(call: &Call, name: &str) -> Result<Outcome, Error> {
        act(call, "delete-snapshot", |_, found| Ok(machine::delete_snapshot(found, name)))
    }

    fn list(vm: &str) -> Result<Vec<String>, Error> {
        ask("list-snapshots", vm, |site| {
            let found = site.read(vm)?;
            Ok(found
                .map(|domain| domain.snapshots.into_iter().map(|snapshot| snapshot.name).collect())
                .unwrap_or_default())
        })
    }
}

impl LiveResize for Sim {
    fn resize(call: &Call, vcpus: u32, memory_mib: u64) -> Result<Outcome, Error> {
        act(call, "resize", |_, found| machine::resize(found, vcpus, memory_mib))
    }
}

impl Adopt for Sim {
    fn inspect(vm: &str) -> Result<WildDomain, Error> {
        ask("inspect", vm, |site| crate::domain::there(site.read(vm)?).map(machine::wild))
    }

    fn stamp(call: &Call, identity: Identity) -> Result<Outcome, Error> {
        change(call, "stamp", |site| {
            let found = site.read(&call.vm())?;
            // A domain that nobody has stamped may be stamped.
            if let Some(stamped) = found.as_ref().filter(|domain| domain.store.is_some()) {
                call.may_touch(stamped)?;
            }
            machine::stamp(found, &identity.store, identity.generation)
        })
    }
}
