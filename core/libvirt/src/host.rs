//! The facts of a host that the engine asks for: identity, capacity, abilities, version.

use crate::capabilities::Capabilities;
use crate::failure::During;
use crate::live::Live;
use crate::options::HostConfig;
use ostler_model::{Ability, Capacity, DriverError, HostFacts, HypervisorId, Millis};
use std::collections::BTreeSet;
use std::time::Instant;

/// Most network interfaces that are listed. A host that has more is not known to lack one.
const INTERFACES_MAX: usize = 4096;

/// The abilities of this driver.
pub(crate) const ABILITIES: [Ability; 10] = [
    Ability::Suspend,
    Ability::Reboot,
    Ability::Changes,
    Ability::Metrics,
    Ability::Migrate,
    Ability::Hotplug,
    Ability::LiveResize,
    Ability::Snapshots,
    Ability::DiskCopy,
    Ability::Adopt,
];

/// Asks libvirt, once per connection.
pub(crate) fn capabilities(live: &Live) -> Result<&Capabilities, DriverError> {
    if let Some(known) = live.capabilities.get() {
        return Ok(known);
    }
    let xml =
        live.connect().get_capabilities().map_err(|error| live.error(&error, During::Asking))?;
    let found = Capabilities::parse(&xml)?;
    // Two calls at the same time find the same.
    Ok(live.capabilities.get_or_init(|| found))
}

/// The facts about the host, for the engine.
pub(crate) fn probe(live: &Live, config: &HostConfig) -> Result<HostFacts, DriverError> {
    let began = Instant::now();
    let asking = |error: virt::error::Error| live.error(&error, During::Asking);
    let choice = capabilities(live)?.choose(config)?;
    let node = live.connect().get_node_info().map_err(asking)?;
    let libvirt = live.connect().get_lib_version().map_err(asking)?;
    let name = live.connect().get_hostname().map_err(asking)?;
    // Drivers without a hypervisor of their own have no version.
    let hypervisor = live
        .connect()
        .get_hyp_version()
        .map_or_else(|_| String::new(), |version| format!("QEMU {}", dotted(version)));
    Ok(HostFacts {
        interfaces: if config.bridge_check { interfaces(live) } else { None },
        identity: identity(capabilities(live)?.uuid.as_deref(), &name, &config.uri),
        total: Capacity { cpu_milli: u64::from(node.cpus) * 1000, memory_mib: node.memory / 1024 },
        abilities: ABILITIES.to_vec(),
        hypervisor: format!("{hypervisor} (libvirt {})", dotted(libvirt)).trim().to_owned(),
        notes: choice.note.into_iter().collect(),
        took: Millis(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)),
    })
}

/// The names of the host's network interfaces, those that are down included: a bridge without a
/// card is down. None if the daemon has no driver for interfaces, or if there are too many.
fn interfaces(live: &Live) -> Option<BTreeSet<String>> {
    let found = live
        .connect()
        .list_all_interfaces(0)
        .ok()
        .filter(|found| (1..=INTERFACES_MAX).contains(&found.len()))?;
    found.iter().map(|interface| interface.get_name().ok()).collect()
}

/// An identity that no other daemon has. It names the machine by UUID and host name (there are
/// boards that all have the same UUID), and names the daemon on it. A machine has one system
/// daemon. Of the other daemons a user may have any number, and only the URI distinguishes them.
fn identity(uuid: Option<&str>, hostname: &str, uri: &str) -> Option<HypervisorId> {
    let uuid = uuid.filter(|uuid| !uuid.is_empty())?;
    // The host name comes with its domain or without it, as the name service answers at the moment.
    // So only its first part counts.
    let name = hostname.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let place = uri.split('?').next().unwrap_or_default();
    let daemon = if place.ends_with("/system") { "system" } else { uri };
    HypervisorId::new(&format!("libvirt {uuid} {name} {daemon}")).ok()
}

/// Reads a version that libvirt writes as one number.
fn dotted(version: u32) -> String {
    format!("{}.{}.{}", version / 1_000_000, version / 1000 % 1000, version % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_is_the_same_by_every_way_to_it() {
        let by = |uri: &str, name: &str| identity(Some("u"), name, uri);
        let system = by("qemu:///system", "h1");
        assert!(system.is_some());
        assert_eq!(system, by("qemu+tcp://10.0.0.1:16509/system", "H1.example.org"));
        assert_eq!(system, by("qemu+unix:///system?socket=/run/x", "h1"));
        assert_ne!(
            system,
            by("qemu:///system", "h2"),
            "another machine whose board has the same UUID"
        );
        assert_ne!(system, identity(Some("v"), "h1", "qemu:///system"));
        assert_ne!(
            by("qemu:///session", "h1"),
            by("qemu+unix:///session?socket=/run/user/7/s", "h1"),
            "two users may share a machine"
        );
        assert_eq!(identity(None, "h1", "qemu:///system"), None);
        assert_eq!(identity(Some(""), "h1", "qemu:///system"), None);
    }
}
