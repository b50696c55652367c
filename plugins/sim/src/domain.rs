//! The content of a domain's file, and how each call changes it. No IO.

use crate::parts::{Journey, Machine, Snapshot};
use ostler_sdk::{DomainSeen, DomainSpec, EffectId, Error, Identity, Power, PowerReason, Stamped};
use serde::{Deserialize, Serialize};

/// A domain as its file holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Domain {
    pub(crate) uuid: String,
    pub(crate) name: String,
    /// The store that the domain belongs to. None for a wild domain.
    #[serde(default)]
    pub(crate) store: Option<String>,
    #[serde(default)]
    pub(crate) generation: u64,
    pub(crate) power: Power,
    #[serde(default = "no_reason")]
    pub(crate) reason: PowerReason,
    /// The effect of the last edge. It is written together with the count of that edge, so that
    /// both are there or neither.
    #[serde(default)]
    pub(crate) edge: Option<String>,
    #[serde(default)]
    pub(crate) presses: u32,
    #[serde(default)]
    pub(crate) reboots: u32,
    #[serde(default)]
    pub(crate) resets: u32,
    /// How often the domain was reverted to a snapshot. A revert does not set this back.
    #[serde(default)]
    pub(crate) reverts: u32,
    /// The hardware that the guest has now.
    #[serde(flatten)]
    pub(crate) machine: Machine,
    /// The snapshots, oldest first.
    #[serde(default)]
    pub(crate) snapshots: Vec<Snapshot>,
    #[serde(default)]
    pub(crate) started_ms: u64,
    /// When the guest will have powered off.
    #[serde(default)]
    pub(crate) off_at_ms: Option<u64>,
    /// When the guest will have crashed.
    #[serde(default)]
    pub(crate) crash_at_ms: Option<u64>,
    /// Set while the domain moves to another host.
    #[serde(default)]
    pub(crate) journey: Option<Journey>,
}

const fn no_reason() -> PowerReason {
    PowerReason::None
}

/// The content of a memory file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Memory {
    pub(crate) vm: String,
    pub(crate) started_ms: u64,
}

/// The change that a call makes to a domain.
#[derive(Debug, PartialEq)]
pub(crate) enum Change {
    /// Nothing is written: the domain is already as asked.
    None(Option<Domain>),
    /// The domain is written.
    Put(Domain),
    /// The domain is removed.
    Remove,
}

/// The edge effects.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Edge {
    Press { ignored: bool, delay_ms: u64 },
    Reboot,
    Reset,
}

impl Domain {
    fn new(spec: &DomainSpec) -> Self {
        Self {
            uuid: spec.identity.vm.clone(),
            name: spec.name.clone(),
            store: Some(spec.identity.store.clone()),
            generation: spec.identity.generation,
            power: Power::Off,
            reason: no_reason(),
            edge: None,
            presses: 0,
            reboots: 0,
            resets: 0,
            reverts: 0,
            machine: Machine::of(spec),
            snapshots: Vec::new(),
            started_ms: 0,
            off_at_ms: None,
            crash_at_ms: None,
            journey: None,
        }
    }

    /// The domain as a new start of `old`, if there was one. It keeps the last edge and the
    /// snapshots of `old`.
    fn after(mut self, old: Option<Self>) -> Self {
        if let Some(old) = old {
            (self.edge, self.snapshots) = (old.edge, old.snapshots);
        }
        self
    }

    /// The domain at the moment `now`: a power-off or crash that was due has happened.
    pub(crate) fn at(mut self, now: u64) -> Self {
        if self.runs() || self.is(Power::Paused) {
            if self.off_at_ms.is_some_and(|at| at <= now) {
                self.stop(PowerReason::Guest);
            } else if self.crash_at_ms.is_some_and(|at| at <= now) {
                self.stop(PowerReason::Crashed);
            }
        }
        self
    }

    pub(crate) fn is(&self, power: Power) -> bool {
        self.power == power
    }

    pub(crate) fn runs(&self) -> bool {
        self.is(Power::Running)
    }

    fn stop(&mut self, reason: PowerReason) {
        self.power = Power::Off;
        self.reason = reason;
        (self.off_at_ms, self.crash_at_ms, self.journey) = (None, None, None);
    }

    pub(crate) fn seen(&self) -> DomainSeen {
        let identity = self.store.clone().map(|store| Identity {
            store,
            vm: self.uuid.clone(),
            generation: self.generation,
        });
        DomainSeen {
            uuid: self.uuid.clone(),
            name: self.name.clone(),
            identity,
            power: self.power,
            reason: self.reason,
            last_edge: self.edge.as_deref().and_then(EffectId::parse),
            extra: Vec::new(),
        }
    }
}

