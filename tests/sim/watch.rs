//! The promises, as far as the store and the world outside of the daemon show them: nothing is
//! lost, nothing is doubled, nothing is stuck.

use super::life::{IMAGE, IMAGE_STORE};
use super::{Run, dice};
use ostler_driver_testkit::fake::FakeDomain;
use ostler_model::{
    Book, BookKey, Capacity, HostId, HostState, ImageState, Power, Reason, State, Strength,
    Subject, VmId, VmRecord, VmUuid,
};
use ostler_store::EventsAfter;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// How often the books are checked: in so many of a thousand checks of everything else.
const BOOKS_PERMILLE: u64 = 80;

/// A broken promise, as a sentence.
pub(crate) type Violation = String;

macro_rules! must {
    ($holds:expr, $($words:tt)*) => {
        if !$holds { return Err(format!($($words)*)); }
    };
}
pub(crate) use must;

/// The number of a life of the daemon, and of the commits in it.
pub(crate) type AsOf = (u64, u64);

/// The records, as of some commit.
#[derive(Default)]
pub(crate) struct Known {
    as_of: Option<AsOf>,
    records: Rc<Vec<Rc<VmRecord>>>,
    /// Those that have changed and were not checked yet.
    changed: Vec<Rc<VmRecord>>,
}

pub(crate) fn said(error: impl std::fmt::Display) -> Violation {
    format!("the store cannot be read: {error}")
}

impl Run {
    fn as_of(&self) -> AsOf {
        (self.life.lives, self.life.store().written().commits)
    }

    /// All VMs that are alive, or that have something left on a host. After a commit, those are read
    /// that have changed.
    pub(crate) fn records(&self) -> Result<Rc<Vec<Rc<VmRecord>>>, Violation> {
        let as_of = self.as_of();
        let mut known = self.known.borrow_mut();
        if known.as_of != Some(as_of) {
            let same_life = known.as_of.is_some_and(|(life, _)| life == as_of.0);
            let before = if same_life { Rc::clone(&known.records) } else { Rc::default() };
            let records = self.read_records(&before)?;
            let is_new =
                |record: &&Rc<VmRecord>| !before.iter().any(|known| Rc::ptr_eq(known, record));
            known.changed.extend(records.iter().filter(is_new).cloned());
            (known.as_of, known.records) = (Some(as_of), Rc::new(records));
        }
        Ok(Rc::clone(&known.records))
    }

    fn read_records(&self, before: &[Rc<VmRecord>]) -> Result<Vec<Rc<VmRecord>>, Violation> {
        let reader = self.life.store().read().map_err(said)?;
        let mut ids: BTreeSet<VmId> = reader.vms_live().map_err(said)?.into_iter().collect();
        for host in &self.life.hosts {
            ids.extend(reader.vms_on_host(*host).map_err(said)?);
        }
        let mut records = Vec::new();
        for id in ids {
            let version = reader.vm_summary(id).map_err(said)?.map(|summary| summary.version);
            let same = |known: &&Rc<VmRecord>| known.id == id && Some(known.version) == version;
            match before.iter().find(same) {
                Some(known) => records.push(Rc::clone(known)),
                None => records.extend(reader.vm(id).map_err(said)?.map(Rc::new)),
            }
        }
        Ok(records)
    }

    /// Checks the records that have changed.
    fn changed(&self) -> Result<(), Violation> {
        self.records()?;
        let changed = std::mem::take(&mut self.known.borrow_mut().changed);
        let reader = self.life.store().read().map_err(said)?;
        let newest = |record: &&Rc<VmRecord>| {
            self.known.borrow().records.iter().any(|known| Rc::ptr_eq(known, record))
        };
        for record in changed.iter().filter(newest) {
            self.record_holds(&reader, record)?;
        }
        Ok(())
    }

    /// Checks the promises that must hold at any time.
    pub(crate) fn hold(&mut self) -> Result<(), Violation> {
        if let Some(broken) = self.life.fake.violations().into_iter().next() {
            return Err(format!("doubled: {broken}"));
        }
        if let Some(broken) = self.life.decisions.seen().broken.clone() {
            return Err(broken);
        }
        // The records of a restored store do not know which copy of a disk is the newest.
        let lost = self.life.fake.lost_writes().into_iter().next().filter(|_| !self.aged);
        if let Some(lost) = lost {
            return Err(format!("lost: {lost}"));
        }
        self.once()?;
        self.changed()?;
        self.addresses()?;
        self.hardware()?;
        self.worked()?;
        self.books()?;
        self.events()
    }

