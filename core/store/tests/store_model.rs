//! Random commits against a model of a few lines: what is answered, and what is there afterwards.

mod support;

use ostler_model::*;
use ostler_store::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use support::random::*;
use support::*;

/// The model.
#[derive(Debug, Default)]
struct Model {
    vms: BTreeMap<u64, VmRecord>,
    outbox: Vec<Effect>,
    events: Vec<(VmId, Version)>,
    answers: BTreeMap<u8, u64>,
    operations: BTreeMap<u64, OperationRecord>,
    images: BTreeMap<u32, Image>,
    ids: u64,
}

impl Model {
    fn commit(&mut self, what: &Try, base: &BTreeMap<u64, VmRecord>) -> Commit {
        self.ids += 1;
        commit(what, base, self.ids)
    }

    fn used(&self, host: HostId, takes: impl Fn(u64) -> bool) -> Capacity {
        let vms = self.vms.iter().filter(|(id, _)| takes(**id));
        let held = vms.flat_map(|(_, vm)| vm.held().into_iter().chain(vm.held_too()));
        held.filter(|(at, _)| *at == host)
            .fold(Capacity::default(), |sum, (_, capacity)| sum.plus(capacity))
    }

    /// Whether it fits, or asks no more than it has there.
    fn fits(&self, host: HostId, record: &VmRecord) -> bool {
        let (own, others) =
            (self.used(host, |id| id == record.id.0), self.used(host, |id| id != record.id.0));
        let (asked, whole) = (record.spec.capacity(), others.plus(record.spec.capacity()));
        (asked.cpu_milli <= own.cpu_milli || whole.cpu_milli <= 4000)
            && (asked.memory_mib <= own.memory_mib || whole.memory_mib <= 4096)
    }

    /// Whether its disks stand on something, and the image can be changed so.
    fn images_allow(&self, record: &VmRecord, changes: &[ResourceChange]) -> bool {
        let stood: BTreeSet<ImageId> =
            self.vms.get(&record.id.0).into_iter().flat_map(VmRecord::images_held).collect();
        let stands = record
            .images_held()
            .all(|image| stood.contains(&image) || self.images.contains_key(&image.0));
        let others = self.vms.values().filter(|vm| vm.id != record.id);
        let held: BTreeSet<ImageId> =
            others.chain([record]).flat_map(VmRecord::images_held).collect();
        stands
            && changes.iter().all(|change| match change {
                ResourceChange::ImagePut(new) => {
                    !self.images.values().any(|image| image.name == new.name && image.id != new.id)
                }
                ResourceChange::ImageSetState { id, .. } => self.images.contains_key(&id.0),
                ResourceChange::ImageDiscard(id) => self
                    .images
                    .get(&id.0)
                    .is_none_or(|image| image.state != ImageState::Ready && !held.contains(id)),
                other => panic!("{other:?} is not tried"),
            })
    }

    fn images_change(&mut self, changes: &[ResourceChange]) {
        for change in changes {
            match change {
                ResourceChange::ImagePut(new) => drop(self.images.insert(new.id.0, new.clone())),
                ResourceChange::ImageSetState { id, state } => {
                    self.images.entry(id.0).and_modify(|image| image.state = *state);
                }
                ResourceChange::ImageDiscard(id) => drop(self.images.remove(&id.0)),
                other => panic!("{other:?} is not tried"),
            }
        }
    }

