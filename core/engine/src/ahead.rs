//! Domains of VMs under generations above all that this store has issued, on hosts where the store does not know them: it was restored from
//! an old backup, and the VM has moved since. They are the right ones, so nothing of such a VM is started, moved or removed by what the
//! store believes; and where it believes the VM to be, that it is absent means nothing.

use crate::calls;
use crate::handle::EngineError;
use crate::shared::{Shared, locked};
use ostler_model::{
    DomainSeen, DriverError, HostId, Observation, Power, Refusal, RefusalKind, State, Strength, Verb, VmRecord, VmUuid,
};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// As each host was listed last.
#[derive(Default)]
pub(crate) struct Ahead(Mutex<BTreeMap<HostId, BTreeMap<VmUuid, DomainSeen>>>);

impl Ahead {
    /// Whether a domain of `record` on `host` is one.
    pub(crate) fn is_it(record: &VmRecord, host: HostId, seen: &DomainSeen) -> bool {
        let here = record.placement.as_ref().is_some_and(|place| place.host == host);
        !here && seen.identity.is_some_and(|identity| identity.generation > record.issued)
    }

    /// What there is on `host`, now that it was listed or is watched no more.
    pub(crate) fn keep(&self, host: HostId, domains: BTreeMap<VmUuid, DomainSeen>) {
        let mut all = locked(&self.0);
        if domains.is_empty() {
            all.remove(&host);
        } else {
            all.insert(host, domains);
        }
    }

    /// Whether there may be one of this VM.
    pub(crate) fn knows(&self, vm: VmUuid) -> bool {
        locked(&self.0).values().any(|domains| domains.contains_key(&vm))
    }

    /// One of this VM, and where. What the record has issued meanwhile is not above it any more.
    pub(crate) fn of(&self, record: &VmRecord) -> Option<(HostId, DomainSeen)> {
        let all = locked(&self.0);
        let mut found = all.iter().filter_map(|(host, domains)| Some((*host, domains.get(&record.uuid)?)));
        found.find(|(host, seen)| Self::is_it(record, *host, seen)).map(|(host, seen)| (host, seen.clone()))
    }
}

/// Looks at a VM where it has its place. If it does not live there and is ahead elsewhere, that is what was seen of it.
pub(crate) async fn look(shared: &Shared, record: &VmRecord) -> Result<Observation, DriverError> {
    let seen = calls::observe(shared, record).await?;
    let lives = matches!(&seen, Observation::Present(domain) if domain.power != Power::Off);
    match shared.ahead.of(record).filter(|_| !lives) {
        Some((_, elsewhere)) => Ok(Observation::Present(elsewhere)),
        None => Ok(seen),
    }
}

/// Refuses what would start a second one, or take the disks from the one there is. What only changes the record goes, and so does forget.
pub(crate) fn refuse(shared: &Shared, record: &VmRecord, verb: Verb) -> Result<(), EngineError> {
    let harmless = verb.is_record_only() || verb == Verb::Hold || verb.strength() == Strength::Forget;
    // What runs where the store has it is the right one for that.
    if harmless || record.operation.is_some() || record.state == State::Running {
        return Ok(());
    }
    let Some((host, seen)) = shared.ahead.of(record) else { return Ok(()) };
    let detail = format!(
        "VM {}: host {host} has its domain {} under a generation above all that this store has issued: the store is older than that",
        record.id, seen.name
    );
    let hint = "restore a newer backup; or make sure that this domain is not needed, remove it at its hypervisor, and ask again";
    Err(EngineError::Refused(Refusal { kind: RefusalKind::Contradicted, verb, detail, hint: hint.to_owned() }))
}
