//! The calls of the driver. Each makes few calls to the host and writes at most once.

use crate::domain::{self, Change, Domain, Edge, Memory};
use crate::knobs::{Knobs, Subject};
use ostler_sdk::host::{clock, config, files};
use ostler_sdk::{
    Call, DomainSpec, Error, ErrorKind, FilePath, FileRef, HostFacts, Hypervisor, Listed, Metrics,
    Observation, Outcome, Reboot, Sample, Suspend,
};

const CPU_MILLI: u64 = 64_000;
const MEMORY_MIB: u64 = 262_144;

/// The driver.
pub(crate) struct Sim;

/// One host, for the time of one call.
pub(crate) struct Site {
    pub(crate) datastore: String,
    pub(crate) folder: String,
    pub(crate) knobs: Knobs,
}

impl Site {
    pub(crate) fn open() -> Result<Self, Error> {
        let datastore = config::required("datastore")?;
        let folder = config::get("folder")?.unwrap_or_else(|| "sim".to_owned());
        let mut site = Self { datastore, folder, knobs: Knobs::default() };
        let in_file = match config::get("knobs-file")? {
            Some(name) => files::read(&site.file(&name))?,
            None => None,
        };
        if let Some(text) = in_file {
            site.knobs = Knobs::parse(&text)?;
        } else if let Some(text) = config::get("knobs")? {
            site.knobs = Knobs::parse(text.as_bytes())?;
        }
        Ok(site)
    }

    pub(crate) fn file(&self, name: &str) -> FilePath {
        FilePath::new(self.datastore.clone(), format!("{}/{name}", self.folder))
    }

    pub(crate) fn of(&self, vm: &str) -> FilePath {
        self.file(&format!("{vm}.json"))
    }

    /// The domain of a VM, or none if there is none. A domain whose file cannot be read is an
    /// error, because it exists.
    pub(crate) fn read(&self, vm: &str) -> Result<Option<Domain>, Error> {
        let Some(text) = files::read(&self.of(vm))? else { return Ok(None) };
        let domain: Domain = serde_json::from_slice(&text).map_err(|error| {
            Error::retry("unreadable", format!("the file of domain {vm} cannot be read: {error}"))
        })?;
        Ok(Some(domain.within(&self.folder).at(clock::now_ms())))
    }

    pub(crate) fn write(&self, domain: &Domain) -> Result<(), Error> {
        let text = serde_json::to_vec(domain)
            .map_err(|error| Error::refused("unwritable", error.to_string()))?;
        files::write(&self.of(&domain.uuid), &text)
    }

    fn apply(&self, vm: &str, change: Change) -> Result<Outcome, Error> {
        match change {
            Change::None(Some(domain)) => Ok(Outcome::seen(domain.seen())),
            Change::None(None) => Ok(Outcome::absent()),
            Change::Put(domain) => {
                self.write(&domain)?;
                Ok(Outcome::seen(domain.at(clock::now_ms()).seen()))
            }
            Change::Remove => {
                files::remove(&self.of(vm))?;
                Ok(Outcome::absent())
            }
        }
    }

    /// All domains of the folder: those that could be read, and the UUIDs of those that could not.
    fn all(&self) -> Result<(Vec<Domain>, Vec<String>), Error> {
        let names = match files::list(&FilePath::new(self.datastore.clone(), self.folder.clone())) {
            Err(error) if error.kind == ErrorKind::Gone => Vec::new(),
            answer => answer?,
        };
        let (mut domains, mut unreadable) = (Vec::new(), Vec::new());
        for vm in
            names.iter().filter_map(|name| name.strip_suffix(".json")).filter(|name| is_uuid(name))
        {
            match self.read(vm) {
                Ok(Some(domain)) => domains.push(domain),
                Ok(None) => {}
                Err(_) => unreadable.push(vm.to_owned()),
            }
        }
        Ok((domains, unreadable))
    }
}

