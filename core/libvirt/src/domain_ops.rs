//! The deeds behind the calls: look, compare, act, look again. Blocking code, for a lane.
//!
//! A connection that breaks before the first change is *retry*; one that breaks later is *unknown*.

use crate::failure::During;
use crate::host;
use crate::live::Live;
use crate::look::{SeenDomain, description, look, observation};
use crate::options::HostConfig;
use crate::raw;
use crate::stamp::{Mark, NAMESPACE, PREFIX, Stamp};
use crate::tree::Node;
use crate::xml;
use ostler_driver::DomainSpec;
use ostler_model::{
    CallResult, DriverError, EffectKey, ErrorKind, Firmware, Generation, Observation, Outcome,
    Power, StoreId, VmUuid,
};
use std::collections::BTreeSet;
use std::ffi::c_int;
use virt::domain::Domain;
use virt::error::{Error, ErrorNumber};
use virt_sys as sys;

/// All that libvirt keeps about a domain goes when the domain is undefined. The firmware's
/// variables stay: they lie in the VM's folder, outlive the domain, and go with the folder.
pub(crate) const UNDEFINE_ALL: u32 = sys::VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | sys::VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | sys::VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    | sys::VIR_DOMAIN_UNDEFINE_KEEP_NVRAM;

/// The call for which a deed is done.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    /// Our store, if it is known.
    pub(crate) store: StoreId,
    /// The call's effect key.
    pub(crate) key: EffectKey,
    /// The generation it acts for.
    pub(crate) generation: Generation,
    /// A removal leaves a domain of this generation alone.
    pub(crate) spares: Option<Generation>,
}

/// An edge effect: the domain does not show whether it was sent.
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

    /// Whether this call may touch the domain. Returns the domain's stamp, if so.
    pub(crate) fn may_touch(&self, sight: &SeenDomain) -> Result<Stamp, DriverError> {
        if sight.mark == Mark::Unreadable {
            return Err(foreign(
                self.vm(),
                "carries a mark of some Ostler's that this version cannot read",
            ));
        }
        self.may_touch_stamped(sight.mark.stamp())
    }

    /// As [`Self::may_touch`], with the stamp alone.
    pub(crate) fn may_touch_stamped(&self, stamp: Option<&Stamp>) -> Result<Stamp, DriverError> {
        let foreign = |why: &str| foreign(self.vm(), why);
        let Some(stamp) = stamp else { return Err(foreign("does not carry an Ostler's stamp")) };
        if stamp.identity.vm != self.vm() {
            return Err(foreign("carries another VM's stamp"));
        }
        if self.store != stamp.identity.store {
            return Err(foreign(&format!("belongs to the store {}", stamp.identity.store)));
        }
        if stamp.identity.generation > self.generation {
            let detail = format!(
                "generation {} is there, the call is for {}",
                stamp.identity.generation, self.generation
            );
            return Err(DriverError::new(ErrorKind::Stale, "stale", detail));
        }
        Ok(stamp.clone())
    }

    /// As [`Self::may_touch`], and the domain must be the very placement that the call is for.
    pub(crate) fn is_meant(&self, sight: &SeenDomain) -> Result<Stamp, DriverError> {
        let stamp = self.may_touch(sight)?;
        if stamp.identity.generation < self.generation {
            let detail = format!(
                "only generation {} is there, the call is for {}",
                stamp.identity.generation, self.generation
            );
            return Err(DriverError::refused("older-generation", detail));
        }
        Ok(stamp)
    }
}

/// The error for a domain that belongs to somebody else.
pub(crate) fn foreign(vm: VmUuid, why: &str) -> DriverError {
    DriverError::refused("foreign", format!("the domain with UUID {vm} {why}"))
}

/// The answer of a call that succeeded.
pub(crate) const fn outcome(seen: Observation) -> Outcome {
    Outcome { seen: Some(seen), state: None }
}

/// Looks after a change. If the look fails, the caller does not know the result of the change: the
/// error is *unknown*.
pub(crate) fn look_after(live: &Live, vm: VmUuid) -> CallResult {
    let looked = look(live, vm).and_then(|sight| match sight {
        Some(sight) => observation(live, &sight),
        None => Ok(Observation::Absent),
    });
    looked.map(outcome).map_err(|error| DriverError::unknown("lost-connection", error.detail))
}

/// The answer when nothing had to be done.
pub(crate) fn look_before(live: &Live, sight: &SeenDomain) -> CallResult {
    observation(live, sight).map(outcome)
}

/// Whether libvirt found the domain in another state than our look did a moment before.
pub(crate) fn changed_meanwhile(error: &Error) -> bool {
    matches!(error.code(), ErrorNumber::OperationInvalid | ErrorNumber::NoDomain)
}

