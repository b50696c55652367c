//! A domain is a file of lines. The file `VM.felt` beside it has a byte for each edge effect that
//! its guest has felt.

use crate::{Faulty, has};
use ostler_sdk::host::{config, files, random, session};
use ostler_sdk::{
    Call, DomainSeen, DomainSpec, EffectId, Error, ErrorKind, FilePath, FileRef, HostFacts,
    Hypervisor, Identity, Listed, Observation, Outcome, Power, PowerReason, Reboot, Snapshots,
    Stamped, Suspend,
};
use std::time::Duration;

const FOLDER: &str = "faulty";
/// How long a session of the driver lasts.
const LASTS: Duration = Duration::from_secs(600);

#[derive(Clone)]
struct Domain {
    vm: String,
    name: String,
    store: String,
    generation: u64,
    power: String,
    edge: String,
    snapshots: String,
}

impl Stamped for Domain {
    fn stamp(&self) -> Option<(&str, u64)> {
        (!self.store.is_empty()).then_some((&self.store, self.generation))
    }
}

fn place(name: &str) -> Result<FilePath, Error> {
    Ok(FilePath::new(config::required("datastore")?, format!("{FOLDER}/{name}")))
}

fn gone(why: &str) -> Error {
    Error::gone("gone", why)
}

impl Domain {
    fn of(spec: &DomainSpec, power: Power) -> Self {
        Self {
            vm: spec.identity.vm.clone(),
            name: spec.name.clone(),
            store: spec.identity.store.clone(),
            generation: spec.identity.generation,
            power: power.into(),
            edge: String::new(),
            snapshots: String::new(),
        }
    }

    fn is(&self, power: Power) -> bool {
        self.power == power.as_str()
    }

    fn load(vm: &str) -> Result<Option<Self>, Error> {
        let Some(bytes) = files::read(&place(vm)?)? else { return Ok(None) };
        let text = String::from_utf8_lossy(&bytes);
        let mut lines = text.split('\n').map(str::to_owned);
        let mut next = || lines.next().unwrap_or_default();
        Ok(Some(Self {
            vm: vm.to_owned(),
            name: next(),
            store: next(),
            generation: next().parse().unwrap_or(0),
            power: next(),
            edge: next(),
            snapshots: next(),
        }))
    }

    fn store(&self) -> Result<Outcome, Error> {
        let generation = self.generation.to_string();
        let lines =
            [&self.name, &self.store, &generation, &self.power, &self.edge, &self.snapshots];
        files::write(&place(&self.vm)?, lines.map(String::as_str).join("\n").as_bytes())?;
        Ok(Outcome::seen(self.seen()))
    }

    fn seen(&self) -> DomainSeen {
        let identity = Identity {
            store: self.store.clone(),
            vm: self.vm.clone(),
            generation: self.generation,
        };
        DomainSeen {
            uuid: self.vm.clone(),
            name: self.name.clone(),
            identity: (!self.store.is_empty()).then_some(identity),
            power: Power::parse(&self.power).unwrap_or(Power::Off),
            reason: PowerReason::None,
            last_edge: EffectId::parse(&self.edge),
            extra: Vec::new(),
        }
    }

    fn names(&self) -> Vec<String> {
        self.snapshots.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }
}

fn running(call: &Call) -> Result<Domain, Error> {
    match call.find(Domain::load)? {
        Some(domain) if domain.is(Power::Running) => Ok(domain),
        Some(_) | None => Err(gone("it does not run")),
    }
}

fn append(file: &FilePath, more: &[u8]) -> Result<(), Error> {
    let mut bytes = files::read(file)?.unwrap_or_default();
    bytes.extend_from_slice(more);
    files::write(file, &bytes)
}

/// The guest feels an edge effect.
fn feel(vm: &str) -> Result<(), Error> {
    append(&place(&format!("{vm}.felt"))?, b".")
}

fn edge(call: &Call, change: impl FnOnce(&mut Domain)) -> Result<Outcome, Error> {
    let found = call.find(Domain::load)?;
    let mut domain = found.ok_or_else(|| gone("there is no such domain"))?;
    let id = call.id().to_string();
    if domain.edge == id {
        return Ok(Outcome::seen(domain.seen()));
    }
    change(&mut domain);
    if !domain.is(Power::Running) {
        return Err(gone("it does not run"));
    }
    domain.edge = id;
    if has("edge-before-its-stamp") {
        feel(&domain.vm)?;
        return domain.store();
    }
    let outcome = domain.store()?;
    feel(&domain.vm)?;
    Ok(outcome)
}