/// Whether a file name is that of a domain. Knobs and half-written files have other names.
fn is_uuid(name: &str) -> bool {
    name.len() == 36 && name.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

/// Runs one mutating call: knobs, read, compare stores and generations, decide, write, knobs.
pub(crate) fn act(
    call: &Call,
    name: &str,
    decide: impl FnOnce(&Site, Option<Domain>) -> Result<Change, Error>,
) -> Result<Outcome, Error> {
    change(call, name, |site| decide(site, call.find(|vm| site.read(vm))?))
}

/// Runs one mutating call that finds its domain by itself.
pub(crate) fn change(
    call: &Call,
    name: &str,
    decide: impl FnOnce(&Site) -> Result<Change, Error>,
) -> Result<Outcome, Error> {
    let site = Site::open()?;
    let vm = call.vm();
    let after = site.knobs.before(Subject::effect(name, &vm, call))?;
    let outcome = site.apply(&vm, decide(&site)?)?;
    after.finish()?;
    Ok(outcome)
}

pub(crate) fn ask<T>(
    name: &str,
    vm: &str,
    question: impl FnOnce(&Site) -> Result<T, Error>,
) -> Result<T, Error> {
    let site = Site::open()?;
    let after = site.knobs.before(Subject::question(name, vm))?;
    let answer = question(&site)?;
    after.finish()?;
    Ok(answer)
}

fn memory_in(file: &FileRef, vm: &str) -> Result<Option<Memory>, Error> {
    let text = files::read(&file.place())?;
    // A file that cannot be read counts as missing. Then it is written again, or the call is
    // refused.
    Ok(text
        .and_then(|text| serde_json::from_slice::<Memory>(&text).ok())
        .filter(|memory| memory.vm == vm))
}

impl Hypervisor for Sim {
    fn probe() -> Result<HostFacts, Error> {
        ask("probe", "", |_| {
            Ok(HostFacts {
                cpu_milli: config::number("cpu-milli", CPU_MILLI)?,
                memory_mib: config::number("memory-mib", MEMORY_MIB)?,
                hypervisor: format!("sim {}", env!("CARGO_PKG_VERSION")),
                unable: Vec::new(),
                notes: vec!["no guest runs here: domains are files".to_owned()],
                extra: Vec::new(),
            })
        })
    }

    fn deploy(call: &Call, domain: DomainSpec) -> Result<Outcome, Error> {
        act(call, "deploy", |site, found| {
            domain::deploy(found, &domain, clock::now_ms(), site.knobs.crash_after_ms)
        })
    }

    fn press_power(call: &Call) -> Result<Outcome, Error> {
        act(call, "press-power", |site, found| {
            let edge =
                Edge::Press { ignored: site.knobs.ignore_acpi, delay_ms: site.knobs.acpi_delay_ms };
            domain::edge(found, &call.id(), edge, clock::now_ms())
        })
    }

    fn destroy(call: &Call) -> Result<Outcome, Error> {
        act(call, "destroy", |_, found| Ok(domain::destroy(found)))
    }

    fn remove(call: &Call) -> Result<Outcome, Error> {
        act(call, "remove", |_, found| Ok(domain::remove(found.as_ref())))
    }

    fn observe(vm: &str) -> Result<Observation, Error> {
        ask("observe", vm, |site| {
            Ok(site
                .read(vm)?
                .map_or(Observation::Absent, |domain| Observation::Present(domain.seen())))
        })
    }

    fn list() -> Result<Listed, Error> {
        ask("list", "", |site| {
            let (domains, unreadable) = site.all()?;
            Ok(Listed { domains: domains.iter().map(Domain::seen).collect(), unreadable })
        })
    }
}

impl Reboot for Sim {
    fn reboot(call: &Call) -> Result<Outcome, Error> {
        act(call, "reboot", |_, found| {
            domain::edge(found, &call.id(), Edge::Reboot, clock::now_ms())
        })
    }

    fn reset(call: &Call) -> Result<Outcome, Error> {
        act(call, "reset", |_, found| domain::edge(found, &call.id(), Edge::Reset, clock::now_ms()))
    }
}

impl Suspend for Sim {
    fn save(call: &Call, file: FileRef) -> Result<Outcome, Error> {
        act(call, "save", |_, found| {
            let complete = memory_in(&file, &call.vm())?.is_some();
            let (change, memory) = domain::save(found, complete)?;
            // The memory is written first. After a crash in between, the domain still runs, and a
            // repeat writes the memory again.
            if let Some(memory) = memory {
                let text = serde_json::to_vec(&memory)
                    .map_err(|error| Error::refused("unwritable", error.to_string()))?;
                files::write(&file.place(), &text)?;
            }
            Ok(change)
        })
    }

    fn restore(call: &Call, domain: DomainSpec, file: FileRef) -> Result<Outcome, Error> {
        act(call, "restore", |_, found| {
            let memory = memory_in(&file, &domain.identity.vm)?;
            domain::restore(found, &domain, memory.as_ref())
        })
    }

    fn unpause(call: &Call) -> Result<Outcome, Error> {
        act(call, "unpause", |_, found| domain::unpause(found))
    }
}

impl Metrics for Sim {
    fn sample() -> Result<Vec<Sample>, Error> {
        ask("metrics", "", |site| {
            let now = clock::now_ms();
            let (domains, _) = site.all()?;
            Ok(domains
                .iter()
                .filter(|domain| domain.runs() && domain.store.is_some())
                .map(|domain| sample(domain, now))
                .collect())
        })
    }
}

/// Counters of a guest that uses a tenth of its CPUs.
fn sample(domain: &Domain, now: u64) -> Sample {
    let up_ms = now.saturating_sub(domain.started_ms);
    Sample {
        vm: domain.uuid.clone(),
        cpu_ns: up_ms.saturating_mul(u64::from(domain.machine.vcpus)).saturating_mul(100_000),
        memory_kib: domain.machine.memory_mib.saturating_mul(1024) / 2,
        disk_read: up_ms.saturating_mul(64),
        disk_written: up_ms.saturating_mul(128),
        net_rx: up_ms.saturating_mul(16),
        net_tx: up_ms.saturating_mul(8),
        extra: Vec::new(),
    }
}