/// Makes the domain defined, stamped and running.
pub(crate) fn deploy(
    live: &Live,
    order: &Order,
    config: &HostConfig,
    spec: &DomainSpec,
) -> CallResult {
    let host = host::capabilities(live)?.choose(config)?;
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
            // The guest crashed and was kept, or this placement may no longer run. The new
            // placement replaces it.
            Power::Running | Power::Paused | Power::Crashed => stop(live, &sight.domain)?,
            Power::Off => goes_on = same && kept_memory_fits(live, &sight, spec)?,
        }
        take_name_back(live, &sight.domain, &spec.name)?;
    }
    let domain = Domain::define_xml(live.connect(), &xml).map_err(placing)?;
    // Memory that libvirt keeps may be of an earlier placement, or of other hardware. It would
    // bring back an old stamp, or not start at all.
    match domain.create_with_flags(if goes_on { 0 } else { sys::VIR_DOMAIN_START_FORCE_BOOT }) {
        Err(error) if !changed_meanwhile(&error) => Err(placing(error)),
        Ok(_) | Err(_) => look_after(live, order.vm()),
    }
}

/// Whether the guest goes on from memory that libvirt keeps. It does if somebody asked libvirt to
/// save the guest (`virsh managedsave`; a host may do so when it shuts down), and no disk or
/// network card was plugged in or out since.
fn kept_memory_fits(
    live: &Live,
    sight: &SeenDomain,
    spec: &DomainSpec,
) -> Result<bool, DriverError> {
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
        tracing::warn!(
            name = spec.name,
            "libvirt keeps saved memory of a domain whose hardware was changed since: it is dropped"
        );
    }
    Ok(fits)
}

/// Gives a renamed domain its name back: libvirt accepts no second name for a UUID, so a definition
/// with our name would fail.
pub(crate) fn take_name_back(live: &Live, domain: &Domain, name: &str) -> Result<(), DriverError> {
    let asking = |error: Error| live.error(&error, During::Asking);
    if domain.get_name().map_err(asking)? == name {
        return Ok(());
    }
    match domain.is_persistent() {
        Ok(true) => {
            domain.rename(name, 0).map(drop).map_err(|error| live.error(&error, During::Placing))
        }
        // A domain without a definition went away when it stopped.
        Ok(false) => Ok(()),
        Err(error) if changed_meanwhile(&error) => Ok(()),
        Err(error) => Err(asking(error)),
    }
}

/// The definition, with the file of firmware variables that the domain already has.
fn with_variables_of(live: &Live, sight: &SeenDomain, xml: String) -> Result<String, DriverError> {
    let defined = description(live, sight, 0)?;
    let variables = defined
        .child("os")
        .and_then(|os| os.child("nvram"))
        .map(Node::text)
        .filter(|path| !path.is_empty());
    let Some(path) = variables else { return Ok(xml) };
    let unreadable = |error: crate::tree::TreeError| {
        DriverError::refused("bad-spec", format!("the domain as XML: {error}"))
    };
    let mut domain = Node::parse(&xml).map_err(unreadable)?;
    domain.child_or_new("os").child_or_new("nvram").set_text(&path);
    domain.write().map_err(unreadable)
}

/// Defines a running domain that has no definition (restored elsewhere, migrated): it would vanish
/// when it stops.
fn stay_defined(live: &Live, domain: &Domain, xml: &str) -> Result<(), DriverError> {
    if domain.is_persistent().map_err(|error| live.error(&error, During::Asking))? {
        return Ok(());
    }
    Domain::define_xml(live.connect(), xml)
        .map(drop)
        .map_err(|error| live.error(&error, During::Acting))
}

