//! The simulated store: commits wait for their batch, a batch is durable when it is answered, and a
//! crash loses commits that are not durable. It keeps the promises of `ostler_store`: claims are
//! checked in order against the rows inside the transaction, books are derived from the records,
//! and the outbox has the calls that decisions put in and did not take out.
//!
//! A crash loses every commit that waits. The batch that is being written is lost or durable, by
//! chance, and its commits are not answered in either case. A real store can do all of this to a
//! daemon, and nothing else.

use ostler_lifecycle::Decision;
use ostler_model::{
    Amount, Answer, Book, BookKey, Capacity, Claim, Effect, EffectKey, Ended, Holding, HostId,
    Image, ImageChange, ImageId, ImageState, Journal, OperationId, Page, State, Terms, Verb,
    Version, VmId, VmRecord, holding_of,
};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// The facts of an operation that the simulation checks.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) vm: VmId,
    pub(crate) verb: Verb,
    pub(crate) ended: Option<Ended>,
}

/// A decision, as it goes to the store.
pub(crate) struct Commit {
    pub(crate) vm: VmId,
    pub(crate) expect: Option<Version>,
    pub(crate) decision: Box<Decision>,
    pub(crate) next: Rc<VmRecord>,
    /// True if it follows from a look of the monitor.
    pub(crate) seen: bool,
    /// The answer to the request, if it was one.
    pub(crate) answer: Option<Answer>,
}

impl Commit {
    /// True if the VM has no files any more, and waits to be deployed.
    pub(crate) fn begins_anew(&self) -> bool {
        matches!(self.next.state, State::Pending | State::Hold)
            && !self.next.files.host
            && !self.next.files.home
    }
}

/// The result of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Committed {
    Applied,
    ClaimRefused(Claim),
    /// Somebody else changed the record, or the commit makes no sense. Neither may ever happen.
    Broken(String),
}

/// All rows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rows {
    pub(crate) records: BTreeMap<VmId, Rc<VmRecord>>,
    pub(crate) outbox: BTreeMap<VmId, BTreeMap<EffectKey, Effect>>,
    pub(crate) operations: BTreeMap<OperationId, Told>,
    pub(crate) images: BTreeMap<ImageId, Image>,
    pub(crate) held: BTreeMap<HostId, Capacity>,
    pub(crate) holds: BTreeMap<ImageId, u64>,
    pub(crate) by_host: BTreeMap<HostId, BTreeSet<VmId>>,
    pub(crate) pending: BTreeSet<VmId>,
    pub(crate) resched: BTreeSet<VmId>,
    /// The capacity of each host.
    pub(crate) total: BTreeMap<HostId, Capacity>,
}

/// The rows, the commits that wait to be written, and the batch that is being written.
#[derive(Default)]
pub(crate) struct Store {
    pub(crate) rows: Rows,
    pub(crate) waiting: Vec<Commit>,
    pub(crate) writing: Vec<Commit>,
    pub(crate) commits: u64,
}

impl Store {
    /// The batch is durable: every commit in it is judged, and applied if it holds.
    pub(crate) fn written(&mut self) -> Vec<(Commit, Committed)> {
        let batch = std::mem::take(&mut self.writing);
        let rows = &mut self.rows;
        let done: Vec<_> = batch
            .into_iter()
            .map(|commit| (rows.apply(&commit), commit))
            .map(|(done, of)| (of, done))
            .collect();
        self.commits += done.len() as u64;
        done
    }

    /// The daemon dies. `durable` says whether the batch that is being written is durable. Nobody
    /// is answered.
    pub(crate) fn crash(&mut self, durable: bool) -> Vec<(Commit, Committed)> {
        self.waiting.clear();
        if durable {
            return self.written();
        }
        self.writing.clear();
        Vec::new()
    }
}

impl Rows {
    pub(crate) fn apply(&mut self, commit: &Commit) -> Committed {
        let found = self.records.get(&commit.vm).map(|record| record.version);
        if found != commit.expect {
            return Committed::Broken(format!(
                "VM {} has version {found:?}, not {:?}",
                commit.vm, commit.expect
            ));
        }
        if let Some(why) = self.nonsense(commit) {
            return Committed::Broken(why);
        }
        for claim in &commit.decision.claims {
            if self.claim_refused(claim, commit) {
                return Committed::ClaimRefused(claim.clone());
            }
        }
        self.write(commit);
        Committed::Applied
    }

    /// Mirrors `ostler_store::prepare::sensible` and the refusals of image changes: a decision must
    /// never ask for these.
    fn nonsense(&self, commit: &Commit) -> Option<String> {
        for change in &commit.decision.images {
            let ready = |id: &ImageId| {
                self.images.get(id).is_some_and(|image| image.state == ImageState::Ready)
            };
            if let ImageChange::Discard { image } = change
                && ready(image)
            {
                return Some(format!(
                    "VM {}: image {image} is discarded, and it is ready",
                    commit.vm
                ));
            }
        }
        let open = |effect: &&Effect| !commit.next.open.iter().any(|open| open.key == effect.key);
        commit
            .decision
            .effects
            .iter()
            .find(open)
            .map(|effect| format!("effect {} is put into the outbox and is not open", effect.key))
    }

