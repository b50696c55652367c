//! Sentences: why the change of a resource is refused.

use super::{Names, datastore, host, image, named_vm};
use ostler_model::{Resource, ResourceRefused, UsedBy};

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
        ResourceRefused::InUse { what, by } => {
            format!(
                "the {} is in use by {}: move or delete that first",
                resource(names, what),
                used_by(names, by)
            )
        }
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
        Resource::Vm(id) => named_vm(names, *id),
    }
}

fn used_by(names: &dyn Names, by: &UsedBy) -> String {
    let vm = |id| named_vm(names, id);
    match by {
        UsedBy::Daemon => "this ostlerd, which runs on it".to_owned(),
        UsedBy::Placed(id) => format!("{}, which has its place there", vm(*id)),
        UsedBy::Moving(id) => format!("{}, which migrates from there or to it", vm(*id)),
        UsedBy::LeftBy(id) => format!(
            "{}, which may have left something there; it is looked for once the host is seen. If \
             it does not come back, remove it as fenced",
            vm(*id)
        ),
        UsedBy::FoundBy(id) => format!("{}, which is found by its settings", vm(*id)),
        UsedBy::FilesOf(id) => vm(*id),
        UsedBy::Image(id) => format!("image {}", image(names, *id)),
        UsedBy::Disks { count: 1 } => "a disk of a VM".to_owned(),
        UsedBy::Disks { count } => format!("{count} disks of VMs"),
        UsedBy::DiskToSave => "the disk that is saved as it, it is locked".to_owned(),
        UsedBy::Ready => "anybody who deploys it, it is ready".to_owned(),
        UsedBy::NotDone { state } => format!("itself, it is {state}"),
        UsedBy::LeftOn(id) => {
            format!("host {}, where something of it may be left", host(names, *id))
        }
        UsedBy::Call => "a driver call that may be under way".to_owned(),
        UsedBy::HypervisorOf(id) => format!("host {}", host(names, *id)),
        UsedBy::RulesOfHost(id) => format!("the snapshot rules of host {}", host(names, *id)),
        UsedBy::FilesIn(id) => format!("datastore {}", datastore(names, *id)),
        UsedBy::RulesOf(driver) => format!("the snapshot rules of {driver}"),
    }
}
