//! The facts of a host: what it offers, and how its guests run.
//!
//! `/dev/kvm` may exist, accept every call, be advertised by libvirt and still never boot a stock kernel: a host kernel
//! with PVM has no hardware virtualisation and emulates the guest's kernel instruction by instruction. A boot sector would
//! run there and prove nothing. So KVM is used only where libvirt offers it *and* the hardware's own module is loaded (on
//! this machine) or the processor has the feature (on another machine, where only libvirt can be asked).

use crate::failure::During;
use crate::live::Live;
use crate::options::{Accel, HostConfig};
use crate::tree::Node;
use crate::xml::DomainType;
use ostler_model::{Ability, Capacity, DriverError, ErrorKind, HostFacts, HypervisorId, Millis};
use std::path::Path;
use std::time::Instant;

/// KVM's kernel modules that use the processor's own virtualisation.
const HARDWARE_MODULES: [&str; 2] = ["kvm_intel", "kvm_amd"];
/// The processor features that these modules need.
const HARDWARE_FEATURES: [&str; 2] = ["vmx", "svm"];
/// The only architecture that the XML is made for.
const ARCH: &str = "x86_64";

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

/// The part of libvirt's answer about its host that matters here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct HostKind {
    /// Domain types for our architecture: `kvm`, `qemu`.
    types: Vec<String>,
    /// The processor can virtualise.
    has_feature: bool,
    /// The machine's UUID, or the UUID that its libvirt daemon was configured with.
    uuid: Option<String>,
}

/// How guests run, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) domain_type: DomainType,
    pub(crate) note: Option<String>,
}

/// Asks libvirt, once per connection.
pub(crate) fn kind(live: &Live) -> Result<&HostKind, DriverError> {
    if let Some(kind) = live.host.get() {
        return Ok(kind);
    }
    let xml = live.connect().get_capabilities().map_err(|error| live.error(&error, During::Asking))?;
    let kind = HostKind::parse(&xml)?;
    // Two calls at the same time find the same.
    Ok(live.host.get_or_init(|| kind))
}

impl HostKind {
    fn parse(xml: &str) -> Result<Self, DriverError> {
        let tree = Node::parse(xml).map_err(|error| DriverError::retry("no-answer", format!("libvirt's capabilities: {error}")))?;
        let mut kind = Self::default();
        let hvm = |guest: &&Node| guest.name == "guest" && guest.child("os_type").is_some_and(|os| os.text() == "hvm");
        for arch in tree.children().filter(hvm).flat_map(Node::children) {
            if arch.name == "arch" && arch.attr("name") == Some(ARCH) {
                let types = arch.children().filter(|node| node.name == "domain").filter_map(|node| node.attr("type"));
                kind.types.extend(types.map(str::to_owned));
            }
        }
        kind.uuid = tree.child("host").and_then(|host| host.child("uuid")).map(|uuid| uuid.text().trim().to_ascii_lowercase());
        let cpu = tree.child("host").and_then(|host| host.child("cpu"));
        let features = cpu.into_iter().flat_map(Node::children).filter(|node| node.name == "feature");
        kind.has_feature = features.filter_map(|node| node.attr("name")).any(|name| HARDWARE_FEATURES.contains(&name));
        Ok(kind)
    }

    fn offers(&self, name: &str) -> bool {
        self.types.iter().any(|kind| kind == name)
    }

    /// Chooses how guests run on a host with these settings.
    pub(crate) fn choose(&self, config: &HostConfig) -> Result<Choice, DriverError> {
        let on_this_machine = config.is_on_this_machine();
        let hardware = if on_this_machine {
            HARDWARE_MODULES.iter().any(|module| Path::new("/sys/module").join(module).exists())
        } else {
            self.has_feature
        };
        self.decide(config.accel, on_this_machine, hardware)
    }

    fn decide(&self, accel: Accel, on_this_machine: bool, hardware: bool) -> Result<Choice, DriverError> {
        let emulated = |note: Option<String>| {
            if self.offers("qemu") {
                Ok(Choice { domain_type: DomainType::Qemu, note })
            } else {
                Err(DriverError::new(ErrorKind::NotHere, "no-qemu", format!("libvirt offers no emulated {ARCH} guests there")))
            }
        };
        let kvm = Choice { domain_type: DomainType::Kvm, note: None };
        match accel {
            Accel::Tcg => emulated(Some("guests are emulated, as configured (accel = tcg)".to_owned())),
            Accel::Kvm if self.offers("kvm") => Ok(kvm),
            Accel::Kvm => {
                let detail = format!("accel = kvm is configured, but libvirt offers no KVM for {ARCH} guests there");
                Err(DriverError::new(ErrorKind::NotHere, "no-kvm", detail))
            }
            Accel::Auto if !self.offers("kvm") => emulated(Some("libvirt offers no KVM there: guests are emulated".to_owned())),
            Accel::Auto if hardware => Ok(kvm),
            Accel::Auto => {
                let missing = if on_this_machine {
                    format!("neither {} nor {} is loaded", HARDWARE_MODULES[0], HARDWARE_MODULES[1])
                } else {
                    format!("the processor shows neither {} nor {}", HARDWARE_FEATURES[0], HARDWARE_FEATURES[1])
                };
                let advice = "it could not run a stock kernel, so guests are emulated (accel = kvm overrides)";
                emulated(Some(format!("libvirt offers KVM, but {missing}: {advice}")))
            }
        }
    }
}