impl Stamped for Domain {
    fn stamp(&self) -> Option<(&str, u64)> {
        Some((self.store.as_deref()?, self.generation))
    }
}

/// Refuses a domain that has no stamp of this store. It may belong to another store or to nobody.
pub(crate) fn ours(found: Option<&Domain>, store: &String) -> Result<(), Error> {
    match found {
        Some(domain) if domain.store.as_ref() != Some(store) => Err(Error::refused(
            "foreign",
            format!("a domain {} that is not this store's is there", domain.uuid),
        )),
        Some(_) | None => Ok(()),
    }
}

pub(crate) fn deploy(
    found: Option<Domain>,
    spec: &DomainSpec,
    now: u64,
    crash_after: Option<u64>,
) -> Result<Change, Error> {
    ours(found.as_ref(), &spec.identity.store)?;
    let same = found
        .as_ref()
        .is_some_and(|domain| domain.generation == spec.identity.generation && domain.runs());
    if same {
        return Ok(Change::None(found));
    }
    let running = found.as_ref().filter(|domain| domain.runs()).map(|domain| domain.started_ms);
    let mut domain = Domain::new(spec).after(found);
    domain.power = Power::Running;
    domain.started_ms = running.unwrap_or(now);
    domain.crash_at_ms = crash_after.map(|after| now.saturating_add(after));
    Ok(Change::Put(domain))
}

/// The domain, or an error if there is none.
pub(crate) fn there(found: Option<Domain>) -> Result<Domain, Error> {
    found.ok_or_else(|| Error::gone("no-domain", "there is no such domain"))
}

/// The domain, or an error if it does not run.
pub(crate) fn running(found: Option<Domain>) -> Result<Domain, Error> {
    let domain = there(found)?;
    if domain.runs() {
        Ok(domain)
    } else {
        Err(Error::gone("not-running", format!("the domain is {}", domain.power)))
    }
}

pub(crate) fn edge(
    found: Option<Domain>,
    id: &EffectId,
    edge: Edge,
    now: u64,
) -> Result<Change, Error> {
    let domain = there(found)?;
    let mark = id.to_string();
    if domain.edge.as_ref() == Some(&mark) {
        return Ok(Change::None(Some(domain)));
    }
    let mut domain = running(Some(domain))?;
    domain.edge = Some(mark);
    match edge {
        Edge::Press { ignored, delay_ms } => {
            domain.presses = domain.presses.saturating_add(1);
            if !ignored {
                domain.off_at_ms = Some(now.saturating_add(delay_ms));
            }
        }
        Edge::Reboot => domain.reboots = domain.reboots.saturating_add(1),
        Edge::Reset => domain.resets = domain.resets.saturating_add(1),
    }
    Ok(Change::Put(domain))
}

pub(crate) fn destroy(found: Option<Domain>) -> Change {
    match found {
        Some(mut domain) if !domain.is(Power::Off) => {
            domain.stop(PowerReason::Destroyed);
            Change::Put(domain)
        }
        found => Change::None(found),
    }
}

pub(crate) fn remove(found: Option<&Domain>) -> Change {
    if found.is_some() { Change::Remove } else { Change::None(None) }
}

/// Switches the domain off, and answers the memory that must be written. `complete` says whether
/// the file already held this VM's memory.
pub(crate) fn save(
    found: Option<Domain>,
    complete: bool,
) -> Result<(Change, Option<Memory>), Error> {
    match found {
        Some(mut domain) if domain.runs() || domain.is(Power::Paused) => {
            let memory = Memory { vm: domain.uuid.clone(), started_ms: domain.started_ms };
            domain.stop(PowerReason::Saved);
            Ok((Change::Put(domain), Some(memory)))
        }
        found if complete => Ok((Change::None(found), None)),
        Some(domain) => Err(Error::gone(
            "not-running",
            format!("the domain is {} and there is no memory of it", domain.power),
        )),
        None => Err(Error::gone("no-domain", "there is no such domain, nor memory of it")),
    }
}

pub(crate) fn restore(
    found: Option<Domain>,
    spec: &DomainSpec,
    memory: Option<&Memory>,
) -> Result<Change, Error> {
    ours(found.as_ref(), &spec.identity.store)?;
    match &found {
        Some(domain)
            if domain.is(Power::Paused) && domain.generation == spec.identity.generation =>
        {
            return Ok(Change::None(found));
        }
        Some(domain) if domain.runs() => {
            return Err(Error::refused(
                "running",
                "the domain runs: old memory is not put over it",
            ));
        }
        Some(_) | None => {}
    }
    let memory =
        memory.ok_or_else(|| Error::gone("no-memory-file", "the recovery file is not there"))?;
    if memory.vm != spec.identity.vm {
        return Err(Error::refused(
            "other-memory",
            format!("the recovery file holds the memory of {}", memory.vm),
        ));
    }
    let mut domain = Domain::new(spec).after(found);
    domain.power = Power::Paused;
    domain.started_ms = memory.started_ms;
    Ok(Change::Put(domain))
}

