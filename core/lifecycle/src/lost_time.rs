//! Domains of a lost time that are seen after their VM was reconciled: a guest that was on its way
//! meanwhile, or one on a host that was off.

use crate::domain_status::DomainStatus;
use crate::draft::Draft;
use crate::facts::{Facts, Found};
use crate::restored::{reconciled, take_over};
use ostler_model::{Generation, Observation, Power, PowerReason, Reason, State};

/// Another domain is newer than the record, and the VM is not alive where the record has it: the
/// record is too old. Its saved memory is not given up because of what another host says.
///
/// `seen`: the VM's own domain, at its own host.
pub(crate) fn contradicted(draft: &mut Draft<'_>, seen: DomainStatus) {
    let Some((found, generation)) = arrived_late(draft, seen) else {
        draft.set_state(State::Unknown, Reason::StoreIsStale);
        return;
    };
    take_over(draft, found, generation, None);
    let host = found.host;
    reconciled(draft, format!("it has arrived on host {host}: the lost store was moving it there"));
}

/// The domain that is the VM, if the lost store has sent it to another host and it arrived after
/// the VM was reconciled: a hypervisor carries a live migration on without a daemon.
///
/// This is certain only if the guest lives there and nowhere else, if its own host has let go of
/// it, and if this store has not placed it since the restore.
fn arrived_late<'a>(draft: &Draft<'a>, seen: DomainStatus) -> Option<(&'a Found, Generation)> {
    let gone = matches!(seen, DomainStatus::Absent | DomainStatus::Off(PowerReason::Migrated));
    let newer = draft.facts.elsewhere.as_ref().filter(|newer| gone && newer.alone)?;
    let found = &newer.found;
    let lives = match found.seen.power {
        Power::Running => true,
        Power::Paused => found.seen.reason != PowerReason::Starting,
        Power::Off | Power::Crashed => false,
    };
    Some((found, in_lost_time(draft, found).filter(|_| lives)?))
}

/// The generation of a domain that the latest lost time has placed, if this store has not placed
/// the VM since then, and if the record has no saved memory that a person could want instead.
fn in_lost_time(draft: &Draft<'_>, found: &Found) -> Option<Generation> {
    let record = &draft.record;
    let (restored, place) = (record.restored.as_ref()?, record.placement.as_ref()?);
    let untouched = !restored.is_latest(place.generation)
        && record.moving.is_none()
        && record.usable_recovery().is_none();
    let generation = found.generation(record, draft.facts.store)?;
    (untouched && restored.is_latest(generation)).then_some(generation)
}

/// The VM's own host has come back with a domain of the lost time, after the VM was reconciled: the
/// host was off then. No other host has a newer one, so this domain is the VM. Under the generation
/// of the record the host would refuse every call as stale, also a delete. Returns whether the
/// record follows it.
pub(crate) fn came_back(draft: &mut Draft<'_>, seen: &Observation) -> bool {
    let Observation::Present(domain) = seen else { return false };
    let unknown_memory =
        matches!(domain.reason, PowerReason::Saved | PowerReason::Kept | PowerReason::Starting);
    let Some(place) = draft.record.placement.as_ref() else { return false };
    let (host, driver) = (place.host, place.driver.clone());
    let found = Found { host, driver, seen: domain.clone() };
    let Some(generation) = in_lost_time(draft, &found) else { return false };
    if unknown_memory || draft.facts.elsewhere.is_some() {
        return false;
    }
    take_over(draft, &found, generation, None);
    reconciled(draft, format!("host {host} has come back with its domain of the lost time"));
    true
}

/// Whether a domain that is newer than the record counts more than what was seen at the VM's own
/// placement.
pub(crate) fn is_contradicted(facts: &Facts, seen: DomainStatus) -> bool {
    facts.elsewhere.is_some() && !seen.lives()
}