/// The facts about the host, for the engine.
pub(crate) fn probe(live: &Live, config: &HostConfig) -> Result<HostFacts, DriverError> {
    let began = Instant::now();
    let asking = |error: virt::error::Error| live.error(&error, During::Asking);
    let choice = kind(live)?.choose(config)?;
    let node = live.connect().get_node_info().map_err(asking)?;
    let libvirt = live.connect().get_lib_version().map_err(asking)?;
    let name = live.connect().get_hostname().map_err(asking)?;
    // Drivers without a hypervisor of their own have no version.
    let hypervisor = live.connect().get_hyp_version().map_or_else(|_| String::new(), |version| format!("QEMU {}", dotted(version)));
    Ok(HostFacts {
        identity: identity(kind(live)?.uuid.as_deref(), &name, &config.uri),
        total: Capacity { cpu_milli: u64::from(node.cpus) * 1000, memory_mib: node.memory / 1024 },
        abilities: ABILITIES.to_vec(),
        hypervisor: format!("{hypervisor} (libvirt {})", dotted(libvirt)).trim().to_owned(),
        notes: choice.note.into_iter().collect(),
        took: Millis(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)),
    })
}

/// An identity that no other daemon has. It names the machine by UUID and host name (there are boards that all have the
/// same UUID), and names the daemon on it. A machine has one system daemon. Of the other daemons a user may have any
/// number, and only the URI distinguishes them.
fn identity(uuid: Option<&str>, hostname: &str, uri: &str) -> Option<HypervisorId> {
    let uuid = uuid.filter(|uuid| !uuid.is_empty())?;
    // The host name comes with its domain or without it, as the name service answers at the moment. So only its first part
    // counts.
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

    const CAPABILITIES: &str =
        "<capabilities><host><uuid>4C4C4544-0001</uuid><cpu><arch>x86_64</arch><feature name='vmx'/></cpu></host>
        <guest><os_type>hvm</os_type><arch name='i686'><domain type='qemu'/></arch></guest>
        <guest><os_type>hvm</os_type><arch name='x86_64'><domain type='qemu'/><domain type='kvm'/></arch></guest></capabilities>";

    #[test]
    fn capabilities_are_read() {
        let kind = HostKind::parse(CAPABILITIES).expect("reads");
        let types = vec!["qemu".to_owned(), "kvm".to_owned()];
        let expected = HostKind { types, has_feature: true, uuid: Some("4c4c4544-0001".to_owned()) };
        assert_eq!(kind, expected);
        assert_eq!(HostKind::parse("<capabilities/>").expect("reads"), HostKind::default());
        assert!(HostKind::parse("<").is_err());
    }

    #[test]
    fn kvm_is_used_only_where_it_can_run_a_guest() {
        let both = HostKind { types: vec!["qemu".to_owned(), "kvm".to_owned()], ..HostKind::default() };
        let emulation = HostKind { types: vec!["qemu".to_owned()], has_feature: true, uuid: None };
        let neither = HostKind::default();
        let kind = |host: &HostKind, accel, hardware| host.decide(accel, true, hardware).map(|choice| choice.domain_type);
        assert_eq!(kind(&both, Accel::Auto, true), Ok(DomainType::Kvm));
        assert_eq!(kind(&both, Accel::Auto, false), Ok(DomainType::Qemu));
        assert_eq!(kind(&both, Accel::Kvm, false), Ok(DomainType::Kvm));
        assert_eq!(kind(&both, Accel::Tcg, true), Ok(DomainType::Qemu));
        assert_eq!(kind(&emulation, Accel::Auto, true), Ok(DomainType::Qemu));
        assert_eq!(kind(&emulation, Accel::Kvm, true).expect_err("no kvm").code, "no-kvm");
        assert_eq!(kind(&neither, Accel::Auto, true).expect_err("nothing").kind, ErrorKind::NotHere);
        let note = both.decide(Accel::Auto, true, false).expect("emulated").note.expect("says why");
        assert!(note.contains("kvm_intel") && note.contains("emulated"), "{note}");
    }

    #[test]
    fn a_daemon_is_the_same_by_every_way_to_it() {
        let by = |uri: &str, name: &str| identity(Some("u"), name, uri);
        let system = by("qemu:///system", "h1");
        assert!(system.is_some());
        assert_eq!(system, by("qemu+tcp://10.0.0.1:16509/system", "H1.example.org"));
        assert_eq!(system, by("qemu+unix:///system?socket=/run/x", "h1"));
        assert_ne!(system, by("qemu:///system", "h2"), "another machine whose board has the same UUID");
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
