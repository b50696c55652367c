//! Decides whether one host can take a VM, and which host the scheduler proposes for it.
//!
//! The scheduler only proposes. A proposal becomes a request and is decided like any other request.
//! Its capacity is claimed in the transaction that commits it.

use crate::draft::Draft;
use crate::facts::{Candidate, Near};
use ostler_model::{
    Capacity, Cause, ClaimRefused, DriverName, Hint, HostId, HostName, NicSpec, Placement, Refusal,
    RefusalKind, Request, ResourceRefused, State, Storage, Unfit, Verb, VmRecord,
};
use std::collections::BTreeSet;

/// Most VMs that move to or from one host at the same time. Each move copies memory or disks, and
/// more moves at once only take longer together.
pub const MOVES_AT_ONE_HOST: usize = 8;

/// A place that a VM can be deployed or moved to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// The host.
    pub(crate) host: HostId,
    /// Its hypervisor driver.
    pub(crate) driver: DriverName,
    /// The system datastore: the VM's own, or one for a VM that has none yet.
    pub(crate) storage: Storage,
}

/// Checks whether `host` can take the VM, and returns the target.
fn fits(record: &VmRecord, host: &Candidate) -> Result<Target, Unfit> {
    let driver = host.driver.clone().ok_or(Unfit::NoHypervisor)?;
    let storage =
        record.storage.clone().or_else(|| host.storage.clone()).ok_or(Unfit::NoStorage)?;
    if record.leftovers.iter().any(|left| left.place.host == host.host) {
        return Err(Unfit::Leftover);
    }
    let others = || host.near.iter().filter(|near| near.host != host.host);
    let place = record.placement.as_ref().map(|place| place.host);
    let onto_itself = others()
        .find(|near| near.one_hypervisor && Some(near.host) == place)
        .map(|near| near.name.clone());
    if let Some(other) = onto_itself.or_else(|| host.twin.clone()) {
        return Err(Unfit::OneHypervisor(other));
    }
    // Hosts where the VM is now, or where it left files that are still to be removed.
    let has_files = |near: &&Near| {
        Some(near.host) == place
            || record.leftovers.iter().any(|left| left.files && left.place.host == near.host)
    };
    match others().filter(has_files).find(|near| near.one_file_system) {
        Some(other) if !record.storage_is_shared() => {
            return Err(Unfit::OneFileSystem(other.name.clone()));
        }
        Some(_) | None => {}
    }
    match missing_bridge(&record.spec.nics, host.interfaces.as_deref()) {
        Some(bridge) => Err(Unfit::NoBridge(bridge.to_owned())),
        None => Ok(Target { host: host.host, driver, storage }),
    }
}

/// The first bridge that these network cards need and that a host with these network interfaces
/// does not have. None if `interfaces` is not known: then the start of the domain tells.
#[must_use]
pub fn missing_bridge<'a>(
    nics: &'a [NicSpec],
    interfaces: Option<&BTreeSet<String>>,
) -> Option<&'a str> {
    let known = interfaces?;
    nics.iter().map(|nic| nic.bridge.as_str()).find(|bridge| !known.contains(*bridge))
}

/// The target to which the request deploys or moves the VM.
pub(crate) fn target(draft: &Draft<'_>, asked: &Request) -> Result<Target, Refusal> {
    let refuse =
        |cause: Cause, hint: Hint| draft.refuse(asked.verb, RefusalKind::NoHost, cause, hint);
    let Some(host) = asked.host else { return Err(refuse(Cause::NoHostNamed, Hint::NameHost)) };
    let Some(candidate) = &draft.facts.target else {
        return Err(refuse(Cause::NoSuchHost { host }, Hint::ListHosts));
    };
    fits(&draft.record, candidate).map_err(|why| {
        let hint = match why {
            Unfit::NoStorage => Hint::AddDatastore,
            Unfit::NoBridge(_) => Hint::OtherHostOrBridge,
            Unfit::NoHypervisor
            | Unfit::Leftover
            | Unfit::OneHypervisor(_)
            | Unfit::OneFileSystem(_) => Hint::OtherHost,
        };
        refuse(Cause::HostUnfit { host, why }, hint)
    })
}