    /// What must be answered; takes the commit in if it is to be applied.
    fn judge(&mut self, what: &Try, commit: &Commit) -> Result<(), &'static str> {
        if what.key.is_some_and(|key| self.answers.contains_key(&key)) {
            return Err("replayed");
        }
        let change = commit.vm.as_ref().expect("has one");
        if self.vms.get(&what.vm).map(|vm| vm.version) != change.expect {
            return Err("stale");
        }
        if let Some(host) = what.host.filter(|_| what.claim)
            && !self.fits(HostId(host), &change.record)
        {
            return Err("refused");
        }
        if !self.images_allow(&change.record, &commit.resources) {
            return Err("not allowed");
        }
        self.images_change(&commit.resources);
        self.outbox.retain(|effect| !commit.outbox_del.contains(&effect.key));
        self.outbox.extend(commit.outbox_put.iter().cloned());
        self.events.extend(commit.events.iter().map(|_| (change.record.id, change.record.version)));
        for row in &commit.operations {
            self.operations.insert(row.id.0, row.clone());
        }
        if let Some(key) = what.key {
            self.answers.insert(key, what.vm);
        }
        self.vms.insert(what.vm, change.record.as_ref().clone());
        Ok(())
    }

    fn compare(&self, store: &Store) -> Result<(), TestCaseError> {
        sound(store);
        let reader = store.read().expect("reads");
        for id in 1..=VMS {
            prop_assert_eq!(reader.vm(VmId(id)).expect("reads"), self.vms.get(&id).cloned());
        }
        for host in [1, 2].map(HostId) {
            prop_assert_eq!(reader.usage(host).expect("reads").held, self.used(host, |_| true));
        }
        prop_assert_eq!(
            reader.images().expect("reads"),
            self.images.values().cloned().collect::<Vec<_>>()
        );
        self.compare_sets(&reader)?;
        let key = |effect: &Effect| effect.key.clone();
        let (mut is, mut should) = (reader.outbox_all().expect("reads"), self.outbox.clone());
        is.sort_by_key(key);
        should.sort_by_key(key);
        prop_assert_eq!(is, should);
        let EventsAfter::Page { events, .. } =
            reader.events_after(EventSeq(0), 1000).expect("reads")
        else {
            return Err(TestCaseError::fail("trimmed"));
        };
        let told: Vec<_> = events
            .iter()
            .map(|event| (event.vm.expect("has one"), event.version.expect("has one")))
            .collect();
        prop_assert_eq!(told, self.events.clone());
        for (id, row) in &self.operations {
            prop_assert_eq!(reader.operation(OperationId(*id)).expect("reads"), Some(row.clone()));
        }
        let live: Vec<_> =
            self.vms.values().filter(|vm| vm.state != State::Done).map(|vm| vm.id).collect();
        let page = reader.vm_page(&VmFilter::default(), None, 100).expect("reads");
        prop_assert_eq!(page.items.iter().map(|vm| vm.id).collect::<Vec<_>>(), live);
        let mut due: Vec<_> =
            self.vms.values().filter_map(|vm| vm.next_due().map(|due| (due, vm.id))).collect();
        due.sort();
        prop_assert_eq!(reader.timers_all().expect("reads"), due);
        Ok(())
    }
}

impl Model {
    fn ids(&self, takes: impl Fn(&VmRecord) -> bool) -> Vec<VmId> {
        self.vms.values().filter(|vm| takes(vm)).map(|vm| vm.id).collect()
    }

    fn compare_sets(&self, reader: &Reader) -> Result<(), TestCaseError> {
        for host in [1, 2].map(HostId) {
            let there = |place: &Placement| place.host == host;
            let should = self.ids(|vm| {
                let left = vm.leftovers.iter().any(|left| there(&left.place));
                left || vm.placement.as_ref().is_some_and(there) || vm.other().is_some_and(there)
            });
            prop_assert_eq!(reader.vms_on_host(host).expect("reads"), should);
        }
        prop_assert_eq!(reader.vms_to_resched().expect("reads"), self.ids(|vm| vm.resched));
        let over = self.ids(|vm| {
            let nowhere = vm.placement.is_none() && vm.moving.is_none() && vm.leftovers.is_empty();
            vm.state == State::Done && vm.open.is_empty() && nowhere
        });
        prop_assert_eq!(reader.done_before(Timestamp(u64::MAX), 99).expect("reads"), over);
        Ok(())
    }
}

async fn play(batches: Vec<Vec<Try>>) -> Result<(), TestCaseError> {
    let disk = disk::Disk::default();
    let store = Store::open_with(disk.clone(), options()).expect("opens");
    applied(&store, ground()).await;
    let mut model = Model { images: [1, 2].map(|id| (id, image(id))).into(), ..Model::default() };
    for batch in batches {
        // Everybody in a batch decides on what was there before it, so that they meet.
        let base = model.vms.clone();
        let commits: Vec<Commit> = batch.iter().map(|what| model.commit(what, &base)).collect();
        let rehearsed = match commits.first() {
            Some(first) => {
                let before = store.read().expect("reads").dump().expect("dumps");
                let rehearsed = store.rehearse(first.clone()).await.expect("judged");
                prop_assert_eq!(
                    store.read().expect("reads").dump().expect("dumps"),
                    before,
                    "a rehearsal writes nothing"
                );
                Some(rehearsed)
            }
            None => None,
        };
        let answers = script::run(&store, commits.clone()).await;
        match (&rehearsed, answers.first()) {
            (Some(Committed::Applied { .. }), Some(answer)) => {
                prop_assert!(matches!(answer, Committed::Applied { .. }), "{:?}", answer)
            }
            (rehearsed, answer) => prop_assert_eq!(rehearsed.as_ref(), answer),
        }
        for ((what, commit), answer) in batch.iter().zip(&commits).zip(answers) {
            let is = match answer {
                Committed::Applied { .. } => Ok(()),
                Committed::Stale { .. } => Err("stale"),
                Committed::ClaimRefused(_) => Err("refused"),
                Committed::Replayed(_) => Err("replayed"),
                Committed::Refused(_) => Err("not allowed"),
                Committed::IdempotencyConflict => Err("something else"),
            };
            prop_assert_eq!(is, model.judge(what, commit), "{:?}", what);
        }
    }
    model.compare(&store)?;
    drop(store);
    let again = Store::open_with(disk::Disk::holding(disk.bytes()), options()).expect("opens");
    model.compare(&again)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn random_commits_do_what_the_model_does(batches in tries()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("starts");
        runtime.block_on(play(batches))?;
    }
}
