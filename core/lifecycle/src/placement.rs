//! Where a VM can come to: whether one host takes it, and which host the scheduler proposes.
//!
//! The scheduler only proposes. What it proposes is a request like anybody's, decided like one, and the room is claimed in the
//! transaction that commits it.

use crate::draft::Draft;
use ostler_model::{
    Capacity, DriverName, HostId, HostName, Placement, Refusal, RefusalKind, Request, State, Storage, Verb, VmRecord,
};
use std::fmt;

/// Most VMs that move to or from one host at once. Each copies memory or disks there, and more of them only take longer together.
pub const MOVES_AT_ONE_HOST: usize = 8;

/// A host that a VM could come to, as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The host.
    pub host: HostId,
    /// Its hypervisor driver, if it has one.
    pub driver: Option<DriverName>,
    /// The system datastore for a VM that has none yet, if there is one.
    pub storage: Option<Storage>,
    /// The host that was known before as the hypervisor that this one is.
    pub twin: Option<HostName>,
    /// The hosts where the VM has its place or left something.
    pub near: Vec<Near>,
}

/// A host that has something of the VM, beside a candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Near {
    /// The host.
    pub host: HostId,
    /// Its name.
    pub name: HostName,
    /// Whether both are one hypervisor.
    pub one_hypervisor: bool,
    /// Whether both are reached in the same way: then a path is the same file on both.
    pub one_file_system: bool,
}

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

/// Why a host takes no VM, or not this one, whatever room it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfit {
    /// It has no hypervisor driver.
    NoHypervisor,
    /// There is no system datastore for a VM that has none yet.
    NoStorage,
    /// Something of an earlier stay may be there. That domain may even run.
    Leftover,
    /// It is the same hypervisor as this host: the VM would move onto itself, and what is removed where it came from is what arrived.
    OneHypervisor(HostName),
    /// It sees the same files as this host, though the datastore is not shared: what is copied there goes when this host is cleared.
    OneFileSystem(HostName),
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHypervisor => f.write_str("it has no hypervisor"),
            Self::NoStorage => f.write_str("there is no system datastore; add one first"),
            Self::Leftover => f.write_str("what the VM left there is not put away yet; that is done as soon as the host is seen"),
            Self::OneHypervisor(other) => write!(f, "it is the same hypervisor as host {other}: remove one of the two"),
            Self::OneFileSystem(other) => write!(
                f,
                "it is reached as host {other} is, so both see the same files in the VM's datastore, which is not marked as shared: \
                 add it with --shared, or give the hosts transports of their own"
            ),
        }
    }
}

/// Whether `host` takes the VM, and as what.
fn fits(record: &VmRecord, host: &Candidate) -> Result<Target, Unfit> {
    let driver = host.driver.clone().ok_or(Unfit::NoHypervisor)?;
    let storage = record.storage.clone().or_else(|| host.storage.clone()).ok_or(Unfit::NoStorage)?;
    if record.leftovers.iter().any(|left| left.place.host == host.host) {
        return Err(Unfit::Leftover);
    }
    let others = || host.near.iter().filter(|near| near.host != host.host);
    let place = record.placement.as_ref().map(|place| place.host);
    let onto_itself = others().find(|near| near.one_hypervisor && Some(near.host) == place).map(|near| near.name.clone());
    if let Some(other) = onto_itself.or_else(|| host.twin.clone()) {
        return Err(Unfit::OneHypervisor(other));
    }
    // Where it is now, or where it left files that are still to be removed.
    let has_files =
        |near: &&Near| Some(near.host) == place || record.leftovers.iter().any(|left| left.files && left.place.host == near.host);
    match others().filter(has_files).find(|near| near.one_file_system) {
        Some(other) if !record.storage_is_shared() => Err(Unfit::OneFileSystem(other.name.clone())),
        Some(_) | None => Ok(Target { host: host.host, driver, storage }),
    }
}

