//! A hypervisor driver that passes the conformance suite. It has no hypervisor yet: it keeps
//! domains in files. Replace `load`, `store` and `names` by calls to your hypervisor. All other
//! code is needed in any driver.

use ostler_sdk::host::{config, files};
use ostler_sdk::{
    Call, DomainSeen, DomainSpec, EffectId, Error, ErrorKind, FilePath, HostFacts, Hypervisor,
    Identity, Listed, Observation, Outcome, Power, PowerReason, Reboot, Stamped,
};

/// The driver.
pub struct Driver;

// Name each ability that you implement. An ability that is not named is not exported.
ostler_sdk::export!(Driver: Hypervisor + Reboot; manifest = "manifest.toml");

/// A domain as its file holds it: one line each for its name, store, generation, power, reason and
/// last edge.
#[derive(Debug, Clone, PartialEq)]
struct Domain {
    vm: String,
    name: String,
    store: String,
    generation: u64,
    power: Power,
    reason: PowerReason,
    edge: String,
}

impl Domain {
    fn text(&self) -> String {
        let generation = self.generation.to_string();
        let (power, reason) = (self.power.as_str(), self.reason.as_str());
        [self.name.as_str(), &self.store, &generation, power, reason, &self.edge].join("\n")
    }

    fn parse(vm: &str, text: &str) -> Option<Self> {
        let mut lines = text.split('\n').map(str::to_owned);
        Some(Self {
            vm: vm.to_owned(),
            name: lines.next()?,
            store: lines.next()?,
            generation: lines.next()?.parse().ok()?,
            power: Power::parse(&lines.next()?)?,
            reason: PowerReason::parse(&lines.next()?)?,
            edge: lines.next()?,
        })
    }

    fn seen(&self) -> DomainSeen {
        DomainSeen {
            uuid: self.vm.clone(),
            name: self.name.clone(),
            identity: Some(Identity {
                store: self.store.clone(),
                vm: self.vm.clone(),
                generation: self.generation,
            }),
            power: self.power,
            reason: self.reason,
            last_edge: EffectId::parse(&self.edge),
            extra: Vec::new(),
        }
    }
}

impl Stamped for Domain {
    fn stamp(&self) -> Option<(&str, u64)> {
        Some((&self.store, self.generation))
    }
}

/// The folder of this host. Each host needs its own: two hosts with the same folder would see each
/// other's domains.
fn folder() -> Result<FilePath, Error> {
    Ok(FilePath::new(config::required("datastore")?, config::required("folder")?))
}

fn place(name: &str) -> Result<FilePath, Error> {
    let folder = folder()?;
    Ok(FilePath::new(folder.datastore, format!("{}/{name}", folder.path)))
}

/// REPLACE: ask the hypervisor for one domain. Answer none only if the hypervisor says that there
/// is none.
fn load(vm: &str) -> Result<Option<Domain>, Error> {
    let Some(bytes) = files::read(&place(vm)?)? else { return Ok(None) };
    let domain = String::from_utf8(bytes).ok().and_then(|text| Domain::parse(vm, &text));
    domain
        .map(Some)
        .ok_or_else(|| Error::retry("unreadable", format!("what is kept of {vm} cannot be read")))
}

/// REPLACE: change the domain at the hypervisor.
fn store(domain: &Domain) -> Result<Outcome, Error> {
    files::write(&place(&domain.vm)?, domain.text().as_bytes())?;
    Ok(Outcome::seen(domain.seen()))
}

/// REPLACE: list all domains of the host.
fn names() -> Result<Vec<String>, Error> {
    match files::list(&folder()?) {
        Err(error) if error.kind == ErrorKind::Gone => Ok(Vec::new()),
        answer => answer,
    }
}

/// Sends an edge effect. It is stamped before it is sent, and not sent again if the stamp is there.
fn edge(call: &Call, send: impl FnOnce(&mut Domain)) -> Result<Outcome, Error> {
    // Every mutating call begins with this: it finds the domain, and checks whether it may touch it.
    let Some(mut domain) = call.find(load)? else {
        return Err(Error::gone("no-domain", "there is no such domain"));
    };
    let stamp = call.id().to_string();
    if domain.edge == stamp {
        return Ok(Outcome::seen(domain.seen()));
    }
    if domain.power != Power::Running {
        return Err(Error::gone("not-running", format!("the domain is {}", domain.power)));
    }
    domain.edge = stamp;
    store(&domain)?;
    send(&mut domain);
    store(&domain)
}