pub(crate) fn unpause(found: Option<Domain>) -> Result<Change, Error> {
    match found {
        Some(domain) if domain.runs() => Ok(Change::None(Some(domain))),
        Some(mut domain) if domain.is(Power::Paused) => {
            domain.power = Power::Running;
            domain.reason = no_reason();
            Ok(Change::Put(domain))
        }
        Some(domain) => Err(Error::gone("not-running", format!("the domain is {}", domain.power))),
        None => Err(Error::gone("no-domain", "there is no such domain")),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use ostler_sdk::{ErrorKind, FileRef, Firmware, Graphics, Item};

    pub(crate) fn spec(generation: u64) -> DomainSpec {
        DomainSpec {
            identity: Identity { store: "s".into(), vm: "v".into(), generation },
            name: "n".into(),
            title: "t".into(),
            vcpus: 1,
            cpu_milli: 1000,
            memory_mib: 64,
            firmware: Firmware::Bios,
            kernel: None,
            initrd: None,
            cmdline: String::new(),
            disks: Vec::new(),
            nics: Vec::new(),
            graphics: Graphics::None,
            console_log: FileRef {
                datastore: "d".into(),
                path: "p".into(),
                absolute: "/d/p".into(),
            },
            extra: Vec::new(),
        }
    }

    pub(crate) fn id(step: u64) -> EffectId {
        EffectId { vm: "v".into(), operation: 1, step, item: Item::Domain }
    }

    pub(crate) fn put(change: Change) -> Domain {
        match change {
            Change::Put(domain) => domain,
            Change::None(_) | Change::Remove => panic!("nothing was put: {change:?}"),
        }
    }

    #[test]
    fn a_second_deploy_changes_nothing() {
        let first = put(deploy(None, &spec(1), 5, None).expect("deployed"));
        assert_eq!(
            deploy(Some(first.clone()), &spec(1), 9, None).expect("again"),
            Change::None(Some(first))
        );
    }

    #[test]
    fn anothers_domain_is_left_alone() {
        let mut other = put(deploy(None, &spec(1), 5, None).expect("deployed"));
        for store in [Some("x".to_owned()), None] {
            other.store = store;
            assert_eq!(
                deploy(Some(other.clone()), &spec(2), 9, None).expect_err("not ours").kind,
                ErrorKind::Refused
            );
        }
    }

    #[test]
    fn the_button_is_pressed_once_an_identity() {
        let running = put(deploy(None, &spec(1), 5, None).expect("deployed"));
        let press = Edge::Press { ignored: true, delay_ms: 0 };
        let once = put(edge(Some(running), &id(1), press, 6).expect("pressed"));
        assert_eq!(
            edge(Some(once.clone()), &id(1), press, 7).expect("again"),
            Change::None(Some(once.clone()))
        );
        assert_eq!(put(edge(Some(once), &id(2), press, 8).expect("another")).presses, 2);
    }

    #[test]
    fn what_is_due_has_happened() {
        let running = put(deploy(None, &spec(1), 5, Some(10)).expect("deployed"));
        assert!(running.clone().at(14).runs());
        assert_eq!(running.clone().at(15).reason, PowerReason::Crashed);
        let pressed =
            put(edge(Some(running), &id(1), Edge::Press { ignored: false, delay_ms: 3 }, 6)
                .expect("pressed"));
        assert_eq!(pressed.at(9).reason, PowerReason::Guest);
    }

    #[test]
    fn memory_goes_out_and_comes_back() {
        let running = put(deploy(None, &spec(1), 5, None).expect("deployed"));
        assert_eq!(
            restore(Some(running.clone()), &spec(1), None).expect_err("it runs").kind,
            ErrorKind::Refused
        );
        let (change, memory) = save(Some(running), false).expect("saved");
        let off = put(change);
        assert_eq!(
            save(Some(off.clone()), true).expect("again"),
            (Change::None(Some(off.clone())), None)
        );
        assert_eq!(save(Some(off.clone()), false).expect_err("no file").kind, ErrorKind::Gone);
        let paused = put(restore(Some(off), &spec(2), memory.as_ref()).expect("restored"));
        assert_eq!((paused.generation, paused.started_ms), (2, 5));
        assert!(put(unpause(Some(paused)).expect("runs on")).runs());
    }
}
