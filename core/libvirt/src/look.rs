//! Looks at domains: their state, its reason, and their stamp.

use crate::failure::{During, is_no_domain};
use crate::live::Live;
use crate::stamp::{Mark, NAMESPACE};
use crate::tree::Node;
use ostler_driver::Listed;
use ostler_model::{DomainSeen, DriverError, Observation, Power, PowerReason, VmUuid};
use std::ffi::c_int;
use virt::domain::Domain;
use virt::error::{Error, ErrorNumber};
use virt_sys as sys;

/// A domain that was looked at.
pub(crate) struct SeenDomain {
    /// Its handle.
    pub(crate) domain: Domain,
    /// Its power state.
    pub(crate) power: Power,
    /// The reason of that state.
    pub(crate) reason: PowerReason,
    /// Our mark in it.
    pub(crate) mark: Mark,
    /// Whether it is off and libvirt keeps its memory for the next start, because somebody asked
    /// libvirt to save it.
    pub(crate) managed: bool,
}

impl SeenDomain {
    /// Whether it has a process: it runs, is paused, or has crashed and was kept.
    pub(crate) const fn is_active(&self) -> bool {
        match self.power {
            Power::Running | Power::Paused | Power::Crashed => true,
            Power::Off => false,
        }
    }

    /// Whether libvirt has a job at work on it. True if libvirt does not tell.
    pub(crate) fn may_have_job(&self) -> bool {
        self.domain
            .get_job_info()
            .map_or(true, |job| u32::try_from(job.r#type) != Ok(sys::VIR_DOMAIN_JOB_NONE))
    }

    fn seen(&self) -> Result<DomainSeen, Error> {
        Ok(DomainSeen {
            uuid: VmUuid(self.domain.get_uuid()?),
            name: self.domain.get_name()?,
            identity: self.mark.stamp().map(|stamp| stamp.identity),
            power: self.power,
            reason: if self.managed { PowerReason::Kept } else { self.reason },
            last_edge: self.mark.stamp().and_then(|stamp| stamp.edge.clone()),
        })
    }
}

/// Looks at one domain. None: there is no such domain. Changes nothing.
pub(crate) fn look(live: &Live, vm: VmUuid) -> Result<Option<SeenDomain>, DriverError> {
    let found = Domain::lookup_by_uuid(live.connect(), vm.0);
    let sight = found.and_then(|domain| sight(&domain));
    absent_is_a_fact(live, sight)?.transpose()
}

/// Looks at one domain, for the engine.
pub(crate) fn observe(live: &Live, vm: VmUuid) -> Result<Observation, DriverError> {
    let Some(sight) = look(live, vm)? else { return Ok(Observation::Absent) };
    observation(live, &sight)
}

/// The observation of a domain that was just looked at, for the engine.
pub(crate) fn observation(live: &Live, sight: &SeenDomain) -> Result<Observation, DriverError> {
    let seen = sight.seen().map_err(|error| live.error(&error, During::Asking))?;
    Ok(Observation::Present(seen))
}

/// The domain's description as XML.
pub(crate) fn description(
    live: &Live,
    sight: &SeenDomain,
    flags: u32,
) -> Result<Node, DriverError> {
    let xml =
        sight.domain.get_xml_desc(flags).map_err(|error| live.error(&error, During::Asking))?;
    Node::parse(&xml)
        .map_err(|error| DriverError::retry("no-answer", format!("libvirt's XML: {error}")))
}

/// Looks at all domains. A domain that goes away meanwhile is left out; a domain that cannot be
/// read is listed as unreadable.
pub(crate) fn list(
    live: &Live,
    is_orphaned: impl Fn(VmUuid) -> bool,
) -> Result<Listed, DriverError> {
    let domains =
        live.connect().list_all_domains(0).map_err(|error| live.error(&error, During::Asking))?;
    let mut listed = Listed::default();
    for domain in domains {
        let uuid = VmUuid(domain.get_uuid().map_err(|error| live.error(&error, During::Asking))?);
        if is_orphaned(uuid) {
            listed.unreadable.push(uuid);
            continue;
        }
        match absent_is_a_fact(live, sight(&domain)) {
            Ok(None) => {}
            Ok(Some(Ok(sight))) => match sight.seen() {
                Ok(seen) => listed.domains.push(seen),
                Err(_) => listed.unreadable.push(uuid),
            },
            // The connection is lost: the other domains cannot be looked at either.
            Err(error) if !live.is_alive() => return Err(error),
            Ok(Some(Err(_))) | Err(_) => listed.unreadable.push(uuid),
        }
    }
    Ok(listed)
}

/// Only libvirt's own "no such domain" counts as absent. Any other error says nothing about the
/// domain.
fn absent_is_a_fact<T>(live: &Live, looked: Result<T, Error>) -> Result<Option<T>, DriverError> {
    match looked {
        Ok(found) => Ok(Some(found)),
        Err(error) if is_no_domain(&error) => Ok(None),
        Err(error) => Err(live.error(&error, During::Asking)),
    }
}

/// Reads the state first and the stamp second. If the domain is replaced in between, the look has
/// the newer stamp, and the call is then refused as stale.
fn sight(domain: &Domain) -> Result<Result<SeenDomain, DriverError>, Error> {
    let (state, mut reason) = domain.get_state()?;
    if rests_after_restore(domain, state, reason) {
        reason = c_int::try_from(sys::VIR_DOMAIN_PAUSED_UNKNOWN).unwrap_or_default();
    }
    let mark = mark_of(domain)?;
    let managed = state == sys::VIR_DOMAIN_SHUTOFF && domain.has_managed_save(0)?;
    let Some((power, reason)) = power(state, reason) else {
        return Ok(Err(DriverError::retry(
            "no-answer",
            format!("libvirt does not know the domain's state ({state})"),
        )));
    };
    Ok(Ok(SeenDomain { domain: domain.clone(), power, reason, mark, managed }))
}

/// Whether a paused domain was restored and only waits to be unpaused. libvirt gives it the reason
/// "migration" for as long as it waits, and gives the same reason to a domain that is still being
/// restored or migrated in. Those have a job (or, when migrated in, libvirt refuses to tell of it).
fn rests_after_restore(domain: &Domain, state: sys::virDomainState, reason: c_int) -> bool {
    let says_migration = state == sys::VIR_DOMAIN_PAUSED
        && u32::try_from(reason) == Ok(sys::VIR_DOMAIN_PAUSED_MIGRATION);
    says_migration
        && domain
            .get_job_info()
            .is_ok_and(|job| u32::try_from(job.r#type) == Ok(sys::VIR_DOMAIN_JOB_NONE))
}

/// The stamp of the running domain, or of its definition if it is off.
fn mark_of(domain: &Domain) -> Result<Mark, Error> {
    let kind = c_int::try_from(sys::VIR_DOMAIN_METADATA_ELEMENT).unwrap_or_default();
    match domain.get_metadata(kind, Some(NAMESPACE), sys::VIR_DOMAIN_AFFECT_CURRENT) {
        Ok(element) => Ok(Mark::of(&element)),
        Err(error) if error.code() == ErrorNumber::NoDomainMetadata => Ok(Mark::None),
        Err(error) => Err(error),
    }
}

/// Translates libvirt's state and reason. None if libvirt itself does not know the state.
fn power(state: sys::virDomainState, reason: c_int) -> Option<(Power, PowerReason)> {
    let reason = u32::try_from(reason).unwrap_or(0);
    match state {
        // A guest that is shutting down still runs, and so does one that put itself to sleep (S3:
        // the power button wakes it).
        sys::VIR_DOMAIN_RUNNING
        | sys::VIR_DOMAIN_BLOCKED
        | sys::VIR_DOMAIN_SHUTDOWN
        | sys::VIR_DOMAIN_PMSUSPENDED => Some((Power::Running, PowerReason::None)),
        sys::VIR_DOMAIN_PAUSED => Some(paused(reason)),
        sys::VIR_DOMAIN_SHUTOFF => Some((Power::Off, shutoff(reason))),
        sys::VIR_DOMAIN_CRASHED => Some((Power::Crashed, PowerReason::Crashed)),
        _ => None,
    }
}

fn paused(reason: sys::virDomainPausedReason) -> (Power, PowerReason) {
    match reason {
        sys::VIR_DOMAIN_PAUSED_USER | sys::VIR_DOMAIN_PAUSED_FROM_SNAPSHOT => {
            (Power::Paused, PowerReason::Person)
        }
        sys::VIR_DOMAIN_PAUSED_IOERROR => (Power::Paused, PowerReason::IoError),
        sys::VIR_DOMAIN_PAUSED_WATCHDOG => (Power::Paused, PowerReason::Watchdog),
        sys::VIR_DOMAIN_PAUSED_CRASHED => (Power::Crashed, PowerReason::Crashed),
        // libvirt is working on it and will finish soon.
        sys::VIR_DOMAIN_PAUSED_STARTING_UP
        | sys::VIR_DOMAIN_PAUSED_MIGRATION
        | sys::VIR_DOMAIN_PAUSED_POSTCOPY
        | sys::VIR_DOMAIN_PAUSED_SAVE
        | sys::VIR_DOMAIN_PAUSED_DUMP
        | sys::VIR_DOMAIN_PAUSED_SNAPSHOT
        | sys::VIR_DOMAIN_PAUSED_SHUTTING_DOWN => (Power::Paused, PowerReason::Starting),
        // An unknown reason, a failed post-copy, an error of libvirt's own, and reasons that later
        // versions add.
        _ => (Power::Paused, PowerReason::None),
    }
}

const fn shutoff(reason: sys::virDomainShutoffReason) -> PowerReason {
    match reason {
        sys::VIR_DOMAIN_SHUTOFF_SHUTDOWN => PowerReason::Guest,
        sys::VIR_DOMAIN_SHUTOFF_DESTROYED => PowerReason::Destroyed,
        // Its process died, could not be started, or was given up by a libvirt daemon that was
        // restarted.
        sys::VIR_DOMAIN_SHUTOFF_CRASHED
        | sys::VIR_DOMAIN_SHUTOFF_FAILED
        | sys::VIR_DOMAIN_SHUTOFF_DAEMON => PowerReason::Crashed,
        sys::VIR_DOMAIN_SHUTOFF_MIGRATED => PowerReason::Migrated,
        sys::VIR_DOMAIN_SHUTOFF_SAVED => PowerReason::Saved,
        sys::VIR_DOMAIN_SHUTOFF_FROM_SNAPSHOT => PowerReason::Person,
        // A libvirt daemon that was restarted has forgotten the reason.
        _ => PowerReason::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use std::fmt::Write as _;

    #[test]
    fn each_state_and_reason_has_its_meaning() {
        let mut table = String::new();
        for (state, word, reasons) in [
            (sys::VIR_DOMAIN_NOSTATE, "nostate", 0..1),
            (sys::VIR_DOMAIN_RUNNING, "running", 0..2),
            (sys::VIR_DOMAIN_BLOCKED, "blocked", 0..1),
            (sys::VIR_DOMAIN_PAUSED, "paused", -1..16),
            (sys::VIR_DOMAIN_SHUTDOWN, "in shutdown", 0..2),
            (sys::VIR_DOMAIN_SHUTOFF, "shutoff", -1..10),
            (sys::VIR_DOMAIN_CRASHED, "crashed", 0..2),
            (sys::VIR_DOMAIN_PMSUSPENDED, "pmsuspended", 0..1),
            (99, "of the future", 0..1),
        ] {
            for reason in reasons {
                let meaning = power(state, reason)
                    .map_or("could not ask".to_owned(), |(power, why)| format!("{power} {why}"));
                writeln!(table, "{word} {reason}: {meaning}").expect("to a string");
            }
        }
        expect![[r#"
            nostate 0: could not ask
            running 0: running none
            running 1: running none
            blocked 0: running none
            paused -1: paused none
            paused 0: paused none
            paused 1: paused person
            paused 2: paused starting
            paused 3: paused starting
            paused 4: paused starting
            paused 5: paused io-error
            paused 6: paused watchdog
            paused 7: paused person
            paused 8: paused starting
            paused 9: paused starting
            paused 10: crashed crashed
            paused 11: paused starting
            paused 12: paused starting
            paused 13: paused none
            paused 14: paused none
            paused 15: paused none
            in shutdown 0: running none
            in shutdown 1: running none
            shutoff -1: off none
            shutoff 0: off none
            shutoff 1: off guest
            shutoff 2: off destroyed
            shutoff 3: off crashed
            shutoff 4: off migrated
            shutoff 5: off saved
            shutoff 6: off crashed
            shutoff 7: off person
            shutoff 8: off crashed
            shutoff 9: off none
            crashed 0: crashed crashed
            crashed 1: crashed crashed
            pmsuspended 0: running none
            of the future 0: could not ask
        "#]]
        .assert_eq(&table);
    }
}
