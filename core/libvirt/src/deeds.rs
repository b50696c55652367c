//! What each call does: look, compare, act, look again. Blocking code, for a lane.
//!
//! A connection that breaks before the first change is *retry*; from the first change on it is *unknown*.

use crate::failure::During;
use crate::host;
use crate::live::Live;
use crate::look::{Sight, description, look, observation};
use crate::options::HostConfig;
use crate::raw;
use crate::stamp::{Mark, NAMESPACE, PREFIX, Stamp};
use crate::tree::Node;
use crate::xml;
use ostler_driver::DomainSpec;
use ostler_model::{
    CallResult, DriverError, EffectKey, ErrorKind, Firmware, Generation, Observation, Outcome, Power, StoreId, VmUuid,
};
use std::collections::BTreeSet;
use std::ffi::c_int;
use virt::domain::Domain;
use virt::error::{Error, ErrorNumber};
use virt_sys as sys;

/// What goes with a domain when it is undefined: all that libvirt keeps about it. The firmware's variables are no such thing: they lie
/// in the VM's folder, outlive the domain, and go with the folder.
pub(crate) const UNDEFINE_ALL: u32 = sys::VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | sys::VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | sys::VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    | sys::VIR_DOMAIN_UNDEFINE_KEEP_NVRAM;

/// Whose call it is.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    /// Our store, where it is known.
    pub(crate) store: Option<StoreId>,
    /// The call's identity.
    pub(crate) key: EffectKey,
    /// The generation it acts for.
    pub(crate) generation: Generation,
    /// The generation that a removal leaves alone.
    pub(crate) spares: Option<Generation>,
}

/// A change that leaves no trace of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edge {
    /// The power button.
    Press,
    /// A reboot by the guest.
    Reboot,
    /// The reset button.
    Reset,
}

impl Order {
    pub(crate) const fn vm(&self) -> VmUuid {
        self.key.vm
    }

    /// Whether the domain is one that this call may touch. Its stamp, if so.
    pub(crate) fn may_touch(&self, sight: &Sight) -> Result<Stamp, DriverError> {
        if sight.mark == Mark::Unreadable {
            return Err(foreign(self.vm(), "carries a mark of some Ostler's that this version cannot read"));
        }
        self.may_touch_stamped(sight.mark.stamp())
    }

    /// As [`Self::may_touch`], by the stamp alone.
    pub(crate) fn may_touch_stamped(&self, stamp: Option<&Stamp>) -> Result<Stamp, DriverError> {
        let foreign = |why: &str| foreign(self.vm(), why);
        let Some(stamp) = stamp else { return Err(foreign("does not carry an Ostler's stamp")) };
        if stamp.identity.vm != self.vm() {
            return Err(foreign("carries another VM's stamp"));
        }
        if self.store.is_some_and(|store| store != stamp.identity.store) {
            return Err(foreign(&format!("belongs to the store {}", stamp.identity.store)));
        }
        if stamp.identity.generation > self.generation {
            let detail = format!("generation {} is there, the call is for {}", stamp.identity.generation, self.generation);
            return Err(DriverError::new(ErrorKind::Stale, "stale", detail));
        }
        Ok(stamp.clone())
    }

    /// As [`Self::may_touch`], and it is the very placement that the call is for.
    pub(crate) fn is_meant(&self, sight: &Sight) -> Result<Stamp, DriverError> {
        let stamp = self.may_touch(sight)?;
        if stamp.identity.generation < self.generation {
            let detail = format!("only generation {} is there, the call is for {}", stamp.identity.generation, self.generation);
            return Err(DriverError::refused("older-generation", detail));
        }
        Ok(stamp)
    }
}

/// The domain is somebody else's.
pub(crate) fn foreign(vm: VmUuid, why: &str) -> DriverError {
    DriverError::refused("foreign", format!("the domain with UUID {vm} {why}"))
}

/// What a call that succeeded answers.
pub(crate) const fn outcome(seen: Observation) -> Outcome {
    Outcome { seen: Some(seen), state: None }
}

