//! Random commits against a model of a few lines: what is answered, and what is there afterwards.

mod support;

use ostler_model::*;
use ostler_store::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use support::*;

/// VMs of the model; few, so that commits meet.
const VMS: u64 = 5;

/// A random commit of one VM.
#[derive(Debug, Clone)]
struct Try {
    vm: u64,
    /// Decided on an old version.
    late: bool,
    state: State,
    host: Option<u32>,
    cpu_milli: u32,
    disks: Vec<u32>,
    call: Option<u64>,
    claim: bool,
    events: usize,
    key: Option<u8>,
    ended: bool,
}

fn tries() -> impl Strategy<Value = Vec<Vec<Try>>> {
    let states = prop::sample::select(vec![State::Pending, State::Running, State::Poweroff, State::Done, State::Failed]);
    let first = (1..=VMS, prop::bool::weighted(0.1), states, prop::option::of(1_u32..=2), 500_u32..2500);
    let second = (
        prop::collection::vec(1_u32..=2, 0..3),
        prop::option::of(1_u64..5000),
        any::<bool>(),
        0_usize..3,
        prop::option::weighted(0.2, 0_u8..4),
        any::<bool>(),
    );
    let one = (first, second).prop_map(|((vm, late, state, host, cpu_milli), (disks, call, claim, events, key, ended))| Try {
        vm,
        late,
        state,
        host,
        cpu_milli,
        disks,
        call,
        claim,
        events,
        key,
        ended,
    });
    prop::collection::vec(prop::collection::vec(one, 1..5), 1..12)
}

/// The model.
#[derive(Debug, Default)]
struct Model {
    vms: BTreeMap<u64, VmRecord>,
    outbox: Vec<Effect>,
    events: Vec<(VmId, Version)>,
    answers: BTreeMap<u8, u64>,
    operations: BTreeMap<u64, OperationRecord>,
    ids: u64,
}

impl Model {
    /// The commit that is tried, as an engine would make it from what it read a moment ago.
    fn commit(&mut self, what: &Try, base: &BTreeMap<u64, VmRecord>) -> Commit {
        self.ids += 1;
        let old = base.get(&what.vm);
        let mut record = idle(old.cloned().unwrap_or_else(|| vm(what.vm)), what.state);
        record.spec.cpu_milli = what.cpu_milli;
        (record.placement, record.storage) = (None, None);
        if let Some(host) = what.host {
            record = placed(record, host);
        }
        record.disks.clear();
        for image in &what.disks {
            record = with_disk(record, *image);
        }
        let mut put = Vec::new();
        if let Some(deadline) = what.call {
            let (begun, effect) = busy(record, self.ids, deadline);
            record = VmRecord { state: what.state, ..begun };
            put.push(effect);
        }
        let expect = old.map(|old| Version(old.version.0 - u64::from(what.late)));
        record.version = old.map_or(Version(1), |old| old.version.next());
        let claims = match what.host {
            Some(host) if what.claim => vec![Claim::Capacity { host: HostId(host), enforce: true }],
            _ => Vec::new(),
        };
        let over = old.map(|old| old.open.iter().map(|call| call.key.clone()).collect()).unwrap_or_default();
        Commit {
            claims,
            operations: vec![operation(self.ids, what.vm, what.ended)],
            outbox_put: put,
            outbox_del: over,
            events: vec![event(&record); what.events],
            idempotency: what.key.map(|key| answer(&key.to_string(), "body", self.ids)),
            vm: Some(VmChange { record: record.into(), expect }),
            resources: Vec::new(),
        }
    }

    fn used(&self, host: HostId, but: u64) -> Capacity {
        let others = self.vms.iter().filter(|(id, _)| **id != but);
        others.filter_map(|(_, vm)| vm.held()).filter(|(at, _)| *at == host).fold(Capacity::default(), |sum, (_, c)| sum.plus(c))
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
        if let Some(Claim::Capacity { host, .. }) = commit.claims.first()
            && !self.used(*host, what.vm).plus(change.record.spec.capacity()).fits(Capacity { cpu_milli: 4000, memory_mib: 4096 })
        {
            return Err("refused");
        }
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
            prop_assert_eq!(reader.usage(host).expect("reads").held, self.used(host, 0));
        }
        let key = |effect: &Effect| effect.key.clone();
        let (mut is, mut should) = (reader.outbox_all().expect("reads"), self.outbox.clone());
        is.sort_by_key(key);
        should.sort_by_key(key);
        prop_assert_eq!(is, should);
        let EventsAfter::Page { events, .. } = reader.events_after(EventSeq(0), 1000).expect("reads") else {
            return Err(TestCaseError::fail("trimmed"));
        };
        let told: Vec<_> = events.iter().map(|event| (event.vm.expect("has one"), event.version.expect("has one"))).collect();
        prop_assert_eq!(told, self.events.clone());
        for (id, row) in &self.operations {
            prop_assert_eq!(reader.operation(OperationId(*id)).expect("reads"), Some(row.clone()));
        }
        let live: Vec<_> = self.vms.values().filter(|vm| vm.state != State::Done).map(|vm| vm.id).collect();
        let page = reader.vm_page(&VmFilter::default(), None, 100).expect("reads");
        prop_assert_eq!(page.items.iter().map(|vm| vm.id).collect::<Vec<_>>(), live);
        let mut due: Vec<_> = self.vms.values().filter_map(|vm| vm.next_due().map(|due| (due, vm.id))).collect();
        due.sort();
        prop_assert_eq!(reader.timers_all().expect("reads"), due);
        Ok(())
    }
}

async fn play(batches: Vec<Vec<Try>>) -> Result<(), TestCaseError> {
    let disk = disk::Disk::default();
    let store = Store::open_with(disk.clone(), options()).expect("opens");
    applied(&store, ground()).await;
    let mut model = Model::default();
    for batch in batches {
        // Everybody in a batch decides on what was there before it, so that they meet.
        let base = model.vms.clone();
        let commits: Vec<Commit> = batch.iter().map(|what| model.commit(what, &base)).collect();
        let answers = script::run(&store, commits.clone()).await;
        for ((what, commit), answer) in batch.iter().zip(&commits).zip(answers) {
            let is = match answer {
                Committed::Applied { .. } => Ok(()),
                Committed::Stale { .. } => Err("stale"),
                Committed::ClaimRefused(_) => Err("refused"),
                Committed::Replayed(_) => Err("replayed"),
                Committed::IdempotencyConflict | Committed::Refused(_) => Err("something else"),
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