    /// Judges a claim with the same code as `ostler_store`. Only the page of the book is made here.
    fn claim_refused(&self, claim: &Claim, commit: &Commit) -> bool {
        let Holding { book, key, .. } = &claim.holding;
        let id = key.as_str().parse().ok();
        let old = self.records.get(&commit.vm).map(|old| old.holdings()).unwrap_or_default();
        let (terms, held) = match book {
            Book::Host => {
                let host = id.map(HostId);
                let held = host.and_then(|host| self.held.get(&host)).copied().unwrap_or_default();
                (
                    host.and_then(|host| self.total.get(&host)).map(|total| room(key, *total)),
                    held.into(),
                )
            }
            Book::Image => (
                id.map(ImageId).and_then(|id| self.images.get(&id)).map(Image::terms),
                Amount::default(),
            ),
            Book::Mac => (Some(Terms::of_none(key)), Amount::default()),
        };
        let own = holding_of(&old, *book, key).map(|held| held.amount.unwrap_or_default());
        claim.judge(&Page { terms, own, held, owner: None }).is_err()
    }

    fn write(&mut self, commit: &Commit) {
        let old = self.records.insert(commit.vm, Rc::clone(&commit.next));
        self.enter(commit.vm, old.as_deref(), &commit.next);
        let outbox = self.outbox.entry(commit.vm).or_default();
        for key in &commit.decision.settled {
            outbox.remove(key);
        }
        for effect in &commit.decision.effects {
            outbox.insert(effect.key.clone(), effect.clone());
        }
        for change in &commit.decision.images {
            match change {
                ImageChange::Add(image) => drop(self.images.insert(image.id, image.clone())),
                ImageChange::Set { image, state } => {
                    if let Some(known) = self.images.get_mut(image) {
                        known.state = *state;
                    }
                }
                ImageChange::Discard { image } => drop(self.images.remove(image)),
            }
        }
        self.note(commit);
    }

    /// Mirrors `ostler_engine::journal::note`.
    fn note(&mut self, commit: &Commit) {
        for entry in &commit.decision.journal {
            match entry {
                Journal::Began { operation, verb, .. } => {
                    self.operations
                        .insert(*operation, Told { vm: commit.vm, verb: *verb, ended: None });
                }
                Journal::Ended { operation, outcome, .. } => {
                    if let Some(told) = self.operations.get_mut(operation) {
                        told.ended = Some(outcome.clone());
                    }
                }
                Journal::StepBegan { .. }
                | Journal::StepWent { .. }
                | Journal::StepFailed { .. }
                | Journal::StepEnded { .. } => {}
            }
        }
    }

    /// Enters the change of one VM into the books. Mirrors `ostler_store::book::books_enter`.
    fn enter(&mut self, vm: VmId, old: Option<&VmRecord>, new: &VmRecord) {
        for (host, capacity) in old.into_iter().flat_map(holdings) {
            let held = self.held.entry(host).or_default();
            *held = held.minus(capacity).unwrap_or_default();
        }
        for (host, capacity) in holdings(new) {
            let held = self.held.entry(host).or_default();
            *held = held.plus(capacity);
        }
        for image in old.into_iter().flat_map(VmRecord::images_held) {
            let holds = self.holds.entry(image).or_default();
            *holds = holds.saturating_sub(1);
        }
        for image in new.images_held() {
            *self.holds.entry(image).or_default() += 1;
        }
        for host in old.into_iter().flat_map(hosts) {
            self.by_host.entry(host).or_default().remove(&vm);
        }
        for host in hosts(new) {
            self.by_host.entry(host).or_default().insert(vm);
        }
        set(&mut self.pending, vm, new.state == State::Pending);
        set(&mut self.resched, vm, new.resched);
    }

    /// Returns an error in words if the books do not agree with the records.
    pub(crate) fn books_differ(&self) -> Option<String> {
        let mut held: BTreeMap<HostId, Capacity> = BTreeMap::new();
        let mut holds: BTreeMap<ImageId, u64> = BTreeMap::new();
        for record in self.records.values() {
            for (host, capacity) in holdings(record) {
                let of = held.entry(host).or_default();
                *of = of.plus(capacity);
            }
            for image in record.images_held() {
                *holds.entry(image).or_default() += 1;
            }
        }
        let zero = Capacity::default();
        let differs = |host: &&HostId| {
            self.held.get(host).unwrap_or(&zero) != held.get(host).unwrap_or(&zero)
        };
        if let Some(host) = self.total.keys().find(differs) {
            return Some(format!(
                "books: host {host} holds {:?}, its VMs {:?}",
                self.held.get(host),
                held.get(host)
            ));
        }
        let differs = |image: &&ImageId| {
            self.holds.get(image).unwrap_or(&0) != holds.get(image).unwrap_or(&0)
        };
        self.images
            .keys()
            .find(differs)
            .map(|image| format!("books: holds of image {image} are wrong"))
    }
}

fn set(of: &mut BTreeSet<VmId>, vm: VmId, wanted: bool) {
    if wanted {
        of.insert(vm);
    } else {
        of.remove(&vm);
    }
}

/// The terms of a host of this size. Hosts of the simulation always take VMs.
fn room(key: &BookKey, total: Capacity) -> Terms {
    let Amount([_, cpu_milli, memory_mib]) = total.into();
    Terms { limit: Amount([u64::MAX, cpu_milli, memory_mib]), ..Terms::of_none(key) }
}

/// The capacity that a VM holds on each host.
pub(crate) fn holdings(record: &VmRecord) -> impl Iterator<Item = (HostId, Capacity)> + use<> {
    record.held().into_iter().chain(record.held_too())
}

/// Every host where a VM has something or may have something. Needs no allocation if there is at
/// most one.
fn hosts(record: &VmRecord) -> impl Iterator<Item = HostId> + '_ {
    let here = record.placement.iter().map(|place| place.host);
    let others = record.other.iter().chain(record.leftovers.iter().map(|left| &left.place));
    here.chain(others.map(|place| place.host))
}
