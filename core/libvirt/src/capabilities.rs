//! The part of libvirt's capabilities that matters here: whether guests run under KVM or are
//! emulated.
//!
//! `/dev/kvm` may exist, accept every call, be advertised by libvirt and still never boot a stock
//! kernel: a host kernel with PVM has no hardware virtualisation and emulates the guest's kernel
//! instruction by instruction. A boot sector would run there and prove nothing. So KVM is used only
//! where libvirt offers it *and* the hardware's own module is loaded (on this machine) or the
//! processor has the feature (on another machine, where only libvirt can be asked).

use crate::options::{Accel, HostConfig};
use crate::tree::Node;
use crate::xml::DomainType;
use ostler_model::{DriverError, ErrorKind};
use std::path::Path;

/// KVM's kernel modules that use the processor's own virtualisation.
const HARDWARE_MODULES: [&str; 2] = ["kvm_intel", "kvm_amd"];
/// The processor features that these modules need.
const HARDWARE_FEATURES: [&str; 2] = ["vmx", "svm"];
/// The only architecture that the XML is made for.
const ARCH: &str = "x86_64";

/// The part of libvirt's capabilities that matters here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Capabilities {
    /// Domain types for our architecture: `kvm`, `qemu`.
    types: Vec<String>,
    /// The processor can virtualise.
    has_feature: bool,
    /// The machine's UUID, or the UUID that its libvirt daemon was configured with.
    pub(crate) uuid: Option<String>,
}

/// How guests run, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) domain_type: DomainType,
    pub(crate) note: Option<String>,
}

impl Capabilities {
    /// Reads libvirt's answer.
    ///
    /// # Errors
    /// *Retry* if it is not XML.
    pub(crate) fn parse(xml: &str) -> Result<Self, DriverError> {
        let tree = Node::parse(xml).map_err(|error| {
            DriverError::retry("no-answer", format!("libvirt's capabilities: {error}"))
        })?;
        let mut kind = Self::default();
        let hvm = |guest: &&Node| {
            guest.name == "guest" && guest.child("os_type").is_some_and(|os| os.text() == "hvm")
        };
        for arch in tree.children().filter(hvm).flat_map(Node::children) {
            if arch.name == "arch" && arch.attr("name") == Some(ARCH) {
                let types = arch
                    .children()
                    .filter(|node| node.name == "domain")
                    .filter_map(|node| node.attr("type"));
                kind.types.extend(types.map(str::to_owned));
            }
        }
        kind.uuid = tree
            .child("host")
            .and_then(|host| host.child("uuid"))
            .map(|uuid| uuid.text().trim().to_ascii_lowercase());
        let cpu = tree.child("host").and_then(|host| host.child("cpu"));
        let features =
            cpu.into_iter().flat_map(Node::children).filter(|node| node.name == "feature");
        kind.has_feature = features
            .filter_map(|node| node.attr("name"))
            .any(|name| HARDWARE_FEATURES.contains(&name));
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

    fn decide(
        &self,
        accel: Accel,
        on_this_machine: bool,
        hardware: bool,
    ) -> Result<Choice, DriverError> {
        let emulated = |note: Option<String>| {
            if self.offers("qemu") {
                Ok(Choice { domain_type: DomainType::Qemu, note })
            } else {
                Err(DriverError::new(
                    ErrorKind::NotHere,
                    "no-qemu",
                    format!("libvirt offers no emulated {ARCH} guests there"),
                ))
            }
        };
        let kvm = Choice { domain_type: DomainType::Kvm, note: None };
        match accel {
            Accel::Tcg => {
                emulated(Some("guests are emulated, as configured (accel = tcg)".to_owned()))
            }
            Accel::Kvm if self.offers("kvm") => Ok(kvm),
            Accel::Kvm => {
                let detail = format!(
                    "accel = kvm is configured, but libvirt offers no KVM for {ARCH} guests there"
                );
                Err(DriverError::new(ErrorKind::NotHere, "no-kvm", detail))
            }
            Accel::Auto if !self.offers("kvm") => {
                emulated(Some("libvirt offers no KVM there: guests are emulated".to_owned()))
            }
            Accel::Auto if hardware => Ok(kvm),
            Accel::Auto => {
                let missing = if on_this_machine {
                    format!("neither {} nor {} is loaded", HARDWARE_MODULES[0], HARDWARE_MODULES[1])
                } else {
                    format!(
                        "the processor shows neither {} nor {}",
                        HARDWARE_FEATURES[0], HARDWARE_FEATURES[1]
                    )
                };
                let advice = "it could not run a stock kernel, so guests are emulated (accel = kvm \
                              overrides)";
                emulated(Some(format!("libvirt offers KVM, but {missing}: {advice}")))
            }
        }
    }
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
        let kind = Capabilities::parse(CAPABILITIES).expect("reads");
        let types = vec!["qemu".to_owned(), "kvm".to_owned()];
        let expected =
            Capabilities { types, has_feature: true, uuid: Some("4c4c4544-0001".to_owned()) };
        assert_eq!(kind, expected);
        assert_eq!(Capabilities::parse("<capabilities/>").expect("reads"), Capabilities::default());
        assert!(Capabilities::parse("<").is_err());
    }

    #[test]
    fn kvm_is_used_only_where_it_can_run_a_guest() {
        let both = Capabilities {
            types: vec!["qemu".to_owned(), "kvm".to_owned()],
            ..Capabilities::default()
        };
        let emulation =
            Capabilities { types: vec!["qemu".to_owned()], has_feature: true, uuid: None };
        let neither = Capabilities::default();
        let kind = |host: &Capabilities, accel, hardware| {
            host.decide(accel, true, hardware).map(|choice| choice.domain_type)
        };
        assert_eq!(kind(&both, Accel::Auto, true), Ok(DomainType::Kvm));
        assert_eq!(kind(&both, Accel::Auto, false), Ok(DomainType::Qemu));
        assert_eq!(kind(&both, Accel::Kvm, false), Ok(DomainType::Kvm));
        assert_eq!(kind(&both, Accel::Tcg, true), Ok(DomainType::Qemu));
        assert_eq!(kind(&emulation, Accel::Auto, true), Ok(DomainType::Qemu));
        assert_eq!(kind(&emulation, Accel::Kvm, true).expect_err("no kvm").code, "no-kvm");
        assert_eq!(
            kind(&neither, Accel::Auto, true).expect_err("nothing").kind,
            ErrorKind::NotHere
        );
        let note = both.decide(Accel::Auto, true, false).expect("emulated").note.expect("says why");
        assert!(note.contains("kvm_intel") && note.contains("emulated"), "{note}");
    }
}
