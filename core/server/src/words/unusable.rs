//! Sentences: why a thing that a request names cannot be used.

use super::refusal::{claim, smaller};
use super::{Names, host, named_vm};
use ostler_engine::{NotAdopted, NotCreated, Unusable};

/// The sentence.
pub(crate) fn unusable(names: &dyn Names, why: &Unusable) -> String {
    let (what, why) = match why {
        Unusable::Claim(refused) => ("what the VM stands on".to_owned(), claim(names, refused)),
        Unusable::NotCreated(why) => not_created(why),
        Unusable::HostAnswers(id) => {
            (format!("host {}", host(names, *id)), "it answers, so it is not lost".to_owned())
        }
        Unusable::HostNotAsked(id) => (
            format!("host {}", host(names, *id)),
            "it was not asked yet since the daemon was started".to_owned(),
        ),
        Unusable::HostHasVms { host: id, vms, more } => {
            let vms: Vec<String> = vms.iter().map(|vm| named_vm(names, *vm)).collect();
            let more = if *more == 0 { String::new() } else { format!(" and {more} more") };
            (
                format!("host {}", host(names, *id)),
                format!("these VMs have their place there: {}{more}", vms.join(", ")),
            )
        }
        Unusable::DomainUnseen { domain, host: id, error } => (
            format!("domain {domain}"),
            format!("host {} says: {}", host(names, *id), error.told()),
        ),
        Unusable::NoDomain { domain, host: id } => (
            format!("domain {domain}"),
            format!("host {} has no domain of that name or UUID", host(names, *id)),
        ),
        Unusable::NoHypervisor { domain, host: id } => {
            (format!("domain {domain}"), format!("host {} has no hypervisor", host(names, *id)))
        }
        Unusable::NotAdopted { domain, why } => (format!("domain {domain}"), not_adopted(why)),
        Unusable::Counters { vm, host: id, error } => {
            return format!(
                "the counters of VM {vm} cannot be read: host {} says: {}",
                host(names, *id),
                error.told()
            );
        }
    };
    format!("{what} cannot be used: {why}")
}

/// The thing that a specification names, and the reason.
fn not_created(why: &NotCreated) -> (String, String) {
    match why {
        NotCreated::NoImage(image) => {
            (format!("image {image}"), "there is no image of that name".to_owned())
        }
        NotCreated::ImageNotReady(image) => {
            (format!("image {image}"), "it is not ready".to_owned())
        }
        NotCreated::SmallerThanImage { disk, image, least_mib } => {
            (format!("disk {disk}"), smaller(image, *least_mib))
        }
        NotCreated::FileOfOthers(path) => (
            format!("file {path}"),
            "a file that is somebody else's is only adopted with its domain".to_owned(),
        ),
        NotCreated::NoFileName(disk, error) => (format!("disk {disk}"), error.to_string()),
        NotCreated::NoImageDatastore(store) => {
            (format!("datastore {store}"), "there is no image datastore of that name".to_owned())
        }
        NotCreated::NoHost(name) => {
            (format!("host {name}"), "there is no host of that name".to_owned())
        }
        NotCreated::NoBridge { bridge, host } => {
            (format!("bridge {bridge}"), format!("host {host} does not have it"))
        }
        NotCreated::NoBridgeAnywhere { bridge, hosts } => (
            format!("bridge {bridge}"),
            format!("none of the {hosts} hosts that are on has all bridges of this VM"),
        ),
    }
}

fn not_adopted(why: &NotAdopted) -> String {
    match why {
        NotAdopted::Ours => "it is this store's already".to_owned(),
        NotAdopted::Others => "it is another Ostler's".to_owned(),
        NotAdopted::Power(power) => format!("it is {power}: let it run, or switch it off first"),
        NotAdopted::DisksElsewhere { host, roots } => {
            let roots = if roots.is_empty() { "none".to_owned() } else { roots.join(", ") };
            format!(
                "its disks must all lie in one system datastore on host {host}; there is: {roots}"
            )
        }
        NotAdopted::DiskInFolder { disk, file } => format!(
            "its disk {disk} is {file}, in the folder of a VM, which is removed with that VM: move \
             it elsewhere in the datastore first"
        ),
        NotAdopted::BootElsewhere { what, file } => {
            format!("its {what} {file} must lie in an image datastore")
        }
        NotAdopted::Name(error) | NotAdopted::File(error) => error.to_string(),
        NotAdopted::Spec(error) => error.to_string(),
        NotAdopted::Changes(changes) => {
            format!("from its next start on it would be another machine: {}", changes.join("; "))
        }
    }
}