    /// No guest lives on two hosts.
    fn once(&self) -> Result<(), Violation> {
        let mut at: BTreeMap<VmUuid, HostId> = BTreeMap::new();
        for host in &self.life.hosts {
            for domain in self.life.fake.domains(*host) {
                if domain.seen.power == Power::Off {
                    continue;
                }
                if let Some(other) = at.insert(domain.seen.uuid, *host) {
                    return Err(format!(
                        "twice: guest {} lives on hosts {other} and {host}",
                        domain.seen.uuid
                    ));
                }
            }
        }
        Ok(())
    }

    /// All hardware that is plugged into a domain is in its record.
    fn hardware(&self) -> Result<(), Violation> {
        if self.aged {
            // The records do not know the lost time.
            return Ok(());
        }
        let records = self.records()?;
        // A delete that overtakes an attach does not rest before the domain is gone, so its record
        // need not know the disk any more.
        let is_deleted = |record: &&Rc<VmRecord>| {
            record
                .operation
                .as_ref()
                .is_some_and(|active| active.verb.strength() >= Strength::Delete)
        };
        for record in records.iter().filter(|record| !is_deleted(record)) {
            for place in record.places() {
                self.knows_hardware(record, place.host)?;
            }
        }
        Ok(())
    }

    /// The books add up. This reads everything, so it is checked only now and then, and after each
    /// start.
    fn books(&mut self) -> Result<(), Violation> {
        let as_of = self.as_of();
        if self.checked == Some(as_of) || !dice(&self.dice).permille(BOOKS_PERMILLE) {
            return Ok(());
        }
        self.checked = Some(as_of);
        self.add_up()
    }

    /// All rows that follow from the records agree with them.
    pub(crate) fn add_up(&self) -> Result<(), Violation> {
        let findings = self.life.store().check().map_err(said)?;
        must!(findings.is_empty(), "books: {}", findings.join("; "));
        self.has_room()
    }

    /// The VMs on a host hold no more than it has: everybody asks to enforce that.
    fn has_room(&self) -> Result<(), Violation> {
        if self.aged {
            // A guest of the lost time stays where it is found.
            return Ok(());
        }
        let reader = self.life.store().read().map_err(said)?;
        let held = reader.usage_all().map_err(said)?;
        // Nobody asks whether there is room for a domain that runs there already. While it moves
        // away, its VM is placed elsewhere and still holds the host.
        let mut adopted = BTreeSet::<BookKey>::new();
        for record in self.records()?.iter().filter(|record| record.adopted_name.is_some()) {
            let held = record.holdings().into_iter().filter(|held| held.book == Book::Host);
            adopted.extend(held.map(|held| held.key));
        }
        let hosts = reader.hosts().map_err(said)?;
        for host in hosts.into_iter().filter(|host| !adopted.contains(&host.id.into())) {
            let held = held.get(&host.id).map(|usage| usage.held).unwrap_or_default();
            must!(
                held.fits(host.total),
                "capacity: host {} has {:?}, and {held:?} is held",
                host.name,
                host.total
            );
        }
        Ok(())
    }

    /// A locked image belongs to the one disk that becomes it. An image that is ready was written.
    fn images(&self) -> Result<(), Violation> {
        let reader = self.life.store().read().map_err(said)?;
        let mut owned = BTreeSet::new();
        for record in self.records()?.iter() {
            let later = record.disks.iter().filter_map(|disk| disk.save_as.as_ref());
            owned.extend(later.map(|becomes| becomes.image));
            let operation = record.operation.iter().map(|active| &active.subject);
            for subject in operation.chain(record.failure.iter().map(|failure| &failure.subject)) {
                if let Subject::DiskImage { becomes, .. } = subject {
                    owned.insert(becomes.image);
                }
            }
        }
        let images = reader.images().map_err(said)?;
        for image in images.iter().filter(|image| image.id != IMAGE) {
            let id = image.id;
            let is_owned = image.state != ImageState::Locked || owned.contains(&id);
            must!(is_owned, "leak: image {id} is locked by nobody");
            let datastore = IMAGE_STORE.parse().expect("a name");
            let file = self.life.fake.file(HostId::FRONT_END, &datastore, &image.path);
            let written = file.is_some_and(|file| file.complete);
            must!(
                image.state != ImageState::Ready || written,
                "lost: image {id} is ready, and was never written"
            );
        }
        Ok(())
    }

