//! Plugs disks and network cards into a domain that exists, and takes them out: now, and for its
//! next start.
//!
//! The running domain and its definition are two descriptions, and a call that was cut off may have
//! changed only one of them. So each is looked at and changed by itself. A guest is asked to let go
//! of a device. It takes its time, or does not listen (while it boots, it loses the request): it is
//! asked again until the call's time is over.

use crate::calls;
use crate::domain_ops::{Order, look_after, outcome};
use crate::failure::During;
use crate::link::Link;
use crate::live::Live;
use crate::look::{SeenDomain, description, look};
use crate::tree::Node;
use crate::xml;
use ostler_driver::{CallControl, DomainDisk, DomainNic};
use ostler_model::{
    CallResult, DiskName, DriverError, ErrorKind, MacAddress, Observation, Power, VmUuid,
};
use std::time::{Duration, Instant};
use virt_sys as sys;

/// The pause between two looks whether the guest has let go.
const PAUSE: Duration = Duration::from_millis(100);
/// The pause between two requests to let go. libvirt itself waits 5 s for the first.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// The part of a call's time that is kept for the answer that the guest did not listen.
const MARGIN: Duration = Duration::from_secs(1);

/// A device, named by the property that identifies it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Device {
    /// A disk, by its target.
    Disk(DiskName),
    /// A network card, by its MAC address.
    Nic(MacAddress),
}

/// A device that the domain is to have.
pub(crate) struct Wanted {
    device: Device,
    /// Its description as XML.
    xml: String,
    /// Its backing on the host: the disk's file, or the card's bridge.
    on: String,
}

impl Wanted {
    /// A disk.
    pub(crate) fn disk(
        disk: &DomainDisk,
        cache: crate::options::Cache,
    ) -> Result<Self, DriverError> {
        let device = Device::Disk(disk.name.clone());
        Ok(Self { device, xml: xml::disk(disk, cache)?, on: disk.file.absolute.clone() })
    }

    /// A network card.
    pub(crate) fn nic(nic: &DomainNic) -> Result<Self, DriverError> {
        Ok(Self {
            device: Device::Nic(nic.mac.clone()),
            xml: xml::nic(nic)?,
            on: nic.bridge.clone(),
        })
    }
}

impl Device {
    fn is(&self, node: &Node) -> bool {
        let attr = |child: &str, key: &str| {
            node.child(child).and_then(|child| child.attr(key)).map(str::to_owned)
        };
        match self {
            Self::Disk(name) => {
                node.name == "disk" && attr("target", "dev").as_deref() == Some(name.as_str())
            }
            Self::Nic(mac) => {
                let address = attr("mac", "address").map(|address| address.to_ascii_lowercase());
                node.name == "interface" && address.as_deref() == Some(mac.as_str())
            }
        }
    }

    /// The file or the bridge of a device of this kind.
    fn on<'a>(&self, node: &'a Node) -> Option<&'a str> {
        let source = node.child("source")?;
        match self {
            Self::Disk(_) => source.attr("file"),
            Self::Nic(_) => source.attr("bridge"),
        }
    }

    fn word(&self) -> String {
        match self {
            Self::Disk(name) => format!("disk {name}"),
            Self::Nic(mac) => format!("network card {mac}"),
        }
    }
}

/// One of a domain's two descriptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    Running,
    Defined,
}

impl Scope {
    const fn xml_flags(self) -> u32 {
        match self {
            Self::Running => 0,
            Self::Defined => sys::VIR_DOMAIN_XML_INACTIVE,
        }
    }

    const fn change_flags(self) -> u32 {
        match self {
            Self::Running => sys::VIR_DOMAIN_AFFECT_LIVE,
            Self::Defined => sys::VIR_DOMAIN_AFFECT_CONFIG,
        }
    }
}

fn find(
    live: &Live,
    sight: &SeenDomain,
    scope: Scope,
    device: &Device,
) -> Result<Option<Node>, DriverError> {
    let domain = description(live, sight, scope.xml_flags())?;
    Ok(domain
        .child("devices")
        .and_then(|devices| devices.children().find(|node| device.is(node)))
        .cloned())
}

/// The descriptions to change. The running domain comes first, so that a refusal there leaves the
/// definition as it was.
fn scopes(live: &Live, sight: &SeenDomain) -> Result<Vec<Scope>, DriverError> {
    if sight.power == Power::Crashed {
        return Err(DriverError::refused(
            "crashed",
            "the guest has crashed: nothing can be plugged",
        ));
    }
    let mut scopes = Vec::new();
    if sight.is_active() {
        scopes.push(Scope::Running);
    }
    if sight.domain.is_persistent().map_err(|error| live.error(&error, During::Asking))? {
        scopes.push(Scope::Defined);
    }
    Ok(scopes)
}