/// The offer of one host to the VMs that wait, in one cycle of the scheduler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The host.
    pub host: HostId,
    /// Its name.
    pub name: HostName,
    /// Its hypervisor driver.
    pub driver: DriverName,
    /// Whether a running VM can be moved from it and to it.
    pub live: bool,
    /// Its free capacity, less what was proposed in this cycle.
    pub free: Capacity,
    /// Why it cannot be asked, if it cannot.
    pub silent: Option<String>,
}

/// Facts about one VM and the hosts, beside the offers.
pub trait Scene {
    /// Whether there is a system datastore for a VM that has none yet.
    fn has_storage(&self) -> bool;
    /// The host as a candidate for the VM.
    fn candidate(&self, host: HostId) -> Option<Candidate>;
    /// Why that host has refused the VM a short time ago.
    fn refused(&self, host: HostId) -> Option<Declined>;
    /// How many VMs move to or from that host now.
    fn moves(&self, host: HostId) -> usize;
}

/// The proposal for a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proposal {
    /// It does not wait for a host.
    Nothing,
    /// It should go to this host. Its capacity is already subtracted from the host's offer.
    Go {
        /// The host.
        host: HostId,
        /// `deploy`, or the verb by which the VM is moved.
        verb: Verb,
    },
    /// It waits, for these reasons.
    Wait(Vec<Waits>),
}

/// Why a VM waits: a reason against one host, or against all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waits {
    /// It is not reconciled after a restore of the store.
    Unreconciled,
    /// Its own host cannot be asked.
    Unseen,
    /// This many VMs move to or from its own host, and no more may.
    HomeCrowded(usize),
    /// No host is on.
    NoHosts,
    /// There is no system datastore for it.
    NoStorage,
    /// The one host that it asks for is not on.
    NotOn(HostName),
    /// This host, for this reason.
    Host(HostName, WhyNot),
    /// The number of further hosts, which are not named.
    More(usize),
    /// The host that was proposed has refused it.
    Refused(Declined),
    /// In a dry run: it would go to this host now.
    WouldGo(HostId),
}

/// Why a proposal of the scheduler was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Declined {
    /// The VM refused it.
    Refused(Refusal),
    /// The store refused it.
    Resource(ResourceRefused),
    /// Another VM has something that only one VM may hold.
    Taken(Box<ClaimRefused>),
    /// It failed, for this reason.
    Failed(String),
}

/// The reason against one host for one VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhyNot {
    /// The host cannot be asked.
    Silent(String),
    /// The host does not fit the VM.
    Unfit(Unfit),
    /// The VM was refused there a moment ago.
    Refused(Declined),
    /// This many VMs move to or from the host, and no more may.
    Crowded(usize),
    /// The VM is there now.
    Here,
    /// The host has another driver than the VM.
    OtherDriver {
        /// The driver of the host.
        has: DriverName,
        /// The driver that the VM is made for.
        needs: DriverName,
    },
    /// The host has not enough free capacity.
    TooFull {
        /// The free capacity of the host.
        free: Capacity,
        /// The capacity that the VM needs.
        needed: Capacity,
    },
}

/// Most hosts that are named for one VM.
const TOLD_MAX: usize = 20;