/// The look after a change. If it cannot be had, what became of the change is not known to the caller.
pub(crate) fn look_after(live: &Live, vm: VmUuid) -> CallResult {
    let looked = look(live, vm).and_then(|sight| match sight {
        Some(sight) => observation(live, &sight),
        None => Ok(Observation::Absent),
    });
    looked.map(outcome).map_err(|error| DriverError::unknown("lost-connection", error.detail))
}

/// Nothing was to be done.
pub(crate) fn look_before(live: &Live, sight: &Sight) -> CallResult {
    observation(live, sight).map(outcome)
}

/// libvirt found the domain in another state than our look did, a moment before.
pub(crate) fn changed_meanwhile(error: &Error) -> bool {
    matches!(error.code(), ErrorNumber::OperationInvalid | ErrorNumber::NoDomain)
}

/// Be defined, stamped, running.
pub(crate) fn deploy(live: &Live, order: &Order, config: &HostConfig, spec: &DomainSpec) -> CallResult {
    let host = host::kind(live)?.choose(config)?;
    let mut xml = xml::domain(spec, config, host.domain_type)?;
    let placing = |error: Error| live.error(&error, During::Placing);
    let mut goes_on = false;
    if let Some(sight) = look(live, order.vm())? {
        let stamp = order.may_touch(&sight)?;
        let same = stamp.identity == spec.identity;
        if spec.firmware == Firmware::Uefi {
            xml = with_variables_of(live, &sight, xml)?;
        }
        match sight.power {
            Power::Running if same => {
                stay_defined(live, &sight.domain, &xml)?;
                return look_after(live, order.vm());
            }
            Power::Paused if same => {
                stay_defined(live, &sight.domain, &xml)?;
                sight.domain.resume().map_err(placing)?;
                return look_after(live, order.vm());
            }
            // Crashed and kept, or a placement that may no longer run: the new one takes its place.
            Power::Running | Power::Paused | Power::Crashed => stop(live, &sight.domain)?,
            Power::Off => goes_on = same && kept_memory_fits(live, &sight, spec)?,
        }
        take_name_back(live, &sight.domain, &spec.name)?;
    }
    let domain = Domain::define_xml(live.connect(), &xml).map_err(placing)?;
    // Memory that libvirt keeps of an earlier placement, or of other hardware, would bring back an old stamp, or nothing at all.
    match domain.create_with_flags(if goes_on { 0 } else { sys::VIR_DOMAIN_START_FORCE_BOOT }) {
        Err(error) if !changed_meanwhile(&error) => Err(placing(error)),
        Ok(_) | Err(_) => look_after(live, order.vm()),
    }
}

/// Whether the guest goes on from memory that libvirt keeps: somebody asked libvirt to save it (`virsh managedsave`; a host that is
/// shut down may do so), and nothing was plugged since.
fn kept_memory_fits(live: &Live, sight: &Sight, spec: &DomainSpec) -> Result<bool, DriverError> {
    if !sight.managed {
        return Ok(false);
    }
    let defined = description(live, sight, 0)?;
    let devices = defined.child("devices").cloned().unwrap_or_default();
    let of = |kind: &str, child: &str, key: &str| -> BTreeSet<String> {
        let nodes = devices.children().filter(|node| node.name == kind);
        nodes.filter_map(|node| node.child(child)?.attr(key).map(str::to_ascii_lowercase)).collect()
    };
    let disks = spec.disks.iter().map(|disk| disk.name.to_string()).collect();
    let nics = spec.nics.iter().map(|nic| nic.mac.as_str().to_ascii_lowercase()).collect();
    let fits = of("disk", "target", "dev") == disks && of("interface", "mac", "address") == nics;
    if !fits {
        tracing::warn!(name = spec.name, "libvirt keeps saved memory of a domain whose hardware was changed since: it is dropped");
    }
    Ok(fits)
}