    /// No two cards have one address.
    fn addresses(&self) -> Result<(), Violation> {
        let mut owners = BTreeMap::new();
        for record in self.records()?.iter() {
            for mac in record.macs_held() {
                if let Some(other) = owners.insert(mac.to_string(), record.id) {
                    return Err(format!(
                        "doubled: VMs {other} and {} have a card with address {mac}",
                        record.id
                    ));
                }
            }
        }
        Ok(())
    }

    /// Each event number is read once, in order. The reader is told of a restore, and reads no
    /// earlier number again.
    fn events(&mut self) -> Result<(), Violation> {
        let reader = self.life.store().read().map_err(said)?;
        loop {
            match reader.events_after(self.read, 500).map_err(said)? {
                EventsAfter::Page { events, .. } if events.is_empty() => return Ok(()),
                EventsAfter::Page { events, .. } => {
                    for event in events {
                        // A reader that stands at the last event of a backup goes on with the first
                        // event after the restore.
                        let next =
                            event.seq.0 == self.read.0 + 1 || self.aged && event.seq > self.read;
                        must!(next, "doubled: event {} follows event {}", event.seq, self.read);
                        self.read = event.seq;
                        self.happened(&reader, &event)?;
                    }
                }
                EventsAfter::Trimmed { last, .. } => {
                    must!(self.aged, "lost: events after {} are gone", self.read);
                    must!(
                        last > self.read,
                        "lost: the newest event is {last}, and {} was read before",
                        self.read
                    );
                    self.read = last;
                    self.untold = false;
                }
            }
        }
    }

    /// No record knows a VM that was made in the lost time. A person has to decide about its
    /// domains, and here that person removes them.
    pub(crate) fn forget_the_lost_time(&self) -> Result<(), Violation> {
        let reader = self.life.store().read().map_err(said)?;
        for host in &self.life.hosts {
            for domain in self.life.fake.domains(*host) {
                if reader.vm_by_uuid(domain.seen.uuid).map_err(said)?.is_none() {
                    self.life.fake.drop_domain(*host, domain.seen.uuid);
                }
            }
        }
        Ok(())
    }

    /// True if nothing is under way.
    pub(crate) fn is_quiet(&self) -> Result<bool, Violation> {
        let rests = |record: &Rc<VmRecord>| {
            let apart = record.moving.is_some() && record.state != State::Failed && !self.aged;
            let alive = matches!(record.state, State::Running | State::Suspended);
            let swept = record.leftovers.is_empty() && (!alive || record.unused.is_empty());
            let blind = record.reason == Reason::CannotAsk && !self.aged;
            record.operation.is_none()
                && record.open.is_empty()
                && !record.is_unreconciled()
                && !apart
                && !blind
                && (swept || self.aged)
        };
        Ok(self.records()?.iter().all(rests))
    }

    /// After everything has calmed down, every VM rests as its record says, and the books add up.
    pub(crate) fn rested(&self) -> Result<(), Violation> {
        self.remembers()?;
        must!(!self.untold, "untold: the store was restored, and no reader of the feed was told");
        self.add_up()?;
        self.watched()?;
        if self.aged {
            // The records do not know the lost time.
            return Ok(());
        }
        let records = self.records()?;
        self.images()?;
        for record in records.iter() {
            self.agrees(record)?;
            self.placed(record)?;
            self.keeps_no_memory(record)?;
        }
        for host in &self.life.hosts {
            let ours = |domain: &FakeDomain| domain.seen.identity.is_some();
            for domain in self.life.fake.domains(*host).into_iter().filter(ours) {
                let owner = records.iter().find(|record| record.uuid == domain.seen.uuid);
                let at_home = owner.is_some_and(|vm| vm.places().any(|place| place.host == *host));
                must!(
                    at_home,
                    "leak: host {host} has domain {} ({}), and no VM has its place there",
                    domain.seen.name,
                    domain.seen.power
                );
            }
        }
        Ok(())
    }

    /// The VM's domain agrees with its state.
    fn agrees(&self, record: &VmRecord) -> Result<(), Violation> {
        let Some(place) = &record.placement else { return Ok(()) };
        let domain = self.life.fake.domain(place.host, record.uuid);
        let power = domain.as_ref().map(|domain| domain.seen.power);
        let fits = match record.state {
            State::Running => power == Some(Power::Running),
            State::Poweroff => matches!(power, None | Some(Power::Off)),
            State::Suspended => matches!(power, None | Some(Power::Off | Power::Paused)),
            _ => true,
        };
        must!(
            fits,
            "disagrees: VM {} is {} ({}), and its domain is {power:?}",
            record.id,
            record.state,
            record.reason
        );
        Ok(())
    }

