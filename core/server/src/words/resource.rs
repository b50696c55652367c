//! Sentences: why the change of a resource is refused.

use super::{Names, datastore, host, image, named_vm};
use ostler_model::{Resource, ResourceRefused, UsedBy, VmId};

/// The sentence of a refusal.
pub(crate) fn resource_refused(names: &dyn Names, refused: &ResourceRefused) -> String {
    match refused {
        ResourceRefused::NameTaken { kind, name } => {
            format!("the name {name} is taken by another {kind}: choose another")
        }
        ResourceRefused::SameHypervisor { other } => format!(
            "that hypervisor is host {other} already: under two names its capacity would count \
             twice, and a VM that moved from one to the other would be lost. If they are two \
             machines, their driver must tell them apart (for kvm: give one of them a host_uuid of \
             its own in libvirtd.conf)"
        ),
        ResourceRefused::InUse { what, by } => in_use(names, &resource(names, what), by),
        ResourceRefused::FileTaken { path, image, format } => {
            format!(
                "the file {path} is the image {image} already, as {format}: give the same format, \
                 or use another file"
            )
        }
        ResourceRefused::NotFound { what: Resource::Rules(driver) } => {
            format!("there are no snapshot rules bound to driver {driver}")
        }
        ResourceRefused::NotFound { what } => format!("there is no {}", resource(names, what)),
        ResourceRefused::UuidTaken { vm, other } => {
            format!("the UUID of VM {vm} belongs to {} already", named_vm(names, *other))
        }
    }
}

/// A resource with its kind: `host kvm1`.
fn resource(names: &dyn Names, what: &Resource) -> String {
    let kind = what.kind();
    match what {
        Resource::Host(id) => format!("{kind} {}", host(names, *id)),
        Resource::Datastore(id) => format!("{kind} {}", datastore(names, *id)),
        Resource::Image(id) => format!("{kind} {}", image(names, *id)),
        Resource::Token(name) => format!("{kind} {name}"),
        Resource::Driver(name) | Resource::Rules(name) => format!("{kind} {name}"),
        Resource::Secret(key) => match key.host {
            Some(id) => format!("{kind} {} of host {}", key.name, host(names, id)),
            None => format!("{kind} {} of driver {}", key.name, key.driver),
        },
        Resource::Vm(id) => named_vm(names, *id),
    }
}

/// The advice where something of a VM may be left on a host.
const LOOKED_FOR: &str = "that is looked for when the host answers. If the host does not come \
                          back, remove it as fenced";

/// Why `what` cannot be removed or changed, and what to do about it.
fn in_use(names: &dyn Names, what: &str, by: &UsedBy) -> String {
    let vm = |id: &VmId| named_vm(names, *id);
    match by {
        UsedBy::Daemon => {
            format!("the {what} is the machine that ostlerd runs on: it cannot be removed")
        }
        UsedBy::Placed(id) => {
            format!("{} has its place on the {what}: move or delete the VM first", vm(id))
        }
        UsedBy::Moving(id) => format!(
            "{} is on its way from the {what} or to it: wait until that has ended, then move or \
             delete the VM",
            vm(id)
        ),
        UsedBy::LeftBy(id) => {
            format!("{} may have left something on the {what}: {LOOKED_FOR}", vm(id))
        }
        UsedBy::FoundBy(id) => format!(
            "{} is on the {what}, or may have left something there, and is found by these \
             settings: change them when nothing of a VM is there any more",
            vm(id)
        ),
        UsedBy::FilesOf(id) => format!(
            "{} has files in the {what}, or may have left some there: delete the VM, and wait \
             until its files are gone",
            vm(id)
        ),
        UsedBy::Image(id) => {
            let image = image(names, *id);
            format!("the image {image} is in the {what}: remove the image first")
        }
        UsedBy::Disks { count: 1 } => format!(
            "a disk of a VM stands on the {what}: detach it or delete the VM; then its file goes"
        ),
        UsedBy::Disks { count } => format!(
            "{count} disks of VMs stand on the {what}: detach them or delete the VMs; then their \
             files go"
        ),
        UsedBy::DiskToSave => {
            format!("a disk is being saved as the {what}: wait until that has ended")
        }
        UsedBy::Ready => format!("the {what} is complete, so it is kept: remove it if it must go"),
        UsedBy::NotDone { state } => format!("{what} is {state}: delete the VM first"),
        UsedBy::LeftOn(id) => {
            let host = host(names, *id);
            format!("something of {what} may be left on host {host}: {LOOKED_FOR}")
        }
        UsedBy::Call => {
            format!("a driver may still be at work for {what}: wait until that has ended")
        }
        UsedBy::HypervisorOf(id) => {
            let host = host(names, *id);
            format!("host {host} is reached by the {what}: remove the host first")
        }
        UsedBy::RulesOfHost(id) => format!(
            "the {what} holds the snapshot rules of host {}: take the rules off the host first",
            host(names, *id)
        ),
        UsedBy::FilesIn(id) => {
            let datastore = datastore(names, *id);
            format!("datastore {datastore} is served by the {what}: remove the datastore first")
        }
        UsedBy::RulesOf(driver) => format!(
            "the {what} takes part in the snapshot rules that are bound to driver {driver}: unbind \
             the rules first"
        ),
    }
}