/// First fit over committed capacity. The capacity that is proposed is subtracted from the offer.
pub fn propose(record: &VmRecord, offers: &mut [Offer], scene: &dyn Scene) -> Proposal {
    let moves = record.resched && record.operation.is_none();
    let place = match (&record.placement, record.state) {
        (_, State::Pending) => None,
        (Some(place), _) if moves => Some(place),
        (Some(_) | None, _) => return Proposal::Nothing,
    };
    if record.is_unreconciled() {
        return Proposal::Wait(vec![Waits::Unreconciled]);
    }
    if record.storage.is_none() && !scene.has_storage() {
        return Proposal::Wait(vec![Waits::NoStorage]);
    }
    let here = place.map(|place| place.host);
    if here.is_some() && record.state == State::Unknown {
        // The VM may still run on its host. Only an operator may decide to start it elsewhere;
        // enough capacity is no reason.
        return Proposal::Wait(vec![Waits::Unseen]);
    }
    let crowded = |host| place.is_some() && scene.moves(host) >= MOVES_AT_ONE_HOST;
    if here.is_some_and(crowded) {
        return Proposal::Wait(vec![Waits::HomeCrowded(MOVES_AT_ONE_HOST)]);
    }
    let leaves_live = offers.iter().any(|offer| Some(offer.host) == here && offer.live);
    let why_not = |offer: &Offer| {
        against(record, place, offer, scene)
            .or_else(|| crowded(offer.host).then_some(WhyNot::Crowded(MOVES_AT_ONE_HOST)))
    };
    let Some(to) = choose(offers, record, &why_not) else {
        return Proposal::Wait(told(offers, record, &why_not));
    };
    let verb = match (place, record.state) {
        (None, _) => Verb::Deploy,
        (Some(_), State::Running) if leaves_live && to.live => Verb::MigrateLive,
        (Some(_), _) => Verb::Migrate,
    };
    Proposal::Go { host: to.host, verb }
}

/// Why a VM must not go to a host, even if there is enough capacity. Such a request would be
/// refused, so the VM must not keep this capacity from others.
fn against(
    record: &VmRecord,
    place: Option<&Placement>,
    offer: &Offer,
    scene: &dyn Scene,
) -> Option<WhyNot> {
    if let Some(place) = place {
        if offer.host == place.host {
            return Some(WhyNot::Here);
        }
        if offer.driver != place.driver {
            return Some(WhyNot::OtherDriver {
                has: offer.driver.clone(),
                needs: place.driver.clone(),
            });
        }
    }
    let unfit = scene
        .candidate(offer.host)
        .and_then(|candidate| fits(record, &candidate).err())
        .map(WhyNot::Unfit);
    unfit.or_else(|| scene.refused(offer.host).map(WhyNot::Refused))
}

/// The first host that fits. The VM's capacity is subtracted from its offer.
fn choose<'a>(
    offers: &'a mut [Offer],
    record: &VmRecord,
    why_not: &dyn Fn(&Offer) -> Option<WhyNot>,
) -> Option<&'a Offer> {
    let wanted = record.spec.capacity();
    let only = record.spec.host.as_ref();
    let asked_for =
        |offer: &Offer| offer.silent.is_none() && only.is_none_or(|only| *only == offer.name);
    let mut open = offers.iter_mut().filter(|offer| asked_for(offer));
    open.find_map(|offer| {
        // Check the capacity first: this is cheap, and most hosts of a full site have none left.
        let left = offer.free.minus(wanted)?;
        if why_not(offer).is_some() {
            return None;
        }
        offer.free = left;
        Some(&*offer)
    })
}

/// The reasons against each host.
fn told(
    offers: &[Offer],
    record: &VmRecord,
    why_not: &dyn Fn(&Offer) -> Option<WhyNot>,
) -> Vec<Waits> {
    if offers.is_empty() {
        return vec![Waits::NoHosts];
    }
    let only = record.spec.host.as_ref();
    let asked: Vec<&Offer> =
        offers.iter().filter(|offer| only.is_none_or(|only| *only == offer.name)).collect();
    if let (true, Some(only)) = (asked.is_empty(), only) {
        return vec![Waits::NotOn(only.clone())];
    }
    let line = |offer: &&Offer| {
        let silent = offer.silent.clone().map(WhyNot::Silent);
        let full = || WhyNot::TooFull { free: offer.free, needed: record.spec.capacity() };
        Waits::Host(offer.name.clone(), silent.or_else(|| why_not(offer)).unwrap_or_else(full))
    };
    let mut lines: Vec<Waits> = asked.iter().take(TOLD_MAX).map(line).collect();
    if asked.len() > TOLD_MAX {
        lines.push(Waits::More(asked.len() - TOLD_MAX));
    }
    lines
}