/// Where the VM is to be deployed or moved to, as the request says.
pub(crate) fn target(draft: &Draft<'_>, asked: &Request) -> Result<Target, Refusal> {
    let id = draft.record.id;
    let refuse = |detail: String, hint: &str| draft.refuse(asked.verb, RefusalKind::NoHost, detail, hint);
    let Some(host) = asked.host else {
        return Err(refuse(format!("VM {id}: no host was named"), "name a host that is on, or leave it to the scheduler"));
    };
    let Some(candidate) = &draft.facts.target else {
        return Err(refuse(format!("VM {id}: there is no host {host}"), "`ostler host list` shows them"));
    };
    fits(&draft.record, candidate).map_err(|unfit| {
        let hint = if unfit == Unfit::NoStorage { "`ostler datastore add` adds one" } else { "name another host" };
        refuse(format!("VM {id}: host {host} cannot be used: {unfit}"), hint)
    })
}

/// What a host offers to the VMs that wait, in one cycle of the scheduler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The host.
    pub host: HostId,
    /// Its name.
    pub name: HostName,
    /// Its hypervisor driver.
    pub driver: DriverName,
    /// Whether a running VM can leave it and come to it.
    pub live: bool,
    /// What it has left, less what was proposed in this cycle.
    pub free: Capacity,
    /// Why it cannot be asked, if it cannot.
    pub silent: Option<String>,
}

/// What is known of one VM and the hosts, beside their offers.
pub trait Scene {
    /// The host, beside the VM.
    fn candidate(&self, host: HostId) -> Option<Candidate>;
    /// Why the VM was refused there lately.
    fn refused(&self, host: HostId) -> Option<String>;
    /// How many VMs move to or from it now.
    fn moves(&self, host: HostId) -> usize;
}

/// What is proposed for a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proposal {
    /// It does not wait for a host.
    Nothing,
    /// To come to this host. Its capacity is off the offer.
    Go {
        /// Which.
        host: HostId,
        /// Deploy, or how it is moved.
        verb: Verb,
    },
    /// It waits.
    Wait(Vec<Waits>),
}

/// Why a VM waits: what stands against one host, or against all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waits {
    /// A restore is not over for it.
    Unreconciled,
    /// Its own host cannot be asked.
    Unseen,
    /// Too many move to or from its own host.
    HomeCrowded,
    /// No host is on.
    NoHosts,
    /// There is no system datastore for it.
    NoStorage,
    /// The one host that it asks for is not on.
    NotOn(HostName),
    /// A host.
    Host(HostName, WhyNot),
    /// So many more hosts.
    More(usize),
}

/// What stands against a host for one VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhyNot {
    /// It cannot be asked.
    Silent(String),
    /// It does not take it.
    Unfit(Unfit),
    /// It was refused there a moment ago.
    Refused(String),
    /// Too many move to or from it.
    Crowded,
    /// The VM is there now.
    Here,
    /// It has another driver.
    OtherDriver {
        /// Which.
        has: DriverName,
        /// The one that the VM is made for.
        needs: DriverName,
    },
    /// It has not enough left.
    TooFull {
        /// What it has left.
        free: Capacity,
        /// What the VM needs.
        needed: Capacity,
    },
}

/// Most hosts told of by name for one VM.
const TOLD_MAX: usize = 20;

/// First fit over committed capacity. What is proposed is taken off the offer.
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
    let here = place.map(|place| place.host);
    if here.is_some() && record.state == State::Unknown {
        // To begin elsewhere what may run is an operator's word, not a matter of space.
        return Proposal::Wait(vec![Waits::Unseen]);
    }
    let crowded = |host| place.is_some() && scene.moves(host) >= MOVES_AT_ONE_HOST;
    if here.is_some_and(crowded) {
        return Proposal::Wait(vec![Waits::HomeCrowded]);
    }
    let leaves_live = offers.iter().any(|offer| Some(offer.host) == here && offer.live);
    let why_not = |offer: &Offer| against(record, place, offer, scene).or_else(|| crowded(offer.host).then_some(WhyNot::Crowded));
    let Some(to) = choose(offers, record, &why_not) else { return Proposal::Wait(told(offers, record, &why_not)) };
    let verb = match (place, record.state) {
        (None, _) => Verb::Deploy,
        (Some(_), State::Running) if leaves_live && to.live => Verb::MigrateLive,
        (Some(_), _) => Verb::Migrate,
    };
    Proposal::Go { host: to.host, verb }
}