impl Hypervisor for Driver {
    fn probe() -> Result<HostFacts, Error> {
        Ok(HostFacts {
            cpu_milli: 4000,
            memory_mib: 4096,
            hypervisor: concat!("@NAME@ ", env!("CARGO_PKG_VERSION")).to_owned(),
            ..HostFacts::default()
        })
    }

    fn deploy(call: &Call, spec: DomainSpec) -> Result<Outcome, Error> {
        let found = call.find(load)?;
        store(&Domain {
            vm: spec.identity.vm,
            name: spec.name,
            store: spec.identity.store,
            generation: spec.identity.generation,
            power: Power::Running,
            reason: PowerReason::None,
            edge: found.map(|domain| domain.edge).unwrap_or_default(),
        })
    }

    fn press_power(call: &Call) -> Result<Outcome, Error> {
        edge(call, |domain| (domain.power, domain.reason) = (Power::Off, PowerReason::Guest))
    }

    fn destroy(call: &Call) -> Result<Outcome, Error> {
        match call.find(load)? {
            Some(mut domain) if domain.power != Power::Off => {
                (domain.power, domain.reason) = (Power::Off, PowerReason::Destroyed);
                store(&domain)
            }
            Some(domain) => Ok(Outcome::seen(domain.seen())),
            None => Ok(Outcome::absent()),
        }
    }

    fn remove(call: &Call) -> Result<Outcome, Error> {
        call.find(load)?;
        files::remove(&place(&call.vm())?)?;
        Ok(Outcome::absent())
    }

    fn observe(vm: &str) -> Result<Observation, Error> {
        Ok(load(vm)?.map_or(Observation::Absent, |domain| Observation::Present(domain.seen())))
    }

    fn list() -> Result<Listed, Error> {
        let mut listed = Listed::default();
        // Files with other names are still being written.
        for vm in names()?.into_iter().filter(|name| name.len() == 36) {
            match load(&vm) {
                Ok(Some(domain)) => listed.domains.push(domain.seen()),
                Ok(None) => {}
                Err(_) => listed.unreadable.push(vm),
            }
        }
        Ok(listed)
    }
}

impl Reboot for Driver {
    fn reboot(call: &Call) -> Result<Outcome, Error> {
        edge(call, |_| {})
    }

    fn reset(call: &Call) -> Result<Outcome, Error> {
        edge(call, |_| {})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_sdk::mock::{MockHost, each_cut};

    const VM: &str = "11111111-2222-3333-4444-555555555555";

    fn host() -> MockHost {
        MockHost::new().setting("datastore", "system").setting("folder", "here")
    }

    /// A host on which the VM runs.
    fn running() -> MockHost {
        let host = host();
        let call = host.call(VM, 1);
        Driver::deploy(&call, call.domain()).expect("it runs");
        host
    }

    #[test]
    fn a_deploy_that_is_stopped_anywhere_is_sent_again() {
        let begin = || {
            let host = host();
            let call = host.call(VM, 1);
            (host, call)
        };
        let stopped = each_cut(
            begin,
            |call| Driver::deploy(call, call.domain()),
            |_| {
                let domain = load(VM).expect("readable").expect("there");
                assert_eq!(domain.power, Power::Running);
            },
        );
        assert!(stopped > 0);
    }

    #[test]
    fn an_older_call_and_one_of_another_store_touch_nothing() {
        let host = running();
        let newer = host.call(VM, 2);
        Driver::deploy(&newer, newer.domain()).expect("the newer one comes");
        assert_eq!(Driver::destroy(&host.call(VM, 1)).expect_err("old").kind, ErrorKind::Stale);
        let theirs = host.call(VM, 9).of_store("theirs");
        assert_eq!(Driver::destroy(&theirs).expect_err("theirs").code, "foreign");
        let domain = load(VM).expect("readable").expect("there");
        assert_eq!(domain.power, Power::Running);
    }

    #[test]
    fn what_is_kept_reads_back() {
        let domain = Domain {
            vm: "v".into(),
            name: "n".into(),
            store: "s".into(),
            generation: 3,
            power: Power::Off,
            reason: PowerReason::Guest,
            edge: String::new(),
        };
        assert_eq!(Domain::parse("v", &domain.text()), Some(domain));
        assert_eq!(Domain::parse("v", "half a"), None);
    }
}
