//! The calls of a migration. `journey` decides, and these calls change the files.

use crate::domain::{Domain, there};
use crate::driver::{Sim, Site};
use crate::journey::{Way, set_out};
use crate::knobs::{Knobs, Subject};
use crate::parts::Journey;
use ostler_sdk::host::{clock, files};
use ostler_sdk::{Call, Destination, DomainSpec, Error, ErrorKind, JobStatus, Migrate, Outcome};

impl Site {
    /// The folder of another host, as this host sees it.
    fn other(&self, folder: &str) -> Self {
        Self {
            datastore: self.datastore.clone(),
            folder: folder.to_owned(),
            knobs: Knobs::default(),
        }
    }

    /// Checks that the other host can be reached and sees what this host writes for it. Otherwise
    /// the domain would be moved to a place where the other host does not look, and be lost.
    fn meet(&self, other: &Self, host: &str, call: &Call) -> Result<(), Error> {
        let (ticket, word) = (format!("{}.ticket", call.vm()), call.id().to_string());
        let (sent, back) = (other.file(&ticket), self.file(&ticket));
        files::write(&sent, word.as_bytes())?;
        let fetched = files::fetch(host, &sent, &back).and_then(|_| files::read(&back));
        files::remove(&back)?;
        files::remove(&sent)?;
        match fetched {
            Ok(Some(text)) if text == word.as_bytes() => Ok(()),
            Err(error) if error.kind != ErrorKind::Gone => Err(error),
            Ok(_) | Err(_) => {
                let told = format!(
                    "host {host} does not share the datastore {} with this one",
                    self.datastore
                );
                Err(Error::refused("not-shared", told))
            }
        }
    }

    /// Moves the domain with one rename, if it is time.
    fn arrive(&self, domain: &Domain, journey: &Journey) -> Result<JobStatus, Error> {
        if let Some(progress) = journey.progress(clock::now_ms()) {
            return Ok(JobStatus::Pending(progress));
        }
        let (vm, other) = (&domain.uuid, self.other(&journey.folder));
        files::rename(&self.of(vm), &other.of(vm))?;
        match other.read(vm)? {
            Some(arrived) if arrived.generation == journey.generation => {
                // The file is written once more without the journey, because people and tests look
                // into it.
                other.write(&arrived)?;
                Ok(JobStatus::Done(Outcome::seen(arrived.seen())))
            }
            Some(_) => {
                // The domain was switched off in between, which ended its journey. So it goes back
                // to the folder of this host.
                files::rename(&other.of(vm), &self.of(vm))?;
                Err(Error::gone("not-running", "the domain was switched off while it moved"))
            }
            None => {
                Err(Error::unknown("lost-sight", "the domain was moved, and is not seen there"))
            }
        }
    }
}

/// Runs the knobs, the work, and the knobs again.
fn job<T>(
    call: &Call,
    name: &str,
    deed: impl FnOnce(&Site) -> Result<T, Error>,
) -> Result<T, Error> {
    let site = Site::open()?;
    let after = site.knobs.before(Subject::effect(name, &call.vm(), call))?;
    let answer = deed(&site)?;
    after.finish()?;
    Ok(answer)
}

/// The folder of the target host.
fn bound_for(site: &Site, to: &Destination) -> Result<String, Error> {
    let setting = |key: &str| {
        to.setting(key).ok_or_else(|| {
            Error::refused("not-configured", format!("{key:?} of host {} is not told", to.host))
        })
    };
    if !to.move_disks.is_empty() {
        return Err(Error::refused(
            "not-shared",
            "disks that the two hosts do not share are not moved here",
        ));
    }
    if setting("datastore")? != site.datastore {
        return Err(Error::refused(
            "not-shared",
            format!("host {} keeps its domains in another datastore", to.host),
        ));
    }
    let folder = setting("folder")?;
    if folder == site.folder {
        return Err(Error::refused(
            "same-host",
            format!("host {} has the same folder: it is this host", to.host),
        ));
    }
    Ok(folder.to_owned())
}

impl Migrate for Sim {
    fn begin(call: &Call, domain: DomainSpec, to: Destination) -> Result<JobStatus, Error> {
        job(call, "migrate", |site| {
            let (vm, folder) = (call.vm(), bound_for(site, &to)?);
            let other = site.other(&folder);
            let here = call.find(|vm| site.read(vm))?;
            site.meet(&other, &to.host, call)?;
            let journey = Journey::new(&call.id(), &domain, to.host, folder);
            let journey = journey.taking(clock::now_ms(), site.knobs.migrate_ms);
            match set_out(here, other.read(&vm)?, &domain.identity.store, journey)? {
                Way::Arrived(domain) => Ok(JobStatus::Done(Outcome::seen(domain.seen()))),
                Way::Going(domain) => on_its_way(site, call, &domain),
                Way::SetsOut(domain) => {
                    site.write(&domain)?;
                    on_its_way(site, call, &domain)
                }
            }
        })
    }

    fn poll(call: &Call) -> Result<JobStatus, Error> {
        job(call, "migrate-poll", |site| {
            let domain = there(site.read(&call.vm())?)?;
            call.may_touch(&domain)?;
            if let Some(journey) = own_journey(call, &domain) {
                site.meet(&site.other(&journey.folder), &journey.host, call)?;
            }
            on_its_way(site, call, &domain)
        })
    }

    fn abort(call: &Call) -> Result<(), Error> {
        job(call, "migrate-abort", |site| {
            let moved = || Error::unknown("moved", "the domain is not here any more");
            let mut domain = site.read(&call.vm())?.ok_or_else(moved)?;
            call.may_touch(&domain)?;
            let Some(journey) = own_journey(call, &domain).cloned() else { return Ok(()) };
            domain.journey = None;
            site.write(&domain)?;
            // A poll that nobody waits for may have moved the domain meanwhile. If it runs at the
            // target, then that is its place.
            let there = site.other(&journey.folder).read(&call.vm())?;
            if there.is_some_and(|there| there.generation == journey.generation && there.runs()) {
                files::remove(&site.of(&call.vm()))?;
                return Err(moved());
            }
            Ok(())
        })
    }
}

fn own_journey<'a>(call: &Call, domain: &'a Domain) -> Option<&'a Journey> {
    domain.journey.as_ref().filter(|journey| journey.effect == call.id().to_string())
}

fn on_its_way(site: &Site, call: &Call, domain: &Domain) -> Result<JobStatus, Error> {
    match own_journey(call, domain) {
        Some(journey) => site.arrive(domain, journey),
        None => Err(Error::gone("no-such-job", "the domain is on no journey of this step")),
    }
}