/// Switches the domain off at once, without asking the guest.
pub(crate) fn stop(live: &Live, domain: &Domain) -> Result<(), DriverError> {
    match domain.destroy_flags(sys::VIR_DOMAIN_DESTROY_DEFAULT) {
        Err(error) if !changed_meanwhile(&error) => Err(live.error(&error, During::Acting)),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Makes the domain be off.
pub(crate) fn destroy(live: &Live, order: &Order) -> CallResult {
    let Some(sight) = look(live, order.vm())? else { return Ok(outcome(Observation::Absent)) };
    order.may_touch(&sight)?;
    if sight.managed {
        // The next start must not go on from kept memory: this call switches the guest off for
        // good.
        sight.domain.managed_save_remove(0).map_err(|error| live.error(&error, During::Acting))?;
    } else if !sight.is_active() {
        return look_before(live, &sight);
    }
    stop(live, &sight.domain)?;
    look_after(live, order.vm())
}

/// Makes the domain absent.
pub(crate) fn remove(live: &Live, order: &Order) -> CallResult {
    let Some(sight) = look(live, order.vm())? else { return Ok(outcome(Observation::Absent)) };
    let stamp = order.may_touch(&sight)?;
    if order.spares == Some(stamp.identity.generation) {
        // Both hosts of a move are this daemon. This domain is the VM's placement on the other
        // host; this side has nothing.
        return Ok(outcome(Observation::Absent));
    }
    if sight.is_active() {
        stop(live, &sight.domain)?;
    }
    match sight.domain.undefine_flags(UNDEFINE_ALL) {
        // A domain without a definition went away when it stopped.
        Err(error) if !changed_meanwhile(&error) => Err(live.error(&error, During::Acting)),
        Ok(()) | Err(_) => look_after(live, order.vm()),
    }
}

/// Writes the stamp into the running domain and into its definition, whichever of the two it has.
pub(crate) fn write_stamp(live: &Live, domain: &Domain, stamp: &Stamp) -> Result<(), DriverError> {
    let element =
        stamp.element().map_err(|error| DriverError::refused("bad-stamp", error.to_string()))?;
    let kind = c_int::try_from(sys::VIR_DOMAIN_METADATA_ELEMENT).unwrap_or_default();
    let write =
        |flags| domain.set_metadata(kind, Some(&element), Some(PREFIX), Some(NAMESPACE), flags);
    let asking = |error: Error| live.error(&error, During::Asking);
    let (runs, defined) =
        (domain.is_active().map_err(asking)?, domain.is_persistent().map_err(asking)?);
    let written = write(match (runs, defined) {
        (true, true) => sys::VIR_DOMAIN_AFFECT_LIVE | sys::VIR_DOMAIN_AFFECT_CONFIG,
        (true, false) => sys::VIR_DOMAIN_AFFECT_LIVE,
        (false, _) => sys::VIR_DOMAIN_AFFECT_CONFIG,
    });
    // It does no harm if the stamp may or may not be written: the edge effect was not sent yet, and
    // will not be.
    written.map(drop).map_err(|error| live.error(&error, During::Acting))
}

/// Sends a press, a reboot or a reset at most once per effect key.
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
            let detail = "the domain is paused and cannot answer the power button: resume it, or \
                          use the hard way";
            return Err(DriverError::refused("paused", detail));
        }
        (Power::Crashed, _) => {
            return Err(DriverError::refused("crashed", "the guest has crashed and cannot answer"));
        }
    }
    if stamp.edge.as_ref() == Some(&order.key) {
        return look_before(live, &sight);
    }
    write_stamp(live, &sight.domain, &Stamp { edge: Some(order.key.clone()), ..stamp })?;
    let pressed = match edge {
        // Not libvirt's default mode: when ACPI is refused, that would fall back to the guest
        // agent, or do nothing.
        Edge::Press => {
            sight.domain.shutdown_flags(sys::VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN).map(drop)
        }
        Edge::Reboot => sight.domain.reboot(sys::VIR_DOMAIN_REBOOT_ACPI_POWER_BTN),
        Edge::Reset => sight.domain.reset().map(drop),
    };
    match pressed {
        Err(error) if !changed_meanwhile(&error) => Err(live.error(&error, During::Acting)),
        Ok(()) | Err(_) => look_after(live, order.vm()),
    }
}

/// Lets a paused guest run on.
pub(crate) fn unpause(live: &Live, order: &Order) -> CallResult {
    let gone =
        || DriverError::new(ErrorKind::Gone, "not-running", "the domain is not there, or off");
    let sight = look(live, order.vm())?.ok_or_else(gone)?;
    order.is_meant(&sight)?;
    match sight.power {
        Power::Running => look_before(live, &sight),
        Power::Off => Err(gone()),
        Power::Crashed => {
            Err(DriverError::refused("crashed", "the guest has crashed and cannot run on"))
        }
        Power::Paused => match sight.domain.resume() {
            Err(error) if !changed_meanwhile(&error) => Err(live.error(&error, During::Acting)),
            Ok(_) | Err(_) => look_after(live, order.vm()),
        },
    }
}

/// Ends the job that is at work on the domain, no matter who began it: the caller must know whose
/// job it is. No error if there is no job.
pub(crate) fn abort_job(live: &Live, vm: VmUuid) -> Result<(), DriverError> {
    let Some(sight) = look(live, vm)? else { return Ok(()) };
    match raw::abort_job(&sight.domain) {
        Err(error) if !changed_meanwhile(&error) => Err(live.error(&error, During::Acting)),
        Ok(()) | Err(_) => Ok(()),
    }
}