/// The effect of the fault before a domain is made.
fn before_deploy(call: &Call, there: bool) -> Result<(), Error> {
    let vm = call.vm();
    if has("lock-is-never-freed") {
        let lock = place(&format!("{vm}.lock"))?;
        if files::stat(&lock)?.is_some() {
            return Err(Error::retry("locked", "another call works at it"));
        }
        files::write(&lock, b"locked")?;
    }
    if has("list-is-appended") && !there {
        append(&place("index")?, format!("{vm}\n").as_bytes())?;
    }
    if has("slot-in-memory") && session::get(&vm).is_none() {
        let slot = random::bytes(8).iter().map(|byte| char::from(b'a' + byte % 26)).collect();
        let slot: String = slot;
        files::write(&place(&format!("slot-{slot}"))?, b"taken")?;
        session::put(&vm, slot.as_bytes(), LASTS)?;
    }
    Ok(())
}

fn after_deploy(vm: &str) -> Result<(), Error> {
    if has("lock-is-never-freed") {
        files::remove(&place(&format!("{vm}.lock"))?)?;
    }
    if has("slot-in-memory")
        && let Some(slot) = session::get(vm)
    {
        files::remove(&place(&format!("slot-{}", String::from_utf8_lossy(&slot)))?)?;
        session::remove(vm);
    }
    Ok(())
}

impl Hypervisor for Faulty {
    fn probe() -> Result<HostFacts, Error> {
        Ok(HostFacts {
            cpu_milli: 4000,
            memory_mib: 4096,
            hypervisor: "files 1".to_owned(),
            unable: Vec::new(),
            notes: Vec::new(),
            extra: Vec::new(),
        })
    }

    fn deploy(call: &Call, spec: DomainSpec) -> Result<Outcome, Error> {
        let found = call.find(Domain::load)?;
        before_deploy(call, found.is_some())?;
        let mut domain = Domain::of(&spec, Power::Running);
        if let Some(found) = found {
            (domain.edge, domain.snapshots) = (found.edge, found.snapshots);
        } else {
            files::write(&place(&format!("{}.felt", domain.vm))?, b"")?;
            if has("stamp-after-the-start") {
                Domain { store: String::new(), ..domain.clone() }.store()?;
            }
        }
        let outcome = domain.store()?;
        after_deploy(&domain.vm)?;
        Ok(outcome)
    }

    fn press_power(call: &Call) -> Result<Outcome, Error> {
        edge(call, |_| {})
    }

    fn destroy(call: &Call) -> Result<Outcome, Error> {
        match call.find(Domain::load)? {
            Some(mut domain) if !domain.is(Power::Off) => {
                domain.power = Power::Off.into();
                domain.store()
            }
            Some(domain) => Ok(Outcome::seen(domain.seen())),
            None => Ok(Outcome::absent()),
        }
    }

    fn remove(call: &Call) -> Result<Outcome, Error> {
        let (vm, found) = (call.vm(), call.find(Domain::load)?);
        if has("record-removed-first") {
            if found.is_none() {
                return Ok(Outcome::absent());
            }
            files::remove(&place(&vm)?)?;
        }
        for name in found.iter().flat_map(Domain::names) {
            files::remove(&place(&format!("{vm}.{name}"))?)?;
        }
        files::remove(&place(&format!("{vm}.felt"))?)?;
        if let Some(index) = files::read(&place("index")?)? {
            let index = String::from_utf8_lossy(&index).replace(&format!("{vm}\n"), "");
            files::write(&place("index")?, index.as_bytes())?;
        }
        files::remove(&place(&vm)?)?;
        Ok(Outcome::absent())
    }

    fn observe(vm: &str) -> Result<Observation, Error> {
        files::stat(&FilePath::new(config::required("datastore")?, FOLDER))?;
        let found = Domain::load(vm)?;
        Ok(found.map_or(Observation::Absent, |domain| Observation::Present(domain.seen())))
    }

    fn list() -> Result<Listed, Error> {
        let folder = FilePath::new(config::required("datastore")?, FOLDER);
        let mut names = match files::list(&folder) {
            Err(error) if error.kind == ErrorKind::Gone => Vec::new(),
            answer => answer?,
        };
        if has("list-is-appended") {
            let index = files::read(&place("index")?)?.unwrap_or_default();
            names = String::from_utf8_lossy(&index).lines().map(str::to_owned).collect();
        }
        let mut listed = Listed::default();
        for vm in names.into_iter().filter(|name| name.len() == 36) {
            listed.domains.extend(Domain::load(&vm)?.map(|domain| domain.seen()));
        }
        Ok(listed)
    }
}

