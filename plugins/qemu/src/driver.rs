//! The mandatory calls, and reboot.

use crate::monitor::Monitor;
use crate::place::Place;
use crate::process::{self, Begin, GLANCE_MS, LOOK_MS, act, look, outcome};
use crate::record::{Domain, Process, possible};
use ostler_sdk::host::{clock, config, exec};
use ostler_sdk::{
    Call, DomainSpec, Error, HostFacts, Hypervisor, Listed, Observation, Outcome, PowerReason,
    Reboot,
};
use serde_json::json;

/// How long a list may wait for monitors in all. What was not asked by then is unreadable.
const LIST_MS: u64 = 5000;

/// The driver.
pub(crate) struct Qemu;

/// The beginning of every call that changes something: the record is read, and its store and
/// generation compared.
pub(crate) fn begin(call: &Call) -> Result<(Place, Option<Domain>), Error> {
    let place = Place::open()?;
    let found = call.find(|vm| place.domain(vm))?;
    Ok((place, found))
}

/// The same for a domain that must be there.
pub(crate) fn begin_there(call: &Call) -> Result<(Place, Domain), Error> {
    let (place, found) = begin(call)?;
    let domain = found.ok_or_else(|| Error::gone("no-domain", "there is no such domain"))?;
    Ok((place, domain))
}

/// The process that a start finds.
pub(crate) enum Before {
    /// It is the domain that is to be started.
    Same,
    /// There is none any more.
    Free,
}

/// Clears the way for a start of `spec`: what an interrupted start left is ended.
pub(crate) fn clear(
    call: &Call,
    place: &Place,
    spec: &DomainSpec,
    found: Option<&Domain>,
) -> Result<Before, Error> {
    possible(spec)?;
    let Some(found) = found else { return Ok(Before::Free) };
    if !look(place, &found.uuid, LOOK_MS)?.lives() {
        return Ok(Before::Free);
    }
    if !found.let_go {
        process::kill(call, place, &found.uuid)?;
        return Ok(Before::Free);
    }
    if found.generation < spec.identity.generation {
        let told = format!("the domain runs, with generation {}", found.generation);
        return Err(Error::refused("older-generation", told));
    }
    Ok(Before::Same)
}

/// Sends an edge once: its identity is written into the record before it is sent.
fn edge(
    call: &Call,
    send: impl FnOnce(&mut Monitor) -> Result<(), Error>,
) -> Result<Outcome, Error> {
    let (place, mut domain) = begin_there(call)?;
    let id = call.id().to_string();
    if domain.edge.as_ref() != Some(&id) {
        let mut monitor = act(&place, &domain.uuid)?;
        let status = monitor.status()?;
        if status != "running" {
            return Err(Error::gone("not-running", format!("the domain is {status}")));
        }
        domain.edge = Some(id);
        place.write(&domain)?;
        send(&mut monitor)?;
    }
    outcome(&place, &domain)
}

impl Hypervisor for Qemu {
    fn probe() -> Result<HostFacts, Error> {
        let place = Place::open()?;
        // A datastore that is not there must be an error now, not when a VM is placed here.
        place.all()?;
        let version = String::from_utf8_lossy(&exec::output("version", &[])?).into_owned();
        let cpus = String::from_utf8_lossy(&exec::output("cpus", &[])?).trim().parse().unwrap_or(1);
        let memory = String::from_utf8_lossy(&exec::output("memory", &[])?).into_owned();
        Ok(HostFacts {
            cpu_milli: config::number("cpu-milli", cpus * 1000)?,
            memory_mib: config::number("memory-mib", total_mib(&memory))?,
            hypervisor: version.lines().next().unwrap_or("QEMU").to_owned(),
            unable: Vec::new(),
            notes: Vec::new(),
            extra: Vec::new(),
        })
    }

    fn deploy(call: &Call, spec: DomainSpec) -> Result<Outcome, Error> {
        let (place, found) = begin(call)?;
        if let (Before::Same, Some(domain)) = (clear(call, &place, &spec, found.as_ref())?, &found)
        {
            process::go_on(&place, domain, &["prelaunch"])?;
            return outcome(&place, domain);
        }
        let mut domain = Domain::new(&spec, process::mark(), found.as_ref())?;
        process::start(call, &place, &mut domain, &Begin::Boot)?;
        outcome(&place, &domain)
    }

    fn press_power(call: &Call) -> Result<Outcome, Error> {
        edge(call, |monitor| monitor.ask("system_powerdown", json!({})).map(drop))
    }

    fn destroy(call: &Call) -> Result<Outcome, Error> {
        let (place, found) = begin(call)?;
        let Some(domain) = found else { return Ok(Outcome::absent()) };
        let domain = process::end(call, &place, domain, PowerReason::Destroyed)?;
        outcome(&place, &domain)
    }

    fn remove(call: &Call) -> Result<Outcome, Error> {
        let (place, found) = begin(call)?;
        if let Some(domain) = found {
            process::end(call, &place, domain, PowerReason::Destroyed)?;
        }
        place.forget(&call.vm())?;
        Ok(Outcome::absent())
    }

    fn observe(vm: &str) -> Result<Observation, Error> {
        let place = Place::open()?;
        let Some(domain) = place.domain(vm)? else { return Ok(Observation::Absent) };
        let process = look(&place, vm, LOOK_MS)?;
        Ok(Observation::Present(domain.seen(&process, place.end(vm)?.as_ref())))
    }

    /// A domain whose monitor hangs is unreadable, and the others are listed.
    fn list() -> Result<Listed, Error> {
        let place = Place::open()?;
        let until = clock::monotonic_ms() + LIST_MS;
        let mut listed = Listed::default();
        for vm in place.all()? {
            let late = clock::monotonic_ms() > until;
            let seen = || {
                let Some(domain) = place.domain(&vm)? else { return Ok(None) };
                let process = look(&place, &vm, if late { 0 } else { GLANCE_MS })?;
                Ok::<_, Error>(Some(domain.seen(&process, place.end(&vm)?.as_ref())))
            };
            match seen() {
                Ok(seen) => listed.domains.extend(seen),
                Err(_) => listed.unreadable.push(vm),
            }
        }
        Ok(listed)
    }
}

impl Reboot for Qemu {
    /// There is no button for it: the guest gets the keys that mean it.
    fn reboot(call: &Call) -> Result<Outcome, Error> {
        edge(call, |monitor| {
            let key = |code: &str| json!({"type": "qcode", "data": code});
            let keys = ["ctrl", "alt", "delete"].map(key);
            monitor.ask("send-key", json!({"keys": keys})).map(drop)
        })
    }

    fn reset(call: &Call) -> Result<Outcome, Error> {
        edge(call, |monitor| monitor.ask("system_reset", json!({})).map(drop))
    }
}

/// The memory of the host, from `/proc/meminfo`.
fn total_mib(meminfo: &str) -> u64 {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}

/// Whether the domain's guest runs or is paused.
pub(crate) fn lives(place: &Place, domain: &Domain) -> Result<Option<String>, Error> {
    match look(place, &domain.uuid, LOOK_MS)? {
        Process::Lives(status) => Ok(Some(status)),
        Process::Ended | Process::Died => Ok(None),
    }
}