/// Somebody has renamed it, and libvirt takes no second name for a UUID.
pub(crate) fn take_name_back(live: &Live, domain: &Domain, name: &str) -> Result<(), DriverError> {
    let asking = |error: Error| live.error(&error, During::Asking);
    if domain.get_name().map_err(asking)? == name {
        return Ok(());
    }
    match domain.is_persistent() {
        Ok(true) => domain.rename(name, 0).map(drop).map_err(|error| live.error(&error, During::Placing)),
        // One that had no definition went away when it stopped.
        Ok(false) => Ok(()),
        Err(error) if changed_meanwhile(&error) => Ok(()),
        Err(error) => Err(asking(error)),
    }
}

/// The definition, with the file of the firmware's variables that the domain has already.
fn with_variables_of(live: &Live, sight: &Sight, xml: String) -> Result<String, DriverError> {
    let defined = description(live, sight, 0)?;
    let variables = defined.child("os").and_then(|os| os.child("nvram")).map(Node::text).filter(|path| !path.is_empty());
    let Some(path) = variables else { return Ok(xml) };
    let unreadable = |error: crate::tree::TreeError| DriverError::refused("bad-spec", format!("the domain as XML: {error}"));
    let mut domain = Node::parse(&xml).map_err(unreadable)?;
    domain.child_or_new("os").child_or_new("nvram").set_text(&path);
    domain.write().map_err(unreadable)
}

/// A domain that runs without a definition (restored elsewhere, migrated) would vanish when it stops.
fn stay_defined(live: &Live, domain: &Domain, xml: &str) -> Result<(), DriverError> {
    if domain.is_persistent().map_err(|error| live.error(&error, During::Asking))? {
        return Ok(());
    }
    Domain::define_xml(live.connect(), xml).map(drop).map_err(|error| live.error(&error, During::Acting))
}