impl Reboot for Faulty {
    fn reboot(call: &Call) -> Result<Outcome, Error> {
        edge(call, |_| {})
    }

    fn reset(call: &Call) -> Result<Outcome, Error> {
        edge(call, |_| {})
    }
}

impl Suspend for Faulty {
    fn save(call: &Call, file: FileRef) -> Result<Outcome, Error> {
        let found = call.find(Domain::load)?;
        let mut domain = found.ok_or_else(|| gone("there is no such domain"))?;
        let memory = file.place();
        if domain.is(Power::Off) {
            // The memory may still be in the driver's own memory, if that fault is chosen.
            let kept = session::get("memory").filter(|_| has("memory-kept-in-memory"));
            return match (files::stat(&memory)?, kept) {
                (Some(_), _) => Ok(Outcome::seen(domain.seen())),
                (None, Some(kept)) => {
                    files::write(&memory, &kept)?;
                    Ok(Outcome::seen(domain.seen()))
                }
                (None, None) => Err(gone("it is off, and was not saved")),
            };
        }
        domain.power = Power::Off.into();
        if has("memory-kept-in-memory") {
            session::put("memory", domain.vm.as_bytes(), LASTS)?;
            domain.store()?;
            files::write(&memory, domain.vm.as_bytes())?;
            return Ok(Outcome::seen(domain.seen()));
        }
        files::write(&memory, domain.vm.as_bytes())?;
        domain.store()
    }

    fn restore(call: &Call, spec: DomainSpec, file: FileRef) -> Result<Outcome, Error> {
        let found = call.find(Domain::load)?;
        let mut domain = Domain::of(&spec, Power::Paused);
        if let Some(found) = found {
            if found.is(Power::Paused) && found.generation == domain.generation {
                return Ok(Outcome::seen(found.seen()));
            }
            (domain.edge, domain.snapshots) = (found.edge, found.snapshots);
        }
        if files::read(&file.place())?.is_none() {
            return Err(gone("there is no memory of it"));
        }
        if has("memory-used-up-first") {
            files::remove(&file.place())?;
        }
        domain.store()
    }

    fn unpause(call: &Call) -> Result<Outcome, Error> {
        match call.find(Domain::load)? {
            Some(mut domain) if !domain.is(Power::Off) => {
                domain.power = Power::Running.into();
                domain.store()
            }
            Some(_) | None => Err(gone("it does not run")),
        }
    }
}

impl Snapshots for Faulty {
    fn create(call: &Call, name: &str) -> Result<Outcome, Error> {
        let mut domain = running(call)?;
        if domain.names().iter().any(|found| found == name) {
            return Ok(Outcome::seen(domain.seen()));
        }
        let content = place(&format!("{}.{name}", domain.vm))?;
        domain.snapshots = format!("{},{name}", domain.snapshots);
        if has("snapshot-listed-too-early") {
            domain.store()?;
            files::write(&content, b"memory and disks")?;
        } else {
            files::write(&content, b"memory and disks")?;
            domain.store()?;
        }
        Ok(Outcome::seen(domain.seen()))
    }

    fn revert(call: &Call, name: &str) -> Result<Outcome, Error> {
        let vm = call.vm();
        call.find(Domain::load)?;
        if files::stat(&place(&format!("{vm}.{name}"))?)?.is_none() {
            return Err(gone("there is no such snapshot"));
        }
        edge(call, |domain| {
            (domain.power, domain.generation) = (Power::Running.into(), call.generation());
        })
    }

    fn delete(call: &Call, name: &str) -> Result<Outcome, Error> {
        let Some(mut domain) = call.find(Domain::load)? else { return Ok(Outcome::absent()) };
        let names = domain.names();
        let content = place(&format!("{}.{name}", domain.vm))?;
        if !has("snapshot-forgotten-first") {
            files::remove(&content)?;
        } else if !names.iter().any(|found| found == name) {
            return Ok(Outcome::seen(domain.seen()));
        }
        domain.snapshots =
            names.into_iter().filter(|found| found != name).collect::<Vec<_>>().join(",");
        domain.store()?;
        files::remove(&content)?;
        Ok(Outcome::seen(domain.seen()))
    }

    fn list(vm: &str) -> Result<Vec<String>, Error> {
        Ok(Domain::load(vm)?.map(|domain| domain.names()).unwrap_or_default())
    }
}