    /// A domain that is not off has no hardware that its record does not know.
    fn knows_hardware(&self, record: &VmRecord, host: HostId) -> Result<(), Violation> {
        let domain = self.life.fake.domain(host, record.uuid);
        let Some(domain) = domain.filter(|domain| domain.seen.power != Power::Off) else {
            return Ok(());
        };
        for disk in &domain.machine.disks {
            let known = record.disks.iter().any(|known| known.name.as_str() == disk.name.as_str());
            must!(
                known,
                "hardware: VM {} has disk {} plugged in, and its record does not know it",
                record.id,
                disk.name
            );
        }
        for nic in &domain.machine.nics {
            let known = (0..record.spec.nics.len()).any(|at| record.mac_of(at) == nic.mac);
            must!(
                known,
                "hardware: VM {} has card {} plugged in, and its record does not know it",
                record.id,
                nic.mac
            );
        }
        Ok(())
    }

    /// Every host that is on is watched.
    fn watched(&self) -> Result<(), Violation> {
        for host in self.life.store().read().map_err(said)?.hosts().map_err(said)? {
            let watched =
                host.state == HostState::Off || self.life.engine().host_health(host.id).is_some();
            must!(watched, "unwatched: host {} is on, and nobody looks at it", host.name);
        }
        Ok(())
    }

    /// A VM does not wait for room that is there.
    fn placed(&self, record: &VmRecord) -> Result<(), Violation> {
        let reader = self.life.store().read().map_err(said)?;
        let image = reader.image(IMAGE).map_err(said)?;
        let is_ready = image.is_some_and(|image| image.state == ImageState::Ready)
            || record.images_held().next().is_none();
        if record.state != State::Pending || !is_ready {
            return Ok(());
        }
        let held = reader.usage_all().map_err(said)?;
        for host in reader.hosts().map_err(said)?.iter().filter(|host| host.state == HostState::On)
        {
            let answers =
                self.life.engine().host_health(host.id).is_some_and(|health| health.reachable);
            let left = record.leftovers.iter().any(|left| left.place.host == host.id);
            let free =
                host.total.minus(held.get(&host.id).map(|usage| usage.held).unwrap_or_default());
            let fits = free.and_then(|free| free.minus(record.spec.capacity())).is_some();
            let why = || {
                self.life
                    .engine()
                    .why(record.id)
                    .map(|explained| format!("{:?}", explained.scheduler))
                    .unwrap_or_default()
            };
            must!(
                !fits || !answers || left,
                "starved: VM {} waits though host {} has room for it: {}",
                record.id,
                host.name,
                why()
            );
        }
        Ok(())
    }

    /// After everything was deleted, nothing is left of it.
    pub(crate) fn gone(&self) -> Result<(), Violation> {
        let records = self.records()?;
        let left: Vec<_> =
            records.iter().filter(|record| record.state != State::Done || !self.aged).collect();
        must!(left.is_empty(), "stuck: VM {} is {} and was deleted", left[0].id, left[0].state);
        let reader = self.life.store().read().map_err(said)?;
        let zero = Capacity::default();
        for (host, usage) in reader.usage_all().map_err(said)? {
            must!(usage.held == zero || self.aged, "leak: {:?} is held on host {host}", usage.held);
        }
        let findings = self.life.store().check().map_err(said)?;
        must!(findings.is_empty(), "books: {}", findings.join("; "));
        if self.aged {
            return Ok(());
        }
        for host in self.life.hosts.iter().chain([&HostId::FRONT_END]) {
            let mut domains = self.life.fake.domains(*host);
            // A domain that was not adopted stays as it is.
            domains.retain(|domain| domain.seen.identity.is_some());
            must!(
                domains.is_empty(),
                "leak: host {host} has a domain of a VM that was deleted: {:?}",
                domains[0].seen
            );
            // A host that was lost for good has left its files on the shared storage: see decision 8.
            let orphans = self.weather.shared && self.lost.is_some();
            let files = if orphans { Vec::new() } else { self.life.fake.files(*host) };
            let file = files.into_iter().find(|(datastore, path)| {
                datastore.as_str() != IMAGE_STORE && !path.as_str().starts_with("legacy/")
            });
            must!(
                file.is_none(),
                "leak: host {host} has a file of a VM that was deleted: {file:?}"
            );
        }
        Ok(())
    }
}