/// Off, the hard way.
pub(crate) fn stop(live: &Live, domain: &Domain) -> Result<(), DriverError> {
    match domain.destroy_flags(sys::VIR_DOMAIN_DESTROY_DEFAULT) {
        Err(error) if !changed_meanwhile(&error) => Err(live.error(&error, During::Acting)),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Be off.
pub(crate) fn destroy(live: &Live, order: &Order) -> CallResult {
    let Some(sight) = look(live, order.vm())? else { return Ok(outcome(Observation::Absent)) };
    order.may_touch(&sight)?;
    if sight.managed {
        // Who has it switched off does not want it to go on.
        sight.domain.managed_save_remove(0).map_err(|error| live.error(&error, During::Acting))?;
    } else if !sight.is_active() {
        return look_before(live, &sight);
    }
    stop(live, &sight.domain)?;
    look_after(live, order.vm())
}

/// Be absent.
pub(crate) fn remove(live: &Live, order: &Order) -> CallResult {
    let Some(sight) = look(live, order.vm())? else { return Ok(outcome(Observation::Absent)) };
    let stamp = order.may_touch(&sight)?;
    if order.spares == Some(stamp.identity.generation) {
        // Both hosts of a move are this daemon, and this is the domain that the VM has at the other: of this side nothing is here.
        return Ok(outcome(Observation::Absent));
    }
    if sight.is_active() {
        stop(live, &sight.domain)?;
    }
    match sight.domain.undefine_flags(UNDEFINE_ALL) {
        // One that had no definition went away when it stopped.
        Err(error) if !changed_meanwhile(&error) => Err(live.error(&error, During::Acting)),
        Ok(()) | Err(_) => look_after(live, order.vm()),
    }
}

/// Writes the stamp into the running domain and into its definition, as far as it has both.
pub(crate) fn write_stamp(live: &Live, domain: &Domain, stamp: &Stamp) -> Result<(), DriverError> {
    let element = stamp.element().map_err(|error| DriverError::refused("bad-stamp", error.to_string()))?;
    let kind = c_int::try_from(sys::VIR_DOMAIN_METADATA_ELEMENT).unwrap_or_default();
    let write = |flags| domain.set_metadata(kind, Some(&element), Some(PREFIX), Some(NAMESPACE), flags);
    let asking = |error: Error| live.error(&error, During::Asking);
    let (runs, defined) = (domain.is_active().map_err(asking)?, domain.is_persistent().map_err(asking)?);
    let written = write(match (runs, defined) {
        (true, true) => sys::VIR_DOMAIN_AFFECT_LIVE | sys::VIR_DOMAIN_AFFECT_CONFIG,
        (true, false) => sys::VIR_DOMAIN_AFFECT_LIVE,
        (false, _) => sys::VIR_DOMAIN_AFFECT_CONFIG,
    });
    // A stamp that may or may not be there is no harm: the edge was not sent yet, and will not be.
    written.map(drop).map_err(|error| live.error(&error, During::Acting))
}

/// Press a button, once an identity.
pub(crate) fn edge(live: &Live, order: &Order, edge: Edge) -> CallResult {
    let gone = || DriverError::new(ErrorKind::Gone, "not-running", "the domain is not running");
    let Some(sight) = look(live, order.vm())? else {
        return if edge == Edge::Press { Ok(outcome(Observation::Absent)) } else { Err(gone()) };
    };
    let stamp = order.is_meant(&sight)?;
    match (sight.power, edge) {
        (Power::Off, Edge::Press) => return look_before(live, &sight),
        (Power::Off, Edge::Reboot | Edge::Reset) => return Err(gone()),
        (Power::Running, _) | (Power::Paused, Edge::Reset) => {}
        (Power::Paused, Edge::Press | Edge::Reboot) => {
            let detail = "the domain is paused and cannot answer the power button: resume it, or use the hard way";
            return Err(DriverError::refused("paused", detail));
        }
        (Power::Crashed, _) => return Err(DriverError::refused("crashed", "the guest has crashed and cannot answer")),
    }
    if stamp.edge.as_ref() == Some(&order.key) {
        return look_before(live, &sight);
    }
    write_stamp(live, &sight.domain, &Stamp { edge: Some(order.key.clone()), ..stamp })?;
    let pressed = match edge {
        // Not libvirt's default mode: that would turn to the guest agent or to nothing when ACPI is refused.
        Edge::Press => sight.domain.shutdown_flags(sys::VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN).map(drop),
        Edge::Reboot => sight.domain.reboot(sys::VIR_DOMAIN_REBOOT_ACPI_POWER_BTN),
        Edge::Reset => sight.domain.reset().map(drop),
    };
    match pressed {
        Err(error) if !changed_meanwhile(&error) => Err(live.error(&error, During::Acting)),
        Ok(()) | Err(_) => look_after(live, order.vm()),
    }
}

/// Run on.
pub(crate) fn unpause(live: &Live, order: &Order) -> CallResult {
    let gone = || DriverError::new(ErrorKind::Gone, "not-running", "the domain is not there, or off");
    let sight = look(live, order.vm())?.ok_or_else(gone)?;
    order.is_meant(&sight)?;
    match sight.power {
        Power::Running => look_before(live, &sight),
        Power::Off => Err(gone()),
        Power::Crashed => Err(DriverError::refused("crashed", "the guest has crashed and cannot run on")),
        Power::Paused => match sight.domain.resume() {
            Err(error) if !changed_meanwhile(&error) => Err(live.error(&error, During::Acting)),
            Ok(_) | Err(_) => look_after(live, order.vm()),
        },
    }
}

/// Ends the job that is at work, whoever began it: for those who know whose it is. Not an error if none is.
pub(crate) fn abort_job(live: &Live, vm: VmUuid) -> Result<(), DriverError> {
    let Some(sight) = look(live, vm)? else { return Ok(()) };
    match raw::abort_job(&sight.domain) {
        Err(error) if !changed_meanwhile(&error) => Err(live.error(&error, During::Acting)),
        Ok(()) | Err(_) => Ok(()),
    }
}