/// Makes the domain have the device.
pub(crate) fn attach(live: &Live, order: &Order, wanted: &Wanted) -> CallResult {
    let gone = || DriverError::new(ErrorKind::Gone, "no-domain", "there is no such domain");
    let sight = look(live, order.vm())?.ok_or_else(gone)?;
    order.is_meant(&sight)?;
    let mut missing = Vec::new();
    for scope in scopes(live, &sight)? {
        match find(live, &sight, scope, &wanted.device)? {
            None => missing.push(scope),
            Some(node) if wanted.device.on(&node) == Some(wanted.on.as_str()) => {}
            Some(node) => {
                let on = wanted.device.on(&node).unwrap_or("something else").to_owned();
                let detail =
                    format!("{} is there already, on {on}: detach it first", wanted.device.word());
                return Err(DriverError::refused("taken", detail));
            }
        }
    }
    for scope in missing {
        let attached = sight.domain.attach_device_flags(&wanted.xml, scope.change_flags());
        attached.map_err(|error| live.error(&error, During::Acting))?;
    }
    look_after(live, order.vm())
}

/// The state of a detachment.
enum Detached {
    /// The domain has no such device.
    Done(CallResult),
    /// The guest was asked to let go.
    Asked,
}

/// Makes the domain have no such device: asks the guest, looks, and asks again.
pub(crate) async fn detach(
    link: &Link,
    call: &CallControl,
    order: &Order,
    device: &Device,
    patience: Duration,
) -> CallResult {
    let vm = order.vm();
    loop {
        let (wanted, whose) = (device.clone(), order.clone());
        let asked =
            calls::change(link, call, move |live| ask_to_detach(live, &whose, &wanted)).await?;
        if let Detached::Done(result) = asked {
            return result;
        }
        let again = Instant::now() + ASK_AGAIN;
        loop {
            let wanted = device.clone();
            if !link.ask(patience, move |live| runs_with(live, vm, &wanted)).await? {
                break;
            }
            let now = Instant::now();
            if now + MARGIN >= call.until || call.cancel.is_cancelled() {
                let detail = format!(
                    "the guest does not let go of {}: it still has it. It may be booting, or use \
                     it; a later detach asks again",
                    device.word()
                );
                return Err(DriverError::refused("guest-ignored", detail));
            }
            if now >= again {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn runs_with(live: &Live, vm: VmUuid, device: &Device) -> Result<bool, DriverError> {
    match look(live, vm)? {
        Some(sight) if sight.is_active() => {
            Ok(find(live, &sight, Scope::Running, device)?.is_some())
        }
        Some(_) | None => Ok(false),
    }
}

fn ask_to_detach(live: &Live, order: &Order, device: &Device) -> Result<Detached, DriverError> {
    let Some(sight) = look(live, order.vm())? else {
        return Ok(Detached::Done(Ok(outcome(Observation::Absent))));
    };
    order.is_meant(&sight)?;
    for scope in scopes(live, &sight)? {
        let Some(node) = find(live, &sight, scope, device)? else { continue };
        if scope == Scope::Running && sight.power == Power::Paused {
            let detail = format!(
                "the guest stands still and cannot let go of {}: resume it first",
                device.word()
            );
            return Err(DriverError::refused("paused", detail));
        }
        let xml = node
            .write()
            .map_err(|error| DriverError::retry("no-answer", format!("libvirt's XML: {error}")))?;
        if let Err(error) = sight.domain.detach_device_flags(&xml, scope.change_flags()) {
            // The device may be gone meanwhile, or an earlier request may still be open: the look
            // says which.
            let told = live.error(&error, During::Acting);
            if scope == Scope::Defined
                || told.kind != ErrorKind::Refused
                || told.code == "forbidden"
            {
                return Err(told);
            }
            tracing::debug!(vm = %order.vm(), %told, "asking a guest to let go of a device");
        }
        if scope == Scope::Running && find(live, &sight, scope, device)?.is_some() {
            return Ok(Detached::Asked);
        }
    }
    Ok(Detached::Done(look_after(live, order.vm())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_known_by_its_target_and_its_address_only() {
        let domain = "<devices><disk type='file'><source file='/a'/><target dev='vda'/></disk>\
                      <disk type='block'><source dev='/dev/x'/><target dev='vdb'/></disk>\
                      <interface type='bridge'><mac address='52:54:00:AA:00:01'/>\
                      <source bridge='br0'/></interface></devices>";
        let devices = Node::parse(domain).expect("reads");
        let on = |device: Device| {
            let node = devices.children().find(|node| device.is(node));
            node.map(|node| device.on(node).map(str::to_owned))
        };
        let disk = |name: &str| Device::Disk(name.parse().expect("valid"));
        assert_eq!(on(disk("vda")), Some(Some("/a".to_owned())));
        assert_eq!(on(disk("vdb")), Some(None), "there, and on no file");
        assert_eq!(on(disk("vdc")), None);
        let nic = |mac: &str| Device::Nic(mac.parse().expect("valid"));
        assert_eq!(on(nic("52:54:00:aa:00:01")), Some(Some("br0".to_owned())));
        assert_eq!(on(nic("52:54:00:aa:00:02")), None);
    }
}
