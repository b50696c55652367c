//! Snapshots of memory and disks, inside the disks' own files.
//!
//! A snapshot holds the domain's description as it was, with our stamp in it: after a revert the
//! domain carries an old generation. So a revert leaves the domain paused, stamps it anew, and only
//! then lets it run. A revert that was cut off before its stamp leaves the domain paused. Doing it
//! again changes nothing, because nothing has run.

use crate::domain_ops::{Order, changed_meanwhile, look_after, look_before, outcome, write_stamp};
use crate::failure::During;
use crate::live::Live;
use crate::look::{SeenDomain, look};
use crate::stamp::Stamp;
use crate::tree::Node;
use ostler_model::{
    CallResult, DriverError, ErrorKind, Identity, Observation, Power, PowerReason, SnapshotName,
    VmUuid,
};
use serde::Serialize;
use virt::domain_snapshot::DomainSnapshot;
use virt::error::{Error, ErrorNumber};
use virt_sys as sys;

#[derive(Serialize)]
#[serde(rename = "domainsnapshot")]
struct SnapshotXml<'a> {
    name: &'a str,
}

fn find(
    live: &Live,
    sight: &SeenDomain,
    name: &SnapshotName,
) -> Result<Option<DomainSnapshot>, DriverError> {
    match DomainSnapshot::lookup_by_name(&sight.domain, name.as_str(), 0) {
        Ok(snapshot) => Ok(Some(snapshot)),
        Err(error) if error.code() == ErrorNumber::NoDomainSnapshot => Ok(None),
        Err(error) => Err(live.error(&error, During::Asking)),
    }
}

fn no_domain() -> DriverError {
    DriverError::new(ErrorKind::Gone, "no-domain", "there is no such domain")
}

/// Makes the domain have a snapshot of that name.
pub(crate) fn create(live: &Live, order: &Order, name: &SnapshotName) -> CallResult {
    let sight = look(live, order.vm())?.ok_or_else(no_domain)?;
    order.is_meant(&sight)?;
    if find(live, &sight, name)?.is_some() {
        return made(live, &sight);
    }
    match sight.power {
        Power::Running | Power::Paused => {}
        Power::Off => {
            return Err(DriverError::new(
                ErrorKind::Gone,
                "not-running",
                "the domain is off: it has no memory to keep",
            ));
        }
        Power::Crashed => {
            return Err(DriverError::refused(
                "crashed",
                "the guest has crashed: there is nothing worth keeping",
            ));
        }
    }
    let xml = quick_xml::se::to_string(&SnapshotXml { name: name.as_str() })
        .map_err(|error| DriverError::refused("bad-spec", error.to_string()))?;
    match DomainSnapshot::create_xml(&sight.domain, &xml, 0)
        .map_err(|error| live.error(&error, During::Acting))
    {
        Ok(_) => look_after(live, order.vm()),
        Err(error) if error.kind == ErrorKind::Unknown => Err(error),
        // An earlier sending, whose caller is gone, may have made it while this one waited.
        Err(error) => match look(live, order.vm()) {
            Ok(Some(sight)) if find(live, &sight, name)?.is_some() => made(live, &sight),
            Ok(_) => Err(error),
            Err(unseen) => Err(DriverError::unknown("lost-connection", unseen.detail)),
        },
    }
}

/// The answer for a snapshot that is there. libvirt lists a snapshot from the moment that it begins
/// to make it, and keeps the guest paused until the snapshot is made. If a person had paused the
/// guest before, it keeps that person's reason, and only the job tells.
fn made(live: &Live, sight: &SeenDomain) -> CallResult {
    if sight.reason == PowerReason::Starting || sight.power == Power::Paused && sight.may_have_job()
    {
        return Err(DriverError::retry("busy", "an earlier call is still making this snapshot"));
    }
    look_before(live, sight)
}