/// Why a VM must not come to a host, whatever room there is. It would be refused, and then it must not keep the room from others.
fn against(record: &VmRecord, place: Option<&Placement>, offer: &Offer, scene: &dyn Scene) -> Option<WhyNot> {
    if let Some(place) = place {
        if offer.host == place.host {
            return Some(WhyNot::Here);
        }
        if offer.driver != place.driver {
            return Some(WhyNot::OtherDriver { has: offer.driver.clone(), needs: place.driver.clone() });
        }
    }
    let unfit = scene.candidate(offer.host).and_then(|candidate| fits(record, &candidate).err()).map(WhyNot::Unfit);
    unfit.or_else(|| scene.refused(offer.host).map(WhyNot::Refused))
}

/// The first host that fits. The room is taken off its offer.
fn choose<'a>(offers: &'a mut [Offer], record: &VmRecord, why_not: &dyn Fn(&Offer) -> Option<WhyNot>) -> Option<&'a Offer> {
    let wanted = record.spec.capacity();
    let only = record.spec.host.as_ref();
    let asked_for = |offer: &Offer| offer.silent.is_none() && only.is_none_or(|only| *only == offer.name);
    let mut open = offers.iter_mut().filter(|offer| asked_for(offer));
    open.find_map(|offer| {
        // Room is looked at first: it costs nothing, and most hosts of a full site have none.
        let left = offer.free.minus(wanted)?;
        if why_not(offer).is_some() {
            return None;
        }
        offer.free = left;
        Some(&*offer)
    })
}

/// What stands against each host.
fn told(offers: &[Offer], record: &VmRecord, why_not: &dyn Fn(&Offer) -> Option<WhyNot>) -> Vec<Waits> {
    if offers.is_empty() {
        return vec![Waits::NoHosts];
    }
    let only = record.spec.host.as_ref();
    let asked: Vec<&Offer> = offers.iter().filter(|offer| only.is_none_or(|only| *only == offer.name)).collect();
    if let (true, Some(only)) = (asked.is_empty(), only) {
        return vec![Waits::NotOn(only.clone())];
    }
    let lacks_storage = |offer: &&Offer| why_not(offer) == Some(WhyNot::Unfit(Unfit::NoStorage));
    if asked.iter().take(TOLD_MAX).all(lacks_storage) {
        return vec![Waits::NoStorage];
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

impl fmt::Display for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreconciled => {
                f.write_str("it came back with a backup, and may be running somewhere: `ostler admin restored` tells more")
            }
            Self::Unseen => {
                f.write_str("it is moved once it is seen again, or at once by migrate --fenced: its host cannot be asked")
            }
            Self::HomeCrowded => write!(f, "its host: {}", WhyNot::Crowded),
            Self::NoStorage => write!(f, "{}", Unfit::NoStorage),
            Self::NoHosts => f.write_str("there is no host that is on: add one, or switch one on"),
            Self::NotOn(host) => write!(f, "{host}: the one host it asks for is not on"),
            Self::Host(host, why) => write!(f, "{host}: {why}"),
            Self::More(hosts) => {
                write!(f, "and {hosts} more hosts that are too full, cannot be asked or must not have it")
            }
        }
    }
}

impl fmt::Display for WhyNot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent(error) => write!(f, "cannot be asked ({error})"),
            Self::Unfit(unfit) => write!(f, "{unfit}"),
            Self::Refused(why) => write!(f, "it was refused there a moment ago: {why}"),
            Self::Crowded => write!(f, "{MOVES_AT_ONE_HOST} VMs move to or from it already"),
            Self::Here => f.write_str("it is there now"),
            Self::OtherDriver { has, needs } => write!(f, "has driver {has}, not {needs}"),
            Self::TooFull { free, needed } => write!(
                f,
                "too full (free: {} CPUs and {} MiB; needed: {} CPUs and {} MiB)",
                free.cpus(),
                free.memory_mib,
                needed.cpus(),
                needed.memory_mib
            ),
        }
    }
}
