//! What each call does: look, compare, act, look again. Blocking code, for a lane.
//!
//! A connection that breaks before the first change is *retry*; from the first change on it is *unknown*.

use crate::failure::During;
use crate::host;
use crate::image;
use crate::live::Live;
use crate::look::{Sight, look, observation};
use crate::options::HostConfig;
use crate::raw;
use crate::stamp::{NAMESPACE, PREFIX, Stamp};
use crate::xml;
use ostler_driver::{DomainSpec, FileRef};
use ostler_model::{
    CallResult, DriverError, EffectKey, ErrorKind, Generation, Observation, Outcome, Power, PowerReason, StoreId, VmUuid,
};
use std::ffi::c_int;
use virt::domain::Domain;
use virt::error::{Error, ErrorNumber};
use virt_sys as sys;

/// What goes with a domain when it is undefined: all that libvirt keeps about it.
pub(crate) const UNDEFINE_ALL: u32 = sys::VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | sys::VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | sys::VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    | sys::VIR_DOMAIN_UNDEFINE_NVRAM;

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
        self.may_touch_stamped(sight.stamp.as_ref())
    }

    /// As [`Self::may_touch`], by the stamp alone.
    pub(crate) fn may_touch_stamped(&self, stamp: Option<&Stamp>) -> Result<Stamp, DriverError> {
        let foreign = |why: &str| DriverError::refused("foreign", format!("the domain with UUID {} {why}", self.vm()));
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
    let xml = xml::domain(spec, config, host.domain_type)?;
    let placing = |error: Error| live.error(&error, During::Placing);
    if let Some(sight) = look(live, order.vm())? {
        let stamp = order.may_touch(&sight)?;
        let same = stamp.identity == spec.identity;
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
            Power::Off => {}
        }
    }
    let domain = Domain::define_xml(live.connect(), &xml).map_err(placing)?;
    // A managed save image that somebody left would bring back old memory with an old stamp.
    match domain.create_with_flags(sys::VIR_DOMAIN_START_FORCE_BOOT) {
        Err(error) if !changed_meanwhile(&error) => Err(placing(error)),
        Ok(_) | Err(_) => look_after(live, order.vm()),
    }
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
    if !sight.is_active() {
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

/// Writes the stamp into the running domain and into its definition.
pub(crate) fn write_stamp(live: &Live, domain: &Domain, stamp: &Stamp) -> Result<(), DriverError> {
    let element = stamp.element().map_err(|error| DriverError::refused("bad-stamp", error.to_string()))?;
    let kind = c_int::try_from(sys::VIR_DOMAIN_METADATA_ELEMENT).unwrap_or_default();
    let write = |flags| domain.set_metadata(kind, Some(&element), Some(PREFIX), Some(NAMESPACE), flags);
    let written = match write(sys::VIR_DOMAIN_AFFECT_LIVE | sys::VIR_DOMAIN_AFFECT_CONFIG) {
        // No definition to write into.
        Err(error) if error.code() == ErrorNumber::OperationInvalid => write(sys::VIR_DOMAIN_AFFECT_LIVE),
        other => other,
    };
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

/// Memory in the file, and off.
pub(crate) fn save(live: &Live, order: &Order, file: &FileRef) -> CallResult {
    xml::check_text("path", &file.absolute)?;
    let path = raw::c_string(&file.absolute).ok_or_else(|| DriverError::refused("bad-text", "the path has a NUL"))?;
    let sight = match look(live, order.vm())? {
        Some(sight) if sight.is_active() => sight,
        not_running => return saved_already(live, order, file, not_running),
    };
    let stamp = order.is_meant(&sight)?;
    if sight.power == Power::Crashed {
        return Err(DriverError::refused("crashed", "the guest has crashed: there is nothing worth saving"));
    }
    write_stamp(live, &sight.domain, &Stamp { save: Some(order.key.clone()), ..stamp })?;
    match raw::save(&sight.domain, &path) {
        Ok(()) => look_after(live, order.vm()),
        Err(error) if changed_meanwhile(&error) => {
            let detail = format!("the domain stopped while it was to be saved: {}", error.message());
            Err(DriverError::new(ErrorKind::Gone, "not-running", detail))
        }
        Err(error) => Err(live.error(&error, During::Acting)),
    }
}

/// A save that is repeated finds the domain off and the file whole. A file that another save wrote counts only if libvirt
/// still knows that the domain went off by being saved.
fn saved_already(live: &Live, order: &Order, file: &FileRef, sight: Option<Sight>) -> CallResult {
    if let Some(sight) = &sight {
        order.is_meant(sight)?;
    }
    let went_off_saved = sight.as_ref().is_some_and(|sight| sight.reason == PowerReason::Saved);
    let image = image::read(live, &file.absolute)?;
    let stamp = image.stamp.filter(|stamp| stamp.identity.vm == order.vm() && stamp.identity.generation == order.generation);
    let by_this_call = |stamp: &Stamp| stamp.save.as_ref() == Some(&order.key);
    if stamp.is_some_and(|stamp| went_off_saved || by_this_call(&stamp)) {
        return match &sight {
            Some(sight) => look_before(live, sight),
            None => Ok(outcome(Observation::Absent)),
        };
    }
    Err(DriverError::new(ErrorKind::Gone, "not-running", "the domain is not running, and was not saved to this file"))
}

/// Be there as it was saved, newly stamped and paused.
pub(crate) fn restore(live: &Live, order: &Order, spec: &DomainSpec, file: &FileRef) -> CallResult {
    xml::check_text("path", &file.absolute)?;
    if let Some(sight) = look(live, order.vm())? {
        let stamp = order.may_touch(&sight)?;
        if sight.is_active() {
            return if stamp.identity == spec.identity && sight.power != Power::Crashed {
                look_before(live, &sight)
            } else {
                Err(DriverError::refused("older-generation", "an older placement of this VM is still there: remove it first"))
            };
        }
    }
    let image = image::read(live, &file.absolute)?;
    let foreign = |stamp: &Stamp| stamp.identity.vm != order.vm() || stamp.identity.store != spec.identity.store;
    if image.stamp.as_ref().is_none_or(foreign) {
        return Err(DriverError::refused("foreign", format!("{} holds the memory of another domain", file.absolute)));
    }
    let xml = image.as_domain(spec)?;
    let placing = |error: Error| live.error(&error, During::Placing);
    // Defined first: a domain that is restored without a definition would vanish when it stops.
    Domain::define_xml(live.connect(), &xml).map_err(placing)?;
    let restored = Domain::domain_restore_flags(live.connect(), &file.absolute, Some(&xml), sys::VIR_DOMAIN_SAVE_PAUSED);
    restored.map_err(placing)?;
    look_after(live, order.vm())
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

/// Ends a save that is at work. Not an error if none is.
pub(crate) fn abort_job(live: &Live, vm: VmUuid) -> Result<(), DriverError> {
    let Some(sight) = look(live, vm)? else { return Ok(()) };
    match raw::abort_job(&sight.domain) {
        Err(error) if !changed_meanwhile(&error) => Err(live.error(&error, During::Acting)),
        Ok(()) | Err(_) => Ok(()),
    }
}