/// Makes the domain be as in the snapshot.
pub(crate) fn revert(live: &Live, order: &Order, name: &SnapshotName) -> CallResult {
    let sight = look(live, order.vm())?.ok_or_else(no_domain)?;
    // After a revert that was cut off, the domain carries the generation of the snapshot. So any
    // generation that is not later than the call's is accepted.
    let stamp = order.may_touch(&sight)?;
    if stamp.edge.as_ref() == Some(&order.key) {
        return run_on(live, order, &sight);
    }
    let Some(snapshot) = find(live, &sight, name)? else {
        return Err(DriverError::new(
            ErrorKind::Gone,
            "no-snapshot",
            format!("the domain has no snapshot {name}"),
        ));
    };
    snapshot
        .revert(sys::VIR_DOMAIN_SNAPSHOT_REVERT_PAUSED)
        .map_err(|error| live.error(&error, During::Acting))?;
    let reverted = look(live, order.vm())?.ok_or_else(no_domain)?;
    let identity = Identity { generation: order.generation, ..stamp.identity };
    restamp(live, &reverted, identity, order)?;
    run_on(live, order, &reverted)
}

/// Stamps the domain anew. The jobs and saves in the snapshot's stamp do not hold for the guest
/// that goes on from it.
fn restamp(
    live: &Live,
    sight: &SeenDomain,
    identity: Identity,
    order: &Order,
) -> Result<(), DriverError> {
    write_stamp(
        live,
        &sight.domain,
        &Stamp { edge: Some(order.key.clone()), ..Stamp::new(identity) },
    )
}

fn run_on(live: &Live, order: &Order, sight: &SeenDomain) -> CallResult {
    if sight.power == Power::Paused {
        match sight.domain.resume() {
            Err(error) if !changed_meanwhile(&error) => {
                return Err(live.error(&error, During::Acting));
            }
            Ok(_) | Err(_) => {}
        }
    }
    look_after(live, order.vm())
}

/// Makes the domain have no snapshot of that name.
pub(crate) fn delete(live: &Live, order: &Order, name: &SnapshotName) -> CallResult {
    let Some(sight) = look(live, order.vm())? else { return Ok(outcome(Observation::Absent)) };
    order.may_touch(&sight)?;
    let Some(snapshot) = find(live, &sight, name)? else { return look_before(live, &sight) };
    match snapshot.delete(0) {
        Err(error) if error.code() != ErrorNumber::NoDomainSnapshot => {
            Err(live.error(&error, During::Acting))
        }
        Ok(()) | Err(_) => look_after(live, order.vm()),
    }
}

/// The names of all snapshots, oldest first. A domain that is not there has none.
pub(crate) fn list(live: &Live, vm: VmUuid) -> Result<Vec<String>, DriverError> {
    let Some(sight) = look(live, vm)? else { return Ok(Vec::new()) };
    let asking = |error: Error| live.error(&error, During::Asking);
    // Parents before children: this keeps the order of snapshots that were made within one second.
    let all = sight
        .domain
        .list_all_snapshots(sys::VIR_DOMAIN_SNAPSHOT_LIST_TOPOLOGICAL)
        .map_err(asking)?;
    let mut named = Vec::with_capacity(all.len());
    for snapshot in all {
        match (snapshot.get_xml_desc(0), snapshot.get_name()) {
            (Ok(xml), Ok(name)) => named.push((created(&xml), name)),
            // Deleted while we looked.
            (Err(error), _) | (_, Err(error)) if error.code() == ErrorNumber::NoDomainSnapshot => {}
            (Err(error), _) | (_, Err(error)) => return Err(asking(error)),
        }
    }
    named.sort_by_key(|(created, _)| *created);
    Ok(named.into_iter().map(|(_, name)| name).collect())
}

/// The time of creation, in seconds since the epoch; 0 if libvirt does not tell it.
fn created(xml: &str) -> u64 {
    let snapshot = Node::parse(xml).ok();
    snapshot
        .and_then(|snapshot| {
            snapshot.child("creationTime").and_then(|time| time.text().trim().parse().ok())
        })
        .unwrap_or(0)
}
